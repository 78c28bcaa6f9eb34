//! What of a conversation is learnt: its ids, and for each whether the loss sees it.
//!
//! The mask is made in two ways that know nothing of each other, and both must say the same:
//!
//! - *by prefixes*: the conversation up to a turn is rendered with the beginning of an answer, and up to and with the
//!   turn; what the second has more than the first is the turn. This asks for templates that never change what they
//!   have written before (the prefix property); one that does is refused by name, unless it says with
//!   `{% generation %}` blocks what the model writes;
//! - *by offsets*: the conversation is rendered once more with a private character for each content, so that the place
//!   of each content in the text is known exactly; or the generation blocks are taken.
//!
//! A turn ends with its end mark (`<|im_end|>`, `</s>`), which is learnt; what the template writes after that mark is
//! not. A token that lies across a border counts as learnt, and is counted apart, because in generation the prompt's
//! own tokens would have been others.
//!
//! What people wrote stays text: a control token spelled in a content does not become one.

mod offsets;
mod prefix;
mod tally;
#[cfg(test)]
mod tests;

pub use tally::{Limits, Tally};

use super::records::{Completion, Conversation, Message, Pair, Role, Said};
use super::template::{Scene, Template};
use super::tokenizer::{Spans, Tokenizer};
use offsets::Layout;
use pleach_runtime::fault::Refusal;
use serde_json::Value;
use std::ops::Range;

/// Names of tokens that end a turn in the templates of the field.
const END_MARKS: [&str; 12] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>",
    "</s>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<eos>",
    "<\u{FF5C}end\u{2581}of\u{2581}sentence\u{FF5C}>",
    "<|return|>",
];

/// Which answers are learnt, where a message does not say it itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turns {
    /// Every one.
    #[default]
    All,
    /// The last one.
    Last,
}

/// How well the two ways agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// The same mask from both.
    Exact,
    /// All answers are learnt and nothing else that people wrote; beside them words of the template are, such as the
    /// marks around a tool call or around thinking.
    Contained,
    /// There is no template: text and text.
    Plain,
}

/// A conversation as ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The ids, BOS first where the model has one.
    pub ids: Vec<u32>,
    /// For each id, whether the loss sees it as a target.
    pub trained: Vec<bool>,
    /// Answers that are learnt.
    pub turns: u32,
    /// Of those, answers whose end mark is not learnt.
    pub unended: u32,
    /// Of those, answers that say nothing.
    pub empty: u32,
    /// Tokens across the beginning of an answer.
    pub straddling: u32,
    /// BOS inside: templates of Llama 2's kind begin each exchange with it.
    pub bos_inside: u32,
    /// How well the two ways agreed.
    pub agreement: Agreement,
}

impl Encoded {
    /// How many ids are learnt.
    pub fn trained_count(&self) -> usize {
        self.trained.iter().filter(|&&yes| yes).count()
    }

    /// The ids before the first that is learnt: what must fit into the context together with an answer.
    pub fn prompt_length(&self) -> usize {
        self.trained.iter().position(|&yes| yes).unwrap_or(self.ids.len())
    }

    /// The same, cut after `context` ids.
    pub fn cut(mut self, context: usize) -> Encoded {
        self.ids.truncate(context);
        self.trained.truncate(context);
        self
    }
}

/// A pair as ids.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedPair {
    /// Prompt and better answer.
    pub chosen: Encoded,
    /// Prompt and worse answer.
    pub rejected: Encoded,
}

/// Makes ids and masks of conversations.
#[derive(Debug)]
pub struct ChatEncoder<'a> {
    tokenizer: &'a Tokenizer,
    template: &'a Template,
    turns: Turns,
}

/// A rendered conversation: its text, its ids, and where its contents are.
struct Rendered {
    text: String,
    blocks: Vec<Range<usize>>,
    spans: Spans,
    layout: Option<Layout>,
}

