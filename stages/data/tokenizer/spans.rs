//! Ids with the bytes that each stands for: what a loss mask over a rendered template is made from.

use super::Tokenizer;
use pleach_runtime::fault::Refusal;
use std::ops::Range;

/// Ids, and for each the bytes of the text that it stands for. The ranges follow each other and leave no gap inside
/// the text; bytes that share a character may lie in two of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    /// The ids.
    pub ids: Vec<u32>,
    /// A byte range for each.
    pub ranges: Vec<Range<usize>>,
}

impl Tokenizer {
    /// The names of all special tokens.
    pub fn special_names(&self) -> impl Iterator<Item = &str> {
        self.specials.iter().map(|(name, _)| name.as_str())
    }

    /// The ids of a rendered template: special tokens spelled in it are those tokens, except where they touch one of
    /// the `plain` ranges (sorted, in bytes), which are what people wrote. Nothing is added.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_spans(&self, text: &str, plain: &[Range<usize>]) -> Result<Spans, Refusal> {
        let mut found = Vec::new();
        for (name, id) in self.specials.iter().filter(|(name, _)| !name.is_empty()) {
            let all = text.match_indices(name.as_str()).map(|(at, _)| at..at + name.len());
            let touched = |range: &Range<usize>| {
                let next = plain.partition_point(|known| known.end <= range.start);
                plain.get(next).is_some_and(|known| known.start < range.end)
            };
            found.extend(all.filter(|range| !touched(range)).map(|range| (range, *id)));
        }
        // The first one, and of those at one place the longest.
        found.sort_by_key(|(range, _)| (range.start, usize::MAX - range.end));
        let mut spans = Spans::default();
        let mut at = 0;
        for (range, id) in found {
            if range.start < at {
                continue;
            }
            self.plain(text, at..range.start, &mut spans)?;
            at = range.end;
            spans.ids.push(id);
            spans.ranges.push(range);
        }
        self.plain(text, at..text.len(), &mut spans)?;
        Ok(spans)
    }

    /// The ids of a part of the text without special tokens.
    fn plain(&self, text: &str, part: Range<usize>, spans: &mut Spans) -> Result<(), Refusal> {
        let words = &text[part.clone()];
        if words.is_empty() {
            return Ok(());
        }
        if self.characters.is_some() {
            spans.ids.extend(self.encode(words)?);
            let borders = words.char_indices().map(|(at, c)| part.start + at..part.start + at + c.len_utf8());
            spans.ranges.extend(borders);
            return Ok(());
        }
        let encoding = self.inner.encode(words, false).map_err(|error| {
            let hint = "use the tokenizer that belongs to this text, or let one be trained";
            Refusal::new("could not tokenise the text", error.to_string(), hint)
        })?;
        spans.ids.extend_from_slice(encoding.get_ids());
        // Some tokenizers leave the space before a word out of its range: it belongs to the next token.
        let mut end = part.start;
        for &(from, to) in encoding.get_offsets() {
            let (from, to) = (part.start + from, part.start + to);
            spans.ranges.push(from.min(end)..to.max(end.min(from)));
            end = end.max(to);
        }
        Ok(())
    }
}
