// matmul: c = epilogue(scale * A B), the three products of a linear layer, all tensors row-major
//
//   VARIANT 0 (forward)  A[i, d] = a[i, d]   B[d, j] = b[j, d]
//   VARIANT 1 (dx)       A[i, d] = a[i, d]   B[d, j] = b[d, j]
//   VARIANT 2 (dw)       A[i, d] = a[d, i]   B[d, j] = b[d, j]
//
// c (rows, cols), summed over depth; lda, ldb, ldc are words from row to row, *_offset the first word in the binding.
// EPILOGUE 0 writes scale * sum, added to c if asked; EPILOGUE 1 adds a bias, applies the activation, adds a residual;
// EPILOGUE 2 also writes z, the input of the activation.
// Part z of the grid sums depth z * part .. (z + 1) * part and writes part_stride words further on (`reduce.columns`
// adds
// the parts up).
//
// Limits: VEC 4 wants all strides and offsets to be multiples of 4; rows of c then end on a multiple of 4 words, of
// which
// those beyond cols are padding that may be overwritten. VEC 1 takes anything. TAIL 1 is for a depth that is no
// multiple
// of 4. Rows and columns are arbitrary. Loads beyond an edge are clamped to it, so that no index leaves its tensor.
//
// KIND 0 `direct` is for processors that play the GPU: an invocation keeps BR x 4 BQ sums and reads straight from
//   storage; no barrier. Workgroup: 8 invocations side by side, which lavapipe runs as one vector; they share their
//   rows,
//   so that it loads a once for all of them. Grid: blocks of columns, blocks of rows, parts.
// KIND 1 `tiled` is for GPUs: a workgroup makes SIDE x SIDE elements from tiles of depth 16 in workgroup memory, 8 x 8
//   (SIDE 32: 4 x 4) an invocation, and fetches the next tile while it multiplies. Grid: tiles of columns, of rows,
//   parts.
//% if EPILOGUE > 0
//% import activation
//% end

