//! The tests of the whole: one binary of modules.
#![allow(clippy::unwrap_used)]

mod adapters;
mod begun;
mod commands;
mod cpu;
mod data;
mod evaluating;
mod fit;
mod foreign;
mod formats;
mod gpu;
mod gradients;
mod inspecting;
mod kernels;
mod kill;
mod local;
mod losses;
mod metrics;
mod naga;
mod numbers;
mod odd;
mod open;
mod oracle;
mod pipeline;
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
