//! The list of a model's weights: names, shapes, how they begin, and which of them decay.

use super::config::{Head, ModelConfig, Norm, Positions};
use pleach_shaders::noise;

/// How a weight begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with this standard deviation.
    Normal(f32),
    /// Evenly within this of 0.
    Uniform(f32),
    /// All the same.
    Constant(f32),
}

/// One weight of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSpec {
    /// Our own name: `layers.3.attention.qkv`.
    pub name: String,
    /// Extents; matrices are (out, in).
    pub shape: Vec<usize>,
    /// How it begins.
    pub init: Init,
}

impl WeightSpec {
    /// Matrices decay, vectors do not (nanoGPT's rule: tensors of two or more dimensions).
    pub fn decays(&self) -> bool {
        self.shape.len() >= 2 && !self.name.ends_with("qk_norm")
    }
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Never true: extents are at least 1.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// Standard deviation of new matrices; projections into the residual stream divide it by sqrt(2 layers) (GPT-2).
const INIT_STD: f32 = 0.02;

/// All weights of a model in the order in which they are kept.
pub fn specs(config: &ModelConfig) -> Vec<WeightSpec> {
    let mut out = Vec::new();
    let c = config.width;
    let mut add =
        |name: String, shape: &[usize], init: Init| out.push(WeightSpec { name, shape: shape.to_vec(), init });
    let residual_std = INIT_STD / (2.0 * config.layers as f32).sqrt();
    let zero = Init::Constant(0.0);
    add("embed.tokens".into(), &[config.vocab, c], Init::Normal(INIT_STD));
    if config.positions == Positions::Learned {
        add("embed.positions".into(), &[config.context, c], Init::Normal(INIT_STD));
    }
    let norm_bias = config.norm == Norm::Layer && config.norm_bias;
    for layer in 0..config.layers {
        let at = |part: &str| format!("layers.{layer}.{part}");
        let mut norm = |part: &str| {
            add(at(&format!("{part}.gain")), &[c], Init::Constant(1.0));
            if norm_bias {
                add(at(&format!("{part}.bias")), &[c], zero);
            }
        };
        norm("attention_norm");
        norm("feed_forward_norm");
        add(at("attention.qkv"), &[config.qkv_width(), c], Init::Normal(INIT_STD));
        if config.qkv_bias {
            add(at("attention.qkv.bias"), &[config.qkv_width()], zero);
        }
        if config.qk_norm {
            add(at("attention.qk_norm"), &[2, config.head_dim], Init::Constant(1.0));
        }
        add(at("attention.out"), &[c, config.q_width()], Init::Normal(residual_std));
        add(at("feed_forward.up"), &[config.up_width(), c], Init::Normal(INIT_STD));
        add(at("feed_forward.down"), &[c, config.hidden], Init::Normal(residual_std));
        if config.projection_bias {
            add(at("attention.out.bias"), &[c], zero);
            add(at("feed_forward.up.bias"), &[config.up_width()], zero);
            add(at("feed_forward.down.bias"), &[c], zero);
        }
    }
    add("norm.gain".into(), &[c], Init::Constant(1.0));
    if norm_bias {
        add("norm.bias".into(), &[c], zero);
    }
    match config.head {
        // As in Stiennon et al., 2020.
        Head::Scalar => add("score".into(), &[1, c], Init::Normal(1.0 / (c as f32 + 1.0).sqrt())),
        Head::Vocabulary if config.tied => {}
        Head::Vocabulary => add("head".into(), &[config.vocab, c], Init::Normal(INIT_STD)),
    }
    out
}

/// Number of trained numbers.
pub fn parameters(config: &ModelConfig) -> usize {
    specs(config).iter().map(WeightSpec::len).sum()
}

/// The first contents of weight number `index` of a model: a function of (seed, index), nothing else.
pub fn begin(spec: &WeightSpec, index: usize, seed: u64) -> Vec<f32> {
    match spec.init {
        Init::Constant(value) => vec![value; spec.len()],
        Init::Uniform(limit) => uniforms(spec.len(), seed, index as u32).map(|u| (2.0 * u - 1.0) * limit).collect(),
        Init::Normal(std) => normals(spec.len(), seed, index as u32).map(|z| z * std).collect(),
    }
}

/// Numbers in [0, 1) from Philox words (seed, stream, index).
fn uniforms(count: usize, seed: u64, stream: u32) -> impl Iterator<Item = f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let words = (0..count.div_ceil(4) as u32).flat_map(move |block| noise::philox(key, [block, stream, 0, 0x10A]));
    words.map(|bits| (bits >> 8) as f32 / (1 << 24) as f32).take(count)
}

/// Standard normal numbers by Box-Muller from Philox words (seed, stream, index).
fn normals(count: usize, seed: u64, stream: u32) -> impl Iterator<Item = f32> {
    let key = [seed as u32, (seed >> 32) as u32];
    (0..count.div_ceil(4) as u32)
        .flat_map(move |block| {
            let bits = noise::philox(key, [block, stream, 0, 0x1217]);
            let mut out = [0f32; 4];
            for pair in 0..2 {
                let u1 = (f64::from(bits[2 * pair]) + 1.0) / 4_294_967_297.0;
                let u2 = f64::from(bits[2 * pair + 1]) / 4_294_967_296.0;
                let radius = (-2.0 * u1.ln()).sqrt();
                let angle = 2.0 * std::f64::consts::PI * u2;
                out[2 * pair] = (radius * angle.cos()) as f32;
                out[2 * pair + 1] = (radius * angle.sin()) as f32;
            }
            out
        })
        .take(count)
}
