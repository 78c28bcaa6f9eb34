//! Preference objectives without a reward model: DPO, IPO, ORPO and SimPO on a pair of completions, KTO on a batch of
//! single ones.
//!
//! Log-probabilities are sums over a completion's tokens, in nats and at most 0. Formulas and the names of metrics are
//! those of TRL 1.16 (`DPOTrainer`, `KTOTrainer`, `experimental.cpo`, `experimental.orpo`); where TRL leaves a paper or
//! we leave TRL, the place says so. A window's value is the mean over its pairs; that is the caller's sum.

use super::numeric::{finite, log1mexp, metric, not_negative, positive, refused, sigmoid, softplus};
use pleach_runtime::fault::Fault;

/// One completion of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Completion {
    /// Sum of the policy's log-probabilities.
    pub policy: f64,
    /// Sum of the reference's; ORPO and SimPO have no reference and do not read it.
    pub reference: f64,
    /// How many tokens the sums are over; at least 1.
    pub tokens: usize,
}

/// What is asked of a pair. Chosen is w, rejected l; D = (policy_w - reference_w) - (policy_l - reference_l); a is a
/// mean log-probability per token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Preference {
    /// -(1 - e) log sigmoid(beta D) - e log sigmoid(-beta D) (Rafailov et al. 2023). With e = 0 it is TRL's `sigmoid`;
    /// label smoothing (Mitchell's conservative DPO) was in TRL's DPO at 0.11 and is, by the same formula, in its CPO.
    Sigmoid {
        /// Above 0.
        beta: f64,
        /// e, how often a label is thought to be wrong: 0 .. 0.5, without 0.5.
        label_smoothing: f64,
    },
    /// (D / tokens - 1 / (2 beta))^2, each log-ratio divided by its own completion's tokens (Azar et al. 2023, eq. 17;
    /// the division is TRL's, which says that the paper's authors confirmed it).
    Ipo {
        /// The paper's tau; above 0.
        beta: f64,
    },
    /// -a_w - beta log sigmoid(log odds_w - log odds_l) with odds = e^a / (1 - e^a) (Hong et al. 2024). The first term
    /// is over the chosen completion as in the paper; TRL takes it over the prompt as well.
    Orpo {
        /// The paper's lambda; above 0.
        beta: f64,
    },
    /// -(1 - e) log sigmoid(x) - e log sigmoid(-x) with x = beta (a_w - a_l) - gamma (Meng et al. 2024).
    SimPo {
        /// Above 0.
        beta: f64,
        /// The margin that the chosen one should lead by; 0 or more.
        gamma: f64,
        /// e, as of `Sigmoid`.
        label_smoothing: f64,
    },
}

impl Preference {
    /// DPO as TRL has it.
    pub const SIGMOID: Preference = Preference::Sigmoid { beta: 0.1, label_smoothing: 0.0 };
    /// IPO as TRL has it.
    pub const IPO: Preference = Preference::Ipo { beta: 0.1 };
    /// ORPO as TRL has it.
    pub const ORPO: Preference = Preference::Orpo { beta: 0.1 };
    /// SimPO as its paper has it; TRL's defaults are those of DPO (beta 0.1, gamma 0.5), far too small for means.
    pub const SIMPO: Preference = Preference::SimPo { beta: 2.5, gamma: 1.375, label_smoothing: 0.0 };
}

/// One pair's value.
#[derive(Clone, Debug, PartialEq)]
pub struct Preferred {
    /// The loss.
    pub loss: f64,
    /// d loss / d policy sum of the chosen completion.
    pub dchosen: f64,
    /// d loss / d policy sum of the rejected completion.
    pub drejected: f64,
    /// rewards/chosen, rewards/rejected, rewards/margins, rewards/accuracies, logps/chosen, logps/rejected; ORPO also
    /// nll_loss, log_odds_ratio, log_odds_chosen. A reward is beta times the log-ratio, of ORPO and SimPO beta times
    /// the mean log-probability, whose logps are means too, as in TRL.
    pub metrics: Vec<(String, f64)>,
}

