//! Where a run stands: the cursor, the counters and the memories that move together with the weights.

use crate::fault::{Fault, FaultKind};
use crate::stage::Memory;
use crate::store::Damage;
use crate::store::format::{self, Decode, Encode, Kind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything but weights and moments that a checkpoint must hold to go on bit for bit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Optimizer steps made.
    pub step: u64,
    /// Windows drawn: the next one is window number `draw`. Apart from the step: skipped windows were drawn too.
    pub draw: u64,
    /// Targets learned.
    pub tokens: u64,
    /// Windows whose gradient was dropped.
    pub skipped: u64,
    /// The loss's memory.
    pub memory: Memory,
    /// Best evaluation so far: loss and step.
    pub best: Option<(f64, u64)>,
    /// What the data is, see [`crate::stage::Data::fingerprint`].
    pub data: String,
    /// Key of all noise.
    pub seed: u64,
    /// What the results depend on of the device, see [`crate::device::Facts::tiles`].
    pub tiles: String,
}

#[derive(Encode, Decode)]
struct Record {
    step: u64,
    draw: u64,
    tokens: u64,
    skipped: u64,
    memory: BTreeMap<String, Vec<f64>>,
    best: Option<(f64, u64)>,
    data: String,
    seed: u64,
    tiles: String,
}

const KIND: Kind =
    Kind { what: "progress record", magic: *b"PLEACH-PROGRESS\n", version: 1, oldest: 1, limit: 16 << 20 };

impl Progress {
    /// As a framed record.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        let record = Record {
            step: self.step,
            draw: self.draw,
            tokens: self.tokens,
            skipped: self.skipped,
            memory: self.memory.0.clone(),
            best: self.best,
            data: self.data.clone(),
            seed: self.seed,
            tiles: self.tiles.clone(),
        };
        format::encode(&KIND, &record).map_err(|error| Fault::new(FaultKind::Disk, error.to_string()))
    }

    /// From a framed record.
    pub fn decode(bytes: &[u8]) -> Result<Progress, Fault> {
        let what = Path::new("the checkpoint's progress");
        let r: Record = format::decode(&KIND, bytes).map_err(|error| Damage::record(what, &error))?;
        Ok(Progress {
            step: r.step,
            draw: r.draw,
            tokens: r.tokens,
            skipped: r.skipped,
            memory: Memory(r.memory),
            best: r.best,
            data: r.data,
            seed: r.seed,
            tiles: r.tiles,
        })
    }
}

/// A checkpoint that is on disk and verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Its step.
    pub step: u64,
    /// Its folder's name.
    pub name: String,
    /// Bytes written.
    pub bytes: u64,
    /// Seconds it took.
    pub seconds: f64,
}
