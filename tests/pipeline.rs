//! The pipeline file: any value of any key is answered, and a mistake is told with its place and what was meant.

use pleach::launch::Launch;
use pleach::pipeline::keys::{Key, MODEL, TOP};
use pleach::pipeline::{Kind, Pipeline, Takes};
use pleach_runtime::fault::Refusal;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A small pipeline as (table, key, value).
const BASE: [(&str, &str, &str); 13] = [
    ("", "device", "\"cpu\""),
    ("", "threads", "1"),
    ("[model]", "shape", "\"qwen3\""),
    ("[model]", "layers", "1"),
    ("[model]", "width", "16"),
    ("[model]", "heads", "2"),
    ("[model]", "kv_heads", "1"),
    ("[model]", "context", "16"),
    ("[[stage]]", "data", "\"world:30\""),
    ("[[stage]]", "tokenizer", "\"chars\""),
    ("[[stage]]", "batch", "4"),
    ("[[stage]]", "steps", "3"),
    ("[[stage]]", "sample_tokens", "4"),
];

/// The small pipeline with one key set, and what else that key needs.
fn with(table: &str, key: &str, value: &str) -> String {
    let needs: &[(&str, &str, &str)] = match key {
        "depth" => &[("[model]", "shape", "\"depth\"")],
        "biases" => &[("[model]", "shape", "\"gpt2\"")],
        "vocab" | "split" => &[("[[stage]]", "tokenizer", "\"bpe\"")],
        "decay_share" => &[("[[stage]]", "schedule", "\"wsd\"")],
        "micro_batch" => &[("[[stage]]", "batch", "1048576"), ("[[stage]]", "prefetch", "0")],
        _ => &[],
    };
    let excluded = |other: &str| match key {
        "depth" => ["layers", "width", "heads", "kv_heads"].contains(&other),
        "biases" => other == "kv_heads",
        "epochs" | "minutes" => other == "steps",
        _ => false,
    };
    let mut out = String::new();
    for section in ["", "[model]", "[[stage]]"] {
        out.push_str(&format!("{section}\n"));
        let base = BASE.iter().filter(|(_, other, _)| {
            *other != key && !excluded(other) && !needs.iter().any(|(_, needed, _)| needed == other)
        });
        for (_, other, value) in base.chain(needs).filter(|(at, ..)| *at == section) {
            out.push_str(&format!("{other} = {value}\n"));
        }
        if section == table {
            out.push_str(&format!("{key} = {value}\n"));
        }
    }
    out
}

/// Values that no key should die of, and the ends of its range.
fn values(key: &Key) -> Vec<String> {
    let odd =
        ["0", "-1", "1", "9223372036854775807", "-9223372036854775808", "4294967296", "nan", "-nan", "inf", "-inf"];
    let more = ["1e300", "1e-300", "-0.5", "0.5", "\"\"", "\"x\"", "[]", "[1]", "[\"x\"]", "true", "{}", "1979-05-27"];
    let mut out: Vec<String> = odd.iter().chain(&more).map(|value| value.to_string()).collect();
    match key.takes {
        Takes::Whole(low, high) => {
            let ends = [low.saturating_sub(1), low, low + 1, high - 1, high, high.saturating_add(1)];
            out.extend(ends.iter().filter(|end| **end <= i64::MAX as u64).map(u64::to_string));
        }
        Takes::Number(low, high) => out.extend([low, high, high * 1.01].map(|end| format!("{end:?}"))),
        Takes::Word(words) => out.extend(words.iter().map(|word| format!("\"{word}\""))),
        _ => {}
    }
    out
}

/// A stage of each kind after pretraining, with one key set, above which a model is pretrained.
fn after(kind: Kind, key: &str, value: &str) -> String {
    let data = match kind {
        Kind::Pretrain => unreachable!("it is the one above"),
        Kind::Continued => "world:manuals:30",
        Kind::Finetune => "world:notes:30",
        Kind::Instruct => "world:instructions:30",
        Kind::Dpo | Kind::Reward => "world:preferences:30",
        Kind::Rank | Kind::Ppo | Kind::Grpo => "world:prompts:30",
    };
    let base =
        [("data", format!("{data:?}")), ("batch", "4".into()), ("steps", "3".into()), ("sample_tokens", "4".into())];
    let known: Vec<&str> = kind.keys().map(|key| key.name).collect();
    let excluded = |other: &str| {
        other == key || !known.contains(&other) || (["epochs", "minutes"].contains(&key) && other == "steps")
    };
    let needs = match key {
        "decay_share" => "schedule = \"wsd\"\n",
        "micro_batch" => "prefetch = 0\n",
        _ => "",
    };
    let base = base.iter().filter(|(other, _)| !excluded(other)).map(|(other, value)| format!("{other} = {value}\n"));
    format!(
        "device = \"cpu\"\nthreads = 1\n[model]\nshape = \"qwen3\"\nlayers = 1\nwidth = 16\nheads = 2\nkv_heads = 1\n\
         context = 512\n[[stage]]\nkind = \"pretrain\"\ndata = \"world:30\"\nvocab = 400\nbatch = 2\nsteps = 1\n[[stage]]\n\
         kind = \"{}\"\n{needs}{}{key} = {value}\n",
        kind.name(),
        base.collect::<String>()
    )
}

