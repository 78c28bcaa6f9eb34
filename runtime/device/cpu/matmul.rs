//! matmul: products in pieces of rows, each with its epilogue while the piece is in the cache.

use pleach_shaders::matmul::Params;
use pleach_shaders::spec::{Args, Call};

use super::elementwise::{activate, activate_in_place};
use super::math::simd;
use super::memory::{Need, Room};
use super::product::{View, multiply, transpose_all};
use super::share::{Shared, Team, Tile};
use super::sums::dot;

/// Up to this many rows (decoding), dot products with the rows of `w` beat a transposed copy of it.
const FEW: usize = 16;
/// Columns of a piece where rows are few.
const COLUMNS: usize = 64;

/// A transposed copy of `w`.
pub(super) fn forward_need(call: &Call) -> Need {
    let p: Params = call.params();
    let copy = if p.n as usize <= FEW { 0 } else { p.m as usize * p.k as usize };
    Need { shared: copy, lane: 0 }
}

/// Rows of a piece: at least 16 pieces where that leaves 16 rows to each, at most 64 rows.
pub(super) fn piece_rows(n: usize) -> usize {
    n.div_ceil(16).next_multiple_of(16).min(64)
}

/// An extent cut evenly into parts of about `target`, each a multiple of 16 except the last.
pub(super) fn even(len: usize, target: usize) -> usize {
    len.div_ceil(len.div_ceil(target)).next_multiple_of(16)
}

/// matmul.forward.
pub(super) fn forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let (n, k, m) = (p.n as usize, p.k as usize, p.m as usize);
    let [x, w, bias, residual] = *args.reads else { panic!("matmul.forward reads four tensors") };
    let ends = Ends { p, m, bias, residual };
    let (y, z): (&mut [f32], &mut [f32]) = match args.writes {
        [y] => (y, &mut []),
        [y, z] => (y, z),
        _ => panic!("matmul.forward writes one or two tensors"),
    };
    let keep = !z.is_empty();
    if n <= FEW {
        return few(&ends, [n, k], [x, w], y, z, room);
    }
    transpose_all(room.team, room.shared, w, m, k);
    let right = View::new(room.shared, k, m, m);
    let wide = if keep { m } else { 0 };
    room.team.rows(n, piece_rows(n), [(y, m), (z, wide)], |rows, [y, z]| {
        let left = View::new(&x[rows.start * k..], rows.len(), k, k);
        let product = if keep { &mut *z } else { &mut *y };
        multiply(&mut Tile::whole(product, rows.len(), m), p.scale, left, right, false);
        for (i, row) in rows.enumerate() {
            let z = if keep { &mut z[i * m..(i + 1) * m] } else { &mut [][..] };
            ends.finish(row, 0, &mut y[i * m..(i + 1) * m], z);
        }
    });
}

/// What happens to a product before it is written.
struct Ends<'a> {
    p: Params,
    m: usize,
    bias: &'a [f32],
    residual: &'a [f32],
}

impl Ends<'_> {
    /// Finishes columns from `col` of a row. The scaled product stands in `z`, or in `y` where `z` is not kept (empty).
    fn finish(&self, row: usize, col: usize, y: &mut [f32], z: &mut [f32]) {
        let keep = !z.is_empty();
        if self.p.bias == 1 {
            let bias = &self.bias[col..col + y.len()];
            let product = if keep { &mut *z } else { &mut *y };
            simd!({
                for (product, &bias) in product.iter_mut().zip(bias) {
                    *product += bias;
                }
            });
        }
        match (self.p.activation, keep) {
            (0, true) => y.copy_from_slice(z),
            (0, false) => {}
            (kind, true) => activate(kind, y, z),
            (kind, false) => activate_in_place(kind, y),
        }
        if self.p.residual == 1 {
            let residual = &self.residual[row * self.m + col..][..y.len()];
            simd!({
                for (y, &residual) in y.iter_mut().zip(residual) {
                    *y += residual;
                }
            });
        }
    }
}

/// matmul.forward for a few rows: pieces of columns, each row of `w` read once.
fn few(ends: &Ends<'_>, [n, k]: [usize; 2], [x, w]: [&[f32]; 2], y: &mut [f32], z: &mut [f32], room: &mut Room<'_>) {
    let (m, scale, keep) = (ends.m, ends.p.scale, !z.is_empty());
    let (y, z) = (Shared::new(y), Shared::new(z));
    room.team.each(m.div_ceil(COLUMNS), |piece| {
        let (first, wide) = (piece * COLUMNS, COLUMNS.min(m - piece * COLUMNS));
        // SAFETY: a piece owns its columns of all rows; pieces have different columns.
        let (mut y, mut z) = unsafe {
            let z = if keep { z.tile(first, n, wide, m) } else { z.tile(0, 0, 0, m) };
            (y.tile(first, n, wide, m), z)
        };
        for col in 0..wide {
            let w = &w[(first + col) * k..(first + col + 1) * k];
            for row in 0..n {
                let product = scale * dot(&x[row * k..(row + 1) * k], w);
                if keep {
                    z.row(row)[col] = product;
                } else {
                    y.row(row)[col] = product;
                }
            }
        }
        for row in 0..n {
            let z = if keep { z.row(row) } else { &mut [][..] };
            ends.finish(row, first, y.row(row), z);
        }
    });
}

/// matmul.dx.
pub(super) fn dx(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let (n, k, m) = (p.n as usize, p.k as usize, p.m as usize);
    let (dy, w) = (args.reads[0], args.reads[1]);
    let right = View::new(w, m, k, k);
    room.team.rows(n, piece_rows(n), [(&mut *args.writes[0], k)], |rows, [dx]| {
        let left = View::new(&dy[rows.start * m..], rows.len(), m, m);
        multiply(&mut Tile::whole(dx, rows.len(), k), p.scale, left, right, p.acc == 1);
    });
}

/// matmul.dw.
pub(super) fn dw(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let (n, k, m) = (p.n as usize, p.k as usize, p.m as usize);
    let (dy, x) = (View::new(args.reads[0], n, m, m), args.reads[1]);
    transposed_product(args.writes[0], [m, k], dy, x, p.scale, p.acc == 1, room.team);
}

/// out (m, k) = (or +=) scale dy^T x for dy (n, m) and a dense x (n, k), in tiles of rows and columns.
pub(super) fn transposed_product(
    out: &mut [f32],
    [m, k]: [usize; 2],
    dy: View<'_>,
    x: &[f32],
    scale: f32,
    add: bool,
    team: &Team,
) {
    let n = dy.rows();
    let (height, width) = (even(m, if m >= 512 { 128 } else { 64 }), even(k, if k >= 256 { 256 } else { 64 }));
    let across = k.div_ceil(width);
    let out = Shared::new(out);
    team.each(m.div_ceil(height) * across, |piece| {
        let (row, col) = (piece / across * height, piece % across * width);
        let (high, wide) = (height.min(m - row), width.min(k - col));
        // SAFETY: tiles of a grid, each given to one piece.
        let mut tile = unsafe { out.tile(row * k + col, high, wide, k) };
        multiply(&mut tile, scale, dy.columns(row, high).transposed(), View::new(&x[col..], n, wide, k), add);
    });
}
