//! The grammar as data, compiled: frames of words, typed slots and groups of alternatives. What writes sentences and
//! what recognises them both walk these frames, so that they cannot differ.
//!
//! A frame is text: `<later>, {hero} saw {pest.s} on the {plant.s}. #harms pest plant`
//! - `{name}` is a variable of a kind, `{name.form}` one of its forms; the same variable is the same thing everywhere
//!   in a sentence, so that names, pronouns and plurals agree;
//! - `<group>` stands for any alternative of that group;
//! - `#relation left right` says which fact of the world the sentence states;
//! - words are written in lower case: the first word of a sentence and of a quotation is raised by the writer.

use super::facts::{ANIMALS, COLOURS, Gender, PEOPLE, PESTS, PLACES, PLANTS, Relation, SEASONS, TOOLS, Use};
use super::rules;
use std::collections::{BTreeMap, HashMap};

/// How many variables there are.
pub(super) const VARIABLES: usize = 16;

/// What each variable may stand for, as a set of bits over its table; a sentence narrows it down.
pub(super) type Bindings = [u64; VARIABLES];

/// What a variable stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    Person,
    Plant,
    Pest,
    Animal,
    Place,
    Season,
    Colour,
    Tool,
}

/// The variables of frames. Pairs that must differ within a sentence stand in [`DISTINCT`].
const NAMES: [(&str, Kind); VARIABLES] = [
    ("hero", Kind::Person),
    ("friend", Kind::Person),
    ("plant", Kind::Plant),
    ("other", Kind::Plant),
    ("flower", Kind::Plant),
    ("crop", Kind::Plant),
    ("favourite", Kind::Plant),
    ("meal", Kind::Plant),
    ("pest", Kind::Pest),
    ("helper", Kind::Animal),
    ("home", Kind::Place),
    ("there", Kind::Place),
    ("season", Kind::Season),
    ("bloom", Kind::Season),
    ("colour", Kind::Colour),
    ("tool", Kind::Tool),
];

/// Two people, two plants: never the same one.
const DISTINCT: [(&str, &str); 2] = [("hero", "friend"), ("plant", "other")];

/// The number of a variable.
///
/// # Panics
/// For a name that is no variable: a mistake in the rules.
pub(super) fn variable(name: &str) -> usize {
    super::facts::position(NAMES.iter().map(|(known, _)| *known), name)
}

/// A part of a frame.
#[derive(Debug)]
pub(super) enum Item {
    /// This word or mark.
    Word(String),
    /// A form (index into the lexicon) of a variable.
    Slot(usize, usize),
    /// Any alternative of a group.
    Group(usize),
}

/// One way to say something.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) items: Vec<Item>,
    pub(super) facts: Vec<(Relation, usize, usize)>,
}

/// A phrase and the things that it can mean.
type Entry = (Vec<String>, u64);

/// The compiled grammar.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) groups: Vec<Vec<Frame>>,
    /// The first groups, so many, hold whole sentences.
    pub(super) sentences: usize,
    names: HashMap<&'static str, usize>,
    /// The forms: which phrases, and what each can mean.
    pub(super) lexicon: Vec<Vec<Entry>>,
}

impl Rules {
    /// Compiles the rules.
    pub(super) fn new() -> Rules {
        let sentences: usize = rules::SENTENCES.iter().map(|table| table.len()).sum();
        let tables: Vec<_> = rules::SENTENCES.iter().copied().flatten().chain(rules::PHRASES).copied().collect();
        let names = tables.iter().enumerate().map(|(number, (name, _))| (*name, number)).collect();
        let mut compiler = Compiler { names, forms: BTreeMap::new(), lexicon: Vec::new() };
        let groups =
            tables.iter().map(|(_, frames)| frames.iter().map(|text| compiler.frame(text)).collect()).collect();
        Rules { groups, sentences, names: compiler.names, lexicon: compiler.lexicon }
    }

