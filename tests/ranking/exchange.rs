//! Files in and out: what goes out comes in again, and what is wrong is refused with its line and field.

use super::{chat, order, plain, rank_next};
use pleach::data::records::{ReadOptions, Reading, Record, Said, read};
use pleach::ranking::exchange::{Format, export, import, items};
use pleach::ranking::{Answer, Store, freeze};
use pleach::runtime::fault::Fault;
use std::path::{Path, PathBuf};

/// A store with three rankings of two raters: texts, ties, flags, a better answer.
fn ranked(folder: &tempfile::TempDir) -> Store {
    let mut store = plain(folder, 2);
    let mut full = Answer { better: "Better.".into(), comment: "odd".into(), ..order("b a=c") };
    full.flags.insert("a".into(), vec!["rude".into()]);
    rank_next(&mut store, "Ada", &full);
    rank_next(&mut store, "Bob", &order("c b a"));
    store
}

fn records(path: &Path) -> (Vec<Record>, Reading) {
    let mut all = Vec::new();
    let reading = read(path, &ReadOptions::default(), &mut |_, record| {
        all.push(record);
        Ok(())
    });
    (all, reading.unwrap())
}

fn written(store: &Store, folder: &tempfile::TempDir, format: Format) -> (PathBuf, u64, Vec<String>) {
    let path = folder.path().join(format!("{format:?}.json{}", if format == Format::LabelStudio { "" } else { "l" }));
    let done = export(store, format, &path).unwrap();
    (path, done.records, done.notes)
}

#[test]
fn our_own_records_come_back_whole() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = ranked(&folder);
    store.add_items(&[chat("talk", 3)]).unwrap();
    rank_next(&mut store, "Ada", &order("a b c"));
    let (path, count, _) = written(&store, &folder, Format::Kwise);
    let mut again = Store::open(&other.path().join("rankings.sqlite")).unwrap();
    let done = import(&mut again, &path).unwrap();
    assert_eq!((count, done.records, done.items, done.rankings), (3, 3, 3, 3));
    assert_eq!(again.items().unwrap(), store.items().unwrap());
    let bare = |store: &Store| {
        let judged = store.judged().unwrap();
        judged.into_iter().map(|one| (one.item, one.rater, one.shown, one.answer)).collect::<Vec<_>>()
    };
    assert_eq!(bare(&again), bare(&store));
    let hash = |store: &Store| freeze(store, other.path()).unwrap().hash;
    assert_eq!(hash(&again), hash(&store), "even the frozen bytes are the same");
    let twice = import(&mut again, &path).unwrap();
    assert_eq!((twice.items, again.answered().unwrap().repeats), (0, 3), "a second import is a repeat of each");
}

#[test]
fn pairs_are_all_unequal_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let store = ranked(&folder);
    let (path, count, _) = written(&store, &folder, Format::Pairs);
    let (all, _) = records(&path);
    let said = |said: &Said| said.words();
    let pairs: Vec<(String, String)> = all
        .iter()
        .map(|record| match record {
            Record::Pair(pair) => (said(&pair.chosen), said(&pair.rejected)),
            _ => panic!("no pair"),
        })
        .collect();
    let text = |item: usize, index: usize| format!("answer {index} to i{item}");
    assert_eq!(count, 5);
    assert_eq!(pairs[..2], [(text(0, 1), text(0, 0)), (text(0, 1), text(0, 2))]);
    let second = [(2, 1), (2, 0), (1, 0)].map(|(better, worse)| (text(1, better), text(1, worse)));
    assert_eq!(pairs[2..], second);
    let other = tempfile::tempdir().unwrap();
    let mut again = Store::open(&other.path().join("pairs.sqlite")).unwrap();
    let done = import(&mut again, &path).unwrap();
    assert_eq!((done.items, done.rankings), (5, 5));
    assert!(again.judged().unwrap().iter().all(|one| one.rater == "imported from Pairs.jsonl"));
}

