//! Kinds of instruction about a list or numbers that the prompt gives.

use super::super::facts::{ANIMALS, PEOPLE, PESTS, PLANTS, SEASONS, TOOLS};
use super::super::tasks::{NUMBERS, number};
use super::super::wording::{Slots, join_and, lower, one_of, slots};
use super::{Check, Kind, kind};
use crate::data::random::{Dice, Permutation};
use crate::data::world::grammar::raise;

/// Names of one table, so that a list has one sort of thing.
fn table(which: usize) -> Vec<&'static str> {
    match which {
        0 => ANIMALS.iter().map(|animal| animal.many).collect(),
        1 => TOOLS.to_vec(),
        2 => PESTS.iter().map(|pest| pest.many).collect(),
        _ => PLANTS.iter().map(|plant| plant.many).collect(),
    }
}

/// So many different names of one table.
fn some(dice: &mut Dice, count: usize) -> Vec<&'static str> {
    let names = table(dice.below(6));
    let order = Permutation::new(names.len() as u64, dice.word());
    (0..count as u64).map(|index| names[order.at(index) as usize]).collect()
}

fn list(dice: &mut Dice) -> Slots {
    let count = 3 + dice.below(3);
    slots([("list", &some(dice, count).join(", "))])
}

/// The items of the list of a prompt, all of them names that the world knows; `None` where it is no such list.
fn items(slots: &Slots) -> Option<Vec<&str>> {
    let items: Vec<&str> = slots.get("list").split(", ").collect();
    let known = |item: &&str| (0..4).any(|which| table(which).contains(item));
    (items.len() > 1 && items.iter().all(known)).then_some(items)
}

fn stop(text: &str) -> Option<String> {
    Some(format!("{}.", raise(text)))
}

fn all_items() -> Vec<&'static str> {
    (0..4).flat_map(table).collect()
}

fn people() -> Vec<&'static str> {
    PEOPLE.iter().map(|person| person.name).collect()
}

/// Two people with two to six things each, never the same number: together not more than twelve.
fn owners(dice: &mut Dice) -> Slots {
    let order = Permutation::new(PEOPLE.len() as u64, dice.word());
    let (first, second) = (dice.below(5), dice.below(4));
    let second = if second >= first { second + 1 } else { second };
    slots([
        ("first", PEOPLE[order.at(0) as usize].name),
        ("second", PEOPLE[order.at(1) as usize].name),
        ("many", NUMBERS[first]),
        ("more", NUMBERS[second]),
        ("plants", dice.pick(PLANTS).many),
    ])
}

/// The two people and their numbers.
fn owned(slots: &Slots) -> Option<[(&str, usize); 2]> {
    let known = |name: &str| people().contains(&slots.get(name));
    let plants = PLANTS.iter().any(|plant| plant.many == slots.get("plants"));
    let owner = |name, count| Some((slots.get(name), number(&lower(slots.get(count)))?));
    let both = [owner("first", "many")?, owner("second", "more")?];
    (known("first") && known("second") && plants && both[0].1 != both[1].1).then_some(both)
}

fn season_number(slots: &Slots, name: &str) -> Option<usize> {
    SEASONS.iter().position(|season| *season == slots.get(name))
}

