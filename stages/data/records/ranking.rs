//! Rankings of several answers to one prompt, with raters, comments and flags.

use super::chat::messages;
use super::field::{Wrong, list, name, number_if, object, path, some, text, text_if};
use super::{Message, Role, Said, chat};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// One of the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its name within the record.
    pub id: String,
    /// What it says.
    pub said: Said,
    /// What people marked on it, as they wrote it.
    pub flags: Map<String, Value>,
    /// What a person wrote about it.
    pub comment: Option<String>,
    /// Where it comes from, as its maker wrote it; null where nobody did.
    pub origin: Value,
}

/// A prompt with its answers in an order of preference.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// Name of the item, where it has one.
    pub id: Option<String>,
    /// What is given.
    pub prompt: Said,
    /// The answers, at least two.
    pub completions: Vec<Answer>,
    /// Rank of each, 1 is best; answers of one group share a rank, and the next group's is the count of better
    /// answers plus one.
    pub ranks: Vec<u32>,
    /// Who ranked.
    pub rater: Option<String>,
    /// What the rater wrote about the item.
    pub comment: Option<String>,
    /// What people marked on the item, as they wrote it.
    pub flags: Map<String, Value>,
    /// The order in which the answers were shown, as indices; empty where nobody noted it.
    pub shown_order: Vec<usize>,
    /// Time the rater took.
    pub seconds: Option<f64>,
    /// A better answer than all of them, by the rater.
    pub better: Option<String>,
}

impl Ranked {
    /// The answers' indices in groups, best first.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<(u32, Vec<usize>)> = Vec::new();
        for (index, &rank) in self.ranks.iter().enumerate() {
            match groups.iter_mut().find(|(known, _)| *known == rank) {
                Some((_, group)) => group.push(index),
                None => groups.push((rank, vec![index])),
            }
        }
        groups.sort();
        groups.into_iter().map(|(_, group)| group).collect()
    }

    /// All pairs of a better and a worse answer, as indices; ties give none.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.ranks.len();
        let pairs = all.clone().flat_map(|a| all.clone().map(move |b| (a, b)));
        pairs.filter(|&(a, b)| self.ranks[a] < self.ranks[b]).collect()
    }
}

impl super::Pair {
    /// The pair as a ranking of two.
    pub fn into_ranked(self) -> Ranked {
        let answer =
            |id: &str, said| Answer { id: id.into(), said, flags: Map::new(), comment: None, origin: Value::Null };
        plain(self.prompt, vec![answer("chosen", self.chosen), answer("rejected", self.rejected)], vec![1, 2])
    }
}

/// Numbers of any kind to ranks: the smaller the better, equal ones share.
pub(super) fn ranks_of(scores: &[f64]) -> Vec<u32> {
    scores.iter().map(|score| 1 + scores.iter().filter(|other| *other < score).count() as u32).collect()
}

/// Answers, ranked without more words.
pub(super) fn plain(prompt: Said, completions: Vec<Answer>, ranks: Vec<u32>) -> Ranked {
    Ranked {
        id: None,
        prompt,
        completions,
        ranks,
        rater: None,
        comment: None,
        flags: Map::new(),
        shown_order: Vec::new(),
        seconds: None,
        better: None,
    }
}

/// An answer of text; as a message where the prompt is messages.
pub(super) fn answer(id: String, text: &str, prompt: &Said) -> Answer {
    let said = match prompt {
        Said::Text(_) => Said::Text(text.into()),
        Said::Messages(_) => Said::Messages(vec![Message::new(Role::Assistant, text)]),
    };
    Answer { id, said, flags: Map::new(), comment: None, origin: Value::Null }
}

/// Our own K-wise record.
pub(super) fn ranked(map: &Object) -> Result<Ranked, Wrong> {
    let mut prompt = chat::said(map, "prompt")?;
    let all = list(map, "completions", "")?;
    if all.len() < 2 {
        return Err(Wrong::at("completions", "a list of at least two answers", map.get("completions")));
    }
    let mut completions: Vec<Answer> = Vec::new();
    for (index, value) in all.iter().enumerate() {
        let at = format!("completions[{index}]");
        let one = completion(value, &at, index)?;
        if completions.iter().any(|known| known.id == one.id) {
            return Err(Wrong::words(path(&at, "id"), "a name of its own", format!("{:?} a second time", one.id)));
        }
        completions.push(one);
    }
    // One message among texts makes all of them messages.
    let mixed = completions.iter().any(|one| matches!(one.said, Said::Messages(_)));
    if mixed || matches!(prompt, Said::Messages(_)) {
        prompt = Said::Messages(prompt.into_messages(Role::User));
        for one in &mut completions {
            one.said = Said::Messages(one.said.clone().into_messages(Role::Assistant));
        }
    }
    let ranks = ranks(map, &completions)?;
    let shown_order = match some(map, "shown_order") {
        None => Vec::new(),
        Some(_) => shown(list(map, "shown_order", "")?, &completions)?,
    };
    Ok(Ranked {
        id: some(map, "id").map(|id| name(id, "id")).transpose()?,
        prompt,
        ranks,
        rater: some(map, "rater").map(|rater| name(rater, "rater")).transpose()?,
        comment: text_if(map, "comment", "")?.map(str::to_owned),
        flags: flags(map, "")?,
        shown_order,
        seconds: number_if(map, "seconds", "")?,
        better: text_if(map, "better", "")?.map(str::to_owned),
        completions,
    })
}

