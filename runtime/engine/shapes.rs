//! The shapes that programs are recorded for.

use crate::model::config::ModelConfig;
use serde::{Deserialize, Serialize};

/// The shapes that programs are recorded for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shapes {
    /// Rows of a full micro-batch; it holds `micro_rows * context` tokens, or more rows that are shorter.
    pub micro_rows: usize,
    /// Tokens of the longest row in training and evaluation.
    pub context: usize,
    /// Further lengths in tokens, largest first, that training and evaluation are recorded for: what does not fill a
    /// micro-batch takes the shortest that holds it.
    pub buckets: Vec<usize>,
    /// Sequences generated at once.
    pub streams: usize,
    /// Tokens of the longest sequence that is generated, its prompt among them: rows of a stream's cache. At most the
    /// model's context.
    pub sequence: usize,
    /// Prompt tokens taken in at once.
    pub prefill: usize,
    /// Rows of logits that exist at once.
    pub head_chunk: usize,
    /// Compute activations a second time instead of keeping them.
    pub recompute: bool,
}

impl Shapes {
    /// For evaluation and generation over the model's whole context.
    pub fn inference(config: &ModelConfig, micro_rows: usize, streams: usize) -> Shapes {
        Shapes {
            micro_rows,
            context: config.context,
            buckets: halves(micro_rows * config.context),
            streams,
            sequence: config.context,
            prefill: config.context.min(64),
            head_chunk: head_chunk(config.vocab, micro_rows * config.context),
            recompute: false,
        }
    }

    /// For [`Role::generator`]: `streams` sequences of up to `longest` tokens, prompts among them.
    pub fn generation(config: &ModelConfig, streams: usize, longest: usize) -> Shapes {
        let sequence = sequence(config, longest);
        let prefill = sequence.min(64);
        let (micro_rows, context, buckets, head_chunk) = (1, 1, Vec::new(), 1);
        Shapes { micro_rows, context, buckets, streams, sequence, prefill, head_chunk, recompute: false }
    }

    /// For [`Role::reference`]: windows of `context` tokens a row, at most the model's own.
    pub fn evaluation(config: &ModelConfig, context: usize) -> Shapes {
        let micro_rows = (2048 / context).clamp(1, 8);
        let config = ModelConfig { context: context.min(config.context), ..config.clone() };
        Shapes::inference(&config, micro_rows, 1)
    }

    /// Lengths in tokens of the recorded micro-batches, the full one first.
    pub fn lengths(&self) -> Vec<usize> {
        let full = self.micro_rows * self.context;
        std::iter::once(full).chain(self.buckets.iter().copied().filter(|&tokens| tokens < full)).collect()
    }

    /// Number of the shortest of [`Shapes::lengths`] that holds so many tokens. Panics beyond the full one.
    pub fn bucket(&self, tokens: usize) -> usize {
        self.lengths().iter().rposition(|&length| tokens <= length).expect("a micro-batch that fits the full length")
    }
}

/// Rows of a stream's cache for sequences of up to `longest` tokens: whole blocks of 64, so that a stream's rows begin
/// where a block of keys does, however long the cache is; at most the context.
pub fn sequence(config: &ModelConfig, longest: usize) -> usize {
    longest.clamp(1, config.context).next_multiple_of(64).min(config.context)
}

/// Half and a quarter of a micro-batch, but not below 64 tokens: for windows that seldom fill one.
pub fn halves(tokens: usize) -> Vec<usize> {
    [tokens / 2, tokens / 4].into_iter().filter(|&length| length >= 64).collect()
}

/// Rows of logits at once: about 32 MiB of them, but at least 256 rows, because each chunk reads the head's weights
/// twice and adds to their gradient. (A device takes fewer where so many exceed a binding.)
pub fn head_chunk(vocab: usize, rows: usize) -> usize {
    ((32 << 20) / (4 * vocab)).clamp(256, 4096).min(rows.max(1))
}
