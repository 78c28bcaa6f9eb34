//! dora: y = t magnitude / |w + s b a| + bias by columns, the norm of each row of an adapted weight held constant.
//!
//! Shapes: t, y (n, m); w (m, k) in whole, a (r, k), b (p, r) and magnitude (p) of a module, which stands on the rows
//! `first .. first + p` of w and so on those columns of t; norms, factors (m). `dora.scales` writes a module's part of
//! norms and factors = magnitude / norms; they change where weights do, not from token to token. Weight-Decomposed
//! Low-Rank Adaptation (Liu et al., 2024), with the norm outside of the gradient (its section 4.3), as PEFT has it.

use crate::cases::{Build, input};
use crate::grid::{bands, grid, strips, threads};
use crate::noise::values;
use crate::reduce;
use crate::spec::{
    Access, Args, Call, Case, Cost, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tolerance,
};
use bytemuck::{Pod, Zeroable};

/// `dora.forward`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of t.
    pub n: u32,
    /// Columns of t.
    pub m: u32,
    /// 1 if a bias is there.
    pub bias: u32,
    /// 1 = add to the output.
    pub acc: u32,
}

/// `dora.magnitude`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct MagnitudeParams {
    /// Rows of dy.
    pub n: u32,
    /// Columns of dy.
    pub m: u32,
    /// The module's first column.
    pub first: u32,
    /// 1 = add to the output.
    pub acc: u32,
}

/// `dora.scales`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct ScalesParams {
    /// Columns of w and a.
    pub k: u32,
    /// Rows of a, columns of b.
    pub rank: u32,
    /// The module's first row of w.
    pub first: u32,
    /// Factor on b a.
    pub scale: f32,
}

/// reads t (n, m), factors (m), bias (m) or absent; writes y (n, m).
pub static FORWARD: Op = Op {
    name: "dora.forward",
    spec: forward,
    lower: lower_forward,
    cost: |call| crate::grid::streaming(call, 2.0 * call.reads[0].shape.len() as f64),
};

/// reads dy (n, m), t (n, m), norms (m); writes dmagnitude (p).
pub static MAGNITUDE: Op = Op {
    name: "dora.magnitude",
    spec: magnitude,
    lower: lower_magnitude,
    cost: |call| {
        let touched = call.reads[0].shape.rows() as f64 * call.writes[0].shape.len() as f64;
        Cost { flops: 2.0 * touched, bytes: 8.0 * touched }
    },
};

/// reads w (m, k), a (r, k), b (p, r), magnitude (p); writes the module's part of norms (m) and of factors (m).
pub static SCALES: Op = Op { name: "dora.scales", spec: scales, lower: lower_scales, cost: scales_cost };

fn scales_cost(call: &Call) -> Cost {
    let p: ScalesParams = call.params();
    let [rows, k, rank] = [call.reads[3].shape.len() as f64, f64::from(p.k), f64::from(p.rank)];
    Cost { flops: 2.0 * rows * k * (rank + 1.0), bytes: 4.0 * (rows * k + rank * (k + rows)) }
}

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let m = p.m as usize;
    for (i, y) in args.writes[0].iter_mut().enumerate() {
        let bias = if p.bias == 1 { args.reads[2][i % m] } else { 0.0 };
        let before = if p.acc == 1 { *y } else { 0.0 };
        *y = args.reads[0][i] * args.reads[1][i % m] + bias + before;
    }
}

fn magnitude(args: &mut Args<'_>) {
    let p: MagnitudeParams = args.params();
    let (m, first) = (p.m as usize, p.first as usize);
    let (dy, t, norms) = (args.reads[0], args.reads[1], args.reads[2]);
    for (col, slot) in args.writes[0].iter_mut().enumerate() {
        let term = |row: usize| f64::from(dy[row * m + first + col]) * f64::from(t[row * m + first + col]);
        let sum: f64 = (0..p.n as usize).map(term).sum();
        let norm = f64::from(norms[first + col]);
        let value = if norm > 0.0 { sum / norm } else { 0.0 };
        *slot = (value + if p.acc == 1 { f64::from(*slot) } else { 0.0 }) as f32;
    }
}

