//! One checkpoint folder: written so that it is whole or not there, and loaded only when every byte fits its hash.
//!
//! The order of a save: files into `NAME.tmp-PID`, each synced; MANIFEST last, synced; the folder synced; renamed to
//! `NAME`; the parent synced; then everything read back and compared. An error anywhere abandons the folder; a failed
//! sync is never tried again on it, because the system may have dropped the pages and would report success.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::format::{self, Kind};
use super::manifest::{self, FileRecord, MANIFEST, Manifest};
use super::tensors::{self, Loaded, TensorRef};
use super::{Damage, Facts, Store, is_plain_name, read_manifest};
use crate::fault::{Fault, FaultKind};

/// The file of the model's weights.
pub const MODEL: &str = "model.safetensors";
/// The file of the optimizer's moments.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// How the names of all files of tensors end, and of no others.
const TENSORS: &str = ".safetensors";
/// The file of everything small that a resume needs.
pub const STATE: &str = "state.bin";

const STATE_KIND: Kind =
    Kind { what: "state file", magic: *b"PLEACH STATE\n\n\n\n", version: 1, oldest: 1, limit: 1 << 29 };

/// Named pieces of state, each in its owner's own encoding.
pub type Sections = Vec<(String, Vec<u8>)>;

/// What a checkpoint is made of. Tensors are borrowed; nothing is copied.
#[derive(Clone, Debug)]
pub struct Snapshot<'a> {
    /// The optimizer step.
    pub step: u64,
    /// The stage's folder name: "01-pretrain".
    pub stage: String,
    /// Weights, in the order they are written.
    pub model: Vec<TensorRef<'a>>,
    /// Moments, in the order they are written. Empty: the file holds no tensor.
    pub optimizer: Vec<TensorRef<'a>>,
    /// Further files of tensors, by their names: models that learn beside, with their moments.
    pub beside: Vec<(String, Vec<TensorRef<'a>>)>,
    /// Cursor, seeds, loss memory, schedule, versions: at most 512 MiB together.
    pub state: Sections,
    /// Small files beside: config.json, tokenizer.json, ...
    pub extras: Vec<(String, Vec<u8>)>,
    /// Whether the run holds this state to be sound. The tensors are looked at as well.
    pub finite: bool,
    /// The validation loss at this step, where it was measured.
    pub validation: Option<f64>,
    /// Keep for the whole run ([`super::crosses_milestone`]).
    pub milestone: bool,
    /// The stage ends here.
    pub last: bool,
    /// What made it.
    pub facts: Facts,
}

impl Snapshot<'_> {
    /// An empty, finite snapshot to be filled by struct update.
    pub fn new(step: u64, stage: impl Into<String>) -> Snapshot<'static> {
        Snapshot {
            step,
            stage: stage.into(),
            model: Vec::new(),
            optimizer: Vec::new(),
            beside: Vec::new(),
            state: Vec::new(),
            extras: Vec::new(),
            finite: true,
            validation: None,
            milestone: false,
            last: false,
            facts: Facts::default(),
        }
    }

    /// Bytes of the weights' file alone.
    pub fn model_bytes(&self) -> u64 {
        tensors::file_bytes(&self.model)
    }

    /// Bytes it takes on the disk, a little rounded up.
    pub fn bytes(&self) -> u64 {
        let small: usize =
            self.state.iter().chain(&self.extras).map(|(name, bytes)| name.len() + bytes.len() + 64).sum();
        let beside: u64 = self.beside.iter().map(|(_, list)| tensors::file_bytes(list)).sum();
        tensors::file_bytes(&self.model) + tensors::file_bytes(&self.optimizer) + beside + small as u64 + 8192
    }
}

/// A checkpoint in memory, every byte of it checked.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Where it lies.
    pub folder: PathBuf,
    /// What it is.
    pub manifest: Manifest,
    /// The weights, in the order written.
    pub model: Vec<Loaded>,
    /// The moments, in the order written; empty where they were not asked for.
    pub optimizer: Vec<Loaded>,
    /// Further files of tensors, by their names; empty where moments were not asked for.
    pub beside: Vec<(String, Vec<Loaded>)>,
    /// The pieces of state.
    pub state: Sections,
    /// The small files beside.
    pub extras: Vec<(String, Vec<u8>)>,
}

impl Checkpoint {
    /// A piece of state.
    pub fn section(&self, name: &str) -> Option<&[u8]> {
        self.state.iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// A further file of tensors.
    pub fn tensors(&self, name: &str) -> Option<&[Loaded]> {
        self.beside.iter().find(|(n, _)| n == name).map(|(_, list)| list.as_slice())
    }

    /// A small file.
    pub fn extra(&self, name: &str) -> Option<&[u8]> {
        self.extras.iter().find(|(n, _)| n == name).map(|(_, bytes)| bytes.as_slice())
    }
}

/// The folder name of a checkpoint: "checkpoint-000500-12" for step 500 and number 12.
pub fn name_of(step: u64, seq: u64) -> String {
    format!("checkpoint-{step:06}-{seq}")
}

/// Step and number of a folder name, if it is a checkpoint's.
pub fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (step, seq) = name.strip_prefix("checkpoint-")?.split_once('-')?;
    let (step, seq) = (step.parse().ok()?, seq.parse().ok()?);
    // Only the spelling that is written: "+5" and leading zeros parse as numbers too.
    (name_of(step, seq) == name).then_some((step, seq))
}

