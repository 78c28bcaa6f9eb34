//! Post-training data as people publish it: shapes, masks with a real tokenizer and template, and the figures.

use super::real_file as real;
use pleach::data::inspect::Inspector;
use pleach::data::mask::{Agreement, ChatEncoder, Limits, Tally, Turns};
use pleach::data::records::{ReadOptions, Record, Shape, detect, read};
use pleach::data::template::{Scene, Source, Template};
use pleach::data::tokenizer::Tokenizer;

#[test]
fn published_files_have_the_shape_that_they_have() {
    let files = [
        ("instruct/p3-mix-a.messages.jsonl.zst", Shape::Messages, 10_529),
        ("instruct/sgd-multiturn-a.messages.jsonl.zst", Shape::Messages, 6_000),
        ("instruct/glaive-toolcall-300.sharegpt.json.zst", Shape::Sharegpt, 300),
        ("instruct/llms-from-scratch-instructions.json.zst", Shape::Alpaca, 1_100),
        ("preference/llms-from-scratch-preferences.json.zst", Shape::AlpacaPreference, 1_100),
        ("preference/hh-rlhf-harmless-base-test.jsonl.zst", Shape::Transcripts, 2_312),
        ("finetune/gsm8k-train.jsonl.zst", Shape::Question, 7_473),
        ("pretrain/fairytales-a.jsonl.zst", Shape::Text, 232),
    ];
    for (name, shape, count) in files {
        let Some(path) = real(name) else { continue };
        let found = detect(&path, &ReadOptions::default()).unwrap();
        assert_eq!(found.shape, shape, "{name}: {}", found.reason);
        let mut inspector = Inspector::new(None, Limits::of(1024), 0);
        let reading = read(&path, &ReadOptions::default(), &mut |place, record| {
            inspector.record(&place.words, &record);
            Ok(())
        });
        assert_eq!(reading.unwrap().records, count, "{name}");
        assert_eq!(inspector.finish().records, count, "{name}");
    }
}

#[test]
fn masks_of_published_conversations_agree() {
    let (Some(tokenizer), Some(template)) =
        (real("tokenizers/smollm2/tokenizer.json.zst"), real("tokenizers/smollm2/chat_template.jinja"))
    else {
        return;
    };
    let json = unpacked(&tokenizer);
    let tokenizer = Tokenizer::from_json(&json, None).unwrap();
    let template = Template::load(&Source::File(template), std::path::Path::new("."), &tokenizer).unwrap();
    let encoder = ChatEncoder::new(&tokenizer, &template, Turns::All);
    for name in ["instruct/sgd-multiturn-a.messages.jsonl.zst", "instruct/llms-from-scratch-instructions.json.zst"] {
        let Some(path) = real(name) else { continue };
        let (mut tally, limits, mut count) = (Tally::default(), Limits::of(2048), 0);
        read(&path, &ReadOptions::default(), &mut |place, record| {
            count += 1;
            let Record::Conversation(conversation) = record else { panic!("{name}") };
            if count <= 200 {
                let encoded = encoder.conversation(&conversation)?;
                assert_eq!(encoded.agreement, Agreement::Exact, "{name}, {}", place.words);
                tally.take(encoded, &limits);
            }
            Ok(())
        })
        .unwrap();
        tally.verdict(&limits).unwrap();
        assert_eq!((tally.kept, tally.unended, tally.straddling), (200, 0, 0), "{name}");
    }
}

/// A packed file's text.
fn unpacked(path: &std::path::Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    let mut stream = ruzstd::decoding::StreamingDecoder::new(file).unwrap();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    text
}

#[test]
fn qwens_own_template_is_taken_from_its_config() {
    let (Some(config), Some(tokenizer)) =
        (real("tokenizers/qwen3/tokenizer_config.json"), real("tokenizers/smollm2/tokenizer.json.zst"))
    else {
        return;
    };
    let tokenizer = Tokenizer::from_json(&unpacked(&tokenizer), None).unwrap();
    let template = Template::load(&Source::Model, config.parent().unwrap(), &tokenizer).unwrap();
    let say = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
    let messages = vec![say("user", "a"), say("assistant", "<think>\nb\n</think>\n\nc"), say("user", "d")];
    let text = template.render(&Scene { messages, add_generation_prompt: true, ..Scene::default() }).unwrap();
    let expected = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nc<|im_end|>\n\
         <|im_start|>user\nd<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text, expected);
}

#[test]
fn spans_cover_the_text_under_every_kind_of_tokenizer() {
    let text = "<s>Once  upon\n\n a time, \u{1F642} \u{e9}t\u{e9} - it's 12,345 <|im_start|>user\tx</s>  end ";
    for name in ["tokenizers/smollm2/tokenizer.json.zst", "tokenizers/gpt2/tokenizer.json.zst", "models/stories260K"] {
        let Some(path) = real(name) else { continue };
        let tokenizer = match path.is_dir() {
            true => Tokenizer::load(&path).unwrap(),
            false => Tokenizer::from_json(&unpacked(&path), None).unwrap(),
        };
        let spans = tokenizer.encode_spans(text, &[]).unwrap();
        assert_eq!(spans.ids, tokenizer.encode_marked(text).unwrap(), "{name}");
        let mut end = 0;
        for (range, id) in spans.ranges.iter().zip(&spans.ids) {
            assert!(range.start <= end && range.end >= range.start, "{name}: {range:?} after {end}");
            end = end.max(range.end);
            // A token that is whole characters stands for exactly these.
            if let Some(mark) = tokenizer.name(*id) {
                assert_eq!(&text[range.clone()], mark, "{name}");
            }
        }
        assert_eq!(end, text.len(), "{name}");
        let plain = tokenizer.encode_spans(text, std::slice::from_ref(&(0..text.len()))).unwrap();
        assert_eq!(plain.ids, tokenizer.encode(text).unwrap(), "{name}");
    }
}
