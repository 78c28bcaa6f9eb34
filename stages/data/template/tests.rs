//! Templates: what they may do, where they come from, and how they fail.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::data::tokenizer::{Tokenizer, TrainOptions, train};
use serde_json::json;

fn render(source: &str, variables: Json) -> Result<String, Refusal> {
    let variables = variables.as_object().cloned().unwrap_or_default();
    Template::new("test", source, Vec::new())?.render(&Scene { variables, ..Scene::default() })
}

#[test]
fn values_are_spelled_as_in_python() {
    let given = json!({"v": {"a": [1, 2.0, 1e16, 1e-5, 0.1, true, null, "it's", "\"'\n\u{7f}é"], "b": {}, "c": "x"}});
    let printed =
        render("{{ v }} {{ v.a[5] }} {{ none }} {{ nothing }} {{ (1, 'a') }} {{ 3.0 }}", given.clone()).unwrap();
    let expected = r#"{'a': [1, 2.0, 1e+16, 1e-05, 0.1, True, None, "it's", '"\'\n\x7fé'], 'b': {}, 'c': 'x'} True None  (1, 'a') 3.0"#;
    assert_eq!(printed, expected);
    let dumped = render("{{ v | tojson }}", given.clone()).unwrap();
    let expected =
        "{\"a\": [1, 2.0, 1e+16, 1e-05, 0.1, true, null, \"it's\", \"\\\"'\\n\u{7f}é\"], \"b\": {}, \"c\": \"x\"}";
    assert_eq!(dumped, expected);
    let tight = "{{ v | tojson(separators=(',', ':'), ensure_ascii=true, sort_keys=true) }}";
    let tight = render(tight, json!({"v": {"b": "é🙂", "a": [1, {}]}})).unwrap();
    assert_eq!(tight, r#"{"a":[1,{}],"b":"\u00e9\ud83d\ude42"}"#);
    let wide = render("{{ v | tojson(indent=2) }}", json!({"v": {"a": [1, []], "b": {}}})).unwrap();
    assert_eq!(wide, "{\n  \"a\": [\n    1,\n    []\n  ],\n  \"b\": {}\n}");
}

#[test]
fn dates_are_told_not_taken() {
    let date = |seconds: i64, format: &str| clock::strftime(seconds, format).unwrap();
    assert_eq!(date(0, "%Y-%m-%d %H:%M:%S %a %A %j"), "1970-01-01 00:00:00 Thu Thursday 001");
    assert_eq!(date(951_782_399, "%d %b %Y, %-d. %B, %I:%M %p, %y %%"), "28 Feb 2000, 28. February, 11:59 PM, 00 %");
    assert_eq!(date(951_782_400, "%F %T %e"), "2000-02-29 00:00:00 29");
    assert_eq!(date(-1, "%F"), "1969-12-31");
    assert_eq!(date(4_102_444_800, "%F %j"), "2100-01-01 001");
    assert!(clock::strftime(0, "%Q").is_err());
    let source = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}never{% endif %}";
    assert_eq!(render(source, json!({})).unwrap(), "never");
    let template = Template::new("test", source, Vec::new()).unwrap().at(0);
    assert_eq!(template.render(&Scene::default()).unwrap(), "1970");
}

#[test]
fn hostile_templates_are_stopped() {
    let endless = "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
    let refusal = render(endless, json!({})).unwrap_err();
    assert!(refusal.detail.contains("did not end within"), "{refusal}");
    let deep = "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}";
    assert!(render(deep, json!({})).is_err());
    let double = "{% set ns = namespace(t='ab') %}{% for a in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}";
    assert!(render(double, json!({})).is_err());
    assert!(render("{% include 'secret' %}", json!({})).is_err());
    let long = Template::new("test", &"x".repeat(MAX_SOURCE + 1), Vec::new()).unwrap_err();
    assert!(long.detail.contains("the limit is"), "{long}");
    let raised = render("\n{{ raise_exception('No such thing') }}", json!({})).unwrap_err();
    assert!(raised.detail.contains("line 2") && raised.detail.contains("No such thing"), "{raised}");
    let broken = Template::new("the file", "a\n{% for %}", Vec::new()).unwrap_err();
    assert!(broken.what.contains("the file") && broken.detail.contains("line 2"), "{broken}");
}

