//! By log-likelihood: bits per byte of texts, and a cloze among alternatives.

use super::{Judge, percent};
use crate::data::world::manuals::{Cloze, Manuals};
use pleach_runtime::engine::layout::POLICY;
use pleach_runtime::fault::Fault;
use serde::Serialize;

/// How well a model predicts texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Text {
    /// Mean nats of a predicted token.
    pub loss: f64,
    /// Bits for each byte of the predicted tokens.
    pub bits_per_byte: f64,
    /// Predicted tokens.
    pub tokens: usize,
}

/// How often the right end of a domain's sentence is the likeliest; chance is a quarter.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClozeReport {
    /// Questions.
    pub questions: usize,
    /// Right ones, in percent.
    pub right: f64,
    /// The same of wordings that the manuals use.
    pub told: f64,
    /// The same of wordings that only the cloze has.
    pub reworded: f64,
}

/// What stands before a question of the cloze: a page's title, so that the sentence is not a text's first.
const TITLE: &str = "This manual is for every gardener.";

impl Judge<'_> {
    /// Bits per byte of texts, each a document of its own. Longer ones are read in windows that overlap by one token,
    /// so that each token but the first is predicted once.
    ///
    /// # Errors
    /// Faults of the device.
    pub fn text(&mut self, texts: &[String]) -> Result<Text, Fault> {
        let (context, lengths) = (self.context(), self.tokenizer.byte_lengths());
        let mut rows = Vec::new();
        for text in texts {
            let mut ids = self.tokenizer.prefix().to_vec();
            ids.extend(self.tokenizer.encode(text)?);
            ids.extend(self.tokenizer.document_end());
            let starts = (0..ids.len().saturating_sub(1)).step_by(context);
            rows.extend(starts.map(|from| ids[from..(from + context + 1).min(ids.len())].to_vec()));
        }
        let numbers = self.numbers(POLICY, &rows)?;
        let (mut nats, mut tokens, mut bytes) = (0.0, 0, 0u64);
        for (ids, numbers) in rows.iter().zip(numbers) {
            nats -= numbers.iter().map(|number| f64::from(number[0])).sum::<f64>();
            bytes += ids[1..].iter().map(|&id| u64::from(lengths[id as usize])).sum::<u64>();
            tokens += numbers.len();
        }
        let bits_per_byte = nats / std::f64::consts::LN_2 / bytes.max(1) as f64;
        Ok(Text { loss: nats / tokens.max(1) as f64, bits_per_byte, tokens })
    }

    /// The cloze over a domain's facts: of each question's four ends the model takes the one with the highest
    /// log-likelihood a byte.
    ///
    /// # Errors
    /// Faults of the device.
    pub fn cloze(&mut self, manuals: &Manuals, count: usize) -> Result<ClozeReport, Fault> {
        let questions = manuals.cloze(count);
        let mut texts = Vec::with_capacity(4 * questions.len());
        let mut ends = Vec::with_capacity(4 * questions.len());
        for question in &questions {
            let before = self.plain(&format!("{TITLE} {}", question.prompt))?;
            for end in std::iter::once(&question.answer).chain(&question.wrong) {
                let after = self.tokenizer.encode(end)?;
                ends.push((after.len(), end.len()));
                texts.push(before.iter().copied().chain(after).collect());
            }
        }
        let numbers = self.numbers(POLICY, &texts)?;
        let likelihoods: Vec<f64> = numbers
            .iter()
            .zip(ends)
            .map(|(numbers, (tokens, bytes))| {
                let of_end = &numbers[numbers.len() - tokens..];
                of_end.iter().map(|number| f64::from(number[0])).sum::<f64>() / bytes as f64
            })
            .collect();
        let right: Vec<bool> =
            likelihoods.chunks_exact(4).map(|four| four[1..].iter().all(|wrong| *wrong < four[0])).collect();
        let share = |wanted: &dyn Fn(&Cloze) -> bool| {
            let of: Vec<bool> = questions
                .iter()
                .zip(&right)
                .filter(|(question, _)| wanted(question))
                .map(|(_, right)| *right)
                .collect();
            percent(of.iter().filter(|right| **right).count() as f64, of.len())
        };
        Ok(ClozeReport {
            questions: questions.len(),
            right: share(&|_| true),
            told: share(&|question| question.told),
            reworded: share(&|question| !question.told),
        })
    }
}
