//! reduce: sums of columns (gradients of biases, split products) and of whole tensors, in a fixed order.
//!
//! Shapes: `reduce.columns` x (n, m) -> y (m), overwritten or added to; `reduce.sum` x -> y (4) = {sum, 0, 0, 0}.

use crate::cases::Build;
use crate::grid::{grid, streaming};
use crate::noise::values;
use crate::spec::{Access, Args, Call, Case, Cost, Kernel, Lowering, Op, Pair, Region, Tensor, Tolerance};
use bytemuck::{Pod, Zeroable};

/// Both ops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows; 1 for `reduce.sum`.
    pub n: u32,
    /// Columns; elements for `reduce.sum`.
    pub m: u32,
    /// 1 = add to the output (`reduce.columns`), 0 = overwrite.
    pub acc: u32,
    /// Zero.
    pub spare: u32,
}

/// reads x (n, m); writes y (m) = sum of the rows.
pub static COLUMNS: Op = Op {
    name: "reduce.columns",
    spec: columns,
    lower: lower_columns,
    cost: |call| streaming(call, call.reads[0].shape.len() as f64),
};

/// reads x; writes y (4) = {sum, 0, 0, 0}.
pub static SUM: Op = Op {
    name: "reduce.sum",
    spec: |args| {
        let total: f64 = args.reads[0].iter().map(|&x| f64::from(x)).sum();
        args.writes[0].copy_from_slice(&[total as f32, 0.0, 0.0, 0.0]);
    },
    lower: lower_sum,
    cost: |call| streaming(call, call.reads[0].shape.len() as f64),
};

fn columns(args: &mut Args<'_>) {
    let p: Params = args.params();
    let m = p.m as usize;
    for col in 0..m {
        let sum: f64 = (0..p.n as usize).map(|row| f64::from(args.reads[0][row * m + col])).sum();
        let before = if p.acc == 1 { f64::from(args.writes[0][col]) } else { 0.0 };
        args.writes[0][col] = (before + sum) as f32;
    }
}

/// y (= or +=) the sum over the rows of x, whose last extent is y's length.
pub fn columns_call(x: Tensor, y: Tensor, add: bool) -> Call {
    let m = y.shape.len();
    assert!(x.shape.len().is_multiple_of(m), "columns of {x:?} into {y:?}");
    let params = Params { n: (x.shape.len() / m) as u32, m: m as u32, acc: u32::from(add), spare: 0 };
    Call::new(&COLUMNS, &params, &[x], &[y])
}

/// y (4) = {sum of x, 0, 0, 0}.
pub fn sum_call(x: Tensor, y: Tensor) -> Call {
    Call::new(&SUM, &Params { n: 1, m: x.shape.len() as u32, acc: 0, spare: 0 }, &[x], &[y])
}

const SOURCE: &str = include_str!("reduce.wgsl");

static COLUMNS_KERNEL: Kernel = Kernel {
    name: "reduce.columns",
    source: SOURCE,
    entry: "columns",
    storage: &[("x", Access::Read), ("y", Access::Write)],
    tick: false,
    params_size: 32,
    defines: &[("VEC", &[4, 1])],
    overrides: &[],
};

static PARTIAL_KERNEL: Kernel =
    Kernel { name: "reduce.partial", entry: "partial", defines: &[("VEC", &[1])], ..COLUMNS_KERNEL };

