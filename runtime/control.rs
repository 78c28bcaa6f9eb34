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

/// A thread that obeys a run folder's CONTROL file (`pause`, `resume`, `stop`; the file is removed when read).
pub struct Watcher {
    quit: Option<Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watcher {
    /// Starts to watch. Nothing is watched where the thread cannot be started; the file then stays where it is.
    pub fn start(file: PathBuf, control: Control) -> Watcher {
        let (quit, told) = channel::<()>();
        let work = move || {
            while let Err(RecvTimeoutError::Timeout) = told.recv_timeout(POLL) {
                obey(&file, &control);
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

fn obey(file: &std::path::Path, control: &Control) {
    let Some(word) = word(file) else { return };
    if let Err(error) = std::fs::remove_file(file) {
        tracing::warn!("could not remove {}: {error}", file.display());
    }
    match word.as_str() {
        "pause" => control.pause(),
        "resume" => control.resume(),
        "stop" => control.stop(),
        other => tracing::warn!("CONTROL says {other:?}; it may say pause, resume or stop"),
    }
}
