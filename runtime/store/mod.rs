//! Every byte of a run that touches a disk: checkpoints, the run folder, the journal, tensor files.
//!
//! A checkpoint is written so that a reader sees the old state or the new one, never neither (`checkpoint.rs` has the
//! protocol). Nothing here retries a failed sync: after one the folder in question is abandoned.
//!
//! ```
//! use pleach_runtime::store::{Facts, Journal, RunFolder, Snapshot, TensorRef};
//! # fn main() -> Result<(), pleach_runtime::fault::Fault> {
//! # let place = std::env::temp_dir().join(format!("pleach-doc-{}", std::process::id()));
//! let mut run = RunFolder::own(&place)?;                 // refused in words if another process has it
//! let (mut journal, opened) = Journal::open(run.store(), &run.journal())?;
//! journal.note(serde_json::json!({"event": "start", "records before": opened.records}))?;
//! let found = run.recover()?;                            // newest whole checkpoint; what was lost is in found.lost
//! let step = found.checkpoint.as_ref().map_or(0, |c| c.manifest.step);
//! let weight = vec![0.5f32; 6];                          // from the vault: the store copies nothing
//! let saved = run.save(&Snapshot {
//!     model: vec![TensorRef::new("model.norm.weight", &[2, 3], &weight)],
//!     optimizer: vec![TensorRef::new("model.norm.weight.m", &[2, 3], &weight)],
//!     state: vec![("cursor".to_owned(), vec![1, 2, 3])],
//!     extras: vec![("config.json".to_owned(), b"{}".to_vec())],
//!     finite: true,
//!     facts: Facts { version: "0.1.0".to_owned(), ..Facts::default() },
//!     ..Snapshot::new(step + 100, "01-pretrain")
//! })?;
//! journal.note(serde_json::json!({"event": "checkpoint", "name": saved.name}))?;
//! journal.sync()?;
//! assert_eq!(run.recover()?.checkpoint.expect("just saved").model[0].data, weight);
//! # std::fs::remove_dir_all(&place).expect("the example's own folder");
//! # Ok(())
//! # }
//! ```

mod ballast;
mod checkpoint;
mod damage;
mod disk;
mod folder;
pub mod format;
mod hf;
mod journal;
mod lock;
mod manifest;
mod platform;
mod recover;
mod retention;
mod tensors;

use std::io::{self, Read, Write};
use std::path::Path;

pub use ballast::last_words;
pub use checkpoint::{
    Checkpoint, MODEL, OPTIMIZER, STATE, Sections, Snapshot, load, name_of, parse_name, save, verify_files,
};
pub use damage::Damage;
pub use disk::Disk;
pub use folder::{RunFolder, Saved, reserve};
pub use hf::{model_files, write_model_folder};
pub use journal::{Follower, Journal, Opened, Record};
pub use lock::RunLock;
pub use manifest::{Facts, FileRecord, MANIFEST, Manifest, read_manifest};
pub use recover::{Lost, Recovered, checkpoints};
pub use retention::{Kept, best, crosses_milestone, plan};
pub use tensors::{Loaded, TensorEntry, TensorRef, read_header, read_tensors};

/// What lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without the folder.
    pub name: String,
    /// Bytes of a file; 0 otherwise.
    pub len: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// The kinds of entries. A link is never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A link, a pipe, a device: nothing the store touches.
    Other,
}

/// An open file: its length and its bytes from the place asked for.
pub struct Reading {
    /// Bytes of the whole file when it was opened.
    pub len: u64,
    /// The bytes.
    pub body: Box<dyn Read + Send>,
}

/// Fills a file that [`Store::write`] has created.
pub type Fill<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

/// The operations on a disk that the store stands on. [`Disk`] is the real one; tests put faults and power cuts here.
///
/// An operation that fails may have happened in part. No operation is retried after a failed sync.
pub trait Store: Send + Sync {
    /// The entries of a folder, by name.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// Opens a file for reading, from a byte on.
    fn read(&self, file: &Path, from: u64) -> io::Result<Reading>;
    /// Creates a file that must not exist, lets `fill` write it, and syncs it. The entry in its folder is not synced.
    fn write(&self, file: &Path, fill: &mut Fill<'_>) -> io::Result<()>;
    /// Cuts a file (created where absent) to `at` bytes, adds `bytes`, and syncs it when `durable`.
    fn append(&self, file: &Path, at: u64, bytes: &[u8], durable: bool) -> io::Result<()>;
    /// Makes a folder and the missing ones above it, each synced into its parent and removed again if that fails. An
    /// existing one is fine, and left as durable as it is.
    fn make(&self, folder: &Path) -> io::Result<()>;
    /// Makes the entries of a folder durable.
    fn sync(&self, folder: &Path) -> io::Result<()>;
    /// Renames within one folder (a file replaces a file) and syncs that folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file or an empty folder. Not synced.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Bytes free to this process on the disk of a folder, where that is known.
    fn free(&self, folder: &Path) -> io::Result<Option<u64>>;
}

/// Writes a whole small file in place of another: beside it, synced, then renamed over it.
pub fn replace(store: &dyn Store, file: &Path, bytes: &[u8]) -> Result<(), crate::fault::Fault> {
    let name = file.file_name().and_then(|n| n.to_str()).expect("a file name written by us");
    let beside = file.with_file_name(format!("{name}.tmp-{}", std::process::id()));
    match store.remove(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(crate::fault::Fault::disk("remove", &beside, &e)),
        _ => {}
    }
    store
        .write(&beside, &mut |out| out.write_all(bytes))
        .map_err(|e| crate::fault::Fault::disk("write", &beside, &e))?;
    store.rename(&beside, file).map_err(|e| crate::fault::Fault::disk("rename into place", file, &e))
}

/// Reads a whole file, refused where it is longer than `limit` bytes.
pub fn read_whole(store: &dyn Store, file: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let reading = store.read(file, 0)?;
    if reading.len > limit {
        let what = format!("{} bytes long, more than the {limit} allowed", reading.len);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut bytes = Vec::with_capacity(reading.len as usize);
    reading.body.take(reading.len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a name may stand in a manifest or a run folder: 1 to 128 of A-Z a-z 0-9 . _ -, not led by a dot.
pub fn is_plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain)
}

/// Seconds since 1970, for stamps that people read.
pub(crate) fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
