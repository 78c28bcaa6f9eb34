//! Adapters: low-rank products beside the linear layers of a frozen model (LoRA, rsLoRA, DoRA), on the host.
//!
//! A module is a linear layer as the model's family names it (`q_proj`); ours may hold several in one weight. Beside
//! W (out, in) stand A (rank, in) and B (out, rank): y = W x + s B A x. DoRA has a magnitude too:
//! y = magnitude (W + s B A) x / |W + s B A|, by rows of W, the norm held constant in the gradient.

use super::config::{Head, ModelConfig};
use super::families::family_of;
use super::weights::{Init, WeightSpec, specs};
use crate::engine::state::{HostState, HostTensor};
use crate::fault::Refusal;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;

/// How the low-rank product is scaled, and whether the weights' magnitude is learned apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterKind {
    /// s = alpha / rank (Hu et al., 2021).
    #[default]
    Lora,
    /// s = alpha / sqrt(rank) (Kalajdzievski, 2023).
    RsLora,
    /// LoRA for the direction, a magnitude for each output (Liu et al., 2024).
    Dora,
}

/// What stands beside a frozen model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdapterConfig {
    /// Rows of each A.
    pub rank: usize,
    /// Numerator of the scale.
    pub alpha: f32,
    /// LoRA, rsLoRA or DoRA.
    pub kind: AdapterKind,
    /// Linear layers by their family's names (`q_proj`, `c_attn`); empty: all of them.
    pub targets: Vec<String>,
    /// Dropout before A: only 0 is supported.
    pub dropout: f32,
}

impl Default for AdapterConfig {
    fn default() -> AdapterConfig {
        AdapterConfig { rank: 8, alpha: 16.0, kind: AdapterKind::Lora, targets: Vec::new(), dropout: 0.0 }
    }
}

impl AdapterConfig {
    /// Factor on B A.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f32;
        self.alpha / if self.kind == AdapterKind::RsLora { rank.sqrt() } else { rank }
    }

    /// Refuses what cannot stand beside a model of this config, naming the field.
    ///
    /// # Errors
    /// A refusal with the field, what it is and what would do.
    pub fn check(&self, config: &ModelConfig) -> Result<(), Refusal> {
        let refuse =
            |detail: String, hint: String| Err(Refusal::new("the adapter does not fit the model", detail, hint));
        if self.rank == 0 || self.rank > config.width {
            let hint = format!("give it a value from 1 to the model's width, which is {}", config.width);
            return refuse(format!("rank = {}", self.rank), hint);
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return refuse(format!("alpha = {}", self.alpha), "give a number above 0; twice the rank is common".into());
        }
        if self.dropout != 0.0 {
            let hint = "leave it out, or set it to 0: an adapter's inputs are not dropped here".into();
            return refuse(format!("dropout = {}", self.dropout), hint);
        }
        let mut known: Vec<String> = all_modules(config).into_iter().map(|module| module.target).collect();
        known.sort();
        known.dedup();
        match self.targets.iter().find(|target| !known.contains(target)) {
            Some(odd) => refuse(format!("targets has \"{odd}\""), format!("the model has {}", known.join(", "))),
            None => Ok(()),
        }
    }
}

/// A linear layer beside which an adapter may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Its path in the family's own program: `model.layers.3.self_attn.q_proj`.
    pub theirs: String,
    /// The last part of it.
    pub target: String,
    /// Our weight that holds it.
    pub ours: String,
    /// Which rows of ours.
    pub rows: Range<usize>,
    /// Columns of it.
    pub inputs: usize,
}

/// What an adapter's tensors are called behind their module.
const PARTS: [&str; 3] = ["lora_a", "lora_b", "magnitude"];

impl Module {
    /// Our names of its A, B and magnitude.
    pub fn tensors(&self) -> [String; 3] {
        PARTS.map(|part| format!("{}.{}.{part}", self.ours, self.target))
    }
}

/// Is this the name of an adapter's tensor?
pub fn is_adapter(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, part)| PARTS.contains(&part))
}

/// Our weights that are linear layers, behind `layers.N.`.
const LINEAR: [&str; 4] = ["attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down"];

/// Every linear layer of a model, layer by layer. A model that no family can say has ours, under our names.
fn all_modules(config: &ModelConfig) -> Vec<Module> {
    let shapes: HashMap<String, Vec<usize>> = specs(config).into_iter().map(|spec| (spec.name, spec.shape)).collect();
    let linear = |ours: &str| LINEAR.iter().any(|part| ours.starts_with("layers.") && ours.ends_with(part));
    let module = |theirs: &str, ours: &str, rows: Range<usize>| {
        let target = theirs.rsplit('.').next().unwrap_or(theirs).to_string();
        Module { theirs: theirs.into(), target, ours: ours.into(), rows, inputs: shapes[ours][1] }
    };
    if let Some(family) = family_of(config) {
        let parts = (family.parts)(config).into_iter().filter(|part| linear(&part.ours));
        return parts
            .map(|part| module(part.theirs.trim_end_matches(".weight"), &part.ours, part.rows.clone()))
            .collect();
    }
    let names = (0..config.layers).flat_map(|layer| LINEAR.map(|part| format!("layers.{layer}.{part}")));
    names.map(|name| module(&name, &name, 0..shapes[&name][0])).collect()
}

