//! From rows to the arrays that the programs read: ids, targets, positions, spans, sorted tokens, derivatives.

use crate::stage::{Numbers, Window};
use std::ops::Range;

/// What a micro-batch takes of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Rows of the window.
    pub rows: Range<usize>,
    /// Their tokens, counted over the window.
    pub tokens: Range<usize>,
}

/// Cuts a window into micro-batches of at most `most` tokens: whole rows, in their order, as many as fit.
/// Panics where one row is longer.
pub fn cuts(window: &Window, most: usize) -> Vec<Cut> {
    let mut out: Vec<Cut> = Vec::new();
    let mut at = 0;
    for (index, row) in window.rows.iter().enumerate() {
        assert!(row.len() <= most, "a row of {} tokens in micro-batches of {most}", row.len());
        let end = at + row.len();
        match out.last_mut() {
            Some(cut) if end - cut.tokens.start <= most => {
                (cut.rows.end, cut.tokens.end) = (index + 1, end);
            }
            _ => out.push(Cut { rows: index..index + 1, tokens: at..end }),
        }
        at = end;
    }
    out
}

/// The host's side of a micro-batch of n tokens: rows laid end to end; what they leave is padding that counts nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Token ids (0 in padding).
    pub ids: Vec<u32>,
    /// Target ids; 0xFFFFFFFF where masked.
    pub targets: Vec<u32>,
    /// Place in the document.
    pub positions: Vec<u32>,
    /// Noise keys.
    pub keys: Vec<u32>,
    /// (n, 4) lo, hi, qlo, qhi.
    pub spans: Vec<u32>,
    /// Tokens sorted by id.
    pub order: Vec<u32>,
    /// (n, 2) id and first index into `order`.
    pub runs: Vec<u32>,
    /// Tokens sorted by position.
    pub position_order: Vec<u32>,
    /// (n, 2) position and first index.
    pub position_runs: Vec<u32>,
    /// (n, 4) derivatives, as f32 bits.
    pub dnumbers: Vec<u32>,
}

/// A masked target.
pub const MASKED: u32 = u32::MAX;

impl Batch {
    /// Fills the arrays of `n` tokens with a cut of a window. `derivatives` covers the whole window.
    pub fn fill(&mut self, window: &Window, cut: &Cut, n: usize, shape: &BatchShape, derivatives: Option<&Numbers>) {
        for list in [&mut self.ids, &mut self.positions, &mut self.keys] {
            list.clear();
            list.resize(n, 0);
        }
        self.targets.clear();
        self.targets.resize(n, MASKED);
        for list in [&mut self.spans, &mut self.dnumbers] {
            list.clear();
            list.resize(4 * n, 0);
        }
        let mut first = 0;
        for row in &window.rows[cut.rows.clone()] {
            for t in 0..row.len() {
                let i = first + t;
                self.ids[i] = row.tokens[t];
                if row.weights[t] != 0.0 {
                    self.targets[i] = row.tokens[t + 1];
                }
                let start = row.segments[t];
                self.positions[i] = t as u32 - start;
                self.keys[i] = (row.key.wrapping_mul(window.context as u64) + t as u64) as u32;
                let begin = match shape.sliding_window {
                    Some(width) => start.max((t + 1).saturating_sub(width) as u32),
                    None => start,
                };
                self.spans[4 * i] = first as u32 + begin;
                self.spans[4 * i + 1] = i as u32 + 1;
                if let Some(all) = derivatives {
                    let source = all[cut.tokens.start + i];
                    for k in 0..4 {
                        self.dnumbers[4 * i + k] = source[k].to_bits();
                    }
                }
            }
            first += row.len();
        }
        query_ranges(&mut self.spans);
        sort_runs(&self.ids, shape.vocab, &mut self.order, &mut self.runs);
        if shape.learned_positions {
            sort_runs(&self.positions, window.context, &mut self.position_order, &mut self.position_runs);
        }
    }
}

/// What filling a batch must know of the model.
#[derive(Clone, Copy, Debug)]
pub struct BatchShape {
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// How far a token sees.
    pub sliding_window: Option<usize>,
    /// Does the model learn its positions?
    pub learned_positions: bool,
}

/// Fills qlo, qhi: the tokens that see token j are those i >= j with lo_i <= j, contiguous since lo never falls within
/// a document and documents follow each other. Padding rows (hi = 0) see nothing and are seen by nothing.
fn query_ranges(spans: &mut [u32]) {
    let n = spans.len() / 4;
    let mut end = 0usize;
    for j in 0..n {
        if spans[4 * j + 1] == 0 {
            continue;
        }
        end = end.max(j + 1);
        while end < n && spans[4 * end + 1] != 0 && spans[4 * end] as usize <= j {
            end += 1;
        }
        spans[4 * j + 2] = j as u32;
        spans[4 * j + 3] = end as u32;
    }
}

/// Counting sort of 0..n by value (stable), and the runs of equal values, padded with (0xFFFFFFFF, n).
fn sort_runs(values: &[u32], limit: usize, order: &mut Vec<u32>, runs: &mut Vec<u32>) {
    let n = values.len();
    order.clear();
    order.extend(0..n as u32);
    debug_assert!(values.iter().all(|&value| (value as usize) < limit), "a value below {limit}");
    order.sort_by_key(|&i| values[i as usize]);
    runs.clear();
    for (at, &i) in order.iter().enumerate() {
        let value = values[i as usize];
        if runs.len() < 2 || runs[runs.len() - 2] != value {
            runs.extend([value, at as u32]);
        }
    }
    while runs.len() < 2 * n {
        runs.extend([u32::MAX, n as u32]);
    }
}
