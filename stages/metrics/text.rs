//! An answer beside its reference: exact match, token F1, ROUGE-L; and how much a set of answers repeats itself.

use std::collections::{HashMap, HashSet};

/// 1 where the answer is the reference, white space at both ends aside; else 0. Nothing else is forgiven: a task with
/// one right answer (JSON, a number, a label) is meant.
pub fn exact_match(answer: &str, reference: &str) -> f64 {
    f64::from(u8::from(answer.trim() == reference.trim()))
}

/// 1 where the normalised answer is the normalised reference ([`normalise`]); else 0: SQuAD's own exact match.
pub fn exact_match_normalised(answer: &str, reference: &str) -> f64 {
    f64::from(u8::from(normalise(answer) == normalise(reference)))
}

/// F1 of the bags of normalised words: with c words in common (each as often as in both), precision p = c / words of
/// the answer, recall r = c / words of the reference, F1 = 2pr / (p + r). Where one of the two has no words: 1 if
/// neither has, else 0 (Rajpurkar et al. 2016, 2018: the evaluation script of SQuAD 2.0).
pub fn token_f1(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (normalise(answer), normalise(reference));
    let (answer, reference): (Vec<&str>, Vec<&str>) =
        (answer.split_whitespace().collect(), reference.split_whitespace().collect());
    if answer.is_empty() || reference.is_empty() {
        return f64::from(u8::from(answer.is_empty() && reference.is_empty()));
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    reference.iter().for_each(|word| *left.entry(*word).or_default() += 1);
    let common = answer.iter().filter(|word| match left.get_mut(**word) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    });
    f_measure(common.count(), answer.len(), reference.len())
}

/// ROUGE-L's F1: with l the length of the longest common subsequence of the words, precision l / words of the answer,
/// recall l / words of the reference (Lin 2004). Words are what the package `rouge-score` takes without stemming:
/// small letters, runs of a to z and 0 to 9. A text of another script therefore has no words, and scores 0.
pub fn rouge_l(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (latin_words(answer), latin_words(reference));
    f_measure(common_subsequence(&answer, &reference), answer.len(), reference.len())
}

/// Share of the runs of n words that are different ones, over all answers (Li et al. 2016, distinct-n); words are
/// divided by white space, in small letters. 0 where there is no run.
pub fn distinct(answers: &[&str], n: usize) -> f64 {
    let (mut seen, mut all) = (HashSet::new(), 0u64);
    for answer in answers {
        let words: Vec<String> = answer.split_whitespace().map(str::to_lowercase).collect();
        for run in words.windows(n.max(1)) {
            all += 1;
            seen.insert(run.join(" "));
        }
    }
    seen.len() as f64 / all.max(1) as f64
}

/// SQuAD's normal form: small letters, without ASCII's punctuation, without the words a, an and the, single blanks.
pub fn normalise(text: &str) -> String {
    let lower = text.to_lowercase();
    let bare: String = lower.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    // Articles stand between characters that belong to no word, which need not be blanks.
    let (mut out, mut word) = (String::with_capacity(bare.len()), String::new());
    let flush = |word: &mut String, out: &mut String| {
        let article = ["a", "an", "the"].contains(&word.as_str());
        out.push_str(if article { " " } else { word.as_str() });
        word.clear();
    };
    for c in bare.chars() {
        if c.is_alphanumeric() {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// 2pr / (p + r) for p = common / answer and r = common / reference; 0 where nothing is common.
fn f_measure(common: usize, answer: usize, reference: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (p, r) = (common as f64 / answer as f64, common as f64 / reference as f64);
    2.0 * p * r / (p + r)
}

fn latin_words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let parts = lower.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()));
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Length of the longest common subsequence, in two rows of the table.
fn common_subsequence(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for word in a {
        let mut diagonal = 0;
        for (index, other) in b.iter().enumerate() {
            let above = row[index + 1];
            row[index + 1] = if word == other { diagonal + 1 } else { above.max(row[index]) };
            diagonal = above;
        }
    }
    row[b.len()]
}
