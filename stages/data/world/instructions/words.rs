//! Kinds of instruction about single words: their letters, forms and opposites.

use super::super::facts::{ANIMALS, PESTS, PLACES, PLANTS, TOOLS};
use super::super::wording::{Slots, one_of, slots};
use super::{Check, Kind, kind};
use crate::data::random::{Dice, Permutation};
use crate::data::world::grammar::article;

/// Opposites; each pair is asked both ways.
const OPPOSITES: [(&str, &str); 14] = [
    ("big", "small"),
    ("young", "old"),
    ("warm", "cold"),
    ("long", "short"),
    ("full", "empty"),
    ("weak", "strong"),
    ("happy", "sad"),
    ("day", "night"),
    ("first", "last"),
    ("near", "far"),
    ("soft", "hard"),
    ("morning", "evening"),
    ("good", "bad"),
    ("wet", "dry"),
];

/// Singulars with their plurals.
fn forms() -> Vec<(&'static str, &'static str)> {
    let plants = PLANTS.iter().map(|plant| (plant.one, plant.many));
    let pests = PESTS.iter().map(|pest| (pest.one, pest.many));
    plants.chain(pests).chain(ANIMALS.iter().map(|animal| (animal.one, animal.many))).collect()
}

/// Everything that has a name of one word.
fn nouns() -> Vec<&'static str> {
    forms().into_iter().map(|(one, _)| one).chain(TOOLS.iter().copied()).chain(PLACES.iter().copied()).collect()
}

fn word(dice: &mut Dice) -> Slots {
    slots([("word", one_of(dice, &nouns()))])
}

fn known(slots: &Slots) -> Option<&str> {
    nouns().contains(&slots.get("word")).then(|| slots.get("word"))
}

/// Two words of different lengths.
fn two(dice: &mut Dice) -> Slots {
    let nouns = nouns();
    let order = Permutation::new(nouns.len() as u64, dice.word());
    let first = nouns[order.at(0) as usize];
    let other = (1..nouns.len() as u64).map(|at| nouns[order.at(at) as usize]).find(|noun| noun.len() != first.len());
    slots([("word", first), ("other", other.unwrap_or("well"))])
}

fn longer(slots: &Slots) -> Option<&str> {
    let (word, other) = (known(slots)?, slots.get("other"));
    let fits = nouns().contains(&other) && other.len() != word.len();
    fits.then_some(if word.len() > other.len() { word } else { other })
}

