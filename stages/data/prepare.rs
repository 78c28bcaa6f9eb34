//! The prepare phase: sources to tokens on disk, once, resumable at any moment, in bounded memory.
//!
//! Documents are read as a stream of pieces, tokenised by threads a batch at a time, and appended in order; after each
//! batch the place is noted. When all are through, the split is decided and each split is laid out as one
//! [token cache](super::cache::TokenCache). The bytes are the same for any number of threads and of interruptions.

mod keep;
mod lay;
mod progress;

pub use keep::{Kept, kept};
pub use progress::{Prepared, Progress};

use super::cache::{TokenCache, width_of};
use super::corpus::{Corpus, Part};
use super::text::Piece;
use super::tokenizer::Tokenizer;
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use progress::{Journal, State};
use std::path::{Path, PathBuf};

/// Counted into every fingerprint: raised when the same text would give other bytes.
const FORMAT: u32 = 1;

/// How a corpus becomes tokens.
#[derive(Clone, Debug)]
pub struct PrepareOptions {
    /// Whether documents have borders: the tokenizer's marks around each, and no prediction across. Without them all
    /// text is one plain stream (nanoGPT's way).
    pub boundaries: bool,
    /// Share of the documents kept for validation, 0 to 0.5, at least one document; of a single document its last
    /// share. Not used where the corpus has validation sources.
    pub validation: f64,
    /// Chooses the validation documents.
    pub seed: u64,
    /// Tokenising threads; cannot change a bit. At least 1.
    pub threads: usize,
    /// Bytes of text per batch; cannot change a bit.
    pub batch: usize,
}

impl Default for PrepareOptions {
    fn default() -> PrepareOptions {
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(16));
        PrepareOptions { boundaries: true, validation: 0.1, seed: 0, threads, batch: 4 << 20 }
    }
}

/// Prepares a corpus in `folder`, or goes on where an earlier call was interrupted, or finds it done.
///
/// `watch` is told of every batch; where it answers `false` the work stops with [`FaultKind::Stopped`] and can be
/// taken up later.
///
/// # Errors
/// Refusals (as faults) for sources that cannot be read or hold no text; faults of the disk; `Stopped`.
pub fn prepare(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    options: &PrepareOptions,
    folder: &Path,
    watch: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Prepared, Fault> {
    if !(0.0..=0.5).contains(&options.validation) {
        let detail = format!("validation = {} is not between 0 and 0.5", options.validation);
        return Err(
            Refusal::new("could not split the corpus", detail, "0.1 keeps a tenth of the documents apart").into()
        );
    }
    let parts = corpus.parts()?;
    let fingerprint = fingerprint(corpus, &parts, tokenizer, options);
    if let Some(done) = Prepared::find(folder, &fingerprint) {
        return Ok(done);
    }
    std::fs::create_dir_all(folder).map_err(|error| Fault::disk("create the folder", folder, &error))?;
    tokenizer.save(folder)?;
    let journal = Journal::open(folder, fingerprint, width_of(tokenizer.vocab()))?;
    let text = blake3::Hasher::new();
    let mut work = Work { tokenizer, options, parts: &parts, journal, batch: Vec::new(), bytes: 0, text, watch };
    work.read(corpus)?;
    let separate = !corpus.validation.is_empty();
    let state = work.journal.state().clone();
    if state.documents == 0 {
        let detail = format!("{} files, {} documents, none with text", parts.len(), state.empty);
        return Err(
            Refusal::new("the corpus holds no text", detail, "check the sources and the name of the field").into()
        );
    }
    let prepared = lay::out(work.journal, options, separate, &recipe(corpus, tokenizer, options))?;
    prepared.record()?;
    Ok(prepared)
}

/// What decides the prepared bytes: the recipe, and where the text comes from.
fn fingerprint(corpus: &Corpus, parts: &[Part], tokenizer: &Tokenizer, options: &PrepareOptions) -> [u8; 32] {
    let mut hasher = recipe(corpus, tokenizer, options);
    parts.iter().for_each(|part| part.digest(&mut hasher));
    *hasher.finalize().as_bytes()
}

/// What decides the prepared bytes beside the text.
fn recipe(corpus: &Corpus, tokenizer: &Tokenizer, options: &PrepareOptions) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&FORMAT.to_le_bytes()).update(&tokenizer.fingerprint()).update(&[options.boundaries.into()]);
    hasher.update(&options.validation.to_le_bytes()).update(&options.seed.to_le_bytes());
    hasher.update(format!("{:?}", corpus.text).as_bytes());
    hasher
}

/// The digest of a part's text, before its first piece.
fn part_text(part: &Part) -> blake3::Hasher {
    let mut text = blake3::Hasher::new();
    text.update(&[part.validation.into()]);
    text
}

/// Adds a piece to the digest of its part's text.
fn take_in(piece: &Piece, text: &mut blake3::Hasher) {
    text.update(&(piece.text.len() as u64).to_le_bytes()).update(piece.text.as_bytes());
    text.update(&[piece.first.into(), piece.last.into()]);
}

