//! rope: rotary positions. Pair (i, i + d/2) of each query and key head turns by the angle of its position.
//!
//! Shapes: qkv and y (n, (h + 2 g) d); positions (n); table (P, d/2, 2) = {cos, sin} of each position and pair. The
//! first h + g heads of a row turn, the value heads are copied. (a, b) -> (a cos - b sin, b cos + a sin); backward
//! turns
//! the other way. Su et al., "RoFormer", arXiv 2104.09864; half-split pairs as in Hugging Face's Llama.

use crate::cases::{Build, input, input_words};
use crate::grid::{streaming, threads};
use crate::head_norm::HeadShape;
use crate::noise::values;
use crate::sink;
use crate::spec::{
    Access, Args, Call, Case, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tolerance, words,
};
use bytemuck::{Pod, Zeroable};

/// Forward and backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub n: u32,
    /// Heads of a row that turn: queries and keys.
    pub rotated: u32,
    /// All heads of a row.
    pub slots: u32,
    /// Channels of a head, even.
    pub head_dim: u32,
    /// Positions in the table.
    pub positions: u32,
    /// How the output is treated (see `sink`).
    pub sink: u32,
}

/// reads qkv, positions, table; writes y.
pub static FORWARD: Op = Op {
    name: "rope.forward",
    spec: |args| turn(args, 1.0),
    lower: |call, l| lower(call, l, 1.0),
    cost: |call| streaming(call, 3.0 * call.reads[0].shape.len() as f64),
};

/// reads dy, positions, table; writes dqkv.
pub static BACKWARD: Op = Op {
    name: "rope.backward",
    spec: |args| turn(args, -1.0),
    lower: |call, l| lower(call, l, -1.0),
    cost: |call| streaming(call, 3.0 * call.reads[0].shape.len() as f64),
};

fn turn(args: &mut Args<'_>, sign: f32) {
    let p: Params = args.params();
    let (d, half, slots) = (p.head_dim as usize, p.head_dim as usize / 2, p.slots as usize);
    let (x, positions, table) = (args.reads[0], words(args.reads[1]), args.reads[2]);
    for row in 0..p.n as usize {
        assert!(positions[row] < p.positions, "position {} of a table of {}", positions[row], p.positions);
        for slot in 0..slots {
            for pair in 0..half {
                let at = (row * slots + slot) * d + pair;
                let (mut a, mut b) = (x[at], x[at + half]);
                if slot < p.rotated as usize {
                    let entry = (positions[row] as usize * half + pair) * 2;
                    let (c, s) = (table[entry], table[entry + 1] * sign);
                    (a, b) = (a * c - b * s, b * c + a * s);
                }
                sink::store(&mut args.writes[0][at], a, p.sink);
                sink::store(&mut args.writes[0][at + half], b, p.sink);
            }
        }
    }
}

/// The table of `positions` positions for heads of `head_dim` channels: angle = position * frequencies[pair].
pub fn table(positions: usize, frequencies: &[f64]) -> Vec<f32> {
    let angles = (0..positions).flat_map(|at| frequencies.iter().map(move |f| at as f64 * f));
    angles.flat_map(|angle| [angle.cos() as f32, angle.sin() as f32]).collect()
}

/// Records the rotation of the query and key heads of qkv (n, (h + 2 g) d) and its gradient rule.
pub fn record(r: &mut dyn Recorder, qkv: Tensor, positions: Tensor, table: Tensor, shape: HeadShape) -> Tensor {
    let n = qkv.shape.rows();
    assert_eq!(qkv.shape.row_len(), shape.width(), "width of a row of heads");
    assert_eq!(positions.shape.len(), n, "one position per row");
    assert!(shape.head_dim.is_multiple_of(2), "rotary heads have an even width");
    assert_eq!(table.shape.row_len(), shape.head_dim, "width of the table");
    let y = r.tensor("rope", &[n, shape.width()], Dtype::F32);
    let params = Params {
        n: n as u32,
        rotated: (shape.heads + shape.kv_heads) as u32,
        slots: (shape.heads + 2 * shape.kv_heads) as u32,
        head_dim: shape.head_dim as u32,
        positions: table.shape.rows() as u32,
        sink: sink::WRITE,
    };
    r.call(Call::new(&FORWARD, &params, &[qkv, positions, table], &[y]));
    let rule = move |r: &mut dyn Recorder, dy: Tensor| {
        let (dqkv, how) = sink::gradient(r, qkv);
        if how != sink::ABSENT {
            r.call(Call::new(&BACKWARD, &Params { sink: how, ..params }, &[dy, positions, table], &[dqkv]));
        }
    };
    r.rule(y, Box::new(rule));
    y
}

