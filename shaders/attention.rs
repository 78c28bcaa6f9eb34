//! attention: grouped-head attention over per-row intervals of keys, online softmax, never an n x m buffer.
//!
//! Shapes: q (n, wq), kv (m, wkv), spans (n, 4), y (n, h d), lse (n, h). Head j of row i reads q[i, j d ..] and sees
//! the
//! rows lo_i .. hi_i of kv (spans[i] = {lo, hi, qlo, qhi}), keys at column `k_offset + (j / (h / g)) d`, values at
//! `v_offset + ...`. score = scale q.k, capped as cap tanh(score / cap) where cap > 0; y = softmax(score) v. An empty
//! interval gives y = 0 and lse = 0. In training q and kv are one tensor [q | k | v]; qlo .. qhi of row j are then the
//! rows that see key j, contiguous because lo and hi never decrease.
//!
//! Backward, with p = exp(score - lse) and delta = rowsum(dy y): dv = p^T dy, ds = p (dy v^T - delta), dq = scale ds k,
//! dk = scale ds^T q (ds times the slope of the cap). Dao, "FlashAttention-2", arXiv 2307.08691; two owners (of
//! queries:
//! dq; of keys: dk, dv) instead of atomics, so that the bits repeat.

mod cases;
mod lower;
mod tiled;

use crate::sink;
use crate::spec::{Args, Call, Cost, Dtype, Op, Pair, Recorder, Tensor, Tolerance, words};
use bytemuck::{Pod, Zeroable};

/// Forward and backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Params {
    /// Query rows.
    pub n: u32,
    /// Key rows.
    pub m: u32,
    /// Query heads.
    pub heads: u32,
    /// Key heads, and as many value heads; divides `heads`.
    pub kv_heads: u32,
    /// Channels of a head.
    pub head_dim: u32,
    /// Words of a row of q.
    pub q_stride: u32,
    /// Words of a row of kv.
    pub kv_stride: u32,
    /// First column of the keys in kv.
    pub k_offset: u32,
    /// First column of the values in kv.
    pub v_offset: u32,
    /// Factor on q.k.
    pub scale: f32,
    /// Cap of the scores; 0 = none.
    pub softcap: f32,
    /// How dqkv is treated (see `sink`).
    pub dqkv: u32,
    /// 1 where each query belongs to another sequence (decoding): rows that stand together then share no keys.
    pub apart: u32,
}

/// What of attention does not depend on the number of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key heads, and as many value heads; divides `heads`.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Factor on q.k, usually 1 / sqrt(head_dim).
    pub scale: f32,
    /// Cap of the scores; 0 = none.
    pub softcap: f32,
}

/// Where keys and values stand in a row of kv.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// First column of the keys.
    pub k: usize,
    /// First column of the values.
    pub v: usize,
}

/// reads q, kv, spans; writes y, lse.
pub static FORWARD: Op =
    Op { name: "attention.forward", spec: forward, lower: lower::forward, cost: |call| cost(call, 2.0) };

/// reads dy, qkv, spans, y, lse; writes dqkv.
pub static BACKWARD: Op =
    Op { name: "attention.backward", spec: backward, lower: lower::backward, cost: |call| cost(call, 5.0) };

/// Work of `products` products of n x m x d per head. The intervals are data: a causal square is assumed where q and kv
/// are one tensor, all rows otherwise.
fn cost(call: &Call, products: f64) -> Cost {
    let p: Params = call.params();
    let seen = if p.n == p.m { 0.5 } else { 1.0 };
    let scores = f64::from(p.n) * f64::from(p.m) * f64::from(p.heads) * seen;
    let words: usize = call.reads.iter().chain(&call.writes).map(|t| t.shape.len()).sum();
    Cost { flops: 2.0 * products * scores * f64::from(p.head_dim), bytes: 4.0 * words as f64 }
}

