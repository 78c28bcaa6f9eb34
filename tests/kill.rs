//! kill -9 at random moments: the program, started again by the same command, ends with the bits of the calm run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program beside this test.
pub(crate) fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push(format!("pleach{}", std::env::consts::EXE_SUFFIX));
    assert!(path.is_file(), "{} is missing: build it first (cargo build -p pleach-tools)", path.display());
    path
}

pub(crate) fn write_pipeline(folder: &Path) {
    let text = "name = \"r\"\nseed = 5\ndevice = \"cpu\"\nthreads = 1\n[model]\nshape = \"gpt2\"\nlayers = 1\nwidth = 16\n\
                heads = 2\ncontext = 16\n[[stage]]\nkind = \"pretrain\"\ndata = \"world:40\"\ntokenizer = \"chars\"\n\
                batch = 4\nsteps = 12\nsave_every = 2\neval_every = 5\nvalid = 0.05\n";
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("pleach.toml"), text).unwrap();
}

/// Starts a worker without a guardian: it is the worker that is killed here.
fn start(folder: &Path) -> Child {
    Command::new(program())
        .args(["run", "pleach.toml", "--json"])
        .current_dir(folder)
        .env("PLEACH_WORKER", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let calm = place.path().join("calm");
    write_pipeline(&calm);
    let began = std::time::Instant::now();
    assert!(start(&calm).wait().unwrap().success());
    let whole = began.elapsed();
    let expected = crate::recovery::bits(&calm.join("runs/r"));
    let kills: usize = if std::env::var_os("PLEACH_TORTURE").is_some() { 500 } else { 50 };
    let (mut done, mut run, mut state) = (0, 0, 0x9E37_79B9_7F4A_7C15u64);
    while done < kills {
        let folder = place.path().join(format!("killed{run}"));
        run += 1;
        write_pipeline(&folder);
        loop {
            // A xorshift: which moments are tried differs from run to run of this loop, not from test to test.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let wait = whole.as_micros() as u64 * (state % 1000) / 1000;
            let mut child = start(&folder);
            std::thread::sleep(Duration::from_micros(wait));
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "it ended by itself, with {status}");
                break;
            }
            child.kill().unwrap();
            let status = child.wait().unwrap();
            let killed = cfg!(windows) || status.code().is_none();
            assert!(killed || status.success(), "it ended by itself, with {status}");
            done += 1;
            if done >= kills {
                break;
            }
        }
        assert!(start(&folder).wait().unwrap().success(), "after {done} kills the run goes on to its end");
        assert!(
            crate::recovery::bits(&folder.join("runs/r")) == expected,
            "after {done} kills the weights are the same"
        );
    }
}

/// Every file of a run but the owner's process id, with its bytes and the time of its last change.
fn files(folder: &Path, out: &mut Vec<(PathBuf, Vec<u8>, std::time::SystemTime)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if !path.ends_with("lock.pid") {
            let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
            out.push((path.clone(), std::fs::read(&path).unwrap(), changed));
        }
    }
}

/// The same command on a finished run trains nothing, writes nothing and says where the model lies; with more steps in
/// the pipeline file it trains on.
#[test]
fn a_finished_run_is_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("finished");
    write_pipeline(&folder);
    assert!(start(&folder).wait().unwrap().success());
    let run = folder.join("runs/r");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    files(&run, &mut before);
    let again = || Command::new(program()).args(["run", "pleach.toml"]).current_dir(&folder).output().unwrap();
    let output = again();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("the run is finished"), "{said}");
    assert!(said.contains("01-pretrain") && said.contains("model"), "{said}");
    files(&run, &mut after);
    before.sort();
    after.sort();
    let names = |all: &[(PathBuf, Vec<u8>, std::time::SystemTime)]| -> Vec<PathBuf> {
        all.iter().map(|(path, ..)| path.clone()).collect()
    };
    assert_eq!(names(&before), names(&after));
    for (was, is) in before.iter().zip(&after) {
        assert!(was == is, "{} was written", was.0.display());
    }
    let text = std::fs::read_to_string(folder.join("pleach.toml")).unwrap().replace("steps = 12", "steps = 14");
    std::fs::write(folder.join("pleach.toml"), text).unwrap();
    assert!(again().status.success());
    let newest = std::fs::read_dir(run.join("stages/01-pretrain")).unwrap();
    let mut names = newest.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.any(|name| name.starts_with("checkpoint-000014")), "more steps are trained");
}

/// Starts the command as a person does: with a guardian, which takes a silent worker for hung after 4 seconds.
#[cfg(unix)]
fn guarded(folder: &Path, steps: u64) -> Child {
    write_pipeline(folder);
    let text = std::fs::read_to_string(folder.join("pleach.toml")).unwrap();
    let text = text.replace("steps = 12", &format!("steps = {steps}"));
    std::fs::write(folder.join("pleach.toml"), text).unwrap();
    Command::new(program())
        .args(["run", "pleach.toml", "--json"])
        .current_dir(folder)
        .env_remove("PLEACH_WORKER")
        .env("PLEACH_HANG_SECONDS", "4")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("stderr")).unwrap())
        .spawn()
        .unwrap()
}

/// Waits until the run's journal says a word; the process that writes it.
#[cfg(unix)]
fn worker_after(run: &Path, word: &str) -> u32 {
    let worker = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        let said = journal(run).contains(word);
        if said { pleach::runtime::store::RunLock::owner(run).filter(|&owner| owner != 0) } else { None }
    });
    worker.expect("a worker trains")
}

