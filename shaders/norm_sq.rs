//! norm_sq: the sum of squares of all gradients, for clipping by the global norm; always 64 partial sums a tensor.
//!
//! Shapes: `norm_sq.partial` g (any) -> one row of parts (T, 64), T tensors: part j sums the squares of the elements of
//! blocks j, j + 64, ... of 1024 words. `norm_sq.total` parts -> total (4) = {sum, 0, 0, 0}.

use crate::cases::Build;
use crate::noise::values;
use crate::spec::{Access, Args, Call, Case, Cost, Kernel, Lowering, Op, Pair, Tensor, Tolerance};
use bytemuck::{Pod, Zeroable};

/// Partial sums of a tensor.
pub const PARTS: usize = 64;
/// Words of a block.
pub const BLOCK: usize = 1024;

/// Both ops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Elements of g; `norm_sq.total`: rows of parts.
    pub len: u32,
    /// The row of parts that is written.
    pub row: u32,
}

/// reads g; writes row `row` of parts (T, 64), nothing else.
pub static PARTIAL: Op = Op {
    name: "norm_sq.partial",
    spec: partial,
    lower: lower_partial,
    cost: |call| {
        let len = call.reads[0].shape.len() as f64;
        Cost { flops: 2.0 * len, bytes: 4.0 * len }
    },
};

/// reads parts (T, 64); writes total (4) = {sum, 0, 0, 0}.
pub static TOTAL: Op = Op {
    name: "norm_sq.total",
    spec: |args| {
        let sum: f64 = args.reads[0].iter().map(|&x| f64::from(x)).sum();
        args.writes[0].copy_from_slice(&[sum as f32, 0.0, 0.0, 0.0]);
    },
    lower: lower_total,
    cost: |call| Cost { flops: call.reads[0].shape.len() as f64, bytes: call.reads[0].bytes() as f64 },
};

fn partial(args: &mut Args<'_>) {
    let p: Params = args.params();
    let mut sums = [0f64; PARTS];
    for (number, block) in args.reads[0].chunks(BLOCK).enumerate() {
        sums[number % PARTS] += block.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
    }
    let row = p.row as usize * PARTS;
    for (part, sum) in args.writes[0][row..row + PARTS].iter_mut().zip(sums) {
        *part = sum as f32;
    }
}

/// The calls that sum the squares of all `grads` into `total` (4) by way of `parts` (grads, 64).
pub fn calls(grads: &[Tensor], parts: Tensor, total: Tensor) -> Vec<Call> {
    assert_eq!(parts.shape.dims(), [grads.len(), PARTS], "parts of the gradient norm");
    let partial = |(row, g): (usize, &Tensor)| {
        let len = u32::try_from(g.shape.len()).expect("a gradient has fewer than 2^32 elements");
        Call::new(&PARTIAL, &Params { len, row: row as u32 }, &[*g], &[parts])
    };
    let mut calls: Vec<Call> = grads.iter().enumerate().map(partial).collect();
    calls.push(Call::new(&TOTAL, &Params { len: grads.len() as u32, row: 0 }, &[parts], &[total]));
    calls
}

static PARTIAL_KERNEL: Kernel = Kernel {
    name: "norm_sq.partial",
    source: include_str!("norm_sq.wgsl"),
    entry: "partial",
    storage: &[("g", Access::Read), ("parts", Access::Write)],
    tick: false,
    params_size: 16,
    defines: &[("VEC", &[4, 1])],
    overrides: &[],
};

static TOTAL_KERNEL: Kernel = Kernel {
    name: "norm_sq.total",
    entry: "total",
    storage: &[("sums", Access::Read), ("result", Access::Write)],
    defines: &[("VEC", &[1])],
    ..PARTIAL_KERNEL
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct KernelParams {
    /// Words of this shard; rows of parts.
    len: u32,
    /// First word of this shard in the tensor.
    first: u32,
    row: u32,
    /// 1 = later shard of a tensor: add to the parts.
    acc: u32,
}

fn lower_partial(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let g = call.reads[0];
    let parts = l.whole(call.writes[0]);
    for (first, rows) in l.caps.shards(&g.shape) {
        let len = rows * g.shape.row_len();
        let vec = if len.is_multiple_of(4) { 4 } else { 1 };
        let start = (first * g.shape.row_len()) as u32;
        let params = KernelParams { len: len as u32, first: start, row: p.row, acc: u32::from(first > 0) };
        let cost = Cost { flops: 2.0 * len as f64, bytes: 4.0 * len as f64 };
        let bindings = [l.rows(g, first, rows), parts];
        l.dispatch_with(&PARTIAL_KERNEL, &params, &bindings, [PARTS as u32, 1, 1], cost, &[("VEC", vec)], &[]);
    }
}

fn lower_total(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let params = KernelParams { len: p.len, first: 0, row: 0, acc: 0 };
    let bindings = [l.whole(call.reads[0]), l.whole(call.writes[0])];
    l.dispatch_with(&TOTAL_KERNEL, &params, &bindings, [1, 1, 1], (call.op.cost)(call), &[], &[]);
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let shapes: [(&str, &[usize]); 5] = [
        ("one element", &[1]),
        ("fewer than a block", &[9, 13]),
        ("exactly a block", &[32, 32]),
        ("more than 64 blocks, not a multiple of four", &[67, 1001]),
        ("rows for shards", &[704, 100]),
    ];
    for (name, shape) in shapes {
        let len: usize = shape.iter().product();
        let params = Params { len: len as u32, row: 1 };
        let build = Build::new(name).read(shape, values(1, len));
        out.push(build.write_over(&[3, PARTS], values(2, 3 * PARTS)).call(&PARTIAL, &params));
    }
    for rows in [1, 3, 40] {
        let parts = values(3, rows * PARTS).iter().map(|x| x.abs()).collect();
        let params = Params { len: rows as u32, row: 0 };
        out.push(Build::new("total").read(&[rows, PARTS], parts).write(&[4]).call(&TOTAL, &params));
    }
    out
}

/// norm_sq.
pub const PAIR: Pair = Pair {
    name: "norm_sq",
    ops: &[&PARTIAL, &TOTAL],
    kernels: &[&PARTIAL_KERNEL, &TOTAL_KERNEL],
    cases,
    gradients: Vec::new,
    tolerance: Tolerance {
        absolute: 1e-6,
        relative: 1e-5,
        why: "sums of positive numbers in f32 chains of some hundred additions, half a unit each",
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_writes_its_own_row_only() {
        let case = &cases()[0];
        let mut parts = case.writes[0].clone();
        let mut args =
            Args { params: &case.call.params, tick: &case.tick, reads: &[&case.reads[0]], writes: &mut [&mut parts] };
        partial(&mut args);
        assert_eq!(parts[..PARTS], case.writes[0][..PARTS]);
        assert_eq!(parts[2 * PARTS..], case.writes[0][2 * PARTS..]);
        assert_eq!(parts[PARTS], case.reads[0][0] * case.reads[0][0]);
        assert!(parts[PARTS + 1..2 * PARTS].iter().all(|&x| x == 0.0));
    }
}
