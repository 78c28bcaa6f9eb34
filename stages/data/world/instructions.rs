//! Instructions: many kinds of small task in plain words, each with answers that code computes and checks.
//!
//! There are 60 kinds; a *kind* has eight wordings for training and two that are kept for tests, and what fills them
//! is drawn from the world's tables. [`score`] needs kind, prompt and answer alone: the prompt is read back through
//! the wordings. A [`Dialogue`] is one to three turns of a user, in a third of them under a system message that asks
//! for a manner. Answers have at most 20 words and 40 tokens, dialogues at most 180 tokens of a vocabulary of 1024.

mod knowledge;
mod lists;
mod phrases;
mod village;
mod words;

use super::facts::{ANIMALS, PEOPLE, PESTS, PLANTS};
use super::grammar::raise;
use super::wording::{Slots, lower, one_of, plain_words, read_any, write};
use super::{Side, lies};
use crate::data::random::Dice;

/// More words than this are rambling, whatever they say.
pub(super) const WORDS_MAX: usize = 40;

/// A kind of instruction.
#[derive(Debug)]
pub struct Kind {
    /// Its name: "colour".
    pub name: &'static str,
    /// Wordings for training, at least eight.
    pub seen: &'static [&'static str],
    /// Wordings kept for tests, at least two.
    pub unseen: &'static [&'static str],
    draw: fn(&mut Dice) -> Slots,
    answer: fn(&Slots) -> Option<String>,
    check: Check,
}

/// What an answer is held to besides the length and the truth of what it states.
#[derive(Clone, Copy, Debug)]
enum Check {
    /// The computed answer, but for a final stop and the case of the first letter.
    Same,
    /// It begins with the computed yes or no (true, false), and does not say the other.
    Verdict,
    /// Of these names it says the same as the computed answer; names of the prompt do not count. A part right is a
    /// share of 1.
    Names(fn() -> Vec<&'static str>),
    /// Whatever the function accepts.
    Holds(fn(&Slots, &str) -> bool),
}

/// Kinds with one thing to ask about go on with "And roses?".
const FOLLOW: [&[&str]; 2] = [
    &["And {it}?", "What about {it}?", "And now {it}.", "The same for {it}, please."],
    &["Then tell me about {it} too."],
];

const fn kind(
    name: &'static str,
    draw: fn(&mut Dice) -> Slots,
    answer: fn(&Slots) -> Option<String>,
    check: Check,
    seen: &'static [&'static str],
    unseen: &'static [&'static str],
) -> Kind {
    Kind { name, seen, unseen, draw, answer, check }
}

/// All kinds, in the order of their files.
pub fn kinds() -> impl Iterator<Item = &'static Kind> {
    [village::KINDS, knowledge::KINDS, lists::KINDS, words::KINDS, phrases::KINDS].into_iter().flatten()
}

/// The kinds that ask what is so in the village.
pub(super) fn factual() -> impl Iterator<Item = &'static Kind> {
    let verdicts = knowledge::KINDS.iter().filter(|kind| matches!(kind.name, "does_grow" | "does_eat"));
    village::KINDS.iter().chain(verdicts)
}

/// The kind of a name.
pub fn kind_by_name(name: &str) -> Option<&'static Kind> {
    kinds().find(|kind| kind.name == name)
}

/// How well an answer does what a prompt of a kind asks: 1 is right, between 0 and 1 is a part of a list, 0 is wrong,
/// rambling, false, or a prompt that is none of this kind.
pub fn score(kind: &str, prompt: &str, answer: &str) -> f64 {
    kind_by_name(kind).map_or(0.0, |kind| kind.score(prompt, answer))
}

/// The kind of a prompt, where it is one of the world's: on which side its wording lies, too.
pub fn recognise(prompt: &str) -> Option<(&'static Kind, Side)> {
    kinds().find_map(|kind| {
        let reads = |wordings: &'static [&'static str]| kind.read(wordings, prompt).is_some();
        let side = |wordings, side| reads(wordings).then_some((kind, side));
        side(kind.seen, Side::Seen).or_else(|| side(kind.unseen, Side::Unseen))
    })
}

impl Kind {
    /// A prompt of a side and its right answer.
    pub fn draw(&self, side: Side, dice: &mut Dice) -> (String, String) {
        let wording = *dice.pick(self.wordings(side));
        self.fill(wording, dice)
    }

