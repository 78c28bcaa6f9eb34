//! The pipeline file: one TOML with the model and its stages. Nothing written in it is ignored.

mod check;
pub mod keys;
pub mod resolved;
mod sections;
mod stage;
mod takes;

pub use stage::{Kind, OneOrMany, RANKINGS, StageChoice, Valid};
pub use takes::Takes;

use pleach_runtime::fault::Refusal;
use pleach_runtime::model::config::{FeedForward, ModelConfig, Positions};
use sections::{Section, normalise, place};
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
    pub stages: Vec<StageChoice>,
    /// The tables as they were understood, for `resolved.toml`.
    pub written: Table,
    /// Keys of the top whose values a flag of the command line gave, for the same.
    pub flags: Vec<&'static str>,
}

/// `[model]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelChoice {
    /// A model from elsewhere to begin with.
    pub from: Option<String>,
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
    pub dropout: Option<f64>,
    /// Base of rotary positions.
    pub rope_theta: Option<f64>,
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
        countable(&config)?;
        Ok(config)
    }

    fn details(&self, config: &mut ModelConfig) {
        config.head_dim = self.head_dim.unwrap_or(config.head_dim);
        config.hidden = self.hidden.unwrap_or(config.hidden);
        config.tied = self.tied.unwrap_or(config.tied);
        config.dropout = self.dropout.map_or(config.dropout, |rate| rate as f32);
        config.sliding_window = self.sliding_window.or(config.sliding_window);
        config.feed_forward = self.feed_forward.unwrap_or(config.feed_forward);
        if let (Some(theta), Positions::Rotary { .. }) = (self.rope_theta, config.positions) {
            config.positions = Positions::Rotary { theta: theta as f32 };
        }
    }
}

/// Channels of the widest activation at most: a micro-batch of 8192 tokens then has fewer than 2^32 numbers.
const CHANNELS: usize = (1 << 19) - 1;

/// Refuses what the kernels cannot count: they number the elements of a tensor in 32 bits.
fn countable(config: &ModelConfig) -> Result<(), Refusal> {
    let what = "the model is larger than a device can count";
    let widest = config.qkv_width().max(config.up_width());
    if widest > CHANNELS {
        let detail = format!("an activation of {widest} channels; at most {CHANNELS} can be");
        return Err(Refusal::new(what, detail, "lower hidden, heads, head_dim or width").with_code(3));
    }
    let tables = if config.positions == Positions::Learned { config.vocab.max(config.context) } else { config.vocab };
    // The factors are bounded, so that the product fits.
    let largest = widest.max(tables) as u64 * config.width as u64;
    if largest > u64::from(u32::MAX) {
        let detail = format!("a matrix of {largest} numbers; at most {} can be", u32::MAX);
        return Err(Refusal::new(what, detail, "lower width, depth, hidden or vocab").with_code(3));
    }
    Ok(())
}

/// Stages at most: their folders are numbered with two digits.
const STAGES: usize = 99;

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
        let (model, stage) = (table.remove("model"), table.remove("stage"));
        // The top first: a table of a mistyped name is found there.
        let top = normalise(&table, Section::Top, text)?;
        let model = normalise(&model_table(model, text)?, Section::Model, text)?;
        let mut written = top.clone();
        written.insert("model".into(), Value::Table(model.clone()));
        let model: ModelChoice = typed(model, "[model]")?;
        let mut stages: Vec<StageChoice> = Vec::new();
        let mut tables = Vec::new();
        for (number, table) in stage_tables(stage, text)?.into_iter().enumerate() {
            let (choice, table) = stage_choice(&table, number, &stages, text)?;
            choice.check(&table, &stages, model.context())?;
            stages.push(choice);
            tables.push(Value::Table(table));
        }
        written.insert("stage".into(), Value::Array(tables));
        let string = |key: &str, otherwise: &str| match top.get(key) {
            None => otherwise.to_string(),
            Some(value) => value.as_str().map_or_else(|| value.to_string(), str::to_string),
        };
        let count = |key: &str| top.get(key).and_then(Value::as_integer).map_or(0, |count| count as u64);
        Ok(Pipeline {
            name: plain(string("name", "run"))?,
            seed: count("seed"),
            device: string("device", "auto"),
            threads: count("threads") as usize,
            model,
            stages,
            written,
            flags: Vec::new(),
        })
    }
}

/// The table of `[model]`.
fn model_table(model: Option<Value>, text: &str) -> Result<Table, Refusal> {
    match model {
        None => Ok(Table::new()),
        Some(Value::Table(model)) => Ok(model),
        Some(_) => {
            let detail = format!("{}: \"model\" is not one table", place("model", Section::Top, text));
            Err(Refusal::new(WHAT, detail, "write [model], once, on a line of its own"))
        }
    }
}

/// The tables of all `[[stage]]`.
fn stage_tables(stage: Option<Value>, text: &str) -> Result<Vec<Table>, Refusal> {
    let refuse = |detail: String, hint: &str| Err(Refusal::new(WHAT, detail, hint));
    let place = || place("stage", Section::Top, text);
    let stages = match stage {
        Some(Value::Array(stages)) => stages,
        Some(Value::Table(_)) => {
            return refuse(format!("{}: [stage] is one table of a list", place()), "write [[stage]], in two brackets");
        }
        Some(_) => {
            return refuse(format!("{}: \"stage\" is not a table", place()), "write [[stage]] on a line of its own");
        }
        None => Vec::new(),
    };
    if stages.is_empty() {
        return refuse("there is no [[stage]]".into(), "add one: [[stage]] kind = \"pretrain\" data = ...");
    }
    if stages.len() > STAGES {
        return refuse(format!("there are {} [[stage]] tables", stages.len()), "a run has at most 99 stages");
    }
    let table = |value| match value {
        Value::Table(table) => Ok(table),
        _ => {
            let detail = format!("{}: \"stage\" holds no table", place());
            Err(Refusal::new(WHAT, detail, "write [[stage]] on a line of its own"))
        }
    };
    stages.into_iter().map(table).collect()
}

/// A stage, and its table with our names. `before` are those above it.
fn stage_choice(
    table: &Table,
    number: usize,
    before: &[StageChoice],
    text: &str,
) -> Result<(StageChoice, Table), Refusal> {
    let written = ["kind", "stage"].iter().find_map(|key| table.get(*key));
    let kind = match written {
        None => Kind::Pretrain,
        Some(value) => value.as_str().and_then(Kind::of).ok_or_else(|| {
            let place = place("kind", Section::Stage(Kind::Pretrain, number), text);
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            let hint = format!("kinds are {}", names.join(", "));
            Refusal::new(WHAT, format!("{place}: kind = {value} in [[stage]]"), hint)
        })?,
    };
    let written = normalise(table, Section::Stage(kind, number), text)?;
    let peak = before.iter().find(|stage| stage.kind == Kind::Pretrain).map(|stage| stage.learning_rate);
    let mut whole = Table::try_from(StageChoice::of(kind, peak)).expect("values with their defaults are a table");
    // What was written goes before the default.
    whole.extend(written.clone());
    Ok((typed(whole, "[[stage]]")?, written))
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
