//! Figures of answers and scores against the implementations that the field quotes (`tools/oracle/metrics.py`).

use pleach::metrics::choice::taken;
use pleach::metrics::preference::{Scored, accuracy, preferred, win_rate};
use pleach::metrics::text::{distinct, exact_match, exact_match_normalised, normalise, rouge_l, token_f1};
use pleach::metrics::{clustered, wilson};
use serde_json::Value;

fn golden(key: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("golden/metrics.json")).unwrap();
    all[key].as_array().unwrap().clone()
}

fn close(ours: f64, theirs: &Value, what: &dyn std::fmt::Debug) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= 2e-8 * theirs.abs().max(1.0), "{ours} for {theirs}: {what:?}");
}

#[test]
fn texts_score_as_squad_and_rouge_score_them() {
    let cases = golden("texts");
    assert!(cases.len() > 100);
    for case in cases {
        let (answer, reference) = (case["answer"].as_str().unwrap(), case["reference"].as_str().unwrap());
        assert_eq!(normalise(answer), case["normal"].as_str().unwrap());
        close(exact_match_normalised(answer, reference), &case["exact"], &case);
        close(token_f1(answer, reference), &case["f1"], &case);
        close(rouge_l(answer, reference), &case["rouge_l"], &case);
    }
}

#[test]
fn the_plain_exact_match_forgives_ends_only() {
    assert_eq!(exact_match(" {\"a\": 1}\n", "{\"a\": 1}"), 1.0);
    for other in ["{\"a\":1}", "{\"A\": 1}", "", "{\"a\": 1}."] {
        assert_eq!(exact_match(other, "{\"a\": 1}"), 0.0, "{other}");
    }
    assert_eq!(distinct(&["a b a b", "A B"], 1), 2.0 / 6.0);
    assert_eq!(distinct(&["a b a b", "A B", "c"], 2), 2.0 / 4.0);
    assert_eq!(distinct(&["one"], 2), 0.0);
}

#[test]
fn intervals_are_those_of_statsmodels() {
    for case in golden("wilson") {
        let number = |at: usize| case[at].as_f64().unwrap();
        let (low, high) = wilson(number(0), number(1));
        close(low, &case[2], &case);
        close(high, &case[3], &case);
    }
    for case in golden("clusters") {
        let pairs = case["values"].as_array().unwrap().iter();
        let values: Vec<(u64, f64)> = pairs.map(|v| (v[0].as_u64().unwrap(), v[1].as_f64().unwrap())).collect();
        let found = clustered(&values);
        close(found.mean, &case["mean"], &case);
        close(found.low, &case["low"], &case);
        close(found.high, &case["high"], &case);
    }
    // Alone in its group, each value is an observation of its own.
    let alone: Vec<(u64, f64)> = (0..50).map(|n| (n, f64::from(u8::from(n % 5 == 0)))).collect();
    let (found, (low, high)) = (clustered(&alone), wilson(10.0, 50.0));
    assert!((found.low - low).abs() < 1e-12 && (found.high - high).abs() < 1e-12);
    // The same values in ten groups of five say less.
    let grouped: Vec<(u64, f64)> = (0..50).map(|n| (n / 5, f64::from(u8::from(n < 10)))).collect();
    let found = clustered(&grouped);
    assert!(found.high - found.low > high - low && found.clusters == 10, "{found:?}");
}

#[test]
fn preferences_are_judged_as_scikit_learn_judges_them() {
    for case in golden("preferences") {
        let pairs: Vec<Scored> = case["pairs"].as_array().unwrap().iter().zip(0..).map(of).collect();
        fn of((pair, prompt): (&Value, u64)) -> Scored {
            Scored { prompt, chosen: pair[0].as_f64().unwrap(), rejected: pair[1].as_f64().unwrap() }
        }
        let found = preferred(&pairs);
        close(found.accuracy.mean, &case["accuracy"], &"accuracy");
        close(found.margin, &case["margin"], &"margin");
        close(found.loss, &case["loss"], &"loss");
        close(found.calibration_error, &case["calibration_error"], &"calibration");
        assert_eq!(found.bars.iter().map(|bar| bar.count).sum::<u64>(), pairs.len() as u64);
    }
    let tie = Scored { prompt: 0, chosen: 1.0, rejected: 1.0 };
    assert_eq!((accuracy(&[tie]).mean, preferred(&[tie]).ties), (0.5, 1), "a tie is half right");
    assert_eq!(win_rate(&[(0, 2.0, 1.0), (1, 1.0, 1.0), (2, 0.0, 1.0), (3, 5.0, 1.0)]).mean, 0.625);
    let huge = Scored { prompt: 0, chosen: -800.0, rejected: 800.0 };
    assert_eq!(preferred(&[huge]).loss, 1600.0, "no overflow");
}

#[test]
fn a_long_choice_is_not_punished_for_its_length_where_bytes_count() {
    let taken = taken(&[(-4.0, 2), (-6.0, 12), (-4.0, 2)]);
    assert_eq!((taken.by_sum, taken.by_byte), (0, 1));
}
