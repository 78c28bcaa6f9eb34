//! attention.backward: key blocks against query blocks, weights computed anew from the saved log-sum-exps.
//!
//! A piece is one key head of one *segment*: a run of rows that see, and are seen by, no row outside of it (a packed row
//! at most; short ones are joined). It sums the gradients of its keys and values in place, so that no piece waits for
//! another and every sum has one order: key blocks outside, heads of the group and query blocks inside.

use std::ops::Range;

use pleach_shaders::attention::Params;
use pleach_shaders::sink;
use pleach_shaders::spec::{Args, Call, words};

use super::math::{exp, simd, tanh};
use super::memory::{Need, Room};
use super::product::{View, multiply, transpose};
use super::share::{Shared, Tile};
use super::sums::dot;

/// Query rows of a block.
const ROWS: usize = 64;
/// Most keys of a block.
const KEYS: usize = 64;
/// Segments shorter than this are joined.
const SEGMENT: usize = 64;

/// The list of segments; and for each thread transposed keys and values, two blocks of scores, and a number a row.
pub(super) fn need(call: &Call) -> Need {
    let p: Params = call.params();
    Need { shared: p.n as usize + 1, lane: lane_words(&p) }
}

fn lane_words(p: &Params) -> usize {
    2 * KEYS * (p.head_dim as usize + ROWS) + p.n as usize
}

/// Writes the starts of the segments, then `n`, and returns how many segments there are.
fn segments(spans: &[u32], n: usize, starts: &mut [u32]) -> usize {
    let (mut count, mut reached, mut start) = (0, 0, 0);
    for row in 0..n {
        let (lo, hi) = (spans[row * 4] as usize, spans[row * 4 + 1] as usize);
        let free = reached <= row && (lo >= row || lo >= hi);
        if row == 0 || (free && row - start >= SEGMENT) {
            start = row;
            starts[count] = row as u32;
            count += 1;
        }
        if lo < hi {
            // A row that sees back before the start of its segment joins it to those before.
            while lo < start {
                count -= 1;
                start = starts[count - 1] as usize;
            }
            reached = reached.max(hi);
        }
    }
    starts[count] = n as u32;
    count
}

/// What all pieces of a call share.
struct Job<'a> {
    p: Params,
    dy: &'a [f32],
    qkv: &'a [f32],
    spans: &'a [u32],
    y: &'a [f32],
    lse: &'a [f32],
}

/// attention.backward.
pub(super) fn backward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let (n, d, kv_heads) = (p.n as usize, p.head_dim as usize, p.kv_heads as usize);
    let group = p.heads as usize / kv_heads;
    let [dy, qkv, spans, y, lse] = *args.reads else { panic!("attention.backward reads five tensors") };
    let job = Job { p, dy, qkv, spans: words(spans), y, lse };
    let starts: &mut [u32] = bytemuck::cast_slice_mut(room.shared);
    let count = segments(job.spans, n, starts);
    let starts = &starts[..=count];
    let dqkv = Shared::new(args.writes[0]);
    let stride = p.q_stride as usize;
    room.team.each_with(room.lanes, lane_words(&p), count * kv_heads, |piece, lane| {
        let (head, segment) = (piece % kv_heads, piece / kv_heads);
        let rows = starts[segment] as usize..starts[segment + 1] as usize;
        let base = rows.start * stride;
        // SAFETY: a piece owns its segment's rows of its key head's columns and of its query heads' columns: no other
        // piece has the same segment and key head, and the three column ranges are apart.
        let [mut dq, mut dk, mut dv] = unsafe {
            [
                dqkv.tile(base + head * group * d, rows.len(), group * d, stride),
                dqkv.tile(base + p.k_offset as usize + head * d, rows.len(), d, stride),
                dqkv.tile(base + p.v_offset as usize + head * d, rows.len(), d, stride),
            ]
        };
        for row in 0..if p.dqkv == sink::ADD { 0 } else { rows.len() } {
            dq.row(row).fill(0.0);
            dk.row(row).fill(0.0);
            dv.row(row).fill(0.0);
        }
        for member in 0..group {
            let mut dq = dq.part(0..rows.len(), member * d, d);
            job.piece(head * group + member, head, rows.clone(), lane, &mut dq, &mut dk, &mut dv);
        }
    });
}

