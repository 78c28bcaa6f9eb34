//! Products with a range of a tensor's columns: what stands beside a weight's rows `first .. first + m` (an adapter).
//!
//! Shapes: x (n, k), w (m, k), y and dy (n, width), of which columns `first .. first + m` take part; y += scale x w^T,
//! dx = scale dy w, dw = scale dy^T x. The other columns are left alone.

use crate::cases::{Build, input};
use crate::gemm::{Matrix, Product, Variant, emit, matrix, shard};
use crate::noise::values;
use crate::spec::{Args, Call, Case, Cost, GradientCheck, Lowering, Op, Recorder, Tensor};
use bytemuck::{Pod, Zeroable};

/// All three ops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of x and y.
    pub n: u32,
    /// Columns of x and w.
    pub k: u32,
    /// Rows of w: columns of y that take part.
    pub m: u32,
    /// Columns of y.
    pub width: u32,
    /// The first of y's columns that takes part.
    pub first: u32,
    /// Factor on the product.
    pub scale: f32,
    /// dx and dw: 1 = add to the output.
    pub acc: u32,
}

/// reads x (n, k), w (m, k); adds to columns of y (n, width).
pub static FORWARD: Op = Op { name: "matmul.columns", spec: forward, lower: lower_forward, cost };

/// reads dy (n, width), w (m, k); writes dx (n, k).
pub static DX: Op = Op { name: "matmul.columns_dx", spec: dx, lower: lower_dx, cost };

/// reads dy (n, width), x (n, k); writes dw (m, k).
pub static DW: Op = Op { name: "matmul.columns_dw", spec: dw, lower: lower_dw, cost };

fn cost(call: &Call) -> Cost {
    let p: Params = call.params();
    let [n, k, m] = [p.n, p.k, p.m].map(f64::from);
    Cost { flops: 2.0 * n * k * m, bytes: 4.0 * (n * k + m * k + 2.0 * n * m) }
}

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (k, width) = (p.k as usize, p.width as usize);
    let (x, w) = (args.reads[0], args.reads[1]);
    for row in 0..p.n as usize {
        for col in 0..p.m as usize {
            let product: f64 = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[col * k + i])).sum();
            let slot = &mut args.writes[0][row * width + p.first as usize + col];
            *slot = (f64::from(*slot) + f64::from(p.scale) * product) as f32;
        }
    }
}

fn dx(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (k, width) = (p.k as usize, p.width as usize);
    let (dy, w) = (args.reads[0], args.reads[1]);
    for row in 0..p.n as usize {
        let dy = &dy[row * width + p.first as usize..][..p.m as usize];
        for col in 0..k {
            let product: f64 = dy.iter().enumerate().map(|(i, &dy)| f64::from(dy) * f64::from(w[i * k + col])).sum();
            super::store(&mut args.writes[0][row * k + col], f64::from(p.scale) * product, p.acc);
        }
    }
}

fn dw(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (k, width) = (p.k as usize, p.width as usize);
    let (dy, x) = (args.reads[0], args.reads[1]);
    for row in 0..p.m as usize {
        for col in 0..k {
            let term = |i: usize| f64::from(dy[i * width + p.first as usize + row]) * f64::from(x[i * k + col]);
            let product: f64 = (0..p.n as usize).map(term).sum();
            super::store(&mut args.writes[0][row * k + col], f64::from(p.scale) * product, p.acc);
        }
    }
}

/// Records y[:, first .. first + m] += scale x w^T on a tensor that a call before wrote: the tensor itself goes on.
pub fn record(r: &mut dyn Recorder, y: Tensor, first: usize, x: Tensor, w: Tensor, scale: f32) {
    let (n, k, m, width) = (x.shape.rows(), x.shape.row_len(), w.shape.rows(), y.shape.row_len());
    assert_eq!(w.shape.row_len(), k, "columns of w {w:?} and of x {x:?}");
    assert!(y.shape.rows() == n && first + m <= width, "columns {first} .. {} of y {y:?}, rows of x {x:?}", first + m);
    let [n, k, m, width, first] = [n, k, m, width, first].map(|extent| extent as u32);
    let params = Params { n, k, m, width, first, scale, acc: 0 };
    r.call(Call::new(&FORWARD, &params, &[x, w], &[y]));
    r.rule(
        y,
        Box::new(move |r, dy| {
            if r.wants(w) {
                let (dw, add) = r.gradient(w);
                r.call(Call::new(&DW, &Params { acc: u32::from(add), ..params }, &[dy, x], &[dw]));
            }
            if r.wants(x) {
                let (dx, add) = r.gradient(x);
                r.call(Call::new(&DX, &Params { acc: u32::from(add), ..params }, &[dy, w], &[dx]));
            }
        }),
    );
}

