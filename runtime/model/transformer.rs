//! The model, top to bottom: one decoder for every family.
//!
//! Shapes: n tokens of a micro-batch (rows laid end to end), c width, v vocabulary, h query and g key/value heads of d
//! channels, f feed-forward width.

use super::config::{ModelConfig, Norm, Positions};
use crate::tape::Tape;
use pleach_shaders::attention::{self, AttentionShape};
use pleach_shaders::embed::{self, Sorted};
use pleach_shaders::head_norm::{self, HeadShape};
use pleach_shaders::matmul::{self, Epilogue};
use pleach_shaders::spec::{Dtype, Recorder, Tensor};
use pleach_shaders::{dropout, gate, layer_norm, rms_norm, rope};
use std::collections::HashMap;

/// The weights of a model on a device, by our names.
pub type Weights = HashMap<String, Tensor>;

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
    let weight = |name: &str| w[name];
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
    let bias = |part: &str| w.get(&at(&format!("{part}.bias"))).copied();
    let site = 1 + 2 * layer as u32;

    let y = norm(tape, config, w, &at("attention_norm"), x);
    let plain = Epilogue::default();
    let mut qkv = matmul::record(tape, y, w[&at("attention.qkv")], Epilogue { bias: bias("attention.qkv"), ..plain });
    let heads = HeadShape { heads: config.heads, kv_heads: config.kv_heads, head_dim: config.head_dim };
    if config.qk_norm {
        qkv = head_norm::record(tape, qkv, w[&at("attention.qk_norm")], heads, config.norm_eps);
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
    let x = join(tape, config, inputs, mixed, w[&at("attention.out")], bias("attention.out"), x, site);

    let y = norm(tape, config, w, &at("feed_forward_norm"), x);
    let up = Epilogue { bias: bias("feed_forward.up"), ..plain };
    let act = config.feed_forward.activation();
    let y = if config.feed_forward.gated() {
        let both = matmul::record(tape, y, w[&at("feed_forward.up")], up);
        gate::record(tape, both, act)
    } else {
        matmul::record(tape, y, w[&at("feed_forward.up")], Epilogue { activation: Some(act), ..up })
    };
    join(tape, config, inputs, y, w[&at("feed_forward.down")], bias("feed_forward.down"), x, site + 1)
}

/// x + dropout(y w^T + bias), the sum fused into the product where nothing is dropped.
fn join(
    tape: &mut Tape,
    config: &ModelConfig,
    inputs: &Inputs,
    y: Tensor,
    w: Tensor,
    bias: Option<Tensor>,
    x: Tensor,
    site: u32,
) -> Tensor {
    if config.dropout == 0.0 {
        return matmul::record(tape, y, w, Epilogue { bias, residual: Some(x), ..Epilogue::default() });
    }
    let y = matmul::record(tape, y, w, Epilogue { bias, ..Epilogue::default() });
    let y = dropout::record(tape, y, inputs.keys, config.dropout, site);
    pleach_shaders::add::record(tape, x, y)
}

/// The configured normalisation with the weights `name.gain` and `name.bias`.
fn norm(tape: &mut Tape, config: &ModelConfig, w: &Weights, name: &str, x: Tensor) -> Tensor {
    let gain = w[&format!("{name}.gain")];
    match config.norm {
        Norm::Rms => rms_norm::record(tape, x, gain, config.norm_eps),
        Norm::Layer => layer_norm::record(tape, x, gain, w.get(&format!("{name}.bias")).copied(), config.norm_eps),
    }
}

/// The head's matrix: its own, or the token embedding.
pub fn head_weight(config: &ModelConfig, w: &Weights) -> Tensor {
    if config.tied { w["embed.tokens"] } else { w["head"] }
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
