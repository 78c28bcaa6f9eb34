//! Typed access to the fields of a record: what is missing or of the wrong kind is said with its place.

use serde_json::{Map, Value};

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field, as `messages[2].role`.
    pub field: String,
    /// What belongs there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "field {}: expected {}, found {}", self.field, self.expected, self.found)
    }
}

impl Wrong {
    /// `expected` at `field`, where `value` is.
    pub(super) fn at(field: impl Into<String>, expected: impl Into<String>, value: Option<&Value>) -> Wrong {
        Wrong { field: field.into(), expected: expected.into(), found: value.map_or("nothing".into(), show) }
    }

    /// `expected` at `field`, and in words what is there.
    pub(super) fn words(field: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Wrong {
        Wrong { field: field.into(), expected: expected.into(), found: found.into() }
    }
}

/// A value in a few words.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.chars().count() <= 30 => format!("{text:?}"),
        Value::String(text) => format!("{:?} and more", text.chars().take(24).collect::<String>()),
        Value::Array(list) if list.is_empty() => "an empty list".into(),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(map) if map.is_empty() => "an empty object".into(),
        Value::Object(map) => format!("an object with {}", keys(map)),
    }
}

/// The keys of an object, at most twelve.
pub(super) fn keys(map: &Map<String, Value>) -> String {
    let mut names: Vec<&str> = map.keys().take(12).map(String::as_str).collect();
    if map.len() > names.len() {
        names.push("...");
    }
    names.join(", ")
}

/// The field's path below `at`.
pub(super) fn path(at: &str, key: &str) -> String {
    if at.is_empty() { key.into() } else { format!("{at}.{key}") }
}

/// The value of a key that is there and not null.
pub(super) fn some<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    map.get(key).filter(|value| !value.is_null())
}

/// A string.
pub(super) fn text<'a>(map: &'a Map<String, Value>, key: &str, at: &str) -> Result<&'a str, Wrong> {
    let value = map.get(key);
    value.and_then(Value::as_str).ok_or_else(|| Wrong::at(path(at, key), "a string", value))
}

/// A string, where there is anything.
pub(super) fn text_if<'a>(map: &'a Map<String, Value>, key: &str, at: &str) -> Result<Option<&'a str>, Wrong> {
    some(map, key).map(|_| text(map, key, at)).transpose()
}

/// A list.
pub(super) fn list<'a>(map: &'a Map<String, Value>, key: &str, at: &str) -> Result<&'a Vec<Value>, Wrong> {
    let value = map.get(key);
    value.and_then(Value::as_array).ok_or_else(|| Wrong::at(path(at, key), "a list", value))
}

/// An object.
pub(super) fn object<'a>(value: &'a Value, at: &str) -> Result<&'a Map<String, Value>, Wrong> {
    value.as_object().ok_or_else(|| Wrong::at(at, "an object", Some(value)))
}

/// True or false.
pub(super) fn truth(map: &Map<String, Value>, key: &str, at: &str) -> Result<bool, Wrong> {
    let value = map.get(key);
    match value {
        Some(Value::Bool(yes)) => Ok(*yes),
        Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(false),
        Some(Value::Number(number)) if number.as_f64() == Some(1.0) => Ok(true),
        _ => Err(Wrong::at(path(at, key), "true or false", value)),
    }
}

/// A finite number, where there is anything.
pub(super) fn number_if(map: &Map<String, Value>, key: &str, at: &str) -> Result<Option<f64>, Wrong> {
    let Some(value) = some(map, key) else { return Ok(None) };
    let number = value.as_f64().filter(|number| number.is_finite());
    number.map(Some).ok_or_else(|| Wrong::at(path(at, key), "a number", Some(value)))
}

/// A name: a string, or a whole number as its digits.
pub(super) fn name(value: &Value, at: &str) -> Result<String, Wrong> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        _ => Err(Wrong::at(at, "a name (a string or a whole number)", Some(value))),
    }
}
