//! The walk over all origins: read, looked at, encoded, kept.

use super::encode::{Chat, Made};
use super::{Choices, Example, Kind, Loaded, Origin, divide};
use crate::data::inspect::Inspector;
use crate::data::mask::Tally;
use crate::data::records::{Place, ReadOptions, Reading, Record, Shape, read};
use crate::data::source;
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use std::collections::BTreeMap;
use std::path::Path;

/// Ids that are held in memory at most: 5 bytes each.
const MOST_IDS: u64 = 1 << 29;

/// A survey under way.
pub(super) struct Work<'a, 'b> {
    choices: &'b Choices<'a>,
    chat: Option<Chat<'a>>,
    inspector: Inspector<'a>,
    train: Vec<Example>,
    validation: Vec<Example>,
    held: Tally,
    tied: u64,
    ids: u64,
    records: u64,
}

impl<'a, 'b> Work<'a, 'b> {
    pub(super) fn new(choices: &'b Choices<'a>) -> Result<Work<'a, 'b>, Refusal> {
        if !(0.0..1.0).contains(&choices.share) {
            let detail = format!("a share of {} of the prompts", choices.share);
            return Err(Refusal::new("the validation cannot be held back", detail, "give a share from 0 to below 1"));
        }
        let chat = choices.tokenizer.map(|tokenizer| Chat::new(choices, tokenizer)).transpose()?;
        let inspector = Inspector::new(choices.tokenizer, choices.limits.clone(), choices.samples);
        let (train, validation, held) = (Vec::new(), Vec::new(), Tally::default());
        Ok(Work { choices, chat, inspector, train, validation, held, tied: 0, ids: 0, records: 0 })
    }

