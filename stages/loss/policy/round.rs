//! The policy objectives on a window of a round, as [`Loss`]es.
//!
//! A row is a prompt with its completion; the completion's tokens are the row's unmasked targets, one after the other.
//! [`Window::given`] has, for each token, [`OLD`], [`REFERENCE`] and [`ADVANTAGE`] in its first list and, for PPO,
//! [`VALUE`] and [`RETURN`] in its second: at the place before each token, and at the row's end for the whole.

use super::group::{Completion, Grpo, grouped};
use super::ppo::{Clipped, Minibatch, Ppo, clipped};
use pleach_runtime::engine::layout::RoleId;
use pleach_runtime::fault::{Fault, FaultKind};
use pleach_runtime::stage::{Evaluated, Loss, Memory, Numbers, Row, Verdict, Window};
use std::ops::Range;

/// Log-probability under the policy that wrote, by the training program.
pub const OLD: usize = 0;
/// Log-probability under the reference; 0 where there is none.
pub const REFERENCE: usize = 1;
/// What the token was worth.
pub const ADVANTAGE: usize = 2;
/// The critic's value when it was written (second list).
pub const VALUE: usize = 0;
/// What the critic should have said (second list).
pub const RETURN: usize = 1;

/// The metric by which a policy's way within a round is watched.
const MOVED: &str = "policy/approxkl_avg";

/// Where the numbers of a row's completion lie, the row's own lying in `place`.
pub fn learned(row: &Row, place: &Range<usize>) -> Range<usize> {
    let Some(first) = row.weights.iter().position(|&weight| weight != 0.0) else {
        return place.end..place.end;
    };
    let count = row.weights[first..].iter().take_while(|&&weight| weight != 0.0).count();
    place.start + first..place.start + first + count
}

/// The completions of a window as one list of places.
fn completions(window: &Window, numbers: &Numbers, lists: usize) -> Result<Vec<Range<usize>>, Fault> {
    let whole = window.given.len() == lists && window.given.iter().all(|given| given.len() == numbers.len());
    if !whole || numbers.len() != window.tokens() || window.rows.is_empty() {
        let what = format!("{} numbers and {} lists for {} tokens", numbers.len(), window.given.len(), window.tokens());
        return Err(Fault::new(FaultKind::Actor, what));
    }
    Ok(window.rows.iter().zip(window.places()).map(|(row, place)| learned(row, &place)).collect())
}

/// One column of a list at many places.
fn column(list: &Numbers, places: impl Iterator<Item = usize>, which: usize) -> Vec<f64> {
    places.map(|at| f64::from(list[at][which])).collect()
}

/// Mean entropy of the completions' tokens, and how far the policy went from the one that wrote them.
fn add_ways(metrics: &mut Vec<(String, f64)>, name: &str, numbers: &Numbers, old: &Numbers, places: &[Range<usize>]) {
    let all = || places.iter().cloned().flatten();
    let count = all().count().max(1) as f64;
    metrics.push((name.into(), all().map(|at| f64::from(numbers[at][2])).sum::<f64>() / count));
    if metrics.iter().all(|(known, _)| known != MOVED) {
        let moved = |at: usize| (f64::from(numbers[at][0]) - f64::from(old[at][OLD])).powi(2);
        metrics.push((MOVED.into(), 0.5 * all().map(moved).sum::<f64>() / count));
    }
}

/// Ends a round in which the policy went too far from the one that wrote it: its rows say little of it any more.
fn too_far(evaluated: &Evaluated, limit: Option<f64>) -> Verdict {
    let moved = evaluated.metrics.iter().find(|(name, _)| name == MOVED).map_or(0.0, |(_, moved)| *moved);
    match limit {
        Some(limit) if moved > limit => {
            Verdict::NextRound(format!("the policy is {moved:.4} nats a token from the one that wrote; limit {limit}"))
        }
        _ => Verdict::Apply,
    }
}

/// GRPO and its kin on a window.
pub struct Groups {
    /// Options of the family.
    pub options: Grpo,
    /// The most that [`MOVED`] may be before the round ends.
    pub moved_limit: Option<f64>,
}

impl Loss for Groups {
    fn known(&self, _: &Window) -> Option<Numbers> {
        None
    }

