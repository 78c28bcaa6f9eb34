//! The folder of one run: who owns it, the numbers of its checkpoints, room on its disk, and what is kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, RunLock, Snapshot, Store, ballast, checkpoint, name_of, recover, retention};
use super::{Manifest, Recovered};
use crate::fault::{Fault, FaultKind, Refusal};

/// Free space kept beyond a checkpoint: four times its size, within these bounds.
const RESERVE: std::ops::RangeInclusive<u64> = (16 << 20)..=(512 << 20);
/// After so many failed saves in a row a run must pause: it is training without a net.
const FAILURES: u32 = 2;
/// Quarantined checkpoints that are kept for a person to look at.
const QUARANTINED: usize = 2;

/// Free bytes wanted on the disk before a checkpoint of `bytes` is written: 1.2 times its size, and a reserve.
pub fn reserve(bytes: u64) -> u64 {
    let reserve = bytes.saturating_mul(4).clamp(*RESERVE.start(), *RESERVE.end());
    bytes.saturating_add(bytes / 5).saturating_add(reserve)
}

/// What a save did.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The folder's name: "checkpoint-000500-12".
    pub name: String,
    /// Where it lies.
    pub folder: PathBuf,
    /// What was written.
    pub manifest: Manifest,
    /// The checkpoints that retention removed after it.
    pub removed: Vec<String>,
    /// What could not be cleaned up, in words; nothing depends on it.
    pub warnings: Vec<String>,
}

/// The folder of a run, owned by this process.
pub struct RunFolder {
    store: Arc<dyn Store>,
    root: PathBuf,
    next_seq: u64,
    parent: Option<u64>,
    failures: u32,
    doubtful: BTreeSet<u64>,
    swept: Vec<String>,
    _lock: Option<RunLock>,
}

impl RunFolder {
    /// Makes the folder where it is missing, locks it, and sweeps what an earlier process left half done.
    ///
    /// A second process is refused in words, with the process id of the first, and touches nothing.
    pub fn own(root: &Path) -> Result<RunFolder, Fault> {
        let store: Arc<dyn Store> = Arc::new(Disk);
        store.make(root).map_err(|e| Fault::disk("make", root, &e))?;
        let lock = RunLock::take(root)?;
        let mut folder = RunFolder::open(store, root)?;
        folder._lock = Some(lock);
        Ok(folder)
    }

