//! From a pipeline file to a run that can start: data prepared, model sized, memory checked, values frozen.

use crate::begun;
use crate::data::{
    Corpus, Kept, PrepareOptions, Prepared, Progress, SAMPLE, Sampling, Source, Split, TextOptions, Tokenizer,
    TrainOptions, Vocabulary, WindowOptions, Windows, kept, prepare, tokenizer,
};
use crate::pipeline::keys::STEPS;
use crate::pipeline::resolved::{self, Derived, Frozen};
use crate::pipeline::{Pipeline, Pretrain, Valid};
use crate::pretrain;
use pleach_runtime::actors::optimizer::OptimizerConfig;
use pleach_runtime::device::choose::{Chosen, Room, Wish, choose, open, room};
use pleach_runtime::engine::Engine;
use pleach_runtime::engine::generation::Sampling as Drawing;
use pleach_runtime::engine::layout::{AdamW, Layout, POLICY, Role, Shapes, head_chunk};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::messages::Blueprint;
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::run::RunPlan;
use pleach_runtime::schedule::{Decay, Schedule};
use pleach_runtime::shaders::spec::Tick;
use pleach_runtime::stage::Stage;
use pleach_runtime::supervise::Failpoints;
use pleach_runtime::trainer::{Timing, TrainerPlan};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tokens of a micro-batch where nobody says: enough to keep a device busy.
const MICRO_TOKENS: usize = 8192;
/// Sequences that samples are drawn for at once.
const STREAMS: usize = 4;
/// Stories of one source at most: some 850 GB of text.
const STORIES: u64 = 1_000_000_000;
/// The stage's folder.
pub(crate) const STAGE_FOLDER: &str = "01-pretrain";

/// A run, ready but for its device: everything that `plan` shows and `run` needs.
pub struct Launch {
    /// The pipeline as written.
    pub pipeline: Pipeline,
    /// The run folder.
    pub folder: PathBuf,
    /// The prepared data.
    pub prepared: Prepared,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The model.
    pub config: ModelConfig,
    /// The device, settled.
    pub chosen: Chosen,
    /// Why this device.
    pub why: String,
    /// Rows of the table: what an epoch visits.
    pub rows: u64,
    /// Values derived at the first start.
    pub frozen: Frozen,
    /// What changed in the pipeline file since the run began.
    pub changes: Vec<String>,
    /// Why the run goes on with tokens whose text is gone or was touched, if so.
    pub note: Option<String>,
}