/// The places of one (row, head) in the tensors of a call.
struct Head<'a> {
    p: Params,
    q: &'a [f32],
    kv: &'a [f32],
    row: usize,
    head: usize,
}

impl Head<'_> {
    fn query(&self) -> usize {
        self.row * self.p.q_stride as usize + self.head * self.p.head_dim as usize
    }
    fn key(&self, at: usize) -> usize {
        at * self.p.kv_stride as usize + self.p.k_offset as usize + self.kv_column()
    }
    fn value(&self, at: usize) -> usize {
        at * self.p.kv_stride as usize + self.p.v_offset as usize + self.kv_column()
    }
    fn kv_column(&self) -> usize {
        self.head / (self.p.heads / self.p.kv_heads) as usize * self.p.head_dim as usize
    }
    /// The capped score of a key, and the slope of the cap there.
    fn score(&self, at: usize) -> (f64, f64) {
        let dot: f64 = (0..self.p.head_dim as usize)
            .map(|c| f64::from(self.q[self.query() + c]) * f64::from(self.kv[self.key(at) + c]))
            .sum();
        let (score, cap) = (dot * f64::from(self.p.scale), f64::from(self.p.softcap));
        if cap == 0.0 {
            return (score, 1.0);
        }
        let t = (score / cap).tanh();
        (cap * t, 1.0 - t * t)
    }
}

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (h, d) = (p.heads as usize, p.head_dim as usize);
    let (q, kv, spans) = (args.reads[0], args.reads[1], words(args.reads[2]));
    for row in 0..p.n as usize {
        let (lo, hi) = (spans[4 * row] as usize, spans[4 * row + 1] as usize);
        assert!(lo >= hi || hi <= p.m as usize, "row {row} sees {lo}..{hi} of {} rows", p.m);
        for head in 0..h {
            let place = Head { p, q, kv, row, head };
            let at = (row * h + head) * d;
            let scores: Vec<f64> = (lo..hi).map(|key| place.score(key).0).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
            for c in 0..d {
                let mix = |(i, s): (usize, &f64)| (s - top).exp() / sum * f64::from(kv[place.value(lo + i) + c]);
                args.writes[0][at + c] = scores.iter().enumerate().map(mix).sum::<f64>() as f32;
            }
            args.writes[1][row * h + head] = if lo < hi { (top + sum.ln()) as f32 } else { 0.0 };
        }
    }
}

fn backward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (h, d) = (p.heads as usize, p.head_dim as usize);
    let (dy, qkv, spans, y, lse) = (args.reads[0], args.reads[1], words(args.reads[2]), args.reads[3], args.reads[4]);
    let mut dqkv = vec![0.0f64; qkv.len()];
    for row in 0..p.n as usize {
        for head in 0..h {
            let place = Head { p, q: qkv, kv: qkv, row, head };
            let at = (row * h + head) * d;
            let delta: f64 = (at..at + d).map(|i| f64::from(dy[i]) * f64::from(y[i])).sum();
            for key in spans[4 * row] as usize..spans[4 * row + 1] as usize {
                let (score, slope) = place.score(key);
                let probability = (score - f64::from(lse[row * h + head])).exp();
                let value = place.value(key);
                let dp: f64 = (0..d).map(|c| f64::from(dy[at + c]) * f64::from(qkv[value + c])).sum();
                let ds = probability * (dp - delta) * slope * f64::from(p.scale);
                for c in 0..d {
                    dqkv[place.query() + c] += ds * f64::from(qkv[place.key(key) + c]);
                    dqkv[place.key(key) + c] += ds * f64::from(qkv[place.query() + c]);
                    dqkv[value + c] += probability * f64::from(dy[at + c]);
                }
            }
        }
    }
    for (slot, sum) in args.writes[0].iter_mut().zip(dqkv) {
        sink::store(slot, sum as f32, p.dqkv);
    }
}

