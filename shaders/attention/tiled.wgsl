// attention on GPUs: tiles of 32 rows by 32 others in workgroup memory; formulas and tensors as in attention.wgsl
//
// A workgroup owns 32 rows of one head and walks over the rows that they meet ("others"), 32 at a time:
//
//   PASS             owns     meets    s = a b^T     t = a2 b2^T    out += weight c
//   0 forward        queries  keys     q k                          y  += p v       online softmax
//   1 backward       queries  keys     q k           dy v           dq += ds k
//   2 backward       keys     queries  k q           v dy           dk += ds q
//   3 backward       keys     queries  k q                          dv += p dy
//
// Two kernels for dk and dv do one product more than one kernel for both, and need half of the registers.
//
// Workgroup: 64 invocations as 8 x 8; (tx, ty) keeps 4 x 4 scores of rows 4 ty .. and others 4 tx .., and of the sums
// its four rows and QUADS quads of channels (8 b + tx). Products over channels go through `stage` in depths of 16, as
// [depth][four rows]; `weights` holds the tile's weights as [other][four rows]; `stage` then holds c, 32 channels at
// a time. Quads of rows stand at i ^ 2 (depth / 4) and i ^ (other / 4), so that what is written turned over does not
// meet in one bank. 9 KiB of workgroup memory. Grid: 32 rows x heads (passes 2 and 3: key heads), the last rows first,
// because in a causal call they have the most to do. Limits: all widths are multiples of 4 words, d <= 32 QUADS.
// The order of every sum is fixed: others in order within an invocation, the eight of a row at the end.
//% import grid
//% import attention

//% if PASS == 0
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> kv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> spans: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
//% else
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> qkv: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> spans: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<vec4<f32>>;
//% end

var<workgroup> stage: array<vec4<f32>, 256>;
var<workgroup> weights: array<vec4<f32>, 256>;
//% if PASS == 0
var<workgroup> tops: array<vec4<f32>, 64>;
//% end

// First quads of a row's query, key, value and output within a head.
fn query_at(row: u32, head: u32) -> u32 { return row * params.q_stride + head * params.d; }
fn key_at(row: u32, kv_head: u32) -> u32 { return row * params.kv_stride + params.k_offset + kv_head * params.d; }
fn value_at(row: u32, kv_head: u32) -> u32 { return row * params.kv_stride + params.v_offset + kv_head * params.d; }
fn output_at(row: u32, head: u32) -> u32 { return (row * params.heads + head) * params.d; }

@compute @workgroup_size(64)
//% if PASS == 0
fn forward_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
//% elif PASS == 1
fn queries_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
//% elif PASS == 2
fn keys_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
//% else
fn values_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
//% end
    let share = params.heads / params.kv_heads;
//% if PASS < 2
    let owners = params.heads;
    let met = params.m;
//% else
    let owners = params.kv_heads;
    let met = params.n;
//% end
    let own = (params.n + 31u) / 32u;
    let i = params.first + flat_group(group);
    if (i >= min(own * owners, params.past)) { return; }
    let first = (own - 1u - i / owners) * 32u;
    let owner = i % owners;
    let tx = lane % 8u;
    let ty = lane / 8u;
    // The others that any of the rows meets.
    var lo = met;
    var hi = 0u;
    for (var r = first; r < min(first + 32u, params.n); r += 1u) {
//% if PASS < 2
        let range = spans[r].xy;
//% else
        let range = spans[r].zw;
//% end
        if (range.x < range.y) {
            lo = min(lo, range.x);
            hi = max(hi, range.y);
        }
    }
    // Rows beyond the last repeat it and are not stored.
//% for r in 0..4
    let row_{{r}} = min(first + 4u * ty + {{r}}u, params.n - 1u);
    let stored_{{r}} = first + 4u * ty + {{r}}u < params.n;
//% if PASS < 2
    let range_{{r}} = spans[row_{{r}}].xy;
//% else
    let range_{{r}} = spans[row_{{r}}].zw;
//% end
//% if PASS == 1
    let stats_{{r}} = stats[row_{{r}} * params.heads + owner];
//% end
//% if PASS == 0
    var top_{{r}} = LOWEST;
    var sum_{{r}} = 0.0;
//% end
//% for b in 0..QUADS
    var o_{{r}}_{{b}} = vec4<f32>();
//% end
//% end
    // What this invocation carries into `stage`: a quad of depths of four rows (lanes below 32) or four others.
    let carried = (lane % 32u) / 4u;
    let deep = lane % 4u;
    let carries_rows = lane < 32u;
//% for t in 0..4
    let carried_row_{{t}} = min(first + 4u * carried + {{t}}u, params.n - 1u);
