//! Attention on GPUs: tiles of 32 rows by 32 others in workgroup memory; `tiled.wgsl` beside it says which four passes.
//! Formula, spec, gradient rule, cases and tolerance are the op's (`attention.rs`).
//!
//! Tensors and `Params` are those of the direct kernels, so that both serve one call; widths must be multiples of four
//! words. Source: Dao, "FlashAttention-2", arXiv 2307.08691, with owners of queries and of keys instead of atomics.

use super::Params;
use super::lower::{BACKWARD_STORAGE, Defines, FORWARD_STORAGE, Sizes, Storage, banded, kernel};
use crate::spec::{Cost, Kernel, Lowering, Region};

/// Rows that a workgroup owns.
const ROWS: u32 = 32;
/// Channels that one quad of each of a workgroup's eight columns of invocations covers.
const CHANNELS: u32 = 32;

const fn pass(name: &'static str, entry: &'static str, storage: Storage, defines: Defines) -> Kernel {
    kernel(include_str!("tiled.wgsl"), name, entry, storage, defines)
}

macro_rules! defines {
    ($pass:literal) => {
        &[("PASS", &[$pass]), ("QUADS", &[2, 1, 4, 8]), ("CAP", &[0, 1])]
    };
}

/// y and lse.
pub(super) static FORWARD: Kernel = pass("attention.forward_tiled", "forward_tiled", FORWARD_STORAGE, defines!(0));
/// dq.
pub(super) static QUERIES: Kernel = pass("attention.queries_tiled", "queries_tiled", BACKWARD_STORAGE, defines!(1));
/// dk.
pub(super) static KEYS: Kernel = pass("attention.keys_tiled", "keys_tiled", BACKWARD_STORAGE, defines!(2));
/// dv.
pub(super) static VALUES: Kernel = pass("attention.values_tiled", "values_tiled", BACKWARD_STORAGE, defines!(3));

/// Quads of channels of an invocation, where these kernels can run and pay.
pub(super) fn quads(p: &Params, vec: u32, software: bool) -> Option<u32> {
    if software || vec != 4 || p.n < 16 || p.apart == 1 {
        return None;
    }
    [1, 2, 4, 8].into_iter().find(|quads| p.head_dim <= CHANNELS * quads)
}

fn groups(p: &Params, owners: u32) -> usize {
    p.n.div_ceil(ROWS) as usize * owners as usize
}

/// `bound` as [`FORWARD_STORAGE`] has it.
pub(super) fn forward(
    l: &mut Lowering<'_>,
    p: &Params,
    sizes: &Sizes,
    bound: &[Region],
    cost: Cost,
    defines: [(&'static str, u32); 2],
) {
    banded(l, &FORWARD, sizes, bound, groups(p, p.heads), cost, &defines);
}

/// `bound` as [`BACKWARD_STORAGE`] has it; `cost` of so many products.
pub(super) fn backward(
    l: &mut Lowering<'_>,
    p: &Params,
    sizes: &Sizes,
    bound: &[Region],
    cost: impl Fn(f64) -> Cost,
    defines: [(&'static str, u32); 2],
) {
    for (kernel, owners, products) in [(&QUERIES, p.heads, 3.0), (&KEYS, p.kv_heads, 3.0), (&VALUES, p.kv_heads, 2.0)] {
        banded(l, kernel, sizes, bound, groups(p, owners), cost(products), &defines);
    }
}
