//! Stages that learn from records: files read, encoded, counted and divided ([`crate::data::examples`]).

use super::{Making, Ready, Work};
use crate::data::examples::{Choices, Kind as Learned, Loaded, Origin, load};
use crate::data::mask::{ChatEncoder, Limits, Turns};
use crate::data::records::Said;
use crate::data::table::Draws;
use crate::data::template::{self, Template};
use crate::data::world::Excerpt;
use crate::data::{Progress, Tokenizer};
use crate::dpo::Dpo;
use crate::finetune::Finetune;
use crate::loss::pairs::Pairs;
use crate::loss::preference::Preference;
use crate::pipeline::{OneOrMany, RANKINGS, StageChoice, Valid};
use pleach_runtime::engine::layout::Role;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::model::config::ModelConfig;
use std::path::Path;
use std::sync::Arc;

impl Making<'_> {
    /// Fine-tuning and instruction tuning.
    pub(super) fn answers(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = self.pipeline.stages[at].clone();
        let mut loaded = self.load(&choice, Learned::Answers)?;
        let needed = loaded.template.take().map(Arc::new);
        let template = self.spoken(needed.clone());
        let (train, validation) = (Loaded::answers(&loaded.train), Loaded::answers(&loaded.validation));
        let draws = Draws { context: self.config.context, batch: choice.batch, seed: self.pipeline.seed };
        let recipe = Finetune {
            name: choice.kind.name(),
            train,
            validation,
            draws,
            packing: choice.packing,
            tokenizer: self.tokenizer.clone(),
            template: template.clone(),
            prompts: self.questions(&choice, needed.as_deref())?,
        };
        let epoch = recipe.windows()?;
        let roles = vec![Role::policy(&self.config)];
        Ok(self.ready(at, choice, roles, Arc::new(recipe), epoch, loaded))
    }

    /// DPO and its kin.
    pub(super) fn pairs(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = self.pipeline.stages[at].clone();
        let mut loaded = self.load(&choice, Learned::Preferences)?;
        let needed = loaded.template.take().map(Arc::new);
        let template = self.spoken(needed.clone());
        let objective = objective(&choice);
        // What is seen twice must be the same both times.
        let config = ModelConfig { dropout: 0.0, ..self.config.clone() };
        let mut roles = vec![Role::policy(&config)];
        if Pairs::has_reference(&objective) {
            roles.push(Role::reference(&config));
        }
        let recipe = Dpo {
            train: Loaded::pairs(&loaded.train),
            validation: Loaded::pairs(&loaded.validation),
            context: config.context,
            batch: choice.batch,
            seed: self.pipeline.seed,
            objective,
            tokenizer: self.tokenizer.clone(),
            template: template.clone(),
            prompts: self.questions(&choice, needed.as_deref())?,
        };
        let epoch = (recipe.train.len() as u64).div_ceil(choice.batch as u64);
        Ok(self.ready(at, choice, roles, Arc::new(recipe), epoch, loaded))
    }

    fn ready(
        &self,
        at: usize,
        choice: StageChoice,
        roles: Vec<Role>,
        recipe: Arc<dyn pleach_runtime::stage::Stage>,
        epoch: u64,
        loaded: Loaded,
    ) -> Ready {
        let mut ready = Ready::new(self.name(at), choice, roles, Work::Train(recipe));
        (ready.epoch, ready.notes, ready.loaded) = (epoch, loaded.notes.clone(), Some(Arc::new(loaded)));
        ready
    }

    /// Reads, encodes and divides a stage's records; the template that they needed is the model's from here on.
    fn load(&mut self, choice: &StageChoice, kind: Learned) -> Result<Loaded, Fault> {
        let tokenizer = self.tokenizer.clone();
        let context = self.config.context;
        let share = choice.too_long;
        let all = choice.texts && kind == Learned::Answers;
        let limits = Limits { long_prompts: share, long_answers: share, all, ..Limits::of(context) };
        let mut choices = Choices::new(kind, self.origins(&choice.data)?, &tokenizer, limits);
        match &choice.valid {
            Valid::Share(share) => choices.share = *share,
            Valid::Files(files) => choices.validation = self.origins(files)?,
        }
        choices.seed = self.pipeline.seed;
        choices.root = self.base.to_path_buf();
        choices.folder = super::entry::given(self.pipeline, self.base);
        choices.turns = if choice.turns == "last" { Turns::Last } else { Turns::All };
        choices.template = self.template_of(choice);
        let watch = &mut *self.watch;
        load(&choices, &mut |records| watch(&Progress { share: 0.0, tokens: records, ..Progress::default() }))
    }

    /// Which chat template a stage means; the model's own is the one that the stages above gave it.
    pub(super) fn template_of(&mut self, choice: &StageChoice) -> template::Source {
        if choice.template != "model" {
            self.template = source(&choice.template, self.base);
        }
        match (&self.template, super::entry::given(self.pipeline, self.base)) {
            // A model that began here came with none.
            (template::Source::Model, None) => template::Source::Chatml,
            (source, _) => source.clone(),
        }
    }

    /// The template that a model has after a stage: the one that its records needed, else the one it had.
    pub(super) fn spoken(&mut self, needed: Option<Arc<Template>>) -> Option<Arc<Template>> {
        self.spoken = needed.or(self.spoken.take());
        self.spoken.clone()
    }

    pub(super) fn origins(&self, names: &OneOrMany) -> Result<Vec<Origin>, Refusal> {
        names.list().iter().map(|name| if name == RANKINGS { self.rankings() } else { origin(name) }).collect()
    }

    /// What the run's own stage collected.
    fn rankings(&self) -> Result<Origin, Refusal> {
        let file = self.ranked.as_ref().ok_or_else(|| {
            let detail = "data = \"rankings\", and no stage above collects any";
            let hint = "put a stage of kind \"rank\" above it, or name a file of rankings or pairs";
            Refusal::new("there are no rankings", detail, hint)
        })?;
        // Paths begin at the pipeline file's folder.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        Ok(Origin::Path(file.display().to_string()))
    }

    /// Prompts as the records ask: through the chat template where they have one.
    fn questions(&self, choice: &StageChoice, template: Option<&Template>) -> Result<Vec<(String, Vec<u32>)>, Refusal> {
        let tokens = |prompt: &String| {
            let tokens = question(prompt, &self.tokenizer, template)?;
            self.room(prompt, tokens)
        };
        choice.prompts.iter().map(tokens).collect()
    }
}

