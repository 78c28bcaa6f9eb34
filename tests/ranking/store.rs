//! The store: who gets what, what is kept, what is refused, and that random sequences of orders keep its promises.

use super::{chat, item, order, plain, rank_next};
use pleach::data::random::Dice;
use pleach::data::records::{ReadOptions, Record, read};
use pleach::data::world::Side;
use pleach::data::world::preferences::{Prompts, SimulatedRater};
use pleach::ranking::{Answer, Completion, Flags, Item, Options, Store, freeze, simulate};
use pleach::runtime::fault::Fault;
use std::collections::{BTreeMap, BTreeSet};

fn words(fault: &Fault) -> String {
    fault.refusal.as_ref().map_or(fault.what.clone(), |refusal| refusal.to_string())
}

#[test]
fn an_answer_outlives_the_process_and_a_draft_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 3);
    let first = rank_next(&mut store, "Ada", &order("b a=c"));
    let task = store.next("Ada").unwrap().unwrap();
    let mut draft = order("c");
    draft.comments.insert("a".into(), "hm".into());
    store.draft("Ada", task.assignment, task.revision + 1, &draft).unwrap();
    drop(store);
    let mut store = Store::open(&folder.path().join("rankings.sqlite")).unwrap();
    let judged = store.judged().unwrap();
    assert_eq!((judged.len(), store.items().unwrap()[judged[0].item].id.as_str()), (1, first.as_str()));
    assert_eq!(judged[0].answer, order("b a=c"));
    assert_eq!(judged[0].answer.ranks(&["a", "b", "c"]).unwrap(), [2, 1, 2]);
    let again = store.next("Ada").unwrap().unwrap();
    assert_eq!((again.assignment, again.draft, again.revision), (task.assignment, draft, task.revision + 1));
    let counts = store.answered().unwrap();
    assert_eq!((counts.items, counts.rankings, counts.open, counts.missing), (3, 1, 1, 2));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 1);
    let task = store.next("Ada").unwrap().unwrap();
    let answer = |change: &dyn Fn(&mut Answer)| {
        let mut answer = order("a b c");
        change(&mut answer);
        answer
    };
    let wrong: [(&str, Answer); 8] = [
        ("no rank for c", order("a b")),
        ("a second time", order("a b c a")),
        ("unknown completion \"d\"", order("a b c d")),
        ("empty group", answer(&|answer| answer.order.push(Vec::new()))),
        ("unknown flag \"nice\"", answer(&|answer| _ = answer.flags.insert("a".into(), vec!["nice".into()]))),
        ("unknown flag \"rude\"", answer(&|answer| answer.item_flags.push("rude".into()))),
        ("no reason", answer(&|answer| answer.skip = Some(" ".into()))),
        ("65537 bytes", answer(&|answer| answer.better = "x".repeat(65_537))),
    ];
    for (why, answer) in wrong {
        let found = store.submit("Ada", task.assignment, 5, &answer).unwrap_err();
        assert!(words(&found).contains(why), "{found} does not say {why}");
    }
    assert_eq!(store.answered().unwrap().rankings, 0);
    let other = store.submit("Bob", task.assignment, 1, &order("a b c")).unwrap_err();
    assert!(words(&other).contains("no item"), "an item in other hands: {other}");
    for name in ["", " Ada", "a\u{7}b"] {
        assert!(store.next(name).is_err(), "{name:?} is no name");
    }
}

#[test]
fn the_same_answer_sent_twice_is_one_answer_and_an_old_page_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 2);
    let task = store.next("Ada").unwrap().unwrap();
    store.draft("Ada", task.assignment, 3, &order("a")).unwrap();
    let old = store.draft("Ada", task.assignment, 2, &order("b")).unwrap_err();
    assert!(words(&old).contains("another window"), "{old}");
    store.submit("Ada", task.assignment, 4, &order("a b c")).unwrap();
    store.submit("Ada", task.assignment, 4, &order("a b c")).unwrap();
    assert!(store.submit("Ada", task.assignment, 4, &order("c b a")).is_err());
    assert!(store.draft("Ada", task.assignment, 5, &order("a")).is_err());
    assert_eq!(store.judged().unwrap().len(), 1);
}

