//! Files of items to rank, and rankings made elsewhere.

use crate::data::records::{Place, Ranked, ReadOptions, Record, Role, Said, Shape, Unpaired, read};
use crate::ranking::item::{Answer, COMPLETIONS, Completion, Item};
use crate::ranking::store::{Incoming, Store};
use pleach_runtime::fault::{Fault, Refusal};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What an import brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Records of the file.
    pub records: u64,
    /// Items that the store did not have.
    pub items: u64,
    /// Rankings that were added.
    pub rankings: u64,
    /// What was not taken over, in words.
    pub notes: Vec<String>,
}

/// The items of a file: records of `prompt` and `completions`, each completion a text or `{"id", "text" or "message",
/// "origin"?}`; `id` where an item has a name.
///
/// # Errors
/// A refusal with file, line and field for what is no item.
pub fn items(path: &Path) -> Result<Vec<Item>, Fault> {
    let options = ReadOptions { shape: Some(Shape::Prompt), columns: Vec::new() };
    let mut out: Vec<Item> = Vec::new();
    let mut lines: HashMap<String, String> = HashMap::new();
    read(path, &options, &mut |place, record| {
        let Record::Prompt(it) = record else { unreachable!("the shape was given") };
        let mut map = it.columns;
        map.insert("prompt".into(), it.prompt.to_value());
        // A ranking without an order: the same fields, and all of them equal.
        let count = map.get("completions").and_then(Value::as_array).map_or(0, Vec::len);
        map.insert("ranks".into(), json!(vec![1; count]));
        let hint = "write {\"prompt\": ..., \"completions\": [{\"id\": ..., \"text\": ...}, ...]} on each line";
        let wrong = |wrong: String| refuse("items", path, place, wrong, hint);
        let mut ranked = Shape::Ranking.records(&map).map_err(|found| wrong(found.to_string()))?;
        let Some(Record::Ranked(ranked)) = ranked.pop() else { unreachable!("a ranking is one record") };
        let item = item_of(&ranked);
        item.check().map_err(|refusal| wrong(refusal.detail))?;
        if let Some(line) = lines.insert(item.id.clone(), place.words.clone()) {
            return Err(wrong(format!("field id: {:?} is the item of {line} already", item.id)));
        }
        out.push(item);
        Ok(())
    })?;
    Ok(out)
}

/// An item without its ranking. Where it has no name, its content names it.
fn item_of(it: &Ranked) -> Item {
    let completion = |one: &crate::data::records::Answer| Completion {
        id: one.id.clone(),
        said: one.said.clone(),
        origin: one.origin.clone(),
    };
    let completions: Vec<Completion> = it.completions.iter().map(completion).collect();
    let id = it.id.clone().unwrap_or_else(|| name_of(&it.prompt, &completions));
    Item { id, prompt: it.prompt.clone(), completions }
}

/// The hash of what an item says.
fn name_of(prompt: &Said, completions: &[Completion]) -> String {
    let texts = std::iter::once(prompt).chain(completions.iter().map(|one| &one.said));
    let texts: Vec<String> = texts.map(|said| said.to_value().to_string()).collect();
    blake3::hash(texts.join("\n").as_bytes()).to_hex()[..16].to_owned()
}

fn refuse(what: &str, path: &Path, place: &Place, why: String, hint: &str) -> Fault {
    let what = format!("could not read the {what} of {}", path.display());
    Refusal::new(what, format!("{}: {why}", place.words), hint).into()
}

/// What an import has seen so far.
struct Work<'a> {
    path: &'a Path,
    rater: String,
    incoming: Vec<Incoming>,
    unknown: BTreeMap<String, u64>,
    /// Judged single answers by their prompt, in the order of the prompts.
    judged: Vec<(Said, Vec<(Said, bool)>)>,
    places: HashMap<String, usize>,
    notes: Vec<String>,
}

/// Adds the rankings of a file to a store, all or none: K-wise records, pairs, judged single answers, Label Studio,
/// Argilla, OpenAssistant trees, Nectar. The shape is detected. Whoever has no name there is called "imported from FILE".
///
/// # Errors
/// A refusal with file, line and field for what does not fit (an unknown id, a hole in the ranks); a fault of the disk.
pub fn import(store: &mut Store, path: &Path) -> Result<Imported, Fault> {
    let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut work = Work {
        path,
        rater: format!("imported from {file}"),
        incoming: Vec::new(),
        unknown: BTreeMap::new(),
        judged: Vec::new(),
        places: HashMap::new(),
        notes: Vec::new(),
    };
    let reading = read(path, &ReadOptions::default(), &mut |place, record| work.take(store, place, record))?;
    work.take_judged()?;
    if work.incoming.is_empty() {
        let what = format!("could not import {}", path.display());
        let detail = format!("none of its {} records ({}) is a ranking", reading.records, reading.shape.name());
        let hint = work.notes.pop().unwrap_or_else(|| "name a file of rankings or pairs".into());
        return Err(Refusal::new(what, detail, hint).into());
    }
    let items = store.take_rankings(path, &work.incoming)?;
    for (name, count) in &work.unknown {
        work.notes.push(format!("the flag {name:?} is none of this store's: left out {count} times"));
    }
    for (name, count) in &reading.unused {
        work.notes.push(format!("the key {name:?} is not used: {count} records have it"));
    }
    Ok(Imported { records: reading.records, items, rankings: work.incoming.len() as u64, notes: work.notes })
}

