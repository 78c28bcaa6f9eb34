//! attention.forward: query rows in blocks, keys in chunks, online softmax; the score block never leaves the cache.
//!
//! A piece is 256 query rows of one head. It transposes up to 512 keys at a time (so that both products have contiguous
//! right-hand rows) and sends blocks of 32 query rows over them, each restricted to the keys that some row may see.
//! Rows whose keys lie far apart (decoding) go one by one.

use std::ops::Range;

use pleach_shaders::attention::Params;
use pleach_shaders::spec::{Args, Call, words};

use super::math::{exp, simd, tanh};
use super::memory::{Need, Room};
use super::product::{View, multiply, transpose};
use super::share::{Shared, Tile};
use super::sums::{dot, max, sum};

/// Query rows of a piece.
const PIECE: usize = 256;
/// Query rows of a block.
const ROWS: usize = 32;
/// Keys that are transposed at a time.
const KEYS: usize = 512;

/// Transposed keys and a block of scores for each thread.
pub(super) fn need(call: &Call) -> Need {
    let p: Params = call.params();
    let keys = KEYS.min(p.m as usize);
    Need { shared: 0, lane: (p.head_dim as usize + ROWS) * keys }
}

/// The keys that rows may see: the hull of their spans; empty where none sees any.
pub(super) fn hull(spans: &[u32], rows: Range<usize>) -> Range<usize> {
    let (mut lo, mut hi) = (usize::MAX, 0);
    for span in spans[rows.start * 4..rows.end * 4].chunks_exact(4).filter(|span| span[0] < span[1]) {
        (lo, hi) = (lo.min(span[0] as usize), hi.max(span[1] as usize));
    }
    lo.min(hi)..hi
}

/// What all pieces of a call share.
struct Job<'a> {
    p: Params,
    q: &'a [f32],
    kv: &'a [f32],
    spans: &'a [u32],
}

/// attention.forward.
pub(super) fn forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let (n, heads, d) = (p.n as usize, p.heads as usize, p.head_dim as usize);
    let job = Job { p, q: args.reads[0], kv: args.reads[1], spans: words(args.reads[2]) };
    let [y, lse] = args.writes else { panic!("attention.forward writes two tensors") };
    let (y, lse) = (Shared::new(y), Shared::new(lse));
    let lane_words = (d + ROWS) * KEYS.min(p.m as usize);
    room.team.each_with(room.lanes, lane_words, n.div_ceil(PIECE) * heads, |piece, lane| {
        let (head, first) = (piece % heads, piece / heads * PIECE);
        let rows = first..(first + PIECE).min(n);
        // SAFETY: a piece owns its rows of its head's columns; no other piece has the same rows and head.
        let (mut y, mut lse) = unsafe {
            let y = y.tile(first * heads * d + head * d, rows.len(), d, heads * d);
            (y, lse.tile(first * heads + head, rows.len(), 1, heads))
        };
        job.piece(head, rows, lane, &mut y, &mut lse);
    });
}

