//! The place where preparing stands, on disk: appended tokens, appended documents, and a note after each batch.

use crate::data::cache::write_whole;
use crate::data::text::Piece;
use crate::data::windows::{Split, TOO_SHORT};
use pleach_runtime::fault::{Fault, Refusal};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How far preparing has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Estimated share of the work that is done, 0 to 1.
    pub share: f64,
    /// Tokens so far.
    pub tokens: u64,
    /// Documents so far.
    pub documents: u64,
    /// Bytes of text so far.
    pub text: u64,
    /// The file being read.
    pub source: String,
}

/// A prepared corpus: two token caches, the tokenizer, and these counts, in one folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The folder.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Digest of sources, tokenizer and options, in hexadecimal.
    pub fingerprint: String,
    /// Tokens to train on.
    pub train_tokens: u64,
    /// Documents to train on.
    pub train_documents: u64,
    /// Tokens to validate on.
    pub validation_tokens: u64,
    /// Documents to validate on.
    pub validation_documents: u64,
    /// Documents with text in all; one that is cut in two, to train and to validate on, counts once.
    pub documents: u64,
    /// Bytes of text in all documents.
    pub text: u64,
    /// Documents left out because they hold no text.
    pub empty: u64,
    /// Digest of tokenizer and options, in hexadecimal.
    pub recipe: String,
    /// Digest of the text of all parts in order, whatever their files are called, in hexadecimal.
    pub content: String,
}

const RECORD: &str = "prepared.json";

impl Prepared {
    /// What an earlier call left complete and undamaged in `folder`, if it was made from the same things.
    pub(super) fn find(folder: &Path, fingerprint: &[u8; 32]) -> Option<Prepared> {
        let found = Prepared::load(folder).ok()?;
        (found.is_of(fingerprint) && found.sound()).then_some(found)
    }

    /// Was it made from the things of this fingerprint?
    pub(super) fn is_of(&self, fingerprint: &[u8; 32]) -> bool {
        self.fingerprint == blake3::Hash::from(*fingerprint).to_hex().as_str()
    }

    /// Are both caches whole, and the ones that belong to this record?
    pub(super) fn sound(&self) -> bool {
        let whole = |split| {
            let cache = super::open_split(&self.folder, split)?;
            cache.verify().map(|()| self.is_of(&cache.header().fingerprint))
        };
        [Split::Train, Split::Validation].into_iter().all(|split| whole(split).unwrap_or(false))
    }

    /// Reads what stands in a prepared folder, unverified.
    ///
    /// # Errors
    /// A fault of the disk, also where preparing was not finished.
    pub fn load(folder: &Path) -> Result<Prepared, Fault> {
        let path = folder.join(RECORD);
        let disk = |error| Fault::disk("read", &path, &error);
        let text = std::fs::read(&path).map_err(disk)?;
        let found = serde_json::from_slice::<Prepared>(&text);
        Ok(Prepared { folder: folder.to_path_buf(), ..found.map_err(|error| disk(error.into()))? })
    }

    pub(super) fn record(&self) -> Result<(), Fault> {
        let text = serde_json::to_vec_pretty(self).expect("plain numbers and strings");
        write_whole(&self.folder.join(RECORD), &text)?;
        for name in [STATE, TOKENS, DOCUMENTS] {
            let path = self.folder.join(name);
            std::fs::remove_file(&path).map_err(|error| Fault::disk("remove", &path, &error))?;
        }
        Ok(())
    }

    /// Refuses a corpus that cannot fill one row of `context` inputs, or in which no token follows another.
    ///
    /// # Errors
    /// The refusal, with both lengths.
    pub fn check(&self, context: usize) -> Result<(), Refusal> {
        if self.train_tokens > context as u64 {
            if self.train_tokens > self.train_documents {
                return Ok(());
            }
            let detail = format!("{} documents of one token each", self.train_documents);
            let hint = "give longer documents, or set boundaries = false to lay them into one stream";
            return Err(Refusal::new("nothing in the corpus can be predicted", detail, hint));
        }
        let detail = format!(
            "{} tokens to train on; one row of context {context} takes {} (the last is only a target)",
            self.train_tokens,
            context + 1
        );
        let hint = match self.train_tokens {
            0..=8 => "add text to the sources".to_owned(),
            tokens => format!("add text, or set context to {} or less", tokens - 1),
        };
        Err(Refusal::new(TOO_SHORT, detail, hint))
    }
}

/// The digest of the text of all parts up to one, from that of all before it.
pub(super) fn chain(before: &str, part: &[u8; 32]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before.as_bytes()).update(part).finalize().to_hex().to_string()
}

const STATE: &str = "prepare.json";
const TOKENS: &str = "tokens.part";
const DOCUMENTS: &str = "documents.part";

/// Where preparing stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    fingerprint: String,
    /// The part being read, and how many of its pieces are through.
    pub(super) part: usize,
    pub(super) pieces: u64,
    /// Tokens and complete documents in the files.
    pub(super) tokens: u64,
    pub(super) documents: u64,
    /// Bytes of text read, in all and of this part.
    pub(super) text: u64,
    pub(super) part_text: u64,
    pub(super) empty: u64,
    /// Digest of the text of all parts that are through, in hexadecimal.
    pub(super) content: String,
    /// The document that is not yet complete.
    open: Document,
}

