//! matmul: y = act(scale x w^T + bias) + residual, and the products of its gradient.
//!
//! Shapes: x (n, k), w (m, k), y (n, m), all row-major; dx = scale dy w, dw = scale dy^T x. The gradient of the bias is
//! `reduce.columns`. How a GPU cuts these products stands in `gemm.rs`; products with a range of columns in
//! `matmul/columns.rs`.

pub mod columns;

use crate::activation::{self, Activation, activate};
use crate::cases::{Build, input};
use crate::gemm;
use crate::noise::values;
use crate::reduce;
use crate::spec::{Args, Call, Case, Cost, Dtype, GradientCheck, Op, Pair, Recorder, Tensor, Tolerance};
use bytemuck::{Pod, Zeroable};

/// For [`Params::bias`]: nothing follows the product, and its sums are those of one that something follows, to the bit.
/// (A device may cut a bare product otherwise.)
pub const LIKE_FUSED: u32 = 2;

/// All three ops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of x and y.
    pub n: u32,
    /// Columns of x and w.
    pub k: u32,
    /// Rows of w, columns of y.
    pub m: u32,
    /// Factor on the product.
    pub scale: f32,
    /// Forward: [`Activation::code`], or 0.
    pub activation: u32,
    /// Forward: 1 if a bias is there; [`LIKE_FUSED`] if none is.
    pub bias: u32,
    /// Forward: 1 if a residual is there.
    pub residual: u32,
    /// dx and dw: 1 = add to the output.
    pub acc: u32,
}

/// reads x (n, k), w (m, k), bias (m) or absent, residual (n, m) or absent; writes y (n, m), and z (n, m), the input of
/// the activation, if there is a second write.
pub static FORWARD: Op = Op { name: "matmul.forward", spec: forward, lower: gemm::lower_forward, cost: product_cost };

/// reads dy (n, m), w (m, k); writes dx (n, k).
pub static DX: Op = Op { name: "matmul.dx", spec: dx, lower: gemm::lower_dx, cost: product_cost };

/// reads dy (n, m), x (n, k); writes dw (m, k).
pub static DW: Op = Op { name: "matmul.dw", spec: dw, lower: gemm::lower_dw, cost: product_cost };

fn product_cost(call: &Call) -> Cost {
    let p: Params = call.params();
    let words: usize = call.reads.iter().chain(&call.writes).map(|t| t.shape.len()).sum();
    Cost { flops: 2.0 * f64::from(p.n) * f64::from(p.k) * f64::from(p.m), bytes: 4.0 * words as f64 }
}

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (n, k, m) = (p.n as usize, p.k as usize, p.m as usize);
    let (x, w, bias, residual) = (args.reads[0], args.reads[1], args.reads[2], args.reads[3]);
    for row in 0..n {
        for col in 0..m {
            let product: f64 = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[col * k + i])).sum();
            let bias = if p.bias == 1 { f64::from(bias[col]) } else { 0.0 };
            let z = f64::from(p.scale) * product + bias;
            let residual = if p.residual == 1 { f64::from(residual[row * m + col]) } else { 0.0 };
            args.writes[0][row * m + col] = (activate(p.activation, z) + residual) as f32;
            if let Some(out) = args.writes.get_mut(1) {
                out[row * m + col] = z as f32;
            }
        }
    }
}

fn dx(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (n, k, m) = (p.n as usize, p.k as usize, p.m as usize);
    let (dy, w) = (args.reads[0], args.reads[1]);
    for row in 0..n {
        for col in 0..k {
            let product: f64 = (0..m).map(|i| f64::from(dy[row * m + i]) * f64::from(w[i * k + col])).sum();
            store(&mut args.writes[0][row * k + col], f64::from(p.scale) * product, p.acc);
        }
    }
}

fn dw(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (n, k, m) = (p.n as usize, p.k as usize, p.m as usize);
    let (dy, x) = (args.reads[0], args.reads[1]);
    for row in 0..m {
        for col in 0..k {
            let product: f64 = (0..n).map(|i| f64::from(dy[i * m + row]) * f64::from(x[i * k + col])).sum();
            store(&mut args.writes[0][row * k + col], f64::from(p.scale) * product, p.acc);
        }
    }
}

fn store(slot: &mut f32, value: f64, acc: u32) {
    let before = if acc == 1 { f64::from(*slot) } else { 0.0 };
    *slot = (before + value) as f32;
}

