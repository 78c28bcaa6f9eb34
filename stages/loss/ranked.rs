//! The reward model's objective on a window of ranked sets, as a [`Loss`].
//!
//! Each group of the window is one prompt's K completions; a completion's score is the value at the one token of its
//! row that counts. L = mean over sets of [`rank_weighted`]. A group's facts are K ranks (lower is better), K weights,
//! and the margin by which a better completion is to lead.

use super::numeric::{refused, sigmoid};
use super::ranking::{Form, Ranked, Ranking, rank_weighted};
use pleach_runtime::fault::{Fault, FaultKind};
use pleach_runtime::stage::{Evaluated, Group, Loss, Measured, Memory, Numbers, Window};

/// Bins of the confidence in [`calibration_error`], over 1/2 to 1.
const BINS: usize = 10;

/// The ranking objective over the sets of a window.
pub struct RankedSets {
    /// Its options.
    pub options: Ranking,
}

/// One set of a window: where its scores lie, and its value.
struct Set {
    places: Vec<usize>,
    scores: Vec<f64>,
    ranks: Vec<u32>,
    value: Ranked,
}

impl RankedSets {
    fn sets(&self, window: &Window, numbers: &Numbers) -> Result<Vec<Set>, Fault> {
        let torn = |what: String| Fault::new(FaultKind::Actor, what);
        if numbers.len() != window.tokens() || window.groups.is_empty() {
            return Err(torn(format!("{} sets of {} numbers", window.groups.len(), numbers.len())));
        }
        let places = window.places();
        let one = |group: &Group| {
            let scored = |row: usize| {
                let at = window.rows[row].weights.iter().position(|&weight| weight != 0.0);
                at.map(|at| places[row].start + at).ok_or_else(|| torn(format!("row {row} has no place for its score")))
            };
            let places: Vec<usize> = group.rows.clone().map(scored).collect::<Result<_, Fault>>()?;
            let count = places.len();
            if group.facts.len() != 2 * count + 1 {
                return Err(torn(format!("{} facts of {count} completions", group.facts.len())));
            }
            let scores: Vec<f64> = places.iter().map(|&at| f64::from(numbers[at][0])).collect();
            let ranks: Vec<u32> = group.facts[..count].iter().map(|&rank| rank as u32).collect();
            let pairs = (0..count).flat_map(|first| (first + 1..count).map(move |second| (first, second)));
            let weight = |row: usize| group.facts[count + row];
            let weights: Vec<f64> = pairs.map(|(first, second)| weight(first).max(weight(second))).collect();
            let margins = vec![group.facts[2 * count]; weights.len()];
            let of_pairs = |list| if self.options.form == Form::PlackettLuce { None } else { Some(list) };
            let value = rank_weighted(
                &scores,
                &ranks,
                of_pairs(margins.as_slice()),
                of_pairs(weights.as_slice()),
                &self.options,
            )?;
            Ok(Set { places, scores, ranks, value })
        };
        window.groups.iter().map(one).collect()
    }
}

/// What Plackett and Luce's form cannot take: weights and margins belong to pairs.
///
/// # Errors
/// A refusal in words.
pub fn check_form(options: &Ranking, weighted: bool, margins: bool) -> Result<(), Fault> {
    let plain = !weighted && !margins;
    if options.form == Form::PlackettLuce && !plain {
        return Err(refused("flags that weigh and margins belong to pairs; Plackett and Luce rank without them"));
    }
    Ok(())
}

impl Loss for RankedSets {
    fn known(&self, _: &Window) -> Option<Numbers> {
        None
    }

