// head: from logits to {log-probability of the target, log-sum-exp, entropy, hit} and back, in place
//
//   logits (rows, stride)   scale x w^T of rows first .. first + rows; TRAIN 1: becomes the derivative with respect to
//   it,
//                           padding beyond v included (0)
//   targets (n), numbers (n, 4), dnumbers (n, 4)   of all rows
//
// With z = softcap(logits) / temperature, m = max z, S = sum exp(z - m), W = sum (z - m) exp(z - m):
// lse = m + log S, H = log S - W / S, log p_j = z_j - lse.
//
// Grid: one workgroup of LANES invocations per row; lane i takes columns i, i + LANES, ...; lanes are added up
// pairwise,
// always the same pairs. Limits: none beyond a binding's size.
//% import activation
//% import grid

struct Params {
    rows: u32, first: u32, v: u32, stride: u32,
    softcap: f32, inverse_temperature: f32, spare_0: u32, spare_1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> numbers: array<vec4<f32>>;
//% if TRAIN
@group(0) @binding(4) var<storage, read> dnumbers: array<vec4<f32>>;
//% end

var<workgroup> lanes: array<vec2<f32>, {{LANES}}>;

fn soften(x: f32) -> f32 {
    if (params.softcap > 0.0) { return params.softcap * safe_tanh(x / params.softcap) * params.inverse_temperature; }
    return x * params.inverse_temperature;
}

@compute @workgroup_size({{LANES}})
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(group);
    if (row >= params.rows) { return; }
    let begin = row * params.stride;
    let end = begin + params.v;

    var most = -3.0e38;
    for (var i = begin + lane; i < end; i += {{LANES}}u) { most = max(most, soften(logits[i])); }
    lanes[lane].x = most;
    workgroupBarrier();
    for (var half = {{LANES/2}}u; half > 0u; half /= 2u) {
        if (lane < half) { lanes[lane].x = max(lanes[lane].x, lanes[lane + half].x); }
        workgroupBarrier();
    }
    most = lanes[0].x;
    workgroupBarrier();

    var sums = vec2<f32>();
    for (var i = begin + lane; i < end; i += {{LANES}}u) {
        let z = soften(logits[i]) - most;
        sums += vec2(1.0, z) * exp(z);
    }
    lanes[lane] = sums;
    workgroupBarrier();
    for (var half = {{LANES/2}}u; half > 0u; half /= 2u) {
        if (lane < half) { lanes[lane] += lanes[lane + half]; }
        workgroupBarrier();
    }
    sums = lanes[0];
    let log_sum = log(sums.x);
    let entropy = log_sum - sums.y / sums.x;

    let target_id = targets[params.first + row];
    let ignored = target_id == 0xffffffffu;
    if (lane == 0u) {
        var seen = vec4<f32>();
        if (!ignored) {
            let x = soften(logits[begin + min(target_id, params.v - 1u)]);
            // Compared as they are: a difference may be rounded once or twice.
            seen = vec4(x - most - log_sum, most + log_sum, entropy, select(0.0, 1.0, x >= most));
        }
        numbers[params.first + row] = seen;
    }
//% if TRAIN
    // The target's logit has been read before it is overwritten.
    workgroupBarrier();
    let d = dnumbers[params.first + row];
    for (var i = lane; i < params.stride; i += {{LANES}}u) {
        var value = 0.0;
        if (i < params.v && !ignored) {
            let x = logits[begin + i];
            let logp = soften(x) - most - log_sum;
            let p = exp(logp);
            value = d.x * (select(0.0, 1.0, i == target_id) - p) + p * (d.y - d.z * (logp + entropy));
            value *= params.inverse_temperature;
            if (params.softcap > 0.0) {
                let t = safe_tanh(x / params.softcap);
                value *= 1.0 - t * t;
            }
        }
        logits[begin + i] = value;
    }
//% end
}
