//! From a person's choices to what a stage learns from: files read, records encoded, counted, divided, judged.
//!
//! The one way for all stages after pretraining, and for the commands that show their data. A record whose prompt does
//! not fit the context is left out and counted, and too many of them are refused; nothing is cut in silence.
//! Training and validation are divided *by prompt*: all records of a prompt are on one side. Which side is a function
//! of the prompt and the seed, so that the order of files and records is free.

mod encode;
mod reading;
#[cfg(test)]
mod tests;

pub use reading::visit;

use super::inspect::Inspection;
use super::mask::{Encoded, EncodedPair, Limits, Tally, Turns};
use super::records::ReadOptions;
use super::template::{self, Template};
use super::tokenizer::Tokenizer;
use pleach_runtime::fault::{Fault, Refusal};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Where records are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file, a folder or a pattern, from the root.
    Path(String),
    /// Records in memory, each a JSON object as a line of a file would hold it.
    Lines {
        /// What they are called in messages.
        name: String,
        /// The lines.
        lines: Vec<String>,
    },
}

/// What is learnt from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Answers: completions and conversations. Of texts every token is learnt, which [`Limits::all`] must allow.
    #[default]
    Answers,
    /// Preferences: pairs and rankings.
    Preferences,
    /// Whatever there is: for showing, not for training.
    Any,
}

/// What a person chose.
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    /// What is learnt from.
    pub kind: Kind,
    /// Where the training records are from.
    pub train: Vec<Origin>,
    /// Where the validation records are from; empty: a share of the training prompts.
    pub validation: Vec<Origin>,
    /// Of the training prompts, the share that is held back where there is no other validation, 0 to 1.
    pub share: f64,
    /// Key of the division.
    pub seed: u64,
    /// The folder that paths begin at.
    pub root: PathBuf,
    /// Shape and names of columns, where a person says them.
    pub read: ReadOptions,
    /// The chat template that is meant.
    pub template: template::Source,
    /// The model's folder, for its template.
    pub folder: Option<PathBuf>,
    /// Which answers of a conversation are learnt.
    pub turns: Turns,
    /// What is taken, and from which share on it is refused.
    pub limits: Limits,
    /// Training records that are read at most; none: all.
    pub most: Option<u64>,
    /// Samples that are kept for showing.
    pub samples: usize,
    /// The tokenizer; without one nothing is encoded, only counted.
    pub tokenizer: Option<&'a Tokenizer>,
}

impl<'a> Choices<'a> {
    /// The usual ones: one part in twenty of the prompts is held back, three samples are kept.
    pub fn new(kind: Kind, train: Vec<Origin>, tokenizer: &'a Tokenizer, limits: Limits) -> Choices<'a> {
        Choices {
            kind,
            train,
            validation: Vec::new(),
            share: 0.05,
            seed: 0,
            root: PathBuf::from("."),
            read: ReadOptions::default(),
            template: template::Source::Model,
            folder: None,
            turns: Turns::All,
            limits,
            most: None,
            samples: 3,
            tokenizer: Some(tokenizer),
        }
    }
}

/// A prompt with what is learnt after it: one answer, or several in an order of preference.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Key of the prompt's words: the same for all records of a prompt. Figures are clustered by it.
    pub prompt: u64,
    /// Prompt and answer, each with its mask.
    pub answers: Vec<Encoded>,
    /// Rank of each answer, 1 is best, equal ones are tied.
    pub ranks: Vec<u32>,
    /// What people marked on each answer: `bias`, `harm` ...
    pub flags: Vec<Vec<String>>,
    /// How much better the first is, where somebody said so of a pair.
    pub margin: Option<f64>,
}

impl Example {
    /// All pairs of a better and a worse answer, as indices; ties give none.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.ranks.len();
        let pairs = all.clone().flat_map(|a| all.clone().map(move |b| (a, b)));
        pairs.filter(|&(a, b)| self.ranks[a] < self.ranks[b]).collect()
    }
}

