//! How a GPU does attention: the choice of kernels, and the direct ones of `attention.wgsl` (`tiled` has the others).

use super::{BACKWARD, FORWARD, Params, tiled};
use crate::grid::{bands, grid, threads};
use crate::spec::{Access, Call, Cost, Kernel, Lowering, Region};
use bytemuck::{Pod, Zeroable};

/// Uniform of the kernels: `Params` with widths in units of `VEC` words.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Sizes {
    n: u32,
    m: u32,
    heads: u32,
    kv_heads: u32,
    d: u32,
    q_stride: u32,
    kv_stride: u32,
    k_offset: u32,
    v_offset: u32,
    scale: f32,
    softcap: f32,
    dqkv: u32,
    first: u32,
    past: u32,
    spare: [u32; 2],
}

pub(super) type Storage = &'static [(&'static str, Access)];
pub(super) type Defines = &'static [(&'static str, &'static [u32])];

/// An entry point of one of attention's texts.
pub(super) const fn kernel(
    source: &'static str,
    name: &'static str,
    entry: &'static str,
    storage: Storage,
    defines: Defines,
) -> Kernel {
    Kernel { name, source, entry, storage, tick: false, params_size: 64, defines, overrides: &[] }
}

const DIRECT: &str = include_str!("../attention.wgsl");

/// What the forward kernels bind.
pub(super) const FORWARD_STORAGE: Storage =
    &[("q", Access::Read), ("kv", Access::Read), ("spans", Access::Read), ("y", Access::Write), ("lse", Access::Write)];
static FORWARD_KERNEL: Kernel = kernel(
    DIRECT,
    "attention.forward",
    "forward",
    FORWARD_STORAGE,
    &[("VEC", &[1, 4]), ("ROWS", &[8, 4, 1]), ("COLS", &[16, 4]), ("CAP", &[0, 1])],
);
static DELTA_KERNEL: Kernel = kernel(
    DIRECT,
    "attention.delta",
    "delta",
    &[("dy", Access::Read), ("y_saved", Access::Read), ("lse_saved", Access::Read), ("stats_out", Access::Write)],
    &[("VEC", &[1, 4]), ("ROWS", &[8]), ("COLS", &[8]), ("CAP", &[0])],
);
static QUERIES_KERNEL: Kernel =
    kernel(DIRECT, "attention.backward_queries", "backward_queries", BACKWARD_STORAGE, BACKWARD_DEFINES);
static KEYS_KERNEL: Kernel =
    kernel(DIRECT, "attention.backward_keys", "backward_keys", BACKWARD_STORAGE, BACKWARD_DEFINES);
const BACKWARD_DEFINES: Defines = &[("VEC", &[1, 4]), ("ROWS", &[8, 4]), ("COLS", &[8, 4]), ("CAP", &[0, 1])];
/// What the backward kernels bind, but for delta.
pub(super) const BACKWARD_STORAGE: Storage = &[
    ("dy", Access::Read),
    ("qkv", Access::Read),
    ("spans", Access::Read),
    ("stats", Access::Read),
    ("dqkv", Access::Write),
];

/// All entry points.
pub(super) const KERNELS: &[&Kernel] = &[
    &FORWARD_KERNEL,
    &DELTA_KERNEL,
    &QUERIES_KERNEL,
    &KEYS_KERNEL,
    &tiled::FORWARD,
    &tiled::QUERIES,
    &tiled::KEYS,
    &tiled::VALUES,
];

fn sizes(p: &Params) -> (Sizes, u32) {
    let widths = [p.head_dim, p.q_stride, p.kv_stride, p.k_offset, p.v_offset];
    let vec = if widths.iter().all(|width| width.is_multiple_of(4)) { 4 } else { 1 };
    let sizes = Sizes {
        n: p.n,
        m: p.m,
        heads: p.heads,
        kv_heads: p.kv_heads,
        d: p.head_dim / vec,
        q_stride: p.q_stride / vec,
        kv_stride: p.kv_stride / vec,
        k_offset: p.k_offset / vec,
        v_offset: p.v_offset / vec,
        scale: p.scale,
        softcap: p.softcap,
        dqkv: p.dqkv,
        first: 0,
        past: u32::MAX,
        spare: [0; 2],
    };
    (sizes, vec)
}

/// Rows and keys of the forward tile that one invocation owns.
fn forward_tile(p: &Params, software: bool) -> (u32, u32) {
    // A cap is a long expression for each score: it would make a large tile's program huge.
    if software && p.softcap == 0.0 { (8, 16) } else { (4, 4) }
}

