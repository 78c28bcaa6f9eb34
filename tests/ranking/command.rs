//! `pleach rank` as a person types it.

use crate::kill::program;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn rank(folder: &Path, words: &[&str]) -> Output {
    Command::new(program()).arg("rank").args(words).current_dir(folder).output().unwrap()
}

/// The one JSON object of a command that went well.
fn document(folder: &Path, words: &[&str]) -> Value {
    let output = rank(folder, &[words, &["--json"]].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exit code and words of a refusal.
fn refused(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = rank(folder, words);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn write_items(folder: &Path) {
    let ask = "Please tell me: is it good to take the tools of the neighbours?";
    let line = |index: usize| json!({"id": index.to_string(), "prompt": format!("{ask} {index}"), "completions": ["x", "y", "z"]});
    let text: String = (0..5).map(|index| format!("{}\n", line(index))).collect();
    std::fs::write(folder.join("items.jsonl"), text).unwrap();
}

#[test]
fn rankings_come_in_are_counted_go_out_and_are_deleted() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let (code, words) = refused(folder, &["nowhere", "--agreement"]);
    assert!(code == Some(2) && words.contains("could not find the run"), "{words}");
    let (code, words) = refused(folder, &["new.sqlite", "--agreement"]);
    assert!(code == Some(2) && words.contains("--file") && !folder.join("new.sqlite").exists(), "{words}");
    write_items(folder);
    let done = document(folder, &["--file", "items.jsonl", "--simulate", "3"]);
    assert_eq!((&done["ranked"], &done["skipped"]), (&json!(0), &json!(5)), "these prompts are none of the world's");
    let store = "items.rankings.sqlite";
    let ranks = |ranks: &str, rater: &str| {
        format!(
            "{{\"id\":\"t\",\"prompt\":\"p\",\"completions\":[\"x\",\"y\",\"z\"],\"ranks\":{ranks},\"rater\":\"{rater}\"}}\n"
        )
    };
    std::fs::write(folder.join("in.jsonl"), ranks("[1,2,3]", "Ada") + &ranks("[1,3,2]", "Bob")).unwrap();
    assert_eq!(document(folder, &[store, "--import", "in.jsonl"])["rankings"], 2);
    let figures = document(folder, &[store, "--agreement"]);
    assert_eq!(figures["counts"]["items"], 6);
    assert_eq!(figures["agreement"]["others"]["pairwise"]["count"], 3);
    let text = rank(folder, &[store, "--agreement"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("66.7 %") && text.contains("InstructGPT") && text.contains("1 of 6 items ranked"), "{text}");
    assert_eq!(document(folder, &[store, "--export", "trl", "out.jsonl"])["records"], 6);
    let (code, words) = refused(folder, &[store, "--export", "xml", "out.xml"]);
    assert!(code == Some(2) && words.contains("label-studio"), "{words}");
    let frozen = document(folder, &[store, "--freeze"]);
    let file = frozen["path"].as_str().unwrap();
    assert!(folder.join(file).is_file() && frozen["rankings"] == 2);
    let deleted = document(folder, &[store, "--delete-rater", "Ada"]);
    assert_eq!((&deleted["answers"], deleted["frozen"].as_array().unwrap().len()), (&json!(1), 1), "{deleted}");
    assert_eq!(document(folder, &[store, "--freeze"])["rankings"], 1);
}

#[test]
fn a_page_is_served_found_again_and_ended() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    write_items(folder);
    let words = ["rank", "--file", "items.jsonl", "--json", "--no-open", "--rater", "Ada"];
    let mut child = Command::new(program())
        .args(words)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let url = line["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("http://127.0.0.1:") && url.contains("/login#"), "{url}");
    let second = document(folder, &["items.rankings.sqlite", "--rater", "Bob"]);
    let other = second["url"].as_str().unwrap();
    assert_eq!(other.split('#').next(), url.split('#').next(), "the same page");
    assert_ne!(other, url, "another word");
    let (code, words) = refused(folder, &["items.rankings.sqlite", "--rater", " "]);
    assert!(code == Some(2) && words.contains("is no name"), "{words}");
    #[cfg(unix)]
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    #[cfg(not(unix))]
    child.kill().unwrap();
    let patience = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(patience.elapsed() < Duration::from_secs(20), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    if cfg!(unix) {
        assert_eq!(status.code(), Some(130));
        let last: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((&last["event"], &last["counts"]["items"]), (&json!("ended"), &json!(5)));
    }
}