/// What a launch takes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Needs {
    /// Weights, gradients, moments, inputs, caches: bytes on the device.
    pub persistent: u64,
    /// Activations, scratch and the device's own staging: bytes on the device.
    pub activations: u64,
    /// What the device has room for, if it tells.
    pub room: Option<u64>,
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
        let stage = &pipeline.stages[0];
        let (chosen, why) = choose(&Wish::parse(&pipeline.device)?, pipeline.threads);
        let changes = begun::compare(pipeline, folder)?;
        let corpus = corpus(stage, base)?;
        let data = folder.join("data");
        let began = begun::began(folder);
        let recorded = began || folder.join("pleach.toml").is_file();
        let tokenizer = Arc::new(tokenizer_of(stage, &corpus, &data, recorded)?);
        let share = match stage.valid {
            Valid::Share(share) => share,
            Valid::Files(_) => 0.1,
        };
        let options = PrepareOptions {
            boundaries: stage.boundaries,
            validation: share,
            seed: pipeline.seed,
            threads: if pipeline.threads > 0 { pipeline.threads } else { PrepareOptions::default().threads },
            ..PrepareOptions::default()
        };
        // What a run has begun to learn from is never replaced.
        let old = if began { kept(&corpus, &tokenizer, &options, &data)? } else { Kept::Same };
        let (prepared, note) = match old {
            Kept::Used(prepared, why) => (prepared, Some(why)),
            Kept::Same => (prepare(&corpus, &tokenizer, &options, &data, watch)?, None),
        };
        prepared.check(pipeline.model.context())?;
        for prompt in &stage.prompts {
            let what = format!("the prompt \"{prompt}\" cannot be continued");
            let tokens = tokenizer.encode(prompt).map_err(|refusal| {
                let detail = format!("{}: {}", refusal.what, refusal.detail);
                Refusal { what: what.clone(), detail, ..refusal }
            })?;
            let (count, context) = (tokens.len() + tokenizer.prefix().len(), pipeline.model.context());
            if tokens.is_empty() || count > context / 2 {
                let detail = format!("it has {count} tokens; 1 to {} leave room to go on", context / 2);
                return Err(Refusal::new(what, detail, "give another prompt").into());
            }
        }
        let config = pipeline.model.config(tokenizer.vocab())?;
        let windows = Windows::open(&data, Split::Train, window_options(pipeline, stage))?;
        let nothing = Frozen { steps: 0, steps_from: String::new(), micro_rows: 0, micro_from: String::new() };
        let mut launch = Launch {
            pipeline: pipeline.clone(),
            folder: folder.to_path_buf(),
            prepared,
            tokenizer,
            config,
            chosen,
            why,
            rows: windows.rows(),
            frozen: nothing,
            changes,
            note,
        };
        launch.freeze()?;
        Ok(launch)
    }

    fn stage(&self) -> &Pretrain {
        &self.pipeline.stages[0]
    }

    /// Derives what is not said, or takes it from an earlier start.
    fn freeze(&mut self) -> Result<(), Fault> {
        let before = begun::frozen(&self.folder)?;
        let stage = self.stage().clone();
        let (micro_rows, micro_from) = match (stage.micro_batch, &before) {
            (0, Some(frozen)) => (frozen.micro_rows, frozen.micro_from.clone()),
            (0, None) => (self.fitting_rows()?, "derived: as many as fit".to_string()),
            (rows, _) => (rows.min(stage.batch), resolved::TYPED.to_string()),
        };
        let widest = self.config.up_width().max(self.config.qkv_width()).max(self.config.width);
        if micro_rows * self.config.context * widest > u32::MAX as usize {
            let detail = format!("{micro_rows} rows of {} tokens, {widest} channels wide", self.config.context);
            let hint = "lower micro_batch, or leave it out";
            return Err(Refusal::new("a micro-batch has more than 2^32 numbers", detail, hint).with_code(3).into());
        }
        self.frozen = Frozen { micro_rows, micro_from, ..self.frozen.clone() };
        let epoch = self.rows.div_ceil(stage.batch as u64);
        let (steps, steps_from) = match (stage.steps, stage.epochs, stage.minutes) {
            (Some(steps), ..) => (steps, resolved::TYPED.to_string()),
            (_, Some(epochs), _) => {
                (((epoch as f64 * epochs).round() as u64).max(1), format!("derived: {epochs} epochs"))
            }
            (.., Some(minutes)) => match &before {
                Some(frozen) if !self.changes.iter().any(|change| change.starts_with("[[stage]] minutes:")) => {
                    (frozen.steps, frozen.steps_from.clone())
                }
                _ => (self.steps_in(minutes)?, format!("derived: {minutes} minutes at the measured speed")),
            },
            _ => (epoch, "derived: one epoch".to_string()),
        };
        if steps > STEPS {
            let hint = format!("a run has at most {STEPS} steps: lower epochs, or raise batch");
            return Err(Refusal::new("the run would be too long", format!("{steps} steps, {steps_from}"), hint).into());
        }
        self.frozen = Frozen { steps, steps_from, ..self.frozen.clone() };
        Ok(())
    }

    /// Rows of a micro-batch: up to [`MICRO_TOKENS`], halved until the plan fits the device.
    fn fitting_rows(&self) -> Result<usize, Fault> {
        let batch = self.stage().batch;
        let mut rows = (MICRO_TOKENS / self.config.context).clamp(1, batch);
        rows = batch.div_ceil(batch.div_ceil(rows));
        loop {
            match self.refusal_of(rows)? {
                None => return Ok(rows),
                Some(refusal) if rows == 1 => return Err(refusal.into()),
                Some(_) => rows = rows.div_ceil(2),
            }
        }
    }

    /// Why so many rows do not fit, if they do not.
    fn refusal_of(&self, rows: usize) -> Result<Option<Refusal>, Fault> {
        let what = "the run does not fit the device";
        let hint = "lower context, batch or the model's size, set micro_batch, or recompute = true";
        let room = room(&self.chosen);
        let widest = self.config.up_width().max(self.config.qkv_width()).max(self.config.width);
        let largest = (rows * self.config.context * widest * 4) as u64;
        if largest > room.activation_bytes {
            let detail = format!("an activation of {largest} bytes; the device binds {}", room.activation_bytes);
            return Ok(Some(Refusal::new(what, detail, hint).with_code(3)));
        }
        let needs = self.needs_of(rows, &room)?;
        let total = needs.persistent.saturating_add(needs.activations);
        match needs.room {
            Some(bytes) if total > bytes => {
                let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
                let detail = format!("{} at {rows} rows at once; there is room for {}", mib(total), mib(bytes));
                Ok(Some(Refusal::new(what, detail, hint).with_code(3)))
            }
            _ => Ok(None),
        }
    }

    fn needs_of(&self, rows: usize, room: &Room) -> Result<Needs, Fault> {
        let device = open(&self.chosen)?;
        let (persistent, activations) =
            Layout::predict(&[Role::policy(&self.config)], &self.shapes(rows), &self.adamw(), &*device);
        Ok(Needs { persistent, activations, room: room.bytes })
    }

    /// What the run takes on its device, before anything is allocated there.
    pub fn needs(&self) -> Result<Needs, Fault> {
        self.needs_of(self.frozen.micro_rows, &room(&self.chosen))
    }

    /// Refuses a run that does not fit: exit code 3.
    pub fn check_fit(&self) -> Result<(), Fault> {
        match self.refusal_of(self.frozen.micro_rows)? {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// Refuses a run whose checkpoints will not fit the disk: exit code 3.
    pub fn check_disk(&self) -> Result<(), Fault> {
        let bytes = 12 * pleach_runtime::model::weights::parameters(&self.config) as u64;
        let free = RunPlan::disk().free(&self.folder).ok().flatten();
        let need = pleach_runtime::store::reserve(bytes);
        match free {
            Some(free) if free < need => {
                let detail = format!("{} MiB are free, checkpoints need {} MiB", free >> 20, need.div_ceil(1 << 20));
                let hint = "free some space, or put the runs on another disk with --runs";
                Err(Refusal::new("the disk has too little room for checkpoints", detail, hint).with_code(3).into())
            }
            _ => Ok(()),
        }
    }

    fn shapes(&self, micro_rows: usize) -> Shapes {
        // Packed rows fill every micro-batch but the window's last.
        let rest = self.stage().batch % micro_rows.max(1) * self.config.context;
        Shapes {
            micro_rows,
            context: self.config.context,
            buckets: if rest > 0 { vec![rest] } else { Vec::new() },
            streams: STREAMS.min(self.stage().prompts.len().max(1)),
            prefill: self.config.context.min(64),
            head_chunk: head_chunk(self.config.vocab, micro_rows * self.config.context),
            recompute: self.stage().recompute,
        }
    }

    fn adamw(&self) -> AdamW {
        let stage = self.stage();
        AdamW {
            beta1: stage.beta1 as f32,
            beta2: stage.beta2 as f32,
            eps: stage.eps as f32,
            decay: stage.weight_decay as f32,
        }
    }

    /// The stage as the runtime takes it.
    pub fn recipe(&self) -> Arc<dyn Stage> {
        Arc::new(pretrain::Pretrain {
            folder: self.prepared.folder.clone(),
            windows: window_options(&self.pipeline, self.stage()),
            tokenizer: self.tokenizer.clone(),
            prompts: self.stage().prompts.clone(),
        })
    }

    /// Steps that fit into so many minutes; evaluation and samples get a tenth of them.
    fn steps_in(&self, minutes: f64) -> Result<u64, Fault> {
        Ok(((minutes * 60.0 * 0.9 / self.step_seconds()?) as u64).clamp(20, 100_000_000))
    }

    /// Seconds of a step: four are made on the device, the quickest of the last three counts.
    pub fn step_seconds(&self) -> Result<f64, Fault> {
        let shapes = self.shapes(self.frozen.micro_rows);
        let mut engine = Engine::new(open(&self.chosen)?, &[Role::policy(&self.config)], &shapes, &self.adamw())?;
        engine.begin(POLICY, self.pipeline.seed)?;
        let stage = self.recipe();
        let (mut data, loss) = (stage.data()?, stage.loss());
        let mut times = Vec::new();
        for draw in 0..4 {
            let window = data.window(draw)?;
            let derivatives = loss.known(&window).expect("next-token derivatives are known");
            let began = Instant::now();
            let tick = Tick { step: 1, bias1: 1.0, bias2: 1.0, clip: 1.0, ..Tick::default() };
            engine.learn(POLICY, &window, &derivatives, &tick)?;
            engine.update(POLICY, &tick)?;
            times.push(began.elapsed().as_secs_f64());
        }
        Ok(times[1..].iter().copied().fold(f64::MAX, f64::min))
    }

    /// Freezes the values on disk: pleach.toml as typed, resolved.toml with every origin.
    pub fn record(&self, typed: &str) -> Result<(), Fault> {
        let text = resolved::write(&self.pipeline, &self.config, &self.frozen);
        for (name, content) in [("pleach.toml", typed), ("resolved.toml", &text)] {
            pleach_runtime::store::replace(&*RunPlan::disk(), &self.folder.join(name), content.as_bytes())?;
        }
        Ok(())
    }

    /// The run as the runtime starts it.
    pub fn run_plan(&self, failpoints: Failpoints) -> RunPlan {
        let (stage, steps) = (self.stage(), self.frozen.steps);
        let derived = Derived::of(stage, steps);
        let timing = Timing {
            steps,
            eval_every: derived.eval_every,
            sample_every: derived.sample_every,
            save_every: stage.save_every,
            save_period: Duration::from_secs_f64(stage.save_minutes * 60.0),
            vault_every: derived.vault_every,
            milestones: stage.milestones,
        };
        let roles = vec![Role::policy(&self.config)];
        let blueprint = Blueprint { roles, shapes: self.shapes(self.frozen.micro_rows), adamw: self.adamw() };
        let sampling = Drawing {
            temperature: stage.temperature as f32,
            top_p: stage.top_p as f32,
            seed: self.pipeline.seed,
            max_tokens: stage.sample_tokens,
            ..Drawing::default()
        };
        let recipe = self.recipe();
        let seed = self.pipeline.seed;
        let trainer = TrainerPlan { stage: recipe, blueprint, timing, seed, sampling, entry: None };
        let chosen = self.chosen.clone();
        RunPlan {
            folder: self.folder.clone(),
            name: self.pipeline.name.clone(),
            after: None,
            stage_folder: STAGE_FOLDER.into(),
            trainer: Arc::new(trainer),
            optimizer: OptimizerConfig {
                schedule: schedule(stage, steps),
                beta1: stage.beta1,
                beta2: stage.beta2,
                clip: stage.clip,
            },
            prefetch: stage.prefetch,
            open: Arc::new(move || open(&chosen)),
            failpoints,
            store: RunPlan::disk(),
        }
    }
}

fn schedule(stage: &Pretrain, steps: u64) -> Schedule {
    let decay = match stage.schedule.as_str() {
        "constant" => Decay::Constant,
        "linear" => Decay::Linear,
        "wsd" => Decay::Wsd { share: stage.decay_share },
        _ => Decay::Cosine,
    };
    let warmup = Derived::of(stage, steps).warmup;
    Schedule { learning_rate: stage.learning_rate, floor: stage.floor, warmup, steps, decay }
}

fn window_options(pipeline: &Pipeline, stage: &Pretrain) -> WindowOptions {
    WindowOptions {
        context: pipeline.model.context(),
        batch: stage.batch,
        seed: pipeline.seed,
        sampling: if stage.sampling == "offsets" { Sampling::RandomOffset } else { Sampling::Epochs },
    }
}

/// `world:20000` or `world:20000:7` (seed 7) are stories of the little world; everything else is a path or pattern.
fn source(name: &str) -> Result<Source, Refusal> {
    let Some(rest) = name.strip_prefix("world:") else { return Ok(Source::Path(name.to_string())) };
    let (count, seed) = rest.split_once(':').unwrap_or((rest, "1"));
    match (count.parse(), seed.parse()) {
        (Ok(count), Ok(seed)) if (1..=STORIES).contains(&count) => Ok(Source::Stories { seed, first: 0, count }),
        _ => {
            let hint = format!("write world:20000, or world:20000:7 for seed 7; at most {STORIES} stories");
            Err(Refusal::new("could not read the data's name", format!("\"{name}\""), hint))
        }
    }
}

fn corpus(stage: &Pretrain, base: &Path) -> Result<Corpus, Refusal> {
    let list = |names: Vec<String>| names.iter().map(|name| source(name)).collect::<Result<Vec<_>, _>>();
    let validation = match &stage.valid {
        Valid::Share(_) => Vec::new(),
        Valid::Files(files) => list(files.list())?,
    };
    let text = TextOptions { field: stage.text_field.clone(), ..TextOptions::default() };
    Ok(Corpus { train: list(stage.data.list())?, validation, root: base.to_path_buf(), text })
}

/// The tokenizer of a run that began, or a new one: until a run begins its file may still change.
fn tokenizer_of(stage: &Pretrain, corpus: &Corpus, data: &Path, began: bool) -> Result<Tokenizer, Fault> {
    if began && data.join("tokenizer.json").is_file() {
        return Ok(Tokenizer::load(data)?);
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
    vocabulary.tokenizer(corpus)
}
