//! The manifest of a checkpoint: every file with its length and hash, and what the checkpoint is. Written last.

use std::path::Path;

use super::format::{self, Decode, Encode, Kind};
use super::{Damage, EntryKind, Store, is_plain_name, read_whole};

/// The manifest's file name.
pub const MANIFEST: &str = "MANIFEST";

pub(super) const KIND: Kind =
    Kind { what: "manifest", magic: *b"PLEACH MANIFEST\n", version: 1, oldest: 1, limit: 1 << 20 };

/// What made a checkpoint. A difference at resume is a warning: bits are promised within one set of facts only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Facts {
    /// The program's version.
    pub version: String,
    /// The device's name.
    pub adapter: String,
    /// The driver's name and version.
    pub driver: String,
    /// The tile table in use.
    pub tiles: String,
    /// The hash of all shaders.
    pub shaders: String,
}

impl Facts {
    /// The facts that differ, in words: "driver: was A, is B".
    pub fn differences(&self, now: &Facts) -> Vec<String> {
        let pairs = [
            ("program version", &self.version, &now.version),
            ("device", &self.adapter, &now.adapter),
            ("driver", &self.driver, &now.driver),
            ("tile table", &self.tiles, &now.tiles),
            ("shaders", &self.shaders, &now.shaders),
        ];
        let differ = pairs.iter().filter(|(_, was, is)| was != is);
        differ.map(|(name, was, is)| format!("{name}: was {was:?}, is {is:?}")).collect()
    }
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FileRecord {
    /// Its name in the checkpoint's folder.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// The BLAKE3 of its bytes.
    pub hash: [u8; 32],
}

/// What a checkpoint is.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Manifest {
    /// Its number in the run: grows for ever, also over roll-backs, and is never used again.
    pub seq: u64,
    /// The number of the checkpoint that the run held before it.
    pub parent: Option<u64>,
    /// The optimizer step it holds.
    pub step: u64,
    /// The stage's folder name: "01-pretrain".
    pub stage: String,
    /// Whether every value in it is finite and the run called it sound.
    pub good: bool,
    /// The validation loss measured at it.
    pub validation: Option<f64>,
    /// Kept for the whole run: one in each tenth of it.
    pub milestone: bool,
    /// The last one of its stage.
    pub last: bool,
    /// When it was written, in seconds since 1970.
    pub written: u64,
    /// What made it.
    pub facts: Facts,
    /// Its files, in the order written.
    pub files: Vec<FileRecord>,
}

impl Manifest {
    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.len))
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> Option<&FileRecord> {
        self.files.iter().find(|f| f.name == name)
    }
}

/// Reads the manifest of a checkpoint folder and checks names and sizes against what lies there. Hashes no file.
pub fn read_manifest(store: &dyn Store, folder: &Path) -> Result<Manifest, Damage> {
    let path = folder.join(MANIFEST);
    let bytes = read_whole(store, &path, KIND.limit as u64 + 1024).map_err(|e| Damage::reading(&path, &e))?;
    let manifest: Manifest = format::decode(&KIND, &bytes).map_err(|e| Damage::record(&path, &e))?;
    let entries = store.list(folder).map_err(|e| Damage::reading(folder, &e))?;
    let mut named = std::collections::HashSet::new();
    for file in &manifest.files {
        if !is_plain_name(&file.name) || file.name == MANIFEST || !named.insert(&file.name) {
            return Err(Damage::wrong(&path, format!("the file name {:?} is not allowed", file.name)));
        }
        let found = entries.iter().find(|e| e.name == file.name && e.kind == EntryKind::File);
        let Some(found) = found else {
            return Err(Damage::wrong(&folder.join(&file.name), "is missing or no regular file"));
        };
        if found.len != file.len {
            let why = format!("has {} bytes instead of {}", found.len, file.len);
            return Err(Damage::wrong(&folder.join(&file.name), why));
        }
    }
    if !is_plain_name(&manifest.stage) {
        return Err(Damage::wrong(&path, format!("the stage name {:?} is not allowed", manifest.stage)));
    }
    Ok(manifest)
}
