//! Conversations: OpenAI's messages, sharegpt and alpaca, and the tools that they call.

use super::field::{Wrong, list, object, path, some, text, text_if, truth};
use super::{Conversation, Message, Role, Said};
use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Roles of sharegpt's `from`, and what they are here; a call is an assistant's turn.
const SPEAKERS: [(&str, Role); 13] = [
    ("human", Role::User),
    ("user", Role::User),
    ("gpt", Role::Assistant),
    ("assistant", Role::Assistant),
    ("chatgpt", Role::Assistant),
    ("model", Role::Assistant),
    ("bot", Role::Assistant),
    ("system", Role::System),
    ("function_call", Role::Assistant),
    ("observation", Role::Tool),
    ("tool", Role::Tool),
    ("function_response", Role::Tool),
    ("ipython", Role::Tool),
];

/// A conversation of `messages` and, where given, `tools` and `documents`.
pub(super) fn conversation(map: &Object) -> Result<Conversation, Wrong> {
    let messages = messages(map.get("messages"), "messages")?;
    let documents = match some(map, "documents") {
        None => None,
        Some(_) => Some(list(map, "documents", "")?.clone()),
    };
    Ok(Conversation { messages, tools: tools(map)?, documents })
}

/// A list of messages, at least one.
pub(super) fn messages(value: Option<&Value>, at: &str) -> Result<Vec<Message>, Wrong> {
    let all = value.and_then(Value::as_array).filter(|all| !all.is_empty());
    let all = all.ok_or_else(|| Wrong::at(at, "a list of messages", value))?;
    all.iter().enumerate().map(|(index, value)| message(value, &format!("{at}[{index}]"))).collect()
}

fn message(value: &Value, at: &str) -> Result<Message, Wrong> {
    let map = object(value, at)?;
    let word = map.get("role");
    let role = word.and_then(Value::as_str).and_then(|word| Role::ALL.into_iter().find(|role| role.name() == word));
    let names = Role::ALL.map(Role::name).join(", ");
    let role = role.ok_or_else(|| Wrong::at(path(at, "role"), format!("one of {names}"), word))?;
    let tool_calls = match some(map, "tool_calls") {
        None => Vec::new(),
        Some(Value::Array(calls)) => {
            let place = |index| format!("{at}.tool_calls[{index}]");
            calls.iter().enumerate().map(|(index, value)| call(value, &place(index))).collect::<Result<_, _>>()?
        }
        other => return Err(Wrong::at(path(at, "tool_calls"), "a list of calls", other)),
    };
    let reasoning = ["reasoning_content", "thinking", "reasoning"].into_iter();
    let reasoning = reasoning.map(|key| text_if(map, key, at)).find(|found| !matches!(found, Ok(None)));
    let content = content(map.get("content"), &path(at, "content"))?;
    if content.is_none() && tool_calls.is_empty() {
        return Err(Wrong::at(path(at, "content"), "a string", map.get("content")));
    }
    if some(map, "train_detail").is_some() {
        let expected = "no parts of a message to train on: set train for the whole message";
        return Err(Wrong::at(path(at, "train_detail"), expected, map.get("train_detail")));
    }
    let known = ["role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "thinking", "reasoning"];
    let known = |key: &str| known.contains(&key) || ["train", "weight", "train_detail"].contains(&key);
    Ok(Message {
        role,
        content,
        reasoning: reasoning.transpose()?.flatten().map(str::to_owned),
        name: text_if(map, "name", at)?.map(str::to_owned),
        tool_calls,
        tool_call_id: text_if(map, "tool_call_id", at)?.map(str::to_owned),
        train: flag(map, at)?,
        extra: map.iter().filter(|(key, _)| !known(key)).map(|(key, value)| (key.clone(), value.clone())).collect(),
    })
}

/// `train`, or OpenAI's `weight` of 0 or 1.
fn flag(map: &Object, at: &str) -> Result<Option<bool>, Wrong> {
    let read = |key| some(map, key).map(|_| truth(map, key, at)).transpose();
    match (read("train")?, read("weight")?) {
        (Some(train), Some(weight)) if train != weight => {
            Err(Wrong::at(path(at, "weight"), format!("the same as train = {train}"), map.get("weight")))
        }
        (train, weight) => Ok(train.or(weight)),
    }
}

/// A string, or a list of parts that are all text.
fn content(value: Option<&Value>, at: &str) -> Result<Option<String>, Wrong> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(parts)) => {
            let part = |(index, part): (usize, &Value)| {
                let at = format!("{at}[{index}]");
                let map = object(part, &at)?;
                match map.get("type").and_then(Value::as_str) {
                    Some("text") | None => text(map, "text", &at).map(str::to_owned),
                    _ => Err(Wrong::at(path(&at, "type"), "\"text\": a model of text sees no other", map.get("type"))),
                }
            };
            parts.iter().enumerate().map(part).collect::<Result<String, Wrong>>().map(Some)
        }
        other => Err(Wrong::at(at, "a string, or a list of text parts", other)),
    }
}

/// One tool call; arguments that are JSON in a string become the object.
fn call(value: &Value, at: &str) -> Result<Value, Wrong> {
    let outer = object(value, at)?;
    let (inner, within) = match some(outer, "function") {
        Some(inner) => (object(inner, &path(at, "function"))?, path(at, "function")),
        None => (outer, at.to_owned()),
    };
    let name = text(inner, "name", &within)?;
    let arguments = match inner.get("arguments") {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(map)) => Value::Object(map),
            _ => {
                return Err(Wrong::at(path(&within, "arguments"), "an object, or one as JSON", inner.get("arguments")));
            }
        },
        Some(Value::Object(map)) => Value::Object(map.clone()),
        other => return Err(Wrong::at(path(&within, "arguments"), "an object, or one as JSON", other)),
    };
    let mut call = Map::new();
    if let Some(id) = some(outer, "id") {
        call.insert("id".into(), id.clone());
    }
    call.insert("type".into(), "function".into());
    call.insert("function".into(), json!({"name": name, "arguments": arguments}));
    Ok(Value::Object(call))
}

