//! Multiple choice by log-likelihood, as lm-evaluation-harness scores it.

/// Which choice a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The one with the highest log-likelihood.
    pub by_sum: usize,
    /// The one with the highest log-likelihood for each byte of its text.
    pub by_byte: usize,
}

/// The choice that is taken: of each, the log-likelihood of its tokens after the question (a sum, nats) and the UTF-8
/// bytes of its text, without the blank before it. The first of equals. `by_sum` gives `acc` and `by_byte` gives
/// `acc_norm` of lm-evaluation-harness, which counts characters where this counts bytes: for ASCII the same.
///
/// # Panics
/// Where there is no choice.
pub fn taken(scores: &[(f64, usize)]) -> Taken {
    let best = |score: &dyn Fn(&(f64, usize)) -> f64| {
        let mut best = 0;
        for index in 1..scores.len() {
            if score(&scores[index]) > score(&scores[best]) {
                best = index;
            }
        }
        best
    };
    assert!(!scores.is_empty(), "a question has choices");
    Taken { by_sum: best(&|one| one.0), by_byte: best(&|one| one.0 / one.1.max(1) as f64) }
}
