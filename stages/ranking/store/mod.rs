//! Items, raters, drafts and answers in one SQLite file; nothing else in this program speaks SQL.
//!
//! The file is in WAL mode with synchronous FULL: what was answered is on the disk, whatever dies next. Several
//! processes may hold a store of the same file; SQLite's own locks keep them apart. An answer is never changed: what a
//! rater takes back or ranks again is a row more, and the newest row counts.

mod access;
mod assign;
mod read;

use super::draw;
use super::flags::Flags;
use super::item::{Draft, Item, check_name, said};
use crate::data::records::Said;
pub(crate) use access::Incoming;
pub(crate) use assign::STALE;
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
pub use read::{Counts, Judged, Progress};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// "Plch": SQLite's number for what program a file belongs to.
const APPLICATION: i64 = 0x506c_6368;

/// The layout of the tables below.
const VERSION: i64 = 1;

/// How long a statement waits while another process writes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest guidelines, in bytes.
const GUIDELINES: usize = 256 << 10;

/// What raters read where a store has no guidelines of its own.
const USUAL: &str = include_str!("../guidelines.md");

const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE item(
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    prompt TEXT NOT NULL,
    completions TEXT NOT NULL
) STRICT;
CREATE TABLE guidelines(hash TEXT PRIMARY KEY, text TEXT NOT NULL, since INTEGER NOT NULL) STRICT;
CREATE TABLE rater(name TEXT PRIMARY KEY, since INTEGER NOT NULL, guidelines TEXT NOT NULL DEFAULT '') STRICT;
CREATE TABLE assignment(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    item INTEGER NOT NULL REFERENCES item(number),
    rater TEXT NOT NULL REFERENCES rater(name),
    repeat INTEGER NOT NULL,
    shown TEXT NOT NULL,
    state TEXT NOT NULL CHECK(state IN ('open', 'ranked', 'skipped')),
    revision INTEGER NOT NULL DEFAULT 0,
    draft TEXT NOT NULL DEFAULT '',
    touched INTEGER NOT NULL,
    UNIQUE(item, rater, repeat)
) STRICT;
CREATE INDEX assignment_of_rater ON assignment(rater, state);
CREATE TABLE answer(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    assignment INTEGER NOT NULL REFERENCES assignment(id),
    state TEXT NOT NULL CHECK(state IN ('ranked', 'skipped', 'withdrawn')),
    revision INTEGER NOT NULL,
    body TEXT NOT NULL,
    guidelines TEXT NOT NULL,
    time INTEGER NOT NULL
) STRICT;
CREATE INDEX answer_of_assignment ON answer(assignment);
CREATE TABLE session(hash TEXT PRIMARY KEY, rater TEXT, since INTEGER NOT NULL) STRICT;
CREATE TABLE invitation(hash TEXT PRIMARY KEY, rater TEXT, since INTEGER NOT NULL) STRICT;
";

/// What raters do with an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Put all completions in order.
    #[default]
    Rank,
    /// Say which of two is better: the completions of two checkpoints, each on either side.
    Blind,
}

/// How a store hands out its items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// What raters do.
    pub mode: Mode,
    /// Decides orders, sides and who shares what.
    pub seed: u64,
    /// The share of items that several raters get, from 0 to 1; default 0.1.
    pub overlap: f64,
    /// How many raters those get; default 2.
    pub raters: u32,
    /// The share of a rater's items that are shown to the same rater again, from 0 to 1; default 0.05.
    pub repeats: f64,
    /// Rankings that suffice, where somebody waits for them.
    pub enough: Option<u64>,
    /// What raters may mark.
    pub flags: Flags,
}

impl Default for Options {
    fn default() -> Options {
        let flags = Flags::default();
        Options { mode: Mode::Rank, seed: 0, overlap: 0.1, raters: 2, repeats: 0.05, enough: None, flags }
    }
}

/// What [`Store::add_items`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Added {
    /// New items.
    pub added: u64,
    /// Items that were there already, and are the same.
    pub known: u64,
}

/// An item in the hands of a rater.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Its number: what drafts and answers name.
    pub assignment: i64,
    /// The item.
    pub item: Item,
    /// 0, or the number of the repeat; raters are not told.
    pub repeat: i64,
    /// Ids of the completions in the order shown to this rater.
    pub shown: Vec<String>,
    /// The draft so far.
    pub draft: Draft,
    /// The draft's number; the next one is higher.
    pub revision: i64,
}

/// A store of rankings.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    options: Options,
}

/// Milliseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

