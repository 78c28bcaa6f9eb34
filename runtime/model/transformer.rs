//! The model, top to bottom: one decoder for every family.
//!
//! Shapes: n tokens of a micro-batch (rows laid end to end), c width, v vocabulary, h query and g key/value heads of d
//! channels, f feed-forward width.

use super::config::{ModelConfig, Norm, Positions};
use crate::tape::Tape;
use pleach_shaders::attention::{self, AttentionShape};
use pleach_shaders::embed::{self, Sorted};
use pleach_shaders::head_norm::{self, HeadShape};
use pleach_shaders::matmul::{self, Epilogue, columns};
use pleach_shaders::spec::{Dtype, Recorder, Tensor};
use pleach_shaders::{activation, add, dora, dropout, gate, layer_norm, rms_norm, rope};
use std::collections::HashMap;

/// The weights of a model on a device.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// By our names.
    pub tensors: HashMap<String, Tensor>,
    /// What stands beside linear layers, by the names of their weights.
    pub beside: HashMap<String, Beside>,
}

/// An adapter's part beside one of our weights.
#[derive(Clone, Debug)]
pub struct Beside {
    /// Factor on each low-rank product.
    pub scale: f32,
    /// The modules within the weight.
    pub modules: Vec<BesideModule>,
    /// DoRA: norms (m) of the adapted weight's rows, and factors (m) = magnitude / norm.
    pub scales: Option<[Tensor; 2]>,
}

/// A module of the adapter on a device.
#[derive(Clone, Copy, Debug)]
pub struct BesideModule {
    /// Its first row in our weight, and column of the product.
    pub first: usize,
    /// (rank, k).
    pub a: Tensor,
    /// (rows, rank).
    pub b: Tensor,
    /// (rows), DoRA's; else absent.
    pub magnitude: Tensor,
}

impl Weights {
    /// What has norms and factors (DoRA's), in the order of names.
    pub fn scaled(&self) -> impl Iterator<Item = (&String, &Beside, [Tensor; 2])> {
        let mut all: Vec<_> = self.beside.iter().filter_map(|(name, b)| Some((name, b, b.scales?))).collect();
        all.sort_by_key(|(name, ..)| *name);
        all.into_iter()
    }
}

impl Beside {
    /// Adds the low-rank products to y (n, m) = x w^T, for x (n, k).
    fn add(&self, tape: &mut Tape, x: Tensor, y: Tensor) {
        for module in &self.modules {
            let low = matmul::record(tape, x, module.a, Epilogue::default());
            columns::record(tape, y, module.first, low, module.b, self.scale);
        }
    }
}

/// What a micro-batch feeds in; all of length n unless said.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// Token ids.
    pub ids: Tensor,
    /// Tokens sorted by id, for the embedding's gradient.
    pub sorted: Sorted,
    /// Place of each token in its document.
    pub positions: Tensor,
    /// Tokens sorted by position, for the gradient of learned positions.
    pub positions_sorted: Sorted,
    /// (n, 4): which tokens each token sees, and which see it.
    pub spans: Tensor,
    /// Noise key of each token, for dropout.
    pub keys: Tensor,
    /// (context, d/2, 2): cosine and sine of every position, where positions are rotary.
    pub rotary: Tensor,
}

/// How attention gets at keys and values.
pub trait Attend {
    /// From the rotated (n, (h+2g) d) projections to the (n, h d) mixtures of values.
    fn attend(&mut self, tape: &mut Tape, layer: usize, qkv: Tensor, shape: AttentionShape) -> Tensor;
}

/// Tokens see each other, as `spans` says: training and evaluation.
pub struct Within(pub Tensor);

impl Attend for Within {
    fn attend(&mut self, tape: &mut Tape, _layer: usize, qkv: Tensor, shape: AttentionShape) -> Tensor {
        attention::record(tape, qkv, self.0, shape)
    }
}

/// Records the decoder: token ids to the normed hidden states (n, c) that the head reads.
pub fn decoder(tape: &mut Tape, config: &ModelConfig, w: &Weights, inputs: &Inputs, attend: &mut dyn Attend) -> Tensor {
    let weight = |name: &str| w.tensors[name];
    tape.scope("embedding");
    let learned = (config.positions == Positions::Learned)
        .then(|| embed::record(tape, weight("embed.positions"), inputs.positions, inputs.positions_sorted, None));
    let mut x = embed::record(tape, weight("embed.tokens"), inputs.ids, inputs.sorted, learned);
    x = dropout::record(tape, x, inputs.keys, config.dropout, 0);
    for layer in 0..config.layers {
        tape.scope(format!("layer {layer}"));
        x = tape.block(|tape| block(tape, config, w, inputs, attend, layer, x));
    }
    tape.scope("final");
    norm(tape, config, w, "norm", x)
}

/// y = act(x w^T + bias) + residual with the weight `name` and what stands beside it. The bits are those of the bare
/// weight as long as every B is zero.
fn linear(tape: &mut Tape, w: &Weights, name: &str, x: Tensor, e: Epilogue) -> Tensor {
    let Some(beside) = w.beside.get(name) else { return matmul::record(tape, x, w.tensors[name], e) };
    let like_fused = e.bias.is_some() || e.residual.is_some() || e.activation.is_some();
    let Some(scales) = beside.scales else {
        let residual = e.residual.filter(|_| e.activation.is_none());
        let y = matmul::record(tape, x, w.tensors[name], Epilogue { activation: None, residual, like_fused, ..e });
        beside.add(tape, x, y);
        return finish(tape, y, Epilogue { residual: e.residual.filter(|_| residual.is_none()), ..e });
    };
    let t = matmul::record(tape, x, w.tensors[name], Epilogue { scale: e.scale, like_fused, ..Epilogue::default() });
    beside.add(tape, x, t);
    let magnitudes: Vec<_> = beside.modules.iter().map(|module| (module.first, module.magnitude)).collect();
    let y = dora::record(tape, t, scales, &magnitudes, e.bias);
    finish(tape, y, e)
}

