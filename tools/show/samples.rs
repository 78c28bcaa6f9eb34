//! Records as the model sees them, with the loss mask: in colour on a terminal, between marks elsewhere.

use pleach::data::inspect::Sample;
use std::io::IsTerminal;

/// How what is learnt stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Green on a terminal; the rest is dim.
    Colour,
    /// Between `{+` and `+}`, as in a diff of words.
    Marks,
}

/// What begins and ends a learnt part.
const MARKS: [&str; 2] = ["{+", "+}"];
/// Bold green; dim; as usual.
const CODES: [&str; 3] = ["\x1b[1;32m", "\x1b[2m", "\x1b[0m"];

impl Paint {
    /// Colour where stdout is a terminal that has not asked for none (no-color.org).
    pub fn of_stdout() -> Paint {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        if std::io::stdout().is_terminal() && !unwanted && !dumb { Paint::Colour } else { Paint::Marks }
    }

    fn part(self, text: &str, trained: bool) -> String {
        match (self, trained) {
            (Paint::Colour, true) => format!("{}{text}{}", CODES[0], CODES[2]),
            (Paint::Colour, false) => format!("{}{text}{}", CODES[1], CODES[2]),
            (Paint::Marks, true) => format!("{}{text}{}", MARKS[0], MARKS[1]),
            (Paint::Marks, false) => text.to_owned(),
        }
    }
}

/// What the colours mean.
pub fn legend(paint: Paint) -> String {
    format!("{} {}", paint.part("learnt: the loss sees it", true), paint.part("given: the loss does not see it", false))
}

/// A sample with its place and counts above it.
pub fn shown(sample: &Sample, paint: Paint) -> String {
    let all: usize = sample.pieces.iter().map(|piece| piece.tokens).sum();
    let learnt: usize = sample.pieces.iter().filter(|piece| piece.trained).map(|piece| piece.tokens).sum();
    let text: String = sample.pieces.iter().map(|piece| paint.part(&plain(&piece.text), piece.trained)).collect();
    format!("{}: {learnt} of {all} tokens are learnt\n{text}", plain(&sample.place))
}

/// Text of a stranger without what could steer a terminal: control characters and those that turn the direction of
/// writing, line ends and tabs apart, are spelled.
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || ('\u{202A}'..='\u{202E}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use pleach::data::inspect::Piece;

    #[test]
    fn what_is_learnt_stands_out_and_nothing_steers_the_terminal() {
        let piece = |text: &str, trained| Piece { text: text.into(), trained, tokens: 2 };
        let pieces = vec![piece("hi\x1b[2J\u{202E}", false), piece("fox\n", true)];
        let sample = Sample { place: "a.jsonl, line 1".into(), pieces };
        let marks = shown(&sample, Paint::Marks);
        assert_eq!(marks, "a.jsonl, line 1: 2 of 4 tokens are learnt\nhi\\u{1b}[2J\\u{202e}{+fox\n+}");
        let colour = shown(&sample, Paint::Colour);
        assert!(colour.ends_with("\x1b[2mhi\\u{1b}[2J\\u{202e}\x1b[0m\x1b[1;32mfox\n\x1b[0m"), "{colour:?}");
        assert!(legend(Paint::Marks).starts_with("{+learnt"));
    }
}
