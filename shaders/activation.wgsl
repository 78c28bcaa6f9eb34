// activation: y = act(z) and dz = dy act'(z), elementwise
//
//   z, y, dy, dz   all of the same length; params.len counts them in pieces of VEC words
//
// Grid: one invocation per piece, workgroups of 64. Limits: none beyond a binding's size.
//% import grid
//% import activation

//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end

struct Params { len: u32, kind: u32, spare_0: u32, spare_1: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> z: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.len) { return; }
    let x = z[i];
//% if VEC == 4
    y[i] = T(activate(params.kind, x.x), activate(params.kind, x.y),
             activate(params.kind, x.z), activate(params.kind, x.w));
//% else
    y[i] = activate(params.kind, x);
//% end
}

@group(0) @binding(1) var<storage, read> dy: array<T>;
@group(0) @binding(2) var<storage, read> z_in: array<T>;
@group(0) @binding(3) var<storage, read_write> dz: array<T>;

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.len) { return; }
    let x = z_in[i];
//% if VEC == 4
    dz[i] = dy[i] * T(activation_slope(params.kind, x.x), activation_slope(params.kind, x.y),
                      activation_slope(params.kind, x.z), activation_slope(params.kind, x.w));
//% else
    dz[i] = dy[i] * activation_slope(params.kind, x);
//% end
}
