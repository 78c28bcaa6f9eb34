//! Whom a trainer works with: one typed call per message. Who holds no state is asked again when it dies at a message.

use crate::actors::checkpoint::CheckpointActor;
use crate::actors::compute::ComputeActor;
use crate::actors::data::DataActor;
use crate::actors::journal::JournalActor;
use crate::actors::loss::LossActor;
use crate::actors::optimizer::{OptimizerActor, OptimizerConfig};
use crate::bus::Bus;
use crate::device::{Facts, Held};
use crate::engine::Learned;
use crate::engine::generation::{Generated, Sampling};
use crate::engine::layout::{POLICY, RoleId};
use crate::engine::state::HostState;
use crate::event::Event;
use crate::fault::{Fault, FaultKind};
use crate::messages::{
    Blueprint, CheckpointMessage, CheckpointReply, ComputeMessage, ComputeReply, DataMessage, DataReply, Derivatives,
    JournalMessage, Judged, Keeping, Keepsake, LossMessage, LossReply, OptimizerMessage, OptimizerReply,
};
use crate::progress::{Progress, Saved};
use crate::stage::{Asked, Measured, Memory, Numbers, Round, Settled, Stage, Window};
use crate::supervise::{Behaviour, Ref};
use pleach_shaders::spec::Tick;
use std::sync::Arc;

/// How often a child without state is asked the same again after it died at it.
const TRIES: usize = 4;

/// The references of a stage's trainer.
#[derive(Clone)]
pub struct Crew {
    /// Rows.
    pub data: Ref<DataActor>,
    /// Verdicts.
    pub loss: Ref<LossActor>,
    /// The device.
    pub compute: Ref<ComputeActor>,
    /// Schedule and cursor.
    pub optimizer: Ref<OptimizerActor>,
    /// Vault and disk.
    pub checkpoint: Ref<CheckpointActor>,
    /// Events.
    pub journal: Ref<JournalActor>,
    /// Events on their way.
    pub bus: Arc<Bus>,
    /// The device, as compute said at the beginning.
    pub facts: Option<Facts>,
}

/// The total of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean nats per target.
    pub loss: f64,
    /// Bits per UTF-8 byte of the targets.
    pub bits_per_byte: f64,
    /// Share of first choices.
    pub accuracy: f64,
    /// Targets.
    pub tokens: u64,
    /// What else the objective says of them.
    pub metrics: Vec<(String, f64)>,
}

/// The state to start from, whether it is the vault's, and what was lost on the way.
pub type Newest = (Option<Arc<Keepsake>>, bool, Vec<String>);

macro_rules! expect {
    ($reply:expr, $pattern:pat => $value:expr) => {
        match $reply {
            $pattern => Ok($value),
            _ => Err(Fault::new(FaultKind::Actor, "an actor answered another question than the one asked")),
        }
    };
}

/// Asks a child that holds no state; if it dies at the message, its successor is asked the same.
fn again<B: Behaviour>(child: &Ref<B>, message: B::Message) -> Result<B::Reply, Fault>
where
    B::Message: Clone,
{
    let mut last = None;
    for _ in 0..TRIES {
        match child.call(message.clone()) {
            Err(fault) if fault.kind == FaultKind::Actor => last = Some(fault),
            answer => return answer,
        }
    }
    Err(last.expect("there is at least one try"))
}

impl Crew {
    /// The same crew bound to the state-holders of this moment: their successors refuse what this one asks.
    pub fn pinned(&self) -> Crew {
        Crew { compute: self.compute.pin(), optimizer: self.optimizer.pin(), ..self.clone() }
    }

    /// Checkpoint, optimizer and compute: a stage begins.
    pub fn begin(
        &mut self,
        blueprint: Blueprint,
        keeping: Keeping,
        optimizer: OptimizerConfig,
    ) -> Result<(Facts, Held), Fault> {
        let reply = self.checkpoint.call(CheckpointMessage::Begin(Arc::new(keeping)))?;
        expect!(reply, CheckpointReply::Begun => ())?;
        let reply = self.optimizer.call(OptimizerMessage::Begin(Box::new(optimizer)))?;
        expect!(reply, OptimizerReply::Begun => ())?;
        self.build(blueprint)
    }

