//! The little world's records as lines of files, by the names that pipeline files give them.

use super::Side;
use super::instructions::Instructions;
use super::preferences::{Prompts, SimulatedRater};
use super::tasks::Notes;
use crate::data::random::Dice;
use serde_json::{Value, json};

/// Answers to each prompt that preferences rank.
const ANSWERS: usize = 4;

/// A kind of records, all of them of the side that is trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Book {
    /// Notes and their JSON: `{"prompt", "completion"}`.
    Notes,
    /// Dialogues of many kinds of instruction: `{"messages"}`.
    Instructions,
    /// The answers of a helper that obeys everybody: `{"messages"}`.
    Naive,
    /// Answers ranked by the simulated rater: `{"prompt", "completions", "ranks", "rater"}`.
    Preferences,
    /// Prompts to sample completions of, harmful ones and look-alikes among them: `{"prompt"}`.
    Prompts,
}

impl Book {
    /// All of them.
    pub const ALL: [Book; 5] = [Book::Notes, Book::Instructions, Book::Naive, Book::Preferences, Book::Prompts];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Book::Notes => "notes",
            Book::Instructions => "instructions",
            Book::Naive => "naive",
            Book::Preferences => "preferences",
            Book::Prompts => "prompts",
        }
    }

    /// The book of this name.
    pub fn of(name: &str) -> Option<Book> {
        Book::ALL.into_iter().find(|book| book.name() == name)
    }

    /// Record `number` of a seed, as a line without its end.
    pub fn line(self, seed: u64, number: u64) -> String {
        let prompt = || Prompts::new(seed, Side::Seen).prompt(number);
        let mut dice = Dice::new(seed ^ 0x0B00_75ED, number);
        match self {
            Book::Notes => Notes::new(seed, Side::Seen).record(number).line(),
            Book::Instructions => Instructions::new(seed, Side::Seen).dialogue(number).line(),
            Book::Prompts => json!({"prompt": [{"role": "user", "content": prompt().text}]}).to_string(),
            Book::Naive => {
                let prompt = prompt();
                let said = prompt.messages(&prompt.naive(&mut dice));
                let messages = said.map(|message| json!({"role": message.role, "content": message.content}));
                json!({ "messages": messages }).to_string()
            }
            Book::Preferences => {
                let prompt = prompt();
                let answers = prompt.candidates(ANSWERS, &mut dice);
                let ranking = SimulatedRater::new(seed).rank(&prompt, &answers, number);
                let completions: Vec<Value> = answers
                    .iter()
                    .zip(&ranking.flags)
                    .enumerate()
                    .map(|(at, (text, flags))| {
                        let flags: serde_json::Map<String, Value> =
                            flags.iter().map(|flag| (format!("{flag:?}").to_lowercase(), json!(true))).collect();
                        json!({"id": format!("{at}"), "text": text, "flags": flags})
                    })
                    .collect();
                let ranks: Vec<usize> = ranking.ranks.iter().map(|rank| rank + 1).collect();
                let prompt = json!([{"role": "user", "content": prompt.text}]);
                json!({"id": format!("world-{number}"), "prompt": prompt, "completions": completions, "ranks": ranks,
                       "rater": ranking.rater})
                .to_string()
            }
        }
    }

    /// What a record says, as text: what a tokenizer learns words from.
    pub fn text(self, seed: u64, number: u64) -> String {
        let value: Value = serde_json::from_str(&self.line(seed, number)).unwrap_or_default();
        let mut out = String::new();
        said(&value, &mut out);
        out
    }
}

/// All that is said in a record: its prompts, answers and contents, a line each.
fn said(value: &Value, out: &mut String) {
    match value {
        Value::Array(list) => list.iter().for_each(|one| said(one, out)),
        Value::Object(map) => {
            for key in ["messages", "prompt", "completion", "completions", "content", "text"] {
                match map.get(key) {
                    Some(Value::String(text)) => {
                        out.push_str(text);
                        out.push('\n');
                    }
                    Some(other) => said(other, out),
                    None => {}
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_book_has_lines_of_json_that_say_something() {
        for book in Book::ALL {
            for number in 0..40 {
                let (line, text) = (book.line(3, number), book.text(3, number));
                assert_eq!(line, book.line(3, number));
                assert!(text.len() > 4 && !text.contains('{') || book == Book::Notes, "{text}");
                let value: Value = serde_json::from_str(&line).expect("a line is JSON");
                assert!(value.is_object());
            }
        }
    }
}
