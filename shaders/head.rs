//! head: what a loss sees of the logits, and the gradient from given derivatives; [tokens, vocabulary] never exists.
//!
//! Shapes: x (n, c), w (v, c), targets (n) u32, numbers (n, 4) = {log-probability of the target, log-sum-exp, entropy,
//! 1
//! if no logit is larger than the target's} of z = softcap(scale x w^T) / temperature with softcap(s) = cap tanh(s /
//! cap).
//! A target of 0xFFFFFFFF is ignored: its numbers are 0 and it has no gradient. With derivatives dnumbers (n, 4) =
//! {dlogp, dlse, dH, unused}: dz_j = dlogp (1[j = t] - p_j) + dlse p_j - dH p_j (log p_j + H). Rows are worked off in
//! chunks (Liger kernel, Hsu et al., 2024).

use crate::cases::Build;
use crate::gemm::{Matrix, Product, Variant, emit};
use crate::noise::values;
use crate::sink;
use crate::spec::{
    Access, Args, Call, Case, Cost, Dtype, Kernel, Lowering, Op, Pair, Recorder, Region, Tensor, Tolerance, words,
};
use bytemuck::{Pod, Zeroable};

/// A target that does not count.
pub const IGNORED: u32 = u32::MAX;

/// Both ops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of x.
    pub n: u32,
    /// Columns of x and w.
    pub c: u32,
    /// Rows of w: the vocabulary.
    pub v: u32,
    /// Factor on the product.
    pub scale: f32,
    /// Soft-cap of the logits; 0 = none.
    pub softcap: f32,
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Rows whose logits may exist at a time.
    pub chunk: u32,
    /// `head.train`: how dx is treated ([`sink`]).
    pub dx: u32,
    /// `head.train`: how dw is treated ([`sink`]).
    pub dw: u32,
}

/// reads x, w, targets; writes numbers.
pub static FORWARD: Op = Op {
    name: "head.forward",
    spec: |args| {
        let p: Params = args.params();
        for row in 0..p.n as usize {
            let seen = Seen::new(args, &p, row);
            args.writes[0][row * 4..row * 4 + 4].copy_from_slice(&seen.numbers());
        }
    },
    lower: |call, l| lower(call, l, false),
    cost: |call| cost(call, 2.0),
};

/// reads x, w, targets, dnumbers; writes numbers, dx or absent, dw or absent.
pub static TRAIN: Op = Op {
    name: "head.train",
    spec: train,
    lower: |call, l| lower(call, l, true),
    cost: |call| {
        let p: Params = call.params();
        cost(call, 2.0 + 2.0 * f64::from(u8::from(p.dx > 0)) + 2.0 * f64::from(u8::from(p.dw > 0)))
    },
};

fn cost(call: &Call, products: f64) -> Cost {
    let p: Params = call.params();
    let (n, c, v) = (f64::from(p.n), f64::from(p.c), f64::from(p.v));
    Cost { flops: products * n * c * v + 20.0 * n * v, bytes: 4.0 * (products * (n + v) * c + 3.0 * n * v) }
}

/// The logits of one row and what follows from them.
struct Seen {
    target: u32,
    /// Logits before soft-cap and temperature.
    raw: Vec<f64>,
    z: Vec<f64>,
    max: f64,
    lse: f64,
    entropy: f64,
}

impl Seen {
    fn new(args: &Args<'_>, p: &Params, row: usize) -> Seen {
        let c = p.c as usize;
        let x = &args.reads[0][row * c..(row + 1) * c];
        let logit = |w: &[f32]| {
            let sum: f64 = x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            f64::from(p.scale) * sum
        };
        let raw: Vec<f64> = args.reads[1].chunks(c).map(logit).collect();
        let cap = f64::from(p.softcap);
        let capped = |s: f64| if cap > 0.0 { cap * (s / cap).tanh() } else { s };
        let z: Vec<f64> = raw.iter().map(|&s| capped(s) / f64::from(p.temperature)).collect();
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = z.iter().map(|z| (z - max).exp()).sum();
        let lse = max + sum.ln();
        let entropy = z.iter().map(|z| -(z - lse).exp() * (z - lse)).sum();
        let target = words(args.reads[2])[row];
        assert!(target == IGNORED || target < p.v, "target {target} of a vocabulary of {}", p.v);
        Seen { target, raw, z, max, lse, entropy }
    }