/// What is kept of each document until the split is laid out: 32 bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) tokens: u64,
    pub(super) text: u64,
    /// Keyed digest of its beginning: the same text falls into the same split.
    pub(super) hash: u64,
    /// Whether it comes from a validation source.
    pub(super) validation: bool,
}

impl Document {
    pub(super) const BYTES: usize = 32;

    fn to_bytes(self) -> [u8; Document::BYTES] {
        let words = [self.tokens, self.text, self.hash, u64::from(self.validation)];
        let mut bytes = [0; Document::BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Document::BYTES]) -> Document {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[8 * at + i]));
        Document { tokens: word(0), text: word(1), hash: word(2), validation: word(3) != 0 }
    }
}

/// The files of an unfinished preparation.
pub(super) struct Journal {
    pub(super) folder: PathBuf,
    pub(super) fingerprint: [u8; 32],
    pub(super) width: u32,
    state: State,
    tokens: BufWriter<File>,
    documents: BufWriter<File>,
}

impl Journal {
    /// Takes up what was noted last, or begins anew where that belongs to something else.
    pub(super) fn open(folder: &Path, fingerprint: [u8; 32], width: u32) -> Result<Journal, Fault> {
        let name = blake3::Hash::from(fingerprint).to_hex().to_string();
        let read = std::fs::read(folder.join(STATE)).ok();
        let noted = read.and_then(|text| serde_json::from_slice::<State>(&text).ok());
        let noted = noted.filter(|state| state.fingerprint == name);
        let length = |file: &str| std::fs::metadata(folder.join(file)).map_or(0, |about| about.len());
        let ends = |state: &State| (state.tokens * u64::from(width), state.documents * Document::BYTES as u64);
        let noted = noted.filter(|state| {
            let (tokens, documents) = ends(state);
            length(TOKENS) >= tokens && length(DOCUMENTS) >= documents
        });
        let state = noted.unwrap_or_else(|| State { fingerprint: name, ..State::default() });
        let (tokens, documents) = ends(&state);
        let open = |file: &str, end: u64| {
            let path = folder.join(file);
            let open = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            // What was written after the last note is written again.
            let cut = open.and_then(|mut file| {
                file.set_len(end)?;
                file.seek(SeekFrom::Start(end))?;
                Ok(file)
            });
            cut.map(|file| BufWriter::with_capacity(1 << 18, file)).map_err(|error| Fault::disk("open", &path, &error))
        };
        let (tokens, documents) = (open(TOKENS, tokens)?, open(DOCUMENTS, documents)?);
        Ok(Journal { folder: folder.to_path_buf(), fingerprint, width, state, tokens, documents })
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Takes in the digest of the text of a part that is through; noted with the next note.
    pub(super) fn seal(&mut self, part: &[u8; 32]) {
        self.state.content = chain(&self.state.content, part);
    }

    pub(super) fn tokens_path(&self) -> PathBuf {
        self.folder.join(TOKENS)
    }

    pub(super) fn documents_path(&self) -> PathBuf {
        self.folder.join(DOCUMENTS)
    }

    /// Appends one piece; `marks` go before and after a document.
    pub(super) fn append(
        &mut self,
        piece: &Piece,
        ids: &[u32],
        marks: (&[u32], &[u32]),
        seed: u64,
        validation: bool,
    ) -> Result<(), Fault> {
        self.state.text += piece.text.len() as u64;
        self.state.part_text += piece.text.len() as u64;
        if piece.first && piece.last && piece.text.trim().is_empty() {
            self.state.empty += 1;
            return Ok(());
        }
        if piece.first {
            let mut hasher = blake3::Hasher::new();
            let digest = hasher.update(&seed.to_le_bytes()).update(piece.text.as_bytes()).finalize();
            let hash = u64::from_le_bytes(std::array::from_fn(|i| digest.as_bytes()[i]));
            self.state.open = Document { tokens: 0, text: 0, hash, validation };
            self.put(marks.0)?;
        }
        self.put(ids)?;
        self.state.open.text += piece.text.len() as u64;
        if piece.last {
            self.put(marks.1)?;
            let bytes = self.state.open.to_bytes();
            let written = self.documents.write_all(&bytes);
            written.map_err(|error| Fault::disk("write", &self.documents_path(), &error))?;
            self.state.documents += 1;
        }
        Ok(())
    }

    fn put(&mut self, ids: &[u32]) -> Result<(), Fault> {
        let outcome = ids.iter().try_for_each(|id| self.tokens.write_all(&id.to_le_bytes()[..self.width as usize]));
        outcome.map_err(|error| Fault::disk("write", &self.tokens_path(), &error))?;
        self.state.tokens += ids.len() as u64;
        self.state.open.tokens += ids.len() as u64;
        Ok(())
    }

    /// Notes the place: everything appended so far is on the disk, and is not done again.
    pub(super) fn note(&mut self, part: usize, pieces: u64, ended: bool) -> Result<(), Fault> {
        self.state.part = part;
        self.state.pieces += pieces;
        if ended {
            (self.state.part, self.state.pieces, self.state.part_text) = (part + 1, 0, 0);
        }
        for (file, path) in [(&mut self.tokens, TOKENS), (&mut self.documents, DOCUMENTS)] {
            let synced = file.flush().and_then(|()| file.get_ref().sync_data());
            synced.map_err(|error| Fault::disk("write", &self.folder.join(path), &error))?;
        }
        let text = serde_json::to_vec(&self.state).expect("plain numbers and strings");
        write_whole(&self.folder.join(STATE), &text)
    }
}
