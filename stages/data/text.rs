//! Documents out of files, as a stream of pieces in bounded memory: `.txt`, `.jsonl` and `.json`, packed or not.
//!
//! A piece holds at most about [`PIECE`] bytes. A longer document comes as several pieces, cut before a single space
//! between two ASCII words or marks, where the GPT-2 and the Qwen2 split begin a new part anyway: the tokens of the
//! pieces laid end to end are the tokens of the whole.

use super::source::{Shape, shape};
use super::stream::{cannot_read, open, place, unreadable};
use super::tokenizer::is_seam;
use pleach_runtime::fault::{Fault, Refusal};
use std::io::{BufRead, Read};
use std::path::Path;

/// Largest piece of a document, in bytes of UTF-8.
pub const PIECE: usize = 1 << 20;

/// Longest line of a `.jsonl` file: it is held in memory as a whole.
pub const LINE: usize = 1 << 28;

/// How files are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// The field of a JSON record that holds the text.
    pub field: String,
    /// A line that divides the documents of a `.txt` file, such as `<|endoftext|>`; without it one file is one
    /// document.
    pub separator: Option<String>,
}

impl Default for TextOptions {
    fn default() -> TextOptions {
        TextOptions { field: "text".into(), separator: None }
    }
}

/// A part of a document; the parts of one document follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The text, UTF-8, untrimmed.
    pub text: String,
    /// Whether a document begins here.
    pub first: bool,
    /// Whether the document ends here.
    pub last: bool,
}

/// Takes one piece; an error ends the reading and is handed on.
pub type Sink<'a> = dyn FnMut(Piece) -> Result<(), Fault> + 'a;

/// Reads all documents of a file in order.
///
/// # Errors
/// A refusal that names file, line and byte for text that is not UTF-8, binary files, malformed JSON, records without
/// the field; or what `sink` answers.
pub(crate) fn documents(path: &Path, options: &TextOptions, sink: &mut Sink) -> Result<(), Fault> {
    let mut reader = open(path)?;
    match shape(path) {
        Some(Shape::JsonLines) => json_lines(path, reader.as_mut(), options, sink),
        Some(Shape::Json) => super::json::array(path, reader, &options.field, sink),
        Some(Shape::Text) | None => plain(path, reader.as_mut(), options, sink),
    }
}

/// Hands a whole document on, in pieces of bounded size.
pub(crate) fn cut(text: String, sink: &mut Sink) -> Result<(), Fault> {
    if text.len() <= PIECE {
        return sink(Piece { text, first: true, last: true });
    }
    let mut rest = text.as_str();
    let mut first = true;
    while rest.len() > PIECE {
        let at = seam(rest);
        sink(Piece { text: rest[..at].into(), first, last: false })?;
        (rest, first) = (&rest[at..], false);
    }
    sink(Piece { text: rest.into(), first, last: true })
}

/// Where to cut a text longer than a piece: before the last lone space, else at the last character's border.
fn seam(text: &str) -> usize {
    let bytes = text.as_bytes();
    let lone = |at: &usize| is_seam(bytes, *at);
    let border = || (1..=PIECE).rev().find(|&at| text.is_char_boundary(at));
    (PIECE / 2..PIECE).rev().find(lone).or_else(border).unwrap_or(text.len())
}

/// A refusal about a byte of a file.
fn fault_at(path: &Path, line: u64, offset: u64, what: &str, hint: &str) -> Refusal {
    Refusal::new(cannot_read(path), format!("line {line}, {}: {what}", place(path, offset)), hint)
}

/// Refuses bytes that no text has; `line` and `offset` are those of `bytes[0]`.
fn check_binary(path: &Path, bytes: &[u8], line: u64, offset: u64) -> Result<(), Refusal> {
    let Some(at) = bytes.iter().position(|&b| b == 0) else {
        return Ok(());
    };
    let line = line + bytes[..at].iter().filter(|&&b| b == b'\n').count() as u64;
    let wide = offset == 0 && (bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]));
    let hint = match wide {
        true => "this is UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`",
        false => "this is a binary file: convert it to text, or leave it out of the sources",
    };
    Err(fault_at(path, line, offset + at as u64, "a NUL byte, which no text has", hint))
}

/// The valid text at the start of `bytes`; up to three bytes of a cut character may remain. Line and offset are those
/// of `bytes[0]`.
fn valid<'a>(path: &Path, bytes: &'a [u8], line: u64, offset: u64, ended: bool) -> Result<&'a str, Refusal> {
    let (good, length) = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => (error.valid_up_to(), error.error_len()),
    };
    let text = std::str::from_utf8(&bytes[..good]).expect("valid up to there");
    if length.is_none() && !ended {
        return Ok(text);
    }
    let line = line + text.bytes().filter(|&b| b == b'\n').count() as u64;
    let what = match length {
        None => "the file ends inside a character".into(),
        Some(_) => format!("invalid UTF-8 (0x{:02X})", bytes[good]),
    };
    let hint = "convert it, for example with `iconv -f WINDOWS-1252 -t UTF-8`, or drop the bytes with `iconv -c`";
    Err(fault_at(path, line, offset + good as u64, &what, hint))
}