    /// The right answer to a prompt of this kind, in the words that training uses.
    pub fn solve(&self, prompt: &str) -> Option<String> {
        (self.answer)(&self.understand(prompt)?)
    }

    /// See [`score`].
    pub fn score(&self, prompt: &str, answer: &str) -> f64 {
        let Some(slots) = self.understand(prompt) else { return 0.0 };
        let Some(right) = (self.answer)(&slots) else { return 0.0 };
        let words = plain_words(answer);
        if words.is_empty() || words.len() > WORDS_MAX {
            return 0.0;
        }
        if same(answer, &right) {
            return 1.0;
        }
        if lies(answer) {
            return 0.0;
        }
        match self.check {
            Check::Same => 0.0,
            Check::Verdict => f64::from(u8::from(verdict(&words, &plain_words(&right)))),
            Check::Names(all) => names(&all(), prompt, answer, &right),
            Check::Holds(holds) => f64::from(u8::from(holds(&slots, answer.trim()))),
        }
    }

    /// Whether an answer says something else than the right one where it should say that.
    pub(super) fn contradicts(&self, prompt: &str, answer: &str) -> bool {
        let Some(right) = self.solve(prompt).filter(|_| self.score(prompt, answer) < 1.0) else { return false };
        match self.check {
            Check::Verdict => {
                let first = |text: &str| plain_words(text).first().cloned().unwrap_or_default();
                let verdict = ["yes", "no", "true", "false"].contains(&first(answer).as_str());
                verdict && first(answer) != first(&right)
            }
            Check::Names(all) => {
                let said = padded(answer);
                let other =
                    |name: &&str| !padded(&right).contains(&padded(name)) && !padded(prompt).contains(&padded(name));
                all().into_iter().filter(other).any(|name| said.contains(&padded(name)))
            }
            Check::Same | Check::Holds(_) => false,
        }
    }

    /// The right answer with another name in it, or the other verdict; `None` where the kind has neither.
    pub(super) fn falsehood(&self, prompt: &str, dice: &mut Dice) -> Option<String> {
        let right = self.solve(prompt)?;
        match self.check {
            Check::Verdict => {
                let pairs = [("Yes", "No"), ("No", "Yes"), ("True", "False"), ("False", "True")];
                let (said, other) = pairs.iter().find(|(said, _)| right.starts_with(said))?;
                Some(format!("{other}{}", &right[said.len()..]))
            }
            Check::Names(all) => {
                let all = all();
                let asked = |name: &str| padded(prompt).contains(&padded(name));
                let said = *all.iter().find(|name| padded(&right).contains(&padded(name)) && !asked(name))?;
                let named = |name: &str| padded(&right).contains(&padded(name));
                let others: Vec<&str> = all.into_iter().filter(|name| !named(name) && !asked(name)).collect();
                let (plain, other) = (lower(&right), one_of(dice, &others));
                let text =
                    if plain.contains(said) { plain.replacen(said, other, 1) } else { right.replacen(said, other, 1) };
                Some(raise(&text)).filter(|text| self.score(prompt, text) < 1.0)
            }
            Check::Same | Check::Holds(_) => None,
        }
    }

    fn wordings(&self, side: Side) -> &'static [&'static str] {
        match side {
            Side::Seen => self.seen,
            Side::Unseen => self.unseen,
        }
    }

    fn fill(&self, wording: &str, dice: &mut Dice) -> (String, String) {
        let slots = (self.draw)(dice);
        let answer = (self.answer)(&slots);
        let answer = answer.unwrap_or_else(|| panic!("the kind {} cannot answer what it draws, {slots:?}", self.name));
        (write(wording, &slots), answer)
    }

    /// The one thing that is asked about, where there is only one and it has a name: what a follow-up replaces.
    fn subject(&self) -> Option<&'static str> {
        let (_, rest) = self.seen[0].split_once('{')?;
        let (name, rest) = rest.split_once('}')?;
        (!rest.contains('{') && village::SUBJECTS.contains(&name) && village::KINDS.iter().any(|k| k.name == self.name))
            .then_some(name)
    }

    fn read(&self, wordings: &'static [&'static str], prompt: &str) -> Option<Slots> {
        read_any(wordings, prompt, |slots| (self.answer)(slots).is_some())
    }

    fn understand(&self, prompt: &str) -> Option<Slots> {
        let prompt = prompt.trim();
        let asked = self.read(self.seen, prompt).or_else(|| self.read(self.unseen, prompt));
        asked.or_else(|| {
            let subject = self.subject()?;
            let named = |slots: &Slots| super::wording::slots([(subject, slots.get("it"))]);
            let follow = FOLLOW.iter().copied().flatten();
            read_any(follow, prompt, |slots| (self.answer)(&named(slots)).is_some()).map(|slots| named(&slots))
        })
    }
}

