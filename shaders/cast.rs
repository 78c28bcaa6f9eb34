//! cast: f32 to and from 16-bit floats, two to a word, rounded to nearest even.
//!
//! Shapes: x (len), packed (ceil(len / 2)) with the even element in the low half. Half precision (f16, IEEE binary16)
//! and bfloat16, the upper half of an f32. No gradient: casts make copies of weights, not activations.

use crate::cases::Build;
use crate::grid::{streaming, threads};
use crate::noise::values;
use crate::spec::{Access, Args, Call, Case, Kernel, Lowering, Op, Pair, Tensor, Tolerance, words};
use bytemuck::{Pod, Zeroable};

/// All casts; also the kernels' uniform.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Elements of the f32 side.
    pub len: u32,
    /// Zero.
    pub spare: [u32; 3],
}

/// reads x; writes packed.
pub static PACK_F16: Op = op("cast.pack_f16", |args| pack(args, f16_of), |call, l| lower(call, l, &KERNELS[0]));
/// reads packed; writes x.
pub static UNPACK_F16: Op =
    op("cast.unpack_f16", |args| unpack(args, f32_of_f16), |call, l| lower(call, l, &KERNELS[1]));
/// reads x; writes packed.
pub static PACK_BF16: Op = op("cast.pack_bf16", |args| pack(args, bf16_of), |call, l| lower(call, l, &KERNELS[2]));
/// reads packed; writes x.
pub static UNPACK_BF16: Op = op(
    "cast.unpack_bf16",
    |args| unpack(args, |bits| f32::from_bits(bits << 16)),
    |call, l| lower(call, l, &KERNELS[3]),
);

const fn op(name: &'static str, spec: fn(&mut Args<'_>), lower: fn(&Call, &mut Lowering<'_>)) -> Op {
    Op { name, spec, lower, cost: |call| streaming(call, 8.0 * call.params::<Params>().len as f64) }
}

/// The bits of the nearest f16; halfway cases go to the even one, beyond 65520 to infinity.
pub fn f16_of(x: f32) -> u32 {
    let (sign, size) = (x.to_bits() >> 16 & 0x8000, x.to_bits() & 0x7fff_ffff);
    match size {
        0x7f80_0001.. => sign | 0x7e00,
        0x4780_0000.. => sign | 0x7c00,
        0x3880_0000.. => sign | (size - 0x3800_0000 + 0xfff + (size >> 13 & 1)) >> 13,
        0..=0x3300_0000 => sign,
        _ => {
            let shift = 126 - (size >> 23);
            let mantissa = size & 0x7f_ffff | 0x80_0000;
            let (kept, rest, middle) = (mantissa >> shift, mantissa & ((1 << shift) - 1), 1 << (shift - 1));
            sign | (kept + u32::from(rest > middle || rest == middle && kept & 1 == 1))
        }
    }
}

/// The f32 of the bits of an f16; exact.
pub fn f32_of_f16(bits: u32) -> f32 {
    let (sign, size) = ((bits & 0x8000) << 16, bits & 0x7fff);
    f32::from_bits(match size {
        0x7c00.. => sign | 0x7f80_0000 | (size & 0x3ff) << 13,
        0x400.. => sign | ((size << 13) + 0x3800_0000),
        _ => sign | (size as f32 / 16_777_216.0).to_bits(),
    })
}

/// The bits of the nearest bfloat16; halfway cases go to the even one.
pub fn bf16_of(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() { bits >> 16 | 0x40 } else { bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16 }
}

fn pack(args: &mut Args<'_>, bits: fn(f32) -> u32) {
    for (word, pair) in args.writes[0].iter_mut().zip(args.reads[0].chunks(2)) {
        *word = f32::from_bits(bits(pair[0]) | pair.get(1).map_or(0, |&x| bits(x) << 16));
    }
}

fn unpack(args: &mut Args<'_>, value: fn(u32) -> f32) {
    for (i, x) in args.writes[0].iter_mut().enumerate() {
        *x = value(words(args.reads[0])[i / 2] >> (16 * (i % 2)) & 0xffff);
    }
}

/// A call of one of the casts: `from` holds what the op reads, `to` what it writes; x is the f32 side.
pub fn call(op: &'static Op, from: Tensor, to: Tensor) -> Call {
    let len = if *op == PACK_F16 || *op == PACK_BF16 { from.shape.len() } else { to.shape.len() };
    assert_eq!(from.shape.len() + to.shape.len(), len + len.div_ceil(2), "two elements to a word");
    Call::new(op, &Params { len: len as u32, spare: [0; 3] }, &[from], &[to])
}