struct Params {
    rows: u32, cols: u32, depth: u32, part: u32,
    lda: u32, ldb: u32, ldc: u32, part_stride: u32,
    a_offset: u32, b_offset: u32, c_offset: u32, acc: u32,
    // Last words of the bindings a and b.
    a_last: u32, b_last: u32, scale: f32, activation: u32,
    // 1 if a bias, a residual is there.
    bias: u32, residual: u32, spare_0: u32, spare_1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end
@group(0) @binding(1) var<storage, read> a: array<T>;
@group(0) @binding(2) var<storage, read> b: array<T>;
@group(0) @binding(3) var<storage, read_write> c: array<T>;
//% if EPILOGUE > 0
@group(0) @binding(4) var<storage, read> bias: array<T>;
@group(0) @binding(5) var<storage, read> residual: array<T>;
//% end
//% if EPILOGUE == 2
@group(0) @binding(6) var<storage, read_write> z: array<T>;
//% end

// Four words from word i on; one word.
//% if VEC == 4
fn a4(i: u32) -> vec4<f32> { return a[i >> 2u]; }
fn b4(i: u32) -> vec4<f32> { return b[i >> 2u]; }
fn a1(i: u32) -> f32 { return a[i >> 2u][i & 3u]; }
fn b1(i: u32) -> f32 { return b[i >> 2u][i & 3u]; }
//% else
fn a4(i: u32) -> vec4<f32> {
    let last = params.a_last;
    return vec4(a[min(i, last)], a[min(i + 1u, last)], a[min(i + 2u, last)], a[min(i + 3u, last)]);
}
fn b4(i: u32) -> vec4<f32> {
    let last = params.b_last;
    return vec4(b[min(i, last)], b[min(i + 1u, last)], b[min(i + 2u, last)], b[min(i + 3u, last)]);
}
fn a1(i: u32) -> f32 { return a[i]; }
fn b1(i: u32) -> f32 { return b[i]; }
//% end

// Writes scale * sum to four columns of a row, or adds it.
fn finish(row: u32, col: u32, part: u32, sum: vec4<f32>) {
    if (row >= params.rows || col >= params.cols) { return; }
    let at = params.c_offset + part * params.part_stride + row * params.ldc + col;
    let value = sum * params.scale;
//% if VEC == 4
//% if EPILOGUE == 0
    if (params.acc == 1u) { c[at >> 2u] += value; return; }
//% end
    c[at >> 2u] = value;
//% else
//% for t in 0..4
    if (col + {{t}}u < params.cols) {
//% if EPILOGUE == 0
        if (params.acc == 1u) { c[at + {{t}}u] += value[{{t}}]; } else { c[at + {{t}}u] = value[{{t}}]; }
//% else
        c[at + {{t}}u] = value[{{t}}];
//% end
    }
//% end
//% end
}

//% if EPILOGUE > 0
// The rest of the epilogue of four columns of a row: reads the product that this invocation wrote. (A loop over the
// products in memory stays small; the same code at each of the sums in registers would take seconds to compile.)
fn complete(row: u32, col: u32) {
    if (row >= params.rows || col >= params.cols) { return; }
    let at = params.c_offset + row * params.ldc + col;
//% for t in 0..1+3*(VEC==1)
    if (col + {{t}}u < params.cols) {
//% if VEC == 4
        let i = at >> 2u;
        let j = col >> 2u;
//% else
        let i = at + {{t}}u;
        let j = col + {{t}}u;
//% end
        var value = c[i];
        if (params.bias == 1u) { value += bias[j]; }
//% if EPILOGUE == 2
        z[i] = value;
//% end
        if (params.activation != 0u) {
//% if VEC == 4
            value = vec4(activate(params.activation, value.x), activate(params.activation, value.y),
                         activate(params.activation, value.z), activate(params.activation, value.w));
//% else
            value = activate(params.activation, value);
//% end
        }
        if (params.residual == 1u) { value += residual[i]; }
        c[i] = value;
    }
//% end
}
//% end

//% if KIND == 0
@compute @workgroup_size(8)
fn direct(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * {{BR}}u;
    let col = (group.x * 8u + lane) * {{4*BQ}}u;
    if (row >= params.rows || col >= params.cols) { return; }
    let begin = group.z * params.part;
    let end = min(begin + params.part, params.depth);
    // Edges: the last row and column, or where four of them are read at once, the first of the last four.
    let row_last = params.rows - 1u;
    let col_last = params.cols - 1u;
//% if VARIANT < 2
//% for i in 0..BR
    let a_{{i}} = params.a_offset + min(row + {{i}}u, row_last) * params.lda;
//% end
//% else
//% for p in 0..(BR+3)/4
    let a_{{p}} = params.a_offset + min(row + {{4*p}}u, row_last & 0xfffffffcu);
//% end
//% end
//% if VARIANT == 0
//% for j in 0..4*BQ
    let b_{{j}} = params.b_offset + min(col + {{j}}u, col_last) * params.ldb;
//% end
//% else
//% for q in 0..BQ
    let b_{{q}} = params.b_offset + min(col + {{4*q}}u, col_last & 0xfffffffcu);
//% end
//% end
//% for i in 0..BR
//% for q in 0..BQ
    var s_{{i}}_{{q}} = vec4<f32>();
//% end
//% end
    var d = begin;
//% for phase in 0..1+TAIL
//% let DEEP = 4-3*phase
//% if phase == 0
    for (; d + 4u <= end; d += 4u) {
//% else
    for (; d < end; d += 1u) {
//% end
        // B[d + t, columns of quad q].
//% for q in 0..BQ
//% if VARIANT == 0
//% for j in 0..4
//% if phase == 0
        let w_{{q}}_{{j}} = b4(b_{{4*q+j}} + d);
//% else
        let w_{{q}}_{{j}} = b1(b_{{4*q+j}} + d);
//% end
//% end
//% if phase == 0
//% for t in 0..4
        let b_{{q}}_{{t}} = vec4(w_{{q}}_0[{{t}}], w_{{q}}_1[{{t}}], w_{{q}}_2[{{t}}], w_{{q}}_3[{{t}}]);
//% end
//% else
        let b_{{q}}_0 = vec4(w_{{q}}_0, w_{{q}}_1, w_{{q}}_2, w_{{q}}_3);
//% end
//% else
//% for t in 0..DEEP
        let b_{{q}}_{{t}} = b4((d + {{t}}u) * params.ldb + b_{{q}});
//% end
//% end
//% end
//% if VARIANT == 2
//% for p in 0..(BR+3)/4
//% for t in 0..DEEP
        let x_{{p}}_{{t}} = a4((d + {{t}}u) * params.lda + a_{{p}});
//% end
//% end
//% end
//% for i in 0..BR
//% if VARIANT < 2
//% if phase == 0
        let x_{{i}} = a4(a_{{i}} + d);
//% else
        let x_{{i}} = vec4(a1(a_{{i}} + d));
//% end
//% end
//% for q in 0..BQ
//% for t in 0..DEEP
//% if VARIANT < 2
        s_{{i}}_{{q}} += b_{{q}}_{{t}} * x_{{i}}[{{t}}];
//% else
        s_{{i}}_{{q}} += b_{{q}}_{{t}} * x_{{i/4}}_{{t}}[{{i%4}}];
//% end
//% end
//% end
//% end
    }
//% end
//% for i in 0..BR
//% for q in 0..BQ
    finish(row + {{i}}u, col + {{4*q}}u, group.z, s_{{i}}_{{q}});
//% end
//% end
//% if EPILOGUE > 0
    for (var i = 0u; i < {{BR}}u; i += 1u) {
        for (var j = 0u; j < {{4*BQ}}u; j += 4u) { complete(row + i, col + j); }
    }
//% end
}
//% end

//% if KIND == 1
//% let WIDE = SIDE/4
//% let QUADS = 2-(SIDE==32)
//% let ACROSS = WIDE/QUADS
//% let THREADS = ACROSS*ACROSS
//% let BLOCKS = WIDE*4
// With two invocations to a block of the tiles, one half of them fetches a and the other b; else each fetches both.
//% let FETCHES = 1+(THREADS==BLOCKS)
// A tile's rows are depths, its columns quads of rows of a, then of columns of b. Depth d has quad i at i ^ 2 (d / 4),
// so that blocks that are turned over are not written into one bank.
var<workgroup> tiles: array<vec4<f32>, {{32*WIDE}}>;

// The first `count` of four.
fn keep(v: vec4<f32>, count: u32) -> vec4<f32> {
    return select(vec4<f32>(), v, vec4(0u, 1u, 2u, 3u) < vec4(count));
}

@compute @workgroup_size({{THREADS}})
fn tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * {{SIDE}}u;
    let col = group.x * {{SIDE}}u;
    let begin = group.z * params.part;
    let end = min(begin + params.part, params.depth);
    let row_last = params.rows - 1u;
    let col_last = params.cols - 1u;
    // Neighbouring invocations make 8 x 4 blocks, so that they read few quads of a tile at a time.
//% if ACROSS == 16
    let tx = lane % 8u + (lane / 32u) % 2u * 8u;
    let ty = (lane / 8u) % 4u + lane / 64u * 4u;
//% else
    let tx = lane % 8u;
    let ty = lane / 8u;
//% end
    // A fetch is a block of 4 depths x 4 rows (columns): where the tensor runs along the depth, neighbours take
    // neighbouring depths, and the block is turned over; else they take neighbouring rows (columns).
//% for o in 0..FETCHES
//% if FETCHES == 1
    let of_b_{{o}} = lane >= {{BLOCKS}}u;
//% else
    let of_b_{{o}} = {{o}}u == 1u;
//% end
    let block_{{o}} = lane % {{BLOCKS}}u;
//% if VARIANT == 0
    let along_{{o}} = true;
//% elif VARIANT == 1
    let along_{{o}} = !of_b_{{o}};
//% else
    let along_{{o}} = false;
//% end
    let group_{{o}} = select(block_{{o}} / {{WIDE}}u, block_{{o}} % 4u, along_{{o}});
    let quad_{{o}} = select(block_{{o}} % {{WIDE}}u, block_{{o}} / 4u, along_{{o}});
    let ld_{{o}} = select(params.lda, params.ldb, of_b_{{o}});
    let first_{{o}} = select(row, col, of_b_{{o}}) + quad_{{o}} * 4u;
    let last_{{o}} = select(row_last, col_last, of_b_{{o}});
    let offset_{{o}} = select(params.a_offset, params.b_offset, of_b_{{o}});
    let stride_{{o}} = select(16u * ld_{{o}}, 16u, along_{{o}});
    let to_{{o}} = select(0u, {{16*WIDE}}u, of_b_{{o}}) + group_{{o}} * {{4*WIDE}}u + (quad_{{o}} ^ (2u * group_{{o}}));
    let deep_{{o}} = begin + group_{{o}} * 4u;
//% for t in 0..4
    // Where its next four words are.
    var from_{{o}}_{{t}} = offset_{{o}} + select(
        (deep_{{o}} + {{t}}u) * ld_{{o}} + min(first_{{o}}, last_{{o}} & 0xfffffffcu),
        min(first_{{o}} + {{t}}u, last_{{o}}) * ld_{{o}} + deep_{{o}},
        along_{{o}},
    );
    var next_{{o}}_{{t}} = vec4<f32>();
//% end
//% end
//% for i in 0..4*QUADS
//% for q in 0..QUADS
    var s_{{i}}_{{q}} = vec4<f32>();
//% end
//% end
    // Each turn fetches the tile at `d` into registers while the tile before it is multiplied.
    for (var d = begin; d < end + 16u; d += 16u) {
        let fetch = d < end;
        if (fetch) {
//% for o in 0..FETCHES
            let d_{{o}} = d + group_{{o}} * 4u;
//% for t in 0..4
            next_{{o}}_{{t}} = vec4<f32>();
            if (d_{{o}} + select({{t}}u, 0u, along_{{o}}) < end) {
                let i = from_{{o}}_{{t}};
                if (of_b_{{o}}) { next_{{o}}_{{t}} = b4(i); } else { next_{{o}}_{{t}} = a4(i); }
//% if TAIL
                if (along_{{o}}) { next_{{o}}_{{t}} = keep(next_{{o}}_{{t}}, end - d_{{o}}); }
//% end
            }
            from_{{o}}_{{t}} += stride_{{o}};
//% end
//% end
        }
        if (d > begin) {
            for (var g = 0u; g < 4u; g += 1u) {
                let at_a = g * {{4*WIDE}}u + (ty ^ (2u * g));
                let at_b = g * {{4*WIDE}}u + (tx ^ (2u * g)) + {{16*WIDE}}u;
//% for k in 0..4
//% for q in 0..QUADS
                let x_{{k}}_{{q}} = tiles[at_a + {{k*WIDE+q*ACROSS}}u];
                let w_{{k}}_{{q}} = tiles[at_b + {{k*WIDE+q*ACROSS}}u];
//% end
//% for i in 0..4*QUADS
//% for q in 0..QUADS
                s_{{i}}_{{q}} += w_{{k}}_{{q}} * x_{{k}}_{{i/4}}[{{i%4}}];
//% end
//% end
//% end
            }
        }
        workgroupBarrier();
        if (fetch) {
//% for o in 0..FETCHES
            if (along_{{o}}) {
//% for t in 0..4
                tiles[to_{{o}} + {{t*WIDE}}u] =
                    vec4(next_{{o}}_0[{{t}}], next_{{o}}_1[{{t}}], next_{{o}}_2[{{t}}], next_{{o}}_3[{{t}}]);
//% end
            } else {
//% for t in 0..4
                tiles[to_{{o}} + {{t*WIDE}}u] = next_{{o}}_{{t}};
//% end
            }
//% end
        }
        workgroupBarrier();
    }
//% for i in 0..4*QUADS
//% for q in 0..QUADS
    finish(row + {{i/4*ACROSS*4}}u + ty * 4u + {{i%4}}u, col + {{q*ACROSS*4}}u + tx * 4u, group.z, s_{{i}}_{{q}});
//% end
//% end
//% if EPILOGUE > 0
    for (var i = 0u; i < {{4*QUADS}}u; i += 1u) {
        for (var q = 0u; q < {{QUADS}}u; q += 1u) {
            complete(row + (i / 4u) * {{ACROSS*4}}u + ty * 4u + i % 4u, col + q * {{ACROSS*4}}u + tx * 4u);
        }
    }
//% end
}
//% end
