//! The reward model's objective: one prompt's K completions, ranked by a person or a judge.
//!
//! Sources: Ouyang et al., "Training language models to follow instructions with human feedback" (InstructGPT, 2022),
//! eq. 1, for all pairs of a prompt as one element; TRL's `RewardTrainer` for the margin and the centering
//! (Eisenstein et al., "Helping or herding?", 2023), with which a prompt of two completions agrees to the digit;
//! Plackett (1975) and Luce (1959) for a whole ranking; Efron (1977) for its ties.

use super::numeric::{as_long, finite, not_negative, refused, sigmoid, softplus};
use pleach_runtime::fault::Fault;

/// What a pair of equally good completions is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// Nothing: the pair is as if it were not there (InstructGPT and TRL train on no ties).
    Drop,
    /// -1/2 (log sigmoid(d) + log sigmoid(-d)): either order is equally likely, which pulls the scores together.
    Half,
}

/// How a ranking becomes a likelihood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Bradley and Terry: the mean of -log sigmoid(r_better - r_worse - margin) over the pairs.
    Pairs(Ties),
    /// The best is chosen of all, the next of the rest, and so on: - sum_k (r_k - log sum_{j >= k} e^{r_j}), a sum over
    /// choices, not a mean. Tied completions D share their choices in Efron's form,
    /// sum_{l < |D|} log(sum_{worse} e^{r_j} + (1 - l / |D|) sum_{D} e^{r_j}) - sum_{i in D} r_i:
    /// as cheap as Breslow's, where each tied completion beats all of its equals at once (too large a denominator,
    /// which shrinks the scores the more, the more ties there are), and nearer to the likelihood of any order of the
    /// tied.
    PlackettLuce,
}

/// Options of the objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    /// Default: pairs, without ties.
    pub form: Form,
    /// c of c * mean over pairs of (r_i + r_j)^2, TRL's `center_rewards_coefficient`; 0 or more, default 0 (TRL: none,
    /// 0.01 suggested). Over the pairs that count; of Plackett and Luce over all.
    pub centering: f64,
}

impl Default for Ranking {
    fn default() -> Ranking {
        Ranking { form: Form::Pairs(Ties::Drop), centering: 0.0 }
    }
}

/// One prompt's value.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The loss in nats; 0 where no pair counts.
    pub loss: f64,
    /// d loss / d score, one for each completion.
    pub derivatives: Vec<f64>,
    /// Pairs in the mean: C(K, 2), less the dropped ties.
    pub pairs: usize,
    /// Pairs with a better and a worse completion: what accuracy and mean margin divide by.
    pub strict: usize,
    /// Of these, where the better one's score is higher.
    pub right: usize,
    /// Sum over the strict pairs of r_better - r_worse (no margin taken off).
    pub margin_sum: f64,
}

/// The objective of one prompt: K `scores`, K `ranks` (lower is better, equal is a tie) and, for pairs, by how much
/// the better one should lead: C(K, 2) `margins` in the order (0, 1), (0, 2), .., (1, 2), .. (a tie's is not used).
pub fn rank(scores: &[f64], ranks: &[u32], margins: Option<&[f64]>, options: &Ranking) -> Result<Ranked, Fault> {
    rank_weighted(scores, ranks, margins, None, options)
}

/// The same with a weight of each pair, in the order of the margins: 1 is a pair as any other, 3 counts it threefold.
/// The mean divides by the number of pairs, so that a heavy pair is heavy beside other prompts' pairs too.
pub fn rank_weighted(
    scores: &[f64],
    ranks: &[u32],
    margins: Option<&[f64]>,
    weights: Option<&[f64]>,
    options: &Ranking,
) -> Result<Ranked, Fault> {
    let count = scores.len();
    as_long("ranks", ranks.len(), "scores", count)?;
    finite("score", scores)?;
    not_negative("centering", options.centering)?;
    if count < 2 {
        return Err(refused(format!("a prompt with {count} completions has nothing to rank")));
    }
    if let Some(margins) = margins {
        if options.form == Form::PlackettLuce {
            return Err(refused("margins belong to pairs; Plackett and Luce rank without them"));
        }
        as_long("margins", margins.len(), "pairs", count * (count - 1) / 2)?;
        finite("margin", margins)?;
    }
    if let Some(weights) = weights {
        if options.form == Form::PlackettLuce {
            return Err(refused("weights belong to pairs; Plackett and Luce rank without them"));
        }
        as_long("weights", weights.len(), "pairs", count * (count - 1) / 2)?;
        weights.iter().try_for_each(|&weight| not_negative("weight", weight))?;
    }
    let mut out = Ranked { loss: 0.0, derivatives: vec![0.0; count], pairs: 0, strict: 0, right: 0, margin_sum: 0.0 };
    add_pairs(&mut out, scores, ranks, [margins, weights], options);
    if options.form == Form::PlackettLuce {
        add_choices(&mut out, scores, ranks);
    }
    finite("ranking result", &[out.loss, out.margin_sum])?;
    finite("derivative by a score", &out.derivatives)?;
    Ok(out)
}