/// The objective of one pair.
pub fn prefer(chosen: &Completion, rejected: &Completion, what: &Preference) -> Result<Preferred, Fault> {
    finite("log-probability of the policy", &[chosen.policy, rejected.policy])?;
    if chosen.tokens == 0 || rejected.tokens == 0 {
        return Err(refused("a completion without a token cannot be preferred"));
    }
    match *what {
        Preference::Sigmoid { beta, label_smoothing } => {
            check(beta, label_smoothing)?;
            let (delta, rewards) = log_ratios(chosen, rejected, beta)?;
            let (loss, slope) = logistic(beta * delta, label_smoothing);
            let sums = [chosen.policy, rejected.policy];
            finished(loss, [beta * slope, -beta * slope], rewards, sums)
        }
        Preference::Ipo { beta } => {
            check(beta, 0.0)?;
            let (_, rewards) = log_ratios(chosen, rejected, beta)?;
            let (count_w, count_l) = (chosen.tokens as f64, rejected.tokens as f64);
            let mean = |side: &Completion, count: f64| (side.policy - side.reference) / count;
            let off = mean(chosen, count_w) - mean(rejected, count_l) - 0.5 / beta;
            let sums = [chosen.policy, rejected.policy];
            finished(off * off, [2.0 * off / count_w, -2.0 * off / count_l], rewards, sums)
        }
        Preference::Orpo { beta } => orpo(chosen, rejected, beta),
        Preference::SimPo { beta, gamma, label_smoothing } => {
            check(beta, label_smoothing)?;
            not_negative("gamma", gamma)?;
            let means = [chosen.policy / chosen.tokens as f64, rejected.policy / rejected.tokens as f64];
            let (loss, slope) = logistic(beta * (means[0] - means[1]) - gamma, label_smoothing);
            let slopes = [beta * slope / chosen.tokens as f64, -beta * slope / rejected.tokens as f64];
            finished(loss, slopes, means.map(|mean| beta * mean), means)
        }
    }
}

fn check(beta: f64, label_smoothing: f64) -> Result<(), Fault> {
    positive("beta", beta)?;
    if !(0.0..0.5).contains(&label_smoothing) {
        return Err(refused(format!("label_smoothing is {label_smoothing}; it must be 0 or more and below 0.5")));
    }
    Ok(())
}

/// D, and the two rewards.
fn log_ratios(chosen: &Completion, rejected: &Completion, beta: f64) -> Result<(f64, [f64; 2]), Fault> {
    finite("log-probability of the reference", &[chosen.reference, rejected.reference])?;
    let ratios = [chosen, rejected].map(|side| side.policy - side.reference);
    Ok((ratios[0] - ratios[1], ratios.map(|ratio| beta * ratio)))
}

/// -(1 - e) log sigmoid(x) - e log sigmoid(-x), and its derivative by x.
fn logistic(x: f64, smoothing: f64) -> (f64, f64) {
    let (right, wrong) = (1.0 - smoothing, smoothing);
    (right * softplus(-x) + wrong * softplus(x), wrong * sigmoid(x) - right * sigmoid(-x))
}

/// Loss and metrics, with the border's condition: a result is a number.
fn finished(loss: f64, slopes: [f64; 2], rewards: [f64; 2], logps: [f64; 2]) -> Result<Preferred, Fault> {
    finite("preference result", &[loss, slopes[0], slopes[1]])?;
    let metrics = vec![
        metric("rewards/chosen", rewards[0]),
        metric("rewards/rejected", rewards[1]),
        metric("rewards/margins", rewards[0] - rewards[1]),
        metric("rewards/accuracies", f64::from(u8::from(rewards[0] > rewards[1]))),
        metric("logps/chosen", logps[0]),
        metric("logps/rejected", logps[1]),
    ];
    Ok(Preferred { loss, dchosen: slopes[0], drejected: slopes[1], metrics })
}

