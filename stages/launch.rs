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
use pleach_runtime::actors::checkpoint::host_bytes;
use pleach_runtime::actors::opening::lost;
use pleach_runtime::actors::optimizer::OptimizerConfig;
use pleach_runtime::device::Device;
use pleach_runtime::device::choose::{Chosen, open};
use pleach_runtime::device::room::Room;
use pleach_runtime::engine::Engine;
use pleach_runtime::engine::generation::Sampling as Drawing;
use pleach_runtime::engine::layout::{AdamW, Layout, POLICY, Role, Shapes, head_chunk, sequence};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::messages::Blueprint;
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::run::{QUICK_WATCH, RunPlan};
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
    /// The run has worked with this device before: where it does not open, it is lost and not refused.
    pub known: bool,
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
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Needs {
    /// Weights, gradients, moments, inputs, caches: bytes on the device.
    pub persistent: u64,
    /// Activations, scratch and the device's own staging: bytes on the device.
    pub activations: u64,
    /// Copies of the model's state for recovery: bytes in the system's memory.
    pub host: u64,
    /// What the device has room for, as far as the machine tells.
    pub room: Room,
    /// What the system has room for.
    pub host_room: Room,
}

impl Needs {
    /// Why that is too much, if it is: what shares the system's memory must fit into it together.
    fn refusal(&self, what: &str, hint: &str) -> Option<Refusal> {
        let device = self.persistent.saturating_add(self.activations);
        if self.room.shared {
            return self.room.refuse(device.saturating_add(self.host), what, hint);
        }
        let copies = || {
            let hint = "take a smaller model, or free some memory";
            self.host_room.refuse(self.host, "copies that recovery needs do not fit the system's memory", hint)
        };
        self.room.refuse(device, what, hint).or_else(copies)
    }
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
        let mut changes = begun::compare(pipeline, folder)?;
        let before = begun::frozen(folder)?;
        let (chosen, why, known) = begun::device(pipeline, before.as_ref(), &mut changes)?;
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
        let old = if began { kept(&corpus, &tokenizer, &options, &data, watch)? } else { Kept::Same };
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
        let nothing = Frozen {
            steps: 0,
            steps_from: String::new(),
            micro_rows: 0,
            micro_from: String::new(),
            wish: pipeline.device.clone(),
            device: chosen.words().unwrap_or_default(),
        };
        let mut launch = Launch {
            pipeline: pipeline.clone(),
            folder: folder.to_path_buf(),
            prepared,
            tokenizer,
            config,
            chosen,
            why,
            known,
            rows: windows.rows(),
            frozen: nothing,
            changes,
            note,
        };
        launch.freeze(before)?;
        Ok(launch)
    }

    fn stage(&self) -> &Pretrain {
        &self.pipeline.stages[0]
    }

    /// Derives what is not said, or takes it from an earlier start.
    fn freeze(&mut self, before: Option<Frozen>) -> Result<(), Fault> {
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
        let device = open(&self.chosen)?;
        loop {
            match self.refusal_of(rows, &*device) {
                None => return Ok(rows),
                Some(refusal) if rows == 1 => return Err(refusal.into()),
                Some(_) => rows = rows.div_ceil(2),
            }
        }
    }

    /// Why so many rows do not fit, if they do not: in the device's own words, or for want of memory.
    fn refusal_of(&self, rows: usize, device: &dyn Device) -> Option<Refusal> {
        let needs = match self.needs_of(rows, device) {
            Ok(needs) => needs,
            Err(refusal) => return Some(refusal),
        };
        let what = format!("the run does not fit the device at {rows} rows at once");
        let hint = "lower context, batch or the model's size, set micro_batch, or recompute = true";
        needs.refusal(&what, hint)
    }

    fn needs_of(&self, rows: usize, device: &dyn Device) -> Result<Needs, Refusal> {
        let roles = [Role::policy(&self.config)];
        let (persistent, activations) = Layout::predict(&roles, &self.shapes(rows), &self.adamw(), device)?;
        let host = host_bytes(&self.config);
        Ok(Needs { persistent, activations, host, room: device.room(), host_room: Room::system() })
    }

    /// What the run takes on its device, before anything is allocated there.
    ///
    /// # Errors
    /// A refusal where the device cannot run it at all.
    pub fn needs(&self) -> Result<Needs, Fault> {
        Ok(self.needs_of(self.frozen.micro_rows, &*open(&self.chosen)?)?)
    }

    fn open(&self) -> Result<Box<dyn Device>, Fault> {
        open(&self.chosen).map_err(|fault| if self.known { lost(fault) } else { fault })
    }

    /// Refuses a run that does not fit: exit code 3. Where a device that the run has worked with is not there, or lacks
    /// the memory for what it did before, that is [`pleach_runtime::fault::FaultKind::DeviceLost`], and may pass.
    pub fn check_fit(&self) -> Result<(), Fault> {
        match self.refusal_of(self.frozen.micro_rows, &*self.open()?) {
            Some(refusal) if self.known && self.changes.is_empty() => Err(lost(refusal.into())),
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// Refuses a run whose checkpoints will not fit the disk: exit code 3. One that has trained waits for room instead.
    pub fn check_disk(&self) -> Result<(), Fault> {
        let weights = 4 * pleach_runtime::model::weights::parameters(&self.config) as u64;
        let free = RunPlan::disk().free(&self.folder).ok().flatten();
        // Weights and two moments a checkpoint; at the end the weights once more, as the model that is handed on.
        let need = pleach_runtime::store::reserve(3 * weights) + weights;
        match free {
            Some(free) if free < need && !self.known => {
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
        let prompt = self.recipe().prompts().iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
        Shapes {
            micro_rows,
            context: self.config.context,
            buckets: if rest > 0 { vec![rest] } else { Vec::new() },
            streams: STREAMS.min(self.stage().prompts.len().max(1)),
            sequence: sequence(&self.config, prompt + self.stage().sample_tokens),
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
        let mut engine = Engine::new(self.open()?, &[Role::policy(&self.config)], &shapes, &self.adamw())?;
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
        let optimizer = OptimizerConfig {
            schedule: schedule(stage, steps),
            beta1: stage.beta1,
            beta2: stage.beta2,
            clip: stage.clip,
        };
        let trainer = TrainerPlan {
            folder: STAGE_FOLDER.into(),
            stage: recipe,
            blueprint,
            optimizer,
            prefetch: stage.prefetch,
            timing,
            seed,
            sampling,
            entries: Vec::new(),
        };
        let chosen = self.chosen.clone();
        RunPlan {
            folder: self.folder.clone(),
            name: self.pipeline.name.clone(),
            after: None,
            stages: vec![Arc::new(trainer)],
            done: 0,
            watch: QUICK_WATCH,
            changes: self.changes.clone(),
            open: Arc::new(move || open(&chosen)),
            known: self.known,
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
pub fn source(name: &str) -> Result<Source, Refusal> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Needs;
    use pleach_runtime::device::room::Room;

    #[test]
    fn copies_on_the_host_need_room_too() {
        let mib = |mib: u64| mib << 20;
        let room = |bytes: Option<u64>, shared| Room { bytes: bytes.map(mib), from: "told".into(), shared };
        let refused = |activations, host, of_device: Room, of_host| {
            let needs = Needs {
                persistent: mib(4),
                activations: mib(activations),
                host: mib(host),
                room: of_device,
                host_room: room(of_host, true),
            };
            needs.refusal("it does not fit", "less").map(|refusal| refusal.detail)
        };
        assert_eq!(refused(2, 9, room(Some(6), false), Some(9)), None);
        assert_eq!(refused(2, 9, room(None, false), None), None, "nobody tells");
        assert!(refused(3, 9, room(Some(6), false), Some(9)).unwrap().starts_with("7 MiB"));
        assert!(refused(2, 10, room(Some(6), false), Some(9)).unwrap().starts_with("10 MiB"));
        assert!(refused(2, 9, room(Some(14), true), Some(14)).unwrap().starts_with("15 MiB"), "one memory holds both");
        assert_eq!(refused(2, 9, room(Some(15), true), Some(15)), None);
    }
}
