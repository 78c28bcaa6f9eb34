//! layer_norm: normalisation of rows to mean 0 and variance 1, y = xhat gain + bias with xhat = (x - mean) r.
//!
//! Shapes: x (n, c), gain (c), bias (c) or absent, y (n, c), stats (n, 2) = {mean, r}, r = 1 / sqrt(variance + eps).
//! Backward, with g = dy gain: dx = r (g - mean(g) - xhat mean(g xhat)), dgain = sum over n of dy xhat, dbias = sum
//! over n of dy. Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450.

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
    /// Added to the variance.
    pub eps: f32,
    /// 1 if there is a bias (forward).
    pub bias: u32,
    /// How dx is treated (see `sink`).
    pub dx: u32,
    /// How dgain is treated (see `sink`).
    pub dgain: u32,
    /// How dbias is treated (see `sink`).
    pub dbias: u32,
}

/// reads x, gain, bias; writes y, stats.
pub static FORWARD: Op = Op {
    name: "layer_norm.forward",
    spec: forward,
    lower: lower_forward,
    cost: |call| streaming(call, 7.0 * call.reads[0].shape.len() as f64),
};

/// reads dy, x, gain, stats; writes dx, dgain, dbias.
pub static BACKWARD: Op = Op {
    name: "layer_norm.backward",
    spec: backward,
    lower: lower_backward,
    cost: |call| streaming(call, 14.0 * call.reads[0].shape.len() as f64),
};

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let c = p.c as usize;
    let (x, gain, bias) = (args.reads[0], args.reads[1], args.reads[2]);
    for row in 0..p.n as usize {
        let at = row * c;
        let mean = x[at..at + c].iter().map(|&x| f64::from(x)).sum::<f64>() / c as f64;
        let variance = x[at..at + c].iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / c as f64;
        let r = 1.0 / (variance + f64::from(p.eps)).sqrt();
        for col in 0..c {
            let shift = if p.bias == 1 { f64::from(bias[col]) } else { 0.0 };
            args.writes[0][at + col] = ((f64::from(x[at + col]) - mean) * r * f64::from(gain[col]) + shift) as f32;
        }
        args.writes[1][2 * row] = mean as f32;
        args.writes[1][2 * row + 1] = r as f32;
    }
}

fn backward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (n, c) = (p.n as usize, p.c as usize);
    let (dy, x, gain, stats) = (args.reads[0], args.reads[1], args.reads[2], args.reads[3]);
    let slope = |row: usize, col: usize| f64::from(dy[row * c + col]);
    let xhat = |row: usize, col: usize| {
        (f64::from(x[row * c + col]) - f64::from(stats[2 * row])) * f64::from(stats[2 * row + 1])
    };
    for row in 0..n {
        let r = f64::from(stats[2 * row + 1]);
        let g = |col: usize| slope(row, col) * f64::from(gain[col]);
        let mean_g = (0..c).map(g).sum::<f64>() / c as f64;
        let mean_gx = (0..c).map(|col| g(col) * xhat(row, col)).sum::<f64>() / c as f64;
        for col in 0..c {
            if p.dx != sink::ABSENT {
                let value = r * (g(col) - mean_g - xhat(row, col) * mean_gx);
                sink::store(&mut args.writes[0][row * c + col], value as f32, p.dx);
            }
        }
    }
    for col in 0..c {
        if p.dgain != sink::ABSENT {
            let sum: f64 = (0..n).map(|row| slope(row, col) * xhat(row, col)).sum();
            sink::store(&mut args.writes[1][col], sum as f32, p.dgain);
        }
        if p.dbias != sink::ABSENT {
            let sum: f64 = (0..n).map(|row| slope(row, col)).sum();
            sink::store(&mut args.writes[2][col], sum as f32, p.dbias);
        }
    }
}