impl Job<'_> {
    /// Adds one query head's contributions within one segment.
    fn piece(
        &self,
        head: usize,
        kv_head: usize,
        rows: Range<usize>,
        lane: &mut [f32],
        dq: &mut Tile<'_>,
        dk: &mut Tile<'_>,
        dv: &mut Tile<'_>,
    ) {
        let (d, heads, stride) = (self.p.head_dim as usize, self.p.heads as usize, self.p.q_stride as usize);
        let (k_column, v_column) = (self.p.k_offset as usize + kv_head * d, self.p.v_offset as usize + kv_head * d);
        let (keys, lane) = lane.split_at_mut(KEYS * d);
        let (values, lane) = lane.split_at_mut(KEYS * d);
        let (weights, lane) = lane.split_at_mut(ROWS * KEYS);
        let (slopes, delta) = lane.split_at_mut(ROWS * KEYS);
        for row in rows.clone() {
            let at = (row * heads + head) * d;
            delta[row - rows.start] = dot(&self.dy[at..at + d], &self.y[at..at + d]);
        }
        let width = if rows.len() > 2 * KEYS { KEYS } else { KEYS / 2 };
        for first in rows.clone().step_by(width) {
            let block = first..(first + width).min(rows.end);
            transpose(keys, &self.qkv[first * stride + k_column..], block.len(), d, stride);
            transpose(values, &self.qkv[first * stride + v_column..], block.len(), d, stride);
            let local = first - rows.start..block.end - rows.start;
            let (mut dk, mut dv) = (dk.part(local.clone(), 0, d), dv.part(local, 0, d));
            let seers = self.seers(&rows, &block);
            for from in seers.clone().step_by(ROWS) {
                let queries = from..(from + ROWS).min(seers.end);
                let (height, width) = (queries.len(), block.len());
                let (weights, slopes) = (&mut weights[..height * width], &mut slopes[..height * width]);
                let q = View::new(&self.qkv[from * stride + head * d..], height, d, stride);
                let dy = View::new(&self.dy[(from * heads + head) * d..], height, d, heads * d);
                let k = View::new(keys, d, width, width);
                let v = View::new(values, d, width, width);
                multiply(&mut Tile::whole(weights, height, width), self.p.scale, q, k, false);
                multiply(&mut Tile::whole(slopes, height, width), 1.0, dy, v, false);
                let local = from - rows.start..queries.end - rows.start;
                self.weigh(weights, slopes, head, queries, &block, &delta[local.clone()]);
                let weights = View::new(weights, height, width, width);
                let slopes = View::new(slopes, height, width, width);
                multiply(&mut dv, 1.0, weights.transposed(), dy, true);
                multiply(&mut dk, self.p.scale, slopes.transposed(), q, true);
                let k = View::new(&self.qkv[first * stride + k_column..], width, d, stride);
                multiply(&mut dq.part(local, 0, d), self.p.scale, slopes, k, true);
            }
        }
    }

    /// The rows of a segment, first to last, that see some key of a block.
    fn seers(&self, rows: &Range<usize>, block: &Range<usize>) -> Range<usize> {
        let sees = |&row: &usize| {
            let (lo, hi) = (self.spans[row * 4] as usize, self.spans[row * 4 + 1] as usize);
            lo < hi && lo < block.end && hi > block.start
        };
        let first = rows.clone().find(sees);
        let last = rows.clone().rev().find(sees);
        first.zip(last).map_or(0..0, |(first, last)| first..last + 1)
    }

    /// Scores become weights, and the weights' gradients become the scores' gradients (0 where nothing is seen).
    fn weigh(
        &self,
        weights: &mut [f32],
        slopes: &mut [f32],
        head: usize,
        queries: Range<usize>,
        block: &Range<usize>,
        delta: &[f32],
    ) {
        let (width, cap) = (block.len(), self.p.softcap);
        simd!({
            for (i, row) in queries.enumerate() {
                let weights = &mut weights[i * width..(i + 1) * width];
                let slopes = &mut slopes[i * width..(i + 1) * width];
                let lo = (self.spans[row * 4] as usize).clamp(block.start, block.end) - block.start;
                let hi = (self.spans[row * 4 + 1] as usize).clamp(block.start, block.end) - block.start;
                let hi = hi.max(lo);
                for part in [0..lo, hi..width] {
                    weights[part.clone()].fill(0.0);
                    slopes[part].fill(0.0);
                }
                let (lse, delta) = (self.lse[row * self.p.heads as usize + head], delta[i]);
                let pairs = weights[lo..hi].iter_mut().zip(&mut slopes[lo..hi]);
                if cap > 0.0 {
                    for (w, s) in pairs {
                        let bent = tanh(*w / cap);
                        *w = exp(cap * bent - lse);
                        *s = *w * (*s - delta) * (1.0 - bent * bent);
                    }
                } else {
                    for (w, s) in pairs {
                        *w = exp(*w - lse);
                        *s = *w * (*s - delta);
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans of rows from (lo, hi) pairs.
    fn spans(pairs: &[(u32, u32)]) -> Vec<u32> {
        pairs.iter().flat_map(|&(lo, hi)| [lo, hi, 0, 0]).collect()
    }

    #[test]
    fn segments_end_where_nobody_looks_across() {
        let causal = |lengths: &[u32]| {
            let mut pairs = Vec::new();
            let mut start = 0;
            for &length in lengths {
                pairs.extend((0..length).map(|i| (start, start + i + 1)));
                start += length;
            }
            spans(&pairs)
        };
        let find = |spans: &[u32]| {
            let n = spans.len() / 4;
            let mut starts = vec![0; n + 1];
            let count = segments(spans, n, &mut starts);
            starts[..=count].to_vec()
        };
        assert_eq!(find(&causal(&[64, 64, 100])), [0, 64, 128, 228]);
        assert_eq!(find(&causal(&[10, 20, 40, 64])), [0, 70, 134]);
        assert_eq!(find(&causal(&[200])), [0, 200]);
        // Rows without any key separate, but a later row that looks back joins everything again.
        let mut odd = causal(&[64, 64]);
        odd.extend(spans(&[(0, 0), (5, 130)]));
        assert_eq!(find(&odd), [0, 130]);
    }
}
