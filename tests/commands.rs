//! The commands as a person types them: what they write, what they refuse, and with which exit code.

use crate::kill::{program, write_pipeline};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

fn pleach(folder: &Path, words: &[&str]) -> Output {
    fed(folder, words, b"")
}

/// With something on stdin.
fn fed(folder: &Path, words: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program());
    command.args(words).current_dir(folder).env_remove("PLEACH_WORKER");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// The exit code and what was said on stderr.
fn said(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// One document a line.
fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
    text.lines().map(line).collect()
}

fn sentences(count: usize) -> String {
    (0..count).map(|i| format!("The {i}th gardener walked along the old wall and counted {} pears. ", i * 7)).collect()
}

/// A pipeline that does not end by itself.
fn write_endless(folder: &Path) {
    write_pipeline(folder);
    let file = folder.join("pleach.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("steps = 12", "steps = 1000000");
    std::fs::write(&file, text).unwrap();
}

#[test]
fn a_new_pipeline_reads_the_data_that_was_named() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("texts")).unwrap();
    std::fs::write(place.path().join("texts/a.txt"), sentences(60)).unwrap();
    let small = ["--depth", "1", "--context", "16", "--steps", "3", "--json"];
    let new = |folder, data| pleach(place.path(), &[&["new", folder, "--data", data], &small[..]].concat());
    for folder in ["deep/my garden", "plain"] {
        let output = new(folder, "texts/*.txt");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output).1);
        let wrote = lines(&output.stdout);
        let file = wrote[0]["wrote"].as_str().unwrap();
        assert_eq!((wrote.len(), file), (1, format!("{folder}/pleach.toml").as_str()));
        let plan = pleach(place.path(), &["plan", file, "--device", "cpu", "--json"]);
        assert_eq!(plan.status.code(), Some(0), "{}", said(&plan).1);
    }
    assert!(place.path().join("deep/my garden/runs/my-garden").is_dir(), "the run's name is plain");
    for (data, word) in [("", "--data is empty"), ("texts/*.md", "no file fits"), ("text", "folder you are in")] {
        let (code, words) = said(&new("refused", data));
        assert!(code == 2 && words.contains(word), "{data:?}: {code} {words}");
        assert!(!place.path().join("refused").exists(), "{data:?}: nothing was made");
    }
}

/// A demo on another text is another run, and what is refused has a way out that a demo has.
#[test]
fn each_text_has_a_demo_of_its_own() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("a.txt"), sentences(1500)).unwrap();
    std::fs::write(place.path().join("b.txt"), "Too short.").unwrap();
    let demo = |text: &str| said(&pleach(place.path(), &["demo", "--device", "cpu", "--json", "--text", text]));
    let begun = place.path().join("runs/demo-a");
    std::fs::create_dir_all(&begun).unwrap();
    std::fs::write(begun.join("pleach.toml"), "seed = 9\n[[stage]]\ndata = \"a.txt\"\n").unwrap();
    let (code, words) = demo("a.txt");
    assert!(code == 2 && words.contains("--runs") && words.contains("runs/demo-a"), "{code} {words}");
    let (code, words) = demo("b.txt");
    assert!(code == 2 && words.contains("pleach new DIR --data b.txt"), "{code} {words}");
    let (code, words) = demo("c.txt");
    assert!(code == 2 && words.contains("folder you are in"), "{code} {words}");
}

/// The whole demo at a hundredth of its size: five stages in one supervised run, and the table.
#[test]
fn the_demo_climbs_all_stages_and_gives_its_table() {
    let place = tempfile::tempdir().unwrap();
    let demo = ["demo", "--device", "cpu", "--minutes", "0.15", "--json"];
    let output = pleach(place.path(), &demo);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output).1);
    let told = lines(&output.stdout);
    let begun: Vec<&str> = told
        .iter()
        .filter(|line| line["event"] == "stage_started")
        .filter_map(|line| line["folder"].as_str())
        .collect();
    assert_eq!(begun, ["01-pretrain", "02-continued", "03-finetune", "04-instruct", "06-dpo"]);
    let table = told.last().unwrap();
    let columns = table["stages"].as_array().unwrap();
    assert_eq!(columns.len(), 5);
    for column in columns {
        let figures = &column["figures"];
        assert!(figures["bits_per_byte"].as_f64().unwrap() > 0.0, "{column}");
        assert!(figures["gold"].as_f64().is_some_and(|gold| (0.0..=1.0).contains(&gold)), "{column}");
        assert_eq!(column["showcase"].as_array().unwrap().len(), 3);
    }
    assert!(columns[1]["figures"]["notes_by_examples"].is_number() && columns[4]["figures"]["kl"].is_number());
    assert_eq!(table["demands"].as_array().unwrap().len(), 7);
    let run = place.path().join("runs/demo");
    let report = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("After each stage") && report.contains("06-dpo"));
    let typed = std::fs::read_to_string(run.join("pleach.toml")).unwrap();
    assert!(typed.contains("world:notes:") && typed.contains("kind = \"dpo\""), "a person can read what was done");
    // The same command trains nothing, and shows the same table.
    let again = pleach(place.path(), &demo);
    assert_eq!(lines(&again.stdout).last().unwrap(), table, "{}", said(&again).1);
    // The last stage's model talks as it has learned to.
    let chat = ["chat", "runs/demo", "--max-tokens", "4", "--device", "cpu", "--json"];
    let talk = fed(place.path(), &chat, b"In what part of the year do tulips open?\nWho are you?\n");
    assert_eq!((lines(&talk.stdout).len(), talk.status.code()), (2, Some(0)), "{}", said(&talk).1);
    let text = lines(&talk.stdout)[0]["text"].as_str().unwrap().to_string();
    assert!(!text.contains("tulips open?"), "an answer does not begin with the question: {text}");
}

