//! gate: y = act(gate) up, and its derivative.

use pleach_shaders::spec::Args;
use pleach_shaders::{gate, sink};

use super::elementwise::{
    gelu_erf, gelu_erf_slope, gelu_tanh, gelu_tanh_slope, relu, relu_slope, relu_squared, relu_squared_slope, rows_of,
    silu, silu_slope, store, with_kind,
};
use super::math::simd;
use super::memory::Room;

/// gate.forward.
pub(super) fn gate_forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: gate::Params = args.params();
    let (n, f) = (p.n as usize, p.f as usize);
    let gu = args.reads[0];
    room.team.rows(n, rows_of(f), [(&mut *args.writes[0], f)], |range, [y]| {
        with_kind!(p.kind, |act, slope| {
            for (y, gu) in y.chunks_exact_mut(f).zip(gu[range.start * 2 * f..].chunks_exact(2 * f)) {
                let (gate, up) = gu.split_at(f);
                for ((y, &g), &u) in y.iter_mut().zip(gate).zip(up) {
                    *y = act(g) * u;
                }
            }
        });
    });
}

/// gate.backward.
pub(super) fn gate_backward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: gate::Params = args.params();
    let (n, f) = (p.n as usize, p.f as usize);
    let (dy, gu, add) = (args.reads[0], args.reads[1], p.sink == sink::ADD);
    room.team.rows(n, rows_of(f), [(&mut *args.writes[0], 2 * f)], |range, [dgu]| {
        with_kind!(p.kind, |act, slope| {
            let sources = dy[range.start * f..].chunks_exact(f).zip(gu[range.start * 2 * f..].chunks_exact(2 * f));
            for (dgu, (dy, gu)) in dgu.chunks_exact_mut(2 * f).zip(sources) {
                let ((dgate, dup), (gate, up)) = (dgu.split_at_mut(f), gu.split_at(f));
                for i in 0..f {
                    store(&mut dgate[i], dy[i] * up[i] * slope(gate[i]), add);
                    store(&mut dup[i], dy[i] * act(gate[i]), add);
                }
            }
        });
    });
}
