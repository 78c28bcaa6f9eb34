// reduce: sums in a fixed order
//
//   columns   x (rows, cols) -> y: row z of y is scale * the sum of the rows z * part .. (z + 1) * part of x, or is
//             increased by it. Grid: one invocation per column piece of VEC words, z = parts.
//   partial   x (cols) -> y (64): y[j] = sum of the blocks of 1024 words number j, j + 64, ... Grid: 64 workgroups.
//   total     parts (64) -> result (4) = {sum, 0, 0, 0}. Grid: one invocation.
// Limits: none beyond a binding's size.
//% import grid

//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end

struct Params { rows: u32, cols: u32, part: u32, acc: u32, scale: f32, spare_0: u32, spare_1: u32, spare_2: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;

@compute @workgroup_size(64)
fn columns(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let col = flat_group(group) * 64u + lane;
    if (col >= params.cols) { return; }
    let last = min((group.z + 1u) * params.part, params.rows);
    var sum = T();
    for (var row = group.z * params.part; row < last; row += 1u) {
        sum += x[row * params.cols + col];
    }
    sum *= params.scale;
    let at = group.z * params.cols + col;
    if (params.acc == 1u) { sum += y[at]; }
    y[at] = sum;
}

//% if VEC == 1
var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var block = group.x * 1024u; block < params.cols; block += 65536u) {
        let last = min(block + 1024u, params.cols);
        for (var i = block + lane; i < last; i += 64u) { sum += x[i]; }
    }
    sums[lane] = sum;
    workgroupBarrier();
    if (lane == 0u) {
        var total = 0.0;
        for (var i = 0u; i < 64u; i += 1u) { total += sums[i]; }
        y[group.x] = total;
    }
}

@group(0) @binding(1) var<storage, read> parts: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;

@compute @workgroup_size(1)
fn total() {
    var sum = 0.0;
    for (var i = 0u; i < 64u; i += 1u) { sum += parts[i]; }
    result[0] = vec4(sum, 0.0, 0.0, 0.0);
}
//% end
