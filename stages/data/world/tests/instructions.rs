//! Every kind answers what it asks, its checker is strict, and its test wordings are its own.

use super::super::Side;
use super::super::instructions::{Dialogue, Instructions, kind_by_name, kinds, recognise, score};
use super::{hash, tokenizer, words};
use crate::data::random::Dice;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn there_are_forty_kinds_and_more_with_many_wordings_each_its_own() {
    let mut wordings = BTreeSet::new();
    let mut names = BTreeSet::new();
    for kind in kinds() {
        assert!(kind.seen.len() >= 8 && kind.unseen.len() >= 2, "{}", kind.name);
        assert!(names.insert(kind.name), "{} is there twice", kind.name);
        for wording in kind.seen.iter().chain(kind.unseen) {
            assert!(wordings.insert(*wording) && wording.is_ascii(), "{wording}");
        }
    }
    assert!(names.len() >= 40, "{} kinds", names.len());
    assert_eq!((names.len(), wordings.len()), (60, 600));
}

#[test]
fn every_prompt_is_understood_and_its_answer_is_right() {
    for kind in kinds() {
        for side in [Side::Seen, Side::Unseen] {
            for number in 0..120 {
                let (prompt, answer) = kind.draw(side, &mut Dice::new(5, number));
                assert_eq!(kind.solve(&prompt).as_ref(), Some(&answer), "{}: {prompt}", kind.name);
                assert_eq!(score(kind.name, &prompt, &answer), 1.0, "{}: {prompt} {answer}", kind.name);
                let found = recognise(&prompt).map(|(kind, side)| (kind.name, side));
                assert_eq!(found, Some((kind.name, side)), "{prompt}");
                assert!(prompt.starts_with(|c: char| c.is_ascii_uppercase()), "{prompt}");
                assert!(!prompt.contains(['{', '}']) && !answer.contains(['{', '}']), "{prompt} {answer}");
            }
        }
    }
    assert_eq!((score("colour", "Who are you?", "Red."), score("nothing", "", "")), (0.0, 0.0));
}

/// The answer to another prompt of the kind must not pass unless it is an answer to this one too.
#[test]
fn corrupted_answers_are_refused() {
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in kinds() {
        for number in 0..100 {
            let (prompt, answer) = kind.draw(Side::Seen, &mut Dice::new(6, number));
            let (_, other) = kind.draw(Side::Seen, &mut Dice::new(7, number));
            let rambling = format!("{answer} {}", "and then the sun was hot ".repeat(9));
            for wrong in ["", ".", "zebra", "I do not know.", "It was a good end to a long day.", &rambling] {
                assert_eq!(score(kind.name, &prompt, wrong), 0.0, "{}: {prompt} {wrong}", kind.name);
            }
            if words(&other) != words(&answer) && score(kind.name, &prompt, &other) == 1.0 {
                *passed.entry(kind.name).or_default() += 1;
            }
        }
    }
    // A verdict may come with another sentence, as long as that is true, and friendship goes both ways.
    let open = ["does_grow", "does_eat", "friend"];
    assert!(passed.keys().all(|name| open.contains(name)), "{passed:?}");
}

/// Kinds with one right answer refuse every damage to it.
#[test]
fn damaged_answers_are_refused() {
    let exact = [
        "sort",
        "reverse",
        "join",
        "remove",
        "capitals",
        "small_letters",
        "plural",
        "singular",
        "article",
        "opposite",
        "repeat",
        "pronoun",
        "past",
        "negate",
        "question",
        "replace_name",
        "recolour",
        "repair",
        "shorten",
        "correct_fact",
    ];
    let mut damages = 0;
    for name in exact {
        let kind = kind_by_name(name).unwrap();
        for number in 0..60 {
            let mut dice = Dice::new(11, number);
            let (prompt, answer) = kind.draw(Side::Seen, &mut dice);
            let parts: Vec<&str> = answer.split(' ').collect();
            let at = dice.below(parts.len());
            let mut swapped = parts.clone();
            swapped.swap(at, (at + 1) % parts.len());
            let damaged = [
                swapped.join(" "),
                [&parts[..at], &parts[at + 1..]].concat().join(" "),
                [&parts[..=at], &parts[at..]].concat().join(" "),
                format!("{answer} {answer}"),
                answer[..answer.len().saturating_sub(2)].to_owned(),
                answer.replacen(parts[at], "zebra", 1),
                if name == "small_letters" { answer.to_uppercase() } else { answer.to_lowercase() + "x" },
            ];
            for damaged in damaged.iter().filter(|damaged| **damaged != answer) {
                assert_eq!(score(name, &prompt, damaged), 0.0, "{name}: {prompt} {damaged}");
                damages += 1;
            }
        }
    }
    assert!(damages > 6000, "{damages}");
}

