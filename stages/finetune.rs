//! Fine-tuning and instruction tuning: a model learns answers, and nothing but the answers, of records.
//!
//! - **Data**: completions or conversations, encoded with what is learned of each ([`Encoded`]):
//!   `{"prompt": "Mira grows tulips. Who grows tulips?", "completion": "Mira."}`
//! - **Loss**: mean negative log-probability of the answers' tokens ([`NextToken`]).
//! - **Assumptions**: records laid end to end see only themselves; an answer's end mark is learned.
//! - **Done**: after `steps` steps; the best validated checkpoint is handed on.

use crate::data::Tokenizer;
use crate::data::mask::Encoded;
use crate::data::table::{Draws, Item, Table, pack};
use crate::loss::next_token::NextToken;
use pleach_runtime::fault::Fault;
use pleach_runtime::stage::{Data, Loss, Stage};
use std::sync::Arc;

/// The stage.
pub struct Finetune {
    /// `finetune` or `instruct`: the same work on other records.
    pub name: &'static str,
    /// What is learned from.
    pub train: Arc<[Encoded]>,
    /// What is only measured.
    pub validation: Arc<[Encoded]>,
    /// How rows are drawn; an item is a packed row.
    pub draws: Draws,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Prompts continued now and then, as people see them and as tokens.
    pub prompts: Vec<(String, Vec<u32>)>,
}

impl Stage for Finetune {
    fn name(&self) -> &'static str {
        self.name
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        let rows = pack(&self.train, self.draws.context)?.into_iter();
        let items = rows.map(|row| Item { rows: vec![row], facts: Vec::new() }).collect();
        let validation = pack(&self.validation, self.draws.context)?;
        Ok(Box::new(Table::new(items, validation, self.draws, self.tokenizer.byte_lengths().into())?))
    }

    fn loss(&self) -> Box<dyn Loss> {
        Box::new(NextToken)
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