fn scales(args: &mut Args<'_>) {
    let p: ScalesParams = args.params();
    let (k, rank, first) = (p.k as usize, p.rank as usize, p.first as usize);
    let (w, a, b, magnitude) = (args.reads[0], args.reads[1], args.reads[2], args.reads[3]);
    for (row, &wanted) in magnitude.iter().enumerate() {
        let element = |i: usize| {
            let low = |j: usize| f64::from(b[row * rank + j]) * f64::from(a[j * k + i]);
            f64::from(w[(first + row) * k + i]) + f64::from(p.scale) * (0..rank).map(low).sum::<f64>()
        };
        let norm = (0..k).map(|i| element(i).powi(2)).sum::<f64>().sqrt() as f32;
        args.writes[0][first + row] = norm;
        args.writes[1][first + row] = if wanted == norm { 1.0 } else { wanted / norm };
    }
}

/// norms and factors (m) of a module on rows `first ..` of w (m, k): a (r, k), b (p, r), magnitude (p).
pub fn scales_call(w: Tensor, first: usize, scale: f32, [a, b, magnitude]: [Tensor; 3], out: [Tensor; 2]) -> Call {
    let (k, rank, rows) = (w.shape.row_len(), a.shape.rows(), b.shape.rows());
    assert!(a.shape.row_len() == k && b.shape.row_len() == rank, "a {a:?} and b {b:?} beside {w:?}");
    assert!(magnitude.shape.len() == rows && first + rows <= w.shape.rows(), "rows {first} + {rows} of {w:?}");
    assert!(out.iter().all(|out| out.shape.len() == w.shape.rows()), "norms and factors {out:?} of {w:?}");
    let params = ScalesParams { k: k as u32, rank: rank as u32, first: first as u32, scale };
    Call::new(&SCALES, &params, &[w, a, b, magnitude], &out)
}

/// y = or += factors t + bias.
fn forward_call(t: Tensor, factors: Tensor, bias: Option<Tensor>, y: Tensor, add: bool) -> Call {
    let (n, m) = (t.shape.rows() as u32, t.shape.row_len() as u32);
    let params = Params { n, m, bias: u32::from(bias.is_some()), acc: u32::from(add) };
    Call::new(&FORWARD, &params, &[t, factors, bias.unwrap_or(Tensor::none())], &[y])
}

/// Records y (n, m) = factors t + bias for t (n, m); factors = magnitude / norms (m), norms held constant. `magnitudes`
/// are the modules' own (p), each with its first column.
pub fn record(
    r: &mut dyn Recorder,
    t: Tensor,
    [norms, factors]: [Tensor; 2],
    magnitudes: &[(usize, Tensor)],
    bias: Option<Tensor>,
) -> Tensor {
    let m = t.shape.row_len();
    assert!(norms.shape.len() == m && factors.shape.len() == m, "norms {norms:?}, factors {factors:?} of {t:?}");
    assert!(bias.is_none_or(|b| b.shape.len() == m), "bias {bias:?} of {m} columns");
    let y = r.tensor("scaled product", &t.shape.dims(), Dtype::F32);
    r.call(forward_call(t, factors, bias, y, false));
    let magnitudes = magnitudes.to_vec();
    r.rule(
        y,
        Box::new(move |r, dy| {
            for &(first, magnitude) in &magnitudes {
                if !r.wants(magnitude) {
                    continue;
                }
                let (dmagnitude, add) = r.gradient(magnitude);
                let (n, m, first) = (t.shape.rows() as u32, m as u32, first as u32);
                let params = MagnitudeParams { n, m, first, acc: u32::from(add) };
                r.call(Call::new(&MAGNITUDE, &params, &[dy, t, norms], &[dmagnitude]));
            }
            if let Some(bias) = bias.filter(|&b| r.wants(b)) {
                let (db, add) = r.gradient(bias);
                r.call(reduce::columns_call(dy, db, add));
            }
            if r.wants(t) {
                let (dt, add) = r.gradient(t);
                r.call(forward_call(dy, factors, None, dt, add));
            }
        }),
    );
    y
}

const SOURCE: &str = include_str!("dora.wgsl");