#[test]
fn every_command_gives_json_that_a_parser_reads() {
    let place = tempfile::tempdir().unwrap();
    write_pipeline(place.path());
    std::fs::write(place.path().join("more.txt"), "In spring the gardener waters the roses.").unwrap();
    let json = |words: &[&str]| {
        let output = pleach(place.path(), &[words, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output).1);
        output.stdout
    };
    let document = |words: &[&str]| -> Value { serde_json::from_slice(&json(words)).unwrap() };
    for words in [&["plan"][..], &["run", "--dry-run"]] {
        assert_eq!(document(words)["stages"][0]["steps"], 12);
    }
    let events = lines(&json(&["run"]));
    assert!(events.iter().any(|event| event["event"] == "step"));
    assert_eq!(events.last().unwrap()["how"], "finished");
    assert_eq!(lines(&json(&["run"])).len(), 1, "a finished run");
    assert_eq!(document(&["status", "runs/r"])["state"], "finished");
    assert!(document(&["doctor", "runs/r"]).is_array());
    assert!(document(&["doctor", "--device", "cpu"])["healthy"] == true);
    assert!(document(&["eval", "runs/r", "--data", "more.txt", "--device", "cpu", "--logprobs"])["loss"].is_number());
    let two = ["generate", "runs/r", "--prompt", "In", "--prompt", "The", "--max-tokens", "4", "--device", "cpu"];
    assert_eq!(lines(&json(&two)).len(), 2);
    assert_eq!(document(&["new", "one"])["wrote"], "one/pleach.toml");
    let chat = ["chat", "runs/r", "--max-tokens", "4", "--device", "cpu", "--json"];
    assert_eq!(lines(&fed(place.path(), &chat, b"In\nThe\n").stdout).len(), 2);
}

#[test]
fn a_run_that_is_steered_answers_in_json_too() {
    let place = tempfile::tempdir().unwrap();
    write_endless(place.path());
    let mut command = Command::new(program());
    command.args(["run", "--json"]).current_dir(place.path()).env_remove("PLEACH_WORKER");
    let run = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let reader = std::thread::spawn(move || run.wait_with_output().unwrap());
    let journal = place.path().join("runs/r/journal.jsonl");
    let wait = |word: &str| {
        let says = || std::fs::read_to_string(&journal).unwrap_or_default().contains(word);
        let heard = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            says()
        });
        assert!(heard, "the journal does not say {word}");
    };
    wait("checkpoint_saved");
    for (word, then) in [("pause", "\"paused\""), ("resume", "\"resumed\""), ("stop", "\"ended\"")] {
        let output = pleach(place.path(), &[word, "runs/r", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output).1);
        let told = lines(&output.stdout);
        assert!(told.len() == 1 && told[0]["told"] == word && told[0]["pid"].is_u64(), "{told:?}");
        wait(then);
    }
    let output = reader.join().unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(lines(&output.stdout).len() > 3);
    let (code, words) = said(&pleach(place.path(), &["pause", "runs/r", "--json"]));
    assert!(code == 1 && words.contains("no process"), "{code} {words}");
}

/// A line that cannot be continued is named, the others are answered, and the exit code remembers it.
#[test]
fn chat_drops_no_line_in_silence() {
    let place = tempfile::tempdir().unwrap();
    write_pipeline(place.path());
    assert!(pleach(place.path(), &["run"]).status.success());
    let chat = ["chat", "runs/r", "--max-tokens", "2", "--device", "cpu", "--json"];
    let good = fed(place.path(), &chat, b"In\n\nThe");
    assert_eq!((lines(&good.stdout).len(), good.status.code()), (2, Some(0)), "{}", said(&good).1);
    assert!(said(&good).1.contains("line 2 is empty"), "{}", said(&good).1);
    let long = "a ".repeat(40);
    for (bad, word) in
        [(&b"a\xE4b"[..], "not UTF-8 from byte 1"), (long.as_bytes(), "context"), (&[b'x'; 1 << 21][..], "KiB")]
    {
        let output = fed(place.path(), &chat, &[b"In\n", bad, b"\nThe\n"].concat());
        let (code, words) = said(&output);
        assert!(code == 2 && words.contains("line 2") && words.contains(word), "{code} {words}");
        assert_eq!(lines(&output.stdout).len(), 2, "{words}");
    }
}

#[test]
fn what_cannot_be_written_is_said_and_is_no_wrong_usage() {
    let place = tempfile::tempdir().unwrap();
    write_pipeline(place.path());
    let (code, words) = said(&pleach(place.path(), &["doctor", "--device", "cpu", "--report", "nowhere/d.json"]));
    assert!(code == 1 && words.contains("nowhere/d.json"), "{code} {words}");
    let report = place.path().join("runs/r/report.html");
    std::fs::create_dir_all(report.join("full")).unwrap();
    let output = pleach(place.path(), &["run", "--json"]);
    let (code, words) = said(&output);
    assert!(code == 0 && words.contains("the report could not be written"), "{code} {words}");
    lines(&output.stdout);
}

/// The report is there however the run ends.
#[test]
fn a_killed_run_has_a_report() {
    let place = tempfile::tempdir().unwrap();
    write_endless(place.path());
    let mut command = Command::new(program());
    command.args(["run", "--json"]).current_dir(place.path()).env("PLEACH_WORKER", "1");
    let mut run = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let report = place.path().join("runs/r/report.html");
    let there = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        report.is_file()
    });
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(there, "a run that trains keeps a report");
    assert!(std::fs::read_to_string(&report).unwrap().ends_with("</body></html>\n"), "it is whole");
}
