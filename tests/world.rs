//! The little world: its stories parse in its own grammar, its facts can be checked.

use pleach::data::random::Dice;
use pleach::data::world::facts::{ANIMALS, COLOURS, PEOPLE, PESTS, PLACES, PLANTS, SEASONS, Use};
use pleach::data::world::{Parser, Stories, sentences};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn every_sentence_of_twenty_thousand_parses_and_is_true() {
    let parser = Parser::new();
    let (mut count, mut stated) = (0, 0);
    for story in Stories::new(11).take(1600) {
        for sentence in sentences(&story) {
            assert!(parser.parses(sentence), "{sentence}\nin {story}");
            let verdict = parser.check_fact(sentence);
            assert_ne!(verdict, Some(false), "{sentence}");
            count += 1;
            stated += usize::from(verdict.is_some());
        }
    }
    assert!(count > 20_000, "{count} sentences");
    assert!(stated * 8 > count, "{stated} of {count} sentences state a fact");
}

#[test]
fn stories_have_their_length_and_do_not_repeat_themselves() {
    let (mut vocabulary, mut words, mut openings) = (BTreeSet::new(), 0, BTreeSet::new());
    let (mut shortest, mut longest, mut repeats) = (usize::MAX, 0, 0);
    let mut distinct = BTreeSet::new();
    for story in Stories::new(2).take(2000) {
        let length = story.split_whitespace().count();
        (shortest, longest, words) = (shortest.min(length), longest.max(length), words + length);
        let parts = sentences(&story);
        let unique: BTreeSet<_> = parts.iter().collect();
        repeats += parts.len() - unique.len();
        openings.insert(parts[0].to_owned());
        distinct.extend(parts.iter().map(|part| part.to_string()));
        vocabulary.extend(story.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase));
        assert!(story.is_ascii() && story.ends_with(['.', '!', '?', '"']), "{story}");
    }
    let report = format!(
        "{shortest}..{longest} words, mean {}, {} words known, {} sentences, {} openings, {repeats} repeats",
        words / 2000,
        vocabulary.len(),
        distinct.len(),
        openings.len()
    );
    assert!(shortest >= 80 && longest <= 250, "{report}");
    assert!((450..1200).contains(&vocabulary.len()) && distinct.len() > 9000 && openings.len() > 400, "{report}");
    assert!(repeats == 0, "{report}");
}

#[test]
fn a_story_depends_on_seed_and_number_alone() {
    let all: Vec<String> = Stories::new(7).take(30).collect();
    let tail: Vec<String> = Stories::starting_at(7, 20).take(10).collect();
    assert_eq!(all[20..], tail);
    assert_eq!(Stories::new(7).story(13), all[13]);
    assert_ne!(Stories::new(8).story(13), all[13]);
    let unique: BTreeSet<&String> = all.iter().collect();
    assert_eq!(unique.len(), 30);
}