/// Uniform of the kernel; `half` = half a head in units of `VEC` words.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Sizes {
    n: u32,
    slots: u32,
    rotated: u32,
    half: u32,
    rows: u32,
    sign: f32,
    sink: u32,
    spare: u32,
}

static ROTATE_KERNEL: Kernel = Kernel {
    name: "rope.rotate",
    source: include_str!("rope.wgsl"),
    entry: "rotate",
    storage: &[("x", Access::Read), ("positions", Access::Read), ("table", Access::Read), ("y", Access::Write)],
    tick: false,
    params_size: 32,
    defines: &[("VEC", &[1, 4])],
    overrides: &[],
};

fn lower(call: &Call, l: &mut Lowering<'_>, sign: f32) {
    let p: Params = call.params();
    let vec = if p.head_dim.is_multiple_of(8) { 4 } else { 1 };
    let half = p.head_dim / 2 / vec;
    let sizes =
        Sizes { n: p.n, slots: p.slots, rotated: p.rotated, half, rows: p.positions, sign, sink: p.sink, spare: 0 };
    let [x, positions, table] = call.reads[..] else { panic!("rope reads three tensors") };
    let bound = [l.whole(x), l.whole(positions), l.whole(table), l.whole(call.writes[0])];
    let grid = threads(p.n as usize * p.slots as usize * half as usize, 64);
    l.dispatch_with(&ROTATE_KERNEL, &sizes, &bound, grid, (call.op.cost)(call), &[("VEC", vec)], &[]);
}

/// Frequencies 10000^(-2 i / d).
fn frequencies(d: usize) -> Vec<f64> {
    (0..d / 2).map(|i| 1e4f64.powf(-2.0 * i as f64 / d as f64)).collect()
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, n, h, g, d, how) in [
        ("one row, one pair", 1, 1, 1, 2, sink::WRITE),
        ("width not a multiple of 8", 11, 3, 1, 20, sink::ADD),
        ("grouped heads", 33, 6, 2, 32, sink::WRITE),
        ("wide heads", 5, 2, 2, 128, sink::ADD),
    ] {
        let width = (h + 2 * g) * d;
        let positions: Vec<u32> = (0..n as u32).map(|i| i * 7 % 50).collect();
        let params = Params {
            n: n as u32,
            rotated: (h + g) as u32,
            slots: (h + 2 * g) as u32,
            head_dim: d as u32,
            positions: 50,
            sink: how,
        };
        for op in [&FORWARD, &BACKWARD] {
            let build = Build::new(name).read(&[n, width], values(1, n * width)).words(&[n], &positions);
            let build = build.read(&[50, d / 2, 2], table(50, &frequencies(d)));
            out.push(build.write_over(&[n, width], values(2, n * width)).call(op, &params));
        }
    }
    out
}

fn gradients() -> Vec<GradientCheck> {
    vec![GradientCheck {
        name: "rope",
        inputs: vec![
            input(0, &[3, 20], values(1, 60), true),
            input_words(1, &[3], &[0, 5, 2]),
            input(2, &[6, 2, 2], table(6, &frequencies(4)), false),
        ],
        record: |r, t| record(r, t[0], t[1], t[2], HeadShape { heads: 3, kv_heads: 1, head_dim: 4 }),
    }]
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "rope",
    ops: &[&FORWARD, &BACKWARD],
    kernels: &[&ROTATE_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance { absolute: 1e-6, relative: 1e-6, why: "two products and a sum, with or without fusing" },
};
