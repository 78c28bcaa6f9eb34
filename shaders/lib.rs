//! Ops and kernels: each op is a pair of neighbouring files, the shader and its readable definition.
//!
//! This crate knows no device, no file and no thread. [`PAIRS`] is the one list that tests, benches and checks walk.

pub mod lower;
pub mod spec;
pub mod template;

/// All pairs. Every test, bench and check walks this list.
pub const PAIRS: &[&spec::Pair] = &[];

#[cfg(test)]
mod check;
