//! From a pipeline file to a run that can start: data prepared, models sized, memory checked, values frozen.

mod entry;
mod needs;
mod plan;
mod records;
mod rlhf;
mod steps;
mod text;

pub use needs::Needs;

use crate::begun;
use crate::data::examples::Loaded;
use crate::data::template;
use crate::data::{Prepared, Progress, Tokenizer};
use crate::pipeline::resolved::{self, Frozen};
use crate::pipeline::{Kind, Pipeline, StageChoice};
use crate::rank;
use pleach_runtime::collect::Collect;
use pleach_runtime::device::choose::Chosen;
use pleach_runtime::engine::layout::Role;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::run::RunPlan;
use pleach_runtime::stage::Stage;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A run, ready but for its device: everything that `plan` shows and `run` needs.
pub struct Launch {
    /// The pipeline as written.
    pub pipeline: Pipeline,
    /// The run folder.
    pub folder: PathBuf,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The stages that can be planned by now, in their order: all, or those up to one that collects.
    pub stages: Vec<Ready>,
    /// How many of them are done already.
    pub done: usize,
    /// The device, settled.
    pub chosen: Chosen,
    /// Why this device.
    pub why: String,
    /// The run has worked with this device before: where it does not open, it is lost and not refused.
    pub known: bool,
    /// A model from elsewhere that the pipeline begins with.
    given: Option<PathBuf>,
    /// Where relative data paths start.
    base: PathBuf,
    /// Somebody is there.
    somebody: bool,
    /// Values derived at the first start.
    pub frozen: Frozen,
    /// What changed in the pipeline file since the run began.
    pub changes: Vec<String>,
}

/// What a stage does in the run's tree.
#[derive(Clone)]
pub enum Work {
    /// It trains.
    Train(Arc<dyn Stage>),
    /// It collects.
    Collect(Arc<dyn Collect>),
}

/// A stage, ready to be begun.
pub struct Ready {
    /// Its folder: `01-pretrain`.
    pub folder: String,
    /// The stage as written.
    pub choice: StageChoice,
    /// The models that it keeps on the device, the one that it trains first.
    pub roles: Vec<Role>,
    /// The stage as the runtime takes it.
    pub work: Work,
    /// Windows of an epoch; 0 where it does not train.
    pub epoch: u64,
    /// Its text, where it learns text.
    pub prepared: Option<Prepared>,
    /// Its records, where it learns answers or pairs.
    pub loaded: Option<Arc<Loaded>>,
    /// What a person should know of its data, a sentence each.
    pub notes: Vec<String>,
    /// Rows fill every micro-batch but the window's last one.
    packed: bool,
    /// Sequences that it continues at once, and the tokens of its longest prompt, where it learns from what is said.
    generates: Option<(usize, usize)>,
}

impl Ready {
    fn new(folder: String, choice: StageChoice, roles: Vec<Role>, work: Work) -> Ready {
        let (notes, prepared, loaded, generates) = (Vec::new(), None, None, None);
        Ready { folder, choice, roles, work, epoch: 0, prepared, loaded, notes, packed: false, generates }
    }

    /// The model that it trains.
    pub fn config(&self) -> &ModelConfig {
        &self.roles[0].config
    }

    /// What it trains by; none where it collects.
    pub fn recipe(&self) -> Option<&Arc<dyn Stage>> {
        match &self.work {
            Work::Train(recipe) => Some(recipe),
            Work::Collect(_) => None,
        }
    }
}

/// What the stages of a pipeline are made from, one after the other.
struct Making<'a> {
    pipeline: &'a Pipeline,
    /// Where relative paths begin.
    base: &'a Path,
    /// The run folder.
    folder: &'a Path,
    /// Has anything been trained in it?
    began: bool,
    tokenizer: Arc<Tokenizer>,
    /// The model as the stages above leave it.
    config: ModelConfig,
    /// The chat template that the model has by now.
    template: template::Source,
    /// That template itself, once a stage needed it or the model came with it.
    spoken: Option<Arc<template::Template>>,
    /// The rankings that the stages above collected.
    ranked: Option<PathBuf>,
    /// Somebody is there who could rank.
    somebody: bool,
    watch: &'a mut dyn FnMut(&Progress) -> bool,
}

