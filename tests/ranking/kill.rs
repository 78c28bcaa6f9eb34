//! kill -9 of a process that does nothing but rank: every answer that it called taken is there, the store is whole.

use super::{item, order};
use pleach::ranking::{Options, Store};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ROLE: &str = "PLEACH_RANKING_CHILD";

/// A line of its own, at once: libtest writes into the same pipe.
fn say(words: &str) {
    std::io::stdout().write_all(format!("\n{words}\n").as_bytes()).unwrap();
}

/// What the processes of the test below do; in an ordinary run of the tests there is nothing for it to do.
#[test]
fn child() {
    let Ok(path) = std::env::var(ROLE) else { return };
    let mut store = Store::open(Path::new(&path)).unwrap();
    while let Some(task) = store.next("Ada").unwrap() {
        store.draft("Ada", task.assignment, task.revision + 1, &order("c b")).unwrap();
        say(&format!("draft {}", task.assignment));
        store.submit("Ada", task.assignment, task.revision + 2, &order("c b a")).unwrap();
        say(&format!("taken {}", task.assignment));
    }
}

#[test]
fn a_killed_rater_loses_no_answer_and_no_draft() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rankings.sqlite");
    let mut store = Store::open(&path).unwrap();
    store.configure(&Options { overlap: 0.0, repeats: 0.0, ..Options::default() }).unwrap();
    store.add_items(&(0..2000).map(|index| item(&format!("i{index}"), 3)).collect::<Vec<_>>()).unwrap();
    drop(store);
    let cycles = if std::env::var_os("PLEACH_TORTURE").is_some() { 60 } else { 6 };
    let mut taken = 0;
    for cycle in 0..cycles {
        let last = 3 + cycle % 5;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ranking::kill::child", "--nocapture"])
            .env(ROLE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut drafted, mut seen, mut killed) = (None, 0, false);
        for line in lines.map_while(Result::ok) {
            if let Some(id) = line.strip_prefix("draft ") {
                drafted = Some(id.parse::<i64>().unwrap());
            } else if line.starts_with("taken ") {
                drafted = None;
                taken += 1;
                seen += 1;
            }
            // The first word after so many: somewhere within the next writes.
            if seen == last && !killed {
                std::thread::sleep(Duration::from_micros(700 * (cycle as u64 % 7)));
                killed = child.kill().is_ok();
            }
        }
        assert!(!child.wait().unwrap().success(), "it was killed");
        let mut store = Store::open(&path).unwrap();
        let judged = store.judged().unwrap();
        assert!(judged.len() >= taken, "{} of {taken} answers are there", judged.len());
        assert!(judged.iter().all(|one| one.answer == order("c b a")));
        // What it did between its last word and its death is there as well.
        assert!(judged.len() <= taken + 1);
        taken = judged.len();
        if let (Some(id), Some(task)) = (drafted, store.next("Ada").unwrap()) {
            assert!(task.assignment > id || task.draft == order("c b"), "the draft of {id} is there");
        }
    }
    assert!(taken >= 3 * cycles);
}
