//! A run: the supervised tree of one run folder, and the handle that a program or an application holds.
//!
//! ```text
//! run: one_for_one
//! |- journal      append-only events
//! '- core: rest_for_one, one ordered domain of recovery
//!    |- checkpoint   the store and the vault            own thread
//!    |- compute      device, programs, weights          own thread
//!    |- optimizer    schedule, cursor                   own thread
//!    '- pipeline     one stage after the other
//!       '- stage: one_for_one, replaced, never reused
//!          |- data     windows; holds no state          own thread
//!          |- loss     verdicts; holds no state         own event loop
//!          '- trainer  significant: its end is the stage's end; where people are asked, a collector alone
//! ```

use crate::actors::checkpoint::{CheckpointActor, StateVault};
use crate::actors::compute::ComputeActor;
use crate::actors::data::DataActor;
use crate::actors::journal::{self, Base, JournalActor};
use crate::actors::loss::LossActor;
use crate::actors::opening::{OpenDevice, Opening};
use crate::actors::optimizer::OptimizerActor;
use crate::bus::{Bus, Numbered};
use crate::collect::{CollectorPlan, Desk};
use crate::control::{self, Control, Watcher};
use crate::crew::Crew;
use crate::event::Event;
use crate::fault::{Fault, FaultKind};
use crate::pulse::Pulse;
use crate::store::{Disk, RunFolder, RunLock, Store, last_words};
use crate::supervise::{
    Child, Ending, Failpoints, Hired, Incident, Plan, Reason, Ref, Running, Settings, Strategy, Team, What, start,
};
use crate::trainer::{Outcome, Trainer, TrainerPlan};
use crossbeam_channel::Receiver;
use pleach_sync::{Lock, Vault};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long one message to compute or to the disk may take.
const LONG: Duration = Duration::from_secs(6 * 3600);
/// Busy for longer than this without a sign of life, loss is replaced.
pub const QUICK_WATCH: Duration = Duration::from_secs(120);
/// The same for data, which may wait for a slow disk.
const DATA_WATCH: Duration = Duration::from_secs(600);
/// How long a trainer whose state-holder died waits to be stopped with everything after it.
const ORPHANED: Duration = Duration::from_secs(10);
/// Restarts that a supervisor makes within [`PERIOD`] before it gives up, where the run goes on in between.
const INTENSITY: u32 = 5;
/// See [`INTENSITY`].
const PERIOD: Duration = Duration::from_secs(600);
/// Restarts that the core makes without a new step, however slowly its children die.
const CORE_FRUITLESS: u32 = 3;
/// Restarts that the top makes.
const TOP_INTENSITY: u32 = 2;
/// Restarts that a stage makes without a new step: a dead child without state, or the trainer once. The pipeline makes
/// none, so what always fails starts (1 + this) x (1 + [`CORE_FRUITLESS`]) x (1 + [`TOP_INTENSITY`]) = 24 trainers.
const STAGE_FRUITLESS: u32 = 1;

/// Exit code of a run that waits for people where nobody is there.
pub const WAITS: u8 = 5;

/// Makes the plan of a stage.
pub type Make = Arc<dyn Fn() -> Result<StagePlan, Fault> + Send + Sync>;

/// One stage of a run.
#[derive(Clone)]
pub enum StagePlan {
    /// It trains.
    Train(Arc<TrainerPlan>),
    /// It collects.
    Collect(Arc<CollectorPlan>),
    /// It can be planned only when the stage before it is done.
    Later {
        /// Its folder.
        folder: String,
        /// Plans it. Called on a thread that may wait.
        make: Make,
    },
}

impl StagePlan {
    /// `01-pretrain`.
    pub fn folder(&self) -> &str {
        match self {
            StagePlan::Train(plan) => &plan.folder,
            StagePlan::Collect(plan) => &plan.folder,
            StagePlan::Later { folder, .. } => folder,
        }
    }

    /// What its trainer works from; none where it does not train, or is not planned yet.
    pub fn trainer(&self) -> Option<&Arc<TrainerPlan>> {
        match self {
            StagePlan::Train(plan) => Some(plan),
            _ => None,
        }
    }
}

impl From<TrainerPlan> for StagePlan {
    fn from(plan: TrainerPlan) -> StagePlan {
        StagePlan::Train(Arc::new(plan))
    }
}