    /// The number of a group.
    pub(super) fn group(&self, name: &str) -> usize {
        *self.names.get(name).unwrap_or_else(|| panic!("the rules have no group {name:?}"))
    }

    /// Everything that the variables may stand for before a word is read.
    pub(super) fn anything(&self) -> Bindings {
        std::array::from_fn(|variable| {
            let (name, kind) = NAMES[variable];
            let every = 0..size(kind);
            let fits = |id: &usize| match name {
                "flower" | "favourite" => PLANTS[*id].usage == Use::Flower,
                "crop" | "meal" => PLANTS[*id].usage == Use::Crop,
                _ => true,
            };
            every.filter(fits).map(|id| 1u64 << id).sum()
        })
    }
}

/// Whether two variables that must differ are surely the same thing.
pub(super) fn confused(bindings: &Bindings) -> bool {
    DISTINCT.iter().any(|(left, right)| {
        let (left, right) = (bindings[variable(left)], bindings[variable(right)]);
        left == right && left.count_ones() == 1
    })
}

fn size(kind: Kind) -> usize {
    match kind {
        Kind::Person => PEOPLE.len(),
        Kind::Plant => PLANTS.len(),
        Kind::Pest => PESTS.len(),
        Kind::Animal => ANIMALS.len(),
        Kind::Place => PLACES.len(),
        Kind::Season => SEASONS.len(),
        Kind::Colour => COLOURS.len(),
        Kind::Tool => TOOLS.len(),
    }
}

/// A form of a thing, in words; `None` where the thing has no such form.
fn spell(kind: Kind, id: usize, form: &str) -> Option<String> {
    let pronoun = |she: &str, he: &str| match PEOPLE[id].gender {
        Gender::She => she.to_owned(),
        Gender::He => he.to_owned(),
    };
    let both = |one: &str, many: &str| match form {
        "" => one.to_owned(),
        "s" => many.to_owned(),
        "a" => article(one),
        _ => panic!("no form {form:?} of {one}"),
    };
    Some(match (kind, form) {
        (Kind::Person, "") => PEOPLE[id].name.to_owned(),
        (Kind::Person, "he") => pronoun("she", "he"),
        (Kind::Person, "him") => pronoun("her", "him"),
        (Kind::Person, "his") => pronoun("her", "his"),
        (Kind::Person, "trade") => PEOPLE[id].trade.to_owned(),
        (Kind::Plant, "dish") => Some(PLANTS[id].dish.to_owned()).filter(|dish| !dish.is_empty())?,
        (Kind::Plant, _) => both(PLANTS[id].one, PLANTS[id].many),
        (Kind::Pest, _) => both(PESTS[id].one, PESTS[id].many),
        (Kind::Animal, _) => both(ANIMALS[id].one, ANIMALS[id].many),
        (Kind::Place, "") => PLACES[id].to_owned(),
        (Kind::Season, "") => SEASONS[id].to_owned(),
        (Kind::Colour, "") => COLOURS[id].to_owned(),
        (Kind::Tool, "") => TOOLS[id].to_owned(),
        (Kind::Tool, "a") => article(TOOLS[id]),
        _ => panic!("no form {form:?} of a {kind:?}"),
    })
}

/// "a rose", "an iris".
pub(super) fn article(noun: &str) -> String {
    let an = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if an { "an" } else { "a" })
}

struct Compiler {
    names: HashMap<&'static str, usize>,
    forms: BTreeMap<(Kind, String), usize>,
    lexicon: Vec<Vec<Entry>>,
}

impl Compiler {
    fn frame(&mut self, text: &str) -> Frame {
        let mut parts = text.split('#');
        let sentence = parts.next().unwrap_or_default();
        let facts = parts.map(fact).collect();
        let mut items = Vec::new();
        for word in words(sentence) {
            items.push(match word.as_bytes()[0] {
                b'{' => {
                    let inside = &word[1..word.len() - 1];
                    let (name, form) = inside.split_once('.').unwrap_or((inside, ""));
                    let variable = variable(name);
                    Item::Slot(variable, self.form(NAMES[variable].1, form))
                }
                b'<' => {
                    let name = &word[1..word.len() - 1];
                    let group = self.names.get(name);
                    Item::Group(*group.unwrap_or_else(|| panic!("the rules have no group {name:?}")))
                }
                _ => Item::Word(word),
            });
        }
        Frame { items, facts }
    }

