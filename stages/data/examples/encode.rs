//! One record to ids and masks, by what it is to serve for.

use super::{Choices, Example, Kind};
use crate::data::mask::{ChatEncoder, Encoded};
use crate::data::records::{Completion, Record, Said};
use crate::data::template::{Source, Template};
use crate::data::tokenizer::Tokenizer;
use pleach_runtime::fault::Refusal;
use serde_json::{Map, Value};
use std::path::Path;

/// What becomes of a record.
pub(super) enum Made {
    /// Something to learn from.
    Example(Example),
    /// So many ids without a mask.
    Unmasked(usize),
}

/// Tokenizer and template.
pub(super) struct Chat<'a> {
    tokenizer: &'a Tokenizer,
    template: Template,
    /// Why the template is not the one that was meant: said when a record needs it.
    lacking: Option<Refusal>,
    /// Whether a record needed it.
    pub(super) used: bool,
}

impl<'a> Chat<'a> {
    /// The template that was chosen.
    pub(super) fn new(choices: &Choices<'a>, tokenizer: &'a Tokenizer) -> Result<Chat<'a>, Refusal> {
        let found = match (&choices.folder, &choices.template) {
            (Some(folder), chosen) => Template::load(chosen, folder, tokenizer),
            (None, Source::Model | Source::Chatml) => Template::chatml(tokenizer),
            (None, Source::Suited) => Template::chatml(tokenizer).or_else(|_| Template::plain(tokenizer)),
            (None, Source::Plain) => Template::plain(tokenizer),
            (None, Source::File(path)) => {
                Template::load(&choices.template, path.parent().unwrap_or(Path::new("")), tokenizer)
            }
            (None, Source::Named(name)) => {
                let hint = "name a model, or use \"chatml\", \"plain\" or a .jinja file";
                Err(Refusal::new(format!("there is no chat template \"{name}\""), "there is no model", hint))
            }
        };
        let (template, lacking) = match found {
            Ok(template) => (template, None),
            // Texts need none.
            Err(refusal) => (Template::new("no template", "", Vec::new())?, Some(refusal)),
        };
        Ok(Chat { tokenizer, template, lacking, used: false })
    }

    /// The template, where a record needed it.
    pub(super) fn into_template(self) -> Option<Template> {
        self.used.then_some(self.template)
    }

    /// A record's ids and masks; `name` is its file's.
    pub(super) fn record(&mut self, record: Record, prompt: u64, choices: &Choices) -> Result<Made, Refusal> {
        suits(&record, choices)?;
        if record.has_messages() {
            self.used = true;
            if let Some(refusal) = &self.lacking {
                return Err(refusal.clone());
            }
        }
        let encoder = ChatEncoder::new(self.tokenizer, &self.template, choices.turns);
        let one = |answer: Encoded| {
            let (answers, flags) = (vec![answer], vec![Vec::new()]);
            Ok(Made::Example(Example { prompt, answers, ranks: vec![1], flags, margin: None }))
        };
        match record {
            Record::Text(text) if choices.kind == Kind::Any => {
                Ok(Made::Unmasked(self.tokenizer.encode_whole(&text)?.len()))
            }
            Record::Text(text) => {
                let (prompt, completion) = (Said::Text(String::new()), Said::Text(text));
                let mut whole = encoder.completion(&Completion { prompt, completion, tools: None })?;
                whole.trained.fill(true);
                one(whole)
            }
            Record::Conversation(it) => one(encoder.conversation(&it)?),
            Record::Completion(it) => one(encoder.completion(&it)?),
            Record::Unpaired(it) => {
                one(encoder.completion(&Completion { prompt: it.prompt, completion: it.completion, tools: None })?)
            }
            Record::Prompt(it) => Ok(Made::Unmasked(encoder.prompt(&it.prompt, None)?.len())),
            Record::Pair(it) => {
                let pair = encoder.pair(&it)?;
                let answers = vec![pair.chosen, pair.rejected];
                let flags = vec![Vec::new(); 2];
                Ok(Made::Example(Example { prompt, answers, ranks: vec![1, 2], flags, margin: it.margin }))
            }
            Record::Ranked(it) => {
                let answer = |said: &Said| {
                    let (prompt, completion) = (it.prompt.clone(), said.clone());
                    encoder.completion(&Completion { prompt, completion, tools: None })
                };
                let answers = it.completions.iter().map(|one| answer(&one.said)).collect::<Result<_, _>>()?;
                let flags = it.completions.iter().map(|one| marked(&one.flags)).collect();
                Ok(Made::Example(Example { prompt, answers, ranks: it.ranks.clone(), flags, margin: None }))
            }
        }
    }
}

/// The names of the flags that somebody set: true, a number but 0, or words other than "no" and "false".
fn marked(flags: &Map<String, Value>) -> Vec<String> {
    let is_set = |value: &Value| match value {
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        Value::String(text) => !["", "no", "false"].contains(&text.to_lowercase().as_str()),
        _ => false,
    };
    flags.iter().filter(|(_, value)| is_set(value)).map(|(name, _)| name.clone()).collect()
}

/// Refuses a record that this kind does not learn from.
fn suits(record: &Record, choices: &Choices) -> Result<(), Refusal> {
    let what = "these records are not what this stage learns from";
    let answers = "fine-tuning and instruction tuning learn from prompts with one answer, messages, sharegpt or alpaca";
    let preferences = "preferences are pairs (chosen, rejected) or rankings of several completions";
    match (choices.kind, record) {
        (Kind::Any, _)
        | (Kind::Answers, Record::Conversation(_) | Record::Completion(_))
        | (Kind::Preferences, Record::Pair(_) | Record::Ranked(_)) => Ok(()),
        (Kind::Answers, Record::Text(_)) if choices.limits.all => Ok(()),
        (Kind::Answers, Record::Text(_)) => {
            let detail = "texts have no prompt: every token would be learnt";
            Err(Refusal::new(
                what,
                detail,
                format!("{answers}; texts are for pretraining, unless you write texts = true"),
            ))
        }
        (Kind::Answers, Record::Pair(_) | Record::Ranked(_)) => {
            Err(Refusal::new(what, "preferences, where answers are wanted", format!("{answers}; {preferences}")))
        }
        (Kind::Answers, Record::Unpaired(_)) => {
            let hint = format!("{answers}; keep those whose label is true, without the label");
            Err(Refusal::new(what, "judged answers: some of them are bad ones", hint))
        }
        (Kind::Answers, Record::Prompt(_)) => Err(Refusal::new(what, "prompts without an answer", answers)),
        (Kind::Preferences, _) => Err(Refusal::new(what, "single answers, prompts or texts", preferences)),
    }
}
