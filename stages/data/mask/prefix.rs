//! The turns of a rendered conversation by growing prefixes.

use crate::data::records::{Message, Role};
use crate::data::template::{Scene, Template};
use pleach_runtime::fault::Refusal;
use std::ops::Range;

/// How a template broke the prefix property.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The answer at which it was seen, counted from 0 over all messages.
    message: usize,
    /// What differs, in words.
    detail: String,
}

impl Broken {
    pub(super) fn refusal(self, origin: &str) -> Refusal {
        let what = format!("the chat template {origin} changes what it has written before");
        let detail = format!("at message {}: {}", self.message + 1, self.detail);
        let hint = "masks need templates that only append: use one with {% generation %} blocks, or \"chatml\"";
        Refusal::new(what, detail, hint)
    }
}

/// The byte range of each answer in `text`, the rendering of the whole scene: from where an answer would begin to
/// where the turn ends, with all that the template writes after it.
pub(super) fn turns(
    template: &Template,
    scene: &Scene,
    messages: &[Message],
    text: &str,
) -> Result<Vec<(usize, Range<usize>)>, Broken> {
    let mut found = Vec::new();
    for index in (0..messages.len()).filter(|&index| messages[index].role == Role::Assistant) {
        let part = |count: usize, prompt: bool| {
            let part =
                Scene { messages: scene.messages[..count].to_vec(), add_generation_prompt: prompt, ..scene.clone() };
            template.render(&part).map_err(|refusal| Broken { message: index, detail: refusal.detail })
        };
        let before = part(index, true)?;
        let after = match index + 1 == messages.len() {
            true => text.to_owned(),
            false => part(index + 1, false)?,
        };
        // Some templates close a conversation with EOS wherever it ends.
        let eos = template.specials().iter().find(|(name, _)| name == "eos_token").map(|(_, text)| text.as_str());
        let open = eos.and_then(|eos| after.strip_suffix(eos)).filter(|_| !text.starts_with(&after));
        let after = open.unwrap_or(&after);
        let broken = |detail| Err(Broken { message: index, detail });
        if !after.starts_with(&before) {
            return broken(difference(&before, after, "the beginning of the answer", "the answer"));
        }
        if !text.starts_with(after) {
            return broken(difference(after, text, "up to this answer", "the whole conversation"));
        }
        found.push((index, before.len()..after.len()));
    }
    Ok(found)
}

/// Where two renderings part.
fn difference(short: &str, long: &str, of_short: &str, of_long: &str) -> String {
    let at = short.char_indices().zip(long.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
    let at = at.unwrap_or(short.len().min(long.len()));
    let show = |text: &str| format!("{:?}", text[at..].chars().take(24).collect::<String>());
    format!("after {at} bytes {of_short} goes on with {}, {of_long} with {}", show(short), show(long))
}
