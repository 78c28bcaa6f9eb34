// cast: f32 to and from 16-bit floats, two to a word (the even element in the low half), rounded to nearest even
//
//   x (len)  bits of f32      packed (ceil(len / 2))  pairs of f16 or bf16
//
// Integer arithmetic throughout: WGSL leaves the rounding of pack2x16float to the implementation, and a compiler may
// assume that there are no infinities. Grid: one invocation per pair. Limits: none beyond a binding's size.
//% import grid

struct Params { len: u32, spare_0: u32, spare_1: u32, spare_2: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> packed_out: array<u32>;
@group(0) @binding(1) var<storage, read> packed: array<u32>;
@group(0) @binding(2) var<storage, read_write> x_out: array<u32>;

fn to_f16(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) { return sign | 0x7e00u; }
    if (size >= 0x47800000u) { return sign | 0x7c00u; }
    // A carry out of the mantissa moves into the exponent, up to infinity, as it should.
    if (size >= 0x38800000u) { return sign | ((size - 0x38000000u + 0xfffu + ((size >> 13u) & 1u)) >> 13u); }
    if (size <= 0x33000000u) { return sign; }
    let shift = 126u - (size >> 23u);
    let mantissa = (size & 0x7fffffu) | 0x800000u;
    let rest = mantissa & ((1u << shift) - 1u);
    let kept = mantissa >> shift;
    let middle = 1u << (shift - 1u);
    let up = (rest > middle) | ((rest == middle) & ((kept & 1u) == 1u));
    return sign | (kept + select(0u, 1u, up));
}

fn from_f16(half_bits: u32) -> u32 {
    let sign = (half_bits & 0x8000u) << 16u;
    let size = half_bits & 0x7fffu;
    if (size >= 0x7c00u) { return sign | 0x7f800000u | ((size & 0x3ffu) << 13u); }
    if (size >= 0x400u) { return sign | ((size << 13u) + 0x38000000u); }
    // Subnormal: a whole number of 2^-24, exact in f32.
    return sign | bitcast<u32>(f32(size) * 5.9604645e-8);
}

fn to_bf16(bits: u32) -> u32 {
    if ((bits & 0x7fffffffu) > 0x7f800000u) { return (bits >> 16u) | 0x40u; }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}

@compute @workgroup_size(64)
fn pack_f16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (2u * i >= params.len) { return; }
    var high = 0u;
    if (2u * i + 1u < params.len) { high = to_f16(x[2u * i + 1u]); }
    packed_out[i] = to_f16(x[2u * i]) | (high << 16u);
}

@compute @workgroup_size(64)
fn pack_bf16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (2u * i >= params.len) { return; }
    var high = 0u;
    if (2u * i + 1u < params.len) { high = to_bf16(x[2u * i + 1u]); }
    packed_out[i] = to_bf16(x[2u * i]) | (high << 16u);
}

@compute @workgroup_size(64)
fn unpack_f16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (2u * i >= params.len) { return; }
    x_out[2u * i] = from_f16(packed[i] & 0xffffu);
    if (2u * i + 1u < params.len) { x_out[2u * i + 1u] = from_f16(packed[i] >> 16u); }
}

@compute @workgroup_size(64)
fn unpack_bf16(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (2u * i >= params.len) { return; }
    x_out[2u * i] = packed[i] << 16u;
    if (2u * i + 1u < params.len) { x_out[2u * i + 1u] = packed[i] & 0xffff0000u; }
}
