// What attention's texts share: the uniform, and scores in units of log2, with a cap (CAP 1) or without.
//% if CAP
//% import activation
//% end
const LOG2_E: f32 = 1.44269504;
const LN_2: f32 = 0.69314718;
// Below every score. Not an infinity: compilers may assume that there are none.
const LOWEST: f32 = -1e30;

// Widths in units of the text's words (one or four).
struct Params {
    n: u32, m: u32, heads: u32, kv_heads: u32, d: u32, q_stride: u32, kv_stride: u32, k_offset: u32,
    v_offset: u32, scale: f32, softcap: f32, dqkv: u32,
    // Number of the first workgroup, and of the one after the last: long calls come in several dispatches.
    first: u32, past: u32, spare_0: u32, spare_1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

//% if CAP
// A score in units of log2, capped.
fn capped(dot_product: f32) -> f32 {
    return LOG2_E * params.softcap * safe_tanh(dot_product * params.scale / params.softcap);
}

// The slope of the capped score by the product q.k.
fn slope_of(capped_score: f32) -> f32 {
    let t = capped_score / (LOG2_E * params.softcap);
    return params.scale * (1.0 - t * t);
}
//% else
fn capped(dot_product: f32) -> f32 { return dot_product * (LOG2_E * params.scale); }
fn slope_of(capped_score: f32) -> f32 { return params.scale; }
//% end
