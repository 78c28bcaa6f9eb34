//! Tokenising by chunks: a text falls apart before every single space between two ASCII words or marks, where the
//! GPT-2 and the Qwen2 split begin a new part whatever stands around it. Chunks repeat, so their ids are remembered.

use super::Tokenizer;
use super::train::QWEN2;
use pleach_runtime::fault::Refusal;
use serde_json::Value;
use std::collections::HashMap;

/// Chunks that are remembered at most; more are tokenised each time.
const REMEMBERED: usize = 1 << 16;

/// Longer chunks are not remembered, in bytes.
const LONGEST: usize = 64;

/// Whether a new part begins at this byte, whatever the split.
pub(crate) fn is_seam(bytes: &[u8], at: usize) -> bool {
    let solid = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_graphic);
    bytes[at] == b' ' && at > 0 && solid(at - 1) && solid(at + 1)
}

/// The chunks of a text, in order; together they are the text.
pub(super) fn seams(text: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == text.len() {
            return None;
        }
        let bytes = text.as_bytes();
        let end = (start + 1..bytes.len()).find(|&at| is_seam(bytes, at)).unwrap_or(bytes.len());
        let chunk = &text[start..end];
        start = end;
        Some(chunk)
    })
}

/// Whether a tokenizer's ids of a text are those of its chunks laid end to end.
pub(super) fn apply(json: &Value) -> bool {
    let known = |split: &Value| {
        split["type"] == "ByteLevel" && split["use_regex"] != false && split["add_prefix_space"] == false
            || split["type"] == "Split" && split["pattern"]["Regex"] == QWEN2 && split["behavior"] == "Isolated"
    };
    let split = &json["pre_tokenizer"];
    let first = match split["type"] == "Sequence" {
        true => &split["pretokenizers"][0],
        false => split,
    };
    let composed = json["normalizer"].is_null() || json["normalizer"]["type"] == "NFC";
    let model = &json["model"];
    let whole = model["dropout"].is_null() && model["type"] == "BPE";
    // A token of several words would be torn.
    let added = json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
    let wordy = |token: &Value| token["special"] != true && token["content"].as_str().is_none_or(|t| t.contains(' '));
    known(first) && composed && whole && !added.iter().any(wordy)
}

/// A tokenizer with a memory for chunks: the same ids as [`Tokenizer::encode`], many times faster on long texts.
pub struct Encoder<'a> {
    tokenizer: &'a Tokenizer,
    known: HashMap<String, Vec<u32>>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer) -> Encoder<'a> {
        Encoder { tokenizer, known: HashMap::new() }
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode(&mut self, text: &str) -> Result<Vec<u32>, Refusal> {
        if !self.tokenizer.by_chunks {
            return self.tokenizer.encode(text);
        }
        let mut ids = Vec::with_capacity(text.len() / 4);
        for chunk in seams(text) {
            if let Some(known) = self.known.get(chunk) {
                ids.extend_from_slice(known);
                continue;
            }
            let new = self.tokenizer.encode(chunk)?;
            ids.extend_from_slice(&new);
            if self.known.len() < REMEMBERED && chunk.len() <= LONGEST {
                self.known.insert(chunk.to_owned(), new);
            }
        }
        Ok(ids)
    }
}
