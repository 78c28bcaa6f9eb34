//! embed: rows of a table by token id, y = table[ids] + add.
//!
//! Shapes: table (v, c), ids (n), add (n, c) or absent (a second embedding, of positions), y (n, c). Backward:
//! dtable[id] += the sum of dy over the tokens with that id, in the order of the tokens. The tokens come sorted by id
//! from the host (as llm.c does it, karpathy/llm.c#442), so that one owner sums each row: no float atomics, the same
//! bits every time.

use crate::cases::{Build, input, input_words};
use crate::grid::threads;
use crate::noise::values;
use crate::sink;
use crate::spec::{
    Access, Args, Call, Case, Cost, Dtype, GradientCheck, Kernel, Lowering, Op, Pair, Recorder, Tensor, Tolerance,
    words,
};
use bytemuck::{Pod, Zeroable};

/// Forward and backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Tokens.
    pub n: u32,
    /// Channels.
    pub c: u32,
    /// Rows of the table.
    pub v: u32,
    /// Forward: 1 if `add` is there. Backward: how dtable is treated (`sink::WRITE` or `sink::ADD`).
    pub add: u32,
}

/// Tokens sorted stably by id.
#[derive(Clone, Copy, Debug)]
pub struct Sorted {
    /// (n): token positions in that order.
    pub order: Tensor,
    /// (n, 2): {id, first index into `order`} of each id that occurs, padded with {0xFFFFFFFF, n}.
    pub runs: Tensor,
}

/// reads table, ids, add; writes y.
pub static FORWARD: Op = Op {
    name: "embed.forward",
    spec: forward,
    lower: lower_forward,
    cost: |call| {
        let p: Params = call.params();
        Cost { flops: 0.0, bytes: 4.0 * f64::from(p.n) * f64::from(p.c) * f64::from(2 + p.add) }
    },
};

/// reads dy, order, runs; writes dtable.
pub static BACKWARD: Op = Op {
    name: "embed.backward",
    spec: backward,
    lower: lower_backward,
    cost: |call| {
        let p: Params = call.params();
        let moved = f64::from(p.n) * f64::from(p.c);
        Cost { flops: moved, bytes: 12.0 * moved }
    },
};

fn forward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let c = p.c as usize;
    let (table, ids, add) = (args.reads[0], words(args.reads[1]), args.reads[2]);
    for (row, &id) in ids.iter().enumerate() {
        assert!(id < p.v, "token id {id} of a vocabulary of {}", p.v);
        for col in 0..c {
            let more = if p.add == 1 { add[row * c + col] } else { 0.0 };
            args.writes[0][row * c + col] = table[id as usize * c + col] + more;
        }
    }
}

fn backward(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (n, c) = (p.n as usize, p.c as usize);
    let (dy, order, runs) = (args.reads[0], words(args.reads[1]), words(args.reads[2]));
    if p.add == sink::WRITE {
        args.writes[0].fill(0.0);
    }
    for run in 0..n {
        let (id, first) = (runs[2 * run], runs[2 * run + 1] as usize);
        if id == u32::MAX {
            break;
        }
        let last = if run + 1 < n { runs[2 * run + 3] as usize } else { n };
        for col in 0..c {
            let sum: f64 = order[first..last].iter().map(|&token| f64::from(dy[token as usize * c + col])).sum();
            args.writes[0][id as usize * c + col] += sum as f32;
        }
    }
}

/// Records y = table[ids] + add and its gradient rule. `sorted` belongs to `ids`; absent where the table is not
/// trained.
pub fn record(r: &mut dyn Recorder, table: Tensor, ids: Tensor, sorted: Sorted, add: Option<Tensor>) -> Tensor {
    let (n, c, v) = (ids.shape.len(), table.shape.dim(1), table.shape.dim(0));
    // Where no gradient is wanted nobody sorts.
    let sorts = !sorted.order.is_none();
    assert!(sorts || !r.wants(table), "a trained table needs its tokens sorted");
    assert!(!sorts || sorted.order.shape.len() == n, "order of the tokens");
    assert!(!sorts || sorted.runs.shape.len() == 2 * n, "runs of the tokens");
    let more = add.unwrap_or(Tensor::none());
    assert!(add.is_none_or(|add| add.shape.dims() == [n, c]), "shape of what is added");
    let y = r.tensor("embed", &[n, c], Dtype::F32);
    let params = Params { n: n as u32, c: c as u32, v: v as u32, add: u32::from(add.is_some()) };
    r.call(Call::new(&FORWARD, &params, &[table, ids, more], &[y]));
    let rule = move |r: &mut dyn Recorder, dy: Tensor| {
        let (dtable, how) = sink::gradient(r, table);
        if how != sink::ABSENT {
            let params = Params { add: how, ..params };
            r.call(Call::new(&BACKWARD, &params, &[dy, sorted.order, sorted.runs], &[dtable]));
        }
        if !more.is_none() && r.wants(more) {
            r.pass(more, dy);
        }
    };
    r.rule(y, Box::new(rule));
    y
}

/// Uniform of the kernels: `first .. first + rows` are the table's rows in this binding; widths in units of `VEC`
/// words.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Shard {
    n: u32,
    c: u32,
    v: u32,
    first: u32,
    rows: u32,
    add: u32,
    spare: [u32; 2],
}

const DEFINES: &[(&str, &[u32])] = &[("VEC", &[1, 4])];
const WORKGROUP: usize = 64;

static FORWARD_KERNEL: Kernel = Kernel {
    name: "embed.forward",
    source: include_str!("embed.wgsl"),
    entry: "forward",
    storage: &[("table", Access::Read), ("ids", Access::Read), ("add", Access::Read), ("y", Access::Write)],
    tick: false,
    params_size: 32,
    defines: DEFINES,
    overrides: &[],
};

