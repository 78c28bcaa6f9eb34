//! Elementary functions as straight-line f32 code that vectorises inside [`simd`] bodies.
//!
//! Only fused multiply-adds, divisions and selects: every instruction set gives the same bits. The polynomials are
//! Chebyshev interpolations computed for this file; the errors named are the worst over dense sweeps against f64.

/// What makes the closure of [`simd`] callable only once: its body is then inlined where the instruction set is switched
/// on. A closure that may be called again goes through a shim that the compiler may leave out of line, without fused
/// multiply-adds: measured sixteen times slower.
pub(super) struct Once;

/// Runs a block compiled for the best instruction set of this machine (AVX2 with FMA, NEON, or the baseline).
macro_rules! simd {
    ($body:block) => {{
        let once = $crate::device::cpu::math::Once;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let _called = { once };
                $body
            },
        )
    }};
}
pub(super) use simd;

/// e^x, relative error below 2e-7; 0 below -87.3 and 3e38 above 88.3 (no infinity arises from finite input).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = n.mul_add(-0.693_145_75, clamped);
    let r = n.mul_add(-1.428_606_8e-6, r);
    let p = 0.001_392_625_1_f32;
    let p = p.mul_add(r, 0.008_363_233);
    let p = p.mul_add(r, 0.041_666_554);
    let p = p.mul_add(r, 0.166_665_77);
    let p = p.mul_add(r, 0.5);
    let e = (r * r).mul_add(p, r) + 1.0;
    let scaled = f32::from_bits(e.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < -87.3 { 0.0 } else { scaled }
}

/// 1 / (1 + e^-x), relative error below 3e-7.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh x, relative error below 3e-7.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let p = -0.006_096_714_f32;
    let p = p.mul_add(z, 0.020_997_18);
    let p = p.mul_add(z, -0.053_850_91);
    let p = p.mul_add(z, 0.133_327_7);
    let p = p.mul_add(z, -0.333_333_3);
    let small = (z * p).mul_add(x, x);
    let large = 1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.625 { small } else { large.copysign(x) }
}

/// The error function, absolute error below 2e-7.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = 7.875_875e-5_f32;
    let p = p.mul_add(z, -8.016_864e-4);
    let p = p.mul_add(z, 0.005_189_087_4);
    let p = p.mul_add(z, -0.026_854_212);
    let p = p.mul_add(z, 0.112_835_95);
    let p = p.mul_add(z, -0.376_126_27);
    let p = p.mul_add(z, std::f32::consts::FRAC_2_SQRT_PI);
    let small = p * x;
    let t = 1.0 / a.mul_add(0.35, 1.0);
    let q = -0.104_873_1_f32;
    let q = q.mul_add(t, 0.267_038_27);
    let q = q.mul_add(t, -0.104_126_24);
    let q = q.mul_add(t, 0.227_138_52);
    let q = q.mul_add(t, 0.128_628_09);
    let q = q.mul_add(t, 0.191_881_13);
    let q = q.mul_add(t, 0.196_733_22);
    let q = q.mul_add(t, 0.197_501_98);
    let large = 1.0 - exp(-z) * t * q;
    if a < 1.0 { small } else { large.copysign(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(from: f64, to: f64, mut check: impl FnMut(f32)) {
        for i in 0..=200_000 {
            check((from + (to - from) * f64::from(i) / 200_000.0) as f32);
        }
    }

    #[test]
    fn exp_tanh_sigmoid_and_erf_keep_their_promises() {
        sweep(-87.0, 88.0, |x| {
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 2e-7, "exp {x}: {} {want}", exp(x));
        });
        sweep(-12.0, 12.0, |x| {
            let want = f64::from(x).tanh();
            let error = (f64::from(tanh(x)) - want).abs();
            assert!(error <= 3e-7 * want.abs(), "tanh {x}: {} {want}", tanh(x));
            let want = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) / want - 1.0).abs() < 3e-7, "sigmoid {x}");
        });
        assert_eq!(exp(-100.0), 0.0);
        assert!(exp(100.0).is_finite());
        assert_eq!(tanh(40.0), 1.0);
    }

    #[test]
    fn erf_agrees_with_its_integral() {
        // Simpson's rule on 2/sqrt(pi) e^(-t^2), far finer than f32.
        for i in -60..=60 {
            let x = f64::from(i) / 12.0;
            let steps = 2000;
            let h = x / f64::from(steps);
            let mut area = 1.0 + (-x * x).exp();
            for s in 1..steps {
                let t = h * f64::from(s);
                area += (if s % 2 == 1 { 4.0 } else { 2.0 }) * (-t * t).exp();
            }
            let want = area * h / 3.0 * 2.0 / std::f64::consts::PI.sqrt();
            assert!((f64::from(erf(x as f32)) - want).abs() < 2e-7, "erf {x}: {} {want}", erf(x as f32));
        }
    }
}
