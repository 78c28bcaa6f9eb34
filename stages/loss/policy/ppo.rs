//! Proximal policy optimization: rewards with a KL penalty, advantages, the clipped losses, the adaptive penalty.
//!
//! Formulas and the names of metrics are those of TRL's `experimental.ppo` (1.12, the last version that has it), after
//! Schulman et al. 2016 (GAE) and 2017 (PPO). Log-probabilities are taken at the sampling temperature. TRL pads; here
//! responses of any length lie end to end, so `policy/approxkl_avg` and `val/ratio` are means over tokens, where TRL
//! also averages padding, whose ratio is 1. Not here: `policy/entropy_avg`, the head's own number.

use super::super::numeric::{as_long, finite, k3, metric, not_negative, positive, refused};
use pleach_runtime::fault::Fault;

/// How the penalty estimates KL(policy || reference) from one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimator {
    /// log policy - log reference: unbiased, of either sign.
    K1,
    /// e^x - 1 - x with x = log reference - log policy: never negative.
    K3,
}

/// Options of PPO, with TRL's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ppo {
    /// `kl_coef`: default 0.05; 0 or more. The adaptive controller changes it.
    pub kl_coefficient: f64,
    /// `kl_estimator`: default k1.
    pub kl_estimator: Estimator,
    /// Taken off the score of a response that did not end; default none (TRL's page on PPO advises 1).
    pub missing_eos_penalty: Option<f64>,
    /// The reward model's score is kept within +- this, before the penalty; default none. TRL had it until 0.11,
    /// OpenRLHF keeps 10.
    pub score_clip: Option<f64>,
    /// Divide rewards by their standard deviation, the mean stays; default no.
    pub whiten_rewards: bool,
    /// Discount, default 1; within 0 ..= 1.
    pub gamma: f64,
    /// GAE's lambda, default 0.95; within 0 ..= 1.
    pub lambda: f64,
    /// `cliprange`: the ratio's way to either side of 1, default 0.2; above 0.
    pub clip: f64,
    /// `cliprange_value`: a value's way to either side of the old one, default 0.2; above 0.
    pub clip_value: f64,
    /// `vf_coef`: weight of the value loss, default 0.1; 0 or more.
    pub value_coefficient: f64,
}

impl Default for Ppo {
    fn default() -> Ppo {
        Ppo {
            kl_coefficient: 0.05,
            kl_estimator: Estimator::K1,
            missing_eos_penalty: None,
            score_clip: None,
            whiten_rewards: false,
            gamma: 1.0,
            lambda: 0.95,
            clip: 0.2,
            clip_value: 0.2,
            value_coefficient: 0.1,
        }
    }
}

impl Ppo {
    fn check(&self) -> Result<(), Fault> {
        not_negative("kl_coef", self.kl_coefficient)?;
        finite("missing_eos_penalty", &[self.missing_eos_penalty.unwrap_or(0.0)])?;
        positive("score_clip", self.score_clip.unwrap_or(1.0))?;
        positive("cliprange", self.clip)?;
        positive("cliprange_value", self.clip_value)?;
        not_negative("vf_coef", self.value_coefficient)?;
        for (name, value) in [("gamma", self.gamma), ("lam", self.lambda)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(refused(format!("{name} is {value}; it must be within 0 and 1")));
            }
        }
        Ok(())
    }
}

/// One sampled response of t tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Response<'a> {
    /// The policy's log-probabilities when it was sampled, computed by the training program: (t).
    pub policy: &'a [f64],
    /// The reference's: (t).
    pub reference: &'a [f64],
    /// The critic's values of what stood before each token: (t), or (t + 1) with the value of the whole, where the
    /// score then falls due. TRL has the one more for every response that is shorter than its batch's longest.
    pub values: &'a [f64],
    /// The reward model's score.
    pub score: f64,
    /// It ended by itself, and was not cut.
    pub ended: bool,
}

/// What a batch of responses was worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Worth {
    /// Whitened advantages, one for each token of each response, end to end.
    pub advantages: Vec<f64>,
    /// What the critic should have said: one for each value of each response, end to end.
    pub returns: Vec<f64>,
    /// The rewards that both were made from, as the returns.
    pub rewards: Vec<f64>,
    /// objective/kl, objective/entropy, objective/non_score_reward, objective/rlhf_reward, objective/scores: sums over
    /// a response, means over responses; scores after clip and penalty.
    pub metrics: Vec<(String, f64)>,
}

