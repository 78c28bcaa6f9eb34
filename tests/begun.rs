//! A run that began: its tokens, its text, and the copies that it keeps.

use crate::recovery::run;
use pleach::data::{Corpus, Prepared, Progress, Source};
use pleach::launch::Launch;
use pleach::pipeline::Pipeline;
use pleach_runtime::fault::{Fault, FaultKind};
use pleach_runtime::run::{Run, RunEnd};
use pleach_runtime::store::RunLock;
use pleach_runtime::supervise::Failpoints;
use std::path::{Path, PathBuf};

const TEXT: &str = "The tulip is red. The bell rings in the morning. Nobody knows why the mill stands still today. ";

fn pipeline(data: &str, more: &str) -> String {
    format!(
        "name = \"r\"\nseed = 5\ndevice = \"cpu\"\nthreads = 1\n[model]\nshape = \"gpt2\"\nlayers = 1\nwidth = 16\nheads = 2\n\
         context = 16\n[[stage]]\ndata = \"{data}\"\ntokenizer = \"chars\"\nbatch = 2\nsteps = 3\neval_every = 0\n\
         sample_tokens = 2\n{more}"
    )
}

fn launch(text: &str, base: &Path, folder: &Path) -> Result<Launch, Fault> {
    Launch::new(&Pipeline::parse(text).unwrap(), base, folder, &mut |_| true)
}

/// A finished run of three steps on a.txt; its folder.
fn trained(base: &Path, text: &str) -> PathBuf {
    let folder = base.join("runs/r");
    std::fs::create_dir_all(&folder).unwrap();
    let launch = launch(text, base, &folder).unwrap();
    launch.record(text).unwrap();
    let run = Run::start(launch.run_plan(Failpoints::none()), RunLock::take(&folder).unwrap()).unwrap();
    assert_eq!(run.join(), RunEnd::Finished);
    folder
}

/// Every file below a folder with its bytes.
fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => out.extend(bytes(&path)),
            false => out.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    out.sort();
    out
}

#[test]
fn another_text_is_refused_before_the_tokens_of_a_begun_run_are_lost() {
    let base = tempfile::tempdir().unwrap();
    let (file, text) = (base.path().join("a.txt"), pipeline("a.txt", ""));
    std::fs::write(&file, TEXT.repeat(9)).unwrap();
    let folder = trained(base.path(), &text);
    let before = bytes(&folder);
    std::fs::write(&file, TEXT.repeat(10)).unwrap();
    let fault = launch(&text, base.path(), &folder).err().expect("another text");
    let refusal = fault.refusal.expect("a person's mistake");
    assert_eq!((refusal.what.as_str(), refusal.code), ("the data changed since this run began", 2));
    assert!(refusal.hint.contains("restore the text") && refusal.hint.contains("another name"), "{refusal}");
    assert!(bytes(&folder) == before, "nothing was touched");
    // The same length is not the same text.
    std::fs::write(&file, TEXT.repeat(9).replace("red", "ice")).unwrap();
    assert!(launch(&text, base.path(), &folder).is_err());
    std::fs::remove_file(folder.join("data/prepared.json")).unwrap();
    assert!(launch(&text, base.path(), &folder).is_err(), "nor without the record of what it was");
    std::fs::write(
        folder.join("data/prepared.json"),
        &before.iter().find(|(p, _)| p.ends_with("prepared.json")).unwrap().1,
    )
    .unwrap();
    assert!(bytes(&folder) == before, "nothing was touched");
    std::fs::write(&file, TEXT.repeat(9)).unwrap();
    let again = launch(&text, base.path(), &folder).unwrap();
    assert!(again.finished().unwrap().is_some(), "the text restored, the run is the finished one");
    assert!(bytes(&folder) == before);
}

#[test]
fn a_begun_run_does_not_need_its_text_any_more() {
    let base = tempfile::tempdir().unwrap();
    let (file, text) = (base.path().join("a.txt"), pipeline("a.txt", ""));
    std::fs::write(&file, TEXT.repeat(9)).unwrap();
    let folder = trained(base.path(), &text);
    let before = bytes(&folder);
    let watched = |progress: &Progress| {
        assert_eq!(progress.tokens, 0, "nothing is tokenised");
        true
    };
    let again = || Launch::new(&Pipeline::parse(&text).unwrap(), base.path(), &folder, &mut { watched });
    let file_of = std::fs::File::options().write(true).open(&file).unwrap();
    file_of.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000)).unwrap();
    let stopped = Launch::new(&Pipeline::parse(&text).unwrap(), base.path(), &folder, &mut |_| false);
    assert_eq!(stopped.err().expect("reading again can be stopped").kind, FaultKind::Stopped);
    let touched = again().unwrap();
    assert!(touched.stages[0].notes[0].contains("touched"), "{:?}", touched.stages[0].notes);
    std::fs::remove_file(&file).unwrap();
    let gone = again().unwrap();
    assert!(gone.stages[0].notes[0].contains("the text is gone"), "{:?}", gone.stages[0].notes);
    assert!(gone.stages[0].notes[0].contains("a.txt"), "{:?}", gone.stages[0].notes);
    assert!(gone.finished().unwrap().is_some());
    assert!(bytes(&folder) == before);
    // Without text and without whole tokens there is nothing to go on with.
    let tokens = folder.join("data/train.tokens");
    let mut damaged = std::fs::read(&tokens).unwrap();
    damaged[200] ^= 1;
    std::fs::write(&tokens, damaged).unwrap();
    let fault = again().err().expect("no tokens");
    assert!(fault.refusal.unwrap().detail.contains("damaged"));
    std::fs::write(&file, TEXT.repeat(9)).unwrap();
    let mended = launch(&text, base.path(), &folder).unwrap();
    assert!(mended.stages[0].notes.is_empty());
    let whole = &before.iter().find(|(path, _)| path.ends_with("train.tokens")).unwrap().1;
    // The header names the file's time; the blocks are the same.
    assert!(std::fs::read(&tokens).unwrap()[128..] == whole[128..]);
}

