//! Files in all their shapes, and each bad input's message.

use super::corpus;
use flate2::write::GzEncoder;
use pleach::data::{Corpus, PIECE, Piece, Source, TextOptions};
use pleach_runtime::fault::Fault;
use std::io::Write;
use std::path::Path;

/// All pieces of a corpus.
fn pieces(corpus: &Corpus) -> Result<Vec<Piece>, Fault> {
    let mut all = Vec::new();
    for part in corpus.parts()? {
        part.documents(&corpus.text, &mut |piece| {
            all.push(piece);
            Ok(())
        })?;
    }
    Ok(all)
}

/// All documents of a corpus, put together again.
fn documents(corpus: &Corpus) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for piece in pieces(corpus).unwrap() {
        match piece.first {
            true => all.push(piece.text),
            false => all.last_mut().unwrap().push_str(&piece.text),
        }
    }
    all
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn text_comes_out_of_every_shape_and_packing() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let lines = "{\"id\":1,\"text\":\"one\"}\n\n{\"text\":\"two\\n\\u0001\",\"more\":[1,{\"text\":3}]}\r\n";
    put("a.txt", "\u{FEFF}plain \u{e9}\r\n".as_bytes());
    put("b.jsonl", lines.as_bytes());
    put("c.json", br#"[{"text":"three"},{"text":"four","x":null}]"#);
    put("sub/d.txt.gz", &[gzip(b"mem"), gzip(b"bers")].concat());
    let skippable = [0x53, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 9, 9, 9];
    put("sub/e.jsonl.zst", &[zstd(lines.as_bytes()), skippable.to_vec(), zstd(b"{\"text\":\"five\"}")].concat());
    put("sub/.hidden.txt", b"never");
    put("sub/picture.png", &[0, 1, 2]);
    let all = ["plain \u{e9}\r\n", "one", "two\n\u{1}", "three", "four", "members", "one", "two\n\u{1}", "five"];
    assert_eq!(documents(&corpus(folder.path(), &["."])), all);
    assert_eq!(documents(&corpus(folder.path(), &["*.txt", "**/*.zst", "a.txt"])), [&all[..1], &all[6..]].concat());
    assert_eq!(documents(&corpus(folder.path(), &["s?b/[a-d].*"])), ["members"]);
    let absolute = folder.path().join("sub/*.gz");
    assert_eq!(documents(&corpus(Path::new("/nowhere"), &[absolute.to_str().unwrap()])), ["members"]);
}

#[test]
fn separator_lines_divide_a_text_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "one\ntwo\n<|endoftext|>\nthree <|endoftext|>\n<|endoftext|>").unwrap();
    let mut corpus = corpus(folder.path(), &["a.txt"]);
    corpus.text = TextOptions { separator: Some("<|endoftext|>".into()), ..TextOptions::default() };
    assert_eq!(documents(&corpus), ["one\ntwo\n", "three <|endoftext|>\n"]);
}

#[test]
fn a_long_document_comes_in_pieces_that_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let words: String = (0..600_000).map(|i| format!("{i:x}\u{e4} ")).collect();
    let solid: String = "\u{1F333}".repeat(PIECE / 4 + 10);
    std::fs::write(folder.path().join("a.txt"), &words).unwrap();
    std::fs::write(folder.path().join("b.txt"), &solid).unwrap();
    std::fs::write(folder.path().join("c.jsonl"), serde_json::json!({"text": words}).to_string()).unwrap();
    let all = pieces(&corpus(folder.path(), &["."])).unwrap();
    assert!(all.len() > 8 && all.iter().all(|piece| piece.text.len() <= PIECE + 4));
    let marks = |first: bool| all.iter().filter(|piece| if first { piece.first } else { piece.last }).count();
    assert_eq!((marks(true), marks(false)), (3, 3));
    assert_eq!(documents(&corpus(folder.path(), &["."])), [words.clone(), solid, words]);
}

