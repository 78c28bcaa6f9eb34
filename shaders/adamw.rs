//! adamw: one step of AdamW on one tensor, with decoupled weight decay.
//!
//! Shapes: gradient g, weight p, moments m and v have the same shape. Source: Loshchilov and Hutter, "Decoupled weight
//! decay regularization", 2019, in the order of torch.optim.AdamW: p -= rate decay p; m and v move; p -= rate / bias1 *
//! m / (sqrt(v) / sqrt(bias2) + eps), with rate = tick.learning_rate * lr_scale and g scaled by tick.clip before use.

use crate::cases::Build;
use crate::grid::threads;
use crate::noise::values;
use crate::spec::{Access, Args, Call, Case, Cost, Kernel, Lowering, Op, Pair, Tensor, Tick, Tolerance};
use bytemuck::{Pod, Zeroable};

/// The group a tensor belongs to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Decay of the first moment, in [0, 1).
    pub beta1: f32,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Weight decay; 0 for vectors.
    pub decay: f32,
    /// Factor on the learning rate.
    pub lr_scale: f32,
    /// Elements (set by [`call`]).
    pub len: u32,
}

/// reads g; writes p, m, v.
pub static APPLY: Op = Op {
    name: "adamw.apply",
    spec: apply,
    lower,
    cost: |call| {
        let len = call.reads[0].shape.len() as f64;
        Cost { flops: 16.0 * len, bytes: 28.0 * len }
    },
};

fn apply(args: &mut Args<'_>) {
    let p: Params = args.params();
    let tick = args.tick;
    let rate = f64::from(tick.learning_rate) * f64::from(p.lr_scale);
    let (beta1, beta2) = (f64::from(p.beta1), f64::from(p.beta2));
    let root = f64::from(tick.bias2).sqrt();
    for (i, &g) in args.reads[0].iter().enumerate() {
        let g = f64::from(g) * f64::from(tick.clip);
        let m = beta1 * f64::from(args.writes[1][i]) + (1.0 - beta1) * g;
        let v = beta2 * f64::from(args.writes[2][i]) + (1.0 - beta2) * g * g;
        let weight = f64::from(args.writes[0][i]) * (1.0 - rate * f64::from(p.decay));
        let step = rate / f64::from(tick.bias1) * m / (v.sqrt() / root + f64::from(p.eps));
        args.writes[0][i] = (weight - step) as f32;
        args.writes[1][i] = m as f32;
        args.writes[2][i] = v as f32;
    }
}

/// One step on weight `p` with gradient `g` and moments `m`, `v`. Sets `params.len`.
pub fn call(g: Tensor, p: Tensor, m: Tensor, v: Tensor, params: Params) -> Call {
    assert!(g.shape == p.shape && m.shape == p.shape && v.shape == p.shape, "tensors of an AdamW step");
    let params = Params { len: u32::try_from(p.shape.len()).expect("a weight has fewer than 2^32 elements"), ..params };
    Call::new(&APPLY, &params, &[g], &[p, m, v])
}

static KERNEL: Kernel = Kernel {
    name: "adamw.apply",
    source: include_str!("adamw.wgsl"),
    entry: "apply",
    storage: &[("g", Access::Read), ("p", Access::Write), ("m", Access::Write), ("v", Access::Write)],
    tick: true,
    params_size: 32,
    defines: &[("VEC", &[4, 1])],
    overrides: &[],
};

fn lower(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let weight = call.writes[0];
    for (first, rows) in l.caps.shards(&weight.shape) {
        let len = rows * weight.shape.row_len();
        let vec = if len.is_multiple_of(4) { 4 } else { 1 };
        let bindings: Vec<_> = call.reads.iter().chain(&call.writes).map(|&t| l.rows(t, first, rows)).collect();
        let items = len / vec as usize;
        let params = Params { len: items as u32, ..p };
        let cost = Cost { flops: 16.0 * len as f64, bytes: 28.0 * len as f64 };
        l.dispatch_with(&KERNEL, &params, &bindings, threads(items, 64), cost, &[("VEC", vec)], &[]);
    }
}

fn cases() -> Vec<Case> {
    let group = |decay| Params { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay, lr_scale: 1.0, len: 0 };
    let build = |name, shape: &[usize], params: Params, tick: Tick| {
        let len: usize = shape.iter().product();
        let squares: Vec<f32> = values(4, len).iter().map(|x| x * x).collect();
        let params = Params { len: len as u32, ..params };
        let build = Build::new(name).tick(tick).read(shape, values(1, len)).write_over(shape, values(2, len));
        build.write_over(shape, values(3, len)).write_over(shape, squares).call(&APPLY, &params)
    };
    let tick = Tick { step: 3, learning_rate: 1e-2, bias1: 0.271, bias2: 0.142625, clip: 0.7, ..Tick::default() };
    let mut late = tick;
    (late.bias1, late.bias2, late.clip) = (1.0, 1.0, 1.0);
    let first = Tick { step: 1, learning_rate: 1e-3, bias1: 0.1, bias2: 0.05, clip: 1.0, ..Tick::default() };
    let mut out = vec![
        build("one element", &[1], group(0.0), tick),
        build("a matrix, decay", &[12, 20], group(0.1), tick),
        build("not a multiple of four, scaled rate", &[1023], Params { lr_scale: 0.25, ..group(0.1) }, late),
        build("rows for shards", &[640, 12], group(0.1), tick),
    ];
    let zeros = || vec![0.0; 8];
    let params = Params { len: 8, ..group(0.1) };
    let start = Build::new("first step, gradients of any size and none").tick(first);
    let start = start.read(&[8], vec![0.0, 1e-12, -1e-6, 1e-3, 1.0, 1e3, -1e6, 0.0]).write_over(&[8], values(5, 8));
    out.push(start.write_over(&[8], zeros()).write_over(&[8], zeros()).call(&APPLY, &params));
    out
}

/// adamw.
pub const PAIR: Pair = Pair {
    name: "adamw",
    ops: &[&APPLY],
    kernels: &[&KERNEL],
    cases,
    gradients: Vec::new,
    tolerance: Tolerance {
        absolute: 0.0,
        relative: 2e-6,
        why: "about ten roundings; 1 - beta2 loses four bits at beta2 = 0.95; roots and quotients to 2.5 units",
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    /// On the first step m / (sqrt(v) / sqrt(bias2)) / bias1 is the sign of g: the weight moves by the rate, after
    /// decay.
    #[test]
    fn the_first_step_moves_by_the_learning_rate() {
        let params = Params { beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.5, lr_scale: 2.0, len: 2 };
        let tick = Tick { learning_rate: 0.01, bias1: 0.1, bias2: 0.001, clip: 1.0, ..Tick::default() };
        let (mut p, mut m, mut v) = ([1.0, -3.0], [0.0; 2], [0.0; 2]);
        let mut args = Args {
            params: bytemuck::bytes_of(&params),
            tick: &tick,
            reads: &[&[0.5, -7.0]],
            writes: &mut [&mut p, &mut m, &mut v],
        };
        apply(&mut args);
        assert!((p[0] - (0.99 - 0.02)).abs() < 1e-6 && (p[1] - (-2.97 + 0.02)).abs() < 1e-6, "{p:?}");
        assert!((m[1] + 0.7).abs() < 1e-6 && (v[1] - 0.049).abs() < 1e-6);
    }
}
