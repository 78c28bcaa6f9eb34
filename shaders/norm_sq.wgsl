// norm_sq: sums of squares in a fixed order
//
//   partial   g (len words, one shard that starts at word `first` of its tensor) -> row `row` of parts (T, 64):
//             part j sums the squares of the blocks j, j + 64, ... of 1024 words of the tensor.
//             Grid: 64 workgroups. Later shards add to the row.
//   total     sums (len, 64) -> result (4) = {sum, 0, 0, 0}. Grid: one workgroup.
// Limits: `first` and words of a tensor below 2^32. Reads g once.

//% if VEC == 4
alias T = vec4<f32>;
//% else
alias T = f32;
//% end

struct Params { len: u32, first: u32, row: u32, acc: u32 }
@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> g: array<T>;
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;

var<workgroup> lanes: array<f32, 256>;

@compute @workgroup_size(256)
fn partial(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Blocks are counted in the tensor, positions in the shard. The first block of this part that reaches into the
    // shard:
    let begin = params.first / 1024u;
    let skip = (group.x + 64u - begin % 64u) % 64u;
    let blocks = (params.first % 1024u + params.len + 1023u) / 1024u;
    var sum = T();
    for (var block = skip; block < blocks; block += 64u) {
        // From the shard's beginning, in pieces of VEC words; block 0 may begin before it.
        let end = min((block + 1u) * 1024u - params.first % 1024u, params.len) / {{VEC}}u;
        let start = (max(block * 1024u, params.first % 1024u) - params.first % 1024u) / {{VEC}}u;
        for (var i = start + lane; i < end; i += 256u) {
            let x = g[i];
            sum += x * x;
        }
    }
//% if VEC == 4
    lanes[lane] = (sum.x + sum.y) + (sum.z + sum.w);
//% else
    lanes[lane] = sum;
//% end
    workgroupBarrier();
    if (lane == 0u) {
        var total = 0.0;
        for (var i = 0u; i < 256u; i += 1u) { total += lanes[i]; }
        let at = params.row * 64u + group.x;
        if (params.acc == 1u) { total += parts[at]; }
        parts[at] = total;
    }
}

@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;

@compute @workgroup_size(64)
fn total(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var row = 0u; row < params.len; row += 1u) { sum += sums[row * 64u + lane]; }
    lanes[lane] = sum;
    workgroupBarrier();
    if (lane == 0u) {
        var total = 0.0;
        for (var i = 0u; i < 64u; i += 1u) { total += lanes[i]; }
        result[0] = vec4(total, 0.0, 0.0, 0.0);
    }
}
