//! Notes and their JSON: exact, solvable from the text alone, and split by pairs.

use super::super::Side;
use super::super::facts::{PEOPLE, PLANTS};
use super::super::tasks::{Notes, side, solve};
use super::{hash, tokenizer};
use std::collections::BTreeSet;

#[test]
fn answers_follow_from_the_notes_and_corrupted_ones_are_refused() {
    for part in [Side::Seen, Side::Unseen] {
        for record in Notes::new(1, part).take(2000) {
            assert_eq!(solve(&record.note).as_ref(), Some(&record.json), "{}", record.note);
            assert_eq!(side(&record.note), Some(part));
            assert!(record.exact(&record.json) && record.exact(&format!(" {}\n", record.json)));
            assert_eq!(record.fields(&record.json), 1.0);
            let corrupted = [
                record.json.replace("\"who\"", "\"Who\""),
                record.json.replace(',', ", "),
                record.json.replace('}', ""),
                record.json.replace("\"n\":", "\"n\":1"),
                format!("{}.", record.json),
                String::new(),
            ];
            assert!(corrupted.iter().all(|answer| !record.exact(answer)), "{}", record.json);
            assert!(record.fields(&corrupted[0]) == 0.75 && record.fields("no") == 0.0);
            let line: serde_json::Value = serde_json::from_str(&record.line()).unwrap();
            assert_eq!(line["completion"], record.json);
        }
    }
    assert_eq!((solve("Mira was glad."), side("")), (None, None));
}

#[test]
fn unseen_pairs_are_a_tenth_and_all_their_parts_are_seen() {
    let pair = |json: &str| json.split("\"n\"").next().unwrap().to_owned();
    let pairs = |part| Notes::new(2, part).take(20_000).map(|record| pair(&record.json)).collect::<BTreeSet<_>>();
    let (seen, unseen) = (pairs(Side::Seen), pairs(Side::Unseen));
    assert_eq!((seen.len(), unseen.len(), seen.intersection(&unseen).count()), (389, 43, 0));
    let has = |name: &str| seen.iter().any(|pair| pair.contains(&format!("\"{name}\"")));
    assert!(PEOPLE.iter().all(|person| has(person.name)) && PLANTS.iter().all(|plant| has(plant.many)));
}

#[test]
fn answers_are_short_and_seeds_decide() {
    let tokenizer = tokenizer();
    let longest = Notes::new(3, Side::Seen).take(500).map(|record| tokenizer.encode(&record.json).unwrap().len()).max();
    assert!(longest <= Some(40), "{longest:?} tokens");
    let longest = Notes::new(3, Side::Seen).take(500).map(|record| tokenizer.encode(&record.note).unwrap().len()).max();
    assert!(longest <= Some(40), "{longest:?} tokens in a note");
    assert_eq!(Notes::new(4, Side::Seen).nth(9), Some(Notes::new(4, Side::Seen).record(9)));
    assert_eq!(hash(Notes::new(1, Side::Seen).take(500).map(|record| record.line())), "0ef7bb370270107c");
    assert_eq!(hash(Notes::new(1, Side::Unseen).take(500).map(|record| record.line())), "ec47502940881d48");
}
