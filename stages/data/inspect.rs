//! The figures of a data set before anything is trained: what a person should look at once.
//!
//! Shape and counts, lengths, the share that is learnt, samples with their mask, records that repeat, what an
//! evaluation set shares with the training set, and what looks like personal data. All of it in bounded memory and
//! one pass.

mod diversity;
mod personal;
mod similar;
#[cfg(test)]
mod tests;
mod words;

pub use diversity::{Diversity, Kind, kind};
pub use personal::{Personal, find};
pub use similar::{Index, Seen};

use super::mask::{Encoded, Limits, Tally};
use super::records::{Reading, Record};
use super::tokenizer::Tokenizer;
use pleach_runtime::fault::Refusal;
use serde::Serialize;

/// Bars of a histogram of lengths: bar k counts lengths from 2^k to 2^(k+1) - 1, the first one 0 and 1.
const BARS: usize = 24;

/// Longest excerpt of an example, in characters.
const EXCERPT: usize = 80;

/// Examples that are kept of each finding.
const EXAMPLES: usize = 5;

/// How many records have which length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// Bar k counts lengths from 2^k to 2^(k+1) - 1; the first one 0 and 1, the last one all above.
    pub bars: Vec<u64>,
    /// Sum of all lengths.
    pub total: u64,
    /// The shortest; 0 where there is none.
    pub least: u64,
    /// The longest.
    pub most: u64,
}

impl Lengths {
    /// Counts one.
    pub fn add(&mut self, length: u64) {
        let bar = (length.max(1).ilog2() as usize).min(BARS - 1);
        if self.bars.len() <= bar {
            self.bars.resize(bar + 1, 0);
        }
        self.least = if self.count() == 0 { length } else { self.least.min(length) };
        self.most = self.most.max(length);
        self.total += length;
        self.bars[bar] += 1;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.bars.iter().sum()
    }

    /// The mean length.
    pub fn mean(&self) -> f64 {
        self.total as f64 / self.count().max(1) as f64
    }

    /// A length that `share` (0 to 1) of the records do not exceed: the upper end of the bar where that is so.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = (share * self.count() as f64).ceil() as u64;
        let mut below = 0;
        for (bar, count) in self.bars.iter().enumerate() {
            below += count;
            if below >= wanted {
                return self.most.min((2u64 << bar) - 1);
            }
        }
        self.most
    }
}

/// Part of a sample: text of one colour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// The text; special tokens by their names.
    pub text: String,
    /// Whether the loss sees it.
    pub trained: bool,
    /// How many ids.
    pub tokens: usize,
}

/// A record as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Where it stands, as "line 7".
    pub place: String,
    /// Its text in order.
    pub pieces: Vec<Piece>,
}

impl Sample {
    /// The sample of an encoded record.
    pub fn of(place: &str, record: &Encoded, tokenizer: &Tokenizer) -> Sample {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut stream = tokenizer.stream();
        for (at, (&id, &trained)) in record.ids.iter().zip(&record.trained).enumerate() {
            if at == 0 || record.trained[at - 1] != trained {
                if let Some(last) = pieces.last_mut() {
                    last.text += &std::mem::replace(&mut stream, tokenizer.stream()).finish();
                }
                pieces.push(Piece { text: String::new(), trained, tokens: 0 });
            }
            let Some(piece) = pieces.last_mut() else { continue };
            piece.tokens += 1;
            match tokenizer.name(id) {
                Some(name) => {
                    piece.text += &std::mem::replace(&mut stream, tokenizer.stream()).finish();
                    piece.text += &name;
                }
                None => piece.text += &stream.push(id),
            }
        }
        if let Some(last) = pieces.last_mut() {
            last.text += &stream.finish();
        }
        Sample { place: place.to_owned(), pieces }
    }
}

/// What an evaluation set shares with the training set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// Records of the evaluation set.
    pub records: u64,
    /// Of those, records whose prompt stands in the training set too.
    pub same: u64,
    /// Of the others, records whose prompt is nearly one of the training set.
    pub near: u64,
    /// The first of them, each as its place and its first words.
    pub examples: Vec<(String, String)>,
}

/// A file with its shape, records, and keys that are not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What was read.
    #[serde(flatten)]
    pub reading: Reading,
}

