// layer_norm: y = xhat gain + bias,  xhat = (x - mean_c(x)) r,  r = 1 / sqrt(mean_c((x - mean)^2) + eps)
//
//   x (n, c)  input rows          gain, bias (c)  scale and shift of each channel; the bias may be absent
//   y (n, c)  output              stats (n, 2)    {mean, r}, saved for the backward pass
//   dy, dx (n, c)  gradients      parts (strips, 2, c)  sums of dy xhat and of dy over strips of rows
//
// With g = dy gain: dx = r (g - mean_c(g) - xhat mean_c(g xhat)); dgain = sum_n(dy xhat); dbias = sum_n(dy).
// Grid: forward and backward one row per workgroup or per invocation (lanes.wgsl); partial one invocation per
// (strip, column), total_gain and total_bias one per column. Limits: none beyond a binding's size. Sums have a fixed
// order.
//% import lanes

struct Params {
    n: u32, c: u32, width: u32, eps: f32, bias: u32, dx: u32, dgain: u32, dbias: u32,
    strips: u32, strip: u32, spare_0: u32, spare_1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> gain: array<T>;
@group(0) @binding(3) var<storage, read> bias: array<T>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;
@group(0) @binding(5) var<storage, read_write> stats_out: array<vec2<f32>>;

@compute @workgroup_size({{(LANES == 1) * 16 + (LANES > 1) * 64}})
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = row_of(flat_group(group), lane);
    if (row >= params.n) { return; }
    let start = row * params.c;
    var sum = T();
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) { sum += x[start + i]; }
    let mean = row_total(lane, sum) / f32(params.width);
    var squares = T();
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) {
        let value = x[start + i] - mean;
        squares += value * value;
    }
    let r = 1.0 / sqrt(row_total(lane, squares) / f32(params.width) + params.eps);
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) {
        var value = (x[start + i] - mean) * r * gain[i];
        if (params.bias == 1u) { value += bias[i]; }
        y[start + i] = value;
    }
    if (first_of(lane) == 0u) { stats_out[row] = vec2<f32>(mean, r); }
}

@group(0) @binding(3) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> dy: array<T>;
@group(0) @binding(5) var<storage, read_write> dx: array<T>;

@compute @workgroup_size({{(LANES == 1) * 16 + (LANES > 1) * 64}})
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = row_of(flat_group(group), lane);
    if (row >= params.n) { return; }
    let start = row * params.c;
    let mean = stats[row].x;
    let r = stats[row].y;
    var sum = T();
    var products = T();
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) {
        let g = dy[start + i] * gain[i];
        sum += g;
        products += g * (x[start + i] - mean);
    }
    let shift = row_total(lane, sum) / f32(params.width);
    let slope = row_total(lane, products) / f32(params.width) * r * r;
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) {
        var value = r * (dy[start + i] * gain[i] - shift - slope * (x[start + i] - mean));
        if (params.dx == 2u) { value += dx[start + i]; }
        dx[start + i] = value;
    }
}

@group(0) @binding(1) var<storage, read> x_rows: array<T>;
@group(0) @binding(2) var<storage, read> dy_rows: array<T>;
@group(0) @binding(4) var<storage, read_write> parts_out: array<T>;

@compute @workgroup_size(64)
fn partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.strips * params.c) { return; }
    let strip = i / params.c;
    let column = i - strip * params.c;
    var gain_sum = T();
    var bias_sum = T();
    for (var row = strip * params.strip; row < min((strip + 1u) * params.strip, params.n); row += 1u) {
        let slope = dy_rows[row * params.c + column];
        gain_sum += slope * ((x_rows[row * params.c + column] - stats[row].x) * stats[row].y);
        bias_sum += slope;
    }
    parts_out[2u * strip * params.c + column] = gain_sum;
    parts_out[(2u * strip + 1u) * params.c + column] = bias_sum;
}

@group(0) @binding(1) var<storage, read> parts: array<T>;
@group(0) @binding(2) var<storage, read_write> dgain: array<T>;

@compute @workgroup_size(64)
fn total_gain(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = flat_group(group) * 64u + lane;
    if (column >= params.c) { return; }
    var sum = T();
    for (var strip = 0u; strip < params.strips; strip += 1u) { sum += parts[2u * strip * params.c + column]; }
    if (params.dgain == 2u) { sum += dgain[column]; }
    dgain[column] = sum;
}

@group(0) @binding(2) var<storage, read_write> dbias: array<T>;

@compute @workgroup_size(64)
fn total_bias(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = flat_group(group) * 64u + lane;
    if (column >= params.c) { return; }
    var sum = T();
    for (var strip = 0u; strip < params.strips; strip += 1u) { sum += parts[(2u * strip + 1u) * params.c + column]; }
    if (params.dbias == 2u) { sum += dbias[column]; }
    dbias[column] = sum;
}
