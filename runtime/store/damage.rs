//! Why a file could not be taken as what it claims to be: it could not be read, or its content does not hold.

use std::io;
use std::path::Path;

use super::format::FormatError;
use crate::fault::{Fault, FaultKind, Refusal};

/// Why a file or a checkpoint could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The disk failed to give the bytes: the file may be whole.
    #[error("{0}")]
    Unread(Fault),
    /// The bytes are there and wrong: what, with the file's name.
    #[error("{0}")]
    Wrong(String),
    /// The bytes are whole and of a version that this program does not read: what, with the file's name.
    #[error("{0}")]
    Version(String),
}

impl Damage {
    /// Sorts an error of the disk: a missing or short file is wrong content, everything else is a failure to read.
    pub(super) fn reading(file: &Path, error: &io::Error) -> Damage {
        match error.kind() {
            io::ErrorKind::NotFound => Damage::Wrong(format!("{} is missing", file.display())),
            io::ErrorKind::UnexpectedEof => Damage::Wrong(format!("{} ends too early", file.display())),
            io::ErrorKind::InvalidData => Damage::Wrong(format!("{}: {error}", file.display())),
            _ => Damage::Unread(Fault::disk("read", file, error)),
        }
    }

    pub(super) fn wrong(file: &Path, why: impl std::fmt::Display) -> Damage {
        Damage::Wrong(format!("{}: {why}", file.display()))
    }

    /// Sorts what is not a record: one of another version is whole, and never touched.
    pub(crate) fn record(file: &Path, error: &FormatError) -> Damage {
        match error {
            FormatError::Version { .. } => Damage::Version(format!("{}: {error}", file.display())),
            _ => Damage::wrong(file, error),
        }
    }

    /// As a person's mistake, for files a person named: `what` could not be done.
    pub fn refuse(self, what: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal::new(what, self.to_string(), hint)
    }
}

impl From<Damage> for Fault {
    fn from(damage: Damage) -> Fault {
        match damage {
            Damage::Unread(fault) => fault,
            Damage::Wrong(what) => Fault::new(FaultKind::Disk, what),
            Damage::Version(detail) => {
                let what = "the checkpoint was written by another version of this program";
                let hint = "go on with the version that wrote it, or a newer one; no file was changed";
                Refusal::new(what, detail, hint).with_code(1).into()
            }
        }
    }
}
