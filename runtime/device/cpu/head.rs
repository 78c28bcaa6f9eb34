//! head: logits of a chunk of rows, their softmax and its gradient while they are in the cache, and both products.

use pleach_shaders::head::Params;
use pleach_shaders::sink;
use pleach_shaders::spec::{Args, Call, words};

use super::math::{exp, simd, tanh};
use super::matmul::{piece_rows, transposed_product};
use super::memory::{Need, Room};
use super::product::{View, multiply, transpose_all};
use super::share::{Shared, Tile};
use super::sums::{dot, max, sum};

/// Logits of a chunk, in words: 16 MiB, about what a shared cache holds.
const CHUNK: usize = 1 << 22;
/// Least rows of a chunk: fewer would let the additions to dw cost more than its product.
const ROWS: usize = 128;
/// A target that is not to be predicted.
const IGNORED: u32 = u32::MAX;

/// Rows of a chunk. It is the device's own choice: `Params.chunk` is for devices with less memory.
fn chunk_rows(n: usize, v: usize) -> usize {
    (CHUNK / v / 64 * 64).max(ROWS).min(n)
}

/// A transposed copy of `w`, and a piece of logits for each thread.
pub(super) fn forward_need(call: &Call) -> Need {
    let p: Params = call.params();
    let (n, c, v) = (p.n as usize, p.c as usize, p.v as usize);
    Need { shared: c * v, lane: piece_rows(n) * v }
}

/// A transposed copy of `w`, and a chunk of logits.
pub(super) fn train_need(call: &Call) -> Need {
    let p: Params = call.params();
    let (n, c, v) = (p.n as usize, p.c as usize, p.v as usize);
    Need { shared: c * v + chunk_rows(n, v) * v, lane: 0 }
}

/// head.forward.
pub(super) fn forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let (n, c, v) = (p.n as usize, p.c as usize, p.v as usize);
    let [x, w, targets] = *args.reads else { panic!("head.forward reads three tensors") };
    let targets = words(targets);
    transpose_all(room.team, room.shared, w, v, c);
    let right = View::new(room.shared, c, v, v);
    let chunk = piece_rows(n);
    let numbers = Shared::new(args.writes[0]);
    room.team.each_with(room.lanes, (chunk * v).next_multiple_of(16), n.div_ceil(chunk), |piece, lane| {
        let rows = piece * chunk..((piece + 1) * chunk).min(n);
        // SAFETY: pieces own consecutive ranges of rows.
        let numbers = unsafe { numbers.part(rows.start * 4..rows.end * 4) };
        let z = &mut lane[..rows.len() * v];
        let left = View::new(&x[rows.start * c..], rows.len(), c, c);
        multiply(&mut Tile::whole(z, rows.len(), v), p.scale, left, right, false);
        for ((z, numbers), row) in z.chunks_exact_mut(v).zip(numbers.chunks_exact_mut(4)).zip(rows) {
            learn(&p, z, targets[row], &[0.0; 4], numbers);
        }
    });
}

