//! Rankings as other programs write them: OpenAssistant's trees, Nectar, Argilla and Label Studio.

use super::field::{Wrong, list, name, number_if, object, path, some, text, text_if};
use super::preference::{is_transcript, transcript};
use super::ranking::{Answer, Ranked, answer, plain, ranks_of};
use super::{Message, Role, Said};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// Deepest tree that is walked: OpenAssistant's own stop below 20.
const DEEPEST: usize = 64;

/// A prompt that may be a transcript ending in "Assistant:".
fn prompt_of(words: &str, at: &str) -> Result<Said, Wrong> {
    if !is_transcript(words) {
        return Ok(Said::Text(words.to_owned()));
    }
    let mut messages = transcript(words, at)?;
    // The last mark calls for the answer.
    if messages.last().is_some_and(|last| last.role == Role::Assistant && last.is_empty()) {
        messages.pop();
    }
    Ok(Said::Messages(messages))
}

/// An OpenAssistant tree: one ranking for each prompt whose answers people put in order.
pub(super) fn oasst(map: &Object) -> Result<Vec<Ranked>, Wrong> {
    let root = map.get("prompt").unwrap_or(&Value::Null);
    let mut found = Vec::new();
    node(object(root, "prompt")?, "prompt", &mut Vec::new(), &mut found)?;
    Ok(found)
}

/// A message of the tree, and all below it. `before` is what was said above.
fn node(map: &Object, at: &str, before: &mut Vec<Message>, found: &mut Vec<Ranked>) -> Result<(), Wrong> {
    if before.len() > DEEPEST {
        return Err(Wrong::words(at, format!("a tree of at most {DEEPEST} turns"), "a deeper one"));
    }
    let role = match text(map, "role", at)? {
        "prompter" => Role::User,
        "assistant" => Role::Assistant,
        _ => return Err(Wrong::at(path(at, "role"), "prompter or assistant", map.get("role"))),
    };
    before.push(Message::new(role, text(map, "text", at)?));
    let replies = match some(map, "replies") {
        None => &Vec::new(),
        Some(_) => list(map, "replies", at)?,
    };
    let place = |index: usize| format!("{at}.replies[{index}]");
    if role == Role::User {
        found.extend(siblings(map, replies, &place, before)?);
    }
    for (index, reply) in replies.iter().enumerate() {
        node(object(reply, &place(index))?, &place(index), before, found)?;
    }
    before.pop();
    Ok(())
}

/// The ranking of the answers to one prompt of a tree; unranked and deleted ones are left out.
fn siblings(
    parent: &Object,
    replies: &[Value],
    place: &dyn Fn(usize) -> String,
    before: &[Message],
) -> Result<Option<Ranked>, Wrong> {
    let prompt = Said::Messages(before.to_vec());
    let (mut answers, mut scores) = (Vec::new(), Vec::new());
    for (index, reply) in replies.iter().enumerate() {
        let at = place(index);
        let reply = object(reply, &at)?;
        let deleted = reply.get("deleted").and_then(Value::as_bool).unwrap_or(false);
        let (Some(rank), false) = (number_if(reply, "rank", &at)?, deleted) else { continue };
        let id = some(reply, "message_id").map_or(Ok(index.to_string()), |id| name(id, &path(&at, "message_id")))?;
        let mut one = answer(id, text(reply, "text", &at)?, &prompt);
        if let Some(Value::Object(labels)) = some(reply, "labels") {
            one.flags = labels.clone();
        }
        answers.push(one);
        scores.push(rank);
    }
    if answers.len() < 2 {
        return Ok(None);
    }
    let id = some(parent, "message_id").map(|id| name(id, "message_id")).transpose()?;
    Ok(Some(Ranked { id, ..plain(prompt, answers, ranks_of(&scores)) }))
}

/// Nectar: `prompt` and `answers` with `answer` and `rank`.
pub(super) fn nectar(map: &Object) -> Result<Ranked, Wrong> {
    let prompt = prompt_of(text(map, "prompt", "")?, "prompt")?;
    let (mut answers, mut scores) = (Vec::new(), Vec::new());
    for (index, value) in list(map, "answers", "")?.iter().enumerate() {
        let at = format!("answers[{index}]");
        let one = object(value, &at)?;
        let rank = number_if(one, "rank", &at)?;
        scores.push(rank.ok_or_else(|| Wrong::at(path(&at, "rank"), "a number", one.get("rank")))?);
        let id = text_if(one, "model", &at)?.map_or(index.to_string(), |model| format!("{index}-{model}"));
        answers.push(answer(id, text(one, "answer", &at)?, &prompt));
    }
    if answers.len() < 2 {
        return Err(Wrong::at("answers", "a list of at least two answers", map.get("answers")));
    }
    Ok(plain(prompt, answers, ranks_of(&scores)))
}

