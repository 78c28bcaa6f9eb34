//! Group-relative policy optimization: advantages from a group's rewards, and the family of clipped losses.
//!
//! Formulas and the names of metrics are those of TRL 1.16's `GRPOTrainer`, after Shao et al. 2024 (GRPO), Liu et al.
//! 2025 (Dr. GRPO), Yu et al. 2025 (DAPO) and Zheng et al. 2025 (GSPO: the ratio of a whole sequence).

use super::super::numeric::{as_long, finite, k3, metric, not_negative, positive, refused};
use pleach_runtime::fault::{Fault, FaultKind};

/// What a reward is divided by, after its group's mean is taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// The group's sample standard deviation + 1e-4 (TRL's default).
    Group,
    /// The whole batch's + 1e-4.
    Batch,
    /// Nothing (Dr. GRPO).
    None,
}

/// The advantages of a batch of groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages {
    /// One for each completion; 0 where it has no reward.
    pub advantages: Vec<f64>,
    /// Weighted sums of the functions' rewards; NaN where no function gave one.
    pub rewards: Vec<f64>,
    /// How many completions no function rewarded.
    pub unrewarded: usize,
    /// Groups whose rewards are all the same (a standard deviation below 1e-8): they teach nothing.
    pub groups_without_spread: usize,
    /// reward, reward_std, frac_reward_zero_std, as far as there are rewards (two of them for the second).
    pub metrics: Vec<(String, f64)>,
}

/// Advantages of n completions, `group` after `group` of one prompt each, from `rewards` (n, functions), row-major: NaN
/// is a function that does not apply, and is left out of the sum; a completion that no function rewarded is left out of
/// its group's mean and has advantage 0. `weights` (functions) are the functions' weights.
pub fn advantages(rewards: &[f64], weights: &[f64], group: usize, scale: Scale) -> Result<Advantages, Fault> {
    finite("reward weight", weights)?;
    let functions = weights.len();
    if functions == 0 || group == 0 || rewards.is_empty() || !rewards.len().is_multiple_of(functions * group) {
        let what = format!("{} rewards for groups of {group} and {functions} functions", rewards.len());
        return Err(Fault::new(FaultKind::Actor, what));
    }
    if let Some(at) = rewards.iter().position(|reward| reward.is_infinite()) {
        return Err(Fault::new(FaultKind::Numbers, format!("reward number {at} is {}", rewards[at])));
    }
    let sums: Vec<f64> = rewards.chunks_exact(functions).map(|row| weighted(row, weights)).collect();
    let batch = spread(&sums);
    let mut out = Advantages {
        advantages: Vec::with_capacity(sums.len()),
        unrewarded: sums.iter().filter(|sum| sum.is_nan()).count(),
        groups_without_spread: 0,
        metrics: Vec::new(),
        rewards: Vec::new(),
    };
    for group in sums.chunks_exact(group) {
        let here = spread(group);
        out.groups_without_spread += usize::from(here.1 <= FLAT);
        let scale = match scale {
            Scale::Group => here.1 + 1e-4,
            Scale::Batch => batch.1 + 1e-4,
            Scale::None => 1.0,
        };
        let advantage = |reward: &f64| (reward - here.0) / scale;
        out.advantages.extend(group.iter().map(advantage).map(|a| if a.is_nan() { 0.0 } else { a }));
    }
    finite("advantage", &out.advantages)?;
    let flat = match scale {
        Scale::Batch => f64::from(u8::from(batch.1 <= FLAT)),
        _ => out.groups_without_spread as f64 / (sums.len() / group) as f64,
    };
    if batch.0.is_finite() {
        out.metrics.push(metric("reward", batch.0));
    }
    if batch.1.is_finite() && sums.len() - out.unrewarded > 1 {
        out.metrics.push(metric("reward_std", batch.1));
    }
    out.metrics.push(metric("frac_reward_zero_std", flat));
    out.rewards = sums;
    Ok(out)
}

/// A standard deviation that torch calls close to 0.
const FLAT: f64 = 1e-8;