/// Rewards, advantages and returns of a batch: r_t = -kl_coef KL_t, plus the score at the last place;
/// delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma lambda A_{t+1}, R = A + V; then A is whitened over all
/// tokens of the batch (mean 0, sample variance, 1e-8 added), which needs two tokens.
pub fn worth(responses: &[Response], options: &Ppo) -> Result<Worth, Fault> {
    options.check()?;
    if responses.is_empty() {
        return Err(refused("a batch without a response"));
    }
    let mut out = Worth { advantages: Vec::new(), returns: Vec::new(), rewards: Vec::new(), metrics: Vec::new() };
    let (mut kl, mut entropy, mut scores) = (0.0, 0.0, 0.0);
    for response in responses {
        check_response(response)?;
        let start = out.rewards.len();
        out.rewards.resize(start + response.values.len(), 0.0);
        for (at, (&policy, &reference)) in response.policy.iter().zip(response.reference).enumerate() {
            let here = match options.kl_estimator {
                Estimator::K1 => policy - reference,
                Estimator::K3 => k3(policy, reference).0,
            };
            kl += here;
            entropy -= policy;
            out.rewards[start + at] = -options.kl_coefficient * here;
        }
        let clip = options.score_clip.unwrap_or(f64::INFINITY);
        let penalty = if response.ended { 0.0 } else { options.missing_eos_penalty.unwrap_or(0.0) };
        let score = response.score.clamp(-clip, clip) - penalty;
        scores += score;
        *out.rewards.last_mut().expect("a response has a value, as was checked") += score;
    }
    if options.whiten_rewards {
        whiten(&mut out.rewards, false)?;
    }
    let mut start = 0;
    for response in responses {
        let advantages = estimate(&out.rewards[start..start + response.values.len()], response.values, options);
        out.returns.extend(advantages.iter().zip(response.values).map(|(advantage, value)| advantage + value));
        out.advantages.extend(&advantages[..response.policy.len()]);
        start += response.values.len();
    }
    whiten(&mut out.advantages, true)?;
    finite("advantage", &out.advantages)?;
    finite("return", &out.returns)?;
    let share = 1.0 / responses.len() as f64;
    let penalty = -options.kl_coefficient * kl * share;
    out.metrics = vec![
        metric("objective/kl", kl * share),
        metric("objective/entropy", entropy * share),
        metric("objective/non_score_reward", penalty),
        metric("objective/rlhf_reward", penalty + scores * share),
        metric("objective/scores", scores * share),
    ];
    Ok(out)
}

fn check_response(response: &Response) -> Result<(), Fault> {
    let (tokens, values) = (response.policy.len(), response.values.len());
    as_long("reference log-probabilities", response.reference.len(), "tokens", tokens)?;
    if values != tokens + 1 {
        as_long("values", values, "tokens", tokens)?;
    }
    if values == 0 {
        return Err(refused("a response without a token and without a value"));
    }
    finite("log-probability of the policy", response.policy)?;
    finite("log-probability of the reference", response.reference)?;
    finite("value", response.values)?;
    finite("score", &[response.score])
}

/// Generalized advantage estimation of one response; what follows its last place is worth nothing.
fn estimate(rewards: &[f64], values: &[f64], options: &Ppo) -> Vec<f64> {
    let mut advantages = vec![0.0; values.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for at in (0..values.len()).rev() {
        let delta = rewards[at] + options.gamma * next_value - values[at];
        next_advantage = delta + options.gamma * options.lambda * next_advantage;
        next_value = values[at];
        advantages[at] = next_advantage;
    }
    advantages
}

/// (x - mean) / sqrt(sample variance + 1e-8), plus the mean unless it is to be shifted away.
fn whiten(numbers: &mut [f64], shift_mean: bool) -> Result<(), Fault> {
    if numbers.len() < 2 {
        return Err(refused(format!("{} numbers have no spread to whiten by", numbers.len())));
    }
    let count = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let variance = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (count - 1.0);
    let scale = 1.0 / (variance + 1e-8).sqrt();
    let back = if shift_mean { 0.0 } else { mean };
    numbers.iter_mut().for_each(|x| *x = (*x - mean) * scale + back);
    Ok(())
}

/// What one update sees: n tokens and m values, each end to end, in the order of [`Worth`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minibatch<'a> {
    /// Log-probabilities under the policy of now: (n).
    pub policy: &'a [f64],
    /// Under the policy that sampled: (n).
    pub old_policy: &'a [f64],
    /// (n)
    pub advantages: &'a [f64],
    /// Values of the critic of now: (m).
    pub values: &'a [f64],
    /// Values when it was sampled: (m).
    pub old_values: &'a [f64],
    /// (m)
    pub returns: &'a [f64],
}

