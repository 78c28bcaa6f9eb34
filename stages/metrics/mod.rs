//! Figures of answers: plain functions of texts, scores and log-probabilities, each with its formula and source.
//!
//! All are held to the implementations that the field quotes (`tests/golden/metrics.json`, made by
//! `tools/oracle/metrics.py`).

pub mod choice;
pub mod interval;
pub mod preference;
pub mod text;

pub use interval::{Interval, clustered, wilson};