    fn evaluate(&self, window: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault> {
        let places = completions(window, numbers, 1)?;
        let given = &window.given[0];
        let of = |place: &Range<usize>| {
            let list = |list, which| column(list, place.clone(), which);
            let advantage = place.clone().next().map_or(0.0, |at| f64::from(given[at][ADVANTAGE]));
            (list(numbers, 0), list(given, OLD), list(given, REFERENCE), advantage)
        };
        let lists: Vec<_> = places.iter().map(of).collect();
        let all: Vec<Completion> = lists
            .iter()
            .map(|(policy, old_policy, reference, advantage)| Completion {
                policy,
                old_policy,
                reference,
                advantage: *advantage,
            })
            .collect();
        let out = grouped(&all, &self.options)?;
        let mut derivatives = vec![[0.0; 4]; numbers.len()];
        for (at, slope) in places.iter().cloned().flatten().zip(&out.derivatives) {
            derivatives[at][0] = *slope as f32;
        }
        let mut metrics = out.metrics;
        add_ways(&mut metrics, "entropy", numbers, given, &places);
        Ok(Evaluated { loss: out.loss, derivatives, metrics, memory: memory.clone(), beside: Vec::new() })
    }

    fn verdict(&self, evaluated: &Evaluated) -> Verdict {
        too_far(evaluated, self.moved_limit)
    }
}

/// PPO on a window: the policy's clipped loss, and the critic's.
pub struct ActorCritic {
    /// Its options.
    pub options: Ppo,
    /// The role that values are learned by.
    pub critic: RoleId,
    /// The most that [`MOVED`] may be before the round ends.
    pub moved_limit: Option<f64>,
}

impl Loss for ActorCritic {
    fn known(&self, _: &Window) -> Option<Numbers> {
        None
    }

    fn beside(&self) -> Vec<RoleId> {
        vec![self.critic]
    }