fn flags(map: &Object, at: &str) -> Result<Object, Wrong> {
    let given = some(map, "flags").map(|flags| object(flags, &path(at, "flags"))).transpose()?;
    Ok(given.cloned().unwrap_or_default())
}

/// `{"id", "text" or "message", "flags"?, "comment"?}`, or the text alone, which is named by its place.
fn completion(value: &Value, at: &str, index: usize) -> Result<Answer, Wrong> {
    if let Value::String(text) = value {
        let said = Said::Text(text.clone());
        return Ok(Answer { id: index.to_string(), said, flags: Map::new(), comment: None, origin: Value::Null });
    }
    let map = object(value, at)?;
    let id = map.get("id").ok_or_else(|| Wrong::at(path(at, "id"), "a name", None))?;
    let said = match map.get("message") {
        Some(Value::Array(_)) => Said::Messages(messages(map.get("message"), &path(at, "message"))?),
        Some(one) => Said::Messages(messages(Some(&Value::Array(vec![one.clone()])), &path(at, "message"))?),
        None => Said::Text(text(map, "text", at)?.to_owned()),
    };
    let comment = text_if(map, "comment", at)?.map(str::to_owned);
    let origin = map.get("origin").cloned().unwrap_or_default();
    Ok(Answer { id: name(id, &path(at, "id"))?, said, flags: flags(map, at)?, comment, origin })
}

/// The ranks: a list beside the completions, or an object from id to rank.
fn ranks(map: &Object, completions: &[Answer]) -> Result<Vec<u32>, Wrong> {
    let given = map.get("ranks");
    let values: Vec<Option<&Value>> = match given {
        Some(Value::Array(values)) if values.len() == completions.len() => values.iter().map(Some).collect(),
        Some(Value::Object(by_id)) => {
            if let Some(id) = by_id.keys().find(|id| !completions.iter().any(|one| one.id == **id)) {
                let known: Vec<&str> = completions.iter().map(|one| one.id.as_str()).collect();
                let expected = format!("ids of completions ({})", known.join(", "));
                return Err(Wrong::words("ranks", expected, format!("the unknown id {id:?}")));
            }
            completions.iter().map(|one| by_id.get(&one.id)).collect()
        }
        other => {
            let expected = format!("{} ranks, one for each completion", completions.len());
            return Err(Wrong::at("ranks", expected, other));
        }
    };
    let mut ranks = Vec::new();
    for (value, one) in values.iter().zip(completions) {
        let rank = value.and_then(Value::as_u64).filter(|rank| (1..=completions.len() as u64).contains(rank));
        let expected = format!("a rank from 1 to {} for completion {:?}", completions.len(), one.id);
        ranks.push(rank.ok_or_else(|| Wrong::at("ranks", expected, *value))? as u32);
    }
    whole(&ranks)
}

/// Ranks without holes: 1, 2, 2, 4 or 1, 2, 2, 3; handed on in the first way.
fn whole(ranks: &[u32]) -> Result<Vec<u32>, Wrong> {
    let scores: Vec<f64> = ranks.iter().map(|&rank| f64::from(rank)).collect();
    let counted = ranks_of(&scores);
    let mut distinct = ranks.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let dense = distinct.iter().zip(1..).all(|(&rank, expected)| rank == expected);
    if ranks != counted && !dense {
        let expected = "ranks without holes, such as 1, 2, 2, 4 or 1, 2, 2, 3";
        return Err(Wrong::words("ranks", expected, format!("{ranks:?}")));
    }
    Ok(counted)
}

/// The order shown, by ids or by indices: each answer once.
fn shown(order: &[Value], completions: &[Answer]) -> Result<Vec<usize>, Wrong> {
    let index = |(place, value): (usize, &Value)| {
        let at = format!("shown_order[{place}]");
        let by_id = |id: &str| completions.iter().position(|one| one.id == id);
        let by_index = || value.as_u64().map(|index| index as usize).filter(|&index| index < completions.len());
        let found = by_id(&name(value, &at)?).or_else(by_index);
        found.ok_or_else(|| Wrong::at(at, "the id of a completion", Some(value)))
    };
    let order = order.iter().enumerate().map(index).collect::<Result<Vec<usize>, Wrong>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted != (0..completions.len()).collect::<Vec<_>>() {
        return Err(Wrong::words("shown_order", "each completion once", format!("{order:?}")));
    }
    Ok(order)
}
