//! DPO: a model learns from pairs of answers, without a reward model, held to the model that it was at entry.
//!
//! - **Data**: pairs of completions of one prompt, encoded ([`EncodedPair`]):
//!   `{"prompt": "How do I greet Mira?", "chosen": "Say good morning.", "rejected": "Do not."}`
//! - **Loss**: a preference objective over the window's pairs ([`Pairs`]); the reference is the model at entry.
//! - **Assumptions**: no dropout; a pair's rows stand side by side in a window.
//! - **Done**: after `steps` steps; the best validated checkpoint is handed on. Validation is the mean nats per token
//!   of the chosen answers.

use crate::data::Tokenizer;
use crate::data::mask::{Encoded, EncodedPair};
use crate::data::random::Permutation;
use crate::loss::pairs::Pairs;
use crate::loss::preference::Preference;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::stage::{Data, Group, Loss, Row, Stage, Window};
use std::sync::Arc;

/// The stage.
pub struct Dpo {
    /// What is learned from.
    pub train: Arc<[EncodedPair]>,
    /// What is only measured.
    pub validation: Arc<[EncodedPair]>,
    /// Tokens of the longest row.
    pub context: usize,
    /// Pairs of a window.
    pub batch: usize,
    /// Key of the order.
    pub seed: u64,
    /// What is asked of a pair.
    pub objective: Preference,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Prompts continued now and then, as people see them and as tokens.
    pub prompts: Vec<(String, Vec<u32>)>,
}

impl Stage for Dpo {
    fn name(&self) -> &'static str {
        "dpo"
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        let rows = |pairs: &[EncodedPair]| {
            let pair = |(index, pair): (usize, &EncodedPair)| {
                let key = 2 * index as u64;
                Ok([self.row(&pair.chosen, key)?, self.row(&pair.rejected, key + 1)?])
            };
            pairs.iter().enumerate().map(pair).collect::<Result<Vec<_>, Refusal>>()
        };
        let (train, validation) = (rows(&self.train)?, rows(&self.validation)?);
        if train.is_empty() || self.batch == 0 {
            let detail = format!("{} pairs, {} in a window", train.len(), self.batch);
            return Err(Refusal::new("there is nothing to learn from", detail, "name a file with pairs").into());
        }
        let (bytes, fingerprint) = (self.tokenizer.byte_lengths().into(), self.fingerprint());
        let (context, batch, seed) = (self.context, self.batch as u64, self.seed);
        Ok(Box::new(Drawn { train, validation, context, batch, seed, bytes, fingerprint }))
    }

    fn loss(&self) -> Box<dyn Loss> {
        Box::new(Pairs { objective: self.objective })
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        crate::model::tokenizer_files(&self.tokenizer)
    }

    fn prompts(&self) -> Vec<(String, Vec<u32>)> {
        self.prompts.clone()
    }

    fn text(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }

    fn eos(&self) -> Vec<u32> {
        self.tokenizer.eos().into_iter().collect()
    }
}

impl Dpo {
    /// A completion as a row: the targets are the ids after the first.
    fn row(&self, one: &Encoded, key: u64) -> Result<Row, Refusal> {
        let refused = |detail: String| {
            let hint = "shorten or drop the pair, or take a longer context";
            Err(Refusal::new(format!("pair {} cannot be learned from", key / 2), detail, hint))
        };
        let length = one.ids.len().saturating_sub(1);
        if length == 0 || length > self.context {
            return refused(format!("a completion of {} tokens; the context is {}", one.ids.len(), self.context));
        }
        let weights: Vec<f32> = one.trained[1..].iter().map(|&trained| f32::from(u8::from(trained))).collect();
        if weights.iter().all(|&weight| weight == 0.0) {
            return refused("a completion without a token to learn".to_string());
        }
        Ok(Row { tokens: one.ids.clone(), weights, segments: vec![0; length], key })
    }

    fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for pairs in [&self.train, &self.validation] {
            hasher.update(&(pairs.len() as u64).to_le_bytes());
            for one in pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]) {
                hasher.update(&(one.ids.len() as u64).to_le_bytes());
                for (id, &trained) in one.ids.iter().zip(&one.trained) {
                    hasher.update(&id.to_le_bytes()).update(&[u8::from(trained)]);
                }
            }
        }
        for number in [self.context as u64, self.batch as u64, self.seed] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.finalize().to_hex()[..16].to_string()
    }
}

/// Pairs as rows, and the order they are drawn in: a keyed permutation an epoch.
struct Drawn {
    train: Vec<[Row; 2]>,
    validation: Vec<[Row; 2]>,
    context: usize,
    batch: u64,
    seed: u64,
    bytes: Arc<[u32]>,
    fingerprint: String,
}

impl Data for Drawn {
    fn window(&mut self, draw: u64) -> Result<Window, Fault> {
        let count = self.train.len() as u64;
        let pick = |place: u64| {
            let (epoch, index) = (place / count, place % count);
            let key = self.seed.wrapping_add(epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            &self.train[Permutation::new(count, key).at(index) as usize]
        };
        let rows: Vec<Row> =
            (draw * self.batch..(draw + 1) * self.batch).flat_map(|place| pick(place).clone()).collect();
        let groups = (0..rows.len()).step_by(2).map(|at| Group { rows: at..at + 2, facts: Vec::new() }).collect();
        Ok(Window { groups, ..Window::new(self.context, rows) })
    }

    fn evaluation_rows(&self) -> usize {
        self.validation.len()
    }

    fn evaluation(&mut self, from: usize, to: usize) -> Result<Window, Fault> {
        let rows = self.validation[from..to].iter().map(|[chosen, _]| chosen.clone()).collect();
        Ok(Window::new(self.context, rows))
    }

    fn token_bytes(&self) -> Arc<[u32]> {
        self.bytes.clone()
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}
