//! A worker's sign of life to its guardian: a counter in a file that both hold open.
//!
//! It lies in the system's folder for temporary files, not in the run's: a disk that does not answer must not look like
//! a worker that does not live. The worker takes the name away as soon as it has opened the file, so that nothing is
//! left behind however the two end.

use pleach::runtime::pulse::Pulse;
use pleach::runtime::supervise::watch::{Busy, Sight, Watch};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The file's path, in the worker's environment.
pub const LIFE: &str = "PLEACH_LIFE";
/// How often the worker shows life, and the guardian looks for it.
const BEAT: Duration = Duration::from_secs(1);

/// The worker's end. When it is dropped the command is done, and what is left of the process must end soon.
pub struct Life {
    pulses: Option<Sender<Pulse>>,
}

/// In a worker with a guardian: a thread that shows life from now on. Where it cannot, the guardian sees no sign at all
/// and does not wait for one.
pub fn show() -> Life {
    let open = |path: &OsStr| -> std::io::Result<Sender<Pulse>> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        std::fs::remove_file(path)?;
        let (pulses, told) = channel();
        std::thread::Builder::new()
            .name("pleach-life".into())
            .spawn(move || beat(|count| write(&mut file, count), &told))?;
        Ok(pulses)
    };
    let pulses = std::env::var_os(LIFE).and_then(|path| {
        let opened = open(&path);
        opened.map_err(|error| eprintln!("the guardian will not notice a hang: {error}")).ok()
    });
    Life { pulses }
}

impl Life {
    /// From now on there is life only while this run's device moves.
    pub fn follow(&self, pulse: Pulse) {
        if let Some(pulses) = &self.pulses {
            // An error would mean that the thread is gone; then there is no sign of life any more.
            let _ = pulses.send(pulse);
        }
    }
}

fn beat(mut write: impl FnMut(u64) -> std::io::Result<()>, told: &Receiver<Pulse>) {
    let mut pulse: Option<Pulse> = None;
    for count in 1u64.. {
        if pulse.as_mut().is_none_or(Pulse::moves) {
            // A disk that is full may have room at the next beat; until then the guardian cannot write either.
            let _ = write(count);
        }
        match told.recv_timeout(BEAT) {
            Ok(new) => pulse = Some(new),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn write(file: &mut File, count: u64) -> std::io::Result<()> {
    file.rewind()?;
    file.write_all(&count.to_le_bytes())
}

/// The guardian's end, one per worker.
pub struct Vigil {
    path: PathBuf,
    file: File,
    limit: Duration,
    began: Instant,
    next: Duration,
    watch: Watch,
    count: u64,
    since: Option<Busy>,
}

impl Vigil {
    /// Makes the file in `folder`. A worker without a sign of life for longer than `limit` will be accused.
    pub fn begin(folder: &Path, limit: Duration) -> std::io::Result<Vigil> {
        let began = Instant::now();
        let stamp = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos());
        let path = folder.join(format!("pleach-life-{}-{stamp}", std::process::id()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let watch = Watch::new(BEAT, Duration::ZERO);
        Ok(Vigil { path, file, limit, began, next: BEAT, watch, count: 0, since: None })
    }

    /// What the worker opens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long the worker has shown no life, where that is too long. To be asked more often than once a second: a look
    /// that comes late (a suspended machine, a stopped terminal) accuses nobody.
    pub fn hung(&mut self) -> Option<Duration> {
        let now = self.began.elapsed();
        if now < self.next {
            return None;
        }
        self.next = now + BEAT;
        let count = self.read();
        if count.is_none_or(|count| count == self.count) && (count.is_none() || self.mute()) {
            // Nobody can speak here now: this silence says nothing.
            self.since = self.since.map(|busy| Busy { since: now.as_millis() as u64, ..busy });
        }
        if let Some(count) = count.filter(|&count| count != self.count) {
            self.count = count;
            self.since = Some(Busy { generation: count, since: now.as_millis() as u64 });
        }
        let sights = self.watch.look(now, std::iter::once((0, self.limit, self.since)));
        sights.into_iter().find_map(|sight| match sight {
            Sight::Accused { busy, .. } => Some(busy),
            Sight::Late(_) => None,
        })
    }

    /// The counter, where one can be read.
    fn read(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        let read = self.file.rewind().and_then(|()| self.file.read_exact(&mut bytes));
        read.ok().map(|()| u64::from_le_bytes(bytes))
    }

    /// Whether the file takes no bytes now, as on a full disk: a write behind the counter tries it.
    fn mute(&mut self) -> bool {
        self.file.seek(SeekFrom::Start(8)).and_then(|_| self.file.write_all(&[0; 8])).is_err()
    }
}

impl Drop for Vigil {
    fn drop(&mut self) {
        // Usually the worker has taken the name away.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at `vigil` for `time` as the guardian does.
    fn watch(vigil: &mut Vigil, time: Duration) -> Option<Duration> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(hung) = vigil.hung() {
                return Some(hung);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }

    #[test]
    fn silence_is_accused_and_a_late_look_or_a_worker_that_never_spoke_is_not() {
        let folder = std::env::temp_dir();
        let limit = Duration::from_millis(1500);
        let mut vigil = Vigil::begin(&folder, limit).expect("a file for the test");
        assert_eq!(watch(&mut vigil, 3 * limit), None, "it never showed life");
        let mut file = OpenOptions::new().write(true).open(vigil.path()).expect("the vigil's file");
        write(&mut file, 1).expect("a beat");
        assert_eq!(watch(&mut vigil, BEAT), None, "it has just shown life");
        std::thread::sleep(3 * BEAT);
        assert_eq!(vigil.hung(), None, "the look was late");
        assert!(watch(&mut vigil, 6 * BEAT).is_some_and(|hung| hung > limit));
        write(&mut file, 2).expect("a beat");
        assert_eq!(watch(&mut vigil, BEAT + BEAT / 4), None, "it lives again");
    }

    #[test]
    fn a_full_disk_accuses_nobody() {
        let limit = Duration::from_millis(1500);
        let mut vigil = Vigil::begin(&std::env::temp_dir(), limit).expect("a file for the test");
        let mut file = OpenOptions::new().write(true).open(vigil.path()).expect("the vigil's file");
        write(&mut file, 1).expect("a beat");
        assert_eq!(watch(&mut vigil, BEAT + BEAT / 4), None, "it has just shown life");
        // A file that takes no bytes: opened for reading only.
        let only = File::open(vigil.path()).expect("the vigil's file");
        let usual = std::mem::replace(&mut vigil.file, only);
        assert_eq!(watch(&mut vigil, 5 * BEAT), None, "nobody can speak");
        vigil.file = usual;
        file.set_len(3).expect("a short file");
        assert_eq!(watch(&mut vigil, 5 * BEAT), None, "nothing can be read");
        write(&mut file, 1).expect("the same beat");
        assert!(watch(&mut vigil, 6 * BEAT).is_some(), "silence where one could speak");
    }

    #[test]
    fn a_failed_beat_is_followed_by_another() {
        let (pulses, told) = channel();
        let (sender, beats) = channel();
        let write = move |count: u64| {
            sender.send(count).expect("the test listens");
            Err(std::io::ErrorKind::StorageFull.into())
        };
        let thread = std::thread::spawn(move || beat(write, &told));
        assert_eq!((beats.recv(), beats.recv()), (Ok(1), Ok(2)));
        drop(pulses);
        thread.join().expect("it ends with its command");
    }
}
