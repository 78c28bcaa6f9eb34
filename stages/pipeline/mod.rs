//! The pipeline file: one TOML with the model and its stages. Nothing written in it is ignored.

pub mod keys;
pub mod resolved;

use keys::{MODEL, PRETRAIN, TOP, normalise};
use pleach_runtime::fault::Refusal;
use pleach_runtime::model::config::{FeedForward, ModelConfig, Positions};
use serde::{Deserialize, Serialize};
use std::path::Path;
use toml::{Table, Value};

/// A whole pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Name of the run.
    pub name: String,
    /// Key of all randomness.
    pub seed: u64,
    /// `auto`, `gpu`, `cpu`, `software` or an index.
    pub device: String,
    /// Processor threads; 0 = all.
    pub threads: usize,
    /// The model, vocabulary still open.
    pub model: ModelChoice,
    /// The stages.
    pub stages: Vec<Pretrain>,
    /// The tables as they were understood, for `resolved.toml`.
    pub written: Table,
    /// Keys of the top whose values a flag of the command line gave, for the same.
    pub flags: Vec<&'static str>,
}

/// `[model]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelChoice {
    /// `depth`, `qwen3` or `gpt2`.
    pub shape: Option<String>,
    /// The one dial.
    pub depth: Option<usize>,
    /// Tokens of a sequence.
    pub context: Option<usize>,
    /// Channels of the residual stream.
    pub width: Option<usize>,
    /// Decoder blocks.
    pub layers: Option<usize>,
    /// Query heads.
    pub heads: Option<usize>,
    /// Key/value heads.
    pub kv_heads: Option<usize>,
    /// Channels of a head.
    pub head_dim: Option<usize>,
    /// Width of the feed-forward part.
    pub hidden: Option<usize>,
    /// Biases in the gpt2 shape.
    pub biases: Option<bool>,
    /// The head is the token embedding.
    pub tied: Option<bool>,
    /// Dropout rate.
    pub dropout: Option<f32>,
    /// Base of rotary positions.
    pub rope_theta: Option<f32>,
    /// How far a token sees.
    pub sliding_window: Option<usize>,
    /// The feed-forward part.
    pub feed_forward: Option<FeedForward>,
}

/// The context where none is given.
const CONTEXT: usize = 256;

impl ModelChoice {
    /// Tokens of a sequence.
    pub fn context(&self) -> usize {
        self.context.unwrap_or(CONTEXT)
    }

    /// The model for a vocabulary.
    pub fn config(&self, vocab: usize) -> Result<ModelConfig, Refusal> {
        let context = self.context();
        let what = "could not make the model that [model] describes";
        let shape = self.shape.as_deref().unwrap_or("depth");
        let width = self.width.unwrap_or(256);
        let layers = self.layers.unwrap_or(4);
        let heads = self.heads.unwrap_or((width / 64).max(1));
        let mut config = match shape {
            "depth" => ModelConfig::depth(self.depth.unwrap_or(4), vocab, context),
            "qwen3" => ModelConfig::qwen3(vocab, context, width, layers, heads, self.kv_heads.unwrap_or(heads)),
            "gpt2" => ModelConfig::gpt2(vocab, context, width, layers, heads, self.biases.unwrap_or(false)),
            other => {
                let detail = format!("shape = \"{other}\"");
                return Err(Refusal::new(what, detail, "shapes are \"depth\", \"qwen3\" and \"gpt2\""));
            }
        };
        let sizes = [self.width, self.layers, self.heads, self.kv_heads].iter().any(Option::is_some);
        if shape == "depth" && sizes {
            let hint = "set shape = \"qwen3\" or \"gpt2\" to give sizes one by one, or leave them out";
            return Err(Refusal::new(what, "depth fills width, layers and heads by itself", hint));
        }
        if shape != "depth" && self.depth.is_some() {
            return Err(Refusal::new(what, format!("shape \"{shape}\" has no depth"), "use layers and width"));
        }
        if shape == "gpt2" && (self.kv_heads.is_some() || self.rope_theta.is_some()) {
            return Err(Refusal::new(what, "shape \"gpt2\" has no kv_heads and no rope_theta", "leave them out"));
        }
        if shape != "gpt2" && self.biases == Some(true) {
            return Err(Refusal::new(what, format!("shape \"{shape}\" has no biases"), "leave biases out"));
        }
        if !width.is_multiple_of(heads) && self.head_dim.is_none() && shape != "depth" {
            let detail = format!("width = {width} is not a multiple of heads = {heads}");
            return Err(Refusal::new(what, detail, "choose other sizes, or give head_dim"));
        }
        self.details(&mut config);
        config.check()?;
        Ok(config)
    }

