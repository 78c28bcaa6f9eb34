//! Questions with several choices, in the shapes of the benchmarks that people have.
//!
//! | like | fields |
//! |---|---|
//! | ARC on the hub | `question`, `choices`: {`text`: [...], `label`: [...]}, `answerKey` |
//! | ARC as released | `question`: {`stem`, `choices`: [{`text`, `label`}]}, `answerKey` |
//! | MMLU and ours | `question`, `choices`: [...], `answer`: an index from 0, a letter, or the choice's text |
//! | BBQ | `context`?, `question`, `ans0`, `ans1`, `ans2` ..., `label`: an index from 0 |
//! | HellaSwag | `ctx`, `endings`: [...], `label` |
//!
//! `answer`, `answerKey` and `label` are read alike. A `context` stands before any question.

use super::field::{Wrong, keys, list, object, path, show, some, text, text_if};
use super::read::{Place, objects};
use crate::data::stream::cannot_read;
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use serde_json::{Map, Value};
use std::path::Path;

type Object = Map<String, Value>;

/// Most choices of a question.
const MOST: usize = 64;

/// A question with its choices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultipleChoice {
    /// What stands before the question, if anything.
    pub context: Option<String>,
    /// The question; of a text to continue, that text.
    pub question: String,
    /// The choices, at least two.
    pub choices: Vec<String>,
    /// Index of the right one.
    pub answer: usize,
    /// Whether the choices continue the question's own sentence.
    pub continues: bool,
    /// What kind of question it is, where the record says so (BBQ's `context_condition`, else `category` or `subject`).
    pub group: Option<String>,
}

impl MultipleChoice {
    /// The text that a choice follows after a blank: lm-evaluation-harness's for ARC, with the context above it.
    pub fn prompt(&self) -> String {
        let context = self.context.as_ref().map_or(String::new(), |context| format!("{context}\n"));
        match self.continues {
            true => format!("{context}{}", self.question),
            false => format!("{context}Question: {}\nAnswer:", self.question),
        }
    }

    /// The question as somebody would put it in a chat.
    pub fn asked(&self) -> String {
        self.context.as_ref().map_or(self.question.clone(), |context| format!("{context}\n{}", self.question))
    }

    /// A record's question.
    ///
    /// # Errors
    /// The field that does not fit, and what belongs there.
    pub fn of(map: &Object) -> Result<MultipleChoice, Wrong> {
        let (question, choices, labels, continues) = parts(map)?;
        if !(2..=MOST).contains(&choices.len()) {
            let found = format!("{} of them", choices.len());
            return Err(Wrong::words("choices", format!("two to {MOST} choices"), found));
        }
        if let Some(index) = choices.iter().position(|choice| choice.trim().is_empty()) {
            return Err(Wrong::words(format!("choices[{index}]"), "a text", "an empty one"));
        }
        let answer = answer(map, &choices, &labels)?;
        let group = ["context_condition", "category", "subject"].iter().find_map(|key| map.get(*key)?.as_str());
        let context = text_if(map, "context", "")?.filter(|context| !context.trim().is_empty());
        let (context, group) = (context.map(str::to_owned), group.map(str::to_owned));
        Ok(MultipleChoice { context, question, choices, answer, continues, group })
    }
}

