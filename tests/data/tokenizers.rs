//! Tokenizers: trained, given and of characters, on text that hurts.

use super::{corpus, real_file};
use pleach::data::tokenizer::{Split, characters, train};
use pleach::data::{Source, Tokenizer, TrainOptions, Vocabulary};
use std::io::Read;

/// Text that finds every shortcut: scripts, marks, emoji sequences, controls, odd spaces, line ends.
const TORTURE: &[&str] = &[
    "",
    " ",
    "\n",
    "\r\n\r\n\t \u{a0}\u{2003}x\u{3000}y  \n z",
    "It's we'll I'VE they'd 'tis '' don\u{2019}t",
    "0 12 345 6789 1,234.56 \u{0665}\u{0666} \u{00bd} \u{2167}",
    "na\u{ef}ve nai\u{308}ve \u{1e9b}\u{323} A\u{30a} \u{c5}",
    "\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c}\u{3002} \u{3053}\u{3093} \u{c548}\u{b155}",
    "\u{0e2a}\u{0e27}\u{0e31}\u{0e2a} \u{0939}\u{093f}\u{0928}\u{094d} \u{05e9}\u{05c1}\u{200f}\u{202e}x",
    "\u{1F469}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{1F3FD} \u{1F1E9}\u{1F1EA} \u{FE0F}\u{20E3}",
    "\u{0}\u{1}\u{7f}\u{80}\u{9f}\u{feff}\u{fffd}\u{ffff}\u{10ffff}",
    "<|endoftext|> <|im_start|>user <s>",
    "a\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}",
];

fn stories() -> Vec<String> {
    pleach::data::world::Stories::new(5).take(300).collect()
}

#[test]
fn trained_tokenizers_give_every_text_back_and_are_the_same_twice() {
    for split in [Split::Gpt2, Split::Qwen2] {
        let options = TrainOptions { vocab: 700, split, ..TrainOptions::default() };
        let tokenizer = train(stories(), &options).unwrap();
        assert_eq!(tokenizer.json(), train(stories(), &options).unwrap().json(), "{split:?}");
        assert_eq!((tokenizer.vocab(), tokenizer.eos(), tokenizer.bos()), (700, Some(0), Some(0)));
        assert_eq!((tokenizer.prefix(), tokenizer.document_end()), (&[0][..], vec![0]));
        for text in TORTURE.iter().copied().chain(stories().iter().map(String::as_str).take(20)) {
            let ids = tokenizer.encode(text).unwrap();
            assert!(!ids.contains(&0), "a document cannot spell its own end");
            assert_eq!(tokenizer.encoder().encode(text).unwrap(), ids, "{split:?}: by chunks");
            assert_eq!(tokenizer.decode(&ids), text, "{split:?}");
            let mut stream = tokenizer.stream();
            let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
            streamed += &stream.finish();
            assert_eq!(streamed, text, "{split:?}");
            let bytes: usize = ids.iter().map(|&id| tokenizer.byte_length(id)).sum();
            assert_eq!(bytes, text.len(), "{split:?}: {text:?}");
            let plain = tokenizers::Tokenizer::from_bytes(tokenizer.json()).unwrap();
            let whole = tokenizer.encode_whole(text).unwrap();
            if !text.contains("<|") {
                assert_eq!(plain.encode(text, true).unwrap().get_ids(), whole);
            }
        }
        let marked = tokenizer.encode_marked("<|im_start|>hi<|im_end|>\n<|endoftext|>").unwrap();
        let (start, end) = (tokenizer.id("<|im_start|>").unwrap(), tokenizer.id("<|im_end|>").unwrap());
        assert_eq!((marked[0], *marked.last().unwrap()), (start, 0));
        assert!(marked.contains(&end) && tokenizer.decode(&marked) == "hi\n");
    }
}

#[test]
fn a_saved_tokenizer_loads_as_the_same_one() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = train(stories(), &TrainOptions { vocab: 400, ..TrainOptions::default() }).unwrap();
    tokenizer.save(folder.path()).unwrap();
    let loaded = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(loaded.fingerprint(), tokenizer.fingerprint());
    let config = folder.path().join("tokenizer_config.json");
    std::fs::write(&config, r#"{"eos_token": {"content": "<|im_end|>"}}"#).unwrap();
    let loaded = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(loaded.eos(), tokenizer.id("<|im_end|>"));
    assert_ne!(loaded.fingerprint(), tokenizer.fingerprint());
    // The choice of an end is kept by a copy.
    let copy = tempfile::tempdir().unwrap();
    loaded.save(copy.path()).unwrap();
    assert_eq!(Tokenizer::load(copy.path()).unwrap().fingerprint(), loaded.fingerprint());
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    assert!(Tokenizer::load(folder.path()).unwrap_err().to_string().contains("could not load the tokenizer"));
    assert!(Tokenizer::load(&folder.path().join("nothing")).is_err());
}

