//! How a GPU does attention: the choice of kernels and tiles.

use super::{BACKWARD, FORWARD, Params};
use crate::grid::threads;
use crate::spec::{Access, Call, Cost, Kernel, Lowering};
use bytemuck::{Pod, Zeroable};

/// Uniform of the kernels: `Params` with widths in units of `VEC` words.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Sizes {
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
}

const fn kernel(name: &'static str, entry: &'static str, storage: &'static [(&'static str, Access)]) -> Kernel {
    Kernel {
        name,
        source: include_str!("../attention.wgsl"),
        entry,
        storage,
        tick: false,
        params_size: 48,
        defines: &[("VEC", &[1, 4]), ("ROWS", &[8, 4, 1]), ("COLS", &[16, 8, 4]), ("CAP", &[0, 1])],
        overrides: &[],
    }
}

static FORWARD_KERNEL: Kernel = kernel(
    "attention.forward",
    "forward",
    &[("q", Access::Read), ("kv", Access::Read), ("spans", Access::Read), ("y", Access::Write), ("lse", Access::Write)],
);
static DELTA_KERNEL: Kernel = kernel(
    "attention.delta",
    "delta",
    &[("dy", Access::Read), ("y_saved", Access::Read), ("lse_saved", Access::Read), ("stats_out", Access::Write)],
);
static QUERIES_KERNEL: Kernel = kernel("attention.backward_queries", "backward_queries", BACKWARD_STORAGE);
static KEYS_KERNEL: Kernel = kernel("attention.backward_keys", "backward_keys", BACKWARD_STORAGE);
const BACKWARD_STORAGE: &[(&str, Access)] = &[
    ("dy", Access::Read),
    ("qkv", Access::Read),
    ("spans", Access::Read),
    ("stats", Access::Read),
    ("dqkv", Access::Write),
];

/// All entry points.
pub(super) const KERNELS: &[&Kernel] = &[&FORWARD_KERNEL, &DELTA_KERNEL, &QUERIES_KERNEL, &KEYS_KERNEL];

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

pub(super) fn forward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (sizes, vec) = sizes(&p);
    let [q, kv, spans] = call.reads[..] else { panic!("attention.forward reads three tensors") };
    let (mut rows, cols) = forward_tile(&p, l.caps.software);
    if u64::from(p.m) >= 32 * u64::from(p.n) {
        // Decoding: every row is another sequence, so that rows of one tile would share no keys.
        rows = 1;
    }
    let bound = [l.whole(q), l.whole(kv), l.whole(spans), l.whole(call.writes[0]), l.whole(call.writes[1])];
    let grid = threads(p.n.div_ceil(rows) as usize * p.heads as usize, 16);
    let defines = [("VEC", vec), ("ROWS", rows), ("COLS", cols), ("CAP", u32::from(p.softcap > 0.0))];
    l.dispatch_with(&FORWARD_KERNEL, &sizes, &bound, grid, (FORWARD.cost)(call), &defines, &[]);
}

pub(super) fn backward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let (sizes, vec) = sizes(&p);
    let [dy, qkv, spans, y, lse] = call.reads[..] else { panic!("attention.backward reads five tensors") };
    let (dy, qkv, spans, y, lse) = (l.whole(dy), l.whole(qkv), l.whole(spans), l.whole(y), l.whole(lse));
    let dqkv = l.whole(call.writes[0]);
    let (rows, cols) = backward_tile(&p, l.caps.software);
    let defines = [("VEC", vec), ("ROWS", rows), ("COLS", cols), ("CAP", u32::from(p.softcap > 0.0))];
    let cost = (BACKWARD.cost)(call);
    let stats = l.scratch(2 * u64::from(p.n) * u64::from(p.heads));
    let sums = Cost { flops: 2.0 * dy.len as f64, bytes: 8.0 * dy.len as f64 };
    let grid = threads(p.n as usize * p.heads as usize, 64);
    l.dispatch_with(&DELTA_KERNEL, &sizes, &[dy, y, lse, stats], grid, sums, &[("VEC", vec)], &[]);
    // Three of the seven products belong to the queries, four to the keys.
    for (kernel, owners, share) in [(&QUERIES_KERNEL, p.heads, 0.6), (&KEYS_KERNEL, p.kv_heads, 0.8)] {
        let grid = threads(p.n.div_ceil(rows) as usize * owners as usize, 16);
        let cost = Cost { flops: cost.flops * share, bytes: cost.bytes };
        l.dispatch_with(kernel, &sizes, &[dy, qkv, spans, stats, dqkv], grid, cost, &defines, &[]);
    }
}
