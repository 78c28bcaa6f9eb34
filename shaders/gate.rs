//! gate: y = act(gate) up, the inner half of a gated feed-forward layer.
//!
//! Shapes: gu (n, 2 f) = [gate | up], y (n, f). Backward: dgate = dy up act'(gate), dup = dy act(gate).
//! Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.

use crate::activation::{Activation, activate, slope};
use crate::cases::{Build, input};
use crate::grid::{streaming, threads};
use crate::noise::values;
use crate::sink;
use crate::spec::{
    Access, Args, Call, Case, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tolerance,
};
use bytemuck::{Pod, Zeroable};

/// Forward and backward; also the kernels' uniform, with `f` in units of `VEC` words.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub n: u32,
    /// Inner channels.
    pub f: u32,
    /// [`Activation::code`].
    pub kind: u32,
    /// How dgu is treated (see `sink`).
    pub sink: u32,
}

/// reads gu; writes y.
pub static FORWARD: Op = Op {
    name: "gate.forward",
    spec: forward,
    lower: lower_forward,
    cost: |call| streaming(call, 10.0 * call.writes[0].shape.len() as f64),
};

/// reads dy, gu; writes dgu.
pub static BACKWARD: Op = Op {
    name: "gate.backward",
    spec: backward,
    lower: lower_backward,
    cost: |call| streaming(call, 20.0 * call.reads[0].shape.len() as f64),
};

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let f = p.f as usize;
    for row in 0..p.n as usize {
        for col in 0..f {
            let (gate, up) = (args.reads[0][2 * row * f + col], args.reads[0][(2 * row + 1) * f + col]);
            args.writes[0][row * f + col] = (activate(p.kind, f64::from(gate)) * f64::from(up)) as f32;
        }
    }
}

fn backward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let f = p.f as usize;
    let (dy, gu) = (args.reads[0], args.reads[1]);
    for row in 0..p.n as usize {
        for col in 0..f {
            let (at, dy) = (2 * row * f + col, f64::from(dy[row * f + col]));
            let (gate, up) = (f64::from(gu[at]), f64::from(gu[at + f]));
            sink::store(&mut args.writes[0][at], (dy * up * slope(p.kind, gate)) as f32, p.sink);
            sink::store(&mut args.writes[0][at + f], (dy * activate(p.kind, gate)) as f32, p.sink);
        }
    }
}

/// Records the gate of gu (n, 2 f) and its gradient rule.
pub fn record(r: &mut dyn Recorder, gu: Tensor, kind: Activation) -> Tensor {
    let (n, width) = (gu.shape.rows(), gu.shape.row_len());
    assert!(width.is_multiple_of(2), "gate and up side by side");
    let y = r.tensor("gate", &[n, width / 2], Dtype::F32);
    let params = Params { n: n as u32, f: width as u32 / 2, kind: kind.code(), sink: sink::WRITE };
    r.call(Call::new(&FORWARD, &params, &[gu], &[y]));
    let rule = move |r: &mut dyn Recorder, dy: Tensor| {
        let (dgu, how) = sink::gradient(r, gu);
        if how != sink::ABSENT {
            r.call(Call::new(&BACKWARD, &Params { sink: how, ..params }, &[dy, gu], &[dgu]));
        }
    };
    r.rule(y, Box::new(rule));
    y
}

static FORWARD_KERNEL: Kernel = Kernel {
    name: "gate.forward",
    source: include_str!("gate.wgsl"),
    entry: "forward",
    storage: &[("gu", Access::Read), ("y", Access::Write)],
    tick: false,
    params_size: 16,
    defines: &[("VEC", &[1, 4])],
    overrides: &[],
};

static BACKWARD_KERNEL: Kernel = Kernel {
    name: "gate.backward",
    entry: "backward",
    storage: &[("gu", Access::Read), ("dy", Access::Read), ("dgu", Access::Write)],
    ..FORWARD_KERNEL
};

fn sizes(p: Params) -> (Params, [(&'static str, u32); 1], [u32; 3]) {
    let vec = if p.f.is_multiple_of(4) { 4 } else { 1 };
    let sizes = Params { f: p.f / vec, ..p };
    (sizes, [("VEC", vec)], threads(p.n as usize * sizes.f as usize, 64))
}

fn lower_forward(call: &Call, l: &mut Lowering<'_>) {
    let (sizes, defines, grid) = sizes(call.params());
    let bound = [l.whole(call.reads[0]), l.whole(call.writes[0])];
    l.dispatch_with(&FORWARD_KERNEL, &sizes, &bound, grid, (FORWARD.cost)(call), &defines, &[]);
}

fn lower_backward(call: &Call, l: &mut Lowering<'_>) {
    let (sizes, defines, grid) = sizes(call.params());
    let bound = [l.whole(call.reads[1]), l.whole(call.reads[0]), l.whole(call.writes[0])];
    l.dispatch_with(&BACKWARD_KERNEL, &sizes, &bound, grid, (BACKWARD.cost)(call), &defines, &[]);
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for kind in Activation::ALL {
        for (name, n, f, how) in
            [("one number", 1, 1, sink::WRITE), ("odd width", 13, 7, sink::ADD), ("vectors", 9, 32, sink::WRITE)]
        {
            let params = Params { n: n as u32, f: f as u32, kind: kind.code(), sink: how };
            // From -8 to 8: both tails of every activation.
            let gu: Vec<f32> = values(1, 2 * n * f).iter().map(|x| 8.0 * x).collect();
            let build = Build::new(name).read(&[n, 2 * f], gu.clone());
            out.push(build.write(&[n, f]).call(&FORWARD, &params));
            let build = Build::new(name).read(&[n, f], values(2, n * f)).read(&[n, 2 * f], gu);
            out.push(build.write_over(&[n, 2 * f], values(3, 2 * n * f)).call(&BACKWARD, &params));
        }
    }
    out
}

fn gradients() -> Vec<GradientCheck> {
    let inputs = || vec![input(0, &[3, 10], values(1, 30), true)];
    vec![
        GradientCheck { name: "gate silu", inputs: inputs(), record: |r, t| record(r, t[0], Activation::Silu) },
        GradientCheck { name: "gate gelu", inputs: inputs(), record: |r, t| record(r, t[0], Activation::GeluTanh) },
    ]
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "gate",
    ops: &[&FORWARD, &BACKWARD],
    kernels: &[&FORWARD_KERNEL, &BACKWARD_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance {
        absolute: 5e-6,
        relative: 2e-6,
        why: "the error function's 1.5e-7 times gate and up of at most 8 each, and exp to a few ULP",
    },
};
