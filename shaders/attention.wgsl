// attention: y = softmax(scale q k^T) v over the keys lo .. hi of each row, heads in groups that share keys and values
//
//   q (n, wq)  queries, head j at columns j d ..      kv (m, wkv)  keys from column k_offset, values from v_offset
//   spans (n, 4)  {lo, hi, qlo, qhi} of each row      y (n, h d)   output, also the accumulator
//   lse (n, h)  log-sum-exp of the scores             dy (n, h d), dqkv (n, (h + 2 g) d)  gradients
//   stats (n, h)  {lse log2(e), rowsum(dy y)}         delta writes it for the two backward kernels
//
// Backward: p = exp(score - lse), ds = p (dy v^T - delta) scale slope; dq = ds k, dk = ds^T q, dv = p^T dy.
// Grid: one invocation per ROWS rows of a head (backward_keys: ROWS keys of a key head), in workgroups of 16; tiles of
// COLS keys (backward_keys: queries) are read straight from storage. The order of every sum is that of the rows.
// Limits: none beyond a binding's size. T is four words (VEC = 4) or one; all widths are in units of T.
//% import grid
//% import attention

//% if VEC == 4
alias T = vec4<f32>;
fn mul_add(a: T, b: T, sum: f32) -> f32 { return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, sum)))); }
//% else
alias T = f32;
fn mul_add(a: T, b: T, sum: f32) -> f32 { return fma(a, b, sum); }
//% end

@group(0) @binding(1) var<storage, read> q: array<T>;
@group(0) @binding(2) var<storage, read> kv: array<T>;
@group(0) @binding(3) var<storage, read> spans: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<T>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size(16)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = params.first + flat_group(group);
    let i = number * 16u + lane;
    if (number >= params.past || i >= (params.n + {{ROWS - 1}}u) / {{ROWS}}u * params.heads) { return; }
    let first = i / params.heads * {{ROWS}}u;
    let head = i % params.heads;
    let column = head / (params.heads / params.kv_heads) * params.d;
    var lo = params.m;
    var hi = 0u;
    // Rows beyond the last repeat it and are not stored.
    //% for r in 0..ROWS
    let row_{{r}} = min(first + {{r}}u, params.n - 1u);
    let stored_{{r}} = first + {{r}}u < params.n;
    let lo_{{r}} = spans[row_{{r}}].x;
    let hi_{{r}} = spans[row_{{r}}].y;
    if (lo_{{r}} < hi_{{r}}) {
        lo = min(lo, lo_{{r}});
        hi = max(hi, hi_{{r}});
    }
    let q_{{r}} = row_{{r}} * params.q_stride + head * params.d;
    let y_{{r}} = (row_{{r}} * params.heads + head) * params.d;
    var top_{{r}} = LOWEST;
    var sum_{{r}} = 0.0;
    //% end
    for (var c = 0u; c < params.d; c += 1u) {
        //% for r in 0..ROWS
        if (stored_{{r}}) { y[y_{{r}} + c] = T(); }
        //% end
    }
    for (var j = lo; j < hi; j += {{COLS}}u) {
        //% for k in 0..COLS
        let at_{{k}} = min(j + {{k}}u, params.m - 1u) * params.kv_stride + column;
        //% for r in 0..ROWS
        var s_{{r}}_{{k}} = 0.0;
        //% end
        //% end
        for (var c = 0u; c < params.d; c += 1u) {
            //% for r in 0..ROWS
            let a_{{r}} = q[q_{{r}} + c];
            //% end
            //% for k in 0..COLS
            let b_{{k}} = kv[at_{{k}} + params.k_offset + c];
            //% for r in 0..ROWS
            s_{{r}}_{{k}} = mul_add(a_{{r}}, b_{{k}}, s_{{r}}_{{k}});
            //% end
            //% end
        }
        //% for r in 0..ROWS
        var best_{{r}} = top_{{r}};
        //% for k in 0..COLS
        let seen_{{r}}_{{k}} = (j + {{k}}u >= lo_{{r}}) & (j + {{k}}u < hi_{{r}});
        s_{{r}}_{{k}} = capped(s_{{r}}_{{k}});
        best_{{r}} = max(best_{{r}}, select(LOWEST, s_{{r}}_{{k}}, seen_{{r}}_{{k}}));
        //% end
        let fade_{{r}} = exp2(top_{{r}} - best_{{r}});
        sum_{{r}} *= fade_{{r}};
        top_{{r}} = best_{{r}};
        //% for k in 0..COLS
        s_{{r}}_{{k}} = select(0.0, exp2(min(s_{{r}}_{{k}} - best_{{r}}, 0.0)), seen_{{r}}_{{k}});
        sum_{{r}} += s_{{r}}_{{k}};
        //% end
        //% end
        for (var c = 0u; c < params.d; c += 1u) {
            //% for r in 0..ROWS
            var o_{{r}} = y[y_{{r}} + c] * fade_{{r}};
            //% end
            //% for k in 0..COLS
            let v_{{k}} = kv[at_{{k}} + params.v_offset + c];
            //% for r in 0..ROWS
            o_{{r}} = fma(T(s_{{r}}_{{k}}), v_{{k}}, o_{{r}});
            //% end
            //% end
            //% for r in 0..ROWS
            if (stored_{{r}}) { y[y_{{r}} + c] = o_{{r}}; }
            //% end
        }
    }
    //% for r in 0..ROWS
    let factor_{{r}} = select(0.0, 1.0 / sum_{{r}}, sum_{{r}} > 0.0);
    if (stored_{{r}}) {
        lse[row_{{r}} * params.heads + head] = select(0.0, LN_2 * (top_{{r}} + log2(sum_{{r}})), sum_{{r}} > 0.0);
    }
    //% end
    for (var c = 0u; c < params.d; c += 1u) {
        //% for r in 0..ROWS
        if (stored_{{r}}) { y[y_{{r}} + c] *= factor_{{r}}; }
        //% end
    }
}

