//! What came out, for a parser and for a person.

use crate::show::samples::plain;
use pleach::evaluate::Sum;
use pleach::metrics::Interval;
use serde_json::{Map, Value, json};

/// Figures under their names.
#[derive(Default)]
pub(super) struct Report {
    json: Map<String, Value>,
    lines: Vec<String>,
}

impl Report {
    /// A figure for a parser only.
    pub(super) fn value(&mut self, name: &str, value: impl Into<Value>) {
        self.json.insert(name.to_owned(), value.into());
    }

    /// A line for a person only.
    pub(super) fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    /// Records that were measured, and how many were left out for their length.
    pub(super) fn records(&mut self, what: &str, records: u64, left_out: u64) {
        self.value("records", records);
        self.value("left_out", left_out);
        let out = if left_out == 0 { String::new() } else { format!(", {left_out} left out: they do not fit") };
        self.line(format!("{records} {what}{out}"));
    }

    /// Loss, tokens, perplexity and bits per byte.
    pub(super) fn loss(&mut self, all: &Sum) {
        let loss = -all.mean();
        self.value("loss", loss);
        self.value("tokens", all.tokens);
        self.value("perplexity", loss.exp());
        self.value("bits_per_byte", all.bits_per_byte());
        self.line(format!("loss {loss:.4} nats per token over {} tokens", all.tokens));
        self.line(format!("perplexity {:.3}, {:.4} bits per byte", loss.exp(), all.bits_per_byte()));
    }

    /// A share with its interval.
    pub(super) fn share(&mut self, name: &str, found: Interval) {
        self.value(name, json!(found));
        self.line(format!(
            "{name} {:.4} (95 % interval {:.4} to {:.4}; {} in {} prompts)",
            found.mean, found.low, found.high, found.count, found.clusters
        ));
    }

    /// An answer beside its reference.
    pub(super) fn sample(&mut self, prompt: &str, answer: &str, reference: &str) {
        let list = self.json.entry("samples").or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!({"prompt": prompt, "answer": answer, "reference": reference}));
        }
        self.lines.push(format!(
            "\nprompt    {}\nanswer    {}\nreference {}",
            plain(prompt),
            plain(answer),
            plain(reference)
        ));
    }

    /// Prints it.
    pub(super) fn print(self, as_json: bool) {
        if as_json {
            println!("{}", Value::Object(self.json));
        } else {
            self.lines.iter().for_each(|line| println!("{line}"));
        }
    }
}