#[test]
fn undo_goes_back_answer_by_answer_and_nothing_is_erased() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 3);
    assert_eq!(store.undo("Ada").unwrap(), None);
    let first = rank_next(&mut store, "Ada", &order("a b c"));
    let task = store.next("Ada").unwrap().unwrap();
    let skip = Answer { skip: Some("I cannot judge it".into()), order: vec![vec!["b".into()]], ..Answer::default() };
    store.submit("Ada", task.assignment, 1, &skip).unwrap();
    assert_eq!(store.answered().unwrap().skipped, 1);
    let back = store.undo("Ada").unwrap().unwrap();
    assert_eq!((back.assignment, back.draft.skip.clone(), back.draft.order.len()), (task.assignment, None, 1));
    let back = store.undo("Ada").unwrap().unwrap();
    assert_eq!((back.item.id.as_str(), &back.draft), (first.as_str(), &order("a b c")));
    assert_eq!(store.answered().unwrap().rankings, 0);
    assert_eq!(store.undo("Ada").unwrap(), None);
    store.submit("Ada", back.assignment, back.revision + 1, &order("c b a")).unwrap();
    assert_eq!(store.judged().unwrap()[0].answer, order("c b a"));
}

#[test]
fn two_raters_share_the_work_and_the_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 40);
    store.configure(&Options { overlap: 0.25, ..store.options().clone() }).unwrap();
    let mut seen: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut orders = BTreeSet::new();
    loop {
        let before = seen.values().map(Vec::len).sum::<usize>();
        for rater in ["Ada", "Bob", "Cyd"] {
            let Some(task) = store.next(rater).unwrap() else { continue };
            orders.insert(task.shown.clone());
            store.submit(rater, task.assignment, 1, &order("a b c")).unwrap();
            seen.entry(task.item.id).or_default().push(rater);
        }
        if seen.values().map(Vec::len).sum::<usize>() == before {
            break;
        }
    }
    assert_eq!(seen.len(), 40);
    let shared = seen.values().filter(|raters| raters.len() == 2).count();
    assert!((4..=16).contains(&shared) && seen.values().all(|raters| raters.len() <= 2), "{shared} shared");
    assert_eq!(orders.len(), 6, "every order of three is shown to somebody");
    let counts = store.answered().unwrap();
    assert_eq!((counts.missing, counts.rankings), (0, 40 + shared as u64));
}

#[test]
fn two_raters_on_one_item_at_once_are_both_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 1);
    store.configure(&Options { overlap: 1.0, ..store.options().clone() }).unwrap();
    let mut other = Store::open(store.path()).unwrap();
    let (one, two) = (store.next("Ada").unwrap().unwrap(), other.next("Bob").unwrap().unwrap());
    assert_eq!(one.item.id, two.item.id);
    assert_ne!(one.assignment, two.assignment);
    other.submit("Bob", two.assignment, 1, &order("a b c")).unwrap();
    store.submit("Ada", one.assignment, 1, &order("c b a")).unwrap();
    assert_eq!(store.judged().unwrap().len(), 2);
    assert_eq!(store.next("Cyd").unwrap(), None, "the item has its two raters");
}

#[test]
fn hidden_repeats_come_later_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 30);
    store.configure(&Options { repeats: 0.3, ..store.options().clone() }).unwrap();
    let mut places: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for place in 0.. {
        let Some(task) = store.next("Ada").unwrap() else { break };
        store.submit("Ada", task.assignment, 1, &order("a b c")).unwrap();
        places.entry(task.item.id).or_default().push(place);
    }
    let twice: Vec<&Vec<usize>> = places.values().filter(|places| places.len() > 1).collect();
    assert!((3..=16).contains(&twice.len()), "{} repeats", twice.len());
    assert!(twice.iter().all(|places| places.len() == 2 && places[1] > places[0] + 1));
    let early = twice.iter().filter(|places| places[1] < 30).count();
    assert!(early == 0 || twice.iter().any(|places| places[1] - places[0] > 8));
    assert_eq!(store.answered().unwrap().repeats, twice.len() as u64);
}

