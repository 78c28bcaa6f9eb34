//! Text to token ids and back: any `tokenizer.json`, a byte-level BPE trained here, or a vocabulary of characters.
//!
//! What is encoded is plain text: a special token's name inside a document stays text, so that a corpus cannot end
//! its own documents. [`Tokenizer::encode_marked`] is for templates, which mean the token.

mod bytes;
mod chunks;
mod spans;
mod train;

pub use chunks::Encoder;
pub(crate) use chunks::is_seam;
pub use spans::Spans;
pub use train::{CHAT_MARKS, END_OF_TEXT, Split, TrainOptions, characters, train};

use pleach_runtime::fault::{Fault, Refusal};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// Names that end a document in the vocabularies of the field, most specific first.
const END_NAMES: [&str; 6] = ["<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "<|eot_id|>"];

/// Largest `tokenizer.json` that is read, in bytes.
const MAX_FILE: u64 = 1 << 28;

/// A vocabulary with its rules, the same for training, evaluation and generation.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: String,
    table: bytes::Table,
    /// Set where the vocabulary is characters: the short way.
    characters: Option<HashMap<char, u32>>,
    /// Whether a text may be tokenised in chunks.
    by_chunks: bool,
    specials: Vec<(String, u32)>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    fingerprint: [u8; 32],
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Tokenizer({} ids, bos {:?}, eos {:?})", self.vocab(), self.bos, self.eos)
    }
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, or the one in a folder; a `tokenizer_config.json` beside it names BOS and EOS.
    ///
    /// # Errors
    /// A refusal where the file is missing, too large, or no tokenizer.
    pub fn load(path: &Path) -> Result<Tokenizer, Refusal> {
        let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
        let what = format!("could not load the tokenizer \"{}\"", file.display());
        let hint = "give a tokenizer.json as Hugging Face's tokenizers library writes it, or a folder with one";
        let refuse = |detail: String| Refusal::new(what.clone(), detail, hint);
        let size = std::fs::metadata(&file).map_err(|error| refuse(error.to_string()))?.len();
        if size > MAX_FILE {
            return Err(refuse(format!("it has {size} bytes; no tokenizer needs more than {MAX_FILE}")));
        }
        let json = std::fs::read_to_string(&file).map_err(|error| refuse(error.to_string()))?;
        let config = std::fs::read_to_string(file.with_file_name("tokenizer_config.json")).ok();
        Tokenizer::from_json(&json, config.as_deref()).map_err(refuse)
    }

    /// A tokenizer from the text of a `tokenizer.json` and, where there is one, of a `tokenizer_config.json`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn from_json(json: &str, config: Option<&str>) -> Result<Tokenizer, String> {
        let parsed: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json).map_err(|error| error.to_string())?;
        // Cutting and padding are the packing's business.
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let table = bytes::Table::new(&inner, &parsed);
        if table.len() == 0 {
            return Err("the vocabulary is empty".into());
        }
        let config: Option<Value> = config.and_then(|text| serde_json::from_str(text).ok());
        let named = |key: &str| {
            let value = config.as_ref()?.get(key)?;
            inner.token_to_id(value.as_str().or_else(|| value.get("content")?.as_str())?)
        };
        let (prefix, suffix) = surroundings(&inner)?;
        let eos = named("eos_token").or_else(|| END_NAMES.iter().find_map(|name| inner.token_to_id(name)));
        let bos = prefix.first().copied().or_else(|| named("bos_token"));
        let added = inner.get_added_tokens_decoder();
        let mut specials: Vec<(String, u32)> =
            added.into_iter().filter(|(_, token)| token.special).map(|(id, token)| (token.content, id)).collect();
        specials.extend([bos, eos].into_iter().flatten().filter_map(|id| Some((inner.id_to_token(id)?, id))));
        // Longest first, so that a mark is not taken for its own beginning.
        specials.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        specials.dedup();
        let mut fingerprint = blake3::Hasher::new();
        fingerprint.update(json.as_bytes());
        for id in [bos, eos] {
            fingerprint.update(&id.unwrap_or(u32::MAX).to_le_bytes());
        }
        let characters = bytes::characters(&parsed);
        let table = table.without_text(specials.iter().map(|(_, id)| *id));
        Ok(Tokenizer {
            inner,
            json: json.to_owned(),
            table,
            characters,
            by_chunks: chunks::apply(&parsed),
            specials,
            prefix,
            suffix,
            bos,
            eos,
            fingerprint: *fingerprint.finalize().as_bytes(),
        })
    }

    /// Writes `tokenizer.json` into a folder, whole or not at all, and before it a `tokenizer_config.json` that names
    /// BOS and EOS: [`Tokenizer::load`] gives the same tokenizer back.
    ///
    /// # Errors
    /// A fault of the disk.
    pub fn save(&self, folder: &Path) -> Result<(), Fault> {
        let mut config = serde_json::Map::new();
        for (key, id) in [("bos_token", self.bos), ("eos_token", self.eos)] {
            if let Some(name) = id.and_then(|id| self.inner.id_to_token(id)) {
                config.insert(key.to_owned(), Value::from(name));
            }
        }
        let config = Value::from(config).to_string();
        super::cache::write_whole(&folder.join("tokenizer_config.json"), config.as_bytes())?;
        super::cache::write_whole(&folder.join("tokenizer.json"), self.json.as_bytes())
    }

    /// The text of `tokenizer.json`.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Number of ids: one more than the largest.
    pub fn vocab(&self) -> usize {
        self.table.len()
    }

    /// The id that begins a document, if there is one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The id that ends a document, if there is one. Generation stops at it.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// The name of a special token, if `id` is one.
    pub fn name(&self, id: u32) -> Option<String> {
        self.specials.iter().find(|(_, known)| *known == id).map(|(name, _)| name.clone())
    }

    /// The id of a token by its name in the vocabulary, such as `<|im_start|>`.
    pub fn id(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name)
    }

    /// A digest of vocabulary, rules and marks.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The ids of a text, nothing added: special tokens spelled in it stay text.
    ///
    /// # Errors
    /// A refusal where the vocabulary has no token for a part of the text; it names the character.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        if let Some(map) = &self.characters {
            let id = |(at, c): (usize, char)| map.get(&c).copied().ok_or_else(|| unknown(text, at, c));
            return text.char_indices().map(id).collect();
        }
        let ids = self.inner.encode_fast(text, false).map_err(|error| {
            let hint = "use the tokenizer that belongs to this text, or let one be trained";
            Refusal::new("could not tokenise the text", error.to_string(), hint)
        })?;
        Ok(ids.get_ids().to_vec())
    }

    /// An encoder for much text: it remembers what repeats.
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder::new(self)
    }

    /// The ids of a text with the special tokens that the tokenizer's own post-processor adds, and no others.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        let mut ids = self.prefix.clone();
        ids.extend(self.encode(text)?);
        ids.extend(&self.suffix);
        Ok(ids)
    }

    /// The ids of a rendered template: special tokens spelled in it are those tokens; nothing is added.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_marked(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        let mut ids = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let next = self.specials.iter().filter_map(|(name, id)| Some((rest.find(name.as_str())?, name.len(), *id)));
            let next = next.min_by_key(|&(at, length, _)| (at, usize::MAX - length));
            let plain = next.map_or(rest.len(), |(at, ..)| at);
            if plain > 0 {
                ids.extend(self.encode(&rest[..plain])?);
            }
            let Some((at, length, id)) = next else { break };
            ids.push(id);
            rest = &rest[at + length..];
        }
        Ok(ids)
    }

    /// The ids that every document is trained with before its text (what the post-processor adds in front).
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// The ids that every document is trained with after its text: what the post-processor adds, and EOS if it does
    /// not.
    pub fn document_end(&self) -> Vec<u32> {
        let missing = self.eos.filter(|id| !self.suffix.contains(id));
        self.suffix.iter().copied().chain(missing).collect()
    }

    /// The text of ids; special tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        let special = |id: &u32| self.specials.iter().any(|(_, special)| special == id);
        let plain: Vec<u32> = ids.iter().copied().filter(|id| !special(id)).collect();
        if self.characters.is_some() {
            return plain.iter().map(|&id| String::from_utf8_lossy(self.table.of(id))).collect();
        }
        self.inner.decode(&plain, false).unwrap_or_default()
    }

    /// A decoder that hands text out while ids come in, never half a character.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream { tokenizer: self, pending: Vec::new(), started: false }
    }

    /// Bytes of UTF-8 that a token stands for; 0 for special tokens and unknown ids.
    pub fn byte_length(&self, id: u32) -> usize {
        self.table.of(id).len()
    }

    /// [`Tokenizer::byte_length`] of every id: what bits per byte divide by.
    pub fn byte_lengths(&self) -> Vec<u32> {
        (0..self.vocab() as u32).map(|id| self.byte_length(id) as u32).collect()
    }
}

