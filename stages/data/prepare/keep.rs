//! The tokens of a run that began: used for as long as they are whole, and never replaced by those of another text.

use super::progress::chain;
use super::{PrepareOptions, Prepared, Progress, fingerprint, open_split, part_text, recipe, take_in};
use crate::data::corpus::{Corpus, Part};
use crate::data::tokenizer::Tokenizer;
use crate::data::windows::Split;
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use std::path::Path;

/// What is to be done about the tokens of a run that began.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// [`prepare`](super::prepare) finds or makes the same ones.
    Same,
    /// They are used although their sources are not what they were; why, for people.
    Used(Prepared, String),
}

/// Looks at the tokens in `folder`, which a run has begun to learn from, and at the sources; touches nothing. Files of
/// other names or times but of the same text are the same sources, and sources that are gone or cannot be read are not
/// needed any more. `watch` is told while a text is read again; where it answers `false` that ends with
/// [`FaultKind::Stopped`].
///
/// # Errors
/// A refusal (as a fault) where the sources hold another text; faults of reading them where the tokens are damaged;
/// `Stopped`.
pub fn kept(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    options: &PrepareOptions,
    folder: &Path,
    watch: &mut dyn FnMut(&Progress) -> bool,
) -> Result<Kept, Fault> {
    let parts = corpus.parts();
    let now = parts.as_ref().ok().map(|parts| fingerprint(corpus, parts, tokenizer, options));
    let Ok(found) = Prepared::load(folder) else {
        let header = open_split(folder, Split::Train).ok().map(|cache| cache.header().fingerprint);
        return match header.is_none() || header == now {
            true => Ok(Kept::Same),
            false => Err(changed("its record prepared.json is gone or damaged, and the text is another one").into()),
        };
    };
    if now.is_some_and(|now| found.is_of(&now)) {
        return Ok(Kept::Same);
    }
    if found.recipe != recipe(corpus, tokenizer, options).finalize().to_hex().as_str() {
        return Err(changed("the tokenizer, or what this program makes of a text, is another one").into());
    }
    let parts = match parts {
        Ok(parts) => parts,
        Err(refusal) if found.sound() => {
            let why = format!("the text is gone ({}); the run goes on with the tokens made of it", refusal.what);
            return Ok(Kept::Used(found, why));
        }
        Err(refusal) => {
            let detail = format!("{}; the tokens that were made of it are damaged", refusal.detail);
            return Err(Refusal { detail, ..refusal }.into());
        }
    };
    match content(corpus, &parts, &found, watch) {
        Ok(text) if text == found.content => {}
        Ok(_) => return Err(changed("the sources hold another text than the one it has learned from").into()),
        Err(fault) if fault.kind == FaultKind::Disk && found.sound() => {
            let why = format!("the text cannot be read ({}); the run goes on with the tokens made of it", fault.what);
            return Ok(Kept::Used(found, why));
        }
        Err(fault) => return Err(fault),
    }
    if !found.sound() {
        return Ok(Kept::Same);
    }
    let why = "files of the text were moved or touched; their text is the same, and so are the run's tokens";
    Ok(Kept::Used(found, why.into()))
}

/// Digest of the text of all parts.
fn content(
    corpus: &Corpus,
    parts: &[Part],
    found: &Prepared,
    watch: &mut dyn FnMut(&Progress) -> bool,
) -> Result<String, Fault> {
    let mut content = String::new();
    let (all, mut read) = (found.text.max(1), 0u64);
    for part in parts {
        let mut text = part_text(part);
        part.documents(&corpus.text, &mut |piece| {
            take_in(&piece, &mut text);
            read += piece.text.len() as u64;
            let share = (read as f64 / all as f64).min(1.0);
            match watch(&Progress { share, text: read, ..Progress::default() }) {
                true => Ok(()),
                false => Err(Fault::new(FaultKind::Stopped, "stopped while the text was read again")),
            }
        })?;
        content = chain(&content, text.finalize().as_bytes());
    }
    Ok(content)
}

fn changed(detail: &str) -> Refusal {
    let hint = "restore the text as it was, or give the new run another name; nothing of the old one was touched";
    Refusal::new("the data changed since this run began", detail, hint)
}