/// The figures of a data set.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inspection {
    /// Each file.
    pub files: Vec<File>,
    /// Records in their normal form.
    pub records: u64,
    /// Records with an answer that says nothing.
    pub empty_answers: u64,
    /// Pairs whose two answers are the same.
    pub equal_pairs: u64,
    /// Records whose words stand in an earlier one, line for line the same but for blanks and capitals.
    pub duplicates: u64,
    /// Records that are nearly an earlier one.
    pub near_duplicates: u64,
    /// Records that came after the limit of what is remembered, and were not compared.
    pub not_compared: u64,
    /// Lengths of the words, in characters.
    pub characters: Lengths,
    /// Lengths of the encoded records, in ids.
    pub tokens: Lengths,
    /// What became of the encoded records.
    pub tally: Tally,
    /// The first encoded records with their mask.
    pub samples: Vec<Sample>,
    /// Encoded answers that begin with BOS, where the tokenizer has one.
    pub begins_with_bos: u64,
    /// Encoded answers with a further BOS inside: templates of Llama 2's kind begin each exchange with it.
    pub bos_inside: u64,
    /// Encoded answers.
    pub encoded: u64,
    /// Likely personal data.
    pub personal: Personal,
    /// What is asked.
    pub diversity: Diversity,
    /// What the evaluation set shares with the training set, where one was looked at.
    pub overlap: Option<Overlap>,
}

impl Inspection {
    /// Share of the ids that is learnt, 0 to 1.
    pub fn trained_share(&self) -> f64 {
        self.tally.trained_share()
    }
}

/// Collects the figures, record by record.
pub struct Inspector<'a> {
    tokenizer: Option<&'a Tokenizer>,
    limits: Limits,
    samples: usize,
    whole: Index,
    given: Index,
    found: Inspection,
}

impl<'a> Inspector<'a> {
    /// An inspector that keeps so many samples; without a tokenizer it counts characters only.
    pub fn new(tokenizer: Option<&'a Tokenizer>, limits: Limits, samples: usize) -> Inspector<'a> {
        let (whole, given) = (Index::default(), Index::default());
        Inspector { tokenizer, limits, samples, whole, given, found: Inspection::default() }
    }

    /// A file has been read to its end.
    pub fn file(&mut self, name: &str, reading: Reading) {
        self.found.files.push(File { name: name.to_owned(), reading });
    }

    /// Looks at a record of the training set.
    pub fn record(&mut self, place: &str, record: &Record) {
        let words = record.words();
        self.found.records += 1;
        self.found.empty_answers += u64::from(record.has_empty_answer());
        if let Record::Pair(pair) = record {
            self.found.equal_pairs += u64::from(pair.chosen == pair.rejected);
        }
        self.found.characters.add(words.chars().count() as u64);
        match self.whole.add(&words) {
            Seen::New => {}
            Seen::Same => self.found.duplicates += 1,
            Seen::Near(_) => self.found.near_duplicates += 1,
            Seen::Full => self.found.not_compared += 1,
        }
        let given = record.given();
        if !given.trim().is_empty() {
            let seen = self.given.add(&given);
            self.found.diversity.add(place, record.asked().as_deref().unwrap_or(&given), seen);
        }
        self.found.personal.add(place, &words);
    }

    /// Looks at the ids and masks of a record's answers; what is trained on of it, if anything.
    pub fn encoded(&mut self, place: &str, answers: Vec<Encoded>) -> Option<Vec<Encoded>> {
        let bos = self.tokenizer.and_then(Tokenizer::bos);
        let sampled = self.found.samples.len() < self.samples;
        for (index, one) in answers.iter().enumerate() {
            self.found.encoded += 1;
            self.found.tokens.add(one.ids.len() as u64);
            self.found.begins_with_bos += u64::from(bos.is_some() && one.ids.first().copied() == bos);
            self.found.bos_inside += u64::from(one.bos_inside > 0);
            if let Some(tokenizer) = self.tokenizer.filter(|_| sampled) {
                let alone = answers.len() == 1;
                let place = if alone { place.to_owned() } else { format!("{place}, answer {}", index + 1) };
                self.found.samples.push(Sample::of(&place, one, tokenizer));
            }
        }
        self.found.tally.take_all(answers, &self.limits)
    }

    /// Counts the tokens of what has no mask: a text, a prompt alone.
    pub fn unmasked(&mut self, tokens: usize) {
        self.found.tokens.add(tokens as u64);
    }

    /// Looks at a record of the evaluation set, after all of the training set.
    pub fn evaluation(&mut self, place: &str, record: &Record) {
        let given = record.given();
        let words = if given.trim().is_empty() { record.words() } else { given };
        let index = if record.given().trim().is_empty() { &self.whole } else { &self.given };
        let overlap = self.found.overlap.get_or_insert_with(Overlap::default);
        overlap.records += 1;
        let shared = match index.look(&words) {
            Seen::Same => {
                overlap.same += 1;
                true
            }
            Seen::Near(_) => {
                overlap.near += 1;
                true
            }
            Seen::New | Seen::Full => false,
        };
        if shared && overlap.examples.len() < EXAMPLES {
            overlap.examples.push((place.to_owned(), words.chars().take(EXCERPT).collect()));
        }
    }

    /// The figures.
    pub fn finish(mut self) -> Inspection {
        self.found.diversity.close();
        self.found
    }

    /// Whether the encoded records may be trained on.
    ///
    /// # Errors
    /// As [`Tally::verdict`].
    pub fn verdict(&self) -> Result<(), Refusal> {
        self.found.tally.verdict(&self.limits)
    }
}
