//! A conversation with its history, rendered by a chat template.

use crate::commands::words;
use pleach::data::mask::{ChatEncoder, Turns};
use pleach::data::records::{Message, Role, Said};
use pleach::data::template::Template;
use pleach::model::Model;
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::generation::Sampling;
use pleach::runtime::fault::Refusal;
use std::io::Write;

/// The turns so far.
pub(super) struct Dialogue {
    template: Template,
    system: Option<Message>,
    turns: Vec<Message>,
}

impl Dialogue {
    /// Before the first turn.
    pub(super) fn new(template: Template, system: Option<&str>) -> Dialogue {
        let system = system.map(|words| Message::new(Role::System, words));
        Dialogue { template, system, turns: Vec::new() }
    }

    /// Answers what was asked. A question that cannot be answered is no part of the history.
    pub(super) fn answer(
        &mut self,
        model: &Model,
        engine: &mut Engine,
        text: &str,
        sampling: &Sampling,
        json: bool,
    ) -> Result<(), Refusal> {
        self.turns.push(Message::new(Role::User, text));
        let outcome = self.say(model, engine, text, sampling, json);
        match &outcome {
            Ok(answer) => self.turns.push(Message::new(Role::Assistant, answer.as_str())),
            Err(_) => {
                self.turns.pop();
            }
        }
        outcome.map(|_| ())
    }

    fn say(
        &mut self,
        model: &Model,
        engine: &mut Engine,
        text: &str,
        sampling: &Sampling,
        json: bool,
    ) -> Result<String, Refusal> {
        let prompt = self.prompt(model, engine.layout().shapes.sequence, sampling.max_tokens)?;
        let stops = ChatEncoder::new(&model.tokenizer, &self.template, Turns::Last).stops();
        let mut stream = model.tokenizer.stream();
        let mut said = String::new();
        let mut say = |part: String| {
            if !json {
                print!("{part}");
                // A closed pipe ends the loop at the next read.
                let _ = std::io::stdout().flush();
            }
            said.push_str(&part);
        };
        let out = engine.generate(&[prompt], sampling, &stops, &mut |_, token| {
            say(stream.push(token));
            true
        });
        let out = out.map_err(words)?;
        say(stream.finish());
        if json {
            println!("{}", serde_json::json!({"prompt": text, "text": said, "token_ids": out[0].tokens}));
        } else {
            println!();
        }
        Ok(said.trim().to_owned())
    }

    /// The ids of the history; the oldest turns are forgotten where they leave no room for an answer.
    fn prompt(&mut self, model: &Model, room: usize, answer: usize) -> Result<Vec<u32>, Refusal> {
        let encoder = ChatEncoder::new(&model.tokenizer, &self.template, Turns::Last);
        let mut forgotten = 0;
        loop {
            let messages = self.system.iter().chain(&self.turns[forgotten..]).cloned().collect();
            let prompt = encoder.prompt(&Said::Messages(messages), None)?;
            let fits = prompt.len().saturating_add(answer) <= room;
            if !fits && forgotten + 2 < self.turns.len() {
                // A question and its answer.
                forgotten += 2;
                continue;
            }
            if forgotten > 0 {
                eprintln!("the first {} turns are forgotten: the context is full", forgotten / 2);
                self.turns.drain(..forgotten);
            }
            return Ok(prompt);
        }
    }
}
