//! What a key of the pipeline file takes: a kind of value and its range, in words where something else was written.

use toml::Value;

/// What may stand after `key =`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Takes {
    /// A text that is not empty.
    Text,
    /// A text or a whole number, as in `device = 1`.
    Name,
    /// One of these words.
    Word(&'static [&'static str]),
    /// true or false.
    Truth,
    /// A whole number from the first to the second.
    Whole(u64, u64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// A list of texts.
    List,
    /// A text that is not empty, or a list of such.
    Sources,
    /// A table of numbers from the first to the second.
    Weights(f64, f64),
    /// A share above 0 and up to a half, or what [`Takes::Sources`] takes.
    Validation,
}

impl Takes {
    /// Is it a value of this kind and range?
    pub fn fits(self, value: &Value) -> bool {
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
        let whole = || value.as_integer().and_then(|whole| u64::try_from(whole).ok());
        // A whole number is a number; not-a-number lies in no range.
        let number = || value.as_float().or(value.as_integer().map(|whole| whole as f64));
        let sources = || {
            let list = value.as_array().filter(|list| !list.is_empty());
            text(value) || list.is_some_and(|list| list.iter().all(text))
        };
        match self {
            Takes::Text => text(value),
            Takes::Name => value.is_str() || whole().is_some(),
            Takes::Word(words) => value.as_str().is_some_and(|word| words.contains(&word)),
            Takes::Truth => value.is_bool(),
            Takes::Whole(low, high) => whole().is_some_and(|whole| (low..=high).contains(&whole)),
            Takes::Number(low, high) => number().is_some_and(|number| (low..=high).contains(&number)),
            Takes::List => value.as_array().is_some_and(|list| list.iter().all(Value::is_str)),
            Takes::Weights(low, high) => {
                value.as_table().is_some_and(|table| table.values().all(|value| Takes::Number(low, high).fits(value)))
            }
            Takes::Sources => sources(),
            Takes::Validation => number().is_some_and(|share| share > 0.0 && share <= 0.5) || sources(),
        }
    }

    /// "a whole number from 1 to 1024".
    pub fn words(self) -> String {
        match self {
            Takes::Text => "a text in quotes".into(),
            Takes::Name => "a text in quotes, or a whole number from 0 up".into(),
            Takes::Word(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(" or ")
            }
            Takes::Truth => "true or false".into(),
            Takes::Whole(low, high) => format!("a whole number from {low} to {high}"),
            Takes::Number(low, high) => format!("a number from {low} to {high}"),
            Takes::List => "a list of texts, as in [\"One\", \"Two\"]".into(),
            Takes::Sources => "a text in quotes, or a list of texts; none of them empty".into(),
            Takes::Weights(low, high) => format!("a table of numbers from {low} to {high}, as in {{ bias = 3.0 }}"),
            Takes::Validation => "a share above 0 and up to 0.5, or a file".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_another_kind_or_range_do_not_fit() {
        let no = [
            (Takes::Whole(1, 9), "0 | -1 | 10 | 9223372036854775807 | 2.0 | nan | \"2\" | true | [2]"),
            (Takes::Number(0.5, 2.0), "0 | -1 | 2.1 | nan | inf | -inf | 1e300 | \"1\" | false | []"),
            (Takes::Truth, "0 | \"true\" | []"),
            (Takes::Text, "\"\" | \" \" | 1 | [\"a\"]"),
            (Takes::Sources, "\"\" | [] | [\"a\", \"\"] | 0.1 | true | {}"),
            (Takes::Validation, "0 | 0.6 | nan | true | \"\" | []"),
            (Takes::Word(&["a", "b"]), "\"c\" | 1"),
            (Takes::List, "\"a\" | [1]"),
            (Takes::Name, "-1 | 0.5 | true"),
            (Takes::Weights(0.0, 9.0), "1 | { a = \"b\" } | { a = 10 } | []"),
        ];
        let yes = [
            (Takes::Whole(1, 9), "1 | 9"),
            (Takes::Number(0.5, 2.0), "0.5 | 1 | 2.0"),
            (Takes::Truth, "true | false"),
            (Takes::Text, "\"a\""),
            (Takes::Sources, "\"a\" | [\"a\", \"b\"]"),
            (Takes::Validation, "0.5 | 1e-9 | \"a\" | [\"a\"]"),
            (Takes::Word(&["a", "b"]), "\"a\" | \"b\""),
            (Takes::List, "[] | [\"\"]"),
            (Takes::Name, "\"\" | 0"),
            (Takes::Weights(0.0, 9.0), "{} | { a = 1, b = 2.5 }"),
        ];
        for (list, fits) in [(no, false), (yes, true)] {
            for (takes, values) in list {
                for text in values.split(" | ") {
                    let table: toml::Table = format!("key = {text}").parse().expect("it is TOML");
                    assert_eq!(takes.fits(&table["key"]), fits, "{takes:?}: {text}");
                }
            }
        }
    }
}
