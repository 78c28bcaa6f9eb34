//! Which shape a record has, and why.

use super::field::{Wrong, keys, some};
use super::{Completion, Pair, Prompt, Record, chat, foreign, preference, ranking};
use serde::Serialize;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// The shape of a file's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// `text`, or a file of plain text.
    Text,
    /// OpenAI's `messages`.
    Messages,
    /// `conversations` of `from` and `value`.
    Sharegpt,
    /// `instruction`, `input`, `output`.
    Alpaca,
    /// `prompt` and `completion`.
    Completion,
    /// `question` and `answer`.
    Question,
    /// `prompt`, `chosen`, `rejected`.
    Preference,
    /// `chosen` and `rejected`, whose shared beginning is the prompt.
    ImplicitPreference,
    /// `conversations`, `chosen`, `rejected`.
    SharegptPreference,
    /// `instruction`, `chosen`, `rejected`.
    AlpacaPreference,
    /// `chosen` and `rejected` as transcripts of "Human:" and "Assistant:".
    Transcripts,
    /// `prompt`, `completion`, `label`.
    Unpaired,
    /// `conversations` and `kto_tag`.
    SharegptUnpaired,
    /// `instruction`, `output`, `kto_tag`.
    AlpacaUnpaired,
    /// Our `prompt`, `completions`, `ranks`.
    Ranking,
    /// OpenAssistant's message trees.
    OasstTree,
    /// `prompt` and `answers` with ranks.
    Nectar,
    /// `fields` and `responses`.
    Argilla,
    /// `data` and `annotations`.
    LabelStudio,
    /// `prompt` and columns for a reward function.
    Prompt,
}

/// A shape's name, the keys that make it, and the keys that it may have beside them.
struct Entry {
    shape: Shape,
    name: &'static str,
    needs: &'static [&'static str],
    takes: &'static [&'static str],
}

/// All shapes; the first one whose needed keys are there, and whose values look like it, is a record's.
const SHAPES: [Entry; 20] = [
    entry(Shape::LabelStudio, "Label Studio export", &["data", "annotations"], &["id"]),
    entry(Shape::Argilla, "Argilla export", &["fields", "responses"], &["id"]),
    entry(Shape::OasstTree, "OpenAssistant tree", &["message_tree_id", "prompt"], &["tree_state"]),
    entry(Shape::Nectar, "Nectar ranking", &["prompt", "answers"], &[]),
    entry(
        Shape::Ranking,
        "ranking",
        &["prompt", "completions", "ranks"],
        &["id", "rater", "comment", "flags", "shown_order", "seconds", "better"],
    ),
    entry(
        Shape::AlpacaPreference,
        "alpaca preference",
        &["instruction", "chosen", "rejected"],
        &["input", "output", "system", "history", "margin", "tools"],
    ),
    entry(
        Shape::SharegptPreference,
        "sharegpt preference",
        &["conversations", "chosen", "rejected"],
        &["system", "tools", "margin"],
    ),
    entry(Shape::Preference, "preference", &["prompt", "chosen", "rejected"], &["margin", "tools"]),
    entry(Shape::Transcripts, "Human/Assistant transcripts", &["chosen", "rejected"], &[]),
    entry(Shape::ImplicitPreference, "preference, implicit prompt", &["chosen", "rejected"], &["margin", "tools"]),
    entry(Shape::Messages, "messages", &["messages"], &["tools", "documents"]),
    entry(Shape::SharegptUnpaired, "sharegpt, judged", &["conversations", "kto_tag"], &["system", "tools"]),
    entry(Shape::Sharegpt, "sharegpt", &["conversations"], &["system", "tools"]),
    entry(
        Shape::AlpacaUnpaired,
        "alpaca, judged",
        &["instruction", "output", "kto_tag"],
        &["input", "system", "history"],
    ),
    entry(Shape::Alpaca, "alpaca", &["instruction", "output"], &["input", "system", "history", "tools"]),
    entry(Shape::Unpaired, "unpaired", &["prompt", "completion", "label"], &[]),
    entry(Shape::Completion, "prompt/completion", &["prompt", "completion"], &["tools"]),
    entry(Shape::Question, "question/answer", &["question", "answer"], &[]),
    entry(Shape::Prompt, "prompt", &["prompt"], &[]),
    entry(Shape::Text, "text", &["text"], &[]),
];

const fn entry(
    shape: Shape,
    name: &'static str,
    needs: &'static [&'static str],
    takes: &'static [&'static str],
) -> Entry {
    Entry { shape, name, needs, takes }
}

