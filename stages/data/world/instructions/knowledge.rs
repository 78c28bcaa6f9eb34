//! Kinds of instruction that judge, correct, sort or choose by what the village knows.

use super::super::facts::{ANIMALS, COLOURS, PEOPLE, PESTS, PLANTS, Pest, Plant, SEASONS, TOOLS, Use};
use super::super::wording::{
    Slots, animal_by_many, helper_of, join_and, one_of, pest_by_many, plant_by_many, plant_by_one, read, slots,
};
use super::village::{person_of, plant, plant_of, season_fact};
use super::{Check, Kind, kind};
use crate::data::random::Dice;
use crate::data::world::grammar::{article, raise};

fn sorts() -> Vec<&'static str> {
    vec!["flower", "crop", "pest", "animal", "tool", "person", "season", "place"]
}

/// The sort of thing that a word names.
fn sort(word: &str) -> Option<&'static str> {
    let plant = plant_by_one(word).map(|plant| if plant.usage == Use::Flower { "flower" } else { "crop" });
    let named = |found: bool, sort: &'static str| found.then_some(sort);
    plant
        .or(named(PESTS.iter().any(|pest| pest.one == word), "pest"))
        .or(named(ANIMALS.iter().any(|animal| animal.one == word), "animal"))
        .or(named(TOOLS.contains(&word), "tool"))
        .or(named(PEOPLE.iter().any(|person| person.trade == word), "person"))
}

fn any_word(dice: &mut Dice) -> Slots {
    let word = match dice.below(5) {
        0 | 1 => dice.pick(PLANTS).one,
        2 => dice.pick(PESTS).one,
        3 => dice.pick(ANIMALS).one,
        _ => one_of(dice, TOOLS),
    };
    slots([("word", word)])
}

/// Names the word, unless it is very short, its sort and no other sort, and no pest but the one that it eats.
fn defines(slots: &Slots, answer: &str) -> bool {
    let (word, words) = (slots.get("word"), super::plain_words(answer));
    let says = |name: &str| words.iter().any(|said| said == name);
    let right = |name: &&str| Some(*name) == sort(word);
    let eats = |pest: &&Pest| says(pest.many) && pest.helper != word;
    (words.len() <= 3 || says(word))
        && sorts().iter().all(|name| says(name) == (right(name) || says(name) && *name == word))
        && !PESTS.iter().any(|pest| eats(&pest))
}

fn yes_no(truth: bool, fact: String) -> Option<String> {
    Some(format!("{} {}", if truth { "Yes," } else { "No," }, fact))
}

/// A sentence on a plant, true or with another season or colour.
fn statement(dice: &mut Dice) -> Slots {
    let plant = dice.pick(PLANTS);
    let season = if dice.chance(50) { plant.season } else { one_of(dice, SEASONS) };
    let does = if plant.usage == Use::Flower { "flower in" } else { "are ripe in" };
    slots([("statement", &raise(&format!("{} {does} {season}.", plant.many)))])
}

/// The plant of a statement, and whether it is true.
fn stated(slots: &Slots) -> Option<(&'static Plant, bool)> {
    let text = slots.get("statement");
    let wordings = [("{it} flower in {season}.", Use::Flower), ("{it} are ripe in {season}.", Use::Crop)];
    wordings.iter().find_map(|(wording, usage)| {
        read(wording, text).iter().find_map(|slots| {
            let plant = plant_by_many(slots.get("it")).filter(|plant| plant.usage == *usage)?;
            SEASONS.contains(&slots.get("season")).then(|| (plant, plant.season == slots.get("season")))
        })
    })
}

fn names_plants_of(slots: &Slots, answer: &str, fits: fn(&Slots, &Plant) -> bool) -> bool {
    let words = super::plain_words(answer);
    let named: Vec<&Plant> = PLANTS.iter().filter(|plant| words.iter().any(|word| word == plant.many)).collect();
    let least = if slots.get("how_many") == "two" { 2 } else { 1 };
    named.len() >= least && named.len() <= 3 && named.iter().all(|plant| fits(slots, plant))
}

fn coloured(slots: &Slots, plant: &Plant) -> bool {
    plant.colour == slots.get("colour")
}

fn in_season(slots: &Slots, plant: &Plant) -> bool {
    plant.usage == Use::Flower && plant.season == slots.get("season")
}

/// Two plants that fit, or one where there is one; `None` where there is none.
fn two_of(slots: &Slots, fits: fn(&Slots, &Plant) -> bool) -> Option<String> {
    let fitting: Vec<&str> = PLANTS.iter().filter(|plant| fits(slots, plant)).map(|plant| plant.many).take(2).collect();
    (!fitting.is_empty()).then(|| format!("{}.", raise(&join_and(&fitting))))
}

