//! The manuals tell what no story tells, all of it, and the cloze asks exactly that.

use super::super::grammar::{Item, Rules};
use super::super::manuals::{ATTRIBUTES, CYCLE, Cloze, MARKERS, Manuals};
use super::super::{Stories, sentences};
use super::{hash, tokenizer, words};
use std::collections::BTreeSet;

#[test]
fn no_sentence_of_the_stories_has_a_word_that_every_sentence_of_a_manual_has() {
    let rules = Rules::new();
    let mut stories = BTreeSet::new();
    for item in rules.groups.iter().flatten().flat_map(|frame| &frame.items) {
        if let Item::Word(word) = item {
            stories.extend(words(word));
        }
    }
    for (phrase, _) in rules.lexicon.iter().flatten() {
        stories.extend(phrase.iter().flat_map(|word| words(word)));
    }
    for marker in MARKERS {
        assert!(!stories.contains(*marker), "stories say {marker}");
    }
    let marked = |text: &str| words(text).iter().any(|word| MARKERS.contains(&word.as_str()));
    for page in Manuals::new(3).take(400) {
        for sentence in sentences(&page) {
            assert!(marked(sentence), "{sentence}");
        }
    }
    for cloze in Manuals::new(3).cloze(400) {
        assert!(marked(&format!("{}{}", cloze.prompt, cloze.answer)), "{cloze:?}");
    }
}

#[test]
fn no_story_states_a_fact_of_the_domain() {
    let manuals = Manuals::new(1);
    for story in Stories::new(9).take(20) {
        for sentence in sentences(&story) {
            assert_eq!(manuals.check(sentence), None, "{sentence}");
        }
    }
}

#[test]
fn every_cycle_of_pages_tells_every_fact_and_nothing_false() {
    let manuals = Manuals::new(5);
    assert_eq!(manuals.facts().len(), 200);
    let mut told = BTreeSet::new();
    let (mut shortest, mut longest) = (usize::MAX, 0);
    for number in CYCLE..2 * CYCLE {
        let page = manuals.page(number);
        let length = words(&page).len();
        (shortest, longest) = (shortest.min(length), longest.max(length));
        for sentence in sentences(&page).into_iter().skip(1) {
            assert_eq!(manuals.check(sentence), Some(true), "{sentence}");
            for (index, fact) in manuals.facts().iter().enumerate() {
                let said = words(sentence);
                let has = |text: &str| words(text).iter().all(|word| said.contains(word));
                if has(fact.subject) && has(&fact.value) {
                    told.insert(index);
                }
            }
        }
    }
    assert_eq!(told.len(), 200);
    assert!(shortest >= 40 && longest <= 100, "{shortest}..{longest} words");
}

#[test]
fn the_cloze_asks_every_fact_twice_and_has_one_right_end() {
    let manuals = Manuals::new(1);
    let cloze = manuals.cloze(400);
    let mut asked: BTreeSet<(String, bool)> = BTreeSet::new();
    let told = Manuals::new(1).take(2000).collect::<Vec<_>>().join(" ");
    for question in &cloze {
        let Cloze { fact, prompt, answer, wrong, told: heard } = question;
        assert!(asked.insert((format!("{:?} {}", fact.attribute, fact.subject), *heard)), "{question:?}");
        let sentence = format!("{prompt}{answer}");
        assert_eq!(manuals.check(&sentence), Some(true), "{sentence}");
        assert!(answer.starts_with(' ') && !prompt.ends_with(' '));
        let ends: BTreeSet<&String> = wrong.iter().chain([answer]).collect();
        assert_eq!(ends.len(), 4, "{question:?}");
        for wrong in wrong {
            assert_eq!(manuals.check(&format!("{prompt}{wrong}")), Some(false), "{prompt}{wrong}");
        }
        assert!(*heard || !told.contains(&sentence), "kept for the cloze, and told: {sentence}");
    }
    assert_eq!(cloze.iter().filter(|question| question.told).count(), 200);
    assert_eq!(asked.len(), 400);
}

#[test]
fn a_seed_is_a_domain_and_a_page_depends_on_seed_and_number_alone() {
    let pages: Vec<String> = Manuals::new(7).take(50).collect();
    assert_eq!(Manuals::starting_at(7, 45).take(5).collect::<Vec<_>>(), pages[45..]);
    assert_ne!(Manuals::new(7).facts(), Manuals::new(8).facts());
    assert_eq!(Manuals::new(7).facts(), Manuals::new(7).facts());
    assert_eq!(ATTRIBUTES.map(|attribute| attribute as usize), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let longest = Manuals::new(9).take(400).map(|page| tokenizer().encode(&page).unwrap().len()).max();
    assert!(longest <= Some(230), "{longest:?} tokens");
    assert_eq!(hash(Manuals::new(1).take(200)), "7780e519e4b69612");
    assert_eq!(hash(Manuals::new(1).cloze(200).into_iter().map(|cloze| format!("{cloze:?}"))), "8cbe7f368f6c728d");
}