    fn details(&self, config: &mut ModelConfig) {
        config.head_dim = self.head_dim.unwrap_or(config.head_dim);
        config.hidden = self.hidden.unwrap_or(config.hidden);
        config.tied = self.tied.unwrap_or(config.tied);
        config.dropout = self.dropout.unwrap_or(config.dropout);
        config.sliding_window = self.sliding_window.or(config.sliding_window);
        config.feed_forward = self.feed_forward.unwrap_or(config.feed_forward);
        if let (Some(theta), Positions::Rotary { .. }) = (self.rope_theta, config.positions) {
            config.positions = Positions::Rotary { theta };
        }
    }
}

/// One file or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// A single one.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// As a list.
    pub fn list(&self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one.clone()],
            OneOrMany::Many(many) => many.clone(),
        }
    }
}

/// A share of the documents, or a file of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Valid {
    /// In (0, 0.5].
    Share(f64),
    /// Files held out.
    Files(OneOrMany),
}

/// A `[[stage]]` of kind pretrain, every value with its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "keys.rs documents every key, and help prints it from there")]
pub struct Pretrain {
    pub kind: String,
    pub data: OneOrMany,
    pub text_field: String,
    pub tokenizer: String,
    pub vocab: usize,
    pub split: String,
    pub valid: Valid,
    pub boundaries: bool,
    pub sampling: String,
    pub batch: usize,
    pub micro_batch: usize,
    pub steps: Option<u64>,
    pub epochs: Option<f64>,
    pub minutes: Option<f64>,
    pub learning_rate: f64,
    pub schedule: String,
    pub floor: f64,
    pub warmup: Option<u64>,
    pub decay_share: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub clip: f64,
    pub recompute: bool,
    pub eval_every: Option<u64>,
    pub sample_every: Option<u64>,
    pub save_every: u64,
    pub save_minutes: f64,
    pub vault_every: u64,
    pub milestones: u64,
    pub prefetch: usize,
    pub prompts: Vec<String>,
    pub sample_tokens: usize,
    pub temperature: f32,
    pub top_p: f32,
}

impl Default for Pretrain {
    fn default() -> Pretrain {
        Pretrain {
            kind: "pretrain".into(),
            data: OneOrMany::Many(Vec::new()),
            text_field: "text".into(),
            tokenizer: "bpe".into(),
            vocab: 4096,
            split: "gpt2".into(),
            valid: Valid::Share(0.1),
            boundaries: true,
            sampling: "epochs".into(),
            batch: 16,
            micro_batch: 0,
            steps: None,
            epochs: None,
            minutes: None,
            learning_rate: 1e-3,
            schedule: "cosine".into(),
            floor: 0.1,
            warmup: None,
            decay_share: 0.2,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.1,
            clip: 1.0,
            recompute: false,
            eval_every: None,
            sample_every: None,
            save_every: 0,
            save_minutes: 10.0,
            vault_every: 0,
            milestones: 10,
            prefetch: 2,
            prompts: Vec::new(),
            sample_tokens: 64,
            temperature: 0.8,
            top_p: 0.95,
        }
    }
}

const WHAT: &str = "could not read the pipeline file";

impl Pipeline {
    /// Reads a pipeline file.
    pub fn read(path: &Path) -> Result<Pipeline, Refusal> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let detail = format!("{}: {error}", path.display());
            Refusal::new(WHAT, detail, "name an existing file, or make one with `pleach new DIR`")
        })?;
        Pipeline::parse(&text)
    }

    /// Reads a pipeline from its text.
    pub fn parse(text: &str) -> Result<Pipeline, Refusal> {
        let refuse = |detail: String, hint: &str| Refusal::new(WHAT, detail, hint);
        let mut table: Table = text
            .parse()
            .map_err(|e: toml::de::Error| refuse(e.to_string(), "the file is TOML; mend the marked place"))?;
        let model = match table.remove("model") {
            None => Table::new(),
            Some(Value::Table(model)) => normalise(&model, MODEL, "[model]", text)?,
            Some(_) => return Err(refuse("\"model\" is not a table".into(), "write [model] on a line of its own")),
        };
        let stages = match table.remove("stage") {
            Some(Value::Array(stages)) if !stages.is_empty() => stages,
            _ => {
                return Err(refuse(
                    "there is no [[stage]]".into(),
                    "add one: [[stage]] kind = \"pretrain\" data = ...",
                ));
            }
        };
        if stages.len() > 1 {
            let detail = format!("there are {} [[stage]] tables", stages.len());
            return Err(refuse(detail, "this version trains one stage; keep one"));
        }
        let top = normalise(&table, TOP, "the top of the file", text)?;
        let mut written = top.clone();
        written.insert("model".into(), Value::Table(model.clone()));
        let mut list = Vec::new();
        let mut tables = Vec::new();
        for (index, stage) in stages.iter().enumerate() {
            let where_ = format!("[[stage]] number {}", index + 1);
            let Value::Table(stage) = stage else {
                return Err(refuse(format!("{where_} is not a table"), "write [[stage]]"));
            };
            let stage = normalise(stage, PRETRAIN, &where_, text)?;
            let kind = stage.get("kind").and_then(Value::as_str).unwrap_or("pretrain");
            if kind != "pretrain" {
                return Err(refuse(format!("{where_}: kind = \"{kind}\""), "this version knows the kind \"pretrain\""));
            }
            tables.push(Value::Table(stage.clone()));
            let stage: Pretrain = typed(stage, &where_)?;
            stage.check(&where_)?;
            list.push(stage);
        }
        written.insert("stage".into(), Value::Array(tables));
        let string = |key: &str, otherwise: &str| match top.get(key) {
            None => Ok(otherwise.to_string()),
            Some(Value::String(value)) => Ok(value.clone()),
            Some(Value::Integer(value)) => Ok(value.to_string()),
            Some(value) => Err(refuse(format!("{key} = {value}"), "it must be a text in quotes")),
        };
        let count = |key: &str| match top.get(key) {
            None => Ok(0),
            Some(value) => value
                .as_integer()
                .and_then(|value| u64::try_from(value).ok())
                .ok_or_else(|| refuse(format!("{key} = {value}"), "it must be a whole number from 0 up")),
        };
        Ok(Pipeline {
            name: plain(string("name", "run")?)?,
            seed: count("seed")?,
            device: string("device", "auto")?,
            threads: count("threads")? as usize,
            model: typed(model, "[model]")?,
            stages: list,
            written,
            flags: Vec::new(),
        })
    }
}

