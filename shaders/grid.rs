//! The size of a call's work: grids of workgroups within every limit, and bytes moved.

use crate::spec::{Call, Cost};

/// Most workgroups along one dimension of a grid (WebGPU's default limit).
pub const GRID_MAX: u32 = 65535;

/// A grid of at least this many workgroups. Kernels number them `x + 65535 y` (shared/grid.wgsl) and leave where the
/// number is beyond the work.
pub fn grid(workgroups: usize) -> [u32; 3] {
    let count = u32::try_from(workgroups).expect("workgroups fit u32").max(1);
    [count.min(GRID_MAX), count.div_ceil(GRID_MAX), 1]
}

/// A grid of one invocation per item, in workgroups of `size`.
pub fn threads(items: usize, size: usize) -> [u32; 3] {
    grid(items.div_ceil(size))
}

/// Cost of a call that touches each of its tensors once and does `flops` operations.
pub fn streaming(call: &Call, flops: f64) -> Cost {
    let words: usize = call.reads.iter().chain(&call.writes).map(|t| t.shape.len()).sum();
    Cost { flops, bytes: words as f64 * 4.0 }
}

/// Strips into which `n` rows are cut for a sum over rows: few enough to bound the partial sums, long enough to pay.
pub fn strips(n: usize) -> usize {
    n.div_ceil(16).clamp(1, 64)
}