#[test]
fn characters_are_sorted_and_load_in_the_library() {
    let set = "hello \u{1F333}\n\u{e9}".chars().collect();
    let tokenizer = characters(&set).unwrap();
    let text = "hole\n\u{1F333} \u{e9}l";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(ids, [3, 5, 4, 2, 0, 7, 1, 6, 4], "in the order of code points");
    assert_eq!(tokenizer.decode(&ids), text);
    let library = tokenizers::Tokenizer::from_bytes(tokenizer.json()).unwrap();
    assert_eq!(library.encode(text, true).unwrap().get_ids(), ids);
    assert_eq!(library.decode(&ids, true).unwrap(), text);
    let said = tokenizer.encode("hexe").unwrap_err().to_string();
    assert!(said.contains("'x'") && said.contains("U+0078 at byte 2"), "{said}");
    assert_eq!((tokenizer.eos(), tokenizer.byte_length(7)), (None, 4));
}

#[test]
fn impossible_vocabularies_are_refused() {
    let refused = |vocab| {
        let options = TrainOptions { vocab, ..TrainOptions::default() };
        train(vec!["text".into()], &options).unwrap_err().to_string()
    };
    assert!(refused(100).contains("use at least 259"));
    assert!(refused(49152).contains("use 49216 instead"));
    assert!(train(vec![String::new()], &TrainOptions::default()).unwrap_err().to_string().contains("no text"));
}

#[test]
fn pieces_of_a_text_tokenise_like_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let stories = stories();
    let text: String = (0..3200).map(|i| format!("{} {}'s  (rose-{i})\n", stories[i % 50], i * 7919)).collect();
    std::fs::write(folder.path().join("a.txt"), &text).unwrap();
    for split in [Split::Gpt2, Split::Qwen2] {
        let tokenizer = train(stories.clone(), &TrainOptions { vocab: 500, split, ..TrainOptions::default() }).unwrap();
        let mut ids = Vec::new();
        let corpus = corpus(folder.path(), &["a.txt"]);
        let mut count = 0;
        corpus.parts().unwrap()[0]
            .documents(&corpus.text, &mut |piece| {
                ids.extend(tokenizer.encode(&piece.text)?);
                count += 1;
                Ok(())
            })
            .unwrap();
        let whole = tokenizer.encode(&text).unwrap();
        assert!(count > 2 && ids == whole, "{split:?}: {count} pieces");
        assert!(tokenizer.encoder().encode(&text).unwrap() == whole, "{split:?}: by chunks");
    }
}

#[test]
fn a_vocabulary_comes_from_a_bounded_sample() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "alpha ".repeat(1000)).unwrap();
    std::fs::write(folder.path().join("b.txt"), "omega ".repeat(1000)).unwrap();
    let corpus = corpus(folder.path(), &["."]);
    let options = TrainOptions { vocab: 270, ..TrainOptions::default() };
    let tokenizer = Vocabulary::Trained { options, sample: 600 }.tokenizer(&corpus).unwrap();
    // Both files gave their share: both words have become whole.
    assert_eq!(tokenizer.encode(" alpha omega").unwrap().len(), 2);
    let characters = Vocabulary::Characters.tokenizer(&corpus).unwrap();
    assert_eq!(characters.vocab(), " aeghlmop".len());
    let world = vec![Source::parse("world:9").unwrap()];
    let world = pleach::data::Corpus { train: world, ..corpus };
    assert!(Vocabulary::Characters.tokenizer(&world).unwrap().vocab() > 30);
}

/// The strings and ids of llama.cpp's vocabulary tests.
#[test]
fn given_tokenizers_pass_the_published_vectors() {
    let Some(file) = real_file("tokenizers/gpt2/tokenizer.json.zst") else {
        return;
    };
    let mut json = String::new();
    let packed = std::fs::File::open(&file).unwrap();
    ruzstd::decoding::StreamingDecoder::new(packed).unwrap().read_to_string(&mut json).unwrap();
    let tokenizer = Tokenizer::from_json(&json, None).unwrap();
    assert_eq!((tokenizer.vocab(), tokenizer.eos(), tokenizer.prefix()), (50257, Some(50256), &[][..]));
    let read = |name: &str| std::fs::read_to_string(file.with_file_name(name)).unwrap();
    let (inputs, outputs) = (read("vectors.inp"), read("vectors.out"));
    let mut count = 0;
    for (text, ids) in inputs.split("\n__ggml_vocab_test__\n").zip(outputs.lines()) {
        let expected: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids, expected, "{text:?}");
        assert_eq!(tokenizer.encoder().encode(text).unwrap(), expected, "{text:?}: by chunks");
        let mut stream = tokenizer.stream();
        let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
        streamed += &stream.finish();
        assert_eq!(streamed, text);
        count += 1;
    }
    assert_eq!(count, 46);
}

#[test]
fn a_sentencepiece_vocabulary_streams_and_counts_bytes() {
    let Some(file) = real_file("models/stories260K/tokenizer.json") else {
        return;
    };
    let tokenizer = Tokenizer::load(&file).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.prefix()), (Some(1), Some(2), &[1][..]));
    for text in ["Once upon a time, there was a \u{1F333}.", " two  spaces\n", "Zo\u{eb}"] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids), text);
        let mut stream = tokenizer.stream();
        let streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
        assert_eq!(streamed, text);
        // One byte more: the space that the normaliser puts in front.
        assert_eq!(ids.iter().map(|&id| tokenizer.byte_length(id)).sum::<usize>(), text.len() + 1);
    }
}
