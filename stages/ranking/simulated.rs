//! The little world's simulated rater at the ranking page's own counter: it says that it is no person.

use super::draw;
use super::item::Answer;
use super::store::Store;
use crate::data::records::{Message, Role, Said};
use crate::data::world::preferences::{Flag, Prompt, SimulatedRater};
use pleach_runtime::fault::{Fault, Refusal};
use serde::Serialize;

/// What a simulated rater did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Simulated {
    /// Its name in the store: "simulated rater (10 % noise, seed 1), not a person".
    pub rater: String,
    /// Items that it ranked.
    pub ranked: u64,
    /// Items that it skipped, because their prompts are none of the little world's.
    pub skipped: u64,
}

/// Lets a simulated rater answer all items that the store has for it, as a person would: one after the other, each on
/// the disk before the next. `stop` is asked between items, and true ends it early.
///
/// # Errors
/// A refusal where the store's flags lack one of the five groups; a fault of the disk.
pub fn simulate(store: &mut Store, rater: &SimulatedRater, stop: &mut dyn FnMut() -> bool) -> Result<Simulated, Fault> {
    let mut out = Simulated { rater: rater.name(), ranked: 0, skipped: 0 };
    while !stop() {
        let Some(task) = store.next(&out.rater)? else { break };
        let mut answer = Answer::default();
        match Prompt::read(&asked(&task.item.prompt)) {
            None => {
                answer.skip = Some("the prompt is none of the little world's".into());
                out.skipped += 1;
            }
            Some(prompt) => {
                let said: Vec<String> = task.item.completions.iter().map(|one| one.said.words()).collect();
                let number = draw::number(0, "ranking", &[&task.item.id, &task.repeat.to_string()]);
                let ranking = rater.rank(&prompt, &said, number);
                let last = ranking.ranks.iter().max().copied().unwrap_or(0);
                let ids = task.item.ids();
                for level in 0..=last {
                    let level = ids.iter().zip(&ranking.ranks).filter(|(_, rank)| **rank == level);
                    let group: Vec<String> = level.map(|(id, _)| (*id).to_owned()).collect();
                    answer.order.extend((!group.is_empty()).then_some(group));
                }
                for (id, flags) in ids.iter().zip(&ranking.flags).filter(|(_, flags)| !flags.is_empty()) {
                    let names = flags.iter().map(|flag| name(store, *flag)).collect::<Result<Vec<_>, Refusal>>()?;
                    answer.flags.insert((*id).to_owned(), names);
                }
                out.ranked += 1;
            }
        }
        store.submit(&out.rater, task.assignment, task.revision + 1, &answer)?;
    }
    Ok(out)
}

/// What the user asks: the text, or the last user's message.
fn asked(prompt: &Said) -> String {
    let last = |messages: &[Message]| {
        messages.iter().rev().find(|message| message.role == Role::User).and_then(|message| message.content.clone())
    };
    match prompt {
        Said::Text(text) => text.clone(),
        Said::Messages(messages) => last(messages).unwrap_or_default(),
    }
}

/// The flag of the store that stands for one of the world's: the first of its group.
fn name(store: &Store, flag: Flag) -> Result<String, Refusal> {
    let group = match flag {
        Flag::Safety => "safety",
        Flag::Bias => "bias",
        Flag::Ethics => "ethics",
        Flag::Truth => "truth",
        Flag::Task => "task",
    };
    store.options().flags.first_of(group).map(str::to_owned).ok_or_else(|| {
        let detail = format!("there is no group {group:?} among the flags");
        Refusal::new("the simulated rater could not set its flags", detail, "keep the five groups in the file of flags")
    })
}
