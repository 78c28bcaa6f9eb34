//! One process owns a run: a lock that the system releases when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::time::Duration;

use crate::fault::{Fault, Refusal};

/// The file that is locked. Never removed: a lock on a removed file locks nothing.
const LOCK: &str = "lock";
/// The owner's process id, in a file of its own because Windows lets nobody read a locked one.
const OWNER: &str = "lock.pid";
/// Tries, 20 ms apart: [`RunLock::owner`] holds the lock for a moment when it looks.
const PATIENCE: u32 = 10;

/// The lock on a run folder, held until dropped.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock; refused, with the process id of the owner, where another process has it. Touches nothing then.
    pub fn take(folder: &Path) -> Result<RunLock, Fault> {
        let path = folder.join(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| Fault::disk("open", &path, &e))?;
        for patience in (0..PATIENCE).rev() {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if patience > 0 => std::thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => return Err(refusal(folder).into()),
                Err(TryLockError::Error(e)) => return Err(Fault::disk("lock", &path, &e)),
            }
        }
        // Only for the words of a refusal: a full disk must not keep a run from starting its own rescue.
        let _ = std::fs::write(folder.join(OWNER), std::process::id().to_string());
        Ok(RunLock { _file: file })
    }

    /// The process that owns a run folder now, if one does; 0 where its id is not known.
    pub fn owner(folder: &Path) -> Option<u32> {
        let file = OpenOptions::new().write(true).open(folder.join(LOCK)).ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Some(pid(folder).unwrap_or(0)),
            _ => None,
        }
    }
}

fn pid(folder: &Path) -> Option<u32> {
    std::fs::read_to_string(folder.join(OWNER)).ok()?.trim().parse().ok()
}

fn refusal(folder: &Path) -> Refusal {
    let owner = pid(folder).map_or("another process".to_owned(), |pid| format!("process {pid}"));
    Refusal::new(
        format!("could not take the run {}", folder.display()),
        format!("{owner} is running it"),
        format!("watch it with `pleach status {0}`, or end it with `pleach stop {0}`", folder.display()),
    )
}
