//! One command per file.

pub mod chat;
pub mod control;
pub mod demo;
pub mod doctor;
pub mod eval;
pub mod generate;
pub mod guardian;
pub mod inspect;
pub mod life;
pub mod new;
pub mod plan;
pub mod rank;
pub mod run;
pub mod status;

use pleach::runtime::fault::{Fault, FaultKind, Refusal};

/// What a command answers: its exit code, or words for the person.
pub type Answer = Result<u8, Refusal>;

/// `--threads`, in the bounds of the pipeline file's key.
pub fn threads(text: &str) -> Result<usize, String> {
    let most = pleach::pipeline::keys::THREADS;
    let threads = text.parse().ok().filter(|threads| *threads <= most);
    threads.ok_or_else(|| format!("give a whole number from 0 (all) to {most}"))
}

/// A fault as words for the person.
pub fn words(fault: Fault) -> Refusal {
    match fault.refusal {
        Some(refusal) => *refusal,
        None if fault.kind == FaultKind::Refused => {
            Refusal::new("it cannot be done so", fault.what, "change what was asked for")
        }
        None if fault.kind == FaultKind::Stopped => {
            Refusal::new("stopped", fault.what, "the same command goes on").with_code(130)
        }
        None if fault.kind == FaultKind::OutOfMemory => {
            let hint = "lower context, batch or the model's size, or take another device";
            Refusal::new("the device has no memory for it", fault.what, hint).with_code(3)
        }
        None => {
            let hint = "the run is resumable: the same command goes on; `pleach doctor` looks at the machine";
            Refusal::new("the machine failed", fault.what, hint).with_code(1)
        }
    }
}
