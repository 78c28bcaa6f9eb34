//! `resolved.toml`: every value of a run with its origin; what was derived from time, speed or memory is frozen there.

use super::keys::Key;
use super::{Pipeline, StageChoice};
use pleach_runtime::fault::Refusal;
use pleach_runtime::model::config::{ModelConfig, Positions};
use toml::{Table, Value};

/// What is derived at a run's first start, and kept for ever after.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frozen {
    /// What was asked for as the device.
    pub wish: String,
    /// The device that it came to, in words that find it again (`pleach_runtime::device::choose::Chosen`); empty where
    /// none was found.
    pub device: String,
    /// The stages, as far as they were known.
    pub stages: Vec<FrozenStage>,
}

/// What is derived of a stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrozenStage {
    /// Optimizer steps.
    pub steps: u64,
    /// Where that number comes from.
    pub steps_from: String,
    /// Rows computed at once.
    pub micro_rows: usize,
    /// Where that comes from.
    pub micro_from: String,
}

/// What follows from the number of steps where the pipeline file is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    /// Steps of warm-up.
    pub warmup: u64,
    /// Steps between evaluations.
    pub eval_every: u64,
    /// Steps between samples.
    pub sample_every: u64,
    /// Steps between copies in memory.
    pub vault_every: u64,
}

impl Derived {
    /// The values of a stage of so many steps: as written, else derived.
    pub fn of(stage: &StageChoice, steps: u64) -> Derived {
        Derived {
            warmup: stage.warmup.unwrap_or((steps / 20).min(200)),
            eval_every: stage.eval_every.unwrap_or((steps / 10).max(1)),
            sample_every: stage.sample_every.unwrap_or((steps / 5).max(1)),
            vault_every: if stage.vault_every > 0 { stage.vault_every } else { (steps / 100).clamp(1, 100) },
        }
    }
}

/// A value and where it comes from: `pleach.toml`, `flag --NAME`, `default`, `derived: HOW`, or frozen before.
type Origin = (Value, String);

/// The text of resolved.toml.
pub fn write(pipeline: &Pipeline, config: &ModelConfig, frozen: &Frozen) -> String {
    let mut out = String::from("# Every value of this run. It is written by pleach; edit pleach.toml instead.\n");
    let name = Value::from(pipeline.name.clone());
    for (key, value) in std::iter::once(("name".to_string(), name)).chain(as_top(pipeline)) {
        let origin = match (pipeline.flags.iter().any(|flag| *flag == key), pipeline.written.contains_key(&key)) {
            (true, _) => format!("flag --{key}"),
            (_, true) => TYPED.into(),
            _ => "default".into(),
        };
        out.push_str(&format!("{key} = {value} # {origin}\n"));
    }
    put_title(&mut out, "[model]");
    let model = pipeline.written.get("model").and_then(Value::as_table);
    for key in ["vocab"].into_iter().chain(super::keys::MODEL.iter().map(|key| key.name)) {
        let typed = model.and_then(|model| model.get(key)).map(|value| (value.clone(), TYPED.to_string()));
        if let Some((value, origin)) = typed.or_else(|| model_value(pipeline, config, key)) {
            out.push_str(&format!("{key} = {value} # {origin}\n"));
        }
    }
    let written = pipeline.written.get("stage").and_then(Value::as_array);
    for (number, (choice, frozen)) in pipeline.stages.iter().zip(&frozen.stages).enumerate() {
        let typed = written.and_then(|stages| stages.get(number)).and_then(Value::as_table);
        put_stage(&mut out, choice, typed, frozen);
    }
    put_title(&mut out, "[frozen]");
    let (device, wish) = (Value::from(frozen.device.clone()), Value::from(frozen.wish.clone()));
    out.push_str(&format!("device = {device} # derived: where {wish} was asked for\n"));
    out.push_str(&format!("wish = {wish} # what the device was chosen by\n"));
    for stage in &frozen.stages {
        put_title(&mut out, "[[frozen.stage]]");
        out.push_str(&format!("steps = {} # {}\n", stage.steps, stage.steps_from));
        out.push_str(&format!("micro_rows = {} # {}\n", stage.micro_rows, stage.micro_from));
    }
    out
}

fn put_stage(out: &mut String, choice: &StageChoice, typed: Option<&Table>, frozen: &FrozenStage) {
    put_title(out, "[[stage]]");
    for key in choice.kind.keys().map(|key| key.name) {
        let typed = typed.and_then(|stage| stage.get(key));
        // A zero that was typed leaves these two open.
        let open = ["micro_batch", "vault_every"].contains(&key) && typed.is_some_and(|v| v.as_integer() == Some(0));
        let typed = typed.filter(|_| !open).map(|value| (value.clone(), TYPED.to_string()));
        if let Some((value, origin)) = typed.or_else(|| stage_value(choice, frozen, key)) {
            out.push_str(&format!("{key} = {value} # {origin}\n"));
        }
    }
}

/// The origin of what a person typed.
pub const TYPED: &str = "pleach.toml";

fn put_title(out: &mut String, title: &str) {
    out.push_str(&format!("\n{title}\n"));
}