    fn evaluate(&self, window: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault> {
        let places = completions(window, numbers, 3)?;
        let (given, valued, values) = (&window.given[0], &window.given[1], &window.given[2]);
        let tokens = || places.iter().cloned().flatten();
        // A completion's values: before each of its tokens, and at its end. None where nothing of it is learned.
        let ends = || places.iter().filter(|place| !place.is_empty()).flat_map(|place| place.start..=place.end);
        let batch = Minibatch {
            policy: &column(numbers, tokens(), 0),
            old_policy: &column(given, tokens(), OLD),
            advantages: &column(given, tokens(), ADVANTAGE),
            values: &column(values, ends(), 0),
            old_values: &column(valued, ends(), VALUE),
            returns: &column(valued, ends(), RETURN),
        };
        let out = match batch.policy.is_empty() {
            true => Clipped { loss: 0.0, dpolicy: vec![], dvalues: vec![], metrics: vec![] },
            false => clipped(&batch, &self.options)?,
        };
        let (mut derivatives, mut dvalues) = (vec![[0.0; 4]; numbers.len()], vec![[0.0; 4]; numbers.len()]);
        for (at, slope) in tokens().zip(&out.dpolicy) {
            derivatives[at][0] = *slope as f32;
        }
        for (at, slope) in ends().zip(&out.dvalues) {
            dvalues[at][0] = *slope as f32;
        }
        let mut metrics = out.metrics;
        add_ways(&mut metrics, "policy/entropy_avg", numbers, given, &places);
        let beside = vec![(self.critic, dvalues)];
        Ok(Evaluated { loss: out.loss, derivatives, metrics, memory: memory.clone(), beside })
    }

    fn verdict(&self, evaluated: &Evaluated) -> Verdict {
        too_far(evaluated, self.moved_limit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::group::{Level, Normalizer};
    use super::*;
    use std::sync::Arc;

    /// Completions of two and of three tokens after prompts, and one that is masked.
    fn window(lists: usize) -> Window {
        let row = |weights: &[f32]| {
            let n = weights.len();
            Row { tokens: vec![0; n + 1], weights: weights.to_vec(), segments: vec![0; n], key: 0 }
        };
        let rows = vec![row(&[0.0, 1.0, 1.0, 0.0]), row(&[0.0; 3]), row(&[1.0, 1.0, 1.0, 0.0])];
        let list = |seed: u8| {
            let number = |at: u8, k: u8| f32::from((at * 7 + k * 5 + seed * 3) % 11) * 0.1 - 0.5;
            Arc::new((0..11).map(|at| [0, 1, 2, 3].map(|k| number(at, k))).collect::<Numbers>())
        };
        let given = (0..lists as u8).map(list).collect();
        Window { given, ..Window::new(4, rows) }
    }

    fn numbers() -> Numbers {
        (0..11u8).map(|at| [f32::from(at * 3 % 7) * 0.1 - 0.4, 0.0, f32::from(at), 0.0]).collect()
    }

    /// Derivatives beside differences of the loss, of the policy's numbers and of a list that is given.
    fn assert_slopes(loss: &dyn Loss, lists: usize) {
        let memory = Memory::default();
        let value = |window: &Window, numbers: &Numbers| loss.evaluate(window, numbers, &memory).unwrap();
        let here = value(&window(lists), &numbers());
        for at in 0..11 {
            let moved = |by: f32| {
                let mut numbers = numbers();
                numbers[at][0] += by;
                value(&window(lists), &numbers).loss
            };
            let slope = (moved(0.0078125) - moved(-0.0078125)) / 0.015625;
            assert!((slope - f64::from(here.derivatives[at][0])).abs() < 2e-4, "{at}: {slope} {:?}", here.derivatives);
            for (_, derivatives) in &here.beside {
                let moved = |by: f32| {
                    let mut window = window(lists);
                    Arc::make_mut(window.given.last_mut().unwrap())[at][0] += by;
                    value(&window, &numbers()).loss
                };
                let slope = (moved(0.0078125) - moved(-0.0078125)) / 0.015625;
                assert!((slope - f64::from(derivatives[at][0])).abs() < 2e-4, "critic {at}: {slope}");
            }
        }
        assert!(here.derivatives[4..7].iter().all(|d| *d == [0.0; 4]), "nothing is learned of the masked one");
    }

    #[test]
    fn derivatives_are_the_slopes_where_the_numbers_lie() {
        let wide = Grpo { epsilon: 5.0, epsilon_high: 5.0, ..Grpo::default() };
        for options in [
            wide,
            Grpo { beta: 0.1, normalizer: Normalizer::Grpo, ..wide },
            Grpo { level: Level::Sequence, normalizer: Normalizer::Bnpo, ..wide },
        ] {
            assert_slopes(&Groups { options, moved_limit: None }, 1);
        }
        let options = Ppo { clip: 5.0, clip_value: 5.0, ..Ppo::default() };
        assert_slopes(&ActorCritic { options, critic: 2, moved_limit: None }, 3);
    }

    #[test]
    fn a_completion_has_a_value_more_than_tokens_and_a_torn_window_is_none() {
        // Without its bound, or values that moved too far would teach nothing.
        let options = Ppo { clip_value: 5.0, ..Ppo::default() };
        let loss = ActorCritic { options, critic: 2, moved_limit: None };
        let out = loss.evaluate(&window(3), &numbers(), &Memory::default()).unwrap();
        let learned: Vec<usize> = (0..11).filter(|&at| out.beside[0].1[at][0] != 0.0).collect();
        assert!(learned.iter().all(|at| [1, 2, 3, 7, 8, 9, 10].contains(at)) && learned.len() > 3, "{learned:?}");
        assert!(loss.evaluate(&window(2), &numbers(), &Memory::default()).is_err());
        let entropy = out.metrics.iter().find(|(name, _)| name == "policy/entropy_avg").unwrap().1;
        assert_eq!(entropy, (1.0 + 2.0 + 7.0 + 8.0 + 9.0) / 5.0);
    }

    #[test]
    fn a_policy_that_went_too_far_ends_its_round() {
        let evaluate = |moved_limit| {
            let loss = Groups { options: Grpo::default(), moved_limit };
            loss.verdict(&loss.evaluate(&window(1), &numbers(), &Memory::default()).unwrap())
        };
        assert_eq!(evaluate(None), Verdict::Apply);
        assert_eq!(evaluate(Some(1.0)), Verdict::Apply);
        assert!(matches!(evaluate(Some(1e-6)), Verdict::NextRound(why) if why.contains("limit")));
    }
}