/// The columns that take part, of a tensor (n, width).
fn columns(l: &Lowering<'_>, t: Tensor, p: &Params) -> Matrix {
    Matrix { offset: p.first as usize, ..matrix(l, t) }
}

fn lower_forward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (x, w, y) = (call.reads[0], call.reads[1], call.writes[0]);
    for (first, cols) in l.caps.shards(&w.shape) {
        let to = columns(l, y, &p);
        let operands = [matrix(l, x), shard(l, w, first, cols), Matrix { offset: to.offset + first, ..to }];
        let product = Product::bare(Variant::Nt, (p.n as usize, cols, p.k as usize), operands, p.scale, true);
        emit(l, &Product { shared: p.m < p.width, ..product });
    }
}

fn lower_dx(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (dy, w) = (call.reads[0], call.reads[1]);
    for (first, depth) in l.caps.shards(&w.shape) {
        let from = columns(l, dy, &p);
        let a = Matrix { offset: from.offset + first, ..from };
        let operands = [a, shard(l, w, first, depth), matrix(l, call.writes[0])];
        let acc = p.acc == 1 || first > 0;
        emit(l, &Product::bare(Variant::Nn, (p.n as usize, p.k as usize, depth), operands, p.scale, acc));
    }
}

fn lower_dw(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (dy, x, dw) = (call.reads[0], call.reads[1], call.writes[0]);
    for (first, rows) in l.caps.shards(&dw.shape) {
        let from = columns(l, dy, &p);
        let a = Matrix { offset: from.offset + first, ..from };
        let operands = [a, matrix(l, x), shard(l, dw, first, rows)];
        emit(l, &Product::bare(Variant::Tn, (rows, p.k as usize, p.n as usize), operands, p.scale, p.acc == 1));
    }
}

/// (name, n, k, m, width, first): ranges that begin and end on and beside multiples of four.
const RANGES: &[(&str, usize, usize, usize, usize, usize)] = &[
    ("all columns", 9, 4, 12, 12, 0),
    ("one column of three", 5, 3, 1, 3, 1),
    ("the first two of four", 37, 2, 2, 4, 0),
    ("two that begin on a multiple of four", 70, 8, 2, 8, 4),
    ("whole quads", 66, 8, 16, 40, 12),
    ("odd everywhere", 33, 5, 7, 29, 11),
    ("the last ones, many rows", 150, 16, 36, 132, 96),
    ("a deep sum", 12, 8, 700, 712, 8),
    ("many rows, few columns", 1040, 4, 3, 8, 0),
    ("rows for shards", 8, 20, 320, 330, 6),
];

/// Cases of the three ops.
pub(super) fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for &(name, n, k, m, width, first) in RANGES {
        let [pn, pk, pm, pwidth, pfirst] = [n, k, m, width, first].map(|extent| extent as u32);
        let params = |acc| Params { n: pn, k: pk, m: pm, width: pwidth, first: pfirst, scale: 0.75, acc };
        let (x, w, dy) = (values(1, n * k), values(2, m * k), values(3, n * width));
        let build = Build::new(name).read(&[n, k], x.clone()).read(&[m, k], w.clone());
        out.push(build.write_over(&[n, width], values(4, n * width)).call(&FORWARD, &params(0)));
        for acc in [0, 1] {
            let build = Build::new(name).read(&[n, width], dy.clone()).read(&[m, k], w.clone());
            out.push(build.write_over(&[n, k], values(5, n * k)).call(&DX, &params(acc)));
            let build = Build::new(name).read(&[n, width], dy.clone()).read(&[n, k], x.clone());
            out.push(build.write_over(&[m, k], values(6, m * k)).call(&DW, &params(acc)));
        }
    }
    out
}

/// Two ranges beside a product, one of them with a second factor behind it.
pub(super) fn gradients() -> Vec<GradientCheck> {
    let inputs = vec![
        input(0, &[3, 4], values(1, 12), true),
        input(1, &[6, 4], values(2, 24), true),
        input(2, &[2, 4], values(3, 8), true),
        input(3, &[3, 2], values(4, 6), true),
        input(4, &[2, 4], values(5, 8), true),
    ];
    vec![GradientCheck {
        name: "two ranges of columns beside a product",
        inputs,
        record: |r, t| {
            let y = super::record(r, t[0], t[1], super::Epilogue::default());
            let u = super::record(r, t[0], t[2], super::Epilogue::default());
            record(r, y, 0, u, t[3], 0.5);
            record(r, y, 4, t[0], t[4], -1.5);
            y
        },
    }]
}