/// An answer to a pipeline's text, and no panic: was it planned on a device?
fn answered(text: &str, place: &std::path::Path, costly: bool) -> Result<bool, Refusal> {
    let work = || -> Result<bool, Refusal> {
        let pipeline = Pipeline::parse(text)?;
        pipeline.model.config(100)?;
        // A thousand threads are allowed, and layers; a test starts no threads, and plans no minutes.
        if costly || pipeline.threads != 1 || pipeline.model.layers > Some(64) {
            return Ok(false);
        }
        let launch = Launch::new(&pipeline, place, place, &mut |_| true);
        let launch = launch.map_err(|fault| *fault.refusal.expect("a refusal"))?;
        assert!(launch.frozen.stages.iter().all(|stage| stage.steps > 0 && stage.micro_rows > 0));
        Ok(true)
    };
    let answer = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| panic!("answered by a panic:\n{text}"));
    if let Err(refusal) = &answer {
        assert!(!refusal.detail.is_empty() && !refusal.hint.is_empty(), "{refusal}");
    }
    answer
}

/// Every key, every odd value: read, then made a model of, then planned on a device. An answer each time, no panic.
#[test]
fn any_value_of_any_key_is_answered() {
    let place = tempfile::tempdir().unwrap();
    let (mut refused, mut planned) = (0, 0);
    let pretrain: Vec<&Key> = Kind::Pretrain.keys().collect();
    for (table, keys) in [("", TOP.iter().collect()), ("[model]", MODEL.iter().collect()), ("[[stage]]", pretrain)] {
        for key in keys {
            for value in values(key) {
                match answered(&with(table, key.name, &value), place.path(), key.name == "device") {
                    Ok(true) => planned += 1,
                    Ok(false) => {}
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 500 && planned > 100, "{refused} refused, {planned} planned");
}

/// The same of the keys that the later stages have beside the first one's.
#[test]
fn any_value_of_any_key_of_a_later_stage_is_answered() {
    let place = tempfile::tempdir().unwrap();
    let (mut refused, mut planned) = (0, 0);
    let known: Vec<&str> = Kind::Pretrain.keys().map(|key| key.name).collect();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Pretrain) {
        let own = |key: &&Key| !known.contains(&key.name) || ["data", "valid", "batch"].contains(&key.name);
        for key in kind.keys().filter(own) {
            for value in values(key) {
                match answered(&after(kind, key.name, &value), &place.path().join(kind.name()), false) {
                    Ok(true) => planned += 1,
                    Ok(false) => {}
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 300 && planned > 30, "{refused} refused, {planned} planned");
}

fn refusal(text: &str) -> Refusal {
    let refusal = Pipeline::parse(text).expect_err(text);
    assert_eq!(refusal.code, 2, "{refusal}");
    refusal
}

#[test]
fn a_mistake_is_told_with_its_place_and_what_was_meant() {
    let stage = "[[stage]]\ndata = \"world:30\"\n";
    for (text, place, hint) in [
        (format!("[modle]\nwidth = 3\n{stage}"), "line 1: unknown table [modle]", "did you mean [model]?"),
        (format!("[[stages]]\ndata = \"a.txt\"\n{stage}"), "line 1: unknown table [stages]", "[[stage]]"),
        ("[[stages]]\ndata = \"a.txt\"\n".into(), "line 1: unknown table [stages]", "did you mean [[stage]]?"),
        ("[stage]\ndata = \"a.txt\"\n".into(), "line 1: [stage]", "[[stage]], in two brackets"),
        (format!("[[model]]\nwidth = 3\n{stage}"), "line 1: \"model\"", "[model], once"),
        (format!("[optimizer]\nlr = 3\n{stage}"), "unknown table [optimizer]", "[model] and [[stage]]"),
        (format!("steps = 10\n{stage}"), "line 1: unknown key \"steps\"", "belongs under [[stage]]"),
        (format!("width = 10\n{stage}"), "line 1: unknown key \"width\"", "belongs under [model]"),
        (format!("{stage}device = \"cpu\"\n"), "line 3: unknown key \"device\" in [[stage]]", "the top of the file"),
        (format!("[model]\nthreads = 1\n{stage}"), "line 2: unknown key \"threads\" in [model]", "the top of the file"),
        (format!("[model]\nlr = 1\n{stage}lr = 1\n"), "line 2: unknown key \"lr\" in [model]", "under [[stage]]"),
        (format!("{stage}valid = true\n"), "line 3: valid = true", "a share above 0 and up to 0.5, or a file"),
        (format!("{stage}batch = \"8\"\n"), "line 3: batch = \"8\"", "a whole number from 1 to 1048576"),
        (format!("{stage}lr = \"8\"\n"), "line 3: lr = \"8\"", "learning_rate takes a number from 0 to 10"),
        (format!("{stage}prompts = \"a\"\n"), "line 3: prompts", "a list of texts"),
        (format!("[model]\ncontext = 1\n{stage}"), "line 2: context = 1", "a whole number from 2 to"),
        (format!("[model]\ndepth = 0\n{stage}"), "line 2: depth = 0", "a whole number from 1 to 1024"),
        (format!("[model]\nlayers = 1025\n{stage}"), "line 2: layers = 1025", "to 1024"),
        (format!("threads = 100000\n{stage}"), "line 1: threads = 100000", "to 1024"),
        (format!("{stage}vocab = 1048577\n"), "line 3: vocab = 1048577", "to 1048576"),
        ("[[stage]]\ndata = \"\"\n".into(), "line 2: data = \"\"", "none of them empty"),
        ("[[stage]]\ndata = [\"a.txt\", \"\"]\n".into(), "line 2: data = ", "none of them empty"),
    ] {
        let refusal = refusal(&text);
        assert!(refusal.detail.contains(place) && refusal.hint.contains(hint), "{text}\n{refusal}");
    }
}

#[test]
fn a_key_that_would_change_nothing_is_refused() {
    for (data, lines, says) in [
        ("world:30", "batch = 4\nmicro_batch = 5\n", "micro_batch = 5 is more than batch = 4"),
        ("world:30", "tokenizer = \"chars\"\nvocab = 500\n", "tokenizer = \"chars\" has no vocab"),
        ("world:30", "tokenizer = \"chars\"\nsplit = \"gpt2\"\n", "tokenizer = \"chars\" has no split"),
        ("world:30", "tokenizer = \"t.json\"\nvocab = 500\n", "tokenizer = \"t.json\" has no vocab"),
        ("world:30", "decay_share = 0.3\n", "schedule = \"cosine\" has no decay_share"),
        ("world:30", "schedule = \"constant\"\nfloor = 0.3\n", "schedule = \"constant\" has no floor"),
        ("world:30", "text_field = \"body\"\n", "there is no text_field"),
        ("a.txt.gz", "text_field = \"body\"\n", "there is no text_field"),
        ("a.txt", "batch = 1048576\nprefetch = 64\n", "batch = 1048576, context = 256, prefetch = 64"),
    ] {
        let refusal = refusal(&format!("[[stage]]\ndata = \"{data}\"\n{lines}"));
        assert!(refusal.detail.contains(says), "{refusal}");
    }
    for (data, lines) in [
        ("world:30", "schedule = \"wsd\"\ndecay_share = 0.3\nfloor = 0.0\n"),
        ("world:30", "tokenizer = \"chars\"\nboundaries = false\n"),
        ("texts", "text_field = \"body\"\n"),
        ("texts/*", "text_field = \"body\"\n"),
        ("a.jsonl.zst", "text_field = \"body\"\n"),
        ("a.txt", "valid = \"b.json\"\ntext_field = \"body\"\n"),
    ] {
        Pipeline::parse(&format!("[[stage]]\ndata = \"{data}\"\n{lines}")).expect(lines);
    }
}

/// Plain texts among records are learned whole where that was asked for, and refused in words where it was not.
#[test]
fn texts_among_records_are_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let launched = |folder: &str, kind: &str, texts: &str| {
        let text = format!(
            "device = \"cpu\"\nthreads = 1\n[model]\nshape = \"qwen3\"\nlayers = 1\nwidth = 16\nheads = 2\nkv_heads = 1\n\
             context = 512\n[[stage]]\nkind = \"pretrain\"\ndata = \"world:30\"\nvocab = 400\nbatch = 2\nsteps = 1\n\
             [[stage]]\nkind = \"{kind}\"\ndata = [\"world:notes:30:1:50\", \"world:stories:9:1:50\"]\nsteps = 1\n\
             batch = 2\n{texts}"
        );
        let pipeline = Pipeline::parse(&text).unwrap();
        let folder = place.path().join(folder);
        Launch::new(&pipeline, place.path(), &folder, &mut |_| true).map_err(|fault| *fault.refusal.expect("a refusal"))
    };
    for kind in ["finetune", "instruct"] {
        let refusal = launched("no", kind, "").err().expect("texts were not asked for");
        assert!(refusal.hint.contains("texts = true"), "{refusal}");
        let launch = launched(kind, kind, "texts = true\ntoo_long = 1.0\n").unwrap();
        let loaded = launch.stages[1].loaded.as_ref().unwrap();
        let whole = |one: &pleach::data::mask::Encoded| one.trained_count() == one.ids.len();
        let texts = loaded.train.iter().flat_map(|one| &one.answers).filter(|one| whole(one)).count();
        assert!((1..=9).contains(&texts) && loaded.train.len() > texts, "{texts} of {}", loaded.train.len());
    }
    assert!(Pipeline::parse("[[stage]]\nkind = \"pretrain\"\ndata = \"world:9\"\ntexts = true\n").is_err());
}
