//! What is ranked, and what a rater says about it.

use super::flags::{Flags, On};
use crate::data::records::{Record, Said, Shape};
use pleach_runtime::fault::Refusal;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How many completions an item may have: one makes no ranking, and a person holds no more than nine (InstructGPT
/// ranked 4 to 9).
pub const COMPLETIONS: std::ops::RangeInclusive<usize> = 2..=9;

/// Longest comment, reason or better answer, in bytes.
pub const TEXT: usize = 64 << 10;

/// Longest name of an item, a completion or a rater, in bytes.
const NAME: usize = 256;

/// Longest prompt with its completions as JSON, in bytes.
const ITEM: usize = 4 << 20;

/// One of the completions of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// Its name within the item.
    pub id: String,
    /// What it says.
    pub said: Said,
    /// Where it comes from: checkpoint, seed, sampling; null where nobody knows. Raters never see it.
    pub origin: Value,
}

/// A prompt with its completions.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its name within the store.
    pub id: String,
    /// What is given.
    pub prompt: Said,
    /// The completions, 2 to 9.
    pub completions: Vec<Completion>,
}

/// What a rater made of an item: an order with all that was said beside it, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Answer {
    /// Ids of completions in groups of equals, best first; in a finished answer each stands in one group.
    pub order: Vec<Vec<String>>,
    /// Why the item was skipped; then nothing has to be in order.
    pub skip: Option<String>,
    /// For ids of completions: names of flags.
    pub flags: BTreeMap<String, Vec<String>>,
    /// Names of flags of the item as a whole.
    pub item_flags: Vec<String>,
    /// For ids of completions: what was written about them.
    pub comments: BTreeMap<String, String>,
    /// What was written about the prompt or the item.
    pub comment: String,
    /// A better answer than all of them, where the rater wrote one.
    pub better: String,
    /// Seconds that the rater looked at it.
    pub seconds: f64,
}

/// An answer that is not finished.
pub type Draft = Answer;

/// A prompt or a completion from its JSON: a string or a list of messages.
pub(super) fn said(value: Value) -> Result<Said, String> {
    let map = Map::from_iter([("prompt".to_owned(), value)]);
    match Shape::Prompt.records(&map).map_err(|wrong| wrong.to_string())?.pop() {
        Some(Record::Prompt(prompt)) => Ok(prompt.prompt),
        _ => Err("no prompt".into()),
    }
}

/// A name as people and files give it: no control characters, not blank, not longer than 256 bytes.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    if !name.trim().is_empty() && name.trim() == name && name.len() <= NAME && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    let hint = format!("give a {what} of 1 to {NAME} bytes without control characters and outer spaces");
    Err(Refusal::new(format!("could not take the {what}"), format!("{shown:?} is no name"), hint))
}

impl Item {
    /// Names, number and size of an item.
    ///
    /// # Errors
    /// A refusal that names what is wrong.
    pub fn check(&self) -> Result<(), Refusal> {
        check_name("item's id", &self.id)?;
        let refuse = |detail: String, hint: &str| Err(Refusal::new("could not take the item", detail, hint));
        if !COMPLETIONS.contains(&self.completions.len()) {
            let detail = format!("item {:?} has {} completions", self.id, self.completions.len());
            return refuse(detail, "give 2 to 9 completions for each prompt");
        }
        for (index, one) in self.completions.iter().enumerate() {
            check_name("completion's id", &one.id)?;
            if self.completions[..index].iter().any(|other| other.id == one.id) {
                return refuse(format!("item {:?} has two completions {:?}", self.id, one.id), "give each its own id");
            }
        }
        let bytes =
            self.prompt.words().len() + self.completions.iter().map(|one| one.said.words().len()).sum::<usize>();
        if bytes > ITEM {
            let detail = format!("item {:?} has {bytes} bytes of text, more than {ITEM}", self.id);
            return refuse(detail, "nobody reads that: shorten prompt or completions");
        }
        Ok(())
    }

    /// The ids of the completions, in their order.
    pub fn ids(&self) -> Vec<&str> {
        self.completions.iter().map(|one| one.id.as_str()).collect()
    }
}

impl Answer {
    /// Whether the answer fits the item: no unknown id or flag, no id twice, texts not too long; and where it is to be
    /// `finished`, every completion in a group of the order, or a reason to skip.
    ///
    /// # Errors
    /// A refusal that names the field.
    pub fn check(&self, item: &Item, flags: &Flags, finished: bool) -> Result<(), Refusal> {
        let refuse = |field: &str, detail: String| {
            let hint = "the page and the store do not fit together: reload the page";
            Err(Refusal::new("could not take the answer", format!("field {field}: {detail}"), hint))
        };
        let known = |id: &str| item.completions.iter().any(|one| one.id == id);
        let mut seen: Vec<&String> = Vec::new();
        for id in self.order.iter().flatten() {
            match seen.contains(&id) {
                _ if !known(id) => return refuse("order", format!("the unknown completion {id:?}")),
                true => return refuse("order", format!("{id:?} a second time")),
                false => seen.push(id),
            }
        }
        if self.order.iter().any(Vec::is_empty) {
            return refuse("order", "an empty group".into());
        }
        if finished && self.skip.is_none() && seen.len() < item.completions.len() {
            let missing = item.ids().into_iter().filter(|id| !seen.iter().any(|seen| seen == id));
            return refuse("order", format!("no rank for {}", missing.collect::<Vec<_>>().join(", ")));
        }
        if finished && self.skip.as_ref().is_some_and(|why| why.trim().is_empty()) {
            return refuse("skip", "no reason".into());
        }
        if let Some(id) = self.flags.keys().chain(self.comments.keys()).find(|id| !known(id)) {
            return refuse("flags or comments", format!("the unknown completion {id:?}"));
        }
        let marked = self.flags.values().flatten().map(|name| (name, On::Completion));
        for (name, on) in marked.chain(self.item_flags.iter().map(|name| (name, On::Prompt))) {
            if flags.group_of(name).is_none_or(|group| group.on != on) {
                return refuse("flags", format!("the unknown flag {name:?}"));
            }
        }
        let texts = self.comments.values().chain([&self.comment, &self.better]).chain(&self.skip);
        if let Some(long) = texts.into_iter().find(|text| text.len() > TEXT) {
            return refuse("comment", format!("{} bytes, more than {TEXT}", long.len()));
        }
        match self.seconds.is_finite() && self.seconds >= 0.0 {
            true => Ok(()),
            false => refuse("seconds", "no number of seconds".into()),
        }
    }

    /// For each of these ids its rank: 1 is best, equals share, and the next group's is the count of better ones plus
    /// one; `None` where one of them has no place.
    pub fn ranks(&self, ids: &[&str]) -> Option<Vec<u32>> {
        let rank = |id: &&str| {
            let group = self.order.iter().position(|group| group.iter().any(|one| one == id))?;
            Some(1 + self.order[..group].iter().map(Vec::len).sum::<usize>() as u32)
        };
        ids.iter().map(rank).collect()
    }
}
