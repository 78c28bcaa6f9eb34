//! The seams of a stage: what it trains on ([`Window`]), by which objective, and for how long.

/// One packed row of a window: `context` inputs and their targets.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// `context + 1` token ids: input `t` is `tokens[t]`, its target is `tokens[t + 1]`.
    pub tokens: Vec<u32>,
    /// `context` weights, one per target: 0 = masked.
    pub weights: Vec<f32>,
    /// `context` columns: where in this row the document begins that input `t` belongs to.
    pub segments: Vec<u32>,
    /// The row's number in its table: keys the counter-based noise.
    pub key: u64,
}

/// All rows of one optimizer step; micro-batches only cut it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Inputs per row.
    pub context: usize,
    /// The rows, in order.
    pub rows: Vec<Row>,
}
