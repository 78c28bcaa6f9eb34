//! Preparing: the same bytes after any interruption and with any number of threads; splits; refusals.

use super::{all_ids, corpus, prepared, real_file};
use pleach::data::{Corpus, PrepareOptions, Source, Split, TextOptions, Tokenizer, Vocabulary, prepare};
use pleach_runtime::fault::FaultKind;
use std::path::Path;

/// Three kinds of file, some documents empty, one in several pieces.
fn library(root: &Path) -> Corpus {
    let story = |i: u64| format!("Story {i}: {}", "the tulip is red. ".repeat(i as usize % 40));
    let lines: String = (0..200).map(|i| serde_json::json!({"text": story(i)}).to_string() + "\n").collect();
    let blank = "{\"text\":\" \\n\"}\n";
    std::fs::write(root.join("a.jsonl"), lines + blank).unwrap();
    std::fs::write(root.join("b.txt"), "one long line of words ".repeat(100_000)).unwrap();
    let records: Vec<_> = (300..340).map(|i| serde_json::json!({"text": story(i)})).collect();
    std::fs::write(root.join("c.json"), serde_json::Value::from(records).to_string()).unwrap();
    let mut corpus = corpus(root, &["."]);
    corpus.train.push(Source::parse("world:stories:30:3:10").unwrap());
    corpus
}

fn alphabet(corpus: &Corpus) -> Tokenizer {
    Vocabulary::Characters.tokenizer(corpus).unwrap()
}

fn bytes(folder: &Path) -> [Vec<u8>; 3] {
    ["train.tokens", "validation.tokens", "prepared.json"].map(|name| std::fs::read(folder.join(name)).unwrap())
}

#[test]
fn interruptions_threads_and_batches_change_no_byte() {
    let root = tempfile::tempdir().unwrap();
    let corpus = library(root.path());
    let tokenizer = alphabet(&corpus);
    let whole = tempfile::tempdir().unwrap();
    let options = |threads, batch| PrepareOptions { threads, batch, ..PrepareOptions::default() };
    let done = prepared(&corpus, &tokenizer, &options(1, 1 << 30), whole.path()).unwrap();
    assert_eq!((done.empty, done.train_documents + done.validation_documents), (1, 271));
    for (threads, batch) in [(2, 5000), (3, 70_000), (5, 2000)] {
        let folder = tempfile::tempdir().unwrap();
        let mut stops = 0u64;
        loop {
            // Stop sooner or later, and leave behind what a killed writer would: bytes after the last note.
            let mut left = 1 + stops * stops % 5;
            let outcome = prepare(&corpus, &tokenizer, &options(threads, batch), folder.path(), &mut |progress| {
                assert!((0.0..=1.0).contains(&progress.share), "{progress:?}");
                left -= 1;
                left > 0
            });
            match outcome {
                Ok(found) => break assert_eq!(found.train_tokens, done.train_tokens),
                Err(fault) => assert_eq!(fault.kind, FaultKind::Stopped, "{fault}"),
            }
            for name in ["tokens.part", "documents.part"] {
                let mut torn = std::fs::read(folder.path().join(name)).unwrap();
                torn.extend(vec![0xAB; stops as usize % 7 * 13]);
                std::fs::write(folder.path().join(name), torn).unwrap();
            }
            stops += 1;
        }
        assert!(stops > 2, "{stops} stops");
        assert!(bytes(folder.path()) == bytes(whole.path()), "{threads} threads, batches of {batch}, {stops} stops");
        let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(
            names,
            ["prepared.json", "tokenizer.json", "tokenizer_config.json", "train.tokens", "validation.tokens"]
        );
    }
}