/// The weighted sum over the functions that apply; NaN where none does.
fn weighted(row: &[f64], weights: &[f64]) -> f64 {
    if row.iter().all(|reward| reward.is_nan()) {
        return f64::NAN;
    }
    row.iter().zip(weights).filter(|(reward, _)| !reward.is_nan()).map(|(reward, weight)| reward * weight).sum()
}

/// Mean and sample standard deviation of what is not NaN. NaN where there is too little, as in TRL, but of a list of
/// one place the deviation is 0.
fn spread(numbers: &[f64]) -> (f64, f64) {
    let there = || numbers.iter().filter(|x| !x.is_nan());
    let count = there().count() as f64;
    let mean = there().sum::<f64>() / count;
    if numbers.len() == 1 {
        return (mean, 0.0);
    }
    let squares = there().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    (mean, if count > 1.0 { (squares / (count - 1.0)).sqrt() } else { f64::NAN })
}

/// How tokens are averaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalizer {
    /// Over the tokens of each completion, then over completions: short ones weigh more.
    Grpo,
    /// Over all tokens of the call.
    Bnpo,
    /// Sum over tokens / (completions * this many tokens, `max_completion_length`).
    DrGrpo {
        /// Above 0.
        completion_length_max: usize,
    },
    /// Over the tokens of the whole update (TRL's default): `None` where the call holds them all.
    Dapo {
        /// Above 0; TRL's `num_items_in_batch`.
        tokens: Option<usize>,
    },
}

/// What a ratio belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Each token has its own.
    Token,
    /// All tokens of a completion share the exponential of their mean log-ratio (GSPO).
    Sequence,
}

/// Options of the family, with TRL's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grpo {
    /// `loss_type`: default DAPO's.
    pub normalizer: Normalizer,
    /// `importance_sampling_level`: default token.
    pub level: Level,
    /// The ratio's way below 1, default 0.2; 0 or more.
    pub epsilon: f64,
    /// Its way above, default as below (DAPO: 0.28); 0 or more.
    pub epsilon_high: f64,
    /// Weight of KL(policy || reference), k3; default 0, without a reference; 0 or more.
    pub beta: f64,
}

impl Default for Grpo {
    fn default() -> Grpo {
        Grpo {
            normalizer: Normalizer::Dapo { tokens: None },
            level: Level::Token,
            epsilon: 0.2,
            epsilon_high: 0.2,
            beta: 0.0,
        }
    }
}

/// One completion of t tokens: those that are learned, so neither a tool's answer nor, where truncated completions are
/// masked, a truncated one's. Without tokens it still counts as a completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completion<'a> {
    /// Log-probabilities under the policy of now: (t).
    pub policy: &'a [f64],
    /// Under the policy that sampled, by the training program: (t).
    pub old_policy: &'a [f64],
    /// Under the reference: (t); empty and not read where beta is 0.
    pub reference: &'a [f64],
    /// Its advantage.
    pub advantage: f64,
}

/// A minibatch's value.
#[derive(Clone, Debug, PartialEq)]
pub struct Grouped {
    /// The loss; 0 where no completion has a token.
    pub loss: f64,
    /// d loss / d log-probability, one for each token of each completion, end to end.
    pub derivatives: Vec<f64>,
    /// clip_ratio/low_mean, clip_ratio/high_mean, clip_ratio/region_mean, clip_ratio/low_min, clip_ratio/high_max, and
    /// kl where beta is not 0. Means over tokens; at the level of a sequence, over completions.
    pub metrics: Vec<(String, f64)>,
}