#[test]
fn answers_may_be_short_or_long_but_not_wrong() {
    let cases = [
        ("colour", "What colour are tulips?", "Yellow.", 1.0),
        ("colour", "What colour are tulips?", "They are yellow flowers.", 1.0),
        ("colour", "What colour are tulips?", "Tulips are red.", 0.0),
        ("colour", "What colour are tulips?", "Yellow or red.", 0.5),
        ("colour", "And roses?", "Red.", 1.0),
        ("grows", "What does Mira grow?", "Roses, plums and carrots.", 1.0),
        ("grows", "What does Mira grow?", "Roses.", 1.0 / 3.0),
        ("does_eat", "Do owls eat mice?", "Yes.", 1.0),
        ("does_eat", "Do owls eat mice?", "No.", 0.0),
        ("does_eat", "Do owls eat mice?", "Yes and no.", 0.0),
        ("does_eat", "Do owls eat slugs?", "No, hedgehogs eat slugs.", 1.0),
        ("does_eat", "Do owls eat slugs?", "No, robins eat slugs.", 0.0),
        ("capitals", "Write \"toad\" in capital letters.", "TOAD", 1.0),
        ("capitals", "Write \"toad\" in capital letters.", "Toad", 0.0),
        ("write_about", "Write a sentence about tulips.", "I know that tulips are yellow.", 1.0),
        ("write_about", "Write a sentence about tulips.", "I know that tulips are blue.", 0.0),
        ("flowers_of_season", "Which flowers open in winter?", "Snowdrops.", 1.0),
        ("flowers_of_season", "Which flowers open in winter?", "Roses.", 0.0),
        ("who_has_more", "Say who has more: Tom with two plums or Ida with three.", "Ida.", 1.0),
        ("odd_one", "Find the wrong one: roses, beans, owls, plums", "Owls", 1.0),
    ];
    for (kind, prompt, answer, expected) in cases {
        assert!((score(kind, prompt, answer) - expected).abs() < 1e-9, "{kind}: {prompt} {answer}");
    }
}

#[test]
fn no_unseen_wording_is_ever_trained_on() {
    let users = |side| {
        let dialogues = Instructions::new(2, side).take(6000);
        let said =
            dialogues.flat_map(|dialogue| dialogue.messages.into_iter().filter(|message| message.role != "assistant"));
        said.map(|message| message.content).collect::<BTreeSet<_>>()
    };
    let (seen, unseen) = (users(Side::Seen), users(Side::Unseen));
    assert!(seen.is_disjoint(&unseen) && seen.len() > 4000 && unseen.len() > 2000, "{} {}", seen.len(), unseen.len());
}

#[test]
fn dialogues_have_turns_and_manners_and_are_scored() {
    let (mut turns, mut systems, mut follows) = ([0; 4], 0, 0);
    for dialogue in Instructions::new(3, Side::Seen).take(2000) {
        turns[dialogue.kinds.len()] += 1;
        assert_eq!(dialogue.score(dialogue.answer()), 1.0, "{dialogue:?}");
        assert_eq!(dialogue.score("zebra"), 0.0);
        let roles: Vec<&str> = dialogue.messages.iter().map(|message| message.role).collect();
        let system = usize::from(roles[0] == "system");
        assert!(roles[system..].chunks(2).all(|turn| turn == ["user", "assistant"]), "{roles:?}");
        systems += system;
        follows += usize::from(dialogue.messages.iter().any(|message| message.content.starts_with("And ")));
        if let Some(bare) = dialogue.answer().strip_suffix(" Good luck!") {
            assert_eq!(dialogue.score(bare), 0.5, "{dialogue:?}");
        }
        assert!(dialogue.line().starts_with("{\"messages\":[{\"role\":\""));
        assert!(kind_by_name(dialogue.kinds[0]).is_some() && words(dialogue.answer()).len() <= 25);
    }
    assert!(turns[1] > 1000 && turns[2] > 300 && turns[3] > 200 && systems > 500 && follows > 25, "{turns:?}");
}

#[test]
fn answers_are_short_and_seeds_decide() {
    let tokenizer = tokenizer();
    let length = |text: &str| tokenizer.encode(text).unwrap().len();
    let whole = |dialogue: Dialogue| dialogue.messages.iter().map(|message| length(&message.content)).sum::<usize>();
    let longest = Instructions::new(9, Side::Seen).take(2000).map(whole).max();
    assert!(longest <= Some(180), "{longest:?} tokens in a dialogue");
    let dialogues = Instructions::new(8, Side::Unseen).take(1500);
    let longest = dialogues.map(|dialogue| (length(dialogue.answer()), dialogue.answer().to_owned())).max().unwrap();
    assert!(longest.0 <= 40, "{longest:?}");
    assert_eq!(Instructions::new(4, Side::Seen).nth(9), Some(Instructions::new(4, Side::Seen).dialogue(9)));
    assert_eq!(hash(Instructions::new(1, Side::Seen).take(500).map(|dialogue| dialogue.line())), "77bff9317345c217");
    assert_eq!(hash(Instructions::new(1, Side::Unseen).take(500).map(|dialogue| dialogue.line())), "4ed1c603a3038355");
}