impl Launch {
    /// Prepares everything in `folder`. Relative data paths start at `base`. `watch` hears of the data's preparation
    /// and may stop it.
    ///
    /// # Errors
    /// Refusals for all that a person can mend; faults of disk and device.
    pub fn new(
        pipeline: &Pipeline,
        base: &Path,
        folder: &Path,
        watch: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<Launch, Fault> {
        Launch::seen(pipeline, base, folder, std::io::stderr().is_terminal(), watch)
    }

    /// The same where the caller says whether somebody is there: then the ranking page is served and people are waited
    /// for; else a run that needs them ends with exit code 5.
    ///
    /// # Errors
    /// As [`Launch::new`].
    pub fn seen(
        pipeline: &Pipeline,
        base: &Path,
        folder: &Path,
        somebody: bool,
        watch: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<Launch, Fault> {
        let mut changes = begun::compare(pipeline, folder)?;
        let before = begun::frozen(folder)?;
        let (chosen, why, known) = begun::device(pipeline, before.as_ref(), &mut changes)?;
        let began = begun::began(folder);
        let tokenizer = Arc::new(text::tokenizer_of(pipeline, base, folder, began)?);
        let config = entry::config(pipeline, base, tokenizer.vocab())?;
        let mut making = Making {
            pipeline,
            base,
            folder,
            began,
            tokenizer: tokenizer.clone(),
            config,
            template: template::Source::Model,
            spoken: entry::spoken(pipeline, base, &tokenizer)?,
            ranked: None,
            somebody,
            watch,
        };
        let stages = making.stages()?;
        let frozen =
            Frozen { wish: pipeline.device.clone(), device: chosen.words().unwrap_or_default(), stages: Vec::new() };
        let given = entry::given(pipeline, base);
        let (pipeline, folder, base) = (pipeline.clone(), folder.to_path_buf(), base.to_path_buf());
        let mut launch = Launch {
            pipeline,
            folder,
            tokenizer,
            stages,
            done: 0,
            chosen,
            why,
            known,
            given,
            base,
            somebody,
            frozen,
            changes,
        };
        launch.done = launch.stages_done()?;
        if launch.done > launch.stages.len() {
            let name = folder_of(launch.stages.len() - 1, launch.pipeline.stages[launch.stages.len() - 1].kind);
            let detail = format!("stages/{name} has no rankings-*.jsonl, and a later stage has learned from it");
            let hint = "restore the file, or give a new run another name";
            return Err(Refusal::new("the rankings of this run are gone", detail, hint).into());
        }
        launch.freeze(before.clone())?;
        launch.ask_for_more(before.as_ref())?;
        Ok(launch)
    }

    /// Folders of the stages that can be planned only when one before them has collected what they learn from.
    pub fn later(&self) -> Vec<String> {
        let left = self.pipeline.stages.iter().enumerate().skip(self.stages.len());
        left.map(|(at, stage)| folder_of(at, stage.kind)).collect()
    }

    /// Freezes what a stage's plan brought, in a run that goes on.
    fn record_again(&self) -> Result<(), Fault> {
        let text = resolved::write(&self.pipeline, self.stages[0].config(), &self.frozen);
        pleach_runtime::store::replace(&*RunPlan::disk(), &self.folder.join("resolved.toml"), text.as_bytes())
    }

    /// Freezes the values on disk: pleach.toml as typed, resolved.toml with every origin.
    pub fn record(&self, typed: &str) -> Result<(), Fault> {
        let text = resolved::write(&self.pipeline, self.stages[0].config(), &self.frozen);
        // What was derived goes first: where only that is there, the next start sees the change, and derives anew.
        for (name, content) in [("resolved.toml", text.as_str()), ("pleach.toml", typed)] {
            pleach_runtime::store::replace(&*RunPlan::disk(), &self.folder.join(name), content.as_bytes())?;
        }
        Ok(())
    }
}

impl Making<'_> {
    /// All stages up to the first one that has still to collect what the next ones learn from.
    fn stages(&mut self) -> Result<Vec<Ready>, Fault> {
        let mut stages = Vec::new();
        for at in 0..self.pipeline.stages.len() {
            stages.push(self.stage(at)?);
            if self.pipeline.stages[at].kind == Kind::Rank {
                self.ranked = rank::frozen(&self.folder.join("stages").join(self.name(at)));
                if self.ranked.is_none() {
                    break;
                }
            }
        }
        Ok(stages)
    }

    /// Stage number `at`, from 0.
    fn stage(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = &self.pipeline.stages[at];
        match choice.kind {
            Kind::Pretrain => self.pretrain(at),
            Kind::Continued => self.continued(at),
            Kind::Finetune | Kind::Instruct => self.answers(at),
            Kind::Dpo => self.pairs(at),
            Kind::Rank => self.rank(at),
            Kind::Reward => self.reward(at),
            Kind::Ppo => self.ppo(at),
            Kind::Grpo => self.grpo(at),
        }
    }

    /// The folder of stage number `at`.
    fn name(&self, at: usize) -> String {
        folder_of(at, self.pipeline.stages[at].kind)
    }

    /// The tokens of a prompt, where they leave room to go on.
    fn room(&self, prompt: &str, tokens: Vec<u32>) -> Result<(String, Vec<u32>), Refusal> {
        let (count, context) = (tokens.len(), self.config.context);
        if tokens.is_empty() || count > context / 2 {
            let what = format!("the prompt \"{prompt}\" cannot be continued");
            let detail = format!("it has {count} tokens; 1 to {} leave room to go on", context / 2);
            return Err(Refusal::new(what, detail, "give another prompt"));
        }
        Ok((prompt.to_string(), tokens))
    }
}

/// The folder of stage number `at`, counted from 0: `01-pretrain`.
pub(crate) fn folder_of(at: usize, kind: Kind) -> String {
    format!("{:02}-{}", at + 1, kind.name())
}