#[test]
fn unpaired_answers_go_out_and_come_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = ranked(&folder);
    let (path, count, notes) = written(&store, &folder, Format::Kto);
    assert_eq!((count, notes.len()), (5, 1));
    assert!(notes[0].contains("1 completions between"), "{notes:?}");
    let (all, _) = records(&path);
    let label = |record: &Record| matches!(record, Record::Unpaired(it) if it.label);
    assert_eq!(all.iter().map(label).collect::<Vec<_>>(), [true, false, false, true, false]);
    let text = std::fs::read_to_string(&path).unwrap();
    let lonely = "{\"prompt\": \"alone\", \"completion\": \"x\", \"label\": true}\n";
    std::fs::write(&path, text + lonely).unwrap();
    let mut again = Store::open(&folder.path().join("kto.sqlite")).unwrap();
    let done = import(&mut again, &path).unwrap();
    assert_eq!((done.records, done.items, done.rankings), (6, 2, 2));
    assert!(done.notes[0].contains("1 prompts have one judged answer"), "{:?}", done.notes);
    let order: Vec<_> = again.judged().unwrap().into_iter().map(|one| one.answer.order).collect();
    assert_eq!(order, [vec![vec!["0"], vec!["1", "2"]], vec![vec!["0"], vec!["1"]]]);
}

/// Ranks by the texts of the completions, as every format keeps them.
fn by_text(store: &Store) -> Vec<Vec<(String, u32)>> {
    let items = store.items().unwrap();
    let one = |judged: pleach::ranking::Judged| {
        let item = &items[judged.item];
        let ranks = judged.answer.ranks(&item.ids()).unwrap();
        item.completions.iter().map(|one| one.said.words()).zip(ranks).collect()
    };
    store.judged().unwrap().into_iter().map(one).collect()
}

#[test]
fn trees_nectar_and_label_studio_keep_the_order() {
    for format in [Format::Oasst, Format::Nectar, Format::LabelStudio] {
        let folder = tempfile::tempdir().unwrap();
        let mut store = ranked(&folder);
        store.add_items(&[chat("talk", 4)]).unwrap();
        rank_next(&mut store, "Cyd", &order("d b c a"));
        let (path, _, notes) = written(&store, &folder, format);
        let mut again = Store::open(&folder.path().join("again.sqlite")).unwrap();
        let done = import(&mut again, &path).unwrap();
        assert_eq!((done.items, done.rankings), (3, 3), "{format:?}");
        let (mut expected, found) = (by_text(&store), by_text(&again));
        if format == Format::LabelStudio {
            assert!(notes[0].contains("1 groups of equals"), "{notes:?}");
            let shown = &store.judged().unwrap()[0].shown;
            let first = shown.iter().find(|id| *id != "b").unwrap();
            // The equal ones, a and c, in the order shown.
            let (a, c) = if first == "a" { (2, 3) } else { (3, 2) };
            (expected[0][0].1, expected[0][2].1) = (a, c);
            assert_eq!(again.judged().unwrap()[0].rater, "Ada");
        }
        assert_eq!(found, expected, "{format:?}");
        if format == Format::Nectar {
            assert_eq!(again.items().unwrap()[2].prompt, store.items().unwrap()[2].prompt);
        }
    }
}

#[test]
fn better_answers_become_instruction_data() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = ranked(&folder);
    let (path, count, _) = written(&store, &folder, Format::Sft);
    assert_eq!(count, 1);
    assert!(matches!(&records(&path).0[0], Record::Completion(it) if it.completion == Said::Text("Better.".into())));
    store.add_items(&[chat("talk", 2)]).unwrap();
    let skip = Answer { skip: Some("all are bad".into()), better: "Mine.".into(), ..Answer::default() };
    rank_next(&mut store, "Ada", &skip);
    let (path, count, _) = written(&store, &folder, Format::Sft);
    assert_eq!(count, 2);
    let (all, _) = records(&path);
    let Record::Conversation(talk) = &all[1] else { panic!("no conversation") };
    assert_eq!(talk.messages.len(), 4);
    assert_eq!(talk.messages[3].content.as_deref(), Some("Mine."));
}

/// What an import says of a text.
fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    std::fs::write(&path, text).unwrap();
    let mut store = Store::open(&folder.path().join("rankings.sqlite")).unwrap();
    let found: Fault = import(&mut store, &path).unwrap_err();
    assert_eq!(store.answered().unwrap().items, 0, "all or none");
    found.refusal.unwrap().to_string()
}

