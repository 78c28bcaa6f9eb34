//! Why a child ended ([`Reason`]), how a supervisor ended ([`Ending`]), and what an observer is told ([`Incident`]).

use std::fmt;
use std::time::Duration;

use crate::fault::{Fault, FaultKind};

/// Why a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its work is done.
    Normal,
    /// Its work is done, and there is none for a successor either (ends a [`super::Restart::Successive`] child).
    Finished,
    /// It stopped as asked.
    Shutdown,
    /// A handler (or factory, or destructor) panicked, with the panic's text.
    Panic(String),
    /// It ended with this fault, or could not start because of it.
    Fault(Fault),
    /// It was busy this long without a sign of life, and was replaced.
    Hung(Duration),
    /// It is gone without a word: its thread or its event loop ended from outside.
    Lost,
    /// It was a supervisor that gave up.
    GaveUp(Box<GaveUp>),
}

impl Reason {
    /// Whether a transient child is hired again after this.
    pub fn abnormal(&self) -> bool {
        !matches!(self, Reason::Normal | Reason::Finished | Reason::Shutdown)
    }

    /// Whether hiring again cannot help: a refusal (a person's mistake) stays one, and a run that its own watchdog
    /// halted must stay halted; the same
    /// numbers come again, and memory that is missing stays missing. The supervisor gives up at once, and so does its
    /// parent.
    pub fn hopeless(&self) -> bool {
        match self {
            Reason::Fault(fault) => matches!(
                fault.kind,
                FaultKind::Refused | FaultKind::Halted | FaultKind::Numbers | FaultKind::OutOfMemory
            ),
            Reason::GaveUp(gave_up) => gave_up.reason.hopeless(),
            _ => false,
        }
    }

    /// The fault at the root of it, for whoever must tell a person.
    pub fn fault(&self) -> Fault {
        match self {
            Reason::Fault(fault) => fault.clone(),
            Reason::GaveUp(gave_up) => match gave_up.reason.fault() {
                fault if fault.refusal.is_some() => fault,
                fault => {
                    let hung = gave_up.abandoned > 0 && matches!(fault.kind, FaultKind::Actor | FaultKind::Disk);
                    let kind = if hung { FaultKind::Hung } else { fault.kind };
                    Fault { kind, what: format!("{}: {}", gave_up.child, fault.what), ..fault }
                }
            },
            Reason::Shutdown => Fault::new(FaultKind::Stopped, "stopped as asked"),
            other => Fault::new(FaultKind::Actor, other.to_string()),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Normal => write!(out, "ended"),
            Reason::Finished => write!(out, "ended with nothing left to do"),
            Reason::Shutdown => write!(out, "stopped as asked"),
            Reason::Panic(text) => write!(out, "panicked: {text}"),
            Reason::Fault(fault) => write!(out, "failed: {fault}"),
            Reason::Hung(busy) => {
                write!(out, "gave no sign of life for {:.1} s", busy.as_secs_f64())
            }
            Reason::Lost => write!(out, "is gone without a word"),
            Reason::GaveUp(gave_up) => write!(out, "{gave_up}"),
        }
    }
}

/// A supervisor gave up: whose death was one too many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GaveUp {
    /// The child.
    pub child: String,
    /// Why it ended, the last time.
    pub reason: Reason,
    /// How many restarts the supervisor had made within its period before.
    pub restarts: u32,
    /// How many hung threads it has abandoned (they may wake up and end; nobody listens to them).
    pub abandoned: u32,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "gave up on \"{}\" after {} restarts: it {}", self.child, self.restarts, self.reason)?;
        match self.abandoned {
            0 => Ok(()),
            n => write!(out, " ({n} hung threads abandoned)"),
        }
    }
}

/// How a supervisor ended, all its children being stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A significant child ended and took the supervisor along: its unit of work is done.
    Done {
        /// The significant child.
        child: String,
        /// Its reason.
        reason: Reason,
    },
    /// It was asked to stop.
    Asked,
    /// It gave up; its own parent decides what follows.
    GaveUp(GaveUp),
    /// The supervisor itself failed: our own mistake.
    Lost,
}

impl Ending {
    /// The reason that a parent sees.
    pub fn reason(&self) -> Reason {
        match self {
            Ending::Done { reason, .. } if reason.abnormal() => reason.clone(),
            Ending::Done { .. } => Reason::Normal,
            Ending::Asked => Reason::Shutdown,
            Ending::GaveUp(gave_up) => Reason::GaveUp(Box::new(gave_up.clone())),
            Ending::Lost => Reason::Lost,
        }
    }
}

/// What an observer is told, in the order in which it happened: enough to say afterwards what happened to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// The supervisors from the top, separated by '/'.
    pub supervisor: String,
    /// The child; empty where it is about the supervisor itself.
    pub child: String,
    /// The child's generation: 1 is the first.
    pub generation: u64,
    /// What happened.
    pub what: What,
}

/// What happened to a child or a supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It serves.
    Started,
    /// It was told to stop.
    ToldToStop,
    /// It ended.
    Ended(Reason),
    /// It was given up as hung: fenced off, its thread left behind.
    Abandoned,
    /// The watchdog's own tick was late by this much (suspend, SIGSTOP): nobody is accused.
    LateTick(Duration),
    /// The supervisor ended.
    SupervisorEnded(Ending),
}