impl Shape {
    fn entry(self) -> &'static Entry {
        SHAPES.iter().find(|entry| entry.shape == self).expect("the table holds every shape")
    }

    /// The shape in words.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The fields that make it.
    pub fn needs(self) -> &'static [&'static str] {
        self.entry().needs
    }

    /// The shape of one record, if it is one.
    pub fn of(map: &Object) -> Option<Shape> {
        let has = |entry: &&Entry| entry.needs.iter().all(|key| some(map, key).is_some());
        SHAPES.iter().filter(has).map(|entry| entry.shape).find(|shape| shape.looks_right(map))
    }

    /// Where keys alone do not decide.
    fn looks_right(self, map: &Object) -> bool {
        match self {
            Shape::OasstTree => map.get("prompt").is_some_and(Value::is_object),
            Shape::Nectar => map.get("answers").and_then(Value::as_array).is_some_and(|answers| {
                answers.first().is_some_and(|one| one.get("answer").is_some() && one.get("rank").is_some())
            }),
            Shape::Transcripts => ["chosen", "rejected"]
                .iter()
                .all(|key| map.get(*key).and_then(Value::as_str).is_some_and(preference::is_transcript)),
            _ => true,
        }
    }

    /// Why a record has this shape.
    pub fn reason(self, map: &Object) -> String {
        let more = match self {
            Shape::Transcripts => ", both begin with \"\\n\\nHuman:\"",
            Shape::ImplicitPreference => ", no prompt: what they share is the prompt",
            Shape::Nectar => ", each answer with a rank",
            _ => "",
        };
        let needs = self.needs().join(", ");
        format!("its records have {needs}{more} (all keys of the first: {})", keys(map))
    }

    /// The keys of a record that this shape does not use.
    pub fn unused(self, map: &Object) -> Vec<String> {
        let entry = self.entry();
        if self == Shape::Prompt {
            return Vec::new();
        }
        let used = |key: &str| entry.needs.contains(&key) || entry.takes.contains(&key);
        map.keys().filter(|key| !used(key)).cloned().collect()
    }

    /// The normal forms of a record: one, or several where people ranked it several times.
    ///
    /// # Errors
    /// The field that does not fit, and what belongs there.
    pub fn records(self, map: &Object) -> Result<Vec<Record>, Wrong> {
        let pair = |pair: Result<Pair, Wrong>| pair.map(|pair| vec![Record::Pair(pair)]);
        let completion = |it: Result<Completion, Wrong>| it.map(|it| vec![Record::Completion(it)]);
        let unpaired = |it: Result<super::Unpaired, Wrong>| it.map(|it| vec![Record::Unpaired(it)]);
        let chat = |it: Result<super::Conversation, Wrong>| it.map(|it| vec![Record::Conversation(it)]);
        let ranked = |all: Result<Vec<super::Ranked>, Wrong>| {
            all.map(|all| all.into_iter().map(Record::Ranked).collect::<Vec<_>>())
        };
        match self {
            Shape::Text => Ok(vec![Record::Text(super::field::text(map, "text", "")?.to_owned())]),
            Shape::Messages => chat(chat::conversation(map)),
            Shape::Sharegpt => chat(chat::sharegpt(map)),
            Shape::Alpaca => chat(chat::alpaca(map)),
            Shape::Completion => completion(preference::completion(map)),
            Shape::Question => completion(preference::question(map)),
            Shape::Preference => pair(preference::preference(map)),
            Shape::ImplicitPreference => pair(preference::implicit(map)),
            Shape::SharegptPreference => pair(preference::sharegpt_pair(map)),
            Shape::AlpacaPreference => pair(preference::alpaca_pair(map)),
            Shape::Transcripts => pair(preference::transcripts(map)),
            Shape::Unpaired => unpaired(preference::unpaired(map)),
            Shape::SharegptUnpaired => unpaired(preference::sharegpt_unpaired(map)),
            Shape::AlpacaUnpaired => unpaired(preference::alpaca_unpaired(map)),
            Shape::Ranking => ranked(ranking::ranked(map).map(|one| vec![one])),
            Shape::Nectar => ranked(foreign::nectar(map).map(|one| vec![one])),
            Shape::OasstTree => ranked(foreign::oasst(map)),
            Shape::Argilla => ranked(foreign::argilla(map)),
            Shape::LabelStudio => ranked(foreign::label_studio(map)),
            Shape::Prompt => {
                let prompt = chat::said(map, "prompt")?;
                let columns = map.iter().filter(|(key, _)| *key != "prompt");
                let columns = columns.map(|(key, value)| (key.clone(), value.clone())).collect();
                Ok(vec![Record::Prompt(Prompt { prompt, columns })])
            }
        }
    }

    /// All shapes with their fields, for a hint.
    pub(super) fn list() -> String {
        let one = |entry: &Entry| format!("{} ({})", entry.name, entry.needs.join(", "));
        SHAPES.iter().map(one).collect::<Vec<_>>().join("; ")
    }
}