/// head.train.
pub(super) fn train(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: Params = args.params();
    let (n, c, v) = (p.n as usize, p.c as usize, p.v as usize);
    let [x, w, targets, slopes] = *args.reads else { panic!("head.train reads four tensors") };
    let targets = words(targets);
    let [numbers, dx, dw] = args.writes else { panic!("head.train writes three tensors") };
    let (copy, logits) = room.shared.split_at_mut(c * v);
    transpose_all(room.team, copy, w, v, c);
    let (right, w) = (View::new(copy, c, v, v), View::new(w, v, c, c));
    let chunk = chunk_rows(n, v);
    let wide = if p.dx == sink::ABSENT { 0 } else { c };
    for first in (0..n).step_by(chunk) {
        let count = chunk.min(n - first);
        let logits = &mut logits[..count * v];
        let (numbers, dx) = (&mut numbers[first * 4..], &mut dx[first * wide..]);
        let outs = [(&mut *logits, v), (numbers, 4), (dx, wide)];
        room.team.rows(count, piece_rows(count), outs, |rows, [z, numbers, dx]| {
            let height = rows.len();
            let left = View::new(&x[(first + rows.start) * c..], height, c, c);
            multiply(&mut Tile::whole(z, height, v), p.scale, left, right, false);
            for ((z, numbers), row) in z.chunks_exact_mut(v).zip(numbers.chunks_exact_mut(4)).zip(rows) {
                let row = first + row;
                learn(&p, z, targets[row], &slopes[row * 4..row * 4 + 4], numbers);
            }
            if wide > 0 {
                let dz = View::new(z, height, v, v);
                multiply(&mut Tile::whole(dx, height, c), p.scale, dz, w, p.dx == sink::ADD);
            }
        });
        if p.dw != sink::ABSENT {
            let dz = View::new(logits, count, v, v);
            let add = p.dw == sink::ADD || first > 0;
            transposed_product(dw, [v, c], dz, &x[first * c..], p.scale, add, room.team);
        }
    }
}

/// Turns a row of scaled products into the numbers of the head, and the row into the gradient of the products for the
/// given derivatives {d/dlogp, d/dlse, d/dentropy, 0}.
fn learn(p: &Params, z: &mut [f32], target: u32, slopes: &[f32], numbers: &mut [f32]) {
    if target == IGNORED {
        numbers.fill(0.0);
        z.fill(0.0);
        return;
    }
    assert!(target < p.v, "target {target} of a vocabulary of {}", p.v);
    let target = target as usize;
    let cool = 1.0 / p.temperature;
    simd!({
        if p.softcap > 0.0 {
            for z in z.iter_mut() {
                *z = p.softcap * tanh(*z / p.softcap) * cool;
            }
        } else if cool != 1.0 {
            for z in z.iter_mut() {
                *z *= cool;
            }
        }
        let (top, aim) = (max(z), z[target]);
        let (total, weighted) = moments(z, top);
        let (lse, entropy) = (top + total.ln(), total.ln() - weighted / total);
        let hit = aim >= top;
        numbers.copy_from_slice(&[aim - lse, lse, entropy, if hit { 1.0 } else { 0.0 }]);
        let [dlogp, dlse, dentropy, _] = *slopes else { panic!("four derivatives a row") };
        if dlogp == 0.0 && dlse == 0.0 && dentropy == 0.0 {
            z.fill(0.0);
        } else if dentropy == 0.0 && p.softcap <= 0.0 {
            let factor = (dlse - dlogp) / total * cool;
            for z in z.iter_mut() {
                *z = factor * exp(*z - top);
            }
            z[target] += dlogp * cool;
        } else {
            let bend = if p.softcap > 0.0 { p.temperature / p.softcap } else { 0.0 };
            for (j, z) in z.iter_mut().enumerate() {
                let (weight, bent) = (exp(*z - top) / total, *z * bend);
                let chosen = if j == target { dlogp } else { 0.0 };
                let slope = weight * (dlse - dlogp - dentropy * (*z - lse + entropy)) + chosen;
                *z = slope * cool * (1.0 - bent * bent);
            }
        }
    });
}

/// (sum of e, sum of e (z - top)) for e = exp(z - top), block by block.
fn moments(z: &[f32], top: f32) -> (f32, f32) {
    const BLOCK: usize = 512;
    let (mut weights, mut below) = ([0.0; BLOCK], [0.0; BLOCK]);
    let (mut total, mut weighted) = (0.0, 0.0);
    for z in z.chunks(BLOCK) {
        let (weights, below) = (&mut weights[..z.len()], &mut below[..z.len()]);
        simd!({
            for ((weight, below), &z) in weights.iter_mut().zip(&mut *below).zip(z) {
                *below = z - top;
                *weight = exp(*below);
            }
        });
        total += sum(weights);
        weighted += dot(weights, below);
    }
    (total, weighted)
}
