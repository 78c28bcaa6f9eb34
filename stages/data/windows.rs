//! Windows as a pure function: `window(draw)` depends on the tokens, the seed and the draw, and on nothing else.
//!
//! Row `r` of a table holds tokens `r * context ..= (r + 1) * context`: rows overlap by one token, so that every
//! token but the first is a target once an epoch. Each epoch visits the rows in another order, a keyed permutation;
//! draw `d` takes places `d * batch ..` of the endless sequence of epochs. Nothing is remembered, so nothing is lost:
//! a reader that died is opened again and asked again.

use super::cache::TokenCache;
use super::prepare::open_split;
use super::random::{Permutation, halves, philox};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::stage::{Row, Window};
use std::path::Path;

/// The two parts of a prepared corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To train on.
    Train,
    /// To judge by.
    Validation,
}

/// The beginning of the refusal of a corpus that cannot fill one row.
pub const TOO_SHORT: &str = "the corpus is shorter than one context";

/// How rows are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sampling {
    /// Every row of the table once an epoch, in a keyed order.
    #[default]
    Epochs,
    /// Each row begins at a random token (nanoGPT's way); there are no epochs.
    RandomOffset,
}

/// What a window is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowOptions {
    /// Inputs per row, at least 1.
    pub context: usize,
    /// Rows per window, at least 1.
    pub batch: usize,
    /// Seed of the order.
    pub seed: u64,
    /// How rows are drawn.
    pub sampling: Sampling,
}

/// The training rows of a prepared folder.
#[derive(Debug)]
pub struct Windows {
    cache: TokenCache,
    options: WindowOptions,
    rows: u64,
}

impl Windows {
    /// Opens one split of a prepared folder.
    ///
    /// # Errors
    /// A refusal (as a fault) where the split cannot fill one row; faults of the disk.
    pub fn open(folder: &Path, split: Split, options: WindowOptions) -> Result<Windows, Fault> {
        assert!(options.context > 0 && options.batch > 0, "a window of {} x {}", options.batch, options.context);
        let cache = open_split(folder, split)?;
        let tokens = cache.header().tokens;
        let rows = tokens.saturating_sub(1) / options.context as u64;
        if rows == 0 {
            let detail =
                format!("{tokens} tokens; one row of context {} takes {}", options.context, options.context + 1);
            let hint = format!("add text, or set context to {} or less", tokens.saturating_sub(1).max(1));
            return Err(Refusal::new(TOO_SHORT, detail, hint).into());
        }
        Ok(Windows { cache, options, rows })
    }

    /// Rows of the table: what one epoch visits.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Windows until every row has been visited once; the last one may reach into the next epoch.
    pub fn draws_per_epoch(&self) -> u64 {
        self.rows.div_ceil(self.options.batch as u64)
    }

    /// What the order depends on besides the draw: content, context, batch, seed, sampling.
    pub fn fingerprint(&self) -> [u8; 32] {
        let WindowOptions { context, batch, seed, sampling } = self.options;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.cache.header().checksum);
        for number in [context as u64, batch as u64, seed, u64::from(sampling == Sampling::RandomOffset)] {
            hasher.update(&number.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// The window of a draw: the same rows whenever it is asked for, in whatever order.
    ///
    /// # Errors
    /// A fault of the disk.
    pub fn window(&self, draw: u64) -> Result<Window, Fault> {
        let batch = self.options.batch as u64;
        let rows = (0..batch).map(|row| match self.options.sampling {
            Sampling::Epochs => self.visited(draw * batch + row),
            Sampling::RandomOffset => self.at_random(draw, row),
        });
        Ok(Window::new(self.options.context, rows.collect::<Result<_, _>>()?))
    }

    /// The row at a place of the endless sequence of epochs.
    fn visited(&self, place: u64) -> Result<Row, Fault> {
        let (epoch, index) = (place / self.rows, place % self.rows);
        let row = Permutation::new(self.rows, self.key(epoch)).at(index);
        read_row(&self.cache, row * self.options.context as u64, self.options.context, row)
    }

    fn at_random(&self, draw: u64, row: u64) -> Result<Row, Fault> {
        let [low, high] = halves(draw);
        let words = philox(halves(self.key(0)), [low, high, row as u32, 0x0FF5_E700]);
        let word = u64::from(words[1]) << 32 | u64::from(words[0]);
        let places = self.cache.header().tokens - self.options.context as u64;
        let start = ((u128::from(word) * u128::from(places)) >> 64) as u64;
        read_row(&self.cache, start, self.options.context, start)
    }

    /// The key of an epoch's order: of the content, the seed and the epoch.
    fn key(&self, epoch: u64) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.cache.header().checksum);
        hasher.update(&(self.options.context as u64).to_le_bytes());
        hasher.update(&self.options.seed.to_le_bytes()).update(&epoch.to_le_bytes());
        u64::from_le_bytes(std::array::from_fn(|i| hasher.finalize().as_bytes()[i]))
    }
}

/// All rows of a split in order, the last one padded: each token but the first is predicted exactly once.
#[derive(Debug)]
pub struct Evaluation {
    cache: TokenCache,
    context: usize,
    rows: u64,
}

impl Evaluation {
    /// Opens one split of a prepared folder. A split of fewer than two tokens has no rows.
    ///
    /// # Errors
    /// Faults of the disk.
    pub fn open(folder: &Path, split: Split, context: usize) -> Result<Evaluation, Fault> {
        assert!(context > 0, "rows of no input");
        let cache = open_split(folder, split)?;
        let rows = cache.header().tokens.saturating_sub(1).div_ceil(context as u64);
        Ok(Evaluation { cache, context, rows })
    }

    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows `first..first + count`, fewer at the end, none beyond it.
    ///
    /// # Errors
    /// A fault of the disk.
    pub fn window(&self, first: u64, count: usize) -> Result<Window, Fault> {
        let rows = first.min(self.rows)..first.saturating_add(count as u64).min(self.rows);
        let read = |row| read_row(&self.cache, row * self.context as u64, self.context, row);
        Ok(Window::new(self.context, rows.map(read).collect::<Result<_, _>>()?))
    }
}

/// One row from a token on; beyond the end of the cache, id 0 as masked padding in a segment of its own.
fn read_row(cache: &TokenCache, start: u64, context: usize, key: u64) -> Result<Row, Fault> {
    let there = (context as u64 + 1).min(cache.header().tokens - start) as usize;
    let (mut tokens, mut begins) = (Vec::with_capacity(context + 1), Vec::with_capacity(context + 1));
    cache.read(start, there, &mut tokens, &mut begins)?;
    // Padding is laid as a document of its own: masked, and seen by nothing.
    tokens.resize(context + 1, 0);
    begins.resize(context + 1, false);
    if there <= context {
        begins[there] = true;
    }
    let mut segments = Vec::with_capacity(context);
    let mut segment = 0;
    for column in 0..context {
        if begins[column] {
            segment = column as u32;
        }
        segments.push(segment);
    }
    let seen = |column: usize| column + 1 < there && !begins[column + 1];
    let weights = (0..context).map(|column| if seen(column) { 1.0 } else { 0.0 }).collect();
    Ok(Row { tokens, weights, segments, key })
}

/// Bytes of UTF-8 in a row's unmasked targets: what bits per byte divide by. `lengths` holds each id's bytes.
pub fn target_bytes(row: &Row, lengths: &[u32]) -> u64 {
    let targets = row.tokens[1..].iter().zip(&row.weights).filter(|(_, weight)| **weight > 0.0);
    targets.map(|(&id, _)| u64::from(lengths.get(id as usize).copied().unwrap_or(0))).sum()
}
