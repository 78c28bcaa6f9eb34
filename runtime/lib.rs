//! How a training run lives: devices, programs, the model, supervision, checkpoints. Knows no stage and no tokenizer.

pub mod actors;
pub mod bus;
pub mod collect;
pub mod control;
pub mod crew;
pub mod device;
pub mod engine;
pub mod event;
pub mod fault;
pub mod messages;
pub mod model;
pub mod progress;
pub mod pulse;
pub mod round;
pub mod run;
pub mod schedule;
pub mod stage;
pub mod step;
pub mod store;
pub mod supervise;
pub mod tape;
pub mod trainer;

pub use pleach_shaders as shaders;