/// Question, choices, their labels where they have some, and whether they continue a sentence.
fn parts(map: &Object) -> Result<(String, Vec<String>, Vec<String>, bool), Wrong> {
    if let Some(Value::Object(inner)) = map.get("question") {
        let stem = text(inner, "stem", "question")?.to_owned();
        let (choices, labels) = labelled(list(inner, "choices", "question")?, "question.choices")?;
        return Ok((stem, choices, labels, false));
    }
    if map.contains_key("endings") {
        let endings = strings(list(map, "endings", "")?, "endings")?;
        return Ok((text(map, "ctx", "")?.to_owned(), endings, Vec::new(), true));
    }
    let question = text(map, "question", "")?.to_owned();
    if map.contains_key("ans0") {
        let names = (0..=MOST).map(|index| format!("ans{index}")).take_while(|name| map.contains_key(name));
        let choices = names.map(|name| text(map, &name, "").map(str::to_owned)).collect::<Result<_, _>>()?;
        return Ok((question, choices, Vec::new(), false));
    }
    match map.get("choices") {
        Some(Value::Object(both)) => {
            let choices = strings(list(both, "text", "choices")?, "choices.text")?;
            let labels = match some(both, "label") {
                Some(_) => strings(list(both, "label", "choices")?, "choices.label")?,
                None => Vec::new(),
            };
            Ok((question, choices, labels, false))
        }
        Some(Value::Array(all)) if all.first().is_some_and(Value::is_object) => {
            let (choices, labels) = labelled(all, "choices")?;
            Ok((question, choices, labels, false))
        }
        Some(Value::Array(all)) => Ok((question, strings(all, "choices")?, Vec::new(), false)),
        other => Err(Wrong::at("choices", "a list of choices, or {\"text\": [...], \"label\": [...]}", other)),
    }
}

fn strings(all: &[Value], at: &str) -> Result<Vec<String>, Wrong> {
    let one = |(index, value): (usize, &Value)| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Wrong::at(format!("{at}[{index}]"), "a text", Some(value))),
    };
    all.iter().enumerate().map(one).collect()
}

fn labelled(all: &[Value], at: &str) -> Result<(Vec<String>, Vec<String>), Wrong> {
    let one = |(index, value): (usize, &Value)| {
        let place = format!("{at}[{index}]");
        let map = object(value, &place)?;
        Ok((text(map, "text", &place)?.to_owned(), text(map, "label", &place)?.to_owned()))
    };
    Ok(all.iter().enumerate().map(one).collect::<Result<Vec<_>, Wrong>>()?.into_iter().unzip())
}

/// Which choice is right.
fn answer(map: &Object, choices: &[String], labels: &[String]) -> Result<usize, Wrong> {
    let names = ["answerKey", "answer", "label"];
    let key = names.into_iter().find(|key| some(map, key).is_some());
    let key = key.ok_or_else(|| Wrong::at("answer", "which choice is right", None))?;
    let value = &map[key];
    let word = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => String::new(),
    };
    let by_label = labels.iter().position(|label| *label == word);
    let by_index = || word.parse::<usize>().ok().filter(|index| *index < choices.len());
    let letter = |c: char| (c.is_ascii_uppercase()).then(|| (c as u8 - b'A') as usize).filter(|at| *at < choices.len());
    let by_letter = || word.parse::<char>().ok().and_then(letter);
    let by_text = || choices.iter().position(|choice| choice.trim() == word);
    let found = match labels.is_empty() {
        // A choice may itself be a number or a letter: then its text decides.
        true if value.is_string() => by_text().or_else(by_letter).or_else(by_index),
        true => by_index(),
        false => by_label.or_else(by_text).or_else(|| if value.is_number() { by_index() } else { None }),
    };
    let expected = match labels {
        [] => format!("an index from 0 to {}, a letter from A on, or the text of a choice", choices.len() - 1),
        labels => format!("one of the labels {}", labels.join(", ")),
    };
    found.ok_or_else(|| Wrong::at(path("", key), expected, Some(value)))
}

/// Whether a file holds questions with choices, by the keys of its first record.
///
/// # Errors
/// A refusal for a file that cannot be read.
pub fn has_choices(file: &Path) -> Result<bool, Fault> {
    if super::read::is_text(file) {
        return Ok(false);
    }
    let mut found = false;
    let outcome = objects(file, &mut |_, value| {
        let has = |key: &str| value.get(key).is_some();
        let nested = value.get("question").is_some_and(|question| question.get("choices").is_some());
        found = nested || has("endings") || (has("question") && (has("choices") || has("ans0")));
        Err(Fault::new(FaultKind::Stopped, "enough"))
    });
    match outcome {
        Err(fault) if fault.kind != FaultKind::Stopped => Err(fault),
        _ => Ok(found),
    }
}

