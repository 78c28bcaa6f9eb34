//! What a call does with an output that may be absent or shared: leave it out, write it, or add to it.

use crate::spec::{Recorder, Tensor};

/// There is no such output.
pub const ABSENT: u32 = 0;
/// The output is overwritten.
pub const WRITE: u32 = 1;
/// The result is added to what the output holds.
pub const ADD: u32 = 2;

/// Where a gradient rule sends the gradient of `x`, and how; the absent tensor if nobody wants it.
pub fn gradient(r: &mut dyn Recorder, x: Tensor) -> (Tensor, u32) {
    if x.is_none() || !r.wants(x) {
        return (Tensor::none(), ABSENT);
    }
    let (dx, add) = r.gradient(x);
    (dx, if add { ADD } else { WRITE })
}

/// The definition of a sink: what a slot holds after `value` arrived.
pub fn store(slot: &mut f32, value: f32, sink: u32) {
    match sink {
        ABSENT => {}
        WRITE => *slot = value,
        _ => *slot += value,
    }
}