    /// Compute: build.
    pub fn build(&mut self, blueprint: Blueprint) -> Result<(Facts, Held), Fault> {
        let reply = self.compute.call(ComputeMessage::Begin(Box::new(blueprint)))?;
        let (facts, held) = expect!(reply, ComputeReply::Begun { facts, held } => (facts, held))?;
        self.facts = Some(facts.clone());
        Ok((facts, held))
    }

    /// Compute: random weights.
    pub fn seed(&self, seed: u64) -> Result<(), Fault> {
        expect!(self.compute.call(ComputeMessage::Seed(seed))?, ComputeReply::Done => ())
    }

    /// Compute: weights from elsewhere for the policy.
    pub fn restore_state(&self, state: Arc<HostState>, step: u64) -> Result<(), Fault> {
        self.restore_role(POLICY, state, step)
    }

    /// Compute: weights from elsewhere.
    pub fn restore_role(&self, role: RoleId, state: Arc<HostState>, step: u64) -> Result<(), Fault> {
        expect!(self.compute.call(ComputeMessage::Restore { role, state, step })?, ComputeReply::Done => ())
    }

    /// Compute and optimizer: a kept state; that of the roles beside the policy by their numbers.
    pub fn restore(&self, keepsake: &Keepsake, beside: &[(RoleId, Arc<HostState>)]) -> Result<(), Fault> {
        for (role, state) in beside {
            self.restore_role(*role, state.clone(), keepsake.progress.step)?;
        }
        self.restore_state(keepsake.state.clone(), keepsake.progress.step)?;
        self.take_over(keepsake.progress.clone()).map(|_| ())
    }

    /// Optimizer: this is where we stand.
    pub fn take_over(&self, progress: Progress) -> Result<Progress, Fault> {
        let reply = self.optimizer.call(OptimizerMessage::Restore(Box::new(progress)))?;
        expect!(reply, OptimizerReply::Progress(progress) => *progress)
    }

    /// Data: window number `draw`.
    pub fn draw(&self, draw: u64) -> Result<Arc<Window>, Fault> {
        expect!(again(&self.data, DataMessage::Draw { draw })?, DataReply::Window(window) => window)
    }

    /// Data: what the policy is to continue for a round.
    pub fn ask(&self, round: u64) -> Result<Arc<Asked>, Fault> {
        expect!(again(&self.data, DataMessage::Ask { round })?, DataReply::Asked(asked) => asked)
    }

    /// Data: the rows of what it wrote.
    pub fn rows(&self, round: u64, written: &Arc<Vec<Generated>>) -> Result<Vec<Arc<Window>>, Fault> {
        let reply = again(&self.data, DataMessage::Windows { round, written: written.clone() })?;
        expect!(reply, DataReply::Windows(windows) => windows)
    }

    /// Data: what a round teaches.
    pub fn settle(
        &self,
        round: u64,
        written: &Arc<Vec<Generated>>,
        windows: Vec<Arc<Window>>,
        memory: &Memory,
    ) -> Result<Settled, Fault> {
        let (written, memory) = (written.clone(), memory.clone());
        let reply = again(&self.data, DataMessage::Settle { round, written, windows, memory })?;
        expect!(reply, DataReply::Settled(settled) => *settled)
    }

    /// Data: window number `draw` of a round.
    pub fn draw_from(&self, round: &Arc<Round>, draw: u64) -> Result<Arc<Window>, Fault> {
        let index = draw - round.number * round.draws;
        let reply = again(&self.data, DataMessage::DrawFrom { round: round.clone(), index })?;
        expect!(reply, DataReply::Window(window) => window)
    }

    /// Loss: derivatives known beforehand, or the models whose numbers it must look at first.
    pub fn know(&self, window: &Arc<Window>) -> Result<Result<Arc<Numbers>, Vec<RoleId>>, Fault> {
        let reply = again(&self.loss, LossMessage::Know { window: window.clone() })?;
        expect!(reply, LossReply::Known(known) => known)
    }

