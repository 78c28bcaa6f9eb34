//! Small data sets whose examples, division and refusals are known.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::data::tokenizer::{TrainOptions, train};
use std::path::Path;

fn tokenizer() -> Tokenizer {
    let sample = "the quick brown fox jumps over the lazy dog and says user assistant system hello world\n";
    let marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).to_vec();
    train(vec![sample.repeat(20)], &TrainOptions { vocab: 400, marks, ..TrainOptions::default() }).unwrap()
}

/// A hundred questions with an answer each.
fn questions(count: usize) -> Vec<String> {
    let line = |n| format!("{{\"prompt\":\"hello {n} fox\",\"completion\":\" the dog {n}\"}}");
    (0..count).map(line).collect()
}

fn memory(lines: Vec<String>) -> Vec<Origin> {
    vec![Origin::Lines { name: "world".into(), lines }]
}

fn refused(choices: &Choices) -> Refusal {
    *load(choices, &mut |_| true).unwrap_err().refusal.unwrap()
}

#[test]
fn a_prompt_is_on_one_side_whatever_the_order() {
    let tokenizer = tokenizer();
    let mut lines = questions(40);
    // Every prompt a second time, with another answer and in capitals.
    lines.extend((0..40).map(|n| format!("{{\"prompt\":\"HELLO  {n} fox\",\"completion\":\" world\"}}")));
    let of = |lines: Vec<String>, seed: u64| {
        let choices = Choices::new(Kind::Answers, memory(lines), &tokenizer, Limits::of(64));
        load(&Choices { share: 0.2, seed, ..choices }, &mut |_| true).unwrap()
    };
    let loaded = of(lines.clone(), 0);
    assert_eq!((loaded.train.len(), loaded.validation.len()), (64, 16));
    let prompts = |all: &[Example]| all.iter().map(|one| one.prompt).collect::<HashSet<u64>>();
    let held = prompts(&loaded.validation);
    assert!(held.len() == 8 && prompts(&loaded.train).is_disjoint(&held));
    lines.reverse();
    assert_eq!(prompts(&of(lines.clone(), 0).validation), held, "the order of records is free");
    assert_ne!(prompts(&of(lines, 1).validation), held, "the seed is the key");
    assert!(loaded.notes[0].starts_with("8 of 40 prompts are held back"), "{:?}", loaded.notes);
    assert!(loaded.template.is_none(), "texts need none");
    let answers = Loaded::answers(&loaded.train);
    assert!(answers.len() == 64 && answers.iter().all(|one| one.trained_count() < one.ids.len()));
    let one = of(questions(1), 0);
    assert_eq!((one.train.len(), one.validation.len()), (1, 0));
    assert!(one.notes[0].contains("too few prompts"));
}

