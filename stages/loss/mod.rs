//! Objectives: plain functions of the head's numbers.

pub mod next_token;
pub(crate) mod numeric;
pub mod pairs;
pub mod policy;
pub mod preference;
pub mod ranked;
pub mod ranking;