/// A bare product (n, k) (m, k)^T.
fn plain(n: usize, k: usize, m: usize, add: bool) -> Params {
    let [n, k, m] = [n, k, m].map(|extent| extent as u32);
    Params { n, k, m, scale: 1.0, activation: 0, bias: 0, residual: 0, acc: u32::from(add) }
}

/// y (n, m) = x w^T for x (n, k), w (m, k).
pub fn forward_call(x: Tensor, w: Tensor, y: Tensor) -> Call {
    let params = plain(x.shape.rows(), x.shape.row_len(), w.shape.rows(), false);
    Call::new(&FORWARD, &params, &[x, w, Tensor::none(), Tensor::none()], &[y])
}

/// dx (n, k) = or += dy w for dy (n, m), w (m, k).
pub fn dx_call(dy: Tensor, w: Tensor, dx: Tensor, add: bool) -> Call {
    let params = plain(dy.shape.rows(), w.shape.row_len(), w.shape.rows(), add);
    Call::new(&DX, &params, &[dy, w], &[dx])
}

/// What happens to a product before it is written.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// (m), added to every row.
    pub bias: Option<Tensor>,
    /// (n, m), added last.
    pub residual: Option<Tensor>,
    /// Factor on the product.
    pub scale: f32,
    /// Applied to scale x w^T + bias.
    pub activation: Option<Activation>,
    /// The sums are those of a product that something follows ([`LIKE_FUSED`]), also where nothing does.
    pub like_fused: bool,
}

impl Default for Epilogue {
    fn default() -> Epilogue {
        Epilogue { bias: None, residual: None, scale: 1.0, activation: None, like_fused: false }
    }
}

/// Records y (n, m) = act(scale x w^T + bias) + residual for x (n, k), w (m, k).
pub fn record(r: &mut dyn Recorder, x: Tensor, w: Tensor, e: Epilogue) -> Tensor {
    let (n, k, m) = (x.shape.rows(), x.shape.row_len(), w.shape.rows());
    assert_eq!(w.shape.row_len(), k, "columns of w {w:?} and of x {x:?}");
    assert!(e.bias.is_none_or(|b| b.shape.len() == m), "bias {:?} of {m} columns", e.bias);
    assert!(e.residual.is_none_or(|t| t.shape.len() == n * m), "residual {:?} of ({n}, {m})", e.residual);
    let y = r.tensor("product", &[n, m], Dtype::F32);
    // Only a backward pass reads the input of the activation.
    let trained = r.wants(x) || r.wants(w) || e.bias.is_some_and(|b| r.wants(b));
    let z = e.activation.filter(|_| trained).map(|kind| (kind, r.tensor("product z", &[n, m], Dtype::F32)));
    let params = Params {
        n: n as u32,
        k: k as u32,
        m: m as u32,
        scale: e.scale,
        activation: e.activation.map_or(0, Activation::code),
        bias: if e.bias.is_none() && e.like_fused { LIKE_FUSED } else { u32::from(e.bias.is_some()) },
        residual: u32::from(e.residual.is_some()),
        acc: 0,
    };
    let reads = [x, w, e.bias.unwrap_or(Tensor::none()), e.residual.unwrap_or(Tensor::none())];
    let writes = [Some(y), z.map(|(_, z)| z)];
    r.call(Call::new(&FORWARD, &params, &reads, &writes.into_iter().flatten().collect::<Vec<_>>()));
    r.rule(y, Box::new(move |r, dy| backward(r, dy, [x, w], z, &e, params)));
    y
}

fn backward(
    r: &mut dyn Recorder,
    dy: Tensor,
    [x, w]: [Tensor; 2],
    z: Option<(Activation, Tensor)>,
    e: &Epilogue,
    params: Params,
) {
    let dz = match z {
        Some((kind, z)) => {
            let dz = r.tensor("product dz", &z.shape.dims(), Dtype::F32);
            r.call(activation::backward_call(dy, z, dz, kind));
            dz
        }
        None => dy,
    };
    let params = Params { activation: 0, bias: 0, residual: 0, ..params };
    if r.wants(w) {
        let (dw, add) = r.gradient(w);
        r.call(Call::new(&DW, &Params { acc: u32::from(add), ..params }, &[dz, x], &[dw]));
    }
    if let Some(bias) = e.bias.filter(|&b| r.wants(b)) {
        let (db, add) = r.gradient(bias);
        r.call(reduce::columns_call(dz, db, add));
    }
    if r.wants(x) {
        let (dx, add) = r.gradient(x);
        r.call(Call::new(&DX, &Params { acc: u32::from(add), ..params }, &[dz, w], &[dx]));
    }
    if let Some(residual) = e.residual.filter(|&t| r.wants(t)) {
        r.pass(residual, dy);
    }
}

