//! The bisecting switch: the same program on two devices, call by call; the first call and element that differ.
//!
//! After each call the reference's results replace the other device's, so that a difference belongs to the call that
//! made it.

use super::{Device, ProgramId};
use crate::engine::Engine;
use crate::engine::layout::Key;
use crate::fault::Fault;
use crate::tape::Program;
use pleach_shaders::spec::{Dtype, Tensor, Tick};

/// Where two devices part.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Number of the call in its program.
    pub call: usize,
    /// Its op.
    pub op: &'static str,
    /// Which of its results, and of what the model calls it.
    pub tensor: String,
    /// Index of the element.
    pub element: usize,
    /// What the reference computed.
    pub reference: f32,
    /// What the other computed.
    pub other: f32,
}

/// Runs a program of two engines of the same layout, whose inputs were staged, call by call. An element differs when
/// it is further away than `tolerance` times the largest magnitude of its tensor (at least 1e-3).
pub fn first_difference(
    reference: &mut Engine,
    other: &mut Engine,
    key: Key,
    tick: &Tick,
    tolerance: f32,
) -> Result<Option<Difference>, Fault> {
    let program = reference.layout().programs[reference.layout().index(key)].clone();
    let ids = (reference.program(key), other.program(key));
    for at in 0..program.calls.len() {
        reference.device().run_calls(ids.0, at, at + 1, tick)?;
        other.device().run_calls(ids.1, at, at + 1, tick)?;
        let call = &program.calls[at];
        for (index, &tensor) in call.writes.iter().enumerate().filter(|(_, t)| !t.is_none()) {
            let a = fetch(reference.device(), ids.0, tensor)?;
            let b = fetch(other.device(), ids.1, tensor)?;
            if let Some(element) = differs(&a, &b, tensor.dtype, tolerance) {
                let (x, y) = (f32::from_bits(a[element]), f32::from_bits(b[element]));
                let tensor = format!("result {index}: {}", name(&program, tensor));
                let op = call.op.name;
                return Ok(Some(Difference { call: at, op, tensor, element, reference: x, other: y }));
            }
            if tensor.is_persistent() {
                other.device().write(tensor, 0, &a)?;
            } else {
                other.device().poke(ids.1, tensor, &a)?;
            }
        }
    }
    Ok(None)
}

fn fetch(device: &mut dyn Device, program: ProgramId, tensor: Tensor) -> Result<Vec<u32>, Fault> {
    let mut out = vec![0; tensor.shape.len()];
    if tensor.is_persistent() {
        device.read(tensor, 0, &mut out)?;
    } else {
        device.peek(program, tensor, &mut out)?;
    }
    Ok(out)
}

/// The furthest element, if it is too far.
fn differs(a: &[u32], b: &[u32], dtype: Dtype, tolerance: f32) -> Option<usize> {
    if dtype == Dtype::U32 {
        return a.iter().zip(b).position(|(a, b)| a != b);
    }
    let value = |x: u32| f32::from_bits(x);
    let largest = a.iter().map(|&x| value(x).abs()).fold(1e-3, f32::max);
    let far = |i: usize| {
        let gap = (value(a[i]) - value(b[i])).abs();
        if gap.is_nan() { f32::INFINITY } else { gap }
    };
    let worst = (0..a.len()).max_by(|&i, &j| far(i).total_cmp(&far(j)))?;
    (far(worst) > tolerance * largest).then_some(worst)
}

fn name(program: &Program, tensor: Tensor) -> String {
    match program.activations.get(tensor.id as usize) {
        Some(activation) => activation.name.clone(),
        None => format!("a buffer of {:?}", tensor.shape),
    }
}