    /// The same on any store and without a lock, for tests and for stores that one process alone can reach.
    pub fn open(store: Arc<dyn Store>, root: &Path) -> Result<RunFolder, Fault> {
        store.make(root).map_err(|e| Fault::disk("make", root, &e))?;
        let swept = recover::sweep(&*store, root)?;
        recover::settle(&*store, root)?;
        let next_seq = recover::highest_seq(&*store, root)? + 1;
        ballast::load(&*store, root);
        let (root, doubtful) = (root.to_path_buf(), BTreeSet::new());
        Ok(RunFolder { store, root, next_seq, parent: None, failures: 0, doubtful, swept, _lock: None })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The disk it lies on.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    /// The folder of a stage: `stages/01-pretrain`.
    pub fn stage(&self, name: &str) -> PathBuf {
        self.root.join(recover::STAGES).join(name)
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    /// Half-written and half-removed folders of an earlier process that were swept at the start.
    pub fn swept(&self) -> &[String] {
        &self.swept
    }

    /// Whether two saves in a row have failed: the run should pause until a person has looked at the disk.
    pub fn failing(&self) -> bool {
        self.failures >= FAILURES
    }

    /// Refuses, before anything starts, a run whose checkpoints of `bytes` will not fit on the disk.
    pub fn check_space(&self, bytes: u64) -> Result<(), Refusal> {
        let (free, need) = (self.free(), reserve(bytes));
        match free {
            Some(free) if free < need => Err(Refusal::new(
                format!("could not start: the disk of {} has too little room", self.root.display()),
                format!("{} MiB are free, checkpoints need {} MiB", free >> 20, need.div_ceil(1 << 20)),
                "free some space, or put the run on another disk",
            )
            .with_code(3)),
            _ => Ok(()),
        }
    }

    fn free(&self) -> Option<u64> {
        // A disk that does not tell is met when it is written to.
        self.store.free(&self.root).ok().flatten()
    }

    /// The newest checkpoint that is whole and good; damaged ones are renamed to `bad-...` and told of.
    pub fn recover(&mut self) -> Result<Recovered, Fault> {
        let found = recover::recover(&*self.store, &self.root)?;
        self.parent = found.checkpoint.as_ref().map(|c| c.manifest.seq);
        Ok(found)
    }

    /// The manifests of all checkpoints that look whole (nothing is hashed), oldest first.
    pub fn checkpoints(&self) -> Result<Vec<(PathBuf, Manifest)>, Fault> {
        recover::checkpoints(&*self.store, &self.root)
    }

    /// Writes the next checkpoint, reads it back, and only then removes what retention no longer keeps.
    ///
    /// After an error the newest older checkpoint is as it was, and the next save starts afresh under a new number.
    pub fn save(&mut self, snapshot: &Snapshot<'_>) -> Result<Saved, Fault> {
        let seq = self.next_seq;
        self.next_seq += 1;
        // The last one of a stage is followed by the folder that hands its model on.
        let handed_on = if snapshot.last { snapshot.model_bytes() } else { 0 };
        let done = self
            .make_room(reserve(snapshot.bytes()) + handed_on)
            .and_then(|()| checkpoint::save(&*self.store, &self.stage(&snapshot.stage), seq, self.parent, snapshot));
        let manifest = match done {
            Ok(manifest) => manifest,
            Err(mut fault) => {
                self.failures += 1;
                self.doubtful.insert(seq);
                if self.failing() {
                    let n = self.failures;
                    fault.what = format!("{} ({n} saves in a row have failed; the run should pause)", fault.what);
                }
                return Err(fault);
            }
        };
        self.failures = 0;
        self.parent = Some(seq);
        let name = name_of(snapshot.step, seq);
        let folder = self.stage(&snapshot.stage).join(&name);
        let (mut removed, mut warnings) = (Vec::new(), Vec::new());
        self.retain(retention::NEWEST, &mut removed, &mut warnings);
        ballast::load(&*self.store, &self.root);
        Ok(Saved { name, folder, manifest, removed, warnings })
    }

    fn make_room(&mut self, need: u64) -> Result<(), Fault> {
        if self.free().is_some_and(|free| free < need) {
            self.retain(retention::NEWEST - 1, &mut Vec::new(), &mut Vec::new());
        }
        match self.free() {
            Some(free) if free < need => Err(Fault::new(
                FaultKind::DiskFull,
                format!(
                    "the disk of {} has {} MiB free; a checkpoint needs {} MiB: free some space",
                    self.root.display(),
                    free >> 20,
                    need.div_ceil(1 << 20)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Removes what is not kept. A failure here is told and changes nothing: the next save tries again.
    fn retain(&self, newest: usize, removed: &mut Vec<String>, warnings: &mut Vec<String>) {
        let all = match self.checkpoints() {
            Ok(all) => all,
            Err(fault) => return warnings.push(fault.what),
        };
        // One whose save failed after its rename may be gone after a power cut: it must not make others dispensable.
        let sure: Vec<Manifest> =
            all.iter().map(|(_, m)| m.clone()).filter(|m| !self.doubtful.contains(&m.seq)).collect();
        let kept = retention::plan(&sure, newest);
        for (folder, manifest) in &all {
            if kept.iter().any(|k| k.seq == manifest.seq) {
                continue;
            }
            match checkpoint::discard(&*self.store, folder) {
                Ok(()) => removed.push(name_of(manifest.step, manifest.seq)),
                Err(e) => warnings.push(Fault::disk("remove", folder, &e).what),
            }
        }
        let quarantined = recover::quarantined(&*self.store, &self.root);
        for folder in quarantined.iter().skip(QUARANTINED) {
            if let Err(e) = checkpoint::discard(&*self.store, folder) {
                warnings.push(Fault::disk("remove", folder, &e).what);
            }
        }
    }
}