#[test]
fn deleting_a_rater_leaves_no_byte_of_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 4);
    for _ in 0..2 {
        let answer = Answer { comment: "a secret remark".into(), ..order("a b c") };
        rank_next(&mut store, "Zacharias", &answer);
    }
    rank_next(&mut store, "Bob", &order("a b c"));
    store.next("Zacharias").unwrap().unwrap();
    let missing = store.delete_rater("Nobody").unwrap_err();
    assert!(words(&missing).contains("Bob, Zacharias"), "{missing}");
    assert_eq!(store.delete_rater("Zacharias").unwrap(), 2);
    assert_eq!((store.raters().unwrap(), store.judged().unwrap().len()), (vec!["Bob".to_owned()], 1));
    assert_eq!(store.answered().unwrap().missing, 3, "their items are open again");
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [b"Zacharias".as_slice(), b"secret remark".as_slice()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn a_freeze_is_read_by_the_records_and_is_the_same_bytes_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 2);
    store.add_items(&[chat("talk", 4)]).unwrap();
    let mut full = order("b a=c");
    full.flags.insert("a".into(), vec!["rude".into(), "judges_group".into()]);
    full.comments.insert("b".into(), "kind".into());
    full.item_flags.push("bad_prompt".into());
    full.comment = "odd".into();
    full.better = "A better one.".into();
    rank_next(&mut store, "Ada", &full);
    let task = store.next("Ada").unwrap().unwrap();
    store.submit("Ada", task.assignment, 1, &Answer { skip: Some("why".into()), ..Answer::default() }).unwrap();
    rank_next(&mut store, "Ada", &order("d c b a"));
    let one = freeze(&store, &folder.path().join("a")).unwrap();
    let two = freeze(&store, &folder.path().join("b")).unwrap();
    assert_eq!((one.rankings, one.skipped, &one.hash), (2, 1, &two.hash));
    let bytes = std::fs::read(&one.path).unwrap();
    assert_eq!(blake3::hash(&bytes).to_hex().as_str(), one.hash);
    assert_eq!(one.path.file_name().unwrap().to_str().unwrap(), format!("rankings-{}.jsonl", &one.hash[..16]));
    let mut found = Vec::new();
    read(&one.path, &ReadOptions::default(), &mut |_, record| {
        let Record::Ranked(it) = record else { panic!("no ranking") };
        found.push(it);
        Ok(())
    })
    .unwrap();
    assert_eq!((found[0].ranks.clone(), found[0].groups()), (vec![2, 1, 2], vec![vec![1], vec![0, 2]]));
    assert_eq!((found[0].rater.as_deref(), found[0].comment.as_deref()), (Some("Ada"), Some("odd")));
    assert_eq!(found[0].completions[0].flags["ethics"], serde_json::json!(["rude"]));
    assert_eq!(found[0].completions[0].flags["bias"], serde_json::json!(["judges_group"]));
    assert_eq!(found[0].flags["item"], serde_json::json!(["bad_prompt"]));
    assert_eq!(found[0].completions[1].comment.as_deref(), Some("kind"));
    assert_eq!((found[0].better.as_deref(), found[0].seconds), (Some("A better one."), Some(2.0)));
    assert_eq!(found[0].completions[2].origin["checkpoint"], "step-2");
    assert_eq!(found[1].prompt, chat("talk", 4).prompt);
    assert_eq!(found[1].ranks, [4, 3, 2, 1]);
    let shown: Vec<&str> = found[0].shown_order.iter().map(|&index| found[0].completions[index].id.as_str()).collect();
    assert_eq!(shown, store.judged().unwrap()[0].shown);
}