fn plain(path: &Path, reader: &mut dyn BufRead, options: &TextOptions, sink: &mut Sink) -> Result<(), Fault> {
    let mut document = Growing { text: String::new(), first: true, separator: options.separator.as_deref() };
    let mut pending: Vec<u8> = Vec::new();
    let (mut line, mut offset, mut any) = (1u64, 0u64, false);
    loop {
        let block = reader.fill_buf().map_err(|error| unreadable(path, &error))?;
        let (count, ended) = (block.len(), block.is_empty());
        pending.extend_from_slice(block);
        reader.consume(count);
        check_binary(path, &pending, line, offset)?;
        let text = valid(path, &pending, line, offset, ended)?;
        let used = text.len();
        any |= used > 0;
        document.take(if offset == 0 { text.strip_prefix('\u{FEFF}').unwrap_or(text) } else { text }, sink)?;
        line += text.bytes().filter(|&b| b == b'\n').count() as u64;
        offset += used as u64;
        pending.drain(..used);
        if ended {
            break;
        }
    }
    if !any {
        return Err(super::stream::empty(path).into());
    }
    document.end(sink)
}

/// A document of a plain file while its text arrives.
struct Growing<'a> {
    text: String,
    first: bool,
    separator: Option<&'a str>,
}

impl Growing<'_> {
    fn take(&mut self, text: &str, sink: &mut Sink) -> Result<(), Fault> {
        let Some(separator) = self.separator else {
            self.text.push_str(text);
            return self.shed(sink);
        };
        for line in text.split_inclusive('\n') {
            self.text.push_str(line);
            let whole = self.text.strip_suffix('\n');
            let start = whole.map(|text| text.rfind('\n').map_or(0, |at| at + 1));
            match start.filter(|&start| self.text[start..].trim_end_matches(['\r', '\n']) == separator) {
                Some(start) => {
                    self.text.truncate(start);
                    self.end(sink)?;
                }
                None => self.shed(sink)?,
            }
        }
        Ok(())
    }

    /// Hands on what is more than a piece.
    fn shed(&mut self, sink: &mut Sink) -> Result<(), Fault> {
        while self.text.len() > PIECE + 4 {
            let at = seam(&self.text);
            let rest = self.text.split_off(at);
            let text = std::mem::replace(&mut self.text, rest);
            sink(Piece { text, first: self.first, last: false })?;
            self.first = false;
        }
        Ok(())
    }

    fn end(&mut self, sink: &mut Sink) -> Result<(), Fault> {
        let mut text = std::mem::take(&mut self.text);
        if let Some(separator) = self.separator {
            // The last line of a file may lack its line end.
            let start = text.rfind('\n').map_or(0, |at| at + 1);
            if &text[start..] == separator {
                text.truncate(start);
            }
        }
        let first = std::mem::replace(&mut self.first, true);
        sink(Piece { text, first, last: true })
    }
}

fn json_lines(path: &Path, reader: &mut dyn BufRead, options: &TextOptions, sink: &mut Sink) -> Result<(), Fault> {
    lines(path, reader, &mut |line, text| {
        let found = super::json::field(text, &options.field);
        let found = found.map_err(|error| error.refusal(path, &format!("line {line}"), &options.field))?;
        cut(found, sink)
    })
}

/// Hands each line that is not blank to `each`, with its number from 1; one line is in memory at a time.
pub(crate) fn lines(
    path: &Path,
    reader: &mut dyn BufRead,
    each: &mut dyn FnMut(u64, &str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (mut line, mut offset) = (0u64, 0u64);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let limit = LINE as u64 + 1;
        let count = Read::take(&mut *reader, limit).read_until(b'\n', &mut bytes);
        let count = count.map_err(|error| unreadable(path, &error))?;
        if count == 0 {
            break;
        }
        line += 1;
        if count > LINE {
            let what = format!("the line is longer than {} MiB", LINE >> 20);
            let hint = "one record is one line: split the document, or give it as a .txt file, which is streamed";
            return Err(fault_at(path, line, offset, &what, hint).into());
        }
        check_binary(path, &bytes, line, offset)?;
        let text = valid(path, &bytes, line, offset, true)?;
        let text = if line == 1 { text.strip_prefix('\u{FEFF}').unwrap_or(text) } else { text };
        if !text.trim().is_empty() {
            each(line, text)?;
        }
        offset += count as u64;
    }
    match line {
        0 => Err(super::stream::empty(path).into()),
        _ => Ok(()),
    }
}