/// Argilla: `fields` with the prompt and the options, `responses` with rankings of the options' names.
pub(super) fn argilla(map: &Object) -> Result<Vec<Ranked>, Wrong> {
    let fields = object(map.get("fields").unwrap_or(&Value::Null), "fields")?;
    let mut found = Vec::new();
    for (at, value, who) in argilla_values(map)? {
        let order = value.as_array().ok_or_else(|| Wrong::at(at.as_str(), "a list of {value, rank}", Some(value)))?;
        let (mut named, mut scores) = (Vec::new(), Vec::new());
        for (index, one) in order.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let one = object(one, &at)?;
            let option = text(one, "value", &at)?;
            if !fields.contains_key(option) {
                let expected = format!("one of the fields ({})", super::field::keys(fields));
                return Err(Wrong::at(path(&at, "value"), expected, one.get("value")));
            }
            named.push(option.to_owned());
            let rank = number_if(one, "rank", &at)?;
            scores.push(rank.ok_or_else(|| Wrong::at(path(&at, "rank"), "a number", one.get("rank")))?);
        }
        let others: Vec<&String> = fields.keys().filter(|key| !named.contains(key)).collect();
        let prompt = ["prompt", "instruction", "question", "input"].into_iter().find(|key| fields.contains_key(*key));
        let prompt = prompt.or_else(|| others.first().map(|key| key.as_str()).filter(|_| others.len() == 1));
        let prompt = prompt.ok_or_else(|| Wrong::words("fields", "a field \"prompt\"", super::field::keys(fields)))?;
        let prompt = prompt_of(text(fields, prompt, "fields")?, "fields.prompt")?;
        let answers = named.into_iter().map(|id| {
            let words = text(fields, &id, "fields")?;
            Ok(answer(id.clone(), words, &prompt))
        });
        let answers = answers.collect::<Result<Vec<_>, Wrong>>()?;
        if answers.len() > 1 {
            let id = some(map, "id").map(|id| name(id, "id")).transpose()?;
            found.push(Ranked { id, rater: who, ..plain(prompt, answers, ranks_of(&scores)) });
        }
    }
    Ok(found)
}

type Value3<'a> = (String, &'a Value, Option<String>);

/// The values of all ranking questions: Argilla 1 lists responses, Argilla 2 has an object of questions.
fn argilla_values(map: &Object) -> Result<Vec<Value3<'_>>, Wrong> {
    let who = |one: &Object| one.get("user_id").and_then(Value::as_str).map(str::to_owned);
    // Other questions of the same record (a rating, a text) hold other values.
    let ranking =
        |value: &Value| value.as_array().is_some_and(|all| all.first().is_some_and(|one| one.get("rank").is_some()));
    let mut found = Vec::new();
    match map.get("responses") {
        Some(Value::Array(all)) => {
            for (index, response) in all.iter().enumerate() {
                let at = format!("responses[{index}]");
                let response = object(response, &at)?;
                let values = object(response.get("values").unwrap_or(&Value::Null), &path(&at, "values"))?;
                for (question, value) in values {
                    let value = value.get("value").unwrap_or(value);
                    if ranking(value) {
                        found.push((format!("{at}.values.{question}.value"), value, who(response)));
                    }
                }
            }
        }
        Some(Value::Object(questions)) => {
            for (question, all) in questions {
                for (index, response) in all.as_array().into_iter().flatten().enumerate() {
                    let at = format!("responses.{question}[{index}]");
                    let response = object(response, &at)?;
                    if let Some(value) = response.get("value").filter(|value| ranking(value)) {
                        found.push((path(&at, "value"), value, who(response)));
                    }
                }
            }
        }
        other => return Err(Wrong::at("responses", "a list, or an object of questions", other)),
    }
    Ok(found)
}