/// The linear layers that an adapter stands beside, in the order of its tensors.
pub fn modules(config: &ModelConfig, adapter: &AdapterConfig) -> Vec<Module> {
    let wanted = |module: &Module| adapter.targets.is_empty() || adapter.targets.contains(&module.target);
    all_modules(config).into_iter().filter(wanted).collect()
}

/// All tensors of an adapter in the order in which they are kept. A magnitude begins as the norm that it stands for.
pub fn adapter_specs(config: &ModelConfig, adapter: &AdapterConfig) -> Vec<WeightSpec> {
    let mut out = Vec::new();
    for module in modules(config, adapter) {
        let ([a, b, magnitude], rows) = (module.tensors(), module.rows.len());
        let limit = 1.0 / (module.inputs as f32).sqrt();
        out.push(WeightSpec { name: a, shape: vec![adapter.rank, module.inputs], init: Init::Uniform(limit) });
        out.push(WeightSpec { name: b, shape: vec![rows, adapter.rank], init: Init::Constant(0.0) });
        if adapter.kind == AdapterKind::Dora {
            out.push(WeightSpec { name: magnitude, shape: vec![rows], init: Init::Constant(0.0) });
        }
    }
    out
}

/// The full weights of a model whose adapter is worked into them: exact up to the rounding of each weight to f32.
/// `base` holds the frozen weights, `own` the adapter's tensors and, under a scalar head, the score where it was
/// trained beside them. `config` says the head of the result. No moments.
///
/// # Errors
/// A refusal that names the tensor that is missing or of another shape.
pub fn merge(
    config: &ModelConfig,
    adapter: &AdapterConfig,
    base: &HostState,
    own: &HostState,
) -> Result<HostState, Refusal> {
    let mut out = HostState::default();
    for spec in specs(config) {
        let lists = if spec.name == "score" { [own, base] } else { [base, base] };
        let found = lists.iter().find_map(|state| find(state, &spec.name, &spec.shape).ok());
        out.weights.push(found.ok_or_else(|| missing(&spec.name, &spec.shape))?.clone());
    }
    let places: HashMap<String, usize> =
        out.weights.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at)).collect();
    for module in modules(config, adapter) {
        let ([a, b, magnitude], rows) = (module.tensors(), module.rows.len());
        let a = &find(own, &a, &[adapter.rank, module.inputs])?.data;
        let b = &find(own, &b, &[rows, adapter.rank])?.data;
        let magnitude = match adapter.kind {
            AdapterKind::Dora => Some(&find(own, &magnitude, &[rows])?.data),
            AdapterKind::Lora | AdapterKind::RsLora => None,
        };
        let weight = &mut out.weights[places[&module.ours]].data;
        for (row, b) in b.chunks_exact(adapter.rank).enumerate() {
            let weight = &mut weight[(module.rows.start + row) * module.inputs..][..module.inputs];
            merge_row(weight, a, b, adapter.scale(), magnitude.map(|all| all[row]));
        }
    }
    Ok(out)
}

/// One row of W + s B A, of this norm where there is a magnitude.
fn merge_row(weight: &mut [f32], a: &[f32], b: &[f32], scale: f32, magnitude: Option<f32>) {
    let mut sum: Vec<f64> = vec![0.0; weight.len()];
    for (a, &b) in a.chunks_exact(weight.len()).zip(b) {
        for (sum, &a) in sum.iter_mut().zip(a) {
            *sum += f64::from(b) * f64::from(a);
        }
    }
    for (sum, &weight) in sum.iter_mut().zip(&*weight) {
        *sum = f64::from(weight) + f64::from(scale) * *sum;
    }
    let factor = magnitude.map_or(1.0, |magnitude| {
        let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        // As the device has it: what has this norm in f32 keeps its weights.
        if norm as f32 == magnitude { 1.0 } else { f64::from(magnitude) / norm }
    });
    for (weight, sum) in weight.iter_mut().zip(sum) {
        *weight = (sum * factor) as f32;
    }
}

fn find<'a>(state: &'a HostState, name: &str, shape: &[usize]) -> Result<&'a HostTensor, Refusal> {
    let named = state.weights.iter().find(|tensor| tensor.name == name && tensor.shape == shape);
    named.ok_or_else(|| missing(name, shape))
}

fn missing(name: &str, shape: &[usize]) -> Refusal {
    let detail = format!("tensor {name} of shape {shape:?} is missing");
    Refusal::new("could not merge the adapter", detail, "name the model and the adapter that belong together")
}

/// The config of the model that [`merge`] makes is the adapter role's own; this is what a base must share with it.
pub fn same_decoder(a: &ModelConfig, b: &ModelConfig) -> bool {
    let decoder = |config: &ModelConfig| ModelConfig { head: Head::Scalar, dropout: 0.0, ..config.clone() };
    decoder(a) == decoder(b)
}
