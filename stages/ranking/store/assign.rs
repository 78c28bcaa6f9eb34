//! Who gets which item, and what becomes of it: drafts, answers, and taking back.

use super::{Draft, Fault, Mode, Options, Refusal, Store, Task, check_name, draw, fault, item_of, now};
use crate::ranking::item::Answer;
use pleach_runtime::fault::FaultKind;
use rusqlite::{OptionalExtension, Transaction, params};

/// How long an item without a sign of its rater is kept from others, in milliseconds: half an hour.
const LEASE: i64 = 30 * 60 * 1000;

/// So many items lie between an item and its repeat, as long as there are others.
const BETWEEN: usize = 8;

/// One assignment's row.
struct Row {
    id: i64,
    item: i64,
    repeat: i64,
    shown: String,
    revision: i64,
    draft: String,
}

const ROW: &str = "SELECT id, item, repeat, shown, revision, draft FROM assignment";

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        id: row.get(0)?,
        item: row.get(1)?,
        repeat: row.get(2)?,
        shown: row.get(3)?,
        revision: row.get(4)?,
        draft: row.get(5)?,
    })
}

/// An item that is new to a rater, or comes again.
struct Choice {
    item: i64,
    repeat: i64,
}

impl Store {
    /// The item that a rater works on: the one begun last, else a new one, or none where nothing is left for them.
    ///
    /// Items go to one rater each, the overlap to several; what lies untouched for half an hour may go to another
    /// rater too, and both answers count. A share comes again to the same rater, in another order, without a word.
    ///
    /// # Errors
    /// A refusal for a name that is none; a fault of the disk.
    pub fn next(&mut self, rater: &str) -> Result<Option<Task>, Fault> {
        check_name("rater's name", rater)?;
        let (path, options) = (self.path.clone(), self.options.clone());
        let wrong = |error| fault(&path, "write", error);
        let transaction = self.write()?;
        let enrol = "INSERT INTO rater(name, since) VALUES(?1, ?2) ON CONFLICT DO NOTHING";
        transaction.execute(enrol, params![rater, now()]).map_err(wrong)?;
        let open = format!("{ROW} WHERE rater = ?1 AND state = 'open' ORDER BY touched DESC, id DESC LIMIT 1");
        let open = transaction.query_row(&open, [rater], row_of).optional().map_err(wrong)?;
        let id = match open {
            Some(row) => row.id,
            None => {
                let Some(choice) = choose(&transaction, &options, rater).map_err(wrong)? else {
                    return transaction.commit().map(|()| None).map_err(wrong);
                };
                assign(&transaction, &options, rater, &choice).map_err(wrong)?
            }
        };
        let touch = "UPDATE assignment SET touched = ?2 WHERE id = ?1";
        transaction.execute(touch, params![id, now()]).map_err(wrong)?;
        transaction.commit().map_err(wrong)?;
        self.task(rater, id).map(Some)
    }

    /// An assignment of a rater.
    fn row(&self, rater: &str, assignment: i64) -> Result<Row, Fault> {
        let text = format!("{ROW} WHERE id = ?1 AND rater = ?2");
        let row = self.connection.query_row(&text, params![assignment, rater], row_of).optional();
        row.map_err(|error| self.fault("read", error))?.ok_or_else(|| no_such(assignment).into())
    }

    /// An item in the hands of a rater, as it stands.
    pub fn task(&self, rater: &str, assignment: i64) -> Result<Task, Fault> {
        let row = self.row(rater, assignment)?;
        let damaged = |error: serde_json::Error| super::refuse_file(&self.path, &error.to_string());
        let draft = if row.draft.is_empty() { "{}" } else { &row.draft };
        Ok(Task {
            assignment,
            item: self.item(row.item)?,
            repeat: row.repeat,
            shown: serde_json::from_str(&row.shown).map_err(damaged)?,
            draft: serde_json::from_str(draft).map_err(damaged)?,
            revision: row.revision,
        })
    }

