//! A model as a folder that other programs load: config.json, model.safetensors, tokenizer files.

use std::path::{Path, PathBuf};

use super::checkpoint::{MODEL, discard};
use super::tensors::{self, TensorRef};
use super::{Damage, EntryKind, Store, is_plain_name, read_whole};
use crate::fault::Fault;

const INDEX: &str = "model.safetensors.index.json";
/// The longest index that is read.
const MAX_INDEX: u64 = 64 << 20;

/// Writes a whole model folder, in place of an older one. Readers find the old folder or the new one, or, for the
/// moment between two renames, none; it is made from a checkpoint and can be made again.
///
/// `extras` are the files beside the tensors, by name; tensors are written in the order given.
pub fn write_model_folder(
    store: &dyn Store,
    folder: &Path,
    tensors: &[TensorRef<'_>],
    extras: &[(String, Vec<u8>)],
) -> Result<(), Fault> {
    let name = folder.file_name().and_then(|n| n.to_str()).expect("a folder name written by us");
    let parent = folder.parent().expect("a model folder lies in another");
    let beside = parent.join(format!("{name}.tmp-{}", std::process::id()));
    let at = |doing: &'static str, path: PathBuf| move |e: std::io::Error| Fault::disk(doing, &path, &e);
    discard(store, &beside).map_err(at("remove", beside.clone()))?;
    store.make(&beside).map_err(at("make", beside.clone()))?;
    let path = beside.join(MODEL);
    store.write(&path, &mut |out| tensors::write_tensors(out, tensors).map(|_| ())).map_err(at("write", path))?;
    for (name, bytes) in extras {
        assert!(is_plain_name(name) && name != MODEL, "a model folder cannot hold a file named {name:?}");
        let path = beside.join(name);
        store.write(&path, &mut |out| out.write_all(bytes)).map_err(at("write", path))?;
    }
    store.sync(&beside).map_err(at("sync", beside.clone()))?;
    let old = parent.join(format!(".trash-{name}"));
    discard(store, &old).map_err(at("remove", old.clone()))?;
    match store.rename(folder, &old) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Fault::disk("replace", folder, &e)),
        _ => {}
    }
    store.rename(&beside, folder).map_err(at("rename into place", folder.to_path_buf()))?;
    discard(store, &old).map_err(at("remove", old.clone()))
}

/// The tensor files of a model folder: the one file, or the shards that its index names.
pub fn model_files(store: &dyn Store, folder: &Path) -> Result<Vec<PathBuf>, Damage> {
    let entries = store.list(folder).map_err(|e| Damage::reading(folder, &e))?;
    let has = |name: &str| entries.iter().any(|e| e.name == name && e.kind != EntryKind::Folder);
    if has(MODEL) {
        return Ok(vec![folder.join(MODEL)]);
    }
    if !has(INDEX) {
        let pickled = entries.iter().find(|e| [".bin", ".pt", ".pth", ".ckpt"].iter().any(|end| e.name.ends_with(end)));
        let why = match pickled {
            Some(e) => format!("{} is pickled and never read; convert it to {MODEL} first", e.name),
            None => format!("holds no {MODEL}"),
        };
        return Err(Damage::wrong(folder, why));
    }
    let path = folder.join(INDEX);
    let bytes = read_whole(store, &path, MAX_INDEX).map_err(|e| Damage::reading(&path, &e))?;
    let index: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| Damage::wrong(&path, e))?;
    let map = index.get("weight_map").and_then(|m| m.as_object());
    let map = map.ok_or_else(|| Damage::wrong(&path, "has no weight_map"))?;
    let mut files: Vec<&str> = map.values().filter_map(|v| v.as_str()).collect();
    files.sort_unstable();
    files.dedup();
    if files.is_empty() {
        return Err(Damage::wrong(&path, "names no file"));
    }
    if let Some(odd) = files.iter().find(|f| !is_plain_name(f) || !has(f)) {
        return Err(Damage::wrong(&path, format!("names the file {odd:?}, which is not there")));
    }
    Ok(files.into_iter().map(|f| folder.join(f)).collect())
}
