//! activation: y = act(z), elementwise; the kinds also serve matmul's epilogue and gate.
//!
//! Shapes: all tensors have the same number of elements. Sources: gelu in both forms, Hendrycks and Gimpel, "Gaussian
//! error linear units", 2016; silu, Elfwing et al., 2017; relu squared, So et al., "Primer", 2021.

use crate::cases::{Build, input};
use crate::grid::{streaming, threads};
use crate::noise::values;
use crate::spec::{
    Access, Args, Call, Case, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tolerance,
};
use bytemuck::{Pod, Zeroable};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
    GeluTanh,
    /// x/2 (1 + erf(x / sqrt 2)).
    GeluErf,
    /// x / (1 + exp(-x)).
    Silu,
    /// max(x, 0).
    Relu,
    /// max(x, 0)^2.
    ReluSquared,
}

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 5] =
        [Activation::GeluTanh, Activation::GeluErf, Activation::Silu, Activation::Relu, Activation::ReluSquared];

    /// The number that kernels and `Params` know it by, from 1; 0 stands for no activation.
    pub fn code(self) -> u32 {
        match self {
            Activation::GeluTanh => 1,
            Activation::GeluErf => 2,
            Activation::Silu => 3,
            Activation::Relu => 4,
            Activation::ReluSquared => 5,
        }
    }
}

/// sqrt(2 / pi).
const ROOT: f64 = 0.797_884_560_802_865_4;

/// act(x) for a code; code 0 gives x.
pub fn activate(code: u32, x: f64) -> f64 {
    match code {
        1 => 0.5 * x * (1.0 + (ROOT * (x + 0.044715 * x * x * x)).tanh()),
        2 => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        3 => x / (1.0 + (-x).exp()),
        4 => x.max(0.0),
        5 => x.max(0.0).powi(2),
        _ => x,
    }
}

/// act'(x) for a code; code 0 gives 1. The slope of relu at 0 is 0.
pub fn slope(code: u32, x: f64) -> f64 {
    match code {
        1 => {
            let t = (ROOT * (x + 0.044715 * x * x * x)).tanh();
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * ROOT * (1.0 + 0.134145 * x * x)
        }
        2 => {
            let density = (-0.5 * x * x).exp() * ROOT * 0.5;
            0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)) + x * density
        }
        3 => {
            let s = 1.0 / (1.0 + (-x).exp());
            s * (1.0 + x * (1.0 - s))
        }
        4 => f64::from(u8::from(x > 0.0)),
        5 => 2.0 * x.max(0.0),
        _ => 1.0,
    }
}

/// Gauss error function by its series 2/sqrt(pi) exp(-x^2) sum 2^n x^(2n+1) / (2n+1)!!, whose terms share a sign.
pub fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// Forward and backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Elements.
    pub len: u32,
    /// [`Activation::code`].
    pub kind: u32,
}

/// reads z; writes y.
pub static FORWARD: Op = Op {
    name: "activation.forward",
    spec: |args| {
        let p: Params = args.params();
        for (y, &z) in args.writes[0].iter_mut().zip(args.reads[0]) {
            *y = activate(p.kind, f64::from(z)) as f32;
        }
    },
    lower: |call, l| lower(call, l, &FORWARD_KERNEL),
    cost: |call| streaming(call, 10.0 * call.reads[0].shape.len() as f64),
};

/// reads dy, z; writes dz = dy act'(z).
pub static BACKWARD: Op = Op {
    name: "activation.backward",
    spec: backward,
    lower: |call, l| lower(call, l, &BACKWARD_KERNEL),
    cost: |call| streaming(call, 15.0 * call.reads[0].shape.len() as f64),
};

fn backward(args: &mut Args<'_>) {
    let p: Params = args.params();
    for (i, dz) in args.writes[0].iter_mut().enumerate() {
        *dz = (f64::from(args.reads[0][i]) * slope(p.kind, f64::from(args.reads[1][i]))) as f32;
    }
}

/// The call that sends `dy` through the activation to `dz`.
pub fn backward_call(dy: Tensor, z: Tensor, dz: Tensor, kind: Activation) -> Call {
    Call::new(&BACKWARD, &Params { len: z.shape.len() as u32, kind: kind.code() }, &[dy, z], &[dz])
}

