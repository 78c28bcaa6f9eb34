// Attention's scores in units of log2, with a cap (CAP 1) or without; `params` has scale and softcap.
//% if CAP
//% import activation
//% end
const LOG2_E: f32 = 1.44269504;

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
