//! Ops and kernels: each op is a pair of neighbouring files, the shader and its readable definition.
//!
//! This crate knows no device, no file and no thread. [`PAIRS`] is the one list that tests, benches and checks walk.

pub mod activation;
pub mod adamw;
pub mod add;
pub mod attention;
pub mod cache;
pub mod cases;
pub mod cast;
pub mod dora;
pub mod dropout;
pub mod embed;
pub mod gate;
pub mod gemm;
pub mod grid;
pub mod head;
pub mod head_norm;
pub mod layer_norm;
pub mod matmul;
pub mod noise;
pub mod norm_sq;
pub mod pair;
pub mod reduce;
pub mod rms_norm;
pub mod rope;
pub mod sample;
pub mod sink;
pub mod spec;
pub mod template;

/// All pairs. Every test, bench and check walks this list.
pub const PAIRS: &[&spec::Pair] = &[
    &embed::PAIR,
    &rms_norm::PAIR,
    &layer_norm::PAIR,
    &matmul::PAIR,
    &head_norm::PAIR,
    &rope::PAIR,
    &attention::PAIR,
    &activation::PAIR,
    &gate::PAIR,
    &add::PAIR,
    &dropout::PAIR,
    &head::PAIR,
    &reduce::PAIR,
    &norm_sq::PAIR,
    &adamw::PAIR,
    &cast::PAIR,
    &dora::PAIR,
    &cache::PAIR,
    &sample::PAIR,
];

#[cfg(test)]
mod check;