pub(super) const KINDS: &[Kind] = &[
    kind(
        "capitals",
        word,
        |s| known(s).map(str::to_ascii_uppercase),
        Check::Same,
        &[
            "Write \"{word}\" in capital letters.",
            "Make all letters of \"{word}\" big.",
            "Put \"{word}\" in big letters.",
            "Use only capital letters: {word}",
            "Shout this word with capital letters: {word}",
            "How does \"{word}\" look in capital letters?",
            "Turn \"{word}\" into capital letters.",
            "Big letters, please: {word}",
        ],
        &["I need \"{word}\" in capital letters.", "Paint \"{word}\" with big letters on the sign."],
    ),
    kind(
        "small_letters",
        |dice| slots([("loud", &one_of(dice, &nouns()).to_ascii_uppercase())]),
        |s| {
            let word = s.get("loud").to_ascii_lowercase();
            (word.to_ascii_uppercase() == s.get("loud") && nouns().contains(&word.as_str())).then_some(word)
        },
        Check::Same,
        &[
            "Write \"{loud}\" in small letters.",
            "Make all letters of \"{loud}\" small.",
            "Put \"{loud}\" in small letters.",
            "Use only small letters: {loud}",
            "This is too loud, make it small: {loud}",
            "How does \"{loud}\" look in small letters?",
            "Turn \"{loud}\" into small letters.",
            "Small letters, please: {loud}",
        ],
        &["I need \"{loud}\" in small letters.", "Write \"{loud}\" again, but small."],
    ),
    kind(
        "first_letter",
        word,
        |s| known(s).map(|word| word[..1].to_owned()),
        Check::Same,
        &[
            "What is the first letter of \"{word}\"?",
            "With which letter does \"{word}\" begin?",
            "Say the first letter of \"{word}\".",
            "Give me only the first letter: {word}",
            "Which letter stands at the beginning of \"{word}\"?",
            "Tell me how \"{word}\" begins. One letter.",
            "Take the first letter of \"{word}\".",
            "Name the letter that \"{word}\" begins with.",
        ],
        &["The word \"{word}\" begins with which letter?", "Write down the first letter of \"{word}\"."],
    ),
    kind(
        "last_letter",
        word,
        |s| known(s).map(|word| word[word.len() - 1..].to_owned()),
        Check::Same,
        &[
            "What is the last letter of \"{word}\"?",
            "With which letter does \"{word}\" end?",
            "Say the last letter of \"{word}\".",
            "Give me only the last letter: {word}",
            "Which letter stands at the end of \"{word}\"?",
            "Tell me how \"{word}\" ends. One letter.",
            "Take the last letter of \"{word}\".",
            "Name the letter that \"{word}\" ends with.",
        ],
        &["The word \"{word}\" ends with which letter?", "Write down the last letter of \"{word}\"."],
    ),
    kind(
        "plural",
        |dice| slots([("one", dice.pick(&forms()).0)]),
        |s| forms().into_iter().find(|(one, _)| *one == s.get("one")).map(|(_, many)| many.to_owned()),
        Check::Same,
        &[
            "What is the plural of \"{one}\"?",
            "One {one}, two what?",
            "I have not one {one}, but two. Say the word.",
            "Make more than one of this word: {one}",
            "Say \"{one}\" for many.",
            "How do you call more than one {one}?",
            "Write \"{one}\" in the plural.",
            "Give me the plural: {one}",
        ],
        &["How does \"{one}\" change if there are three?", "Which word do I use for many, if one is \"{one}\"?"],
    ),
    kind(
        "singular",
        |dice| slots([("many", dice.pick(&forms()).1)]),
        |s| forms().into_iter().find(|(_, many)| *many == s.get("many")).map(|(one, _)| one.to_owned()),
        Check::Same,
        &[
            "What is the singular of \"{many}\"?",
            "Two {many}, but only one what?",
            "I see only one of the {many}. Say the word.",
            "Make it one only: {many}",
            "Say \"{many}\" for one only.",
            "How do you call one of the {many}?",
            "Write \"{many}\" in the singular.",
            "Give me the singular: {many}",
        ],
        &["How does \"{many}\" change if there is one?", "Which word do I use for one, if many are \"{many}\"?"],
    ),
    kind(
        "article",
        word,
        |s| known(s).map(article),
        Check::Same,
        &[
            "Put \"a\" or \"an\" before \"{word}\".",
            "Is it \"a\" or \"an\" with \"{word}\"?",
            "Write \"{word}\" with \"a\" or \"an\".",
            "Which is right before \"{word}\", \"a\" or \"an\"?",
            "Say \"{word}\" with its little word, \"a\" or \"an\".",
            "I see one {word}. Say it with \"a\" or \"an\".",
            "Add \"a\" or \"an\": {word}",
            "Choose \"a\" or \"an\" for \"{word}\".",
        ],
        &["Does \"{word}\" need \"a\" or \"an\"?", "Give me \"{word}\" together with \"a\" or \"an\"."],
    ),
    kind(
        "longer_word",
        two,
        |s| longer(s).map(str::to_owned),
        Check::Same,
        &[
            "Which word is longer, \"{word}\" or \"{other}\"?",
            "Which word has more letters, \"{word}\" or \"{other}\"?",
            "Say the longer word: {word}, {other}",
            "Compare \"{word}\" and \"{other}\". Which is longer?",
            "Is \"{word}\" longer or \"{other}\"?",
            "Give me the longer one of these: {word}, {other}",
            "Count the letters of \"{word}\" and \"{other}\". Which has more?",
            "Find the longer word: {word} or {other}",
        ],
        &[
            "Of \"{word}\" and \"{other}\", which has more letters?",
            "Tell me the word with more letters: {word}, {other}",
        ],
    ),
    kind(
        "opposite",
        |dice| {
            let (left, right) = *dice.pick(&OPPOSITES);
            slots([("word", if dice.chance(50) { left } else { right })])
        },
        |s| {
            let word = s.get("word");
            let pair = OPPOSITES.iter().find(|(left, right)| *left == word || *right == word)?;
            Some(if pair.0 == word { pair.1 } else { pair.0 }.to_owned())
        },
        Check::Same,
        &[
            "What is the opposite of \"{word}\"?",
            "Say the opposite of \"{word}\".",
            "Not {word}, but what?",
            "Which word is the other end of \"{word}\"?",
            "Give me the opposite: {word}",
            "If it is not \"{word}\", what is it?",
            "Tell me the opposite of \"{word}\".",
            "What do you call the opposite of \"{word}\"?",
        ],
        &["Which word means the opposite of \"{word}\"?", "Turn the meaning of \"{word}\" around."],
    ),
    kind(
        "repeat",
        |dice| slots([("word", one_of(dice, &nouns())), ("times", one_of(dice, &["two", "three", "four"]))]),
        |s| {
            let times = ["two", "three", "four"].iter().position(|times| *times == s.get("times"))? + 2;
            Some(vec![known(s)?; times].join(" "))
        },
        Check::Same,
        &[
            "Say \"{word}\" {times} times.",
            "Write the word \"{word}\" {times} times.",
            "Repeat \"{word}\" {times} times.",
            "I want to read \"{word}\" {times} times.",
            "Make {times} of this word: {word}",
            "Call \"{word}\" {times} times.",
            "Sing \"{word}\" {times} times.",
            "Now {times} times, please: {word}",
        ],
        &["Let me hear \"{word}\" {times} times.", "Put \"{word}\" here {times} times."],
    ),
];
