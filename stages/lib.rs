//! Pleach: one person takes a language model through every stage of training, on their own machine.
//!
//! This crate says what is trained: the stages, their data and their objectives. How a run lives (devices, programs,
//! supervision, checkpoints) is [`runtime`]. The `pleach` program is built on [`launch`] alone.

mod begun;
pub mod data;
pub mod dpo;
pub mod evaluate;
pub mod finetune;
mod finished;
pub mod launch;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod pretrain;

pub use pleach_runtime as runtime;