//% end
//% if PASS < 2
    let head = owner;
    let kv_head = owner / share;
//% else
    let kv_head = owner;
    for (var head = owner * share; head < (owner + 1u) * share; head += 1u) {
//% end
    for (var j = lo; j < hi; j += 32u) {
//% for t in 0..4
        let carried_other_{{t}} = min(j + 4u * carried + {{t}}u, met - 1u);
//% end
//% for r in 0..4
        var s_{{r}} = vec4<f32>();
//% if PASS == 1 || PASS == 2
        var t_{{r}} = vec4<f32>();
//% end
//% end
//% for product in 0..1+(PASS==1||PASS==2)
//% for t in 0..4
//% if PASS == 1 && product == 1
        let from_{{product}}_{{t}} =
            select(value_at(carried_other_{{t}}, kv_head), output_at(carried_row_{{t}}, head), carries_rows);
//% elif PASS == 2 && product == 1
        let from_{{product}}_{{t}} =
            select(output_at(carried_other_{{t}}, head), value_at(carried_row_{{t}}, kv_head), carries_rows);
//% elif PASS < 2
        let from_{{product}}_{{t}} =
            select(key_at(carried_other_{{t}}, kv_head), query_at(carried_row_{{t}}, head), carries_rows);
//% else
        let from_{{product}}_{{t}} =
            select(query_at(carried_other_{{t}}, head), key_at(carried_row_{{t}}, kv_head), carries_rows);
//% end
//% end
        for (var c = 0u; c < params.d; c += 4u) {
//% for t in 0..4
            var word_{{t}} = vec4<f32>();
            if (c + deep < params.d) {
                let at = from_{{product}}_{{t}} + c + deep;
//% if PASS == 0
                if (carries_rows) { word_{{t}} = q[at]; } else { word_{{t}} = kv[at]; }
//% elif PASS == 1 && product == 1
                if (carries_rows) { word_{{t}} = dy[at]; } else { word_{{t}} = qkv[at]; }
//% elif PASS == 2 && product == 1
                if (carries_rows) { word_{{t}} = qkv[at]; } else { word_{{t}} = dy[at]; }
//% else
                word_{{t}} = qkv[at];
//% end
            }
//% end
            workgroupBarrier();
            let to = lane / 32u * 128u + deep * 32u + (carried ^ (2u * deep));
//% for u in 0..4
            stage[to + {{8*u}}u] = vec4(word_0[{{u}}], word_1[{{u}}], word_2[{{u}}], word_3[{{u}}]);
//% end
            workgroupBarrier();
            for (var g = 0u; g < 4u; g += 1u) {
                let at_a = g * 32u + (ty ^ (2u * g));
                let at_b = g * 32u + (tx ^ (2u * g)) + 128u;
//% for k in 0..4
                let a_{{k}} = stage[at_a + {{8*k}}u];
                let b_{{k}} = stage[at_b + {{8*k}}u];
//% for r in 0..4
//% if product == 0
                s_{{r}} += a_{{k}}[{{r}}] * b_{{k}};
//% else
                t_{{r}} += a_{{k}}[{{r}}] * b_{{k}};
//% end
//% end
//% end
            }
        }
//% end
        // Scores to weights.
        let other = vec4(j + 4u * tx) + vec4(0u, 1u, 2u, 3u);
//% if PASS >= 2
//% for k in 0..4
        let stats_{{k}} = stats[min(j + 4u * tx + {{k}}u, met - 1u) * params.heads + head];
//% end
//% end
//% for r in 0..4
        let seen_{{r}} = (other >= vec4(range_{{r}}.x)) & (other < vec4(range_{{r}}.y));
        s_{{r}} = vec4(capped(s_{{r}}.x), capped(s_{{r}}.y), capped(s_{{r}}.z), capped(s_{{r}}.w));
//% end
//% if PASS == 0
//% for r in 0..4
        let m_{{r}} = select(vec4(LOWEST), s_{{r}}, seen_{{r}});
        var best_{{r}} = max(max(max(m_{{r}}.x, m_{{r}}.y), max(m_{{r}}.z, m_{{r}}.w)), top_{{r}});
//% end
        tops[tx * 8u + (ty ^ tx)] = vec4(best_0, best_1, best_2, best_3);
        workgroupBarrier();
        for (var k = 0u; k < 8u; k += 1u) {
            let top = tops[k * 8u + (ty ^ k)];
//% for r in 0..4
            best_{{r}} = max(best_{{r}}, top[{{r}}]);
//% end
        }
//% for r in 0..4
        let fade_{{r}} = exp2(top_{{r}} - best_{{r}});
        top_{{r}} = best_{{r}};
        s_{{r}} = select(vec4<f32>(), exp2(min(s_{{r}} - best_{{r}}, vec4<f32>())), seen_{{r}});
        sum_{{r}} = sum_{{r}} * fade_{{r}} + ((s_{{r}}.x + s_{{r}}.y) + (s_{{r}}.z + s_{{r}}.w));
//% for b in 0..QUADS
        o_{{r}}_{{b}} *= fade_{{r}};
//% end
//% end
//% else
//% for r in 0..4
//% if PASS == 1
        let p_{{r}} = exp2(s_{{r}} - stats_{{r}}.x);
        let delta_{{r}} = vec4(stats_{{r}}.y);
//% else
        let p_{{r}} = exp2(s_{{r}} - vec4(stats_0.x, stats_1.x, stats_2.x, stats_3.x));
//% if PASS == 2
        let delta_{{r}} = vec4(stats_0.y, stats_1.y, stats_2.y, stats_3.y);
//% end
//% end
//% if PASS == 3
        s_{{r}} = select(vec4<f32>(), p_{{r}}, seen_{{r}});
//% else
        let slope_{{r}} = vec4(slope_of(s_{{r}}.x), slope_of(s_{{r}}.y), slope_of(s_{{r}}.z), slope_of(s_{{r}}.w));
        s_{{r}} = select(vec4<f32>(), p_{{r}} * (t_{{r}} - delta_{{r}}) * slope_{{r}}, seen_{{r}});
//% end
//% end
//% end
//% for k in 0..4
        weights[(4u * tx + {{k}}u) * 8u + (ty ^ tx)] = vec4(s_0[{{k}}], s_1[{{k}}], s_2[{{k}}], s_3[{{k}}]);
//% end
        // The tile's weights times c, 32 channels at a time.
//% for b in 0..QUADS
        workgroupBarrier();
        for (var k = ty; k < 32u; k += 8u) {
            let at = min(j + k, met - 1u);
            let c = {{8*b}}u + tx;
            var word = vec4<f32>();
            if (c < params.d) {
//% if PASS == 0
                word = kv[value_at(at, kv_head) + c];
//% elif PASS == 1
                word = qkv[key_at(at, kv_head) + c];
//% elif PASS == 2
                word = qkv[query_at(at, head) + c];
//% else
                word = dy[output_at(at, head) + c];
//% end
            }
            stage[k * 8u + tx] = word;
        }
        workgroupBarrier();
        for (var g = 0u; g < 8u; g += 1u) {
            let at_w = g * 32u + (ty ^ g);
            let at_c = g * 32u + tx;
//% for k in 0..4
            let w_{{k}} = weights[at_w + {{8*k}}u];
            let c_{{k}} = stage[at_c + {{8*k}}u];
//% for r in 0..4
            o_{{r}}_{{b}} += w_{{k}}[{{r}}] * c_{{k}};
//% end
//% end
        }
//% end
    }
//% if PASS >= 2
    }
