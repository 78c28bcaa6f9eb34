//! Kinds of instruction about a sentence: rewrite it, correct it, take something out of it, go on from it.

use super::super::facts::{COLOURS, Gender, PEOPLE, PLACES, PLANTS, Use};
use super::super::tasks::NUMBERS;
use super::super::wording::{Slots, one_of, person_by_name, plain_words, plant_by_many, read, slots};
use super::super::{claims, lies};
use super::{Check, Kind, kind};
use crate::data::random::{Dice, Permutation};
use crate::data::world::grammar::{article, raise};

/// What people do: now, in the past, and the plain form.
const VERBS: [[&str; 3]; 8] = [
    ["waters", "watered", "water"],
    ["picks", "picked", "pick"],
    ["plants", "planted", "plant"],
    ["carries", "carried", "carry"],
    ["washes", "washed", "wash"],
    ["sells", "sold", "sell"],
    ["buys", "bought", "buy"],
    ["cuts", "cut", "cut"],
];

/// "Mira waters three tulips near the mill."
struct Action {
    who: &'static str,
    verb: [&'static str; 3],
    /// "the" or a number.
    how_many: String,
    what: &'static str,
    place: &'static str,
}

impl Action {
    fn draw(dice: &mut Dice) -> Action {
        let how_many = if dice.chance(50) { "the" } else { NUMBERS[dice.below(6)] };
        Action {
            who: dice.pick(PEOPLE).name,
            verb: *dice.pick(&VERBS),
            how_many: how_many.to_owned(),
            what: dice.pick(PLANTS).many,
            place: one_of(dice, PLACES),
        }
    }

    fn read(text: &str) -> Option<Action> {
        read("{who} {verb} {how_many} {what} near the {where}.", text).iter().find_map(|slots| {
            let how_many = slots.get("how_many");
            Some(Action {
                who: person_by_name(slots.get("who"))?.name,
                verb: *VERBS.iter().find(|verb| verb[0] == slots.get("verb"))?,
                how_many: (how_many == "the" || NUMBERS.contains(&how_many)).then(|| how_many.to_owned())?,
                what: plant_by_many(slots.get("what"))?.many,
                place: PLACES.iter().find(|place| **place == slots.get("where"))?,
            })
        })
    }

    fn say(&self, who: &str, verb: &str) -> String {
        format!("{who} {verb} {} {} near the {}.", self.how_many, self.what, self.place)
    }

    fn pronoun(&self) -> &'static str {
        let she = PEOPLE.iter().any(|person| person.name == self.who && person.gender == Gender::She);
        if she { "She" } else { "He" }
    }
}

fn action(dice: &mut Dice) -> Slots {
    let action = Action::draw(dice);
    slots([("sentence", &action.say(action.who, action.verb[0]))])
}

fn acted(slots: &Slots) -> Option<Action> {
    Action::read(slots.get("sentence"))
}

/// An action and somebody else.
fn action_and_other(dice: &mut Dice) -> Slots {
    let action = Action::draw(dice);
    let others: Vec<&str> = PEOPLE.iter().map(|person| person.name).filter(|name| *name != action.who).collect();
    slots([("sentence", &action.say(action.who, action.verb[0])), ("other", one_of(dice, &others))])
}

/// "The tulips are yellow." and a colour.
fn coloured(dice: &mut Dice) -> Slots {
    let order = Permutation::new(COLOURS.len() as u64, dice.word());
    let colour = |at| COLOURS[order.at(at) as usize];
    slots([("what", dice.pick(PLANTS).many), ("colour", colour(0)), ("other", colour(1))])
}

/// A sentence with one verb or article that does not agree, and the right one.
const SLIPS: [(&str, &str); 6] = [
    ("The {what} is big.", "The {what} are big."),
    ("My {what} has no water.", "My {what} have no water."),
    ("The {what} grows fast.", "The {what} grow fast."),
    ("These {what} was sweet.", "These {what} were sweet."),
    ("I has many {what}.", "I have many {what}."),
    ("She like {what}.", "She likes {what}."),
];