#[test]
fn a_finished_folder_is_found_again_and_a_damaged_one_made_again() {
    let root = tempfile::tempdir().unwrap();
    let corpus = library(root.path());
    let tokenizer = alphabet(&corpus);
    let folder = tempfile::tempdir().unwrap();
    let options = PrepareOptions::default();
    let batches = |options: &PrepareOptions| {
        let mut batches = 0;
        let count = &mut |_: &_| {
            batches += 1;
            true
        };
        prepare(&corpus, &tokenizer, options, folder.path(), count).unwrap();
        batches
    };
    assert!(batches(&options) > 0);
    let before = bytes(folder.path());
    assert_eq!(batches(&options), 0);
    let path = folder.path().join("train.tokens");
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[5000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert!(batches(&options) > 0);
    assert!(bytes(folder.path()) == before);
    assert!(batches(&PrepareOptions { seed: 1, ..options.clone() }) > 0, "other options, other bytes");
    // Half of another preparation is no beginning of this one.
    let stop =
        prepare(&corpus, &tokenizer, &PrepareOptions { batch: 1, ..options.clone() }, folder.path(), &mut |_| false);
    assert_eq!(stop.unwrap_err().kind, FaultKind::Stopped);
    assert!(batches(&options) > 0);
    assert!(bytes(folder.path()) == before);
}

#[test]
fn documents_stand_between_their_marks_and_in_one_split() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.txt"), "alpha\nSEP\nbeta\nSEP\ngamma\nSEP\nalpha\n").unwrap();
    let mut corpus = corpus(root.path(), &["a.txt"]);
    corpus.text = TextOptions { separator: Some("SEP".into()), ..TextOptions::default() };
    let tokenizer = pleach::data::tokenizer::train(vec!["alpha".into()], &Default::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let found = prepared(&corpus, &tokenizer, &PrepareOptions::default(), folder.path()).unwrap();
    assert_eq!(found.train_documents + found.validation_documents, 4);
    assert!(found.validation_documents >= 1);
    let mut seen = Vec::new();
    for split in [Split::Train, Split::Validation] {
        let (ids, begins) = all_ids(folder.path(), split);
        let starts: Vec<usize> = (0..ids.len()).filter(|&i| begins[i]).collect();
        for (at, &start) in starts.iter().enumerate() {
            let document = &ids[start..starts.get(at + 1).copied().unwrap_or(ids.len())];
            assert_eq!((document[0], *document.last().unwrap()), (0, 0), "begins and ends with the mark");
            seen.push((tokenizer.decode(document), split == Split::Train));
        }
    }
    seen.sort();
    let texts: Vec<&str> = seen.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["alpha\n", "alpha\n", "beta\n", "gamma\n"]);
    assert_eq!(seen[0].1, seen[1].1, "the same text is on one side only");
    // Where there is only one text, twice, the two sides cannot differ.
    std::fs::write(root.path().join("a.txt"), "alpha\nSEP\nalpha\n").unwrap();
    let found = prepared(&corpus, &tokenizer, &PrepareOptions::default(), folder.path()).unwrap();
    assert_eq!((found.train_documents, found.validation_documents), (1, 1));
}

#[test]
fn validation_sources_of_their_own_are_kept_apart() {
    let stories = |first| vec![Source::parse(&format!("world:stories:20:1:{first}")).unwrap()];
    let corpus = Corpus { train: stories(0), validation: stories(20), ..Corpus::default() };
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = alphabet(&corpus);
    let found = prepared(&corpus, &tokenizer, &PrepareOptions::default(), folder.path()).unwrap();
    assert_eq!((found.train_documents, found.validation_documents), (20, 20));
    let (ids, _) = all_ids(folder.path(), Split::Validation);
    let text: String = pleach::data::world::Stories::starting_at(1, 20).take(20).collect();
    assert_eq!(tokenizer.decode(&ids), text);
}

#[test]
fn a_corpus_that_cannot_train_is_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.jsonl"), "{\"text\":\"  \"}\n{\"text\":\"\"}\n").unwrap();
    std::fs::write(root.path().join("b.txt"), "abcdefghij").unwrap();
    let tokenizer = alphabet(&corpus(root.path(), &["."]));
    let folder = tempfile::tempdir().unwrap();
    let options = PrepareOptions::default();
    let fault = prepared(&corpus(root.path(), &["a.jsonl"]), &tokenizer, &options, folder.path()).unwrap_err();
    assert!(fault.refusal.unwrap().detail.contains("2 documents"));
    let short = prepared(&corpus(root.path(), &["b.txt"]), &tokenizer, &options, folder.path()).unwrap();
    assert_eq!((short.train_tokens, short.validation_tokens), (9, 1));
    assert!(short.check(8).is_ok());
    let said = short.check(9).unwrap_err().to_string();
    assert!(said.contains("9 tokens") && said.contains("takes 10") && said.contains("context to 8"), "{said}");
    let strange = corpus(root.path(), &["b.txt"]);
    std::fs::write(root.path().join("b.txt"), "abcX").unwrap();
    let said = prepared(&strange, &tokenizer, &options, folder.path()).unwrap_err().refusal.unwrap().to_string();
    assert!(said.contains("'X'") && said.contains("b.txt"), "{said}");
    let wrong = PrepareOptions { validation: 0.7, ..options };
    assert!(prepared(&strange, &tokenizer, &wrong, folder.path()).unwrap_err().refusal.is_some());
}

/// nanoGPT's own figures for its Shakespeare: 65 characters, 1,003,854 to train on, 111,540 to validate on.
#[test]
fn tinyshakespeare_splits_as_nanogpt_does() {
    let Some(file) = real_file("pretrain/tinyshakespeare.txt.zst") else {
        return;
    };
    let corpus = corpus(file.parent().unwrap(), &["tinyshakespeare.txt.zst"]);
    let tokenizer = alphabet(&corpus);
    assert_eq!(tokenizer.vocab(), 65);
    assert_eq!(tokenizer.encode("\n Az").unwrap(), [0, 1, 13, 64]);
    let folder = tempfile::tempdir().unwrap();
    let options = PrepareOptions { boundaries: false, ..PrepareOptions::default() };
    let found = prepared(&corpus, &tokenizer, &options, folder.path()).unwrap();
    assert_eq!((found.train_tokens, found.validation_tokens, found.text), (1_003_854, 111_540, 1_115_394));
    let (train, _) = all_ids(folder.path(), Split::Train);
    assert!(tokenizer.decode(&train).starts_with("First Citizen:\nBefore we proceed any further, hear me speak."));
}