    fn evaluate(&self, window: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault> {
        let sets = self.sets(window, numbers)?;
        let share = 1.0 / sets.len() as f64;
        let mut derivatives = vec![[0.0; 4]; numbers.len()];
        let mut loss = 0.0;
        for set in &sets {
            loss += set.value.loss * share;
            for (&at, slope) in set.places.iter().zip(&set.value.derivatives) {
                derivatives[at][0] = (slope * share) as f32;
            }
        }
        let metrics = report(&sums(&sets));
        Ok(Evaluated { loss, derivatives, metrics, memory: memory.clone(), beside: Vec::new() })
    }

    fn measure(&self, window: &Window, numbers: &Numbers) -> Result<Measured, Fault> {
        Ok(sums(&self.sets(window, numbers)?))
    }

    fn report(&self, total: &Measured) -> Vec<(String, f64)> {
        report(total)
    }
}

/// What adds up over sets: the loss over strict pairs, how many of them are right, and what the metrics need.
fn sums(sets: &[Set]) -> Measured {
    let mut out = Measured::default();
    for set in sets {
        out.sum += set.value.loss * set.value.strict as f64;
        out.count += set.value.strict as f64;
        out.hits += set.value.right as f64;
        let mut add = |name: &str, value: f64| *out.more.entry(name.to_string()).or_default() += value;
        add("margin", set.value.margin_sum);
        for &score in &set.scores {
            add("rewards", 1.0);
            add("reward", score);
            add("reward^2", score * score);
        }
        for (better, worse) in strict_pairs(&set.ranks) {
            let lead = set.scores[better] - set.scores[worse];
            let confidence = sigmoid(lead.abs());
            let bin = (((confidence - 0.5) * 2.0 * BINS as f64) as usize).min(BINS - 1);
            add(&format!("confidence {bin}"), confidence);
            add(&format!("right {bin}"), f64::from(u8::from(lead > 0.0)));
            add(&format!("pairs {bin}"), 1.0);
        }
    }
    out
}

fn strict_pairs(ranks: &[u32]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let all = move || 0..ranks.len();
    all().flat_map(move |a| all().map(move |b| (a, b))).filter(|&(a, b)| ranks[a] < ranks[b])
}

/// TRL's `accuracy`, `margin` and `mean_reward`, the spread of rewards, and the calibration.
fn report(total: &Measured) -> Vec<(String, f64)> {
    let of = |name: &str| total.more.get(name).copied().unwrap_or(0.0);
    let (rewards, pairs) = (of("rewards").max(1.0), total.count.max(1.0));
    let mean = of("reward") / rewards;
    let variance = (of("reward^2") / rewards - mean * mean).max(0.0);
    vec![
        ("accuracy".into(), total.hits / pairs),
        ("margin".into(), of("margin") / pairs),
        ("mean_reward".into(), mean),
        ("reward_std".into(), variance.sqrt()),
        ("calibration_error".into(), calibration_error(total)),
    ]
}

/// Expected calibration error (Naeini et al. 2015) of the preferences: over bins of the model's confidence
/// sigmoid(|lead|), the mean distance between the confidence and the share of pairs that it is right about.
fn calibration_error(total: &Measured) -> f64 {
    let of = |name: &str, bin: usize| total.more.get(&format!("{name} {bin}")).copied().unwrap_or(0.0);
    let off = |bin: usize| (of("confidence", bin) - of("right", bin)).abs();
    (0..BINS).map(off).sum::<f64>() / total.count.max(1.0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::ranking::Ties;
    use super::*;
    use pleach_runtime::stage::Row;

    fn window(facts: &[&[f64]]) -> Window {
        let row = |n: usize| {
            let weights = (0..n).map(|at| f32::from(u8::from(at + 1 == n))).collect();
            Row { tokens: vec![0; n + 1], weights, segments: vec![0; n], key: 0 }
        };
        let (mut rows, mut groups) = (Vec::new(), Vec::new());
        for facts in facts {
            let count = facts.len() / 2;
            groups.push(Group { rows: rows.len()..rows.len() + count, facts: facts.to_vec() });
            rows.extend((0..count).map(|i| row(1 + i % 2)));
        }
        Window { groups, ..Window::new(2, rows) }
    }

    fn loss(form: Form) -> RankedSets {
        RankedSets { options: Ranking { form, centering: 0.0 } }
    }

    #[test]
    fn the_last_token_alone_is_the_score_and_derivatives_are_slopes() {
        let window = window(&[&[1.0, 2.0, 2.0, 1.0, 1.0, 3.0, 0.5], &[2.0, 1.0, 1.0, 1.0, 0.0]]);
        let numbers: Numbers = (0..window.tokens() as u8).map(|i| [f32::from(i * 5 % 7), 0.0, 0.0, 0.0]).collect();
        let loss = loss(Form::Pairs(Ties::Half));
        let here = loss.evaluate(&window, &numbers, &Memory::default()).unwrap();
        for at in 0..numbers.len() {
            let moved = |by: f32| {
                let mut numbers = numbers.clone();
                numbers[at][0] += by;
                loss.evaluate(&window, &numbers, &Memory::default()).unwrap().loss
            };
            let slope = (moved(0.0625) - moved(-0.0625)) / 0.125;
            assert!((slope - f64::from(here.derivatives[at][0])).abs() < 1e-3, "{at}: {slope}");
        }
        // Rows of 1, 2, 1 and 1, 2 tokens: the first token of a row of two says nothing.
        assert_eq!((here.derivatives[1][0], here.derivatives[5][0]), (0.0, 0.0));
    }

    #[test]
    fn a_heavy_flag_is_heavy_where_a_set_has_one_pair_only() {
        let numbers = vec![[0.0; 4]; 3];
        let value = |weight: f64| {
            let window = window(&[&[1.0, 2.0, 1.0, weight, 0.0]]);
            loss(Form::Pairs(Ties::Drop)).evaluate(&window, &numbers, &Memory::default()).unwrap().loss
        };
        assert!((value(1.0) - std::f64::consts::LN_2).abs() < 1e-12);
        assert!((value(3.0) - 3.0 * std::f64::consts::LN_2).abs() < 1e-12);
    }

    #[test]
    fn a_model_that_is_as_sure_as_it_is_right_is_calibrated() {
        let pair = |better: f64| vec![better, 3.0 - better, 1.0, 1.0, 0.0];
        // Four pairs of lead ln 3, a confidence of 3/4: right three times of four.
        let sets: Vec<Vec<f64>> = [1.0, 1.0, 1.0, 2.0].map(pair).into();
        let window = window(&sets.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let lead = 3f32.ln();
        let numbers = (0..4).flat_map(|_| [[lead, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0], [0.0; 4]]).collect();
        let loss = loss(Form::Pairs(Ties::Drop));
        let metrics = loss.report(&loss.measure(&window, &numbers).unwrap());
        let of = |name: &str| metrics.iter().find(|(known, _)| known == name).unwrap().1;
        assert!(of("calibration_error") < 1e-6, "{metrics:?}");
        assert_eq!(of("accuracy"), 0.75);
        assert!((of("mean_reward") - f64::from(lead) / 2.0).abs() < 1e-9);
        let sure = (0..4).flat_map(|_| [[40.0, 0.0, 0.0, 0.0], [0.0; 4], [0.0; 4]]).collect();
        let metrics = loss.report(&loss.measure(&window, &sure).unwrap());
        assert!(metrics.iter().any(|(name, value)| name == "calibration_error" && (value - 0.25).abs() < 1e-6));
    }

    #[test]
    fn choices_take_no_weights_and_sets_must_be_whole() {
        let choices = Ranking { form: Form::PlackettLuce, centering: 0.0 };
        assert!(check_form(&choices, true, false).is_err() && check_form(&choices, false, true).is_err());
        assert!(check_form(&choices, false, false).is_ok() && check_form(&Ranking::default(), true, true).is_ok());
        let window = window(&[&[1.0, 2.0, 1.0, 1.0, 0.0]]);
        let value = loss(Form::PlackettLuce).evaluate(&window, &vec![[0.0; 4]; 3], &Memory::default()).unwrap();
        assert!((value.loss - std::f64::consts::LN_2).abs() < 1e-12, "two completions are a pair");
        assert!(loss(Form::PlackettLuce).evaluate(&window, &vec![[0.0; 4]; 2], &Memory::default()).is_err());
    }
}
