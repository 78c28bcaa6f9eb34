// rope: rotary positions, half-split: (a, b) = (x_i, x_(i + d/2)) -> (a cos - b sin, b cos + a sin)
//
//   x, y (n, slots, d)   heads of a row; the first `rotated` of them are rotated, the rest copied
//   positions (n)        position of each row          table (rows, d / 2, 2)  {cos, sin} of each position and pair
//
// The backward pass is the same with the sign of sin changed. Grid: one invocation per pair of T (T: four words, or
// one).
// Limits: none beyond a binding's size. Reads and writes each element once.
//% import grid

//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end

struct Params { n: u32, slots: u32, rotated: u32, half: u32, rows: u32, sign: f32, sink: u32, spare: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> positions: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<T>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;

@compute @workgroup_size(64)
fn rotate(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    let half = params.half;
    if (i >= params.n * params.slots * half) { return; }
    let head = i / half;
    let pair = i - head * half;
    let row = head / params.slots;
    let at = head * 2u * half + pair;
    var a = x[at];
    var b = x[at + half];
    if (head - row * params.slots < params.rotated) {
        // A position beyond the table is the host's mistake; it must not become a read out of bounds.
        let entry = (min(positions[row], params.rows - 1u) * half + pair) * 2u;
        let first = table[entry];
        let second = table[entry + 1u];
        //% if VEC == 4
        let c = vec4<f32>(first.x, first.z, second.x, second.z);
        let s = vec4<f32>(first.y, first.w, second.y, second.w) * params.sign;
        //% else
        let c = first;
        let s = second * params.sign;
        //% end
        let turned = a * c - b * s;
        b = b * c + a * s;
        a = turned;
    }
    if (params.sink == 2u) {
        a += y[at];
        b += y[at + half];
    }
    y[at] = a;
    y[at + half] = b;
}