impl<'a> ChatEncoder<'a> {
    /// An encoder for a model's tokenizer and template.
    pub fn new(tokenizer: &'a Tokenizer, template: &'a Template, turns: Turns) -> ChatEncoder<'a> {
        ChatEncoder { tokenizer, template, turns }
    }

    /// A conversation with its mask.
    ///
    /// # Errors
    /// A refusal where the template does not take the conversation, breaks the prefix property, begins with two BOS,
    /// or where the two ways disagree.
    pub fn conversation(&self, conversation: &Conversation) -> Result<Encoded, Refusal> {
        let messages = &conversation.messages;
        let scene = scene(conversation);
        let rendered = self.render(&scene, messages)?;
        let learnt = self.learnt(messages)?;
        let by_prefix = prefix::turns(self.template, &scene, messages, &rendered.text);
        let blocks = match self.template.has_generation_blocks() {
            true => Some(blocks_of_turns(messages, &rendered.blocks, &learnt)?),
            false => None,
        };
        let (spans, by_prefix) = match (blocks, by_prefix) {
            (Some(blocks), found) => (blocks, found.ok()),
            (None, found) => (found.map_err(|broken| broken.refusal(self.template.origin()))?, None),
        };
        let kept: Vec<(usize, Range<usize>)> = spans.into_iter().filter(|(index, _)| learnt[*index]).collect();
        let kept: Vec<_> = kept.into_iter().map(|(index, range)| (index, self.close(&rendered, range))).collect();
        let other = by_prefix.map(|all| {
            let chosen = all.into_iter().filter(|(index, _)| learnt[*index]);
            chosen.map(|(index, range)| (index, self.close(&rendered, range))).collect::<Vec<_>>()
        });
        let agreement = self.compare(&rendered, messages, &kept, other.as_deref())?;
        self.encoded(rendered, messages, &kept, agreement)
    }

    /// A prompt and the answer to it.
    ///
    /// # Errors
    /// As [`ChatEncoder::conversation`].
    pub fn completion(&self, it: &Completion) -> Result<Encoded, Refusal> {
        let (prompt, answer) = match (&it.prompt, &it.completion) {
            (Said::Text(prompt), Said::Text(answer)) => return self.texts(prompt, answer),
            (prompt, answer) => {
                (prompt.clone().into_messages(Role::User), answer.clone().into_messages(Role::Assistant))
            }
        };
        let unlearnt = |message: Message| Message { train: Some(false), ..message };
        let learnt = |message: Message| match (message.role, message.train) {
            (Role::Assistant, None) => Message { train: Some(true), ..message },
            _ => message,
        };
        let messages = prompt.into_iter().map(unlearnt).chain(answer.into_iter().map(learnt)).collect();
        self.conversation(&Conversation { messages, tools: it.tools.clone(), documents: None })
    }

    /// Both answers of a pair after their prompt.
    ///
    /// # Errors
    /// As [`ChatEncoder::conversation`].
    pub fn pair(&self, it: &Pair) -> Result<EncodedPair, Refusal> {
        let side = |answer: &Said| {
            let (prompt, completion) = (it.prompt.clone(), answer.clone());
            self.completion(&Completion { prompt, completion, tools: it.tools.clone() })
        };
        Ok(EncodedPair { chosen: side(&it.chosen)?, rejected: side(&it.rejected)? })
    }

    /// The ids that an answer follows.
    ///
    /// # Errors
    /// As [`ChatEncoder::conversation`].
    pub fn prompt(&self, prompt: &Said, tools: Option<&[Value]>) -> Result<Vec<u32>, Refusal> {
        let messages = match prompt {
            Said::Text(text) => {
                let ids = self.tokenizer.encode_spans(text, std::slice::from_ref(&(0..text.len())))?.ids;
                return Ok(self.tokenizer.prefix().iter().copied().chain(ids).collect());
            }
            Said::Messages(messages) => messages,
        };
        let scene = Scene { tools: tools.map(<[Value]>::to_vec), add_generation_prompt: true, ..Scene::of(messages) };
        let ids = self.render(&scene, messages)?.spans.ids;
        let missing = self.missing_prefix(&ids)?;
        Ok(missing.iter().copied().chain(ids).collect())
    }

    /// The ids that end an answer: generation stops at them. EOS, and the end marks that the template writes.
    pub fn stops(&self) -> Vec<u32> {
        let written = END_MARKS.iter().filter(|mark| self.template.source().contains(**mark));
        let marks = written.filter_map(|mark| self.tokenizer.id(mark)).filter(|id| self.tokenizer.name(*id).is_some());
        let mut stops: Vec<u32> = self.tokenizer.eos().into_iter().chain(marks).collect();
        stops.sort_unstable();
        stops.dedup();
        stops
    }

    /// Text after text: the loss sees the second one and the end.
    fn texts(&self, prompt: &str, answer: &str) -> Result<Encoded, Refusal> {
        let whole = format!("{prompt}{answer}");
        let spans = self.tokenizer.encode_spans(&whole, std::slice::from_ref(&(0..whole.len())))?;
        let border = prompt.len();
        let mut ids = self.tokenizer.prefix().to_vec();
        let mut trained = vec![false; ids.len()];
        ids.extend(&spans.ids);
        trained.extend(spans.ranges.iter().map(|range| range.end > border));
        let end = self.tokenizer.document_end();
        trained.extend(end.iter().map(|_| true));
        let unended = u32::from(end.is_empty());
        ids.extend(end);
        let straddling = spans.ranges.iter().filter(|range| range.start < border && range.end > border).count() as u32;
        let empty = u32::from(answer.trim().is_empty());
        Ok(Encoded { ids, trained, turns: 1, unended, empty, straddling, bos_inside: 0, agreement: Agreement::Plain })
    }

    /// Which messages are learnt.
    fn learnt(&self, messages: &[Message]) -> Result<Vec<bool>, Refusal> {
        let last = messages.iter().rposition(|message| message.role == Role::Assistant);
        let all = messages.iter().enumerate().map(|(index, message)| {
            let answer = message.role == Role::Assistant;
            if message.train == Some(true) && !answer {
                let detail = format!("message {} of role {} has train = true", index + 1, message.role.name());
                let hint = "only answers of the assistant are learnt: set train there, or leave it out";
                return Err(Refusal::new("a message cannot be learnt", detail, hint));
            }
            Ok(answer && message.train.unwrap_or(self.turns == Turns::All || last == Some(index)))
        });
        all.collect()
    }

    /// Renders, finds the contents, and makes ids.
    fn render(&self, scene: &Scene, messages: &[Message]) -> Result<Rendered, Refusal> {
        let (text, blocks) = match self.template.has_generation_blocks() {
            true => self.template.render_marked(scene)?,
            false => (self.template.render(scene)?, Vec::new()),
        };
        let layout = offsets::layout(self.template, scene, messages, &text);
        offsets::check_spelling(self.tokenizer, scene, layout.is_some())?;
        let plain = layout.as_ref().map(Layout::ranges).unwrap_or_default();
        let spans = self.tokenizer.encode_spans(&text, &plain)?;
        Ok(Rendered { text, blocks, spans, layout })
    }

    /// A turn without what the template writes after its end mark: of the marks and blanks at its end, all up to the
    /// first mark that ends turns; where there is no such, up to the last mark.
    fn close(&self, rendered: &Rendered, range: Range<usize>) -> Range<usize> {
        let spans = rendered.spans.ids.iter().zip(&rendered.spans.ranges).rev();
        let inside = spans.filter(|(_, one)| one.start >= range.start && one.end <= range.end);
        let (mut last, mut mark) = (None, None);
        for (id, one) in inside {
            match self.tokenizer.name(*id) {
                Some(name) => {
                    last = last.or(Some(one.end));
                    if END_MARKS.contains(&name.as_str()) || self.tokenizer.eos() == Some(*id) {
                        mark = Some(one.end);
                    }
                }
                None if rendered.text[one.clone()].trim().is_empty() => {}
                None => break,
            }
        }
        range.start..mark.or(last).unwrap_or(range.end)
    }

    /// For each id, whether it touches one of the ranges.
    fn touched(&self, spans: &Spans, ranges: &[(usize, Range<usize>)]) -> Vec<bool> {
        let touches = |one: &Range<usize>| ranges.iter().any(|(_, r)| one.start < r.end && one.end > r.start);
        spans.ranges.iter().map(touches).collect()
    }

    /// Compares the mask with the other way's, and with where the contents are.
    fn compare(
        &self,
        rendered: &Rendered,
        messages: &[Message],
        kept: &[(usize, Range<usize>)],
        by_prefix: Option<&[(usize, Range<usize>)]>,
    ) -> Result<Agreement, Refusal> {
        let disagree = |index: usize, detail: &str| {
            let what = format!("the two ways of masking disagree under the chat template {}", self.template.origin());
            let detail = format!("message {} ({}): {detail}", index + 1, messages[index].role.name());
            Refusal::new(what, detail, "use a template with {% generation %} blocks, or \"chatml\", which is built in")
        };
        let Some(layout) = &rendered.layout else {
            for (index, range) in kept {
                let answer = offsets::visible(&messages[*index]);
                if !rendered.text[range.clone()].contains(answer) {
                    return Err(disagree(*index, "its words do not stand in the turn that would be learnt"));
                }
            }
            return Ok(Agreement::Contained);
        };
        let mask = self.touched(&rendered.spans, kept);
        for content in &layout.contents {
            let index = content.message;
            let learnt = kept.iter().any(|(turn, _)| *turn == index);
            let tokens = rendered.spans.ranges.iter().zip(&mask).filter(|(one, _)| {
                // A token across the border belongs to both sides.
                one.start >= content.range.start && one.end <= content.range.end && !one.is_empty()
            });
            if tokens.clone().any(|(_, trained)| *trained != learnt) {
                let which = if learnt { "words of it would not be learnt" } else { "words of it would be learnt" };
                return Err(disagree(index, which));
            }
        }
        let expected = match by_prefix {
            Some(other) => other.to_vec(),
            None => {
                let names: Vec<&str> = self.tokenizer.special_names().collect();
                kept.iter()
                    .filter_map(|(index, _)| Some((*index, layout.turn(*index, &rendered.text, &names)?)))
                    .collect()
            }
        };
        for (index, range) in kept {
            let message = &messages[*index];
            let first = layout.contents.iter().find(|content| content.message == *index);
            let first = first.filter(|_| message.tool_calls.is_empty()).map_or(range.start, |it| it.range.start);
            let head = rendered.spans.ranges.iter().zip(&rendered.spans.ids);
            let mut head = head.filter(|(one, _)| one.start >= range.start && one.end <= first);
            if let Some(name) = head.find_map(|(_, id)| self.tokenizer.name(*id)) {
                let detail =
                    format!("{name} before the answer would be learnt: add_generation_prompt does not write it");
                return Err(disagree(*index, &detail));
            }
        }
        let simple = kept.iter().all(|(index, _)| messages[*index].tool_calls.is_empty());
        let same = simple && expected.len() == kept.len() && self.touched(&rendered.spans, &expected) == mask;
        Ok(if same { Agreement::Exact } else { Agreement::Contained })
    }

    /// Ids and mask, with BOS once.
    fn encoded(
        &self,
        rendered: Rendered,
        messages: &[Message],
        kept: &[(usize, Range<usize>)],
        agreement: Agreement,
    ) -> Result<Encoded, Refusal> {
        let spans = &rendered.spans;
        let mut trained = self.touched(spans, kept);
        let mut unended = 0;
        for (_, range) in kept {
            let last = spans.ranges.iter().rposition(|one| one.start < range.end && one.end > range.start);
            let ended = last.is_some_and(|last| self.tokenizer.name(spans.ids[last]).is_some());
            unended += u32::from(!ended);
        }
        let across = |(_, range): &&(usize, Range<usize>)| {
            spans.ranges.iter().any(|one| one.start < range.start && one.end > range.start)
        };
        let straddling = kept.iter().filter(across).count() as u32;
        let empty = kept.iter().filter(|(index, _)| messages[*index].is_empty()).count() as u32;
        let missing = self.missing_prefix(&spans.ids)?;
        let bos = self.tokenizer.bos().filter(|bos| self.tokenizer.eos() != Some(*bos));
        let bos_inside = spans.ids.iter().skip(1).filter(|id| Some(**id) == bos).count() as u32;
        let ids = missing.iter().copied().chain(rendered.spans.ids.iter().copied()).collect();
        trained.splice(0..0, missing.iter().map(|_| false));
        let turns = kept.len() as u32;
        Ok(Encoded { ids, trained, turns, unended, empty, straddling, bos_inside, agreement })
    }

    /// What the tokenizer puts before each text, where the template did not; two BOS are refused.
    fn missing_prefix(&self, ids: &[u32]) -> Result<&[u32], Refusal> {
        let Some(bos) = self.tokenizer.bos() else { return Ok(&[]) };
        if ids.len() > 1 && ids[0] == bos && ids[1] == bos {
            let name = self.tokenizer.name(bos).unwrap_or_default();
            let detail = format!("the chat template {} begins with {name} twice", self.template.origin());
            let hint = "take one of them out of the template: a model is given exactly one";
            return Err(Refusal::new("a conversation begins with two BOS", detail, hint));
        }
        let prefix = self.tokenizer.prefix();
        Ok(if ids.first() == Some(&bos) || prefix.first() != Some(&bos) { &[] } else { prefix })
    }
}

/// What the template sees of a conversation.
fn scene(conversation: &Conversation) -> Scene {
    Scene {
        tools: conversation.tools.clone(),
        documents: conversation.documents.clone(),
        ..Scene::of(&conversation.messages)
    }
}

/// Generation blocks by turn: one for each answer, in order.
fn blocks_of_turns(
    messages: &[Message],
    blocks: &[Range<usize>],
    learnt: &[bool],
) -> Result<Vec<(usize, Range<usize>)>, Refusal> {
    let answers: Vec<usize> = (0..messages.len()).filter(|&index| messages[index].role == Role::Assistant).collect();
    if blocks.len() != answers.len() {
        let detail = format!("{} blocks for {} answers", blocks.len(), answers.len());
        let hint = "write one {% generation %} block around what the model writes in each of its turns";
        let wanted = learnt.iter().any(|&yes| yes);
        if wanted {
            return Err(Refusal::new("the template's generation blocks do not fit the conversation", detail, hint));
        }
        return Ok(Vec::new());
    }
    Ok(answers.into_iter().zip(blocks.iter().cloned()).collect())
}