struct Work<'a> {
    tokenizer: &'a Tokenizer,
    options: &'a PrepareOptions,
    parts: &'a [Part],
    journal: Journal,
    batch: Vec<Piece>,
    bytes: usize,
    /// Digest of the part's text so far, also of what an earlier call has tokenised.
    text: blake3::Hasher,
    watch: &'a mut dyn FnMut(&Progress) -> bool,
}

impl Work<'_> {
    /// Reads every part from where the journal stands.
    fn read(&mut self, corpus: &Corpus) -> Result<(), Fault> {
        let from = self.journal.state().part;
        for index in from..self.parts.len() {
            let part = &self.parts[index];
            let mut skip = self.journal.state().pieces;
            self.text = part_text(part);
            part.documents(&corpus.text, &mut |piece| {
                take_in(&piece, &mut self.text);
                if skip > 0 {
                    skip -= 1;
                    return Ok(());
                }
                self.bytes += piece.text.len();
                self.batch.push(piece);
                match self.bytes >= self.options.batch {
                    true => self.flush(index, false),
                    false => Ok(()),
                }
            })?;
            self.flush(index, true)?;
        }
        Ok(())
    }

    /// Tokenises and appends the batch, notes the place, and tells the watcher.
    fn flush(&mut self, index: usize, ended: bool) -> Result<(), Fault> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        let texts: Vec<&str> = batch.iter().map(|piece| piece.text.as_str()).collect();
        let tokens = tokenise(self.tokenizer, &texts, self.options.threads).map_err(|refusal| Refusal {
            detail: format!("{} (in {})", refusal.detail, self.parts[index].name()),
            ..refusal
        })?;
        let end = self.tokenizer.document_end();
        for (piece, ids) in batch.iter().zip(&tokens) {
            let marks: (&[u32], &[u32]) = match self.options.boundaries {
                true => (self.tokenizer.prefix(), &end),
                false => (&[], &[]),
            };
            self.journal.append(piece, ids, marks, self.options.seed, self.parts[index].validation)?;
        }
        if ended {
            self.journal.seal(self.text.finalize().as_bytes());
        }
        self.journal.note(index, batch.len() as u64, ended)?;
        let progress = self.progress(index, ended);
        match (self.watch)(&progress) {
            true => Ok(()),
            false => Err(Fault::new(FaultKind::Stopped, "preparing the data was stopped; it goes on from here")),
        }
    }

    fn progress(&self, index: usize, ended: bool) -> Progress {
        let State { tokens, documents, text, part_text, .. } = *self.journal.state();
        let expected: Vec<u64> = self.parts.iter().map(Part::expected_text).collect();
        let before: u64 = expected[..index].iter().sum();
        let here = if ended { expected[index] } else { part_text.min(expected[index]) };
        let total: u64 = expected.iter().sum();
        let share = (before + here) as f64 / total.max(1) as f64;
        Progress { share, tokens, documents, text, source: self.parts[index].name() }
    }
}

/// The ids of each text, in order: contiguous runs of about equal length go to the threads.
fn tokenise(tokenizer: &Tokenizer, texts: &[&str], threads: usize) -> Result<Vec<Vec<u32>>, Refusal> {
    let total: usize = texts.iter().map(|text| text.len()).sum();
    let share = total / threads.max(1) + 1;
    let mut runs: Vec<&[&str]> = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, text) in texts.iter().enumerate() {
        bytes += text.len();
        if bytes >= share || at + 1 == texts.len() {
            runs.push(&texts[start..=at]);
            (start, bytes) = (at + 1, 0);
        }
    }
    let encode = |run: &[&str]| {
        let mut encoder = tokenizer.encoder();
        run.iter().map(|text| encoder.encode(text)).collect::<Result<Vec<_>, _>>()
    };
    let results: Vec<Result<Vec<Vec<u32>>, Refusal>> = std::thread::scope(|scope| {
        let handles: Vec<_> = runs.iter().map(|run| scope.spawn(|| encode(run))).collect();
        let join = |handle: std::thread::ScopedJoinHandle<_>| {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        handles.into_iter().map(join).collect()
    });
    let nested: Vec<Vec<Vec<u32>>> = results.into_iter().collect::<Result<_, _>>()?;
    Ok(nested.into_iter().flatten().collect())
}

/// The files of a prepared folder.
pub(crate) fn split_path(folder: &Path, split: super::windows::Split) -> PathBuf {
    folder.join(match split {
        super::windows::Split::Train => "train.tokens",
        super::windows::Split::Validation => "validation.tokens",
    })
}

/// Opens both caches of a prepared folder; `None` where there is no validation split.
pub(crate) fn open_split(folder: &Path, split: super::windows::Split) -> Result<TokenCache, Fault> {
    TokenCache::open(&split_path(folder, split))
}
