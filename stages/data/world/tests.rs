//! Tests of the levels above the stories: splits are disjoint, answers are right, checkers are strict, seeds decide.

#![allow(clippy::unwrap_used)]

mod instructions;
mod ladder;
mod manuals;
mod preferences;
mod tasks;

use super::instructions::{Dialogue, Instructions};
use super::manuals::Manuals;
use super::preferences::Prompts;
use super::tasks::Notes;
use super::{Side, Stories};
use crate::data::{Corpus, Source, Tokenizer, TrainOptions, Vocabulary};
use std::collections::BTreeSet;
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
        let corpus = Corpus { train: vec![Source::parse("world:2000").unwrap()], ..Corpus::default() };
        let options = TrainOptions { vocab: 1024, ..TrainOptions::default() };
        Vocabulary::Trained { options, sample: 1 << 20 }.tokenizer(&corpus).unwrap()
    })
}

/// Words of a text in lower case, without marks.
fn words(text: &str) -> Vec<String> {
    super::wording::plain_words(text)
}

/// What a model has read in the stories is most of what it reads later.
#[test]
fn the_levels_speak_the_language_of_the_stories() {
    let known: BTreeSet<String> = Stories::new(1).take(3000).flat_map(|story| words(&story)).collect();
    let share = |texts: Vec<String>| {
        let all: Vec<String> = texts.iter().flat_map(|text| words(text)).collect();
        all.iter().filter(|word| known.contains(*word)).count() as f64 / all.len() as f64
    };
    let said = |dialogue: Dialogue| dialogue.messages.into_iter().map(|message| message.content);
    let shares = [
        share(Manuals::new(1).take(200).collect()),
        share(Notes::new(1, Side::Seen).take(500).map(|record| record.note).collect()),
        share(Instructions::new(1, Side::Seen).take(1000).flat_map(said).collect()),
        share(Prompts::new(1, Side::Seen).take(1000).map(|prompt| prompt.text).collect()),
    ];
    let least = [0.65, 0.8, 0.8, 0.8];
    assert!(shares.iter().zip(least).all(|(share, least)| *share > least), "{shares:?}");
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
