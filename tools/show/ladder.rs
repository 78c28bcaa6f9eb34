//! The ladder's table: what the model of each stage has of each level, in a terminal, in the report and as JSON.

use super::svg::escape;
use pleach::runtime::fault::Fault;
use pleach::runtime::run::RunPlan;
use pleach::runtime::store::replace;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The file in a run's folder.
pub const FILE: &str = "ladder.json";

/// All of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ladder {
    /// Of this form.
    pub version: u32,
    /// Minutes that were asked for.
    pub minutes: f64,
    /// Key of the run's randomness.
    pub seed: u64,
    /// The stages in their order.
    pub stages: Vec<Column>,
    /// What was demanded, and what was reached.
    pub demands: Vec<Demand>,
    /// The prompts that each stage's model answers in `showcase`.
    pub prompts: Vec<String>,
}

/// A stage's model.
#[derive(Debug, Serialize, Deserialize)]
pub struct Column {
    /// The stage's kind.
    pub stage: String,
    /// How long the judgement took.
    pub judged_seconds: f64,
    /// The table's figures.
    pub figures: BTreeMap<String, f64>,
    /// Its answers to the ladder's prompts.
    pub showcase: Vec<String>,
    /// All that the judge said.
    pub card: serde_json::Value,
}

impl Column {
    /// A figure; not a number where it was not measured.
    pub fn get(&self, key: &str) -> f64 {
        self.figures.get(key).copied().unwrap_or(f64::NAN)
    }
}

/// What is demanded of a stage.
#[derive(Debug, Serialize, Deserialize)]
pub struct Demand {
    /// The stage's kind.
    pub stage: String,
    /// In words.
    pub wanted: String,
    /// In words too.
    pub reached: String,
    /// Was it reached?
    pub met: bool,
}

/// The rows: key, words, digits behind the point.
pub const ROWS: [(&str, &str, usize); 14] = [
    ("bits_per_byte", "general bits per byte", 4),
    ("cloze", "domain cloze, %", 1),
    ("notes", "notes to JSON, exact, %", 1),
    ("notes_by_examples", "  by examples, not tuned", 1),
    ("instructions", "instructions, unseen wordings, %", 1),
    ("instructions_by_examples", "  by examples, not tuned", 1),
    ("harmful", "harmful requests helped, %", 1),
    ("look_alikes", "look-alikes answered, %", 1),
    ("helped", "look-alikes helped rightly, %", 1),
    ("biased", "biased answers, %", 1),
    ("gold", "the world's gold score", 3),
    ("win_rate", "wins over the stage before, %", 1),
    ("kl", "KL from the stage before, a token", 3),
    ("kl_answer", "KL from the stage before, an answer", 2),
];

impl Ladder {
    /// What a run's folder holds, if it holds one that can be read.
    pub fn read(run: &Path) -> Option<Ladder> {
        let text = std::fs::read_to_string(run.join(FILE)).ok()?;
        serde_json::from_str(&text).ok().filter(|ladder: &Ladder| ladder.version == 1)
    }

