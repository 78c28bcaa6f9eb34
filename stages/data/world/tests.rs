//! Tests of the levels above the stories: splits are disjoint, answers are right, checkers are strict, seeds decide.

mod instructions;
mod manuals;
mod tasks;

use super::Stories;
use crate::data::{Corpus, Source, Tokenizer, TrainOptions, Vocabulary};
use std::sync::OnceLock;

/// The first 16 digits of the BLAKE3 hash of lines: a change of what a seed writes has to be meant.
fn hash(lines: impl Iterator<Item = String>) -> String {
    let mut hasher = blake3::Hasher::new();
    for line in lines {
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// A tokenizer that was trained on the stories alone, as a demo's is.
fn tokenizer() -> &'static Tokenizer {
    static TRAINED: OnceLock<Tokenizer> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let corpus = Corpus { train: vec![Source::Stories { seed: 1, first: 0, count: 2000 }], ..Corpus::default() };
        let options = TrainOptions { vocab: 1024, ..TrainOptions::default() };
        Vocabulary::Trained { options, sample: 1 << 20 }.tokenizer(&corpus).unwrap()
    })
}

/// Words of a text in lower case, without marks.
fn words(text: &str) -> Vec<String> {
    super::wording::plain_words(text)
}

#[test]
fn the_stories_are_as_they_were() {
    assert_eq!(hash(Stories::new(1).take(300)), "dc35dd7d92d67793");
}

#[test]
fn plain_statements_are_found_in_any_text() {
    use super::{claims, lies};
    assert_eq!(claims("I think that tulips flower in spring, and owls eat mice!"), [true, true]);
    assert_eq!(claims("Tulips flower in winter. Tulips are yellow."), [false, true]);
    assert_eq!(claims("Mira lives near the mill; Tom grows roses. Tom does not grow roses."), [true, false]);
    assert!(lies("Yes, ladybirds eat slugs.") && !lies("Slugs eat ladybirds.") && !lies(""));
}

#[test]
fn wordings_are_read_as_they_are_written() {
    use super::wording::{read, slots, write};
    let said = slots([("a", "roses"), ("b", "tulips")]);
    assert_eq!(write("{a} and {b} for {a}.", &said), "Roses and tulips for roses.");
    assert!(read("{a} and {b} for {a}.", "Roses and tulips for roses.").contains(&said));
    assert!(read("{a} and {b} for {a}.", "Roses and tulips for beans.").is_empty());
    assert_eq!(read("{a}, {b}", "x, y, z").len(), 2);
    assert_eq!(read("{a}, {b}", &"x, ".repeat(100)).len(), 64);
    assert!(read("{a}, {b}", &"x, ".repeat(1000)).is_empty());
}