    /// Compute: a window with what other models say of it.
    pub fn beside(&self, window: &Arc<Window>, roles: &[RoleId]) -> Result<Arc<Window>, Fault> {
        let mut all = Window::clone(window);
        for &role in roles {
            let reply = self.compute.call(ComputeMessage::Evaluate { role, window: window.clone() })?;
            all.given.push(expect!(reply, ComputeReply::Numbers(numbers) => numbers)?);
        }
        Ok(Arc::new(all))
    }

    /// Compute: the numbers of a window before it is learned.
    pub fn look(&self, step: u64, window: &Arc<Window>) -> Result<Arc<Numbers>, Fault> {
        let reply = self.compute.call(ComputeMessage::Look { step, window: window.clone() })?;
        expect!(reply, ComputeReply::Numbers(numbers) => numbers)
    }

    /// Loss: derivatives by the numbers.
    pub fn derive(&self, window: &Arc<Window>, numbers: Arc<Numbers>, memory: &Memory) -> Result<Derivatives, Fault> {
        let (window, memory) = (window.clone(), memory.clone());
        let reply = again(&self.loss, LossMessage::Derive { window, numbers, memory })?;
        expect!(reply, LossReply::Derivatives(derivatives) => derivatives)
    }

    /// Compute: forward, loss, backward.
    pub fn learn(
        &self,
        step: u64,
        window: &Arc<Window>,
        derivatives: Derivatives,
        tick: Tick,
    ) -> Result<Arc<Learned>, Fault> {
        let window = window.clone();
        let reply = self.compute.call(ComputeMessage::Learn { step, window, derivatives, tick })?;
        expect!(reply, ComputeReply::Learned(learned) => learned)
    }

    /// Loss: the verdict.
    pub fn judge(
        &self,
        step: u64,
        window: &Arc<Window>,
        learned: &Arc<Learned>,
        memory: &Memory,
    ) -> Result<Judged, Fault> {
        let (window, learned, memory) = (window.clone(), learned.clone(), memory.clone());
        let reply = again(&self.loss, LossMessage::Judge { step, window, learned, memory })?;
        expect!(reply, LossReply::Judged(judged) => *judged)
    }

    /// Optimizer: the update; the progress and learning rate after it.
    pub fn update(&self, step: u64, gradient_norm: f64, tokens: u64, memory: Memory) -> Result<(Progress, f64), Fault> {
        let reply = self.optimizer.call(OptimizerMessage::Update { step, gradient_norm, tokens, memory })?;
        expect!(reply, OptimizerReply::Updated { progress, learning_rate, .. } => (*progress, learning_rate))
    }

    /// Optimizer: no update; the progress after it, `next` being the window that is drawn next.
    pub fn skip(&self, step: u64, next: u64, memory: Memory) -> Result<Progress, Fault> {
        let reply = self.optimizer.call(OptimizerMessage::Skip { step, next, memory })?;
        expect!(reply, OptimizerReply::Updated { progress, .. } => *progress)
    }

    /// Data, compute and loss: every set of evaluation rows that holds a target, by its name.
    pub fn evaluate(&self, stage: &dyn Stage, rows_at_once: usize) -> Result<Vec<(String, Evaluation)>, Fault> {
        let sets = expect!(again(&self.data, DataMessage::EvaluationSets)?, DataReply::Sets(sets) => sets)?;
        let bytes_of = stage.data()?.token_bytes();
        let (mut out, mut end) = (Vec::new(), 0);
        for (name, rows) in sets {
            let begin = end;
            end += rows;
            if let Some(evaluation) = self.evaluate_rows(begin..end, rows_at_once, &bytes_of)? {
                out.push((name, evaluation));
            }
        }
        Ok(out)
    }

