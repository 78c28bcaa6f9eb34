//! What an actor is made of: a plain struct with one handler ([`Behaviour`]), and the badge it works under ([`Hired`]).

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pleach_sync::Heartbeat;

use super::exit::Incident;
use super::failpoints::{Failpoints, Moment};
use crate::fault::Fault;

/// One message of an actor; the name is the enum's variant, and names the place for failpoints and faults.
pub trait Message: Send + 'static {
    /// The variant's name, such as "Draw".
    fn name(&self) -> &'static str;
}

/// An ordinary struct that answers messages, one at a time, on a thread of its own. It need not be `Send`: it is made
/// by its factory on the thread where it lives and dies there. A panic in `handle` drops it; a fresh one from the
/// factory serves the next message in the mailbox.
pub trait Behaviour: Sized + 'static {
    /// All that it can be asked.
    type Message: Message;
    /// All that it can answer.
    type Reply: Send + 'static;

    /// Answers a message. A fault is an answer too: it goes to whoever asked.
    fn handle(&mut self, message: Self::Message) -> Result<Self::Reply, Fault>;

    /// Whether this fault, just returned, also ends the child (a lost device): it is replaced as after a panic.
    fn fatal(&self, fault: &Fault) -> bool {
        let _ = fault;
        false
    }

    /// Asked after each message: whether its work is done, so that it ends normally.
    fn over(&self) -> bool {
        false
    }
}

/// How far the work has come, for supervisors that count deaths without progress.
pub(crate) type Progress = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What all supervisors of one tree share.
pub(crate) struct Site {
    pub(crate) failpoints: Failpoints,
    pub(crate) observer: Arc<dyn Fn(&Incident) + Send + Sync>,
    pub(crate) progress: Progress,
    pub(crate) epoch: Instant,
}

impl Site {
    /// Time since the tree started.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(crate) fn millis(&self) -> u64 {
        self.now().as_millis() as u64
    }
}

/// The badge of one generation of a child: its name, its fencing token, and its line to the watchdog. Long work calls
/// [`Hired::beat`] now and then and gives up where it says so.
#[derive(Clone)]
pub struct Hired {
    pub(crate) name: Arc<str>,
    pub(crate) generation: u64,
    pub(crate) heart: Arc<Heartbeat>,
    pub(crate) site: Arc<Site>,
}

thread_local! {
    static HERE: RefCell<Option<Hired>> = const { RefCell::new(None) };
}

impl Hired {
    /// The child whose thread this is, if it is one.
    pub(crate) fn here() -> Option<Hired> {
        HERE.with_borrow(Clone::clone)
    }

    /// A sign of life of whoever works on this thread, where that is a child at all.
    pub(crate) fn beat_here() {
        HERE.with_borrow(|here| here.as_ref().map(Hired::beat));
    }

    /// From now on this thread works for this child: what it asks others ends when the child is told to stop.
    pub(crate) fn settle(&self) {
        HERE.set(Some(self.clone()));
    }

    /// The child's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The fencing token: 1 for the first of this name, one more for each successor.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A sign of life within long work. False: this child was replaced or is to stop, so give up soon.
    pub fn beat(&self) -> bool {
        self.heart.enter(self.generation, self.site.millis()) && !self.stopping()
    }

    /// Whether this child is to stop, or was replaced.
    pub fn stopping(&self) -> bool {
        self.heart.stopping(self.generation)
    }

    /// Whether this child still holds its post: what a replaced one has made must not be used.
    pub fn current(&self) -> bool {
        self.heart.holds(self.generation)
    }

    /// A named place inside longer work where tests may inject a failure. Panics, waits or fails only if one is
    /// planned for it.
    pub fn failpoint(&self, point: &str) -> Result<(), Fault> {
        self.site.failpoints.meet(&self.name, point, Moment::Before)
    }
}
