//! adamw.apply and the sums that the optimizer asks for: norm_sq, reduce.sum.

use pleach_shaders::adamw;
use pleach_shaders::spec::Args;

use super::math::simd;
use super::memory::Room;

/// Elements of a piece.
const PIECE: usize = 16_384;

/// adamw.apply.
pub(super) fn adamw(args: &mut Args<'_>, room: &mut Room<'_>) {
    let group: adamw::Params = args.params();
    let (tick, g) = (args.tick, args.reads[0]);
    let rate = f64::from(tick.learning_rate) * f64::from(group.lr_scale);
    let keep = (1.0 - rate * f64::from(group.decay)) as f32;
    let rate = (rate / f64::from(tick.bias1)) as f32;
    let root = (1.0 / f64::from(tick.bias2).sqrt()) as f32;
    let (beta1, beta2, eps, clip) = (group.beta1, group.beta2, group.eps, tick.clip);
    let (rest1, rest2) = ((1.0 - f64::from(beta1)) as f32, (1.0 - f64::from(beta2)) as f32);
    let [p, m, v] = args.writes else { panic!("adamw.apply writes three tensors") };
    room.team.rows(group.len as usize, PIECE, [(p, 1), (m, 1), (v, 1)], |range, [p, m, v]| {
        let g = &g[range];
        simd!({
            for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                let g = g * clip;
                let first = beta1.mul_add(*m, rest1 * g);
                let second = beta2.mul_add(*v, rest2 * g * g);
                let step = first / second.sqrt().mul_add(root, eps);
                *p = (-rate).mul_add(step, *p * keep);
                (*m, *v) = (first, second);
            }
        });
    });
}