/// The tokens of a question to a model that has learned records.
fn question(prompt: &str, tokenizer: &Tokenizer, template: Option<&Template>) -> Result<Vec<u32>, Refusal> {
    match template {
        Some(template) => {
            let encoder = ChatEncoder::new(tokenizer, template, Turns::All);
            encoder.prompt(&Said::Text(prompt.to_string()), None)
        }
        None => Ok([tokenizer.prefix(), &tokenizer.encode(prompt)?].concat()),
    }
}

/// Records of the little world at most: they are held in memory.
const RECORDS: u64 = 1_000_000;

/// Records of the little world by their name; everything else is a path or pattern.
fn origin(name: &str) -> Result<Origin, Refusal> {
    let Some(excerpt) = Excerpt::parse(name)? else { return Ok(Origin::Path(name.to_string())) };
    if excerpt.count > RECORDS {
        let hint = format!("records are held in memory: at most {RECORDS} of a name");
        return Err(Refusal::new("the records would be too many", format!("\"{name}\""), hint));
    }
    Ok(Origin::Lines { name: name.to_string(), lines: excerpt.lines().collect() })
}

/// Which chat template is meant.
fn source(name: &str, base: &Path) -> template::Source {
    match template::Source::parse(name) {
        template::Source::File(path) => template::Source::File(base.join(path)),
        other => other,
    }
}

/// The objective of pairs.
fn objective(choice: &StageChoice) -> Preference {
    let label_smoothing = choice.label_smoothing;
    match choice.objective.as_str() {
        "ipo" => Preference::Ipo { beta: choice.beta.unwrap_or(0.1) },
        "orpo" => Preference::Orpo { beta: choice.beta.unwrap_or(0.1) },
        "simpo" => Preference::SimPo { beta: choice.beta.unwrap_or(2.5), gamma: 1.375, label_smoothing },
        _ => Preference::Sigmoid { beta: choice.beta.unwrap_or(0.1), label_smoothing },
    }
}