/// Pairs: what is counted, the centering, and the likelihood where it is a mean over pairs.
fn add_pairs(
    out: &mut Ranked,
    scores: &[f64],
    ranks: &[u32],
    [margins, weights]: [Option<&[f64]>; 2],
    options: &Ranking,
) {
    let count = scores.len();
    let indices = (0..count).flat_map(|first| (first + 1..count).map(move |second| (first, second)));
    for (index, (first, second)) in indices.enumerate() {
        let tie = ranks[first] == ranks[second];
        let (better, worse) = if ranks[first] <= ranks[second] { (first, second) } else { (second, first) };
        let lead = scores[better] - scores[worse];
        if !tie {
            out.strict += 1;
            out.right += usize::from(lead > 0.0);
            out.margin_sum += lead;
        }
        let (loss, dlead) = match (options.form, tie) {
            (Form::Pairs(Ties::Drop), true) => continue,
            (Form::Pairs(Ties::Half), true) => {
                (0.5 * (softplus(lead) + softplus(-lead)), 0.5 * (sigmoid(lead) - sigmoid(-lead)))
            }
            (Form::Pairs(_), false) => {
                let over = lead - margins.map_or(0.0, |margins| margins[index]);
                (softplus(-over), -sigmoid(-over))
            }
            (Form::PlackettLuce, _) => (0.0, 0.0),
        };
        let weight = weights.map_or(1.0, |weights| weights[index]);
        let (loss, dlead) = (weight * loss, weight * dlead);
        let middle = scores[first] + scores[second];
        let dmiddle = 2.0 * options.centering * middle;
        out.pairs += 1;
        out.loss += loss + options.centering * middle * middle;
        out.derivatives[better] += dlead + dmiddle;
        out.derivatives[worse] += -dlead + dmiddle;
    }
    if out.pairs > 0 {
        let share = 1.0 / out.pairs as f64;
        out.loss *= share;
        out.derivatives.iter_mut().for_each(|d| *d *= share);
    }
}

