//! The bytes that each token stands for: what streaming decodes and bits per byte count.

use serde_json::Value;
use std::collections::HashMap;

/// How a vocabulary spells bytes in its tokens' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// GPT-2's table: each byte is one printable character.
    ByteLevel,
    /// SentencePiece: U+2581 is a space, `<0x0A>` a byte.
    Pieces,
    /// The name is the text.
    Plain,
}

/// Bytes of all tokens, laid end to end.
#[derive(Clone)]
pub(super) struct Table {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    silent: Vec<bool>,
    strips_first_space: bool,
}

impl Table {
    pub(super) fn new(inner: &tokenizers::Tokenizer, json: &Value) -> Table {
        let decoder = json.get("decoder").map(Value::to_string).unwrap_or_default();
        let spelling = match () {
            () if decoder.contains("\"ByteLevel\"") => Spelling::ByteLevel,
            () if decoder.contains('\u{2581}') || decoder.contains("\"Metaspace\"") => Spelling::Pieces,
            () => Spelling::Plain,
        };
        let largest = inner.get_vocab(true).into_values().max();
        let mut table = Table {
            bytes: Vec::new(),
            ends: Vec::new(),
            silent: Vec::new(),
            strips_first_space: spelling == Spelling::Pieces
                && (decoder.contains("\"Strip\"") || decoder.contains("\"Metaspace\"")),
        };
        let alphabet = alphabet();
        for id in 0..largest.map_or(0, |id| id + 1) {
            let name = inner.id_to_token(id).unwrap_or_default();
            table.bytes.extend(spell(&name, spelling, &alphabet));
            table.ends.push(table.bytes.len() as u32);
            table.silent.push(false);
        }
        table
    }

    /// The same table in which these ids stand for no text.
    pub(super) fn without_text(mut self, ids: impl Iterator<Item = u32>) -> Table {
        for id in ids {
            self.silent[id as usize] = true;
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn of(&self, id: u32) -> &[u8] {
        let id = id as usize;
        if self.silent.get(id).copied().unwrap_or(true) {
            return &[];
        }
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        &self.bytes[start..self.ends[id] as usize]
    }

    pub(super) fn strips_first_space(&self) -> bool {
        self.strips_first_space
    }
}

fn spell(name: &str, spelling: Spelling, alphabet: &HashMap<char, u8>) -> Vec<u8> {
    match spelling {
        Spelling::Plain => name.as_bytes().to_vec(),
        Spelling::ByteLevel => {
            // Added tokens are spelled as themselves, and may hold characters outside the table.
            let bytes: Option<Vec<u8>> = name.chars().map(|c| alphabet.get(&c).copied()).collect();
            bytes.unwrap_or_else(|| name.as_bytes().to_vec())
        }
        Spelling::Pieces => {
            let byte = name.strip_prefix("<0x").and_then(|hex| hex.strip_suffix('>'));
            match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => vec![byte],
                None => name.replace('\u{2581}', " ").into_bytes(),
            }
        }
    }
}

/// GPT-2's table from character to byte: printable Latin-1 bytes are themselves, the others follow from U+0100.
fn alphabet() -> HashMap<char, u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100u32;
    let mut table = HashMap::new();
    for byte in 0..=255u8 {
        let code = match printable(byte) {
            true => u32::from(byte),
            false => {
                next += 1;
                next - 1
            }
        };
        table.insert(char::from_u32(code).expect("below the surrogates"), byte);
    }
    table
}

/// The vocabulary of a tokenizer that knows single characters and nothing else.
pub(super) fn characters(json: &Value) -> Option<HashMap<char, u32>> {
    let model = json.get("model")?;
    let split = json.pointer("/pre_tokenizer/pattern/Regex")?.as_str()? == super::train::EACH_CHARACTER;
    if model.get("type")?.as_str()? != "WordLevel" || !split || !json.get("normalizer")?.is_null() {
        return None;
    }
    let mut map = HashMap::new();
    for (name, id) in model.get("vocab")?.as_object()? {
        let mut chars = name.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else {
            return None;
        };
        map.insert(c, u32::try_from(id.as_u64()?).ok()?);
    }
    Some(map)
}