static BACKWARD_KERNEL: Kernel = Kernel {
    name: "embed.backward",
    source: include_str!("embed.wgsl"),
    entry: "backward",
    storage: &[("dy", Access::Read), ("order", Access::Read), ("runs", Access::Read), ("dtable", Access::Write)],
    tick: false,
    params_size: 32,
    defines: DEFINES,
    overrides: &[],
};

static CLEAR_KERNEL: Kernel = Kernel {
    name: "embed.clear",
    source: include_str!("embed.wgsl"),
    entry: "clear",
    storage: &[("cleared", Access::Write)],
    tick: false,
    params_size: 32,
    defines: DEFINES,
    overrides: &[],
};

/// The uniform for each shard of a table, and the vector width that its rows allow.
fn shards(p: &Params, table: Tensor, l: &Lowering<'_>) -> (Vec<Shard>, u32) {
    let vec = if p.c.is_multiple_of(4) { 4 } else { 1 };
    let each = l.caps.shards(&table.shape).into_iter();
    let params = each.map(|(first, rows)| Shard {
        n: p.n,
        c: p.c / vec,
        v: p.v,
        first: first as u32,
        rows: rows as u32,
        add: p.add,
        spare: [0; 2],
    });
    (params.collect(), vec)
}

fn lower_forward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let [table, ids, add] = call.reads[..] else { panic!("embed.forward reads three tensors") };
    let (params, vec) = shards(&p, table, l);
    let mut cost = (FORWARD.cost)(call);
    cost.bytes /= params.len() as f64;
    for shard in params {
        let rows = l.rows(table, shard.first as usize, shard.rows as usize);
        let bound = [rows, l.whole(ids), l.whole(add), l.whole(call.writes[0])];
        let grid = threads(shard.n as usize * shard.c as usize, WORKGROUP);
        l.dispatch_with(&FORWARD_KERNEL, &shard, &bound, grid, cost, &[("VEC", vec)], &[]);
    }
}

fn lower_backward(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let [dy, order, runs] = call.reads[..] else { panic!("embed.backward reads three tensors") };
    let (params, vec) = shards(&p, call.writes[0], l);
    let mut cost = (BACKWARD.cost)(call);
    cost.bytes /= params.len() as f64;
    for shard in params {
        let rows = l.rows(call.writes[0], shard.first as usize, shard.rows as usize);
        if p.add == sink::WRITE {
            let grid = threads(shard.rows as usize * shard.c as usize, WORKGROUP);
            let clearing = Cost { flops: 0.0, bytes: 4.0 * rows.len as f64 };
            l.dispatch_with(&CLEAR_KERNEL, &shard, &[rows], grid, clearing, &[("VEC", vec)], &[]);
        }
        let bound = [l.whole(dy), l.whole(order), l.whole(runs), rows];
        let grid = threads(shard.n as usize * shard.c as usize, WORKGROUP);
        l.dispatch_with(&BACKWARD_KERNEL, &shard, &bound, grid, cost, &[("VEC", vec)], &[]);
    }
}

/// The stable order by id and its runs: what the data side prepares for the ids of a micro-batch.
pub fn sort(ids: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&token| ids[token as usize]);
    let mut runs = Vec::with_capacity(2 * ids.len());
    for (at, &token) in order.iter().enumerate() {
        if at == 0 || ids[order[at - 1] as usize] != ids[token as usize] {
            runs.extend([ids[token as usize], at as u32]);
        }
    }
    while runs.len() < 2 * ids.len() {
        runs.extend([u32::MAX, ids.len() as u32]);
    }
    (order, runs)
}

fn ids(n: usize, v: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * i * 7 + i / 3) % v) as u32).collect()
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, n, c, v, add) in [
        ("one token, one channel", 1, 1, 1, false),
        ("odd width", 37, 5, 11, true),
        ("vectors, many repeats", 70, 12, 3, true),
        ("last row of the table", 2, 64, 97, false),
    ] {
        let ids = ids(n, v);
        let (order, runs) = sort(&ids);
        let params = Params { n: n as u32, c: c as u32, v: v as u32, add: u32::from(add) };
        let build = Build::new(name).read(&[v, c], values(1, v * c)).words(&[n], &ids);
        let build = if add { build.read(&[n, c], values(2, n * c)) } else { build.no_read() };
        out.push(build.write(&[n, c]).call(&FORWARD, &params));
        for how in [sink::WRITE, sink::ADD] {
            let build = Build::new(name).read(&[n, c], values(3, n * c)).words(&[n], &order).words(&[n, 2], &runs);
            let build = build.write_over(&[v, c], values(4, v * c));
            out.push(build.call(&BACKWARD, &Params { add: how, ..params }));
        }
    }
    out
}

fn gradients() -> Vec<GradientCheck> {
    let ids = ids(9, 5);
    let (order, runs) = sort(&ids);
    vec![GradientCheck {
        name: "embed",
        inputs: vec![
            input(0, &[5, 3], values(1, 15), true),
            input_words(1, &[9], &ids),
            input_words(2, &[9], &order),
            input_words(3, &[9, 2], &runs),
            input(4, &[9, 3], values(2, 27), true),
        ],
        record: |r, t| record(r, t[0], t[1], Sorted { order: t[2], runs: t[3] }, Some(t[4])),
    }]
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "embed",
    ops: &[&FORWARD, &BACKWARD],
    kernels: &[&FORWARD_KERNEL, &BACKWARD_KERNEL, &CLEAR_KERNEL],
    cases,
    gradients,
    tolerance: Tolerance { absolute: 1e-6, relative: 2e-6, why: "f32 sums of up to 70 terms against f64 sums" },
};