/// Records y = act(z).
pub fn record(r: &mut dyn Recorder, z: Tensor, kind: Activation) -> Tensor {
    let y = r.tensor("activation", &z.shape.dims(), Dtype::F32);
    r.call(Call::new(&FORWARD, &Params { len: z.shape.len() as u32, kind: kind.code() }, &[z], &[y]));
    r.rule(
        y,
        Box::new(move |r, dy| {
            if r.wants(z) {
                let (dz, add) = r.gradient(z);
                let target = if add { r.tensor("activation dz", &z.shape.dims(), Dtype::F32) } else { dz };
                r.call(backward_call(dy, z, target, kind));
                if add {
                    r.call(crate::add::accumulate_call(target, dz, 1.0));
                }
            }
        }),
    );
    y
}

static FORWARD_KERNEL: Kernel = Kernel {
    name: "activation.forward",
    source: include_str!("activation.wgsl"),
    entry: "forward",
    storage: &[("z", Access::Read), ("y", Access::Write)],
    tick: false,
    params_size: 16,
    defines: &[("VEC", &[4, 1])],
    overrides: &[],
};

static BACKWARD_KERNEL: Kernel = Kernel {
    name: "activation.backward",
    entry: "backward",
    storage: &[("dy", Access::Read), ("z_in", Access::Read), ("dz", Access::Write)],
    ..FORWARD_KERNEL
};

fn lower(call: &Call, l: &mut Lowering<'_>, kernel: &'static Kernel) {
    let p: Params = call.params();
    let vec = if p.len.is_multiple_of(4) { 4 } else { 1 };
    let bindings: Vec<_> = call.reads.iter().chain(&call.writes).map(|&t| l.whole(t)).collect();
    let items = (p.len / vec) as usize;
    let params = Params { len: p.len / vec, ..p };
    let cost = (call.op.cost)(call);
    l.dispatch_with(kernel, &params, &bindings, threads(items, 64), cost, &[("VEC", vec)], &[]);
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for kind in Activation::ALL {
        for (name, len) in [("one element", 1), ("four by three", 12), ("not a multiple of four", 1023)] {
            let params = Params { len: len as u32, kind: kind.code() };
            let z: Vec<f32> = values(7, len).iter().map(|x| x * 8.0).collect();
            out.push(Build::new(name).read(&[len], z.clone()).write(&[len]).call(&FORWARD, &params));
            let build = Build::new(name).read(&[len], values(8, len)).read(&[len], z);
            out.push(build.write(&[len]).call(&BACKWARD, &params));
        }
    }
    let extreme = vec![0.0, -0.0, 1e-20, -1e-20, 60.0, -60.0, 1000.0, -1000.0, 1e4, -1e4, 0.02, -0.02];
    for kind in Activation::ALL {
        let params = Params { len: 12, kind: kind.code() };
        let name = "extremes, where exp would overflow";
        out.push(Build::new(name).read(&[12], extreme.clone()).write(&[12]).call(&FORWARD, &params));
    }
    out
}

fn gradients() -> Vec<GradientCheck> {
    fn with<const KIND: usize>(r: &mut dyn Recorder, t: &[Tensor]) -> Tensor {
        record(r, t[0], Activation::ALL[KIND])
    }
    type Record = fn(&mut dyn Recorder, &[Tensor]) -> Tensor;
    let records: [Record; 5] = [with::<0>, with::<1>, with::<2>, with::<3>, with::<4>];
    let names = ["gelu, tanh form", "gelu, erf form", "silu", "relu", "relu squared"];
    let check = |(name, record)| {
        let z: Vec<f32> = values(9, 15).iter().map(|x| if x.abs() < 0.05 { 0.5 } else { x * 3.0 }).collect();
        GradientCheck { name, inputs: vec![input(0, &[3, 5], z, true)], record }
    };
    names.into_iter().zip(records).map(check).collect()
}

/// activation.
pub const PAIR: Pair = Pair {
    name: "activation",
    ops: &[&FORWARD, &BACKWARD],
    kernels: &[&FORWARD_KERNEL, &BACKWARD_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance {
        absolute: 2e-6,
        relative: 2e-6,
        why: "exp to 3 + 2|x| units in the last place on a bounded result; erf approximated to 1.5e-7",
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Abramowitz and Stegun, table 7.1.
    #[test]
    fn erf_has_the_tabulated_values() {
        let table = [(0.5, 0.520_499_877_8), (1.0, 0.842_700_792_9), (2.0, 0.995_322_265_0), (3.5, 0.999_999_256_9)];
        for (x, y) in table {
            assert!((erf(x) - y).abs() < 1e-10 && (erf(-x) + y).abs() < 1e-10, "{x}: {}", erf(x));
        }
        assert_eq!(erf(0.0), 0.0);
        assert_eq!(erf(-9.0), -1.0);
    }
}
