// Number of a workgroup in a grid that was folded into two dimensions (grid.rs).
fn flat_group(group: vec3<u32>) -> u32 {
    return group.y * 65535u + group.x;
}
