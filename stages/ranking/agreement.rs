//! How far raters agree with each other and with themselves, beside what others published.

use super::flags::On;
use super::interval::{Rate, rate};
use super::store::{Judged, Store};
use pleach_runtime::fault::Fault;
use serde::Serialize;
use std::collections::BTreeMap;

/// What others measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Yardstick {
    /// Who agreed with whom.
    pub who: &'static str,
    /// The share of pairs, from 0 to 1.
    pub share: f64,
    /// Their own uncertainty of it.
    pub error: f64,
    /// Where it is written.
    pub source: &'static str,
}

/// Pairwise agreement of people who ranked answers of language models.
pub const YARDSTICKS: [Yardstick; 3] = [
    Yardstick {
        who: "InstructGPT, training labelers with each other",
        share: 0.726,
        error: 0.015,
        source: "arXiv 2203.02155, section 3.4",
    },
    Yardstick {
        who: "InstructGPT, held-out labelers with each other",
        share: 0.773,
        error: 0.013,
        source: "arXiv 2203.02155, section 3.4",
    },
    Yardstick {
        who: "Learning to summarize, researchers with each other",
        share: 0.73,
        error: 0.04,
        source: "arXiv 2009.01325, as quoted by arXiv 2203.02155, section 3.4",
    },
];

/// Figures of pairs of rankings of the same item.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pairs {
    /// Pairs of rankings.
    pub rankings: usize,
    /// The share of pairs of completions, unequal for both, that both put in the same order.
    pub pairwise: Option<Rate>,
    /// The same over all pairs of completions, where "equal" is a third order.
    pub with_ties: Option<Rate>,
    /// The mean of Kendall's tau-b over the pairs of rankings that have one.
    pub tau_b: Option<f64>,
}

/// How far the raters of a store agree.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Raters with at least one ranking.
    pub raters: usize,
    /// Items that at least two raters ranked.
    pub shared: usize,
    /// Raters with each other.
    pub others: Pairs,
    /// Raters with themselves, on hidden repeats.
    pub selves: Pairs,
    /// Krippendorff's alpha of the ranks, ordinal; a unit is a completion. Ranks of one item are not independent, which
    /// alpha does not know: compare it with other rankings only.
    pub alpha: Option<f64>,
    /// For each group of flags: alpha of "any flag of the group", nominal; a unit is a completion.
    pub flags: BTreeMap<String, Option<f64>>,
    /// What others measured.
    pub yardsticks: [Yardstick; 3],
}

/// How values differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// They do or do not.
    Nominal,
    /// By what lies between them.
    Ordinal,
}

/// The figures of a store.
///
/// # Errors
/// A fault of the disk.
pub fn agreement(store: &Store) -> Result<Agreement, Fault> {
    let items = store.items()?;
    let judged: Vec<Judged> = store.judged()?.into_iter().filter(|one| one.answer.skip.is_none()).collect();
    let ranks: Vec<Vec<u32>> =
        judged.iter().map(|one| one.answer.ranks(&items[one.item].ids()).unwrap_or_default()).collect();
    let mut of_item: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, one) in judged.iter().enumerate() {
        of_item.entry(one.item).or_default().push(index);
    }
    let (mut others, mut selves) = (Vec::new(), Vec::new());
    let mut units: Vec<Vec<f64>> = Vec::new();
    let mut flagged: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    let mut shared = 0;
    for (item, all) in &of_item {
        let first: Vec<usize> = all.iter().copied().filter(|&index| judged[index].repeat == 0).collect();
        shared += usize::from(first.len() > 1);
        for (place, &a) in all.iter().enumerate() {
            for &b in &all[place + 1..] {
                let both = (*item, ranks[a].as_slice(), ranks[b].as_slice());
                match (judged[a].rater == judged[b].rater, judged[a].repeat + judged[b].repeat) {
                    (true, _) => selves.push(both),
                    (false, 0) => others.push(both),
                    (false, _) => {}
                }
            }
        }
        for (place, completion) in items[*item].completions.iter().enumerate() {
            units.push(first.iter().map(|&index| f64::from(ranks[index][place])).collect());
            for group in store.options().flags.groups.iter().filter(|group| group.on == On::Completion) {
                let any = |&index: &usize| {
                    let names = judged[index].answer.flags.get(&completion.id);
                    let any = names.is_some_and(|names| group.flags.iter().any(|flag| names.contains(&flag.name)));
                    f64::from(u8::from(any))
                };
                flagged.entry(group.name.clone()).or_default().push(first.iter().map(any).collect());
            }
        }
    }
    let mut raters: Vec<&str> = judged.iter().map(|one| one.rater.as_str()).collect();
    raters.sort_unstable();
    raters.dedup();
    Ok(Agreement {
        raters: raters.len(),
        shared,
        others: pairs(&others),
        selves: pairs(&selves),
        alpha: krippendorff_alpha(&units, Metric::Ordinal),
        flags: flagged.into_iter().map(|(name, units)| (name, krippendorff_alpha(&units, Metric::Nominal))).collect(),
        yardsticks: YARDSTICKS,
    })
}

