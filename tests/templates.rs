//! Chat templates against transformers' own renderings, byte for byte (tools/oracle/templates.py).

use pleach::data::template::{Scene, Template};
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
