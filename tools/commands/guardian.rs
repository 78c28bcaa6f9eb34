//! The guardian: `pleach run` watches a worker process of itself, and takes the run up again when the worker dies of
//! something no thread can catch (an abort, a driver's crash, a kill for memory), or shows no life for half an hour (a
//! driver's call that never returns).
//!
//! It has no GPU and no state: the run folder holds everything.

use super::Answer;
use super::life::{LIFE, Vigil};
use crate::signals::Signals;
use pleach::runtime::control;
use pleach::runtime::fault::Refusal;
use pleach::runtime::store::parse_name;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Set in the worker's environment.
const WORKER: &str = "PLEACH_WORKER";
/// The guardian's process, in the worker's environment.
const GUARDIAN: &str = "PLEACH_GUARDIAN";
/// How the worker before this one ended, in the worker's environment.
const AFTER: &str = "PLEACH_AFTER";
/// In the worker's environment where its standard input is a pipe that the guardian holds.
const PIPED: &str = "PLEACH_PIPED";
/// A worker's exit code for what another process may mend: a device that did not come back, or threads that hang.
pub const AGAIN: u8 = 70;
/// Deaths of the worker within [`PERIOD`], or since its newest checkpoint, before the guardian gives up.
const DEATHS: usize = 5;
/// See [`DEATHS`].
const PERIOD: Duration = Duration::from_secs(600);
/// How often a stop is said again while the worker lives: one that has just started may not have heard it.
const REPEAT: Duration = Duration::from_secs(1);
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

/// Whether a guardian waits for this process's exit code.
pub fn has_guardian() -> bool {
    is_worker() && std::env::var_os(GUARDIAN).is_some()
}

/// In the worker: calls `stop` once its guardian is gone, so that no orphan goes on unseen.
pub fn watch_guardian(stop: impl Fn() + Send + 'static) {
    if !has_guardian() {
        return;
    }
    let gone: fn() = if std::env::var_os(PIPED).is_some() { end_of_input } else { other_parent };
    std::thread::spawn(move || {
        gone();
        stop();
    });
}