pub(super) const KINDS: &[Kind] = &[
    kind(
        "does_grow",
        |dice| {
            let person = dice.pick(PEOPLE);
            let one = if dice.chance(50) { one_of(dice, &person.grows) } else { dice.pick(PLANTS).one };
            slots([("person", person.name), ("plants", plant_by_one(one).map_or("", |plant| plant.many))])
        },
        |s| {
            let (person, plant) = (person_of(s)?, plant_of(s)?);
            let grows = person.grows.contains(&plant.one);
            let not = if grows { "grows" } else { "does not grow" };
            yes_no(grows, format!("{} {not} {}.", person.name, plant.many))
        },
        Check::Verdict,
        &[
            "Does {person} grow {plants}?",
            "Are there {plants} in the garden of {person}?",
            "Is it true that {person} grows {plants}?",
            "Can I find {plants} in the garden of {person}?",
            "Tell me if {person} grows {plants}.",
            "Has {person} got {plants}?",
            "Do you know if {person} grows {plants}?",
            "Yes or no: {person} grows {plants}?",
        ],
        &["Would I see {plants} if I visit {person}?", "Say yes or no: does {person} have {plants}?"],
    ),
    kind(
        "does_eat",
        |dice| {
            let pest = dice.pick(PESTS);
            let animal = if dice.chance(50) { helper_of(pest) } else { None };
            slots([("animals", animal.unwrap_or(dice.pick(ANIMALS)).many), ("pests", pest.many)])
        },
        |s| {
            let (animal, pest) = (animal_by_many(s.get("animals"))?, pest_by_many(s.get("pests"))?);
            let eats = if pest.helper == animal.one { "eat" } else { "do not eat" };
            yes_no(pest.helper == animal.one, format!("{} {eats} {}.", animal.many, pest.many))
        },
        Check::Verdict,
        &[
            "Do {animals} eat {pests}?",
            "Can {animals} help me with {pests}?",
            "Is it true that {animals} eat {pests}?",
            "Are {animals} good against {pests}?",
            "Tell me if {animals} eat {pests}.",
            "Are {animals} the enemies of {pests}?",
            "Yes or no: {animals} eat {pests}?",
            "Do you know if {animals} eat {pests}?",
        ],
        &["Should I bring {animals} if there are {pests}?", "Say yes or no: do {animals} like {pests}?"],
    ),
    kind(
        "true_or_false",
        statement,
        |s| stated(s).map(|(_, holds)| if holds { "True.".to_owned() } else { "False.".to_owned() }),
        Check::Verdict,
        &[
            "True or false? {statement}",
            "Is this true or false? {statement}",
            "Say \"true\" or \"false\". {statement}",
            "Somebody told me this. {statement} True or false?",
            "Read this: {statement} Is it true or false?",
            "Check this sentence and say true or false: {statement}",
            "I read this in a letter. {statement} Is it true or false?",
            "Decide if it is true or false: {statement}",
        ],
        &["Answer with true or false: {statement}", "Is the next sentence true or false? {statement}"],
    ),
    kind(
        "correct_fact",
        statement,
        |s| stated(s).map(|(plant, _)| raise(&season_fact(plant))),
        Check::Same,
        &[
            "Correct this if it is wrong: {statement}",
            "Make this sentence true: {statement}",
            "Write it again without mistakes: {statement}",
            "Is there a mistake? Write the true sentence. {statement}",
            "My friend wrote this. Correct it. {statement}",
            "Please correct the season: {statement}",
            "This may be wrong. Say it as it is. {statement}",
            "Tell me the truth about this: {statement}",
        ],
        &["Repair this sentence so that it is true: {statement}", "Put the right season into this: {statement}"],
    ),
    kind(
        "classify",
        any_word,
        |s| sort(s.get("word")).map(|sort| format!("{}.", raise(sort))),
        Check::Names(sorts),
        &[
            "Flower, crop, pest, animal or tool: what is \"{word}\"?",
            "Is \"{word}\" a flower, a crop, a pest, an animal or a tool?",
            "To which group does \"{word}\" belong?",
            "Which kind of thing is \"{word}\"?",
            "Put \"{word}\" into a group.",
            "Say what kind of thing \"{word}\" is.",
            "Sort this word into a group: {word}.",
            "What kind of word is \"{word}\"?",
        ],
        &["Find the group of \"{word}\".", "Name the group that \"{word}\" belongs to."],
    ),
    kind(
        "define",
        any_word,
        |s| {
            let word = s.get("word");
            let sort = sort(word).filter(|sort| *sort != "person")?;
            let pest = PESTS.iter().find(|pest| pest.helper == word);
            let more = pest.map_or(String::new(), |pest| format!(" that eats {}", pest.many));
            Some(format!("{} is {}{more}.", raise(&article(word)), article(sort)))
        },
        Check::Holds(defines),
        &[
            "What does \"{word}\" mean?",
            "Define the word \"{word}\".",
            "A child asks you what a thing called {word} is. Answer.",
            "I do not know the word \"{word}\". What is it?",
            "Tell me what \"{word}\" means.",
            "What is meant by \"{word}\"?",
            "Write in a book for children what \"{word}\" means.",
            "Say in one sentence what \"{word}\" means.",
        ],
        &["Give me the meaning of \"{word}\".", "How would you tell a child what \"{word}\" means?"],
    ),
    kind(
        "plants_of_colour",
        |dice| slots([("colour", dice.pick(PLANTS).colour)]),
        |s| two_of(s, coloured).filter(|_| COLOURS.contains(&s.get("colour"))),
        Check::Holds(|s, answer| names_plants_of(s, answer, coloured)),
        &[
            "Name plants that are {colour}.",
            "Which plants are {colour}?",
            "Tell me some {colour} plants.",
            "I want a {colour} garden. What can I plant?",
            "What can I grow that is {colour}?",
            "Give me the names of {colour} plants.",
            "List plants with the colour {colour}.",
            "What grows in the village and is {colour}?",
        ],
        &["Find something {colour} for my garden.", "I like it {colour}. Which plants are right for me?"],
    ),
    kind(
        "flowers_of_season",
        |dice| slots([("season", plant(dice, |plant| plant.usage == Use::Flower).season)]),
        |s| two_of(s, in_season),
        Check::Holds(|s, answer| names_plants_of(s, answer, in_season)),
        &[
            "Name flowers that flower in {season}.",
            "Which flowers can I see in {season}?",
            "Tell me some flowers of the {season}.",
            "What flowers in {season}?",
            "I want flowers in {season}. What can I plant?",
            "Give me the names of {season} flowers.",
            "List flowers for a {season} garden.",
            "Which flowers open in {season}?",
        ],
        &["Find flowers that I can pick in {season}.", "What could I put in water in {season}?"],
    ),
];
