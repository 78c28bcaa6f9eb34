//! Generation with a KV cache: the decode programs' inputs, and attention over the caches.

use super::config::ModelConfig;
use super::transformer::{Attend, Inputs};
use crate::engine::layout::Allocate;
use crate::fault::Fault;
use crate::tape::Tape;
use pleach_shaders::attention::{self, AttentionShape, Offsets};
use pleach_shaders::embed::{self, Sorted};
use pleach_shaders::matmul::{self, Epilogue};
use pleach_shaders::spec::{Dtype, Recorder, Shape, Tensor};
use pleach_shaders::{add, cache, sample};

/// Recent tokens that a repetition penalty looks at, at most.
pub const RECENT: usize = 64;

/// What a decode program is fed and what it answers: n tokens, of which s (one per sequence) are continued.
#[derive(Clone, Debug)]
pub struct DecodeInputs {
    /// Ids, positions, spans over the caches' rows.
    pub inputs: Inputs,
    /// (n) cache row of each token; 0xFFFFFFFF = padding.
    pub slots: Tensor,
    /// (s) which tokens' hidden states are continued.
    pub last: Tensor,
    /// (s, RECENT) tokens that a repetition penalty looks at.
    pub recent: Tensor,
    /// (s, 2) noise key of each draw.
    pub draws: Tensor,
    /// (s, v) logits.
    pub logits: Tensor,
    /// (s) sampled tokens.
    pub token: Tensor,
    /// (s) their log-probabilities.
    pub log_probability: Tensor,
}

impl DecodeInputs {
    /// Buffers for `tokens` tokens and `sequences` sequences at a time.
    pub fn allocate(
        name: &str,
        tokens: usize,
        sequences: usize,
        config: &ModelConfig,
        rotary: Tensor,
        allocate: &mut Allocate,
    ) -> Result<DecodeInputs, Fault> {
        let mut make = |what: &str, dims: &[usize], dtype| allocate(&format!("{name} {what}"), Shape::new(dims), dtype);
        let ids = make("ids", &[tokens], Dtype::U32)?;
        let none = Sorted { order: Tensor::none(), runs: Tensor::none() };
        let positions = make("positions", &[tokens], Dtype::U32)?;
        let spans = make("spans", &[tokens, 4], Dtype::U32)?;
        let inputs =
            Inputs { ids, sorted: none, positions, positions_sorted: none, spans, keys: Tensor::none(), rotary };
        Ok(DecodeInputs {
            inputs,
            slots: make("slots", &[tokens], Dtype::U32)?,
            last: make("last", &[sequences], Dtype::U32)?,
            recent: make("recent", &[sequences, RECENT], Dtype::U32)?,
            draws: make("draws", &[sequences, 2], Dtype::U32)?,
            logits: make("logits", &[sequences, config.vocab], Dtype::F32)?,
            token: make("token", &[sequences], Dtype::U32)?,
            log_probability: make("log-probability", &[sequences], Dtype::F32)?,
        })
    }

    /// Records: the hidden states of the sequences' last tokens, their logits, one sampled token each.
    pub fn record_sampling(&self, tape: &mut Tape, hidden: Tensor, head: Tensor) {
        tape.scope("sampling");
        let none = Sorted { order: Tensor::none(), runs: Tensor::none() };
        let last = embed::record(tape, hidden, self.last, none, None);
        let logits = matmul::record(tape, last, head, Epilogue::default());
        tape.call(add::copy_call(logits, self.logits, 1.0));
        tape.call(sample::call(logits, self.recent, self.draws, self.token, self.log_probability));
    }
}

/// Attention over the caches: appends this call's keys and values, then looks at whole cache rows.
pub struct Cached<'a> {
    /// Caches by layer: (rows, 2 g d), keys then values.
    pub caches: &'a [Tensor],
    /// (n) row of each token.
    pub slots: Tensor,
    /// (n, 4) rows that each token sees.
    pub spans: Tensor,
    /// Each token belongs to another sequence.
    pub apart: bool,
}

impl Attend for Cached<'_> {
    fn attend(&mut self, tape: &mut Tape, layer: usize, qkv: Tensor, shape: AttentionShape) -> Tensor {
        let n = qkv.shape.rows();
        let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let cache = self.caches[layer];
        tape.call(cache::call(qkv, self.slots, cache, queries));
        let y = tape.tensor("attention", &[n, queries], Dtype::F32);
        let lse = tape.tensor("attention lse", &[n, shape.heads], Dtype::F32);
        let offsets = Offsets { k: 0, v: keys };
        tape.call(attention::forward_call(qkv, cache, self.spans, y, lse, shape, offsets, self.apart));
        y
    }
}
