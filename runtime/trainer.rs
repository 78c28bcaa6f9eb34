//! The trainer: begins a stage where it left off, steps to its end, and does what is due between steps.

mod gathering;
mod measuring;

use crate::actors::checkpoint::{made_by, model_files};
use crate::actors::optimizer::OptimizerConfig;
use crate::control::Control;
use crate::crew::Crew;
use crate::engine::generation::Sampling;
use crate::engine::layout::{POLICY, RoleId};
use crate::engine::state::HostState;
use crate::event::Event;
use crate::fault::{Fault, FaultKind, Refusal};
use crate::messages::{Blueprint, Keeping, Keepsake};
use crate::progress::Progress;
use crate::stage::{Round, Stage, Verdict};
use crate::step::{Report, step};
use crate::store::Facts;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When what is done, and how long a stage lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Optimizer steps in all.
    pub steps: u64,
    /// Steps between evaluations; 0 = only at the end.
    pub eval_every: u64,
    /// Steps between samples; 0 = only at the end.
    pub sample_every: u64,
    /// Steps between checkpoints; 0 = by time only.
    pub save_every: u64,
    /// Time between checkpoints.
    pub save_period: Duration,
    /// Steps between copies into the vault.
    pub vault_every: u64,
    /// Milestones kept over the whole stage.
    pub milestones: u64,
    /// Evaluations without a better one after which the stage ends; 0 = never.
    pub patience: u64,
    /// An alarm is raised where the loss of a watched set grows by this share over what it was at the beginning; 0 =
    /// never.
    pub forgetting: f64,
}

/// What the trainer works from.
#[derive(Clone)]
pub struct TrainerPlan {
    /// The stage's folder: `01-pretrain`.
    pub folder: String,
    /// The stage.
    pub stage: Arc<dyn Stage>,
    /// What compute builds.
    pub blueprint: Blueprint,
    /// What the optimizer works by.
    pub optimizer: OptimizerConfig,
    /// Windows prepared ahead.
    pub prefetch: usize,
    /// When what is due.
    pub timing: Timing,
    /// Key of weights' beginning and all noise.
    pub seed: u64,
    /// How samples are drawn.
    pub sampling: Sampling,
    /// Where each role's weights come from at the stage's beginning, in the order of the blueprint's roles. A policy
    /// without an entry begins with random weights; a frozen model needs one.
    pub entries: Vec<Option<Entry>>,
}

/// Gives a model's weights. Asked when a stage begins, which is after the end of the stage whose model it gives.
pub type Entry = Arc<dyn Fn() -> Result<Arc<HostState>, Fault> + Send + Sync>;

impl TrainerPlan {
    /// Where a role's weights come from.
    fn entry(&self, role: RoleId) -> Option<&Entry> {
        self.entries.get(role).and_then(Option::as_ref)
    }
}

/// How the trainer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stage is done.
    Finished,
    /// It was told to stop; everything is on disk.
    Stopped,
}

/// Seconds between attempts while the disk refuses.
const DISK_RETRY: Duration = Duration::from_secs(5);

/// What a state belongs to: the step, and the round where there is one.
type Place = (u64, Option<u64>);

/// Steps a stage.
pub struct Trainer {
    plan: Arc<TrainerPlan>,
    crew: Crew,
    control: Control,
    progress: Progress,
    /// The round that windows are drawn from, in an on-policy stage.
    round: Option<Arc<Round>>,
    /// What is on disk, and when it got there.
    saved: Option<(Place, Instant)>,
    evaluated: Option<u64>,
    why: String,
}

impl Trainer {
    /// A trainer that has not begun.
    pub fn new(plan: Arc<TrainerPlan>, crew: Crew, control: Control) -> Trainer {
        let why = "all steps are made".to_string();
        let progress = Progress::default();
        Trainer { plan, crew, control, progress, round: None, saved: None, evaluated: None, why }
    }

    /// From where the stage left off to its end, or until told to stop.
    pub fn run(&mut self) -> Result<Outcome, Fault> {
        match self.begin() {
            Err(fault) if fault.kind == FaultKind::Stopped && self.control.wants_stop() => {
                self.save_kept()?;
                return Ok(Outcome::Stopped);
            }
            begun => begun?,
        }
        while self.progress.step < self.plan.timing.steps && !self.impatient() {
            if !self.may_go_on()? {
                self.save(false, false)?;
                return Ok(Outcome::Stopped);
            }
            let report = match self.advance() {
                Err(fault) if fault.kind == FaultKind::Halted => {
                    // Nothing was applied: the weights before are sound, and worth keeping.
                    self.save(false, false)?;
                    return Err(fault);
                }
                report => report?,
            };
            let Some(report) = report else { continue };
            self.progress = report.progress;
            if let Verdict::Finish(why) = report.verdict {
                self.why = why;
                break;
            }
            self.between_steps()?;
        }
        self.finish()?;
        Ok(Outcome::Finished)
    }