#[test]
fn generation_blocks_are_found_where_they_are_meant() {
    let source = "{# {% generation %} #}{{ '{% generation %}' }}{% raw %}{% generation %}{% endraw %}\
         {%- generation -%}  one  {%- endgeneration %}|{%+ generation %}two{% endgeneration %}";
    let template = Template::new("test", source, Vec::new()).unwrap();
    let (text, ranges) = template.render_marked(&Scene::default()).unwrap();
    assert_eq!(text, "{% generation %}{% generation %}one|two");
    assert_eq!(ranges.iter().map(|range| &text[range.clone()]).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(template.render(&Scene::default()).unwrap(), text);
    // A text that holds the private characters keeps them.
    let variables = json!({"x": "\u{100000}a\u{100001}"}).as_object().cloned().unwrap();
    let template = Template::new("test", "{% generation %}{{ x }}{% endgeneration %}", Vec::new()).unwrap();
    let (text, ranges) = template.render_marked(&Scene { variables, ..Scene::default() }).unwrap();
    assert_eq!(text, "\u{100000}a\u{100001}");
    assert_eq!(ranges, std::slice::from_ref(&(0..9)));
    assert!(!Template::new("test", "{# {% generation %} #}", Vec::new()).unwrap().has_generation_blocks());
}

fn tokenizer() -> Tokenizer {
    train(vec!["some words to learn from ".repeat(9)], &TrainOptions { vocab: 300, ..TrainOptions::default() }).unwrap()
}

#[test]
fn a_folders_template_is_found_in_order() {
    let tokenizer = tokenizer();
    let folder = tempfile::tempdir().unwrap();
    let load = |source: &Source| Template::load(source, folder.path(), &tokenizer);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    assert!(load(&Source::Model).unwrap().source().contains("<|im_start|>"));
    write("tokenizer_config.json", r#"{"chat_template": "one {{ bos_token }}", "bos_token": {"content": "<b>"}}"#);
    let text = load(&Source::Model).unwrap().render(&Scene::default()).unwrap();
    assert_eq!(text, "one <b>");
    let list = json!({"chat_template": [{"name": "default", "template": "two"}, {"name": "tool_use", "template": "three"}],
        "bos_token": null});
    write("tokenizer_config.json", &list.to_string());
    assert_eq!(load(&Source::Model).unwrap().source(), "two");
    assert_eq!(load(&Source::Named("tool_use".into())).unwrap().source(), "three");
    assert!(!load(&Source::Model).unwrap().specials().iter().any(|(name, _)| name == "bos_token"));
    let refusal = load(&Source::Named("rag".into())).unwrap_err();
    assert!(refusal.detail.ends_with("has default, tool_use"), "{refusal}");
    assert!(load(&Source::Named("../rag".into())).is_err());
    write("chat_template.jinja", "four");
    assert_eq!(load(&Source::Model).unwrap().source(), "four");
    std::fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
    write("additional_chat_templates/rag.jinja", "five");
    assert_eq!(load(&Source::Named("rag".into())).unwrap().source(), "five");
    assert_eq!(
        load(&Source::File(folder.path().join("additional_chat_templates/rag.jinja"))).unwrap().source(),
        "five"
    );
    assert!(load(&Source::File(folder.path().join("none.jinja"))).is_err());
    write("tokenizer_config.json", "{");
    assert!(load(&Source::Model).unwrap_err().what.contains("tokenizer_config.json"));
}

#[test]
fn chatml_asks_for_its_marks() {
    let marks = vec!["<s>".to_owned()];
    let options = TrainOptions { vocab: 300, marks, ..TrainOptions::default() };
    let plain = train(vec!["some words to learn from ".repeat(9)], &options).unwrap();
    assert!(Template::chatml(&plain).unwrap_err().detail.contains("<|im_start|>"));
    let text = Template::chatml(&tokenizer()).unwrap();
    let scene = Scene { messages: vec![json!({"role": "user", "content": "a"})], ..Scene::default() };
    let expected = "<|endoftext|><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text.render(&Scene { add_generation_prompt: true, ..scene }).unwrap(), expected);
}