    fn item(&self, number: i64) -> Result<super::Item, Fault> {
        let text = "SELECT id, prompt, completions FROM item WHERE number = ?1";
        let read = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        };
        let found = self.connection.query_row(text, [number], read).map_err(|error| self.fault("read", error))?;
        item_of(&self.path, found.0, &found.1, &found.2)
    }

    /// Keeps a draft; on the disk when this returns. `revision` counts the changes of a draft: an older one than the
    /// store has comes from a page that lags behind, and is refused.
    ///
    /// # Errors
    /// A refusal for a draft that does not fit, is older, or belongs to an answered item; a fault of the disk.
    pub fn draft(&mut self, rater: &str, assignment: i64, revision: i64, draft: &Draft) -> Result<(), Fault> {
        let task = self.task(rater, assignment)?;
        draft.check(&task.item, &self.options.flags, false)?;
        let body = serde_json::to_string(draft).expect("a draft is plain data");
        let path = self.path.clone();
        let wrong = |error| fault(&path, "write", error);
        let transaction = self.write()?;
        let text = "UPDATE assignment SET draft = ?3, revision = ?4, touched = ?5
            WHERE id = ?1 AND rater = ?2 AND state = 'open' AND revision <= ?4";
        let row = params![assignment, rater, body, revision, now()];
        let changed = transaction.execute(text, row).map_err(wrong)?;
        transaction.commit().map_err(wrong)?;
        if changed == 1 { Ok(()) } else { Err(elsewhere()) }
    }

    /// Takes an answer; on the disk when this returns. The same answer sent twice is taken once.
    ///
    /// # Errors
    /// A refusal for an answer that is not whole, does not fit, or comes after another; a fault of the disk.
    pub fn submit(&mut self, rater: &str, assignment: i64, revision: i64, answer: &Answer) -> Result<(), Fault> {
        let task = self.task(rater, assignment)?;
        answer.check(&task.item, &self.options.flags, true)?;
        let body = serde_json::to_string(answer).expect("an answer is plain data");
        let path = self.path.clone();
        let wrong = |error| fault(&path, "write", error);
        let transaction = self.write()?;
        let state = if answer.skip.is_some() { "skipped" } else { "ranked" };
        let text = "UPDATE assignment SET state = ?3, draft = '', revision = ?4, touched = ?5
            WHERE id = ?1 AND rater = ?2 AND state = 'open' AND revision <= ?4";
        let row = params![assignment, rater, state, revision, now()];
        if transaction.execute(text, row).map_err(wrong)? == 0 {
            let newest = "SELECT state, revision, body FROM answer WHERE assignment = ?1 ORDER BY id DESC LIMIT 1";
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let newest = transaction.query_row(newest, [assignment], read).optional().map_err(wrong)?;
            let same = newest == Some((state.to_owned(), revision, body));
            return if same { Ok(()) } else { Err(elsewhere()) };
        }
        note(&transaction, assignment, state, revision, &body).map_err(wrong)?;
        transaction.commit().map_err(wrong)
    }

    /// Opens the answer that a rater gave last again, with what it said as its draft; none where there is none. May be
    /// asked again for the one before.
    ///
    /// # Errors
    /// A fault of the disk.
    pub fn undo(&mut self, rater: &str) -> Result<Option<Task>, Fault> {
        let path = self.path.clone();
        let wrong = |error| fault(&path, "write", error);
        let transaction = self.write()?;
        let newest = "SELECT a.id, w.body, a.revision FROM answer w JOIN assignment a ON a.id = w.assignment
            WHERE a.rater = ?1 AND a.state <> 'open' AND w.state <> 'withdrawn' ORDER BY w.id DESC LIMIT 1";
        let read =
            |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?));
        let Some((id, body, revision)) = transaction.query_row(newest, [rater], read).optional().map_err(wrong)? else {
            return Ok(None);
        };
        note(&transaction, id, "withdrawn", revision + 1, &body).map_err(wrong)?;
        // A reason to skip is no beginning of a ranking.
        let answer = serde_json::from_str::<Answer>(&body);
        let answer = answer.map_err(|error| super::refuse_file(&path, &error.to_string()))?;
        let draft = serde_json::to_string(&Answer { skip: None, ..answer }).expect("an answer is plain data");
        let text = "UPDATE assignment SET state = 'open', draft = ?2, revision = ?3, touched = ?4 WHERE id = ?1";
        transaction.execute(text, params![id, draft, revision + 1, now()]).map_err(wrong)?;
        transaction.commit().map_err(wrong)?;
        self.task(rater, id).map(Some)
    }

    /// Writes a ranking that was made elsewhere as a rater's answer, within a transaction of the caller's.
    pub(super) fn take_in(
        transaction: &Transaction<'_>,
        item: i64,
        rater: &str,
        shown: &[String],
        answer: &Answer,
    ) -> rusqlite::Result<()> {
        let enrol = "INSERT INTO rater(name, since) VALUES(?1, ?2) ON CONFLICT DO NOTHING";
        transaction.execute(enrol, params![rater, now()])?;
        let body = serde_json::to_string(answer).expect("an answer is plain data");
        let shown = serde_json::to_string(shown).expect("names are plain data");
        let state = if answer.skip.is_some() { "skipped" } else { "ranked" };
        let repeat = "SELECT coalesce(max(repeat) + 1, 0) FROM assignment WHERE item = ?1 AND rater = ?2";
        let repeat: i64 = transaction.query_row(repeat, params![item, rater], |row| row.get(0))?;
        let text = "INSERT INTO assignment(item, rater, repeat, shown, state, touched) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
        transaction.execute(text, params![item, rater, repeat, shown, state, now()])?;
        note(transaction, transaction.last_insert_rowid(), state, 0, &body)
    }
}

