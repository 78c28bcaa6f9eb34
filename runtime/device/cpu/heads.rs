//! head_norm and rope: the ops on single heads of a row of queries, keys and values.

use pleach_shaders::spec::{Args, Call, words};
use pleach_shaders::{head_norm, rope, sink};

use super::elementwise::{rows_of, store};
use super::math::simd;
use super::memory::{Need, Room};
use super::norms::{combine, partials, rows_backward};
use super::sums::{dot, triples};

/// head_norm.forward.
pub(super) fn norm_forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: head_norm::Params = args.params();
    let (h, g, d) = (p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
    let width = (h + 2 * g) * d;
    let (qkv, gains) = (args.reads[0], args.reads[1]);
    let [y, rstd] = args.writes else { panic!("head_norm.forward writes two tensors") };
    room.team.rows(p.n as usize, rows_of(width), [(y, width), (rstd, h + g)], |range, [y, rstd]| {
        simd!({
            let rows = y.chunks_exact_mut(width).zip(rstd.chunks_exact_mut(h + g));
            for (row, (y, rstd)) in range.zip(rows) {
                let x = &qkv[row * width..(row + 1) * width];
                y[(h + g) * d..].copy_from_slice(&x[(h + g) * d..]);
                for slot in 0..h + g {
                    let (x, y) = (&x[slot * d..(slot + 1) * d], &mut y[slot * d..(slot + 1) * d]);
                    let gain = if slot < h { &gains[..d] } else { &gains[d..2 * d] };
                    let r = 1.0 / (dot(x, x) / d as f32 + p.eps).sqrt();
                    for i in 0..d {
                        y[i] = x[i] * r * gain[i];
                    }
                    rstd[slot] = r;
                }
            }
        });
    });
}

/// Working memory of head_norm.backward.
pub(super) fn norm_need(call: &Call) -> Need {
    let p: head_norm::Params = call.params();
    Need { shared: partials(p.n as usize, p.head_dim as usize, 2), lane: 0 }
}

/// head_norm.backward.
pub(super) fn norm_backward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: head_norm::Params = args.params();
    let (n, h, g, d) = (p.n as usize, p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
    let width = (h + 2 * g) * d;
    let [dy, qkv, gains, rstd] = *args.reads else { panic!("head_norm.backward reads four tensors") };
    let [dx, dgains] = args.writes else { panic!("head_norm.backward writes two tensors") };
    let (wide, add) = (if p.dx == sink::ABSENT { 0 } else { width }, p.dx == sink::ADD);
    room.team.rows_with(n, rows_backward(n), [(dx, wide)], (&mut *room.shared, 2 * d), |rows, [dx], sums| {
        simd!({
            sums.fill(0.0);
            for (i, row) in rows.enumerate() {
                for slot in 0..h + g {
                    let at = row * width + slot * d;
                    let (dy, x, r) = (&dy[at..at + d], &qkv[at..at + d], rstd[row * (h + g) + slot]);
                    let kind = if slot < h { 0 } else { d };
                    let (gain, sums) = (&gains[kind..kind + d], &mut sums[kind..kind + d]);
                    for k in 0..d {
                        sums[k] = (dy[k] * x[k]).mul_add(r, sums[k]);
                    }
                    if wide > 0 {
                        let slope = -triples(dy, gain, x, 0.0) / d as f32 * r * r;
                        let dx = &mut dx[i * width + slot * d..][..d];
                        for k in 0..d {
                            store(&mut dx[k], r * slope.mul_add(x[k], dy[k] * gain[k]), add);
                        }
                    }
                }
                if wide > 0 {
                    let values = (h + g) * d..width;
                    let dx = &mut dx[i * width..(i + 1) * width][values.clone()];
                    for (slot, &dy) in dx.iter_mut().zip(&dy[row * width..(row + 1) * width][values]) {
                        store(slot, dy, add);
                    }
                }
            }
        });
    });
    combine(dgains, &room.shared[..partials(n, d, 2)], 2 * d, 0, p.dgains);
}

/// rope.forward.
pub(super) fn rope_forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    turn(args, room, 1.0);
}

/// rope.backward.
pub(super) fn rope_backward(args: &mut Args<'_>, room: &mut Room<'_>) {
    turn(args, room, -1.0);
}

fn turn(args: &mut Args<'_>, room: &mut Room<'_>, sign: f32) {
    let p: rope::Params = args.params();
    let (d, half, slots) = (p.head_dim as usize, p.head_dim as usize / 2, p.slots as usize);
    let (width, rotated) = (d * slots, p.rotated as usize * d);
    let (x, positions, table) = (args.reads[0], words(args.reads[1]), args.reads[2]);
    let add = p.sink == sink::ADD;
    room.team.rows(p.n as usize, rows_of(width), [(&mut *args.writes[0], width)], |range, [y]| {
        simd!({
            for (row, y) in range.zip(y.chunks_exact_mut(width)) {
                assert!(positions[row] < p.positions, "position {} of a table of {}", positions[row], p.positions);
                let x = &x[row * width..(row + 1) * width];
                let turns = &table[positions[row] as usize * d..][..d];
                for at in (0..rotated).step_by(d) {
                    let (xa, xb) = x[at..at + d].split_at(half);
                    let (ya, yb) = y[at..at + d].split_at_mut(half);
                    for i in 0..half {
                        let (cos, sin) = (turns[2 * i], turns[2 * i + 1] * sign);
                        store(&mut ya[i], xa[i].mul_add(cos, -(xb[i] * sin)), add);
                        store(&mut yb[i], xb[i].mul_add(cos, xa[i] * sin), add);
                    }
                }
                for i in rotated..width {
                    store(&mut y[i], x[i], add);
                }
            }
        });
    });
}