    /// A step, or none where the round that it would draw from was dropped or not gathered to its end.
    fn advance(&mut self) -> Result<Option<Report>, Fault> {
        if !self.gather()? {
            return Ok(None);
        }
        let began = Instant::now();
        let report = step(&self.crew, &self.progress, self.round.as_ref())?;
        self.note(&report, began.elapsed());
        Ok(Some(report))
    }

    /// Builds the programs and takes up the newest state: the vault's, else a checkpoint's, else a new beginning.
    fn begin(&mut self) -> Result<(), Fault> {
        let plan = self.plan.clone();
        let config = plan.blueprint.policy().clone();
        let files = model_files(&config, &*plan.stage);
        let keeping = Keeping { folder: plan.folder.clone(), config, files };
        let (facts, held) = self.crew.begin(plan.blueprint.clone(), keeping, plan.optimizer.clone())?;
        let (newest, from_vault, lost) = self.crew.newest()?;
        let data = plan.stage.data()?.fingerprint();
        let fresh = Progress { data: data.clone(), seed: plan.seed, tiles: facts.tiles.clone(), ..Progress::default() };
        let from = match &newest {
            Some(_) if from_vault => "memory",
            Some(_) => "checkpoint",
            None if plan.entry(POLICY).is_some() => "model",
            None => "seed",
        };
        match newest {
            Some(keepsake) => self.go_on(&keepsake, fresh)?,
            None => {
                for (role, _) in self.beside() {
                    self.enter(role)?;
                }
                match plan.entry(POLICY) {
                    Some(entry) => self.crew.restore_state(entry()?, 0)?,
                    None => self.crew.seed(plan.seed)?,
                }
                self.progress = self.crew.take_over(fresh)?;
            }
        }
        self.place_frozen()?;
        self.crew.note(Event::StageStarted {
            stage: plan.stage.name().to_string(),
            folder: plan.folder.clone(),
            steps: plan.timing.steps,
            parameters: crate::model::weights::parameters(plan.blueprint.policy()) as u64,
            device: facts,
            held,
            step: self.progress.step,
            from: from.to_string(),
            lost,
        });
        match from {
            "checkpoint" => self.saved = Some((self.place(), Instant::now())),
            // Its keeper may have died between the vault and the disk: what was due there is due still.
            "memory" if self.best_here() || self.milestone() => return self.save(self.milestone(), false),
            // What it was entered with, measured by this stage's own data.
            "model" => drop(self.evaluate()?),
            _ => {}
        }
        self.keep()
    }

    /// Frozen models hold the weights that they were entered with, whatever step the stage is taken up at.
    fn place_frozen(&self) -> Result<(), Fault> {
        let roles = &self.plan.blueprint.roles;
        roles.iter().enumerate().filter(|(_, role)| !role.trained).try_for_each(|(role, _)| self.enter(role))
    }

    /// A model beside the policy as the stage is entered with it.
    fn enter(&self, role: RoleId) -> Result<(), Fault> {
        let Some(entry) = self.plan.entry(role) else {
            let what = "a stage with another model beside the one it trains needs a model to start from";
            return Err(Refusal::new(what, "it begins with random weights", "name a model to start from").into());
        };
        self.crew.restore_role(role, entry()?, 0)
    }

    /// The roles that learn beside the policy, and their names.
    fn beside(&self) -> Vec<(RoleId, String)> {
        let roles = self.plan.blueprint.roles.iter().enumerate().skip(1);
        roles.filter(|(_, role)| role.trained).map(|(id, role)| (id, role.name.clone())).collect()
    }

