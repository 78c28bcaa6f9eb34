//! What a model is: its shape in numbers, and the one dial (`depth`) that fills them in.

use crate::fault::Refusal;
use pleach_shaders::activation::Activation;
use serde::{Deserialize, Serialize};

/// Which normalisation stands before attention, before the feed-forward part and before the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// RMSNorm: a gain, no mean.
    Rms,
    /// LayerNorm: a gain, and a bias where `norm_bias` is set.
    Layer,
}

/// How a token knows its place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A learned vector per position, added to the token's (GPT-2).
    Learned,
    /// Rotary embedding with this base (half-split convention).
    Rotary {
        /// The base: 10,000 in most models.
        theta: f32,
    },
}

/// The non-linearity of the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForward {
    /// `down(gelu_tanh(up x))`: GPT-2's.
    GeluTanh,
    /// `down(gelu_erf(up x))`: nanoGPT's.
    Gelu,
    /// `down(silu(gate x) * up x)`: Llama's and Qwen's.
    SwiGlu,
    /// `down(gelu_tanh(gate x) * up x)`: Gemma's.
    GeGlu,
    /// `down(relu(x)^2)`.
    ReluSquared,
}

impl FeedForward {
    /// Is there a gate beside the up projection?
    pub fn gated(self) -> bool {
        matches!(self, FeedForward::SwiGlu | FeedForward::GeGlu)
    }
    /// The pointwise function.
    pub fn activation(self) -> Activation {
        match self {
            FeedForward::GeluTanh | FeedForward::GeGlu => Activation::GeluTanh,
            FeedForward::Gelu => Activation::GeluErf,
            FeedForward::SwiGlu => Activation::Silu,
            FeedForward::ReluSquared => Activation::ReluSquared,
        }
    }
}

/// What stands on the decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Logits over the vocabulary: a language model.
    #[default]
    Vocabulary,
    /// One value a token: a reward model, a critic.
    Scalar,
}

impl Head {
    fn is_default(&self) -> bool {
        *self == Head::default()
    }
}

/// The one decoder in numbers. Every field is kept in the run folder as it was used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Longest sequence in tokens.
    pub context: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Decoder blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Channels of a head; even where positions are rotary.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub hidden: usize,
    /// The normalisation.
    pub norm: Norm,
    /// Added under the square root.
    pub norm_eps: f32,
    /// LayerNorm has a bias.
    pub norm_bias: bool,
    /// Place of a token.
    pub positions: Positions,
    /// RMSNorm on each query and key head (Qwen3).
    pub qk_norm: bool,
    /// Query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// Output and feed-forward projections have a bias.
    pub projection_bias: bool,
    /// The feed-forward part.
    pub feed_forward: FeedForward,
    /// The vocabulary's head, where there is one, is the token embedding.
    pub tied: bool,
    /// What stands on the decoder; a file that does not say it has a language model.
    #[serde(default, skip_serializing_if = "Head::is_default")]
    pub head: Head,
    /// A token sees at most this many tokens, itself among them; none: all before it.
    pub sliding_window: Option<usize>,
    /// Soft cap of attention scores; 0 = off.
    pub attention_softcap: f32,
    /// Dropout rate after embedding, attention and feed-forward, in training only; 0 = off.
    pub dropout: f32,
}

/// Most layers: far beyond any model, and few enough for a list of all their tensors.
const LAYERS_MAX: usize = 4096;
/// Most weights: their bytes, moments and all, stay far below what 64 bits count.
const WEIGHTS_MAX: u128 = 1 << 40;

impl ModelConfig {
    /// The GPT-2 shape as nanoGPT trains it: LayerNorm and no biases, learned positions, erf GELU, tied head.
    pub fn gpt2(vocab: usize, context: usize, width: usize, layers: usize, heads: usize, biases: bool) -> ModelConfig {
        ModelConfig {
            vocab,
            context,
            width,
            layers,
            heads,
            kv_heads: heads,
            head_dim: width / heads.max(1),
            hidden: 4 * width,
            norm: Norm::Layer,
            norm_eps: 1e-5,
            norm_bias: biases,
            positions: Positions::Learned,
            qk_norm: false,
            qkv_bias: biases,
            projection_bias: biases,
            feed_forward: if biases { FeedForward::GeluTanh } else { FeedForward::Gelu },
            tied: true,
            head: Head::Vocabulary,
            sliding_window: None,
            attention_softcap: 0.0,
            dropout: 0.0,
        }
    }

