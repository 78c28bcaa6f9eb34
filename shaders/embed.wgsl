// embed: y = table[ids] + add; backward sums dy over the tokens of each id, in the tokens' order
//
//   table (rows, c)  one shard of the table       ids (n)      token ids
//   add (n, c)       added to y, or absent        y (n, c)     output
//   dy (n, c)        gradient of y                order (n)    tokens sorted by id
//   runs (n, 2)      {id, first index into order} of each id that occurs
//
// Grid: forward one invocation per element of y, backward one per (run, column), clear one per element of the shard.
// Rows outside the shard are skipped. Limits: none beyond a binding's size. Reads and writes each row once.
//% import grid

//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end

struct Params { n: u32, c: u32, v: u32, first: u32, rows: u32, add: u32, spare_0: u32, spare_1: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> table: array<T>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read> add: array<T>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.n * params.c) { return; }
    let row = i / params.c;
    // An id beyond the table is the host's mistake; it must not become a read out of bounds.
    let id = min(ids[row], params.v - 1u);
    if (id < params.first || id >= params.first + params.rows) { return; }
    var value = table[(id - params.first) * params.c + (i - row * params.c)];
    if (params.add == 1u) { value += add[i]; }
    y[i] = value;
}

@group(0) @binding(1) var<storage, read> dy: array<T>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<storage, read> runs: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read_write> dtable: array<T>;

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.n * params.c) { return; }
    let run = i / params.c;
    let column = i - run * params.c;
    let id = runs[run].x;
    // The padding's id lies beyond every shard.
    if (id < params.first || id >= params.first + params.rows) { return; }
    var last = params.n;
    if (run + 1u < params.n) { last = runs[run + 1u].y; }
    var sum = T();
    for (var at = runs[run].y; at < last; at += 1u) {
        sum += dy[order[at] * params.c + column];
    }
    dtable[(id - params.first) * params.c + column] += sum;
}

@group(0) @binding(1) var<storage, read_write> cleared: array<T>;

@compute @workgroup_size(64)
fn clear(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i < params.rows * params.c) { cleared[i] = T(); }
}