/// One row more in the list of answers.
fn note(tx: &Transaction<'_>, assignment: i64, state: &str, revision: i64, body: &str) -> rusqlite::Result<()> {
    let text = "INSERT INTO answer(assignment, state, revision, body, guidelines, time)
        VALUES(?1, ?2, ?3, ?4, (SELECT value FROM meta WHERE key = 'guidelines'), ?5)";
    tx.execute(text, params![assignment, state, revision, body, now()]).map(|_| ())
}

/// How many raters an item is for.
pub(super) fn wanted(options: &Options, id: &str) -> u64 {
    let shared = draw::chance(options.seed, "overlap", &[id], options.overlap);
    if shared { u64::from(options.raters) } else { 1 }
}

/// What a rater gets next.
fn choose(transaction: &Transaction<'_>, options: &Options, rater: &str) -> rusqlite::Result<Option<Choice>> {
    let repeats = repeats(transaction, options, rater)?;
    if let Some((item, _)) = repeats.iter().find(|(_, between)| *between >= BETWEEN) {
        return Ok(Some(Choice { item: *item, repeat: 1 }));
    }
    let text = "SELECT i.number, i.id, (SELECT count(*) FROM assignment a WHERE a.item = i.number AND a.repeat = 0
            AND (a.state = 'ranked' OR (a.state = 'open' AND a.touched > ?2)))
        FROM item i WHERE NOT EXISTS(SELECT 1 FROM assignment m WHERE m.item = i.number AND m.rater = ?1)
        ORDER BY i.number";
    let mut statement = transaction.prepare(text)?;
    let mut rows = statement.query(params![rater, now() - LEASE])?;
    while let Some(row) = rows.next()? {
        let (id, taken): (String, u64) = (row.get(1)?, row.get(2)?);
        if taken < wanted(options, &id) {
            return Ok(Some(Choice { item: row.get(0)?, repeat: 0 }));
        }
    }
    // Nothing new is left: a repeat comes as long as it is not the item just answered.
    let last = repeats.into_iter().find(|(_, between)| *between >= 1);
    Ok(last.map(|(item, _)| Choice { item, repeat: 1 }))
}

/// The items that a rater is to see again, each with how many others they answered since.
fn repeats(tx: &Transaction<'_>, options: &Options, rater: &str) -> rusqlite::Result<Vec<(i64, usize)>> {
    if options.repeats == 0.0 {
        return Ok(Vec::new());
    }
    let text = "SELECT a.item, i.id, a.repeat,
            EXISTS(SELECT 1 FROM assignment r WHERE r.item = a.item AND r.rater = a.rater AND r.repeat > 0)
        FROM assignment a JOIN item i ON i.number = a.item
        WHERE a.rater = ?1 AND a.state = 'ranked' ORDER BY a.id";
    let mut statement = tx.prepare(text)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, bool>(3)?))
    };
    let all = statement.query_map([rater], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let due = |id: &str| draw::chance(options.seed, "repeat", &[id, rater], options.repeats);
    let again = all.iter().enumerate().filter(|(_, (_, id, repeat, seen))| *repeat == 0 && !seen && due(id));
    Ok(again.map(|(place, (item, ..))| (*item, all.len() - 1 - place)).collect())
}

/// Gives an item to a rater, with an order of completions of their own.
fn assign(tx: &Transaction<'_>, options: &Options, rater: &str, choice: &Choice) -> rusqlite::Result<i64> {
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
    let (id, ids) = tx.query_row(
        "SELECT id, (SELECT json_group_array(json_extract(value, '$.id')) FROM json_each(completions))
            FROM item WHERE number = ?1",
        [choice.item],
        read,
    )?;
    let ids: Vec<String> = serde_json::from_str(&ids).unwrap_or_default();
    let purpose = if options.mode == Mode::Blind { "sides" } else { "order" };
    let again = choice.repeat.to_string();
    let shown = draw::shuffled(options.seed, purpose, &[&id, rater, &again], ids);
    let shown = serde_json::to_string(&shown).expect("names are plain data");
    let text = "INSERT INTO assignment(item, rater, repeat, shown, state, touched) VALUES(?1, ?2, ?3, ?4, 'open', ?5)";
    tx.execute(text, params![choice.item, rater, choice.repeat, shown, now()])?;
    Ok(tx.last_insert_rowid())
}

fn no_such(assignment: i64) -> Refusal {
    let detail = format!("there is no item {assignment} for this rater");
    Refusal::new("could not take that", detail, "reload the page")
}

/// The answer to a page that lags behind.
fn elsewhere() -> Fault {
    let detail = "the item was changed or answered in another window, or by an undo";
    let refusal = Refusal::new("could not take that", detail, "reload the page: it shows what is kept");
    Fault { kind: FaultKind::Refused, what: STALE.into(), refusal: Some(Box::new(refusal)) }
}

/// What the fault of a page that lags behind is called.
pub(crate) const STALE: &str = "an older page";
