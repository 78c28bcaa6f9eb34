//! cache: puts new keys and values into the rows of a cache, cache[slots[i]] = x[i, from .. from + width].
//!
//! Shapes: x (n, w), slots (n) with 0xFFFFFFFF = skip, cache (rows, width). No slot occurs twice in a call. No
//! gradient:
//! generation only.

use crate::cases::Build;
use crate::grid::threads;
use crate::noise::values;
use crate::spec::{Access, Args, Call, Case, Cost, Kernel, Lowering, Op, Pair, Tensor, Tolerance, words};
use bytemuck::{Pod, Zeroable};

/// Append; also the kernel's uniform.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// New rows.
    pub n: u32,
    /// Words of a row of x.
    pub stride: u32,
    /// First column of x that is kept.
    pub from: u32,
    /// Words of a row of the cache.
    pub width: u32,
    /// Rows of the cache.
    pub rows: u32,
    /// Zero.
    pub spare: [u32; 3],
}

/// reads x, slots; writes cache (the rows named by slots only).
pub static APPEND: Op = Op {
    name: "cache.append",
    spec: append,
    lower,
    cost: |call| {
        let p: Params = call.params();
        Cost { flops: 0.0, bytes: 8.0 * f64::from(p.n) * f64::from(p.width) }
    },
};

fn append(args: &mut Args<'_>) {
    let p: Params = args.params();
    let width = p.width as usize;
    for (row, &slot) in words(args.reads[1]).iter().enumerate().filter(|&(_, &slot)| slot != u32::MAX) {
        assert!(slot < p.rows, "slot {slot} of a cache of {} rows", p.rows);
        let from = row * p.stride as usize + p.from as usize;
        let to = slot as usize * width;
        args.writes[0][to..to + width].copy_from_slice(&args.reads[0][from..from + width]);
    }
}

/// The call: columns `from ..` of x (n, w) go to the rows `slots` of the cache.
pub fn call(x: Tensor, slots: Tensor, cache: Tensor, from: usize) -> Call {
    let (n, stride, width) = (x.shape.rows(), x.shape.row_len(), cache.shape.row_len());
    assert!(from + width <= stride, "columns {from}..{} of rows of {stride}", from + width);
    assert_eq!(slots.shape.len(), n, "one slot per row");
    let params = Params {
        n: n as u32,
        stride: stride as u32,
        from: from as u32,
        width: width as u32,
        rows: cache.shape.rows() as u32,
        spare: [0; 3],
    };
    Call::new(&APPEND, &params, &[x, slots], &[cache])
}

static APPEND_KERNEL: Kernel = Kernel {
    name: "cache.append",
    source: include_str!("cache.wgsl"),
    entry: "append",
    storage: &[("x", Access::Read), ("slots", Access::Read), ("cache", Access::Write)],
    tick: false,
    params_size: 32,
    defines: &[],
    overrides: &[],
};

fn lower(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let bound = [l.whole(call.reads[0]), l.whole(call.reads[1]), l.whole(call.writes[0])];
    l.dispatch(&APPEND_KERNEL, &p, &bound, threads(p.n as usize * p.width as usize, 64), (APPEND.cost)(call));
}

fn cases() -> Vec<Case> {
    let skip = u32::MAX;
    [
        ("one row", vec![0], 1, 3, 0, 3),
        ("any order, some skipped", vec![7, skip, 0, 30, skip, 2], 31, 20, 8, 12),
        ("all skipped", vec![skip; 4], 5, 6, 1, 5),
        ("odd widths", (0..70).rev().collect(), 70, 9, 3, 5),
    ]
    .into_iter()
    .map(|(name, slots, rows, stride, from, width): (_, Vec<u32>, usize, usize, usize, usize)| {
        let n = slots.len();
        let params = Params {
            n: n as u32,
            stride: stride as u32,
            from: from as u32,
            width: width as u32,
            rows: rows as u32,
            spare: [0; 3],
        };
        let build = Build::new(name).read(&[n, stride], values(1, n * stride)).words(&[n], &slots);
        build.write_over(&[rows, width], values(2, rows * width)).call(&APPEND, &params)
    })
    .collect()
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "cache",
    ops: &[&APPEND],
    kernels: &[&APPEND_KERNEL],
    cases,
    gradients: Vec::new,
    tolerance: Tolerance { absolute: 0.0, relative: 0.0, why: "words are copied" },
};