#[test]
fn a_run_does_not_read_its_own_files() {
    for data in [".", "**", "**/*.json*"] {
        let base = tempfile::tempdir().unwrap();
        let line = serde_json::json!({"text": TEXT.repeat(9)}).to_string();
        std::fs::create_dir_all(base.path().join("texts")).unwrap();
        std::fs::write(base.path().join("texts/a.jsonl"), line).unwrap();
        let text = pipeline(data, "");
        let text = if data == "**" { text.replace("\"**\"", "\"**/*.jsonl\"") } else { text };
        let folder = trained(base.path(), &text);
        let again = launch(&text, base.path(), &folder).expect("it is resumed");
        assert_eq!(
            (again.stages[0].notes.len(), again.stages[0].prepared.as_ref().unwrap().documents),
            (0, 1),
            "{data}"
        );
        // Another run beside it reads none of the first one's files either.
        let other = launch(&text, base.path(), &base.path().join("runs/other")).unwrap();
        let content = |launch: &Launch| launch.stages[0].prepared.as_ref().unwrap().content.clone();
        assert_eq!(content(&other), content(&again));
    }
    // A person's own file of such a name is text.
    let base = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(base.path().join("mine")).unwrap();
    std::fs::write(base.path().join("mine/journal.jsonl"), "{\"text\":\"a diary\"}\n").unwrap();
    let train = vec![Source::Path(".".into())];
    let parts = Corpus { train, root: base.path().to_path_buf(), ..Corpus::default() }.parts().unwrap();
    assert_eq!(parts.len(), 1);
}

#[test]
fn a_damaged_copy_is_named_with_its_path() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("a.txt"), TEXT.repeat(9)).unwrap();
    let text = pipeline("a.txt", "");
    let folder = trained(base.path(), &text);
    for name in ["pleach.toml", "resolved.toml"] {
        let path = folder.join(name);
        let whole = std::fs::read(&path).unwrap();
        for damage in [&b"[frozen\nsteps = "[..], &b"steps = 3\n"[..], &b"\xFF\xFE"[..], &b""[..]] {
            std::fs::write(&path, damage).unwrap();
            let fault = launch(&text, base.path(), &folder).err().expect("damaged");
            let refusal = fault.refusal.expect("words");
            assert!(refusal.detail.contains(path.to_str().unwrap()), "{refusal}");
            assert!(refusal.what.contains("begun with") && refusal.code == 2, "{refusal}");
        }
        std::fs::write(&path, whole).unwrap();
        launch(&text, base.path(), &folder).expect("mended");
    }
    std::fs::remove_file(folder.join("resolved.toml")).unwrap();
    let fault = launch(&text, base.path(), &folder).err().expect("what was frozen is not known");
    assert!(fault.refusal.unwrap().detail.contains("resolved.toml"));
}

/// Documents of one token each, as characters have them: no window of such has a target.
#[test]
fn documents_of_one_token_do_not_end_a_run() {
    let base = tempfile::tempdir().unwrap();
    let lone: String = (0..200).map(|i| format!("{{\"text\":\"{}\"}}\n", char::from(b'a' + i % 26))).collect();
    let file = base.path().join("a.jsonl");
    std::fs::write(&file, &lone).unwrap();
    let text = pipeline("a.jsonl", "");
    let refusal = launch(&text, base.path(), &base.path().join("lone")).err().unwrap().refusal.unwrap();
    assert!(refusal.what.contains("nothing in the corpus can be predicted"), "{refusal}");
    let folder = base.path().join("some");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a.jsonl"), format!("{lone}{{\"text\":\"{}\"}}\n", TEXT.repeat(2))).unwrap();
    let text = text.replace("batch = 2", "batch = 1").replace("steps = 3", "steps = 30");
    let (end, events) = run(&folder, &text, Failpoints::none());
    assert_eq!(end, RunEnd::Finished);
    let silent =
        events.iter().filter(|event| matches!(event, pleach_runtime::event::Event::Step { loss, .. } if *loss == 0.0));
    assert!(silent.count() > 3, "some windows had no target");
}

#[test]
fn one_document_is_counted_once() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("a.txt"), TEXT.repeat(9)).unwrap();
    let made = launch(&pipeline("a.txt", ""), base.path(), &base.path().join("r")).unwrap();
    let Prepared { documents, train_documents, validation_documents, .. } = made.stages[0].prepared.clone().unwrap();
    assert_eq!((documents, train_documents, validation_documents), (1, 1, 1));
}

#[test]
fn a_run_longer_than_can_be_counted_is_refused() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("a.txt"), TEXT.repeat(9)).unwrap();
    let text = pipeline("a.txt", "epochs = 1e9\n").replace("steps = 3\n", "");
    let fault = launch(&text, base.path(), &base.path().join("r")).err().expect("too long");
    assert_eq!(fault.kind, FaultKind::Refused);
    assert!(fault.refusal.unwrap().what.contains("too long"));
}
