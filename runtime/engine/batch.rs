//! From rows to the arrays that the programs read: ids, targets, positions, spans, sorted tokens, derivatives.

use crate::stage::{Numbers, Window};

/// The host's side of a micro-batch: n = micro rows x context tokens; missing rows are padding that counts nothing.
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
    /// Fills the arrays with rows `from .. from + micro_rows` of a window. `derivatives` covers the whole window.
    pub fn fill(
        &mut self,
        window: &Window,
        from: usize,
        micro_rows: usize,
        shape: &BatchShape,
        derivatives: Option<&Numbers>,
    ) {
        let context = window.context;
        let n = micro_rows * context;
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
        for (at, row) in window.rows.iter().skip(from).take(micro_rows).enumerate() {
            let first = at * context;
            for t in 0..context {
                let i = first + t;
                self.ids[i] = row.tokens[t];
                if row.weights[t] != 0.0 {
                    self.targets[i] = row.tokens[t + 1];
                }
                let start = row.segments[t];
                self.positions[i] = t as u32 - start;
                self.keys[i] = (row.key.wrapping_mul(context as u64) + t as u64) as u32;
                let begin = match shape.sliding_window {
                    Some(width) => start.max((t + 1).saturating_sub(width) as u32),
                    None => start,
                };
                self.spans[4 * i] = first as u32 + begin;
                self.spans[4 * i + 1] = i as u32 + 1;
                if let Some(all) = derivatives {
                    let source = all[(from + at) * context + t];
                    for k in 0..4 {
                        self.dnumbers[4 * i + k] = source[k].to_bits();
                    }
                }
            }
        }
        query_ranges(&mut self.spans);
        sort_runs(&self.ids, shape.vocab, &mut self.order, &mut self.runs);
        if shape.learned_positions {
            sort_runs(&self.positions, context, &mut self.position_order, &mut self.position_runs);
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
