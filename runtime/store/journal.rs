//! The journal: append-only, one JSON object a line, each with a number and a checksum; everything that shows a run
//! reads it.
//!
//! A line is the record's own fields between `"n"` and `"time"` (milliseconds since 1970) in front and `"crc"` behind:
//! the CRC-32C, in hex, of the line's bytes before `,"crc"`. A line that does not fit its checksum is passed over; a
//! tail that a crash tore is cut when the journal is opened for writing.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::Store;
use crate::fault::Fault;

/// The longest line in bytes.
const MAX_LINE: usize = 1 << 20;
/// Unsynced records are synced after this time.
const SYNC_EVERY: Duration = Duration::from_secs(30);

/// One record: its number, its time and the fields that were noted.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number: 0, 1, 2, ... over all processes of the run.
    pub n: u64,
    /// When it was noted, in milliseconds since 1970.
    pub time: u64,
    /// The fields noted, without number, time and checksum.
    pub fields: Map<String, Value>,
}

impl Record {
    /// The text of a field; "" where it is missing or no text.
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number in a field.
    pub fn number(&self, field: &str) -> Option<f64> {
        self.fields.get(field).and_then(Value::as_f64)
    }
}

/// What opening a journal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The number that the next record gets: records of the run so far.
    pub records: u64,
    /// Bytes of a torn tail that were cut.
    pub cut: u64,
    /// Whole lines that do not fit their checksum. They stay, and readers pass over them.
    pub damaged: u64,
}

/// The journal of a run, open for writing by its one owner.
pub struct Journal {
    store: Arc<dyn Store>,
    path: PathBuf,
    next: u64,
    end: u64,
    unsynced: Option<Instant>,
}

impl Journal {
    /// Opens a journal, or makes an empty one; a torn tail is cut.
    pub fn open(store: Arc<dyn Store>, path: &Path) -> Result<(Journal, Opened), Fault> {
        let disk = |doing: &str, e: &std::io::Error| Fault::disk(doing, path, e);
        let missing = std::io::ErrorKind::NotFound;
        let (mut next, mut damaged, mut end, mut len) = (0, 0, 0, 0);
        match store.read(path, 0) {
            Ok(reading) => {
                len = reading.len;
                let mut lines = Lines::new(reading.body);
                while let Some((line, whole)) = lines.next().map_err(|e| disk("read", &e))? {
                    if !whole {
                        break;
                    }
                    match parse(line) {
                        Some(record) => next = next.max(record.n.saturating_add(1)),
                        None => damaged += 1,
                    }
                    end = lines.at;
                }
            }
            Err(e) if e.kind() == missing => {}
            Err(e) => return Err(disk("read", &e)),
        }
        if len == 0 || end < len {
            store.append(path, end, b"", true).map_err(|e| disk("cut the torn tail of", &e))?;
        }
        if len == 0 {
            let folder = path.parent().expect("a journal lies in a run folder");
            store.sync(folder).map_err(|e| Fault::disk("sync", folder, &e))?;
        }
        let journal = Journal { store, path: path.to_path_buf(), next, end, unsynced: None };
        Ok((journal, Opened { records: next, cut: len - end, damaged }))
    }

    /// Adds a record, an object of fields; its number. It survives the process at once and a power cut after
    /// [`Self::sync`].
    pub fn note(&mut self, fields: Value) -> Result<u64, Fault> {
        let n = self.next;
        self.note_as(n, fields).map(|_| n)
    }

    /// Adds a record under a number of the caller's; false, and nothing is written, where the journal is past that
    /// number: who does not know whether a record was added may add it again. Numbers may be left out.
    pub fn note_as(&mut self, n: u64, fields: Value) -> Result<bool, Fault> {
        if n < self.next {
            return Ok(false);
        }
        let Value::Object(fields) = fields else { panic!("a journal record is an object, not {fields}") };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let line = line_of(n, time, fields);
        assert!(line.len() <= MAX_LINE, "a journal record of {} bytes", line.len());
        // Written at the known end: what a failed write left there is cut first.
        let durable = self.unsynced.is_some_and(|since| since.elapsed() >= SYNC_EVERY);
        self.append(line.as_bytes(), durable)?;
        self.unsynced = if durable { None } else { self.unsynced.or(Some(Instant::now())) };
        self.next = n + 1;
        Ok(true)
    }

    /// Makes all records so far durable. After an error what is not durable stays unknown, and the run should say so.
    pub fn sync(&mut self) -> Result<(), Fault> {
        self.append(b"", true)?;
        self.unsynced = None;
        Ok(())
    }

