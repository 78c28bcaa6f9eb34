//! What is trained: the stages, their data and their losses.

pub mod data;