/// Reads all questions of a file in order.
///
/// # Errors
/// A refusal with file, line, field and what was expected, for the first record that does not fit; or what `sink`
/// answers.
pub fn read_choices(
    file: &Path,
    sink: &mut dyn FnMut(&Place, MultipleChoice) -> Result<(), Fault>,
) -> Result<(), Fault> {
    objects(file, &mut |place, value| {
        let hint = "a record is {\"question\", \"choices\": [...], \"answer\"}, or as ARC, BBQ or HellaSwag write it";
        let refuse = |detail: String| Refusal::new(cannot_read(file), format!("{}, {detail}", place.words), hint);
        let map = value.as_object().ok_or_else(|| refuse(format!("expected an object, found {}", show(&value))))?;
        let one = MultipleChoice::of(map).map_err(|wrong| refuse(format!("{wrong} (all keys: {})", keys(map))))?;
        sink(&place, one)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn of(value: Value) -> Result<MultipleChoice, Wrong> {
        MultipleChoice::of(value.as_object().unwrap())
    }

    #[test]
    fn every_benchmark_says_the_same() {
        let ours = of(json!({"question": "Sky?", "choices": ["red", "blue"], "answer": 1})).unwrap();
        assert_eq!(ours.prompt(), "Question: Sky?\nAnswer:");
        assert_eq!((ours.answer, ours.choices.len()), (1, 2));
        let same = [
            json!({"question": "Sky?", "choices": {"text": ["red", "blue"], "label": ["1", "2"]}, "answerKey": "2"}),
            json!({"question": {"stem": "Sky?", "choices": [{"text": "red", "label": "A"},
                {"text": "blue", "label": "B"}]}, "answerKey": "B"}),
            json!({"question": "Sky?", "choices": ["red", "blue"], "answer": "B"}),
            json!({"question": "Sky?", "choices": ["red", "blue"], "answer": "blue"}),
            json!({"question": "Sky?", "ans0": "red", "ans1": "blue", "label": 1}),
        ];
        for value in same {
            assert_eq!(of(value.clone()).unwrap(), ours, "{value}");
        }
        let bbq = json!({"context": "Two came.", "question": "Who?", "ans0": "x", "ans1": "y", "ans2": "Unknown",
            "label": 2, "category": "Age", "context_condition": "ambig"});
        let bbq = of(bbq).unwrap();
        assert_eq!(bbq.prompt(), "Two came.\nQuestion: Who?\nAnswer:");
        assert_eq!((bbq.answer, bbq.group.as_deref()), (2, Some("ambig")));
        let story = of(json!({"ctx": "He sat", "endings": ["down.", "up."], "label": "0"})).unwrap();
        assert_eq!((story.prompt().as_str(), story.answer), ("He sat", 0));
        // The choice that is the number 2, not the third one.
        assert_eq!(of(json!({"question": "1+1?", "choices": ["2", "3", "4"], "answer": "2"})).unwrap().answer, 0);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases = [
            (json!({"question": "Sky?", "choices": ["red"], "answer": 0}), "field choices: expected two to 64"),
            (json!({"question": "Sky?", "choices": ["red", "blue"], "answer": 2}), "an index from 0 to 1"),
            (json!({"question": "Sky?", "choices": ["red", ""], "answer": 0}), "choices[1]"),
            (json!({"question": "Sky?", "choices": ["red", "blue"]}), "which choice is right"),
            (
                json!({"question": "Sky?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"}),
                "one of the labels A, B",
            ),
            (json!({"question": "Sky?", "choices": "red", "answer": 0}), "field choices: expected a list"),
        ];
        for (value, words) in cases {
            let wrong = of(value.clone()).unwrap_err().to_string();
            assert!(wrong.contains(words), "{value}: {wrong}");
        }
    }
}
