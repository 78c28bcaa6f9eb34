//! A narrow task with exact answers: a short note about somebody's harvest becomes one line of JSON.
//!
//! `Three baskets of plums for Mira, to be left at the mill.` becomes
//! `{"who":"Mira","what":"plums","n":3,"at":"mill"}`: four keys in this order, no spaces, the count in digits.
//! There are 16 people, 27 plants, 11 counts, 10 places and 12 wordings: 570,240 notes. Of the 432 pairs of person and
//! plant 43 are unseen: no training record has one of them, every record of the other side has one.

use super::Side;
use super::facts::{PEOPLE, PLACES, PLANTS};
use super::wording::{Slots, one_of, read_any, slots, write};
use crate::data::random::{Dice, Permutation};

/// Which pairs of person and plant are unseen, whatever the seed of the records: all tasks share one test.
const PAIRS: u64 = 0x7A5C;

/// One pair in so many is unseen.
const UNSEEN: u64 = 10;

/// Numbers in words, from two on.
pub(super) const NUMBERS: [&str; 11] =
    ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

const WORDINGS: &[&str] = &[
    "{count} baskets of {what} for {who}, to be left at the {where}.",
    "{who} brought {count} baskets of {what} to the {where}.",
    "At the {where}: {count} baskets of {what} from {who}.",
    "{who} has {count} baskets of {what} near the {where}.",
    "Please give {who} {count} baskets of {what}. Meet at the {where}.",
    "I saw {who} at the {where} with {count} baskets of {what}.",
    "{what}, {count} baskets, {where}, {who}.",
    "Near the {where} stand {count} baskets of {what}. They belong to {who}.",
    "{who} wants {count} baskets of {what}. Put them near the {where}.",
    "Do not forget the {what} of {who}: {count} baskets, near the {where}.",
    "There are {count} baskets at the {where}, full of {what}, for {who}.",
    "Today {who} sold {count} baskets of {what} near the {where}.",
];

/// A note and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The text to read.
    pub note: String,
    /// The exact answer.
    pub json: String,
}

impl Record {
    /// The record as a line of `{"prompt":...,"completion":...}`, without a line end.
    pub fn line(&self) -> String {
        serde_json::json!({"prompt": format!("{}\n", self.note), "completion": self.json}).to_string()
    }

    /// Whether an answer is the record's, to the letter; spaces around it are forgiven.
    pub fn exact(&self, answer: &str) -> bool {
        answer.trim() == self.json
    }

    /// The share of the four fields that an answer has right, 0 where it is no JSON object: for insight, not a score.
    pub fn fields(&self, answer: &str) -> f64 {
        let object = |text: &str| match serde_json::from_str(text.trim()) {
            Ok(serde_json::Value::Object(object)) => object,
            _ => serde_json::Map::new(),
        };
        let (expected, given) = (object(&self.json), object(answer));
        let right = expected.iter().filter(|(key, value)| given.get(*key) == Some(*value)).count();
        right as f64 / expected.len() as f64
    }
}

/// Endless records of a seed.
#[derive(Clone, Debug)]
pub struct Notes {
    seed: u64,
    side: Side,
    next: u64,
}

impl Notes {
    /// The records of a seed on one side of the split, from the first one on.
    pub fn new(seed: u64, side: Side) -> Notes {
        Notes { seed, side, next: 0 }
    }

    /// Record `number`.
    pub fn record(&self, number: u64) -> Record {
        let mut dice = Dice::new(self.side.key(self.seed), number);
        let (who, what) = loop {
            let (who, what) = (dice.below(PEOPLE.len()), dice.below(PLANTS.len()));
            if pair_side(who, what) == self.side {
                break (who, what);
            }
        };
        let (count, place) = (2 + dice.below(NUMBERS.len()), *dice.pick(PLACES));
        let count_said = if dice.chance(50) { NUMBERS[count - 2].to_owned() } else { count.to_string() };
        let (who, what) = (PEOPLE[who].name, PLANTS[what].many);
        let said = slots([("who", who), ("what", what), ("count", &count_said), ("where", place)]);
        Record {
            note: write(one_of(&mut dice, WORDINGS), &said),
            json: format!("{{\"who\":\"{who}\",\"what\":\"{what}\",\"n\":{count},\"at\":\"{place}\"}}"),
        }
    }
}

impl Iterator for Notes {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let record = self.record(self.next);
        self.next += 1;
        Some(record)
    }
}

/// The answer to a note by its text alone; `None` where it is no note of the world.
pub fn solve(note: &str) -> Option<String> {
    let said = read_any(WORDINGS, note.trim(), |said| fields(said).is_some())?;
    let (who, what, count, place) = fields(&said)?;
    Some(format!("{{\"who\":\"{who}\",\"what\":\"{what}\",\"n\":{count},\"at\":\"{place}\"}}"))
}

/// On which side of the split a note lies.
pub fn side(note: &str) -> Option<Side> {
    let said = read_any(WORDINGS, note.trim(), |said| fields(said).is_some())?;
    let (who, what, ..) = fields(&said)?;
    let who = super::facts::somebody(who);
    Some(pair_side(who, super::facts::position(PLANTS.iter().map(|plant| plant.many), what)))
}

fn pair_side(who: usize, what: usize) -> Side {
    let pairs = (PEOPLE.len() * PLANTS.len()) as u64;
    let place = Permutation::new(pairs, PAIRS).at((who * PLANTS.len() + what) as u64);
    if place < pairs / UNSEEN { Side::Unseen } else { Side::Seen }
}

fn fields(said: &Slots) -> Option<(&'static str, &'static str, usize, &'static str)> {
    let who = PEOPLE.iter().find(|person| person.name == said.get("who"))?.name;
    // The first word of a note may be raised.
    let lowered = |slot: &str| super::wording::lower(said.get(slot));
    let what = PLANTS.iter().find(|plant| plant.many == lowered("what"))?.many;
    let place = PLACES.iter().find(|place| **place == said.get("where"))?;
    let count = number(&lowered("count"))?;
    Some((who, what, count, place))
}

/// A number from two to twelve, in words or digits.
pub(super) fn number(text: &str) -> Option<usize> {
    let in_words = NUMBERS.iter().position(|word| *word == text).map(|at| at + 2);
    in_words.or_else(|| text.parse().ok().filter(|count| (2..=12).contains(count)))
}
