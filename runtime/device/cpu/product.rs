//! Matrix products: one piece, one thread, gemmkit's kernels; and the transposition that feeds them.
//!
//! Of gemm, gemmkit and matrixmultiply on the shapes of training, gemmkit was the fastest (100 to 117 GFLOP/s on a core
//! with a ceiling of 118) wherever the right-hand rows are contiguous. `x w^T` is therefore computed on a transposed
//! copy of `w`, made once per call: 1 to 2 % of the product's time instead of 10 to 30 % for packing in every piece.

use super::share::{Team, Tile};

/// A matrix that is only read: rows, columns, and the words from row to row and from column to column.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Row-major: `stride` words from row to row. Panics where it does not lie within `data`.
    pub(super) fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> View<'a> {
        let last = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * stride + cols };
        assert!(last <= data.len(), "a matrix of {rows} x {cols}, stride {stride}, in {} words", data.len());
        View { data, rows, cols, row_stride: stride, col_stride: 1 }
    }
    /// How many rows.
    pub(super) fn rows(self) -> usize {
        self.rows
    }
    /// Some of its columns.
    pub(super) fn columns(self, from: usize, count: usize) -> View<'a> {
        assert!(from + count <= self.cols && self.rows > 0, "columns of a matrix");
        View { data: &self.data[from * self.col_stride..], cols: count, ..self }
    }
    /// The same words read the other way round.
    pub(super) fn transposed(self) -> View<'a> {
        View { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// out = scale * a b + (what was in `out`, if `add`). One thread.
pub(super) fn multiply(out: &mut Tile<'_>, scale: f32, a: View<'_>, b: View<'_>, add: bool) {
    let (rows, cols, inner) = (out.rows(), out.width(), a.cols);
    assert!(a.rows == rows && b.cols == cols && b.rows == inner, "a product of matching shapes");
    // SAFETY: the views lie within their slices and the tile within its own (checked when they were made); the tile is
    // borrowed mutably, so it overlaps neither view.
    unsafe {
        gemmkit::gemm_unchecked(
            rows,
            inner,
            cols,
            scale,
            a.data.as_ptr(),
            a.row_stride as isize,
            a.col_stride as isize,
            b.data.as_ptr(),
            b.row_stride as isize,
            b.col_stride as isize,
            if add { 1.0 } else { 0.0 },
            out.as_mut_ptr(),
            out.stride() as isize,
            1,
            gemmkit::Parallelism::Serial,
        );
    }
}

/// Side of the blocks in which a matrix is transposed: a block of both sides fits the first cache.
const BLOCK: usize = 16;

/// out (cols x rows) = the transpose of `from` (rows x cols, `stride` words from row to row), on one thread.
pub(super) fn transpose(out: &mut [f32], from: &[f32], rows: usize, cols: usize, stride: usize) {
    transpose_rows(out, from, rows, stride, 0..cols);
}

/// Rows `range` of the transpose, written from the start of `out`.
fn transpose_rows(out: &mut [f32], from: &[f32], rows: usize, stride: usize, range: std::ops::Range<usize>) {
    for first in range.clone().step_by(BLOCK) {
        let last = (first + BLOCK).min(range.end);
        for row in (0..rows).step_by(BLOCK) {
            let end = (row + BLOCK).min(rows);
            for col in first..last {
                let line = &mut out[(col - range.start) * rows..][row..end];
                for (slot, r) in line.iter_mut().zip(row..end) {
                    *slot = from[r * stride + col];
                }
            }
        }
    }
}

/// out (cols x rows) = the transpose of a dense `from` (rows x cols), on all threads.
pub(super) fn transpose_all(team: &Team, out: &mut [f32], from: &[f32], rows: usize, cols: usize) {
    let chunk = (32_768 / rows).max(1).next_multiple_of(BLOCK);
    team.rows(cols, chunk, [(out, rows)], |range, [out]| transpose_rows(out, from, rows, cols, range));
}

/// What the bits of a product depend on: gemmkit's instruction set, the caches that it cuts its blocks by, and the
/// environment that overrides its choices.
pub(super) fn tiles() -> String {
    let caches = gemmkit::topology();
    let levels = [Some(caches.l1d), Some(caches.l2), caches.l3];
    let sizes: Vec<String> =
        levels.iter().flatten().map(|level| format!("{} KiB/{}", level.bytes / 1024, level.assoc)).collect();
    let mut overrides: Vec<String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("GEMMKIT_"))
        .map(|(name, value)| format!(" {name}={}", value.display()))
        .collect();
    overrides.sort();
    format!("gemmkit 0.1.2 {} {}{}", wide(), sizes.join(" "), overrides.concat())
}

/// The instruction set that gemmkit picks.
#[cfg(target_arch = "x86_64")]
fn wide() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx512f") { "avx512f" } else { "fma" }
}

/// The instruction set that gemmkit picks.
#[cfg(not(target_arch = "x86_64"))]
fn wide() -> &'static str {
    std::env::consts::ARCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_is_a_transpose() {
        let team = Team::new(2).expect("a pool");
        for (rows, cols) in [(1, 1), (3, 50), (40, 17), (65, 33)] {
            let from: Vec<f32> = (0..rows * cols).map(|i| i as f32).collect();
            let mut out = vec![0.0; rows * cols];
            transpose_all(&team, &mut out, &from, rows, cols);
            for r in 0..rows {
                for c in 0..cols {
                    assert_eq!(out[c * rows + r], from[r * cols + c]);
                }
            }
        }
    }

    #[test]
    fn products_read_strides_and_add() {
        let a: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let b: Vec<f32> = (0..20).map(|i| i as f32 * 0.5).collect();
        let mut out = vec![1.0; 6];
        // a is 2 x 4 with stride 5, b^T is 4 x 3 read from 3 x 4 with stride 6.
        let (av, bv) = (View::new(&a, 2, 4, 5), View::new(&b, 3, 4, 6).transposed());
        multiply(&mut Tile::whole(&mut out, 2, 3), 2.0, av, bv, true);
        for i in 0..2 {
            for j in 0..3 {
                let want: f32 = (0..4).map(|k| a[i * 5 + k] * b[j * 6 + k]).sum();
                assert_eq!(out[i * 3 + j], 1.0 + 2.0 * want);
            }
        }
    }
}
