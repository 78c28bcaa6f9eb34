//! The store held to its promise: whatever happens to the disk or the process, the old checkpoint or the new one is
//! there.

mod faults;
mod flips;
mod folder;
mod journal;
mod kill;
mod memory;
mod power;

use std::path::Path;
use std::sync::Arc;

use pleach_runtime::fault::Fault;
use pleach_runtime::store::{Checkpoint, Facts, Recovered, RunFolder, Saved, Snapshot, TensorRef};

use memory::Memory;

/// The run folder on a disk in memory.
const ROOT: &str = "/runs/first";

/// How many times as long the tests try: PLEACH_TORTURE=10, say.
fn torture() -> usize {
    std::env::var("PLEACH_TORTURE").ok().and_then(|v| v.parse().ok()).unwrap_or(1)
}

fn values(step: u64, salt: u64, len: usize) -> Vec<f32> {
    let mut chance = memory::Chance(step * 1000 + salt);
    (0..len).map(|_| (chance.next() >> 40) as f32 / 1e6 - 8.0).collect()
}

/// Saves what follows from the step alone, so that every byte of it can be checked when it comes back.
fn save_sized(run: &mut RunFolder, step: u64, len: usize) -> Result<Saved, Fault> {
    let (weights, gain, moment) = (values(step, 1, len), values(step, 2, 7), values(step, 3, len));
    run.save(&Snapshot {
        model: vec![TensorRef::new("model.w", &[len], &weights), TensorRef::new("model.g", &[7, 1], &gain)],
        optimizer: vec![TensorRef::new("model.w.m", &[len], &moment)],
        state: vec![("cursor".to_owned(), step.to_le_bytes().to_vec()), ("loss".to_owned(), Vec::new())],
        extras: vec![("config.json".to_owned(), b"{\"model_type\": \"qwen3\"}".to_vec())],
        facts: Facts { version: "0.1.0".to_owned(), ..Facts::default() },
        ..Snapshot::new(step, "01-pretrain")
    })
}

fn save(run: &mut RunFolder, step: u64) -> Result<Saved, Fault> {
    save_sized(run, step, 100)
}

/// Asserts that a checkpoint is, to the bit, what [`save_sized`] wrote at its step.
fn assert_whole(checkpoint: &Checkpoint) {
    let step = checkpoint.manifest.step;
    let len = checkpoint.model[0].data.len();
    assert_eq!(checkpoint.model[0].data, values(step, 1, len));
    assert_eq!(checkpoint.model[1].data, values(step, 2, 7));
    assert_eq!((checkpoint.model[1].name.as_str(), &checkpoint.model[1].shape), ("model.g", &vec![7, 1]));
    assert_eq!(checkpoint.optimizer[0].data, values(step, 3, len));
    assert_eq!(checkpoint.section("cursor"), Some(step.to_le_bytes().as_slice()));
    assert_eq!(checkpoint.extra("config.json"), Some(b"{\"model_type\": \"qwen3\"}".as_slice()));
}

fn open(disk: &Memory) -> Result<RunFolder, Fault> {
    RunFolder::open(Arc::new(disk.clone()), Path::new(ROOT))
}

/// Opens and recovers; the step found, its content checked; 0 for none.
fn recovered(disk: &Memory) -> Result<(RunFolder, Recovered, u64), Fault> {
    let mut run = open(disk)?;
    let found = run.recover()?;
    if let Some(checkpoint) = &found.checkpoint {
        assert_whole(checkpoint);
    }
    let step = found.checkpoint.as_ref().map_or(0, |c| c.manifest.step);
    Ok((run, found, step))
}

/// A disk with the checkpoints of steps 1 to n, all synced.
fn disk_with(n: u64) -> Memory {
    let disk = Memory::new();
    let mut run = open(&disk).unwrap();
    for step in 1..=n {
        save(&mut run, step).unwrap();
    }
    disk
}
