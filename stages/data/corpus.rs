//! A corpus: sources resolved to an ordered list of parts, with a digest that tells whether it is still the same.

use super::source::{self, Source};
use super::stream::{self, Packing};
use super::text::{self, Piece, Sink, TextOptions};
use super::world::Excerpt;
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use std::path::{Path, PathBuf};

/// How many times larger text is than its compressed file, about: only a progress bar leans on it.
const UNPACKED: u64 = 3;

/// What to read for training, and for validation if that has sources of its own.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// Sources to train on, in order.
    pub train: Vec<Source>,
    /// Sources to validate on; empty: a share of the training documents is kept apart.
    pub validation: Vec<Source>,
    /// The folder that relative paths start from.
    pub root: PathBuf,
    /// How files are read.
    pub text: TextOptions,
}

/// One file, or one run of stories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub(crate) source: Source,
    /// Whether it belongs to the validation sources.
    pub validation: bool,
    /// Bytes on disk.
    pub size: u64,
    /// Time of the last change in nanoseconds since 1970, 0 where unknown.
    changed: u128,
}

impl Corpus {
    /// All parts in order, each file once: training sources first.
    ///
    /// # Errors
    /// A refusal for a source that names nothing readable, or the same file twice over both lists.
    pub fn parts(&self) -> Result<Vec<Part>, Refusal> {
        if self.train.is_empty() {
            let hint = "name files, folders or patterns to train on, as in data = [\"books/*.txt\"]";
            return Err(Refusal::new("there is nothing to train on", "the list of sources is empty", hint));
        }
        let mut parts: Vec<Part> = Vec::new();
        for (sources, validation) in [(&self.train, false), (&self.validation, true)] {
            for source in sources {
                for part in resolve(source, &self.root, validation)? {
                    match parts.iter().find(|known| known.source == part.source) {
                        None => parts.push(part),
                        Some(known) if known.validation == validation => {}
                        Some(_) => {
                            let detail = format!("{} is named for training and for validation", part.name());
                            let hint = "leave it out of one of the two: a model is not judged by what it was taught";
                            return Err(Refusal::new("training and validation overlap", detail, hint));
                        }
                    }
                }
            }
        }
        Ok(parts)
    }
}

fn resolve(source: &Source, root: &Path, validation: bool) -> Result<Vec<Part>, Refusal> {
    let name = match source {
        Source::Path(name) => name,
        Source::World(it) => {
            let size = it.count * it.material.bytes();
            return Ok(vec![Part { source: source.clone(), validation, size, changed: 0 }]);
        }
    };
    let part = |file: PathBuf| {
        let about = std::fs::metadata(&file).map_err(|error| stream::unreadable(&file, &error))?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let changed = changed.map_or(0, |since| since.as_nanos());
        let name = file
            .to_str()
            .ok_or_else(|| Refusal::new(stream::cannot_read(&file), "its name is not Unicode", "rename the file"))?;
        Ok(Part { source: Source::Path(name.to_owned()), validation, size: about.len(), changed })
    };
    source::files(name, root)?.into_iter().map(part).collect()
}

impl Part {
    /// The path, or the world's name.
    pub fn name(&self) -> String {
        match &self.source {
            Source::Path(path) => path.clone(),
            Source::World(Excerpt { material, seed, first, count }) => {
                format!("world {} {first}..{} of seed {seed}", material.name(), first + count)
            }
        }
    }

    /// Bytes of text expected in it, about.
    pub(crate) fn expected_text(&self) -> u64 {
        match &self.source {
            Source::Path(path) if stream::packing(Path::new(path)) != Packing::Plain => self.size * UNPACKED,
            _ => self.size,
        }
    }

    /// Adds what tells this part from another one, or from the same one after a change.
    pub(crate) fn digest(&self, hasher: &mut blake3::Hasher) {
        let name = self.name();
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&self.size.to_le_bytes()).update(&self.changed.to_le_bytes()).update(&[self.validation.into()]);
    }

    /// All documents of the part, in order.
    ///
    /// # Errors
    /// What is wrong with the file, or what `sink` answers.
    pub fn documents(&self, options: &TextOptions, sink: &mut Sink) -> Result<(), Fault> {
        match &self.source {
            Source::Path(path) => text::documents(Path::new(path), options, sink),
            Source::World(it) => it.texts().try_for_each(|text| sink(Piece { text, first: true, last: true })),
        }
    }

    /// The head of the part: pieces until about `quota` bytes are there.
    pub(crate) fn head(&self, options: &TextOptions, quota: usize) -> Result<Vec<String>, Fault> {
        let (mut sample, mut bytes) = (Vec::new(), 0);
        let outcome = self.documents(options, &mut |piece| {
            let mut text = piece.text;
            if bytes + text.len() > quota {
                let keep = (0..=quota - bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
                text.truncate(keep);
            }
            bytes += text.len();
            sample.push(text);
            match bytes + 4 > quota {
                true => Err(Fault::new(FaultKind::Stopped, "enough")),
                false => Ok(()),
            }
        });
        match outcome {
            Err(fault) if fault.kind != FaultKind::Stopped => Err(fault),
            _ => Ok(sample),
        }
    }
}