/// Writes a checkpoint into its stage's folder and reads it back. `seq` must be larger than any used in the run.
///
/// On an error the folder is abandoned and, as far as the disk still answers, removed; nothing else was touched.
pub fn save(
    store: &dyn Store,
    stage_folder: &Path,
    seq: u64,
    parent: Option<u64>,
    snapshot: &Snapshot<'_>,
) -> Result<Manifest, Fault> {
    assert!(is_plain_name(&snapshot.stage), "stage name {:?}", snapshot.stage);
    let name = name_of(snapshot.step, seq);
    let beside = stage_folder.join(format!("{name}.tmp-{}", std::process::id()));
    let place = stage_folder.join(&name);
    store.make(stage_folder).map_err(|e| Fault::disk("make", stage_folder, &e))?;
    let written = write_beside(store, &beside, seq, parent, snapshot)
        .and_then(|manifest| {
            store.rename(&beside, &place).map_err(|e| Fault::disk("rename into place", &place, &e))?;
            Ok(manifest)
        })
        .and_then(|manifest| {
            verify(store, &place, &manifest)?;
            Ok(manifest)
        });
    if written.is_err() {
        for folder in [&beside, &place] {
            // The first error is the one to tell; what cannot be removed now is swept at the next start.
            let _ = discard(store, folder);
        }
    }
    written
}

fn write_beside(
    store: &dyn Store,
    beside: &Path,
    seq: u64,
    parent: Option<u64>,
    snapshot: &Snapshot<'_>,
) -> Result<Manifest, Fault> {
    store.make(beside).map_err(|e| Fault::disk("make", beside, &e))?;
    let mut good = snapshot.finite;
    let mut files = Vec::new();
    let further = snapshot.beside.iter().map(|(name, list)| (name.as_str(), list));
    for (name, list) in [(MODEL, &snapshot.model), (OPTIMIZER, &snapshot.optimizer)].into_iter().chain(further) {
        let free = is_plain_name(name) && files.iter().all(|f: &FileRecord| f.name != name);
        assert!(free && name.ends_with(TENSORS), "a checkpoint cannot hold tensors in a file named {name:?}");
        files.push(write_file(store, beside, name, &mut |out| {
            good &= tensors::write_tensors(out, list)?;
            Ok(())
        })?);
    }
    let state = format::encode(&STATE_KIND, &snapshot.state)
        .map_err(|e| Fault::new(FaultKind::Refused, format!("could not write {STATE}: {e}")))?;
    files.push(write_file(store, beside, STATE, &mut |out| out.write_all(&state))?);
    for (name, bytes) in &snapshot.extras {
        let plain = is_plain_name(name) && name != MANIFEST && !name.ends_with(TENSORS);
        let free = plain && files.iter().all(|f: &FileRecord| f.name != *name);
        assert!(free, "a checkpoint cannot hold an extra file named {name:?}");
        files.push(write_file(store, beside, name, &mut |out| out.write_all(bytes))?);
    }
    let manifest = Manifest {
        seq,
        parent,
        step: snapshot.step,
        stage: snapshot.stage.clone(),
        good,
        validation: snapshot.validation,
        milestone: snapshot.milestone,
        last: snapshot.last,
        written: super::unix_seconds(),
        facts: snapshot.facts.clone(),
        files,
    };
    let bytes = format::encode(&manifest::KIND, &manifest)
        .map_err(|e| Fault::new(FaultKind::Refused, format!("could not write {MANIFEST}: {e}")))?;
    write_file(store, beside, MANIFEST, &mut |out| out.write_all(&bytes))?;
    store.sync(beside).map_err(|e| Fault::disk("sync", beside, &e))?;
    Ok(manifest)
}

fn write_file(
    store: &dyn Store,
    folder: &Path,
    name: &str,
    fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
) -> Result<FileRecord, Fault> {
    let path = folder.join(name);
    let (mut hash, mut len) = (blake3::Hasher::new(), 0);
    store
        .write(&path, &mut |out| {
            let mut through = Hashing { inner: out, hash: &mut hash, len: &mut len };
            fill(&mut through)
        })
        .map_err(|e| Fault::disk("write", &path, &e))?;
    Ok(FileRecord { name: name.to_owned(), len, hash: *hash.finalize().as_bytes() })
}

/// Reads a checkpoint back: the manifest must be the one written and every file must have its hash.
fn verify(store: &dyn Store, place: &Path, written: &Manifest) -> Result<(), Damage> {
    if read_manifest(store, place)? != *written {
        return Err(Damage::wrong(&place.join(MANIFEST), "what was read back is not what was written"));
    }
    for file in &written.files {
        with_hash(store, place, file, &mut |_| Ok(()))?;
    }
    Ok(())
}

