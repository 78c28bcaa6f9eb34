//! The tests of the whole: one binary of modules.
#![allow(clippy::unwrap_used)]

mod adapters;
mod cpu;
mod data;
mod formats;
mod gpu;
mod gradients;
mod kernels;
mod kill;
mod local;
mod naga;
mod numbers;
mod open;
mod oracle;
mod programs;
mod recovery;
mod resolved;
mod store;
mod supervise;
mod supervise_policy;
mod templates;
mod tidy;
mod world;
