//! The program from outside: what it heeds while it plans and prepares.

use crate::kill::{program, write_pipeline};
use pleach_runtime::store::RunLock;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

fn pleach(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(words).current_dir(folder).stdin(Stdio::null()).env_remove("PLEACH_WORKER");
    command
}

/// A pipeline whose data takes seconds to prepare.
fn write_long(folder: &Path, stories: u64) {
    write_pipeline(folder);
    let text = std::fs::read_to_string(folder.join("pleach.toml")).unwrap();
    let text = text.replace("world:40", &format!("world:{stories}"));
    std::fs::write(folder.join("pleach.toml"), text.replace("\"chars\"", "\"bpe\"\nvocab = 300")).unwrap();
}

/// Starts it and waits until it owns the run.
fn owning(folder: &Path, words: &[&str]) -> Child {
    let child = pleach(folder, words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let owned = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        RunLock::owner(&folder.join("runs/r")).is_some()
    });
    assert!(owned, "it takes the run's lock");
    // What it does between the lock and the data: it drops words that were meant for an earlier process.
    std::thread::sleep(Duration::from_millis(200));
    child
}

#[test]
fn a_plan_passes_by_words_for_a_run() {
    let place = tempfile::tempdir().unwrap();
    write_pipeline(place.path());
    let control = place.path().join("runs/r/CONTROL");
    std::fs::create_dir_all(place.path().join("runs/r")).unwrap();
    std::fs::write(&control, "stop").unwrap();
    for words in [&["plan"][..], &["run", "--dry-run"]] {
        let output = pleach(place.path(), words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {:?} {said}", output.status.code());
        assert!(control.is_file(), "the word stands for whom it was meant");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_plan_at_once() {
    use std::os::unix::process::ExitStatusExt;
    let place = tempfile::tempdir().unwrap();
    write_long(place.path(), 4_000_000);
    let mut plan = owning(place.path(), &["plan"]);
    assert!(Command::new("kill").args(["-TERM", &plan.id().to_string()]).status().unwrap().success());
    let ended = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        plan.try_wait().unwrap().is_some()
    });
    if !ended {
        plan.kill().unwrap();
    }
    assert_eq!(plan.wait().unwrap().signal(), Some(15), "one signal is enough");
}

#[test]
fn a_run_that_prepares_is_seen_and_stopped() {
    let place = tempfile::tempdir().unwrap();
    write_long(place.path(), 200_000);
    let mut run = owning(place.path(), &["run"]);
    let status = pleach(place.path(), &["status", "runs/r"]).output().unwrap();
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("preparing its data in process"), "{said} {status:?}");
    let stop = pleach(place.path(), &["stop"]).output().unwrap();
    assert!(stop.status.success(), "{}", String::from_utf8_lossy(&stop.stderr));
    assert_eq!(run.wait().unwrap().code(), Some(75));
    assert!(!place.path().join("runs/r/journal.jsonl").exists(), "nothing was trained");
}

#[test]
fn threads_have_a_bound_on_the_command_line_too() {
    let place = tempfile::tempdir().unwrap();
    write_pipeline(place.path());
    for words in [&["plan", "--threads", "100000"][..], &["generate", "x", "--prompt", "y", "--threads", "1025"]] {
        let output = pleach(place.path(), words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("from 0 (all) to 1024"), "{said}");
    }
}