@group(0) @binding(1) var<storage, read> dy: array<T>;
@group(0) @binding(2) var<storage, read> y_saved: array<T>;
@group(0) @binding(3) var<storage, read> lse_saved: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats_out: array<vec2<f32>>;

@compute @workgroup_size(64)
fn delta(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat_group(group) * 64u + lane;
    if (i >= params.n * params.heads) { return; }
    var sum = 0.0;
    for (var c = i * params.d; c < (i + 1u) * params.d; c += 1u) { sum = mul_add(dy[c], y_saved[c], sum); }
    stats_out[i] = vec2<f32>(LOG2_E * lse_saved[i], sum);
}

@group(0) @binding(2) var<storage, read> qkv: array<T>;
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> dqkv: array<T>;

@compute @workgroup_size(16)
fn backward_queries(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = params.first + flat_group(group);
    let i = number * 16u + lane;
    if (number >= params.past || i >= (params.n + {{ROWS - 1}}u) / {{ROWS}}u * params.heads) { return; }
    let first = i / params.heads * {{ROWS}}u;
    let head = i % params.heads;
    let column = head / (params.heads / params.kv_heads) * params.d;
    var lo = params.n;
    var hi = 0u;
    //% for r in 0..ROWS
    let row_{{r}} = min(first + {{r}}u, params.n - 1u);
    let stored_{{r}} = first + {{r}}u < params.n;
    let lo_{{r}} = spans[row_{{r}}].x;
    let hi_{{r}} = spans[row_{{r}}].y;
    if (lo_{{r}} < hi_{{r}}) {
        lo = min(lo, lo_{{r}});
        hi = max(hi, hi_{{r}});
    }
    let stats_{{r}} = stats[row_{{r}} * params.heads + head];
    let q_{{r}} = row_{{r}} * params.q_stride + head * params.d;
    let dy_{{r}} = (row_{{r}} * params.heads + head) * params.d;
    //% end
    if (params.dqkv == 1u) {
        for (var c = 0u; c < params.d; c += 1u) {
            //% for r in 0..ROWS
            if (stored_{{r}}) { dqkv[q_{{r}} + c] = T(); }
            //% end
        }
    }
    for (var j = lo; j < hi; j += {{COLS}}u) {
        //% for k in 0..COLS
        let at_{{k}} = min(j + {{k}}u, params.n - 1u) * params.kv_stride + column;
        //% for r in 0..ROWS
        var s_{{r}}_{{k}} = 0.0;
        var t_{{r}}_{{k}} = 0.0;
        //% end
        //% end
        for (var c = 0u; c < params.d; c += 1u) {
            //% for r in 0..ROWS
            let a_{{r}} = qkv[q_{{r}} + c];
            //% end
            //% for k in 0..COLS
            let b_{{k}} = qkv[at_{{k}} + params.k_offset + c];
            //% for r in 0..ROWS
            s_{{r}}_{{k}} = mul_add(a_{{r}}, b_{{k}}, s_{{r}}_{{k}});
            //% end
            //% end
        }
        for (var c = 0u; c < params.d; c += 1u) {
            //% for r in 0..ROWS
            let a_{{r}} = dy[dy_{{r}} + c];
            //% end
            //% for k in 0..COLS
            let b_{{k}} = qkv[at_{{k}} + params.v_offset + c];
            //% for r in 0..ROWS
            t_{{r}}_{{k}} = mul_add(a_{{r}}, b_{{k}}, t_{{r}}_{{k}});
            //% end
            //% end
        }
        //% for r in 0..ROWS
        //% for k in 0..COLS
        s_{{r}}_{{k}} = capped(s_{{r}}_{{k}});
        t_{{r}}_{{k}} = (t_{{r}}_{{k}} - stats_{{r}}.y) * slope_of(s_{{r}}_{{k}});
        t_{{r}}_{{k}} = select(
            0.0,
            t_{{r}}_{{k}} * exp2(s_{{r}}_{{k}} - stats_{{r}}.x),
            (j + {{k}}u >= lo_{{r}}) & (j + {{k}}u < hi_{{r}}),
        );
        //% end
        //% end
        for (var c = 0u; c < params.d; c += 1u) {
            //% for r in 0..ROWS
            var o_{{r}} = dqkv[q_{{r}} + c];
            //% end
            //% for k in 0..COLS
            let b_{{k}} = qkv[at_{{k}} + params.k_offset + c];
            //% for r in 0..ROWS
            o_{{r}} = fma(T(t_{{r}}_{{k}}), b_{{k}}, o_{{r}});
            //% end
            //% end
            //% for r in 0..ROWS
            if (stored_{{r}}) { dqkv[q_{{r}} + c] = o_{{r}}; }
            //% end
        }
    }
}

