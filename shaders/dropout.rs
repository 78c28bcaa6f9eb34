//! dropout: y = x keep / (1 - rate), with keep drawn for each element from counter-based noise.
//!
//! Shapes: x, y (n, c); keys (n), the noise key of each row. Word `column % 4` of Philox(seed = tick.seed, counter =
//! {key, column / 4, site, tick.draw}) keeps the element where it is at least rate * 2^32. The same noise falls on a
//! row
//! wherever it stands in whichever micro-batch. Srivastava et al., "Dropout", JMLR 15, 2014.

use crate::cases::{Build, input, input_words};
use crate::grid::{streaming, threads};
use crate::noise::{philox, values};
use crate::sink;
use crate::spec::{
    Access, Args, Call, Case, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tick, Tolerance,
    words,
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
    /// Elements whose random word is below this are dropped: rate * 2^32.
    pub threshold: u32,
    /// 1 / (1 - rate).
    pub scale: f32,
    /// Where in the model: every use of dropout has a site of its own.
    pub site: u32,
    /// How the output is treated (see `sink`).
    pub sink: u32,
}

/// reads x, keys; writes y.
pub static FORWARD: Op = Op {
    name: "dropout.forward",
    spec: apply,
    lower,
    cost: |call| streaming(call, 30.0 * call.reads[0].shape.len() as f64),
};

/// reads dy, keys; writes dx. The same function as forward: the derivative is the factor.
pub static BACKWARD: Op = Op {
    name: "dropout.backward",
    spec: apply,
    lower,
    cost: |call| streaming(call, 30.0 * call.reads[0].shape.len() as f64),
};

fn apply(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (x, keys, tick) = (args.reads[0], words(args.reads[1]), args.tick);
    for row in 0..p.n as usize {
        for col in 0..p.c as usize {
            let counter = [keys[row], col as u32 / 4, p.site, tick.draw];
            let word = philox([tick.seed_lo, tick.seed_hi], counter)[col % 4];
            let at = row * p.c as usize + col;
            let value = if word >= p.threshold { x[at] * p.scale } else { 0.0 };
            sink::store(&mut args.writes[0][at], value, p.sink);
        }
    }
}

/// The parameters for a rate in [0, 1).
pub fn params(n: usize, c: usize, rate: f32, site: u32) -> Params {
    assert!((0.0..1.0).contains(&rate), "a dropout rate of {rate}");
    let threshold = (f64::from(rate) * 4_294_967_296.0) as u32;
    Params { n: n as u32, c: c as u32, threshold, scale: 1.0 / (1.0 - rate), site, sink: sink::WRITE }
}

/// Records dropout of x (n, c) at a rate in [0, 1) and its gradient rule. A rate of 0 records nothing.
pub fn record(r: &mut dyn Recorder, x: Tensor, keys: Tensor, rate: f32, site: u32) -> Tensor {
    if rate == 0.0 {
        return x;
    }
    let (n, c) = (x.shape.rows(), x.shape.row_len());
    assert_eq!(keys.shape.len(), n, "one noise key per row");
    let params = params(n, c, rate, site);
    let y = r.tensor("dropout", &[n, c], Dtype::F32);
    r.call(Call::new(&FORWARD, &params, &[x, keys], &[y]));
    let rule = move |r: &mut dyn Recorder, dy: Tensor| {
        let (dx, how) = sink::gradient(r, x);
        if how != sink::ABSENT {
            r.call(Call::new(&BACKWARD, &Params { sink: how, ..params }, &[dy, keys], &[dx]));
        }
    };
    r.rule(y, Box::new(rule));
    y
}

/// Uniform of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Sizes {
    n: u32,
    c: u32,
    fours: u32,
    threshold: u32,
    scale: f32,
    site: u32,
    sink: u32,
    spare: u32,
}

static APPLY_KERNEL: Kernel = Kernel {
    name: "dropout.apply",
    source: include_str!("dropout.wgsl"),
    entry: "apply",
    storage: &[("x", Access::Read), ("keys", Access::Read), ("y", Access::Write)],
    tick: true,
    params_size: 32,
    defines: &[],
    overrides: &[],
};

fn lower(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let sizes = Sizes {
        n: p.n,
        c: p.c,
        fours: p.c.div_ceil(4),
        threshold: p.threshold,
        scale: p.scale,
        site: p.site,
        sink: p.sink,
        spare: 0,
    };
    let bound = [l.whole(call.reads[0]), l.whole(call.reads[1]), l.whole(call.writes[0])];
    let grid = threads(p.n as usize * sizes.fours as usize, 64);
    l.dispatch(&APPLY_KERNEL, &sizes, &bound, grid, (call.op.cost)(call));
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, n, c, rate, how) in [
        ("one number", 1, 1, 0.5, sink::WRITE),
        ("odd width", 37, 5, 0.1, sink::ADD),
        ("almost all dropped", 9, 64, 0.99, sink::WRITE),
        ("a rate of 0", 3, 8, 0.0, sink::WRITE),
    ] {
        let keys: Vec<u32> = (0..n as u32).map(|i| i.wrapping_mul(0x9E37_79B9)).collect();
        let tick = Tick { seed_lo: 0xDEAD_BEEF, seed_hi: 42, draw: 1_000_003, ..Tick::default() };
        for op in [&FORWARD, &BACKWARD] {
            let build = Build::new(name).tick(tick).read(&[n, c], values(1, n * c)).words(&[n], &keys);
            let build = build.write_over(&[n, c], values(2, n * c));
            out.push(build.call(op, &Params { sink: how, ..params(n, c, rate, 3) }));
        }
    }
    out
}

fn gradients() -> Vec<GradientCheck> {
    vec![GradientCheck {
        name: "dropout",
        inputs: vec![input(0, &[3, 7], values(1, 21), true), input_words(1, &[3], &[5, 6, 900])],
        record: |r, t| record(r, t[0], t[1], 0.3, 2),
    }]
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "dropout",
    ops: &[&FORWARD, &BACKWARD],
    kernels: &[&APPLY_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance { absolute: 1e-7, relative: 1e-6, why: "one product and one sum; which are kept is exact" },
};
