//! How a training run lives: devices, programs, the model, supervision, checkpoints. Knows no stage and no tokenizer.

pub mod device;
pub mod fault;
pub mod stage;
pub mod store;
pub mod tape;

pub use pleach_shaders as shaders;
