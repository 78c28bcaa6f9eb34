//! Texts that repeat: the same by a hash, nearly the same by MinHash.
//!
//! A text is the set of its runs of five words, in small letters. Sixty-four hash functions each keep their smallest
//! value over the set; the share of values that two texts have in common estimates their Jaccard similarity with a
//! standard error of at most 1/16 (Broder 1997). Sixteen bands of four values find the candidates: two texts of
//! similarity 0.8 share a band with a probability above 0.999.

use std::collections::{HashMap, HashSet};

/// Hash functions.
const VALUES: usize = 64;
/// Values of a band.
const ROWS: usize = 4;
/// Words of a run.
const RUN: usize = 5;
/// Texts that are remembered: about 1 KiB each.
const REMEMBERED: usize = 200_000;
/// Candidates of one band that are compared.
const CANDIDATES: usize = 16;
/// Similarity from which two texts are nearly the same.
const NEAR: f64 = 0.8;

/// What an index knows of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// Nothing like it.
    New,
    /// The same words.
    Same,
    /// Nearly the same, with the estimated similarity.
    Near(f64),
    /// It was not compared: the index is full.
    Full,
}

/// Texts by their words.
#[derive(Debug, Default)]
pub struct Index {
    exact: HashSet<u64>,
    bands: HashMap<u64, Vec<u32>>,
    sketches: Vec<[u32; VALUES]>,
}

impl Index {
    /// What is known of a text; then it is remembered.
    pub fn add(&mut self, text: &str) -> Seen {
        let words = words(text);
        let whole = hash(&words.join(" "));
        if self.exact.contains(&whole) {
            return Seen::Same;
        }
        if self.sketches.len() >= REMEMBERED {
            return Seen::Full;
        }
        let sketch = sketch(&words);
        let seen = self.near(&sketch);
        let number = self.sketches.len() as u32;
        self.exact.insert(whole);
        for key in keys(&sketch) {
            self.bands.entry(key).or_default().push(number);
        }
        self.sketches.push(sketch);
        seen
    }

    /// What is known of a text.
    pub fn look(&self, text: &str) -> Seen {
        let words = words(text);
        match self.exact.contains(&hash(&words.join(" "))) {
            true => Seen::Same,
            false => self.near(&sketch(&words)),
        }
    }

    fn near(&self, sketch: &[u32; VALUES]) -> Seen {
        let mut best = 0.0f64;
        for key in keys(sketch) {
            // The newest of a band that much text shares.
            for &number in self.bands.get(&key).into_iter().flatten().rev().take(CANDIDATES) {
                let known = &self.sketches[number as usize];
                let common = sketch.iter().zip(known).filter(|(a, b)| a == b).count();
                best = best.max(common as f64 / VALUES as f64);
            }
        }
        if best >= NEAR { Seen::Near(best) } else { Seen::New }
    }
}

/// The words of a text in small letters, without marks around them.
fn words(text: &str) -> Vec<String> {
    let bare = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    text.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect()
}

/// FNV-1a of 64 bits, stirred.
fn hash(text: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    stir(text.bytes().fold(0xCBF2_9CE4_8422_2325, mix))
}

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
fn stir(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The smallest value of each hash function over the runs of the text.
fn sketch(words: &[String]) -> [u32; VALUES] {
    let mut least = [u32::MAX; VALUES];
    let length = RUN.min(words.len()).max(1);
    for run in words.windows(length) {
        let run = hash(&run.join(" "));
        for (index, value) in least.iter_mut().enumerate() {
            let hashed = stir(run ^ (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32;
            *value = (*value).min(hashed as u32);
        }
    }
    least
}

/// The key of each band.
fn keys(sketch: &[u32; VALUES]) -> impl Iterator<Item = u64> + '_ {
    sketch.chunks(ROWS).enumerate().map(|(band, rows)| {
        rows.iter().fold(band as u64 + 1, |key, &value| stir(key ^ u64::from(value)).wrapping_add(band as u64))
    })
}
