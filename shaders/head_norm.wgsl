// head_norm: root-mean-square normalisation of each query and key head, y = x r gain, r = 1 / sqrt(mean_d(x^2) + eps)
//
//   qkv, y (n, (h + 2 g) d)  heads of a row: h queries, g keys, g values; the values are copied
//   gains (2, d)             for queries and for keys      rstd (n, h + g)  r, saved for the backward pass
//   dy, dqkv                 gradients                     parts (strips, 2, d)  sums of dy x r over strips of rows
//
// With e = dy gain: dx = r (e - x r^2 mean_d(e x)); dgains = the sum of dy x r over rows and heads.
// Grid: forward and backward one invocation per head of a row; partial one per (strip, gain), total one per gain.
// Limits: none beyond a binding's size. Sums have a fixed order.
//% let LANES = 1
//% import lanes

struct Params {
    n: u32, heads: u32, kv_heads: u32, d: u32, width: u32, eps: f32, dx: u32, dgains: u32,
    strips: u32, strip: u32, spare_0: u32, spare_1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> qkv: array<T>;
@group(0) @binding(2) var<storage, read> gains: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
@group(0) @binding(4) var<storage, read_write> rstd_out: array<f32>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    let slots = params.heads + 2u * params.kv_heads;
    let normed = params.heads + params.kv_heads;
    if (i >= params.n * slots) { return; }
    let slot = i % slots;
    let start = i * params.d;
    if (slot >= normed) {
        for (var k = 0u; k < params.d; k += 1u) { y[start + k] = qkv[start + k]; }
        return;
    }
    let gain = select(0u, params.d, slot >= params.heads);
    var squares = T();
    for (var k = 0u; k < params.d; k += 1u) {
        let value = qkv[start + k];
        squares += value * value;
    }
    let r = 1.0 / sqrt(across(squares) / f32(params.width) + params.eps);
    for (var k = 0u; k < params.d; k += 1u) { y[start + k] = qkv[start + k] * r * gains[gain + k]; }
    rstd_out[i / slots * normed + slot] = r;
}

@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<T>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<T>;

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    let slots = params.heads + 2u * params.kv_heads;
    let normed = params.heads + params.kv_heads;
    if (i >= params.n * slots) { return; }
    let slot = i % slots;
    let start = i * params.d;
    let gain = select(0u, params.d, slot >= params.heads);
    let copied = slot >= normed;
    var r = 0.0;
    var slope = 0.0;
    if (!copied) {
        var products = T();
        for (var k = 0u; k < params.d; k += 1u) { products += dy[start + k] * gains[gain + k] * qkv[start + k]; }
        r = rstd[i / slots * normed + slot];
        slope = across(products) / f32(params.width) * r * r;
    }
    for (var k = 0u; k < params.d; k += 1u) {
        var value = dy[start + k];
        if (!copied) { value = r * (value * gains[gain + k] - slope * qkv[start + k]); }
        if (params.dx == 2u) { value += dqkv[start + k]; }
        dqkv[start + k] = value;
    }
}

@group(0) @binding(1) var<storage, read> qkv_rows: array<T>;
@group(0) @binding(2) var<storage, read> dy_rows: array<T>;
@group(0) @binding(4) var<storage, read_write> parts_out: array<T>;

@compute @workgroup_size(64)
fn partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.strips * 2u * params.d) { return; }
    let strip = i / (2u * params.d);
    let column = i % params.d;
    let keys = i / params.d % 2u == 1u;
    let normed = params.heads + params.kv_heads;
    let first = select(0u, params.heads, keys);
    let last = select(params.heads, normed, keys);
    var sum = T();
    for (var row = strip * params.strip; row < min((strip + 1u) * params.strip, params.n); row += 1u) {
        for (var slot = first; slot < last; slot += 1u) {
            let at = (row * (normed + params.kv_heads) + slot) * params.d + column;
            sum += dy_rows[at] * qkv_rows[at] * rstd[row * normed + slot];
        }
    }
    parts_out[i] = sum;
}

@group(0) @binding(1) var<storage, read> parts: array<T>;
@group(0) @binding(2) var<storage, read_write> dgains: array<T>;

@compute @workgroup_size(64)
fn total(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= 2u * params.d) { return; }
    var sum = T();
    for (var strip = 0u; strip < params.strips; strip += 1u) { sum += parts[strip * 2u * params.d + i]; }
    if (params.dgains == 2u) { sum += dgains[i]; }
    dgains[i] = sum;
}
