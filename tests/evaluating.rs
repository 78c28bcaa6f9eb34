//! `pleach eval` on records: a small model that has learnt two sentences by heart is asked for them in every way.

use crate::kill::program;
use pleach::data::mask::{Agreement, Encoded};
use pleach::data::records::MultipleChoice;
use pleach::evaluate::{choices, scores, sums};
use pleach::model::Model;
use pleach_runtime::device::Device;
use pleach_runtime::device::cpu::{Cpu, CpuOptions};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn pleach(folder: &Path, words: &[&str]) -> Output {
    Command::new(program()).args(words).current_dir(folder).env_remove("PLEACH_WORKER").output().unwrap()
}

/// The JSON document that a command gives.
fn document(folder: &Path, words: &[&str]) -> Value {
    let output = pleach(folder, &[words, &["--device", "cpu", "--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(folder: &Path, words: &[&str]) -> String {
    let output = pleach(folder, words);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn cpu() -> Box<dyn Device> {
    Box::new(Cpu::open(CpuOptions { threads: Some(1), ..CpuOptions::default() }).unwrap())
}

/// A run that knows "the fox ran home." and "a dog sat still.", and little else.
fn learnt(folder: &Path) {
    let texts = "{\"text\":\"the fox ran home.\"}\n{\"text\":\"a dog sat still.\"}\n";
    std::fs::write(folder.join("texts.jsonl"), texts.repeat(40)).unwrap();
    // A share of them would hold back all repeats of one sentence: what repeats is on one side.
    std::fs::write(folder.join("apart.jsonl"), "{\"text\":\"the dog ran still.\"}\n").unwrap();
    let text = "name = \"r\"\nseed = 5\ndevice = \"cpu\"\nthreads = 1\n[model]\nshape = \"gpt2\"\nlayers = 1\nwidth = 32\n\
                heads = 2\ncontext = 48\n[[stage]]\nkind = \"pretrain\"\ndata = \"texts.jsonl\"\ntokenizer = \"bpe\"\n\
                vocab = 280\nbatch = 8\nsteps = 120\nlearning_rate = 0.01\nvalid = \"apart.jsonl\"\n";
    std::fs::write(folder.join("pleach.toml"), text).unwrap();
    let output = pleach(folder, &["run"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_model_is_asked_for_what_it_knows() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    learnt(folder);
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    let eval = |words: &[&str]| document(folder, &[&["eval", "runs/r"], words].concat());

    let answers = "{\"prompt\":\"the fox\",\"completion\":\" ran home.\"}\n\
                   {\"prompt\":\"a dog\",\"completion\":\" sat still.\"}\n\
                   {\"prompt\":\"the fox\",\"completion\":\" sat still.\"}\n";
    write("answers.jsonl", answers);
    let metrics = ["--metric", "loss", "--metric", "exact_match", "--metric", "f1", "--metric", "rouge_l"];
    let found = eval(&[&["--data", "answers.jsonl", "--max-tokens", "24", "--samples", "1"], &metrics[..]].concat());
    assert_eq!((&found["records"], &found["left_out"], &found["answers"]), (&3.into(), &0.into(), &3.into()));
    // Two answers are right; "ran home" and "sat still" share no word.
    for name in ["exact_match", "exact_match_normalised", "f1", "rouge_l"] {
        assert!((found[name]["mean"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{name}: {found}");
    }
    assert_eq!(found["exact_match"]["clusters"], 2, "two prompts");
    assert_eq!(found["samples"][0]["answer"], " ran home.");
    write("known.jsonl", answers.split_inclusive('\n').next().unwrap());
    let known = eval(&["--data", "known.jsonl"]);
    assert!(known["loss"].as_f64().unwrap() < 0.3, "{known}");
    // The loss is over the answer and its end alone: the bytes are those of " ran home.".
    let bits = known["loss"].as_f64().unwrap() * known["tokens"].as_f64().unwrap() / std::f64::consts::LN_2 / 10.0;
    assert!((known["bits_per_byte"].as_f64().unwrap() - bits).abs() < 1e-9, "{known}");
    assert_eq!(eval(&["--data", "answers.jsonl", "--limit", "1"])["records"], 1);

    let story = |ctx: &str, label: u8| {
        format!(
            "{{\"ctx\":\"{ctx}\",\"endings\":[\"ran home.\",\"sat still.\"],\"label\":{label},\"category\":\"{ctx}\"}}\n"
        )
    };
    write("choices.jsonl", &(story("the fox", 0) + &story("a dog", 1) + &story("a dog", 0)));
    let found = eval(&["--data", "choices.jsonl"]);
    for name in ["acc", "acc_norm"] {
        assert!((found[name]["mean"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9, "{name}: {found}");
    }
    assert_eq!((&found["chance"], &found["groups"]["the fox"]["mean"]), (&0.5.into(), &1.0.into()));

    write(
        "pairs.jsonl",
        "{\"prompt\":\"the fox\",\"chosen\":\" ran home.\",\"rejected\":\" sat still.\"}\n\
                          {\"prompt\":\"a dog\",\"chosen\":\" ran home.\",\"rejected\":\" sat still.\"}\n",
    );
    let found = eval(&["--data", "pairs.jsonl"]);
    assert_eq!(found["preference_accuracy"]["mean"], 0.5, "{found}");
    assert_eq!(found["preference_accuracy_mean"]["mean"], 0.5, "{found}");

    // Texts of records are documents each; a text file is one, as it always was.
    let found = eval(&["--data", "texts.jsonl", "--limit", "2"]);
    assert!(found["records"] == 2 && found["loss"].as_f64().unwrap() < 1.5, "{found}");

    let all = ["eval", "runs/r", "--device", "cpu", "--data"];
    let refuse = |words: &[&str]| refused(folder, &[&all[..], words].concat());
    assert!(refuse(&["answers.jsonl", "--metric", "multiple_choice"]).contains("cannot be measured on this file"));
    assert!(refuse(&["pairs.jsonl", "--metric", "reward_accuracy"]).contains("is no reward model"));
    assert!(refuse(&["answers.jsonl", "--metric", "win_rate"]).contains("--against"));
    write("prompts.jsonl", "{\"prompt\":\"the fox\"}\n");
    assert!(refuse(&["prompts.jsonl"]).contains("nothing to measure by"));
    write("long.jsonl", &answers.replace("a dog", &"a dog ".repeat(30)));
    assert!(refuse(&["long.jsonl"]).contains("prompts do not fit into the context"));
    assert!(refuse(&["long.jsonl", "--metric", "f1"]).contains("do not fit the model's context"));
    write("torn.jsonl", "{\"question\":\"Who?\",\"choices\":[\"fox\",\"dog\"],\"answer\":2}\n");
    assert!(refuse(&["torn.jsonl"]).contains("line 1, field answer: expected an index from 0 to 1"));

    sums_are_those_of_each_record_alone(folder);
    win_rate_against_itself(folder);
}

/// What is said of a record does not depend on what lies beside it.
fn sums_are_those_of_each_record_alone(folder: &Path) {
    let model = Model::open(&folder.join("runs/r")).unwrap();
    let question = |text: &str| MultipleChoice {
        context: None,
        question: text.into(),
        choices: vec!["ran home.".into(), "sat still on the old wall.".into()],
        answer: 0,
        continues: true,
        group: None,
    };
    let all: Vec<Encoded> = ["the fox", "a dog that came by"]
        .iter()
        .flat_map(|text| choices(&question(text), &model.tokenizer, None).unwrap())
        .collect();
    let learnt = |one: &Encoded| {
        let ids = one.ids.iter().zip(&one.trained).filter(|(_, trained)| **trained).map(|(id, _)| *id);
        model.tokenizer.decode(&ids.collect::<Vec<_>>())
    };
    assert_eq!(all.iter().map(learnt).collect::<Vec<_>>()[..2], [" ran home.", " sat still on the old wall."]);
    let together = sums(&model, cpu(), &all).unwrap();
    for (one, packed) in all.iter().zip(&together) {
        let alone = sums(&model, cpu(), std::slice::from_ref(one)).unwrap()[0];
        assert_eq!((alone.tokens, alone.bytes), (packed.tokens, packed.bytes));
        assert!((alone.log_probability - packed.log_probability).abs() < 1e-4, "{alone:?} {packed:?}");
    }
}

/// A reward model of transformers' golden numbers, with a vocabulary of characters.
fn reward_model(folder: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gpt2-scalar-tiny");
    std::fs::create_dir_all(folder).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden.join(file), folder.join(file)).unwrap();
    }
    let letters = "abcdefghilmnorstux. ".chars().collect();
    pleach::data::tokenizer::characters(&letters).unwrap().save(folder).unwrap();
}

/// The same answers are worth the same: all ties.
fn win_rate_against_itself(folder: &Path) {
    reward_model(&folder.join("rm"));
    let words = ["eval", "runs/r", "--data", "prompts.jsonl", "--metric", "win_rate", "--max-tokens", "3"];
    let found = document(folder, &[&words[..], &["--against", "runs/r", "--reward", "rm"]].concat());
    assert_eq!((&found["win_rate"]["mean"], &found["records"]), (&0.5.into(), &1.into()), "{found}");
    assert_eq!(found["reward"], found["reward_against"]);
    let said = refused(folder, &[&words[..], &["--against", "runs/r", "--reward", "runs/r"]].concat());
    assert!(said.contains("is no reward model"), "{said}");
}

#[test]
fn a_reward_model_scores_the_last_token() {
    let place = tempfile::tempdir().unwrap();
    let rm = place.path().join("rm");
    reward_model(&rm);
    let model = Model::open(&rm).unwrap();
    let one = |text: &str| {
        let ids = model.tokenizer.encode(text).unwrap();
        let (trained, agreement) = (vec![false; ids.len()], Agreement::Plain);
        Encoded { ids, trained, turns: 1, unended: 0, empty: 0, straddling: 0, bos_inside: 0, agreement }
    };
    let texts = ["the fox ran home.", "the fox sat still.", "a"];
    let all: Vec<Encoded> = texts.iter().map(|text| one(text)).collect();
    let found = scores(&model, cpu(), &all).unwrap();
    for (text, score) in texts.iter().zip(&found) {
        let alone = scores(&model, cpu(), &[one(text)]).unwrap()[0];
        assert!((alone - score).abs() < 1e-5, "{text}: {alone} {score}");
    }
    assert!((found[0] - found[1]).abs() > 1e-4, "other texts, other scores");
    assert!(scores(&model, cpu(), &[one("the fox ran home the fox")]).is_err(), "longer than the context");

    let better = usize::from(found[1] > found[0]);
    let pair = |chosen: &str, rejected: &str| {
        format!("{{\"prompt\":\"the fox\",\"chosen\":\"{chosen}\",\"rejected\":\"{rejected}\"}}\n")
    };
    let answers = [" ran home.", " sat still."];
    std::fs::write(place.path().join("pairs.jsonl"), pair(answers[better], answers[1 - better])).unwrap();
    let report = document(place.path(), &["eval", "rm", "--data", "pairs.jsonl"]);
    assert_eq!(report["reward_accuracy"]["mean"], 1.0, "{report}");
    let margin = (found[0] - found[1]).abs();
    assert!((report["margin"].as_f64().unwrap() - margin).abs() < 1e-5, "{report}");
    assert!((report["loss"].as_f64().unwrap() - (-margin).exp().ln_1p()).abs() < 1e-5, "{report}");
    let words = ["eval", "rm", "--data", "pairs.jsonl", "--device", "cpu", "--metric", "loss"];
    assert!(refused(place.path(), &words).contains("is no language model"));
}
