//! One text field out of JSON records, without building the rest of the record.

use super::stream::cannot_read;
use super::text::{Sink, cut};
use pleach_runtime::fault::{Fault, Refusal};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::io::BufRead;
use std::path::Path;

/// Why a record gave no text.
#[derive(Debug)]
pub(crate) enum RecordError {
    /// Not JSON, or not an object; words and, where known, line and column of the record.
    Malformed(serde_json::Error),
    /// No such field; the fields that are there.
    Missing(Vec<String>),
    /// The field holds something else than a string.
    Kind(String),
}

impl RecordError {
    /// The refusal, for the record at `place` of a file.
    pub(crate) fn refusal(self, path: &Path, place: &str, field: &str) -> Refusal {
        let (detail, hint) = match self {
            RecordError::Malformed(error) if error.line() > 1 => {
                // A file of many lines: its own line and column say more than the record's number.
                (format!("{error}"), "correct it: the file is one JSON array of objects".to_owned())
            }
            RecordError::Malformed(error) => (
                format!("{place}, column {}: {}", error.column(), words(&error)),
                "correct or delete the record: each line is one JSON object such as {\"text\": \"...\"}".to_owned(),
            ),
            RecordError::Missing(fields) if fields.is_empty() => {
                (format!("{place}: the record is empty"), format!("give it a field \"{field}\", or delete it"))
            }
            RecordError::Missing(fields) => (
                format!("{place}: no field \"{field}\"; the record has: {}", fields.join(", ")),
                format!("name the field that holds the text, as in text_field = \"{}\"", nearest(field, &fields)),
            ),
            RecordError::Kind(kind) => (
                format!("{place}: the field \"{field}\" holds {kind}, not a string"),
                "name another field with text_field = \"...\", or convert the records".to_owned(),
            ),
        };
        Refusal::new(cannot_read(path), detail, hint)
    }
}

/// The message of a JSON error without its place.
pub(crate) fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}

/// The field a person most likely meant.
fn nearest<'a>(field: &str, fields: &'a [String]) -> &'a str {
    let same = |name: &&String| name.eq_ignore_ascii_case(field);
    let known = |name: &&String| ["text", "content", "body", "document", "story"].contains(&name.as_str());
    fields.iter().find(same).or_else(|| fields.iter().find(known)).unwrap_or(&fields[0])
}

/// The string in `field` of the JSON object `text`.
pub(crate) fn field(text: &str, field: &str) -> Result<String, RecordError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = Record { field }.deserialize(&mut deserializer).map_err(RecordError::Malformed)?;
    deserializer.end().map_err(RecordError::Malformed)?;
    found.into_text()
}

/// What a record holds.
enum Found {
    Text(String),
    Other(&'static str),
    Nothing(Vec<String>),
}

impl Found {
    fn into_text(self) -> Result<String, RecordError> {
        match self {
            Found::Text(text) => Ok(text),
            Found::Other(kind) => Err(RecordError::Kind(kind.into())),
            Found::Nothing(fields) => Err(RecordError::Missing(fields)),
        }
    }
}

/// Reads an object and keeps one field of it.
struct Record<'a> {
    field: &'a str,
}

impl<'de> DeserializeSeed<'de> for Record<'_> {
    type Value = Found;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Record<'_> {
    type Value = Found;
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "an object with a field \"{}\"", self.field)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = None;
        let mut others = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == self.field {
                found = Some(map.next_value_seed(Value)?);
            } else {
                map.next_value::<IgnoredAny>()?;
                if others.len() < 16 {
                    others.push(key);
                }
            }
        }
        Ok(found.unwrap_or(Found::Nothing(others)))
    }
}

/// Reads any value and keeps it if it is a string.
struct Value;

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Found;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Found;
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a value")
    }
    fn visit_str<E>(self, text: &str) -> Result<Found, E> {
        Ok(Found::Text(text.to_owned()))
    }
    fn visit_string<E>(self, text: String) -> Result<Found, E> {
        Ok(Found::Text(text))
    }
    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::Other("null"))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::Other("a truth value"))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::Other("a number"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::Other("a list"))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Found::Other("an object"))
    }
}

/// Reads a file that is one JSON array of objects, record by record.
pub(crate) fn array(path: &Path, reader: impl BufRead, field: &str, sink: &mut Sink) -> Result<(), Fault> {
    let mut failed = None;
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let visitor = Records { field, sink, failed: &mut failed, path };
    let outcome = deserializer.deserialize_seq(visitor).and_then(|()| deserializer.end());
    ended(path, failed, outcome)
}

/// How the reading of a JSON array ended: by the fault of whoever took its elements, else by a mistake in the file.
pub(crate) fn ended(path: &Path, failed: Option<Fault>, outcome: serde_json::Result<()>) -> Result<(), Fault> {
    match (failed, outcome) {
        (Some(fault), _) => Err(fault),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => {
            let detail = match error.is_io() {
                true => words(&error),
                false => format!("line {}, column {}: {}", error.line(), error.column(), words(&error)),
            };
            let hint = "a .json file is one array of objects, UTF-8; for one object a line use the name .jsonl";
            Err(Refusal::new(cannot_read(path), detail, hint).into())
        }
    }
}

struct Records<'a, 'b> {
    field: &'a str,
    sink: &'a mut Sink<'b>,
    failed: &'a mut Option<Fault>,
    path: &'a Path,
}

impl<'de> Visitor<'de> for Records<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an array of objects")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut number = 0u64;
        while let Some(found) = seq.next_element_seed(Record { field: self.field })? {
            number += 1;
            let place = format!("record {number}");
            let text = found.into_text().map_err(|error| error.refusal(self.path, &place, self.field).into());
            if let Err(fault) = text.and_then(|text| cut(text, self.sink)) {
                *self.failed = Some(fault);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