    /// The Qwen3 shape: RMSNorm, rotary positions, grouped heads, q/k norm, SwiGLU. Heads are 64 wide (32 in narrow
    /// models), the feed-forward part 8/3 of the width rounded up to 32.
    pub fn qwen3(
        vocab: usize,
        context: usize,
        width: usize,
        layers: usize,
        heads: usize,
        kv_heads: usize,
    ) -> ModelConfig {
        ModelConfig {
            vocab,
            context,
            width,
            layers,
            heads,
            kv_heads,
            head_dim: width / heads.max(1),
            hidden: (width * 8).div_ceil(3).next_multiple_of(32),
            norm: Norm::Rms,
            norm_eps: 1e-6,
            norm_bias: false,
            positions: Positions::Rotary { theta: 10_000.0 },
            qk_norm: true,
            qkv_bias: false,
            projection_bias: false,
            feed_forward: FeedForward::SwiGlu,
            tied: true,
            head: Head::Vocabulary,
            sliding_window: None,
            attention_softcap: 0.0,
            dropout: 0.0,
        }
    }

    /// The one dial: `depth` layers, 64 channels of width a layer, heads of 64 channels (32 below a width of 256), as
    /// many key/value heads as half the heads, the head tied below depth 16.
    pub fn depth(depth: usize, vocab: usize, context: usize) -> ModelConfig {
        let width = 64 * depth.max(1);
        let heads = width / if width < 256 { 32 } else { 64 };
        let kv_heads = if heads.is_multiple_of(2) { heads / 2 } else { heads };
        let mut config = ModelConfig::qwen3(vocab, context, width, depth.max(1), heads, kv_heads);
        config.tied = depth < 16;
        config
    }

    /// The same decoder under a scalar head.
    pub fn scalar(&self) -> ModelConfig {
        ModelConfig { head: Head::Scalar, ..self.clone() }
    }

    /// Refuses what cannot be a model, naming the field.
    pub fn check(&self) -> Result<(), Refusal> {
        let refuse =
            |detail: String, hint: &str| Err(Refusal::new("the model's shape does not fit together", detail, hint));
        for (name, value) in [
            ("vocab", self.vocab),
            ("context", self.context),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("hidden", self.hidden),
        ] {
            if value == 0 || value > 1 << 24 {
                return refuse(format!("{name} = {value}"), "give it a value from 1 to 16777216");
            }
        }
        if self.layers > LAYERS_MAX || self.weights() > WEIGHTS_MAX {
            let detail = format!("layers = {}, {} weights in all", self.layers, self.weights());
            return refuse(detail, "up to 4096 layers and 2^40 weights are understood");
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let detail = format!("heads = {} is not a multiple of kv_heads = {}", self.heads, self.kv_heads);
            return refuse(detail, "each key/value head serves the same number of query heads");
        }
        if matches!(self.positions, Positions::Rotary { .. }) && !self.head_dim.is_multiple_of(2) {
            return refuse(format!("head_dim = {} is odd", self.head_dim), "rotary positions turn pairs of channels");
        }
        if let Positions::Rotary { theta } = self.positions
            && !(theta.is_finite() && theta >= 1.0)
        {
            return refuse(format!("rope_theta = {theta}"), "give a base from 1 up; most models have 10000");
        }
        if self.sliding_window == Some(0) {
            return refuse(
                "sliding_window = 0".into(),
                "a token sees at least itself: give 1 or more, or leave it out",
            );
        }
        if !(self.norm_eps.is_finite() && self.norm_eps > 0.0 && self.attention_softcap >= 0.0) {
            let detail = format!("norm_eps = {}, attention_softcap = {}", self.norm_eps, self.attention_softcap);
            return refuse(detail, "the first is above 0, the second 0 (off) or above");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse(format!("dropout = {}", self.dropout), "give a rate from 0 up to, but not including, 1");
        }
        Ok(())
    }

    /// Weights of its matrices: in wide arithmetic, because it is asked before the extents are believed.
    fn weights(&self) -> u128 {
        let [c, q, kv] = [self.width, self.heads * self.head_dim, self.kv_heads * self.head_dim].map(|n| n as u128);
        let feed_forward = self.up_width() as u128 + self.hidden as u128;
        let vocab = self.vocab as u128 * if self.tied || self.head == Head::Scalar { 1 } else { 2 };
        let places = if self.positions == Positions::Learned { self.context as u128 } else { 0 };
        (vocab + places) * c + self.layers as u128 * c * (2 * q + 2 * kv + feed_forward)
    }

    /// Channels of the fused query/key/value projection.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Channels of all query heads.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Rows of the first feed-forward matrix: gate rows, then up rows, where there is a gate.
    pub fn up_width(&self) -> usize {
        if self.feed_forward.gated() { 2 * self.hidden } else { self.hidden }
    }
}