#[cfg(unix)]
fn journal(run: &Path) -> String {
    std::fs::read_to_string(run.join("journal.jsonl")).unwrap_or_default()
}

#[cfg(unix)]
fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// A killed worker is taken up again by its guardian; the command never notices.
#[cfg(unix)]
#[test]
fn the_guardian_takes_a_killed_worker_up_again() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("guarded");
    let mut guardian = guarded(&folder, 400);
    let run = folder.join("runs/r");
    let worker = worker_after(&run, "\"step\"");
    assert_ne!(worker, guardian.id(), "the worker is another process");
    signal(worker, "-9");
    assert!(guardian.wait().unwrap().success(), "the guardian ends well");
    assert!(journal(&run).matches("\"started\"").count() >= 2, "the run was taken up by a second process");
    assert!(journal(&run).contains("\"finished\""));
    assert!(journal(&run).contains("\"after\":\"died (signal: 9"), "the journal knows what happened");
}

/// A worker that stands still without a word is ended and taken up again; one that stands still as asked is not, nor is
/// one whose guardian stood still with it.
#[cfg(unix)]
#[test]
fn the_guardian_ends_a_hung_worker_and_no_other() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("hung");
    let mut guardian = guarded(&folder, 4000);
    let run = folder.join("runs/r");
    let first = worker_after(&run, "\"step\"");
    pleach::runtime::control::tell(&run.join("CONTROL"), "pause").unwrap();
    worker_after(&run, "\"paused\"");
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(journal(&run).matches("\"started\"").count(), 1, "a pause is no hang");
    signal(guardian.id(), "-STOP");
    signal(first, "-STOP");
    std::thread::sleep(Duration::from_secs(7));
    signal(guardian.id(), "-CONT");
    std::thread::sleep(Duration::from_secs(2));
    signal(first, "-CONT");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(worker_after(&run, "\"paused\""), first, "a machine that slept has no hung worker");
    signal(first, "-STOP");
    let second = (0..600).find_map(|_| {
        std::thread::sleep(Duration::from_millis(50));
        if journal(&run).matches("\"started\"").count() < 2 {
            return None;
        }
        pleach::runtime::store::RunLock::owner(&run).filter(|&owner| owner != 0 && owner != first)
    });
    let said = || std::fs::read_to_string(folder.join("stderr")).unwrap();
    assert!(second.is_some(), "the hung worker was replaced: {}", said());
    pleach::runtime::control::tell(&run.join("CONTROL"), "stop").unwrap();
    let code = guardian.wait().unwrap().code();
    assert!(matches!(code, Some(75 | 0)), "{code:?}: {}", said());
    assert!(said().contains("without a sign of life"), "{}", said());
    assert!(journal(&run).contains("without a sign of life"), "the journal knows what happened");
}

/// Whether a process has a handler for a signal to terminate; after a while where the system does not tell.
#[cfg(unix)]
fn hears(process: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{process}/status")) {
        Ok(status) => {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            mask.is_some_and(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << 14) != 0)
        }
        Err(_) => {
            std::thread::sleep(Duration::from_millis(300));
            true
        }
    }
}

/// A guardian that is told to end while its worker starts ends, and so does the worker.
#[cfg(unix)]
#[test]
fn a_stop_while_the_worker_starts_is_not_lost() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("early");
    std::fs::create_dir_all(folder.join("runs/r")).unwrap();
    let mut guardian = guarded(&folder, 40_000);
    while !hears(guardian.id()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(guardian.id(), "-TERM");
    let code = guardian.wait().unwrap().code();
    assert_eq!(code, Some(143), "{}", std::fs::read_to_string(folder.join("stderr")).unwrap());
    assert!(!folder.join("runs/r/CONTROL").exists(), "no word is left for the next start");
}

/// A paused run whose worker dies stays paused.
#[cfg(unix)]
#[test]
fn a_pause_survives_the_worker() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("paused");
    let mut guardian = guarded(&folder, 40_000);
    let run = folder.join("runs/r");
    let control = run.join("CONTROL");
    worker_after(&run, "\"step\"");
    pleach::runtime::control::tell(&control, "pause").unwrap();
    let first = worker_after(&run, "\"paused\"");
    signal(first, "-9");
    let count = |word: &str| journal(&run).matches(word).count();
    let paused = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        count("\"paused\"") >= 2
    });
    assert!(paused && count("\"started\"") >= 2, "{}", journal(&run));
    pleach::runtime::control::tell(&control, "resume").unwrap();
    worker_after(&run, "\"resumed\"");
    pleach::runtime::control::tell(&control, "stop").unwrap();
    assert_eq!(guardian.wait().unwrap().code(), Some(75));
}

/// A worker whose guardian is killed ends, everything on the disk.
#[cfg(unix)]
#[test]
fn a_worker_ends_with_its_guardian() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("orphan");
    let mut guardian = guarded(&folder, 40_000);
    let run = folder.join("runs/r");
    worker_after(&run, "\"step\"");
    guardian.kill().unwrap();
    guardian.wait().unwrap();
    let ended = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        pleach::runtime::store::RunLock::owner(&run).is_none()
    });
    assert!(ended && journal(&run).contains("\"stopped\""), "{}", journal(&run));
}
