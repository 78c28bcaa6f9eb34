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

/// Cuts a dispatch of `units` alike (rows of workgroups, say) into bands of at most `most` work each, as far as whole
/// units allow: (first unit, units, cost) of each.
pub fn bands(units: usize, cost: Cost, most: &Cost) -> impl Iterator<Item = (usize, usize, Cost)> + use<> {
    let units = units.max(1);
    let excess = (cost.flops / most.flops).max(cost.bytes / most.bytes).max(1.0);
    let fitting = ((units as f64 / excess) as usize).max(1);
    // Bands of like size.
    let each = units.div_ceil(units.div_ceil(fitting));
    (0..units).step_by(each).map(move |first| {
        let count = each.min(units - first);
        let share = count as f64 / units as f64;
        (first, count, Cost { flops: cost.flops * share, bytes: cost.bytes * share })
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_the_work_within_the_bound() {
        let most = Cost { flops: 10.0, bytes: f64::INFINITY };
        let cut =
            |units, flops| bands(units, Cost { flops, bytes: 1.0 }, &most).map(|b| (b.0, b.1)).collect::<Vec<_>>();
        assert_eq!(cut(7, 10.0), [(0, 7)]);
        assert_eq!(cut(7, 10.5), [(0, 4), (4, 3)]);
        assert_eq!(cut(3, 1e9), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(bands(5, Cost { flops: 1e30, bytes: 1e30 }, &Cost::INFINITE).count(), 1);
        for units in 1..40 {
            for parts in 1..50 {
                let all: Vec<_> = bands(units, Cost { flops: 10.0 * f64::from(parts), bytes: 0.0 }, &most).collect();
                assert_eq!(all.iter().map(|b| b.1).sum::<usize>(), units);
                assert!(all.windows(2).all(|w| w[0].0 + w[0].1 == w[1].0));
                assert!(all.iter().all(|b| b.1 == 1 || b.2.flops <= 10.0 + 1e-9), "{units} {parts}");
            }
        }
    }
}
