//! rms_norm: root-mean-square normalisation of rows, y = x r gain with r = 1 / sqrt(mean(x^2) + eps).
//!
//! Shapes: x (n, c), gain (c), y (n, c), rstd (n) = r. Backward, with g = dy gain: dx = r (g - x r^2 mean(g x)),
//! dgain = sum over n of dy x r. Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.

use crate::cases::{Build, input};
use crate::grid::{streaming, strips, threads};
use crate::noise::values;
use crate::sink;
use crate::spec::{
    Access, Args, Call, Case, Cost, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tolerance,
};
use bytemuck::{Pod, Zeroable};

/// Forward and backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub n: u32,
    /// Channels.
    pub c: u32,
    /// Added to the mean square.
    pub eps: f32,
    /// How dx is treated (see `sink`).
    pub dx: u32,
    /// How dgain is treated (see `sink`).
    pub dgain: u32,
}

/// reads x, gain; writes y, rstd.
pub static FORWARD: Op = Op {
    name: "rms_norm.forward",
    spec: forward,
    lower: lower_forward,
    cost: |call| streaming(call, 4.0 * call.reads[0].shape.len() as f64),
};

/// reads dy, x, gain, rstd; writes dx, dgain.
pub static BACKWARD: Op = Op {
    name: "rms_norm.backward",
    spec: backward,
    lower: lower_backward,
    cost: |call| streaming(call, 10.0 * call.reads[0].shape.len() as f64),
};

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let c = p.c as usize;
    let (x, gain) = (args.reads[0], args.reads[1]);
    for row in 0..p.n as usize {
        let at = row * c;
        let squares: f64 = x[at..at + c].iter().map(|&x| f64::from(x).powi(2)).sum();
        let r = 1.0 / (squares / c as f64 + f64::from(p.eps)).sqrt();
        for col in 0..c {
            args.writes[0][at + col] = (f64::from(x[at + col]) * r * f64::from(gain[col])) as f32;
        }
        args.writes[1][row] = r as f32;
    }
}

fn backward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (n, c) = (p.n as usize, p.c as usize);
    let (dy, x, gain, rstd) = (args.reads[0], args.reads[1], args.reads[2], args.reads[3]);
    let at = |of: &[f32], row: usize, col: usize| f64::from(of[row * c + col]);
    for row in 0..n {
        let r = f64::from(rstd[row]);
        let products: f64 = (0..c).map(|col| at(dy, row, col) * f64::from(gain[col]) * at(x, row, col)).sum();
        let slope = products / c as f64 * r * r;
        for col in 0..c {
            if p.dx != sink::ABSENT {
                let value = r * (at(dy, row, col) * f64::from(gain[col]) - slope * at(x, row, col));
                sink::store(&mut args.writes[0][row * c + col], value as f32, p.dx);
            }
        }
    }
    if p.dgain != sink::ABSENT {
        for col in 0..c {
            let sum: f64 = (0..n).map(|row| at(dy, row, col) * at(x, row, col) * f64::from(rstd[row])).sum();
            sink::store(&mut args.writes[1][col], sum as f32, p.dgain);
        }
    }
}

/// Records the normalisation of x (n, c) with gain (c) and its gradient rule.
pub fn record(r: &mut dyn Recorder, x: Tensor, gain: Tensor, eps: f32) -> Tensor {
    let (n, c) = (x.shape.rows(), x.shape.row_len());
    assert_eq!(gain.shape.len(), c, "one gain per channel");
    let y = r.tensor("rms_norm", &[n, c], Dtype::F32);
    let rstd = r.tensor("rms_norm rstd", &[n], Dtype::F32);
    let params = Params { n: n as u32, c: c as u32, eps, dx: sink::ABSENT, dgain: sink::ABSENT };
    r.call(Call::new(&FORWARD, &params, &[x, gain], &[y, rstd]));
    let rule = move |r: &mut dyn Recorder, dy: Tensor| {
        let (dx, how_dx) = sink::gradient(r, x);
        let (dgain, how_dgain) = sink::gradient(r, gain);
        let params = Params { dx: how_dx, dgain: how_dgain, ..params };
        r.call(Call::new(&BACKWARD, &params, &[dy, x, gain, rstd], &[dx, dgain]));
    };
    r.rule(y, Box::new(rule));
    y
}

/// Uniform of the kernels; `c` in units of `VEC` words, `width` in words.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Sizes {
    n: u32,
    c: u32,
    width: u32,
    eps: f32,
    dx: u32,
    dgain: u32,
    strips: u32,
    strip: u32,
}

const fn kernel(name: &'static str, entry: &'static str, storage: &'static [(&'static str, Access)]) -> Kernel {
    Kernel {
        name,
        source: include_str!("rms_norm.wgsl"),
        entry,
        storage,
        tick: false,
        params_size: 32,
        defines: &[("VEC", &[1, 4]), ("LANES", &[1, 64])],
        overrides: &[],
    }
}

