//! How many kinds of thing are asked: prompts by their leading verb, and how alike they are.
//!
//! The kind of a prompt is its first word in small letters after words of politeness: "Could you please translate
//! ..." is `translate`. A question keeps two words ("how many", "what is"). The effective number of kinds is
//! exp(-sum p ln p) over their shares p (Hill's number of order 1): as many equally frequent kinds would be as varied.

use super::similar::Seen;
use super::{EXAMPLES, EXCERPT, Lengths};
use serde::Serialize;
use std::collections::HashMap;

/// Different kinds that are told apart; more fall under [`OTHER`].
const KINDS: usize = 4096;

/// The name of all further kinds.
const OTHER: &str = "(other)";

/// Kinds that are listed.
const LISTED: usize = 12;

/// Words that open a request and say nothing of it. Longer ones stand before their beginnings.
const OPENERS: [&str; 22] = [
    "i would like you to",
    "i'd like you to",
    "i want you to",
    "i need you to",
    "would you please",
    "could you please",
    "can you please",
    "can you help me",
    "help me to",
    "help me",
    "would you",
    "could you",
    "can you",
    "will you",
    "please",
    "kindly",
    "hello",
    "hey",
    "hi",
    "now",
    "ok",
    "okay",
];

/// Words that begin a question: the next one belongs to the kind.
const QUESTIONS: [&str; 9] = ["what", "who", "whom", "whose", "which", "when", "where", "why", "how"];

/// A kind of prompt with how often it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// Its leading words.
    pub words: String,
    /// Prompts of it.
    pub count: u64,
    /// The beginning of the first one.
    pub example: String,
}

/// The prompts of a data set.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Diversity {
    /// Prompts that say something.
    pub prompts: u64,
    /// Prompts that stand in an earlier record too.
    pub same: u64,
    /// Prompts that are nearly an earlier one.
    pub near: u64,
    /// Different kinds.
    pub kinds: u64,
    /// As many equally frequent kinds would be as varied.
    pub effective_kinds: f64,
    /// The most frequent kinds.
    pub most: Vec<Kind>,
    /// Lengths of the prompts, in words.
    pub words: Lengths,
    /// Prompts that are nearly an earlier one, with their place.
    pub near_examples: Vec<(String, String)>,
    #[serde(skip)]
    counts: HashMap<String, (u64, String)>,
}

impl Diversity {
    /// Counts a prompt, of which the index says whether it was `seen`.
    pub(super) fn add(&mut self, place: &str, prompt: &str, seen: Seen) {
        self.prompts += 1;
        self.words.add(prompt.split_whitespace().count() as u64);
        let start = || prompt.chars().take(EXCERPT).collect::<String>();
        match seen {
            Seen::Same => self.same += 1,
            Seen::Near(_) => {
                self.near += 1;
                if self.near_examples.len() < EXAMPLES {
                    self.near_examples.push((place.to_owned(), start()));
                }
            }
            Seen::New | Seen::Full => {}
        }
        let kind = kind(prompt);
        let known = self.counts.len() < KINDS || self.counts.contains_key(&kind);
        let kind = if known { kind } else { OTHER.to_owned() };
        self.counts.entry(kind).or_insert_with(|| (0, start())).0 += 1;
    }

    /// Fills the figures that need all prompts.
    pub(super) fn close(&mut self) {
        self.kinds = self.counts.len() as u64;
        let mut all: Vec<Kind> = std::mem::take(&mut self.counts)
            .into_iter()
            .map(|(words, (count, example))| Kind { words, count, example })
            .collect();
        all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.words.cmp(&b.words)));
        let share = |kind: &Kind| kind.count as f64 / self.prompts as f64;
        let entropy: f64 = all.iter().map(|kind| -share(kind) * share(kind).ln()).sum();
        self.effective_kinds = if all.is_empty() { 0.0 } else { entropy.exp() };
        all.truncate(LISTED);
        self.most = all;
    }
}

/// The kind of a prompt: its leading verb, or the two words that open a question.
pub fn kind(prompt: &str) -> String {
    let first = prompt.lines().find(|line| line.chars().any(char::is_alphanumeric)).unwrap_or("");
    let clean = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let words: Vec<String> = first.split_whitespace().map(clean).filter(|word| !word.is_empty()).take(24).collect();
    let mut rest = &words[..];
    while let Some(count) = OPENERS.iter().find_map(|opener| opens(rest, opener)) {
        rest = &rest[count..];
    }
    let rest = if rest.is_empty() { &words[..] } else { rest };
    let count = if rest.first().is_some_and(|word| QUESTIONS.contains(&word.as_str())) { 2 } else { 1 };
    if rest.is_empty() { "(no words)".into() } else { rest[..count.min(rest.len())].join(" ") }
}

/// How many words of an opener begin these, where more follows it.
fn opens(words: &[String], opener: &str) -> Option<usize> {
    let count = opener.split(' ').count();
    let begins = words.len() > count && opener.split(' ').zip(words).all(|(a, b)| a == b);
    begins.then_some(count)
}