/// The call on a cache of keys and values (or any other tensors): q (n, wq), kv (m, wkv), spans (n, 4). `apart` says
/// that each query belongs to another sequence; it changes how the call is cut, not what it means.
pub fn forward_call(
    q: Tensor,
    kv: Tensor,
    spans: Tensor,
    y: Tensor,
    lse: Tensor,
    shape: AttentionShape,
    offsets: Offsets,
    apart: bool,
) -> Call {
    let (n, m) = (q.shape.rows(), kv.shape.rows());
    assert!(shape.heads.is_multiple_of(shape.kv_heads), "query heads per key head");
    assert_eq!(spans.shape.dims(), [n, 4], "spans of the queries");
    assert_eq!(y.shape.dims(), [n, shape.heads * shape.head_dim], "shape of the output");
    assert_eq!(lse.shape.dims(), [n, shape.heads], "shape of the log-sum-exp");
    let kv_width = shape.kv_heads * shape.head_dim;
    assert!(offsets.k.max(offsets.v) + kv_width <= kv.shape.row_len(), "keys and values within their rows");
    let params = Params {
        n: n as u32,
        m: m as u32,
        heads: shape.heads as u32,
        kv_heads: shape.kv_heads as u32,
        head_dim: shape.head_dim as u32,
        q_stride: q.shape.row_len() as u32,
        kv_stride: kv.shape.row_len() as u32,
        k_offset: offsets.k as u32,
        v_offset: offsets.v as u32,
        scale: shape.scale,
        softcap: shape.softcap,
        dqkv: sink::ABSENT,
        apart: u32::from(apart),
    };
    Call::new(&FORWARD, &params, &[q, kv, spans], &[y, lse])
}

/// Records attention of qkv (n, (h + 2 g) d) over itself and its gradient rule.
pub fn record(r: &mut dyn Recorder, qkv: Tensor, spans: Tensor, shape: AttentionShape) -> Tensor {
    let (n, q_width, kv_width) = (qkv.shape.rows(), shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    assert_eq!(qkv.shape.row_len(), q_width + 2 * kv_width, "width of a row of heads");
    let y = r.tensor("attention", &[n, q_width], Dtype::F32);
    let lse = r.tensor("attention lse", &[n, shape.heads], Dtype::F32);
    let offsets = Offsets { k: q_width, v: q_width + kv_width };
    let call = forward_call(qkv, qkv, spans, y, lse, shape, offsets, false);
    let params: Params = call.params();
    r.call(call);
    let rule = move |r: &mut dyn Recorder, dy: Tensor| {
        let (dqkv, how) = sink::gradient(r, qkv);
        if how != sink::ABSENT {
            r.call(Call::new(&BACKWARD, &Params { dqkv: how, ..params }, &[dy, qkv, spans, y, lse], &[dqkv]));
        }
    };
    r.rule(y, Box::new(rule));
    y
}

/// The words of `spans` for rows that see `seen[i] = (lo, hi)`, neither of which decreases from row to row (rows that
/// see
/// nothing, lo >= hi, apart): adds the rows that see each key.
pub fn spans(seen: &[(u32, u32)]) -> Vec<u32> {
    let mut out: Vec<u32> = seen.iter().flat_map(|&(lo, hi)| [lo, hi, 0, 0]).collect();
    for (row, &(lo, hi)) in seen.iter().enumerate() {
        for key in (lo as usize..hi as usize).filter(|&key| key < seen.len()) {
            let range = &mut out[4 * key + 2..4 * key + 4];
            if range[1] == 0 {
                range[0] = row as u32;
            }
            range[1] = row as u32 + 1;
        }
    }
    out
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "attention",
    ops: &[&FORWARD, &BACKWARD],
    kernels: lower::KERNELS,
    cases: cases::cases,
    gradients: cases::gradients,
    tolerance: Tolerance {
        absolute: 2e-6,
        relative: 2e-5,
        why: "exp2 of f32 scores (3 + 2|x| ULP by the WGSL rules) and f32 sums over keys against f64",
    },
};
