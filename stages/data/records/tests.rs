//! Every shape of record, good and bad.
#![allow(clippy::unwrap_used)]

use super::*;
use pleach_runtime::fault::Fault;
use std::path::PathBuf;

/// A file of these lines in a folder that lives as long as the first value.
fn file(name: &str, lines: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, lines.join("\n")).unwrap();
    (folder, path)
}

fn all(path: &Path, options: &ReadOptions) -> Result<(Reading, Vec<Record>), Fault> {
    let mut records = Vec::new();
    let reading = read(path, options, &mut |_, record| {
        records.push(record);
        Ok(())
    })?;
    Ok((reading, records))
}

/// The normal forms of one record.
fn one(line: &str) -> (Shape, Vec<Record>) {
    let (_folder, path) = file("a.jsonl", &[line]);
    let (reading, records) = all(&path, &ReadOptions::default()).unwrap();
    (reading.shape, records)
}

/// What is said about a file that is refused.
fn refused(lines: &[&str]) -> String {
    let (_folder, path) = file("a.jsonl", lines);
    let fault = all(&path, &ReadOptions::default()).unwrap_err();
    fault.refusal.expect("a refusal").detail
}

fn user(text: &str) -> Message {
    Message::new(Role::User, text)
}

fn assistant(text: &str) -> Message {
    Message::new(Role::Assistant, text)
}

use std::path::Path;

