//! A model measured on records: log-probabilities of what is learnt of them, and greedy answers to their prompts.
//!
//! The demo, the stages' reports and `pleach eval` all measure through these functions.

use crate::data::Tokenizer;
use crate::data::mask::{ChatEncoder, Encoded};
use crate::data::records::{Completion, Conversation, MultipleChoice, Record, Role, Said};
use crate::data::table::row;
use crate::model::Model;
use pleach_runtime::device::Device;
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::engine::layout::POLICY;
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use pleach_runtime::stage::{Row, Window};
use serde_json::Value;

/// Rows that are looked at with one request.
const ROWS: usize = 64;

/// Sequences that are continued at once.
const STREAMS: usize = 16;

/// What a model says of the learnt tokens of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    /// Sum of their log-probabilities, in nats: 0 or less.
    pub log_probability: f64,
    /// How many they are.
    pub tokens: u64,
    /// UTF-8 bytes that they stand for; a special token has none.
    pub bytes: u64,
}

impl Sum {
    /// The mean log-probability of a token.
    pub fn mean(&self) -> f64 {
        self.log_probability / self.tokens.max(1) as f64
    }

    /// Both together.
    pub fn plus(&self, other: &Sum) -> Sum {
        Sum {
            log_probability: self.log_probability + other.log_probability,
            tokens: self.tokens + other.tokens,
            bytes: self.bytes + other.bytes,
        }
    }

    /// Nats to bits for each byte: -log p / (ln 2 * bytes).
    pub fn bits_per_byte(&self) -> f64 {
        -self.log_probability / std::f64::consts::LN_2 / self.bytes.max(1) as f64
    }
}

/// The log-probabilities of records, each of which fits the model's context and has something that is learnt.
///
/// # Errors
/// A refusal for a record that does not fit, or as [`Model::evaluator`]; a fault of the device.
pub fn sums(model: &Model, device: Box<dyn Device>, records: &[Encoded]) -> Result<Vec<Sum>, Fault> {
    let longest = records.iter().map(|one| one.ids.len().saturating_sub(1)).max().unwrap_or(0).max(1);
    let context = longest.min(model.config.context);
    let mut engine = model.evaluator(device, context)?;
    let mut out = Vec::with_capacity(records.len());
    for (part, some) in records.chunks(ROWS).enumerate() {
        let number = |index: usize| part * ROWS + index;
        let rows = some.iter().enumerate();
        let rows = rows.map(|(at, one)| row(one, context, number(at) as u64, &format!("record {}", number(at) + 1)));
        let window = Window::new(context, rows.collect::<Result<Vec<_>, Refusal>>()?);
        let numbers = engine.evaluate(POLICY, &window)?;
        for (row, place) in window.rows.iter().zip(window.places()) {
            let mut sum = Sum::default();
            let targets = row.tokens[1..].iter().zip(&row.weights).zip(place);
            for ((&target, _), at) in targets.filter(|((_, weight), _)| **weight != 0.0) {
                sum.log_probability += f64::from(numbers[at][0]);
                sum.tokens += 1;
                sum.bytes += model.tokenizer.byte_length(target) as u64;
            }
            out.push(sum);
        }
    }
    Ok(out)
}

/// What a reward model says of records: the value at the last token of each.
///
/// # Errors
/// A refusal for a record that is empty or does not fit the context, or as [`Model::evaluator`]; a fault of the
/// device; a fault where a score is not a number.
pub fn scores(model: &Model, device: Box<dyn Device>, records: &[Encoded]) -> Result<Vec<f64>, Fault> {
    let longest = records.iter().map(|one| one.ids.len()).max().unwrap_or(0).max(1);
    let context = longest.min(model.config.context);
    let mut engine = model.evaluator(device, context)?;
    let mut out = Vec::with_capacity(records.len());
    for some in records.chunks(ROWS) {
        let row = |one: &Encoded| {
            let length = one.ids.len();
            if length == 0 || length > context {
                let detail = format!("it has {length} tokens; the context is {context}");
                return Err(Refusal::new("a record cannot be scored", detail, "shorten or drop it"));
            }
            // The target of the last token is nobody's: a scalar head predicts none.
            let tokens = one.ids.iter().copied().chain([0]).collect();
            let weights = (1..=length).map(|at| f32::from(u8::from(at == length))).collect();
            Ok(Row { tokens, weights, segments: vec![0; length], key: 0 })
        };
        let window = Window::new(context, some.iter().map(row).collect::<Result<Vec<_>, Refusal>>()?);
        let numbers = engine.evaluate(POLICY, &window)?;
        for place in window.places() {
            let score = f64::from(numbers[place.end - 1][0]);
            if !score.is_finite() {
                return Err(Fault::new(FaultKind::Numbers, format!("record {} scores {score}", out.len() + 1)));
            }
            out.push(score);
        }
    }
    Ok(out)
}

