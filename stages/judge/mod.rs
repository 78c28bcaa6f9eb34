//! The judge of the ladder: what a model has of each level of the little world, by what no stage has trained on.
//!
//! - [`text`]: bits per byte of stories, and a cloze over the manuals' facts, by log-likelihood;
//! - [`tasks`]: notes to JSON and instructions in unseen wordings, by greedy answers, and few-shot for comparison;
//! - [`preferences`]: answers to prompts of preference, sampled: gold score, harm, look-alikes, bias, wins, KL;
//! - [`Card`]: all figures of a model, a column of the ladder's table.
//!
//! Whoever asks opens an engine whose first role both evaluates and generates ([`role`], [`shapes`]). All answers are
//! generated many at a time; a whole [`Card`] of a small model takes seconds. The same weights and numbers give the
//! same figures on the same machine.

mod card;
pub mod preferences;
pub mod tasks;
#[cfg(test)]
mod tests;
pub mod text;

pub use card::{Card, Counts, SHOWCASE};

use crate::data::Tokenizer;
use crate::data::mask::{ChatEncoder, Turns};
use crate::data::records::{Message, Role as Speaker, Said};
use crate::data::template::Template;
use crate::data::world::instructions;
use pleach_runtime::engine::Engine;
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::engine::layout::{Role, RoleId, Shapes};
use pleach_runtime::fault::{Fault, FaultKind};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::stage::{Numbers, Row, Window};

/// Sequences that are continued at once.
const STREAMS: usize = 32;

/// The seed of all that the judge draws; the split of the world keeps it from training, whatever the seeds there.
pub const SEED: u64 = 0x1D6E;

/// The role of a model that is judged alone: it says its numbers, and it answers.
pub fn role(config: &ModelConfig) -> Role {
    Role { evaluates: true, ..Role::generator(config) }
}

/// The shapes that a judged model is laid out for.
pub fn shapes(config: &ModelConfig) -> Shapes {
    Shapes::inference(config, (4096 / config.context).clamp(1, 64), STREAMS)
}

/// A model under judgement.
pub struct Judge<'a> {
    engine: &'a mut Engine,
    tokenizer: &'a Tokenizer,
    template: &'a Template,
}

impl<'a> Judge<'a> {
    /// A judge of the engine's first role.
    pub fn new(engine: &'a mut Engine, tokenizer: &'a Tokenizer, template: &'a Template) -> Judge<'a> {
        Judge { engine, tokenizer, template }
    }

    /// Tokens of the longest row.
    fn context(&self) -> usize {
        self.engine.layout().shapes.context
    }

    fn encoder(&self) -> ChatEncoder<'a> {
        ChatEncoder::new(self.tokenizer, self.template, Turns::All)
    }

    /// The ids of a conversation up to where the model answers.
    fn conversation(&self, messages: &[instructions::Message]) -> Result<Vec<u32>, Fault> {
        let speaker = |name: &str| Speaker::ALL.into_iter().find(|role| role.name() == name);
        let message = |message: &instructions::Message| {
            let unknown = || Fault::new(FaultKind::Refused, format!("nobody speaks as {:?}", message.role));
            Ok(Message::new(speaker(message.role).ok_or_else(unknown)?, message.content.clone()))
        };
        let messages: Vec<Message> = messages.iter().map(message).collect::<Result<_, Fault>>()?;
        Ok(self.encoder().prompt(&Said::Messages(messages), None)?)
    }

    /// The ids of a plain text that the model goes on from.
    fn plain(&self, text: &str) -> Result<Vec<u32>, Fault> {
        Ok(self.encoder().prompt(&Said::Text(text.to_owned()), None)?)
    }

    /// What the model says after each prompt, as ids and as text. What leaves no room for an answer gets an empty one.
    fn answers(&mut self, prompts: &[Vec<u32>], sampling: &Sampling) -> Result<Vec<Answer>, Fault> {
        let (room, stops) = (self.engine.layout().shapes.sequence, self.encoder().stops());
        let fitting: Vec<usize> = (0..prompts.len()).filter(|&at| prompts[at].len() < room).collect();
        let asked: Vec<Vec<u32>> = fitting.iter().map(|&at| prompts[at].clone()).collect();
        let generated = self.engine.generate(&asked, sampling, &stops, &mut |_, _| true)?;
        let mut out: Vec<Answer> = vec![Answer::default(); prompts.len()];
        for (at, said) in fitting.into_iter().zip(generated) {
            out[at] = Answer { text: self.tokenizer.decode(&said.tokens), ids: said.tokens };
        }
        Ok(out)
    }

    /// The head's numbers of texts, each a row by itself.
    fn numbers(&mut self, role: RoleId, texts: &[Vec<u32>]) -> Result<Vec<Numbers>, Fault> {
        let row = |(key, ids): (usize, &Vec<u32>)| {
            let length = ids.len() - 1;
            Row { tokens: ids.clone(), weights: vec![1.0; length], segments: vec![0; length], key: key as u64 }
        };
        let window = Window::new(self.context(), texts.iter().enumerate().map(row).collect());
        let numbers = self.engine.evaluate(role, &window)?;
        Ok(window.places().into_iter().map(|place| numbers[place].to_vec()).collect())
    }
}

/// What a model said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// As text.
    pub text: String,
    /// As ids, without the end mark.
    pub ids: Vec<u32>,
}

/// Greedy answers of at most so many tokens.
fn greedy(max_tokens: usize) -> Sampling {
    Sampling { temperature: 0.0, max_tokens, ..Sampling::default() }
}

/// A share in percent; 0 of nothing.
fn percent(count: f64, of: usize) -> f64 {
    // An empty sum is -0.
    100.0 * (count + 0.0) / of.max(1) as f64
}
