//! Vocabularies made here: a byte-level BPE with a split that the inference programs know by name, or characters.

use super::Tokenizer;
use super::chunks::seams;
use pleach_runtime::fault::Refusal;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// The mark that begins and ends a document in vocabularies trained here.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Marks of turns (ChatML), kept free for instruction tuning.
pub const CHAT_MARKS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// The split of a vocabulary of characters.
pub(super) const EACH_CHARACTER: &str = "[\\s\\S]";

/// Qwen2's split.
pub(super) const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Sizes by which converters take a vocabulary for another model's (llama.cpp: SmolLM, CodeLlama).
const TAKEN: [usize; 2] = [49152, 32016];

/// Where words begin, before byte pairs are merged inside them. Only splits that GGUF files can name
/// (`tokenizer.ggml.pre`), so that an exported model tokenises the same elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// GPT-2's: words with their leading space, runs of digits (`gpt-2`).
    #[default]
    Gpt2,
    /// Qwen2's: digits one by one, line ends apart (`qwen2`).
    Qwen2,
}

impl Split {
    /// The name in `tokenizer.ggml.pre`.
    pub fn gguf_name(self) -> &'static str {
        match self {
            Split::Gpt2 => "gpt-2",
            Split::Qwen2 => "qwen2",
        }
    }

    fn pre_tokenizer(self) -> Value {
        let bytes =
            |regex| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        match self {
            // The library's ByteLevel has GPT-2's pattern built in.
            Split::Gpt2 => bytes(true),
            Split::Qwen2 => {
                let split =
                    json!({"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": false});
                json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
            }
        }
    }
}

/// What a vocabulary is trained to.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Number of ids, marks included; at least 256 and the marks. A small corpus may give fewer.
    pub vocab: usize,
    /// The split.
    pub split: Split,
    /// Special tokens, from id 0 on; the first one begins and ends documents.
    pub marks: Vec<String>,
    /// Pairs seen less often are not merged.
    pub min_frequency: u64,
}

impl Default for TrainOptions {
    fn default() -> TrainOptions {
        let marks = [END_OF_TEXT].iter().chain(&CHAT_MARKS).map(|mark| mark.to_string()).collect();
        TrainOptions { vocab: 4096, split: Split::Gpt2, marks, min_frequency: 2 }
    }
}

/// Trains a byte-level BPE on a sample. The same sample gives the same file, for any number of threads.
///
/// Nothing is normalised (Qwen2's own file composes to NFC; llama.cpp's `qwen2` does not), so that decoding gives
/// back every text exactly.
///
/// # Errors
/// A refusal for a size that cannot be, or a sample without text.
pub fn train(sample: Vec<String>, options: &TrainOptions) -> Result<Tokenizer, Refusal> {
    let what = "could not train a tokenizer";
    let least = 256 + options.marks.len();
    if options.vocab < least {
        let detail = format!("vocab = {} holds not even the 256 bytes and {} marks", options.vocab, least - 256);
        return Err(Refusal::new(what, detail, format!("use at least {least}; 4096 suits small models")));
    }
    if TAKEN.contains(&options.vocab) {
        let detail = format!("converters take a vocabulary of {} for another model's", options.vocab);
        return Err(Refusal::new(what, detail, format!("use {} instead", options.vocab + 64)));
    }
    if sample.iter().all(String::is_empty) {
        return Err(Refusal::new(what, "the sample holds no text", "check the sources"));
    }
    let ours = |error: &dyn std::fmt::Display| Refusal::new(what, error.to_string(), "report this: it should not be");
    let blank = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": options.split.pre_tokenizer(), "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {}, "merges": []},
    });
    let mut inner = tokenizers::Tokenizer::from_bytes(blank.to_string()).map_err(|error| ours(&error))?;
    let counts = count_words(&inner, &sample).map_err(|error| ours(&error))?;
    let marks = options.marks.iter().map(|mark| AddedToken::from(mark.clone(), true)).collect();
    let trainer = BpeTrainerBuilder::new()
        .vocab_size(options.vocab)
        .min_frequency(options.min_frequency)
        .show_progress(false)
        .special_tokens(marks)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut model = BPE::default();
    // In a pool of our own: the library would otherwise start the process-wide one.
    let pool = rayon::ThreadPoolBuilder::new().build().map_err(|error| ours(&error))?;
    let counts = counts.into_iter().map(|(word, count)| (word.into(), count)).collect();
    let marks = pool.install(|| trainer.do_train(&counts, &mut model)).map_err(|error| ours(&error))?;
    inner.with_model(model);
    inner.add_special_tokens(marks).map_err(|error| ours(&error))?;
    let text = inner.to_string(false).map_err(|error| ours(&error))?;
    let mut file: Value = serde_json::from_str(&text).map_err(|error| ours(&error))?;
    if let Some(mark) = options.marks.first() {
        file["post_processor"] = begins_with(mark);
    }
    Tokenizer::from_json(&file.to_string(), None).map_err(|error| ours(&error))
}

/// How often each word of the split occurs. A text falls into few different chunks, and each is split once.
fn count_words(inner: &tokenizers::Tokenizer, sample: &[String]) -> tokenizers::Result<HashMap<String, u64>> {
    let mut chunks: HashMap<&str, u64> = HashMap::new();
    for chunk in sample.iter().flat_map(|text| seams(text)) {
        *chunks.entry(chunk).or_default() += 1;
    }
    let split = inner.get_pre_tokenizer().ok_or("no split")?;
    let mut words = HashMap::new();
    for (chunk, count) in chunks {
        let mut parts = PreTokenizedString::from(chunk);
        split.pre_tokenize(&mut parts)?;
        for (word, ..) in parts.get_splits(OffsetReferential::Original, OffsetType::None) {
            *words.entry(word.to_owned()).or_default() += count;
        }
    }
    Ok(words)
}

/// A post-processor that puts a mark (id 0) before each text: training, evaluation and generation all begin with it.
fn begins_with(mark: &str) -> Value {
    let token = |kind: u32| json!({"SpecialToken": {"id": mark, "type_id": kind}});
    let text = |name: &str, kind: u32| json!({"Sequence": {"id": name, "type_id": kind}});
    json!({
        "type": "TemplateProcessing",
        "single": [token(0), text("A", 0)],
        "pair": [token(0), text("A", 0), token(1), text("B", 1)],
        "special_tokens": {mark: {"id": mark, "ids": [0], "tokens": [mark]}},
    })
}

/// A vocabulary of these characters in the order of their code points, without special tokens.
///
/// # Errors
/// A refusal where there is no character.
pub fn characters(of: &BTreeSet<char>) -> Result<Tokenizer, Refusal> {
    let what = "could not make a vocabulary of characters";
    if of.is_empty() {
        return Err(Refusal::new(what, "the corpus holds no character", "check the sources"));
    }
    let vocab: serde_json::Map<String, Value> =
        of.iter().enumerate().map(|(id, c)| (c.to_string(), Value::from(id))).collect();
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer":
            {"type": "Split", "pattern": {"Regex": EACH_CHARACTER}, "behavior": "Isolated", "invert": false},
        "post_processor": null,
        "decoder": {"type": "Fuse"},
        // The format asks for the name of a token for the unknown; there is none.
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unknown>"},
    });
    Tokenizer::from_json(&file.to_string(), None).map_err(|error| Refusal::new(what, error, "report this"))
}
