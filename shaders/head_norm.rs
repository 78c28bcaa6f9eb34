//! head_norm: root-mean-square normalisation of each query and key head before rotation (Qwen3, Gemma 3).
//!
//! Shapes: qkv and y (n, (h + 2 g) d), the heads of a row: h queries, g keys, g values (copied); gains (2, d) for
//! queries
//! and keys; rstd (n, h + g). Per head y = x r gain, r = 1 / sqrt(mean(x^2) + eps); derivatives as in `rms_norm`.
//! Henry et al., "Query-Key Normalization for Transformers", arXiv 2010.04245.

use crate::cases::{Build, input};
use crate::grid::{streaming, strips, threads};
use crate::noise::values;
use crate::sink;
use crate::spec::{
    Access, Args, Call, Case, Cost, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tolerance,
};
use bytemuck::{Pod, Zeroable};

/// How a row of queries, keys and values is cut into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    /// Query heads.
    pub heads: usize,
    /// Key heads, and as many value heads; divides `heads`.
    pub kv_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
}

impl HeadShape {
    /// Words of a row of queries, keys and values.
    pub fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

/// Forward and backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub n: u32,
    /// Query heads.
    pub heads: u32,
    /// Key heads, and as many value heads.
    pub kv_heads: u32,
    /// Channels of a head.
    pub head_dim: u32,
    /// Added to the mean square.
    pub eps: f32,
    /// How dqkv is treated (see `sink`).
    pub dx: u32,
    /// How dgains is treated (see `sink`).
    pub dgains: u32,
}

/// reads qkv, gains; writes y, rstd.
pub static FORWARD: Op = Op {
    name: "head_norm.forward",
    spec: forward,
    lower: lower_forward,
    cost: |call| streaming(call, 4.0 * call.reads[0].shape.len() as f64),
};

/// reads dy, qkv, gains, rstd; writes dqkv, dgains.
pub static BACKWARD: Op = Op {
    name: "head_norm.backward",
    spec: backward,
    lower: lower_backward,
    cost: |call| streaming(call, 10.0 * call.reads[0].shape.len() as f64),
};

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (h, g, d) = (p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
    let (qkv, gains) = (args.reads[0], args.reads[1]);
    for row in 0..p.n as usize {
        for slot in 0..h + 2 * g {
            let at = (row * (h + 2 * g) + slot) * d;
            let x = &qkv[at..at + d];
            if slot >= h + g {
                args.writes[0][at..at + d].copy_from_slice(x);
                continue;
            }
            let gain = &gains[if slot < h { 0..d } else { d..2 * d }];
            let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let r = 1.0 / (squares / d as f64 + f64::from(p.eps)).sqrt();
            for col in 0..d {
                args.writes[0][at + col] = (f64::from(x[col]) * r * f64::from(gain[col])) as f32;
            }
            args.writes[1][row * (h + g) + slot] = r as f32;
        }
    }
}

fn backward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (h, g, d) = (p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
    let (dy, qkv, gains, rstd) = (args.reads[0], args.reads[1], args.reads[2], args.reads[3]);
    let mut dgains = vec![0.0f64; 2 * d];
    for row in 0..p.n as usize {
        for slot in 0..h + 2 * g {
            let at = (row * (h + 2 * g) + slot) * d;
            if slot >= h + g {
                for col in at..at + d {
                    sink::store(&mut args.writes[0][col], dy[col], p.dx);
                }
                continue;
            }
            let kind = if slot < h { 0 } else { d };
            let r = f64::from(rstd[row * (h + g) + slot]);
            let x = |col: usize| f64::from(qkv[at + col]);
            let e = |col: usize| f64::from(dy[at + col]) * f64::from(gains[kind + col]);
            let slope = (0..d).map(|col| e(col) * x(col)).sum::<f64>() / d as f64 * r * r;
            for col in 0..d {
                if p.dx != sink::ABSENT {
                    sink::store(&mut args.writes[0][at + col], (r * (e(col) - slope * x(col))) as f32, p.dx);
                }
                dgains[kind + col] += f64::from(dy[at + col]) * x(col) * r;
            }
        }
    }
    for (slot, sum) in args.writes[1].iter_mut().zip(dgains) {
        sink::store(slot, sum as f32, p.dgains);
    }
}