    /// Reads what is trained on.
    pub(super) fn train(&mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<(), Fault> {
        let choices = self.choices;
        let enough = |records: u64| choices.most.is_some_and(|most| records >= most);
        let outcome = each(choices, &choices.train, &mut |name, reading, record| {
            if let Some(reading) = reading {
                self.inspector.file(name, reading);
            }
            let Some((place, record)) = record else { return Ok(()) };
            if enough(self.records) {
                return Err(Fault::new(FaultKind::Stopped, "as many records as were wanted"));
            }
            self.asked(go_on)?;
            let place = spot(name, &place);
            self.inspector.record(&place, &record);
            match self.made(&place, record)? {
                Some(Made::Example(mut example)) => {
                    let answers = std::mem::take(&mut example.answers);
                    if let Some(answers) = self.inspector.encoded(&place, answers) {
                        self.keep(Example { answers, ..example }, true)?;
                    }
                }
                Some(Made::Unmasked(tokens)) => self.inspector.unmasked(tokens),
                None => {}
            }
            Ok(())
        });
        match outcome {
            Err(fault) if fault.kind == FaultKind::Stopped && enough(self.records) => Ok(()),
            other => other,
        }
    }

    /// Reads what is only measured, where it was named.
    pub(super) fn validation(&mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<(), Fault> {
        let choices = self.choices;
        each(choices, &choices.validation, &mut |name, _, record| {
            let Some((place, record)) = record else { return Ok(()) };
            self.asked(go_on)?;
            let place = spot(name, &place);
            self.inspector.evaluation(&place, &record);
            if let Some(Made::Example(mut example)) = self.made(&place, record)? {
                let answers = std::mem::take(&mut example.answers);
                if let Some(answers) = self.held.take_all(answers, &choices.limits) {
                    self.keep(Example { answers, ..example }, false)?;
                }
            }
            Ok(())
        })
    }

    /// Divides, and says what a person should know.
    pub(super) fn finish(self) -> Result<Loaded, Fault> {
        let (choices, mut notes) = (self.choices, Vec::new());
        let figures = self.inspector.finish();
        let (mut train, mut validation) = (self.train, self.validation);
        if choices.validation.is_empty() && choices.kind != Kind::Any {
            (train, validation) = divide(train, choices.share, choices.seed);
            if choices.share > 0.0 {
                notes.push(held_back(&train, &validation));
            }
        }
        if self.tied > 0 {
            notes.push(format!("{} rankings are all ties: they say nothing and are left out", self.tied));
        }
        let template = self.chat.and_then(Chat::into_template);
        if let Some(template) = &template {
            notes.push(format!("chat template: {}", template.origin()));
        }
        if let Some(overlap) = figures.overlap.as_ref().filter(|overlap| overlap.same + overlap.near > 0) {
            notes.push(format!(
                "of {} validation records {} have a prompt of the training set, and {} nearly one",
                overlap.records, overlap.same, overlap.near
            ));
        }
        Ok(Loaded { train, validation, figures, held: self.held, template, notes })
    }

    fn asked(&mut self, go_on: &mut dyn FnMut(u64) -> bool) -> Result<(), Fault> {
        let go = go_on(self.records);
        self.records += 1;
        if go { Ok(()) } else { Err(Fault::new(FaultKind::Stopped, "told to stop while the records were read")) }
    }

    /// A record's ids, its place said where it is refused.
    fn made(&mut self, place: &str, record: Record) -> Result<Option<Made>, Refusal> {
        let Some(chat) = &mut self.chat else { return Ok(None) };
        let prompt = key(&record);
        let made = chat.record(record, prompt, self.choices);
        made.map(Some).map_err(|refusal| Refusal { detail: format!("{place}: {}", refusal.detail), ..refusal })
    }

    fn keep(&mut self, example: Example, train: bool) -> Result<(), Refusal> {
        if self.choices.kind == Kind::Any {
            return Ok(());
        }
        if self.choices.kind == Kind::Preferences && example.pairs().is_empty() {
            self.tied += 1;
            return Ok(());
        }
        self.ids += example.answers.iter().map(|one| one.ids.len() as u64).sum::<u64>();
        if self.ids > MOST_IDS {
            let detail = format!("more than {MOST_IDS} tokens; the records of a stage are held in memory");
            return Err(Refusal::new("there is too much to learn from", detail, "name fewer files"));
        }
        if train {
            self.train.push(example)
        } else {
            self.validation.push(example)
        }
        Ok(())
    }
}

/// What is told of an origin: a record with its place, or at a file's end what was read.
type Each<'a> = dyn FnMut(&str, Option<Reading>, Option<(Place, Record)>) -> Result<(), Fault> + 'a;

fn each(choices: &Choices, origins: &[Origin], sink: &mut Each) -> Result<(), Fault> {
    for origin in origins {
        match origin {
            Origin::Path(path) => {
                for file in source::files(path, &choices.root)? {
                    let name = file.strip_prefix(&choices.root).unwrap_or(&file).display().to_string();
                    let reading =
                        read(&file, &choices.read, &mut |place, it| sink(&name, None, Some((place.clone(), it))))?;
                    sink(&name, Some(reading), None)?;
                }
            }
            Origin::Lines { name, lines } => {
                let reading = in_memory(name, lines, &mut |place, it| sink(name, None, Some((place, it))))?;
                sink(name, Some(reading), None)?;
            }
        }
    }
    Ok(())
}

/// Reads all records of some origins, whatever their shape, in order.
///
/// # Errors
/// A refusal for the first record that does not fit; what `sink` answers.
pub fn visit(origins: &[Origin], root: &Path, sink: &mut dyn FnMut(Record) -> Result<(), Fault>) -> Result<(), Fault> {
    let options = ReadOptions::default();
    for origin in origins {
        match origin {
            Origin::Path(path) => {
                for file in source::files(path, root)? {
                    read(&file, &options, &mut |_, record| sink(record))?;
                }
            }
            Origin::Lines { name, lines } => drop(in_memory(name, lines, &mut |_, record| sink(record))?),
        }
    }
    Ok(())
}

/// Records in memory: what [`read`] does with a file.
fn in_memory(
    name: &str,
    lines: &[String],
    sink: &mut dyn FnMut(Place, Record) -> Result<(), Fault>,
) -> Result<Reading, Fault> {
    let refuse = |detail: String| {
        let hint = "each record is one JSON object, all of one shape";
        Refusal::new(format!("could not read the records of {name}"), detail, hint)
    };
    let mut found = None;
    for (index, line) in lines.iter().enumerate() {
        let place = Place { words: format!("record {}", index + 1), number: index as u64 + 1 };
        let map: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|error| refuse(format!("{}: {error}", place.words)))?;
        let shape = Shape::of(&map).ok_or_else(|| refuse(format!("{} is of no known shape", place.words)))?;
        let (known, _) = found.get_or_insert_with(|| (shape, shape.reason(&map)));
        if *known != shape {
            let detail = format!("{} is {}, the first one is {}", place.words, shape.name(), known.name());
            return Err(refuse(detail).into());
        }
        for record in shape.records(&map).map_err(|wrong| refuse(format!("{}, {wrong}", place.words)))? {
            sink(place.clone(), record)?;
        }
    }
    let (shape, reason) = found.ok_or_else(|| refuse("there are none".into()))?;
    Ok(Reading { shape, reason, records: lines.len() as u64, unused: BTreeMap::new() })
}

fn spot(name: &str, place: &Place) -> String {
    format!("{name}, {}", place.words)
}

/// The key of a record's prompt: of what is given, without regard to blanks and capitals; a text's is all of it.
pub fn key(record: &Record) -> u64 {
    let given = record.given();
    let words = if given.trim().is_empty() { record.words() } else { given };
    let words: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
    let hash = blake3::hash(words.join(" ").as_bytes());
    u64::from_le_bytes(std::array::from_fn(|at| hash.as_bytes()[at]))
}

fn held_back(train: &[Example], validation: &[Example]) -> String {
    let count = |all: &[Example]| all.iter().map(|one| one.prompt).collect::<std::collections::HashSet<_>>().len();
    match validation.len() {
        0 => "there are too few prompts to hold one back: nothing is validated".into(),
        records => format!(
            "{} of {} prompts are held back for validation: {records} of {} records",
            count(validation),
            count(train) + count(validation),
            train.len() + records
        ),
    }
}
