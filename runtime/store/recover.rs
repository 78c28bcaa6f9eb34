//! The start of a run on what an earlier process left: sweeping, finding the newest whole checkpoint, quarantine.

use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, discard, load, parse_name};
use super::{Damage, Entry, EntryKind, Manifest, Store, read_manifest};
use crate::fault::Fault;

/// The folder of all stages in a run folder.
pub(super) const STAGES: &str = "stages";
const BAD: &str = "bad-";
const TRASH: &str = ".trash-";
const BESIDE: &str = ".tmp-";

/// A checkpoint that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its folder's name before.
    pub name: String,
    /// Its number.
    pub seq: u64,
    /// The step it held.
    pub step: u64,
    /// Its bytes and when it was written (seconds since 1970), where its manifest could still be read.
    pub known: Option<(u64, u64)>,
    /// Why, with the file.
    pub why: String,
    /// Where it lies now, if it was put aside.
    pub quarantined: Option<PathBuf>,
}

/// What a start found.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The newest good checkpoint; none in a fresh run, or when none is whole (then `lost` is not empty).
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that could not be used, newest first.
    pub lost: Vec<Lost>,
}

impl Recovered {
    /// Optimizer steps between the newest checkpoint there was and the one used: to be trained again.
    pub fn lost_steps(&self) -> u64 {
        let from = self.checkpoint.as_ref().map_or(0, |c| c.manifest.step);
        self.lost.first().map_or(0, |newest| newest.step.saturating_sub(from))
    }

    /// What was lost in one sentence, if anything was.
    pub fn words(&self) -> Option<String> {
        let newest = self.lost.first()?;
        let why: Vec<String> = self.lost.iter().map(|l| format!("{}: {}", l.name, l.why)).collect();
        let minutes = match (newest.known, &self.checkpoint) {
            (Some((_, written)), Some(c)) => {
                format!(" ({} minutes of training)", written.saturating_sub(c.manifest.written).div_ceil(60))
            }
            _ => String::new(),
        };
        let (why, steps) = (why.join("; "), self.lost_steps());
        Some(match &self.checkpoint {
            Some(c) => format!("going on from step {}; {steps} steps are lost{minutes}: {why}", c.manifest.step),
            None => format!("no checkpoint is left to go on from; {steps} steps would be lost: {why}"),
        })
    }
}

/// A folder that is named like a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) folder: PathBuf,
    pub(super) name: String,
    pub(super) step: u64,
    pub(super) seq: u64,
}

fn entries_or_none(store: &dyn Store, folder: &Path) -> Result<Vec<Entry>, Fault> {
    match store.list(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        done => done.map_err(|e| Fault::disk("list", folder, &e)),
    }
}

/// All folders in the stages' folders, with their names.
fn stage_entries(store: &dyn Store, root: &Path) -> Result<Vec<(PathBuf, String)>, Fault> {
    let stages = root.join(STAGES);
    let mut all = Vec::new();
    for stage in entries_or_none(store, &stages)?.iter().filter(|e| e.kind == EntryKind::Folder) {
        let folder = stages.join(&stage.name);
        let inside = entries_or_none(store, &folder)?;
        let folders = inside.into_iter().filter(|e| e.kind == EntryKind::Folder);
        all.extend(folders.map(|e| (folder.join(&e.name), e.name)));
    }
    Ok(all)
}

/// Everything named like a checkpoint, the highest number first.
pub(super) fn candidates(store: &dyn Store, root: &Path) -> Result<Vec<Found>, Fault> {
    let named = |(folder, name): (PathBuf, String)| {
        let (step, seq) = parse_name(&name)?;
        Some(Found { folder, name, step, seq })
    };
    let mut all: Vec<Found> = stage_entries(store, root)?.into_iter().filter_map(named).collect();
    all.sort_by_key(|found| std::cmp::Reverse(found.seq));
    Ok(all)
}

/// The manifests of all checkpoints in a run folder that look whole (nothing is hashed), oldest first. Needs no lock:
/// for whoever looks at a run. One of them may be gone, by retention, when it is loaded.
pub fn checkpoints(store: &dyn Store, root: &Path) -> Result<Vec<(PathBuf, Manifest)>, Fault> {
    let mut all = Vec::new();
    for found in candidates(store, root)? {
        if let Ok(manifest) = read_manifest(store, &found.folder) {
            all.push((found.folder, manifest));
        }
    }
    all.reverse();
    Ok(all)
}

/// Quarantined checkpoints, the highest number first. None where the folder cannot be listed.
pub(super) fn quarantined(store: &dyn Store, root: &Path) -> Vec<PathBuf> {
    let all = stage_entries(store, root).unwrap_or_default();
    let number = |name: &str| parse_name(name.strip_prefix(BAD)?).map(|(_, seq)| seq);
    let mut bad: Vec<(u64, PathBuf)> = all.into_iter().filter_map(|(p, n)| Some((number(&n)?, p))).collect();
    bad.sort_by(|a, b| b.cmp(a));
    bad.into_iter().map(|(_, path)| path).collect()
}

