//! Fine-tuning and instruction tuning: a model learns answers, and nothing but the answers, of records.
//!
//! - **Data**: completions or conversations, encoded with what is learned of each ([`Encoded`]):
//!   `{"prompt": "Mira grows tulips. Who grows tulips?", "completion": "Mira."}`
//! - **Loss**: mean negative log-probability of the answers' tokens ([`NextToken`]).
//! - **Assumptions**: records laid end to end see only themselves; an answer's end mark is learned.
//! - **Done**: after `steps` steps; the best validated checkpoint is handed on.

use crate::data::Tokenizer;
use crate::data::mask::Encoded;
use crate::data::table::{Draws, Item, Table, pack, row};
use crate::data::template::Template;
use crate::loss::next_token::NextToken;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::stage::{Data, Loss, Stage, Voice};
use std::sync::Arc;

/// The stage.
pub struct Finetune {
    /// `finetune` or `instruct`: the same work on other records.
    pub name: &'static str,
    /// What is learned from.
    pub train: Arc<[Encoded]>,
    /// What is only measured.
    pub validation: Arc<[Encoded]>,
    /// How rows are drawn; an item is a row.
    pub draws: Draws,
    /// Lay records end to end into rows; else each is a row of its own.
    pub packing: bool,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template that records were encoded with, if they needed one.
    pub template: Option<Arc<Template>>,
    /// Prompts continued now and then, as people see them and as tokens.
    pub prompts: Vec<(String, Vec<u32>)>,
}

impl Finetune {
    /// Windows of an epoch.
    ///
    /// # Errors
    /// A refusal where there is nothing to learn from, or a record does not fit a row.
    pub fn windows(&self) -> Result<u64, Refusal> {
        Ok(self.table()?.draws_per_epoch())
    }

    fn table(&self) -> Result<Table, Refusal> {
        let context = self.draws.context;
        let rows = match self.packing {
            true => pack(&self.train, context)?,
            false => {
                let alone = |(at, record)| row(record, context, at as u64, &format!("record {}", at + 1));
                self.train.iter().enumerate().map(alone).collect::<Result<_, _>>()?
            }
        };
        let items = rows.into_iter().map(|row| Item { rows: vec![row], facts: Vec::new() }).collect();
        let validation = pack(&self.validation, context)?;
        Table::new(items, validation, self.draws, self.tokenizer.byte_lengths().into())
    }
}

impl Stage for Finetune {
    fn name(&self) -> &'static str {
        self.name
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        Ok(Box::new(self.table()?))
    }

    fn loss(&self) -> Box<dyn Loss> {
        Box::new(NextToken)
    }

    fn voice(&self) -> Voice {
        crate::model::voice(&self.tokenizer, self.template.as_deref(), self.prompts.clone())
    }
}
