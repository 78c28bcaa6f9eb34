// rms_norm: y = x r gain, r = 1 / sqrt(mean_c(x^2) + eps)
//
//   x (n, c)  input rows          gain (c)  scale of each channel
//   y (n, c)  output              rstd (n)  r, saved for the backward pass
//   dy, dx (n, c)  gradients      parts (strips, c)  sums of dy x r over strips of rows; total adds them to dgain
//
// With g = dy gain: dx = r (g - x r^2 mean_c(g x)); dgain = sum_n(dy x r).
// Grid: forward and backward one row per workgroup or per invocation (lanes.wgsl); partial one invocation per
// (strip, column), total one per column. Limits: none beyond a binding's size. Sums have a fixed order.
//% import lanes

struct Params { n: u32, c: u32, width: u32, eps: f32, dx: u32, dgain: u32, strips: u32, strip: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> gain: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;
@group(0) @binding(4) var<storage, read_write> rstd_out: array<f32>;

@compute @workgroup_size({{(LANES == 1) * 16 + (LANES > 1) * 64}})
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = row_of(flat_group(group), lane);
    if (row >= params.n) { return; }
    let start = row * params.c;
    var squares = T();
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) {
        let value = x[start + i];
        squares += value * value;
    }
    let r = 1.0 / sqrt(row_total(lane, squares) / f32(params.width) + params.eps);
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) {
        y[start + i] = x[start + i] * r * gain[i];
    }
    if (first_of(lane) == 0u) { rstd_out[row] = r; }
}

@group(0) @binding(3) var<storage, read> rstd: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<T>;
@group(0) @binding(5) var<storage, read_write> dx: array<T>;

@compute @workgroup_size({{(LANES == 1) * 16 + (LANES > 1) * 64}})
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = row_of(flat_group(group), lane);
    if (row >= params.n) { return; }
    let start = row * params.c;
    var products = T();
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) {
        products += dy[start + i] * gain[i] * x[start + i];
    }
    let r = rstd[row];
    let slope = row_total(lane, products) / f32(params.width) * r * r;
    for (var i = first_of(lane); i < params.c; i += {{LANES}}u) {
        var value = r * (dy[start + i] * gain[i] - slope * x[start + i]);
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
    var sum = T();
    for (var row = strip * params.strip; row < min((strip + 1u) * params.strip, params.n); row += 1u) {
        sum += dy_rows[row * params.c + column] * x_rows[row * params.c + column] * rstd[row];
    }
    parts_out[i] = sum;
}

@group(0) @binding(1) var<storage, read> parts: array<T>;
@group(0) @binding(2) var<storage, read_write> dgain: array<T>;

@compute @workgroup_size(64)
fn total(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = flat_group(group) * 64u + lane;
    if (column >= params.c) { return; }
    var sum = T();
    for (var strip = 0u; strip < params.strips; strip += 1u) { sum += parts[strip * params.c + column]; }
    if (params.dgain == 2u) { sum += dgain[column]; }
    dgain[column] = sum;
}
