// row_sum: the sum of one value per invocation over a workgroup of 64, in a fixed order. All 64 must call it.
var<workgroup> row_parts: array<f32, 64>;

fn row_sum(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    row_parts[lane] = value;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) { row_parts[lane] += row_parts[lane + half]; }
        workgroupBarrier();
    }
    return row_parts[0];
}