#[test]
fn unknown_ids_and_holes_are_refused_with_their_line_and_field() {
    let line = |ranks: &str| {
        let completions = "[{\"id\":\"a\",\"text\":\"x\"},{\"id\":\"b\",\"text\":\"y\"},{\"id\":\"c\",\"text\":\"z\"}]";
        format!("{{\"prompt\":\"p\",\"completions\":{completions},\"ranks\":{ranks}}}\n")
    };
    let good = line("[1,2,3]");
    for (ranks, why) in [
        ("{\"a\":1,\"b\":2,\"q\":3}", "the unknown id \"q\""),
        ("{\"a\":1,\"b\":2}", "a rank from 1 to 3 for completion \"c\""),
        ("[1,3,3]", "ranks without holes"),
        ("[1,2]", "3 ranks"),
        ("[0,1,2]", "a rank from 1 to 3"),
    ] {
        let said = refused(&(good.clone() + &line(ranks)));
        assert!(said.contains("line 2") && said.contains("ranks") && said.contains(why), "{said}");
    }
    let many = (0..10).map(|index| format!("\"{index}\"")).collect::<Vec<_>>().join(",");
    let ranks = (1..=10).map(|rank| rank.to_string()).collect::<Vec<_>>().join(",");
    let said = refused(&format!("{good}{{\"prompt\":\"p\",\"completions\":[{many}],\"ranks\":[{ranks}]}}\n"));
    assert!(said.contains("line 2") && said.contains("10 completions"), "{said}");
    let named =
        |text: &str| line("[1,2,3]").replace("{\"prompt\":\"p\"", &format!("{{\"id\":\"same\",\"prompt\":\"{text}\""));
    let said = refused(&(named("p") + &named("q")));
    assert!(said.contains("line 2") && said.contains("with another prompt"), "{said}");
    let said = refused("{\"text\":\"a story\"}\n");
    assert!(said.contains("line 1") && said.contains("no ranking"), "{said}");
    let task = |ids: &str| {
        let items = "[{\"id\":\"1\",\"body\":\"x\"},{\"id\":\"2\",\"body\":\"y\"}]";
        let result = format!("[{{\"type\":\"ranker\",\"value\":{{\"ranker\":{ids}}}}}]");
        let data = format!("{{\"prompt\":\"p\",\"items\":{items}}}");
        format!("{{\"data\":{data},\"annotations\":[{{\"result\":{result}}}]}}\n")
    };
    for (ids, why) in [("[\"1\",\"3\"]", "the unknown id \"3\""), ("[\"2\"]", "all 2 items in order")] {
        let said = refused(&task(ids));
        assert!(said.contains("line 1") && said.contains("ranker") && said.contains(why), "{said}");
    }
}

#[test]
fn flags_that_a_store_does_not_know_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.jsonl");
    let completions = "[{\"id\":\"a\",\"text\":\"x\",\"flags\":{\"ethics\":[\"rude\",\"loud\"],\"bias\":true}},\"y\"]";
    std::fs::write(&path, format!("{{\"prompt\":\"p\",\"completions\":{completions},\"ranks\":[2,1]}}\n")).unwrap();
    let mut store = Store::open(&folder.path().join("rankings.sqlite")).unwrap();
    let done = import(&mut store, &path).unwrap();
    assert_eq!(done.notes, ["the flag \"loud\" is none of this store's: left out 1 times"]);
    assert_eq!(store.judged().unwrap()[0].answer.flags["a"], ["rude", "judges_group"]);
}

#[test]
fn items_are_read_with_or_without_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("items.jsonl");
    let good = "{\"id\":\"one\",\"prompt\":\"p\",\"completions\":[\"x\",{\"id\":\"b\",\"text\":\"y\",\"origin\":{\"seed\":3}}]}\n\
                {\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"completions\":[\"x\",\"y\",\"z\"]}\n";
    std::fs::write(&path, good).unwrap();
    let all = items(&path).unwrap();
    assert_eq!((all.len(), all[0].id.as_str(), all[0].completions[1].origin["seed"].as_u64()), (2, "one", Some(3)));
    assert!(matches!(all[1].completions[2].said, Said::Messages(_)) && all[1].id.len() == 16);
    for (line, why) in [
        ("{\"prompt\":\"p\",\"completions\":[\"x\"]}", "field completions"),
        ("{\"prompt\":\"p\",\"completions\":[\"x\",{\"id\":\"k\"}]}", "field completions[1].text"),
        (
            "{\"prompt\":\"p\",\"completions\":[{\"id\":\"k\",\"text\":\"\"},{\"id\":\"k\",\"text\":\"\"}]}",
            "a second time",
        ),
        ("{\"id\":\"one\",\"prompt\":\"p\",\"completions\":[\"x\",\"z\"]}", "the item of line 1"),
        ("{\"completions\":[\"x\",\"z\"]}", "field prompt"),
    ] {
        std::fs::write(&path, format!("{good}{line}\n")).unwrap();
        let said = items(&path).unwrap_err().refusal.unwrap().to_string();
        assert!(said.contains("line 3") && said.contains(why), "{said}");
    }
}
