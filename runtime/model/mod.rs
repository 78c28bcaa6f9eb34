//! The model: its config, its weights, adapters beside them, the one decoder, generation, other programs' names for it.

pub mod adapter;
pub mod config;
pub mod families;
pub mod generate;
pub mod transformer;
pub mod weights;
