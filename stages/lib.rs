//! Pleach: one person takes a language model through every stage of training, on their own machine.
//!
//! This crate says what is trained: the stages, their data and their objectives. How a run lives (devices, programs,
//! supervision, checkpoints) is [`runtime`]. The `pleach` program is built on [`launch`] alone.

mod begun;
pub mod continued;
pub mod data;
pub mod dpo;
pub mod evaluate;
pub mod finetune;
mod finished;
pub mod grpo;
pub mod judge;
pub mod launch;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod ppo;
pub mod pretrain;
pub mod rank;
pub mod ranking;
pub mod reward;
pub mod rewards;
pub mod rollout;

pub use pleach_runtime as runtime;