/// act(y) + residual.
fn finish(tape: &mut Tape, y: Tensor, e: Epilogue) -> Tensor {
    let y = e.activation.map_or(y, |kind| activation::record(tape, y, kind));
    e.residual.map_or(y, |residual| add::record(tape, residual, y))
}

/// One block: attention, then the feed-forward part, each on a normed copy and added to the stream.
fn block(
    tape: &mut Tape,
    config: &ModelConfig,
    w: &Weights,
    inputs: &Inputs,
    attend: &mut dyn Attend,
    layer: usize,
    x: Tensor,
) -> Tensor {
    let at = |part: &str| format!("layers.{layer}.{part}");
    let bias = |part: &str| w.tensors.get(&at(&format!("{part}.bias"))).copied();
    let site = 1 + 2 * layer as u32;

    let y = norm(tape, config, w, &at("attention_norm"), x);
    let plain = Epilogue::default();
    let mut qkv = linear(tape, w, &at("attention.qkv"), y, Epilogue { bias: bias("attention.qkv"), ..plain });
    let heads = HeadShape { heads: config.heads, kv_heads: config.kv_heads, head_dim: config.head_dim };
    if config.qk_norm {
        qkv = head_norm::record(tape, qkv, w.tensors[&at("attention.qk_norm")], heads, config.norm_eps);
    }
    if matches!(config.positions, Positions::Rotary { .. }) {
        qkv = rope::record(tape, qkv, inputs.positions, inputs.rotary, heads);
    }
    let shape = AttentionShape {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        scale: 1.0 / (config.head_dim as f32).sqrt(),
        softcap: config.attention_softcap,
    };
    let mixed = attend.attend(tape, layer, qkv, shape);
    let x = join(tape, config, w, inputs, &at("attention.out"), mixed, x, site);

    let y = norm(tape, config, w, &at("feed_forward_norm"), x);
    let up = Epilogue { bias: bias("feed_forward.up"), ..plain };
    let act = config.feed_forward.activation();
    let y = if config.feed_forward.gated() {
        let both = linear(tape, w, &at("feed_forward.up"), y, up);
        gate::record(tape, both, act)
    } else {
        linear(tape, w, &at("feed_forward.up"), y, Epilogue { activation: Some(act), ..up })
    };
    join(tape, config, w, inputs, &at("feed_forward.down"), y, x, site + 1)
}

/// x + dropout(y w^T + bias), the sum fused into the product where nothing is dropped.
fn join(
    tape: &mut Tape,
    config: &ModelConfig,
    w: &Weights,
    inputs: &Inputs,
    name: &str,
    y: Tensor,
    x: Tensor,
    site: u32,
) -> Tensor {
    let e = Epilogue { bias: w.tensors.get(&format!("{name}.bias")).copied(), ..Epilogue::default() };
    if config.dropout == 0.0 {
        return linear(tape, w, name, y, Epilogue { residual: Some(x), ..e });
    }
    let y = linear(tape, w, name, y, e);
    let y = dropout::record(tape, y, inputs.keys, config.dropout, site);
    add::record(tape, x, y)
}

/// The configured normalisation with the weights `name.gain` and `name.bias`.
fn norm(tape: &mut Tape, config: &ModelConfig, w: &Weights, name: &str, x: Tensor) -> Tensor {
    let gain = w.tensors[&format!("{name}.gain")];
    match config.norm {
        Norm::Rms => rms_norm::record(tape, x, gain, config.norm_eps),
        Norm::Layer => {
            layer_norm::record(tape, x, gain, w.tensors.get(&format!("{name}.bias")).copied(), config.norm_eps)
        }
    }
}

/// The head's matrix: its own, or the token embedding.
pub fn head_weight(config: &ModelConfig, w: &Weights) -> Tensor {
    w.tensors[if config.tied { "embed.tokens" } else { "head" }]
}

/// Records the scalar head: numbers (n, 4) = {x . score, 0, 0, 0} for x (n, c), score (1, c), spread by the column
/// `unit` (4, 1) = {1, 0, 0, 0}. With `dnumbers` (n, 4) the backward pass starts here, from their first column.
pub fn scalar_head(tape: &mut Tape, x: Tensor, score: Tensor, unit: Tensor, dnumbers: Option<Tensor>) -> Tensor {
    let values = matmul::record(tape, x, score, Epilogue::default());
    let numbers = tape.tensor("numbers", &[x.shape.rows(), 4], Dtype::F32);
    tape.call(matmul::forward_call(values, unit, numbers));
    if let Some(dnumbers) = dnumbers {
        tape.root(Box::new(move |r| {
            let (dvalues, add) = r.gradient(values);
            r.call(matmul::dx_call(dnumbers, unit, dvalues, add));
        }));
    }
    numbers
}

/// The rotary table: cosine and sine of position * theta^(-2i/d), (context, d/2, 2).
pub fn rotary_table(config: &ModelConfig) -> Vec<f32> {
    let Positions::Rotary { theta } = config.positions else { return vec![0.0; 4] };
    let half = config.head_dim / 2;
    let mut out = Vec::with_capacity(config.context * half * 2);
    for position in 0..config.context {
        for i in 0..half {
            let frequency = f64::from(theta).powf(-2.0 * i as f64 / config.head_dim as f64);
            let angle = position as f64 * frequency;
            out.push(angle.cos() as f32);
            out.push(angle.sin() as f32);
        }
    }
    out
}