static SCALES_KERNEL: Kernel = Kernel {
    name: "dora.scales",
    source: SOURCE,
    entry: "scales",
    storage: &[
        ("w", Access::Read),
        ("a", Access::Read),
        ("b", Access::Read),
        ("magnitude", Access::Read),
        ("norms", Access::Write),
        ("factors", Access::Write),
    ],
    tick: false,
    params_size: 32,
    defines: &[("PART", &[0]), ("VEC", &[1])],
    overrides: &[],
};

static FORWARD_KERNEL: Kernel = Kernel {
    name: "dora.forward",
    entry: "forward",
    storage: &[("t", Access::Read), ("column_factors", Access::Read), ("bias", Access::Read), ("y", Access::Write)],
    params_size: 16,
    defines: &[("PART", &[1]), ("VEC", &[4, 1])],
    ..SCALES_KERNEL
};

static MAGNITUDE_KERNEL: Kernel = Kernel {
    name: "dora.magnitude",
    entry: "magnitude_parts",
    storage: &[
        ("dy", Access::Read),
        ("product", Access::Read),
        ("column_norms", Access::Read),
        ("parts", Access::Write),
    ],
    defines: &[("PART", &[2]), ("VEC", &[1])],
    ..SCALES_KERNEL
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ScalesKernelParams {
    rows: u32,
    w_first: u32,
    b_first: u32,
    to: u32,
    k: u32,
    rank: u32,
    scale: f32,
    spare: u32,
}

/// Shard by shard of w, what the module has of it; in bands of four rows a workgroup.
fn lower_scales(call: &Call, l: &mut Lowering<'_>) {
    let p: ScalesParams = call.params();
    let (w, rows) = (call.reads[0], call.reads[3].shape.len());
    let (begin, end) = (p.first as usize, p.first as usize + rows);
    let rest: Vec<_> = call.reads[1..].iter().chain(&call.writes).map(|&t| l.whole(t)).collect();
    let cost = scales_cost(call);
    for (shard, count) in l.caps.shards(&w.shape) {
        let (from, to) = (begin.max(shard), end.min(shard + count));
        if from >= to {
            continue;
        }
        let share = (to - from) as f64 / rows as f64;
        let cost = Cost { flops: cost.flops * share, bytes: cost.bytes * share };
        for (first, groups, cost) in bands((to - from).div_ceil(4), cost, &l.caps.dispatch) {
            let at = from + 4 * first;
            let params = ScalesKernelParams {
                rows: (4 * groups).min(to - at) as u32,
                w_first: (at - shard) as u32,
                b_first: (at - begin) as u32,
                to: at as u32,
                k: p.k,
                rank: p.rank,
                scale: p.scale,
                spare: 0,
            };
            let mut bindings = vec![l.rows(w, shard, count)];
            bindings.extend(&rest);
            l.dispatch(&SCALES_KERNEL, &params, &bindings, grid(groups), cost);
        }
    }
}

fn lower_forward(call: &Call, l: &mut Lowering<'_>) {
    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct KernelParams {
        len: u32,
        width: u32,
        bias: u32,
        acc: u32,
    }
    let p: Params = call.params();
    let vec = if p.m.is_multiple_of(4) { 4 } else { 1 };
    let params = KernelParams { len: p.n * p.m / vec, width: p.m / vec, bias: p.bias, acc: p.acc };
    let bindings: Vec<_> = call.reads.iter().chain(&call.writes).map(|&t| l.whole(t)).collect();
    let size = threads(params.len as usize, 64);
    l.dispatch_with(&FORWARD_KERNEL, &params, &bindings, size, (FORWARD.cost)(call), &[("VEC", vec)], &[]);
}

fn lower_magnitude(call: &Call, l: &mut Lowering<'_>) {
    #[repr(C)]
    #[derive(Clone, Copy, Pod, Zeroable)]
    struct KernelParams {
        cols: u32,
        first: u32,
        rows: u32,
        strip: u32,
        width: u32,
        spare: [u32; 3],
    }
    let p: MagnitudeParams = call.params();
    let (n, cols) = (p.n as usize, call.writes[0].shape.len());
    let strip = n.div_ceil(strips(n));
    let count = n.div_ceil(strip);
    let parts = l.scratch((count * cols) as u64);
    let (rows, strip, spare) = (p.n, strip as u32, [0; 3]);
    let params = KernelParams { cols: cols as u32, first: p.first, rows, strip, width: p.m, spare };
    let bindings = [l.whole(call.reads[0]), l.whole(call.reads[1]), l.whole(call.reads[2]), parts];
    let size = [cols.div_ceil(64) as u32, count as u32, 1];
    l.dispatch(&MAGNITUDE_KERNEL, &params, &bindings, size, (MAGNITUDE.cost)(call));
    let out = l.whole(call.writes[0]);
    reduce::emit_columns(l, parts, out, count, cols, 1.0, p.acc == 1);
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, n, m) in [("one element", 1, 1), ("quads", 33, 36), ("odd", 37, 29), ("one row", 1, 130)] {
        let params = |bias, acc| Params { n: n as u32, m: m as u32, bias, acc };
        let build = || Build::new(name).read(&[n, m], values(1, n * m)).read(&[m], values(2, m));
        out.push(build().read(&[m], values(3, m)).write(&[n, m]).call(&FORWARD, &params(1, 0)));
        out.push(build().no_read().write_over(&[n, m], values(4, n * m)).call(&FORWARD, &params(0, 1)));
    }
    let ranges = [("all columns", 9, 12, 0, 12), ("inside", 70, 29, 11, 7), ("many rows", 1040, 8, 4, 3)];
    for (name, n, m, first, cols) in ranges {
        for acc in [0, 1] {
            let params = MagnitudeParams { n: n as u32, m: m as u32, first: first as u32, acc };
            let mut norms: Vec<f32> = values(3, m).iter().map(|x| 0.5 + x.abs()).collect();
            norms[first] = 0.0;
            let build = Build::new(name).read(&[n, m], values(1, n * m)).read(&[n, m], values(2, n * m));
            out.push(build.read(&[m], norms).write_over(&[cols], values(4, cols)).call(&MAGNITUDE, &params));
        }
    }
    for (name, m, k, first, rows, rank) in [
        ("one row, rank one", 1, 1, 0, 1, 1),
        ("a module inside", 23, 37, 9, 6, 3),
        ("all rows", 12, 130, 0, 12, 8),
        ("weights for shards", 330, 65, 50, 270, 4),
    ] {
        let params = ScalesParams { k: k as u32, rank: rank as u32, first: first as u32, scale: 0.75 };
        let build = Build::new(name).read(&[m, k], values(1, m * k)).read(&[rank, k], values(2, rank * k));
        let build = build.read(&[rows, rank], values(3, rows * rank)).read(&[rows], values(4, rows));
        let build = build.write_over(&[m], values(5, m)).write_over(&[m], values(6, m));
        out.push(build.call(&SCALES, &params));
    }
    out
}

