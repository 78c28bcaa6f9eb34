//! The tokens of a run that began: used for as long as they are whole, and never replaced by those of another text.

use super::progress::chain;
use super::{PrepareOptions, Prepared, fingerprint, open_split, part_text, recipe, take_in};
use crate::data::corpus::{Corpus, Part};
use crate::data::tokenizer::Tokenizer;
use crate::data::windows::Split;
use pleach_runtime::fault::{Fault, Refusal};
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
/// other names or times but of the same text are the same sources, and sources that are gone are not needed any more.
///
/// # Errors
/// A refusal (as a fault) where the sources hold another text; faults of reading them.
pub fn kept(corpus: &Corpus, tokenizer: &Tokenizer, options: &PrepareOptions, folder: &Path) -> Result<Kept, Fault> {
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
    if content(corpus, &parts)? != found.content {
        return Err(changed("the sources hold another text than the one it has learned from").into());
    }
    if !found.sound() {
        return Ok(Kept::Same);
    }
    let why = "files of the text were moved or touched; their text is the same, and so are the run's tokens";
    Ok(Kept::Used(found, why.into()))
}

/// Digest of the text of all parts.
fn content(corpus: &Corpus, parts: &[Part]) -> Result<String, Fault> {
    let mut content = String::new();
    for part in parts {
        let mut text = part_text(part);
        part.documents(&corpus.text, &mut |piece| {
            take_in(&piece, &mut text);
            Ok(())
        })?;
        content = chain(&content, text.finalize().as_bytes());
    }
    Ok(content)
}

fn changed(detail: &str) -> Refusal {
    let hint = "restore the text as it was, or give the new run another name; nothing of the old one was touched";
    Refusal::new("the data changed since this run began", detail, hint)
}
