//! All integration tests of the library in one binary.
#![allow(clippy::unwrap_used)]

mod data;
mod world;
