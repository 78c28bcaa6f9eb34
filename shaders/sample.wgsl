// sample: picks one token per row of logits: repetition penalty, temperature, top-k, top-p, min-p, inverse CDF
//
//   logits (b, v)  raw logits        recent (b, r)  latest tokens last, 0xFFFFFFFF = empty     keys (b, 2)  noise key
//   scaled (b, v)  penalised logits over temperature, scratch between the two entry points
//   token (b), logp (b)  the pick and its log-probability under the raw logits
//
// No sort: a limit on the logits is built bit by bit, as an integer that orders like the float, by counting (top-k) or
// weighing (top-p) the tokens at or above it. Grid: scale one invocation per logit, pick one workgroup of WG per row.
// Limits: WG a power of two. Every sum has a fixed order.
//% import grid
//% import tick
//% import rng

struct Params { b: u32, v: u32, r: u32, spare: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> recent: array<u32>;
@group(0) @binding(3) var<storage, read_write> scaled_out: array<f32>;

@compute @workgroup_size(64)
fn scale(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.b * params.v) { return; }
    let row = i / params.v;
    let id = i - row * params.v;
    var value = logits[i];
    var repeated = false;
    for (var k = params.r - min(tick.recent, params.r); k < params.r; k += 1u) {
        repeated = repeated || recent[row * params.r + k] == id;
    }
    if (repeated) { value = select(value * tick.repetition, value / tick.repetition, value > 0.0); }
    if (tick.temperature > 0.0) { value /= tick.temperature; }
    // Adding 0 turns -0 into 0, so that equal numbers have equal bits.
    scaled_out[i] = value + 0.0;
}

@group(0) @binding(2) var<storage, read> scaled: array<f32>;
@group(0) @binding(3) var<storage, read> keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> token: array<u32>;
@group(0) @binding(5) var<storage, read_write> logp: array<f32>;

var<workgroup> shared_f: array<f32, {{WG}}>;
var<workgroup> shared_u: array<u32, {{WG}}>;

fn sum_of(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    shared_f[lane] = value;
    workgroupBarrier();
    for (var half = {{WG / 2}}u; half > 0u; half /= 2u) {
        if (lane < half) { shared_f[lane] += shared_f[lane + half]; }
        workgroupBarrier();
    }
    return shared_f[0];
}

fn count_of(lane: u32, value: u32) -> u32 {
    workgroupBarrier();
    shared_u[lane] = value;
    workgroupBarrier();
    for (var half = {{WG / 2}}u; half > 0u; half /= 2u) {
        if (lane < half) { shared_u[lane] += shared_u[lane + half]; }
        workgroupBarrier();
    }
    return shared_u[0];
}

// The largest value, and the lowest index that has it.
struct Best { value: f32, index: u32 }
fn best_of(lane: u32, value: f32, index: u32) -> Best {
    workgroupBarrier();
    shared_f[lane] = value;
    shared_u[lane] = index;
    workgroupBarrier();
    for (var half = {{WG / 2}}u; half > 0u; half /= 2u) {
        if (lane < half) {
            let other = shared_f[lane + half];
            let wins = other > shared_f[lane] || (other == shared_f[lane] && shared_u[lane + half] < shared_u[lane]);
            if (wins) {
                shared_f[lane] = other;
                shared_u[lane] = shared_u[lane + half];
            }
        }
        workgroupBarrier();
    }
    return Best(shared_f[0], shared_u[0]);
}

// An integer that orders like the float.
fn rank_of(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

@compute @workgroup_size({{WG}})
fn pick(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = flat_group(group);
    if (row >= params.b) { return; }
    let start = row * params.v;
    var high = -3.4e38;
    var index = 0xffffffffu;
    var raw = -3.4e38;
    for (var i = lane; i < params.v; i += {{WG}}u) {
        if (scaled[start + i] > high || index == 0xffffffffu) {
            high = scaled[start + i];
            index = i;
        }
        raw = max(raw, logits[start + i]);
    }
    let best = best_of(lane, high, index);
    let raw_top = best_of(lane, raw, lane).value;
    var mass = 0.0;
    for (var i = lane; i < params.v; i += {{WG}}u) { mass += exp(logits[start + i] - raw_top); }
    let raw_sum = sum_of(lane, mass);
    var chosen = best.index;
    if (tick.temperature > 0.0) {
        let drawn = draw(lane, row, best);
        if (lane == 0u) { chosen = drawn; }
    }
    if (lane == 0u) {
        token[row] = chosen;
        logp[row] = logits[start + chosen] - raw_top - log(raw_sum);
    }
}

// Invocation 0 returns the token. Called by all or none: the temperature is uniform.
fn draw(lane: u32, row: u32, best: Best) -> u32 {
    let start = row * params.v;
    var floor_rank = 0u;
    if (tick.top_k > 0u && tick.top_k < params.v) {
        for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
            var count = 0u;
            for (var i = lane; i < params.v; i += {{WG}}u) {
                count += select(0u, 1u, rank_of(scaled[start + i]) >= (floor_rank | bit));
            }
            if (count_of(lane, count) >= tick.top_k) { floor_rank |= bit; }
        }
    }
    if (tick.top_p < 1.0) {
        var mass = 0.0;
        for (var i = lane; i < params.v; i += {{WG}}u) {
            mass += select(0.0, exp(scaled[start + i] - best.value), rank_of(scaled[start + i]) >= floor_rank);
        }
        let wanted = tick.top_p * sum_of(lane, mass);
        var limit = 0u;
        for (var bit = 0x80000000u; bit > 0u; bit >>= 1u) {
            mass = 0.0;
            for (var i = lane; i < params.v; i += {{WG}}u) {
                let rank = rank_of(scaled[start + i]);
                mass += select(0.0, exp(scaled[start + i] - best.value), rank >= max(floor_rank, limit | bit));
            }
            if (sum_of(lane, mass) >= wanted) { limit |= bit; }
        }
        floor_rank = max(floor_rank, min(limit, rank_of(best.value)));
    }
    // Each invocation weighs a contiguous piece; the first one walks the pieces, then the piece that is hit.
    let piece = (params.v + {{WG - 1}}u) / {{WG}}u;
    var own = 0.0;
    for (var i = lane * piece; i < min((lane + 1u) * piece, params.v); i += 1u) {
        own += weight_of(scaled[start + i], best.value, floor_rank);
    }
    let total = sum_of(lane, own);
    workgroupBarrier();
    shared_f[lane] = own;
    workgroupBarrier();
    if (lane > 0u) { return 0u; }
    let key = vec2<u32>(tick.seed_lo, tick.seed_hi);
    let noise = philox(key, vec4<u32>(keys[2u * row], keys[2u * row + 1u], 0u, 0x5A17u));
    let target_mass = unit(noise.x) * total;
    var passed = 0.0;
    var hit = 0u;
    while (hit + 1u < {{WG}}u && (hit + 1u) * piece < params.v && passed + shared_f[hit] <= target_mass) {
        passed += shared_f[hit];
        hit += 1u;
    }
    // Rounding may leave the target beyond the last weight: then the last kept token is taken, or the best.
    var last = best.index;
    for (var i = hit * piece; i < params.v; i += 1u) {
        let weight = weight_of(scaled[start + i], best.value, floor_rank);
        if (weight > 0.0) {
            last = i;
            passed += weight;
            if (passed > target_mass) { return i; }
        }
    }
    return last;
}

fn weight_of(value: f32, top: f32, floor_rank: u32) -> f32 {
    let weight = exp(value - top);
    return select(0.0, weight, rank_of(value) >= floor_rank && weight >= tick.min_p);
}
