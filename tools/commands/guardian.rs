//! The guardian: `pleach run` watches a worker process of itself, and takes the run up again when the worker dies of
//! something no thread can catch: an abort, a driver's crash, a kill for memory.
//!
//! It has no GPU and no state: the run folder holds everything.

use super::Answer;
use crate::signals::Signals;
use pleach::runtime::fault::Refusal;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Set in the worker's environment.
const WORKER: &str = "PLEACH_WORKER";
/// The guardian's process, in the worker's environment.
const GUARDIAN: &str = "PLEACH_GUARDIAN";
/// Deaths of the worker within [`PERIOD`] before the guardian gives up.
const DEATHS: usize = 5;
/// See [`DEATHS`].
const PERIOD: Duration = Duration::from_secs(600);
/// How often the guardian looks.
const LOOK: Duration = Duration::from_millis(50);

/// Is this process the worker?
pub fn is_worker() -> bool {
    std::env::var_os(WORKER).is_some()
}

/// In the worker: calls `stop` once its guardian is gone, so that no orphan goes on unseen.
pub fn watch_guardian(stop: impl Fn() + Send + 'static) {
    #[cfg(unix)]
    if is_worker() {
        let guardian = std::env::var(GUARDIAN).ok().and_then(|pid| pid.parse().ok());
        std::thread::spawn(move || {
            // A worker that a person started has no guardian to lose.
            while guardian.is_none_or(|pid: u32| std::os::unix::process::parent_id() == pid) {
                std::thread::sleep(Duration::from_millis(500));
            }
            stop();
        });
    }
    #[cfg(not(unix))]
    drop(stop);
}

/// Runs this same command in a worker until it ends by itself; `folder` is the run's, for the CONTROL file.
pub fn guard(folder: &Path) -> Answer {
    let signals = Signals::listen();
    let mut deaths: Vec<Instant> = Vec::new();
    loop {
        let mut worker = start()?;
        let status = attend(&mut worker, folder, &signals)?;
        match status.code() {
            // Asked through CONTROL the worker says 75; this process was asked by a signal.
            Some(75) if signals.count() > 0 => return Ok(signals.code()),
            // 101 is a panic of the worker's main thread; codes outside of a byte are a crash on Windows.
            Some(code) if code != 101 && (0..=255).contains(&code) => return Ok(code as u8),
            _ => {}
        }
        if signals.count() > 0 {
            return Ok(signals.code());
        }
        deaths.retain(|when| when.elapsed() < PERIOD);
        deaths.push(Instant::now());
        if deaths.len() > DEATHS {
            let detail =
                format!("the worker died {} times within {} minutes ({status})", deaths.len(), PERIOD.as_secs() / 60);
            let hint = "`pleach doctor` tests the device; `pleach doctor RUN` says what happened";
            return Err(Refusal::new("the run cannot go on", detail, hint).with_code(1));
        }
        eprintln!("the worker died ({status}); taking the run up again");
    }
}

fn start() -> Result<Child, Refusal> {
    let failed = |error: std::io::Error| {
        let hint = "set PLEACH_WORKER=1 to train in this process";
        Refusal::new("could not start the worker process", error.to_string(), hint).with_code(1)
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut worker = Command::new(program);
    worker.args(std::env::args_os().skip(1)).env(WORKER, "1").env(GUARDIAN, std::process::id().to_string());
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Mesa complains on stderr about every adapter it opens without one; nothing of ours uses it.
        worker.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    }
    worker.spawn().map_err(failed)
}

/// Waits for the worker. The first signal asks it to stop (it hears a terminal's Ctrl-C itself; both mean the same),
/// the
/// second ends it at once.
fn attend(worker: &mut Child, folder: &Path, signals: &Signals) -> Result<ExitStatus, Refusal> {
    let mut asked = false;
    loop {
        let state = worker.try_wait().map_err(|error| {
            Refusal::new("the worker process was lost", error.to_string(), "run the same command again").with_code(1)
        })?;
        if let Some(status) = state {
            return Ok(status);
        }
        if signals.count() == 1 && !asked {
            asked = true;
            if let Err(error) = pleach::runtime::control::tell(&folder.join("CONTROL"), "stop") {
                eprintln!("could not ask the worker to stop: {error}");
            }
        }
        if signals.count() > 1 && worker.kill().is_err() {
            // It ended by itself in this moment; the next look sees it.
        }
        std::thread::sleep(LOOK);
    }
}