/// What the post-processor puts before and after a text.
fn surroundings(inner: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    // A text that every vocabulary has a token for: one of its own, by its first ids.
    let probe = (0..u32::MAX).take(4096).filter_map(|id| inner.decode(&[id], true).ok()).find(|text| {
        !text.is_empty() && inner.encode_fast(text.as_str(), false).is_ok_and(|plain| !plain.get_ids().is_empty())
    });
    let probe = probe.ok_or("no token of the vocabulary can be encoded")?;
    let ids = |special| inner.encode_fast(probe.as_str(), special).map(|e| e.get_ids().to_vec());
    let plain = ids(false).map_err(|error| error.to_string())?;
    let whole = ids(true).map_err(|error| error.to_string())?;
    let at = whole.windows(plain.len()).position(|window| window == plain);
    let at = at.ok_or("the post-processor changes the text's own tokens")?;
    Ok((whole[..at].to_vec(), whole[at + plain.len()..].to_vec()))
}

fn unknown(text: &str, at: usize, c: char) -> Refusal {
    let before: String = text[..at].chars().rev().take(20).collect::<Vec<_>>().into_iter().rev().collect();
    Refusal::new(
        format!("the character {c:?} is not in the vocabulary"),
        format!("character U+{:04X} at byte {at}, after {before:?}", u32::from(c)),
        "use only characters that the model was trained on, or train a byte-level tokenizer (it knows every text)",
    )
}

/// Ids in, text out, in whole characters: what a stream of tokens says so far.
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    pending: Vec<u8>,
    started: bool,
}

impl TextStream<'_> {
    /// Takes the next id and hands out the text that is certain now, often empty or several characters.
    pub fn push(&mut self, id: u32) -> String {
        let bytes = self.tokenizer.table.of(id);
        let strip = !self.started && self.tokenizer.table.strips_first_space() && bytes.first() == Some(&b' ');
        self.started |= !bytes.is_empty();
        self.pending.extend_from_slice(if strip { &bytes[1..] } else { bytes });
        self.flush(false)
    }

    /// Hands out what is left: half a character becomes U+FFFD.
    pub fn finish(mut self) -> String {
        self.flush(true)
    }

    fn flush(&mut self, ended: bool) -> String {
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let good = error.valid_up_to();
                    text.push_str(std::str::from_utf8(&self.pending[..good]).expect("valid up to there"));
                    let bad = error.error_len().or(ended.then(|| self.pending.len() - good));
                    self.pending.drain(..good + bad.unwrap_or(0));
                    if bad.is_none() {
                        return text;
                    }
                    text.push('\u{FFFD}');
                }
            }
        }
    }
}
