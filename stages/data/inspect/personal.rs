//! What looks like personal data: e-mail addresses, telephone numbers, numbers of payment cards.
//!
//! A look, not a proof: names and addresses are not found, and a number may be something else.

use serde::Serialize;

/// Examples that are kept.
const EXAMPLES: usize = 5;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Personal {
    /// E-mail addresses.
    pub emails: u64,
    /// Telephone numbers.
    pub phones: u64,
    /// Numbers of payment cards (the check digit fits).
    pub cards: u64,
    /// Records with at least one of them.
    pub records: u64,
    /// The first ones: place, and the text with its middle hidden.
    pub examples: Vec<(String, String)>,
}

/// A kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A card's number.
    Card,
}

impl Personal {
    /// Looks at a record's words.
    pub(super) fn add(&mut self, place: &str, text: &str) {
        let found = find(text);
        self.records += u64::from(!found.is_empty());
        for (kind, words) in found {
            match kind {
                Kind::Email => self.emails += 1,
                Kind::Phone => self.phones += 1,
                Kind::Card => self.cards += 1,
            }
            if self.examples.len() < EXAMPLES {
                self.examples.push((place.to_owned(), hidden(words)));
            }
        }
    }
}

/// The first and last two characters.
fn hidden(text: &str) -> String {
    let all: Vec<char> = text.chars().collect();
    let seen = |index: usize| index < 2 || index + 2 >= all.len();
    all.iter().enumerate().map(|(index, &c)| if seen(index) { c } else { '*' }).collect()
}

/// All finds of a text, in order.
pub fn find(text: &str) -> Vec<(Kind, &str)> {
    let mut found: Vec<(usize, Kind, &str)> = Vec::new();
    for (at, _) in text.match_indices('@') {
        if let Some(email) = email(text, at) {
            found.push((at, Kind::Email, email));
        }
    }
    found.extend(numbers(text));
    found.sort_by_key(|&(at, ..)| at);
    found.into_iter().map(|(_, kind, words)| (kind, words)).collect()
}

/// The address around the `@` at `at`.
fn email(text: &str, at: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let local = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let domain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let start = at - bytes[..at].iter().rev().take(64).take_while(|byte| local(byte)).count();
    let end = at + 1 + bytes[at + 1..].iter().take(253).take_while(|byte| domain(byte)).count();
    let host = text[at + 1..end].trim_end_matches(['.', '-']);
    let (name, last) = host.rsplit_once('.')?;
    let whole = start < at && !name.is_empty() && last.len() >= 2 && last.bytes().all(|b| b.is_ascii_alphabetic());
    whole.then(|| &text[start..at + 1 + host.len()])
}

/// Telephone and card numbers: runs of digits with single separators.
fn numbers(text: &str) -> Vec<(usize, Kind, &str)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_digit() || (matches!(bytes[at], b'+' | b'(') && digit_at(bytes, at + 1));
        // Not inside a word, and not after a point or a slash: versions, decimals and dates are no numbers of people.
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        if !begins || before.is_ascii_alphanumeric() || b"./-_$#".contains(&before) || before >= 0x80 {
            at += 1;
            continue;
        }
        let end = run_end(bytes, at);
        if let Some(kind) = kind(&text[at..end], bytes.get(end).copied()) {
            found.push((at, kind, &text[at..end]));
        }
        at = end.max(at + 1);
    }
    found
}

fn digit_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

/// Where a run of digits ends; between two digits stand at most two of " -.()".
fn run_end(bytes: &[u8], start: usize) -> usize {
    let mut end = start + 1;
    loop {
        let gap = bytes[end..].iter().take(2).take_while(|byte| b" -.()".contains(byte)).count();
        if !digit_at(bytes, end + gap) {
            return end;
        }
        end += gap + 1;
    }
}

/// What a run is: a card where the check digit fits, a telephone number where it is written like one.
fn kind(run: &str, next: Option<u8>) -> Option<Kind> {
    let digits: Vec<u32> = run.chars().filter_map(|c| c.to_digit(10)).collect();
    if next.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'%') {
        return None;
    }
    let separators = run.bytes().filter(|byte| b" -.()".contains(byte)).count();
    let international = run.starts_with('+') && (8..=15).contains(&digits.len());
    if international {
        return Some(Kind::Phone);
    }
    let groups: Vec<&str> = run.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
    let even = groups.len() == 1 || groups.iter().all(|group| group.len() >= 3);
    if (13..=19).contains(&digits.len()) && even && (3..=6).contains(&digits[0]) && luhn(&digits) {
        return Some(Kind::Card);
    }
    // 555-123-4567, (030) 1234 5678: two to five groups, the last of at least three digits.
    let written = separators >= 2 && (2..=5).contains(&groups.len()) && groups.iter().all(|group| group.len() <= 8);
    let last = groups.last().is_some_and(|group| group.len() >= 3);
    let first = groups.first().is_some_and(|group| group.len() >= 2) || digits.first() == Some(&1);
    ((10..=12).contains(&digits.len()) && written && last && first).then_some(Kind::Phone)
}

/// The check digit of ISO/IEC 7812.
fn luhn(digits: &[u32]) -> bool {
    let doubled = |(place, &digit): (usize, &u32)| match (place % 2, digit * 2) {
        (0, _) => digit,
        (_, double) if double > 9 => double - 9,
        (_, double) => double,
    };
    let sum: u32 = digits.iter().rev().enumerate().map(doubled).sum();
    sum.is_multiple_of(10) && digits.iter().any(|&digit| digit != digits[0])
}
