//! The tests of the whole: one binary of modules.
#![allow(clippy::unwrap_used)]

mod formats;
mod store;
