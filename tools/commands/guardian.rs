//! The guardian: `pleach run` watches a worker process of itself, and takes the run up again when the worker dies of
//! something no thread can catch (an abort, a driver's crash, a kill for memory), or shows no life for half an hour (a
//! driver's call that never returns).
//!
//! It has no GPU and no state: the run folder holds everything.

use super::Answer;
use super::life::{LIFE, Vigil};
use crate::signals::Signals;
use pleach::runtime::fault::Refusal;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// Set in the worker's environment.
const WORKER: &str = "PLEACH_WORKER";
/// The guardian's process, in the worker's environment.
const GUARDIAN: &str = "PLEACH_GUARDIAN";
/// How the worker before this one ended, in the worker's environment.
const AFTER: &str = "PLEACH_AFTER";
/// Deaths of the worker within [`PERIOD`] before the guardian gives up.
const DEATHS: usize = 5;
/// See [`DEATHS`].
const PERIOD: Duration = Duration::from_secs(600);
/// A worker without a sign of life for so long hangs: three times what the watchdogs inside of it wait, and far more
/// than one call of a device takes.
const HANG: Duration = Duration::from_secs(1800);
/// Another bound than [`HANG`], in seconds; for tests.
const HANG_SECONDS: &str = "PLEACH_HANG_SECONDS";
/// How long a killed worker may take to vanish. One that hangs in the kernel cannot be killed, and holds the run's
/// lock.
const VANISH: Duration = Duration::from_secs(60);
/// How often the guardian looks.
const LOOK: Duration = Duration::from_millis(50);

/// Is this process the worker?
pub fn is_worker() -> bool {
    std::env::var_os(WORKER).is_some()
}

/// In the worker: how the one before it ended, for the journal.
pub fn after() -> Option<String> {
    std::env::var(AFTER).ok().filter(|_| is_worker())
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
    let limit = limit()?;
    // Until when each death counts.
    let mut deaths: Vec<Instant> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut vigil = Vigil::begin(&std::env::temp_dir(), limit)
            .map_err(|error| eprintln!("a hang of the worker will not be noticed: {error}"))
            .ok();
        let mut worker = start(vigil.as_ref().map(Vigil::path), after.as_deref())?;
        let (status, hung) = attend(&mut worker, folder, &signals, vigil.as_mut())?;
        match status.code() {
            // Windows gives the one that we end a code too.
            Some(code) if hung.is_some() && code != 0 => {}
            // Asked through CONTROL the worker says 75; this process was asked by a signal.
            Some(75) if signals.count() > 0 => return Ok(signals.code()),
            // 101 is a panic of the worker's main thread; codes outside of a byte are a crash on Windows.
            Some(code) if code != 101 && (0..=255).contains(&code) => return Ok(code as u8),
            _ => {}
        }
        if signals.count() > 0 {
            return Ok(signals.code());
        }
        // Hangs come slowly: they count until as many more could have followed.
        let (why, counts) = match hung {
            Some(silent) => {
                let why = format!("was ended after {} s without a sign of life", silent.as_secs());
                (why, PERIOD + limit * DEATHS as u32)
            }
            None => (format!("died ({status})"), PERIOD),
        };
        deaths.retain(|until| *until > Instant::now());
        deaths.push(Instant::now() + counts);
        if deaths.len() > DEATHS {
            let detail = format!("the worker died {} times in a row; the last one {why}", deaths.len());
            let hint = "`pleach doctor` tests the device; `pleach doctor RUN` says what happened";
            return Err(Refusal::new("the run cannot go on", detail, hint).with_code(1));
        }
        eprintln!("the worker {why}; taking the run up again");
        after = Some(why);
    }
}

fn limit() -> Result<Duration, Refusal> {
    let Some(seconds) = std::env::var_os(HANG_SECONDS) else { return Ok(HANG) };
    let number = seconds.to_str().and_then(|text| text.parse().ok()).filter(|&number: &u64| number > 0);
    number.map(Duration::from_secs).ok_or_else(|| {
        let detail = format!("{HANG_SECONDS} is {seconds:?}");
        Refusal::new("the bound for a hang is no number", detail, "give whole seconds from 1 up, or unset it")
    })
}

fn start(life: Option<&Path>, after: Option<&str>) -> Result<Child, Refusal> {
    let failed = |error: std::io::Error| {
        let hint = "set PLEACH_WORKER=1 to train in this process";
        Refusal::new("could not start the worker process", error.to_string(), hint).with_code(1)
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut worker = Command::new(program);
    worker.args(std::env::args_os().skip(1)).env(WORKER, "1").env(GUARDIAN, std::process::id().to_string());
    match life {
        Some(path) => worker.env(LIFE, path),
        None => worker.env_remove(LIFE),
    };
    match after {
        Some(why) => worker.env(AFTER, why),
        None => worker.env_remove(AFTER),
    };
    worker.spawn().map_err(failed)
}

/// Waits for the worker; how it ended, and for how long it had hung where it was ended for that. The first signal asks
/// it to stop (it hears a terminal's Ctrl-C itself; both mean the same), the second ends it at once.
fn attend(
    worker: &mut Child,
    folder: &Path,
    signals: &Signals,
    mut vigil: Option<&mut Vigil>,
) -> Result<(ExitStatus, Option<Duration>), Refusal> {
    let (mut asked, mut hung) = (false, None);
    loop {
        let state = worker.try_wait().map_err(|error| {
            Refusal::new("the worker process was lost", error.to_string(), "run the same command again").with_code(1)
        })?;
        if let Some(status) = state {
            return Ok((status, hung.map(|(silent, _)| silent)));
        }
        if signals.count() == 1 && !asked {
            asked = true;
            if let Err(error) = pleach::runtime::control::tell(&folder.join("CONTROL"), "stop") {
                eprintln!("could not ask the worker to stop: {error}");
            }
        }
        if hung.is_none() {
            hung = vigil.as_mut().and_then(|vigil| vigil.hung()).map(|silent| (silent, Instant::now()));
        }
        if (signals.count() > 1 || hung.is_some()) && worker.kill().is_err() {
            // It ended by itself in this moment; the next look sees it.
        }
        if hung.is_some_and(|(_, since)| since.elapsed() > VANISH) {
            let detail = format!("process {} was killed and is still there: it hangs inside the system", worker.id());
            let hint = "restart the machine; the same command goes on from the newest checkpoint";
            return Err(Refusal::new("the worker hangs and cannot be ended", detail, hint).with_code(1));
        }
        std::thread::sleep(LOOK);
    }
}
