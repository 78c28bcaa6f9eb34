//! The model that a pipeline begins with, and the one that each stage begins with: what the stage before handed on.

use super::{Launch, folder_of};
use crate::model::{self, Model};
use crate::pipeline::{Kind, Pipeline};
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::trainer::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The model from elsewhere that a pipeline begins with, if it does.
pub(super) fn given(pipeline: &Pipeline, base: &Path) -> Option<PathBuf> {
    pipeline.model.from.as_ref().map(|from| base.join(from))
}

/// The shape of the pipeline's model.
pub(super) fn config(pipeline: &Pipeline, base: &Path, vocab: usize) -> Result<ModelConfig, Refusal> {
    let pretrains = pipeline.stages[0].kind == Kind::Pretrain;
    match given(pipeline, base) {
        Some(from) => {
            if pretrains {
                let detail = "[model] from names a model, and the first stage begins one";
                let hint = "leave from out, or train on with kind = \"continued\"";
                return Err(Refusal::new("pretraining begins with random weights", detail, hint));
            }
            let config = model::config(&from)?;
            let context = pipeline.model.context.unwrap_or(config.context);
            if context > config.context {
                let detail = format!("context = {context}, and that of the model is {}", config.context);
                return Err(Refusal::new("the model cannot see so far", detail, "lower context, or leave it out"));
            }
            if vocab > config.vocab {
                let detail = format!("its tokenizer has {vocab} tokens, and the model embeds {}", config.vocab);
                return Err(Refusal::new("model and tokenizer do not fit", detail, "name a whole model folder"));
            }
            let dropout = pipeline.model.dropout.map_or(config.dropout, |rate| rate as f32);
            Ok(ModelConfig { context, dropout, ..config })
        }
        None if !pretrains => {
            let detail = format!("the first stage is of kind \"{}\"", pipeline.stages[0].kind.name());
            let hint = "name one: [model] from = \"FOLDER\", or begin with kind = \"pretrain\"";
            Err(Refusal::new("there is no model to begin with", detail, hint))
        }
        None => pipeline.model.config(vocab),
    }
}

impl Launch {
    /// Where the model comes from that stage number `at` begins with; none: random weights.
    pub(super) fn entry(&self, at: usize, base: Option<PathBuf>) -> Option<Entry> {
        let before = at.checked_sub(1).map(|before| {
            let name = folder_of(before, self.pipeline.stages[before].kind);
            self.folder.join("stages").join(name).join("model")
        });
        let (folder, config) = (before.or(base)?, self.stages[at].config().clone());
        Some(Arc::new(move || {
            let model = Model::open(&folder)?;
            // What a stage changes of a model, its context and dropout, is in no weight.
            let same = ModelConfig { context: config.context, dropout: config.dropout, ..model.config.clone() };
            if same != config {
                let what = format!("the model in {} has another shape than this stage's", folder.display());
                return Err(Fault::new(FaultKind::Refused, what));
            }
            Ok(Arc::new(model.state))
        }))
    }
}
