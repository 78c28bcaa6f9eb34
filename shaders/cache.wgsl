// cache: cache[slots[i]] = x[i, from .. from + width]
//
//   x (n, w)  new rows      slots (n)  row of the cache, 0xFFFFFFFF = skip      cache (rows, width)  keys and values
//
// Grid: one invocation per element written. Limits: none beyond a binding's size.
//% import grid

struct Params { n: u32, stride: u32, start: u32, width: u32, rows: u32, spare_0: u32, spare_1: u32, spare_2: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read_write> cache: array<f32>;

@compute @workgroup_size(64)
fn append(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.n * params.width) { return; }
    let row = i / params.width;
    let column = i - row * params.width;
    // A slot beyond the cache is skipped too: it must not become a write out of bounds.
    if (slots[row] >= params.rows) { return; }
    cache[slots[row] * params.width + column] = x[row * params.stride + params.start + column];
}
