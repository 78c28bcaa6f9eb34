// Activations and their derivatives; kinds as in activation.rs: 0 identity, 1 gelu (tanh form), 2 gelu (erf),
// 3 silu, 4 relu, 5 relu squared. tanh is written with exp of a number that is never positive, so that it never
// overflows.
fn safe_tanh(x: f32) -> f32 {
    let e = exp(-2.0 * abs(x));
    let t = (1.0 - e) / (1.0 + e);
    // Below 0.02 the difference 1 - e cancels: the series has an error under 1e-9 there.
    let s = x - x * x * x * 0.33333334;
    return select(select(t, -t, x < 0.0), s, abs(x) < 0.02);
}

fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    let p = 1.0 / (1.0 + e);
    return select(e * p, p, x >= 0.0);
}

// Gauss error function: Abramowitz and Stegun 7.1.26 has 1.5e-7 absolute error; near 0 a series keeps the sign exact.
fn error_function(x: f32) -> f32 {
    let a = abs(x);
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    let y = 1.0 - p * exp(-a * a);
    let s = a * (1.1283792 - a * a * (0.37612638 - a * a * 0.11283792));
    let r = select(y, s, a < 0.1);
    return select(r, -r, x < 0.0);
}

fn activate(kind: u32, x: f32) -> f32 {
    switch kind {
        case 1u: { return 0.5 * x * (1.0 + safe_tanh(0.7978845608 * (x + 0.044715 * x * x * x))); }
        case 2u: { return 0.5 * x * (1.0 + error_function(x * 0.7071067812)); }
        case 3u: { return x * sigmoid(x); }
        case 4u: { return max(x, 0.0); }
        case 5u: { let r = max(x, 0.0); return r * r; }
        default: { return x; }
    }
}

fn activation_slope(kind: u32, x: f32) -> f32 {
    switch kind {
        case 1u: {
            let t = safe_tanh(0.7978845608 * (x + 0.044715 * x * x * x));
            return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.7978845608 * (1.0 + 0.134145 * x * x);
        }
        case 2u: {
            return 0.5 * (1.0 + error_function(x * 0.7071067812)) + x * 0.3989422804 * exp(-0.5 * x * x);
        }
        case 3u: { let s = sigmoid(x); return s * (1.0 + x * (1.0 - s)); }
        case 4u: { return select(0.0, 1.0, x > 0.0); }
        case 5u: { return 2.0 * max(x, 0.0); }
        default: { return 1.0; }
    }
}