    fn evaluate_rows(
        &self,
        rows: std::ops::Range<usize>,
        rows_at_once: usize,
        bytes_of: &[u32],
    ) -> Result<Option<Evaluation>, Fault> {
        let (mut total, mut bytes) = (Measured::default(), 0u64);
        for from in rows.clone().step_by(rows_at_once.max(1)) {
            let to = (from + rows_at_once).min(rows.end);
            let reply = again(&self.data, DataMessage::Evaluation { from, to })?;
            let window = expect!(reply, DataReply::Window(window) => window)?;
            let reply = self.compute.call(ComputeMessage::Evaluate { role: POLICY, window: window.clone() })?;
            let numbers = expect!(reply, ComputeReply::Numbers(numbers) => numbers)?;
            let reply = again(&self.loss, LossMessage::Evaluate { window: window.clone(), numbers })?;
            total.add(&*expect!(reply, LossReply::Evaluated(part) => part)?);
            bytes += target_bytes(&window, bytes_of);
        }
        let Measured { sum, count, hits, .. } = total;
        if count == 0.0 {
            return Ok(None);
        }
        // Where targets are no text, there are no bytes to divide by.
        let text = total.more.is_empty();
        let reply = again(&self.loss, LossMessage::Report { total: Box::new(total) })?;
        Ok(Some(Evaluation {
            loss: sum / count,
            bits_per_byte: if text { sum / std::f64::consts::LN_2 / (bytes as f64).max(1.0) } else { 0.0 },
            accuracy: hits / count,
            tokens: count as u64,
            metrics: expect!(reply, LossReply::Reported(metrics) => metrics)?,
        }))
    }

    /// Compute: continue prompts, the first of which has number `first` in a longer list.
    pub fn generate(
        &self,
        first: usize,
        prompts: Vec<Vec<u32>>,
        sampling: Sampling,
        eos: Vec<u32>,
    ) -> Result<Vec<Generated>, Fault> {
        let reply = self.compute.call(ComputeMessage::Generate { first, prompts, sampling, eos })?;
        expect!(reply, ComputeReply::Generated(generated) => generated)
    }

    /// Compute: a role's weights and moments at `step`.
    pub fn state(&self, role: RoleId, step: u64) -> Result<Arc<HostState>, Fault> {
        expect!(self.compute.call(ComputeMessage::State { role, step })?, ComputeReply::State(state) => state)
    }

    /// Checkpoint: into the vault.
    pub fn keep(&self, keepsake: Arc<Keepsake>) -> Result<(), Fault> {
        expect!(self.checkpoint.call(CheckpointMessage::Keep(keepsake))?, CheckpointReply::Kept => ())
    }

    /// Checkpoint: onto the disk.
    pub fn save(&self, keepsake: Arc<Keepsake>, milestone: bool, last: bool) -> Result<Saved, Fault> {
        let reply = self.checkpoint.call(CheckpointMessage::Save { keepsake, milestone, last })?;
        let saved = expect!(reply, CheckpointReply::Saved(saved) => saved)?;
        // A journal that cannot be synced says so with its next note; the checkpoint is safe without it.
        let _ = again(&self.journal, JournalMessage::Sync);
        Ok(saved)
    }

    /// Checkpoint: the state to start from, whether it is the vault's, and what was lost.
    pub fn newest(&self) -> Result<Newest, Fault> {
        let reply = self.checkpoint.call(CheckpointMessage::Newest)?;
        expect!(reply, CheckpointReply::Newest { keepsake, from_vault, lost } => (keepsake, from_vault, lost))
    }

    /// Checkpoint: the model folder of the stage.
    pub fn hand_on(&self, step: Option<u64>) -> Result<(std::path::PathBuf, Vec<String>), Fault> {
        let reply = self.checkpoint.call(CheckpointMessage::HandOn { step })?;
        expect!(reply, CheckpointReply::Folder { folder, passed } => (folder, passed))
    }

    /// Journal and listeners: an event. A journal that cannot write keeps the event and tries again with the next.
    pub fn note(&self, event: Event) {
        self.bus.emit(event);
        let events = self.bus.take();
        if let Err(fault) = again(&self.journal, JournalMessage::Note(events)) {
            tracing::warn!("the journal could not be written: {fault}");
        }
    }
}

/// UTF-8 bytes of a window's unmasked targets.
fn target_bytes(window: &Window, bytes_of: &[u32]) -> u64 {
    let row = |row: &crate::stage::Row| -> u64 {
        let targets = row.tokens[1..].iter().zip(&row.weights);
        targets.filter(|(_, w)| **w != 0.0).map(|(&token, _)| u64::from(bytes_of[token as usize])).sum()
    };
    window.rows.iter().map(row).sum()
}