static FORWARD_KERNEL: Kernel = kernel(
    "rms_norm.forward",
    "forward",
    &[("x", Access::Read), ("gain", Access::Read), ("y", Access::Write), ("rstd_out", Access::Write)],
);
static BACKWARD_KERNEL: Kernel = kernel(
    "rms_norm.backward",
    "backward",
    &[("x", Access::Read), ("gain", Access::Read), ("rstd", Access::Read), ("dy", Access::Read), ("dx", Access::Write)],
);
static PARTIAL_KERNEL: Kernel = kernel(
    "rms_norm.partial",
    "partial",
    &[("x_rows", Access::Read), ("dy_rows", Access::Read), ("rstd", Access::Read), ("parts_out", Access::Write)],
);
static TOTAL_KERNEL: Kernel = kernel("rms_norm.total", "total", &[("parts", Access::Read), ("dgain", Access::Write)]);

fn sizes(p: &Params, l: &Lowering<'_>) -> (Sizes, [(&'static str, u32); 2], [u32; 3]) {
    let vec = if p.c.is_multiple_of(4) { 4 } else { 1 };
    let lanes = if l.caps.software { 1 } else { 64 };
    let strips = strips(p.n as usize) as u32;
    let sizes = Sizes {
        n: p.n,
        c: p.c / vec,
        width: p.c,
        eps: p.eps,
        dx: p.dx,
        dgain: p.dgain,
        strips,
        strip: p.n.div_ceil(strips),
    };
    let rows = if lanes == 1 { threads(p.n as usize, 16) } else { threads(p.n as usize, 1) };
    (sizes, [("VEC", vec), ("LANES", lanes)], rows)
}

fn lower_forward(call: &Call, l: &mut Lowering<'_>) {
    let (sizes, defines, rows) = sizes(&call.params(), l);
    let bound = [l.whole(call.reads[0]), l.whole(call.reads[1]), l.whole(call.writes[0]), l.whole(call.writes[1])];
    l.dispatch_with(&FORWARD_KERNEL, &sizes, &bound, rows, (FORWARD.cost)(call), &defines, &[]);
}

fn lower_backward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (sizes, defines, rows) = sizes(&p, l);
    let [dy, x, gain, rstd] = call.reads[..] else { panic!("rms_norm.backward reads four tensors") };
    let (dy, x, gain, rstd) = (l.whole(dy), l.whole(x), l.whole(gain), l.whole(rstd));
    let cost = (BACKWARD.cost)(call);
    if p.dx != sink::ABSENT {
        let dx = l.whole(call.writes[0]);
        l.dispatch_with(&BACKWARD_KERNEL, &sizes, &[x, gain, rstd, dy, dx], rows, cost, &defines, &[]);
    }
    if p.dgain != sink::ABSENT {
        let parts = l.scratch(u64::from(sizes.strips) * u64::from(p.c));
        let strips = threads(sizes.strips as usize * sizes.c as usize, 64);
        let sums = Cost { flops: 3.0 * dy.len as f64, bytes: 8.0 * dy.len as f64 };
        l.dispatch_with(&PARTIAL_KERNEL, &sizes, &[x, dy, rstd, parts], strips, sums, &defines, &[]);
        let dgain = l.whole(call.writes[1]);
        let sums = Cost { flops: parts.len as f64, bytes: 4.0 * parts.len as f64 };
        l.dispatch_with(&TOTAL_KERNEL, &sizes, &[parts, dgain], threads(sizes.c as usize, 64), sums, &defines, &[]);
    }
}

fn cases() -> Vec<Case> {
    use sink::{ABSENT, ADD, WRITE};
    let mut out = Vec::new();
    for (name, n, c, dx, dgain) in [
        ("one number", 1, 1, WRITE, WRITE),
        ("odd width", 37, 5, ADD, ADD),
        ("one wide row", 1, 516, WRITE, ADD),
        ("many rows", 1100, 12, ADD, WRITE),
        ("frozen gain", 19, 64, WRITE, ABSENT),
        ("frozen input", 19, 64, ABSENT, ADD),
    ] {
        let params = Params { n: n as u32, c: c as u32, eps: 1e-5, dx, dgain };
        let (x, gain) = (values(1, n * c), values(2, c));
        let build = Build::new(name).read(&[n, c], x.clone()).read(&[c], gain.clone());
        out.push(build.write(&[n, c]).write(&[n]).call(&FORWARD, &params));
        let rstd = values(5, n).iter().map(|r| 1.5 + r).collect();
        let build = Build::new(name).read(&[n, c], values(3, n * c)).read(&[n, c], x).read(&[c], gain);
        let build = build.read(&[n], rstd);
        let build = if dx == ABSENT { build.no_write() } else { build.write_over(&[n, c], values(4, n * c)) };
        let build = if dgain == ABSENT { build.no_write() } else { build.write_over(&[c], values(6, c)) };
        out.push(build.call(&BACKWARD, &params));
    }
    out
}

fn gradients() -> Vec<GradientCheck> {
    vec![GradientCheck {
        name: "rms_norm",
        inputs: vec![input(0, &[3, 7], values(1, 21), true), input(1, &[7], values(2, 7), true)],
        record: |r, t| record(r, t[0], t[1], 1e-5),
    }]
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "rms_norm",
    ops: &[&FORWARD, &BACKWARD],
    kernels: &[&FORWARD_KERNEL, &BACKWARD_KERNEL, &PARTIAL_KERNEL, &TOTAL_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance { absolute: 1e-6, relative: 5e-6, why: "f32 sums over 1100 rows in strips against f64 sums" },
};
