//! reduce.columns, reduce.sum and norm_sq: partial sums over pieces that depend on the shape alone.

use pleach_shaders::spec::{Args, Call};
use pleach_shaders::{norm_sq, reduce, sink};

use super::math::simd;
use super::memory::{Need, Room};
use super::norms::{combine, partials, rows_backward};
use super::sums::{dot, sum};

/// Words summed at a time in single precision; their sums meet in double precision.
const BLOCK: usize = 4096;

/// Working memory of reduce.columns.
pub(super) fn columns_need(call: &Call) -> Need {
    let p: reduce::Params = call.params();
    Need { shared: partials(p.n as usize, p.m as usize, 1), lane: 0 }
}

/// reduce.columns.
pub(super) fn columns(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: reduce::Params = args.params();
    let (n, m, x) = (p.n as usize, p.m as usize, args.reads[0]);
    room.team.rows_with(n, rows_backward(n), [], (&mut *room.shared, m), |rows, [], sums| {
        simd!({
            sums.fill(0.0);
            for x in x[rows.start * m..rows.end * m].chunks_exact(m) {
                for (sum, &x) in sums.iter_mut().zip(x) {
                    *sum += x;
                }
            }
        });
    });
    let how = if p.acc == 1 { sink::ADD } else { sink::WRITE };
    combine(args.writes[0], &room.shared[..partials(n, m, 1)], m, 0, how);
}

/// Sum of f over blocks, in double precision from block to block.
fn blocks(x: &[f32], f: impl Fn(&[f32]) -> f32) -> f64 {
    x.chunks(BLOCK).map(|block| f64::from(f(block))).sum()
}

/// reduce.sum.
pub(super) fn total(args: &mut Args<'_>, _: &mut Room<'_>) {
    let total = blocks(args.reads[0], sum);
    args.writes[0].copy_from_slice(&[total as f32, 0.0, 0.0, 0.0]);
}

/// norm_sq.partial.
pub(super) fn squares(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: norm_sq::Params = args.params();
    let g = args.reads[0];
    let row = p.row as usize * norm_sq::PARTS;
    let parts = &mut args.writes[0][row..row + norm_sq::PARTS];
    // Small tensors are not worth waking threads.
    let chunk = if g.len() < 1 << 16 { norm_sq::PARTS } else { 4 };
    room.team.rows(norm_sq::PARTS, chunk, [(parts, 1)], |range, [parts]| {
        for (part, slot) in range.zip(parts) {
            let own = g.chunks(norm_sq::BLOCK).skip(part).step_by(norm_sq::PARTS);
            *slot = own.map(|block| blocks(block, |block| dot(block, block))).sum::<f64>() as f32;
        }
    });
}

/// norm_sq.total.
pub(super) fn squares_total(args: &mut Args<'_>, _: &mut Room<'_>) {
    let total: f64 = args.reads[0].iter().map(|&x| f64::from(x)).sum();
    args.writes[0].copy_from_slice(&[total as f32, 0.0, 0.0, 0.0]);
}
