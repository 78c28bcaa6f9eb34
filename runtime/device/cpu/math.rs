//! Elementary functions as straight-line f32 code that vectorises inside [`simd`](super::simd!) bodies.
//!
//! Only fused multiply-adds, divisions and selects: every instruction set gives the same bits. The polynomials are
//! Chebyshev interpolations computed for this file; the errors named are the worst over dense sweeps against f64.

/// Runs a block compiled for the best instruction set of this machine (AVX2 with FMA, NEON, or the baseline).
macro_rules! simd {
    ($body:block) => {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || $body,
        )
    };
}
pub(super) use simd;

/// Lanes of the explicit accumulators of all reductions: the order of a sum is lane by lane, whatever the machine.
pub(super) const LANES: usize = 16;

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
    let p = p.mul_add(z, 1.128_379_2);
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

/// Sum in a fixed order: sixteen lanes, then the lanes pairwise.
#[inline(always)]
pub(super) fn sum(x: &[f32]) -> f32 {
    fold(x, x, |a, _| a)
}

/// Dot product in the same fixed order.
#[inline(always)]
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    let n = x.len().min(y.len());
    let (x, y) = (&x[..n], &y[..n]);
    let mut lanes = [0.0_f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (xr, yr) = (xs.remainder(), ys.remainder());
    for (a, b) in xs.zip(ys) {
        for l in 0..LANES {
            lanes[l] = a[l].mul_add(b[l], lanes[l]);
        }
    }
    for (l, (a, b)) in xr.iter().zip(yr).enumerate() {
        lanes[l] = a.mul_add(*b, lanes[l]);
    }
    gather(lanes)
}

/// Sum of `f(x_i, y_i)` in the same fixed order.
#[inline(always)]
pub(super) fn fold(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let n = x.len().min(y.len());
    let (x, y) = (&x[..n], &y[..n]);
    let mut lanes = [0.0_f32; LANES];
    let (xs, ys) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let (xr, yr) = (xs.remainder(), ys.remainder());
    for (a, b) in xs.zip(ys) {
        for l in 0..LANES {
            lanes[l] += f(a[l], b[l]);
        }
    }
    for (l, (a, b)) in xr.iter().zip(yr).enumerate() {
        lanes[l] += f(*a, *b);
    }
    gather(lanes)
}

/// The largest element; -infinity of nothing. Not-a-number elements are passed over.
#[inline(always)]
pub(super) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let xs = x.chunks_exact(LANES);
    let rest = xs.remainder();
    for a in xs {
        for l in 0..LANES {
            lanes[l] = if a[l] > lanes[l] { a[l] } else { lanes[l] };
        }
    }
    for (l, a) in rest.iter().enumerate() {
        lanes[l] = if *a > lanes[l] { *a } else { lanes[l] };
    }
    lanes.iter().fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m })
}

/// The lanes of an accumulator, pairwise.
#[inline(always)]
fn gather(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for l in 0..half {
            lanes[l] += lanes[l + half];
        }
        half /= 2;
    }
    lanes[0]
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

    #[test]
    fn reductions_take_every_element_once() {
        for n in [0, 1, 15, 16, 17, 33, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let total: f32 = x.iter().sum();
            assert_eq!(sum(&x), total);
            assert_eq!(dot(&x, &vec![1.0; n]), total);
            assert_eq!(max(&x), if n == 0 { f32::NEG_INFINITY } else { n as f32 - 1.0 });
        }
    }
}
