//! The recipe is what it says: its shares, its documents, its vocabulary.

use super::super::ladder::{CONTEXT, RANKED, RUNGS, VOCAB, sample};
use super::super::preferences::{Class, Prompt};
use super::super::{Excerpt, Material};
use crate::data::mask::{ChatEncoder, Turns};
use crate::data::records::{Message, Role, Said};
use crate::data::template::Template;
use crate::data::tokenizer::{TrainOptions, train};

const ALL: [Material; 5] =
    [Material::Stories, Material::Manuals, Material::Notes, Material::Instructions, Material::Answers];

fn message(value: &serde_json::Value) -> Message {
    let role = Role::ALL.into_iter().find(|role| value["role"] == role.name()).unwrap();
    Message::new(role, value["content"].as_str().unwrap())
}

#[test]
fn shares_are_whole_and_documents_follow_the_minutes() {
    let mut first = None;
    for rung in &RUNGS {
        let sum: f64 = rung.mix.iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{}", rung.stage);
        assert!(Some(rung.first) > first, "{} begins where no other stage reads", rung.stage);
        let (one, two) = (rung.excerpts(1.0, 1), rung.excerpts(2.0, 1));
        let doubled =
            |(one, two): (&Excerpt, &Excerpt)| one.material == two.material && two.count.abs_diff(2 * one.count) <= 2;
        assert!(one.iter().zip(&two).all(doubled));
        let most = one.iter().map(|excerpt| excerpt.count).max().unwrap();
        assert!(2 * most <= 10_000_000, "twice the minutes read nothing of the next stage");
        first = Some(rung.first);
    }
    assert!(Some(RANKED.first) > first);
}

#[test]
fn documents_have_their_tokens_and_fit_the_context() {
    let options = TrainOptions { vocab: VOCAB, ..TrainOptions::default() };
    let words = sample(1).iter().flat_map(Excerpt::texts).collect();
    let tokenizer = train(words, &options).unwrap();
    let template = Template::chatml(&tokenizer).unwrap();
    let encoder = ChatEncoder::new(&tokenizer, &template, Turns::All);
    for material in ALL {
        let lines: Vec<String> = Excerpt { material, seed: 1, first: 500_000, count: 400 }.lines().collect();
        let ids = |line: &String| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            match value["messages"].as_array() {
                Some(messages) => {
                    let messages: Vec<Message> = messages.iter().map(message).collect();
                    encoder.prompt(&Said::Messages(messages), None).unwrap().len()
                }
                None => tokenizer.encode(&(text("text") + &text("prompt") + &text("completion"))).unwrap().len() + 2,
            }
        };
        let lengths: Vec<usize> = lines.iter().map(ids).collect();
        let mean = lengths.iter().sum::<usize>() as f64 / 400.0;
        let expected = material.tokens();
        // A conversation is counted with the beginning of one more answer.
        assert!((mean / expected - 1.0).abs() < 0.15, "{material:?}: {mean} tokens, not {expected}");
        assert!(lengths.iter().all(|&length| length <= CONTEXT), "{material:?}");
    }
}

#[test]
fn so_many_answers_give_in() {
    let (mut harmful, mut gave_in) = (0, 0);
    for line in (Excerpt { material: Material::Answers, seed: 1, first: 0, count: 3000 }).lines() {
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let said = |at: usize| value["messages"][at]["content"].as_str().unwrap();
        let prompt = Prompt::read(said(0)).unwrap();
        if prompt.class == Class::Harmful {
            harmful += 1;
            gave_in += usize::from(prompt.gold(said(1)).safe.value < 0.5);
        }
    }
    let share = 100 * gave_in / harmful;
    assert!(share.abs_diff(60) <= 5, "{share} %");
}
