//! Rankings as files for other programs.

use super::Format;
use super::import::turns;
use crate::data::records::{Message, Role, Said};
use crate::ranking::freeze::record;
use crate::ranking::item::{Completion, Item};
use crate::ranking::store::{Judged, Store};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::store::{Disk, replace};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The file.
    pub path: PathBuf,
    /// Its records.
    pub records: u64,
    /// What the format could not hold, in words.
    pub notes: Vec<String>,
}

/// Writes the rankings of a store into a file; hidden repeats only where the format is our own.
///
/// # Errors
/// A refusal where nothing is there to write, or a prompt has a system turn and the format has none; a fault of the
/// disk.
pub fn export(store: &Store, format: Format, path: &Path) -> Result<Exported, Fault> {
    let items = store.items()?;
    let mut judged: Vec<Judged> = store.judged()?.into_iter().filter(|one| one.answer.skip.is_none()).collect();
    if format != Format::Kwise {
        judged.retain(|one| one.repeat == 0);
    }
    let all: Vec<(&Item, &Judged)> = judged.iter().map(|one| (&items[one.item], one)).collect();
    let mut notes = Vec::new();
    let records: Vec<Value> = match format {
        Format::Kwise => all.iter().map(|(i, j)| Value::Object(record(i, j, &store.options().flags))).collect(),
        Format::Pairs => all.iter().flat_map(|(item, judged)| pairs(item, judged)).collect(),
        Format::Kto => kto(&all, &mut notes),
        Format::LabelStudio => label_studio(&items, &judged, &mut notes),
        Format::Oasst => all.iter().map(|(item, judged)| oasst(item, judged)).collect::<Result<_, Refusal>>()?,
        Format::Nectar => all.iter().map(|(item, judged)| nectar(item, judged)).collect::<Result<_, Refusal>>()?,
        Format::Sft => sft(&items, &store.judged()?),
    };
    if records.is_empty() {
        let what = format!("could not export to {}", path.display());
        let counts = store.answered()?;
        let detail = format!("{} rankings give no record of this format", counts.rankings);
        return Err(Refusal::new(what, detail, "rank first: `pleach rank`").into());
    }
    let text = match format {
        Format::LabelStudio => format!("{}\n", Value::Array(records.clone())),
        _ => records.iter().map(|record| format!("{record}\n")).collect(),
    };
    let path = std::path::absolute(path).map_err(|error| Fault::disk("find", path, &error))?;
    replace(&Disk, &path, text.as_bytes())?;
    Ok(Exported { path, records: records.len() as u64, notes })
}

/// The completion of an id.
fn find<'a>(item: &'a Item, id: &str) -> &'a Completion {
    item.completions.iter().find(|one| one.id == id).expect("the store checked the ids of every answer")
}

/// Every pair of a better and a worse completion.
fn pairs(item: &Item, judged: &Judged) -> Vec<Value> {
    let order = &judged.answer.order;
    let mut out = Vec::new();
    for (place, group) in order.iter().enumerate() {
        for better in group {
            for worse in order[place + 1..].iter().flatten() {
                let (chosen, rejected) = (find(item, better), find(item, worse));
                out.push(json!({
                    "prompt": item.prompt.to_value(),
                    "chosen": chosen.said.to_value(),
                    "rejected": rejected.said.to_value(),
                }));
            }
        }
    }
    out
}

/// The best group as wanted, the last as unwanted.
fn kto(all: &[(&Item, &Judged)], notes: &mut Vec<String>) -> Vec<Value> {
    let (mut out, mut between, mut equal) = (Vec::new(), 0, 0);
    for (item, judged) in all {
        let order = &judged.answer.order;
        let [best, middle @ .., worst] = order.as_slice() else {
            equal += 1;
            continue;
        };
        between += middle.iter().map(Vec::len).sum::<usize>();
        for (group, label) in [(best, true), (worst, false)] {
            for id in group {
                let completion = find(item, id).said.to_value();
                out.push(json!({"prompt": item.prompt.to_value(), "completion": completion, "label": label}));
            }
        }
    }
    if between > 0 {
        notes.push(format!("{between} completions between the best and the worst were left out"));
    }
    if equal > 0 {
        notes.push(format!("{equal} rankings in which all are equal were left out"));
    }
    out
}