/// A Label Studio export: `data` with `prompt` and `items`, `annotations` with the order of the items' ids; or the
/// pairwise template's `answer1`, `answer2` and `selected`.
pub(super) fn label_studio(map: &Object) -> Result<Vec<Ranked>, Wrong> {
    let data = object(map.get("data").unwrap_or(&Value::Null), "data")?;
    let prompt = Said::Text(text(data, "prompt", "data")?.to_owned());
    let mut found = Vec::new();
    for (index, annotation) in list(map, "annotations", "")?.iter().enumerate() {
        let at = format!("annotations[{index}]");
        let annotation = object(annotation, &at)?;
        if annotation.get("was_cancelled").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        for (number, result) in list(annotation, "result", &at)?.iter().enumerate() {
            let at = format!("{at}.result[{number}]");
            let result = object(result, &at)?;
            let value = result.get("value").unwrap_or(&Value::Null);
            let (answers, scores) = match text(result, "type", &at)? {
                "ranker" => ranker(data, value.get("ranker").unwrap_or(&Value::Null), &at, &prompt)?,
                "pairwise" => pairwise(data, value, &at, &prompt)?,
                _ => continue,
            };
            let rater = annotation.get("completed_by").and_then(|who| match who {
                Value::Object(who) => who.get("email").or_else(|| who.get("id")),
                who => Some(who),
            });
            let rater = rater.and_then(|who| name(who, "completed_by").ok());
            let seconds = number_if(annotation, "lead_time", &at)?;
            let id = some(map, "id").map(|id| name(id, "id")).transpose()?;
            found.push(Ranked { id, rater, seconds, ..plain(prompt.clone(), answers, ranks_of(&scores)) });
        }
    }
    Ok(found)
}

/// The order of a ranker: a list of ids, or one within an object of buckets, of which `_` holds what nobody placed.
fn ranker(data: &Object, order: &Value, at: &str, prompt: &Said) -> Result<(Vec<Answer>, Vec<f64>), Wrong> {
    let items = list(data, "items", "data")?;
    let mut answers = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("data.items[{index}]");
        let item = object(item, &at)?;
        let id = name(item.get("id").unwrap_or(&Value::Null), &path(&at, "id"))?;
        let words = text_if(item, "body", &at)?.or(text_if(item, "html", &at)?).unwrap_or_default();
        answers.push(answer(id, words, prompt));
    }
    let at = format!("{at}.value.ranker");
    let list = match order {
        Value::Array(list) => list,
        Value::Object(buckets) => {
            let lists: Vec<&Value> = buckets.iter().filter(|(key, _)| *key != "_").map(|(_, list)| list).collect();
            match lists[..] {
                [Value::Array(list)] => list,
                _ => return Err(Wrong::at(at, "one list of ids: a task with one bucket", Some(order))),
            }
        }
        _ => return Err(Wrong::at(at, "a list of ids", Some(order))),
    };
    let mut scores = vec![None; answers.len()];
    for (rank, id) in list.iter().enumerate() {
        let place = format!("{at}[{rank}]");
        let id = name(id, &place)?;
        let index = answers.iter().position(|one| one.id == id);
        let index = index.ok_or_else(|| Wrong::words(&place, "the id of an item", format!("the unknown id {id:?}")))?;
        if scores[index].replace(rank as f64).is_some() {
            return Err(Wrong::words(place, "each item once", format!("{id:?} a second time")));
        }
    }
    let placed: Option<Vec<f64>> = scores.iter().copied().collect();
    match placed {
        Some(scores) if answers.len() > 1 => Ok((answers, scores)),
        _ => Err(Wrong::words(at, format!("all {} items in order", answers.len()), format!("{} ids", list.len()))),
    }
}

/// The pairwise template: the left or the right answer.
fn pairwise(data: &Object, value: &Value, at: &str, prompt: &Said) -> Result<(Vec<Answer>, Vec<f64>), Wrong> {
    let side = |key: &str| Ok::<_, Wrong>(answer(key.to_owned(), text(data, key, "data")?, prompt));
    let answers = vec![side("answer1")?, side("answer2")?];
    match value.get("selected").and_then(Value::as_str) {
        Some("left") => Ok((answers, vec![0.0, 1.0])),
        Some("right") => Ok((answers, vec![1.0, 0.0])),
        _ => Err(Wrong::at(format!("{at}.value.selected"), "left or right", value.get("selected"))),
    }
}
