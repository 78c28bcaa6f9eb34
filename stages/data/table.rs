//! Rows held in memory and drawn item by item: a row, a pair, the completions of a prompt.
//!
//! What follows pretraining learns from thousands of records, not from billions of tokens: they fit into memory,
//! encoded. A window is `batch` items of an endless sequence of epochs, each a keyed permutation: a function of its
//! number.

use super::mask::Encoded;
use super::random::Permutation;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::stage::{Data, Group, Row, Window};
use std::sync::Arc;

/// Rows that are drawn together.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The rows.
    pub rows: Vec<Row>,
    /// What the objective is told of each ([`Group::facts`]); none where it needs nothing.
    pub facts: Vec<f64>,
}

/// How items are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// Tokens of the longest row.
    pub context: usize,
    /// Items of a window.
    pub batch: usize,
    /// Key of the order.
    pub seed: u64,
}

/// Items to learn from, and items to measure by.
#[derive(Clone)]
pub struct Table {
    train: Arc<[Item]>,
    validation: Arc<[Item]>,
    draws: Draws,
    token_bytes: Arc<[u32]>,
    fingerprint: String,
}

impl Table {
    /// A table; validation rows are measured one by one.
    ///
    /// # Errors
    /// A refusal where there is nothing to learn from.
    pub fn new(
        train: Vec<Item>,
        validation: Vec<Row>,
        draws: Draws,
        token_bytes: Arc<[u32]>,
    ) -> Result<Table, Refusal> {
        let alone = validation.into_iter().map(|row| Item { rows: vec![row], facts: Vec::new() });
        Table::measured(train, alone.collect(), draws, token_bytes)
    }

    /// A table whose validation is measured item by item: those with facts are groups.
    ///
    /// # Errors
    /// As [`Table::new`].
    pub fn measured(
        train: Vec<Item>,
        validation: Vec<Item>,
        draws: Draws,
        token_bytes: Arc<[u32]>,
    ) -> Result<Table, Refusal> {
        if train.is_empty() || draws.batch == 0 {
            let detail = format!("{} records, {} in a window", train.len(), draws.batch);
            return Err(Refusal::new("there is nothing to learn from", detail, "name a file with records"));
        }
        let fingerprint = fingerprint(&train, &validation, draws);
        Ok(Table { train: train.into(), validation: validation.into(), draws, token_bytes, fingerprint })
    }

    /// Windows until every item has been drawn once; the last one may reach into the next epoch.
    pub fn draws_per_epoch(&self) -> u64 {
        (self.train.len() as u64).div_ceil(self.draws.batch as u64)
    }
}

