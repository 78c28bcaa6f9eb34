//! A file's records as a stream: its shape first, then one record at a time.

use super::Record;
use super::detect::Shape;
use super::field::{Wrong, keys, show};
use crate::data::json::{ended, words};
use crate::data::source::{Shape as Packed, shape};
use crate::data::stream::{cannot_read, empty, open};
use crate::data::text::{LINE, TextOptions, documents, lines};
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::path::Path;
use std::rc::Rc;

/// Records whose keys decide the shape.
const HEAD: u64 = 64;

/// Most different unused keys that are named.
const NAMED: usize = 64;

/// How records are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The shape, where a person says it; else it is detected.
    pub shape: Option<Shape>,
    /// Fields under other names: (the name here, the file's name), as ("prompt", "question").
    pub columns: Vec<(String, String)>,
}

/// What a file was found to be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Detected {
    /// The shape of all its records.
    pub shape: Shape,
    /// Why, in words.
    pub reason: String,
    /// Keys of the head's records that this shape does not use.
    pub unused: Vec<String>,
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// "line 7", or "record 7" of a JSON array.
    pub words: String,
    /// Its number from 1, blank lines not counted.
    pub number: u64,
}

/// What a reading saw.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Reading {
    /// The file's shape.
    pub shape: Shape,
    /// Why.
    pub reason: String,
    /// Records of the file.
    pub records: u64,
    /// Keys that the shape does not use, and in how many records each stands; the first 64 names.
    pub unused: BTreeMap<String, u64>,
}

/// The shape of a file, from its first 64 records.
///
/// # Errors
/// A refusal for a file that cannot be read, records of no known shape, or of two; it names line and keys.
pub fn detect(path: &Path, options: &ReadOptions) -> Result<Detected, Fault> {
    let mut work = Work::new(path, options);
    if is_text(path) {
        return Ok(Detected { shape: Shape::Text, reason: "it is a file of plain text".into(), unused: Vec::new() });
    }
    let outcome = objects(path, &mut |place, value| {
        let map = work.object(&place, value)?;
        work.settle(&place, &map)?;
        match place.number >= HEAD {
            true => Err(Fault::new(FaultKind::Stopped, "enough")),
            false => Ok(()),
        }
    });
    match outcome {
        Err(fault) if fault.kind != FaultKind::Stopped => Err(fault),
        _ => work.detected(),
    }
}

/// Reads all records of a file in order, in their normal form, one in memory at a time.
///
/// # Errors
/// A refusal with file, line, field and what was expected, for the first record that does not fit; or what `sink`
/// answers.
pub fn read(
    path: &Path,
    options: &ReadOptions,
    sink: &mut dyn FnMut(&Place, Record) -> Result<(), Fault>,
) -> Result<Reading, Fault> {
    let mut work = Work::new(path, options);
    if is_text(path) {
        let mut number = 0;
        documents(path, &TextOptions::default(), &mut |piece| {
            number += 1;
            sink(&Place { words: format!("piece {number}"), number }, Record::Text(piece.text))
        })?;
        let reason = "it is a file of plain text".into();
        return Ok(Reading { shape: Shape::Text, reason, records: number, unused: BTreeMap::new() });
    }
    objects(path, &mut |place, value| {
        let map = work.object(&place, value)?;
        let shape = work.settle(&place, &map)?;
        let records = shape.records(&map).map_err(|wrong| work.refuse(&place, shape, &map, wrong))?;
        records.into_iter().try_for_each(|record| sink(&place, record))
    })?;
    let Detected { shape, reason, .. } = work.detected()?;
    Ok(Reading { shape, reason, records: work.records, unused: work.unused })
}

/// A reading under way.
struct Work<'a> {
    path: &'a Path,
    options: &'a ReadOptions,
    found: Option<(Shape, String)>,
    first: String,
    records: u64,
    unused: BTreeMap<String, u64>,
}

