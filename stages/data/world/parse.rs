//! A recogniser of the little world's English: does a sentence belong to the grammar, and is it true?
//!
//! It walks the frames that stories are written from, so what is written parses; names, pronouns, plurals and
//! articles must agree within the sentence, capitals and marks must stand where the writer puts them.

use super::facts::Relation;
use super::grammar::{Bindings, Frame, Item, Rules, confused, line, raise, raised, words};

/// The grammar, ready to recognise sentences. Made once, asked often.
#[derive(Debug)]
pub struct Parser {
    rules: Rules,
    anything: Bindings,
}

impl Default for Parser {
    fn default() -> Parser {
        Parser::new()
    }
}

/// What is still to be matched: the rest of a frame, and what follows it.
#[derive(Clone, Copy)]
struct Rest<'a> {
    items: &'a [Item],
    next: Option<&'a Rest<'a>>,
}

/// A sentence being matched.
struct Attempt<'a> {
    rules: &'a Rules,
    words: &'a [String],
    raised: &'a [bool],
    /// Asked with what the variables may stand for; `true` ends the search.
    found: &'a mut dyn FnMut(&Bindings) -> bool,
}

impl Parser {
    /// Compiles the grammar.
    pub fn new() -> Parser {
        let rules = Rules::new();
        Parser { anything: rules.anything(), rules }
    }

    /// Whether the sentence is one of the world's, to the letter.
    pub fn parses(&self, sentence: &str) -> bool {
        let mut any = false;
        self.match_all(sentence, &mut |_, _| {
            any = true;
            true
        });
        any
    }

    /// Whether what the sentence states is true in the world; `None` where it is no sentence of the world or states
    /// nothing that can be checked (a pronoun alone does not say who grows tulips).
    pub fn check_fact(&self, sentence: &str) -> Option<bool> {
        let mut verdict = None;
        self.match_all(sentence, &mut |frame, bindings| {
            let known = |(relation, left, right): &(Relation, usize, usize)| {
                let only = |variable: usize| {
                    let meanings: u64 = bindings[variable];
                    (meanings.count_ones() == 1).then(|| meanings.trailing_zeros() as usize)
                };
                Some(relation.holds(only(*left)?, only(*right)?))
            };
            let mut facts = frame.facts.iter().filter_map(known).peekable();
            if facts.peek().is_some() {
                let all = facts.all(|holds| holds);
                // Read in two ways, a sentence is true if one of them is.
                verdict = Some(verdict.unwrap_or(false) || all);
            }
            verdict == Some(true)
        });
        verdict
    }

    fn match_all(&self, sentence: &str, found: &mut dyn FnMut(&Frame, &Bindings) -> bool) {
        let words = words(sentence);
        // Spaces and marks must stand as the writer would put them.
        if words.is_empty() || line(&words) != sentence {
            return;
        }
        let raised = raised(&words);
        for frame in self.rules.groups[..self.rules.sentences].iter().flatten() {
            let mut hit = |bindings: &Bindings| !confused(bindings) && found(frame, bindings);
            let mut attempt = Attempt { rules: &self.rules, words: &words, raised: &raised, found: &mut hit };
            if attempt.walk(Rest { items: &frame.items, next: None }, 0, &self.anything) {
                return;
            }
        }
    }
}

impl Attempt<'_> {
    /// Matches the rest from word `at` on; `true` ends the search.
    fn walk(&mut self, rest: Rest, at: usize, bindings: &Bindings) -> bool {
        let Some((item, items)) = rest.items.split_first() else {
            return match rest.next {
                Some(next) => self.walk(*next, at, bindings),
                None => at == self.words.len() && (self.found)(bindings),
            };
        };
        let after = Rest { items, next: rest.next };
        let rules = self.rules;
        match item {
            Item::Word(word) => self.is(at, word) && self.walk(after, at + 1, bindings),
            Item::Group(group) => {
                let enter = |frame: &Frame| self.walk(Rest { items: &frame.items, next: Some(&after) }, at, bindings);
                rules.groups[*group].iter().any(enter)
            }
            Item::Slot(variable, form) => rules.lexicon[*form].iter().any(|(phrase, meanings)| {
                let meant = bindings[*variable] & meanings;
                let fits = |(i, word): (usize, &String)| self.is(at + i, word);
                if meant == 0 || !phrase.iter().enumerate().all(fits) {
                    return false;
                }
                let mut narrowed = *bindings;
                narrowed[*variable] = meant;
                self.walk(after, at + phrase.len(), &narrowed)
            }),
        }
    }

    /// Whether word `at` of the sentence is this one, raised where it must be.
    fn is(&self, at: usize, word: &str) -> bool {
        match self.words.get(at) {
            Some(found) if self.raised[at] => *found == raise(word),
            Some(found) => found == word,
            None => false,
        }
    }
}

/// Divides a text into sentences. One ends with a stop outside quotation marks, or with a quotation that ends in a
/// stop and is not followed by a word in lower case (`"Who is there?" asked Mira.` is one sentence).
pub fn sentences(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut start, mut open) = (0, false);
    for at in 0..bytes.len() {
        let quote = bytes[at] == b'"';
        open ^= quote;
        let stop = |b: u8| matches!(b, b'.' | b'!' | b'?');
        let ends = !open && (stop(bytes[at]) || quote && at > 0 && stop(bytes[at - 1]));
        let rest = text.get(at + 1..).unwrap_or_default();
        let apart = rest.is_empty() || rest.starts_with(char::is_whitespace);
        let continues = quote && rest.trim_start().starts_with(|c: char| c.is_ascii_lowercase());
        if ends && apart && !continues {
            push(&mut found, &text[start..=at]);
            start = at + 1;
        }
    }
    push(&mut found, &text[start..]);
    found
}

fn push<'a>(found: &mut Vec<&'a str>, sentence: &'a str) {
    if !sentence.trim().is_empty() {
        found.push(sentence.trim());
    }
}
