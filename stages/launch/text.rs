//! Stages that learn raw text: sources to tokens on disk, tokens to windows.

use super::{Making, Ready, Work, entry};
use crate::begun;
use crate::continued::Continued;
use crate::data::{
    Corpus, Kept, PrepareOptions, Prepared, SAMPLE, Sampling, Source, Split, TextOptions, Tokenizer, TrainOptions,
    Vocabulary, WindowOptions, Windows, kept, prepare, tokenizer,
};
use crate::pipeline::{Kind, OneOrMany, Pipeline, StageChoice, Valid};
use crate::pretrain::Pretrain;
use pleach_runtime::engine::layout::Role;
use pleach_runtime::fault::{Fault, Refusal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn sources(names: &OneOrMany) -> Result<Vec<Source>, Refusal> {
    names.list().iter().map(|name| Source::parse(name)).collect()
}

/// What a text stage reads of a list of sources.
fn corpus(choice: &StageChoice, data: &OneOrMany, base: &Path) -> Result<Corpus, Refusal> {
    let validation = match &choice.valid {
        Valid::Share(_) => Vec::new(),
        Valid::Files(files) => sources(files)?,
    };
    let text = TextOptions { field: choice.text_field.clone(), ..TextOptions::default() };
    Ok(Corpus { train: sources(data)?, validation, root: base.to_path_buf(), text })
}

/// The tokenizer of a run that began, or a new one: until a run begins its file may still change.
pub(super) fn tokenizer_of(pipeline: &Pipeline, base: &Path, folder: &Path, began: bool) -> Result<Tokenizer, Fault> {
    let data = folder.join("data");
    let recorded = began || folder.join("pleach.toml").is_file();
    if recorded && data.join("tokenizer.json").is_file() {
        return Ok(Tokenizer::load(&data)?);
    }
    let stage = &pipeline.stages[0];
    if stage.kind != Kind::Pretrain {
        let Some(from) = entry::given(pipeline, base) else {
            let what = "there is no model to begin with";
            let detail = format!("the first stage is of kind \"{}\"", stage.kind.name());
            let hint = "name one: [model] from = \"FOLDER\", or begin with kind = \"pretrain\"";
            return Err(Refusal::new(what, detail, hint).into());
        };
        return Ok(Tokenizer::load(&crate::model::folder(&from)?)?);
    }
    let vocabulary = match stage.tokenizer.as_str() {
        "bpe" => {
            let split = if stage.split == "qwen2" { tokenizer::Split::Qwen2 } else { tokenizer::Split::Gpt2 };
            let options = TrainOptions { vocab: stage.vocab, split, ..TrainOptions::default() };
            Vocabulary::Trained { options, sample: SAMPLE }
        }
        "chars" => Vocabulary::Characters,
        path => Vocabulary::File(path.into()),
    };
    // A vocabulary of characters must know the whole corpus; one of merges may learn from other texts.
    let words = stage.vocab_data.as_ref().unwrap_or(&stage.data);
    let corpus = corpus(stage, words, base)?;
    let apart = stage.vocab_data.is_some();
    vocabulary.tokenizer(&if apart { Corpus { validation: Vec::new(), ..corpus } } else { corpus })
}

impl Making<'_> {
    pub(super) fn pretrain(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = self.pipeline.stages[at].clone();
        let data = self.folder.join("data");
        let (prepared, notes) = self.prepare(&choice, &choice.data, &data, true)?;
        let windows = self.window_options(&choice);
        let rows = Windows::open(&data, Split::Train, windows)?.rows();
        let recipe =
            Pretrain { folder: data, windows, tokenizer: self.tokenizer.clone(), prompts: self.openings(&choice)? };
        let roles = vec![Role::policy(&self.config)];
        let epoch = rows.div_ceil(choice.batch as u64);
        Ok(self.ready_text(at, choice, roles, Work::Train(Arc::new(recipe)), epoch, prepared, notes))
    }

    pub(super) fn continued(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = self.pipeline.stages[at].clone();
        let name = self.name(at);
        let data = self.folder.join("data").join(&name);
        let (prepared, mut notes) = self.prepare(&choice, &choice.data, &data, true)?;
        let general = self.general(&choice, &name, &mut notes)?;
        let windows = WindowOptions { batch: 1, sampling: Sampling::Epochs, ..self.window_options(&choice) };
        let rows = Windows::open(&data, Split::Train, windows)?.rows();
        let recipe = Continued {
            domain: data,
            general,
            replay: choice.replay,
            batch: choice.batch,
            windows,
            tokenizer: self.tokenizer.clone(),
            template: self.spoken(None),
            prompts: self.openings(&choice)?,
        };
        // Only the domain's rows make an epoch.
        let epoch = (rows as f64 / (choice.batch as f64 * (1.0 - choice.replay))).ceil() as u64;
        let roles = vec![Role::policy(&self.config)];
        Ok(self.ready_text(at, choice, roles, Work::Train(Arc::new(recipe)), epoch, prepared, notes))
    }

    fn ready_text(
        &self,
        at: usize,
        choice: StageChoice,
        roles: Vec<Role>,
        work: Work,
        epoch: u64,
        prepared: Prepared,
        notes: Vec<String>,
    ) -> Ready {
        let mut ready = Ready::new(self.name(at), choice, roles, work);
        (ready.epoch, ready.prepared, ready.notes, ready.packed) = (epoch, Some(prepared), notes, true);
        ready
    }

    /// The tokens of the general text: the pretraining stage's, or of the files that are named. None where nothing asks
    /// for it.
    fn general(&mut self, choice: &StageChoice, name: &str, notes: &mut Vec<String>) -> Result<Option<PathBuf>, Fault> {
        if choice.replay == 0.0 && choice.forgetting == 0.0 {
            return Ok(None);
        }
        match &choice.general {
            Some(general) => {
                let data = self.folder.join("data").join(format!("{name}-general"));
                notes.extend(self.prepare(choice, general, &data, false)?.1);
                Ok(Some(data))
            }
            None if self.pipeline.stages[0].kind == Kind::Pretrain => Ok(Some(self.folder.join("data"))),
            None => {
                let what = "there is no general text to hold the model to";
                let detail = "this run was not pretrained here, and no general text is named";
                let hint = "name some: general = \"general.txt\"; or set replay = 0 and forgetting = 0 to go without";
                Err(Refusal::new(what, detail, hint).into())
            }
        }
    }

    /// Text to tokens in a folder. What a run has begun to learn from is never replaced. `own`: the stage's validation
    /// files belong to these sources.
    fn prepare(
        &mut self,
        choice: &StageChoice,
        sources: &OneOrMany,
        data: &Path,
        own: bool,
    ) -> Result<(Prepared, Vec<String>), Fault> {
        let mut corpus = corpus(choice, sources, self.base)?;
        let share = match choice.valid {
            Valid::Share(share) => share,
            Valid::Files(_) => 0.1,
        };
        if !own {
            corpus.validation.clear();
        }
        let threads = self.pipeline.threads;
        let options = PrepareOptions {
            boundaries: choice.boundaries,
            validation: share,
            seed: self.pipeline.seed,
            threads: if threads > 0 { threads } else { PrepareOptions::default().threads },
            ..PrepareOptions::default()
        };
        let began = self.began && begun::learned_from(data);
        let old = if began { kept(&corpus, &self.tokenizer, &options, data, self.watch)? } else { Kept::Same };
        let (prepared, note) = match old {
            Kept::Used(prepared, why) => (prepared, Some(why)),
            Kept::Same => (prepare(&corpus, &self.tokenizer, &options, data, self.watch)?, None),
        };
        prepared.check(self.config.context)?;
        Ok((prepared, note.into_iter().collect()))
    }

    /// Prompts that continue raw text.
    fn openings(&self, choice: &StageChoice) -> Result<Vec<(String, Vec<u32>)>, Refusal> {
        if choice.prompts.is_empty() {
            // Nobody chose a prompt: a text from its very beginning, or from a new line.
            let begin = match self.tokenizer.prefix() {
                [] => self.tokenizer.encode("\n").unwrap_or_default(),
                prefix => prefix.to_vec(),
            };
            return Ok(if begin.is_empty() { Vec::new() } else { vec![(String::new(), begin)] });
        }
        let tokens = |prompt: &String| {
            let what = format!("the prompt \"{prompt}\" cannot be continued");
            let own = self.tokenizer.encode(prompt).map_err(|refusal| {
                let detail = format!("{}: {}", refusal.what, refusal.detail);
                Refusal { what, detail, ..refusal }
            })?;
            if own.is_empty() {
                return self.room(prompt, own);
            }
            self.room(prompt, [self.tokenizer.prefix(), &own].concat())
        };
        choice.prompts.iter().map(tokens).collect()
    }

    fn window_options(&self, choice: &StageChoice) -> WindowOptions {
        WindowOptions {
            context: self.config.context,
            batch: choice.batch,
            seed: self.pipeline.seed,
            sampling: if choice.sampling == "offsets" { Sampling::RandomOffset } else { Sampling::Epochs },
        }
    }
}