    fn numbers(&self) -> [f32; 4] {
        if self.target == IGNORED {
            return [0.0; 4];
        }
        let z = self.z[self.target as usize];
        [(z - self.lse) as f32, self.lse as f32, self.entropy as f32, f32::from(u8::from(z >= self.max))]
    }

    /// Derivative with respect to `scale x w^T`.
    fn gradient(&self, d: &[f32], p: &Params) -> Vec<f64> {
        if self.target == IGNORED {
            return vec![0.0; self.z.len()];
        }
        let (dlogp, dlse, dentropy) = (f64::from(d[0]), f64::from(d[1]), f64::from(d[2]));
        let cap = f64::from(p.softcap);
        let slope = |s: f64| if cap > 0.0 { 1.0 - (s / cap).tanh().powi(2) } else { 1.0 };
        let one = |j: usize| {
            let logp = self.z[j] - self.lse;
            let hit = f64::from(u8::from(j == self.target as usize));
            let dz = dlogp * (hit - logp.exp()) + logp.exp() * (dlse - dentropy * (logp + self.entropy));
            dz / f64::from(p.temperature) * slope(self.raw[j])
        };
        (0..self.z.len()).map(one).collect()
    }
}

fn train(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (n, c, v) = (p.n as usize, p.c as usize, p.v as usize);
    let mut dx = vec![0f64; n * c];
    let mut dw = vec![0f64; v * c];
    for row in 0..n {
        let seen = Seen::new(args, &p, row);
        args.writes[0][row * 4..row * 4 + 4].copy_from_slice(&seen.numbers());
        for (j, ds) in seen.gradient(&args.reads[3][row * 4..row * 4 + 4], &p).into_iter().enumerate() {
            let ds = ds * f64::from(p.scale);
            for i in 0..c {
                dx[row * c + i] += ds * f64::from(args.reads[1][j * c + i]);
                dw[j * c + i] += ds * f64::from(args.reads[0][row * c + i]);
            }
        }
    }
    for (write, (sum, how)) in [(dx, p.dx), (dw, p.dw)].into_iter().enumerate() {
        for (slot, value) in args.writes[1 + write].iter_mut().zip(sum) {
            sink::store(slot, value as f32, how);
        }
    }
}

/// How logits come about, and how many rows of them may exist at a time.
#[derive(Clone, Copy, Debug)]
pub struct HeadOptions {
    /// Factor on the product.
    pub scale: f32,
    /// Soft-cap; 0 = none.
    pub softcap: f32,
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Rows whose logits may exist at a time.
    pub chunk: usize,
}

/// Records numbers (n, 4) for x (n, c), w (v, c), targets (n). With `dnumbers` (n, 4) the backward pass starts here.
pub fn record(
    r: &mut dyn Recorder,
    x: Tensor,
    w: Tensor,
    targets: Tensor,
    dnumbers: Option<Tensor>,
    options: HeadOptions,
) -> Tensor {
    let (n, c, v) = (x.shape.rows(), x.shape.row_len(), w.shape.rows());
    assert_eq!(w.shape.row_len(), c, "columns of w {w:?} and of x {x:?}");
    assert!(targets.shape.len() == n && targets.dtype == Dtype::U32, "targets {targets:?} of {n} rows");
    assert!(options.temperature > 0.0 && options.chunk > 0, "{options:?}");
    let numbers = r.tensor("numbers", &[n, 4], Dtype::F32);
    let params = Params {
        n: n as u32,
        c: c as u32,
        v: v as u32,
        scale: options.scale,
        softcap: options.softcap,
        temperature: options.temperature,
        chunk: options.chunk.min(n) as u32,
        dx: sink::ABSENT,
        dw: sink::ABSENT,
    };
    let Some(dnumbers) = dnumbers else {
        r.call(Call::new(&FORWARD, &params, &[x, w, targets], &[numbers]));
        return numbers;
    };
    assert_eq!(dnumbers.shape.len(), n * 4, "derivatives {dnumbers:?} of {n} rows");
    r.root(Box::new(move |r| {
        let (dx, dx_how) = sink::gradient(r, x);
        let (dw, dw_how) = sink::gradient(r, w);
        let params = Params { dx: dx_how, dw: dw_how, ..params };
        r.call(Call::new(&TRAIN, &params, &[x, w, targets, dnumbers], &[numbers, dx, dw]));
    }));
    numbers
}

