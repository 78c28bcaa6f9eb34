//! Names and layouts of other programs' models: our weights to and from Hugging Face tensors.
//!
//! A mapping is a list of parts: which rows of our tensor are which tensor there, transposed or not. Export and import
//! read the same list, so they cannot disagree.

pub mod gpt2;
pub mod llama;

use super::config::{FeedForward, ModelConfig, Norm, Positions};
use super::weights::specs;
use crate::engine::state::HostTensor;
use crate::fault::Refusal;
use serde_json::Value;

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

/// Our weights from Hugging Face tensors. Every tensor of ours must be covered, every one of theirs known.
pub fn import(family: &Family, config: &ModelConfig, theirs: &[HostTensor]) -> Result<Vec<HostTensor>, Refusal> {
    let what = "could not read the model's weights";
    let refuse = |detail: String| Refusal::new(what, detail, "check that model.safetensors belongs to its config.json");
    let mut out: Vec<HostTensor> = specs(config)
        .into_iter()
        .map(|spec| HostTensor { data: vec![0.0; spec.len()], name: spec.name, shape: spec.shape })
        .collect();
    let parts = (family.parts)(config);
    let ignorable = |name: &str| name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias");
    let tied_copy = |name: &str| config.tied && name == "lm_head.weight";
    for tensor in theirs {
        let known = parts.iter().any(|part| same_name(&part.theirs, &tensor.name));
        if !known && !ignorable(&tensor.name) && !tied_copy(&tensor.name) {
            return Err(refuse(format!("tensor {} is not known in a {} model", tensor.name, family.model_type)));
        }
    }
    for part in &parts {
        let Some(tensor) = theirs.iter().find(|tensor| same_name(&part.theirs, &tensor.name)) else {
            if part.zeros.is_some() {
                continue;
            }
            return Err(refuse(format!("tensor {} is missing", part.theirs)));
        };
        if part.zeros.is_some() {
            if tensor.data.iter().any(|&x| x != 0.0) {
                return Err(refuse(format!("tensor {} should be zero in this shape", part.theirs)));
            }
            continue;
        }
        let ours = out.iter_mut().find(|ours| ours.name == part.ours).expect("a part names one of our weights");
        let width: usize = ours.shape[1..].iter().product();
        let (rows, at) = (part.rows.len(), part.rows.start * width..part.rows.end * width);
        let expected = if part.transposed { vec![width, rows] } else { vec![rows, width] };
        let flat = vec![rows * width];
        let fits = if part.flat || ours.shape.len() == 1 { tensor.shape == flat } else { tensor.shape == expected };
        if !fits {
            return Err(refuse(format!("tensor {} is {:?}, expected {expected:?}", part.theirs, tensor.shape)));
        }
        let data = if part.transposed { transpose(&tensor.data, width, rows) } else { tensor.data.clone() };
        ours.data[at].copy_from_slice(&data);
    }
    Ok(out)
}

/// GPT-2 files come with and without the `transformer.` prefix.
fn same_name(expected: &str, found: &str) -> bool {
    expected == found || expected.strip_prefix("transformer.") == Some(found)
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

fn refuse_key(config: &Value, key: &str, expected: &str) -> Refusal {
    let found = config.get(key).map_or("missing".into(), Value::to_string);
    let detail = format!("key \"{key}\" is {found}; this program understands {expected}");
    Refusal::new("could not read config.json", detail, "convert the model to a supported shape")
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
