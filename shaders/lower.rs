//! What lowerings share: grids and blocks.

/// Workgroups per grid dimension at most (WebGPU's default).
pub const GRID_MAX: u64 = 65535;

/// A grid of at least `groups` workgroups, folded into y where x does not suffice. Kernels number them with
/// `flat_group` (shared/grid.wgsl) and leave where the number is beyond the work.
pub fn fold(groups: u64) -> [u32; 3] {
    let y = groups.div_ceil(GRID_MAX).max(1);
    assert!(y <= GRID_MAX, "{groups} workgroups exceed a grid");
    [groups.div_ceil(y).max(1) as u32, y as u32, 1]
}

/// The ranges of `len` in pieces of at most `each`: (first, length).
pub fn pieces(len: usize, each: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(each).map(move |first| (first, each.min(len - first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_grids_hold_all_groups_and_stay_within_the_limit() {
        for groups in [1, 2, 65535, 65536, 65537, 131071, 1 << 20, (1 << 24) + 1] {
            let [x, y, z] = fold(groups);
            assert!(u64::from(x) * u64::from(y) >= groups, "{groups}: {x} x {y}");
            assert!(u64::from(x) * u64::from(y) < groups + u64::from(y), "{groups}: {x} x {y}");
            assert!(u64::from(x.max(y)) <= GRID_MAX && z == 1);
        }
    }

    #[test]
    fn pieces_cover_the_length_once() {
        assert_eq!(pieces(10, 4).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 2)]);
        assert_eq!(pieces(4, 4).collect::<Vec<_>>(), [(0, 4)]);
    }
}
