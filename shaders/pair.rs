//! A pair of neighbouring files as a value: ops, entry points, test cases, gradient checks, tolerance.

use crate::spec::{Call, Kernel, Op, Recorder, Tensor, Tick};

/// How closely a device must follow the spec: |device - spec| <= absolute + relative * max|spec| of the tensor.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// In the tensor's own unit.
    pub absolute: f32,
    /// Share of the tensor's largest magnitude.
    pub relative: f32,
    /// Where the numbers come from.
    pub why: &'static str,
}

/// A test case of an op: a call on tensors with ids 0.. (reads first, then writes) and their contents on entry.
pub struct Case {
    /// Says what is odd about it.
    pub name: &'static str,
    /// The call.
    pub call: Call,
    /// The per-step numbers.
    pub tick: Tick,
    /// Contents of the reads.
    pub reads: Vec<Vec<f32>>,
    /// Contents of the writes on entry.
    pub writes: Vec<Vec<f32>>,
}

/// A gradient check: the test feeds `inputs`, weighs the output with random numbers, and compares the gradients of the
/// inputs marked `true` with central differences of the spec.
pub struct GradientCheck {
    /// Says what is checked.
    pub name: &'static str,
    /// Inputs: shape, type, contents, and whether a gradient is wanted.
    pub inputs: Vec<(Tensor, Vec<f32>, bool)>,
    /// Records the op on the inputs and returns its output.
    pub record: fn(&mut dyn Recorder, &[Tensor]) -> Tensor,
}

/// One pair of neighbouring files: `name.wgsl` and `name.rs` (further texts and modules in the folder `name/`).
pub struct Pair {
    /// The files' stem.
    pub name: &'static str,
    /// Its ops, forward first.
    pub ops: &'static [&'static Op],
    /// Its entry points.
    pub kernels: &'static [&'static Kernel],
    /// Odd shapes and extremes for every op.
    pub cases: fn() -> Vec<Case>,
    /// Derivatives against finite differences.
    pub gradients: fn() -> Vec<GradientCheck>,
    /// How closely devices must agree with the spec.
    pub tolerance: Tolerance,
}