fn repaired(slots: &Slots) -> Option<String> {
    SLIPS.iter().find_map(|(wrong, right)| {
        let read = read(wrong, slots.get("sentence"));
        let what = read.iter().find_map(|slots| plant_by_many(slots.get("what")))?.many;
        Some(right.replace("{what}", what))
    })
}

const FEELINGS: [(&str, bool); 12] = [
    ("{who} sang a song in the garden.", true),
    ("{who} laughed and danced.", true),
    ("{who} was full of joy.", true),
    ("{who} smiled at the flowers.", true),
    ("{who} was proud of the garden.", true),
    ("{who} thanked everybody and smiled.", true),
    ("{who} was worried and could not sleep.", false),
    ("{who} was afraid of the storm.", false),
    ("{who} was angry about the fence.", false),
    ("{who} sat alone and was unhappy.", false),
    ("{who} had no water and was tired.", false),
    ("{who} lost a good friend.", false),
];

fn feels(slots: &Slots) -> Option<bool> {
    let found = FEELINGS.iter().find(|(wording, _)| {
        read(wording, slots.get("sentence")).iter().any(|slots| person_by_name(slots.get("who")).is_some())
    });
    found.map(|(_, happy)| *happy)
}

/// "Tom, the fisher from the harbour, ..." as the stories know him.
fn long_sentence(dice: &mut Dice) -> Slots {
    let person = dice.pick(PEOPLE);
    let action = Action::draw(dice);
    let long = format!(
        "{}, {} who lives near the {}, {} the {}.",
        person.name,
        article(person.trade),
        person.home,
        action.verb[0],
        action.what
    );
    slots([("sentence", &long)])
}

fn shortened(slots: &Slots) -> Option<String> {
    read("{who}, {more}, {verb} the {what}.", slots.get("sentence")).iter().find_map(|slots| {
        let who = person_by_name(slots.get("who"))?.name;
        let verb = VERBS.iter().find(|verb| verb[0] == slots.get("verb"))?[0];
        Some(format!("{who} {verb} the {}.", plant_by_many(slots.get("what"))?.many))
    })
}

/// A short sentence on these plants that states something, and nothing false.
fn tells_of_plants(slots: &Slots, answer: &str) -> bool {
    let words = plain_words(answer);
    let named = words.iter().any(|word| word == slots.get("plants"));
    named && words.len() >= 4 && answer.ends_with('.') && claims(answer).contains(&true) && !lies(answer)
}

/// A whole sentence on the hero.
fn goes_on(slots: &Slots, answer: &str) -> bool {
    let words = plain_words(answer);
    let hero = person_by_name(slots.get("person"));
    let pronoun = hero.map_or("", |hero| if hero.gender == Gender::She { "she" } else { "he" });
    let named = words.iter().any(|word| *word == slots.get("person").to_lowercase() || word == pronoun);
    named && words.len() >= 4 && answer.starts_with(char::is_uppercase) && answer.ends_with('.')
}

fn everybody() -> Vec<&'static str> {
    PEOPLE.iter().map(|person| person.name).collect()
}

fn person(dice: &mut Dice) -> Slots {
    slots([("person", dice.pick(PEOPLE).name)])
}

/// Whether an answer says both words, and as a friendly sentence.
fn warm(answer: &str, needed: &[&str]) -> bool {
    let words = plain_words(answer);
    let said = |needed: &&str| words.iter().any(|word| *word == needed.to_lowercase());
    needed.iter().all(said) && answer.ends_with(['.', '!'])
}