/// Records the normalisation of x (n, c) with gain (c) and perhaps a bias (c), and its gradient rule.
pub fn record(r: &mut dyn Recorder, x: Tensor, gain: Tensor, bias: Option<Tensor>, eps: f32) -> Tensor {
    let (n, c) = (x.shape.rows(), x.shape.row_len());
    assert_eq!(gain.shape.len(), c, "one gain per channel");
    assert!(bias.is_none_or(|bias| bias.shape.len() == c), "one bias per channel");
    let y = r.tensor("layer_norm", &[n, c], Dtype::F32);
    let stats = r.tensor("layer_norm stats", &[n, 2], Dtype::F32);
    let shift = bias.unwrap_or(Tensor::none());
    let params = Params { n: n as u32, c: c as u32, eps, bias: u32::from(bias.is_some()), dx: 0, dgain: 0, dbias: 0 };
    r.call(Call::new(&FORWARD, &params, &[x, gain, shift], &[y, stats]));
    let rule = move |r: &mut dyn Recorder, dy: Tensor| {
        let (dx, how_dx) = sink::gradient(r, x);
        let (dgain, how_dgain) = sink::gradient(r, gain);
        let (dbias, how_dbias) = sink::gradient(r, shift);
        let params = Params { dx: how_dx, dgain: how_dgain, dbias: how_dbias, ..params };
        r.call(Call::new(&BACKWARD, &params, &[dy, x, gain, stats], &[dx, dgain, dbias]));
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
    bias: u32,
    dx: u32,
    dgain: u32,
    dbias: u32,
    strips: u32,
    strip: u32,
    spare: [u32; 2],
}

const fn kernel(name: &'static str, entry: &'static str, storage: &'static [(&'static str, Access)]) -> Kernel {
    Kernel {
        name,
        source: include_str!("layer_norm.wgsl"),
        entry,
        storage,
        tick: false,
        params_size: 48,
        defines: &[("VEC", &[1, 4]), ("LANES", &[1, 64])],
        overrides: &[],
    }
}

static FORWARD_KERNEL: Kernel = kernel(
    "layer_norm.forward",
    "forward",
    &[
        ("x", Access::Read),
        ("gain", Access::Read),
        ("bias", Access::Read),
        ("y", Access::Write),
        ("stats_out", Access::Write),
    ],
);
static BACKWARD_KERNEL: Kernel = kernel(
    "layer_norm.backward",
    "backward",
    &[
        ("x", Access::Read),
        ("gain", Access::Read),
        ("stats", Access::Read),
        ("dy", Access::Read),
        ("dx", Access::Write),
    ],
);
static PARTIAL_KERNEL: Kernel = kernel(
    "layer_norm.partial",
    "partial",
    &[("x_rows", Access::Read), ("dy_rows", Access::Read), ("stats", Access::Read), ("parts_out", Access::Write)],
);
static GAIN_KERNEL: Kernel =
    kernel("layer_norm.total_gain", "total_gain", &[("parts", Access::Read), ("dgain", Access::Write)]);
static BIAS_KERNEL: Kernel =
    kernel("layer_norm.total_bias", "total_bias", &[("parts", Access::Read), ("dbias", Access::Write)]);

fn sizes(p: &Params, l: &Lowering<'_>) -> (Sizes, [(&'static str, u32); 2], [u32; 3]) {
    let vec = if p.c.is_multiple_of(4) { 4 } else { 1 };
    let lanes = if l.caps.software { 1 } else { 64 };
    let strips = strips(p.n as usize) as u32;
    let sizes = Sizes {
        n: p.n,
        c: p.c / vec,
        width: p.c,
        eps: p.eps,
        bias: p.bias,
        dx: p.dx,
        dgain: p.dgain,
        dbias: p.dbias,
        strips,
        strip: p.n.div_ceil(strips),
        spare: [0; 2],
    };
    let rows = if lanes == 1 { threads(p.n as usize, 16) } else { threads(p.n as usize, 1) };
    (sizes, [("VEC", vec), ("LANES", lanes)], rows)
}

fn lower_forward(call: &Call, l: &mut Lowering<'_>) {
    let (sizes, defines, rows) = sizes(&call.params(), l);
    let [x, gain, bias] = call.reads[..] else { panic!("layer_norm.forward reads three tensors") };
    let bound = [l.whole(x), l.whole(gain), l.whole(bias), l.whole(call.writes[0]), l.whole(call.writes[1])];
    l.dispatch_with(&FORWARD_KERNEL, &sizes, &bound, rows, (FORWARD.cost)(call), &defines, &[]);
}

