//! Ops without sums: activation, add, and the activations that matmul's epilogue shares.

use pleach_shaders::spec::{Args, Call};
use pleach_shaders::{activation, add};

use super::math::{erf, exp, sigmoid, simd};
use super::memory::{Need, Room};

/// Elements of a piece.
const PIECE: usize = 16_384;
/// sqrt(2 / pi).
const ROOT: f32 = 0.797_884_6;

/// The working memory of ops that need none.
pub(super) fn no_need(_: &Call) -> Need {
    Need::default()
}

/// Sends `value` to a slot: added where `add`, else written.
#[inline(always)]
pub(super) fn store(slot: &mut f32, value: f32, add: bool) {
    let before = if add { *slot } else { 0.0 };
    *slot = before + value;
}

/// See `activation`.
#[inline(always)]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    // (1 + tanh u) / 2 = sigmoid(2 u)
    x * sigmoid(2.0 * ROOT * x * (0.044715 * x).mul_add(x, 1.0))
}

/// See `activation`.
#[inline(always)]
pub(super) fn gelu_tanh_slope(x: f32) -> f32 {
    let s = sigmoid(2.0 * ROOT * x * (0.044715 * x).mul_add(x, 1.0));
    let inner = 2.0 * ROOT * (0.134_145 * x).mul_add(x, 1.0);
    (x * s * (1.0 - s)).mul_add(inner, s)
}

/// See `activation`.
#[inline(always)]
pub(super) fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// See `activation`.
#[inline(always)]
pub(super) fn gelu_erf_slope(x: f32) -> f32 {
    let density = 0.5 * ROOT * exp(-0.5 * x * x);
    x.mul_add(density, 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2)))
}

/// See `activation`.
#[inline(always)]
pub(super) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// See `activation`.
#[inline(always)]
pub(super) fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    (x * s).mul_add(1.0 - s, s)
}

/// See `activation`.
#[inline(always)]
pub(super) fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// See `activation`.
#[inline(always)]
pub(super) fn relu_slope(x: f32) -> f32 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

/// See `activation`.
#[inline(always)]
pub(super) fn relu_squared(x: f32) -> f32 {
    relu(x) * relu(x)
}

/// See `activation`.
#[inline(always)]
pub(super) fn relu_squared_slope(x: f32) -> f32 {
    2.0 * relu(x)
}

/// Picks the functions of an activation's code once, outside of the loops: `$body` sees them as `$act` and `$slope`.
macro_rules! with_kind {
    ($kind:expr, |$act:ident, $slope:ident| $body:expr) => {
        match $kind {
            1 => with_kind!(@ gelu_tanh, gelu_tanh_slope, $act, $slope, $body),
            2 => with_kind!(@ gelu_erf, gelu_erf_slope, $act, $slope, $body),
            3 => with_kind!(@ silu, silu_slope, $act, $slope, $body),
            4 => with_kind!(@ relu, relu_slope, $act, $slope, $body),
            5 => with_kind!(@ relu_squared, relu_squared_slope, $act, $slope, $body),
            kind => panic!("activation {kind} is unknown"),
        }
    };
    (@ $f:ident, $g:ident, $act:ident, $slope:ident, $body:expr) => {{
        #[allow(unused_variables)]
        let ($act, $slope) = (#[inline(always)] |x: f32| $f(x), #[inline(always)] |x: f32| $g(x));
        simd!({ $body })
    }};
}

pub(super) use with_kind;

/// y = act(z), for a code from 1 on.
pub(super) fn activate(kind: u32, y: &mut [f32], z: &[f32]) {
    with_kind!(kind, |act, slope| {
        for (y, &z) in y.iter_mut().zip(z) {
            *y = act(z);
        }
    });
}

/// z = act(z) in place, for a code from 1 on.
pub(super) fn activate_in_place(kind: u32, z: &mut [f32]) {
    with_kind!(kind, |act, slope| {
        for z in z {
            *z = act(*z);
        }
    });
}

/// activation.forward.
pub(super) fn activation_forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: activation::Params = args.params();
    let z = args.reads[0];
    room.team.rows(p.len as usize, PIECE, [(&mut *args.writes[0], 1)], |range, [y]| activate(p.kind, y, &z[range]));
}

/// activation.backward.
pub(super) fn activation_backward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: activation::Params = args.params();
    let (dy, z) = (args.reads[0], args.reads[1]);
    room.team.rows(p.len as usize, PIECE, [(&mut *args.writes[0], 1)], |range, [dz]| {
        let (dy, z) = (&dy[range.clone()], &z[range]);
        with_kind!(p.kind, |act, slope| {
            for ((dz, &dy), &z) in dz.iter_mut().zip(dy).zip(z) {
                *dz = dy * slope(z);
            }
        });
    });
}

/// Rows of a piece of about [`PIECE`] elements.
pub(super) fn rows_of(width: usize) -> usize {
    (PIECE / width).max(1)
}

/// add.forward.
pub(super) fn add_forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: add::Params = args.params();
    let (a, b) = (args.reads[0], args.reads[1]);
    room.team.rows(p.len as usize, PIECE, [(&mut *args.writes[0], 1)], |range, [y]| {
        let (a, b) = (&a[range.clone()], &b[range]);
        simd!({
            for ((y, &a), &b) in y.iter_mut().zip(a).zip(b) {
                *y = p.alpha.mul_add(a, p.beta * b);
            }
        });
    });
}

/// add.accumulate.
pub(super) fn add_accumulate(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: add::Params = args.params();
    let a = args.reads[0];
    room.team.rows(p.len as usize, PIECE, [(&mut *args.writes[0], 1)], |range, [y]| {
        let a = &a[range];
        simd!({
            if p.beta == 0.0 {
                for (y, &a) in y.iter_mut().zip(a) {
                    *y = p.alpha * a;
                }
            } else {
                for (y, &a) in y.iter_mut().zip(a) {
                    *y = p.alpha.mul_add(a, p.beta * *y);
                }
            }
        });
    });
}
