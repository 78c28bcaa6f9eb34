// adamw: one step of AdamW with decoupled decay, elementwise (order of operations: torch.optim.AdamW)
//
//   g        gradient, scaled by tick.clip before use
//   p, m, v  weight and moments, one shard of each; params.len counts them in pieces of VEC words
//
// Grid: one invocation per piece, workgroups of 64. Limits: none beyond a binding's size.
//% import grid
//% import tick

//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end

struct Params { beta1: f32, beta2: f32, eps: f32, decay: f32, lr_scale: f32, len: u32, spare_0: u32, spare_1: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> g: array<T>;
@group(0) @binding(2) var<storage, read_write> p: array<T>;
@group(0) @binding(3) var<storage, read_write> m: array<T>;
@group(0) @binding(4) var<storage, read_write> v: array<T>;

@compute @workgroup_size(64)
fn apply(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.len) { return; }
    let rate = tick.learning_rate * params.lr_scale;
    let gradient = g[i] * tick.clip;
    let first = params.beta1 * m[i] + (1.0 - params.beta1) * gradient;
    let second = params.beta2 * v[i] + (1.0 - params.beta2) * gradient * gradient;
    let spread = sqrt(second) / sqrt(tick.bias2) + T(params.eps);
    p[i] = p[i] * (1.0 - rate * params.decay) - (rate / tick.bias1) * first / spread;
    m[i] = first;
    v[i] = second;
}
