//! The little world: unlimited clean English about a village of gardens, people and seasons, with facts that can be
//! checked. All text is ours.
//!
//! - [`facts`]: what is true; every level draws on the same tables;
//! - `rules`: the frames of sentences, as data; `grammar`: what compiles them for writer and recogniser alike;
//! - [`Stories`]: the general level, for pretraining;
//! - [`Parser`] and [`sentences`]: does a text belong to the world, and is it true? [`claims()`]: what does any text
//!   state in passing?
//! - [`manuals`]: a domain that the stories never tell, with a cloze, for continued pretraining;
//! - [`tasks`]: notes to JSON, for fine-tuning;
//! - [`instructions`]: many kinds of instruction as messages, for instruction tuning;
//! - [`preferences`]: prompts to rank answers of, the world's own judgement of any answer, and a simulated rater;
//! - [`ladder`]: how much of each a stage of the demo learns, and how fast.
//!
//! ```
//! use pleach::data::world::{Parser, Stories, sentences};
//!
//! let story = Stories::new(1).next().ok_or("stories never end")?;
//! let parser = Parser::new();
//! assert!(sentences(&story).into_iter().all(|sentence| parser.parses(sentence)));
//! assert_eq!(parser.check_fact("Tulips flower in spring."), Some(true));
//! assert_eq!(parser.check_fact("Tulips flower in winter."), Some(false));
//! assert!(!parser.parses("Tulips flowers in spring."));
//! # Ok::<(), &str>(())
//! ```

mod claims;
pub mod facts;
mod grammar;
pub mod instructions;
pub mod ladder;
pub mod manuals;
mod material;
mod parse;
pub mod preferences;
mod rules;
mod stories;
pub mod tasks;
#[cfg(test)]
mod tests;
mod wording;

pub use claims::{claims, lies};
pub use material::{Excerpt, Material};
pub use parse::{Parser, sentences};
pub use stories::Stories;

/// The two sides of a split. What tells them apart (wordings, pairs of things, requests) is written down, not drawn,
/// so that they are disjoint for any seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// For training.
    Seen,
    /// Kept for tests.
    Unseen,
}

impl Side {
    /// The seed of a side's dice: one seed may serve both.
    fn key(self, seed: u64) -> u64 {
        match self {
            Side::Seen => seed,
            Side::Unseen => seed ^ 0x00E5_EE4E_D51D,
        }
    }
}
