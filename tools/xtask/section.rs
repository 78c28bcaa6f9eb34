//! Running one section: a command whose lines pass through to the terminal while they are counted.

use crate::tally::{Counter, Tally};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

/// Lines that may wait between a command and the terminal.
const LINES_WAITING: usize = 1024;

/// What became of a section.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The section's name.
    pub(crate) name: &'static str,
    /// Why it failed; none if it did not.
    pub(crate) failure: Option<String>,
    /// Its tests.
    pub(crate) tally: Tally,
    /// Wall time in seconds.
    pub(crate) seconds: f64,
}

impl Outcome {
    /// A section that ended without a command.
    pub(crate) fn of(name: &'static str, failure: Option<String>, tally: Tally) -> Outcome {
        Outcome { name, failure, tally, seconds: 0.0 }
    }

    /// The same, failed for this reason if it met no test at all.
    pub(crate) fn not_empty(mut self, why: &str) -> Outcome {
        if self.tally.total() == 0 && self.failure.is_none() {
            self.failure = Some(why.to_string());
            self.tally.failed = 1;
        }
        self
    }
}

/// Runs a command as a section, its lines passing through to `say` and the counter.
pub(crate) fn run(name: &'static str, command: &mut Command, counter: Counter, say: &dyn Fn(&str)) -> Outcome {
    say(&format!("\n== {name}: {}", words_of(command)));
    let start = Instant::now();
    let (tally, failure) = match stream(command, counter, say) {
        Ok((tally, true)) => (tally, None),
        Ok((tally, false)) if tally.failed > 0 => (tally, Some(format!("{} tests failed", tally.failed))),
        // A compiler error, a crash of the test program, a formatting difference: one failure, although no test says
        // so.
        Ok((tally, false)) => (Tally { failed: 1, ..tally }, Some("the command failed".to_string())),
        Err(error) => (Tally { failed: 1, ..Tally::default() }, Some(format!("the command could not be run: {error}"))),
    };
    Outcome { name, failure, tally, seconds: start.elapsed().as_secs_f64() }
}

/// The command with the environment that was set for it, as a person would type it.
fn words_of(command: &Command) -> String {
    let quoted = |text: &std::ffi::OsStr| {
        let text = text.to_string_lossy().into_owned();
        if text.contains(' ') { format!("\"{text}\"") } else { text }
    };
    let set = command.get_envs().filter_map(|(key, value)| Some(format!("{}={}", key.display(), quoted(value?))));
    let words = command.get_args().map(quoted);
    set.chain([quoted(command.get_program())]).chain(words).collect::<Vec<_>>().join(" ")
}

/// Runs to the end; gives the counts and whether it succeeded.
fn stream(command: &mut Command, mut counter: Counter, say: &dyn Fn(&str)) -> std::io::Result<(Tally, bool)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (sender, lines) = sync_channel(LINES_WAITING);
    let readers = [
        child.stdout.take().map(|pipe| read_lines(pipe, sender.clone())),
        child.stderr.take().map(|pipe| read_lines(pipe, sender.clone())),
    ];
    drop(sender);
    for line in lines {
        if counter.line(&line) {
            say(&line);
        }
    }
    for reader in readers.into_iter().flatten() {
        reader.join().expect("reading lines does not panic");
    }
    Ok((counter.tally(), child.wait()?.success()))
}

/// Sends each line of a pipe, whatever bytes it holds, until the pipe closes.
fn read_lines(pipe: impl Read + Send + 'static, lines: SyncSender<String>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    })
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// These tests are themselves counted by the lines they print.
    fn quiet(_: &str) {}

    fn shell(script: &str) -> Outcome {
        run("shell", Command::new("sh").args(["-c", script]), Counter::new(&[]), &quiet)
    }

    #[test]
    fn counts_and_succeeds() {
        let outcome = shell("echo 'test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured'; echo oops >&2");
        assert_eq!(outcome.failure, None);
        assert_eq!(outcome.tally, Tally { passed: 2, failed: 0, skipped: 0 });
    }

    #[test]
    fn a_crash_without_a_result_is_a_failure() {
        let outcome = shell("exit 101");
        assert!(outcome.failure.is_some());
        assert_eq!(outcome.tally.failed, 1);
    }

    #[test]
    fn a_section_without_tests_is_a_failure() {
        assert!(shell("true").not_empty("nothing ran").failure.is_some());
        assert!(shell("echo 'test result: ok. 1 passed; 0 failed; 0 ignored'").not_empty("").failure.is_none());
    }

    #[test]
    fn a_missing_program_is_a_failure() {
        let outcome = run("missing", &mut Command::new("no-such-program-as-this"), Counter::new(&[]), &quiet);
        assert_eq!(outcome.tally.failed, 1);
    }
}
