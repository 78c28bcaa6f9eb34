//! kill -9 at random moments of a process that does nothing but save: what it acknowledged is there and whole.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pleach_runtime::store::{Disk, Follower, Journal};

use super::memory::Chance;
use super::*;

const ROLE: &str = "PLEACH_STORE_CHILD";

fn spawn(role: &str, root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::kill::child", "--nocapture"])
        .env(ROLE, format!("{role}:{}", root.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What the processes of the tests below do; in an ordinary run of the tests there is nothing for it to do.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, root) = role.split_once(':').unwrap();
    let root = Path::new(root);
    let mut run = RunFolder::own(root).unwrap();
    let (mut journal, _) = Journal::open(run.store(), &run.journal()).unwrap();
    let found = run.recover().unwrap();
    let mut step = found.checkpoint.as_ref().map_or(0, |c| c.manifest.step);
    std::fs::write(root.join("ready"), step.to_string()).unwrap();
    if role == "hold" {
        std::thread::sleep(Duration::from_secs(3600));
    }
    loop {
        step += 1;
        save_sized(&mut run, step, 4000).unwrap();
        journal.note(serde_json::json!({"event": "saved", "step": step})).unwrap();
    }
}

fn wait_ready(root: &Path, child: &mut Child) {
    let patience = Instant::now();
    while !root.join("ready").exists() {
        if let Some(status) = child.try_wait().unwrap() {
            let mut words = String::new();
            child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
            panic!("the process ended with {status}: {words}");
        }
        assert!(patience.elapsed() < Duration::from_secs(60), "the process did not start");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A folder in memory where the system has one: many syncs, little waiting. Power cuts are the business of `power.rs`.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// Kills within `within` microseconds of a start; every fourth process has saved at least once by then.
fn kill_loop(root: &Path, cycles: usize, within: u64) {
    let mut chance = Chance(9);
    let mut swept = 0;
    let mut last = 0;
    for cycle in 0..cycles {
        let _ = std::fs::remove_file(root.join("ready"));
        let mut child = spawn("save", root);
        wait_ready(root, &mut child);
        let journal = || std::fs::metadata(root.join("journal.jsonl")).map_or(0, |m| m.len());
        let (before, patience) = (journal(), Instant::now());
        while cycle % 4 == 0 && journal() == before {
            assert!(patience.elapsed() < Duration::from_secs(60), "the process saves nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(chance.next() % within));
        child.kill().unwrap();
        child.wait().unwrap();

        let started = Instant::now();
        let mut run = RunFolder::own(root).unwrap();
        swept += run.swept().len();
        let found = run.recover().unwrap();
        assert!(found.lost.is_empty(), "cycle {cycle}: {:?}", found.lost);
        let step = found.checkpoint.as_ref().map_or(0, |c| {
            assert_whole(c);
            c.manifest.step
        });
        assert!(started.elapsed() < Duration::from_secs(5), "recovery took {:?}", started.elapsed());
        let (_, opened) = Journal::open(run.store(), &run.journal()).unwrap();
        assert_eq!(opened.damaged, 0);
        let records = Follower::read_all(Arc::new(Disk), &run.journal()).unwrap();
        let told = records.last().map_or(0, |r| r.number("step").unwrap() as u64);
        // What the process before found when it started counts as acknowledged too.
        let sure = told.max(last);
        assert!(step == sure || step == sure + 1, "cycle {cycle}: step {step} found, {sure} acknowledged");
        last = step;
    }
    assert!(last >= cycles as u64 / 4, "{last} saves in {cycles} cycles prove little");
    assert!(cycles < 60 || swept > 0, "no kill met a save half done");
}

#[test]
fn killed_processes_lose_nothing_they_acknowledged() {
    let folder = scratch();
    kill_loop(&folder.path().join("run"), 60 * torture(), 30_000);
}

#[test]
fn killed_processes_lose_nothing_on_the_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    kill_loop(&folder.path().join("run"), 8 * torture(), 300_000);
}

#[test]
fn a_second_process_is_refused_in_words_and_touches_nothing() {
    let folder = scratch();
    let root = folder.path().join("run");
    let mut child = spawn("hold", &root);
    wait_ready(&root, &mut child);
    // Looks like something to sweep; the second process must leave it to the first.
    std::fs::create_dir_all(root.join("stages/01-pretrain/checkpoint-000001-1.tmp-1")).unwrap();
    let all = || {
        let mut names: Vec<_> = walk(&root).into_iter().map(|p| (std::fs::metadata(&p).unwrap().len(), p)).collect();
        names.sort();
        names
    };
    let before = all();
    let started = Instant::now();
    let fault = RunFolder::own(&root).err().expect("the lock is taken");
    assert!(started.elapsed() < Duration::from_secs(1));
    let refusal = fault.refusal.expect("a refusal in words");
    assert!(refusal.to_string().contains(&format!("process {} is running it", child.id())), "{refusal}");
    assert_eq!(pleach_runtime::store::RunLock::owner(&root), Some(child.id()));
    assert_eq!(before, all());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(pleach_runtime::store::RunLock::owner(&root), None);
    let run = RunFolder::own(&root).unwrap();
    assert_eq!(run.swept(), ["checkpoint-000001-1.tmp-1"]);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(walk(&path));
        }
        all.push(path);
    }
    all
}
