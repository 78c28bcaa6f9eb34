//! The little world: unlimited clean English about a village of gardens, people and seasons, with facts that can be
//! checked. All text is ours.
//!
//! - [`facts`]: what is true. Later levels (manuals, tasks, instructions, preferences) draw on the same tables;
//! - `rules`: the frames of sentences, as data; `grammar`: what compiles them for writer and recogniser alike;
//! - [`Stories`]: the general level, for pretraining;
//! - [`Parser`] and [`sentences`]: does a text belong to the world, and is it true?
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

pub mod facts;
mod grammar;
mod parse;
mod rules;
mod stories;

pub use parse::{Parser, sentences};
pub use stories::Stories;
