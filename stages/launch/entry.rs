//! The model that a pipeline begins with, and the one that each stage begins with: what the stage before handed on.

use super::Launch;
use crate::model::{self, Model};
use crate::pipeline::{Kind, Pipeline};
use pleach_runtime::engine::layout::Role;
use pleach_runtime::engine::state::scalar_from;
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
    /// Where a role of stage number `at` takes its weights from; none: random weights.
    pub(super) fn entry(&self, at: usize, role: &Role) -> Option<Entry> {
        let policy = self.above(at, Kind::hands_on).map(|stage| stage.join("model")).or(self.given.clone());
        let judge = self.above(at, |kind| kind == Kind::Reward).map(|stage| stage.join("model"));
        let scalar = role.config == role.config.scalar();
        let trains_judge = self.stages[at].choice.kind == Kind::Reward;
        // A reward model begins as the policy under a new head; a critic and a judge are the reward model.
        let begins = scalar && (trains_judge || judge.is_none());
        let folder = if scalar && !begins { judge? } else { policy? };
        let (config, seed) = (role.config.clone(), self.pipeline.seed);
        Some(Arc::new(move || {
            let model = Model::open(&folder)?;
            let found = if begins { model.config.scalar() } else { model.config.clone() };
            // What a stage changes of a model, its context and dropout, is in no weight.
            let same = ModelConfig { context: config.context, dropout: config.dropout, ..found };
            if same != config {
                let what = format!("the model in {} has another shape than this stage's", folder.display());
                return Err(Fault::new(FaultKind::Refused, what));
            }
            Ok(Arc::new(if begins { scalar_from(&model.state, &model.config, seed)? } else { model.state }))
        }))
    }
}