/// Equal but for spaces around, a final stop, and the case of the first letter of a longer word.
fn same(left: &str, right: &str) -> bool {
    let plain = |text: &str| {
        let text = text.trim().trim_end_matches('.');
        let sentence = text.chars().nth(1).is_some_and(|c| c.is_ascii_lowercase() || c == ' ');
        if sentence { lower(text) } else { text.to_owned() }
    };
    plain(left) == plain(right)
}

fn verdict(words: &[String], right: &[String]) -> bool {
    let verdicts = ["yes", "no", "true", "false"];
    let said =
        |words: &[String]| words.iter().filter(|word| verdicts.contains(&word.as_str())).cloned().collect::<Vec<_>>();
    words.first() == right.first() && said(words) == said(right)
}

/// The overlap of the names that two answers say, as a share of their union; halved where the answer is on something
/// that neither the prompt nor the right answer names.
fn names(all: &[&str], prompt: &str, answer: &str, right: &str) -> f64 {
    let asked = padded(prompt);
    let said = |text: &str| {
        let text = padded(text);
        let new = |name: &&&str| text.contains(&padded(name)) && !asked.contains(&padded(name));
        all.iter().filter(new).copied().collect::<Vec<&str>>()
    };
    let (given, expected) = (said(answer), said(right));
    let common = given.iter().filter(|name| expected.contains(name)).count();
    let share = common as f64 / (given.len() + expected.len() - common).max(1) as f64;
    // The right name of something else: "roses are red" where poppies are asked about.
    let strays = everything().any(|name| {
        let name = padded(name);
        padded(answer).contains(&name) && !asked.contains(&name) && !padded(right).contains(&name)
    });
    if strays { share / 2.0 } else { share }
}

/// All names of people, plants, pests and animals.
fn everything() -> impl Iterator<Item = &'static str> {
    let plants = PLANTS.iter().map(|plant| plant.many);
    let pests = PESTS.iter().map(|pest| pest.many);
    let animals = ANIMALS.iter().map(|animal| animal.many);
    plants.chain(pests).chain(animals).chain(PEOPLE.iter().map(|person| person.name))
}

/// The plain words of a text between spaces, so that whole words are found.
fn padded(text: &str) -> String {
    format!(" {} ", plain_words(text).join(" "))
}

/// How many turns a dialogue has, each as often as it stands here.
const TURNS: [usize; 20] = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3];

/// One message of a dialogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// "system", "user" or "assistant".
    pub role: &'static str,
    /// What is said.
    pub content: String,
}

/// One to three turns; the last message is the assistant's, and the right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialogue {
    /// The messages, alternating user and assistant after an optional system message.
    pub messages: Vec<Message>,
    /// The kind of each of the user's turns.
    pub kinds: Vec<&'static str>,
}

/// A manner that a system message asks for.
struct Manner {
    seen: &'static [&'static str],
    unseen: &'static [&'static str],
    before: &'static str,
    after: &'static str,
}

const MANNERS: &[Manner] = &[
    Manner {
        seen: &[
            "You are a friendly gardener.",
            "You help the people of the village.",
            "You know everything about the village.",
            "You are a patient teacher.",
            "Answer in a few words.",
        ],
        unseen: &["You are a clever helper who knows all gardens."],
        before: "",
        after: "",
    },
    Manner {
        seen: &["Begin every answer with \"My friend\".", "Call everybody \"My friend\" at the beginning."],
        unseen: &["Your answers begin with the words \"My friend\"."],
        before: "My friend: ",
        after: "",
    },
    Manner {
        seen: &["End every answer with \"Good luck!\"", "Always say \"Good luck!\" at the end."],
        unseen: &["The last words of your answers are \"Good luck!\""],
        before: "",
        after: " Good luck!",
    },
];

