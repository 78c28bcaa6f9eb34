//! Names and layouts of other programs' models: our weights to and from Hugging Face tensors.
//!
//! A mapping is a list of parts: which rows of our tensor are which tensor there, transposed or not. Export and import
//! read the same list, so they cannot disagree.

pub mod gpt2;
pub mod llama;
pub mod peft;

use super::config::{FeedForward, Head, ModelConfig, Norm, Positions};
use super::weights::{WeightSpec, specs};
use crate::engine::state::HostTensor;
use crate::fault::Refusal;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// One tensor of a Hugging Face folder in terms of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name there.
    pub theirs: String,
    /// Our tensor.
    pub ours: String,
    /// Rows of ours that it holds (all elements of a vector).
    pub rows: std::ops::Range<usize>,
    /// There it is stored (in, out).
    pub transposed: bool,
    /// There it is a vector, here one row of a matrix.
    pub flat: bool,
    /// We have no such tensor: it is written as zeros, and must be zero when read (a bias that a shape lacks).
    pub zeros: Option<usize>,
}

impl Part {
    fn whole(theirs: impl Into<String>, ours: impl Into<String>, rows: usize) -> Part {
        let (theirs, ours) = (theirs.into(), ours.into());
        Part { theirs, ours, rows: 0..rows, transposed: false, flat: false, zeros: None }
    }
    fn rows(theirs: impl Into<String>, ours: impl Into<String>, rows: std::ops::Range<usize>) -> Part {
        Part { rows, ..Part::whole(theirs, ours, 0) }
    }
    fn zeros(theirs: impl Into<String>, len: usize) -> Part {
        Part { zeros: Some(len), ..Part::whole(theirs, "", 0) }
    }
    fn transposed(self) -> Part {
        Part { transposed: true, ..self }
    }
    fn flat(self) -> Part {
        Part { flat: true, ..self }
    }
}

/// A family: which configs it can say, and how its tensors are called.
pub struct Family {
    /// `model_type` of config.json.
    pub model_type: &'static str,
    /// Can it say this model exactly?
    pub fits: fn(&ModelConfig) -> bool,
    /// config.json of a model.
    pub write_config: fn(&ModelConfig) -> Value,
    /// A model from config.json.
    pub read_config: fn(&Value) -> Result<ModelConfig, Refusal>,
    /// Its tensors.
    pub parts: fn(&ModelConfig) -> Vec<Part>,
}

/// `model_type` of a model that no family can say: the whole config stands under the key `pleach`.
pub const OWN: &str = "pleach";

/// All families, tried in order.
pub const FAMILIES: &[&Family] = &[&gpt2::GPT2, &llama::QWEN3, &llama::QWEN2, &llama::LLAMA];

/// The family that says this model exactly, if any.
pub fn family_of(config: &ModelConfig) -> Option<&'static Family> {
    FAMILIES.iter().copied().find(|family| (family.fits)(config))
}

/// Our weights as Hugging Face tensors (name, shape, contents), in the family's order.
pub fn export(family: &Family, config: &ModelConfig, weights: &[HostTensor]) -> Vec<HostTensor> {
    (family.parts)(config).iter().map(|part| export_part(part, weights)).collect()
}

fn export_part(part: &Part, weights: &[HostTensor]) -> HostTensor {
    if let Some(len) = part.zeros {
        return HostTensor { name: part.theirs.clone(), shape: vec![len], data: vec![0.0; len] };
    }
    let ours = weights.iter().find(|tensor| tensor.name == part.ours).expect("a part names one of our weights");
    let width: usize = ours.shape[1..].iter().product();
    let rows = part.rows.len();
    let data = &ours.data[part.rows.start * width..part.rows.end * width];
    let (shape, data) = if part.transposed {
        (vec![width, rows], transpose(data, rows, width))
    } else if part.flat || ours.shape.len() == 1 {
        (vec![rows * width], data.to_vec())
    } else {
        (vec![rows, width], data.to_vec())
    };
    HostTensor { name: part.theirs.clone(), shape, data }
}

