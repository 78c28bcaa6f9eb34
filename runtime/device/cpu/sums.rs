//! Reductions in explicit vectors: the one place where the compiler is not trusted to find them.
//!
//! Four vector accumulators, then the rest one by one, then the vectors pairwise: the order of a sum is fixed for a
//! length and an instruction set (which is why `Facts::tiles` names the set).

use pulp::{Arch, Simd, WithSimd};

/// Vectors that accumulate side by side: enough to hide the latency of a fused multiply-add.
const WAYS: usize = 4;

/// A sum over three slices of one length (the same slice may stand for those that are not needed).
trait Terms: Copy {
    /// Adds a vector of terms to an accumulator.
    fn add<S: Simd>(self, simd: S, x: [S::f32s; 3], sum: S::f32s) -> S::f32s;
    /// Adds one term.
    fn add_one(self, x: [f32; 3], sum: f32) -> f32;
}

/// The sum of terms over slices.
struct Reduce<'a, T>(T, [&'a [f32]; 3]);

impl<T: Terms> WithSimd for Reduce<'_, T> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let Reduce(terms, slices) = self;
        let (xs, x_rest) = S::as_simd_f32s(slices[0]);
        let (ys, y_rest) = S::as_simd_f32s(slices[1]);
        let (zs, z_rest) = S::as_simd_f32s(slices[2]);
        let (ys, zs) = (&ys[..xs.len()], &zs[..xs.len()]);
        let mut sums = [simd.splat_f32s(0.0); WAYS];
        let whole = xs.len() / WAYS * WAYS;
        let mut at = 0;
        while at < whole {
            sums[0] = terms.add(simd, [xs[at], ys[at], zs[at]], sums[0]);
            sums[1] = terms.add(simd, [xs[at + 1], ys[at + 1], zs[at + 1]], sums[1]);
            sums[2] = terms.add(simd, [xs[at + 2], ys[at + 2], zs[at + 2]], sums[2]);
            sums[3] = terms.add(simd, [xs[at + 3], ys[at + 3], zs[at + 3]], sums[3]);
            at += WAYS;
        }
        while at < xs.len() {
            sums[0] = terms.add(simd, [xs[at], ys[at], zs[at]], sums[0]);
            at += 1;
        }
        let mut rest = 0.0;
        for i in 0..x_rest.len() {
            rest = terms.add_one([x_rest[i], y_rest[i], z_rest[i]], rest);
        }
        let (left, right) = (simd.add_f32s(sums[0], sums[1]), simd.add_f32s(sums[2], sums[3]));
        simd.reduce_sum_f32s(simd.add_f32s(left, right)) + rest
    }
}

/// Runs a reduction on the best instruction set.
#[inline(always)]
fn reduce<T: Terms>(terms: T, x: &[f32], y: &[f32], z: &[f32]) -> f32 {
    assert!(y.len() == x.len() && z.len() == x.len(), "slices of one length");
    Arch::new().dispatch(Reduce(terms, [x, y, z]))
}

#[derive(Clone, Copy)]
struct Plain;

impl Terms for Plain {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x, _, _]: [S::f32s; 3], sum: S::f32s) -> S::f32s {
        simd.add_f32s(sum, x)
    }
    #[inline(always)]
    fn add_one(self, [x, _, _]: [f32; 3], sum: f32) -> f32 {
        sum + x
    }
}

#[derive(Clone, Copy)]
struct Products;

impl Terms for Products {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x, y, _]: [S::f32s; 3], sum: S::f32s) -> S::f32s {
        simd.mul_add_f32s(x, y, sum)
    }
    #[inline(always)]
    fn add_one(self, [x, y, _]: [f32; 3], sum: f32) -> f32 {
        x.mul_add(y, sum)
    }
}

/// (x - .0)^2
#[derive(Clone, Copy)]
struct Deviations(f32);

impl Terms for Deviations {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x, _, _]: [S::f32s; 3], sum: S::f32s) -> S::f32s {
        let off = simd.sub_f32s(x, simd.splat_f32s(self.0));
        simd.mul_add_f32s(off, off, sum)
    }
    #[inline(always)]
    fn add_one(self, [x, _, _]: [f32; 3], sum: f32) -> f32 {
        (x - self.0).mul_add(x - self.0, sum)
    }
}

/// x y (z - .0)
#[derive(Clone, Copy)]
struct Triples(f32);

impl Terms for Triples {
    #[inline(always)]
    fn add<S: Simd>(self, simd: S, [x, y, z]: [S::f32s; 3], sum: S::f32s) -> S::f32s {
        simd.mul_add_f32s(simd.mul_f32s(x, y), simd.sub_f32s(z, simd.splat_f32s(self.0)), sum)
    }
    #[inline(always)]
    fn add_one(self, [x, y, z]: [f32; 3], sum: f32) -> f32 {
        (x * y).mul_add(z - self.0, sum)
    }
}

/// Sum.
pub(super) fn sum(x: &[f32]) -> f32 {
    reduce(Plain, x, x, x)
}

/// Dot product.
pub(super) fn dot(x: &[f32], y: &[f32]) -> f32 {
    reduce(Products, x, y, x)
}

/// Sum of (x - mean)^2.
pub(super) fn deviations(x: &[f32], mean: f32) -> f32 {
    reduce(Deviations(mean), x, x, x)
}

/// Sum of x y (z - mean).
pub(super) fn triples(x: &[f32], y: &[f32], z: &[f32], mean: f32) -> f32 {
    reduce(Triples(mean), x, y, z)
}

/// The largest element of a slice.
struct Max<'a>(&'a [f32]);

impl WithSimd for Max<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (xs, rest) = S::as_simd_f32s(self.0);
        let mut tops = [simd.splat_f32s(f32::NEG_INFINITY); 2];
        for (i, &x) in xs.iter().enumerate() {
            let top = &mut tops[i % 2];
            *top = simd.select_f32s(simd.greater_than_f32s(x, *top), x, *top);
        }
        let mut top = simd.reduce_max_f32s(simd.max_f32s(tops[0], tops[1]));
        for &x in rest {
            top = if x > top { x } else { top };
        }
        top
    }
}

/// The largest element; -infinity of nothing. Elements that are not a number are passed over.
pub(super) fn max(x: &[f32]) -> f32 {
    Arch::new().dispatch(Max(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_counts_once() {
        for n in [0, 1, 7, 8, 9, 31, 32, 33, 40, 100] {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let ones = vec![1.0; n];
            let total: f32 = x.iter().sum();
            assert_eq!(sum(&x), total);
            assert_eq!(dot(&x, &ones), total);
            assert_eq!(deviations(&x, 1.0), x.iter().map(|x| (x - 1.0) * (x - 1.0)).sum::<f32>());
            assert_eq!(triples(&x, &ones, &ones, 3.0), -2.0 * total);
            assert_eq!(max(&x), if n == 0 { f32::NEG_INFINITY } else { n as f32 - 1.0 });
        }
        assert_eq!(max(&[f32::NAN, 1.0, f32::NAN]), 1.0);
        let mut late = vec![f32::NAN; 20];
        late[13] = -2.0;
        assert_eq!(max(&late), -2.0);
    }
}