/// Magnitude and product; what the norm depends on is constant.
fn gradients() -> Vec<GradientCheck> {
    let inputs = vec![
        input(0, &[3, 6], values(1, 18), true),
        input(1, &[2], vec![0.7, -1.2], true),
        input(2, &[6], values(2, 6), true),
        input(3, &[6, 4], values(3, 24), false),
        input(4, &[2, 4], values(4, 8), false),
        input(5, &[2, 2], values(5, 4), false),
        input(6, &[6], vec![1.0; 6], false),
    ];
    vec![GradientCheck {
        name: "a module on two of six columns",
        inputs,
        record: |r, t| {
            let out = [r.tensor("norms", &[6], Dtype::F32), r.tensor("factors", &[6], Dtype::F32)];
            for out in out {
                r.call(crate::add::copy_call(t[6], out, 1.0));
            }
            r.call(scales_call(t[3], 3, 0.5, [t[4], t[5], t[1]], out));
            record(r, t[0], out, &[(3, t[1])], Some(t[2]))
        },
    }]
}

/// dora.
pub const PAIR: Pair = Pair {
    name: "dora",
    ops: &[&FORWARD, &MAGNITUDE, &SCALES],
    kernels: &[&SCALES_KERNEL, &FORWARD_KERNEL, &MAGNITUDE_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance {
        absolute: 1e-5,
        relative: 1e-5,
        why: "sums of up to a thousand products below 1 in strips; a quotient's two units",
    },
};