#[test]
fn conversations_of_all_kinds_become_messages() {
    let (shape, records) =
        one(r#"{"id": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]},
        {"role": "assistant", "content": null, "weight": 0, "tool_calls":
        [{"id": "x", "function": {"name": "f", "arguments": "{\"n\": 1}"}}]},
        {"role": "tool", "content": "2", "tool_call_id": "x", "mood": "dry"}], "tools": [{"name": "f"}]}"#
            .replace('\n', " ")
            .as_str());
    assert_eq!(shape, Shape::Messages);
    let [Record::Conversation(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!(it.messages[0], user("ab"));
    assert_eq!(it.messages[1].train, Some(false));
    let call = json!({"id": "x", "type": "function", "function": {"name": "f", "arguments": {"n": 1}}});
    assert_eq!(it.messages[1].tool_calls, [call]);
    assert_eq!(it.messages[2].to_value()["mood"], "dry");
    assert_eq!(it.tools.as_ref().unwrap()[0]["function"]["name"], "f");

    let (shape, records) = one(
        r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "r"}, {"from": "gpt", "value": "a", "train": true}], "system": "s", "tools": "[]"}"#,
    );
    assert_eq!(shape, Shape::Sharegpt);
    let [Record::Conversation(it)] = &records[..] else { panic!("{records:?}") };
    let roles: Vec<Role> = it.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::Tool, Role::Assistant]);
    assert_eq!((it.messages[4].train, &it.tools), (Some(true), &None));

    let (shape, records) =
        one(r#"{"instruction": "i", "input": "n", "output": "o", "system": "s", "history": [["u", "v"]]}"#);
    assert_eq!(shape, Shape::Alpaca);
    let system = Message::new(Role::System, "s");
    let messages = vec![system, user("u"), assistant("v"), user("i\nn"), assistant("o")];
    assert_eq!(records, [Record::Conversation(Conversation { messages, ..Conversation::default() })]);
    assert_eq!(one(r#"{"text": "t"}"#), (Shape::Text, vec![Record::Text("t".into())]));
}

#[test]
fn what_is_wrong_in_a_conversation_is_said_with_its_place() {
    let bad = |messages: &str| refused(&[r#"{"messages": [{"role": "user", "content": "a"}]}"#, messages]);
    let cases = [
        (r#"{"messages": [{"role": "boss", "content": "a"}]}"#, r#"messages[0].role: expected one of system"#),
        (r#"{"messages": [{"content": "a"}]}"#, "messages[0].role: expected one of"),
        (r#"{"messages": []}"#, "field messages: expected a list of messages, found an empty list"),
        (r#"{"messages": "hi"}"#, r#"field messages: expected a list of messages, found "hi""#),
        (r#"{"messages": [{"role": "user"}]}"#, "messages[0].content: expected a string, found nothing"),
        (r#"{"messages": [{"role": "user", "content": 7}]}"#, "messages[0].content: expected a string, or a list"),
        (
            r#"{"messages": [{"role": "user", "content": [{"type": "image"}]}]}"#,
            r#"messages[0].content[0].type: expected "text""#,
        ),
        (
            r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]}]}"#,
            "messages[0].tool_calls[0].function.name: expected a string",
        ),
        (
            r#"{"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "no"}]}]}"#,
            "messages[0].tool_calls[0].arguments: expected an object",
        ),
        (
            r#"{"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}"#,
            "messages[0].weight: expected true or false, found the number 0.5",
        ),
        (
            r#"{"messages": [{"role": "assistant", "content": "a", "train": true, "weight": 0}]}"#,
            "messages[0].weight: expected the same as train",
        ),
        (
            r#"{"messages": [{"role": "assistant", "content": "a", "train_detail": []}]}"#,
            "messages[0].train_detail: expected no parts",
        ),
        (
            r#"{"messages": [{"role": "user", "content": "a"}], "tools": "no"}"#,
            "field tools: expected a list of schemas",
        ),
    ];
    for (line, words) in cases {
        let detail = bad(line);
        assert!(detail.starts_with("line 2, field "), "{detail}");
        assert!(detail.contains(words), "{detail}\n does not say {words}");
    }
    let turn = |turn: &str| refused(&[&format!(r#"{{"conversations": [{turn}]}}"#)]);
    assert!(turn(r#"{"from": "alien", "value": "a"}"#).contains("conversations[0].from: expected one of human"));
    assert!(turn(r#"{"from": "human"}"#).contains("conversations[0].value: expected a string, found nothing"));
    assert!(turn(r#"{"from": "function_call", "value": "f()"}"#).contains("conversations[0].value: expected a call"));
    assert!(refused(&[r#"{"instruction": "", "output": "o"}"#]).contains("field instruction: expected what is asked"));
    assert!(refused(&[r#"{"instruction": "i", "output": 3}"#]).contains("field output: expected a string"));
    let history = refused(&[r#"{"instruction": "i", "output": "o", "history": [["a"]]}"#]);
    assert!(history.contains("history[0]: expected a pair"), "{history}");
}

#[test]
fn completions_and_judged_answers() {
    let (shape, records) = one(r#"{"prompt": "p", "completion": "c", "more": 1}"#);
    assert_eq!(shape, Shape::Completion);
    let text = |text: &str| Said::Text(text.into());
    assert_eq!(records, [Record::Completion(Completion { prompt: text("p"), completion: text("c"), tools: None })]);
    let (_, records) = one(r#"{"prompt": [{"role": "user", "content": "p"}], "completion": "c"}"#);
    let [Record::Completion(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!(it.completion, Said::Messages(vec![assistant("c")]));
    let (shape, records) = one(r#"{"question": "q", "answer": "a #### 4"}"#);
    assert_eq!((shape, records[0].words()), (Shape::Question, "q\na #### 4".to_owned()));

    let labels = [
        (r#"{"prompt": "p", "completion": "c", "label": true}"#, Shape::Unpaired, true),
        (r#"{"instruction": "p", "output": "c", "kto_tag": false}"#, Shape::AlpacaUnpaired, false),
        (
            r#"{"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "c"}], "kto_tag": 1}"#,
            Shape::SharegptUnpaired,
            true,
        ),
    ];
    for (line, expected, label) in labels {
        let (shape, records) = one(line);
        let [Record::Unpaired(it)] = &records[..] else { panic!("{records:?}") };
        assert_eq!((shape, it.label), (expected, label));
        assert_eq!((it.prompt.words(), it.completion.words()), ("p".to_owned(), "c".to_owned()));
    }
    assert!(refused(&[r#"{"prompt": "p", "completion": "c", "label": "yes"}"#]).contains("field label: expected true"));
    assert!(
        refused(&[r#"{"prompt": "p", "completion": {}}"#]).contains("field completion: expected a string or a list")
    );

    let (shape, records) = one(r#"{"prompt": "2 + 2?", "answer": "4", "weight": 2}"#);
    let [Record::Prompt(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((shape, &it.columns["answer"], it.columns.len()), (Shape::Prompt, &json!("4"), 2));
}

#[test]
fn pairs_in_all_clothes_are_one() {
    let lines = [
        (r#"{"prompt": "p", "chosen": "c", "rejected": "r", "margin": 1.5}"#, Shape::Preference),
        (
            r#"{"instruction": "p", "input": "", "output": "c", "chosen": "c", "rejected": "r"}"#,
            Shape::AlpacaPreference,
        ),
        (
            r#"{"conversations": [{"from": "human", "value": "p"}], "chosen": {"from": "gpt", "value": "c"}, "rejected": {"from": "gpt", "value": "r"}}"#,
            Shape::SharegptPreference,
        ),
        (
            r#"{"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}], "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]}"#,
            Shape::ImplicitPreference,
        ),
        (
            r#"{"prompt": "p", "messages": [], "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}], "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]}"#,
            Shape::Preference,
        ),
        (
            r#"{"chosen": "\n\nHuman: p\n\nAssistant: c", "rejected": "\n\nHuman: p\n\nAssistant: r"}"#,
            Shape::Transcripts,
        ),
    ];
    for (line, expected) in lines {
        let (shape, records) = one(line);
        assert_eq!(shape, expected, "{line}");
        let [Record::Pair(it)] = &records[..] else { panic!("{records:?}") };
        let words = [it.prompt.words(), it.chosen.words(), it.rejected.words()];
        assert_eq!(words, ["p", "c", "r"], "{line}");
    }
    let (_, records) = one(r#"{"chosen": "the sky is blue", "rejected": "the sky is black"}"#);
    let [Record::Pair(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((it.prompt.words().as_str(), it.chosen.words().as_str()), ("the sky is bl", "ue"));
    let (_, records) = one(
        r#"{"chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d", "rejected": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"}"#,
    );
    let [Record::Pair(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!(it.prompt.clone().into_messages(Role::User), [user("a"), assistant("b"), user("c")]);
    assert!(it.rejected.is_empty() && records[0].has_empty_answer());

    assert!(
        refused(&[r#"{"chosen": "abc", "rejected": "xyz"}"#]).contains("field rejected: expected a beginning shared")
    );
    assert!(
        refused(&[r#"{"prompt": "p", "chosen": "c", "rejected": 5}"#]).contains("field rejected: expected a string")
    );
    assert!(refused(&[r#"{"prompt": "p", "chosen": "c", "rejected": "r", "margin": "big"}"#]).contains("field margin"));
    let other = r#"{"chosen": "\n\nHuman: p\n\nAssistant: c", "rejected": "\n\nHuman: q\n\nAssistant: r"}"#;
    assert!(refused(&[other]).contains("field rejected: expected a first turn shared"));
}

#[test]
fn our_rankings_keep_all_that_was_said() {
    let line = r#"{"id": 7, "prompt": "p", "completions": [{"id": "a", "text": "1", "flags": {"bias": 1}}, {"id": "b", "text": "2", "comment": "dull"}, {"id": "c", "text": "3"}, {"id": "d", "text": "4"}], "ranks": [2, 1, 2, 4], "rater": "ann", "comment": "hm", "flags": {"safety": true}, "shown_order": ["d", "a", "b", "c"], "seconds": 12.5}"#;
    let (shape, records) = one(line);
    let [Record::Ranked(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((shape, it.ranks.clone()), (Shape::Ranking, vec![2, 1, 2, 4]));
    assert_eq!(it.groups(), [vec![1], vec![0, 2], vec![3]]);
    assert_eq!(it.pairs(), [(0, 3), (1, 0), (1, 2), (1, 3), (2, 3)]);
    assert_eq!((it.shown_order.clone(), it.seconds, it.rater.as_deref()), (vec![3, 0, 1, 2], Some(12.5), Some("ann")));
    assert_eq!((&it.completions[0].flags["bias"], &it.flags["safety"]), (&json!(1), &json!(true)));
    assert_eq!((it.id.as_deref(), it.completions[1].comment.as_deref()), (Some("7"), Some("dull")));

    let ranking = |completions: &str, more: &str| {
        format!(r#"{{"prompt": "p", "completions": [{completions}], "ranks": {more}}}"#)
    };
    let three = r#"{"id": "a", "text": "1"}, {"id": "b", "text": "2"}, {"id": "c", "message": {"role": "assistant", "content": "3"}}"#;
    let (_, records) = one(&ranking(three, r#"{"c": 1, "a": 2, "b": 2}"#));
    let [Record::Ranked(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!(it.groups(), [vec![2], vec![0, 1]]);
    assert!(it.completions.iter().all(|one| matches!(one.said, Said::Messages(_))));
    let (_, records) = one(&ranking(three, "[1, 2, 2]"));
    assert!(matches!(&records[..], [Record::Ranked(it)] if it.ranks == [1, 2, 2]));
    let bad = [
        (ranking(three, "[1, 2]"), "field ranks: expected 3 ranks"),
        (ranking(three, "[1, 2, null]"), r#"field ranks: expected a rank from 1 to 3 for completion "c""#),
        (ranking(three, "[1, 2, 4]"), "field ranks: expected a rank from 1 to 3"),
        (ranking(three, "[1, 3, 3]"), "field ranks: expected ranks without holes"),
        (ranking(three, r#"{"a": 1, "b": 2, "z": 3}"#), r#"found the unknown id "z""#),
        (ranking(three, r#"[1, 2, 3], "shown_order": ["a", "b", "x"]"#), "shown_order[2]: expected the id"),
        (ranking(three, r#"[1, 2, 3], "shown_order": ["a", "b", "b"]"#), "shown_order: expected each completion once"),
        (
            ranking(r#"{"id": "a", "text": "1"}, {"id": "a", "text": "2"}"#, "[1, 2]"),
            "completions[1].id: expected a name",
        ),
        (ranking(r#"{"id": "a", "text": "1"}"#, "[1]"), "field completions: expected a list of at least two"),
        (ranking(r#"{"text": "1"}, {"text": "2"}"#, "[1, 2]"), "completions[0].id: expected a name"),
    ];
    for (line, words) in bad {
        let detail = refused(&[&line]);
        assert!(detail.contains(words), "{detail}\n does not say {words}");
    }
}

#[test]
fn rankings_of_others_are_read() {
    let tree = r#"{"message_tree_id": "t", "tree_state": "ready", "prompt": {"message_id": "t", "role": "prompter", "text": "p", "replies": [{"message_id": "x", "role": "assistant", "text": "worse", "rank": 1, "labels": {"toxicity": {"value": 0.1}}, "replies": [{"message_id": "y", "role": "prompter", "text": "more", "replies": []}]}, {"message_id": "z", "role": "assistant", "text": "best", "rank": 0}, {"message_id": "w", "role": "assistant", "text": "unranked", "rank": null}]}}"#;
    let (shape, records) = one(tree);
    let [Record::Ranked(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((shape, it.ranks.clone(), it.completions.len()), (Shape::OasstTree, vec![2, 1], 2));
    assert_eq!(it.completions[0].flags["toxicity"]["value"], 0.1);

    let (shape, records) = one(
        r#"{"prompt": "\n\nHuman: p\n\nAssistant: ", "answers": [{"answer": "b", "model": "m", "rank": 2.0}, {"answer": "a", "model": "m", "rank": 1.0}], "turns": 1}"#,
    );
    let [Record::Ranked(it)] = &records[..] else { panic!("{records:?}") };
    assert_eq!((shape, it.groups()), (Shape::Nectar, vec![vec![1], vec![0]]));
    assert_eq!(it.prompt, Said::Messages(vec![user("p")]));

    let first = r#"{"fields": {"prompt": "p", "r1": "a", "r2": "b"}, "responses": [{"user_id": "u", "values": {"order": {"value": [{"value": "r2", "rank": 1}, {"value": "r1", "rank": 1}]}, "mood": {"value": "good"}}}]}"#;
    let second = r#"{"fields": {"task": "p", "r1": "a", "r2": "b"}, "responses": {"order": [{"value": [{"value": "r2", "rank": 1}, {"value": "r1", "rank": 2}], "user_id": "v"}]}}"#;
    for (line, groups, rater) in [(first, vec![vec![0, 1]], "u"), (second, vec![vec![0], vec![1]], "v")] {
        let (shape, records) = one(line);
        let [Record::Ranked(it)] = &records[..] else { panic!("{records:?}") };
        assert_eq!((shape, it.groups(), it.rater.as_deref()), (Shape::Argilla, groups, Some(rater)));
        assert_eq!((it.prompt.words().as_str(), it.completions[0].said.words().as_str()), ("p", "b"));
    }

    let studio = |value: &str| {
        format!(
            r#"{{"id": 3, "data": {{"prompt": "p", "items": [{{"id": "a", "title": "A", "body": "one"}}, {{"id": "b", "body": "two"}}], "answer1": "l", "answer2": "r"}}, "annotations": [{{"was_cancelled": true, "result": []}}, {{"completed_by": {{"email": "e@x.org"}}, "lead_time": 4.5, "result": [{value}]}}]}}"#
        )
    };
    let ranker = [r#"["b", "a"]"#, r#"{"rank": ["b", "a"]}"#, r#"{"rank": ["b", "a"], "_": []}"#];
    for order in ranker {
        let (shape, records) = one(&studio(&format!(r#"{{"type": "ranker", "value": {{"ranker": {order}}}}}"#)));
        let [Record::Ranked(it)] = &records[..] else { panic!("{records:?}") };
        assert_eq!((shape, it.ranks.clone(), it.seconds), (Shape::LabelStudio, vec![2, 1], Some(4.5)));
        assert_eq!(it.rater.as_deref(), Some("e@x.org"));
    }
    let (_, records) = one(&studio(r#"{"type": "pairwise", "value": {"selected": "right"}}"#));
    assert!(matches!(&records[..], [Record::Ranked(it)] if it.ranks == [2, 1]));
    let bad = |order: &str| refused(&[&studio(&format!(r#"{{"type": "ranker", "value": {{"ranker": {order}}}}}"#))]);
    assert!(bad(r#"["b", "z"]"#).contains(r#"found the unknown id "z""#));
    assert!(bad(r#"["b"]"#).contains("expected all 2 items in order, found 1 ids"));
    assert!(bad(r#"["b", "b"]"#).contains("expected each item once"));
    assert!(refused(&[&first.replace("\"r1\", \"rank\"", "\"r9\", \"rank\"")]).contains("expected one of the fields"));
}

#[test]
fn files_are_detected_and_held_to_their_shape() {
    let chat = r#"{"messages": [{"role": "user", "content": "a"}], "source": "x"}"#;
    let (_folder, path) = file("a.jsonl", &[chat, "", chat]);
    let found = detect(&path, &ReadOptions::default()).unwrap();
    assert_eq!((found.shape, found.unused), (Shape::Messages, vec!["source".to_owned()]));
    assert!(found.reason.contains("its records have messages"), "{}", found.reason);
    let (reading, records) = all(&path, &ReadOptions::default()).unwrap();
    assert_eq!((reading.records, records.len(), reading.unused["source"]), (2, 2, 2));

    let mixed = refused(&[chat, r#"{"instruction": "i", "output": "o"}"#]);
    assert_eq!(mixed, "line 1 is messages, but line 2 is alpaca (instruction, output)");
    // Behind the head too.
    let mut many = vec![chat; 80];
    many.push(r#"{"prompt": "p", "completion": "c"}"#);
    assert!(refused(&many).contains("but line 81 is prompt/completion"));
    assert!(refused(&[chat, "{\"messages\": "]).starts_with("line 2, column "));
    assert!(refused(&[chat, "[1]"]).contains("line 2: expected an object, found a list of 1"));
    assert!(refused(&[r#"{"colour": "red"}"#]).contains("line 1: a record with colour is of no known shape"));

    let (_folder, path) = file("a.json", &["[", r#"{"q": "1", "a": "2"},"#, r#"{"q": "3", "a": 4}]"#]);
    let columns = vec![("prompt".into(), "q".into()), ("completion".into(), "a".into())];
    let options = ReadOptions { columns, ..ReadOptions::default() };
    assert_eq!(detect(&path, &options).unwrap().shape, Shape::Completion);
    let fault = all(&path, &options).unwrap_err().refusal.unwrap();
    assert!(fault.detail.starts_with("record 2, field completion: expected a string"), "{fault}");
    let options = ReadOptions { columns: vec![("prompt".into(), "x".into())], ..ReadOptions::default() };
    let fault = all(&path, &options).unwrap_err().refusal.unwrap();
    assert!(fault.detail.contains("no field \"x\"; the record has: q, a"), "{fault}");

    let (_folder, path) = file("a.jsonl", &[r#"{"prompt": "p", "chosen": "c", "rejected": "r", "text": "t"}"#]);
    let options = ReadOptions { shape: Some(Shape::Text), ..ReadOptions::default() };
    assert_eq!(all(&path, &options).unwrap().1, [Record::Text("t".into())]);
    let (_folder, path) = file("a.json", &["[", "{\"text\": \"t\"}"]);
    let fault = all(&path, &ReadOptions::default()).unwrap_err().refusal.unwrap();
    assert!(fault.detail.contains("line 2"), "{fault}");
    let (_folder, path) = file("a.txt", &["just", "text"]);
    assert_eq!(detect(&path, &ReadOptions::default()).unwrap().shape, Shape::Text);
    assert_eq!(all(&path, &ReadOptions::default()).unwrap().1, [Record::Text("just\ntext".into())]);
}

/// All records that differ from `value` in one place: there stands something else, or nothing.
fn mutants(value: &Value) -> Vec<Value> {
    let mut found =
        vec![Value::Null, json!(true), json!(-1.5), json!(3), json!("x"), json!([]), json!({}), json!([{}])];
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let with = |inner: Value| {
                    let mut map = map.clone();
                    map.insert(key.clone(), inner);
                    Value::Object(map)
                };
                found.extend(mutants(inner).into_iter().map(with));
                let mut without = map.clone();
                without.remove(key);
                found.push(Value::Object(without));
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                let with = |inner: Value| {
                    let mut list = list.clone();
                    list[index] = inner;
                    Value::Array(list)
                };
                found.extend(mutants(inner).into_iter().map(with));
                found
                    .push(list.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, one)| one.clone()).collect());
            }
        }
        _ => {}
    }
    found
}

#[test]
fn no_damage_to_a_record_goes_further_than_a_refusal() {
    let records = [
        json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant",
            "content": "b", "train": true, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": {}}}]}],
            "tools": [{"type": "function", "function": {"name": "f"}}]}),
        json!({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "s",
            "kto_tag": true, "chosen": {"from": "gpt", "value": "c"}, "rejected": {"from": "gpt", "value": "d"}}),
        json!({"instruction": "i", "input": "n", "output": "o", "history": [["a", "b"]], "system": "s"}),
        json!({"prompt": [{"role": "user", "content": "p"}], "chosen": "c", "rejected": "r", "margin": 1}),
        json!({"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}),
        json!({"prompt": "p", "completion": "c", "label": true}),
        json!({"prompt": "p", "completions": [{"id": "a", "text": "1"}, {"id": "b", "message": {"role": "assistant",
            "content": "2"}}], "ranks": [1, 2], "shown_order": ["b", "a"], "flags": {}, "seconds": 1.0}),
        json!({"message_tree_id": "t", "prompt": {"role": "prompter", "text": "p", "replies": [{"role": "assistant",
            "text": "a", "rank": 0}, {"role": "assistant", "text": "b", "rank": 1, "replies": []}]}}),
        json!({"prompt": "p", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}]}),
        json!({"fields": {"prompt": "p", "r": "a", "s": "b"}, "responses": [{"values": {"q": {"value":
            [{"value": "r", "rank": 1}, {"value": "s", "rank": 2}]}}}]}),
        json!({"data": {"prompt": "p", "items": [{"id": 1, "body": "a"}, {"id": 2, "body": "b"}]}, "annotations":
            [{"result": [{"type": "ranker", "value": {"ranker": {"rank": [2, 1]}}}]}]}),
    ];
    let (mut read, mut refused) = (0, 0);
    for record in &records {
        let whole = record.as_object().unwrap();
        let first = Shape::of(whole).unwrap();
        first.records(whole).unwrap();
        for mutant in mutants(record) {
            let Value::Object(map) = mutant else { continue };
            for shape in [Some(first), Shape::of(&map)].into_iter().flatten() {
                match shape.records(&map) {
                    Ok(records) => {
                        records.iter().for_each(|record| assert!(record.given().len() <= record.words().len() + 1));
                        read += 1;
                    }
                    Err(wrong) => {
                        assert!(!wrong.field.is_empty() && !wrong.expected.is_empty(), "{wrong}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(read > 300 && refused > 800, "{read} read, {refused} refused");
}
