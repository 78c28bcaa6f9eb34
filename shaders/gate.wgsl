// gate: y = act(gate) up, the inner half of a gated feed-forward layer
//
//   gu (n, 2 f)  [gate | up]      y (n, f)  output      dy (n, f), dgu (n, 2 f)  gradients
//
// Backward: dgate = dy up act'(gate), dup = dy act(gate). Grid: one invocation per T (four words, or one).
// Limits: none beyond a binding's size.
//% import grid
//% import activation

//% if VEC == 4
alias T = vec4<f32>;
fn act(z: T) -> T {
    let k = params.kind;
    return T(activate(k, z.x), activate(k, z.y), activate(k, z.z), activate(k, z.w));
}
fn act_slope(z: T) -> T {
    let k = params.kind;
    return T(activation_slope(k, z.x), activation_slope(k, z.y), activation_slope(k, z.z), activation_slope(k, z.w));
}
//% else
alias T = f32;
fn act(z: T) -> T { return activate(params.kind, z); }
fn act_slope(z: T) -> T { return activation_slope(params.kind, z); }
//% end

struct Params { n: u32, f: u32, kind: u32, sink: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> gu: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;

@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.n * params.f) { return; }
    let at = i + i / params.f * params.f;
    y[i] = act(gu[at]) * gu[at + params.f];
}

@group(0) @binding(2) var<storage, read> dy: array<T>;
@group(0) @binding(3) var<storage, read_write> dgu: array<T>;

@compute @workgroup_size(64)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.n * params.f) { return; }
    let at = i + i / params.f * params.f;
    let z = gu[at];
    var dgate = dy[i] * gu[at + params.f] * act_slope(z);
    var dup = dy[i] * act(z);
    if (params.sink == 2u) {
        dgate += dgu[at];
        dup += dgu[at + params.f];
    }
    dgu[at] = dgate;
    dgu[at + params.f] = dup;
}