//% end
//% if PASS == 0
    workgroupBarrier();
    tops[tx * 8u + (ty ^ tx)] = vec4(sum_0, sum_1, sum_2, sum_3);
    workgroupBarrier();
    var sums = vec4<f32>();
    for (var k = 0u; k < 8u; k += 1u) { sums += tops[k * 8u + (ty ^ k)]; }
//% for r in 0..4
    if (stored_{{r}}) {
        let factor = select(0.0, 1.0 / sums[{{r}}], sums[{{r}}] > 0.0);
        if (tx == 0u) {
            lse[row_{{r}} * params.heads + owner] =
                select(0.0, LN_2 * (top_{{r}} + log2(sums[{{r}}])), sums[{{r}}] > 0.0);
        }
//% for b in 0..QUADS
        if ({{8*b}}u + tx < params.d) { y[output_at(row_{{r}}, owner) + {{8*b}}u + tx] = o_{{r}}_{{b}} * factor; }
//% end
    }
//% end
//% else
//% for r in 0..4
    if (stored_{{r}}) {
//% if PASS == 1
        let at = query_at(row_{{r}}, owner) + tx;
//% elif PASS == 2
        let at = key_at(row_{{r}}, owner) + tx;
//% else
        let at = value_at(row_{{r}}, owner) + tx;
//% end
//% for b in 0..QUADS
        if ({{8*b}}u + tx < params.d) {
            if (params.dqkv == 1u) {
                dqkv[at + {{8*b}}u] = o_{{r}}_{{b}};
            } else {
                dqkv[at + {{8*b}}u] += o_{{r}}_{{b}};
            }
        }
//% end
    }
//% end
//% end
}
