//! The figures against scipy, krippendorff and statsmodels (tests/golden/agreement.json), and by hand.

use super::{item, order, plain, rank_next};
use pleach::ranking::agreement::{Metric, agreement, kendall_tau_b, krippendorff_alpha};
use pleach::ranking::blind::verdict;
use pleach::ranking::{Mode, Options, Store, rate, wilson};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/agreement.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn cases(name: &str) -> Vec<Value> {
    let cases = golden()[name].as_array().unwrap().clone();
    assert!(cases.len() >= 4);
    cases
}

#[track_caller]
fn near(found: f64, expected: &Value) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn tau_b_is_scipys() {
    for case in cases("tau_b") {
        let ranks = |key: &str| numbers(&case[key]).iter().map(|rank| *rank as u32).collect::<Vec<_>>();
        match kendall_tau_b(&ranks("a"), &ranks("b")) {
            Some(tau) => near(tau, &case["tau_b"]),
            None => assert!(case["tau_b"].is_null(), "{case}"),
        }
    }
}

#[test]
fn alpha_is_the_packages() {
    for case in cases("alpha") {
        let units: Vec<Vec<f64>> = case["units"].as_array().unwrap().iter().map(numbers).collect();
        near(krippendorff_alpha(&units, Metric::Nominal).unwrap(), &case["nominal"]);
        near(krippendorff_alpha(&units, Metric::Ordinal).unwrap(), &case["ordinal"]);
    }
    assert_eq!(krippendorff_alpha(&[vec![1.0], vec![2.0]], Metric::Nominal), None, "nobody shares a unit");
    assert_eq!(krippendorff_alpha(&[vec![1.0, 1.0]], Metric::Ordinal), None, "nothing differs");
}

#[test]
fn intervals_are_statsmodels() {
    for case in cases("wilson") {
        let (low, high) = wilson(case["share"].as_f64().unwrap(), case["count"].as_f64().unwrap());
        near(low, &case["low"]);
        near(high, &case["high"]);
    }
    for case in cases("rate") {
        let one = |pair: &Value| (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
        let judgements: Vec<(usize, f64)> = case["judgements"].as_array().unwrap().iter().map(one).collect();
        let found = rate(&judgements).unwrap();
        near(found.share, &case["share"]);
        near(found.low, &case["low"]);
        near(found.high, &case["high"]);
    }
    assert_eq!(rate(&[]), None);
    let alike = rate(&[(0, 1.0), (0, 1.0), (1, 1.0), (1, 1.0)]).unwrap();
    assert_eq!((alike.low, alike.high), wilson(1.0, 2.0), "where all agree the prompts are counted");
}

#[test]
fn agreement_of_a_store_is_what_a_hand_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = plain(&folder, 2);
    store.configure(&Options { overlap: 1.0, raters: 2, repeats: 1.0, ..store.options().clone() }).unwrap();
    // Item i0: of three pairs, two alike and one the other way round. Item i1: one tie against an order.
    let mut flagged = order("a b c");
    flagged.flags.insert("a".into(), vec!["rude".into()]);
    rank_next(&mut store, "Ada", &flagged);
    rank_next(&mut store, "Ada", &order("a b c"));
    rank_next(&mut store, "Bob", &order("b a c"));
    rank_next(&mut store, "Bob", &order("a=b c"));
    let found = agreement(&store).unwrap();
    assert_eq!((found.raters, found.shared, found.others.rankings), (2, 2, 2));
    let pairs = found.others.pairwise.unwrap();
    assert_eq!((pairs.count, pairs.clusters), (5, 2));
    assert!((pairs.share - 0.8).abs() < 1e-12);
    let ties = found.others.with_ties.unwrap();
    assert_eq!(ties.count, 6);
    assert!((ties.share - 4.0 / 6.0).abs() < 1e-12);
    let taus = (1.0 / 3.0 + 2.0 / (3.0f64 * 2.0).sqrt()) / 2.0;
    assert!((found.others.tau_b.unwrap() - taus).abs() < 1e-12);
    assert!(found.alpha.unwrap() > 0.0 && found.flags["ethics"].is_some_and(|alpha| alpha <= 0.0));
    assert_eq!(found.flags["safety"], None, "nobody set such a flag");
    assert_eq!(found.selves.rankings, 0);
    // A hidden repeat of another item than the last: Ada contradicts herself wholly.
    let again = rank_next(&mut store, "Ada", &order("c b a"));
    assert_eq!(again, "i0");
    let found = agreement(&store).unwrap();
    assert_eq!(found.selves.pairwise.unwrap().share, 0.0);
    assert_eq!((found.others.rankings, found.shared), (2, 2), "repeats are no agreement with others");
}

#[test]
fn a_blind_comparison_counts_wins_by_checkpoint_whatever_the_side() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(&folder.path().join("ab.sqlite")).unwrap();
    let options = Options { mode: Mode::Blind, overlap: 0.0, repeats: 0.0, ..Options::default() };
    store.configure(&options).unwrap();
    let three = store.add_items(&[item("x", 3)]).unwrap_err();
    assert!(three.to_string().contains("Refused"), "{three}");
    store.add_items(&(0..200).map(|index| item(&format!("p{index}"), 2)).collect::<Vec<_>>()).unwrap();
    for index in 0..200 {
        let words = if index < 120 {
            "a b"
        } else if index < 140 {
            "a=b"
        } else {
            "b a"
        };
        rank_next(&mut store, "Ada", &order(words));
    }
    let won = verdict(&store).unwrap();
    assert_eq!(won.names, ["step-0", "step-1"]);
    assert_eq!((won.wins, won.ties, won.losses), (120, 20, 60));
    let rate = won.win_rate.unwrap();
    assert_eq!((rate.share, rate.count, rate.clusters), (0.65, 200, 200));
    assert_eq!((rate.low, rate.high), wilson(0.65, 200.0));
    assert!((70..=130).contains(&won.left), "the first stood on the left {} of 200 times", won.left);
}
