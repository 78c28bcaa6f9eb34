//! Recording: the model is written once against a [`Tape`], which becomes a [`Program`].

pub mod plan;
mod record;

pub use record::Tape;

use pleach_shaders::spec::{Call, Dtype, Shape};

/// An activation of a program: its id is its index.
#[derive(Clone, Debug)]
pub struct Activation {
    /// Where it comes from, for people: `layer 3 attention`.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// Element type.
    pub dtype: Dtype,
}

/// The op list: the same on every device.
#[derive(Clone, Debug)]
pub struct Program {
    /// `train`, `evaluate`, `decode`, ...
    pub name: String,
    /// Calls in order.
    pub calls: Vec<Call>,
    /// Activations; a tensor id without the persistent bit is an index into this list.
    pub activations: Vec<Activation>,
    /// First calls of the parts after the first (the host decides between parts).
    pub splits: Vec<usize>,
}

impl Program {
    /// The parts as ranges of calls; at least one.
    pub fn parts(&self) -> Vec<std::ops::Range<usize>> {
        let mut bounds = vec![0];
        bounds.extend(&self.splits);
        bounds.push(self.calls.len());
        bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
    }
}
