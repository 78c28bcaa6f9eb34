//! What people look at: the progress bar, the curve in the terminal, the report with its plots.

pub mod curve;
pub mod curves;
pub mod ladder;
pub mod live;
pub mod report;
pub mod samples;
pub mod svg;
pub mod words;