impl Store {
    /// Opens the store of a file, or begins one.
    ///
    /// # Errors
    /// A refusal for a file that is none, is damaged or is of a newer version; a fault of the disk.
    pub fn open(path: &Path) -> Result<Store, Fault> {
        let wrong = |error| fault(path, "open", error);
        let mut connection = Connection::open(path).map_err(wrong)?;
        connection.busy_timeout(PATIENCE).map_err(wrong)?;
        let whole = "PRAGMA quick_check(1)";
        let check: String = connection.query_row(whole, [], |row| row.get(0)).map_err(wrong)?;
        if check != "ok" {
            return Err(refuse_file(path, &check).into());
        }
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
            PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";
        connection.execute_batch(pragmas).map_err(wrong)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
        lay_tables(&transaction, path)?;
        transaction.commit().map_err(wrong)?;
        let options = "SELECT value FROM meta WHERE key = 'options'";
        let options: String = connection.query_row(options, [], |row| row.get(0)).map_err(wrong)?;
        let options = serde_json::from_str(&options).map_err(|error| refuse_file(path, &error.to_string()))?;
        Ok(Store { connection, path: path.to_path_buf(), options })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How items are handed out.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Another way of handing out items, from now on; answers stay as they are.
    ///
    /// # Errors
    /// A refusal for a share that is none; a fault of the disk.
    pub fn configure(&mut self, options: &Options) -> Result<(), Fault> {
        let share = |share: f64| (0.0..=1.0).contains(&share);
        if !share(options.overlap) || !share(options.repeats) || options.raters == 0 {
            let detail =
                format!("overlap = {}, repeats = {}, raters = {}", options.overlap, options.repeats, options.raters);
            let hint = "give shares from 0 to 1, and at least one rater";
            return Err(Refusal::new("could not set up the ranking", detail, hint).into());
        }
        let text = serde_json::to_string(options).expect("options are plain data");
        self.set("options", &text)?;
        self.options = options.clone();
        Ok(())
    }

    /// The guidelines: their hash and text.
    pub fn guidelines(&self) -> Result<(String, String), Fault> {
        let hash = self.get("guidelines")?.unwrap_or_default();
        let text = self.connection.query_row("SELECT text FROM guidelines WHERE hash = ?1", [&hash], |row| row.get(0));
        Ok((hash, text.map_err(|error| self.fault("read", error))?))
    }

    /// Sets the guidelines that raters read from now on, and gives their hash. Earlier ones are kept: each answer names
    /// those it was given under.
    ///
    /// # Errors
    /// A refusal where they are empty or longer than 256 KiB; a fault of the disk.
    pub fn set_guidelines(&mut self, text: &str) -> Result<String, Fault> {
        if text.trim().is_empty() || text.len() > GUIDELINES {
            let detail = format!("{} bytes", text.len());
            let hint = format!("give a text of 1 to {GUIDELINES} bytes");
            return Err(Refusal::new("could not take the guidelines", detail, hint).into());
        }
        let path = self.path.clone();
        let transaction = self.write()?;
        let hash = put_guidelines(&transaction, text).map_err(|error| fault(&path, "write", error))?;
        transaction.commit().map_err(|error| fault(&path, "write", error))?;
        Ok(hash)
    }

    /// Adds items, all or none; one that is there already is passed over.
    ///
    /// # Errors
    /// A refusal for an item that is none, or has the id of another; a fault of the disk.
    pub fn add_items(&mut self, items: &[Item]) -> Result<Added, Fault> {
        let path = self.path.clone();
        let blind = self.options.mode == Mode::Blind;
        let transaction = self.write()?;
        let mut out = Added::default();
        for item in items {
            item.check()?;
            if blind && item.completions.len() != 2 {
                let detail = format!("item {:?} has {} completions", item.id, item.completions.len());
                return Err(Refusal::new("could not compare", detail, "a blind comparison is between two").into());
            }
            match add_item(&transaction, item).map_err(|error| fault(&path, "write", error))? {
                Some(true) => out.added += 1,
                Some(false) => out.known += 1,
                None => {
                    let detail = format!("item {:?} is there already with another prompt or completions", item.id);
                    let hint = "give it another id, or begin another store";
                    return Err(Refusal::new("could not add the items", detail, hint).into());
                }
            }
        }
        transaction.commit().map_err(|error| fault(&path, "write", error))?;
        Ok(out)
    }

    /// A value beside the rankings.
    pub(super) fn get(&self, key: &str) -> Result<Option<String>, Fault> {
        let found = self.connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0));
        found.optional().map_err(|error| self.fault("read", error))
    }

    /// Keeps a value beside the rankings.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        let text = "INSERT INTO meta VALUES(?1, ?2) ON CONFLICT(key) DO UPDATE SET value = excluded.value";
        let done = self.connection.execute(text, [key, value]);
        done.map(|_| ()).map_err(|error| self.fault("write", error))
    }

    /// A transaction that writes: it has the file for itself from the start.
    fn write(&mut self) -> Result<Transaction<'_>, Fault> {
        let path = &self.path;
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        begun.map_err(|error| fault(path, "write", error))
    }

    fn fault(&self, doing: &str, error: rusqlite::Error) -> Fault {
        fault(&self.path, doing, error)
    }
}

