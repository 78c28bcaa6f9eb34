//! The sentences of the little world: every frame that stories are made of.
//!
//! Order and wording decide what a seed writes: a change here changes every story.

mod common;
mod trouble;
mod turns;

/// Named groups of frames.
pub(super) type Table = [(&'static str, &'static [&'static str])];

/// Groups of whole sentences.
pub(super) const SENTENCES: &[&Table] = &[common::SENTENCES, trouble::SENTENCES, turns::SENTENCES];

/// Groups of words within sentences.
pub(super) const PHRASES: &Table = common::PHRASES;
