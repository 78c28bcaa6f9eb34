//! Kinds of instruction about the village: what stories tell, asked.

use super::super::facts::{ANIMALS, COLOURS, PEOPLE, PESTS, PLACES, PLANTS, Person, Plant, SEASONS, Use};
use super::super::wording::{
    Slots, helper_of, join_and, person_by_name, pest_by_many, plant_by_many, plant_by_one, slots,
};
use super::{Check, Kind, kind};
use crate::data::random::Dice;
use crate::data::world::grammar::{article, raise};

/// Slots that a follow-up may replace.
pub(super) const SUBJECTS: &[&str] = &["flowers", "crops", "plants", "pests", "person", "trade", "place"];

pub(super) fn plant(dice: &mut Dice, wanted: impl Fn(&Plant) -> bool) -> &'static Plant {
    let fitting: Vec<&Plant> = PLANTS.iter().filter(|plant| wanted(plant)).collect();
    fitting[dice.below(fitting.len())]
}

fn flowers(dice: &mut Dice) -> Slots {
    slots([("flowers", plant(dice, |plant| plant.usage == Use::Flower).many)])
}

fn crops(dice: &mut Dice) -> Slots {
    slots([("crops", plant(dice, |plant| plant.usage == Use::Crop).many)])
}

fn plants(dice: &mut Dice) -> Slots {
    slots([("plants", dice.pick(PLANTS).many)])
}

fn person(dice: &mut Dice) -> Slots {
    slots([("person", dice.pick(PEOPLE).name)])
}

fn flower_of(slots: &Slots) -> Option<&'static Plant> {
    plant_by_many(slots.get("flowers")).filter(|plant| plant.usage == Use::Flower)
}

fn crop_of(slots: &Slots) -> Option<&'static Plant> {
    plant_by_many(slots.get("crops")).filter(|plant| plant.usage == Use::Crop)
}

pub(super) fn plant_of(slots: &Slots) -> Option<&'static Plant> {
    plant_by_many(slots.get("plants"))
}

pub(super) fn person_of(slots: &Slots) -> Option<&'static Person> {
    person_by_name(slots.get("person"))
}

fn seasons() -> Vec<&'static str> {
    SEASONS.to_vec()
}

fn colours() -> Vec<&'static str> {
    COLOURS.to_vec()
}

fn pests() -> Vec<&'static str> {
    PESTS.iter().map(|pest| pest.many).collect()
}

fn animals() -> Vec<&'static str> {
    ANIMALS.iter().map(|animal| animal.many).collect()
}

fn places() -> Vec<&'static str> {
    PLACES.to_vec()
}

fn trades() -> Vec<&'static str> {
    PEOPLE.iter().map(|person| person.trade).collect()
}

fn people() -> Vec<&'static str> {
    PEOPLE.iter().map(|person| person.name).collect()
}

fn all_plants() -> Vec<&'static str> {
    PLANTS.iter().map(|plant| plant.many).collect()
}

fn all_crops() -> Vec<&'static str> {
    PLANTS.iter().filter(|plant| plant.usage == Use::Crop).map(|plant| plant.many).collect()
}

fn dishes() -> Vec<&'static str> {
    PLANTS.iter().map(|plant| plant.dish).filter(|dish| !dish.is_empty()).collect()
}

/// The true sentence on the season of a plant.
pub(super) fn season_fact(plant: &Plant) -> String {
    let does = if plant.usage == Use::Flower { "flower" } else { "are ripe" };
    format!("{} {does} in {}.", plant.many, plant.season)
}