static ROWS_KERNEL: Kernel = Kernel {
    name: "head.rows",
    source: include_str!("head.wgsl"),
    entry: "rows",
    storage: &[("logits", Access::Write), ("targets", Access::Read), ("numbers", Access::Write)],
    tick: false,
    params_size: 32,
    defines: &[("TRAIN", &[0]), ("LANES", &[256, 64])],
    overrides: &[],
};

static ROWS_TRAIN_KERNEL: Kernel = Kernel {
    name: "head.rows_train",
    storage: &[
        ("logits", Access::Write),
        ("targets", Access::Read),
        ("numbers", Access::Write),
        ("dnumbers", Access::Read),
    ],
    defines: &[("TRAIN", &[1]), ("LANES", &[256, 64])],
    ..ROWS_KERNEL
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowsParams {
    rows: u32,
    first: u32,
    v: u32,
    stride: u32,
    softcap: f32,
    inverse_temperature: f32,
    spare: [u32; 2],
}

/// Chunk by chunk: logits of all shards into scratch, the rows' numbers and derivatives in place, then dx and dw.
fn lower(call: &Call, l: &mut Lowering<'_>, train: bool) {
    let p: Params = call.params();
    let (n, c, v) = (p.n as usize, p.c as usize, p.v as usize);
    let stride = v.next_multiple_of(4);
    // Rows of a chunk begin on aligned words of dx.
    let fits = (l.caps.binding_words as usize / stride / 64 * 64).max(64);
    let chunk = (p.chunk as usize).next_multiple_of(64).min(fits).min(n);
    let logits = Matrix { region: l.scratch((chunk * stride) as u64), offset: 0, stride };
    let [x, w] = [call.reads[0], call.reads[1]];
    let shards = l.caps.shards(&w.shape);
    for first in (0..n).step_by(chunk) {
        let rows = chunk.min(n - first);
        let chunk_of = |l: &Lowering<'_>, t: Tensor| Matrix { region: l.whole(t), offset: first * c, stride: c };
        let shard_of = |l: &Lowering<'_>, t: Tensor, (from, count): (usize, usize)| Matrix {
            region: l.rows(t, from, count),
            offset: 0,
            stride: c,
        };
        for &(from, count) in &shards {
            let operands = [chunk_of(l, x), shard_of(l, w, (from, count)), Matrix { offset: from, ..logits }];
            emit(l, &Product::bare(Variant::Nt, (rows, count, c), operands, p.scale, false));
        }
        emit_rows(call, l, &p, logits.region, (first, rows), train);
        for &(from, count) in &shards {
            let dz = Matrix { offset: from, ..logits };
            if train && p.dx != sink::ABSENT {
                let operands = [dz, shard_of(l, w, (from, count)), chunk_of(l, call.writes[1])];
                let acc = p.dx == sink::ADD || from > 0;
                emit(l, &Product::bare(Variant::Nn, (rows, c, count), operands, p.scale, acc));
            }
            if train && p.dw != sink::ABSENT {
                let operands = [dz, chunk_of(l, x), shard_of(l, call.writes[2], (from, count))];
                let acc = p.dw == sink::ADD || first > 0;
                emit(l, &Product::bare(Variant::Tn, (count, c, rows), operands, p.scale, acc));
            }
        }
    }
}

