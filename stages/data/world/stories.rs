//! General stories: seeded, endless, and true in everything that they say about the world.
//!
//! A story picks its people, plant, trouble and season so that they belong together in [`super::facts`], and walks the
//! beats of one arc: an opening, the garden and a fact about it, an event with its cause, help, what came of it, an
//! ending. Story `n` of a seed depends on seed and `n` alone.

use super::facts::{ANIMALS, COLOURS, PEOPLE, PESTS, PLACES, PLANTS, SEASONS, TOOLS, Use, plant, position, somebody};
use super::grammar::{Bindings, Item, Rules, line, raise, raised, variable};
use crate::data::random::Dice;

/// The beats of each arc. "a|b": one of them; "?a": told in half of the stories; "flower" and "crop" beats are told
/// where the plant is one. Each arc has the openings before it and the endings after it.
const ARCS: &[(Needs, &[&str])] = &[
    (
        Needs::Anything,
        &[
            "pest_seen",
            "pest_harm",
            "worry|lament",
            "to_friend",
            "pest_asked",
            "pest_advice",
            "pest_help",
            "pest_gone",
            "recovered",
            "thanks",
            "?reply",
            "pest_end",
        ],
    ),
    (
        Needs::Anything,
        &[
            "storm",
            "storm_harm",
            "worry|lament",
            "storm_help",
            "storm_work",
            "recovered",
            "thanks",
            "reply",
            "supper",
            "end",
        ],
    ),
    (
        Needs::Dry,
        &["dry", "dry_harm", "worry|lament", "to_friend", "dry_help", "dry_work", "rain", "recovered", "thanks", "end"],
    ),
    (
        Needs::Anything,
        &["lost", "search", "worry", "to_friend", "lost_help", "found", "glad", "thanks", "?reply", "lost_end"],
    ),
    (Needs::Crop, &["harvest", "too_many", "cook", "invite", "come", "eat", "recipe", "glad", "supper", "end"]),
    (Needs::Favourite, &["birthday", "idea", "liking", "picking", "giving", "gift_joy", "glad", "supper", "end"]),
    (
        Needs::Anything,
        &[
            "wish",
            "flower_question|crop_question",
            "flower_answer|crop_answer",
            "danger_question",
            "danger_answer",
            "seeds",
            "grown",
            "glad",
            "end",
        ],
    ),
    (Needs::Anything, &["visitor", "visitor_seen", "to_friend", "visitor_care", "visitor_stays", "glad", "pest_end"]),
    (
        Needs::Anything,
        &[
            "market",
            "?market_scene",
            "market_worry",
            "worry",
            "market_turn",
            "market_end",
            "thanks",
            "?reply",
            "supper",
            "end",
        ],
    ),
    (Needs::Anything, &["quarrel", "quarrel_harm", "quarrel_words", "sorry", "forgiven", "replant", "supper", "end"]),
];

/// What an arc asks of its plant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Anything,
    /// Something to eat.
    Crop,
    /// A season in which it can be dry.
    Dry,
    /// The season of the friend's favourite flower.
    Favourite,
}

/// Endless stories of a seed.
#[derive(Debug)]
pub struct Stories {
    rules: Rules,
    seed: u64,
    next: u64,
}

impl Stories {
    /// The stories of a seed, from the first one on.
    pub fn new(seed: u64) -> Stories {
        Stories::starting_at(seed, 0)
    }

    /// The stories of a seed from number `first` on: training and validation take ranges that do not meet.
    pub fn starting_at(seed: u64, first: u64) -> Stories {
        Stories { rules: Rules::new(), seed, next: first }
    }

    /// Story `number` of the seed: one paragraph of 80 to 250 words.
    pub fn story(&self, number: u64) -> String {
        let mut teller = Teller { rules: &self.rules, dice: Dice::new(self.seed, number), told: Vec::new() };
        teller.tell()
    }
}

impl Iterator for Stories {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let story = self.story(self.next);
        self.next += 1;
        Some(story)
    }
}

struct Teller<'a> {
    rules: &'a Rules,
    dice: Dice,
    /// Alternatives already used in this story.
    told: Vec<(usize, usize)>,
}

