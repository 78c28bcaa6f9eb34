//! DPO: a model learns from pairs of answers, without a reward model, held to the model that it was at entry.
//!
//! - **Data**: pairs of completions of one prompt, encoded ([`EncodedPair`]):
//!   `{"prompt": "How do I greet Mira?", "chosen": "Say good morning.", "rejected": "Do not."}`
//! - **Loss**: a preference objective over the window's pairs ([`Pairs`]); the reference is the model at entry.
//! - **Assumptions**: no dropout; a pair's rows stand side by side in a window.
//! - **Done**: after `steps` steps; the best validated checkpoint is handed on. Validation is the mean nats per token
//!   of the chosen answers.

use crate::data::Tokenizer;
use crate::data::mask::EncodedPair;
use crate::data::table::{Draws, Item, Table, row};
use crate::data::template::Template;
use crate::loss::pairs::Pairs;
use crate::loss::preference::Preference;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::stage::{Data, Loss, Stage, Voice};
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
    /// The chat template that records were encoded with, if they needed one.
    pub template: Option<Arc<Template>>,
    /// Prompts continued now and then, as people see them and as tokens.
    pub prompts: Vec<(String, Vec<u32>)>,
}

impl Stage for Dpo {
    fn name(&self) -> &'static str {
        "dpo"
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        let item = |(index, pair): (usize, &EncodedPair)| {
            let (key, what) = (2 * index as u64, format!("pair {}", index + 1));
            let sides = [(&pair.chosen, key), (&pair.rejected, key + 1)];
            let rows = sides.map(|(side, key)| row(side, self.context, key, &what));
            Ok(Item { rows: rows.into_iter().collect::<Result<_, Refusal>>()?, facts: Vec::new() })
        };
        let items = |pairs: &[EncodedPair]| pairs.iter().enumerate().map(item).collect::<Result<Vec<_>, Refusal>>();
        // Of a validation pair, the chosen answer is measured.
        let validation = items(&self.validation)?.into_iter().map(|mut item| item.rows.swap_remove(0)).collect();
        let draws = Draws { context: self.context, batch: self.batch, seed: self.seed };
        let bytes = self.tokenizer.byte_lengths().into();
        Ok(Box::new(Table::new(items(&self.train)?, validation, draws, bytes)?))
    }

    fn loss(&self) -> Box<dyn Loss> {
        Box::new(Pairs { objective: self.objective })
    }

    fn voice(&self) -> Voice {
        crate::model::voice(&self.tokenizer, self.template.as_deref(), self.prompts.clone())
    }
}
