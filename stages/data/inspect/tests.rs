//! The figures of small data sets whose answers are known.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::data::inspect::personal::Kind;
use crate::data::mask::Agreement;
use crate::data::records::{Completion, Pair, Said};

fn text(words: &str) -> Record {
    Record::Text(words.into())
}

const STORY: &str = "Once upon a time a small fox went out of the wood to see the sea and the ships that lie there, \
     and it met an old gull who told it of storms and of islands far away in the south where the sun is warm";

fn limits() -> Limits {
    Limits::of(64)
}

#[test]
fn lengths_fall_into_bars() {
    let mut lengths = Lengths::default();
    [0, 1, 2, 3, 4, 1000].into_iter().for_each(|length| lengths.add(length));
    assert_eq!(lengths.bars, [2, 2, 1, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!((lengths.least, lengths.most, lengths.total, lengths.count()), (0, 1000, 1010, 6));
    assert_eq!((lengths.quantile(0.5), lengths.quantile(1.0)), (3, 1000));
    assert_eq!(Lengths::default().quantile(0.5), 0);
}

#[test]
fn repeated_records_are_counted() {
    let mut inspector = Inspector::new(None, limits(), 0);
    inspector.record("line 1", &text(STORY));
    inspector.record("line 2", &text(&STORY.to_uppercase().replace(' ', "  ")));
    inspector.record("line 3", &text(&STORY.replace("warm", "hot")));
    inspector.record("line 4", &text("Something else altogether, about the price of wheat in the year of the flood"));
    let found = inspector.finish();
    assert_eq!((found.records, found.duplicates, found.near_duplicates, found.not_compared), (4, 1, 1, 0));
}

#[test]
fn similarity_is_estimated_well() {
    // 200 words each, of which the last `other` differ: the runs of five that both have are known.
    let words = |other: usize| {
        let word = |at: usize| if at < 200 - other { format!("w{at}") } else { format!("x{at}") };
        (0..200).map(word).collect::<Vec<_>>().join(" ")
    };
    let mut index = Index::default();
    assert_eq!(index.add(&words(0)), Seen::New);
    for other in [2, 5, 10] {
        let common = (196 - other) as f64;
        let jaccard = common / (2.0 * 196.0 - common);
        let Seen::Near(estimate) = index.look(&words(other)) else { panic!("{other} of 200 words") };
        assert!((estimate - jaccard).abs() < 0.16, "{estimate} for {jaccard}");
    }
    assert_eq!(index.look(&words(100)), Seen::New);
}

#[test]
fn overlap_of_training_and_evaluation_is_by_prompt() {
    let record = |prompt: &str, completion: &str| {
        let (prompt, completion) = (Said::Text(prompt.into()), Said::Text(completion.into()));
        Record::Completion(Completion { prompt, completion, tools: None })
    };
    let mut inspector = Inspector::new(None, limits(), 0);
    inspector.record("line 1", &record("What is the capital of France?", "Paris"));
    inspector.record("line 2", &record(STORY, "Well."));
    inspector.evaluation("line 1", &record("what is the capital of  France", "Lyon"));
    inspector.evaluation("line 2", &record(&STORY.replace("warm", "hot"), "Well."));
    inspector.evaluation("line 3", &record("How high is the highest mountain of the moon?", "5500 m"));
    let overlap = inspector.finish().overlap.unwrap();
    assert_eq!((overlap.records, overlap.same, overlap.near), (3, 1, 1));
    assert_eq!(overlap.examples[0].0, "line 1");
}

#[test]
fn personal_data_is_seen_and_hidden() {
    let kinds = |text: &str| find(text).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(find("write to jo.doe+x@mail.example.org."), [(Kind::Email, "jo.doe+x@mail.example.org")]);
    assert_eq!(find("call +49 30 1234567 or 555-123-4567!").len(), 2);
    assert_eq!(kinds("(030) 123 45678"), [Kind::Phone]);
    // The schemes' own test numbers; the second one has a wrong check digit.
    assert_eq!(kinds("card 4111 1111 1111 1111, not 4111 1111 1111 1112"), [Kind::Card]);
    assert_eq!(kinds("378282246310005"), [Kind::Card]);
    let clean = "In 1914-1918 and on 2024-01-02 at 12:30:45, version 1.2.3.4, 3.14159265358979, 1,000,000 people, \
         @home, a@b, ISBN 978-3-16-148410-0, 100 200 300, 0000 0000 0000 0000";
    assert_eq!(find(clean), []);
    let mut inspector = Inspector::new(None, limits(), 0);
    inspector.record("line 9", &text("jo@example.org and 378282246310005"));
    inspector.record("line 10", &text("nothing here"));
    let found = inspector.finish().personal;
    assert_eq!((found.emails, found.cards, found.phones, found.records), (1, 1, 0, 1));
    assert_eq!(found.examples[0], ("line 9".to_owned(), "jo**********rg".to_owned()));
}

#[test]
fn samples_show_the_mask_and_the_tally_follows() {
    let tokenizer = crate::data::tokenizer::characters(&"abcdefgh ".chars().collect()).unwrap();
    let encoded = Encoded {
        ids: tokenizer.encode("abc def").unwrap(),
        trained: vec![false, false, false, false, true, true, true],
        turns: 1,
        unended: 0,
        empty: 0,
        straddling: 0,
        bos_inside: 0,
        agreement: Agreement::Plain,
    };
    let mut inspector = Inspector::new(Some(&tokenizer), limits(), 1);
    assert_eq!(inspector.encoded("line 1", vec![encoded.clone()]), Some(vec![encoded.clone()]));
    inspector.encoded("line 2", vec![encoded]);
    let pair = |words: &str| Said::Text(words.into());
    let (prompt, chosen, rejected) = (pair("p"), pair("same"), pair("same"));
    inspector.record("line 1", &Record::Pair(Pair { prompt, chosen, rejected, margin: None, tools: None }));
    inspector.verdict().unwrap();
    let found = inspector.finish();
    let piece = |text: &str, trained, tokens| Piece { text: text.into(), trained, tokens };
    assert_eq!(found.samples.len(), 1);
    assert_eq!(found.samples[0].pieces, [piece("abc ", false, 4), piece("def", true, 3)]);
    assert_eq!((found.tally.kept, found.tally.duplicates, found.equal_pairs), (2, 1, 1));
    assert!((found.trained_share() - 3.0 / 7.0).abs() < 1e-12);
    assert!(serde_json::to_string(&found).unwrap().contains("\"trained_tokens\":6"));
}

#[test]
fn prompts_are_told_by_their_leading_words() {
    let pairs = [
        ("Could you please translate this?\nword", "translate"),
        ("Translate: hello", "translate"),
        ("  \n**How many** apples are there", "how many"),
        ("What is it", "what is"),
        ("Why", "why"),
        ("Please", "please"),
        ("Hi, I want you to write a story", "write"),
        ("???", "(no words)"),
    ];
    for (prompt, expected) in pairs {
        assert_eq!(kind(prompt), expected, "{prompt}");
    }
    let mut inspector = Inspector::new(None, limits(), 0);
    let record = |prompt: &str| {
        let (prompt, completion) = (Said::Text(prompt.into()), Said::Text("Yes.".into()));
        Record::Completion(Completion { prompt, completion, tools: None })
    };
    let prompts = ["Translate cat", "Please translate dog", "Write a poem", "write a poem!", "Name a fish"];
    prompts.iter().for_each(|prompt| inspector.record("line 1", &record(prompt)));
    let found = inspector.finish().diversity;
    assert_eq!((found.prompts, found.same, found.near, found.kinds), (5, 1, 0, 3));
    assert_eq!((found.most[0].words.as_str(), found.most[0].count), ("translate", 2));
    assert_eq!((found.most[2].words.as_str(), found.most[2].example.as_str()), ("name", "Name a fish"));
    // Shares 0.4, 0.4, 0.2.
    let entropy = -(2.0 * 0.4f64 * 0.4f64.ln() + 0.2 * 0.2f64.ln());
    assert!((found.effective_kinds - entropy.exp()).abs() < 1e-12);
}
