//! Where a run's tokenizer comes from: a file, the corpus by byte-pair merges, or the corpus's characters.

use super::corpus::Corpus;
use super::tokenizer::{self, Tokenizer, TrainOptions};
use pleach_runtime::fault::Fault;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Text that a tokenizer is trained on at most, in bytes: each training file gives its beginning, in proportion to
/// its size on disk.
pub const SAMPLE: usize = 16 << 20;

/// The source of a vocabulary.
#[derive(Clone, Debug)]
pub enum Vocabulary {
    /// A `tokenizer.json`, or a folder with one.
    File(PathBuf),
    /// A byte-level BPE trained on at most `sample` bytes of the training sources.
    Trained {
        /// Size, split and marks.
        options: TrainOptions,
        /// Bytes of text to train on; [`SAMPLE`] where nothing else is asked for.
        sample: usize,
    },
    /// Every character of the whole corpus, in the order of code points.
    Characters,
}

impl Vocabulary {
    /// Makes or loads the tokenizer. The same corpus gives the same one.
    ///
    /// # Errors
    /// A refusal as a fault, for unreadable sources or files; a fault of the disk.
    pub fn tokenizer(&self, corpus: &Corpus) -> Result<Tokenizer, Fault> {
        match self {
            Vocabulary::File(path) => Ok(Tokenizer::load(&corpus.root.join(path))?),
            Vocabulary::Trained { options, sample } => {
                let parts: Vec<_> = corpus.parts()?.into_iter().filter(|part| !part.validation).collect();
                let total: u64 = parts.iter().map(|part| part.size).sum();
                let mut texts = Vec::new();
                for part in &parts {
                    let share = u128::from(part.size) * *sample as u128 / u128::from(total.max(1));
                    texts.extend(part.head(&corpus.text, share as usize)?);
                }
                Ok(tokenizer::train(texts, options)?)
            }
            Vocabulary::Characters => {
                let mut seen = BTreeSet::new();
                for part in corpus.parts()? {
                    part.documents(&corpus.text, &mut |piece| {
                        seen.extend(piece.text.chars());
                        Ok(())
                    })?;
                }
                Ok(tokenizer::characters(&seen)?)
            }
        }
    }
}