fn lower_backward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (sizes, defines, rows) = sizes(&p, l);
    let [dy, x, gain, stats] = call.reads[..] else { panic!("layer_norm.backward reads four tensors") };
    let (dy, x, gain, stats) = (l.whole(dy), l.whole(x), l.whole(gain), l.whole(stats));
    if p.dx != sink::ABSENT {
        let bound = [x, gain, stats, dy, l.whole(call.writes[0])];
        l.dispatch_with(&BACKWARD_KERNEL, &sizes, &bound, rows, (BACKWARD.cost)(call), &defines, &[]);
    }
    if p.dgain == sink::ABSENT && p.dbias == sink::ABSENT {
        return;
    }
    let parts = l.scratch(2 * u64::from(sizes.strips) * u64::from(p.c));
    let strips = threads(sizes.strips as usize * sizes.c as usize, 64);
    let sums = Cost { flops: 5.0 * dy.len as f64, bytes: 8.0 * dy.len as f64 };
    l.dispatch_with(&PARTIAL_KERNEL, &sizes, &[x, dy, stats, parts], strips, sums, &defines, &[]);
    let sums = Cost { flops: parts.len as f64, bytes: 4.0 * parts.len as f64 };
    let columns = threads(sizes.c as usize, 64);
    for (kernel, how, to) in [(&GAIN_KERNEL, p.dgain, call.writes[1]), (&BIAS_KERNEL, p.dbias, call.writes[2])] {
        if how != sink::ABSENT {
            l.dispatch_with(kernel, &sizes, &[parts, l.whole(to)], columns, sums, &defines, &[]);
        }
    }
}

fn cases() -> Vec<Case> {
    use sink::{ABSENT, ADD, WRITE};
    let mut out = Vec::new();
    for (name, n, c, bias, [dx, dgain, dbias]) in [
        ("one number", 1, 1, true, [WRITE, WRITE, WRITE]),
        ("odd width", 37, 5, true, [ADD, ADD, ADD]),
        ("one wide row, no bias", 1, 516, false, [WRITE, ADD, ABSENT]),
        ("many rows", 1100, 12, true, [ADD, WRITE, ADD]),
        ("frozen gain", 19, 64, true, [WRITE, ABSENT, ADD]),
        ("frozen gain and bias", 19, 64, true, [WRITE, ABSENT, ABSENT]),
        ("frozen input", 19, 64, true, [ABSENT, ADD, WRITE]),
    ] {
        let params = Params { n: n as u32, c: c as u32, eps: 1e-5, bias: u32::from(bias), dx, dgain, dbias };
        // A mean well away from 0 shows a variance that is computed as a difference.
        let x: Vec<f32> = values(1, n * c).iter().map(|x| x + 3.0).collect();
        let gain = values(2, c);
        let build = Build::new(name).read(&[n, c], x.clone()).read(&[c], gain.clone());
        let build = if bias { build.read(&[c], values(7, c)) } else { build.no_read() };
        out.push(build.write(&[n, c]).write(&[n, 2]).call(&FORWARD, &params));
        let stats = values(5, 2 * n).iter().map(|s| 2.0 + s).collect();
        let build = Build::new(name).read(&[n, c], values(3, n * c)).read(&[n, c], x).read(&[c], gain);
        let build = build.read(&[n, 2], stats);
        let build = if dx == ABSENT { build.no_write() } else { build.write_over(&[n, c], values(4, n * c)) };
        let build = if dgain == ABSENT { build.no_write() } else { build.write_over(&[c], values(6, c)) };
        let build = if dbias == ABSENT { build.no_write() } else { build.write_over(&[c], values(8, c)) };
        out.push(build.call(&BACKWARD, &params));
    }
    out
}

fn gradients() -> Vec<GradientCheck> {
    let inputs = || {
        vec![
            input(0, &[3, 7], values(1, 21), true),
            input(1, &[7], values(2, 7), true),
            input(2, &[7], values(3, 7), true),
        ]
    };
    vec![
        GradientCheck { name: "layer_norm", inputs: inputs(), record: |r, t| record(r, t[0], t[1], Some(t[2]), 1e-5) },
        GradientCheck {
            name: "layer_norm without bias",
            inputs: inputs()[..2].to_vec(),
            record: |r, t| record(r, t[0], t[1], None, 1e-5),
        },
    ]
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "layer_norm",
    ops: &[&FORWARD, &BACKWARD],
    kernels: &[&FORWARD_KERNEL, &BACKWARD_KERNEL, &PARTIAL_KERNEL, &GAIN_KERNEL, &BIAS_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance {
        absolute: 2e-6,
        relative: 1e-5,
        why: "f32 sums over 1100 rows in strips, and a mean of 3 that cancels, against f64 sums",
    },
};