/// Rows and keys of the backward tiles: smaller, because two scores live at once and software adapters compile the
/// larger one for seconds (lavapipe 3.4 s against 2.1 s, for an eighth less time per call).
fn backward_tile(p: &Params, software: bool) -> (u32, u32) {
    if software && p.softcap == 0.0 { (8, 8) } else { (4, 4) }
}

/// On a GPU the direct kernels reach a small part of its rate (16 invocations a workgroup, sums in storage): their cost
/// counts as this many times the operations.
const DIRECT_PENALTY: f64 = 16.0;

fn direct_cost(cost: Cost, software: bool) -> Cost {
    Cost { flops: cost.flops * if software { 1.0 } else { DIRECT_PENALTY }, ..cost }
}

/// Dispatches a kernel over `groups` workgroups, in bands where one would take too long.
pub(super) fn banded(
    l: &mut Lowering<'_>,
    kernel: &'static Kernel,
    sizes: &Sizes,
    bound: &[Region],
    groups: usize,
    cost: Cost,
    defines: &[(&'static str, u32)],
) {
    for (first, count, cost) in bands(groups, cost, &l.caps.dispatch) {
        let sizes = Sizes { first: first as u32, past: (first + count) as u32, ..*sizes };
        l.dispatch_with(kernel, &sizes, bound, grid(count), cost, defines, &[]);
    }
}

pub(super) fn forward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (sizes, vec) = sizes(&p);
    let [q, kv, spans] = call.reads[..] else { panic!("attention.forward reads three tensors") };
    let bound = [l.whole(q), l.whole(kv), l.whole(spans), l.whole(call.writes[0]), l.whole(call.writes[1])];
    let cap = ("CAP", u32::from(p.softcap > 0.0));
    let cost = (FORWARD.cost)(call);
    if let Some(quads) = tiled::quads(&p, vec, l.caps.software) {
        return tiled::forward(l, &p, &sizes, &bound, cost, [("QUADS", quads), cap]);
    }
    let (mut rows, cols) = forward_tile(&p, l.caps.software);
    if p.apart == 1 {
        rows = 1;
    }
    let cost = direct_cost(cost, l.caps.software);
    let groups = (p.n.div_ceil(rows) as usize * p.heads as usize).div_ceil(16);
    banded(l, &FORWARD_KERNEL, &sizes, &bound, groups, cost, &[("VEC", vec), ("ROWS", rows), ("COLS", cols), cap]);
}

pub(super) fn backward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (sizes, vec) = sizes(&p);
    let [dy, qkv, spans, y, lse] = call.reads[..] else { panic!("attention.backward reads five tensors") };
    let (dy, qkv, spans, y, lse) = (l.whole(dy), l.whole(qkv), l.whole(spans), l.whole(y), l.whole(lse));
    let stats = l.scratch(2 * u64::from(p.n) * u64::from(p.heads));
    let bound = [dy, qkv, spans, stats, l.whole(call.writes[0])];
    let sums = Cost { flops: 2.0 * dy.len as f64, bytes: 8.0 * dy.len as f64 };
    let threads = threads(p.n as usize * p.heads as usize, 64);
    l.dispatch_with(&DELTA_KERNEL, &sizes, &[dy, y, lse, stats], threads, sums, &[("VEC", vec)], &[]);
    // `cost` counts five products; the kernels do `products` of them.
    let cost = (BACKWARD.cost)(call);
    let cost = |products: f64| Cost { flops: cost.flops * products / 5.0, bytes: cost.bytes };
    let cap = ("CAP", u32::from(p.softcap > 0.0));
    if let Some(quads) = tiled::quads(&p, vec, l.caps.software) {
        return tiled::backward(l, &p, &sizes, &bound, cost, [("QUADS", quads), cap]);
    }
    let (rows, cols) = backward_tile(&p, l.caps.software);
    for (kernel, owners, products) in [(&QUERIES_KERNEL, p.heads, 3.0), (&KEYS_KERNEL, p.kv_heads, 4.0)] {
        let groups = (p.n.div_ceil(rows) as usize * owners as usize).div_ceil(16);
        let defines = [("VEC", vec), ("ROWS", rows), ("COLS", cols), cap];
        banded(l, kernel, &sizes, &bound, groups, direct_cost(cost(products), l.caps.software), &defines);
    }
}