impl Teller<'_> {
    fn tell(&mut self) -> String {
        let (needs, beats) = *self.dice.pick(ARCS);
        let cast = self.cast(needs);
        let main = PLANTS[cast[variable("plant")].trailing_zeros() as usize].usage;
        let season = SEASONS[cast[variable("season")].trailing_zeros() as usize];
        let (fact, now) = match main {
            Use::Flower => ("flower_fact", "flower_now"),
            Use::Crop => ("crop_fact", "crop_now"),
        };
        let mut plan = vec!["open", "garden", fact];
        if beats.len() < 11 || self.dice.chance(40) {
            plan.push("work");
        }
        if self.dice.chance(70) {
            plan.push(season);
        }
        if self.dice.chance(50) && cast[variable("season")] == cast[variable("bloom")] {
            plan.push(now);
        }
        plan.extend(beats);
        let mut sentences = Vec::new();
        for beat in plan {
            let (beat, often) = beat.strip_prefix('?').map_or((beat, 100), |beat| (beat, 50));
            if self.dice.chance(often) {
                let of_plant = |group: &&str| match main {
                    Use::Flower => !group.starts_with("crop"),
                    Use::Crop => !group.starts_with("flower"),
                };
                let choices: Vec<&str> = beat.split('|').filter(of_plant).collect();
                let group = self.rules.group(choices[self.dice.below(choices.len())]);
                sentences.push(self.sentence(group, &cast));
            }
        }
        sentences.join(" ")
    }

    /// People, plants and things that belong together.
    fn cast(&mut self, needs: Needs) -> Bindings {
        let mut cast = [0u64; super::grammar::VARIABLES];
        let mut set = |name: &str, id: usize| cast[variable(name)] = 1 << id;
        let hero = self.dice.below(PEOPLE.len());
        let friend = somebody(PEOPLE[hero].friend);
        let grown: Vec<usize> = PEOPLE[hero].grows.iter().map(|one| plant(one)).collect();
        let fits = |id: &usize| needs != Needs::Crop || PLANTS[*id].usage == Use::Crop;
        let choices: Vec<usize> = grown.iter().copied().filter(fits).collect();
        let main = *self.dice.pick(&choices);
        let others: Vec<usize> = grown.iter().copied().filter(|&id| id != main).collect();
        let pest = position(PESTS.iter().map(|pest| pest.many), PLANTS[main].pest);
        let season_of = |plant: usize| position(SEASONS.iter().copied(), PLANTS[plant].season);
        let favourite = plant(PEOPLE[friend].likes);
        let season = match needs {
            Needs::Dry => position(SEASONS.iter().copied(), "summer"),
            Needs::Favourite => season_of(favourite),
            Needs::Anything | Needs::Crop => season_of(main),
        };
        // Beats of the kind that the plant is not are never told: any plant of that kind stands in.
        let (flower, crop) = match PLANTS[main].usage {
            Use::Flower => (main, plant("carrot")),
            Use::Crop => (plant("rose"), main),
        };
        set("hero", hero);
        set("friend", friend);
        set("plant", main);
        set("other", *self.dice.pick(&others));
        set("flower", flower);
        set("crop", crop);
        set("meal", crop);
        set("favourite", favourite);
        set("pest", pest);
        set("helper", position(ANIMALS.iter().map(|animal| animal.one), PESTS[pest].helper));
        set("home", position(PLACES.iter().copied(), PEOPLE[hero].home));
        set("there", position(PLACES.iter().copied(), PEOPLE[friend].home));
        set("season", season);
        set("bloom", season_of(main));
        set("colour", position(COLOURS.iter().copied(), PLANTS[main].colour));
        set("tool", self.dice.below(TOOLS.len()));
        cast
    }

    fn sentence(&mut self, group: usize, cast: &Bindings) -> String {
        let mut words = Vec::new();
        self.expand(group, cast, &mut words);
        for (word, up) in raised(&words).into_iter().enumerate() {
            if up {
                words[word] = raise(&words[word]);
            }
        }
        line(&words)
    }

    fn expand(&mut self, group: usize, cast: &Bindings, words: &mut Vec<String>) {
        let rules = self.rules;
        let frames = &rules.groups[group];
        let fresh: Vec<usize> = (0..frames.len()).filter(|&frame| !self.told.contains(&(group, frame))).collect();
        let frame = if fresh.is_empty() { self.dice.below(frames.len()) } else { *self.dice.pick(&fresh) };
        self.told.push((group, frame));
        for item in &frames[frame].items {
            match item {
                Item::Word(word) => words.push(word.clone()),
                Item::Group(inner) => self.expand(*inner, cast, words),
                Item::Slot(variable, form) => {
                    let meant = cast[*variable];
                    let phrase = rules.lexicon[*form].iter().find(|(_, meanings)| meanings & meant != 0);
                    let phrase = phrase.expect("every thing of a story has every form that its frames ask for");
                    words.extend_from_slice(&phrase.0);
                }
            }
        }
    }
}