/// The most likely continuation of each prompt, token by token, up to one of `stops` or `max_tokens`. `each` is told
/// how many tokens came so far.
///
/// # Errors
/// A refusal for a prompt that leaves no room in the model's context, or as [`Model::generator`]; a fault of the
/// device.
pub fn greedy(
    model: &Model,
    device: Box<dyn Device>,
    prompts: &[Vec<u32>],
    stops: &[u32],
    max_tokens: usize,
    each: &mut dyn FnMut(u64),
) -> Result<Vec<String>, Fault> {
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0).saturating_add(max_tokens);
    let mut engine = model.generator(device, STREAMS.min(prompts.len()).max(1), longest)?;
    let sampling = Sampling { temperature: 0.0, top_p: 1.0, max_tokens, ..Sampling::default() };
    let mut count = 0;
    let answers = engine.generate(prompts, &sampling, stops, &mut |_, _| {
        count += 1;
        each(count);
        true
    })?;
    Ok(answers.iter().map(|answer| model.tokenizer.decode(&answer.tokens)).collect())
}

/// Something to answer, with the answer that somebody gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// What is given.
    pub prompt: Said,
    /// Tools of the conversation.
    pub tools: Option<Vec<Value>>,
    /// The answer to compare with.
    pub reference: String,
}

impl Task {
    /// The task of a record: the answer of a completion, the last answer of a conversation; none of other records, nor
    /// of an answer that is a call of a tool.
    pub fn of(record: &Record) -> Option<Task> {
        match record {
            Record::Completion(it) => {
                let reference = match &it.completion {
                    Said::Text(text) => text.clone(),
                    Said::Messages(messages) => match &messages[..] {
                        [one] if one.tool_calls.is_empty() => one.content.clone()?,
                        _ => return None,
                    },
                };
                Some(Task { prompt: it.prompt.clone(), tools: it.tools.clone(), reference })
            }
            Record::Conversation(Conversation { messages, tools, .. }) => {
                let (last, before) = messages.split_last()?;
                let answer = last.role == Role::Assistant && last.tool_calls.is_empty() && !before.is_empty();
                let reference = last.content.clone().filter(|_| answer)?;
                Some(Task { prompt: Said::Messages(before.to_vec()), tools: tools.clone(), reference })
            }
            _ => None,
        }
    }
}

/// Each choice of a question after its text, a blank between them: what is learnt is the choice. Without a template
/// the text is [`MultipleChoice::prompt`]; with one the question is asked and the choice is the assistant's answer,
/// its end mark not counted.
///
/// # Errors
/// As [`ChatEncoder::conversation`].
pub fn choices(
    question: &MultipleChoice,
    tokenizer: &Tokenizer,
    chat: Option<&ChatEncoder>,
) -> Result<Vec<Encoded>, Refusal> {
    let of = |choice: &String| match chat {
        None => {
            let text = question.prompt();
            let text = text.trim_end();
            let (border, whole) = (text.len(), format!("{text} {choice}"));
            let spans = tokenizer.encode_spans(&whole, std::slice::from_ref(&(0..whole.len())))?;
            let before = tokenizer.prefix();
            let mut one = plain(before.iter().chain(&spans.ids).copied().collect());
            let learnt = spans.ranges.iter().map(|range| range.end > border);
            one.trained = before.iter().map(|_| false).chain(learnt).collect();
            Ok(one)
        }
        Some(chat) => {
            let said = |words: String, role| Said::Messages(Said::Text(words).into_messages(role));
            let (prompt, completion) = (said(question.asked(), Role::User), said(choice.clone(), Role::Assistant));
            let mut one = chat.completion(&Completion { prompt, completion, tools: None })?;
            for (trained, id) in one.trained.iter_mut().zip(&one.ids) {
                *trained &= tokenizer.name(*id).is_none();
            }
            Ok(one)
        }
    };
    question.choices.iter().map(of).collect()
}

fn plain(ids: Vec<u32>) -> Encoded {
    let trained = vec![false; ids.len()];
    let agreement = crate::data::mask::Agreement::Plain;
    Encoded { ids, trained, turns: 1, unended: 0, empty: 0, straddling: 0, bos_inside: 0, agreement }
}