/// -min(ratio A, clip(ratio, 1 - epsilon, 1 + epsilon_high) A) + beta k3, averaged over tokens as the normalizer says;
/// ratio = e^(policy - old policy), exactly 1 where they are equal.
pub fn grouped(completions: &[Completion], options: &Grpo) -> Result<Grouped, Fault> {
    check(completions, options)?;
    let tokens: usize = completions.iter().map(|completion| completion.policy.len()).sum();
    let mut out = Grouped { loss: 0.0, derivatives: Vec::with_capacity(tokens), metrics: Vec::new() };
    let mut clips = Clips { low_min: f64::INFINITY, ..Clips::default() };
    let mut kl = 0.0;
    for completion in completions {
        let length = completion.policy.len();
        let share = match options.normalizer {
            Normalizer::Grpo => 1.0 / (completions.len() * length.max(1)) as f64,
            Normalizer::Bnpo | Normalizer::Dapo { tokens: None } => 1.0 / tokens.max(1) as f64,
            Normalizer::DrGrpo { completion_length_max } => 1.0 / (completions.len() * completion_length_max) as f64,
            Normalizer::Dapo { tokens: Some(all) } => 1.0 / all as f64,
        };
        add_ratios(&mut out, &mut clips, completion, share, options);
        if options.beta != 0.0 {
            let start = out.derivatives.len() - length;
            for (at, (&policy, &reference)) in completion.policy.iter().zip(completion.reference).enumerate() {
                let (here, slope) = k3(policy, reference);
                kl += here;
                out.loss += options.beta * here * share;
                out.derivatives[start + at] += options.beta * slope * share;
            }
        }
    }
    finite("policy loss", &[out.loss])?;
    finite("derivative by a log-probability", &out.derivatives)?;
    let count = clips.count.max(1) as f64;
    out.metrics.push(metric("clip_ratio/low_mean", clips.low as f64 / count));
    out.metrics.push(metric("clip_ratio/high_mean", clips.high as f64 / count));
    out.metrics.push(metric("clip_ratio/region_mean", (clips.low + clips.high) as f64 / count));
    if clips.count > 0 {
        out.metrics.push(metric("clip_ratio/low_min", clips.low_min));
        out.metrics.push(metric("clip_ratio/high_max", clips.high_max));
    }
    if options.beta != 0.0 {
        out.metrics.push(metric("kl", kl / tokens.max(1) as f64));
    }
    Ok(out)
}

fn check(completions: &[Completion], options: &Grpo) -> Result<(), Fault> {
    not_negative("epsilon", options.epsilon)?;
    not_negative("epsilon_high", options.epsilon_high)?;
    not_negative("beta", options.beta)?;
    match options.normalizer {
        Normalizer::DrGrpo { completion_length_max: most } => positive("max_completion_length", most as f64)?,
        Normalizer::Dapo { tokens: Some(all) } => positive("the update's tokens", all as f64)?,
        _ => {}
    }
    if completions.is_empty() {
        return Err(refused("a minibatch without a completion"));
    }
    for completion in completions {
        let length = completion.policy.len();
        as_long("old log-probabilities", completion.old_policy.len(), "tokens", length)?;
        finite("log-probability of the policy", completion.policy)?;
        finite("log-probability of the old policy", completion.old_policy)?;
        finite("advantage", &[completion.advantage])?;
        if options.beta != 0.0 {
            as_long("reference log-probabilities", completion.reference.len(), "tokens", length)?;
            finite("log-probability of the reference", completion.reference)?;
        }
    }
    Ok(())
}

/// How many ratios were clipped, of how many.
#[derive(Default)]
struct Clips {
    count: usize,
    low: usize,
    high: usize,
    /// The least share of a completion.
    low_min: f64,
    /// The greatest share of a completion.
    high_max: f64,
}

