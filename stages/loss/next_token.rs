//! Next-token prediction: the mean negative log-probability of the window's unmasked targets.
//!
//! L = - sum_t w_t log p_t / sum_t w_t over the whole window, however micro-batches cut it (training.md 3.3); so
//! dL / d log p_t = - w_t / sum w, known before anything is learned.

use pleach_runtime::fault::{Fault, FaultKind};
use pleach_runtime::stage::{Evaluated, Loss, Memory, Numbers, Window};

/// The objective of pretraining.
pub struct NextToken;

impl Loss for NextToken {
    fn known(&self, window: &Window) -> Option<Numbers> {
        let total = window.weight();
        let share = |weight: f32| if weight == 0.0 { 0.0 } else { (-f64::from(weight) / total) as f32 };
        Some(window.rows.iter().flat_map(|row| &row.weights).map(|&weight| [share(weight), 0.0, 0.0, 0.0]).collect())
    }

    fn evaluate(&self, window: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault> {
        let weights: Vec<f32> = window.rows.iter().flat_map(|row| row.weights.iter().copied()).collect();
        if weights.len() != numbers.len() {
            let what = format!("{} numbers for {} tokens", numbers.len(), weights.len());
            return Err(Fault::new(FaultKind::Actor, what));
        }
        let (mut loss, mut entropy, mut hits, mut total) = (0.0, 0.0, 0.0, 0.0);
        for (&weight, number) in weights.iter().zip(numbers).filter(|(weight, _)| **weight != 0.0) {
            let weight = f64::from(weight);
            loss -= weight * f64::from(number[0]);
            entropy += weight * f64::from(number[2]);
            hits += weight * f64::from(number[3]);
            total += weight;
        }
        // Documents of one token each fill a window in which nothing follows anything: it teaches nothing, and the run
        // goes on. A corpus of nothing else was refused before the first step.
        let total = if total == 0.0 { 1.0 } else { total };
        let metrics = vec![("entropy".to_string(), entropy / total), ("mean_token_accuracy".to_string(), hits / total)];
        let derivatives = self.known(window).expect("next-token derivatives are known");
        Ok(Evaluated { loss: loss / total, derivatives, metrics, memory: memory.clone(), beside: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pleach_runtime::stage::Row;

    #[test]
    fn a_window_without_a_target_teaches_nothing() {
        let row = Row { tokens: vec![1, 2, 3], weights: vec![0.0; 2], segments: vec![0, 1], key: 0 };
        let window = Window::new(2, vec![row]);
        let numbers = vec![[-1.0, 2.0, 3.0, 1.0]; 2];
        let found = NextToken.evaluate(&window, &numbers, &Memory::default()).expect("it is no mistake");
        assert_eq!((found.loss, found.derivatives), (0.0, vec![[0.0; 4]; 2]));
        assert!(found.metrics.iter().all(|(_, value)| *value == 0.0), "{:?}", found.metrics);
    }
}
