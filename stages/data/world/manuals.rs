//! Domain manuals: what the stories never tell, for continued pretraining, and a cloze that measures what was learnt.
//!
//! The domain has 200 facts: for each of the 27 plants its soil, the depth of its seeds, the days to the first sprout,
//! its companion, the gap between two plants and the days between two waterings; for each of the 15 crops the kilos of
//! a row and where it is stored; for each of the 8 pests a remedy. The first four are the world's own
//! ([`super::facts`] keeps them from the stories); the others are assigned by the seed, so that another seed is
//! another domain.
//!
//! A page has 40 to 100 words, at most 230 tokens of a vocabulary of 1024. Among the pages `40 n .. 40 (n + 1)` each
//! fact is told at least once, and each time in one of 8 wordings; 2 more wordings a kind of fact are kept for the
//! cloze. Every sentence of a manual has a word of [`MARKERS`], and no sentence of a story has one, by its grammar: a
//! test proves it.

mod wordings;

use super::facts::{PESTS, PLANTS, Use};
use super::wording::{Slots, one_of, read, slots, write};
use crate::data::random::{Dice, Permutation};
use wordings::{ASKED, TOLD};

/// Words that the manuals have and the stories have not; at least one stands in each sentence of a manual.
pub const MARKERS: &[&str] = &[
    "manual",
    "soil",
    "cm",
    "depth",
    "sprout",
    "sprouts",
    "companion",
    "apart",
    "gap",
    "waterings",
    "kilos",
    "stored",
    "remedy",
];

/// How many neighbouring pages tell every fact of the domain at least once.
pub const CYCLE: u64 = 40;

/// Sets the dice of pages, of the domain and of the cloze apart.
const DOMAIN: u64 = 0xD0_3A17;
const CLOZE: u64 = 0xC1_02E0;

/// A kind of fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// The soil that a plant wants.
    Soil,
    /// How deep its seeds are put into the ground, in centimetres.
    Depth,
    /// Days until it sprouts.
    Days,
    /// The plant that grows well beside it.
    Companion,
    /// Centimetres between two plants.
    Gap,
    /// Days between two waterings.
    Water,
    /// Kilos that a row of a crop gives.
    Kilos,
    /// Where a crop is stored.
    Store,
    /// What is put on the leaves against a pest.
    Remedy,
}

/// All kinds of fact.
pub const ATTRIBUTES: [Attribute; 9] = [
    Attribute::Soil,
    Attribute::Depth,
    Attribute::Days,
    Attribute::Companion,
    Attribute::Gap,
    Attribute::Water,
    Attribute::Kilos,
    Attribute::Store,
    Attribute::Remedy,
];

/// One fact of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What kind of fact.
    pub attribute: Attribute,
    /// What it is about, in the plural: a plant, or a pest.
    pub subject: &'static str,
    /// What is true of it, as manuals write it.
    pub value: String,
}

/// A question whose answer ends a sentence of the domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloze {
    /// What is asked.
    pub fact: Fact,
    /// The sentence's beginning, without a space at its end.
    pub prompt: String,
    /// The right end, with a space before it.
    pub answer: String,
    /// Three wrong ends of the same form, values of the same kind that the domain knows.
    pub wrong: [String; 3],
    /// Whether manuals use this wording; else it is kept for the cloze.
    pub told: bool,
}

/// The manuals of a seed.
#[derive(Clone, Debug)]
pub struct Manuals {
    seed: u64,
    next: u64,
    facts: Vec<Fact>,
}

impl Manuals {
    /// The manuals of a seed, from the first page on.
    pub fn new(seed: u64) -> Manuals {
        Manuals::starting_at(seed, 0)
    }

    /// The manuals of a seed from page `first` on.
    pub fn starting_at(seed: u64, first: u64) -> Manuals {
        Manuals { seed, next: first, facts: domain(seed) }
    }

    /// All 200 facts of the domain, kind by kind.
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// Page `number`: on one plant, on one kind of fact for eight plants, or on the remedies.
    pub fn page(&self, number: u64) -> String {
        let place = Permutation::new(CYCLE, self.seed ^ DOMAIN ^ (number / CYCLE)).at(number % CYCLE) as usize;
        let mut dice = Dice::new(self.seed, number);
        let (title, about) = match place {
            _ if place < PLANTS.len() => {
                let many = PLANTS[place].many;
                (format!("This is the manual of {many}."), self.select(|fact| fact.subject == many))
            }
            _ if place < PLANTS.len() + 8 => {
                let attribute = ATTRIBUTES[place - PLANTS.len()];
                ("This manual is for every gardener.".to_owned(), self.select(|fact| fact.attribute == attribute))
            }
            _ => ("This is the manual of pests.".to_owned(), self.select(|fact| fact.attribute == Attribute::Remedy)),
        };
        let order = Permutation::new(about.len() as u64, dice.word());
        let told = (0..about.len().min(8)).map(|index| {
            let fact = about[order.at(index as u64) as usize];
            write(one_of(&mut dice, TOLD[fact.attribute as usize]), &fact.slots())
        });
        let sentences: Vec<String> = std::iter::once(title).chain(told).collect();
        sentences.join(" ")
    }