static TOTAL_KERNEL: Kernel = Kernel {
    name: "reduce.total",
    entry: "total",
    storage: &[("parts", Access::Read), ("result", Access::Write)],
    defines: &[("VEC", &[1])],
    ..COLUMNS_KERNEL
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct KernelParams {
    rows: u32,
    /// In pieces of VEC words.
    cols: u32,
    /// Rows of a part; part number z writes row z of y.
    part: u32,
    acc: u32,
    /// Factor on the sum.
    scale: f32,
    spare: [u32; 3],
}

/// Emits y (= or +=) scale * the sum over the `rows` rows of x. y holds `cols` words. Many rows over few columns are
/// summed in parts first.
pub fn emit_columns(l: &mut Lowering<'_>, x: Region, y: Region, rows: usize, cols: usize, scale: f32, add: bool) {
    let vec = if cols.is_multiple_of(4) { 4 } else { 1 };
    let groups = (cols / vec as usize).div_ceil(64);
    let wanted = (l.caps.fill as usize).div_ceil(groups).min(rows / 16).clamp(1, 64);
    let part = rows.div_ceil(wanted);
    let parts = rows.div_ceil(part);
    let pass = |l: &mut Lowering<'_>, from: Region, to: Region, rows: usize, part: usize, scale, add: bool| {
        let parts = rows.div_ceil(part);
        let params = KernelParams {
            rows: rows as u32,
            cols: (cols / vec as usize) as u32,
            part: part as u32,
            acc: u32::from(add),
            scale,
            spare: [0; 3],
        };
        let mut size = grid(groups);
        assert!(size[1] == 1 || parts == 1, "parts of a wide sum");
        size[2] = parts as u32;
        let words = (rows + parts) * cols;
        let cost = Cost { flops: (rows * cols) as f64, bytes: 4.0 * words as f64 };
        l.dispatch_with(&COLUMNS_KERNEL, &params, &[from, to], size, cost, &[("VEC", vec)], &[]);
    };
    if parts == 1 {
        pass(l, x, y, rows, rows, scale, add);
    } else {
        let scratch = l.scratch((parts * cols) as u64);
        pass(l, x, scratch, rows, part, 1.0, false);
        pass(l, scratch, y, parts, parts, scale, add);
    }
}

fn lower_columns(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (x, y) = (l.whole(call.reads[0]), l.whole(call.writes[0]));
    emit_columns(l, x, y, p.n as usize, p.m as usize, 1.0, p.acc == 1);
}

fn lower_sum(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (x, y, parts) = (l.whole(call.reads[0]), l.whole(call.writes[0]), l.scratch(64));
    let params = KernelParams { rows: 1, cols: p.m, part: 1, acc: 0, scale: 1.0, spare: [0; 3] };
    l.dispatch_with(&PARTIAL_KERNEL, &params, &[x, parts], [64, 1, 1], (call.op.cost)(call), &[("VEC", 1)], &[]);
    l.dispatch_with(&TOTAL_KERNEL, &params, &[parts, y], [1, 1, 1], Cost::default(), &[("VEC", 1)], &[]);
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let shapes = [
        ("one element", 1, 1),
        ("one row", 1, 7),
        ("one column", 37, 1),
        ("odd extents", 37, 21),
        ("multiples of four", 64, 128),
        ("many rows, summed in parts", 1500, 12),
        ("wide", 3, 5003),
    ];
    for (name, n, m) in shapes {
        for acc in [0, 1] {
            let params = Params { n: n as u32, m: m as u32, acc, spare: 0 };
            let build = Build::new(name).read(&[n, m], values(1, n * m));
            out.push(build.write_over(&[m], values(2, m)).call(&COLUMNS, &params));
        }
        let params = Params { n: 1, m: (n * m) as u32, acc: 0, spare: 0 };
        out.push(Build::new(name).read(&[n, m], values(3, n * m)).write(&[4]).call(&SUM, &params));
    }
    let params = Params { n: 1, m: 100_001, acc: 0, spare: 0 };
    out.push(Build::new("long").read(&[100_001], values(4, 100_001)).write(&[4]).call(&SUM, &params));
    out
}

/// reduce.
pub const PAIR: Pair = Pair {
    name: "reduce",
    ops: &[&COLUMNS, &SUM],
    kernels: &[&COLUMNS_KERNEL, &PARTIAL_KERNEL, &TOTAL_KERNEL],
    cases,
    gradients: Vec::new,
    tolerance: Tolerance {
        absolute: 3e-5,
        relative: 1e-5,
        why: "chains of up to some hundred f32 additions of numbers below 1, half a unit of the running sum each",
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Caps;

    #[test]
    fn few_columns_are_summed_in_parts_and_many_are_not() {
        let caps =
            Caps { binding_words: 1 << 25, software: false, fill: 256, invocations: 256, dispatch: Cost::INFINITE };
        let case = |n: usize, m: usize| {
            let params = Params { n: n as u32, m: m as u32, acc: 0, spare: 0 };
            let case = Build::new("").read(&[n, m], vec![0.0; n * m]).write(&[m]).call(&COLUMNS, &params);
            let mut l = Lowering::new(&caps);
            lower_columns(&case.call, &mut l);
            l.dispatches.iter().map(|d| d.grid).collect::<Vec<_>>()
        };
        assert_eq!(case(1500, 12), [[1, 1, 63], [1, 1, 1]]);
        assert_eq!(case(8, 12), [[1, 1, 1]]);
    }
}