/// The highest number any folder carries, whole, half written, in the trash or in quarantine; 0 in a fresh run.
pub(super) fn highest_seq(store: &dyn Store, root: &Path) -> Result<u64, Fault> {
    let number = |name: &str| {
        let bare = name.strip_prefix(TRASH).unwrap_or(name);
        let bare = bare.strip_prefix(BAD).unwrap_or(bare);
        parse_name(bare.split(BESIDE).next().unwrap_or(bare)).map(|(_, seq)| seq)
    };
    Ok(stage_entries(store, root)?.iter().filter_map(|(_, name)| number(name)).max().unwrap_or(0))
}

/// Makes the folders above all checkpoints durable: a process that died may have made one, or renamed a checkpoint into
/// it, and never come to its sync; what is saved from now on would hang in the air.
pub(super) fn settle(store: &dyn Store, root: &Path) -> Result<(), Fault> {
    let sync = |folder: &Path| store.sync(folder).map_err(|e| (Fault::disk("sync", folder, &e), e.kind()));
    for above in root.ancestors().skip(1) {
        // A relative path ends in "", which stands for the current folder.
        match sync(if above.as_os_str().is_empty() { Path::new(".") } else { above }) {
            // A folder that this user may not open, or on a disk that does not sync or write folders (automounts and
            // network disks), was not made by the run: what it made lies below, and is synced below.
            Err((
                _,
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::Unsupported
                | io::ErrorKind::ReadOnlyFilesystem,
            )) => {}
            done => done.map_err(|(fault, _)| fault)?,
        }
    }
    let stages = root.join(STAGES);
    let mut folders = vec![root.to_path_buf()];
    if entries_or_none(store, root)?.iter().any(|e| e.name == STAGES) {
        let inside = entries_or_none(store, &stages)?;
        folders.extend(inside.iter().filter(|e| e.kind == EntryKind::Folder).map(|e| stages.join(&e.name)));
        folders.push(stages);
    }
    folders.iter().try_for_each(|folder| sync(folder).map_err(|(fault, _)| fault))
}

/// Removes what a process that died left half written or half removed; the names of what was there.
///
/// What cannot be removed stays for the next start: it bears a name that nothing loads.
pub(super) fn sweep(store: &dyn Store, root: &Path) -> Result<Vec<String>, Fault> {
    let mut swept = Vec::new();
    for (folder, name) in stage_entries(store, root)? {
        if name.contains(BESIDE) || name.starts_with(TRASH) {
            swept.push(name);
            let _ = discard(store, &folder);
        }
    }
    for entry in entries_or_none(store, root)? {
        if entry.kind == EntryKind::File && entry.name.contains(BESIDE) {
            let _ = store.remove(&root.join(&entry.name));
            swept.push(entry.name);
        }
    }
    Ok(swept)
}

/// Loads the newest good checkpoint. Wrong bytes put a newer one in quarantine; a disk that fails to give them does
/// not: it is asked twice, then the checkpoint before is tried, and if none can be had the disk's error is returned.
/// One of a version that is not read here is refused, whatever lies before it: going on from there would throw steps
/// away that another program can read. Where nothing can be gone on from, nothing is renamed: the next start finds the
/// same.
pub(super) fn recover(store: &dyn Store, root: &Path) -> Result<Recovered, Fault> {
    let mut found = Recovered { checkpoint: None, lost: Vec::new() };
    let (mut unread, mut wrong) = (None, Vec::new());
    for candidate in candidates(store, root)? {
        let why = match load_twice(store, &candidate.folder) {
            Ok(checkpoint) if checkpoint.manifest.good => {
                found.checkpoint = Some(checkpoint);
                break;
            }
            Ok(_) => "holds values that are not finite".to_owned(),
            Err(Damage::Wrong(why)) => {
                wrong.push((found.lost.len(), candidate.folder.clone()));
                why
            }
            Err(Damage::Unread(fault)) => unread.get_or_insert(fault).what.clone(),
            Err(version @ Damage::Version(_)) => return Err(version.into()),
        };
        let known = read_manifest(store, &candidate.folder).ok().map(|m| (m.bytes(), m.written));
        let Found { name, seq, step, .. } = candidate;
        found.lost.push(Lost { name, seq, step, known, why, quarantined: None });
    }
    match (&found.checkpoint, unread) {
        (Some(_), _) => {
            for (place, folder) in wrong {
                let aside = folder.with_file_name(format!("{BAD}{}", found.lost[place].name));
                found.lost[place].quarantined = store.rename(&folder, &aside).is_ok().then_some(aside);
            }
        }
        // Beginning anew would look like a fresh run; the checkpoints may be whole on a disk that answers again.
        (None, Some(fault)) => return Err(fault),
        (None, None) => found.lost.extend(quarantined(store, root).into_iter().filter_map(put_aside)),
    }
    Ok(found)
}

fn load_twice(store: &dyn Store, folder: &Path) -> Result<Checkpoint, Damage> {
    match load(store, folder, true) {
        Err(Damage::Unread(first)) => match load(store, folder, true) {
            Err(Damage::Unread(_)) => Err(Damage::Unread(first)),
            second => second,
        },
        once => once,
    }
}

/// A folder in quarantine, as what an earlier start lost.
fn put_aside(folder: PathBuf) -> Option<Lost> {
    let name = folder.file_name()?.to_str()?.to_owned();
    let (step, seq) = parse_name(name.strip_prefix(BAD)?)?;
    let why = "an earlier start found it damaged".to_owned();
    Some(Lost { name, seq, step, known: None, why, quarantined: Some(folder) })
}
