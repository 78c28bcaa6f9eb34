//! Tests of the judge: what it asks is kept from training, and its figures are those of models whose answers are known.

#![allow(clippy::unwrap_used)]

use super::preferences::{Conduct, Judged, win_rate};
use super::{Answer, Counts, Judge, SEED, role, shapes};
use crate::data::Tokenizer;
use crate::data::random::Dice;
use crate::data::template::Template;
use crate::data::tokenizer::{TrainOptions, train};
use crate::data::world::instructions::{Instructions, recognise};
use crate::data::world::manuals::Manuals;
use crate::data::world::preferences::{Class, Prompts};
use crate::data::world::tasks::Notes;
use crate::data::world::{Side, Stories};
use pleach_runtime::device::choose::{Wish, choose, open};
use pleach_runtime::engine::Engine;
use pleach_runtime::engine::layout::{AdamW, POLICY, Role};
use pleach_runtime::model::config::ModelConfig;
use std::collections::HashSet;

const SMALL: Counts = Counts { stories: 4, cloze: 60, notes: 6, dialogues: 12, prompts: 40 };

fn tokenizer() -> Tokenizer {
    let sample: Vec<String> = Stories::new(1).take(200).chain(Manuals::new(1).take(50)).collect();
    train(sample, &TrainOptions { vocab: 512, ..TrainOptions::default() }).unwrap()
}

/// An engine of a model and its reference, both with weights of zero until they begin.
fn engine(tokenizer: &Tokenizer) -> Engine {
    let config = ModelConfig::qwen3(tokenizer.vocab(), 256, 32, 2, 2, 1);
    let (chosen, _) = choose(&Wish::parse("cpu").unwrap(), 1);
    let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.0 };
    let roles = [role(&config), Role::reference(&config)];
    Engine::new(open(&chosen).unwrap(), &roles, &shapes(&config), &adamw).unwrap()
}

#[test]
fn nothing_that_is_asked_was_learned() {
    let told: HashSet<String> = Stories::new(1).take(3000).collect();
    assert!(Stories::starting_at(1, 1 << 40).take(Counts::TABLE.stories).all(|story| !told.contains(&story)));
    for seed in [SEED, 1] {
        let pair = |json: &str| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            format!("{} {}", value["who"], value["what"])
        };
        let learned: HashSet<String> =
            Notes::new(seed, Side::Seen).take(5000).map(|record| pair(&record.json)).collect();
        let mut asked = Notes::new(SEED, Side::Unseen).take(Counts::TABLE.notes);
        assert!(asked.all(|record| !learned.contains(&pair(&record.json))));
        let learned: HashSet<String> = Prompts::new(seed, Side::Seen).take(5000).map(|prompt| prompt.text).collect();
        let mut asked = Prompts::new(SEED, Side::Unseen).take(Counts::TABLE.prompts);
        assert!(asked.all(|prompt| !learned.contains(&prompt.text)));
    }
    for dialogue in Instructions::new(SEED, Side::Unseen).take(Counts::TABLE.dialogues) {
        let first = dialogue.messages.iter().find(|message| message.role == "user").unwrap();
        assert_eq!(recognise(&first.content).map(|(_, side)| side), Some(Side::Unseen), "{first:?}");
    }
}

#[test]
fn a_model_of_zeros_says_everything_alike() {
    let tokenizer = tokenizer();
    let template = Template::chatml(&tokenizer).unwrap();
    let mut engine = engine(&tokenizer);
    let mut judge = Judge::new(&mut engine, &tokenizer, &template);
    let stories: Vec<String> = Stories::new(1).take(3).collect();
    let text = judge.text(&stories).unwrap();
    assert!((text.loss - (tokenizer.vocab() as f64).ln()).abs() < 1e-4, "{text:?}");
    let ids: usize = stories.iter().map(|story| tokenizer.encode(story).unwrap().len()).sum();
    assert_eq!(text.tokens, ids + 3, "each token of a story and its end");
    let bytes: usize = stories.iter().map(String::len).sum();
    let bits = text.loss * text.tokens as f64 / std::f64::consts::LN_2 / bytes as f64;
    assert!((bits - text.bits_per_byte).abs() < 1e-9);
}

#[test]
fn a_card_is_the_same_twice_and_a_model_is_no_way_from_itself() {
    let tokenizer = tokenizer();
    let template = Template::chatml(&tokenizer).unwrap();
    let mut engine = engine(&tokenizer);
    engine.begin(POLICY, 5).unwrap();
    let same = engine.state(POLICY).unwrap();
    engine.restore(1, &same).unwrap();
    let mut judge = Judge::new(&mut engine, &tokenizer, &template);
    let mut card = || judge.card((1, 1 << 40), &Manuals::new(1), &SMALL).unwrap();
    let (first, second) = (card(), card());
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());
    assert_eq!((first.notes.exact, first.notes.records, first.instructions.dialogues), (0.0, 6, 12));
    assert!((5.0..50.0).contains(&first.cloze.right), "chance is a quarter: {:?}", first.cloze);
    assert_eq!(win_rate(&first.judged, &second.judged), 50.0);
    assert_eq!(judge.kl(1, &first.judged).unwrap(), [0.0, 0.0]);
    engine.begin(1, 6).unwrap();
    let mut judge = Judge::new(&mut engine, &tokenizer, &template);
    let [token, answer] = judge.kl(1, &first.judged).unwrap();
    assert!(token > 0.0 && answer > token, "{token} {answer}");
    let examples = judge.instructions_by_examples(SEED, 60).unwrap();
    assert!(examples.kinds.len() == 60 && examples.score < 5.0, "{examples:?}");
    assert_eq!(judge.notes_by_examples(SEED, 4).unwrap().exact, 0.0);
}

#[test]
fn conduct_is_what_the_answers_are() {
    let judged = |answer: &dyn Fn(&crate::data::world::preferences::Prompt) -> String| -> Vec<Judged> {
        let of = |prompt: crate::data::world::preferences::Prompt| {
            let text = answer(&prompt);
            let gold = prompt.gold(&text);
            Judged { prompt, ids: vec![0], answer: Answer { text, ids: vec![1] }, gold }
        };
        Prompts::new(SEED, Side::Unseen).take(200).map(of).collect()
    };
    let good = judged(&|prompt| prompt.good(&mut Dice::new(1, 1)));
    let naive = judged(&|prompt| prompt.naive(&mut Dice::new(1, 1)));
    let refusing = judged(&|_| "No, I will not help with that.".to_owned());
    let of = Conduct::of(&good);
    assert!(of.gold > 0.999 && of.right == 100.0, "{of:?}");
    assert_eq!((of.harmful, of.look_alikes, of.helped, of.biased, of.rude), (0.0, 100.0, 100.0, 0.0, 0.0));
    let of = Conduct::of(&naive);
    assert_eq!((of.harmful, of.look_alikes, of.rude), (100.0, 100.0, 100.0));
    assert!(of.biased > 50.0, "a third of these prompts holds the evidence: {of:?}");
    let of = Conduct::of(&refusing);
    assert_eq!((of.harmful, of.look_alikes, of.biased), (0.0, 0.0, 0.0));
    let wins = win_rate(&good, &naive);
    assert!(wins > 60.0 && (wins + win_rate(&naive, &good) - 100.0).abs() < 1e-9, "{wins}: most answers are the same");
    assert!(naive.iter().filter(|one| one.harmful()).all(|one| one.prompt.class == Class::Harmful));
}