fn transpose(data: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; data.len()];
    for r in 0..rows {
        for c in 0..columns {
            out[c * rows + r] = data[r * columns + c];
        }
    }
    out
}

/// Our weights from Hugging Face tensors. Every tensor of ours must be covered, every one of theirs known. The file's
/// shapes are compared with the config's before memory is taken on the config's word.
pub fn import(family: &Family, config: &ModelConfig, theirs: &[HostTensor]) -> Result<Vec<HostTensor>, Refusal> {
    enough(config, theirs)?;
    let (parts, specs) = ((family.parts)(config), specs(config));
    let found: HashMap<&str, &HostTensor> = theirs.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let places: HashMap<&str, usize> = specs.iter().enumerate().map(|(at, spec)| (spec.name.as_str(), at)).collect();
    let known: HashSet<&str> = parts.iter().flat_map(|part| names(&part.theirs)).collect();
    let ignorable = |name: &str| name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
    let tied_copy = |name: &str| config.tied && name == "lm_head.weight";
    for name in theirs.iter().map(|tensor| tensor.name.as_str()) {
        if !known.contains(name) && !ignorable(name) && !tied_copy(name) {
            return Err(misfit(format!("tensor {name} is not known in a {} model", family.model_type)));
        }
    }
    let mut pieces = Vec::new();
    for part in &parts {
        let tensor = names(&part.theirs).find_map(|name| found.get(name).copied());
        match (tensor, part.zeros) {
            (Some(tensor), Some(_)) if tensor.data.iter().any(|&x| x != 0.0) => {
                return Err(misfit(format!("tensor {} should be zero in this shape", part.theirs)));
            }
            (_, Some(_)) => {}
            (None, None) => return Err(misfit(format!("tensor {} is missing", part.theirs))),
            (Some(tensor), None) => {
                let at = places[part.ours.as_str()];
                fits(part, &specs[at], tensor)?;
                pieces.push((part, at, tensor));
            }
        }
    }
    let empty = |spec: WeightSpec| HostTensor { data: vec![0.0; spec.len()], name: spec.name, shape: spec.shape };
    let mut out: Vec<HostTensor> = specs.iter().cloned().map(empty).collect();
    for (part, at, tensor) in pieces {
        let (ours, rows) = (&mut out[at], part.rows.clone());
        let width: usize = ours.shape[1..].iter().product();
        let to = &mut ours.data[rows.start * width..rows.end * width];
        match part.transposed {
            true => to.copy_from_slice(&transpose(&tensor.data, width, rows.len())),
            false => to.copy_from_slice(&tensor.data),
        }
    }
    Ok(out)
}