fn emit_rows(
    call: &Call,
    l: &mut Lowering<'_>,
    p: &Params,
    logits: Region,
    (first, rows): (usize, usize),
    train: bool,
) {
    let stride = p.v.next_multiple_of(4);
    let params = RowsParams {
        rows: rows as u32,
        first: first as u32,
        v: p.v,
        stride,
        softcap: p.softcap,
        inverse_temperature: 1.0 / p.temperature,
        spare: [0; 2],
    };
    let lanes = if l.caps.software || p.v < 1024 { 64 } else { 256 };
    let mut bindings = vec![logits, l.whole(call.reads[2]), l.whole(call.writes[0])];
    if train {
        bindings.push(l.whole(call.reads[3]));
    }
    let kernel = if train { &ROWS_TRAIN_KERNEL } else { &ROWS_KERNEL };
    let words = (rows * stride as usize) as f64;
    let cost = Cost { flops: 20.0 * words, bytes: 12.0 * words };
    l.dispatch_with(kernel, &params, &bindings, crate::grid::grid(rows), cost, &[("LANES", lanes)], &[]);
}

/// (name, n, c, v, chunk, scale, softcap, temperature)
type Extents = (&'static str, usize, usize, usize, u32, f32, f32, f32);
const EXTENTS: &[Extents] = &[
    ("one token, one word", 1, 1, 1, 1, 1.0, 0.0, 1.0),
    ("odd extents", 7, 5, 13, 3, 1.0, 0.0, 1.0),
    ("a vocabulary of characters", 70, 32, 65, 32, 1.0, 0.0, 1.0),
    ("several chunks, a ragged last one", 150, 12, 44, 64, 0.5, 0.0, 1.0),
    ("soft-cap and temperature", 9, 16, 40, 9, 2.0, 3.0, 0.7),
    ("weights for shards", 66, 80, 230, 64, 1.0, 0.0, 1.0),
    ("a large vocabulary", 66, 64, 1501, 64, 1.0, 30.0, 1.3),
];

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for &(name, n, c, v, chunk, scale, softcap, temperature) in EXTENTS {
        let params =
            |dx, dw| Params { n: n as u32, c: c as u32, v: v as u32, scale, softcap, temperature, chunk, dx, dw };
        let targets: Vec<u32> = (0..n).map(|i| if i % 5 == 3 { IGNORED } else { (i * 7919 % v) as u32 }).collect();
        let build = || {
            let build = Build::new(name).read(&[n, c], values(1, n * c)).read(&[v, c], values(2, v * c));
            build.words(&[n], &targets)
        };
        out.push(build().write(&[n, 4]).call(&FORWARD, &params(0, 0)));
        let train = || build().read(&[n, 4], values(3, n * 4)).write(&[n, 4]);
        let (dx, dw) = (values(4, n * c), values(5, v * c));
        let both = train().write_over(&[n, c], dx.clone()).write_over(&[v, c], dw.clone());
        out.push(both.call(&TRAIN, &params(sink::WRITE, sink::ADD)));
        let both = train().write_over(&[n, c], dx.clone()).write_over(&[v, c], dw);
        out.push(both.call(&TRAIN, &params(sink::ADD, sink::WRITE)));
        out.push(train().write_over(&[n, c], dx).no_write().call(&TRAIN, &params(sink::WRITE, sink::ABSENT)));
        out.push(train().no_write().no_write().call(&TRAIN, &params(sink::ABSENT, sink::ABSENT)));
    }
    out
}

/// head.
pub const PAIR: Pair = Pair {
    name: "head",
    ops: &[&FORWARD, &TRAIN],
    kernels: &[&ROWS_KERNEL, &ROWS_TRAIN_KERNEL],
    cases,
    // A root rule takes its derivatives from `dnumbers`: the test below compares them with differences.
    gradients: Vec::new,
    tolerance: Tolerance {
        absolute: 3e-5,
        relative: 1e-5,
        why: "logits of magnitude 10 carry errors of some units of 1e-6 into exponents; sums over rows and vocabulary",
    },
};