impl Manner {
    fn put(&self, answer: &str) -> String {
        format!("{}{answer}{}", self.before, self.after)
    }

    /// The answer without the manner; `None` where it lacks it.
    fn take<'a>(&self, answer: &'a str) -> Option<&'a str> {
        answer.trim().strip_prefix(self.before)?.strip_suffix(self.after)
    }
}

impl Dialogue {
    /// All messages but the answer to the last turn.
    pub fn prompt(&self) -> &[Message] {
        &self.messages[..self.messages.len() - 1]
    }

    /// The right answer to the last turn.
    pub fn answer(&self) -> &str {
        self.messages.last().map_or("", |message| &message.content)
    }

    /// How well an answer to the last turn does: [`score`], halved where the system message's manner is missing.
    pub fn score(&self, answer: &str) -> f64 {
        let (prompt, kind) = (self.prompt().last(), self.kinds.last());
        let Some((prompt, kind)) = prompt.zip(kind) else { return 0.0 };
        let system = self.messages.first().filter(|message| message.role == "system");
        let manner = system.and_then(|system| {
            let said = |manner: &&Manner| manner.seen.iter().chain(manner.unseen).any(|text| *text == system.content);
            MANNERS.iter().find(said)
        });
        let bare = manner.map_or(Some(answer), |manner| manner.take(answer));
        match bare {
            Some(bare) => score(kind, &prompt.content, bare),
            None => score(kind, &prompt.content, answer) / 2.0,
        }
    }

    /// The dialogue as a line of `{"messages":[{"role":...,"content":...},...]}`, without a line end.
    pub fn line(&self) -> String {
        let message = |message: &Message| serde_json::json!({"role": message.role, "content": message.content});
        serde_json::json!({"messages": self.messages.iter().map(message).collect::<Vec<_>>()}).to_string()
    }
}

/// Endless dialogues of a seed: dialogue `n` depends on seed, side and `n` alone, and the kinds of the last
/// turn take turns.
#[derive(Clone, Debug)]
pub struct Instructions {
    seed: u64,
    side: Side,
    next: u64,
}

impl Instructions {
    /// The dialogues of a seed on one side, from the first one on. On the unseen side every wording is unseen, those
    /// of earlier turns and of system messages too.
    pub fn new(seed: u64, side: Side) -> Instructions {
        Instructions { seed, side, next: 0 }
    }

    /// Dialogue `number`: of 20, 12 have one turn, 5 two and 3 three; 6 a system message.
    pub fn dialogue(&self, number: u64) -> Dialogue {
        let mut dice = Dice::new(self.side.key(self.seed), number);
        let all: Vec<&Kind> = kinds().collect();
        let last = all[(number % all.len() as u64) as usize];
        let turns = TURNS[dice.below(TURNS.len())];
        let (mut messages, mut names) = (Vec::new(), Vec::new());
        let mut say = |role, content| messages.push(Message { role, content });
        let mut manner = &MANNERS[0];
        if dice.chance(30) {
            manner = dice.pick(MANNERS);
            let texts = if self.side == Side::Seen { manner.seen } else { manner.unseen };
            say("system", one_of(&mut dice, texts).to_string());
        }
        // A kind with a subject is often asked again, so that a follow-up has something to follow.
        let again = last.subject().is_some() && dice.chance(60);
        let earlier: Vec<&Kind> = (1..turns).map(|_| if again { last } else { *dice.pick(&all) }).collect();
        for (turn, kind) in earlier.into_iter().chain([last]).enumerate() {
            let mut wording = dice.pick(kind.wordings(self.side)).to_string();
            if let Some(subject) = kind.subject().filter(|_| turn > 0 && again) {
                let texts = FOLLOW[usize::from(self.side == Side::Unseen)];
                wording = one_of(&mut dice, texts).replace("{it}", &format!("{{{subject}}}"));
            }
            let (prompt, answer) = kind.fill(&wording, &mut dice);
            say("user", prompt);
            say("assistant", manner.put(&answer));
            names.push(kind.name);
        }
        Dialogue { messages, kinds: names }
    }
}

impl Iterator for Instructions {
    type Item = Dialogue;

    fn next(&mut self) -> Option<Dialogue> {
        let dialogue = self.dialogue(self.next);
        self.next += 1;
        Some(dialogue)
    }
}