pub(super) const KINDS: &[Kind] = &[
    kind(
        "pronoun",
        action,
        |s| acted(s).map(|action| action.say(action.pronoun(), action.verb[0])),
        Check::Same,
        &[
            "Write \"she\" or \"he\" for the name: {sentence}",
            "Do not say the name, say \"she\" or \"he\": {sentence}",
            "Begin this with \"she\" or \"he\": {sentence}",
            "Say it again without the name: {sentence}",
            "Put \"she\" or \"he\" at the beginning: {sentence}",
            "Take the name away and use \"she\" or \"he\": {sentence}",
            "We know the name. Say \"she\" or \"he\": {sentence}",
            "Rewrite it with \"she\" or \"he\": {sentence}",
        ],
        &["Change the name to \"she\" or \"he\": {sentence}", "Use \"she\" or \"he\" in place of the name: {sentence}"],
    ),
    kind(
        "past",
        action,
        |s| acted(s).map(|action| action.say(action.who, action.verb[1])),
        Check::Same,
        &[
            "Tell this as if it was yesterday: {sentence}",
            "Put this into the past: {sentence}",
            "It was last year. Say it again: {sentence}",
            "Make this an old story: {sentence}",
            "Say that this was long ago: {sentence}",
            "Write this in the past: {sentence}",
            "It is over now. Tell it: {sentence}",
            "Change this to the past: {sentence}",
        ],
        &["Write what was yesterday: {sentence}", "Turn this into something of the past: {sentence}"],
    ),
    kind(
        "negate",
        action,
        |s| acted(s).map(|action| action.say(action.who, &format!("does not {}", action.verb[2]))),
        Check::Same,
        &[
            "Say that this is not so: {sentence}",
            "Put \"not\" into this sentence: {sentence}",
            "Say the opposite with \"not\": {sentence}",
            "Use \"does not\": {sentence}",
            "It is not true. Write it with \"not\": {sentence}",
            "Make this a sentence with \"not\": {sentence}",
            "Add the word \"not\": {sentence}",
            "Say no to this: {sentence}",
        ],
        &["Write it so that it says \"does not\": {sentence}", "Deny this: {sentence}"],
    ),
    kind(
        "question",
        action,
        |s| acted(s).map(|action| action.say(&format!("Does {}", action.who), action.verb[2]).replace('.', "?")),
        Check::Same,
        &[
            "Make this a question: {sentence}",
            "Ask if this is so: {sentence}",
            "Turn this into a question: {sentence}",
            "Write a question from this: {sentence}",
            "Begin with \"does\": {sentence}",
            "I do not know if it is so. Ask: {sentence}",
            "Put a question mark behind this and change it: {sentence}",
            "Say this as a question: {sentence}",
        ],
        &["Change this to a question: {sentence}", "How would you ask this? {sentence}"],
    ),
    kind(
        "replace_name",
        action_and_other,
        |s| {
            let other = person_by_name(s.get("other"))?.name;
            acted(s).filter(|action| action.who != other).map(|action| action.say(other, action.verb[0]))
        },
        Check::Same,
        &[
            "It was {other} who did this. Write it again: {sentence}",
            "Put the name {other} in: {sentence}",
            "Change the name to {other}: {sentence}",
            "Say the same of {other}: {sentence}",
            "Now let {other} do it: {sentence}",
            "The name is wrong, it is {other}: {sentence}",
            "Write this about {other}: {sentence}",
            "Use the name {other}: {sentence}",
        ],
        &["Tell this of {other}: {sentence}", "Make {other} do this: {sentence}"],
    ),
    kind(
        "recolour",
        coloured,
        |s| {
            let known = COLOURS.contains(&s.get("other")) && COLOURS.contains(&s.get("colour"));
            let what = plant_by_many(s.get("what")).filter(|_| known)?.many;
            Some(format!("The {what} in the basket are {}.", s.get("other")))
        },
        Check::Same,
        &[
            "Make it {other}: The {what} in the basket are {colour}.",
            "Change the colour to {other}: The {what} in the basket are {colour}.",
            "Say {other} and not {colour}: The {what} in the basket are {colour}.",
            "Paint them {other}: The {what} in the basket are {colour}.",
            "They look {other}. Correct this: The {what} in the basket are {colour}.",
            "Write {other} for the colour: The {what} in the basket are {colour}.",
            "Use the word {other}: The {what} in the basket are {colour}.",
            "The colour is wrong, it is {other}: The {what} in the basket are {colour}.",
        ],
        &[
            "Put {other} in for {colour}: The {what} in the basket are {colour}.",
            "Now with {other}: The {what} in the basket are {colour}.",
        ],
    ),
    kind(
        "repair",
        |dice| {
            let (wrong, _) = dice.pick(&SLIPS);
            slots([("sentence", &wrong.replace("{what}", dice.pick(PLANTS).many))])
        },
        repaired,
        Check::Same,
        &[
            "Correct the mistake: {sentence}",
            "Write this in good English: {sentence}",
            "A child wrote this. Correct it: {sentence}",
            "There is a wrong word in this: {sentence}",
            "Repair this sentence: {sentence}",
            "Say this as it should be said: {sentence}",
            "Find the mistake and write it again: {sentence}",
            "One word is not right here: {sentence}",
        ],
        &["Make this good English: {sentence}", "Write this without the mistake: {sentence}"],
    ),
    kind(
        "shorten",
        long_sentence,
        shortened,
        Check::Same,
        &[
            "Make this shorter: {sentence}",
            "Say only who does what: {sentence}",
            "Tell me this in a few words: {sentence}",
            "Leave out what is between the commas: {sentence}",
            "Say it in short: {sentence}",
            "What is the most important part? {sentence}",
            "Shorten this: {sentence}",
            "Write this in four words or five: {sentence}",
        ],
        &["Give me the short form of this: {sentence}", "In short, what happens? {sentence}"],
    ),
    kind(
        "extract_name",
        action,
        |s| acted(s).map(|action| format!("{}.", action.who)),
        Check::Names(everybody),
        &[
            "Who does this? {sentence}",
            "Which name is in this sentence? {sentence}",
            "Find the name: {sentence}",
            "Write only the name: {sentence}",
            "Say who it is: {sentence}",
            "Who is it about? {sentence}",
            "Take the name out of this: {sentence}",
            "Which person do you read about? {sentence}",
        ],
        &["Read this and tell me who it was: {sentence}", "The name, please: {sentence}"],
    ),
    kind(
        "extract_place",
        action,
        |s| acted(s).map(|action| format!("Near the {}.", action.place)),
        Check::Names(|| PLACES.to_vec()),
        &[
            "Where is this? {sentence}",
            "Which place is in this sentence? {sentence}",
            "Find the place: {sentence}",
            "Write only the place: {sentence}",
            "Say where it is: {sentence}",
            "Near what is it? {sentence}",
            "Take the place out of this: {sentence}",
            "Where must I go to see this? {sentence}",
        ],
        &["Read this and tell me where it was: {sentence}", "The place, please: {sentence}"],
    ),
    kind(
        "extract_plant",
        action,
        |s| acted(s).map(|action| raise(&format!("{}.", action.what))),
        Check::Names(|| PLANTS.iter().map(|plant| plant.many).collect()),
        &[
            "Which plants are in this sentence? {sentence}",
            "Find the plants: {sentence}",
            "Write only the name of the plants: {sentence}",
            "Say which plants they are: {sentence}",
            "Take the plants out of this: {sentence}",
            "About which plants do you read? {sentence}",
            "What plants does this tell of? {sentence}",
            "Which flowers or crops are these? {sentence}",
        ],
        &["Read this and tell me the plants: {sentence}", "The plants, please: {sentence}"],
    ),
    kind(
        "feeling",
        |dice| {
            let (wording, _) = dice.pick(&FEELINGS);
            slots([("sentence", &wording.replace("{who}", dice.pick(PEOPLE).name))])
        },
        |s| feels(s).map(|happy| if happy { "Happy." } else { "Sad." }.to_owned()),
        Check::Names(|| vec!["happy", "sad"]),
        &[
            "Good or bad: how was it? {sentence}",
            "Which feeling is this? {sentence}",
            "Was it a good day or not? One feeling, please. {sentence}",
            "What did the heart say? {sentence}",
            "Say the feeling in one word: {sentence}",
            "How did it feel? {sentence}",
            "Find the feeling: {sentence}",
            "Which of the two feelings fits? {sentence}",
        ],
        &["Tell me the feeling in this: {sentence}", "What feeling do you read here? {sentence}"],
    ),
    kind(
        "write_about",
        |dice| slots([("plants", dice.pick(PLANTS).many)]),
        |s| {
            let plant = plant_by_many(s.get("plants"))?;
            let does = if plant.usage == Use::Flower { "flower" } else { "are ripe" };
            Some(raise(&format!("{} {does} in {}.", plant.many, plant.season)))
        },
        Check::Holds(tells_of_plants),
        &[
            "Write a sentence about {plants}.",
            "Tell me something about {plants}.",
            "What do you know about {plants}?",
            "Say something true about {plants}.",
            "Teach me something about {plants}.",
            "I want to learn about {plants}.",
            "Write in my book about {plants}.",
            "Let us talk about {plants}.",
        ],
        &["Give me one fact about {plants}.", "Make a true sentence with {plants}."],
    ),
    kind(
        "continue",
        person,
        |s| {
            let person = person_by_name(s.get("person"))?;
            Some(format!("{} lived near the {} and worked as {}.", person.name, person.home, article(person.trade)))
        },
        Check::Holds(goes_on),
        &[
            "Go on with the story: Once there was somebody called {person}.",
            "What comes next? Long ago there lived {person}.",
            "Tell me more. There was somebody called {person}.",
            "Continue: This is a story about {person}.",
            "Write the next sentence: I knew {person} well.",
            "The story begins with {person}. Go on.",
            "I tell a story about {person}. You say the next sentence.",
            "Say one more sentence about {person}.",
        ],
        &["Keep telling the story of {person}.", "How does the story of {person} go on?"],
    ),
    kind(
        "greet",
        person,
        |s| person_by_name(s.get("person")).map(|person| format!("Good morning, {}!", person.name)),
        Check::Holds(|s, answer| warm(answer, &["good", "morning", s.get("person")])),
        &[
            "Say good morning to {person}.",
            "Wish {person} a good morning.",
            "{person} comes in the morning. Greet {person}.",
            "It is early. What do you say to {person}?",
            "Here is {person}, early in the day. Say something kind.",
            "Greet {person} in the morning.",
            "How do you greet {person} before noon?",
            "Open the door for {person} with a good morning.",
        ],
        &["Call a good morning to {person}.", "You meet {person} in the morning. Your words?"],
    ),
    kind(
        "thank",
        |dice| slots([("person", dice.pick(PEOPLE).name), ("plants", dice.pick(PLANTS).many)]),
        |s| {
            let (person, plant) = (person_by_name(s.get("person"))?, plant_by_many(s.get("plants"))?);
            Some(format!("Thank you for the {}, {}!", plant.many, person.name))
        },
        Check::Holds(|s, answer| warm(answer, &["thank", s.get("plants"), s.get("person")])),
        &[
            "Thank {person} for the {plants}.",
            "{person} gave you {plants}. What do you say?",
            "Say thank you to {person} for the {plants}.",
            "You got {plants} from {person}. Answer with thanks.",
            "Write a thank you for {plants} to {person}.",
            "The {plants} are a present from {person}. Say your thanks.",
            "Be kind to {person}, who brought {plants}.",
            "What does a good child say when {person} brings {plants}?",
        ],
        &["Let {person} know that you are glad about the {plants}.", "Send {person} your thanks for the {plants}."],
    ),
];