/// What the refusal says about one file of these bytes.
fn refusal(name: &str, bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    let fault = pieces(&corpus(folder.path(), &[name])).unwrap_err();
    let refusal = fault.refusal.expect("a person's mistake");
    assert!(refusal.what.contains(name) && !refusal.hint.is_empty() && refusal.code == 2, "{refusal}");
    refusal.to_string()
}

#[test]
fn bad_input_is_refused_with_its_place() {
    let has = |said: String, parts: &[&str]| {
        for part in parts {
            assert!(said.contains(part), "{said:?} does not say {part:?}");
        }
    };
    has(refusal("a.txt", b""), &["the file is empty"]);
    has(refusal("a.jsonl", b""), &["the file is empty"]);
    has(refusal("a.txt.gz", &gzip(b"")), &["the file is empty"]);
    has(refusal("a.txt", b"one\ntwo\0three"), &["line 2, byte 7", "NUL", "binary"]);
    has(refusal("a.txt", &[0xFF, 0xFE, b'a', 0]), &["line 1, byte 3", "UTF-16", "iconv"]);
    has(refusal("a.txt", b"one\nt\xE4o"), &["line 2, byte 5", "invalid UTF-8 (0xE4)", "iconv"]);
    has(refusal("a.txt", b"one\nt\xE4"), &["line 2, byte 5", "ends inside a character"]);
    has(refusal("a.txt.gz", &gzip(b"on\xFF")), &["byte 2 of the unpacked text"]);
    has(refusal("a.txt.gz", &gzip(&[b'x'; 4000])[..20]), &["gzip -t"]);
    has(refusal("a.txt.zst", b"not zstd at all"), &["zstd", "zstd -t"]);
    has(refusal("a.jsonl", b"{\"text\":\"x\"}\n{\"text\":}\n"), &["line 2, column 9", "expected value"]);
    has(refusal("a.jsonl", b"{\"text\":\"x\"}\n[1]\n"), &["line 2", "an object with a field"]);
    has(refusal("a.jsonl", b"{\"text\":\"x\"} 5\n"), &["line 1", "trailing"]);
    has(refusal("a.jsonl", b"{\"text\":\"x\xFF\"}\n"), &["line 1, byte 10", "invalid UTF-8"]);
    let said = refusal("a.jsonl", b"{\"id\":1,\"body\":\"x\"}\n");
    has(said, &["line 1: no field \"text\"", "id, body", " text_field = \"body\""]);
    has(refusal("a.jsonl", b"{\"text\":[1,2]}\n"), &["line 1", "holds a list, not a string", "text_field"]);
    has(refusal("a.json", b"[{\"text\":\"x\"},\n {\"text\":1}]"), &["record 2", "holds a number"]);
    has(refusal("a.json", b"[{\"text\":\"x\"},\n {\"text\" 1}]"), &["line 2, column", ".jsonl"]);
    has(refusal("a.json", b"{\"text\":\"x\"}"), &["an array of objects"]);
    has(refusal("a.pdf", b"%PDF"), &["promises none of", ".txt"]);
}

#[test]
fn sources_that_name_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "x").unwrap();
    std::fs::write(folder.path().join("b.txt"), "x").unwrap();
    let refused = |corpus: Corpus| corpus.parts().unwrap_err().to_string();
    assert!(refused(Corpus::default()).contains("nothing to train on"));
    assert!(refused(corpus(folder.path(), &["c.txt"])).contains("check the path"));
    assert!(refused(corpus(folder.path(), &["*.json"])).contains("no file fits the pattern \"*.json\""));
    let only_csv = tempfile::tempdir().unwrap();
    std::fs::write(only_csv.path().join("a.csv"), "x").unwrap();
    assert!(refused(corpus(only_csv.path(), &["."])).contains("1 files, none of them"));
    let validation = vec![Source::Path("*.txt".into())];
    let both = Corpus { validation, ..corpus(folder.path(), &["b.txt"]) };
    assert!(refused(both).contains("overlap"));
}