/// ORPO. A mean above 0, which only rounding makes, counts as 0: a chosen completion of probability 1 has a loss and
/// derivatives (the limit), a rejected one an infinite loss, which is a fault.
fn orpo(chosen: &Completion, rejected: &Completion, beta: f64) -> Result<Preferred, Fault> {
    check(beta, 0.0)?;
    let counts = [chosen.tokens as f64, rejected.tokens as f64];
    let means = [(chosen.policy / counts[0]).min(0.0), (rejected.policy / counts[1]).min(0.0)];
    let log_odds = means.map(|mean| mean - log1mexp(mean));
    let lead = log_odds[0] - log_odds[1];
    let ratio = -softplus(-lead);
    // d lead / d mean = 1 / (1 - e^mean). Where that is infinite for the chosen one, sigmoid(-lead) is as small, and
    // their product is odds_l.
    let missing = means.map(|mean| -mean.exp_m1());
    let odds = if missing[0] == 0.0 { log_odds[1].exp() } else { sigmoid(-lead) / missing[0] };
    let dmeans = [-1.0 - beta * odds, beta * sigmoid(-lead) / missing[1]];
    let slopes = [dmeans[0] / counts[0], dmeans[1] / counts[1]];
    let mut out = finished(-means[0] - beta * ratio, slopes, means.map(|mean| beta * mean), means)?;
    out.metrics.push(metric("nll_loss", -means[0]));
    out.metrics.push(metric("log_odds_ratio", ratio));
    out.metrics.push(metric("log_odds_chosen", lead));
    Ok(out)
}

/// One completion that somebody liked or did not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// Sum of the policy's log-probabilities.
    pub policy: f64,
    /// Sum of the reference's.
    pub reference: f64,
    /// Liked.
    pub desirable: bool,
}

/// Options of KTO, with TRL's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kto {
    /// Default 0.1; above 0.
    pub beta: f64,
    /// Weight of a desirable completion, default 1; 0 or more.
    pub desirable_weight: f64,
    /// Weight of an undesirable one, default 1; 0 or more.
    pub undesirable_weight: f64,
}

impl Default for Kto {
    fn default() -> Kto {
        Kto { beta: 0.1, desirable_weight: 1.0, undesirable_weight: 1.0 }
    }
}

/// A batch's value.
#[derive(Clone, Debug, PartialEq)]
pub struct KtoBatch {
    /// The mean over the batch.
    pub loss: f64,
    /// d loss / d policy sum, one for each completion.
    pub derivatives: Vec<f64>,
    /// kl (z); rewards/chosen and logps/chosen where something is desirable, rewards/rejected and logps/rejected where
    /// something is not, rewards/margins where both are there: means over each kind, as in TRL.
    pub metrics: Vec<(String, f64)>,
}

