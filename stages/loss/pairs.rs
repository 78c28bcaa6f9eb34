//! The preference objectives on a window of pairs: DPO and its kin, as a [`Loss`].
//!
//! Each group of the window is a pair, the chosen completion first; the completions' tokens are the rows' unmasked
//! targets. L = mean over pairs of [`prefer`]; dL / d log p_t = dL / d(sum of the completion) for each of its tokens.

use super::preference::{Completion, Preference, prefer};
use pleach_runtime::engine::layout::RoleId;
use pleach_runtime::fault::{Fault, FaultKind};
use pleach_runtime::stage::{Evaluated, Loss, Memory, Numbers, Window};
use std::collections::BTreeMap;
use std::ops::Range;

/// The role of the frozen reference: the model at the stage's entry.
pub const REFERENCE: RoleId = 1;

/// A preference objective over the pairs of a window.
pub struct Pairs {
    /// Which.
    pub objective: Preference,
}

impl Pairs {
    /// Does the objective compare with the model at the stage's entry?
    pub fn has_reference(objective: &Preference) -> bool {
        matches!(objective, Preference::Sigmoid { .. } | Preference::Ipo { .. })
    }

    /// The completion of one row: sums over its unmasked targets.
    fn completion(&self, window: &Window, numbers: &Numbers, row: usize, place: &Range<usize>) -> Completion {
        let learned = || window.rows[row].weights.iter().zip(place.clone()).filter(|(weight, _)| **weight != 0.0);
        let sum = |numbers: &Numbers| learned().map(|(_, at)| f64::from(numbers[at][0])).sum();
        let reference = window.given.first().map_or(0.0, |given| sum(given));
        Completion { policy: sum(numbers), reference, tokens: learned().count() }
    }
}

impl Loss for Pairs {
    fn known(&self, _: &Window) -> Option<Numbers> {
        None
    }

    fn beside(&self) -> Vec<RoleId> {
        if Pairs::has_reference(&self.objective) { vec![REFERENCE] } else { Vec::new() }
    }

    fn evaluate(&self, window: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault> {
        let torn = |what: String| Err(Fault::new(FaultKind::Actor, what));
        if numbers.len() != window.tokens() || window.given.iter().any(|given| given.len() != numbers.len()) {
            return torn(format!("{} numbers for {} tokens", numbers.len(), window.tokens()));
        }
        if window.given.len() != self.beside().len() || window.groups.is_empty() {
            return torn(format!("{} pairs with {} reference(s)", window.groups.len(), window.given.len()));
        }
        let (places, pairs) = (window.places(), window.groups.len() as f64);
        let mut derivatives = vec![[0.0; 4]; numbers.len()];
        let (mut loss, mut metrics) = (0.0, BTreeMap::<String, f64>::new());
        for group in &window.groups {
            let &[chosen, rejected] = &group.rows.clone().collect::<Vec<usize>>()[..] else {
                return torn(format!("a pair of {} rows", group.rows.len()));
            };
            let of = |row: usize| self.completion(window, numbers, row, &places[row]);
            let one = prefer(&of(chosen), &of(rejected), &self.objective)?;
            loss += one.loss / pairs;
            for (name, value) in one.metrics {
                *metrics.entry(name).or_default() += value / pairs;
            }
            for (row, slope) in [(chosen, one.dchosen), (rejected, one.drejected)] {
                for (weight, at) in window.rows[row].weights.iter().zip(places[row].clone()) {
                    if *weight != 0.0 {
                        derivatives[at][0] = (slope / pairs) as f32;
                    }
                }
            }
        }
        Ok(Evaluated {
            loss,
            derivatives,
            metrics: metrics.into_iter().collect(),
            memory: memory.clone(),
            beside: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pleach_runtime::stage::{Group, Row};
    use std::sync::Arc;

    fn window(given: Numbers) -> Window {
        let row = |weights: &[f32]| {
            let n = weights.len();
            Row { tokens: vec![0; n + 1], weights: weights.to_vec(), segments: vec![0; n], key: 0 }
        };
        let rows = vec![row(&[0.0, 1.0, 1.0]), row(&[0.0, 1.0]), row(&[1.0, 0.0]), row(&[0.0, 1.0, 1.0])];
        let groups = vec![Group { rows: 0..2, facts: vec![] }, Group { rows: 2..4, facts: vec![] }];
        Window { groups, given: vec![Arc::new(given)], ..Window::new(3, rows) }
    }

    fn numbers(scale: f32) -> Numbers {
        (0..10u8).map(|i| [-scale * (1.0 + f32::from(i * 7 % 5)), 0.0, 0.0, 0.0]).collect()
    }

    #[test]
    fn the_model_at_entry_has_no_preference_and_derivatives_are_those_of_differences() {
        let loss = Pairs { objective: Preference::SIGMOID };
        let memory = Memory::default();
        let same = loss.evaluate(&window(numbers(0.5)), &numbers(0.5), &memory).unwrap();
        assert_eq!(same.loss, std::f64::consts::LN_2, "no log-ratio at all");
        let window = window(numbers(0.4));
        let here = loss.evaluate(&window, &numbers(0.5), &memory).unwrap();
        for at in 0..10 {
            let moved = |by: f32| {
                let mut numbers = numbers(0.5);
                numbers[at][0] += by;
                loss.evaluate(&window, &numbers, &memory).unwrap().loss
            };
            let slope = (moved(0.125) - moved(-0.125)) / 0.25;
            assert!((slope - f64::from(here.derivatives[at][0])).abs() < 1e-5, "{at}: {slope}");
        }
        assert_eq!(here.derivatives[0][0], 0.0, "a prompt's token");
        assert!(here.metrics.iter().any(|(name, _)| name == "rewards/margins"));
    }

    #[test]
    fn a_window_without_its_reference_is_torn() {
        let loss = Pairs { objective: Preference::SIGMOID };
        let torn = Window { given: Vec::new(), ..window(numbers(1.0)) };
        assert!(loss.evaluate(&torn, &numbers(1.0), &Memory::default()).is_err());
        let free = Pairs { objective: Preference::SIMPO };
        assert!(free.evaluate(&torn, &numbers(1.0), &Memory::default()).is_ok());
    }
}