impl Work<'_> {
    fn take(&mut self, store: &Store, place: &Place, record: Record) -> Result<(), Fault> {
        match record {
            Record::Ranked(it) => self.ranked(store, place, &it),
            Record::Pair(it) => {
                let one = |id: &str, said| Completion { id: id.into(), said, origin: Value::Null };
                let completions = vec![one("chosen", it.chosen), one("rejected", it.rejected)];
                let id = name_of(&it.prompt, &completions);
                let answer =
                    Answer { order: vec![vec!["chosen".into()], vec!["rejected".into()]], ..Answer::default() };
                let item = Item { id, prompt: it.prompt, completions };
                self.push(place, item, self.rater.clone(), Vec::new(), answer)
            }
            Record::Unpaired(Unpaired { prompt, completion, label }) => {
                let key = prompt.to_value().to_string();
                let next = self.judged.len();
                let index = *self.places.entry(key).or_insert(next);
                if index == next {
                    self.judged.push((prompt, Vec::new()));
                }
                self.judged[index].1.push((completion, label));
                Ok(())
            }
            _ => {
                let hint = "name a file of rankings, pairs or judged answers; `--file` takes items without an order";
                Err(refuse("rankings", self.path, place, "it is no ranking".into(), hint))
            }
        }
    }

    fn ranked(&mut self, store: &Store, place: &Place, it: &Ranked) -> Result<(), Fault> {
        let flags = &store.options().flags;
        let mut unknown = Vec::new();
        let mut named = |given: &Map<String, Value>| {
            let (known, others) = flags.named(given);
            unknown.extend(others);
            known
        };
        let mut answer = Answer {
            comment: it.comment.clone().unwrap_or_default(),
            item_flags: named(&it.flags),
            better: it.better.clone().unwrap_or_default(),
            seconds: it.seconds.unwrap_or(0.0).max(0.0),
            ..Answer::default()
        };
        let id = |index: usize| it.completions[index].id.clone();
        answer.order = it.groups().into_iter().map(|group| group.into_iter().map(id).collect()).collect();
        for one in &it.completions {
            let names = named(&one.flags);
            if !names.is_empty() {
                answer.flags.insert(one.id.clone(), names);
            }
            if let Some(comment) = &one.comment {
                answer.comments.insert(one.id.clone(), comment.clone());
            }
        }
        for name in unknown {
            *self.unknown.entry(name).or_insert(0) += 1;
        }
        let shown = it.shown_order.iter().map(|&index| id(index)).collect();
        let rater = it.rater.clone().unwrap_or_else(|| self.rater.clone());
        let item = item_of(it);
        answer.check(&item, flags, true).map_err(|refusal| {
            refuse("rankings", self.path, place, refusal.detail, "mend the record, or leave it out")
        })?;
        self.push(place, item, rater, shown, answer)
    }

    fn push(
        &mut self,
        place: &Place,
        item: Item,
        rater: String,
        shown: Vec<String>,
        answer: Answer,
    ) -> Result<(), Fault> {
        let checked = item.check().map_err(|refusal| refusal.detail);
        let named = checked
            .and_then(|()| crate::ranking::item::check_name("rater's name", &rater).map_err(|refusal| refusal.detail));
        named.map_err(|why| refuse("rankings", self.path, place, why, "mend the record, or leave it out"))?;
        let shown = if shown.is_empty() { item.ids().into_iter().map(str::to_owned).collect() } else { shown };
        self.incoming.push(Incoming { place: place.words.clone(), item, rater, shown, answer });
        Ok(())
    }

    /// Judged single answers: those of one prompt are an item, the good ones before the bad ones.
    fn take_judged(&mut self) -> Result<(), Fault> {
        let (mut single, mut cut) = (0, 0);
        for (prompt, mut answers) in std::mem::take(&mut self.judged) {
            if answers.len() < *COMPLETIONS.start() {
                single += 1;
                continue;
            }
            cut += u64::from(answers.len() > *COMPLETIONS.end());
            answers.truncate(*COMPLETIONS.end());
            let id = |index: usize| index.to_string();
            let of = |wanted: bool| -> Vec<String> {
                let all = answers.iter().enumerate().filter(|(_, (_, label))| *label == wanted);
                all.map(|(index, _)| id(index)).collect()
            };
            let order: Vec<Vec<String>> = [of(true), of(false)].into_iter().filter(|group| !group.is_empty()).collect();
            let completions: Vec<Completion> = answers
                .iter()
                .enumerate()
                .map(|(index, (said, _))| Completion { id: id(index), said: said.clone(), origin: Value::Null })
                .collect();
            let item = Item { id: name_of(&prompt, &completions), prompt, completions };
            let place = Place { words: "the answers to one prompt".into(), number: 0 };
            self.push(&place, item, self.rater.clone(), Vec::new(), Answer { order, ..Answer::default() })?;
        }
        if single > 0 {
            self.notes.push(format!("{single} prompts have one judged answer only, which has no order: left out"));
        }
        if cut > 0 {
            self.notes.push(format!("{cut} prompts have more than 9 judged answers: their first 9 were taken"));
        }
        Ok(())
    }
}

/// The messages of a prompt; a text is the user's.
pub(super) fn turns(prompt: &Said) -> Vec<crate::data::records::Message> {
    prompt.clone().into_messages(Role::User)
}