/// A minibatch's value.
#[derive(Clone, Debug, PartialEq)]
pub struct Clipped {
    /// Policy loss plus `value_coefficient` times value loss.
    pub loss: f64,
    /// d loss / d log-probability: (n).
    pub dpolicy: Vec<f64>,
    /// d loss / d value: (m).
    pub dvalues: Vec<f64>,
    /// loss/policy_avg, loss/value_avg, policy/approxkl_avg, policy/clipfrac_avg, val/ratio, val/clipfrac_avg.
    pub metrics: Vec<(String, f64)>,
}

/// The clipped losses, with ratio = e^(policy - old policy), exactly 1 where they are equal:
/// mean over tokens of max(-A ratio, -A clip(ratio, 1 +- clip)), plus value_coefficient times half the mean over values
/// of max((V - R)^2, (clip(V, V_old +- clip_value) - R)^2).
pub fn clipped(batch: &Minibatch, options: &Ppo) -> Result<Clipped, Fault> {
    options.check()?;
    let (tokens, values) = (batch.policy.len(), batch.values.len());
    as_long("old log-probabilities", batch.old_policy.len(), "tokens", tokens)?;
    as_long("advantages", batch.advantages.len(), "tokens", tokens)?;
    as_long("old values", batch.old_values.len(), "values", values)?;
    as_long("returns", batch.returns.len(), "values", values)?;
    if tokens == 0 || values == 0 {
        return Err(refused("a minibatch without tokens or without values"));
    }
    let lists = [
        ("log-probability of the policy", batch.policy),
        ("log-probability of the old policy", batch.old_policy),
        ("advantage", batch.advantages),
        ("value", batch.values),
        ("old value", batch.old_values),
        ("return", batch.returns),
    ];
    lists.iter().try_for_each(|(name, numbers)| finite(name, numbers))?;
    let mut out = Clipped {
        loss: 0.0,
        dpolicy: Vec::with_capacity(tokens),
        dvalues: Vec::with_capacity(values),
        metrics: vec![],
    };
    let (policy_loss, value_loss) = (add_policy(&mut out, batch, options), add_values(&mut out, batch, options));
    out.loss = policy_loss + options.value_coefficient * value_loss;
    finite("policy loss", &[out.loss])?;
    finite("derivative by a log-probability", &out.dpolicy)?;
    out.metrics.push(metric("loss/policy_avg", policy_loss));
    out.metrics.push(metric("loss/value_avg", value_loss));
    out.metrics.iter().try_for_each(|(name, value)| finite(name, &[*value]))?;
    Ok(out)
}

fn add_policy(out: &mut Clipped, batch: &Minibatch, options: &Ppo) -> f64 {
    let share = 1.0 / batch.policy.len() as f64;
    let (mut loss, mut moved, mut ratios, mut cut) = (0.0, 0.0, 0.0, 0usize);
    for (at, &advantage) in batch.advantages.iter().enumerate() {
        let change = batch.policy[at] - batch.old_policy[at];
        let ratio = change.exp();
        let free = -advantage * ratio;
        let bound = -advantage * ratio.clamp(1.0 - options.clip, 1.0 + options.clip);
        // Where the bound is the greater, the ratio stands at its clip and moves nothing.
        cut += usize::from(bound > free);
        loss += free.max(bound);
        out.dpolicy.push(if bound > free { 0.0 } else { free * share });
        moved += change * change;
        ratios += ratio;
    }
    out.metrics.push(metric("policy/approxkl_avg", 0.5 * moved * share));
    out.metrics.push(metric("policy/clipfrac_avg", cut as f64 * share));
    // Divided, not multiplied: of ratios of exactly 1, the mean is exactly 1.
    out.metrics.push(metric("val/ratio", ratios / batch.policy.len() as f64));
    loss * share
}

fn add_values(out: &mut Clipped, batch: &Minibatch, options: &Ppo) -> f64 {
    let share = 1.0 / batch.values.len() as f64;
    let (mut loss, mut cut) = (0.0, 0usize);
    for (at, &value) in batch.values.iter().enumerate() {
        let (old, wanted) = (batch.old_values[at], batch.returns[at]);
        let off = value - wanted;
        let bound = value.clamp(old - options.clip_value, old + options.clip_value) - wanted;
        let held = bound * bound > off * off;
        cut += usize::from(held);
        loss += (off * off).max(bound * bound);
        out.dvalues.push(if held { 0.0 } else { options.value_coefficient * off * share });
    }
    out.metrics.push(metric("val/clipfrac_avg", cut as f64 * share));
    0.5 * loss * share
}