#[test]
fn the_simulated_rater_says_that_it_is_one_and_always_ranks_alike() {
    let rank = |folder: &tempfile::TempDir| {
        let mut store = Store::open(&folder.path().join("rankings.sqlite")).unwrap();
        let mut dice = Dice::new(5, 1);
        let item = |(number, prompt): (usize, pleach::data::world::preferences::Prompt)| {
            let one = |(index, text): (usize, String)| Completion {
                id: index.to_string(),
                said: pleach::data::records::Said::Text(text),
                origin: serde_json::Value::Null,
            };
            let completions = prompt.candidates(4, &mut dice).into_iter().enumerate().map(one).collect();
            let prompt = pleach::data::records::Said::Text(prompt.text.clone());
            Item { id: format!("w{number}"), prompt, completions }
        };
        let items: Vec<Item> = Prompts::new(3, Side::Seen).take(40).enumerate().map(item).collect();
        store.add_items(&items).unwrap();
        store.add_items(&[super::item("foreign", 2)]).unwrap();
        let done = simulate(&mut store, &SimulatedRater::new(7), &mut || false).unwrap();
        (done, freeze(&store, folder.path()).unwrap(), store)
    };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (done, frozen, store) = rank(&one);
    assert_eq!((done.rater.as_str(), done.skipped), ("simulated rater (10 % noise, seed 7), not a person", 1));
    assert!(done.ranked >= 40 && store.answered().unwrap().ranked == 40);
    assert!(
        store.judged().unwrap().iter().any(|one| one.answer.flags.values().flatten().any(|flag| flag == "helps_harm"))
    );
    assert_eq!(frozen.hash, rank(&two).1.hash);
}

#[test]
fn files_that_are_no_store_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, why: &str| {
        let path = folder.path().join(name);
        let before = std::fs::read(&path).unwrap();
        let found = Store::open(&path).unwrap_err();
        assert!(found.refusal.is_some() && words(&found).contains(why), "{found} does not say {why}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    };
    std::fs::write(folder.path().join("text"), "not a database at all, but long enough to have a header").unwrap();
    refused("text", "not a database");
    let path = folder.path().join("newer");
    let mut bytes = {
        let store = Store::open(&path).unwrap();
        drop(store);
        std::fs::read(&path).unwrap()
    };
    // The version that a program may set: big endian, at byte 60 of a SQLite file.
    bytes[63] = 9;
    std::fs::write(&path, &bytes).unwrap();
    refused("newer", "version 9");
    // The number of the program, at byte 68.
    (bytes[63], bytes[68]) = (1, 0);
    std::fs::write(&path, &bytes).unwrap();
    refused("newer", "another program");
}

#[test]
fn flags_come_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flags.toml");
    std::fs::write(
        &path,
        "[[group]]\nname = 'law'\ntitle = 'Law'\nflags = [{ name = 'cites', title = 'No source' }]\n",
    )
    .unwrap();
    let mut store = plain(&folder, 1);
    store.configure(&Options { flags: Flags::read(&path).unwrap(), ..store.options().clone() }).unwrap();
    let mut answer = order("a b c");
    answer.flags.insert("b".into(), vec!["cites".into()]);
    rank_next(&mut store, "Ada", &answer);
    for (text, why) in [("group = 1", "invalid type"), ("[[group]]\nname='a'\ntitle='A'\nflags=[]", "no flags")] {
        std::fs::write(&path, text).unwrap();
        let found = Flags::read(&path).unwrap_err().to_string();
        assert!(found.contains(why), "{found}");
    }
}

/// What raters may do to a store at any moment.
#[derive(Clone, Debug)]
enum Do {
    Next(usize),
    Draft(usize, u64),
    Submit(usize, u64),
    Skip(usize),
    Undo(usize),
    Open,
    Delete(usize),
}

fn orders() -> impl proptest::strategy::Strategy<Value = Vec<Do>> {
    use proptest::prelude::*;
    let one = prop_oneof![
        3 => (0usize..3).prop_map(Do::Next),
        2 => ((0usize..3), any::<u64>()).prop_map(|(who, seed)| Do::Draft(who, seed)),
        4 => ((0usize..3), any::<u64>()).prop_map(|(who, seed)| Do::Submit(who, seed)),
        1 => (0usize..3).prop_map(Do::Skip),
        2 => (0usize..3).prop_map(Do::Undo),
        1 => Just(Do::Open),
        1 => (0usize..3).prop_map(Do::Delete),
    ];
    proptest::collection::vec(one, 1..40)
}

/// An order of "a", "b", "c" with ties, from a seed.
fn drawn(seed: u64) -> Answer {
    let mut dice = Dice::new(seed, 0);
    let mut ids = vec!["a", "b", "c"];
    let mut groups: Vec<Vec<String>> = Vec::new();
    while !ids.is_empty() {
        let id = ids.remove(dice.below(ids.len())).to_owned();
        match groups.last_mut().filter(|_| dice.chance(30)) {
            Some(group) => group.push(id),
            None => groups.push(vec![id]),
        }
    }
    Answer { order: groups, ..Answer::default() }
}

