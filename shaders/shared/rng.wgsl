// rng: counter-based random bits, Philox-4x32-10 (Salmon et al. 2011); twin of noise.rs. Needs nothing of the importer.

// The 64-bit product of two words as (high, low), from 16-bit halves: WGSL has no wide multiplication.
fn wide_product(a: u32, b: u32) -> vec2<u32> {
    let a_low = a & 0xffffu;
    let a_high = a >> 16u;
    let b_low = b & 0xffffu;
    let b_high = b >> 16u;
    let low = a_low * b_low;
    let middle = a_high * b_low + (low >> 16u);
    let other = a_low * b_high + (middle & 0xffffu);
    return vec2<u32>(a_high * b_high + (middle >> 16u) + (other >> 16u), a * b);
}

// Four random words of a counter under a key.
fn philox(key: vec2<u32>, counter: vec4<u32>) -> vec4<u32> {
    var k = key;
    var c = counter;
    for (var round = 0u; round < 10u; round += 1u) {
        let left = wide_product(0xD2511F53u, c.x);
        let right = wide_product(0xCD9E8D57u, c.z);
        c = vec4<u32>(right.x ^ c.y ^ k.x, right.y, left.x ^ c.w ^ k.y, left.y);
        k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// A random word as a number in [0, 1): its upper 24 bits.
fn unit(word: u32) -> f32 {
    return f32(word >> 8u) * (1.0 / 16777216.0);
}