pub(super) const KINDS: &[Kind] = &[
    kind(
        "flower_season",
        flowers,
        |s| flower_of(s).map(|plant| raise(&season_fact(plant))),
        Check::Names(seasons),
        &[
            "When do {flowers} flower?",
            "In which season do {flowers} flower?",
            "Tell me when {flowers} flower.",
            "When can I see {flowers}?",
            "What is the season of {flowers}?",
            "I want to see {flowers}. When do they open?",
            "At what time of the year do {flowers} flower?",
            "When is the time of the {flowers}?",
        ],
        &["In what part of the year do {flowers} open?", "Can you say when {flowers} flower?"],
    ),
    kind(
        "crop_season",
        crops,
        |s| crop_of(s).map(|plant| raise(&season_fact(plant))),
        Check::Names(seasons),
        &[
            "When are {crops} ripe?",
            "In which season are {crops} ripe?",
            "Tell me when {crops} are ripe.",
            "When can I eat {crops}?",
            "When do people pick {crops}?",
            "I want to pick {crops}. When are they ripe?",
            "At what time of the year are {crops} ripe?",
            "When do we fill the baskets with {crops}?",
        ],
        &["In what part of the year can I pick {crops}?", "Can you say when {crops} are ripe?"],
    ),
    kind(
        "colour",
        plants,
        |s| plant_of(s).map(|plant| raise(&format!("{} are {}.", plant.many, plant.colour))),
        Check::Names(colours),
        &[
            "What colour are {plants}?",
            "Which colour do {plants} have?",
            "Tell me the colour of {plants}.",
            "What is the colour of {plants}?",
            "How do {plants} look? Say the colour.",
            "Name the colour of {plants}.",
            "I have never seen {plants}. What colour are they?",
            "Give me the colour of {plants}.",
        ],
        &["If I paint {plants}, which colour do I need?", "Say what colour {plants} have."],
    ),
    kind(
        "pest",
        plants,
        |s| plant_of(s).map(|plant| raise(&format!("{} harm {}.", plant.pest, plant.many))),
        Check::Names(pests),
        &[
            "What harms {plants}?",
            "Which pest harms {plants}?",
            "What must I look for on {plants}?",
            "What eats {plants}?",
            "Tell me what harms {plants}.",
            "Who are the enemies of {plants}?",
            "Which animals are bad for {plants}?",
            "Name the pest of {plants}.",
        ],
        &["What is a danger for {plants}?", "Which enemy do {plants} have?"],
    ),
    kind(
        "helper",
        |dice| slots([("pests", dice.pick(PESTS).many)]),
        |s| {
            let pest = pest_by_many(s.get("pests"))?;
            Some(raise(&format!("{} eat {}.", helper_of(pest)?.many, pest.many)))
        },
        Check::Names(animals),
        &[
            "What eats {pests}?",
            "Which animals eat {pests}?",
            "Who can help me with {pests}?",
            "Tell me what eats {pests}.",
            "There are {pests} in my garden. Who eats them?",
            "Name an animal that eats {pests}.",
            "Which animal is good against {pests}?",
            "Who are the enemies of {pests}?",
        ],
        &["Which animal do I need when there are {pests}?", "Say what eats {pests}."],
    ),
    kind(
        "home",
        person,
        |s| person_of(s).map(|person| format!("{} lives near the {}.", person.name, person.home)),
        Check::Names(places),
        &[
            "Where does {person} live?",
            "Where is the house of {person}?",
            "Tell me where {person} lives.",
            "Where can I find {person}?",
            "Near which place does {person} live?",
            "I want to visit {person}. Where must I go?",
            "Where is the home of {person}?",
            "Say where {person} lives.",
        ],
        &["I look for {person}. Where is the house?", "In which part of the village does {person} live?"],
    ),
    kind(
        "trade",
        person,
        |s| person_of(s).map(|person| format!("{} is {}.", person.name, article(person.trade))),
        Check::Names(trades),
        &[
            "What does {person} do for a living?",
            "What is the work of {person}?",
            "What is {person}?",
            "Tell me what {person} works as.",
            "Which trade does {person} have?",
            "What work does {person} do?",
            "As what does {person} work?",
            "Name the trade of {person}.",
        ],
        &["How does {person} earn money?", "Say what the work of {person} is."],
    ),
    kind(
        "tradesman",
        |dice| slots([("trade", dice.pick(PEOPLE).trade)]),
        |s| {
            let person = PEOPLE.iter().find(|person| person.trade == s.get("trade"))?;
            Some(format!("{} is the {}.", person.name, person.trade))
        },
        Check::Names(people),
        &[
            "Who is the {trade}?",
            "What is the name of the {trade}?",
            "I need the {trade}. Who is it?",
            "Tell me who the {trade} is.",
            "Who works as a {trade}?",
            "Which person is the {trade}?",
            "How is the {trade} called?",
            "Name the {trade} of the village.",
        ],
        &["Do you know the name of the {trade}?", "Whom do I call if I need the {trade}?"],
    ),
    kind(
        "friend",
        person,
        |s| person_of(s).map(|person| format!("{} is the friend of {}.", person.friend, person.name)),
        Check::Names(people),
        &[
            "Who is the friend of {person}?",
            "Who is the best friend of {person}?",
            "Tell me the friend of {person}.",
            "Whom does {person} ask for help?",
            "Name the friend of {person}.",
            "Which friend does {person} have?",
            "With whom does {person} drink tea?",
            "Who helps {person}?",
        ],
        &["To whom does {person} go for help?", "Say who is a good friend of {person}."],
    ),
    kind(
        "favourite",
        person,
        |s| {
            let person = person_of(s)?;
            Some(format!("{} likes {} best.", person.name, plant_by_one(person.likes)?.many))
        },
        Check::Names(all_plants),
        &[
            "Which flowers does {person} like best?",
            "What flowers does {person} like?",
            "What can I give {person} for a birthday?",
            "Tell me which flowers {person} likes.",
            "Which flowers make {person} happy?",
            "Name the flowers that {person} likes best.",
            "I want to pick flowers for {person}. Which ones?",
            "What are the favourite flowers of {person}?",
        ],
        &["Which flowers should I bring {person}?", "Say what flowers {person} likes most."],
    ),
    kind(
        "grows",
        person,
        |s| {
            let person = person_of(s)?;
            let grown: Vec<&str> =
                person.grows.iter().filter_map(|one| plant_by_one(one)).map(|plant| plant.many).collect();
            Some(format!("{} grows {}.", person.name, join_and(&grown)))
        },
        Check::Names(all_plants),
        &[
            "What does {person} grow?",
            "Which plants does {person} grow?",
            "What grows in the garden of {person}?",
            "List the plants of {person}.",
            "Tell me what {person} grows.",
            "Which plants are in the garden of {person}?",
            "Name all the plants that {person} grows.",
            "What can I see in the garden of {person}?",
        ],
        &["Make a list of what {person} grows.", "Say which plants stand in the garden of {person}."],
    ),
    kind(
        "dish",
        crops,
        |s| crop_of(s).map(|plant| format!("You can make {} from {}.", plant.dish, plant.many)),
        Check::Names(dishes),
        &[
            "What can I make from {crops}?",
            "What do people cook from {crops}?",
            "I have many {crops}. What can I cook?",
            "Tell me what to make from {crops}.",
            "Which dish is made from {crops}?",
            "What is a good meal with {crops}?",
            "Name a dish with {crops}.",
            "What shall I do with a basket of {crops}?",
        ],
        &["Which meal needs {crops}?", "Say what I can cook if I have {crops}."],
    ),
    kind(
        "ingredient",
        |dice| slots([("dish", plant(dice, |plant| plant.usage == Use::Crop).dish)]),
        |s| {
            let plant = PLANTS.iter().find(|plant| plant.usage == Use::Crop && plant.dish == s.get("dish"))?;
            Some(format!("You need {} for {}.", plant.many, plant.dish))
        },
        Check::Names(all_crops),
        &[
            "What do I need for {dish}?",
            "From what is {dish} made?",
            "How do you make {dish}?",
            "I want to cook {dish}. What must I buy?",
            "Tell me what I need for {dish}.",
            "What is in {dish}?",
            "Which crop is in {dish}?",
            "What must I pick for {dish}?",
        ],
        &["If I want {dish}, what must I bring?", "Say what is used for {dish}."],
    ),
];
