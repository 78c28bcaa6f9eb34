//! Pretraining: a model learns to predict the next token of raw text, from random weights.
//!
//! - **Data**: `.txt`, `.jsonl` with a `text` field, folders and globs of them, `.gz`, `.zst`, or the little world:
//!   `{"text": "Mira grows tulips behind the mill. They flower in spring."}`
//! - **Loss**: mean negative log-probability of the next token over the window's unmasked targets ([`NextToken`]).
//! - **Assumptions**: documents see only themselves; a document's end is a token and is learned.
//! - **Done**: after `steps` steps; the best validated checkpoint is handed on.

use crate::data::{Evaluation, Split, Tokenizer, WindowOptions, Windows};
use crate::loss::next_token::NextToken;
use pleach_runtime::fault::Fault;
use pleach_runtime::stage::{Data, Loss, Stage, Voice, Window};
use std::path::PathBuf;
use std::sync::Arc;

/// The stage: where its tokens are, and how windows are drawn from them.
pub struct Pretrain {
    /// The prepared folder.
    pub folder: PathBuf,
    /// The windows.
    pub windows: WindowOptions,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Prompts continued now and then, as people see them and as tokens.
    pub prompts: Vec<(String, Vec<u32>)>,
}

impl Stage for Pretrain {
    fn name(&self) -> &'static str {
        "pretrain"
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        let windows = Windows::open(&self.folder, Split::Train, self.windows)?;
        let evaluation = Evaluation::open(&self.folder, Split::Validation, self.windows.context)?;
        Ok(Box::new(Rows { windows, evaluation, bytes: self.tokenizer.byte_lengths().into() }))
    }

    fn loss(&self) -> Box<dyn Loss> {
        Box::new(NextToken)
    }

    fn voice(&self) -> Voice {
        crate::model::voice(&self.tokenizer, None, self.prompts.clone())
    }
}

/// Rows of a prepared folder.
struct Rows {
    windows: Windows,
    evaluation: Evaluation,
    bytes: Arc<[u32]>,
}

impl Data for Rows {
    fn window(&mut self, draw: u64) -> Result<Window, Fault> {
        self.windows.window(draw)
    }

    fn evaluation_sets(&self) -> Vec<(String, usize)> {
        vec![(String::new(), self.evaluation.rows() as usize)]
    }

    fn evaluation(&mut self, from: usize, to: usize) -> Result<Window, Fault> {
        self.evaluation.window(from as u64, to - from)
    }

    fn token_bytes(&self) -> Arc<[u32]> {
        self.bytes.clone()
    }

    fn fingerprint(&self) -> String {
        self.windows.fingerprint()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