@compute @workgroup_size(16)
fn backward_keys(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let number = params.first + flat_group(group);
    let i = number * 16u + lane;
    if (number >= params.past || i >= (params.n + {{ROWS - 1}}u) / {{ROWS}}u * params.kv_heads) { return; }
    let first = i / params.kv_heads * {{ROWS}}u;
    let kv_head = i % params.kv_heads;
    let share = params.heads / params.kv_heads;
    var lo = params.n;
    var hi = 0u;
    //% for r in 0..ROWS
    let row_{{r}} = min(first + {{r}}u, params.n - 1u);
    let stored_{{r}} = first + {{r}}u < params.n;
    let lo_{{r}} = spans[row_{{r}}].z;
    let hi_{{r}} = spans[row_{{r}}].w;
    if (lo_{{r}} < hi_{{r}}) {
        lo = min(lo, lo_{{r}});
        hi = max(hi, hi_{{r}});
    }
    let k_{{r}} = row_{{r}} * params.kv_stride + params.k_offset + kv_head * params.d;
    let v_{{r}} = row_{{r}} * params.kv_stride + params.v_offset + kv_head * params.d;
    //% end
    if (params.dqkv == 1u) {
        for (var c = 0u; c < params.d; c += 1u) {
            //% for r in 0..ROWS
            if (stored_{{r}}) {
                dqkv[k_{{r}} + c] = T();
                dqkv[v_{{r}} + c] = T();
            }
            //% end
        }
    }
    for (var head = kv_head * share; head < (kv_head + 1u) * share; head += 1u) {
        for (var j = lo; j < hi; j += {{COLS}}u) {
            //% for k in 0..COLS
            let at_{{k}} = min(j + {{k}}u, params.n - 1u);
            let q_{{k}} = at_{{k}} * params.q_stride + head * params.d;
            let dy_{{k}} = (at_{{k}} * params.heads + head) * params.d;
            //% for r in 0..ROWS
            var s_{{r}}_{{k}} = 0.0;
            var t_{{r}}_{{k}} = 0.0;
            //% end
            //% end
            for (var c = 0u; c < params.d; c += 1u) {
                //% for r in 0..ROWS
                let a_{{r}} = qkv[k_{{r}} + c];
                //% end
                //% for k in 0..COLS
                let b_{{k}} = qkv[q_{{k}} + c];
                //% for r in 0..ROWS
                s_{{r}}_{{k}} = mul_add(a_{{r}}, b_{{k}}, s_{{r}}_{{k}});
                //% end
                //% end
            }
            for (var c = 0u; c < params.d; c += 1u) {
                //% for r in 0..ROWS
                let a_{{r}} = qkv[v_{{r}} + c];
                //% end
                //% for k in 0..COLS
                let b_{{k}} = dy[dy_{{k}} + c];
                //% for r in 0..ROWS
                t_{{r}}_{{k}} = mul_add(a_{{r}}, b_{{k}}, t_{{r}}_{{k}});
                //% end
                //% end
            }
            //% for k in 0..COLS
            let stats_{{k}} = stats[at_{{k}} * params.heads + head];
            //% for r in 0..ROWS
            s_{{r}}_{{k}} = capped(s_{{r}}_{{k}});
            t_{{r}}_{{k}} = (t_{{r}}_{{k}} - stats_{{k}}.y) * slope_of(s_{{r}}_{{k}});
            s_{{r}}_{{k}} = select(
                0.0,
                exp2(s_{{r}}_{{k}} - stats_{{k}}.x),
                (j + {{k}}u >= lo_{{r}}) & (j + {{k}}u < hi_{{r}}),
            );
            t_{{r}}_{{k}} = select(0.0, t_{{r}}_{{k}} * s_{{r}}_{{k}}, s_{{r}}_{{k}} > 0.0);
            //% end
            //% end
            for (var c = 0u; c < params.d; c += 1u) {
                //% for r in 0..ROWS
                var o_{{r}} = dqkv[v_{{r}} + c];
                //% end
                //% for k in 0..COLS
                let b_{{k}} = dy[dy_{{k}} + c];
                //% for r in 0..ROWS
                o_{{r}} = fma(T(s_{{r}}_{{k}}), b_{{k}}, o_{{r}});
                //% end
                //% end
                //% for r in 0..ROWS
                if (stored_{{r}}) { dqkv[v_{{r}} + c] = o_{{r}}; }
                //% end
            }
            for (var c = 0u; c < params.d; c += 1u) {
                //% for r in 0..ROWS
                var o_{{r}} = dqkv[k_{{r}} + c];
                //% end
                //% for k in 0..COLS
                let b_{{k}} = qkv[q_{{k}} + c];
                //% for r in 0..ROWS
                o_{{r}} = fma(T(t_{{r}}_{{k}}), b_{{k}}, o_{{r}});
                //% end
                //% end
                //% for r in 0..ROWS
                if (stored_{{r}}) { dqkv[k_{{r}} + c] = o_{{r}}; }
                //% end
            }
        }
    }
}
