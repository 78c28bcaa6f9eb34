//! `{% generation %}` blocks: what the model writes, as transformers' own extension marks it.
//!
//! Jinja does not know the tag. Before compiling it becomes a filter block, whose filter hands the text on as it is,
//! or between two characters that occur nowhere else; these are taken out of the rendered text again.

use super::Scene;
use minijinja::{State, Value};
use std::ops::Range;

/// The filter's name in the prepared source.
pub(super) const FILTER: &str = "pleach_generation";

/// The variable that holds the two characters, where they are wanted.
pub(super) const FENCES: &str = "pleach_generation_fences";

/// First of the private characters that fences are chosen from (plane 16).
const PRIVATE: u32 = 0x10_0000;

/// The source with generation blocks as filter blocks, and whether there are any. Comments, raw blocks and strings
/// in expressions stay as they are.
pub(super) fn prepare(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let (mut rest, mut any, mut raw) = (source, false, false);
    while let Some(at) = rest.find("{") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = match () {
            () if rest.starts_with("{#") && !raw => rest.find("#}").map(|end| end + 2),
            () if rest.starts_with("{{") && !raw => tag_end(rest, "}}"),
            () if rest.starts_with("{%") => tag_end(rest, "%}"),
            () => Some(1),
        };
        let end = end.unwrap_or(rest.len());
        let tag = &rest[..end];
        rest = &rest[end..];
        match word(tag) {
            Some("raw") => raw = true,
            Some("endraw") => raw = false,
            _ => {}
        }
        match word(tag).filter(|_| !raw) {
            Some("generation") => {
                any = true;
                out.push_str(&tag.replacen("generation", &format!("filter {FILTER}"), 1));
            }
            Some("endgeneration") => out.push_str(&tag.replacen("endgeneration", "endfilter", 1)),
            _ => out.push_str(tag),
        }
    }
    out.push_str(rest);
    (out, any)
}

/// Where a tag ends, strings in it passed over.
fn tag_end(text: &str, close: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (2, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'\'' | b'"')) => quote = Some(byte),
            (None, _) if bytes[at..].starts_with(close.as_bytes()) => return Some(at + 2),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The only word of a block tag, if it has no more.
fn word(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim())
}

/// The filter: the block's text, between the fences where they are wanted.
pub(super) fn fence(state: &State, text: String) -> String {
    let fences = state.lookup(FENCES);
    match fences.as_ref().and_then(Value::as_str).map(|both| both.split_at(both.len() / 2)) {
        Some((open, close)) => format!("{open}{text}{close}"),
        None => text,
    }
}

/// Two characters that neither the template nor what it is given holds.
pub(super) fn fences(source: &str, scene: &Scene) -> (char, char) {
    let given = serde_json::to_string(&(&scene.messages, &scene.tools, &scene.documents, &scene.variables));
    let given = given.unwrap_or_default();
    let mut free = unused([source, &given]);
    let pair = free.next().zip(free.next());
    pair.expect("a plane has more characters than a conversation uses")
}

/// Private characters that none of the texts holds, all of four bytes.
pub(in crate::data) fn unused<'a>(texts: [&'a str; 2]) -> impl Iterator<Item = char> + 'a {
    let all = (PRIVATE..PRIVATE + 0xFFFE).filter_map(char::from_u32);
    // Nearly always none of the plane is used, which is seen at once.
    let taken = texts.iter().any(|text| text.bytes().any(|byte| byte == 0xF4));
    all.filter(move |&c| !taken || !texts.iter().any(|text| text.contains(c)))
}

/// A rendered text without the fences, and the byte ranges that they enclosed.
pub(super) fn take_out(text: &str, (open, close): (char, char)) -> (String, Vec<Range<usize>>) {
    let mut out = String::with_capacity(text.len());
    let (mut starts, mut ranges) = (Vec::new(), Vec::new());
    for c in text.chars() {
        match c {
            c if c == open => starts.push(out.len()),
            c if c == close => ranges.extend(starts.pop().map(|start| start..out.len())),
            c => out.push(c),
        }
    }
    ranges.sort_by_key(|range| range.start);
    (out, ranges)
}
