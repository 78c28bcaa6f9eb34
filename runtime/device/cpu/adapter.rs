//! matmul.columns and dora: what stands beside the products of a frozen model.

use pleach_shaders::matmul::columns::Params;
use pleach_shaders::spec::{Args, Call};
use pleach_shaders::{dora, sink};

use super::elementwise::rows_of;
use super::math::simd;
use super::matmul::{piece_rows, transposed_product};
use super::memory::{Need, Room};
use super::norms::{combine, partials, rows_backward};
use super::product::{View, multiply};
use super::share::{Shared, Tile};
use super::sums::dot;

/// matmul.columns.
pub(super) fn columns(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let [n, k, m, width, first] = [p.n, p.k, p.m, p.width, p.first].map(|extent| extent as usize);
    let (x, w) = (args.reads[0], View::new(args.reads[1], m, k, k).transposed());
    room.team.rows(n, piece_rows(n), [(&mut *args.writes[0], width)], |rows, [y]| {
        let left = View::new(&x[rows.start * k..], rows.len(), k, k);
        let mut whole = Tile::whole(y, rows.len(), width);
        multiply(&mut whole.part(0..rows.len(), first, m), p.scale, left, w, true);
    });
}

/// matmul.columns_dx.
pub(super) fn columns_dx(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let [n, k, m, width, first] = [p.n, p.k, p.m, p.width, p.first].map(|extent| extent as usize);
    let (dy, w) = (args.reads[0], View::new(args.reads[1], m, k, k));
    room.team.rows(n, piece_rows(n), [(&mut *args.writes[0], k)], |rows, [dx]| {
        let left = View::new(&dy[rows.start * width + first..], rows.len(), m, width);
        multiply(&mut Tile::whole(dx, rows.len(), k), p.scale, left, w, p.acc == 1);
    });
}

/// matmul.columns_dw.
pub(super) fn columns_dw(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let [n, k, m, width, first] = [p.n, p.k, p.m, p.width, p.first].map(|extent| extent as usize);
    let (dy, x) = (View::new(&args.reads[0][first..], n, m, width), args.reads[1]);
    transposed_product(args.writes[0], [m, k], dy, x, p.scale, p.acc == 1, room.team);
}

/// dora.forward.
pub(super) fn dora_forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: dora::Params = args.params();
    let (n, m) = (p.n as usize, p.m as usize);
    let (t, factors, bias) = (args.reads[0], &args.reads[1][..m], args.reads[2]);
    room.team.rows(n, rows_of(m), [(&mut *args.writes[0], m)], |rows, [y]| {
        simd!({
            for (t, y) in t[rows.start * m..].chunks_exact(m).zip(y.chunks_exact_mut(m)) {
                for i in 0..m {
                    let bias = if p.bias == 1 { bias[i] } else { 0.0 };
                    let before = if p.acc == 1 { y[i] } else { 0.0 };
                    y[i] = t[i].mul_add(factors[i], bias) + before;
                }
            }
        });
    });
}

/// Working memory of dora.magnitude.
pub(super) fn magnitude_need(call: &Call) -> Need {
    let p: dora::MagnitudeParams = call.params();
    Need { shared: partials(p.n as usize, call.writes[0].shape.len(), 1), lane: 0 }
}

/// dora.magnitude.
pub(super) fn magnitude(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: dora::MagnitudeParams = args.params();
    let (n, m, first, cols) = (p.n as usize, p.m as usize, p.first as usize, args.writes[0].len());
    let (dy, t) = (args.reads[0], args.reads[1]);
    room.team.rows_with(n, rows_backward(n), [], (&mut *room.shared, cols), |rows, [], sums| {
        simd!({
            sums.fill(0.0);
            for row in rows {
                let (dy, t) = (&dy[row * m + first..][..cols], &t[row * m + first..][..cols]);
                for ((sum, &dy), &t) in sums.iter_mut().zip(dy).zip(t) {
                    *sum = dy.mul_add(t, *sum);
                }
            }
        });
    });
    let sums = &mut room.shared[..partials(n, cols, 1)];
    for piece in sums.chunks_exact_mut(cols) {
        for (sum, &norm) in piece.iter_mut().zip(&args.reads[2][first..]) {
            *sum = if norm > 0.0 { *sum / norm } else { 0.0 };
        }
    }
    combine(args.writes[0], sums, cols, 0, if p.acc == 1 { sink::ADD } else { sink::WRITE });
}

/// Rows of a piece of dora.scales.
const ROWS: usize = 16;

/// Working memory of dora.scales: a row of the adapted weight.
pub(super) fn scales_need(call: &Call) -> Need {
    let p: dora::ScalesParams = call.params();
    Need { shared: 0, lane: (p.k as usize).next_multiple_of(16) }
}

/// dora.scales.
pub(super) fn scales(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: dora::ScalesParams = args.params();
    let (k, rank, first) = (p.k as usize, p.rank as usize, p.first as usize);
    let [w, a, b, magnitude] = *args.reads else { panic!("dora.scales reads four tensors") };
    let [norms, factors] = args.writes else { panic!("dora.scales writes two tensors") };
    let rows = magnitude.len();
    let [norms, factors] = [norms, factors].map(|out| Shared::new(&mut out[first..first + rows]));
    room.team.each_with(room.lanes, k.next_multiple_of(16), rows.div_ceil(ROWS), |piece, lane| {
        let range = piece * ROWS..((piece + 1) * ROWS).min(rows);
        // SAFETY: every piece has its own rows.
        let (norms, factors) = unsafe { (norms.part(range.clone()), factors.part(range.clone())) };
        let sum = &mut lane[..k];
        for ((row, norm), factor) in range.zip(norms).zip(factors) {
            adapted(sum, &w[(first + row) * k..], a, &b[row * rank..(row + 1) * rank], p.scale);
            *norm = dot(sum, sum).sqrt();
            *factor = if magnitude[row] == *norm { 1.0 } else { magnitude[row] / *norm };
        }
    });
}

/// sum (k) = w + scale b a for a row of w, a (r, k), a row of b (r).
fn adapted(sum: &mut [f32], w: &[f32], a: &[f32], b: &[f32], scale: f32) {
    simd!({
        sum.fill(0.0);
        for (a, &b) in a.chunks_exact(sum.len()).zip(b) {
            for (sum, &a) in sum.iter_mut().zip(a) {
                *sum = b.mul_add(a, *sum);
            }
        }
        for (sum, &w) in sum.iter_mut().zip(w) {
            *sum = scale.mul_add(*sum, w);
        }
    });
}
