//! add: y = alpha a + beta b; and y += alpha a, which collects gradients.
//!
//! Shapes: all tensors have the same number of elements.

use crate::cases::{Build, input};
use crate::grid::{streaming, threads};
use crate::noise::values;
use crate::spec::{
    Access, Args, Call, Case, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tolerance,
};
use bytemuck::{Pod, Zeroable};

/// Both ops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Elements.
    pub len: u32,
    /// Factor on a.
    pub alpha: f32,
    /// `add.forward`: factor on b. `add.accumulate`: factor on what y holds; 0 overwrites, whatever it holds.
    pub beta: f32,
    /// Zero.
    pub spare: u32,
}

/// reads a, b; writes y = alpha a + beta b.
pub static FORWARD: Op = Op {
    name: "add.forward",
    spec: forward,
    lower: |call, l| lower(call, l, &FORWARD_KERNEL),
    cost: |call| streaming(call, 3.0 * call.reads[0].shape.len() as f64),
};

/// reads a; writes y = alpha a + beta y.
pub static ACCUMULATE: Op = Op {
    name: "add.accumulate",
    spec: accumulate,
    lower: |call, l| lower(call, l, &ACCUMULATE_KERNEL),
    cost: |call| streaming(call, 2.0 * call.reads[0].shape.len() as f64),
};

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    for (i, y) in args.writes[0].iter_mut().enumerate() {
        *y = p.alpha * args.reads[0][i] + p.beta * args.reads[1][i];
    }
}

fn accumulate(args: &mut Args<'_>) {
    let p: Params = args.params();
    for (y, &a) in args.writes[0].iter_mut().zip(args.reads[0]) {
        let before = if p.beta == 0.0 { 0.0 } else { p.beta * *y };
        *y = p.alpha * a + before;
    }
}

/// y += alpha a.
pub fn accumulate_call(a: Tensor, y: Tensor, alpha: f32) -> Call {
    Call::new(&ACCUMULATE, &Params { len: y.shape.len() as u32, alpha, beta: 1.0, spare: 0 }, &[a], &[y])
}

/// y = alpha a.
pub fn copy_call(a: Tensor, y: Tensor, alpha: f32) -> Call {
    Call::new(&ACCUMULATE, &Params { len: y.shape.len() as u32, alpha, beta: 0.0, spare: 0 }, &[a], &[y])
}

/// Records y = a + b.
pub fn record(r: &mut dyn Recorder, a: Tensor, b: Tensor) -> Tensor {
    assert_eq!(a.shape, b.shape, "both terms of a sum");
    let y = r.tensor("sum", &a.shape.dims(), Dtype::F32);
    let params = Params { len: a.shape.len() as u32, alpha: 1.0, beta: 1.0, spare: 0 };
    r.call(Call::new(&FORWARD, &params, &[a, b], &[y]));
    r.rule(
        y,
        Box::new(move |r, dy| {
            if r.wants(a) {
                let (da, add) = r.gradient(a);
                r.call(if add { accumulate_call(dy, da, 1.0) } else { copy_call(dy, da, 1.0) });
            }
            if r.wants(b) {
                r.pass(b, dy);
            }
        }),
    );
    y
}

static FORWARD_KERNEL: Kernel = Kernel {
    name: "add.forward",
    source: include_str!("add.wgsl"),
    entry: "forward",
    storage: &[("a", Access::Read), ("b", Access::Read), ("y", Access::Write)],
    tick: false,
    params_size: 16,
    defines: &[("VEC", &[4, 1])],
    overrides: &[],
};

static ACCUMULATE_KERNEL: Kernel = Kernel {
    name: "add.accumulate",
    entry: "accumulate",
    storage: &[("term", Access::Read), ("sum", Access::Write)],
    ..FORWARD_KERNEL
};

fn lower(call: &Call, l: &mut Lowering<'_>, kernel: &'static Kernel) {
    let p: Params = call.params();
    let vec = if p.len.is_multiple_of(4) { 4 } else { 1 };
    let bindings: Vec<_> = call.reads.iter().chain(&call.writes).map(|&t| l.whole(t)).collect();
    let params = Params { len: p.len / vec, ..p };
    let grid = threads(params.len as usize, 64);
    l.dispatch_with(kernel, &params, &bindings, grid, (call.op.cost)(call), &[("VEC", vec)], &[]);
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, len) in [("one element", 1), ("a multiple of four", 256), ("not a multiple of four", 1021)] {
        let params = Params { len: len as u32, alpha: 0.5, beta: -2.0, spare: 0 };
        let build = Build::new(name).read(&[len], values(1, len)).read(&[len], values(2, len));
        out.push(build.write(&[len]).call(&FORWARD, &params));
        let build = Build::new(name).read(&[len], values(3, len));
        out.push(build.write_over(&[len], values(4, len)).call(&ACCUMULATE, &params));
    }
    let params = Params { len: 5, alpha: 3.0, beta: 0.0, spare: 0 };
    let build = Build::new("overwrites what is not a number").read(&[5], values(5, 5));
    out.push(build.write_over(&[5], vec![f32::NAN; 5]).call(&ACCUMULATE, &params));
    out
}

fn gradients() -> Vec<GradientCheck> {
    let inputs = || vec![input(0, &[2, 3], values(1, 6), true), input(1, &[2, 3], values(2, 6), true)];
    vec![
        GradientCheck { name: "two terms", inputs: inputs(), record: |r, t| record(r, t[0], t[1]) },
        GradientCheck { name: "the same term twice", inputs: inputs(), record: |r, t| record(r, t[0], t[0]) },
    ]
}

/// add.
pub const PAIR: Pair = Pair {
    name: "add",
    ops: &[&FORWARD, &ACCUMULATE],
    kernels: &[&FORWARD_KERNEL, &ACCUMULATE_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance { absolute: 0.0, relative: 2e-7, why: "two roundings, or one where fused" },
};
