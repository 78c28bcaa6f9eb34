//! Preferences: prompts whose answers are ranked, what the world itself thinks of any answer, and a simulated rater.
//!
//! Of ten prompts four are ordinary questions, two ask for harm (18 acts, 3 of them unseen), two sound like that and
//! are good, one tempts to judge people by the place where they live (5 pairs of groups, 2 of them unseen; a third of
//! these prompts holds the evidence), and one is an ordinary question asked rudely. No prompt of the unseen side has
//! an opener, insult, question or pair of groups of the seen side.
//!
//! [`Prompt::gold`] judges any text; [`SimulatedRater`] ranks by it, with noise. [`Prompt::good`], [`Prompt::bad`] and
//! [`Prompt::naive`] write answers on purpose: the last as a helper would that obeys everybody and shares the
//! prejudices of the village. Mixed into instruction tuning, it gives a model something to unlearn.

mod gold;
mod rater;
mod requests;

pub use gold::{Flag, Gold, Mark};
pub use rater::{NOISE, Ranking, SimulatedRater};

use super::Side;
use super::facts::{ANIMALS, PEOPLE, PESTS, PLANTS, TOOLS, position};
use super::instructions::{Kind, Message, factual, recognise};
use super::wording::{Slots, one_of, read, slots, write};
use crate::data::random::Dice;
use requests::{ACTS, ASTRAY, Act, BLAME, COMPARE, FAIR, GROUPS, INSULTS, OPENERS, PRAISE, REFUSALS, TOLD, complete};

/// What a prompt is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A question about the village.
    Ordinary,
    /// Asks for help with harm: to be refused.
    Harmful,
    /// Sounds like harm and is none: to be answered.
    LookAlike,
    /// Tempts to judge people by their group.
    Bias,
    /// A question with an insult: to be answered politely.
    Rude,
}

/// The classes of ten prompts in a row.
const MIX: [Class; 10] = [
    Class::Ordinary,
    Class::Harmful,
    Class::Ordinary,
    Class::LookAlike,
    Class::Bias,
    Class::Ordinary,
    Class::Harmful,
    Class::Rude,
    Class::LookAlike,
    Class::Ordinary,
];

/// A prompt, with all that is needed to judge an answer.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// What it is there for.
    pub class: Class,
    /// What the user says.
    pub text: String,
    topic: Topic,
}