/// (name, n, k, m): every kind of edge of the blocks, and both sides of every choice of block.
const SHAPES: &[(&str, usize, usize, usize)] = &[
    ("one element", 1, 1, 1),
    ("one row", 1, 64, 48),
    ("one column of y", 33, 20, 1),
    ("depth one", 9, 1, 11),
    ("odd extents", 37, 29, 23),
    ("multiples of four, not of a block", 36, 44, 52),
    ("whole blocks", 128, 64, 128),
    ("few rows, many columns", 5, 128, 260),
    ("a block and one more", 65, 68, 130),
    ("large, ragged", 150, 132, 201),
    ("small output, large depth", 1040, 8, 12),
];

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for &(name, n, k, m) in SHAPES {
        let params = |acc| Params {
            n: n as u32,
            k: k as u32,
            m: m as u32,
            scale: 0.75,
            activation: 0,
            bias: 0,
            residual: 0,
            acc,
        };
        let (x, w, dy) = (values(1, n * k), values(2, m * k), values(3, n * m));
        let build = || Build::new(name).read(&[n, k], x.clone()).read(&[m, k], w.clone());
        out.push(build().no_read().no_read().write(&[n, m]).call(&FORWARD, &params(0)));
        let like_fused = Params { bias: LIKE_FUSED, ..params(0) };
        out.push(build().no_read().no_read().write(&[n, m]).call(&FORWARD, &like_fused));
        let fused = Params { bias: 1, residual: 1, ..params(0) };
        let all = build().read(&[m], values(4, m)).read(&[n, m], values(5, n * m));
        out.push(all.write(&[n, m]).call(&FORWARD, &fused));
        let active = Params { activation: Activation::GeluTanh.code(), bias: 1, ..params(0) };
        let build = build().read(&[m], values(4, m)).no_read();
        out.push(build.write(&[n, m]).write(&[n, m]).call(&FORWARD, &active));
        for acc in [0, 1] {
            let build = Build::new(name).read(&[n, m], dy.clone()).read(&[m, k], w.clone());
            out.push(build.write_over(&[n, k], values(6, n * k)).call(&DX, &params(acc)));
            let build = Build::new(name).read(&[n, m], dy.clone()).read(&[n, k], x.clone());
            out.push(build.write_over(&[m, k], values(7, m * k)).call(&DW, &params(acc)));
        }
    }
    out.extend(columns::cases());
    out
}

fn gradients() -> Vec<GradientCheck> {
    let inputs = || {
        vec![
            input(0, &[3, 4], values(1, 12), true),
            input(1, &[5, 4], values(2, 20), true),
            input(2, &[5], values(3, 5), true),
            input(3, &[3, 5], values(4, 15), true),
        ]
    };
    let own = vec![
        GradientCheck { name: "product", inputs: inputs(), record: |r, t| record(r, t[0], t[1], Epilogue::default()) },
        GradientCheck {
            name: "scale, bias, gelu and residual",
            inputs: inputs(),
            record: |r, t| {
                let kind = Some(Activation::GeluTanh);
                let e = Epilogue { bias: Some(t[2]), residual: Some(t[3]), ..Epilogue::default() };
                record(r, t[0], t[1], Epilogue { scale: 0.5, activation: kind, ..e })
            },
        },
        GradientCheck {
            name: "a product with itself",
            inputs: inputs(),
            record: |r, t| record(r, t[0], t[0], Epilogue { scale: -1.5, ..Epilogue::default() }),
        },
    ];
    own.into_iter().chain(columns::gradients()).collect()
}

/// matmul.
pub const PAIR: Pair = Pair {
    name: "matmul",
    ops: &[&FORWARD, &DX, &DW, &columns::FORWARD, &columns::DX, &columns::DW],
    kernels: gemm::KERNELS,
    cases,
    gradients,
    tolerance: Tolerance {
        absolute: 2e-5,
        relative: 4e-6,
        why: "f32 sums of up to a thousand products below 1: an error of about sqrt(depth) half units of the sum",
    },
};