impl<'a> Work<'a> {
    fn new(path: &'a Path, options: &'a ReadOptions) -> Work<'a> {
        Work { path, options, found: None, first: String::new(), records: 0, unused: BTreeMap::new() }
    }

    /// The record as an object, its fields under our names.
    fn object(&mut self, place: &Place, value: Value) -> Result<Map<String, Value>, Fault> {
        self.records += 1;
        let Value::Object(mut map) = value else {
            let detail = format!("{}: expected an object, found {}", place.words, show(&value));
            let hint = "each record is one JSON object such as {\"messages\": [...]}";
            return Err(Refusal::new(cannot_read(self.path), detail, hint).into());
        };
        for (ours, theirs) in &self.options.columns {
            let Some(value) = map.shift_remove(theirs) else {
                let detail = format!("{}: no field \"{theirs}\"; the record has: {}", place.words, keys(&map));
                let hint = format!("correct the name of the field that is to be \"{ours}\"");
                return Err(Refusal::new(cannot_read(self.path), detail, hint).into());
            };
            map.insert(ours.clone(), value);
        }
        Ok(map)
    }

    /// The file's shape: from its first record, and all others of the head agree.
    fn settle(&mut self, place: &Place, map: &Map<String, Value>) -> Result<Shape, Fault> {
        let shape = match (&self.found, self.options.shape) {
            (Some((known, _)), None) if place.number <= HEAD && Shape::of(map).is_some_and(|shape| shape != *known) => {
                return Err(self.mixed(place, *known, map).into());
            }
            (Some((known, _)), _) => *known,
            (None, Some(said)) => {
                self.found = Some((said, "the pipeline file says so".into()));
                self.first = place.words.clone();
                said
            }
            (None, None) => {
                let shape = Shape::of(map).ok_or_else(|| self.unknown(place, map))?;
                self.found = Some((shape, shape.reason(map)));
                self.first = place.words.clone();
                shape
            }
        };
        for key in shape.unused(map) {
            if self.unused.len() < NAMED || self.unused.contains_key(&key) {
                *self.unused.entry(key).or_default() += 1;
            }
        }
        Ok(shape)
    }

    fn detected(&self) -> Result<Detected, Fault> {
        let (shape, reason) = self.found.clone().ok_or_else(|| empty(self.path))?;
        Ok(Detected { shape, reason, unused: self.unused.keys().cloned().collect() })
    }

    fn unknown(&self, place: &Place, map: &Map<String, Value>) -> Refusal {
        let detail = format!("{}: a record with {} is of no known shape", place.words, keys(map));
        let hint = format!("rename its fields, or say which is which; known are: {}", Shape::list());
        Refusal::new(cannot_read(self.path), detail, hint)
    }

    fn mixed(&self, place: &Place, known: Shape, map: &Map<String, Value>) -> Refusal {
        let other = Shape::of(map).map_or("unknown", Shape::name);
        let detail = format!("{} is {}, but {} is {other} ({})", self.first, known.name(), place.words, keys(map));
        let hint = "a file holds records of one shape: put the others into a file of their own";
        Refusal::new(cannot_read(self.path), detail, hint)
    }

    fn refuse(&self, place: &Place, shape: Shape, map: &Map<String, Value>, wrong: Wrong) -> Fault {
        if self.options.shape.is_none() && Shape::of(map).is_some_and(|other| other != shape) {
            return self.mixed(place, shape, map).into();
        }
        let hint = format!("correct or delete the record; the file's shape is {}: {}", shape.name(), {
            shape.needs().join(", ")
        });
        Refusal::new(cannot_read(self.path), format!("{}, {wrong}", place.words), hint).into()
    }
}

/// Whether a file holds records with fields, by its name: `.jsonl`, `.ndjson` or `.json`, also packed.
pub fn holds_records(path: &Path) -> bool {
    matches!(shape(path), Some(Packed::Json | Packed::JsonLines))
}

/// Whether a file is plain text by its name.
pub(super) fn is_text(path: &Path) -> bool {
    shape(path) == Some(Packed::Text)
}

/// Hands on every value of a `.jsonl` or `.json` file with its place.
pub(super) fn objects(path: &Path, each: &mut dyn FnMut(Place, Value) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut reader = open(path)?;
    if shape(path) == Some(Packed::Json) {
        return array(path, reader, each);
    }
    let mut number = 0;
    lines(path, reader.as_mut(), &mut |line, text| {
        number += 1;
        let value = serde_json::from_str(text).map_err(|error: serde_json::Error| {
            let detail = format!("line {line}, column {}: {}", error.column(), words(&error));
            Refusal::new(cannot_read(path), detail, "correct or delete the record: each line is one JSON object")
        })?;
        each(Place { words: format!("line {line}"), number }, value)
    })
}

/// Reads one JSON array, element by element, none larger than the longest line.
fn array(
    path: &Path,
    reader: Box<dyn BufRead + Send>,
    each: &mut dyn FnMut(Place, Value) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let left = Rc::new(Cell::new(LINE));
    let mut failed = None;
    let bounded = std::io::BufReader::new(Bounded { inner: reader, left: Rc::clone(&left) });
    let mut deserializer = serde_json::Deserializer::from_reader(bounded);
    let outcome = deserializer.deserialize_seq(Elements { left, failed: &mut failed, each });
    ended(path, failed, outcome.and_then(|()| deserializer.end()))
}

/// A reader that stops after a number of bytes, which each record renews.
struct Bounded {
    inner: Box<dyn BufRead + Send>,
    left: Rc<Cell<usize>>,
}

impl Read for Bounded {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let left = self.left.get();
        if left == 0 {
            return Err(std::io::Error::other(format!("a record is longer than {} MiB", LINE >> 20)));
        }
        let most = out.len().min(left);
        let count = self.inner.read(&mut out[..most])?;
        self.left.set(left - count);
        Ok(count)
    }
}

struct Elements<'a> {
    left: Rc<Cell<usize>>,
    failed: &'a mut Option<Fault>,
    each: &'a mut dyn FnMut(Place, Value) -> Result<(), Fault>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an array of objects")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut number = 0;
        while let Some(value) = seq.next_element::<Value>()? {
            number += 1;
            self.left.set(LINE);
            if let Err(fault) = (self.each)(Place { words: format!("record {number}"), number }, value) {
                *self.failed = Some(fault);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}