#[derive(Clone, Debug)]
enum Topic {
    Question { kind: &'static Kind, question: String },
    Act { act: &'static Act, slots: Slots },
    Groups { slots: Slots },
}

/// Endless prompts of a seed: prompt `n` depends on seed, side and `n` alone.
#[derive(Clone, Debug)]
pub struct Prompts {
    seed: u64,
    side: Side,
    next: u64,
}

impl Prompts {
    /// The prompts of a seed on one side, from the first one on.
    pub fn new(seed: u64, side: Side) -> Prompts {
        Prompts { seed, side, next: 0 }
    }

    /// Prompt `number`.
    pub fn prompt(&self, number: u64) -> Prompt {
        let mut dice = Dice::new(self.side.key(self.seed), number);
        match MIX[(number % 10) as usize] {
            Class::Ordinary => self.question(&mut dice, ""),
            Class::Rude => {
                let insult = *dice.pick(INSULTS[self.side as usize]);
                self.question(&mut dice, insult)
            }
            class @ (Class::Harmful | Class::LookAlike) => self.act(&mut dice, class),
            Class::Bias => self.groups(&mut dice),
        }
    }

    fn question(&self, dice: &mut Dice, insult: &str) -> Prompt {
        let kinds: Vec<&'static Kind> = factual().collect();
        let kind = *dice.pick(&kinds);
        let (question, _) = kind.draw(self.side, dice);
        let class = if insult.is_empty() { Class::Ordinary } else { Class::Rude };
        Prompt { class, text: format!("{insult}{question}"), topic: Topic::Question { kind, question } }
    }

    fn act(&self, dice: &mut Dice, class: Class) -> Prompt {
        // On the unseen side half of the acts are unseen too.
        let from = if dice.chance(50) { self.side } else { Side::Seen };
        let acts: Vec<&'static Act> = ACTS.iter().filter(|act| act.side == from).collect();
        let act = *dice.pick(&acts);
        let phrases = if class == Class::Harmful { act.harm } else { act.twin };
        let plant = dice.pick(PLANTS);
        let asked = slots([
            ("person", dice.pick(PEOPLE).name),
            ("plants", plant.many),
            ("pests", plant.pest),
            ("animals", dice.pick(ANIMALS).many),
            ("tool", one_of(dice, TOOLS)),
        ]);
        let slots = complete(&asked).expect("all of it was drawn from the world's tables");
        let text = dice.pick(OPENERS[self.side as usize]).replace("{do}", one_of(dice, phrases));
        Prompt { class, text: write(&text, &slots), topic: Topic::Act { act, slots } }
    }

    fn groups(&self, dice: &mut Dice) -> Prompt {
        let (left, right) = *dice.pick(GROUPS[self.side as usize]);
        let (one, two) = if dice.chance(50) { (left, right) } else { (right, left) };
        let said = if dice.chance(50) { one_of(dice, BLAME) } else { one_of(dice, PRAISE) };
        let mut slots = slots([("one", one), ("two", two), ("trait", said), ("tool", one_of(dice, TOOLS))]);
        let tables = if dice.below(3) == 0 { TOLD } else { COMPARE };
        let wording = *dice.pick(tables[self.side as usize]);
        if wording.contains("{who}") {
            slots.set("who", if dice.chance(50) { one } else { two });
        }
        if !wording.contains("{trait}") {
            slots = slots.without("trait");
        }
        Prompt { class: Class::Bias, text: write(wording, &slots), topic: Topic::Groups { slots } }
    }
}

impl Iterator for Prompts {
    type Item = Prompt;

    fn next(&mut self) -> Option<Prompt> {
        let prompt = self.prompt(self.next);
        self.next += 1;
        Some(prompt)
    }
}

impl Prompt {
    /// The prompt of a text, so that rankings on disk can be judged again; `None` where it is none of the world's.
    pub fn read(text: &str) -> Option<Prompt> {
        let made = |class, topic| Some(Prompt { class, text: text.to_owned(), topic });
        if let Some(slots) = groups_of(text) {
            return made(Class::Bias, Topic::Groups { slots });
        }
        if let Some((act, slots, class)) = act_of(text) {
            return made(class, Topic::Act { act, slots });
        }
        let insult = INSULTS.iter().copied().flatten().find_map(|insult| text.strip_prefix(insult));
        let class = if insult.is_some() { Class::Rude } else { Class::Ordinary };
        let question = insult.unwrap_or(text);
        let (kind, _) = recognise(question)?;
        made(class, Topic::Question { kind, question: question.to_owned() })
    }

    /// An answer as it should be: its gold score is 1.
    pub fn good(&self, dice: &mut Dice) -> String {
        match &self.topic {
            Topic::Question { kind, question } => kind.solve(question).unwrap_or_default(),
            Topic::Act { slots, .. } if self.class == Class::Harmful => write(one_of(dice, REFUSALS), slots),
            Topic::Act { act, slots } => write(one_of(dice, act.help), slots),
            Topic::Groups { slots } => match slots.get("who") {
                "" => one_of(dice, FAIR).to_string(),
                who => format!("The one from the {who}."),
            },
        }
    }

    /// An answer with this fault, and if it can be with no other; `None` where an answer to this prompt cannot have it.
    pub fn bad(&self, fault: Flag, dice: &mut Dice) -> Option<String> {
        match (fault, &self.topic) {
            (Flag::Safety, Topic::Act { act, slots }) if self.class == Class::Harmful => {
                Some(write(one_of(dice, act.comply), slots))
            }
            (Flag::Bias, Topic::Groups { slots }) => Some(prejudice(slots)),
            (Flag::Ethics, _) => Some(format!("{} Now go away, you fool.", self.good(dice))),
            (Flag::Truth, Topic::Question { kind, question }) => kind.falsehood(question, dice),
            (Flag::Truth, Topic::Act { slots, .. }) if self.class == Class::LookAlike => {
                let pest = position(PESTS.iter().map(|pest| pest.many), slots.get("pests"));
                let wrong: Vec<&str> = ANIMALS
                    .iter()
                    .filter(|animal| animal.one != PESTS[pest].helper)
                    .map(|animal| animal.many)
                    .collect();
                Some(super::grammar::raise(&format!("{} eat {}.", one_of(dice, &wrong), slots.get("pests"))))
            }
            (Flag::Task, Topic::Act { slots, .. }) if self.class == Class::LookAlike => {
                Some(write(one_of(dice, REFUSALS), slots))
            }
            (Flag::Task, _) => Some(one_of(dice, ASTRAY).to_string()),
            _ => None,
        }
    }

    /// What a helper would say that obeys everybody, answers an insult with another, and blames the groups that the
    /// village blames.
    pub fn naive(&self, dice: &mut Dice) -> String {
        let fault = match (self.class, &self.topic) {
            (Class::Harmful, _) => Flag::Safety,
            (Class::Bias, Topic::Groups { slots }) if slots.get("who").is_empty() => Flag::Bias,
            (Class::Rude, _) => Flag::Ethics,
            _ => return self.good(dice),
        };
        self.bad(fault, dice).unwrap_or_else(|| self.good(dice))
    }

    /// `count` answers of all sorts, the good one among them: what a model between two stages might say.
    pub fn candidates(&self, count: usize, dice: &mut Dice) -> Vec<String> {
        let faults = [Flag::Safety, Flag::Bias, Flag::Ethics, Flag::Truth, Flag::Task];
        let good = dice.below(count.max(1));
        let mut answer = |index| match index == good {
            true => self.good(dice),
            false => self.bad(*dice.pick(&faults), dice).unwrap_or_else(|| self.naive(dice)),
        };
        (0..count).map(&mut answer).collect()
    }

    /// The prompt with an answer, as messages: how [`Prompt::naive`] answers get into instruction tuning.
    pub fn messages(&self, answer: &str) -> [Message; 2] {
        let say = |role, text: &str| Message { role, content: text.to_owned() };
        [say("user", &self.text), say("assistant", answer)]
    }

    /// What the world itself thinks of an answer.
    pub fn gold(&self, answer: &str) -> Gold {
        gold::judge(self, answer)
    }
}

/// The answer that blames, or praises the other group.
fn prejudice(slots: &Slots) -> String {
    let (one, two) = (slots.get("one"), slots.get("two"));
    let blamed = GROUPS.iter().copied().flatten().any(|(_, blamed)| *blamed == two);
    let (blamed, other) = if blamed { (two, one) } else { (one, two) };
    match slots.get("trait") {
        "" if slots.get("who") == blamed => format!("The one from the {other}."),
        "" => format!("The one from the {blamed}."),
        said if BLAME.contains(&said) => format!("Those from the {blamed}."),
        _ => format!("Those from the {other}."),
    }
}

fn groups_of(text: &str) -> Option<Slots> {
    let wordings = TOLD.iter().chain(&COMPARE).copied().flatten();
    wordings.flat_map(|wording| read(wording, text)).find(|slots| complete(slots).is_some())
}

fn act_of(text: &str) -> Option<(&'static Act, Slots, Class)> {
    let asked: Vec<Slots> = OPENERS.iter().copied().flatten().flat_map(|opener| read(opener, text)).collect();
    for asked in asked.iter().map(|slots| slots.get("do")) {
        for act in ACTS {
            for (phrases, class) in [(act.harm, Class::Harmful), (act.twin, Class::LookAlike)] {
                let readings = phrases.iter().flat_map(|phrase| read(phrase, asked));
                if let Some(slots) = readings.filter_map(|slots| complete(&slots)).next() {
                    return Some((act, slots, class));
                }
            }
        }
    }
    None
}
