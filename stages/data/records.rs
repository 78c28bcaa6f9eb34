//! Records of all post-training data, in every shape that the field writes, and the normal forms they become.
//!
//! A file has one shape. It is found from the first records, shown with its reason, and held to for the whole file:
//! a record that does not fit is refused with file, line, field and what was expected there. [`read`] streams, one
//! record in memory at a time.
//!
//! | shape | fields |
//! |---|---|
//! | text | `text` |
//! | messages | `messages`: [{`role`, `content`, `tool_calls`?, `name`?, `train`? or `weight`?}], `tools`? |
//! | sharegpt | `conversations`: [{`from`, `value`}], `system`?, `tools`? |
//! | alpaca | `instruction`, `input`?, `output`, `system`?, `history`? |
//! | prompt/completion | `prompt`, `completion`: text or messages |
//! | question/answer | `question`, `answer` |
//! | preference | `prompt`, `chosen`, `rejected`, `margin`?; also in sharegpt's and alpaca's clothes |
//! | implicit preference | `chosen`, `rejected`: what they share is the prompt |
//! | transcripts | `chosen`, `rejected`: "\n\nHuman: ... \n\nAssistant: ..." |
//! | unpaired | `prompt`, `completion`, `label`; also alpaca's and sharegpt's with `kto_tag` |
//! | ranking | `prompt`, `completions`: [{`id`, `text` or `message`}], `ranks`, `rater`? ... |
//! | OASST trees, Nectar, Argilla, Label Studio | as those write them |
//! | prompt | `prompt` and any columns for a reward function |

mod chat;
mod choices;
mod detect;
mod field;
mod foreign;
mod preference;
mod ranking;
mod read;
#[cfg(test)]
mod tests;

pub use choices::{MultipleChoice, has_choices, read_choices};
pub use detect::Shape;
pub use field::Wrong;
pub use ranking::{Answer, Ranked};
pub use read::{Detected, Place, ReadOptions, Reading, detect, holds_records, read};

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Who speaks in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// Newer word for system.
    Developer,
    /// A person.
    User,
    /// The model: what is learnt.
    Assistant,
    /// What a tool answered.
    Tool,
    /// Older word for tool.
    Function,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] = [Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool, Role::Function];

    /// The word in the data.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            Role::Function => "function",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said; absent beside tool calls only.
    pub content: Option<String>,
    /// The thinking before the answer.
    pub reasoning: Option<String>,
    /// Name of the speaker or of the tool.
    pub name: Option<String>,
    /// Calls, each `{"type": "function", "function": {"name", "arguments": object}}`.
    pub tool_calls: Vec<Value>,
    /// Which call a tool answers.
    pub tool_call_id: Option<String>,
    /// Whether the turn is learnt; absent: as the policy says.
    pub train: Option<bool>,
    /// Other keys, handed to the template.
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message of text.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message {
            role,
            content: Some(content.into()),
            reasoning: None,
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            train: None,
            extra: Map::new(),
        }
    }

    /// What a template sees. The thinking stands under each of the three names that templates read.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("role".into(), self.role.name().into());
        map.insert("content".into(), self.content.clone().into());
        if let Some(reasoning) = &self.reasoning {
            for name in ["reasoning_content", "thinking", "reasoning"] {
                map.insert(name.into(), reasoning.clone().into());
            }
        }
        if let Some(name) = &self.name {
            map.insert("name".into(), name.clone().into());
        }
        if !self.tool_calls.is_empty() {
            map.insert("tool_calls".into(), self.tool_calls.clone().into());
        }
        if let Some(id) = &self.tool_call_id {
            map.insert("tool_call_id".into(), id.clone().into());
        }
        map.extend(self.extra.clone());
        Value::Object(map)
    }

    /// Whether nothing is said: no text, no thinking, no call.
    pub fn is_empty(&self) -> bool {
        let blank = |text: &Option<String>| text.as_ref().is_none_or(|text| text.trim().is_empty());
        blank(&self.content) && blank(&self.reasoning) && self.tool_calls.is_empty()
    }
}

/// Messages in order, with the tools that they may call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// The turns, at least one.
    pub messages: Vec<Message>,
    /// JSON schemas of tools, each `{"type": "function", "function": {...}}`.
    pub tools: Option<Vec<Value>>,
    /// Documents that the answers draw on, each `{"title", "text"}`.
    pub documents: Option<Vec<Value>>,
}

/// A prompt or an answer: raw text, or messages for the template.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// As it is, without a template.
    Text(String),
    /// For the template.
    Messages(Vec<Message>),
}

impl Said {
    /// The words, for counting and comparing: contents divided by line ends.
    pub fn words(&self) -> String {
        match self {
            Said::Text(text) => text.clone(),
            Said::Messages(messages) => spoken(messages),
        }
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        match self {
            Said::Text(text) => text.trim().is_empty(),
            Said::Messages(messages) => messages.iter().all(Message::is_empty),
        }
    }

    /// As a list of messages; a text becomes one of `role`.
    pub fn into_messages(self, role: Role) -> Vec<Message> {
        match self {
            Said::Text(text) => vec![Message::new(role, text)],
            Said::Messages(messages) => messages,
        }
    }

    /// As it stands in a file: a string or a list of messages.
    pub fn to_value(&self) -> Value {
        match self {
            Said::Text(text) => json!(text),
            Said::Messages(messages) => messages.iter().map(Message::to_value).collect(),
        }
    }
}

