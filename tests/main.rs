//! All integration tests of the library in one binary.
#![allow(clippy::unwrap_used)]

mod adapters;
mod cpu;
mod data;
mod gpu;
mod gradients;
mod kernels;
mod local;
mod naga;
mod numbers;
mod world;
