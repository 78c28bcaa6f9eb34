//! The tests of the whole: one binary of modules.
#![allow(clippy::unwrap_used)]

mod adapted;
mod adapters;
mod begun;
mod commands;
mod cpu;
mod data;
mod fit;
mod foreign;
mod formats;
mod gpu;
mod gradients;
mod kernels;
mod kill;
mod local;
mod lora;
mod losses;
mod naga;
mod numbers;
mod odd;
mod open;
mod oracle;
mod pipeline;
mod policy_stages;
mod program;
mod programs;
mod recovery;
mod resolved;
mod scalar;
mod stages;
mod store;
mod supervise;
mod supervise_policy;
mod templates;
mod tidy;
mod world;
