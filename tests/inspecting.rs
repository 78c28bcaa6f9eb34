//! `pleach inspect` as a person types it: figures, masks and refusals of small generated files.

use crate::kill::program;
use pleach::data::tokenizer::{TrainOptions, train};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn inspect(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg("inspect").args(words).current_dir(folder).env_remove("PLEACH_WORKER").output().unwrap()
}

fn code_and_words(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A folder with a tokenizer that knows ChatML's marks.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let sample = "translate this word please: the quick brown fox jumps over the lazy dog, user and assistant\n";
    let marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec();
    let options = TrainOptions { vocab: 400, marks, ..TrainOptions::default() };
    train(vec![sample.repeat(20)], &options).unwrap().save(place.path()).unwrap();
    place
}

fn chat(asked: &str, answer: &str) -> String {
    let message = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
    serde_json::json!({"messages": [message("user", asked), message("assistant", answer)]}).to_string() + "\n"
}

#[test]
fn a_data_set_is_told_with_its_masks() {
    let place = place();
    let mut lines: String = (0..20).map(|n| chat(&format!("Please translate word {n}"), &format!("fox {n}"))).collect();
    lines += &chat("Please translate word 3", "fox 3");
    lines += &chat("How many dogs are there? Write to jo.doe@example.org", "");
    std::fs::write(place.path().join("train.jsonl"), &lines).unwrap();
    std::fs::write(place.path().join("valid.jsonl"), chat("please translate  word 7", "dog") + &chat("Who?", "I"))
        .unwrap();
    let words = ["train.jsonl", "--tokenizer", ".", "--context", "128", "--against", "valid.jsonl", "--samples", "1"];
    let output = inspect(place.path(), &words);
    assert_eq!(output.status.code(), Some(0), "{}", code_and_words(&output).1);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "train.jsonl: messages; 22 records; its records have messages",
        "22; 1 with an empty answer; 1 repeat an earlier one",
        "both ways agree on 21, on 1 words of the template",
        "22 of 22 answers end with a mark that is learnt",
        "22 of 22 with exactly one BOS; 0 have it inside too",
        "2 by their first words",
        "translate: \"Please translate word 0\"",
        "1 e-mail addresses",
        "of 2 records to evaluate with, 1 have a prompt that is trained on",
        "ChatML (built in)",
        "{+learnt: the loss sees it+}",
        "<|im_start|>assistant\n{+fox 0<|im_end|>+}\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colour where stdout is no terminal");
    let output = inspect(place.path(), &[&words[..], &["--json"]].concat());
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["records"], 22);
    assert_eq!(found["files"][0]["shape"], "messages");
    assert_eq!(found["tally"]["exact"], 21);
    assert_eq!(found["diversity"]["most"][0]["words"], "translate");
    assert_eq!(found["overlap"]["same"], 1);
    assert_eq!(found["refused"], Value::Null);
    let share = found["trained_share"].as_f64().unwrap();
    assert!(share > 0.05 && share < 0.5, "{share}");
    let bare: Value = serde_json::from_slice(&inspect(place.path(), &["train.jsonl", "--json"]).stdout).unwrap();
    assert!(bare["tokens"]["total"] == 0 && bare["records"] == 22, "without a tokenizer it counts characters");
}

#[test]
fn what_may_not_be_trained_on_is_shown_and_refused() {
    let place = place();
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    let refused = |words: &[&str]| {
        let words = [words, &["--tokenizer", ".", "--context", "32", "--json"]].concat();
        let output = inspect(place.path(), &words);
        (code_and_words(&output), output.stdout)
    };
    write("empty.jsonl", "{\"prompt\":\"\",\"completion\":\"the fox\"}\n");
    let no_bos = place.path().join("plain");
    std::fs::create_dir(&no_bos).unwrap();
    let options = TrainOptions { vocab: 300, marks: Vec::new(), ..TrainOptions::default() };
    train(vec!["the fox ".repeat(50)], &options).unwrap().save(&no_bos).unwrap();
    let output = inspect(place.path(), &["empty.jsonl", "--tokenizer", "plain"]);
    let (code, words) = code_and_words(&output);
    assert!(code == 2 && words.contains("everything would be learnt"), "{code} {words}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("100.0 % of the tokens"), "the figures come first");
    let output =
        inspect(place.path(), &["empty.jsonl", "--tokenizer", "plain", "--allow", "all", "--allow", "unended"]);
    assert_eq!(output.status.code(), Some(0), "{}", code_and_words(&output).1);

    let silent = chat("Please translate", "fox").replace("\"assistant\",", "\"assistant\",\"train\":false,");
    write("none.jsonl", &silent);
    let ((code, words), json) = refused(&["none.jsonl"]);
    assert!(code == 2 && words.contains("nothing would be learnt"), "{code} {words}");
    let json: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["refused"]["what"], "nothing would be learnt");

    write("long.jsonl", &(chat(&"translate this ".repeat(30), "fox") + &chat("Who?", "fox")));
    let ((code, words), _) = refused(&["long.jsonl"]);
    assert!(code == 2 && words.contains("1 of 2 records (50.0 %) have a prompt of 32 tokens or more"), "{words}");
    let ((code, words), _) = refused(&["long.jsonl", "--long-prompts", "0.5"]);
    assert!(code == 0, "{code} {words}");

    write("mixed.jsonl", &(chat("Who?", "fox") + "{\"prompt\":\"a\",\"completion\":\"b\"}\n"));
    let ((code, words), _) = refused(&["mixed.jsonl"]);
    assert!(code == 2 && words.contains("line 1 is messages, but line 2 is prompt/completion"), "{words}");
    write("torn.jsonl", &(chat("Who?", "fox") + "{\"messages\": [\n"));
    let ((code, words), _) = refused(&["torn.jsonl"]);
    assert!(code == 2 && words.contains("torn.jsonl") && words.contains("line 2, column"), "{words}");
    write("field.jsonl", &(chat("Who?", "fox") + &chat("Who?", "fox").replace("user", "uzer")));
    let ((code, words), _) = refused(&["field.jsonl"]);
    assert!(code == 2 && words.contains("line 2, field messages[0].role: expected one of system"), "{words}");
}

#[test]
fn preferences_and_questions_are_shown_too() {
    let place = place();
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    let json = |name: &str| -> Value {
        let output = inspect(place.path(), &[name, "--tokenizer", ".", "--context", "64", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", code_and_words(&output).1);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    write("pairs.jsonl", "{\"prompt\":\"the\",\"chosen\":\" fox\",\"rejected\":\" dog\"}\n");
    let pairs = json("pairs.jsonl");
    assert_eq!(pairs["samples"].as_array().unwrap().len(), 2, "both answers");
    assert_eq!(pairs["tally"]["records"], 1);
    write("text.jsonl", "{\"text\":\"the quick brown fox\"}\n{\"text\":\"the lazy dog\"}\n");
    let text = json("text.jsonl");
    assert!(text["tokens"]["total"].as_u64().unwrap() > 4 && text["tally"]["records"] == 0);
    write("choice.jsonl", "{\"question\":\"Who?\",\"choices\":[\"fox\",\"dog\"],\"answer\":1}\n");
    assert_eq!(json("choice.jsonl")["shape"], "multiple_choice");
}
