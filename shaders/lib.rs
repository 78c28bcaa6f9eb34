//! Ops and kernels: each op is a pair of neighbouring files, the shader and its readable definition.
//!
//! This crate knows no device, no file and no thread. [`PAIRS`] is the one list that tests, benches and checks walk.

pub mod activation;
pub mod adamw;
pub mod add;
pub mod attention;
pub mod cases;
pub mod dropout;
pub mod embed;
pub mod grid;
pub mod head_norm;
pub mod layer_norm;
pub mod noise;
pub mod norm_sq;
pub mod reduce;
pub mod rms_norm;
pub mod rope;
pub mod sink;
pub mod spec;
pub mod template;

/// All pairs. Every test, bench and check walks this list.
pub const PAIRS: &[&spec::Pair] = &[
    &embed::PAIR,
    &rms_norm::PAIR,
    &layer_norm::PAIR,
    &head_norm::PAIR,
    &rope::PAIR,
    &attention::PAIR,
    &activation::PAIR,
    &add::PAIR,
    &dropout::PAIR,
    &reduce::PAIR,
    &norm_sq::PAIR,
    &adamw::PAIR,
];

#[cfg(test)]
mod check;