/// Records, encoded and divided.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What is learned from.
    pub train: Vec<Example>,
    /// What is only measured.
    pub validation: Vec<Example>,
    /// The figures of all records read for training, those held back among them.
    pub figures: Inspection,
    /// What became of the records of a validation of its own.
    pub held: Tally,
    /// The chat template, where records needed one: it belongs into the model's folder.
    pub template: Option<Template>,
    /// What a person should know, a sentence each.
    pub notes: Vec<String>,
}

impl Loaded {
    /// The answers of examples, for fine-tuning and instruction tuning.
    pub fn answers(examples: &[Example]) -> Arc<[Encoded]> {
        examples.iter().flat_map(|one| one.answers.iter().cloned()).collect()
    }

    /// All pairs of examples, for the pairwise objectives.
    pub fn pairs(examples: &[Example]) -> Arc<[EncodedPair]> {
        let of = |one: &Example| {
            let pair = |(chosen, rejected): (usize, usize)| EncodedPair {
                chosen: one.answers[chosen].clone(),
                rejected: one.answers[rejected].clone(),
            };
            one.pairs().into_iter().map(pair).collect::<Vec<_>>()
        };
        examples.iter().flat_map(of).collect()
    }

    /// Whether this may be trained on.
    ///
    /// # Errors
    /// As [`Tally::verdict`], and where nothing is left to train on or of a validation that was named.
    pub fn verdict(&self, choices: &Choices) -> Result<(), Refusal> {
        self.figures.tally.verdict(&choices.limits)?;
        let hint = "look at the figures with `pleach inspect`";
        if self.train.is_empty() {
            let detail = format!("{} records were read, none is left", self.figures.records);
            return Err(Refusal::new("there is nothing to learn from", detail, hint));
        }
        if !choices.validation.is_empty() && self.validation.is_empty() {
            let detail = format!("{} records were read, none is left", self.held.records);
            return Err(Refusal::new("there is nothing to validate with", detail, hint));
        }
        Ok(())
    }
}

/// Reads, encodes, counts, divides and judges. `go_on` is asked before each record, with the number of records so far.
///
/// # Errors
/// A refusal for the first record that does not fit (file, line, field, what was expected), for records that this
/// kind does not learn from, or as [`Loaded::verdict`]; a fault where `go_on` said no.
pub fn load(choices: &Choices, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Loaded, Fault> {
    let loaded = survey(choices, go_on)?;
    loaded.verdict(choices)?;
    Ok(loaded)
}

/// The same without the judgement: for showing what is wrong.
///
/// # Errors
/// As [`load`], but for the verdict.
pub fn survey(choices: &Choices, go_on: &mut dyn FnMut(u64) -> bool) -> Result<Loaded, Fault> {
    let mut work = reading::Work::new(choices)?;
    work.train(go_on)?;
    work.validation(go_on)?;
    work.finish()
}

pub use reading::key as prompt_key;

/// Divides by prompt: of the different prompts, `share` (at least one, never all) is held back. Which ones: those
/// with the smallest keyed hash.
fn divide(all: Vec<Example>, share: f64, seed: u64) -> (Vec<Example>, Vec<Example>) {
    let distinct: HashSet<u64> = all.iter().map(|one| one.prompt).collect();
    if share <= 0.0 || distinct.len() < 2 {
        return (all, Vec::new());
    }
    let key = |prompt: &u64| {
        let hash = blake3::Hasher::new().update(&seed.to_le_bytes()).update(&prompt.to_le_bytes()).finalize();
        u64::from_le_bytes(std::array::from_fn(|at| hash.as_bytes()[at]))
    };
    let mut order: Vec<(u64, u64)> = distinct.iter().map(|prompt| (key(prompt), *prompt)).collect();
    order.sort_unstable();
    let count = ((share * order.len() as f64).ceil() as usize).clamp(1, order.len() - 1);
    let held: HashSet<u64> = order[..count].iter().map(|(_, prompt)| *prompt).collect();
    all.into_iter().partition(|one| !held.contains(&one.prompt))
}
