//! By greedy answers: notes to JSON, and instructions in wordings that no stage has trained on.

use super::{Judge, greedy, percent};
use crate::data::random::Dice;
use crate::data::world::Side;
use crate::data::world::instructions::{Instructions, Kind, kinds};
use crate::data::world::tasks::{Notes, Record};
use pleach_runtime::fault::Fault;
use serde::Serialize;
use std::collections::BTreeMap;

/// New tokens of an answer at most.
const ANSWER: usize = 56;

/// Examples before a question that is asked by examples.
const SHOTS: usize = 3;

/// How well a model reads notes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reading {
    /// Notes.
    pub records: usize,
    /// Answers that are right to the letter, in percent.
    pub exact: f64,
    /// Fields that are right, in percent.
    pub fields: f64,
}

/// How well a model does what it is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Following {
    /// Dialogues.
    pub dialogues: usize,
    /// The mean score, in percent.
    pub score: f64,
    /// Answers with the full score, in percent.
    pub right: f64,
    /// The mean score of each kind, in percent.
    pub kinds: BTreeMap<String, f64>,
}

impl Judge<'_> {
    /// Notes whose pair of person and plant no training record has.
    ///
    /// # Errors
    /// Faults of the device.
    pub fn notes(&mut self, seed: u64, count: usize) -> Result<Reading, Fault> {
        let records: Vec<Record> = Notes::new(seed, Side::Unseen).take(count).collect();
        let prompts = records.iter().map(|record| self.plain(&format!("{}\n", record.note)));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        self.read(&records, &prompts)
    }

    /// The same, asked by examples of the training side: what a model does that was never tuned to the task.
    ///
    /// # Errors
    /// Faults of the device.
    pub fn notes_by_examples(&mut self, seed: u64, count: usize) -> Result<Reading, Fault> {
        let records: Vec<Record> = Notes::new(seed, Side::Unseen).take(count).collect();
        let mut shown = Notes::new(seed, Side::Seen);
        let mut prompts = Vec::with_capacity(count);
        for record in &records {
            let examples = shown.by_ref().take(SHOTS).map(|record| format!("{}\n{}\n", record.note, record.json));
            prompts.push(self.plain(&format!("{}{}\n", examples.collect::<String>(), record.note))?);
        }
        self.read(&records, &prompts)
    }

    fn read(&mut self, records: &[Record], prompts: &[Vec<u32>]) -> Result<Reading, Fault> {
        let answers = self.answers(prompts, &greedy(ANSWER))?;
        let lines: Vec<&str> = answers.iter().map(|answer| first_line(&answer.text)).collect();
        let exact = records.iter().zip(&lines).filter(|(record, line)| record.exact(line)).count();
        let fields: f64 = records.iter().zip(&lines).map(|(record, line)| record.fields(line)).sum();
        Ok(Reading {
            records: records.len(),
            exact: percent(exact as f64, records.len()),
            fields: percent(fields, records.len()),
        })
    }

    /// Dialogues all of whose wordings are unseen, the kinds in turn.
    ///
    /// # Errors
    /// Faults of the device.
    pub fn instructions(&mut self, seed: u64, side: Side, count: usize) -> Result<Following, Fault> {
        let dialogues: Vec<_> = Instructions::new(seed, side).take(count).collect();
        let prompts = dialogues.iter().map(|dialogue| self.conversation(dialogue.prompt()));
        let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
        let answers = self.answers(&prompts, &greedy(ANSWER))?;
        let scores = dialogues.iter().zip(&answers).map(|(dialogue, answer)| {
            let kind = dialogue.kinds.last().copied().unwrap_or_default();
            (kind, dialogue.score(&answer.text))
        });
        Ok(following(scores.collect()))
    }

    /// Single instructions in unseen wordings, asked by examples of the same kind in plain text: what a model does that
    /// was never tuned to follow any.
    ///
    /// # Errors
    /// Faults of the device.
    pub fn instructions_by_examples(&mut self, seed: u64, count: usize) -> Result<Following, Fault> {
        let all: Vec<_> = kinds().collect();
        let (mut asked, mut prompts) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for number in 0..count {
            let (kind, mut dice) = (all[number % all.len()], Dice::new(seed, number as u64));
            let example = |side, dice: &mut Dice| kind.draw(side, dice);
            let shown = (0..SHOTS).map(|_| example(Side::Seen, &mut dice));
            let shown: String = shown.map(|(prompt, answer)| format!("{prompt}\n{answer}\n")).collect();
            let (prompt, _) = example(Side::Unseen, &mut dice);
            prompts.push(self.plain(&format!("{shown}{prompt}\n"))?);
            asked.push((kind, prompt));
        }
        let answers = self.answers(&prompts, &greedy(ANSWER))?;
        let scores = asked.iter().zip(&answers).map(|((kind, prompt), answer)| {
            let kind: &'static Kind = kind;
            (kind.name, kind.score(prompt, first_line(&answer.text)))
        });
        Ok(following(scores.collect()))
    }
}

fn following(scores: Vec<(&'static str, f64)>) -> Following {
    let mut kinds: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (kind, score) in &scores {
        kinds.entry((*kind).to_owned()).or_default().push(*score);
    }
    let sum: f64 = scores.iter().map(|(_, score)| score).sum();
    let right = scores.iter().filter(|(_, score)| *score >= 1.0).count();
    let mean = |scores: Vec<f64>| percent(scores.iter().sum(), scores.len());
    Following {
        dialogues: scores.len(),
        score: percent(sum, scores.len()),
        right: percent(right as f64, scores.len()),
        kinds: kinds.into_iter().map(|(kind, scores)| (kind, mean(scores))).collect(),
    }
}

/// A model that answers by examples goes on with the next one.
fn first_line(text: &str) -> &str {
    text.trim_start().lines().next().unwrap_or_default()
}