/// The adaptive penalty (Ziegler et al., "Fine-tuning language models from human preferences", 2019, 2.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveKl {
    /// Wanted objective/kl in nats a response, default 6; above 0.
    pub target: f64,
    /// Responses over which a full error of 0.2 changes the coefficient by a fifth, default 10000; above 0.
    pub horizon: f64,
}

impl Default for AdaptiveKl {
    fn default() -> AdaptiveKl {
        AdaptiveKl { target: 6.0, horizon: 10_000.0 }
    }
}

/// The next coefficient: the last times 1 + clip(kl / target - 1, +-0.2) responses / horizon, `kl` the measured
/// objective/kl of `responses` responses. Never below 0.
pub fn adapt(coefficient: f64, kl: f64, responses: usize, options: &AdaptiveKl) -> Result<f64, Fault> {
    positive("target", options.target)?;
    positive("horizon", options.horizon)?;
    not_negative("kl_coef", coefficient)?;
    finite("objective/kl", &[kl])?;
    let error = (kl / options.target - 1.0).clamp(-0.2, 0.2);
    Ok((coefficient * (1.0 + error * responses as f64 / options.horizon)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::super::super::numeric::trial::{Random, assert_slopes};
    use super::*;
    use pleach_runtime::fault::FaultKind;

    fn of(out: &[(String, f64)], name: &str) -> f64 {
        out.iter().find(|(known, _)| known == name).expect("a metric of that name").1
    }

    /// Six lists of a minibatch, near enough to their old ones that clips happen and do not.
    fn minibatch(random: &mut Random, tokens: usize, values: usize) -> [Vec<f64>; 6] {
        let old_policy = random.list(tokens, -3.0, -0.1);
        let policy = old_policy.iter().map(|old| old + random.within(-0.5, 0.5)).collect();
        let old_values = random.list(values, -1.0, 1.0);
        let now = old_values.iter().map(|old| old + random.within(-0.5, 0.5)).collect();
        [policy, old_policy, random.list(tokens, -2.0, 2.0), now, old_values, random.list(values, -1.0, 1.0)]
    }

    fn view(lists: &[Vec<f64>; 6]) -> Minibatch<'_> {
        let [policy, old_policy, advantages, values, old_values, returns] = lists;
        Minibatch { policy, old_policy, advantages, values, old_values, returns }
    }

    #[test]
    fn derivatives_are_the_slopes() {
        let mut random = Random(4);
        let options = Ppo::default();
        for case in 0..60 {
            let lists = minibatch(&mut random, 1 + case % 7, 1 + case % 5);
            let here = clipped(&view(&lists), &options).expect("finite");
            for (which, derivatives) in [(0, &here.dpolicy), (3, &here.dvalues)] {
                assert_slopes(&format!("case {case}, list {which}"), &lists[which], derivatives, |at| {
                    let mut there = lists.clone();
                    there[which] = at.to_vec();
                    clipped(&view(&there), &options).expect("finite").loss
                });
            }
        }
    }

    #[test]
    fn the_first_minibatch_has_ratio_one_exactly() {
        let mut random = Random(5);
        let mut lists = minibatch(&mut random, 40, 40);
        lists[0] = lists[1].clone();
        let out = clipped(&view(&lists), &Ppo::default()).expect("finite");
        assert_eq!(of(&out.metrics, "val/ratio"), 1.0);
        assert_eq!((of(&out.metrics, "policy/approxkl_avg"), of(&out.metrics, "policy/clipfrac_avg")), (0.0, 0.0));
        for (derivative, advantage) in out.dpolicy.iter().zip(&lists[2]) {
            assert_eq!(*derivative, -advantage * (1.0 / 40.0));
        }
    }

    #[test]
    fn advantages_add_up_from_behind() {
        let options = Ppo { kl_coefficient: 0.5, gamma: 0.9, lambda: 0.8, ..Ppo::default() };
        let response = Response {
            policy: &[-1.0, -2.0],
            reference: &[-1.5, -1.0],
            values: &[0.1, 0.2, 0.3],
            score: 2.0,
            ended: true,
        };
        let out = worth(&[response], &options).expect("finite");
        assert_eq!(out.rewards, [-0.25, 0.5, 2.0]);
        let last = 2.0 - 0.3;
        let middle = 0.5 + 0.9 * 0.3 - 0.2 + 0.72 * last;
        let first = -0.25 + 0.9 * 0.2 - 0.1 + 0.72 * middle;
        for (have, wanted) in out.returns.iter().zip([first + 0.1, middle + 0.2, last + 0.3]) {
            assert!((have - wanted).abs() < 1e-14);
        }
        assert!(out.advantages.iter().sum::<f64>().abs() < 1e-12, "whitened");
        assert!((out.advantages.iter().map(|a| a * a).sum::<f64>() - 1.0).abs() < 1e-6, "whitened");
        assert_eq!((of(&out.metrics, "objective/kl"), of(&out.metrics, "objective/entropy")), (-0.5, 3.0));
        assert_eq!(of(&out.metrics, "objective/rlhf_reward"), 2.25);
    }

    #[test]
    fn scores_are_clipped_and_then_penalized() {
        let options = Ppo { missing_eos_penalty: Some(1.0), score_clip: Some(5.0), ..Ppo::default() };
        let (policy, values) = ([-1.0, -1.0], [0.0, 0.0]);
        let last = |score: f64, ended: bool| {
            let response = Response { policy: &policy, reference: &policy, values: &values, score, ended };
            worth(&[response], &options).expect("finite").rewards[1]
        };
        assert_eq!((last(9.0, true), last(9.0, false), last(-9.0, false), last(0.5, false)), (5.0, 4.0, -6.0, -0.5));
    }

    #[test]
    fn whitened_rewards_keep_their_mean() {
        let mut numbers = vec![1.0, 2.0, 6.0];
        whiten(&mut numbers, false).expect("a spread");
        assert!((numbers.iter().sum::<f64>() / 3.0 - 3.0).abs() < 1e-12);
        let variance = numbers.iter().map(|x| (x - 3.0) * (x - 3.0)).sum::<f64>() / 2.0;
        assert!((variance - 1.0).abs() < 1e-7);
    }

    #[test]
    fn the_coefficient_follows_the_target() {
        let options = AdaptiveKl::default();
        assert_eq!(adapt(0.2, 6.0, 64, &options), Ok(0.2));
        assert_eq!(adapt(0.2, 600.0, 10_000, &options), Ok(0.2 * 1.2));
        assert_eq!(adapt(0.2, -600.0, 10_000, &options), Ok(0.2 * 0.8));
        assert!(adapt(0.2, 6.6, 100, &options).expect("finite") > 0.2);
        assert_eq!(adapt(0.2, -1.0, 1_000_000, &options), Ok(0.0));
        assert_eq!(adapt(0.2, f64::NAN, 64, &options).expect_err("no number").kind, FaultKind::Numbers);
    }

    #[test]
    fn nonsense_is_answered_in_words() {
        let good = Response { policy: &[-1.0], reference: &[-1.0], values: &[0.0], score: 1.0, ended: true };
        let kind = |responses: &[Response], options: Ppo| worth(responses, &options).expect_err("nonsense").kind;
        assert_eq!(kind(&[], Ppo::default()), FaultKind::Refused);
        assert_eq!(kind(&[good], Ppo::default()), FaultKind::Refused, "one token has no spread");
        assert_eq!(kind(&[Response { values: &[], ..good }], Ppo::default()), FaultKind::Actor);
        assert_eq!(kind(&[Response { score: f64::NAN, ..good }], Ppo::default()), FaultKind::Numbers);
        assert_eq!(kind(&[good, good], Ppo { gamma: 1.5, ..Ppo::default() }), FaultKind::Refused);
        let far = Minibatch {
            policy: &[0.0],
            old_policy: &[-800.0],
            advantages: &[-1.0],
            values: &[0.0],
            old_values: &[0.0],
            returns: &[0.0],
        };
        assert_eq!(clipped(&far, &Ppo::default()).expect_err("infinite").kind, FaultKind::Numbers);
        // The clip holds the loss, but a ratio that is no number is still told.
        let up = Minibatch { advantages: &[1.0], ..far };
        assert_eq!(clipped(&up, &Ppo::default()).expect_err("infinite").kind, FaultKind::Numbers);
        let none = Minibatch { policy: &[], old_policy: &[], advantages: &[], ..far };
        assert_eq!(clipped(&none, &Ppo::default()).expect_err("empty").kind, FaultKind::Refused);
    }
}
