//! rms_norm and layer_norm. Gradients of gains and biases are summed per piece of rows, then over the pieces in order.

use pleach_shaders::spec::{Args, Call};
use pleach_shaders::{layer_norm, rms_norm, sink};

use super::elementwise::rows_of;
use super::math::simd;
use super::memory::{Need, Room};
use super::sums::{deviations, dot, sum, triples};

/// Rows of a piece of a backward pass: at most 64 pieces.
pub(super) fn rows_backward(n: usize) -> usize {
    n.div_ceil(64).max(16)
}

/// Words of the partial sums of `sums` vectors of `c` elements over `n` rows.
pub(super) fn partials(n: usize, c: usize, sums: usize) -> usize {
    n.div_ceil(rows_backward(n)) * c * sums
}

/// Adds up the pieces of partial sums, each `width` words, into `out` as its sink says; `from` is the first word used.
pub(super) fn combine(out: &mut [f32], partials: &[f32], width: usize, from: usize, how: u32) {
    if how == sink::ABSENT {
        return;
    }
    simd!({
        if how == sink::WRITE {
            out.fill(0.0);
        }
        for piece in partials.chunks_exact(width) {
            for (out, &part) in out.iter_mut().zip(&piece[from..]) {
                *out += part;
            }
        }
    });
}

/// rms_norm.forward.
pub(super) fn rms_forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: rms_norm::Params = args.params();
    let (n, c) = (p.n as usize, p.c as usize);
    let (x, gain) = (args.reads[0], &args.reads[1][..c]);
    let [y, rstd] = args.writes else { panic!("rms_norm.forward writes two tensors") };
    room.team.rows(n, rows_of(c), [(y, c), (rstd, 1)], |range, [y, rstd]| {
        simd!({
            let rows = x[range.start * c..].chunks_exact(c).zip(y.chunks_exact_mut(c));
            for ((x, y), rstd) in rows.zip(rstd) {
                let r = 1.0 / (dot(x, x) / c as f32 + p.eps).sqrt();
                for i in 0..c {
                    y[i] = x[i] * r * gain[i];
                }
                *rstd = r;
            }
        });
    });
}

/// Working memory of rms_norm.backward.
pub(super) fn rms_need(call: &Call) -> Need {
    let p: rms_norm::Params = call.params();
    Need { shared: partials(p.n as usize, p.c as usize, 1), lane: 0 }
}

/// rms_norm.backward.
pub(super) fn rms_backward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: rms_norm::Params = args.params();
    let (n, c) = (p.n as usize, p.c as usize);
    let [dy, x, gain, rstd] = *args.reads else { panic!("rms_norm.backward reads four tensors") };
    let gain = &gain[..c];
    let [dx, dgain] = args.writes else { panic!("rms_norm.backward writes two tensors") };
    let (wide, add) = (if p.dx == sink::ABSENT { 0 } else { c }, p.dx == sink::ADD);
    room.team.rows_with(n, rows_backward(n), [(dx, wide)], (&mut *room.shared, c), |rows, [dx], sums| {
        simd!({
            sums.fill(0.0);
            for (i, row) in rows.enumerate() {
                let (dy, x, r) = (&dy[row * c..(row + 1) * c], &x[row * c..(row + 1) * c], rstd[row]);
                for k in 0..c {
                    sums[k] = (dy[k] * x[k]).mul_add(r, sums[k]);
                }
                if wide > 0 {
                    let slope = -triples(dy, gain, x, 0.0) / c as f32 * r * r;
                    let dx = &mut dx[i * c..(i + 1) * c];
                    for k in 0..c {
                        let before = if add { dx[k] } else { 0.0 };
                        dx[k] = r.mul_add(slope.mul_add(x[k], dy[k] * gain[k]), before);
                    }
                }
            }
        });
    });
    combine(dgain, &room.shared[..partials(n, c, 1)], c, 0, p.dgain);
}

/// layer_norm.forward.
pub(super) fn layer_forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: layer_norm::Params = args.params();
    let (n, c) = (p.n as usize, p.c as usize);
    let (x, gain) = (args.reads[0], &args.reads[1][..c]);
    let bias = if p.bias == 1 { Some(&args.reads[2][..c]) } else { None };
    let [y, stats] = args.writes else { panic!("layer_norm.forward writes two tensors") };
    room.team.rows(n, rows_of(c), [(y, c), (stats, 2)], |range, [y, stats]| {
        simd!({
            let rows = x[range.start * c..].chunks_exact(c).zip(y.chunks_exact_mut(c));
            for ((x, y), stats) in rows.zip(stats.chunks_exact_mut(2)) {
                let mean = sum(x) / c as f32;
                let r = 1.0 / (deviations(x, mean) / c as f32 + p.eps).sqrt();
                for k in 0..c {
                    y[k] = (x[k] - mean) * r * gain[k];
                }
                if let Some(bias) = bias {
                    for k in 0..c {
                        y[k] += bias[k];
                    }
                }
                (stats[0], stats[1]) = (mean, r);
            }
        });
    });
}

/// Working memory of layer_norm.backward.
pub(super) fn layer_need(call: &Call) -> Need {
    let p: layer_norm::Params = call.params();
    Need { shared: partials(p.n as usize, p.c as usize, 2), lane: 0 }
}

/// layer_norm.backward.
pub(super) fn layer_backward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: layer_norm::Params = args.params();
    let (n, c) = (p.n as usize, p.c as usize);
    let [dy, x, gain, stats] = *args.reads else { panic!("layer_norm.backward reads four tensors") };
    let gain = &gain[..c];
    let [dx, dgain, dbias] = args.writes else { panic!("layer_norm.backward writes three tensors") };
    let (wide, add) = (if p.dx == sink::ABSENT { 0 } else { c }, p.dx == sink::ADD);
    room.team.rows_with(n, rows_backward(n), [(dx, wide)], (&mut *room.shared, 2 * c), |rows, [dx], sums| {
        simd!({
            sums.fill(0.0);
            let (gains, biases) = sums.split_at_mut(c);
            for (i, row) in rows.enumerate() {
                let (dy, x) = (&dy[row * c..(row + 1) * c], &x[row * c..(row + 1) * c]);
                let (mean, r) = (stats[2 * row], stats[2 * row + 1]);
                for k in 0..c {
                    gains[k] = (dy[k] * r).mul_add(x[k] - mean, gains[k]);
                    biases[k] += dy[k];
                }
                if wide > 0 {
                    // mean(g xhat) = r (mean(g x) - mean mean(g)), summed about the mean to keep its digits
                    let mean_g = dot(dy, gain) / c as f32;
                    let mean_gx = triples(dy, gain, x, mean) / c as f32 * r;
                    let dx = &mut dx[i * c..(i + 1) * c];
                    for k in 0..c {
                        let before = if add { dx[k] } else { 0.0 };
                        let xhat = (x[k] - mean) * r;
                        dx[k] = r.mul_add((-xhat).mul_add(mean_gx, dy[k].mul_add(gain[k], -mean_g)), before);
                    }
                }
            }
        });
    });
    let sums = &room.shared[..partials(n, c, 2)];
    combine(dgain, sums, 2 * c, 0, p.dgain);
    combine(dbias, sums, 2 * c, c, p.dbias);
}
