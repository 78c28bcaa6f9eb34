//! A stage that trains nothing: the model speaks, and people say what they think of it.
//!
//! It stands in the tree where a trainer stands, without data and loss; what it gathered lies in files of its own, so
//! that it may die at any moment and be asked again.

use crate::control::Control;
use crate::crew::Crew;
use crate::engine::generation::Generated;
use crate::event::Event;
use crate::fault::Fault;
use crate::messages::Blueprint;
use crate::stage::Asked;
use crate::trainer::{Entry, Outcome};
use std::sync::Arc;
use std::time::Duration;

/// What a collecting stage is: its own recipe, from top to bottom.
pub trait Collect: Send + Sync {
    /// `rank`, ...
    fn name(&self) -> &'static str;
    /// Collects until there is enough, or until told to stop. Called again after a fault, and by the next process:
    /// what was collected before is to be found again.
    ///
    /// # Errors
    /// A refusal with exit code 5 where it waits for people and nobody is there.
    fn collect(&self, desk: &mut Desk) -> Result<Collected, Fault>;
}

/// How a collection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collected {
    /// There is enough.
    Enough {
        /// How many.
        count: u64,
        /// In words.
        why: String,
        /// What is handed on: a file or a folder.
        what: String,
    },
    /// Told to stop; what there is, is kept.
    Stopped,
}

/// What a collector works from.
#[derive(Clone)]
pub struct CollectorPlan {
    /// The stage's folder: `05-rank`.
    pub folder: String,
    /// The stage.
    pub stage: Arc<dyn Collect>,
    /// What compute builds for it: a model that generates.
    pub blueprint: Blueprint,
    /// The weights of that model.
    pub entry: Entry,
}

/// What a collecting stage may ask of the runtime.
pub struct Desk {
    plan: Arc<CollectorPlan>,
    crew: Crew,
    control: Control,
    built: bool,
}

impl Desk {
    pub(crate) fn new(plan: Arc<CollectorPlan>, crew: Crew, control: Control) -> Desk {
        Desk { plan, crew, control, built: false }
    }

    pub(crate) fn run(&mut self) -> Result<Outcome, Fault> {
        let plan = self.plan.clone();
        match plan.stage.collect(self)? {
            Collected::Stopped => Ok(Outcome::Stopped),
            Collected::Enough { count, why, what } => {
                let stage = plan.stage.name().to_string();
                self.crew.note(Event::StageFinished { stage, step: count, why, best: None, model: what });
                Ok(Outcome::Finished)
            }
        }
    }

    /// The model's continuations of prompts, of which the first has number `first` in a longer list. The device is
    /// built for it at the first call.
    ///
    /// # Errors
    /// Faults of the device.
    pub fn write(&mut self, first: usize, asked: Asked) -> Result<Vec<Generated>, Fault> {
        if !self.built {
            self.crew.build(self.plan.blueprint.clone())?;
            self.crew.restore_state((self.plan.entry)()?, 0)?;
            self.built = true;
        }
        self.crew.generate(first, asked.prompts, asked.sampling, asked.eos)
    }

    /// Sequences that are continued at once.
    pub fn streams(&self) -> usize {
        self.plan.blueprint.shapes.streams
    }

    /// Tells how far it is.
    pub fn tell(&self, have: u64, want: u64, what: impl Into<String>) {
        let (stage, folder) = (self.plan.stage.name().to_string(), self.plan.folder.clone());
        self.crew.note(Event::Collecting { stage, folder, have, want, what: what.into() });
    }

    /// Waits at most so long; false: it is time to stop.
    pub fn goes_on(&self, wait: Duration) -> bool {
        if wait.is_zero() { self.control.pass() } else { self.control.wait(wait) }
    }
}
