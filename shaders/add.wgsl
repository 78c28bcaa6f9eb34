// add: y = alpha a + beta b; sum = alpha term + beta sum
//
//   a, b, y, term, sum   all of the same length; params.len counts them in pieces of VEC words
//
// Grid: one invocation per piece, workgroups of 64. Limits: none beyond a binding's size.
//% import grid

//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end

struct Params { len: u32, alpha: f32, beta: f32, spare: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> a: array<T>;
@group(0) @binding(2) var<storage, read> b: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.len) { return; }
    y[i] = params.alpha * a[i] + params.beta * b[i];
}

@group(0) @binding(1) var<storage, read> term: array<T>;
@group(0) @binding(2) var<storage, read_write> sum: array<T>;

@compute @workgroup_size(64)
fn accumulate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.len) { return; }
    var value = params.alpha * term[i];
    // What an overwritten sum holds may be no number.
    if (params.beta != 0.0) { value += params.beta * sum[i]; }
    sum[i] = value;
}
