//! Pause, resume, stop: what people and host applications ask of a run, looked at between steps.

use pleach_sync::gate::{Gate, Wish};
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the CONTROL file is looked for.
const POLL: Duration = Duration::from_millis(500);

/// Words of a CONTROL file, at most this many bytes of it are read.
const WORD_BYTES: u64 = 64;

/// The trainer's and the handle's common gate.
#[derive(Clone, Debug, Default)]
pub struct Control {
    gate: Arc<Gate>,
}

impl Control {
    /// An open gate.
    pub fn new() -> Control {
        Control::default()
    }
    /// Stand still after the current step.
    pub fn pause(&self) {
        self.gate.ask(Wish::Pause);
    }
    /// Go on.
    pub fn resume(&self) {
        self.gate.ask(Wish::Run);
    }
    /// End after the current step, with everything on disk.
    pub fn stop(&self) {
        self.gate.ask(Wish::Stop);
    }
    /// Is a pause asked for?
    pub fn wants_pause(&self) -> bool {
        self.gate.wish() == Wish::Pause
    }
    /// Is a stop asked for?
    pub fn wants_stop(&self) -> bool {
        self.gate.wish() == Wish::Stop
    }
    /// Waits out a pause; false = stop.
    pub fn pass(&self) -> bool {
        self.gate.pass() == Wish::Run
    }
    /// Waits until the trainer stands still, at most this long.
    pub fn parked(&self, within: Duration) -> bool {
        self.gate.parked(1, Some(Instant::now() + within))
    }
    /// Waits this long; false as soon as a stop is asked for.
    pub fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.wants_stop() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        !self.wants_stop()
    }
}

/// A thread that obeys a run folder's CONTROL file (`pause`, `resume`, `stop`). The file is renamed before it is read,
/// so that no later word is lost, and stays under that name while it is in force: for a process that follows this one.
pub struct Watcher {
    quit: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch. Nothing is watched where the thread cannot be started; the file then stays where it is.
    pub fn start(file: PathBuf, control: Control) -> Watcher {
        let (quit, told) = channel::<()>();
        let work = move || {
            // What a process before this one had read and not finished, or a pause that it stood in.
            obey(word(&held(&file)).as_deref(), &file, &control);
            while let Err(RecvTimeoutError::Timeout) = told.recv_timeout(POLL) {
                if std::fs::rename(&file, held(&file)).is_ok() {
                    obey(word(&held(&file)).as_deref(), &file, &control);
                }
            }
        };
        let thread = std::thread::Builder::new().name("pleach-control".into()).spawn(work).ok();
        Watcher { quit: Some(quit), thread }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.quit = None;
        if let Some(thread) = self.thread.take() {
            // The thread only reads a file; if it panicked there is nothing to undo.
            let _ = thread.join();
        }
    }
}

/// The word of a CONTROL file, if there is a whole one.
pub fn word(file: &std::path::Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(WORD_BYTES).read_to_end(&mut bytes).ok()?;
    let word = String::from_utf8_lossy(&bytes).trim().to_lowercase();
    (!word.is_empty()).then_some(word)
}

/// Writes a word into a CONTROL file, whole at once.
pub fn tell(file: &std::path::Path, word: &str) -> std::io::Result<()> {
    let beside = file.with_extension(format!("tmp-{}", std::process::id()));
    std::fs::write(&beside, word)?;
    std::fs::rename(beside, file)
}

/// The word that nobody has obeyed yet, else the one in force.
pub fn asked(file: &std::path::Path) -> Option<String> {
    word(file).or_else(|| word(&held(file)))
}

/// Takes all words back: they were meant for a process that is gone.
pub fn forget(file: &std::path::Path) {
    // Usually there is none.
    let _ = std::fs::remove_file(file);
    lift(file);
}

/// The word that was read last, while it is in force.
fn held(file: &std::path::Path) -> PathBuf {
    file.with_extension("read")
}

/// Does what a word says. What is in force, a pause or a stop that is not yet done, stays for who follows a process
/// that dies of something else.
fn obey(word: Option<&str>, file: &std::path::Path, control: &Control) {
    match word {
        Some("pause") => return control.pause(),
        Some("stop") => return control.stop(),
        Some("resume") => control.resume(),
        Some(other) => tracing::warn!("CONTROL says {other:?}; it may say pause, resume or stop"),
        None => return,
    }
    lift(file);
}

/// Nothing is in force any more.
pub(crate) fn lift(file: &std::path::Path) {
    let held = held(file);
    if let Err(error) = std::fs::remove_file(&held)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("could not remove {}: {error}", held.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until a wish is there; a watcher looks twice a second.
    fn soon(wish: impl Fn() -> bool) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            wish()
        })
    }

    #[test]
    fn what_is_in_force_survives_the_process_that_read_it() {
        let place = std::env::temp_dir().join(format!("pleach-control-{}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a folder for the test");
        let file = place.join("CONTROL");
        for (word, asked) in [("pause", Control::wants_pause as fn(&Control) -> bool), ("stop", Control::wants_stop)] {
            tell(&file, word).expect("a word");
            let first = Control::new();
            let watcher = Watcher::start(file.clone(), first.clone());
            assert!(soon(|| asked(&first)) && !file.exists(), "{word} is read");
            drop(watcher);
            let second = Control::new();
            let watcher = Watcher::start(file.clone(), second.clone());
            assert!(soon(|| asked(&second)), "{word} is still in force");
            drop(watcher);
        }
        tell(&file, "pause").expect("a word");
        lift(&file);
        assert_eq!(word(&file).as_deref(), Some("pause"), "a word that nobody has read yet stays");
        forget(&file);
        assert_eq!((word(&file), word(&held(&file))), (None, None));
        std::fs::remove_dir_all(place).expect("the test's own folder");
    }
}