    fn form(&mut self, kind: Kind, form: &str) -> usize {
        let lexicon = &mut self.lexicon;
        *self.forms.entry((kind, form.to_owned())).or_insert_with(|| {
            let mut phrases: Vec<Entry> = Vec::new();
            for id in 0..size(kind) {
                let Some(text) = spell(kind, id, form) else {
                    continue;
                };
                let phrase: Vec<String> = text.split(' ').map(str::to_owned).collect();
                match phrases.iter_mut().find(|(known, _)| *known == phrase) {
                    Some((_, meanings)) => *meanings |= 1 << id,
                    None => phrases.push((phrase, 1 << id)),
                }
            }
            lexicon.push(phrases);
            lexicon.len() - 1
        })
    }
}

fn fact(text: &str) -> (Relation, usize, usize) {
    let mut words = text.split_whitespace();
    let relation = match words.next() {
        Some("harms") => Relation::Harms,
        Some("eats") => Relation::Eats,
        Some("flowers") => Relation::Flowers,
        Some("ripe") => Relation::Ripe,
        Some("colour") => Relation::Colour,
        Some("grows") => Relation::Grows,
        Some("lives") => Relation::Lives,
        Some("likes") => Relation::Likes,
        Some("dish") => Relation::Dish,
        Some("friend") => Relation::Friend,
        other => panic!("the rules have no relation {other:?}"),
    };
    let mut next = || variable(words.next().unwrap_or_else(|| panic!("{text:?} lacks a variable")));
    (relation, next(), next())
}

/// Divides text into words and marks: commas, stops, quotation marks and the possessive `'s` stand alone.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for chunk in text.split_whitespace() {
        let mut rest = chunk;
        while let Some(inner) = rest.strip_prefix('"') {
            words.push("\"".to_owned());
            rest = inner;
        }
        let mut tail = Vec::new();
        loop {
            let mark = rest.chars().next_back().filter(|c| matches!(c, ',' | '.' | '!' | '?' | '"'));
            let Some(mark) = mark else { break };
            tail.push(mark.to_string());
            rest = &rest[..rest.len() - 1];
        }
        if let Some(owner) = rest.strip_suffix("'s") {
            tail.push("'s".to_owned());
            rest = owner;
        }
        if !rest.is_empty() {
            words.push(rest.to_owned());
        }
        words.extend(tail.into_iter().rev());
    }
    words
}

/// For each word, whether it is raised: it begins the sentence, a quotation, or a sentence in a quotation.
pub(super) fn raised(words: &[String]) -> Vec<bool> {
    let mut open = false;
    let mut next = true;
    let mut flags = Vec::with_capacity(words.len());
    for word in words {
        match word.as_str() {
            "\"" => {
                open = !open;
                next |= open;
                next &= open || flags.is_empty();
                flags.push(false);
            }
            "." | "!" | "?" => {
                next = open;
                flags.push(false);
            }
            "," | "'s" => flags.push(false),
            _ => flags.push(std::mem::take(&mut next)),
        }
    }
    flags
}

/// The word with its first letter raised.
pub(super) fn raise(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// Words and marks as a line of text.
pub(super) fn line(words: &[String]) -> String {
    let mut text = String::new();
    let mut open = false;
    let mut glue = true;
    for word in words {
        let quote = word == "\"";
        let closes = quote && open || matches!(word.as_str(), "," | "." | "!" | "?" | "'s");
        if !glue && !closes {
            text.push(' ');
        }
        text.push_str(word);
        glue = quote && !open;
        open ^= quote;
    }
    text
}
