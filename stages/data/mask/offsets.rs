//! The contents of a rendered conversation by their offsets.
//!
//! The conversation is rendered a second time with a private character in place of each content. What stands between
//! these characters are the template's own words, and the true rendering must be these words with the contents filled
//! in, as they are or trimmed. So every byte of the text is known to be the template's or a person's.

use crate::data::records::Message;
use crate::data::template::{Scene, Template, unused_characters};
use crate::data::tokenizer::Tokenizer;
use pleach_runtime::fault::Refusal;
use serde_json::Value;
use std::ops::Range;

/// One content's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Whose it is.
    pub(super) message: usize,
    /// Its bytes.
    pub(super) range: Range<usize>,
}

/// Where all contents are, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The contents.
    pub(super) contents: Vec<Content>,
}

impl Layout {
    /// Their ranges, sorted.
    pub(super) fn ranges(&self) -> Vec<Range<usize>> {
        self.contents.iter().map(|content| content.range.clone()).collect()
    }

    /// A turn of text: from its first content to the end mark that the template writes after its last one.
    pub(super) fn turn(&self, message: usize, text: &str, marks: &[&str]) -> Option<Range<usize>> {
        let first = self.contents.iter().find(|content| content.message == message)?;
        let last = self.contents.iter().rposition(|content| content.message == message)?;
        let from = self.contents[last].range.end;
        let next = self.contents.get(last + 1).map_or(text.len(), |content| content.range.start);
        let mark = marks.iter().filter_map(|mark| Some((text[from..next].find(mark)?, mark.len())));
        // The longest of those at one place.
        let mark = mark.min_by_key(|&(at, length)| (at, usize::MAX - length));
        let end = mark.map_or(from, |(at, length)| from + at + length);
        Some(first.range.start..end)
    }
}

/// Finds the contents; `None` where the template looks into them and writes something else (thinking taken out of an
/// answer, say).
pub(super) fn layout(template: &Template, scene: &Scene, messages: &[Message], text: &str) -> Option<Layout> {
    let given = serde_json::to_string(&(&scene.messages, &scene.tools, &scene.documents, &scene.variables)).ok()?;
    let mut free = unused_characters([template.source(), &given]);
    let mut stand_ins: Vec<(char, usize, &str)> = Vec::new();
    let mut blank = messages.to_vec();
    for (index, message) in messages.iter().enumerate() {
        let copy = &mut blank[index];
        for (from, to) in [(&message.content, &mut copy.content), (&message.reasoning, &mut copy.reasoning)] {
            if let Some(words) = from.as_deref().filter(|words| !words.trim().is_empty()) {
                let c = free.next()?;
                stand_ins.push((c, index, words));
                *to = Some(c.to_string());
            }
        }
    }
    let skeleton = Scene { messages: blank.iter().map(Message::to_value).collect(), ..scene.clone() };
    let skeleton = template.render(&skeleton).ok()?;
    fill(&skeleton, &stand_ins, text)
}

/// Walks the skeleton along the text.
fn fill(skeleton: &str, stand_ins: &[(char, usize, &str)], text: &str) -> Option<Layout> {
    let standing = |c: char| stand_ins.binary_search_by_key(&c, |&(known, ..)| known).ok();
    let words_until = |rest: &str| rest.find(|c| standing(c).is_some()).unwrap_or(rest.len());
    let (mut rest, mut at, mut contents) = (skeleton, 0, Vec::new());
    loop {
        let words = words_until(rest);
        text[at..].starts_with(&rest[..words]).then_some(())?;
        at += words;
        rest = &rest[words..];
        let Some(c) = rest.chars().next() else { break };
        let (_, message, content) = stand_ins[standing(c)?];
        rest = &rest[c.len_utf8()..];
        let follows = &rest[..words_until(rest)];
        let forms = [content, content.trim(), content.trim_end(), content.trim_start()];
        let fits = |form: &&&str| {
            let after = text[at..].strip_prefix(**form);
            after.is_some_and(|after| after.starts_with(follows) && (!rest.is_empty() || after.len() == follows.len()))
        };
        let form = forms.iter().find(fits)?;
        contents.push(Content { message, range: at..at + form.len() });
        at += form.len();
    }
    (at == text.len()).then_some(Layout { contents })
}

/// The words of an answer that a template shows in any case: what stands after its thinking.
pub(super) fn visible(message: &Message) -> &str {
    let content = message.content.as_deref().unwrap_or("");
    content.rsplit("</think>").next().unwrap_or(content).trim()
}

/// Refuses control tokens spelled where they could become tokens: in tools, calls and names, and in contents too where
/// their place is not known.
pub(super) fn check_spelling(tokenizer: &Tokenizer, scene: &Scene, placed: bool) -> Result<(), Refusal> {
    let names: Vec<&str> = tokenizer.special_names().collect();
    let refuse = |place: String, name: &str| {
        let what = "a control token is spelled in the data";
        let hint = "take it out, or spell it differently: it would end or begin turns that nobody wrote";
        Err(Refusal::new(what, format!("{place} holds {name}"), hint))
    };
    for (index, message) in scene.messages.iter().enumerate() {
        for (key, value) in message.as_object().into_iter().flatten() {
            let is_content = ["content", "reasoning_content", "thinking", "reasoning"].contains(&key.as_str());
            if let Some(name) = spelled(value, &names).filter(|_| !(placed && is_content)) {
                return refuse(format!("message {}, {key},", index + 1), name);
            }
        }
    }
    for (what, list) in [("the tools'", &scene.tools), ("the documents'", &scene.documents)] {
        if let Some(name) = list.iter().flatten().find_map(|value| spelled(value, &names)) {
            return refuse(format!("{what} text"), name);
        }
    }
    Ok(())
}

/// The first of the names that a string within a value holds.
fn spelled<'a>(value: &Value, names: &[&'a str]) -> Option<&'a str> {
    match value {
        Value::String(text) => names.iter().find(|name| text.contains(**name)).copied(),
        Value::Array(list) => list.iter().find_map(|one| spelled(one, names)),
        Value::Object(map) => map.iter().find_map(|(key, one)| {
            names.iter().find(|name| key.contains(**name)).copied().or_else(|| spelled(one, names))
        }),
        _ => None,
    }
}
