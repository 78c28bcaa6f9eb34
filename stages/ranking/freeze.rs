//! Rankings as a file that is named by its hash: what a stage trains on.

use super::flags::Flags;
use super::item::Item;
use super::store::{Judged, Store};
use crate::data::records::Said;
use pleach_runtime::fault::Fault;
use pleach_runtime::store::{Disk, Store as _, replace};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// What was frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frozen {
    /// The file, `rankings-HASH.jsonl`.
    pub path: PathBuf,
    /// BLAKE3 of its bytes, in hex; the name has the first 16 digits.
    pub hash: String,
    /// Its rankings: lines.
    pub rankings: u64,
    /// Answers that are not in it, because they were skips.
    pub skipped: u64,
}

/// Writes all rankings of a store into a folder, as `rankings-HASH.jsonl`: one K-wise record a line, by item, rater and
/// repeat. The same answers give the same bytes, whenever they were given. Drafts, skips and what was taken back are
/// no rankings.
///
/// # Errors
/// A fault of the disk.
pub fn freeze(store: &Store, folder: &Path) -> Result<Frozen, Fault> {
    let items = store.items()?;
    let mut text = String::new();
    let (mut rankings, mut skipped) = (0, 0);
    for one in store.judged()? {
        if one.answer.skip.is_some() {
            skipped += 1;
            continue;
        }
        let record = record(&items[one.item], &one, &store.options().flags);
        text.push_str(&Value::Object(record).to_string());
        text.push('\n');
        rankings += 1;
    }
    let folder = std::path::absolute(folder).map_err(|error| Fault::disk("find", folder, &error))?;
    let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
    let path = folder.join(format!("rankings-{}.jsonl", &hash[..16]));
    Disk.make(&folder).map_err(|error| Fault::disk("make", &folder, &error))?;
    replace(&Disk, &path, text.as_bytes())?;
    Ok(Frozen { path, hash, rankings, skipped })
}

/// A ranking as our K-wise record.
pub(super) fn record(item: &Item, judged: &Judged, flags: &Flags) -> Map<String, Value> {
    let answer = &judged.answer;
    let completion = |one: &super::Completion| {
        let mut map = Map::new();
        map.insert("id".into(), one.id.clone().into());
        match &one.said {
            Said::Text(text) => map.insert("text".into(), text.clone().into()),
            Said::Messages(_) => map.insert("message".into(), one.said.to_value()),
        };
        if let Some(names) = answer.flags.get(&one.id).filter(|names| !names.is_empty()) {
            map.insert("flags".into(), flags.grouped(names).into());
        }
        if let Some(comment) = answer.comments.get(&one.id).filter(|comment| !comment.is_empty()) {
            map.insert("comment".into(), comment.clone().into());
        }
        if !one.origin.is_null() {
            map.insert("origin".into(), one.origin.clone());
        }
        Value::Object(map)
    };
    let mut map = Map::new();
    map.insert("id".into(), item.id.clone().into());
    map.insert("prompt".into(), item.prompt.to_value());
    map.insert("completions".into(), item.completions.iter().map(completion).collect());
    map.insert("ranks".into(), json!(answer.ranks(&item.ids()).unwrap_or_default()));
    map.insert("rater".into(), judged.rater.clone().into());
    if !answer.comment.is_empty() {
        map.insert("comment".into(), answer.comment.clone().into());
    }
    if !answer.item_flags.is_empty() {
        map.insert("flags".into(), flags.grouped(&answer.item_flags).into());
    }
    map.insert("shown_order".into(), json!(judged.shown));
    map.insert("seconds".into(), json!(answer.seconds));
    if !answer.better.is_empty() {
        map.insert("better".into(), answer.better.clone().into());
    }
    if judged.repeat > 0 {
        map.insert("repeat".into(), judged.repeat.into());
    }
    map.insert("guidelines".into(), judged.guidelines.clone().into());
    map
}