pub(super) const KINDS: &[Kind] = &[
    kind(
        "count",
        list,
        |s| stop(NUMBERS.get(items(s)?.len() - 2)?),
        Check::Names(|| NUMBERS.to_vec()),
        &[
            "How many things are in this list? {list}",
            "Count these: {list}",
            "How many words are there? {list}",
            "Say how many there are: {list}",
            "Here is a list: {list}. How many things are in it?",
            "Count the things in the basket: {list}",
            "What is the number of things here? {list}",
            "Tell me how many: {list}",
        ],
        &["How long is this list? {list}", "Please count what I have: {list}"],
    ),
    kind(
        "first",
        list,
        |s| stop(items(s)?.first()?),
        Check::Names(all_items),
        &[
            "What is the first word of this list? {list}",
            "Say the first one: {list}",
            "Which one comes first? {list}",
            "Give me only the first: {list}",
            "Here is a list: {list}. What is at the beginning?",
            "Take the first thing of these: {list}",
            "With what does this list begin? {list}",
            "Repeat only the first word: {list}",
        ],
        &["What stands at the beginning of this list? {list}", "Read me the first thing: {list}"],
    ),
    kind(
        "last",
        list,
        |s| stop(items(s)?.last()?),
        Check::Names(all_items),
        &[
            "What is the last word of this list? {list}",
            "Say the last one: {list}",
            "Which one comes last? {list}",
            "Give me only the last: {list}",
            "Here is a list: {list}. What is at the end?",
            "Take the last thing of these: {list}",
            "With what does this list end? {list}",
            "Repeat only the last word: {list}",
        ],
        &["What stands at the end of this list? {list}", "Read me the last thing: {list}"],
    ),
    kind(
        "sort",
        list,
        |s| {
            let mut items = items(s)?;
            items.sort_unstable();
            Some(items.join(", "))
        },
        Check::Same,
        &[
            "Sort these words from a to z: {list}",
            "Put this list in the order of the letters: {list}",
            "Sort this list: {list}",
            "Write these words in the order of a book of words: {list}",
            "Order these from a to z: {list}",
            "Which order from a to z have these? {list}",
            "Bring the words in order: {list}",
            "Please sort by the first letter: {list}",
        ],
        &["Give me these words sorted: {list}", "Make a list from a to z of these: {list}"],
    ),
    kind(
        "reverse",
        list,
        |s| Some(items(s)?.into_iter().rev().collect::<Vec<_>>().join(", ")),
        Check::Same,
        &[
            "Turn this list around: {list}",
            "Write this list from the end to the beginning: {list}",
            "Say these words backwards, the last one first: {list}",
            "Begin with the last word: {list}",
            "Read the list from behind: {list}",
            "Reverse this list: {list}",
            "Put the last thing first and the first thing last: {list}",
            "Give me the list the other way round: {list}",
        ],
        &["List these in the opposite order: {list}", "Start at the end of this list: {list}"],
    ),
    kind(
        "join",
        list,
        |s| Some(join_and(&items(s)?)),
        Check::Same,
        &[
            "Put \"and\" before the last word: {list}",
            "Write this list with \"and\": {list}",
            "Join these words with \"and\": {list}",
            "Say the list as in a sentence, with \"and\": {list}",
            "The word \"and\" is missing at the end: {list}",
            "Make it sound right with \"and\": {list}",
            "Use \"and\" for the last thing: {list}",
            "Add the word \"and\" to this list: {list}",
        ],
        &["Please connect the last two words with \"and\": {list}", "Where is the \"and\"? Put it in: {list}"],
    ),
    kind(
        "remove",
        |dice| {
            let items = some(dice, 4);
            slots([("list", &items.join(", ")), ("item", one_of(dice, &items))])
        },
        |s| {
            let items = items(s).filter(|items| items.contains(&s.get("item")))?;
            Some(items.into_iter().filter(|item| *item != s.get("item")).collect::<Vec<_>>().join(", "))
        },
        Check::Same,
        &[
            "Take {item} out of this list: {list}",
            "Write this list without {item}: {list}",
            "Remove {item}: {list}",
            "I do not want {item}. Write the list again: {list}",
            "Leave out {item}: {list}",
            "The {item} are gone. What is left? {list}",
            "I sold the {item}. What do I have now? {list}",
            "Pull {item} out of these: {list}",
        ],
        &["Without {item}, what is in this list? {list}", "Forget {item} and write the rest: {list}"],
    ),
    kind(
        "odd_one",
        |dice| {
            let mut names = vec![dice.below(4); 4];
            let odd = dice.below(4);
            names[odd] = (names[odd] + 1 + dice.below(3)) % 4;
            let mut items: Vec<&str> = Vec::new();
            for which in names {
                let fresh: Vec<&str> = table(which).into_iter().filter(|name| !items.contains(name)).collect();
                items.push(one_of(dice, &fresh));
            }
            slots([("list", &items.join(", "))])
        },
        |s| {
            let items = items(s).filter(|items| items.len() == 4)?;
            let sort = |item: &str| (0..4).find(|&which| table(which).contains(&item));
            let alone = |item: &&&str| items.iter().filter(|other| sort(other) == sort(item)).count() == 1;
            let mut odd = items.iter().filter(alone);
            let first = odd.next()?;
            odd.next().is_none().then(|| stop(first)).flatten()
        },
        Check::Same,
        &[
            "Which one does not belong here? {list}",
            "Which word is not like the others? {list}",
            "Find the wrong one: {list}",
            "Three of these belong together. Which one does not? {list}",
            "One of these is different. Which one? {list}",
            "What must I take away so that the rest belong together? {list}",
            "Name the one that is different: {list}",
            "Which of these is of another kind? {list}",
        ],
        &["What is the stranger in this list? {list}", "Three are alike. Say the other one: {list}"],
    ),
    kind(
        "contains",
        |dice| {
            let items = some(dice, 4);
            let there = dice.chance(50);
            let item = if there { one_of(dice, &items) } else { some(dice, 1)[0] };
            slots([("list", &items.join(", ")), ("item", item)])
        },
        |s| {
            let known = all_items().contains(&s.get("item"));
            let there = items(s).filter(|_| known)?.contains(&s.get("item"));
            Some(if there { "Yes.".to_owned() } else { "No.".to_owned() })
        },
        Check::Verdict,
        &[
            "Is there \"{item}\" in this list? {list}",
            "Does this list have \"{item}\"? {list}",
            "Can you find \"{item}\" here? {list}",
            "Yes or no: is \"{item}\" one of these? {list}",
            "I look for \"{item}\". Is it here? {list}",
            "Look for \"{item}\" in the list: {list}",
            "Do you see \"{item}\"? {list}",
            "Have I got \"{item}\"? {list}",
        ],
        &["Say yes if \"{item}\" is in here, or no: {list}", "Is one of these \"{item}\"? {list}"],
    ),
    kind(
        "who_has_more",
        owners,
        |s| {
            owned(s).map(|[first, second]| format!("{} has more.", if first.1 > second.1 { first.0 } else { second.0 }))
        },
        Check::Holds(|s, answer| {
            let winner = owned(s).map(|[first, second]| if first.1 > second.1 { first.0 } else { second.0 });
            let said: Vec<&str> = people().into_iter().filter(|name| answer.contains(name)).collect();
            said.len() == 1 && winner == said.first().copied()
        }),
        &[
            "{first} has {many} {plants} and {second} has {more}. Who has more?",
            "Who has more? {first} has {many} {plants}, {second} has {more}.",
            "{first} picked {many} {plants} and {second} picked {more}. Who picked more?",
            "Compare: {first} has {many} {plants}, and {second} has {more}. Who has more?",
            "{first} bought {many} {plants} and {second} bought {more}. Who has more now?",
            "In the basket of {first} are {many} {plants}, in that of {second} are {more}. Who has more?",
            "Say who has more: {first} with {many} {plants} or {second} with {more}.",
            "{first} grew {many} {plants}. {second} grew {more}. Who grew more?",
        ],
        &[
            "There are {many} {plants} with {first} and {more} with {second}. Whose basket has more?",
            "Who is ahead, {first} with {many} {plants} or {second} with {more}?",
        ],
    ),
    kind(
        "add",
        owners,
        |s| {
            let [first, second] = owned(s)?;
            NUMBERS.get(first.1 + second.1 - 2).map(|sum| format!("Together they have {sum}."))
        },
        Check::Names(|| NUMBERS.to_vec()),
        &[
            "{first} has {many} {plants} and {second} has {more}. How many do they have together?",
            "How many together? {first} has {many} {plants}, {second} has {more}.",
            "{first} picked {many} {plants} and {second} picked {more}. How many are there?",
            "Add: {many} {plants} of {first} and {more} of {second}.",
            "{first} brought {many} {plants}, and {second} brought {more}. Count them all.",
            "What is the sum of the {many} {plants} of {first} and the {more} of {second}?",
            "{first} puts {many} {plants} into a basket, {second} puts in {more}. How many are in it?",
            "Put together {many} {plants} from {first} and {more} from {second}. How many?",
        ],
        &[
            "If {first} gives me {many} {plants} and {second} gives me {more}, how many have I?",
            "Say the sum: {first} has {many} {plants}, and {second} has {more} of them.",
        ],
    ),
    kind(
        "next_season",
        |dice| slots([("season", one_of(dice, SEASONS))]),
        |s| stop(SEASONS[(season_number(s, "season")? + 1) % 4]),
        Check::Names(|| SEASONS.to_vec()),
        &[
            "What comes after {season}?",
            "Which season comes after {season}?",
            "After {season} comes which season?",
            "It is {season}. What is the next season?",
            "Tell me the season after {season}.",
            "When {season} is over, what begins?",
            "Name the season that follows {season}.",
            "What is next when {season} ends?",
        ],
        &["Which season begins at the end of {season}?", "The {season} is gone. What comes now?"],
    ),
    kind(
        "earlier_season",
        |dice| {
            let order = Permutation::new(4, dice.word());
            slots([("season", SEASONS[order.at(0) as usize]), ("other", SEASONS[order.at(1) as usize])])
        },
        |s| stop(SEASONS[season_number(s, "season")?.min(season_number(s, "other")?)]),
        Check::Same,
        &[
            "The year begins with spring. Which is earlier, {season} or {other}?",
            "From spring on, what comes first, {season} or {other}?",
            "Which one is earlier after the first of spring: {season} or {other}?",
            "In a year that begins in spring, is {season} first or {other}?",
            "Count from spring. Which comes first, {season} or {other}?",
            "Spring, summer, autumn, winter. Which is first, {season} or {other}?",
            "We plant in spring. What comes sooner, {season} or {other}?",
            "Starting with spring, which comes before the other, {season} or {other}?",
        ],
        &[
            "If spring is the beginning, which is sooner, {season} or {other}?",
            "The first season is spring. Say which is first, {season} or {other}.",
        ],
    ),
];
