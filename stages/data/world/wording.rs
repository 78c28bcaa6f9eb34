//! Wordings with slots, `Sow {plants} {value} centimetres deep.`: written with values, and read back from a text.
//!
//! What the levels above the stories ask is written by these wordings and understood through them again, so that an
//! answer can be checked by its prompt alone.

use super::facts::{ANIMALS, Animal, PEOPLE, PESTS, PLANTS, Person, Pest, Plant};
use crate::data::random::Dice;

/// How many readings of one text by one wording are looked at.
const READINGS: usize = 64;

/// Bytes of the longest text that is read: no wording with its slots filled is longer, and a hostile text costs time.
const TEXT_MAX: usize = 400;

/// What the slots of a wording hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots(Vec<(String, String)>);

impl Slots {
    /// The text of a slot; empty where there is none of that name.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text)
    }

    /// Sets a slot; false where it holds another text already.
    pub(super) fn set(&mut self, name: &str, text: &str) -> bool {
        if let Some((_, held)) = self.0.iter().find(|(known, _)| known == name) {
            return held == text;
        }
        self.0.push((name.to_owned(), text.to_owned()));
        true
    }
}

impl Slots {
    /// The same without one of them.
    pub(super) fn without(mut self, name: &str) -> Slots {
        self.0.retain(|(known, _)| known != name);
        self
    }
}

/// Slots from pairs of name and text.
pub(super) fn slots<const N: usize>(pairs: [(&str, &str); N]) -> Slots {
    Slots(pairs.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect())
}

/// The wording with its slots filled, its first letter raised.
pub(super) fn write(wording: &str, slots: &Slots) -> String {
    let mut text = String::new();
    let mut rest = wording;
    while let Some((before, name, after)) = slot(rest) {
        text.push_str(before);
        text.push_str(slots.get(name));
        rest = after;
    }
    text.push_str(rest);
    super::grammar::raise(&text)
}

/// All ways to read a text by a wording: what its slots would hold. A first letter may be raised for the sentence.
pub(super) fn read(wording: &str, text: &str) -> Vec<Slots> {
    let mut found = Vec::new();
    if text.len() > TEXT_MAX {
        return found;
    }
    walk(wording, text, &Slots::default(), &mut found);
    let begun = super::grammar::raise(wording);
    if begun != wording {
        walk(&begun, text, &Slots::default(), &mut found);
    }
    let lowered = lower(text);
    if lowered != text && slot(wording).is_some_and(|(before, ..)| before.is_empty()) {
        walk(wording, &lowered, &Slots::default(), &mut found);
    }
    found
}

/// The first reading of a text by any of the wordings that passes.
pub(super) fn read_any<'a>(
    wordings: impl IntoIterator<Item = &'a &'a str>,
    text: &str,
    mut passes: impl FnMut(&Slots) -> bool,
) -> Option<Slots> {
    wordings.into_iter().flat_map(|wording| read(wording, text)).find(|slots| passes(slots))
}

/// The text with its first letter lowered.
pub(super) fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_lowercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// What stands before the first slot, its name, and what follows it.
fn slot(wording: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = wording.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

fn walk(wording: &str, text: &str, held: &Slots, found: &mut Vec<Slots>) {
    if found.len() >= READINGS {
        return;
    }
    let Some((before, name, after)) = slot(wording) else {
        if wording == text {
            found.push(held.clone());
        }
        return;
    };
    let Some(rest) = text.strip_prefix(before) else { return };
    // The slot ends where the next fixed text begins, at any of its places.
    let fixed = after.split('{').next().unwrap_or_default();
    let ends: Vec<usize> = match fixed {
        "" => vec![rest.len()],
        _ => rest.match_indices(fixed).map(|(at, _)| at).collect(),
    };
    for end in ends.into_iter().filter(|&end| end > 0) {
        let mut slots = held.clone();
        if slots.set(name, &rest[..end]) {
            walk(after, &rest[end..], &slots, found);
        }
    }
}

/// The plant of a plural.
pub(super) fn plant_by_many(many: &str) -> Option<&'static Plant> {
    PLANTS.iter().find(|plant| plant.many == many)
}

/// The plant of a singular.
pub(super) fn plant_by_one(one: &str) -> Option<&'static Plant> {
    PLANTS.iter().find(|plant| plant.one == one)
}

/// The pest of a plural.
pub(super) fn pest_by_many(many: &str) -> Option<&'static Pest> {
    PESTS.iter().find(|pest| pest.many == many)
}

/// The animal of a plural.
pub(super) fn animal_by_many(many: &str) -> Option<&'static Animal> {
    ANIMALS.iter().find(|animal| animal.many == many)
}

/// The animal that eats a pest.
pub(super) fn helper_of(pest: &Pest) -> Option<&'static Animal> {
    ANIMALS.iter().find(|animal| animal.one == pest.helper)
}

/// The person of a name.
pub(super) fn person_by_name(name: &str) -> Option<&'static Person> {
    PEOPLE.iter().find(|person| person.name == name)
}

/// One of the names.
pub(super) fn one_of<'a>(dice: &mut Dice, names: &[&'a str]) -> &'a str {
    names[dice.below(names.len())]
}

/// "red, blue and green".
pub(super) fn join_and(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The words of a text in lower case, without marks.
pub(super) fn plain_words(text: &str) -> Vec<String> {
    let marks = |c: char| !c.is_ascii_alphanumeric();
    text.split(marks).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect()
}