/// The contents of messages, a line each.
fn spoken(messages: &[Message]) -> String {
    let words: Vec<&str> = messages.iter().filter_map(|message| message.content.as_deref()).collect();
    words.join("\n")
}

/// A prompt with the answer to learn.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// What is given.
    pub prompt: Said,
    /// What is learnt.
    pub completion: Said,
    /// Tools of the conversation.
    pub tools: Option<Vec<Value>>,
}

/// A prompt with a better and a worse answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// What is given.
    pub prompt: Said,
    /// The better answer.
    pub chosen: Said,
    /// The worse answer.
    pub rejected: Said,
    /// How much better, in the units of whoever said so.
    pub margin: Option<f64>,
    /// Tools of the conversation.
    pub tools: Option<Vec<Value>>,
}

/// A prompt with one answer and whether it is good.
#[derive(Clone, Debug, PartialEq)]
pub struct Unpaired {
    /// What is given.
    pub prompt: Said,
    /// The answer.
    pub completion: Said,
    /// Whether it is wanted.
    pub label: bool,
}

/// A prompt to answer, with what a reward function needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What is given.
    pub prompt: Said,
    /// All other columns of the record.
    pub columns: Map<String, Value>,
}

/// A record in its normal form.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A document, or a piece of one.
    Text(String),
    /// Messages.
    Conversation(Conversation),
    /// Prompt and answer.
    Completion(Completion),
    /// Better and worse.
    Pair(Pair),
    /// One answer, judged.
    Unpaired(Unpaired),
    /// Several answers in order.
    Ranked(Ranked),
    /// A prompt alone.
    Prompt(Prompt),
}

impl Record {
    /// What is given and what is answered, as plain words: for duplicates, overlap and personal data.
    pub fn words(&self) -> String {
        let join = |parts: &[&Said]| parts.iter().map(|said| said.words()).collect::<Vec<_>>().join("\n");
        match self {
            Record::Text(text) => text.clone(),
            Record::Conversation(conversation) => spoken(&conversation.messages),
            Record::Completion(it) => join(&[&it.prompt, &it.completion]),
            Record::Pair(it) => join(&[&it.prompt, &it.chosen, &it.rejected]),
            Record::Unpaired(it) => join(&[&it.prompt, &it.completion]),
            Record::Ranked(it) => {
                let all = std::iter::once(&it.prompt).chain(it.completions.iter().map(|answer| &answer.said));
                join(&all.collect::<Vec<_>>())
            }
            Record::Prompt(it) => it.prompt.words(),
        }
    }

    /// What is given, as plain words: the part whose overlap with an evaluation set spoils it. A conversation's is
    /// all before its first answer; a text has none.
    pub fn given(&self) -> String {
        match self {
            Record::Text(_) => String::new(),
            Record::Conversation(conversation) => {
                let before = conversation.messages.iter().take_while(|message| message.role != Role::Assistant);
                let before = before.filter(|message| message.role == Role::User);
                spoken(&before.cloned().collect::<Vec<_>>())
            }
            Record::Completion(it) => it.prompt.words(),
            Record::Pair(it) => it.prompt.words(),
            Record::Unpaired(it) => it.prompt.words(),
            Record::Ranked(it) => it.prompt.words(),
            Record::Prompt(it) => it.prompt.words(),
        }
    }

    /// The last thing that is asked before the first answer, where the record holds messages: what tells the task.
    pub fn asked(&self) -> Option<String> {
        let messages = match self {
            Record::Conversation(it) => &it.messages,
            Record::Completion(Completion { prompt: Said::Messages(it), .. })
            | Record::Pair(Pair { prompt: Said::Messages(it), .. })
            | Record::Unpaired(Unpaired { prompt: Said::Messages(it), .. })
            | Record::Ranked(Ranked { prompt: Said::Messages(it), .. })
            | Record::Prompt(Prompt { prompt: Said::Messages(it), .. }) => it,
            _ => return None,
        };
        let before = messages.iter().take_while(|message| message.role != Role::Assistant);
        before.filter(|message| message.role == Role::User).last()?.content.clone()
    }

    /// Whether a chat template is needed to make ids of it: it holds messages.
    pub fn has_messages(&self) -> bool {
        let is = |said: &Said| matches!(said, Said::Messages(_));
        match self {
            Record::Text(_) => false,
            Record::Conversation(_) => true,
            Record::Completion(it) => is(&it.prompt) || is(&it.completion),
            Record::Pair(it) => is(&it.prompt) || is(&it.chosen) || is(&it.rejected),
            Record::Unpaired(it) => is(&it.prompt) || is(&it.completion),
            Record::Ranked(it) => is(&it.prompt) || it.completions.iter().any(|answer| is(&answer.said)),
            Record::Prompt(it) => is(&it.prompt),
        }
    }

    /// Whether an answer is there but says nothing.
    pub fn has_empty_answer(&self) -> bool {
        match self {
            Record::Text(_) | Record::Prompt(_) => false,
            Record::Conversation(conversation) => {
                conversation.messages.iter().any(|message| message.role == Role::Assistant && message.is_empty())
            }
            Record::Completion(it) => it.completion.is_empty(),
            Record::Pair(it) => it.chosen.is_empty() || it.rejected.is_empty(),
            Record::Unpaired(it) => it.completion.is_empty(),
            Record::Ranked(it) => it.completions.iter().any(|answer| answer.said.is_empty()),
        }
    }
}
