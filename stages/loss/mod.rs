//! Objectives: plain functions of the head's numbers.

pub mod next_token;