/// Returns when the other end of this process's standard input is closed: the guardian never writes.
fn end_of_input() {
    // An error is an end too.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

/// Returns when this process has another parent than its guardian; never where a system does not tell.
fn other_parent() {
    #[cfg(unix)]
    let parent = || Some(std::os::unix::process::parent_id());
    #[cfg(not(unix))]
    let parent = || None;
    let guardian = std::env::var(GUARDIAN).ok().and_then(|pid| pid.parse::<u32>().ok());
    while guardian.is_none() || parent().is_none_or(|parent| Some(parent) == guardian) {
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Deaths of the worker that count.
struct Deaths {
    /// Until when each counts.
    recent: Vec<Instant>,
    /// How many there were since the run last moved on, and the newest checkpoint then.
    fruitless: usize,
    newest: Option<u64>,
}

impl Deaths {
    fn new(newest: Option<u64>) -> Deaths {
        Deaths { recent: Vec::new(), fruitless: 0, newest }
    }

    /// One more, which counts for so long, with the run's newest checkpoint: how many there are now, where they are too
    /// many.
    fn count(&mut self, now: Instant, counts: Duration, newest: Option<u64>) -> Option<usize> {
        if newest > self.newest {
            (self.newest, self.fruitless) = (newest, 0);
        }
        self.fruitless += 1;
        self.recent.retain(|until| *until > now);
        self.recent.push(now + counts);
        let deaths = self.fruitless.max(self.recent.len());
        (deaths > DEATHS).then_some(deaths)
    }
}

/// The number of the newest checkpoint of a run: what tells that it moves on.
fn newest(folder: &Path) -> Option<u64> {
    let stages = std::fs::read_dir(folder.join("stages")).ok()?.flatten();
    let names = stages.filter_map(|stage| std::fs::read_dir(stage.path()).ok()).flat_map(Iterator::flatten);
    names.filter_map(|entry| parse_name(entry.file_name().to_str()?)).map(|(_, number)| number).max()
}

/// What the worker does with its standard input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing: it is a pipe whose end tells that the guardian is gone.
    Unused,
    /// It talks with a person.
    Talk,
}

/// Runs this same command in a worker until it ends by itself; `folder` is the run's, for the CONTROL file.
pub fn guard(folder: &Path, input: Input) -> Answer {
    let signals = Signals::listen();
    let limit = limit()?;
    let mut deaths = Deaths::new(newest(folder));
    let mut after: Option<String> = None;
    loop {
        let mut vigil = Vigil::begin(&std::env::temp_dir(), limit)
            .map_err(|error| eprintln!("a hang of the worker will not be noticed: {error}"))
            .ok();
        let mut worker = start(vigil.as_ref().map(Vigil::path), after.as_deref(), input)?;
        let (status, hung) = attend(&mut worker, folder, &signals, vigil.as_mut())?;
        if signals.count() > 0 {
            // The stop that was said last may have come too late.
            control::forget(&folder.join("CONTROL"));
        }
        if let Some(code) = verdict(status, hung.is_some()) {
            // Asked through CONTROL the worker says 75; this process was asked by a signal.
            return Ok(if code == 75 && signals.count() > 0 { signals.code() } else { code });
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
            None if status.code() == Some(i32::from(AGAIN)) => ("asked for another process".to_string(), PERIOD),
            None => (format!("died ({status})"), PERIOD),
        };
        if let Some(count) = deaths.count(Instant::now(), counts, newest(folder)) {
            let detail = format!("the worker died {count} times without getting on; the last one {why}");
            let hint = "`pleach doctor` tests the device; `pleach doctor RUN` says what happened";
            return Err(Refusal::new("the run cannot go on", detail, hint).with_code(1));
        }
        eprintln!("the worker {why}; taking the run up again");
        after = Some(why);
    }
}

/// The code of a worker that has ended for good; None: it died, and another may do better.
fn verdict(status: ExitStatus, hung: bool) -> Option<u8> {
    match status.code() {
        // Windows gives the one that we end a code too.
        Some(code) if hung && code != 0 => None,
        // 101 is a panic of the worker's main thread; codes outside of a byte are a crash on Windows.
        Some(code) if code == 101 || code == i32::from(AGAIN) => None,
        Some(code) => u8::try_from(code).ok(),
        None => None,
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

fn start(life: Option<&Path>, after: Option<&str>, input: Input) -> Result<Child, Refusal> {
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
    match input {
        Input::Unused => worker.stdin(Stdio::piped()).env(PIPED, "1"),
        Input::Talk => worker.env_remove(PIPED),
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
    let (mut asked, mut hung) = (None::<Instant>, None);
    loop {
        let state = worker.try_wait().map_err(|error| {
            Refusal::new("the worker process was lost", error.to_string(), "run the same command again").with_code(1)
        })?;
        if let Some(status) = state {
            return Ok((status, hung.map(|(silent, _)| silent)));
        }
        if signals.count() == 1 && asked.is_none_or(|then| then.elapsed() > REPEAT) {
            let told = control::tell(&folder.join("CONTROL"), "stop");
            if let (Err(error), None) = (told, asked) {
                eprintln!("could not ask the worker to stop: {error}");
            }
            asked = Some(Instant::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_count_until_the_run_gets_on() {
        let begin = Instant::now();
        let at = |hour: u64| begin + Duration::from_secs(3600 * hour);
        let mut deaths = Deaths::new(Some(7));
        let slow: Vec<_> = (1..=6).map(|hour| deaths.count(at(hour), PERIOD, Some(7))).collect();
        assert_eq!(slow, [None, None, None, None, None, Some(6)], "one an hour, and no checkpoint in between");
        let mut deaths = Deaths::new(None);
        assert!((1..=50).all(|hour| deaths.count(at(hour), PERIOD, Some(hour)).is_none()), "it gets on");
        let mut deaths = Deaths::new(None);
        let fast: Vec<_> = (1..=6).map(|number| deaths.count(begin, PERIOD, Some(number))).collect();
        assert_eq!(fast[4..], [None, Some(6)], "six within ten minutes are too many in any case");
    }

    #[cfg(unix)]
    #[test]
    fn what_a_worker_ends_with_is_final_or_a_death() {
        use std::os::unix::process::ExitStatusExt;
        let code = |code: i32| ExitStatus::from_raw(code << 8);
        for last in [0, 1, 2, 3, 4, 75, 130] {
            assert_eq!(verdict(code(last), false), Some(last as u8));
        }
        for death in [code(101), code(i32::from(AGAIN)), ExitStatus::from_raw(9)] {
            assert_eq!(verdict(death, false), None, "{death}");
        }
        assert_eq!((verdict(code(1), true), verdict(code(0), true)), (None, Some(0)));
    }
}