/// Records the normalisation of the query and key heads of qkv (n, (h + 2 g) d) and its gradient rule.
pub fn record(r: &mut dyn Recorder, qkv: Tensor, gains: Tensor, shape: HeadShape, eps: f32) -> Tensor {
    let n = qkv.shape.rows();
    assert_eq!(qkv.shape.row_len(), shape.width(), "width of a row of heads");
    assert_eq!(gains.shape.len(), 2 * shape.head_dim, "gains of queries and keys");
    let y = r.tensor("head_norm", &[n, shape.width()], Dtype::F32);
    let rstd = r.tensor("head_norm rstd", &[n, shape.heads + shape.kv_heads], Dtype::F32);
    let params = Params {
        n: n as u32,
        heads: shape.heads as u32,
        kv_heads: shape.kv_heads as u32,
        head_dim: shape.head_dim as u32,
        eps,
        dx: sink::ABSENT,
        dgains: sink::ABSENT,
    };
    r.call(Call::new(&FORWARD, &params, &[qkv, gains], &[y, rstd]));
    let rule = move |r: &mut dyn Recorder, dy: Tensor| {
        let (dqkv, how_dx) = sink::gradient(r, qkv);
        let (dgains, how_dgains) = sink::gradient(r, gains);
        let params = Params { dx: how_dx, dgains: how_dgains, ..params };
        r.call(Call::new(&BACKWARD, &params, &[dy, qkv, gains, rstd], &[dqkv, dgains]));
    };
    r.rule(y, Box::new(rule));
    y
}

/// Uniform of the kernels; `d` in units of `VEC` words, `width` in words.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Sizes {
    n: u32,
    heads: u32,
    kv_heads: u32,
    d: u32,
    width: u32,
    eps: f32,
    dx: u32,
    dgains: u32,
    strips: u32,
    strip: u32,
    spare: [u32; 2],
}

const fn kernel(name: &'static str, entry: &'static str, storage: &'static [(&'static str, Access)]) -> Kernel {
    Kernel {
        name,
        source: include_str!("head_norm.wgsl"),
        entry,
        storage,
        tick: false,
        params_size: 48,
        defines: &[("VEC", &[1, 4])],
        overrides: &[],
    }
}

static FORWARD_KERNEL: Kernel = kernel(
    "head_norm.forward",
    "forward",
    &[("qkv", Access::Read), ("gains", Access::Read), ("y", Access::Write), ("rstd_out", Access::Write)],
);
static BACKWARD_KERNEL: Kernel = kernel(
    "head_norm.backward",
    "backward",
    &[
        ("qkv", Access::Read),
        ("gains", Access::Read),
        ("rstd", Access::Read),
        ("dy", Access::Read),
        ("dqkv", Access::Write),
    ],
);
static PARTIAL_KERNEL: Kernel = kernel(
    "head_norm.partial",
    "partial",
    &[("qkv_rows", Access::Read), ("dy_rows", Access::Read), ("rstd", Access::Read), ("parts_out", Access::Write)],
);
static TOTAL_KERNEL: Kernel = kernel("head_norm.total", "total", &[("parts", Access::Read), ("dgains", Access::Write)]);

