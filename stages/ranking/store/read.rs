//! What a store holds, for figures, files and progress.

use super::assign::wanted;
use super::{Fault, Item, Store, fault, item_of, refuse_file};
use crate::ranking::item::Answer;
use rusqlite::params;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// How far a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Items.
    pub items: u64,
    /// Items that have at least one ranking.
    pub ranked: u64,
    /// Rankings, hidden repeats not counted.
    pub rankings: u64,
    /// Hidden repeats that were ranked.
    pub repeats: u64,
    /// Skipped, by rater and item.
    pub skipped: u64,
    /// Begun and not answered.
    pub open: u64,
    /// Raters with at least one ranking.
    pub raters: u64,
    /// Rankings still wanted: one for each item, more for the overlap.
    pub missing: u64,
}

/// How far a rater is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Items that this rater ranked, repeats among them.
    pub ranked: u64,
    /// Skipped by this rater.
    pub skipped: u64,
    /// Begun by this rater and not answered.
    pub open: u64,
    /// Rankings of all raters, and what is still wanted of all.
    pub counts: Counts,
    /// The median of the seconds that this rater took, where there is one.
    pub seconds: Option<f64>,
}

/// An answer that counts: the newest of its assignment, not taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Place of the item in [`Store::items`].
    pub item: usize,
    /// Who.
    pub rater: String,
    /// 0, or the number of the repeat.
    pub repeat: i64,
    /// The order shown, as ids.
    pub shown: Vec<String>,
    /// What they said.
    pub answer: Answer,
    /// Hash of the guidelines they had.
    pub guidelines: String,
    /// When, in milliseconds since 1970.
    pub time: i64,
}

impl Store {
    /// All items, in the order in which they came.
    pub fn items(&self) -> Result<Vec<Item>, Fault> {
        let wrong = |error| fault(&self.path, "read", error);
        let text = "SELECT id, prompt, completions FROM item ORDER BY number";
        let mut statement = self.connection.prepare(text).map_err(wrong)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        };
        let rows = statement.query_map([], read).map_err(wrong)?;
        rows.map(|row| row.map_err(wrong).and_then(|(id, prompt, all)| item_of(&self.path, id, &prompt, &all)))
            .collect()
    }

    /// All answers that count, skips among them: by item, rater and repeat.
    pub fn judged(&self) -> Result<Vec<Judged>, Fault> {
        let wrong = |error| fault(&self.path, "read", error);
        let mut statement = self.connection.prepare("SELECT number FROM item ORDER BY number").map_err(wrong)?;
        let numbers = statement.query_map([], |row| row.get::<_, i64>(0)).map_err(wrong)?;
        let places = numbers.enumerate().map(|(place, number)| number.map(|number| (number, place)));
        let places: HashMap<i64, usize> = places.collect::<rusqlite::Result<_>>().map_err(wrong)?;
        let text = "SELECT a.item, a.rater, a.repeat, a.shown, w.body, w.guidelines, w.time
            FROM assignment a JOIN answer w
                ON w.id = (SELECT max(id) FROM answer n WHERE n.assignment = a.id)
            WHERE a.state <> 'open' AND w.state <> 'withdrawn'
            ORDER BY a.item, a.rater, a.repeat";
        let mut statement = self.connection.prepare(text).map_err(wrong)?;
        let mut rows = statement.query([]).map_err(wrong)?;
        let mut out = Vec::new();
        let damaged = |error: serde_json::Error| refuse_file(&self.path, &error.to_string());
        while let Some(row) = rows.next().map_err(wrong)? {
            let text = |column| row.get::<_, String>(column).map_err(wrong);
            let item: i64 = row.get(0).map_err(wrong)?;
            out.push(Judged {
                item: *places.get(&item).ok_or_else(|| refuse_file(&self.path, "an answer without its item"))?,
                rater: text(1)?,
                repeat: row.get(2).map_err(wrong)?,
                shown: serde_json::from_str(&text(3)?).map_err(damaged)?,
                answer: serde_json::from_str(&text(4)?).map_err(damaged)?,
                guidelines: text(5)?,
                time: row.get(6).map_err(wrong)?,
            });
        }
        Ok(out)
    }

    /// How far the store is: what a run that waits for people asks.
    pub fn answered(&self) -> Result<Counts, Fault> {
        let wrong = |error| fault(&self.path, "read", error);
        let count = |text: &str| self.connection.query_row(text, [], |row| row.get::<_, u64>(0)).map_err(wrong);
        let text = "SELECT i.id, count(a.id) FROM item i LEFT JOIN assignment a
            ON a.item = i.number AND a.repeat = 0 AND a.state = 'ranked' GROUP BY i.number";
        let mut statement = self.connection.prepare(text).map_err(wrong)?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?));
        let rows = statement.query_map([], read).map_err(wrong)?;
        let mut counts = Counts::default();
        for row in rows {
            let (id, rankings) = row.map_err(wrong)?;
            counts.items += 1;
            counts.ranked += u64::from(rankings > 0);
            counts.rankings += rankings;
            counts.missing += wanted(&self.options, &id).saturating_sub(rankings);
        }
        counts.repeats = count("SELECT count(*) FROM assignment WHERE repeat > 0 AND state = 'ranked'")?;
        counts.skipped = count("SELECT count(*) FROM assignment WHERE state = 'skipped'")?;
        counts.open = count("SELECT count(*) FROM assignment WHERE state = 'open'")?;
        counts.raters = count("SELECT count(DISTINCT rater) FROM assignment WHERE state = 'ranked'")?;
        Ok(counts)
    }

    /// How far a rater is.
    pub fn progress(&self, rater: &str) -> Result<Progress, Fault> {
        let wrong = |error| fault(&self.path, "read", error);
        let text = "SELECT state, count(*) FROM assignment WHERE rater = ?1 GROUP BY state";
        let mut statement = self.connection.prepare(text).map_err(wrong)?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?));
        let states = statement.query_map([rater], read).map_err(wrong)?;
        let states: BTreeMap<String, u64> = states.collect::<rusqlite::Result<_>>().map_err(wrong)?;
        let of = |state: &str| states.get(state).copied().unwrap_or(0);
        let text =
            "SELECT json_extract(w.body, '$.seconds') AS s FROM answer w JOIN assignment a ON a.id = w.assignment
            WHERE a.rater = ?1 AND w.state = 'ranked' AND s > 0 ORDER BY w.id DESC LIMIT 50";
        let mut statement = self.connection.prepare(text).map_err(wrong)?;
        let seconds = statement.query_map(params![rater], |row| row.get::<_, f64>(0)).map_err(wrong)?;
        let mut seconds = seconds.collect::<rusqlite::Result<Vec<f64>>>().map_err(wrong)?;
        seconds.sort_by(f64::total_cmp);
        Ok(Progress {
            ranked: of("ranked"),
            skipped: of("skipped"),
            open: of("open"),
            counts: self.answered()?,
            seconds: seconds.get(seconds.len() / 2).copied(),
        })
    }

    /// The number of an item's row.
    pub(super) fn number_of(transaction: &rusqlite::Transaction<'_>, id: &str) -> rusqlite::Result<i64> {
        transaction.query_row("SELECT number FROM item WHERE id = ?1", [id], |row| row.get(0))
    }
}