/// The tools of a record: a list, or one as JSON in a string; an empty one is none.
pub(super) fn tools(map: &Object) -> Result<Option<Vec<Value>>, Wrong> {
    let parsed: Value;
    let given = match some(map, "tools") {
        None => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => {
            let read = serde_json::from_str(text);
            parsed = read.map_err(|_| Wrong::at("tools", "a list of schemas, or one as JSON", map.get("tools")))?;
            &parsed
        }
        Some(other) => other,
    };
    let all = given.as_array().ok_or_else(|| Wrong::at("tools", "a list of schemas", Some(given)))?;
    let tool = |(index, value): (usize, &Value)| {
        let at = format!("tools[{index}]");
        let outer = object(value, &at)?;
        match some(outer, "function") {
            Some(inner) => text(object(inner, &path(&at, "function"))?, "name", &path(&at, "function"))?,
            None => return text(outer, "name", &at).map(|_| json!({"type": "function", "function": value})),
        };
        Ok(value.clone())
    };
    let all = all.iter().enumerate().map(tool).collect::<Result<Vec<_>, Wrong>>()?;
    Ok(Some(all).filter(|all| !all.is_empty()))
}

/// A prompt or an answer: a string or a list of messages.
pub(super) fn said(map: &Object, key: &str) -> Result<Said, Wrong> {
    match map.get(key) {
        Some(Value::String(text)) => Ok(Said::Text(text.clone())),
        Some(Value::Array(_)) => Ok(Said::Messages(messages(map.get(key), key)?)),
        Some(Value::Object(one)) if one.contains_key("role") => {
            Ok(Said::Messages(vec![message(&Value::Object(one.clone()), key)?]))
        }
        other => Err(Wrong::at(key, "a string or a list of messages", other)),
    }
}

/// A sharegpt record's conversation.
pub(super) fn sharegpt(map: &Object) -> Result<Conversation, Wrong> {
    let turns = list(map, "conversations", "")?;
    if turns.is_empty() {
        return Err(Wrong::at("conversations", "a list of turns", map.get("conversations")));
    }
    let mut messages = system(map)?;
    for (index, value) in turns.iter().enumerate() {
        messages.push(turn(value, &format!("conversations[{index}]"))?);
    }
    Ok(Conversation { messages, tools: tools(map)?, documents: None })
}

/// One turn of sharegpt.
pub(super) fn turn(value: &Value, at: &str) -> Result<Message, Wrong> {
    let map = object(value, at)?;
    let from = map.get("from");
    let role = SPEAKERS.iter().find(|(word, _)| from.and_then(Value::as_str) == Some(word));
    let names = SPEAKERS.map(|(word, _)| word).join(", ");
    let (word, role) = role.ok_or_else(|| Wrong::at(path(at, "from"), format!("one of {names}"), from))?;
    let value = text(map, "value", at)?;
    let mut message = Message::new(*role, value);
    if *word == "function_call" {
        let expected = "a call as JSON: {\"name\", \"arguments\"}, or a list of them";
        let wrong = || Wrong::at(path(at, "value"), expected, map.get("value"));
        let parsed: Value = serde_json::from_str(value).map_err(|_| wrong())?;
        let calls = match parsed {
            Value::Array(calls) if !calls.is_empty() => calls,
            one => vec![one],
        };
        message.tool_calls = calls.iter().map(|one| call(one, &path(at, "value"))).collect::<Result<_, _>>()?;
        message.content = None;
    }
    message.train = flag(map, at)?;
    Ok(message)
}

/// The `system` field as the first message.
fn system(map: &Object) -> Result<Vec<Message>, Wrong> {
    let words = text_if(map, "system", "")?.filter(|words| !words.trim().is_empty());
    Ok(words.map(|words| Message::new(Role::System, words)).into_iter().collect())
}

/// Alpaca's messages up to the answer: system, history, instruction and input.
pub(super) fn alpaca_prompt(map: &Object) -> Result<Vec<Message>, Wrong> {
    let mut messages = system(map)?;
    if some(map, "history").is_some() {
        for (index, value) in list(map, "history", "")?.iter().enumerate() {
            let pair: Option<Vec<&str>> = value.as_array().and_then(|pair| pair.iter().map(Value::as_str).collect());
            let Some([user, answer]) = pair.as_deref() else {
                let expected = "a pair [what was asked, what was answered]";
                return Err(Wrong::at(format!("history[{index}]"), expected, Some(value)));
            };
            messages.push(Message::new(Role::User, *user));
            messages.push(Message::new(Role::Assistant, *answer));
        }
    }
    let instruction = text(map, "instruction", "")?;
    let asked = match text_if(map, "input", "")?.filter(|input| !input.is_empty()) {
        Some(input) if instruction.is_empty() => input.to_owned(),
        Some(input) => format!("{instruction}\n{input}"),
        None => instruction.to_owned(),
    };
    if asked.trim().is_empty() {
        return Err(Wrong::words("instruction", "what is asked", "nothing in instruction or input"));
    }
    messages.push(Message::new(Role::User, asked));
    Ok(messages)
}

/// An alpaca record's conversation.
pub(super) fn alpaca(map: &Object) -> Result<Conversation, Wrong> {
    let mut messages = alpaca_prompt(map)?;
    messages.push(Message::new(Role::Assistant, text(map, "output", "")?));
    Ok(Conversation { messages, tools: tools(map)?, documents: None })
}
