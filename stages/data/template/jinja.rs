//! What Jinja2 and Python do beyond minijinja: a few filters with their defaults, one test, a few methods.

use super::python;
use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// Adds all of it to an environment.
pub(super) fn extend(environment: &mut Environment) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", |value: Value| python::text(&value));
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    // In Python a sequence is what has a length and can be indexed.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
    });
    environment.add_function("raise_exception", |words: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, words))
    });
}

/// `default(value, default_value='', boolean=False)`.
fn default(value: Value, other: Option<Value>, boolean: Option<bool>, options: Kwargs) -> Result<Value, Error> {
    let other = match other {
        Some(other) => other,
        None => options.get::<Option<Value>>("default_value")?.unwrap_or_else(|| Value::from("")),
    };
    let boolean = boolean.or(options.get("boolean")?).unwrap_or(false);
    options.assert_all_used()?;
    Ok(if value.is_undefined() || (boolean && !value.is_true()) { other } else { value })
}

/// `int(value, default=0)`: what is no number becomes the default.
fn int(value: Value, other: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let other = other.or(options.get("default")?).unwrap_or_else(|| Value::from(0));
    options.assert_all_used()?;
    if value.is_integer() {
        return Ok(value);
    }
    let number = number(&value);
    let whole = value.as_str().and_then(|text| text.trim().parse::<i64>().ok());
    let cut = number.filter(|number| number.is_finite() && number.abs() < 9e18).map(|number| number as i64);
    Ok(whole.or(cut).map_or(other, Value::from))
}

/// `float(value, default=0.0)`.
fn float(value: Value, other: Option<Value>, options: Kwargs) -> Result<Value, Error> {
    let other = other.or(options.get("default")?).unwrap_or_else(|| Value::from(0.0));
    options.assert_all_used()?;
    Ok(number(&value).map_or(other, Value::from))
}

fn number(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => value.as_str()?.trim().parse().ok(),
        _ => None,
    }
}

/// Methods of strings that pycompat lacks, then pycompat's.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match (value.as_str(), name) {
        (Some(text), "rsplit") => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let most = most.filter(|most| *most >= 0).map_or(usize::MAX, |most| most as usize);
            let mut parts: Vec<&str> = match separator {
                Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
                Some(separator) => text.rsplitn(most.saturating_add(1), separator).collect(),
                None if most == usize::MAX => text.split_whitespace().rev().collect(),
                None => return Err(Error::new(ErrorKind::InvalidOperation, "rsplit with a limit needs a separator")),
            };
            parts.reverse();
            Ok(parts.into_iter().map(Value::from).collect())
        }
        (Some(text), "removeprefix") => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        (Some(text), "removesuffix") => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}