    /// Takes up a kept state. What it was computed on may be another device or program: the run goes on, and says so.
    fn go_on(&mut self, keepsake: &Keepsake, fresh: Progress) -> Result<(), Fault> {
        check_same(&keepsake.progress, &fresh)?;
        let kept = |(role, name): (RoleId, String)| {
            let state = keepsake.beside.iter().find(|(kept, _)| *kept == name).map(|(_, state)| state.clone());
            let missing = || Fault::new(FaultKind::Disk, format!("the state at hand holds nothing of the {name}"));
            Ok((role, state.ok_or_else(missing)?))
        };
        let beside = self.beside().into_iter().map(kept).collect::<Result<Vec<_>, Fault>>()?;
        self.crew.restore(keepsake, &beside)?;
        (self.progress, self.round) = (keepsake.progress.clone(), keepsake.round.clone());
        let differences = keepsake.facts.differences(&self.facts());
        if !differences.is_empty() {
            let what = format!("what computed the run so far differs from what goes on: {}", differences.join("; "));
            let then = "it goes on; its bits are not those of an unbroken run".to_string();
            self.crew.note(Event::Trouble { what, then });
        }
        if self.progress.tiles != fresh.tiles {
            self.progress.tiles = fresh.tiles;
            self.progress = self.crew.take_over(self.progress.clone())?;
        }
        Ok(())
    }

    /// Without a device there is no state but the vault's: that goes onto the disk.
    fn save_kept(&mut self) -> Result<(), Fault> {
        if let (Some(keepsake), true, _) = self.crew.newest()? {
            let saved = self.crew.save(keepsake, false, false)?;
            self.crew.note(Event::CheckpointSaved { saved });
        }
        Ok(())
    }

    /// What computes now.
    fn facts(&self) -> Facts {
        made_by(self.crew.facts.as_ref().expect("the crew has begun"))
    }

    /// Passes the gate; false = stop.
    fn may_go_on(&mut self) -> Result<bool, Fault> {
        if self.control.wants_pause() {
            self.save(false, false)?;
            self.crew.note(Event::Paused { why: "asked to pause".into() });
            let on = self.control.pass();
            self.crew.note(Event::Resumed);
            return Ok(on);
        }
        Ok(self.control.pass())
    }

    fn note(&self, report: &Report, took: Duration) {
        let step = self.progress.step + 1;
        if let Verdict::Skip(why) | Verdict::NextRound(why) = &report.verdict {
            return self.crew.note(Event::Skipped { step, draw: self.progress.draw, why: why.clone() });
        }
        let seconds = took.as_secs_f64();
        self.crew.note(Event::Step {
            step,
            loss: report.loss,
            grad_norm: report.gradient_norm,
            learning_rate: report.learning_rate,
            num_tokens: report.progress.tokens,
            step_time: seconds,
            tokens_per_second: report.tokens as f64 / seconds.max(1e-9),
            metrics: report.metrics.iter().cloned().collect(),
        });
    }

    /// What is due after a step: evaluation, samples, the vault, a checkpoint.
    fn between_steps(&mut self) -> Result<(), Fault> {
        let timing = self.plan.timing.clone();
        let improved = if self.due(timing.eval_every) { self.evaluate()? } else { false };
        if self.due(timing.sample_every) {
            self.sample()?;
        }
        let milestone = self.milestone();
        let in_time = self.saved.is_some_and(|(_, when)| when.elapsed() < timing.save_period);
        if improved || milestone || self.due(timing.save_every) || !in_time {
            return self.save(milestone, false);
        }
        if self.due(timing.vault_every) { self.keep() } else { Ok(()) }
    }

    /// Is it now the turn of what comes every so many steps? The beginning is nobody's turn, the end has its own.
    fn due(&self, every: u64) -> bool {
        let step = self.progress.step;
        every > 0 && step.is_multiple_of(every) && (1..self.plan.timing.steps).contains(&step)
    }

    /// Is the state to be kept for the whole run?
    fn milestone(&self) -> bool {
        let timing = &self.plan.timing;
        timing.milestones > 0 && self.due(timing.steps.div_ceil(timing.milestones))
    }

    /// Is the state the best so far, the end's apart, which is saved as the last one?
    fn best_here(&self) -> bool {
        self.due(1) && self.progress.best.is_some_and(|(_, step)| step == self.progress.step)
    }

    /// Continues the fixed prompts with the fixed seed.
    fn sample(&mut self) -> Result<(), Fault> {
        let stage = self.plan.stage.clone();
        let voice = stage.voice();
        let prompts = voice.prompts.clone();
        if prompts.is_empty() {
            return Ok(());
        }
        let tokens = prompts.iter().map(|(_, tokens)| tokens.clone()).collect();
        let generated = self.crew.generate(0, tokens, self.plan.sampling.clone(), voice.eos.clone())?;
        for ((prompt, _), out) in prompts.into_iter().zip(generated) {
            self.crew.note(Event::Sample { step: self.progress.step, prompt, text: voice.say(&out.tokens) });
        }
        Ok(())
    }

