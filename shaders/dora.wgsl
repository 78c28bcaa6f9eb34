// dora: columns of a product times magnitude / norm (Liu et al., 2024), and what that needs
//
//   t, y, dy, dt (n, m)   product before, product after, and their gradients; m is `width` here
//   factors (m)           magnitude / norm of each column, 1 where no adapter stands
//   bias (m)              added to every row, if params.bias == 1
//   scales    norms[i] = |w_i + scale b_i a|, factors[i] = magnitude_i / norms[i] (exactly 1 where both are the same,
//             whatever a division makes of it), for rows i of a weight w (.., k) with a (rank, k), b (.., rank).
//             Grid: four rows per workgroup of 64.
//   forward   y = factors t + bias, or added to y. Grid: one invocation per piece of VEC words.
//   magnitude parts (strips, cols): sums of dy t / norm over strips of rows. Grid: one invocation per column, y strips.
//
// Limits: none beyond a binding's size. Sums have a fixed order.
//% import grid

//% if PART == 0
struct Params {
    // Rows of w here; the first of them in w's binding, among the rows of b, and in norms.
    rows: u32, w_first: u32, b_first: u32, to: u32,
    k: u32, rank: u32, scale: f32, spare: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> magnitude: array<f32>;
@group(0) @binding(5) var<storage, read_write> norms: array<f32>;
@group(0) @binding(6) var<storage, read_write> factors: array<f32>;

var<workgroup> sums: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn scales(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = flat_group(group) * 4u;
    if (first >= params.rows) { return; }
//% for t in 0..4
    let row_{{t}} = min(first + {{t}}u, params.rows - 1u);
    let w_{{t}} = (params.w_first + row_{{t}}) * params.k;
    let b_{{t}} = (params.b_first + row_{{t}}) * params.rank;
//% end
    var sum = vec4<f32>();
    for (var i = lane; i < params.k; i += 64u) {
        var low = vec4<f32>();
        for (var j = 0u; j < params.rank; j += 1u) {
            low += a[j * params.k + i] * vec4(b[b_0 + j], b[b_1 + j], b[b_2 + j], b[b_3 + j]);
        }
        let value = vec4(w[w_0 + i], w[w_1 + i], w[w_2 + i], w[w_3 + i]) + params.scale * low;
        sum += value * value;
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) { sums[lane] += sums[lane + half]; }
        workgroupBarrier();
    }
    if (lane < 4u && first + lane < params.rows) {
        let norm = sqrt(sums[0][lane]);
        let wanted = magnitude[params.b_first + first + lane];
        norms[params.to + first + lane] = norm;
        factors[params.to + first + lane] = select(wanted / norm, 1.0, wanted == norm);
    }
}
//% end

//% if PART == 1
//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end

// Pieces of all elements and of a row.
struct Params { len: u32, width: u32, bias: u32, acc: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> t: array<T>;
@group(0) @binding(2) var<storage, read> column_factors: array<T>;
@group(0) @binding(3) var<storage, read> bias: array<T>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.len) { return; }
    let col = i % params.width;
    var value = t[i] * column_factors[col];
    if (params.bias == 1u) { value += bias[col]; }
    if (params.acc == 1u) { value += y[i]; }
    y[i] = value;
}
//% end

//% if PART == 2
// Columns of the module and the first of them; rows of dy, of a strip; columns of dy.
struct Params { cols: u32, first: u32, rows: u32, strip: u32, width: u32, spare_0: u32, spare_1: u32, spare_2: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> product: array<f32>;
@group(0) @binding(3) var<storage, read> column_norms: array<f32>;
@group(0) @binding(4) var<storage, read_write> parts: array<f32>;

@compute @workgroup_size(64)
fn magnitude_parts(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let col = group.x * 64u + lane;
    if (col >= params.cols) { return; }
    let last = min((group.y + 1u) * params.strip, params.rows);
    var sum = 0.0;
    for (var row = group.y * params.strip; row < last; row += 1u) {
        let at = row * params.width + params.first + col;
        sum += dy[at] * product[at];
    }
    let norm = column_norms[params.first + col];
    parts[group.y * params.cols + col] = select(0.0, sum / norm, norm > 0.0);
}
//% end