/// Plackett and Luce's choices, the best rank first, ties in Efron's form.
fn add_choices(out: &mut Ranked, scores: &[f64], ranks: &[u32]) {
    let mut groups: Vec<u32> = ranks.to_vec();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let tied = ranks.iter().filter(|&&rank| rank == group).count();
        let left = || scores.iter().zip(ranks).filter(|&(_, &rank)| rank >= group);
        let top = left().map(|(&score, _)| score).fold(f64::NEG_INFINITY, f64::max);
        for taken in 0..tied {
            let rest = 1.0 - taken as f64 / tied as f64;
            let weight = |rank: u32| if rank == group { rest } else { 1.0 };
            let sum: f64 = left().map(|(&score, &rank)| weight(rank) * (score - top).exp()).sum();
            out.loss += top + sum.ln();
            for (index, (&score, &rank)) in
                scores.iter().zip(ranks).enumerate().filter(|(_, (_, rank))| **rank >= group)
            {
                out.derivatives[index] += weight(rank) * (score - top).exp() / sum;
            }
        }
        for (index, &score) in scores.iter().enumerate().filter(|&(index, _)| ranks[index] == group) {
            out.loss -= score;
            out.derivatives[index] -= 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::numeric::trial::{Random, assert_slopes};
    use super::*;
    use pleach_runtime::fault::FaultKind;

    const FORMS: [Form; 3] = [Form::Pairs(Ties::Drop), Form::Pairs(Ties::Half), Form::PlackettLuce];

    fn value(scores: &[f64], ranks: &[u32], form: Form) -> Ranked {
        rank(scores, ranks, None, &Ranking { form, centering: 0.0 }).expect("finite scores")
    }

    #[test]
    fn derivatives_are_the_slopes() {
        let mut random = Random(1);
        for case in 0..200 {
            let count = 2 + random.below(7);
            let scores = random.list(count, -4.0, 4.0);
            let ranks: Vec<u32> = (0..count).map(|_| random.below(count) as u32).collect();
            let margins = random.list(count * (count - 1) / 2, 0.0, 1.0);
            let options = Ranking { form: FORMS[case % 3], centering: [0.0, 0.01][case % 2] };
            let margins = (case % 3 != 2 && case % 4 < 2).then_some(margins.as_slice());
            let run = |scores: &[f64]| rank(scores, &ranks, margins, &options).expect("finite scores");
            assert_slopes(&format!("case {case}"), &scores, &run(&scores).derivatives, |at| run(at).loss);
        }
    }

    #[test]
    fn two_completions_are_the_pair_in_every_form() {
        for (high, low) in [(1.5, -0.5), (-2.0, 3.0), (400.0, -400.0), (-400.0, 400.0)] {
            for form in FORMS {
                let out = value(&[low, high], &[7, 3], form);
                assert!((out.loss - softplus(low - high)).abs() < 1e-12, "{form:?}");
                assert!((out.derivatives[1] + sigmoid(low - high)).abs() < 1e-12, "{form:?}");
                assert_eq!((out.pairs, out.strict, out.right), (1, 1, usize::from(high > low)));
                assert_eq!(out.margin_sum, high - low);
            }
        }
    }

    #[test]
    fn only_differences_count_without_centering() {
        for form in FORMS {
            let (scores, ranks) = ([0.3, -1.0, 2.0, 0.5], [1, 2, 2, 0]);
            let moved: Vec<f64> = scores.iter().map(|score| score + 11.0).collect();
            let (here, there) = (value(&scores, &ranks, form), value(&moved, &ranks, form));
            assert!((here.loss - there.loss).abs() < 1e-12);
            assert!(here.derivatives.iter().sum::<f64>().abs() < 1e-12, "{form:?}");
        }
    }

    #[test]
    fn ties_pull_together_or_are_not_there() {
        let tied = value(&[2.0, 0.0], &[1, 1], Form::Pairs(Ties::Half));
        assert!(tied.derivatives[0] > 0.0 && tied.derivatives[1] < 0.0);
        assert_eq!((tied.pairs, tied.strict, tied.right), (1, 0, 0));
        let dropped = value(&[2.0, 0.0], &[1, 1], Form::Pairs(Ties::Drop));
        assert_eq!((dropped.loss, dropped.pairs, dropped.derivatives), (0.0, 0, vec![0.0, 0.0]));
        let level = value(&[1.0, 1.0, 1.0], &[4, 4, 4], Form::PlackettLuce);
        assert!(level.derivatives.iter().all(|d| d.abs() < 1e-12), "equal scores are the best of equal ranks");
        // Two tied, one below: the first choice is of three, the second of one and two halves.
        let efron = value(&[0.0, 0.0, 0.0], &[0, 0, 1], Form::PlackettLuce).loss;
        assert!((efron - (3f64.ln() + 2f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn order_of_the_completions_does_not_matter() {
        for form in FORMS {
            let here = value(&[0.3, -1.0, 2.0], &[1, 2, 0], form);
            let there = value(&[2.0, 0.3, -1.0], &[0, 1, 2], form);
            assert!((here.loss - there.loss).abs() < 1e-12);
            assert!((here.derivatives[2] - there.derivatives[0]).abs() < 1e-12);
            assert_eq!(here.right, 3);
        }
    }

    #[test]
    fn nonsense_is_answered_in_words() {
        let ask = |scores: &[f64], ranks: &[u32], margins: Option<&[f64]>, options: Ranking| {
            rank(scores, ranks, margins, &options).expect_err("nonsense").kind
        };
        let pairs = Ranking::default();
        let choices = Ranking { form: Form::PlackettLuce, ..pairs };
        assert_eq!(ask(&[1.0], &[1], None, pairs), FaultKind::Refused);
        assert_eq!(ask(&[], &[], None, pairs), FaultKind::Refused);
        assert_eq!(ask(&[1.0, f64::NAN], &[1, 2], None, pairs), FaultKind::Numbers);
        assert_eq!(ask(&[1e308, -1e308], &[1, 2], None, pairs), FaultKind::Numbers);
        assert_eq!(ask(&[1.0, 2.0], &[1], None, pairs), FaultKind::Actor);
        assert_eq!(ask(&[1.0, 2.0], &[1, 2], Some(&[0.1, 0.2]), pairs), FaultKind::Actor);
        assert_eq!(ask(&[1.0, 2.0], &[1, 2], Some(&[0.1]), choices), FaultKind::Refused);
        assert_eq!(ask(&[1.0, 2.0], &[1, 2], None, Ranking { centering: -1.0, ..pairs }), FaultKind::Refused);
        assert_eq!(ask(&[1e200, 1e200], &[1, 2], None, Ranking { centering: 1.0, ..pairs }), FaultKind::Numbers);
    }
}
