// lanes: one row per workgroup of 64 (LANES = 64) or per invocation in workgroups of 16 (LANES = 1, software adapters);
// T is four words (VEC = 4) or one. Needs the variables LANES and VEC.
//% import grid
//% if VEC == 4
alias T = vec4<f32>;
fn across(value: T) -> f32 { return (value.x + value.y) + (value.z + value.w); }
//% else
alias T = f32;
fn across(value: T) -> f32 { return value; }
//% end

//% if LANES == 1
fn row_of(group: u32, lane: u32) -> u32 { return group * 16u + lane; }
fn first_of(lane: u32) -> u32 { return 0u; }
fn row_total(lane: u32, value: T) -> f32 { return across(value); }
//% else
//% import row_sum
fn row_of(group: u32, lane: u32) -> u32 { return group; }
fn first_of(lane: u32) -> u32 { return lane; }
fn row_total(lane: u32, value: T) -> f32 { return row_sum(lane, across(value)); }
//% end