    /// The cloze: `count` questions, drawn from all facts in turn, half of them in wordings that manuals use. At most
    /// 400 differ in fact and half.
    pub fn cloze(&self, count: usize) -> Vec<Cloze> {
        let order = Permutation::new(self.facts.len() as u64, self.seed ^ CLOZE);
        (0..count)
            .map(|index| self.question(index, &self.facts[order.at((index % self.facts.len()) as u64) as usize]))
            .collect()
    }

    /// Whether a sentence states a fact of the domain, in any wording of manuals or cloze, and is right about it.
    pub fn check(&self, sentence: &str) -> Option<bool> {
        let mut verdict = None;
        for fact in &self.facts {
            let kind = fact.attribute as usize;
            for slots in TOLD[kind].iter().chain(ASKED[kind]).flat_map(|wording| read(wording, sentence)) {
                if slots.get("subject") == fact.subject {
                    verdict = Some(verdict == Some(true) || slots.get("value") == fact.value);
                }
            }
        }
        verdict
    }

    fn select(&self, wanted: impl Fn(&Fact) -> bool) -> Vec<&Fact> {
        self.facts.iter().filter(|fact| wanted(fact)).collect()
    }

    fn question(&self, index: usize, fact: &Fact) -> Cloze {
        let mut dice = Dice::new(self.seed ^ CLOZE, index as u64);
        let told = (index / self.facts.len() + index).is_multiple_of(2);
        let kind = fact.attribute as usize;
        let wordings = if told { TOLD[kind] } else { ASKED[kind] };
        let ends: Vec<&&str> = wordings.iter().filter(|wording| asks(wording)).collect();
        let (before, after) = dice.pick(&ends).split_once(" {value}").expect("`asks` looked for it");
        let mut others: Vec<&str> = Vec::new();
        for other in self.facts.iter().filter(|other| other.attribute == fact.attribute) {
            let new =
                other.value != fact.value && other.value != fact.subject && !others.contains(&other.value.as_str());
            if new {
                others.push(&other.value);
            }
        }
        let order = Permutation::new(others.len() as u64, dice.word());
        let end = |value: &str| format!(" {value}{after}");
        Cloze {
            fact: fact.clone(),
            prompt: write(before, &fact.slots()),
            answer: end(&fact.value),
            wrong: std::array::from_fn(|wrong| end(others[order.at(wrong as u64) as usize])),
            told,
        }
    }
}

impl Iterator for Manuals {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let page = self.page(self.next);
        self.next += 1;
        Some(page)
    }
}

impl Fact {
    fn slots(&self) -> Slots {
        slots([("subject", self.subject), ("value", &self.value)])
    }
}

/// Whether a wording names what it is about before its value, so that it can be asked.
fn asks(wording: &str) -> bool {
    wording.find("{subject}").zip(wording.find(" {value}")).is_some_and(|(subject, value)| subject < value)
}

const REMEDIES: [&str; 8] = ["ash", "soap water", "garlic", "mint oil", "cold tea", "pepper", "vinegar", "lemon juice"];
const STORES: [&str; 6] = ["a dry cellar", "a box of sand", "a net", "a clay pot", "a cloth bag", "cold water"];
const GAPS: [u8; 8] = [10, 15, 20, 25, 35, 45, 60, 80];
const WATERINGS: [u8; 6] = [2, 3, 4, 5, 7, 9];
const KILOS: [u8; 8] = [6, 8, 14, 18, 22, 30, 40, 50];

fn domain(seed: u64) -> Vec<Fact> {
    let mut facts = Vec::with_capacity(200);
    for attribute in ATTRIBUTES {
        let mut dice = Dice::new(seed ^ DOMAIN, attribute as u64);
        let mut add = |subject, value| facts.push(Fact { attribute, subject, value });
        if attribute == Attribute::Remedy {
            let order = Permutation::new(8, dice.word());
            for (index, pest) in PESTS.iter().enumerate() {
                add(pest.many, REMEDIES[order.at(index as u64) as usize].to_owned());
            }
            continue;
        }
        for plant in PLANTS {
            let value = match attribute {
                Attribute::Soil => plant.soil.to_owned(),
                Attribute::Depth => plant.depth.to_string(),
                Attribute::Days => plant.days.to_string(),
                Attribute::Companion => plant.companion.to_owned(),
                Attribute::Gap => dice.pick(&GAPS).to_string(),
                Attribute::Water => dice.pick(&WATERINGS).to_string(),
                _ if plant.usage == Use::Flower => continue,
                Attribute::Kilos => dice.pick(&KILOS).to_string(),
                _ => dice.pick(&STORES).to_string(),
            };
            add(plant.many, value);
        }
    }
    facts
}
