//! The model: its config, its weights, the one decoder, generation, and other programs' names for it.

pub mod config;
pub mod families;
pub mod generate;
pub mod transformer;
pub mod weights;
