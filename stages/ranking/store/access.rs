//! Raters, their sessions and invitations; rankings that come from files; deleting what a rater gave.

use super::{Fault, Item, Refusal, Store, add_item, check_name, fault, now};
use crate::ranking::item::Answer;
use rusqlite::{OptionalExtension, params};
use std::path::Path;

/// Sessions and invitations that are kept; the oldest go first.
const SESSIONS: i64 = 256;

/// How long a session lasts, in milliseconds: 30 days.
const SESSION: i64 = 30 * 24 * 60 * 60 * 1000;

/// A ranking from a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Incoming {
    /// Where it stands: "line 7".
    pub(crate) place: String,
    pub(crate) item: Item,
    pub(crate) rater: String,
    pub(crate) shown: Vec<String>,
    pub(crate) answer: Answer,
}

impl Store {
    /// The raters, by name.
    pub fn raters(&self) -> Result<Vec<String>, Fault> {
        let wrong = |error| fault(&self.path, "read", error);
        let mut statement = self.connection.prepare("SELECT name FROM rater ORDER BY name").map_err(wrong)?;
        let names = statement.query_map([], |row| row.get(0)).map_err(wrong)?;
        names.collect::<rusqlite::Result<_>>().map_err(wrong)
    }

    /// Deletes a rater with all answers, drafts and sessions, also from the file's free pages and its log, and says how
    /// many answers that were. Items go back to those who want them.
    ///
    /// # Errors
    /// A refusal where nobody has that name; a fault of the disk.
    pub fn delete_rater(&mut self, name: &str) -> Result<u64, Fault> {
        let path = self.path.clone();
        let wrong = |error| fault(&path, "write", error);
        let transaction = self.write()?;
        let of = "assignment IN (SELECT id FROM assignment WHERE rater = ?1)";
        let answers = transaction.execute(&format!("DELETE FROM answer WHERE {of}"), [name]).map_err(wrong)?;
        for table in ["assignment", "session", "invitation"] {
            transaction.execute(&format!("DELETE FROM {table} WHERE rater = ?1"), [name]).map_err(wrong)?;
        }
        if transaction.execute("DELETE FROM rater WHERE name = ?1", [name]).map_err(wrong)? == 0 {
            drop(transaction);
            let names = self.raters()?.join(", ");
            let hint = if names.is_empty() { "it has no raters yet".into() } else { format!("it has: {names}") };
            let what = format!("could not delete the rater {name:?}");
            return Err(Refusal::new(what, format!("{} has none of that name", path.display()), hint).into());
        }
        transaction.commit().map_err(wrong)?;
        // The log holds old pages until it is emptied.
        self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM;").map_err(wrong)?;
        let empty = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection.query_row(empty, [], |_| Ok(())).map_err(wrong)?;
        Ok(answers as u64)
    }

    /// Adds items with rankings of other programs, all or none; gives the number of new items.
    pub(crate) fn take_rankings(&mut self, file: &Path, all: &[Incoming]) -> Result<u64, Fault> {
        let path = self.path.clone();
        let wrong = |error| fault(&path, "write", error);
        let transaction = self.write()?;
        let mut added = 0;
        for one in all {
            check_name("rater's name", &one.rater)?;
            match add_item(&transaction, &one.item).map_err(wrong)? {
                Some(new) => added += u64::from(new),
                None => {
                    let (place, id) = (&one.place, &one.item.id);
                    let detail = format!("{place}: item {id:?} is there already with another prompt or completions");
                    let hint = "import it into a store of its own";
                    return Err(Refusal::new(format!("could not import {}", file.display()), detail, hint).into());
                }
            }
            let number = Store::number_of(&transaction, &one.item.id).map_err(wrong)?;
            Store::take_in(&transaction, number, &one.rater, &one.shown, &one.answer).map_err(wrong)?;
        }
        transaction.commit().map_err(wrong)?;
        Ok(added)
    }

    /// Notes that somebody who knows the word behind this hash may come in once, as a rater if one is named.
    pub(crate) fn invite(&mut self, hash: &str, rater: Option<&str>) -> Result<(), Fault> {
        self.admit("invitation", hash, rater)
    }

    /// Takes an invitation back and says for whom it was; none where there is none, or it was used.
    pub(crate) fn accept(&mut self, hash: &str) -> Result<Option<Option<String>>, Fault> {
        let text = "DELETE FROM invitation WHERE hash = ?1 RETURNING rater";
        let found = self.connection.query_row(text, [hash], |row| row.get(0)).optional();
        found.map_err(|error| self.fault("write", error))
    }

    /// Begins a session.
    pub(crate) fn begin_session(&mut self, hash: &str, rater: Option<&str>) -> Result<(), Fault> {
        self.admit("session", hash, rater)
    }

    fn admit(&mut self, table: &str, hash: &str, rater: Option<&str>) -> Result<(), Fault> {
        let path = self.path.clone();
        let wrong = |error| fault(&path, "write", error);
        let transaction = self.write()?;
        let add = format!("INSERT INTO {table}(hash, rater, since) VALUES(?1, ?2, ?3)");
        transaction.execute(&add, params![hash, rater, now()]).map_err(wrong)?;
        let keep = format!(
            "DELETE FROM {table} WHERE since < ?1
                OR hash NOT IN (SELECT hash FROM {table} ORDER BY since DESC LIMIT {SESSIONS})"
        );
        transaction.execute(&keep, [now() - SESSION]).map_err(wrong)?;
        transaction.commit().map_err(wrong)
    }

    /// Who a session belongs to: none where there is no session, a second none where nobody gave a name yet.
    pub(crate) fn session(&self, hash: &str) -> Result<Option<Option<String>>, Fault> {
        let text = "SELECT rater FROM session WHERE hash = ?1 AND since > ?2";
        let found = self.connection.query_row(text, params![hash, now() - SESSION], |row| row.get(0)).optional();
        found.map_err(|error| self.fault("read", error))
    }

    /// Gives a session to a rater.
    pub(crate) fn name_session(&mut self, hash: &str, rater: &str) -> Result<(), Fault> {
        check_name("rater's name", rater)?;
        let done = self.connection.execute("UPDATE session SET rater = ?2 WHERE hash = ?1", [hash, rater]);
        done.map(|_| ()).map_err(|error| self.fault("write", error))
    }

    /// Whether a rater read these guidelines.
    pub(crate) fn has_read(&self, rater: &str, hash: &str) -> Result<bool, Fault> {
        let text = "SELECT EXISTS(SELECT 1 FROM rater WHERE name = ?1 AND guidelines = ?2)";
        self.connection.query_row(text, [rater, hash], |row| row.get(0)).map_err(|error| self.fault("read", error))
    }

    /// Notes that a rater read the guidelines of this hash.
    pub(crate) fn note_read(&mut self, rater: &str, hash: &str) -> Result<(), Fault> {
        let text = "INSERT INTO rater(name, since, guidelines) VALUES(?1, ?2, ?3)
            ON CONFLICT(name) DO UPDATE SET guidelines = excluded.guidelines";
        let done = self.connection.execute(text, params![rater, now(), hash]);
        done.map(|_| ()).map_err(|error| self.fault("write", error))
    }
}