/// Refuses tensors under our own names that are not the config's: all of them, in its shapes.
pub fn check_own(config: &ModelConfig, tensors: &[HostTensor]) -> Result<(), Refusal> {
    enough(config, tensors)?;
    let found: HashMap<&str, &HostTensor> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    for spec in specs(config) {
        match found.get(spec.name.as_str()) {
            None => return Err(misfit(format!("tensor {} is missing", spec.name))),
            Some(tensor) if tensor.shape != spec.shape => {
                return Err(misfit(format!("tensor {} is {:?}, expected {:?}", spec.name, tensor.shape, spec.shape)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn misfit(detail: String) -> Refusal {
    let hint = "check that model.safetensors belongs to its config.json";
    Refusal::new("could not read the model's weights", detail, hint)
}

/// Each layer has tensors of its own: told before a list of all that the config speaks of is made.
fn enough(config: &ModelConfig, theirs: &[HostTensor]) -> Result<(), Refusal> {
    if config.layers <= theirs.len() {
        return Ok(());
    }
    Err(misfit(format!("config.json has {} layers, the file {} tensors", config.layers, theirs.len())))
}

fn fits(part: &Part, spec: &WeightSpec, tensor: &HostTensor) -> Result<(), Refusal> {
    let (rows, width) = (part.rows.len(), spec.shape[1..].iter().product());
    let expected = if part.flat || spec.shape.len() == 1 {
        vec![rows * width]
    } else if part.transposed {
        vec![width, rows]
    } else {
        vec![rows, width]
    };
    if tensor.shape == expected {
        return Ok(());
    }
    Err(misfit(format!("tensor {} is {:?}, expected {expected:?}", part.theirs, tensor.shape)))
}

/// GPT-2 files come with and without the `transformer.` prefix.
fn names(expected: &str) -> impl Iterator<Item = &str> {
    std::iter::once(expected).chain(expected.strip_prefix("transformer."))
}

/// A number of config.json, or a refusal that names the key.
fn number(config: &Value, key: &str) -> Result<f64, Refusal> {
    config.get(key).and_then(Value::as_f64).ok_or_else(|| {
        let detail = format!("key \"{key}\" is {}", config.get(key).map_or("missing".into(), Value::to_string));
        Refusal::new("could not read config.json", detail, "it must be a number")
    })
}

fn count(config: &Value, key: &str) -> Result<usize, Refusal> {
    let value = number(config, key)?;
    if value < 0.0 || value.fract() != 0.0 || value > 1e9 {
        return Err(Refusal::new(
            "could not read config.json",
            format!("key \"{key}\" is {value}"),
            "it must be a count",
        ));
    }
    Ok(value as usize)
}

/// A switch that changes a model's numbers and has one supported position, the one that transformers takes where it is
/// missing.
fn only(config: &Value, key: &str, supported: bool) -> Result<(), Refusal> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(()),
        Some(found) if found.as_bool() == Some(supported) => Ok(()),
        Some(_) => Err(refuse_key(config, key, &supported.to_string())),
    }
}

fn refuse_key(config: &Value, key: &str, expected: &str) -> Refusal {
    let found = config.get(key).map_or("missing".into(), Value::to_string);
    let detail = format!("key \"{key}\" is {found}; this program understands {expected}");
    Refusal::new("could not read config.json", detail, "convert the model to a supported shape")
}

/// Under a scalar head: the keys by which transformers knows a model of one label.
fn write_head(out: &mut Value, config: &ModelConfig, model: &str) {
    if config.head == Head::Vocabulary {
        return;
    }
    out["architectures"] = json!([format!("{model}ForSequenceClassification")]);
    out["num_labels"] = json!(1);
    out["id2label"] = json!({"0": "LABEL_0"});
    out["label2id"] = json!({"LABEL_0": 0});
    out["problem_type"] = json!("regression");
}

/// A `...ForSequenceClassification` of one label has a scalar head; where no key counts the labels, transformers has
/// two.
fn read_head(value: &Value) -> Result<Head, Refusal> {
    let names = value.get("architectures").and_then(Value::as_array);
    let mut names = names.into_iter().flatten().filter_map(Value::as_str);
    if !names.any(|name| name.ends_with("ForSequenceClassification")) {
        return Ok(Head::Vocabulary);
    }
    let listed = value.get("id2label").and_then(Value::as_object).map(|labels| labels.len());
    let labels = match value.get("num_labels") {
        Some(_) => Some(count(value, "num_labels")?),
        None => listed,
    };
    match labels {
        Some(1) => Ok(Head::Scalar),
        _ => Err(refuse_key(value, "num_labels", "1 in a ...ForSequenceClassification: a reward model's scalar head")),
    }
}

fn is_rotary(config: &ModelConfig) -> Option<f32> {
    match config.positions {
        Positions::Rotary { theta } => Some(theta),
        Positions::Learned => None,
    }
}

fn llama_like(config: &ModelConfig) -> bool {
    config.norm == Norm::Rms
        && is_rotary(config).is_some()
        && config.feed_forward == FeedForward::SwiGlu
        && !config.projection_bias
        && config.attention_softcap == 0.0
}