/// A value of `[model]` that nobody typed; None where this shape has none.
fn model_value(pipeline: &Pipeline, config: &ModelConfig, key: &str) -> Option<Origin> {
    let shape = pipeline.model.shape.as_deref().unwrap_or("depth");
    let dial = shape == "depth";
    let value = match key {
        "shape" => Value::from(shape),
        "depth" => dial.then(|| Value::from(config.layers as i64))?,
        "biases" => (shape == "gpt2").then(|| Value::from(config.qkv_bias))?,
        "rope_theta" => match config.positions {
            Positions::Rotary { theta } => Value::from(f64::from(theta)),
            Positions::Learned => return None,
        },
        _ => as_table(config).remove(key)?,
    };
    let origin = match key {
        "shape" | "depth" | "context" | "dropout" | "biases" | "rope_theta" | "feed_forward" => "default",
        "width" | "layers" | "tied" if !dial => "default",
        "vocab" => "derived: the tokenizer's",
        _ if dial => "derived: from depth",
        _ => "derived: from width and heads",
    };
    Some((value, origin.to_string()))
}

/// A value of the stage that nobody typed; None where there is none (the other ways to say how long it lasts).
fn stage_value(stage: &StageChoice, frozen: &FrozenStage, key: &str) -> Option<Origin> {
    let derived = Derived::of(stage, frozen.steps);
    let (number, origin) = match key {
        "steps" => (frozen.steps, frozen.steps_from.as_str()),
        "micro_batch" => (frozen.micro_rows as u64, frozen.micro_from.as_str()),
        "warmup" => (derived.warmup, "derived: a twentieth of the steps, at most 200"),
        "eval_every" => (derived.eval_every, "derived: a tenth of the steps"),
        "sample_every" => (derived.sample_every, "derived: a fifth of the steps"),
        "vault_every" => (derived.vault_every, "derived: a hundredth of the steps, at most 100"),
        _ => return as_table(stage).remove(key).map(|value| (value, "default".to_string())),
    };
    Some((Value::from(number as i64), origin.to_string()))
}

/// The frozen values of an earlier start.
pub fn read(text: &str) -> Option<Frozen> {
    let table: Table = text.parse().ok()?;
    let frozen = table.get("frozen")?.as_table()?;
    let stages = match frozen.get("stage") {
        Some(stages) => stages.as_array()?.iter().map(|stage| read_stage(stage.as_table()?)).collect::<Option<_>>()?,
        // A run of one stage by an earlier version.
        None => vec![read_stage(frozen)?],
    };
    Some(Frozen { wish: word(frozen, "wish"), device: word(frozen, "device"), stages })
}

fn read_stage(table: &Table) -> Option<FrozenStage> {
    let from = "frozen at the first start".to_string();
    let whole = |key: &str| u64::try_from(table.get(key)?.as_integer()?).ok().filter(|&whole| whole > 0);
    Some(FrozenStage {
        steps: whole("steps")?,
        steps_from: from.clone(),
        micro_rows: usize::try_from(whole("micro_rows")?).ok()?,
        micro_from: from,
    })
}

/// A text of a table, empty where there is none: earlier versions froze no device.
fn word(table: &Table, key: &str) -> String {
    table.get(key).and_then(Value::as_str).unwrap_or_default().to_string()
}

fn as_table<T: serde::Serialize>(value: &T) -> Table {
    Table::try_from(value).unwrap_or_default()
}

/// What changed in the pipeline file since the run began, in words; refused where a run is defined by it. Stages may be
/// added at the end, and what a stage is defined by may change until it is `begun`.
pub fn changes(before: &Pipeline, now: &Pipeline, begun: &dyn Fn(usize) -> bool) -> Result<Vec<String>, Refusal> {
    let what = "the run was begun with other values";
    let hint = "put the old value back, or give the new run another name";
    let kinds = |pipeline: &Pipeline| pipeline.stages.iter().map(|stage| stage.kind).collect::<Vec<_>>();
    if !kinds(now).starts_with(&kinds(before)) {
        let names = |kinds: Vec<super::Kind>| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        let detail = format!("the stages were {}, and are {}", names(kinds(before)), names(kinds(now)));
        return Err(Refusal::new(what, detail, "put them back as they were; new ones stand at the end"));
    }
    let one = |keys: &'static [Key]| keys.iter().collect::<Vec<_>>();
    let mut sections = vec![
        (String::new(), true, one(super::keys::TOP), as_top(before), as_top(now)),
        ("[model] ".to_string(), true, one(super::keys::MODEL), as_table(&before.model), as_table(&now.model)),
    ];
    for (number, (old, new)) in before.stages.iter().zip(&now.stages).enumerate() {
        // One stage needs no number.
        let name = if before.stages.len() > 1 { format!("[[stage]] {} ", number + 1) } else { "[[stage]] ".into() };
        sections.push((name, begun(number), new.kind.keys().collect(), as_table(old), as_table(new)));
    }
    let mut out = Vec::new();
    for (section, begun, keys, old, new) in sections {
        for key in keys {
            let (old, new) = (old.get(key.name), new.get(key.name));
            if old == new {
                continue;
            }
            let shown = |value: Option<&Value>| value.map_or("not set".to_string(), super::keys::shown);
            let words = format!("{section}{}: was {}, is {}", key.name, shown(old), shown(new));
            if begun && !key.free {
                return Err(Refusal::new(what, words, hint));
            }
            out.push(words);
        }
    }
    let added = now.stages.iter().skip(before.stages.len());
    out.extend(added.map(|stage| format!("[[stage]] added: {}", stage.kind.name())));
    Ok(out)
}

fn as_top(pipeline: &Pipeline) -> Table {
    let mut table = Table::new();
    table.insert("seed".into(), Value::from(pipeline.seed as i64));
    table.insert("device".into(), Value::from(pipeline.device.clone()));
    table.insert("threads".into(), Value::from(pipeline.threads as i64));
    table
}