    /// Syncs if records have waited for 30 seconds; for a timer, since a quiet run notes nothing.
    pub fn sync_if_due(&mut self) -> Result<(), Fault> {
        match self.unsynced {
            Some(since) if since.elapsed() >= SYNC_EVERY => self.sync(),
            _ => Ok(()),
        }
    }

    fn append(&mut self, bytes: &[u8], durable: bool) -> Result<(), Fault> {
        let done = self.store.append(&self.path, self.end, bytes, durable);
        done.map_err(|e| Fault::disk("write", &self.path, &e))?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Reads a journal as it grows; damaged lines are passed over and counted.
pub struct Follower {
    store: Arc<dyn Store>,
    path: PathBuf,
    at: u64,
    next: u64,
    /// Lines passed over so far.
    pub damaged: u64,
}

impl Follower {
    /// Follows a journal from its first record.
    pub fn new(store: Arc<dyn Store>, path: &Path) -> Follower {
        Follower { store, path: path.to_path_buf(), at: 0, next: 0, damaged: 0 }
    }

    /// Hands over the records that were added since the last call, in order. A journal that is not there yet has none.
    pub fn poll(&mut self, sink: &mut dyn FnMut(Record)) -> Result<(), Fault> {
        let disk = |e: &std::io::Error| Fault::disk("read", &self.path, e);
        let reading = match self.store.read(&self.path, self.at) {
            Ok(reading) if reading.len >= self.at => reading,
            // The owner cut a tail that was read already: from the start, past the numbers that are known.
            Ok(_) => {
                self.at = 0;
                self.store.read(&self.path, 0).map_err(|e| disk(&e))?
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(disk(&e)),
        };
        let start = self.at;
        let mut lines = Lines::new(reading.body);
        while let Some((line, whole)) = lines.next().map_err(|e| disk(&e))? {
            if !whole {
                break;
            }
            match parse(line) {
                Some(record) if record.n >= self.next => {
                    self.next = record.n.saturating_add(1);
                    sink(record);
                }
                Some(_) => {}
                None => self.damaged += 1,
            }
            self.at = start + lines.at;
        }
        Ok(())
    }

    /// All records of a journal.
    pub fn read_all(store: Arc<dyn Store>, path: &Path) -> Result<Vec<Record>, Fault> {
        let mut records = Vec::new();
        Follower::new(store, path).poll(&mut |record| records.push(record))?;
        Ok(records)
    }
}

fn line_of(n: u64, time: u64, fields: Map<String, Value>) -> String {
    let mut all = Map::new();
    all.insert("n".to_owned(), n.into());
    all.insert("time".to_owned(), time.into());
    for (name, value) in fields {
        let twice = all.insert(name, value);
        assert!(twice.is_none(), "a journal record may not name n or time");
    }
    let mut line = Value::Object(all).to_string();
    line.pop();
    let crc = crc32c::crc32c(line.as_bytes());
    line.push_str(&format!(",\"crc\":\"{crc:08x}\"}}\n"));
    line
}

fn parse(line: &[u8]) -> Option<Record> {
    const TAIL: usize = ",\"crc\":\"00000000\"}".len();
    let (body, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
    let crc = tail.strip_prefix(b",\"crc\":\"")?.strip_suffix(b"\"}")?;
    if format!("{:08x}", crc32c::crc32c(body)).as_bytes() != crc {
        return None;
    }
    let Value::Object(mut fields) = serde_json::from_slice(line).ok()? else {
        return None;
    };
    fields.remove("crc");
    let n = fields.shift_remove("n")?.as_u64()?;
    let time = fields.shift_remove("time")?.as_u64()?;
    Some(Record { n, time, fields })
}

/// Lines of a stream in bounded memory: the bytes beyond [`MAX_LINE`] of one are read and dropped.
struct Lines {
    body: BufReader<Box<dyn Read + Send>>,
    line: Vec<u8>,
    /// Bytes read so far.
    at: u64,
}

impl Lines {
    fn new(body: Box<dyn Read + Send>) -> Lines {
        Lines { body: BufReader::with_capacity(1 << 16, body), line: Vec::new(), at: 0 }
    }

    /// The next line without its end, and whether it has one.
    fn next(&mut self) -> std::io::Result<Option<(&[u8], bool)>> {
        self.line.clear();
        let mut any = false;
        loop {
            let buffer = self.body.fill_buf()?;
            if buffer.is_empty() {
                return Ok(any.then_some((&self.line, false)));
            }
            any = true;
            let end = buffer.iter().position(|&b| b == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            let room = MAX_LINE.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = part.len() + usize::from(end.is_some());
            self.body.consume(used);
            self.at += used as u64;
            if end.is_some() {
                return Ok(Some((&self.line, true)));
            }
        }
    }
}