    /// Puts it into a run's folder, whole at once.
    pub fn write(&self, run: &Path) -> Result<(), Fault> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        replace(&*RunPlan::disk(), &run.join(FILE), text.as_bytes())
    }

    /// The table's cells: a row's words, and a figure for each stage.
    fn rows(&self) -> Vec<(&'static str, Vec<String>)> {
        let cell = |column: &Column, key: &str, digits: usize| match column.figures.get(key) {
            Some(value) => format!("{value:.digits$}"),
            None => String::new(),
        };
        let row = |&(key, words, digits): &(&str, &'static str, usize)| {
            (words, self.stages.iter().map(|column| cell(column, key, digits)).collect::<Vec<_>>())
        };
        ROWS.iter().map(row).filter(|(_, cells)| cells.iter().any(|cell| !cell.is_empty())).collect()
    }

    /// For a terminal: the table, what was demanded, and what each model says.
    pub fn words(&self) -> String {
        let mut out = format!("\n{:36}", "after the stage");
        self.stages.iter().for_each(|column| out.push_str(&format!("{:>10}", column.stage)));
        for (words, cells) in self.rows() {
            out.push_str(&format!("\n{words:36}"));
            cells.iter().for_each(|cell| out.push_str(&format!("{cell:>10}")));
        }
        out.push_str("\n\nwhat was demanded\n");
        for demand in &self.demands {
            let mark = if demand.met { "reached    " } else { "NOT reached" };
            out.push_str(&format!("  {mark}  {}: {} ({})\n", demand.stage, demand.wanted, demand.reached));
        }
        for (at, prompt) in self.prompts.iter().enumerate() {
            out.push_str(&format!("\n{prompt}\n"));
            for column in &self.stages {
                let said = column.showcase.get(at).map_or("", |said| said.trim());
                out.push_str(&format!("  {:10} {}\n", column.stage, said.replace('\n', " / ")));
            }
        }
        out
    }

    /// For the report.
    pub fn html(&self) -> String {
        let line = |cells: &[String], tag: &str| {
            cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell.trim_end()))).collect::<String>()
        };
        let stages: Vec<String> = self.stages.iter().map(|column| column.stage.clone()).collect();
        let mut out =
            format!("<h2>After each stage</h2><table class=\"ladder\"><tr><th></th>{}</tr>", line(&stages, "th"));
        for (words, cells) in self.rows() {
            out.push_str(&format!("<tr><th>{}</th>{}</tr>", escape(words), line(&cells, "td")));
        }
        out.push_str("</table><h3>What was demanded</h3><table>");
        for demand in &self.demands {
            let mark = if demand.met { "reached" } else { "not reached" };
            let cells = [demand.stage.clone(), demand.wanted.clone(), demand.reached.clone(), mark.to_string()];
            out.push_str(&format!("<tr>{}</tr>", line(&cells, "td")));
        }
        out.push_str("</table><h3>The same prompts, answered after each stage</h3>");
        for (at, prompt) in self.prompts.iter().enumerate() {
            out.push_str(&format!("<p><b>{}</b></p><table class=\"samples\">", escape(prompt)));
            for column in &self.stages {
                let said = column.showcase.get(at).map_or("", |said| said.trim());
                out.push_str(&format!("<tr><th>{}</th><td>{}</td></tr>", escape(&column.stage), escape(said)));
            }
            out.push_str("</table>");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_comes_back_from_its_file_and_shows_what_was_measured() {
        let place = tempfile::tempdir().expect("a place");
        let column = |stage: &str, key: &str| Column {
            stage: stage.into(),
            judged_seconds: 1.0,
            figures: BTreeMap::from([(key.to_string(), 12.25)]),
            showcase: vec!["<b>It is\nso.".into()],
            card: serde_json::Value::Null,
        };
        let demand = Demand { stage: "dpo".into(), wanted: "more".into(), reached: "less".into(), met: false };
        let stages = vec![column("pretrain", "cloze"), column("dpo", "gold")];
        let ladder =
            Ladder { version: 1, minutes: 1.0, seed: 1, stages, demands: vec![demand], prompts: vec!["Is it?".into()] };
        assert!(Ladder::read(place.path()).is_none());
        ladder.write(place.path()).expect("it is written");
        let ladder = Ladder::read(place.path()).expect("it is read");
        let words = ladder.words();
        assert!(words.contains("domain cloze, %") && words.contains("12.2") && words.contains("12.250"), "{words}");
        assert!(words.contains("NOT reached") && words.contains("<b>It is / so."), "{words}");
        assert!(!words.contains("bits per byte"), "what nobody measured has no row: {words}");
        let html = ladder.html();
        assert!(html.contains("&lt;b&gt;It is") && html.contains("not reached"), "{html}");
    }
}
