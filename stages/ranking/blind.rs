//! The blind comparison of two checkpoints: their completions of the same prompts, sides drawn, and who won.

use super::interval::{Rate, rate};
use super::item::{Completion, Item};
use super::store::Store;
use crate::data::records::{Place, ReadOptions, Record, Said, read};
use pleach_runtime::fault::{Fault, Refusal};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// Ids of the two completions of a prompt: the first checkpoint's and the second's. No rater sees them.
pub const SIDES: [&str; 2] = ["a", "b"];

/// Who won.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The name of the first checkpoint, and of the second.
    pub names: [String; 2],
    /// Judgements in which the first was better.
    pub wins: u64,
    /// Judgements in which both were equal.
    pub ties: u64,
    /// Judgements in which the second was better.
    pub losses: u64,
    /// The share that the first won, ties as halves, with its interval of 95 % clustered by prompt.
    pub win_rate: Option<Rate>,
    /// In how many judgements the first stood on the left: near a half where sides are fair.
    pub left: u64,
}

/// The items of a comparison: for each prompt what two checkpoints said. The names are what [`Verdict`] calls them.
pub fn items(names: [&str; 2], prompts: &[(Said, [Said; 2])]) -> Vec<Item> {
    let one = |(number, (prompt, both)): (usize, &(Said, [Said; 2]))| {
        let side = |side: usize| Completion {
            id: SIDES[side].into(),
            said: both[side].clone(),
            origin: json!({"checkpoint": names[side]}),
        };
        let texts = [prompt, &both[0], &both[1]].map(|said| said.to_value().to_string());
        let hash = blake3::hash(texts.join("\n").as_bytes()).to_hex();
        Item { id: format!("{number}-{}", &hash[..8]), prompt: prompt.clone(), completions: vec![side(0), side(1)] }
    };
    prompts.iter().enumerate().map(one).collect()
}

/// The items of a comparison of two files of prompts and completions, matched by their place; the prompts are the same.
///
/// # Errors
/// A refusal for a file that cannot be read, is of another shape, or has other prompts.
pub fn pair(first: &Path, second: &Path) -> Result<Vec<Item>, Fault> {
    let both = [first, second].map(|path| {
        let mut all: Vec<(Place, Said, Said)> = Vec::new();
        read(path, &ReadOptions::default(), &mut |place, record| match record {
            Record::Completion(it) => {
                all.push((place.clone(), it.prompt, it.completion));
                Ok(())
            }
            _ => {
                let what = format!("could not compare {}", path.display());
                let detail = format!("{}: it is no prompt with a completion", place.words);
                Err(Refusal::new(what, detail, "give files of {\"prompt\", \"completion\"}").into())
            }
        })?;
        Ok::<_, Fault>(all)
    });
    let [a, b] = both;
    let (a, b) = (a?, b?);
    let refuse = |detail: String| {
        let what = format!("could not compare {} with {}", first.display(), second.display());
        Fault::from(Refusal::new(what, detail, "let both checkpoints answer the same prompts in the same order"))
    };
    if a.len() != b.len() {
        return Err(refuse(format!("{} and {} completions", a.len(), b.len())));
    }
    let mut prompts = Vec::new();
    for ((_, prompt, one), (place, other_prompt, other)) in a.into_iter().zip(b) {
        if prompt != other_prompt {
            return Err(refuse(format!("{}: the prompts differ", place.words)));
        }
        prompts.push((prompt, [one, other]));
    }
    let name = |path: &Path| path.file_stem().map_or("?".into(), |stem| stem.to_string_lossy().into_owned());
    Ok(items([&name(first), &name(second)], &prompts))
}

/// What the raters of a blind comparison said; hidden repeats count as what they are, judgements of the same prompt.
///
/// # Errors
/// A fault of the disk.
pub fn verdict(store: &Store) -> Result<Verdict, Fault> {
    let items = store.items()?;
    let name = |side: usize| {
        let origin =
            items.first().and_then(|item| item.completions.get(side)).map(|one| one.origin["checkpoint"].clone());
        origin.as_ref().and_then(Value::as_str).unwrap_or(SIDES[side]).to_owned()
    };
    let mut out = Verdict { names: [name(0), name(1)], wins: 0, ties: 0, losses: 0, win_rate: None, left: 0 };
    let mut values = Vec::new();
    for one in store.judged()?.iter().filter(|one| one.answer.skip.is_none()) {
        let item = &items[one.item];
        let Some(&[first, second]) = one.answer.ranks(&item.ids()).as_deref() else { continue };
        let (count, value) = match first.cmp(&second) {
            std::cmp::Ordering::Less => (&mut out.wins, 1.0),
            std::cmp::Ordering::Equal => (&mut out.ties, 0.5),
            std::cmp::Ordering::Greater => (&mut out.losses, 0.0),
        };
        *count += 1;
        out.left += u64::from(one.shown.first() == Some(&item.completions[0].id));
        values.push((one.item, value));
    }
    out.win_rate = rate(&values);
    Ok(out)
}