/// The clipped term of one completion: its loss, its derivatives at the end of the list, its clips.
fn add_ratios(out: &mut Grouped, clips: &mut Clips, completion: &Completion, share: f64, options: &Grpo) {
    let changes: Vec<f64> = completion.policy.iter().zip(completion.old_policy).map(|(new, old)| new - old).collect();
    let length = changes.len() as f64;
    let (mut count, mut low, mut high) = (0usize, 0usize, 0usize);
    // The loss of a ratio and its derivative by the ratio's logarithm: 0 where the clip decides.
    let mut term = |change: f64| {
        let (ratio, advantage) = (change.exp(), completion.advantage);
        let (free, bound) =
            (ratio * advantage, ratio.clamp(1.0 - options.epsilon, 1.0 + options.epsilon_high) * advantage);
        count += 1;
        low += usize::from(ratio < 1.0 - options.epsilon && advantage < 0.0);
        high += usize::from(ratio > 1.0 + options.epsilon_high && advantage > 0.0);
        (-free.min(bound), if bound < free { 0.0 } else { -free })
    };
    match options.level {
        Level::Token => {
            for change in changes {
                let (loss, slope) = term(change);
                out.loss += loss * share;
                out.derivatives.push(slope * share);
            }
        }
        Level::Sequence => {
            // One ratio for all tokens: its term stands before each of them, and each moves it by 1 / length.
            let (loss, slope) = term(changes.iter().sum::<f64>() / length.max(1.0));
            out.loss += loss * share * length;
            out.derivatives.extend(changes.iter().map(|_| slope * share));
        }
    }
    if count > 0 {
        clips.count += count;
        clips.low += low;
        clips.high += high;
        clips.low_min = clips.low_min.min(low as f64 / count as f64);
        clips.high_max = clips.high_max.max(high as f64 / count as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::numeric::trial::{Random, assert_slopes};
    use super::*;

    const NORMALIZERS: [Normalizer; 5] = [
        Normalizer::Grpo,
        Normalizer::Bnpo,
        Normalizer::DrGrpo { completion_length_max: 9 },
        Normalizer::Dapo { tokens: None },
        Normalizer::Dapo { tokens: Some(31) },
    ];

    fn of(out: &[(String, f64)], name: &str) -> f64 {
        out.iter().find(|(known, _)| known == name).expect("a metric of that name").1
    }

    /// Completions of these lengths over flat lists.
    fn cut<'a>(lists: [&'a [f64]; 3], lengths: &[usize], advantages: &[f64]) -> Vec<Completion<'a>> {
        let mut start = 0;
        let mut next = |(&length, &advantage): (&usize, &f64)| {
            let [policy, old_policy, reference] = lists.map(|list| &list[start..start + length]);
            start += length;
            Completion { policy, old_policy, reference, advantage }
        };
        lengths.iter().zip(advantages).map(&mut next).collect()
    }

    #[test]
    fn derivatives_are_the_slopes() {
        let mut random = Random(6);
        for case in 0..200 {
            let lengths: Vec<usize> = (0..1 + random.below(4)).map(|_| random.below(5)).collect();
            let tokens = lengths.iter().sum();
            let old = random.list(tokens, -3.0, -0.1);
            let policy: Vec<f64> = old.iter().map(|old| old + random.within(-0.6, 0.6)).collect();
            let reference: Vec<f64> = old.iter().map(|old| old + random.within(-0.6, 0.6)).collect();
            let worth = random.list(lengths.len(), -2.0, 2.0);
            let options = Grpo {
                normalizer: NORMALIZERS[case % 5],
                level: [Level::Token, Level::Sequence][case % 2],
                epsilon_high: 0.28,
                beta: [0.0, 0.04][case / 2 % 2],
                ..Grpo::default()
            };
            let run =
                |at: &[f64]| grouped(&cut([at, &old, &reference], &lengths, &worth), &options).expect("finite numbers");
            assert_slopes(&format!("case {case}"), &policy, &run(&policy).derivatives, |at| run(at).loss);
        }
    }

    #[test]
    fn the_first_minibatch_has_ratio_one_exactly() {
        let old = Random(7).list(12, -3.0, -0.1);
        for level in [Level::Token, Level::Sequence] {
            for normalizer in NORMALIZERS {
                let options = Grpo { level, normalizer, epsilon: 0.0, epsilon_high: 0.0, ..Grpo::default() };
                let out = grouped(&cut([&old, &old, &old], &[4, 8], &[1.5, -0.5]), &options).expect("finite");
                assert_eq!(of(&out.metrics, "clip_ratio/region_mean"), 0.0);
                let share = |at: usize| out.derivatives[at] / if at < 4 { -1.5 } else { 0.5 };
                assert!((0..4).all(|at| share(at) == share(0)) && (4..12).all(|at| share(at) == share(4)));
                let loss = -1.5 * 4.0 * share(0) + 0.5 * 8.0 * share(4);
                assert!((out.loss - loss).abs() < 1e-15, "loss is the derivatives' sum when every ratio is 1");
            }
        }
    }

    #[test]
    fn one_update_is_the_same_cut_or_whole_under_dapo() {
        let mut random = Random(8);
        let (old, policy) = (random.list(9, -2.0, -0.1), random.list(9, -2.0, -0.1));
        let all = cut([&policy, &old, &old], &[2, 4, 3], &[1.0, -1.0, 0.5]);
        let options = Grpo { normalizer: Normalizer::Dapo { tokens: Some(9) }, ..Grpo::default() };
        let loss = |part: &[Completion]| grouped(part, &options).expect("finite").loss;
        assert!((loss(&all) - loss(&all[..1]) - loss(&all[1..])).abs() < 1e-15);
        let bnpo = grouped(&all, &Grpo { normalizer: Normalizer::Bnpo, ..options }).expect("finite");
        assert!((loss(&all) - bnpo.loss).abs() < 1e-15);
    }

    #[test]
    fn advantages_of_a_group_have_mean_zero() {
        let out = advantages(&[1.0, 2.0, 3.0, 6.0, 0.0, 0.0, 0.0, 0.0], &[1.0], 4, Scale::Group).expect("finite");
        assert!(out.advantages[..4].iter().sum::<f64>().abs() < 1e-12);
        assert_eq!(out.advantages[4..], [0.0; 4]);
        assert_eq!((out.groups_without_spread, of(&out.metrics, "frac_reward_zero_std")), (1, 0.5));
        assert_eq!(of(&out.metrics, "reward"), 1.5);
        let none = advantages(&[1.0, 3.0], &[1.0], 2, Scale::None).expect("finite");
        assert_eq!(none.advantages, [-1.0, 1.0]);
    }

    #[test]
    fn a_function_that_does_not_apply_is_left_out() {
        let nan = f64::NAN;
        let rewards = [1.0, nan, nan, nan, 3.0, 1.0, nan, 2.0];
        let out = advantages(&rewards, &[1.0, 0.5], 4, Scale::None).expect("finite");
        assert_eq!((out.unrewarded, out.advantages[1]), (1, 0.0));
        // 1, none, 3.5, 1: the mean of three.
        assert!((out.advantages[2] - (3.5 - 5.5 / 3.0)).abs() < 1e-12);
        let nobody = advantages(&[nan, nan], &[1.0], 2, Scale::Batch).expect("no rewards, no advantages");
        assert_eq!((nobody.advantages, nobody.unrewarded, nobody.groups_without_spread), (vec![0.0, 0.0], 2, 0));
    }

    #[test]
    fn nonsense_is_answered_in_words_and_emptiness_by_zero() {
        let kind = |rewards: &[f64], weights: &[f64], group: usize| {
            advantages(rewards, weights, group, Scale::Group).expect_err("nonsense").kind
        };
        assert_eq!(kind(&[1.0, 2.0, 3.0], &[1.0], 2), FaultKind::Actor);
        assert_eq!(kind(&[], &[1.0], 2), FaultKind::Actor);
        assert_eq!(kind(&[1.0, f64::INFINITY], &[1.0], 2), FaultKind::Numbers);
        let ask = |part: &[Completion], options: Grpo| grouped(part, &options);
        let good = Completion { policy: &[-1.0], old_policy: &[-1.0], reference: &[], advantage: 1.0 };
        let fault = |part: Completion, options: Grpo| ask(&[part], options).expect_err("nonsense").kind;
        assert_eq!(fault(good, Grpo { beta: 0.1, ..Grpo::default() }), FaultKind::Actor);
        assert_eq!(fault(good, Grpo { epsilon: -0.1, ..Grpo::default() }), FaultKind::Refused);
        assert_eq!(fault(Completion { policy: &[f64::NAN], ..good }, Grpo::default()), FaultKind::Numbers);
        assert_eq!(fault(Completion { advantage: f64::NAN, ..good }, Grpo::default()), FaultKind::Numbers);
        let far = Completion { policy: &[0.0], old_policy: &[-800.0], advantage: -1.0, ..good };
        assert_eq!(fault(far, Grpo::default()), FaultKind::Numbers);
        assert_eq!(ask(&[], Grpo::default()).expect_err("none").kind, FaultKind::Refused);
        let empty = Completion { policy: &[], old_policy: &[], ..good };
        for normalizer in NORMALIZERS {
            assert_eq!(ask(&[empty], Grpo { normalizer, ..Grpo::default() }).expect("empty").loss, 0.0);
        }
    }
}