fn sizes(p: &Params) -> (Sizes, [(&'static str, u32); 1], [u32; 3]) {
    let vec = if p.head_dim.is_multiple_of(4) { 4 } else { 1 };
    let strips = strips(p.n as usize) as u32;
    let sizes = Sizes {
        n: p.n,
        heads: p.heads,
        kv_heads: p.kv_heads,
        d: p.head_dim / vec,
        width: p.head_dim,
        eps: p.eps,
        dx: p.dx,
        dgains: p.dgains,
        strips,
        strip: p.n.div_ceil(strips),
        spare: [0; 2],
    };
    (sizes, [("VEC", vec)], threads(p.n as usize * (p.heads + 2 * p.kv_heads) as usize, 64))
}

fn lower_forward(call: &Call, l: &mut Lowering<'_>) {
    let (sizes, defines, heads) = sizes(&call.params());
    let bound = [l.whole(call.reads[0]), l.whole(call.reads[1]), l.whole(call.writes[0]), l.whole(call.writes[1])];
    l.dispatch_with(&FORWARD_KERNEL, &sizes, &bound, heads, (FORWARD.cost)(call), &defines, &[]);
}

fn lower_backward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (sizes, defines, heads) = sizes(&p);
    let [dy, qkv, gains, rstd] = call.reads[..] else { panic!("head_norm.backward reads four tensors") };
    let (dy, qkv, gains, rstd) = (l.whole(dy), l.whole(qkv), l.whole(gains), l.whole(rstd));
    if p.dx != sink::ABSENT {
        let bound = [qkv, gains, rstd, dy, l.whole(call.writes[0])];
        l.dispatch_with(&BACKWARD_KERNEL, &sizes, &bound, heads, (BACKWARD.cost)(call), &defines, &[]);
    }
    if p.dgains != sink::ABSENT {
        let parts = l.scratch(2 * u64::from(sizes.strips) * u64::from(p.head_dim));
        let strips = threads(sizes.strips as usize * 2 * sizes.d as usize, 64);
        let sums = Cost { flops: 3.0 * dy.len as f64, bytes: 8.0 * dy.len as f64 };
        l.dispatch_with(&PARTIAL_KERNEL, &sizes, &[qkv, dy, rstd, parts], strips, sums, &defines, &[]);
        let sums = Cost { flops: parts.len as f64, bytes: 4.0 * parts.len as f64 };
        let bound = [parts, l.whole(call.writes[1])];
        l.dispatch_with(&TOTAL_KERNEL, &sizes, &bound, threads(2 * sizes.d as usize, 64), sums, &defines, &[]);
    }
}

fn cases() -> Vec<Case> {
    use sink::{ABSENT, ADD, WRITE};
    let mut out = Vec::new();
    for (name, n, h, g, d, dx, dgains) in [
        ("one row, one head", 1, 1, 1, 8, WRITE, WRITE),
        ("odd head width", 19, 3, 1, 5, ADD, ADD),
        ("grouped heads", 67, 6, 2, 20, WRITE, ADD),
        ("wide heads", 5, 2, 2, 128, ADD, WRITE),
        ("frozen gains", 9, 4, 2, 32, WRITE, ABSENT),
    ] {
        let (width, normed) = ((h + 2 * g) * d, h + g);
        let params =
            Params { n: n as u32, heads: h as u32, kv_heads: g as u32, head_dim: d as u32, eps: 1e-6, dx, dgains };
        let (qkv, gains) = (values(1, n * width), values(2, 2 * d));
        let build = Build::new(name).read(&[n, width], qkv.clone()).read(&[2, d], gains.clone());
        out.push(build.write(&[n, width]).write(&[n, normed]).call(&FORWARD, &params));
        let rstd = values(5, n * normed).iter().map(|r| 1.5 + r).collect();
        let build = Build::new(name).read(&[n, width], values(3, n * width)).read(&[n, width], qkv);
        let build = build.read(&[2, d], gains).read(&[n, normed], rstd);
        let build = build.write_over(&[n, width], values(4, n * width));
        let build = if dgains == ABSENT { build.no_write() } else { build.write_over(&[2, d], values(6, 2 * d)) };
        out.push(build.call(&BACKWARD, &params));
    }
    out
}

fn gradients() -> Vec<GradientCheck> {
    vec![GradientCheck {
        name: "head_norm",
        inputs: vec![input(0, &[3, 15], values(1, 45), true), input(1, &[2, 3], values(2, 6), true)],
        record: |r, t| record(r, t[0], t[1], HeadShape { heads: 3, kv_heads: 1, head_dim: 3 }, 1e-5),
    }]
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "head_norm",
    ops: &[&FORWARD, &BACKWARD],
    kernels: &[&FORWARD_KERNEL, &BACKWARD_KERNEL, &PARTIAL_KERNEL, &TOTAL_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance { absolute: 1e-6, relative: 5e-6, why: "f32 sums over rows and heads against f64 sums" },
};