/// Compares the files of a checkpoint that `wanted` says with the hashes in its manifest.
pub fn verify_files(
    store: &dyn Store,
    folder: &Path,
    manifest: &Manifest,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Damage> {
    let mut wanted = manifest.files.iter().filter(|file| wanted(&file.name));
    wanted.try_for_each(|file| with_hash(store, folder, file, &mut |_| Ok(())))
}

/// Loads a checkpoint folder, all of it hashed; without `optimizer`, all tensors but the model's are left on the
/// disk, unread.
pub fn load(store: &dyn Store, folder: &Path, optimizer: bool) -> Result<Checkpoint, Damage> {
    let manifest = read_manifest(store, folder)?;
    let mut checkpoint = Checkpoint {
        folder: folder.to_path_buf(),
        model: Vec::new(),
        optimizer: Vec::new(),
        beside: Vec::new(),
        state: Vec::new(),
        extras: Vec::new(),
        manifest,
    };
    let named = folder.file_name().and_then(|n| n.to_str()).and_then(parse_name);
    if named.is_some_and(|named| named != (checkpoint.manifest.step, checkpoint.manifest.seq)) {
        return Err(Damage::wrong(&folder.join(MANIFEST), "is the manifest of another checkpoint"));
    }
    for needed in [MODEL, OPTIMIZER, STATE] {
        if checkpoint.manifest.file(needed).is_none() {
            return Err(Damage::wrong(&folder.join(MANIFEST), format!("names no {needed}")));
        }
    }
    for file in &checkpoint.manifest.files {
        let path = folder.join(&file.name);
        match file.name.as_str() {
            MODEL => with_hash(store, folder, file, &mut |body| {
                checkpoint.model = tensors::tensors_of(body, file.len, &path, &mut |_| true)?;
                Ok(())
            })?,
            name if name.ends_with(TENSORS) && !optimizer => {}
            OPTIMIZER => with_hash(store, folder, file, &mut |body| {
                checkpoint.optimizer = tensors::tensors_of(body, file.len, &path, &mut |_| true)?;
                Ok(())
            })?,
            name if name.ends_with(TENSORS) => with_hash(store, folder, file, &mut |body| {
                let list = tensors::tensors_of(body, file.len, &path, &mut |_| true)?;
                checkpoint.beside.push((name.to_string(), list));
                Ok(())
            })?,
            _ => {
                let mut bytes = Vec::new();
                with_hash(store, folder, file, &mut |body| {
                    body.read_to_end(&mut bytes).map_err(|e| Damage::reading(&path, &e))?;
                    Ok(())
                })?;
                if file.name == STATE {
                    checkpoint.state = format::decode(&STATE_KIND, &bytes).map_err(|e| Damage::record(&path, &e))?;
                } else {
                    checkpoint.extras.push((file.name.clone(), bytes));
                }
            }
        }
    }
    Ok(checkpoint)
}

/// Lets `take` read a file of at most the manifest's length, reads what it left, and compares the hash.
fn with_hash(
    store: &dyn Store,
    folder: &Path,
    file: &FileRecord,
    take: &mut dyn FnMut(&mut dyn Read) -> Result<(), Damage>,
) -> Result<(), Damage> {
    let path = folder.join(&file.name);
    let reading = store.read(&path, 0).map_err(|e| Damage::reading(&path, &e))?;
    let (mut hash, mut len) = (blake3::Hasher::new(), 0);
    let mut body = Hashing { inner: reading.body.take(file.len), hash: &mut hash, len: &mut len };
    take(&mut body)?;
    let mut rest = vec![0u8; 1 << 18];
    while body.read(&mut rest).map_err(|e| Damage::reading(&path, &e))? > 0 {}
    if len != file.len {
        return Err(Damage::wrong(&path, format!("has {len} bytes instead of {}", file.len)));
    }
    if *hash.finalize().as_bytes() != file.hash {
        return Err(Damage::wrong(&path, "its bytes do not have the hash that the manifest names"));
    }
    Ok(())
}

/// Removes a folder of files, under a name that the next start sweeps. Missing is fine.
pub(super) fn discard(store: &dyn Store, folder: &Path) -> io::Result<()> {
    let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let trash = if name.starts_with(".trash-") {
        folder.to_path_buf()
    } else {
        let trash = folder.with_file_name(format!(".trash-{name}"));
        match store.rename(folder, &trash) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => done?,
        }
        trash
    };
    let entries = match store.list(&trash) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        store.remove(&trash.join(&entry.name))?;
    }
    store.remove(&trash)
}

/// Hashes and counts what passes through.
struct Hashing<'a, T> {
    inner: T,
    hash: &'a mut blake3::Hasher,
    len: &'a mut u64,
}

impl<T: Write> Write for Hashing<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        *self.len += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<'_, T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(bytes)?;
        self.hash.update(&bytes[..n]);
        *self.len += n as u64;
        Ok(n)
    }
}