/// A run's name names its folder.
fn plain(name: String) -> Result<String, Refusal> {
    if pleach_runtime::store::is_plain_name(&name) {
        return Ok(name);
    }
    let hint = "a run's name is a folder's: letters, digits, '.', '_' and '-', not led by a dot";
    Err(Refusal::new(WHAT, format!("name = \"{name}\""), hint))
}

fn typed<T: for<'a> Deserialize<'a>>(table: Table, where_: &str) -> Result<T, Refusal> {
    T::deserialize(table).map_err(|error| {
        let detail = format!("{where_}: {}", error.message());
        Refusal::new(
            WHAT,
            detail,
            "`pleach new --help` and the comments of a new pipeline file say what each key takes",
        )
    })
}

impl Pretrain {
    fn check(&self, where_: &str) -> Result<(), Refusal> {
        let refuse = |detail: String, hint: &str| Err(Refusal::new(WHAT, format!("{where_}: {detail}"), hint));
        if self.data.list().is_empty() {
            return refuse("\"data\" is missing".into(), "name a file, a folder, a glob, or \"world:20000\"");
        }
        let lengths = [self.steps.is_some(), self.epochs.is_some(), self.minutes.is_some()];
        if lengths.iter().filter(|&&given| given).count() > 1 {
            return refuse("steps, epochs and minutes exclude each other".into(), "keep one of them");
        }
        for (name, value, low, high) in [
            ("learning_rate", self.learning_rate, 0.0, 10.0),
            ("floor", self.floor, 0.0, 1.0),
            ("decay_share", self.decay_share, 0.0, 1.0),
            ("beta1", self.beta1, 0.0, 0.999_999),
            ("beta2", self.beta2, 0.0, 0.999_999_9),
            ("eps", self.eps, 0.0, 1.0),
            ("weight_decay", self.weight_decay, 0.0, 10.0),
            ("clip", self.clip, 0.0, 1e9),
            ("epochs", self.epochs.unwrap_or(1.0), 1e-6, 1e9),
            ("minutes", self.minutes.unwrap_or(1.0), 0.05, 1e7),
            ("save_minutes", self.save_minutes, 0.01, 1e7),
            ("top_p", f64::from(self.top_p), 0.0, 1.0),
            ("temperature", f64::from(self.temperature), 0.0, 100.0),
        ] {
            if !(low..=high).contains(&value) {
                return refuse(format!("{name} = {value}"), &format!("give a value from {low} to {high}"));
            }
        }
        if self.batch > 1 << 20 || self.prefetch > 64 || self.sample_tokens > 1 << 20 {
            return refuse("batch, prefetch or sample_tokens is too large".into(), "at most 1048576, 64 and 1048576");
        }
        if self.batch == 0 || self.steps == Some(0) || self.vocab == 0 {
            return refuse("batch, steps and vocab are at least 1".into(), "give a value from 1 up");
        }
        for (name, value, allowed) in [
            ("schedule", &self.schedule, &["constant", "cosine", "linear", "wsd"][..]),
            ("sampling", &self.sampling, &["epochs", "offsets"][..]),
            ("split", &self.split, &["gpt2", "qwen2"][..]),
        ] {
            if !allowed.contains(&value.as_str()) {
                return refuse(format!("{name} = \"{value}\""), &format!("it may be {}", allowed.join(", ")));
            }
        }
        if let Valid::Share(share) = self.valid
            && !(share > 0.0 && share <= 0.5)
        {
            return refuse(format!("valid = {share}"), "give a share above 0 and up to 0.5, or a file");
        }
        Ok(())
    }
}