/// A task for each item, an annotation for each rater.
fn label_studio(items: &[Item], judged: &[Judged], notes: &mut Vec<String>) -> Vec<Value> {
    let (mut out, mut broken, mut flat) = (Vec::new(), 0, 0);
    for (index, item) in items.iter().enumerate() {
        let mut annotations = Vec::new();
        for one in judged.iter().filter(|one| one.item == index) {
            broken += one.answer.order.iter().filter(|group| group.len() > 1).count();
            let place = |id: &&String| one.shown.iter().position(|shown| shown == *id);
            let ids = one.answer.order.iter().flat_map(|group| {
                let mut group: Vec<&String> = group.iter().collect();
                group.sort_by_key(place);
                group
            });
            let ids: Vec<&String> = ids.collect();
            annotations.push(json!({
                "completed_by": {"email": one.rater},
                "lead_time": one.answer.seconds,
                "was_cancelled": false,
                "result": [{
                    "type": "ranker", "from_name": "rank", "to_name": "items", "value": {"ranker": {"rank": ids}},
                }],
            }));
        }
        if annotations.is_empty() {
            continue;
        }
        flat += u64::from(matches!(&item.prompt, Said::Messages(messages) if messages.len() > 1));
        let entry = |one: &Completion| json!({"id": one.id, "title": "", "body": one.said.words()});
        out.push(json!({
            "id": item.id,
            "data": {
                "prompt": item.prompt.words(),
                "items": item.completions.iter().map(entry).collect::<Vec<_>>(),
            },
            "annotations": annotations,
        }));
    }
    if broken > 0 {
        notes.push(format!("Label Studio's ranker knows no ties: {broken} groups of equals stand in the order shown"));
    }
    if flat > 0 {
        notes.push(format!("{flat} prompts of several turns became one text"));
    }
    out
}

/// The turns of a prompt that ends with the user and has no system.
fn dialogue(item: &Item, format: &str) -> Result<Vec<Message>, Refusal> {
    let turns = turns(&item.prompt);
    let spoken = |message: &Message| matches!(message.role, Role::User | Role::Assistant);
    if turns.iter().all(spoken) && turns.last().is_some_and(|last| last.role == Role::User) {
        return Ok(turns);
    }
    let detail = format!("item {:?} has a system or tool turn, or does not end with the user", item.id);
    let hint = "export as kwise or trl, which keep all turns";
    Err(Refusal::new(format!("could not export as {format}"), detail, hint))
}

fn content(message: &Message) -> &str {
    message.content.as_deref().unwrap_or_default()
}

/// A tree whose trunk is the prompt and whose leaves are the completions.
fn oasst(item: &Item, judged: &Judged) -> Result<Value, Refusal> {
    let turns = dialogue(item, "oasst")?;
    let ranks = judged.answer.ranks(&item.ids()).unwrap_or_default();
    let leaf = |(one, rank): (&Completion, &u32)| json!({"message_id": one.id, "role": "assistant", "text": one.said.words(), "rank": rank - 1, "replies": []});
    let mut replies: Vec<Value> = item.completions.iter().zip(&ranks).map(leaf).collect();
    for (depth, turn) in turns.iter().enumerate().rev() {
        let role = if turn.role == Role::User { "prompter" } else { "assistant" };
        let last = depth + 1 == turns.len();
        let id = if last { item.id.clone() } else { format!("{}-turn-{depth}", item.id) };
        replies = vec![json!({"message_id": id, "role": role, "text": content(turn), "replies": replies})];
    }
    let tree = format!("{}/{}", item.id, judged.rater);
    Ok(json!({"message_tree_id": tree, "tree_state": "ready_for_export", "prompt": replies.pop()}))
}

/// Nectar's record; a prompt of messages is its transcript.
fn nectar(item: &Item, judged: &Judged) -> Result<Value, Refusal> {
    let prompt = match &item.prompt {
        Said::Text(text) => text.clone(),
        Said::Messages(_) => {
            let turn = |turn: &Message| {
                let who = if turn.role == Role::User { "Human" } else { "Assistant" };
                format!("\n\n{who}: {}", content(turn))
            };
            dialogue(item, "nectar")?.iter().map(turn).collect::<String>() + "\n\nAssistant: "
        }
    };
    let ranks = judged.answer.ranks(&item.ids()).unwrap_or_default();
    let answer = |(one, rank): (&Completion, &u32)| json!({"answer": one.said.words(), "model": one.id, "rank": rank});
    let answers: Vec<Value> = item.completions.iter().zip(&ranks).map(answer).collect();
    Ok(json!({"prompt": prompt, "answers": answers, "turns": turns(&item.prompt).len()}))
}

/// The better answers, also of those who skipped the item: one shape for all.
fn sft(items: &[Item], judged: &[Judged]) -> Vec<Value> {
    let written: Vec<(&Item, &str)> = judged
        .iter()
        .filter(|one| !one.answer.better.trim().is_empty())
        .map(|one| (&items[one.item], one.answer.better.as_str()))
        .collect();
    let plain = written.iter().all(|(item, _)| matches!(item.prompt, Said::Text(_)));
    let record = |(item, better): &(&Item, &str)| match &item.prompt {
        Said::Text(prompt) if plain => json!({"prompt": prompt, "completion": better}),
        prompt => {
            let mut messages = turns(prompt);
            messages.push(Message::new(Role::Assistant, *better));
            json!({"messages": messages.iter().map(Message::to_value).collect::<Vec<_>>()})
        }
    };
    written.iter().map(record).collect()
}
