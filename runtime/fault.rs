//! The two kinds of failure that are values: a person's mistake ([`Refusal`]) and a machine's failure ([`Fault`]).
//!
//! The third kind, our own mistake, is a panic: the actor dies and is hired again.

/// A person's mistake, told before anything is lost: what could not be done, the place and detail, the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}\n  {detail}\n  hint: {hint}")]
pub struct Refusal {
    /// "could not read the corpus \"a.txt\"".
    pub what: String,
    /// Place and cause: "line 3: expected an object".
    pub detail: String,
    /// What to do about it.
    pub hint: String,
    /// The program's exit code: 2 usage or config, 3 will not fit or no usable device, 1 otherwise.
    pub code: u8,
}

impl Refusal {
    /// A mistake in usage, config or data: exit code 2.
    pub fn new(what: impl Into<String>, detail: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal { what: what.into(), detail: detail.into(), hint: hint.into(), code: 2 }
    }
    /// The same with another exit code.
    pub fn with_code(self, code: u8) -> Refusal {
        Refusal { code, ..self }
    }
}

/// What failed in the machine: a supervisor decides what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The device is gone or answers nonsense: new device, re-upload, replay.
    DeviceLost,
    /// The device has no memory for a request.
    OutOfMemory,
    /// A file operation failed.
    Disk,
    /// No space is left on the disk.
    DiskFull,
    /// A result is not a finite number, or bits differ that must not.
    Numbers,
    /// An actor died, hangs, or was replaced while it was asked.
    Actor,
    /// Threads hang and were left behind until too many: only the process's end gets rid of them.
    Hung,
    /// The run was told to stop.
    Stopped,
    /// The run's own watchdog halted it.
    Halted,
    /// A refusal met at run time.
    Refused,
}

/// A machine's failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind:?}: {what}")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What happened, with the place.
    pub what: String,
    /// The refusal, where the cause is one.
    pub refusal: Option<Box<Refusal>>,
}

impl Fault {
    /// A fault of a kind.
    pub fn new(kind: FaultKind, what: impl Into<String>) -> Fault {
        Fault { kind, what: what.into(), refusal: None }
    }
    /// A file operation that failed, with the file named; a full disk is told apart.
    pub fn disk(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Fault {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => FaultKind::DiskFull,
            _ => FaultKind::Disk,
        };
        Fault::new(kind, format!("could not {doing} {}: {error}", path.display()))
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault { kind: FaultKind::Refused, what: refusal.what.clone(), refusal: Some(Box::new(refusal)) }
    }
}