#[test]
fn pairs_and_rankings_become_preferences() {
    let tokenizer = tokenizer();
    let pair = r#"{"prompt":"hello","chosen":" the dog","rejected":" lazy","margin":0.5}"#.to_owned();
    let choices = Choices::new(Kind::Preferences, memory(vec![pair]), &tokenizer, Limits::of(64));
    let loaded = load(&choices, &mut |_| true).unwrap();
    let one = &loaded.train[0];
    assert_eq!((one.ranks.as_slice(), one.margin, one.answers.len()), (&[1, 2][..], Some(0.5), 2));
    let pairs = Loaded::pairs(&loaded.train);
    assert!(pairs.len() == 1 && pairs[0].chosen == one.answers[0] && pairs[0].rejected == one.answers[1]);
    assert_eq!((loaded.figures.tally.records, loaded.figures.tally.turns), (1, 2), "a pair is one record");

    let ranking = |ranks: &str| {
        let answers = r#"[{"role":"user","content":"hello"}],"completions":["fox","dog","lazy"]"#;
        format!("{{\"prompt\":{answers},\"ranks\":{ranks}}}")
    };
    let lines = vec![ranking("[2,1,2]"), ranking("[1,1,1]")];
    let loaded = load(&Choices { train: memory(lines), ..choices.clone() }, &mut |_| true).unwrap();
    assert_eq!(loaded.train.len(), 1);
    assert_eq!(loaded.train[0].pairs(), [(1, 0), (1, 2)]);
    assert!(loaded.notes.iter().any(|note| note.starts_with("1 rankings are all ties")), "{:?}", loaded.notes);
    assert_eq!(loaded.template.unwrap().origin(), "ChatML (built in)");
    // One answer that does not fit takes the whole record with it.
    let long = format!(r#"{{"prompt":"hello","chosen":" fox","rejected":"{}"}}"#, " dog".repeat(99));
    let loaded = survey(&Choices { train: memory(vec![long]), ..choices.clone() }, &mut |_| true).unwrap();
    assert_eq!((loaded.train.len(), loaded.figures.tally.answer_too_long), (0, 1));
    assert!(refused(&Choices { train: memory(questions(3)), ..choices }).hint.contains("rankings"));
}

#[test]
fn what_cannot_be_learnt_is_refused_with_its_place() {
    let tokenizer = tokenizer();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        vec![Origin::Path(name.to_owned())]
    };
    let base = Choices::new(Kind::Answers, Vec::new(), &tokenizer, Limits::of(16));
    let base = Choices { root: folder.path().to_path_buf(), ..base };
    let words = |train: Vec<Origin>| refused(&Choices { train, ..base.clone() }).to_string();
    let good = r#"{"messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"fox"}]}"#;
    let bad = good.replace("user", "human");
    let said = words(file("a.jsonl", &format!("{good}\n{bad}\n")));
    assert!(said.contains("a.jsonl") && said.contains("line 2, field messages[0].role: expected one of"), "{said}");
    let said = words(file("b.jsonl", &format!("{good}\n{{\"prompt\":\"a\",\"completion\":\"b\"}}\n")));
    assert!(said.contains("line 1 is messages, but line 2 is prompt/completion"), "{said}");
    let said = words(file("c.jsonl", "{\"text\":\"hello world\"}\n"));
    assert!(said.contains("c.jsonl, line 1: texts have no prompt"), "{said}");
    let marked = good.replace("\"fox\"", "\"fox\",\"tool_calls\":[{\"name\":\"<|im_end|>\",\"arguments\":{}}]");
    let said = words(file("d.jsonl", &format!("{good}\n{marked}\n")));
    assert!(said.contains("d.jsonl, line 2: message 2, tool_calls, holds <|im_end|>"), "{said}");
    let long = format!("{{\"prompt\":\"{}\",\"completion\":\"b\"}}", "fox ".repeat(30));
    let said = words(file("e.jsonl", &long));
    assert!(said.starts_with("prompts do not fit into the context"), "{said}");
    let choices = Choices { train: file("f.jsonl", good), ..base.clone() };
    let stopped = load(&choices, &mut |_| false).unwrap_err();
    assert_eq!(stopped.kind, pleach_runtime::fault::FaultKind::Stopped);
    let all = Limits { all: true, unended: true, ..Limits::of(16) };
    let asked = Choices { train: file("g.jsonl", "{\"text\":\"hello world\"}\n"), limits: all, ..base.clone() };
    assert_eq!(load(&asked, &mut |_| true).unwrap().figures.trained_share(), 1.0, "a mask of 100 % that was asked for");
}

#[test]
fn a_validation_of_its_own_is_measured_and_its_overlap_is_told() {
    let tokenizer = tokenizer();
    let base = Choices::new(Kind::Answers, memory(questions(10)), &tokenizer, Limits::of(64));
    let choices = Choices { validation: memory(questions(12)[8..].to_vec()), ..base };
    let loaded = load(&choices, &mut |_| true).unwrap();
    assert_eq!((loaded.train.len(), loaded.validation.len(), loaded.held.kept), (10, 4, 4));
    assert_eq!(loaded.figures.overlap.as_ref().unwrap().same, 2);
    assert!(loaded.notes[0].starts_with("of 4 validation records 2 have a prompt"), "{:?}", loaded.notes);
    assert_eq!(loaded.figures.samples.len(), 3);
    let empty = Choices { validation: memory(vec![questions(1)[0].replace(" fox", &" fox".repeat(90))]), ..choices };
    assert!(refused(&empty).what.contains("nothing to validate with"));
}

#[test]
fn the_plain_template_needs_no_marks() {
    let marks = vec!["<|endoftext|>".to_owned()];
    let sample = "hello world, human and assistant say the fox\n".repeat(20);
    let tokenizer = train(vec![sample], &TrainOptions { vocab: 300, marks, ..TrainOptions::default() }).unwrap();
    let talk = r#"{"messages":[{"role":"system","content":"say"},{"role":"user","content":"hello"},
        {"role":"assistant","content":"fox"},{"role":"user","content":"and"},{"role":"assistant","content":"world"}]}"#;
    let choices = Choices::new(Kind::Answers, memory(vec![talk.to_owned()]), &tokenizer, Limits::of(128));
    let refusal = refused(&choices);
    assert!(refusal.to_string().contains("ChatML does not suit") && refusal.hint.contains("plain"), "{refusal}");
    let loaded = load(&Choices { template: template::Source::Plain, ..choices }, &mut |_| true).unwrap();
    let text: Vec<(String, bool)> =
        loaded.figures.samples[0].pieces.iter().map(|piece| (piece.text.clone(), piece.trained)).collect();
    let expected = [
        ("<|endoftext|>say\n\nHuman: hello\n\nAssistant:", false),
        (" fox<|endoftext|>", true),
        ("\n\nHuman: and\n\nAssistant:", false),
        (" world<|endoftext|>", true),
    ];
    assert_eq!(text, expected.map(|(text, trained)| (text.to_owned(), trained)));
    assert_eq!(loaded.figures.tally.exact, 1, "both turns stand in one record");
    assert!(Template::load(&template::Source::Plain, Path::new("."), &tokenizer).unwrap().origin().contains("plain"));
}
