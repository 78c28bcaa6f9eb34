// dropout: y = x keep / (1 - rate), keep from the random word of (row key, column, site, draw)
//
//   x, y (n, c)  input and output; backward dy -> dx        keys (n)  noise key of each row
//
// The bit of an element does not depend on where the row stands in a batch: any cut of a window draws the same noise.
// Grid: one invocation per four columns of a row. Limits: none beyond a binding's size.
//% import grid
//% import tick
//% import rng

struct Params { n: u32, c: u32, fours: u32, threshold: u32, scale: f32, site: u32, sink: u32, spare: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn apply(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.n * params.fours) { return; }
    let row = i / params.fours;
    let four = i - row * params.fours;
    let noise = philox(vec2<u32>(tick.seed_lo, tick.seed_hi), vec4<u32>(keys[row], four, params.site, tick.draw));
    let at = row * params.c + 4u * four;
    //% for k in 0..4
    if (4u * four + {{k}}u < params.c) {
        var value = select(0.0, x[at + {{k}}u] * params.scale, noise[{{k}}] >= params.threshold);
        if (params.sink == 2u) { value += y[at + {{k}}u]; }
        y[at + {{k}}u] = value;
    }
    //% end
}