/// Kahneman and Tversky's objective (Ethayarajh et al. 2024, eq. 7): with q the log-ratio of a completion,
/// w_d (1 - sigmoid(beta (q - z))) of a desirable one, w_u (1 - sigmoid(beta (z - q))) of an undesirable one, and their
/// mean over the batch. z = max(0, mean of `mismatched`) is held constant: `mismatched` are the log-ratios
/// policy - reference of other prompts' completions (TRL moves the completions of a batch on by one), at least one.
pub fn kto(batch: &[Judged], mismatched: &[f64], options: &Kto) -> Result<KtoBatch, Fault> {
    positive("beta", options.beta)?;
    not_negative("desirable_weight", options.desirable_weight)?;
    not_negative("undesirable_weight", options.undesirable_weight)?;
    finite("mismatched log-ratio", mismatched)?;
    if batch.is_empty() || mismatched.is_empty() {
        let counts = format!("{} completions and {} mismatched ones", batch.len(), mismatched.len());
        return Err(refused(format!("KTO needs both kinds; the batch has {counts}")));
    }
    let z = (mismatched.iter().sum::<f64>() / mismatched.len() as f64).max(0.0);
    let mut out = KtoBatch { loss: 0.0, derivatives: Vec::with_capacity(batch.len()), metrics: Vec::new() };
    // Of each kind, the undesirable first: how many, sum of rewards, sum of log-probabilities.
    let mut kinds = [(0usize, 0.0, 0.0); 2];
    for judged in batch {
        finite("log-probability of a judged completion", &[judged.policy, judged.reference])?;
        let ratio = judged.policy - judged.reference;
        let (sign, weight) =
            if judged.desirable { (1.0, options.desirable_weight) } else { (-1.0, options.undesirable_weight) };
        let x = sign * options.beta * (ratio - z);
        out.loss += weight * sigmoid(-x);
        out.derivatives.push(-sign * weight * options.beta * sigmoid(x) * sigmoid(-x));
        let kind = &mut kinds[usize::from(judged.desirable)];
        *kind = (kind.0 + 1, kind.1 + options.beta * ratio, kind.2 + judged.policy);
    }
    let share = 1.0 / batch.len() as f64;
    out.loss *= share;
    out.derivatives.iter_mut().for_each(|d| *d *= share);
    finite("KTO loss", &[out.loss])?;
    out.metrics.push(metric("kl", z));
    for (name, (count, rewards, logps)) in [("chosen", kinds[1]), ("rejected", kinds[0])] {
        if count > 0 {
            out.metrics.push(metric(&format!("rewards/{name}"), rewards / count as f64));
            out.metrics.push(metric(&format!("logps/{name}"), logps / count as f64));
        }
    }
    if kinds[0].0 > 0 && kinds[1].0 > 0 {
        let margin = kinds[1].1 / kinds[1].0 as f64 - kinds[0].1 / kinds[0].0 as f64;
        out.metrics.push(metric("rewards/margins", margin));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::numeric::trial::{Random, assert_slopes};
    use super::*;
    use pleach_runtime::fault::FaultKind;

    const ALL: [Preference; 6] = [
        Preference::SIGMOID,
        Preference::Sigmoid { beta: 0.3, label_smoothing: 0.2 },
        Preference::IPO,
        Preference::ORPO,
        Preference::SIMPO,
        Preference::SimPo { beta: 0.7, gamma: 0.0, label_smoothing: 0.1 },
    ];

    fn side(policy: f64, reference: f64, tokens: usize) -> Completion {
        Completion { policy, reference, tokens }
    }

    fn of(out: &[(String, f64)], name: &str) -> f64 {
        out.iter().find(|(known, _)| known == name).expect("a metric of that name").1
    }

    #[test]
    fn derivatives_are_the_slopes() {
        let mut random = Random(2);
        for case in 0..240 {
            let what = ALL[case % ALL.len()];
            let counts = [1 + random.below(20), 1 + random.below(20)];
            let at = [-random.within(0.05, 3.0) * counts[0] as f64, -random.within(0.05, 3.0) * counts[1] as f64];
            let reference = [at[0] + random.within(-8.0, 8.0), at[1] + random.within(-8.0, 8.0)];
            let run = |at: &[f64]| {
                let sides = [0, 1].map(|index| side(at[index], reference[index], counts[index]));
                prefer(&sides[0], &sides[1], &what).expect("finite numbers")
            };
            let here = run(&at);
            assert_slopes(&format!("{what:?}"), &at, &[here.dchosen, here.drejected], |at| run(at).loss);
        }
    }

    #[test]
    fn the_start_of_dpo_is_known() {
        let out = prefer(&side(-9.0, -9.0, 4), &side(-7.0, -7.0, 3), &Preference::SIGMOID).expect("finite");
        assert!((out.loss - std::f64::consts::LN_2).abs() < 1e-15);
        assert!((out.dchosen + 0.05).abs() < 1e-15 && (out.drejected - 0.05).abs() < 1e-15);
        assert_eq!(of(&out.metrics, "rewards/accuracies"), 0.0);
        assert_eq!(of(&out.metrics, "logps/rejected"), -7.0);
    }

    #[test]
    fn far_away_pairs_stay_finite() {
        for what in ALL {
            for (high, low) in [(-1.0, -9000.0), (-9000.0, -1.0)] {
                let out = prefer(&side(high, -50.0, 10), &side(low, -50.0, 10), &what).expect("finite");
                let numbers = [out.loss, out.dchosen, out.drejected];
                assert!(numbers.iter().all(|x| x.is_finite()) && out.loss >= 0.0, "{what:?}");
            }
        }
    }

    #[test]
    fn a_certain_completion_has_orpos_limit() {
        let ask = |policy: f64| prefer(&side(policy, 0.0, 2), &side(-3.0, 0.0, 2), &Preference::ORPO);
        let (limit, near) = (ask(0.0).expect("the limit"), ask(-1e-9).expect("finite"));
        assert!((limit.loss - near.loss).abs() < 1e-8 && (limit.dchosen - near.dchosen).abs() < 1e-8);
        let fault = prefer(&side(-3.0, 0.0, 2), &side(0.0, 0.0, 2), &Preference::ORPO).expect_err("an infinite loss");
        assert_eq!(fault.kind, FaultKind::Numbers);
    }

    #[test]
    fn ipo_is_least_at_its_margin() {
        let out = prefer(&side(-10.0, -60.0, 10), &side(-10.0, -10.0, 5), &Preference::IPO).expect("finite");
        assert!(out.loss.abs() < 1e-20 && out.dchosen.abs() < 1e-10);
    }

    #[test]
    fn nonsense_pairs_are_answered_in_words() {
        let good = side(-1.0, -1.0, 1);
        let kind = |chosen: Completion, what: Preference| prefer(&chosen, &good, &what).expect_err("nonsense").kind;
        assert_eq!(kind(side(f64::NAN, 0.0, 1), Preference::ORPO), FaultKind::Numbers);
        assert_eq!(kind(side(-1.0, f64::INFINITY, 1), Preference::SIGMOID), FaultKind::Numbers);
        assert_eq!(kind(side(-1.0, -1.0, 0), Preference::IPO), FaultKind::Refused);
        assert_eq!(kind(good, Preference::Ipo { beta: 0.0 }), FaultKind::Refused);
        assert_eq!(kind(good, Preference::Sigmoid { beta: 0.1, label_smoothing: 0.5 }), FaultKind::Refused);
        // Without a reference nothing reads it.
        assert!(prefer(&side(-1.0, f64::NAN, 1), &good, &Preference::SIMPO).is_ok());
    }

    fn judged(at: &[f64], desirable: &[bool]) -> Vec<Judged> {
        at.iter().zip(desirable).map(|(&policy, &desirable)| Judged { policy, reference: -9.0, desirable }).collect()
    }

    #[test]
    fn derivatives_of_kto_are_the_slopes() {
        let mut random = Random(3);
        for case in 0..60 {
            let count = 1 + random.below(6);
            let at = random.list(count, -30.0, 0.0);
            let desirable: Vec<bool> = (0..count).map(|_| random.below(2) == 1).collect();
            let options = Kto { beta: 0.3, desirable_weight: 1.3, undesirable_weight: 0.7 };
            let mismatched = random.list(3, -4.0, 4.0);
            let run = |at: &[f64]| kto(&judged(at, &desirable), &mismatched, &options).expect("finite");
            assert_slopes(&format!("case {case}"), &at, &run(&at).derivatives, |at| run(at).loss);
        }
    }

    #[test]
    fn ktos_reference_point_is_never_below_zero() {
        let run = |mismatched: &[f64]| kto(&judged(&[-9.0, -9.0], &[true, false]), mismatched, &Kto::default());
        let (below, zero) = (run(&[-5.0, 1.0]).expect("finite"), run(&[0.0]).expect("finite"));
        assert_eq!(below, zero);
        assert_eq!((of(&below.metrics, "kl"), below.loss), (0.0, 0.5));
        assert_eq!(of(&run(&[1.0, 3.0]).expect("finite").metrics, "kl"), 2.0);
        let one = kto(&judged(&[-9.0], &[true]), &[0.0], &Kto::default()).expect("finite");
        assert!(one.metrics.iter().all(|(name, _)| !name.contains("rejected") && !name.contains("margins")));
    }

    #[test]
    fn nonsense_batches_are_answered_in_words() {
        let batch = judged(&[-1.0], &[true]);
        let kind = |batch: &[Judged], mismatched: &[f64], options: Kto| {
            kto(batch, mismatched, &options).expect_err("nonsense").kind
        };
        assert_eq!(kind(&[], &[0.0], Kto::default()), FaultKind::Refused);
        assert_eq!(kind(&batch, &[], Kto::default()), FaultKind::Refused);
        assert_eq!(kind(&batch, &[f64::NAN], Kto::default()), FaultKind::Numbers);
        assert_eq!(kind(&judged(&[f64::NAN], &[true]), &[0.0], Kto::default()), FaultKind::Numbers);
        assert_eq!(kind(&batch, &[0.0], Kto { desirable_weight: -1.0, ..Kto::default() }), FaultKind::Refused);
    }
}
