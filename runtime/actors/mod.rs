//! The actors of a run: each file is a plain struct with all the logic, hosted by the supervision layer.

pub mod checkpoint;
pub mod compute;
pub mod data;
pub mod journal;
pub mod loss;
pub mod opening;
pub mod optimizer;