impl Job<'_> {
    /// One head's output for up to [`PIECE`] query rows.
    fn piece(&self, head: usize, rows: Range<usize>, lane: &mut [f32], y: &mut Tile<'_>, lse: &mut Tile<'_>) {
        let d = self.p.head_dim as usize;
        let (keys, scores) = lane.split_at_mut(d * KEYS.min(self.p.m as usize));
        let (stride, k_column, v_column) = self.columns(head);
        let (mut top, mut total) = ([f32::NEG_INFINITY; PIECE], [0.0_f32; PIECE]);
        for row in 0..rows.len() {
            y.row(row).fill(0.0);
        }
        if self.scattered(&rows) {
            for row in rows.clone() {
                let at = row - rows.start;
                let mut y = y.part(at..at + 1, 0, d);
                self.row(head, row, scores, &mut top[at..=at], &mut total[at..=at], &mut y);
            }
        }
        let seen = if self.scattered(&rows) { 0..0 } else { hull(self.spans, rows.clone()) };
        for from in seen.clone().step_by(KEYS) {
            let to = (from + KEYS).min(seen.end);
            transpose(keys, &self.kv[from * stride + k_column..], to - from, d, stride);
            for first in rows.clone().step_by(ROWS) {
                let block = first..(first + ROWS).min(rows.end);
                let seen = hull(self.spans, block.clone());
                let seen = seen.start.max(from)..seen.end.min(to);
                if seen.is_empty() {
                    continue;
                }
                let (height, width) = (block.len(), seen.len());
                let scores = &mut scores[..height * width];
                let q_stride = self.p.q_stride as usize;
                let q = View::new(&self.q[first * q_stride + head * d..], height, d, q_stride);
                let k = View::new(&keys[seen.start - from..], d, width, to - from);
                multiply(&mut Tile::whole(scores, height, width), self.p.scale, q, k, false);
                let local = first - rows.start..block.end - rows.start;
                let mut y = y.part(local.clone(), 0, d);
                self.weigh(scores, block, &seen, &mut top[local.clone()], &mut total[local], &mut y);
                let v = View::new(&self.kv[seen.start * stride + v_column..], width, d, stride);
                multiply(&mut y, 1.0, View::new(scores, height, width, width), v, true);
            }
        }
        simd!({
            for row in 0..rows.len() {
                let sees = total[row] != 0.0;
                let factor = if sees { 1.0 / total[row] } else { 0.0 };
                for v in y.row(row) {
                    *v *= factor;
                }
                lse.row(row)[0] = if sees { top[row] + total[row].ln() } else { 0.0 };
            }
        });
    }

    /// Words from key to key, and the columns of a query head's keys and values.
    fn columns(&self, head: usize) -> (usize, usize, usize) {
        let kv_head = head / (self.p.heads / self.p.kv_heads) as usize;
        let column = kv_head * self.p.head_dim as usize;
        (self.p.kv_stride as usize, self.p.k_offset as usize + column, self.p.v_offset as usize + column)
    }

    /// Do blocks of these rows see mostly what only one of their rows sees (decoding several texts), or are there so few
    /// that transposing keys for them does not pay?
    fn scattered(&self, rows: &Range<usize>) -> bool {
        let wanted: usize = rows.clone().map(|row| hull(self.spans, row..row + 1).len()).sum();
        let blocks = rows.clone().step_by(ROWS).map(|first| first..(first + ROWS).min(rows.end));
        let spent: usize = blocks.map(|block| block.len() * hull(self.spans, block).len()).sum();
        rows.len() < 8 || spent > 5 * wanted
    }

    /// One query row by dot products, chunk by chunk of its keys.
    fn row(&self, head: usize, row: usize, scores: &mut [f32], top: &mut [f32], total: &mut [f32], y: &mut Tile<'_>) {
        let d = self.p.head_dim as usize;
        let (stride, k_column, v_column) = self.columns(head);
        let q = &self.q[row * self.p.q_stride as usize + head * d..][..d];
        let span = hull(self.spans, row..row + 1);
        for from in span.clone().step_by(KEYS) {
            let chunk = from..(from + KEYS).min(span.end);
            let scores = &mut scores[..chunk.len()];
            for (score, key) in scores.iter_mut().zip(chunk.clone()) {
                *score = self.p.scale * dot(q, &self.kv[key * stride + k_column..][..d]);
            }
            self.weigh(scores, row..row + 1, &chunk, top, total, y);
            simd!({
                let y = y.row(0);
                for (&weight, key) in scores.iter().zip(chunk) {
                    let value = &self.kv[key * stride + v_column..][..d];
                    for (y, &v) in y.iter_mut().zip(value) {
                        *y = weight.mul_add(v, *y);
                    }
                }
            });
        }
    }

    /// Turns a block of scores into weights relative to the running maxima, and rescales what was summed before.
    fn weigh(
        &self,
        scores: &mut [f32],
        block: Range<usize>,
        seen: &Range<usize>,
        top: &mut [f32],
        total: &mut [f32],
        y: &mut Tile<'_>,
    ) {
        let (width, cap) = (seen.len(), self.p.softcap);
        simd!({
            for (i, row) in block.enumerate() {
                let scores = &mut scores[i * width..(i + 1) * width];
                let lo = (self.spans[row * 4] as usize).clamp(seen.start, seen.end) - seen.start;
                let hi = (self.spans[row * 4 + 1] as usize).clamp(seen.start, seen.end) - seen.start;
                if lo >= hi {
                    scores.fill(0.0);
                    continue;
                }
                scores[..lo].fill(0.0);
                scores[hi..].fill(0.0);
                let scores = &mut scores[lo..hi];
                if cap > 0.0 {
                    for s in scores.iter_mut() {
                        *s = cap * tanh(*s / cap);
                    }
                }
                // Nothing comparable (all not-a-number): any maximum lets it through to the output.
                let new = max(scores).max(top[i]);
                let new = if new == f32::NEG_INFINITY { 0.0 } else { new };
                for s in scores.iter_mut() {
                    *s = exp(*s - new);
                }
                let factor = exp(top[i] - new);
                total[i] = total[i].mul_add(factor, sum(scores));
                if factor != 1.0 && top[i] != f32::NEG_INFINITY {
                    for v in y.row(i) {
                        *v *= factor;
                    }
                }
                top[i] = new;
            }
        });
    }
}