impl Data for Table {
    fn window(&mut self, draw: u64) -> Result<Window, Fault> {
        let (count, batch) = (self.train.len() as u64, self.draws.batch as u64);
        let (mut rows, mut groups) = (Vec::new(), Vec::new());
        for place in draw * batch..(draw + 1) * batch {
            let (epoch, index) = (place / count, place % count);
            let key = self.draws.seed.wrapping_add(epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let item = &self.train[Permutation::new(count, key).at(index) as usize];
            groups.push(Group { rows: rows.len()..rows.len() + item.rows.len(), facts: item.facts.clone() });
            rows.extend(item.rows.iter().cloned());
        }
        Ok(Window { groups, ..Window::new(self.draws.context, rows) })
    }

    fn evaluation_sets(&self) -> Vec<(String, usize)> {
        vec![(String::new(), self.validation.len())]
    }

    fn evaluation(&mut self, from: usize, to: usize) -> Result<Window, Fault> {
        let (mut rows, mut groups) = (Vec::new(), Vec::new());
        for item in &self.validation[from..to] {
            if !item.facts.is_empty() {
                groups.push(Group { rows: rows.len()..rows.len() + item.rows.len(), facts: item.facts.clone() });
            }
            rows.extend(item.rows.iter().cloned());
        }
        Ok(Window { groups, ..Window::new(self.draws.context, rows) })
    }

    fn token_bytes(&self) -> Arc<[u32]> {
        self.token_bytes.clone()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

fn fingerprint(train: &[Item], validation: &[Item], draws: Draws) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut number = |number: u64| {
        hasher.update(&number.to_le_bytes());
    };
    for item in [draws.context as u64, draws.batch as u64, draws.seed, train.len() as u64, validation.len() as u64] {
        number(item);
    }
    for item in train {
        number(item.rows.len() as u64);
        item.facts.iter().for_each(|fact| number(fact.to_bits()));
    }
    validation.iter().flat_map(|item| &item.facts).for_each(|fact| number(fact.to_bits()));
    for row in train.iter().chain(validation).flat_map(|item| &item.rows) {
        number(row.len() as u64);
        row.tokens.iter().for_each(|&token| number(u64::from(token)));
        row.weights.iter().for_each(|weight| number(u64::from(weight.to_bits())));
        row.segments.iter().for_each(|&segment| number(u64::from(segment)));
    }
    hasher.finalize().to_hex()[..16].to_string()
}

/// A record as a row of its own: the targets are the ids after the first, of which those that are learned count.
///
/// # Errors
/// A refusal that names `what` where the record is empty, does not fit the context, or has nothing to learn.
pub fn row(one: &Encoded, context: usize, key: u64, what: &str) -> Result<Row, Refusal> {
    let refused = |detail: String| {
        let hint = "shorten or drop it, or take a longer context";
        Err(Refusal::new(format!("{what} cannot be learned from"), detail, hint))
    };
    let length = one.ids.len().saturating_sub(1);
    if length == 0 || length > context {
        return refused(format!("it has {} tokens; the context is {context}", one.ids.len()));
    }
    let weights: Vec<f32> = one.trained[1..].iter().map(|&trained| f32::from(u8::from(trained))).collect();
    if weights.iter().all(|&weight| weight == 0.0) {
        return refused("none of its tokens is to be learned".to_string());
    }
    Ok(Row { tokens: one.ids.clone(), weights, segments: vec![0; length], key })
}

/// Lays records end to end into rows of at most `context` tokens, in their order: each record sees only itself and
/// begins at position 0. A record's last id is also the next one's place in the row, so that nothing is predicted
/// across a border.
///
/// # Errors
/// As [`row`].
pub fn pack(records: &[Encoded], context: usize) -> Result<Vec<Row>, Refusal> {
    let mut rows: Vec<Row> = Vec::new();
    for (index, record) in records.iter().enumerate() {
        let alone = row(record, context, 0, &format!("record {}", index + 1))?;
        let key = rows.len() as u64;
        match rows.last_mut() {
            Some(last) if last.tokens.len() + alone.len() <= context => {
                let begin = last.tokens.len() as u32;
                // The border: the record before ends with its last id, whose target is nobody's.
                last.weights.push(0.0);
                last.segments.push(*last.segments.last().expect("a row has tokens"));
                last.tokens.extend(&alone.tokens);
                last.weights.extend(&alone.weights);
                last.segments.extend(std::iter::repeat_n(begin, alone.len()));
            }
            _ => rows.push(Row { key, ..alone }),
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::mask::Agreement;
    use super::*;

    fn record(ids: &[u32], prompt: usize) -> Encoded {
        let trained = (0..ids.len()).map(|at| at >= prompt).collect();
        let (ids, agreement) = (ids.to_vec(), Agreement::Plain);
        Encoded { ids, trained, turns: 1, unended: 0, empty: 0, straddling: 0, bos_inside: 0, agreement }
    }

    #[test]
    fn packed_records_predict_what_they_predict_alone() {
        let records = [record(&[1, 2, 3, 4], 2), record(&[5, 6, 7], 1), record(&[8, 9], 1), record(&[1; 8], 1)];
        let rows = pack(&records, 9).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].tokens, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(rows[0].segments, [0, 0, 0, 0, 4, 4, 4, 7]);
        assert_eq!(rows[0].weights, [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]);
        assert!(rows.iter().all(|row| row.tokens.len() == row.len() + 1 && row.segments.len() == row.len()));
        // Every learned (token before, target) of the records, and no other.
        let learned = |rows: &[Row]| -> Vec<(u32, u32)> {
            let of = |row: &Row| {
                let pairs = row.tokens.windows(2).zip(row.weights.clone());
                pairs.filter(|(_, weight)| *weight > 0.0).map(|(pair, _)| (pair[0], pair[1])).collect::<Vec<_>>()
            };
            rows.iter().flat_map(of).collect()
        };
        let alone: Vec<Row> = records.iter().map(|one| row(one, 9, 0, "it").unwrap()).collect();
        assert_eq!(learned(&rows), learned(&alone));
        assert!(pack(&[record(&[1; 11], 1)], 9).unwrap_err().to_string().contains("record 1"));
        assert!(row(&record(&[1, 2], 2), 9, 0, "it").unwrap_err().to_string().contains("none of its tokens"));
    }

    #[test]
    fn an_epoch_draws_every_item_once_and_any_order_of_asking_gives_the_same() {
        let items: Vec<Item> = (0..10)
            .map(|i| Item { rows: vec![row(&record(&[i, 1], 1), 4, u64::from(i), "it").unwrap()], facts: vec![] })
            .collect();
        let draws = Draws { context: 4, batch: 4, seed: 3 };
        let mut table = Table::new(items.clone(), vec![], draws, Arc::new([])).unwrap();
        assert_eq!(table.draws_per_epoch(), 3);
        let keys =
            |table: &mut Table, draw| table.window(draw).unwrap().rows.iter().map(|row| row.key).collect::<Vec<_>>();
        let forwards: Vec<u64> = (0..5).flat_map(|draw| keys(&mut table, draw)).collect();
        let backwards: Vec<Vec<u64>> = (0..5).rev().map(|draw| keys(&mut table, draw)).collect();
        assert_eq!(forwards, backwards.into_iter().rev().flatten().collect::<Vec<_>>());
        for epoch in forwards.chunks(10) {
            let mut all = epoch.to_vec();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
        }
        let other = Table::new(items[..9].to_vec(), vec![], draws, Arc::new([])).unwrap();
        assert_ne!(table.fingerprint(), other.fingerprint());
        assert!(Table::new(vec![], vec![], draws, Arc::new([])).is_err());
    }
}