const PACKING: &[(&str, Access)] = &[("x", Access::Read), ("packed_out", Access::Write)];
const UNPACKING: &[(&str, Access)] = &[("packed", Access::Read), ("x_out", Access::Write)];

const fn kernel(name: &'static str, entry: &'static str, storage: &'static [(&'static str, Access)]) -> Kernel {
    let source = include_str!("cast.wgsl");
    Kernel { name, source, entry, storage, tick: false, params_size: 16, defines: &[], overrides: &[] }
}

static KERNELS: [Kernel; 4] = [
    kernel("cast.pack_f16", "pack_f16", PACKING),
    kernel("cast.unpack_f16", "unpack_f16", UNPACKING),
    kernel("cast.pack_bf16", "pack_bf16", PACKING),
    kernel("cast.unpack_bf16", "unpack_bf16", UNPACKING),
];

fn lower(call: &Call, l: &mut Lowering<'_>, kernel: &'static Kernel) {
    let p: Params = call.params();
    let bound = [l.whole(call.reads[0]), l.whole(call.writes[0])];
    l.dispatch(kernel, &p, &bound, threads(p.len.div_ceil(2) as usize, 64), (call.op.cost)(call));
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    // Halfway cases, both limits of subnormals, overflow, signs.
    let edges = [0.0, -0.0, 1.0, 1.000_488_3, 1.001_464_8, 65504.0, 65519.99, 65520.0, 1e9, -6.1e-5, 2.98e-8, 2.99e-8];
    let many: Vec<f32> = values(1, 1021).iter().enumerate().map(|(i, x)| x * 2f32.powi(i as i32 % 44 - 27)).collect();
    for (name, x) in [("edges", edges.to_vec()), ("one element", vec![0.1]), ("all sizes, odd length", many)] {
        let (len, pairs) = (x.len(), x.len().div_ceil(2));
        let params = Params { len: len as u32, spare: [0; 3] };
        for op in [&PACK_F16, &PACK_BF16] {
            out.push(Build::new(name).read(&[len], x.clone()).write_words(&[pairs]).call(op, &params));
        }
        for (op, bits) in [(&UNPACK_F16, f16_of as fn(f32) -> u32), (&UNPACK_BF16, bf16_of)] {
            let finite = |x: f32| bits(x.clamp(-6e4, 6e4));
            let packed: Vec<u32> =
                x.chunks(2).map(|pair| finite(pair[0]) | finite(*pair.last().unwrap_or(&0.0)) << 16).collect();
            out.push(Build::new(name).words(&[pairs], &packed).write(&[len]).call(op, &params));
        }
    }
    out
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "cast",
    ops: &[&PACK_F16, &UNPACK_F16, &PACK_BF16, &UNPACK_BF16],
    kernels: &[&KERNELS[0], &KERNELS[1], &KERNELS[2], &KERNELS[3]],
    cases,
    gradients: Vec::new,
    tolerance: Tolerance { absolute: 0.0, relative: 0.0, why: "integer arithmetic is exact" },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_survives_the_way_there_and_back() {
        for bits in (0..=0xffffu32).filter(|bits| bits & 0x7fff <= 0x7c00) {
            assert_eq!(f16_of(f32_of_f16(bits)), bits);
        }
    }

    /// Between two neighbours the nearer wins, in the middle the even one: checked against distances, not bits.
    #[test]
    fn f16_rounds_to_nearest_even() {
        for bits in 0..0x7bffu32 {
            let (low, high) = (f64::from(f32_of_f16(bits)), f64::from(f32_of_f16(bits + 1)));
            let middle = ((low + high) / 2.0) as f32;
            assert_eq!(f16_of(middle), bits + (bits & 1), "the middle above {low}");
            assert_eq!(f16_of(f32::from_bits(middle.to_bits() + 1)), bits + 1);
            assert_eq!(f16_of(f32::from_bits(middle.to_bits() - 1)), bits);
        }
        assert_eq!(f16_of(65520.0), 0x7c00);
        assert!(f32_of_f16(f16_of(f32::NAN)).is_nan());
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        assert_eq!([1.0, 1.003_906_3, 1.011_718_8, 3.4e38].map(bf16_of), [0x3f80, 0x3f80, 0x3f82, 0x7f80]);
        assert!(f32::from_bits(bf16_of(f32::from_bits(0x7f80_0001)) << 16).is_nan());
    }
}