/// Damages that a model could do, and the share of damaged sentences that must be refused. The rest are sentences of
/// the world by chance (another name in the place of a name).
#[test]
fn damaged_sentences_are_refused() {
    let parser = Parser::new();
    let mut dice = Dice::new(5, 5);
    let all: Vec<String> = Stories::new(3)
        .take(300)
        .flat_map(|story| sentences(&story).into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let words: BTreeSet<&str> = all.iter().flat_map(|sentence| sentence.split(' ')).collect();
    let words: Vec<&str> = words.into_iter().collect();
    let mut refused: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for sentence in &all {
        let parts: Vec<&str> = sentence.split(' ').collect();
        let at = dice.below(parts.len());
        let mut damaged = Vec::new();
        if at + 1 < parts.len() && parts[at] != parts[at + 1] {
            let mut swapped = parts.clone();
            swapped.swap(at, at + 1);
            damaged.push(("swapped", swapped.join(" ")));
        }
        let put = |word: &str| {
            let mut changed = parts.clone();
            changed[at] = word;
            changed.join(" ")
        };
        damaged.push(("unknown", put("zebra")));
        damaged.push(("other word", put(words[dice.below(words.len())])));
        damaged.push(("dropped", [&parts[..at], &parts[at + 1..]].concat().join(" ")));
        damaged.push(("twice", [&parts[..=at], &parts[at..]].concat().join(" ")));
        damaged.push(("lower case", sentence.to_lowercase()));
        damaged.push(("cut", parts[..parts.len() - 1].join(" ")));
        for (from, to) in [(" was ", " were "), (" were ", " was "), ("s eat ", " eat "), (" a ", " an ")] {
            if sentence.contains(from) {
                damaged.push(("agreement", sentence.replacen(from, to, 1)));
            }
        }
        for (kind, text) in damaged {
            if text != *sentence && !text.is_empty() {
                let (bad, total) = refused.entry(kind).or_default();
                *bad += usize::from(!parser.parses(&text));
                *total += 1;
            }
        }
    }
    for (kind, least) in [
        ("swapped", 0.99),
        ("unknown", 1.0),
        ("other word", 0.97),
        ("dropped", 0.95),
        ("twice", 0.99),
        ("lower case", 1.0),
        ("cut", 0.98),
        ("agreement", 1.0),
    ] {
        let (bad, total) = refused[kind];
        let share = bad as f64 / total as f64;
        assert!(total > 200 && share >= least, "{kind}: {bad} of {total} refused; all: {refused:?}");
    }
}

#[test]
fn agreement_is_checked_within_a_sentence() {
    let parser = Parser::new();
    let good = [
        "\"Thank you, Tom,\" said Mira.",
        "Mira thanked Tom and gave him a basket of fresh things.",
        "In her garden Mira grew roses and carrots.",
        "In his garden Tom grew asters and pears.",
        "\"Do not worry, ladybirds eat aphids,\" answered Ella.",
        "Greta loved the apples and was sad.",
    ];
    let bad = [
        "\"Thank you, Tom,\" said Tom.",
        "Mira thanked Tom and gave her a basket of fresh things.",
        "In his garden Mira grew roses and carrots.",
        "In her garden Mira grew roses and roses.",
        "\"Do not worry, ladybirds eat aphids\", answered Ella.",
        "\"do not worry, ladybirds eat aphids,\" answered Ella.",
        "Greta loved the apple and was sad.",
        "Greta loved the  apples and was sad.",
        "Greta loved the apples and was sad",
        "",
        "\"",
        "\u{e9}\u{1F333}.",
    ];
    for sentence in good {
        assert!(parser.parses(sentence), "{sentence}");
    }
    for sentence in bad {
        assert!(!parser.parses(sentence), "{sentence}");
    }
}

#[test]
fn facts_are_told_from_fictions() {
    let parser = Parser::new();
    let cases = [
        ("Tulips flower in spring.", Some(true)),
        ("Tulips flower in winter.", Some(false)),
        ("Carrots are ripe in autumn.", Some(true)),
        ("Tulips are ripe in spring.", None),
        ("In her garden Mira grew roses and carrots.", Some(true)),
        ("In her garden Mira grew roses and tulips.", Some(false)),
        ("\"Ladybirds eat aphids,\" said Tom.", Some(true)),
        ("\"Ladybirds eat slugs,\" said Tom.", Some(false)),
        ("Her garden was full of roses and tulips.", None),
        ("Mira was glad.", None),
        ("Mira made carrot soup from the carrots.", Some(true)),
        ("Mira made plum jam from the carrots.", Some(false)),
        ("The roses were red and lovely.", Some(true)),
        ("The roses were blue and lovely.", Some(false)),
        ("Gravity is real.", None),
    ];
    for (sentence, verdict) in cases {
        assert_eq!(parser.check_fact(sentence), verdict, "{sentence}");
    }
}

#[test]
fn sentences_are_divided_around_quotations() {
    let text = "\"Who is there?\" asked Mira. It was a toad. Tom said, \"I see it.\" \"Come!\" cried Tom. And\nthen";
    let parts = ["\"Who is there?\" asked Mira.", "It was a toad.", "Tom said, \"I see it.\"", "\"Come!\" cried Tom."];
    assert_eq!(sentences(text), [&parts[..], &["And\nthen"]].concat());
    assert!(sentences(" \n ").is_empty());
}

#[test]
fn the_tables_fit_together() {
    let named = |one: &str| PLANTS.iter().find(|plant| plant.one == one).unwrap();
    for person in PEOPLE {
        let friend = PEOPLE.iter().find(|other| other.name == person.friend).unwrap();
        assert_eq!(friend.friend, person.name, "friendship goes both ways");
        assert!(PLACES.contains(&person.home));
        assert_eq!(named(person.likes).usage, Use::Flower);
        let flowers = person.grows.iter().filter(|one| named(one).usage == Use::Flower).count();
        assert_eq!((flowers, person.grows.iter().collect::<BTreeSet<_>>().len()), (1, 3), "{}", person.name);
    }
    for plant in PLANTS {
        assert!(SEASONS.contains(&plant.season) && COLOURS.contains(&plant.colour), "{}", plant.one);
        assert!(PESTS.iter().any(|pest| pest.many == plant.pest));
        assert_eq!(plant.dish.is_empty(), plant.usage == Use::Flower);
        assert!(PLANTS.iter().any(|other| other.many == plant.companion && other.one != plant.one), "{}", plant.one);
        assert!(plant.depth > 0 && plant.days > 0 && !plant.soil.is_empty());
        assert!(PEOPLE.iter().any(|person| person.grows.contains(&plant.one)), "nobody grows {}", plant.many);
    }
    assert!(PESTS.iter().all(|pest| ANIMALS.iter().any(|animal| animal.one == pest.helper)));
    let trades: BTreeSet<_> = PEOPLE.iter().map(|person| person.trade).collect();
    assert_eq!(trades.len(), PEOPLE.len());
}