    fn keepsake(&self) -> Result<Arc<Keepsake>, Fault> {
        let step = self.progress.step;
        let state = self.crew.state(POLICY, step)?;
        let beside = self.beside().into_iter().map(|(role, name)| Ok((name, self.crew.state(role, step)?)));
        let beside = beside.collect::<Result<_, Fault>>()?;
        let (stage, progress, round) = (self.plan.folder.clone(), self.progress.clone(), self.round.clone());
        Ok(Arc::new(Keepsake { stage, progress, facts: self.facts(), state, beside, round }))
    }

    /// Where the state at hand belongs.
    fn place(&self) -> Place {
        (self.progress.step, self.round.as_ref().map(|round| round.number))
    }

    /// A copy into the vault.
    fn keep(&mut self) -> Result<(), Fault> {
        let keepsake = self.keepsake()?;
        self.crew.keep(keepsake)
    }

    /// A copy into the vault and onto the disk.
    fn save(&mut self, milestone: bool, last: bool) -> Result<(), Fault> {
        let place = self.place();
        if self.saved.is_some_and(|(saved, _)| saved == place) && !last {
            return Ok(());
        }
        let keepsake = self.keepsake()?;
        self.crew.keep(keepsake.clone())?;
        let saved = self.insist("the last steps", |crew| crew.save(keepsake.clone(), milestone, last))?;
        self.saved = Some((place, Instant::now()));
        self.crew.note(Event::CheckpointSaved { saved });
        Ok(())
    }

    /// Asks for something on the disk until it is there. While the disk refuses, the run stands still and asks again:
    /// nothing is lost, and a stop is still obeyed; `unsaved` is what is not on the disk then.
    fn insist<T>(&self, unsaved: &str, ask: impl Fn(&Crew) -> Result<T, Fault>) -> Result<T, Fault> {
        let mut failures = 0;
        loop {
            match ask(&self.crew) {
                Ok(done) => {
                    if failures > 1 {
                        self.crew.note(Event::Resumed);
                    }
                    return Ok(done);
                }
                Err(fault) if matches!(fault.kind, FaultKind::Disk | FaultKind::DiskFull) => {
                    failures += 1;
                    let then = "training waits with its state in memory; free some space or mend the disk";
                    self.crew.note(Event::Trouble { what: fault.what.clone(), then: then.into() });
                    if failures == 2 {
                        self.crew.note(Event::Paused { why: fault.what.clone() });
                    }
                    if failures > 1 && !self.control.wait(DISK_RETRY) {
                        let what = format!("stopped, but {unsaved} could not be saved");
                        let hint = "free some space; the same command goes on from the newest checkpoint";
                        return Err(Refusal::new(what, fault.what, hint).with_code(1).into());
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    /// The last evaluation and samples, the last checkpoint, and the model that is handed on: best if validated.
    fn finish(&mut self) -> Result<(), Fault> {
        self.evaluate()?;
        self.sample()?;
        self.save(false, true)?;
        let best = self.progress.best;
        let handed_on = |crew: &Crew| crew.hand_on(best.map(|(_, step)| step));
        let (folder, passed) = self.insist("the model that is handed on", handed_on)?;
        for what in passed {
            self.crew.note(Event::Trouble { what, then: "the best whole checkpoint is handed on".into() });
        }
        self.crew.note(Event::StageFinished {
            stage: self.plan.stage.name().to_string(),
            step: self.progress.step,
            why: self.why.clone(),
            best,
            model: folder.display().to_string(),
        });
        Ok(())
    }
}

/// A checkpoint of other data or another seed cannot be gone on from.
fn check_same(kept: &Progress, fresh: &Progress) -> Result<(), Fault> {
    let hint = "give the run another name, or restore what it was started with";
    if kept.data != fresh.data {
        let detail = format!("the checkpoint learned data {}, the pipeline file names data {}", kept.data, fresh.data);
        return Err(Refusal::new("the data changed since this run began", detail, hint).into());
    }
    if kept.seed != fresh.seed {
        let detail = format!("the checkpoint was begun with seed {}, the pipeline file says {}", kept.seed, fresh.seed);
        return Err(Refusal::new("the seed changed since this run began", detail, hint).into());
    }
    Ok(())
}
