//! Chat templates against transformers' own renderings, byte for byte (tools/oracle/templates.py).

use pleach::data::inspect::Sample;
use pleach::data::mask::{ChatEncoder, Turns};
use pleach::data::records::{Conversation, Message, Role};
use pleach::data::template::{Scene, Template};
use pleach::data::tokenizer::{Tokenizer, TrainOptions, train};
use serde_json::{Map, Value};

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/templates.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn scene(given: &Value, prompt: bool) -> Scene {
    let list = |key: &str| given.get(key).and_then(Value::as_array).cloned();
    Scene {
        messages: list("messages").unwrap(),
        tools: list("tools"),
        documents: list("documents"),
        add_generation_prompt: prompt,
        variables: given.get("variables").and_then(Value::as_object).cloned().unwrap_or_default(),
    }
}

fn templates(golden: &Value) -> Map<String, Value> {
    golden["templates"].as_object().unwrap().clone()
}

fn compiled(golden: &Value, name: &str) -> Template {
    let specials = golden["specials"].as_object().unwrap();
    let specials = specials.iter().map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned())).collect();
    let source = golden["templates"][name].as_str().unwrap();
    Template::new(name, source, specials).unwrap().at(golden["date"].as_i64().unwrap())
}

/// Where two texts part.
fn parted(ours: &str, theirs: &str) -> String {
    let at = ours.char_indices().zip(theirs.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
    let at = at.unwrap_or(ours.len().min(theirs.len()));
    let show = |text: &str| format!("{:?}", text[at..].chars().take(60).collect::<String>());
    format!("at byte {at}\n   ours {}\n theirs {}", show(ours), show(theirs))
}

#[test]
fn every_rendering_is_that_of_transformers() {
    let golden = golden();
    let (mut same, mut raised, mut wrong) = (0, 0, Vec::new());
    for name in templates(&golden).keys() {
        let template = compiled(&golden, name);
        for case in golden["cases"].as_array().unwrap().iter().filter(|case| case["template"] == name.as_str()) {
            let conversation = case["conversation"].as_str().unwrap();
            let prompt = case["prompt"].as_bool().unwrap();
            let what = format!("{name}, {conversation}, prompt {prompt}");
            let scene = scene(&golden["conversations"][conversation], prompt);
            match (template.render(&scene), case["text"].as_str()) {
                (Ok(ours), Some(theirs)) if ours == theirs => same += 1,
                (Ok(ours), Some(theirs)) => wrong.push(format!("{what}: {}", parted(&ours, theirs))),
                (Err(_), None) => raised += 1,
                (Ok(ours), None) => wrong.push(format!("{what}: {ours:?}, but Jinja raised {}", case["error"])),
                (Err(refusal), Some(_)) => wrong.push(format!("{what}: {refusal}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{same} the same, {raised} raised, {} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(same > 200 && raised > 10, "{same} the same, {raised} raised");
}

/// What is not there, by the beginning of the expression: filters that no chat template was seen to use.
const DIFFERENT: [&str; 1] = ["{{ text | wordcount }}"];

#[test]
fn small_things_are_done_as_jinja_does_them() {
    let golden = golden();
    let variables = golden["variables"].as_object().unwrap();
    let mut wrong = Vec::new();
    for one in golden["expressions"].as_array().unwrap() {
        let source = one["source"].as_str().unwrap();
        let messages = vec![serde_json::json!({"role": "user", "content": "a"})];
        let scene = Scene { messages, variables: variables.clone(), ..Scene::default() };
        let ours = Template::new("one", source, Vec::new()).and_then(|template| template.render(&scene));
        let right = match (&ours, one["text"].as_str()) {
            (Ok(ours), Some(theirs)) => ours == theirs,
            (Err(_), None) => true,
            _ => false,
        };
        if right == DIFFERENT.iter().any(|known| source.starts_with(known)) {
            let ours = ours.unwrap_or_else(|refusal| refusal.detail);
            wrong.push(format!("{source}\n   ours {ours:?}\n theirs {} {}", one["text"], one["error"]));
        }
    }
    assert!(wrong.is_empty(), "{} differ, or no longer differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_built_in_template_is_the_one_that_was_rendered() {
    assert_eq!(golden()["templates"]["built-in"].as_str(), Some(pleach::data::template::CHATML));
}

#[test]
fn what_a_template_raises_is_told_in_its_words() {
    let golden = golden();
    for case in golden["cases"].as_array().unwrap() {
        let (Some(error), Some(name)) = (case["error"].as_str(), case["template"].as_str()) else { continue };
        // What the engines say of themselves differs; what a template says does not.
        if !golden["templates"][name].as_str().unwrap().contains(error.get(..12).unwrap_or(error)) {
            continue;
        }
        let scene = scene(&golden["conversations"][case["conversation"].as_str().unwrap()], false);
        let refusal = compiled(&golden, name).render(&scene).unwrap_err();
        assert!(refusal.detail.contains(error), "{name}: {refusal}, not {error}");
    }
}

#[test]
fn generation_blocks_are_where_transformers_says() {
    let golden = golden();
    let mut blocks = 0;
    for case in golden["cases"].as_array().unwrap() {
        let (Some(theirs), Some(text)) = (case["generation"].as_array(), case["text"].as_str()) else { continue };
        let template = compiled(&golden, case["template"].as_str().unwrap());
        assert!(template.has_generation_blocks());
        let scene = scene(&golden["conversations"][case["conversation"].as_str().unwrap()], false);
        let (ours, ranges) = template.render_marked(&scene).unwrap();
        assert_eq!(ours, text);
        // Python counts characters.
        let characters = |at: usize| ours[..at].chars().count() as u64;
        let ours: Vec<[u64; 2]> = ranges.iter().map(|r| [characters(r.start), characters(r.end)]).collect();
        let theirs: Vec<[u64; 2]> =
            theirs.iter().map(|pair| [pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap()]).collect();
        assert_eq!(ours, theirs, "{} {}", case["template"], case["conversation"]);
        blocks += ours.len();
    }
    assert!(blocks > 20, "{blocks} blocks");
}

/// The learnt text of a conversation, a part for each turn.
fn learnt(encoder: &ChatEncoder, tokenizer: &Tokenizer, conversation: &Conversation) -> Result<Vec<String>, String> {
    let encoded = encoder.conversation(conversation).map_err(|refusal| refusal.what + ": " + &refusal.detail)?;
    let bos = encoded.ids.iter().take_while(|&&id| Some(id) == tokenizer.bos()).count();
    assert_eq!(bos, 1, "BOS at the beginning");
    let pieces = Sample::of("", &encoded, tokenizer).pieces;
    Ok(pieces.into_iter().filter(|piece| piece.trained).map(|piece| piece.text).collect())
}

#[test]
fn each_template_has_the_mask_that_its_shape_allows() {
    let golden = golden();
    let marks = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"];
    let more = ["<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|end|>", "<|END_OF_TURN_TOKEN|>"];
    let last = ["<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|USER_TOKEN|>", "<|User|>", "<|Assistant|>"];
    let marks = marks.iter().chain(&more).chain(&last).map(|mark| mark.to_string());
    let marks = marks.chain(["<|end\u{2581}of\u{2581}sentence|>".to_owned()]).collect();
    let options = TrainOptions { vocab: 300, marks, ..TrainOptions::default() };
    let tokenizer = train(vec!["one two three four five six".repeat(9)], &options).unwrap();
    let said = [(Role::User, "One"), (Role::Assistant, "Two"), (Role::User, "Three"), (Role::Assistant, "Four")];
    let messages = said.iter().map(|(role, words)| Message::new(*role, *words)).collect();
    let plain = Conversation { messages, ..Conversation::default() };
    let ends = [
        ("chatml", ["Two<|im_end|>", "Four<|im_end|>"]),
        ("llama-2", [" Two </s>", " Four </s>"]),
        ("llama-3", ["Two<|eot_id|>", "Four<|eot_id|>"]),
        ("mistral", [" Two</s>", " Four</s>"]),
        ("gemma", ["Two<end_of_turn>", "Four<end_of_turn>"]),
        ("zephyr", ["Two</s>", "Four</s>"]),
        ("phi", ["Two<|end|>", "Four<|end|>"]),
        ("command", ["Two<|END_OF_TURN_TOKEN|>", "Four<|END_OF_TURN_TOKEN|>"]),
        ("built-in", ["Two<|im_end|>", "Four<|im_end|>"]),
    ];
    for (name, expected) in ends {
        let template = compiled(&golden, name);
        let encoder = ChatEncoder::new(&tokenizer, &template, Turns::All);
        assert_eq!(learnt(&encoder, &tokenizer, &plain), Ok(expected.map(String::from).to_vec()), "{name}");
    }
    // Qwen's shape takes the thinking out of old answers; DeepSeek's begins answers with thinking that they then lack.
    for name in ["qwen", "deepseek"] {
        let template = compiled(&golden, name);
        let encoder = ChatEncoder::new(&tokenizer, &template, Turns::All);
        let refusal = learnt(&encoder, &tokenizer, &plain).unwrap_err();
        let named = format!("the chat template {name} changes what it has written before: at message 2: ");
        assert!(refusal.starts_with(&named), "{refusal}");
    }
    // One exchange of Qwen's shape appends only: its answer begins with the thinking.
    let messages = plain.messages[..2].to_vec();
    let template = compiled(&golden, "qwen");
    let encoder = ChatEncoder::new(&tokenizer, &template, Turns::All);
    let one = learnt(&encoder, &tokenizer, &Conversation { messages, ..Conversation::default() });
    assert_eq!(one, Ok(vec!["<think>\n\n</think>\n\nTwo<|im_end|>".to_owned()]));
}