/// Makes the tables of an empty file; refuses what is none of ours.
fn lay_tables(transaction: &Transaction<'_>, path: &Path) -> Result<(), Fault> {
    let wrong = |error| fault(path, "open", error);
    let number = |name: &str| transaction.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = transaction.query_row(tables, [], |row| row.get(0)).map_err(wrong)?;
    match (number("application_id").map_err(wrong)?, number("user_version").map_err(wrong)?) {
        (0, 0) if tables == 0 => {}
        (APPLICATION, VERSION) => return Ok(()),
        (APPLICATION, newer) if newer > VERSION => {
            let detail = format!("it is of version {newer}, and this program writes version {VERSION}");
            let what = format!("could not open the rankings {}", path.display());
            return Err(Refusal::new(what, detail, "use the newer program; nothing was changed").into());
        }
        _ => return Err(refuse_file(path, "it is a database of another program").into()),
    }
    transaction.execute_batch(TABLES).map_err(wrong)?;
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(wrong)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(wrong)?;
    let options = serde_json::to_string(&Options::default()).expect("options are plain data");
    transaction.execute("INSERT INTO meta VALUES('options', ?1)", [options]).map_err(wrong)?;
    put_guidelines(transaction, USUAL).map_err(wrong)?;
    Ok(())
}

fn put_guidelines(transaction: &Transaction<'_>, text: &str) -> rusqlite::Result<String> {
    let hash = blake3::hash(text.as_bytes()).to_hex().to_string();
    let row = params![hash, text, now()];
    transaction.execute("INSERT INTO guidelines VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING", row)?;
    let key = "INSERT INTO meta VALUES('guidelines', ?1) ON CONFLICT(key) DO UPDATE SET value = excluded.value";
    transaction.execute(key, [&hash])?;
    Ok(hash)
}

/// Adds an item: true; false where it is there already, none where its id is another's.
fn add_item(transaction: &Transaction<'_>, item: &Item) -> rusqlite::Result<Option<bool>> {
    let (prompt, completions) = (item.prompt.to_value().to_string(), completions_text(item));
    let known = "SELECT prompt, completions FROM item WHERE id = ?1";
    let known =
        transaction.query_row(known, [&item.id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
    if let Some(known) = known.optional()? {
        return Ok((known == (prompt, completions)).then_some(false));
    }
    let row = params![item.id, prompt, completions];
    transaction.execute("INSERT INTO item(id, prompt, completions) VALUES(?1, ?2, ?3)", row)?;
    Ok(Some(true))
}

/// The completions of an item as they stand in its row.
fn completions_text(item: &Item) -> String {
    let one = |one: &super::Completion| match &one.said {
        Said::Text(text) => json!({"id": one.id, "text": text, "origin": one.origin}),
        Said::Messages(_) => json!({"id": one.id, "message": one.said.to_value(), "origin": one.origin}),
    };
    Value::Array(item.completions.iter().map(one).collect()).to_string()
}

/// An item from its row.
fn item_of(path: &Path, id: String, prompt: &str, completions: &str) -> Result<Item, Fault> {
    let damaged = |why: String| Fault::from(refuse_file(path, &format!("item {id:?}: {why}")));
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| damaged(error.to_string()));
    let prompt = said(parse(prompt)?).map_err(damaged)?;
    let mut all = Vec::new();
    for one in parse(completions)?.as_array_mut().into_iter().flatten() {
        let name = one["id"].as_str().unwrap_or_default().to_owned();
        let words = if one["text"].is_string() { one["text"].take() } else { one["message"].take() };
        all.push(super::Completion { id: name, said: said(words).map_err(damaged)?, origin: one["origin"].take() });
    }
    Ok(Item { id, prompt, completions: all })
}

/// What is wrong with a file that should be a store.
fn refuse_file(path: &Path, why: &str) -> Refusal {
    let what = format!("could not open the rankings {}", path.display());
    Refusal::new(what, why, "name another file, or take it back from a backup; nothing was changed")
}

/// SQLite's errors as ours: a file that is none is a person's matter, the rest the machine's.
fn fault(path: &Path, doing: &str, error: rusqlite::Error) -> Fault {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            return refuse_file(path, &error.to_string()).into();
        }
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            let what = format!("could not {doing} the rankings {}", path.display());
            return Refusal::new(what, error.to_string(), "look at the folder and its permissions").into();
        }
        Some(ErrorCode::DiskFull) => FaultKind::DiskFull,
        _ => FaultKind::Disk,
    };
    Fault::new(kind, format!("could not {doing} the rankings {}: {error}", path.display()))
}
