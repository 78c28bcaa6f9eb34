//! `resolved.toml`: every value of a run with its origin; what was derived from time, speed or memory is frozen there.

use super::{Pipeline, Pretrain};
use pleach_runtime::fault::Refusal;
use toml::{Table, Value};

/// What is derived at a run's first start, and kept for ever after.
#[derive(Clone, Debug, PartialEq)]
pub struct Frozen {
    /// Optimizer steps.
    pub steps: u64,
    /// Where that number comes from.
    pub steps_from: String,
    /// Rows computed at once.
    pub micro_rows: usize,
    /// Where that comes from.
    pub micro_from: String,
}

/// The text of resolved.toml.
pub fn write(pipeline: &Pipeline, stage: &Pretrain, frozen: &Frozen) -> String {
    let mut out = String::from("# Every value of this run. It is written by pleach; edit pleach.toml instead.\n");
    let written = |table: Option<&Table>, key: &str| table.is_some_and(|table| table.contains_key(key));
    let origin = |yes: bool| if yes { "pleach.toml" } else { "default" };
    let top = [
        ("name", Value::from(pipeline.name.clone())),
        ("seed", Value::from(pipeline.seed as i64)),
        ("device", Value::from(pipeline.device.clone())),
        ("threads", Value::from(pipeline.threads as i64)),
    ];
    for (key, value) in top {
        out.push_str(&format!("{key} = {value} # {}\n", origin(pipeline.written.contains_key(key))));
    }
    let model = pipeline.written.get("model").and_then(Value::as_table);
    out.push_str("\n[model]\n");
    for (key, value) in as_table(&pipeline.model) {
        out.push_str(&format!("{key} = {value} # {}\n", origin(written(model, &key))));
    }
    let stages = pipeline.written.get("stage").and_then(Value::as_array);
    let typed = stages.and_then(|stages| stages.first()).and_then(Value::as_table);
    out.push_str("\n[[stage]]\n");
    for (key, value) in as_table(stage) {
        out.push_str(&format!("{key} = {value} # {}\n", origin(written(typed, &key))));
    }
    out.push_str("\n[frozen]\n");
    out.push_str(&format!("steps = {} # {}\n", frozen.steps, frozen.steps_from));
    out.push_str(&format!("micro_rows = {} # {}\n", frozen.micro_rows, frozen.micro_from));
    out
}

/// The frozen values of an earlier start.
pub fn read(text: &str) -> Option<Frozen> {
    let table: Table = text.parse().ok()?;
    let frozen = table.get("frozen")?.as_table()?;
    let from = "frozen at the first start".to_string();
    Some(Frozen {
        steps: u64::try_from(frozen.get("steps")?.as_integer()?).ok()?,
        steps_from: from.clone(),
        micro_rows: usize::try_from(frozen.get("micro_rows")?.as_integer()?).ok()?,
        micro_from: from,
    })
}

fn as_table<T: serde::Serialize>(value: &T) -> Table {
    Table::try_from(value).unwrap_or_default()
}

/// What changed in the pipeline file since the run began, in words; refused where a run is defined by it.
pub fn changes(before: &Pipeline, now: &Pipeline) -> Result<Vec<String>, Refusal> {
    let mut out = Vec::new();
    let sections = [
        ("", super::keys::TOP, as_top(before), as_top(now)),
        ("[model] ", super::keys::MODEL, as_table(&before.model), as_table(&now.model)),
        ("[[stage]] ", super::keys::PRETRAIN, as_table(&before.stages[0]), as_table(&now.stages[0])),
    ];
    for (section, keys, old, new) in sections {
        for key in keys {
            let (old, new) = (old.get(key.name), new.get(key.name));
            if old == new {
                continue;
            }
            let shown = |value: Option<&Value>| value.map_or("not set".to_string(), super::keys::shown);
            let words = format!("{section}{}: was {}, is {}", key.name, shown(old), shown(new));
            if !key.free {
                let hint = "put the old value back, or give the new run another name";
                return Err(Refusal::new("the run was begun with other values", words, hint));
            }
            out.push(words);
        }
    }
    Ok(out)
}

fn as_top(pipeline: &Pipeline) -> Table {
    let mut table = Table::new();
    table.insert("seed".into(), Value::from(pipeline.seed as i64));
    table.insert("device".into(), Value::from(pipeline.device.clone()));
    table.insert("threads".into(), Value::from(pipeline.threads as i64));
    table
}