/// The figures of pairs of rankings, each with its item.
fn pairs(all: &[(usize, &[u32], &[u32])]) -> Pairs {
    let (mut strict, mut three, mut taus) = (Vec::new(), Vec::new(), Vec::new());
    for (item, a, b) in all {
        for i in 0..a.len() {
            for j in i + 1..a.len() {
                let (first, second) = (a[i].cmp(&a[j]), b[i].cmp(&b[j]));
                let same = f64::from(u8::from(first == second));
                three.push((*item, same));
                if first.is_ne() && second.is_ne() {
                    strict.push((*item, same));
                }
            }
        }
        taus.extend(kendall_tau_b(a, b));
    }
    let mean = |taus: &[f64]| taus.iter().sum::<f64>() / taus.len() as f64;
    Pairs {
        rankings: all.len(),
        pairwise: rate(&strict),
        with_ties: rate(&three),
        tau_b: (!taus.is_empty()).then(|| mean(&taus)),
    }
}

/// Kendall's tau-b of two rankings: concordant less discordant pairs, over the geometric mean of the pairs that each
/// does not tie; `None` where one of them ties all. Kendall, "The treatment of ties in ranking problems", 1945.
pub fn kendall_tau_b(a: &[u32], b: &[u32]) -> Option<f64> {
    let (mut sum, mut untied_a, mut untied_b) = (0i64, 0i64, 0i64);
    for i in 0..a.len() {
        for j in i + 1..a.len() {
            let (first, second) = (a[i].cmp(&a[j]) as i64, b[i].cmp(&b[j]) as i64);
            sum += first * second;
            untied_a += first.abs();
            untied_b += second.abs();
        }
    }
    let both = (untied_a as f64 * untied_b as f64).sqrt();
    (both > 0.0).then(|| sum as f64 / both)
}

/// Krippendorff's alpha of units, each with the values that its raters gave: 1 less observed over expected
/// disagreement. A unit with fewer than two values says nothing; `None` where all say nothing, or all say the same.
///
/// Krippendorff, "Computing Krippendorff's alpha-reliability", 2011. The ordinal difference of c and k is the square
/// of (n_c / 2 + all n between + n_k / 2).
pub fn krippendorff_alpha(units: &[Vec<f64>], metric: Metric) -> Option<f64> {
    let paired: Vec<&Vec<f64>> = units.iter().filter(|unit| unit.len() > 1).collect();
    let mut values: Vec<f64> = paired.iter().copied().flatten().copied().collect();
    let total = values.len() as f64;
    values.sort_by(f64::total_cmp);
    values.dedup();
    let place = |value: &f64| values.iter().position(|known| known == value).unwrap_or(0);
    let size = values.len();
    let mut coincidences = vec![vec![0.0; size]; size];
    for unit in &paired {
        let share = 1.0 / (unit.len() as f64 - 1.0);
        for (i, a) in unit.iter().enumerate() {
            for (j, b) in unit.iter().enumerate() {
                if i != j {
                    coincidences[place(a)][place(b)] += share;
                }
            }
        }
    }
    let counts: Vec<f64> = coincidences.iter().map(|row| row.iter().sum()).collect();
    let difference = |c: usize, k: usize| match metric {
        Metric::Nominal => f64::from(u8::from(c != k)),
        Metric::Ordinal => {
            let between: f64 = counts[c.min(k)..=c.max(k)].iter().sum();
            (between - (counts[c] + counts[k]) / 2.0).powi(2)
        }
    };
    let (mut observed, mut expected) = (0.0, 0.0);
    for c in 0..size {
        for k in 0..size {
            observed += coincidences[c][k] * difference(c, k);
            expected += counts[c] * counts[k] * difference(c, k);
        }
    }
    (expected > 0.0).then(|| 1.0 - (total - 1.0) * observed / expected)
}