/// Whatever raters do, in any order, over any number of openings: the store holds what a list in memory would.
#[test]
fn random_sequences_lose_nothing() {
    let cases = if std::env::var_os("PLEACH_TORTURE").is_some() { 400 } else { 16 };
    let config = proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() };
    proptest::proptest!(config, |(all in orders())| {
        let folder = tempfile::tempdir().unwrap();
        let mut store = plain(&folder, 6);
        store.configure(&Options { overlap: 0.5, repeats: 0.5, ..store.options().clone() }).unwrap();
        let names = ["Ada", "Bob", "Cyd"];
        // By assignment: who, and the answers given, the last one on top; and the order of submissions.
        let mut given: BTreeMap<i64, (usize, Answer)> = BTreeMap::new();
        let mut history: Vec<i64> = Vec::new();
        for one in all {
            match one {
                Do::Next(who) => drop(store.next(names[who]).unwrap()),
                Do::Draft(who, seed) => {
                    let Some(task) = store.next(names[who]).unwrap() else { continue };
                    store.draft(names[who], task.assignment, task.revision + 1, &drawn(seed)).unwrap();
                    let kept = store.task(names[who], task.assignment).unwrap();
                    assert_eq!((kept.draft, kept.revision), (drawn(seed), task.revision + 1));
                }
                Do::Submit(who, seed) => {
                    let Some(task) = store.next(names[who]).unwrap() else { continue };
                    store.submit(names[who], task.assignment, task.revision + 1, &drawn(seed)).unwrap();
                    given.insert(task.assignment, (who, drawn(seed)));
                    history.push(task.assignment);
                }
                Do::Skip(who) => {
                    let Some(task) = store.next(names[who]).unwrap() else { continue };
                    let skip = Answer { skip: Some("no".into()), ..Answer::default() };
                    store.submit(names[who], task.assignment, task.revision + 1, &skip).unwrap();
                    given.insert(task.assignment, (who, skip));
                    history.push(task.assignment);
                }
                Do::Undo(who) => {
                    let last = history.iter().rposition(|id| given[id].0 == who);
                    let back = store.undo(names[who]).unwrap();
                    assert_eq!(back.as_ref().map(|task| task.assignment), last.map(|place| history[place]));
                    if let Some(place) = last {
                        let (_, answer) = given.remove(&history.remove(place)).unwrap();
                        assert_eq!(back.unwrap().draft, Answer { skip: None, ..answer });
                    }
                }
                Do::Open => store = Store::open(store.path()).unwrap(),
                Do::Delete(who) => {
                    let known = store.raters().unwrap().contains(&names[who].to_owned());
                    assert_eq!(store.delete_rater(names[who]).is_ok(), known);
                    given.retain(|_, (other, _)| *other != who);
                    history.retain(|id| given.contains_key(id));
                }
            }
        }
        let judged = store.judged().unwrap();
        let mut found: Vec<(String, String)> =
            judged.iter().map(|one| (one.rater.clone(), format!("{:?}", one.answer))).collect();
        let mut expected: Vec<(String, String)> =
            given.values().map(|(who, answer)| (names[*who].to_owned(), format!("{answer:?}"))).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    });
}

#[allow(clippy::print_stdout, reason = "a figure for people who look")]
#[test]
fn five_thousand_items_are_handed_out_in_milliseconds() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("rankings.sqlite")).unwrap();
    store.add_items(&(0..5000).map(|index| item(&format!("i{index}"), 4)).collect::<Vec<_>>()).unwrap();
    let start = std::time::Instant::now();
    let count = 200;
    for index in 0..count {
        rank_next(&mut store, ["Ada", "Bob"][index % 2], &order("a b c d"));
    }
    let each = start.elapsed() / count as u32;
    assert_eq!(store.answered().unwrap().rankings + store.answered().unwrap().repeats, count as u64);
    println!("{each:?} for one item of 5,000: handing out, answering, two syncs");
    assert!(each.as_millis() < 250, "{each:?} for one item of 5,000");
}
