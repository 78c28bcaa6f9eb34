//! Plain statements about the world, found in any text: "tulips flower in spring" within whatever a model says.
//!
//! [`super::Parser`] asks for whole sentences of the stories' grammar; a model that answers questions says other
//! things, and what it states in passing has to be true too.

use super::facts::{ANIMALS, COLOURS, PEOPLE, PESTS, PLACES, PLANTS, Relation, SEASONS};
use super::wording::plain_words;

/// How a relation is said: capital words are things of that table, the others stand as they are.
const PATTERNS: &[(&str, Relation)] = &[
    ("ANIMALS eat PESTS", Relation::Eats),
    ("PESTS harm PLANTS", Relation::Harms),
    ("PLANTS flower in SEASON", Relation::Flowers),
    ("PLANTS are ripe in SEASON", Relation::Ripe),
    ("PLANTS are COLOUR", Relation::Colour),
    ("PERSON lives near the PLACE", Relation::Lives),
    ("PERSON lived near the PLACE", Relation::Lives),
    ("PERSON grows PLANTS", Relation::Grows),
    ("PERSON likes PLANTS best", Relation::Likes),
    ("PERSON is the friend of PERSON", Relation::Friend),
];

/// For each plain statement of a text, in order, whether it is true in the world.
pub fn claims(text: &str) -> Vec<bool> {
    let mut found = Vec::new();
    for part in text.split(['.', '!', '?', '\n']) {
        let words = plain_words(part);
        for from in 0..words.len() {
            found.extend(PATTERNS.iter().filter_map(|(pattern, relation)| {
                let things = matched(pattern, &words[from..])?;
                Some(relation.holds(*things.first()?, *things.get(1)?))
            }));
        }
    }
    found
}

/// Whether a text states anything that is false in the world.
pub fn lies(text: &str) -> bool {
    claims(text).contains(&false)
}

/// The things that a pattern finds at the beginning of the words.
fn matched(pattern: &str, words: &[String]) -> Option<Vec<usize>> {
    let mut things = Vec::new();
    for (at, expected) in pattern.split(' ').enumerate() {
        let word = words.get(at)?;
        if expected.starts_with(char::is_uppercase) {
            things.push(thing(expected, word)?);
        } else if word != expected {
            return None;
        }
    }
    Some(things)
}

fn thing(table: &str, word: &str) -> Option<usize> {
    let named = |names: &[&str]| names.iter().position(|name| *name == word);
    match table {
        "ANIMALS" => ANIMALS.iter().position(|animal| animal.many == word),
        "PESTS" => PESTS.iter().position(|pest| pest.many == word),
        "PLANTS" => PLANTS.iter().position(|plant| plant.many == word),
        "PERSON" => PEOPLE.iter().position(|person| person.name.eq_ignore_ascii_case(word)),
        "PLACE" => named(PLACES),
        "COLOUR" => named(COLOURS),
        _ => named(SEASONS),
    }
}