/// All that a run needs.
#[derive(Clone)]
pub struct RunPlan {
    /// The run folder.
    pub folder: PathBuf,
    /// Name of the run.
    pub name: String,
    /// How the process before this one ended, where its guardian saw that; for the journal.
    pub after: Option<String>,
    /// The stages, one after the other.
    pub stages: Vec<StagePlan>,
    /// How many of them are done already, by earlier processes.
    pub done: usize,
    /// Opens the device.
    pub open: OpenDevice,
    /// An earlier process of the run has worked with this device: where it does not open, it is waited for.
    pub known: bool,
    /// Planned failures; none in a real run.
    pub failpoints: Failpoints,
    /// Busy for longer than this without a sign of life, loss is replaced: [`QUICK_WATCH`]. Who waits for a disk is not
    /// watched: checkpoint and journal hold files that a successor would write too.
    pub watch: Duration,
    /// What a person changed in the pipeline file since the run began, in words.
    pub changes: Vec<String>,
    /// The disk.
    pub store: Arc<dyn Store>,
}

impl RunPlan {
    /// The real disk.
    pub fn disk() -> Arc<dyn Store> {
        Arc::new(Disk)
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RunEnd {
    /// All stages are done.
    Finished,
    /// Stopped as asked; resumable.
    Stopped,
    /// Failed: the fault at the root of it.
    Failed(Fault),
}

impl RunEnd {
    /// The program's exit code.
    pub fn code(&self) -> u8 {
        match self {
            RunEnd::Finished => 0,
            RunEnd::Stopped => 75,
            RunEnd::Failed(fault) => match (fault.kind, &fault.refusal) {
                (_, Some(refusal)) => refusal.code,
                (FaultKind::Halted | FaultKind::Numbers, _) => 4,
                (FaultKind::OutOfMemory, _) => 3,
                (FaultKind::Stopped, _) => 75,
                _ => 1,
            },
        }
    }

    /// Whether the same plan may succeed in another process: this one has threads that hang, or a device that did not
    /// come back.
    pub fn wants_another_process(&self) -> bool {
        matches!(self, RunEnd::Failed(fault) if matches!(fault.kind, FaultKind::DeviceLost | FaultKind::Hung))
    }
}

/// A run in this process. Dropping it stops the run.
pub struct Run {
    tree: Option<Running>,
    control: Control,
    compute: Ref<ComputeActor>,
    events: Receiver<Event>,
    bus: Arc<Bus>,
    base: Base,
    course: Arc<Lock<Course>>,
    plan: RunPlan,
    lock: Option<RunLock>,
    watcher: Option<Watcher>,
}

impl Run {
    /// Starts the tree. The lock is the run folder's: a second process on the same folder was refused when it was
    /// taken.
    pub fn start(plan: RunPlan, lock: RunLock) -> Result<Run, Fault> {
        let control = Control::new();
        let (bus, events) = Bus::new();
        let bus = Arc::new(bus);
        let outcome = (plan.done >= plan.stages.len()).then_some(Outcome::Finished);
        let course = Arc::new(Lock::new(Course { done: plan.done, made: None, outcome }));
        let version = env!("CARGO_PKG_VERSION").to_string();
        let after = plan.after.clone();
        let stages = plan.stages.iter().map(|stage| stage.folder().to_string()).collect();
        bus.emit(Event::Started { version, run: plan.name.clone(), pid: std::process::id(), stages, after });
        for what in plan.changes.clone() {
            bus.emit(Event::Changed { what });
        }
        let watcher = Watcher::start(plan.folder.join("CONTROL"), control.clone());
        let (observer_bus, steps_bus) = (bus.clone(), bus.clone());
        let settings = Settings {
            failpoints: plan.failpoints.clone(),
            observer: Arc::new(move |incident| tell(&observer_bus, incident)),
            progress: Arc::new(move || steps_bus.reached()),
        };
        let (base, compute) = (Base::default(), Ref::new("compute").patient(LONG));
        let tree = start(root(&plan, &base, &compute, &control, &bus, &course), settings)?;
        let (tree, lock, watcher) = (Some(tree), Some(lock), Some(watcher));
        Ok(Run { tree, control, compute, events, bus, base, course, plan, lock, watcher })
    }

    /// What happens, as it happens. Metrics may be missing where the listener lags; state changes only where it does
    /// not listen at all, and then it is told how many ([`crate::bus`] has the bounds).
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Pause, resume, stop.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Whether the device's work moves: for a guardian outside of this process.
    pub fn pulse(&self) -> Pulse {
        Pulse::new(self.compute.clone())
    }

    /// Waits for the end for at most `within`.
    pub fn wait(&mut self, within: Duration) -> Option<RunEnd> {
        let ending = self.tree.as_ref()?.wait(within)?;
        Some(self.close(ending))
    }

    /// Waits for the end.
    pub fn join(mut self) -> RunEnd {
        match self.tree.take() {
            Some(tree) => {
                let ending = tree.join();
                self.close(ending)
            }
            None => RunEnd::Stopped,
        }
    }

    /// Writes what the tree could not say itself any more.
    fn close(&mut self, ending: Ending) -> RunEnd {
        self.tree = None;
        self.watcher = None;
        let end = match (self.course.hold().outcome, ending.reason()) {
            (Some(Outcome::Finished), reason) if !reason.abnormal() => RunEnd::Finished,
            (Some(Outcome::Stopped), reason) if !reason.abnormal() => RunEnd::Stopped,
            (_, Reason::Shutdown | Reason::Normal | Reason::Finished) => RunEnd::Stopped,
            (_, reason) => RunEnd::Failed(reason.fault()),
        };
        if !end.wants_another_process() {
            // A stop is done, and a pause over.
            control::lift(&self.plan.folder.join("CONTROL"));
        }
        let (how, why) = match &end {
            RunEnd::Finished => ("finished", "all stages are done".to_string()),
            RunEnd::Stopped => ("stopped", "as asked; the same command goes on from here".to_string()),
            RunEnd::Failed(fault) if fault.kind == FaultKind::Halted => ("halted", fault.what.clone()),
            RunEnd::Failed(fault) if end.code() == WAITS => ("waiting", fault.what.clone()),
            RunEnd::Failed(fault) => ("failed", fault.to_string()),
        };
        self.bus.emit(Event::Ended { how: how.into(), why });
        if let Err(fault) = self.last_words() {
            tracing::warn!("the end could not be written to the journal: {fault}");
        }
        self.lock = None;
        end
    }

    fn last_words(&self) -> Result<(), Fault> {
        let (store, folder) = (self.plan.store.clone(), &self.plan.folder);
        let events = self.bus.take();
        last_words(&*store, folder, &mut || {
            let (mut journal, base) = journal::open(store.clone(), &folder.join("journal.jsonl"), &self.base)?;
            for Numbered { number, event } in &events {
                journal.note_as(base + number, journal::json(event)?)?;
            }
            journal.sync()
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.control.stop();
        if let Some(tree) = self.tree.take() {
            let ending = tree.join();
            self.close(ending);
        }
    }
}

fn plan(strategy: Strategy, fruitless: u32) -> Plan {
    let fruitless = Some(fruitless);
    Plan { strategy, intensity: INTENSITY, period: PERIOD, fruitless, auto_shutdown: true, ..Plan::default() }
}

/// The whole tree.
fn root(
    run: &RunPlan,
    base: &Base,
    compute: &Ref<ComputeActor>,
    control: &Control,
    bus: &Arc<Bus>,
    course: &Arc<Lock<Course>>,
) -> Team {
    let journal: Ref<JournalActor> = Ref::new("journal").patient(LONG);
    let (store, path, base) = (run.store.clone(), run.folder.join("journal.jsonl"), base.clone());
    let diary = move |_: &Hired| Ok(JournalActor::new(store.clone(), &path, base.clone()));
    let crew = Crew {
        data: Ref::new("data").patient(LONG),
        loss: Ref::new("loss"),
        compute: compute.clone(),
        optimizer: Ref::new("optimizer").patient(LONG),
        checkpoint: Ref::new("checkpoint").patient(LONG),
        journal: journal.clone(),
        bus: bus.clone(),
        facts: None,
    };
    let opening = Opening::new(run.open.clone(), run.known, control.clone(), bus.clone());
    let (run, control, course) = (run.clone(), control.clone(), course.clone());
    let top = Plan { intensity: TOP_INTENSITY, ..plan(Strategy::OneForOne, TOP_INTENSITY) };
    Team::new("run", top).child(Child::thread(&journal, diary)).child(
        Child::supervisor("core", move |_| Ok(Some(core(&run, &crew, &opening, &control, &course))))
            .transient()
            .significant(),
    )
}

/// The ordered domain of recovery.
fn core(run: &RunPlan, crew: &Crew, opening: &Opening, control: &Control, course: &Arc<Lock<Course>>) -> Team {
    let vault: Arc<StateVault> = Arc::new(Vault::new(None, None));
    let checkpoint = {
        let run = run.clone();
        move |_: &Hired| {
            let folder = RunFolder::open(run.store.clone(), &run.folder)?;
            Ok(CheckpointActor::new(folder, vault.clone()))
        }
    };
    let opening = opening.clone();
    let compute = crew.compute.clone();
    let optimizer = move |_: &Hired| {
        let compute = compute.pin();
        Ok(OptimizerActor::new(Box::new(move |message| compute.call(message).map(|_| ()))))
    };
    let (run, names, control, course) = (run.clone(), crew.clone(), control.clone(), course.clone());
    let pipeline = move |_| Ok(Some(pipeline(&run, &names, &control, &course)));
    Team::new("core", plan(Strategy::RestForOne, CORE_FRUITLESS))
        .child(Child::thread(&crew.checkpoint, checkpoint))
        .child(Child::thread(&crew.compute, move |_| Ok(ComputeActor::new(opening.clone()))))
        .child(Child::thread(&crew.optimizer, optimizer))
        .child(Child::supervisor("pipeline", pipeline).transient().significant())
}

/// Where a run stands among its stages.
#[derive(Default)]
struct Course {
    /// Stages that are done.
    done: usize,
    /// The plan of the next one, where it could be made only now.
    made: Option<StagePlan>,
    /// How the run ended, once it did.
    outcome: Option<Outcome>,
}

/// One stage after the other.
fn pipeline(run: &RunPlan, crew: &Crew, control: &Control, course: &Arc<Lock<Course>>) -> Team {
    let (run, crew, control, course) = (run.clone(), crew.clone(), control.clone(), course.clone());
    let next = move |_| {
        let next = {
            let course = course.hold();
            let made = course.made.as_ref().or_else(|| run.stages.get(course.done));
            made.filter(|_| course.outcome.is_none()).cloned()
        };
        Ok(next.map(|plan| stage(&plan, &run, &crew, &control, &course)))
    };
    // A stage that fails is not begun again here: the core does that, from the state that it holds.
    let plan = Plan { intensity: 0, ..plan(Strategy::OneForOne, 0) };
    Team::new("pipeline", plan).child(Child::supervisor("stage", next).successive().significant())
}

/// A stage: its own data and loss, and the trainer whose end is the stage's; or a collector alone.
fn stage(stage: &StagePlan, run: &RunPlan, crew: &Crew, control: &Control, course: &Arc<Lock<Course>>) -> Team {
    let team = Team::new("stage", plan(Strategy::OneForOne, STAGE_FRUITLESS));
    let (team, name) = match stage {
        StagePlan::Train(trains) => {
            let (for_data, for_loss, depth) = (trains.stage.clone(), trains.stage.clone(), trains.prefetch);
            let data = Child::thread(&crew.data, move |_| DataActor::new(for_data.clone(), depth));
            let loss = Child::actor(&crew.loss, move |_| Ok(LossActor::new(for_loss.loss())));
            (team.child(data.watched(DATA_WATCH)).child(loss.watched(run.watch)), "trainer")
        }
        StagePlan::Collect(_) | StagePlan::Later { .. } => (team, "collector"),
    };
    let (stage, stages) = (stage.clone(), run.stages.clone());
    let (crew, control, course) = (crew.clone(), control.clone(), course.clone());
    let work = move |hired: &Hired| {
        let done = work(&stage, crew.pinned(), control.clone()).and_then(|how| pass(how, &stages, &course));
        done.inspect_err(|fault| wait_to_be_stopped(hired, fault))
    };
    team.child(Child::task(name, work).transient().significant().shutdown(Some(ORPHANED)))
}

/// Does a stage's work, to its end or until told to stop.
fn work(stage: &StagePlan, crew: Crew, control: Control) -> Result<Outcome, Fault> {
    match stage {
        StagePlan::Train(plan) => Trainer::new(plan.clone(), crew, control).run(),
        StagePlan::Collect(plan) => Desk::new(plan.clone(), crew, control).run(),
        StagePlan::Later { folder, .. } => {
            Err(Fault::new(FaultKind::Refused, format!("the stage {folder} was begun before it was planned")))
        }
    }
}

/// Goes on to the next stage; where its plan had to wait for what this one gave, it is made here.
fn pass(how: Outcome, stages: &[StagePlan], course: &Lock<Course>) -> Result<(), Fault> {
    let done = course.hold().done + usize::from(how == Outcome::Finished);
    let made = match stages.get(done) {
        Some(StagePlan::Later { make, .. }) if how == Outcome::Finished => Some(make()?),
        _ => None,
    };
    let outcome = (how == Outcome::Stopped || done == stages.len()).then_some(how);
    *course.hold() = Course { done, made, outcome };
    Ok(())
}

/// When a state-holder died, everything after it is stopped: the trainer does not call itself dead before that.
fn wait_to_be_stopped(hired: &Hired, fault: &Fault) {
    if !matches!(fault.kind, FaultKind::Actor | FaultKind::DeviceLost) {
        return;
    }
    let until = std::time::Instant::now() + ORPHANED / 2;
    while !hired.stopping() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Incidents that a person should hear of.
fn tell(bus: &Bus, incident: &Incident) {
    match &incident.what {
        What::Ended(reason) if reason.abnormal() && !incident.child.is_empty() => bus.emit(Event::Trouble {
            what: format!("{} (generation {}) {reason}", incident.child, incident.generation),
            then: "its supervisor decides".into(),
        }),
        What::Abandoned => bus.emit(Event::Trouble {
            what: format!("{} (generation {}) hangs", incident.child, incident.generation),
            then: "its thread is left behind and a successor is hired".into(),
        }),
        What::Started if incident.generation > 1 => bus.emit(Event::Rehired {
            child: incident.child.clone(),
            generation: incident.generation,
            why: "see the event before".into(),
        }),
        _ => {}
    }
}
