//! The last step of preparing: which documents validate, and each split laid end to end.

use super::progress::{Document, Journal, Prepared};
use super::{PrepareOptions, split_path};
use crate::data::cache::CacheWriter;
use crate::data::windows::Split;
use pleach_runtime::fault::Fault;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Which documents validate.
#[derive(Clone, Copy)]
enum Rule {
    /// Those of the validation sources.
    Flagged,
    /// Those with a digest below this.
    Below(u64),
    /// The first, where all have the same text.
    First,
    /// The only document's tokens from here on.
    Tail(u64),
    /// None.
    Nothing,
}

/// Lays both splits out from the journal's files.
pub(super) fn out(
    journal: Journal,
    options: &PrepareOptions,
    separate: bool,
    recipe: &blake3::Hasher,
) -> Result<Prepared, Fault> {
    let rule = choose(&journal, options, separate)?;
    let create = |split| CacheWriter::create(&split_path(&journal.folder, split), journal.width, journal.fingerprint);
    let (mut train, mut validation) = (create(Split::Train)?, create(Split::Validation)?);
    let path = journal.tokens_path();
    let file = File::open(&path).map_err(|error| Fault::disk("read", &path, &error))?;
    let mut tokens = Tokens { path: &path, file: BufReader::with_capacity(1 << 18, file), buffer: vec![0; 1 << 16] };
    let width = u64::from(journal.width);
    let mut number = 0;
    each(&journal.documents_path(), &mut |document| {
        let to_train = match rule {
            Rule::Flagged if document.validation => 0,
            Rule::Below(bound) if document.hash < bound => 0,
            Rule::First if number == 0 => 0,
            Rule::Tail(from) => from,
            _ => document.tokens,
        };
        tokens.copy(to_train * width, &mut train, options.boundaries)?;
        tokens.copy((document.tokens - to_train) * width, &mut validation, options.boundaries)?;
        number += 1;
        Ok(())
    })?;
    let (train, validation) = (train.finish()?, validation.finish()?);
    let state = journal.state();
    Ok(Prepared {
        folder: journal.folder.clone(),
        fingerprint: blake3::Hash::from(journal.fingerprint).to_hex().to_string(),
        train_tokens: train.tokens,
        train_documents: train.documents,
        validation_tokens: validation.tokens,
        validation_documents: validation.documents,
        documents: state.documents,
        text: state.text,
        empty: state.empty,
        recipe: recipe.finalize().to_hex().to_string(),
        content: state.content.clone(),
    })
}

/// The journal's tokens, read from front to back.
struct Tokens<'a> {
    path: &'a Path,
    file: BufReader<File>,
    buffer: Vec<u8>,
}

impl Tokens<'_> {
    /// Hands the next `count` bytes to a split, as one document where documents have borders.
    fn copy(&mut self, count: u64, to: &mut CacheWriter, borders: bool) -> Result<(), Fault> {
        let mut left = count;
        let mut begins = borders || to.is_empty();
        while left > 0 {
            let take = left.min(self.buffer.len() as u64) as usize;
            let read = self.file.read_exact(&mut self.buffer[..take]);
            read.map_err(|error| Fault::disk("read", self.path, &error))?;
            to.append(&self.buffer[..take], begins)?;
            (begins, left) = (false, left - take as u64);
        }
        Ok(())
    }
}

/// Walks the records of all documents.
fn each(path: &Path, take: &mut dyn FnMut(Document) -> Result<(), Fault>) -> Result<(), Fault> {
    let disk = |error| Fault::disk("read", path, &error);
    let mut file = BufReader::new(File::open(path).map_err(disk)?);
    let mut record = [0u8; Document::BYTES];
    while !file.fill_buf().map_err(disk)?.is_empty() {
        file.read_exact(&mut record).map_err(disk)?;
        take(Document::from_bytes(&record))?;
    }
    Ok(())
}

fn choose(journal: &Journal, options: &PrepareOptions, separate: bool) -> Result<Rule, Fault> {
    if separate {
        return Ok(Rule::Flagged);
    }
    if options.validation == 0.0 {
        return Ok(Rule::Nothing);
    }
    // 2^64 times the share; a share of at most a half fits.
    let bound = (options.validation * 18_446_744_073_709_551_616.0) as u64;
    let (mut number, mut below, mut tokens) = (0u64, 0u64, 0u64);
    let (mut least, mut most) = (u64::MAX, 0);
    each(&journal.documents_path(), &mut |document| {
        (least, most) = (least.min(document.hash), most.max(document.hash));
        below += u64::from(document.hash < bound);
        tokens = document.tokens;
        number += 1;
        Ok(())
    })?;
    Ok(match (number, below) {
        // nanoGPT's rounding: the training share is cut down to whole tokens.
        (1, _) => Rule::Tail((tokens as f64 * (1.0 - options.validation)) as u64),
        _ if least == most => Rule::First,
        // At least one text validates, and at least one trains.
        (_, 0) => Rule::Below(least + 1),
        (all, below) if all == below => Rule::Below(most),
        _ => Rule::Below(bound),
    })
}
