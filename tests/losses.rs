//! The alignment objectives against TRL: values, derivatives and metrics.
//!
//! The cases lie in `tests/golden/losses.json`, made by `tools/oracle/losses.py` from TRL's own code with autograd.

use pleach::loss::policy::group::{self, Grpo, Level, Normalizer, Scale};
use pleach::loss::policy::ppo::{self, AdaptiveKl, Estimator, Minibatch, Ppo, Response};
use pleach::loss::preference::{self, Completion, Judged, Kto, Preference};
use pleach::loss::ranking::{self, Form, Ranking, Ties};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a case is compared in: a name, what we have, what TRL has.
type Compared = Vec<(String, f64, f64)>;

/// How a family's case is run.
type Run = fn(&Value) -> Compared;

/// Every family, how it is run, and the tolerance, of the number or of 1 where that is more. The golden numbers have
/// nine digits and come from float64; TRL takes ORPO's odds in float32.
const FAMILIES: [(&str, Run, f64); 11] = [
    ("ranking", ranking, 1e-7),
    ("dpo", preferred, 1e-7),
    ("ipo", preferred, 1e-7),
    ("orpo", preferred, 1e-5),
    ("simpo", preferred, 1e-7),
    ("kto", kto, 1e-7),
    ("ppo_worth", ppo_worth, 1e-7),
    ("ppo_clipped", ppo_clipped, 1e-7),
    ("adaptive_kl", adaptive_kl, 1e-7),
    ("advantages", advantages, 1e-7),
    ("grpo", grpo, 1e-7),
];

#[test]
#[allow(clippy::print_stdout, reason = "how far each family is away is worth seeing with --nocapture")]
fn every_objective_agrees_with_trl() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/losses.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut seen: BTreeMap<&str, (usize, f64)> = BTreeMap::new();
    for case in golden["cases"].as_array().unwrap() {
        let family = case["family"].as_str().unwrap();
        let known = FAMILIES.iter().find(|(name, _, _)| *name == family);
        let (name, run, tolerance) = known.unwrap_or_else(|| panic!("nobody knows the family {family}"));
        let place = format!("{family}, case {}", case["name"].as_str().unwrap());
        let compared = run(case);
        assert!(!compared.is_empty(), "{place}: nothing is compared");
        for (what, ours, theirs) in compared {
            let off = (ours - theirs).abs() / theirs.abs().max(1.0);
            assert!(off <= *tolerance, "{place}: {what} is {ours}, TRL has {theirs}");
            let entry = seen.entry(name).or_default();
            entry.1 = entry.1.max(off);
        }
        seen.entry(name).or_default().0 += 1;
    }
    for (name, _, _) in FAMILIES {
        let (count, off) = seen.get(name).unwrap_or_else(|| panic!("{name} has no case"));
        println!("{name}: {count} cases, at most {off:.1e} away");
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// NaN stands as null.
fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

fn optional(value: &Value) -> Option<f64> {
    (!value.is_null()).then(|| number(value))
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

/// A list under a name, element by element.
fn add_list(out: &mut Compared, case: &Value, name: &str, ours: &[f64]) {
    let theirs = numbers(&case["expected"][name]);
    assert_eq!(ours.len(), theirs.len(), "{}: {name}", case["name"]);
    out.extend(ours.iter().zip(theirs).enumerate().map(|(at, (&ours, theirs))| (format!("{name} {at}"), ours, theirs)));
}

/// Every metric that TRL has, and none that it lacks.
fn add_metrics(out: &mut Compared, case: &Value, ours: &[(String, f64)]) {
    let theirs = case["expected"]["metrics"].as_object().unwrap();
    for (name, value) in ours {
        assert!(theirs.contains_key(name), "{}: TRL has no {name}", case["name"]);
        out.push((name.clone(), *value, number(&theirs[name])));
    }
    assert_eq!(ours.len(), theirs.len(), "{}: TRL has {theirs:?}", case["name"]);
}

fn start(case: &Value, loss: f64) -> Compared {
    vec![("loss".to_string(), loss, number(&case["expected"]["loss"]))]
}

fn ranking(case: &Value) -> Compared {
    let (inputs, expected) = (&case["inputs"], &case["expected"]);
    let form = match case["options"]["form"].as_str().unwrap() {
        "drop" => Form::Pairs(Ties::Drop),
        "half" => Form::Pairs(Ties::Half),
        "plackett_luce" => Form::PlackettLuce,
        other => panic!("a form {other}"),
    };
    let options = Ranking { form, centering: number(&case["options"]["centering"]) };
    let ranks: Vec<u32> = numbers(&inputs["ranks"]).iter().map(|&rank| rank as u32).collect();
    let margins = (!inputs["margins"].is_null()).then(|| numbers(&inputs["margins"]));
    let ours = ranking::rank(&numbers(&inputs["scores"]), &ranks, margins.as_deref(), &options).unwrap();
    assert_eq!((ours.pairs, ours.right), (size(&expected["pairs"]), size(&expected["right"])), "{}", case["name"]);
    let mut out = start(case, ours.loss);
    add_list(&mut out, case, "derivatives", &ours.derivatives);
    out.push(("margin_sum".to_string(), ours.margin_sum, number(&expected["margin_sum"])));
    out
}

fn preferred(case: &Value) -> Compared {
    let (inputs, options) = (&case["inputs"], &case["options"]);
    let beta = number(&options["beta"]);
    let what = match case["family"].as_str().unwrap() {
        "dpo" => Preference::Sigmoid { beta, label_smoothing: number(&options["label_smoothing"]) },
        "ipo" => Preference::Ipo { beta },
        "orpo" => Preference::Orpo { beta },
        "simpo" => {
            let (gamma, label_smoothing) = (number(&options["gamma"]), number(&options["label_smoothing"]));
            Preference::SimPo { beta, gamma, label_smoothing }
        }
        other => panic!("a family {other}"),
    };
    let side = |at: usize| {
        let of = |name: &str| &inputs[name][at];
        Completion { policy: number(of("policy")), reference: number(of("reference")), tokens: size(of("tokens")) }
    };
    let ours = preference::prefer(&side(0), &side(1), &what).unwrap();
    let mut out = start(case, ours.loss);
    add_list(&mut out, case, "derivatives", &[ours.dchosen, ours.drejected]);
    add_metrics(&mut out, case, &ours.metrics);
    out
}

fn kto(case: &Value) -> Compared {
    let (inputs, options) = (&case["inputs"], &case["options"]);
    let options = Kto {
        beta: number(&options["beta"]),
        desirable_weight: number(&options["desirable_weight"]),
        undesirable_weight: number(&options["undesirable_weight"]),
    };
    let liked = inputs["desirable"].as_array().unwrap().iter().map(|x| x.as_bool().unwrap());
    let sums = numbers(&inputs["policy"]).into_iter().zip(numbers(&inputs["reference"]));
    let judged = |((policy, reference), desirable)| Judged { policy, reference, desirable };
    let batch: Vec<Judged> = sums.zip(liked).map(judged).collect();
    let ours = preference::kto(&batch, &numbers(&inputs["mismatched"]), &options).unwrap();
    let mut out = start(case, ours.loss);
    add_list(&mut out, case, "derivatives", &ours.derivatives);
    add_metrics(&mut out, case, &ours.metrics);
    out
}

fn ppo_options(options: &Value) -> Ppo {
    Ppo {
        kl_coefficient: number(&options["kl_coef"]),
        kl_estimator: if options["kl_estimator"] == "k1" { Estimator::K1 } else { Estimator::K3 },
        missing_eos_penalty: optional(&options["missing_eos_penalty"]),
        score_clip: optional(&options["score_clip"]),
        whiten_rewards: options["whiten_rewards"].as_bool().unwrap(),
        gamma: number(&options["gamma"]),
        lambda: number(&options["lam"]),
        clip: number(&options["cliprange"]),
        clip_value: number(&options["cliprange_value"]),
        value_coefficient: number(&options["vf_coef"]),
    }
}

fn ppo_worth(case: &Value) -> Compared {
    let responses = case["inputs"]["responses"].as_array().unwrap();
    let lists: Vec<[Vec<f64>; 3]> = responses
        .iter()
        .map(|response| ["policy", "reference", "values"].map(|name| numbers(&response[name])))
        .collect();
    let responses: Vec<Response> = responses
        .iter()
        .zip(&lists)
        .map(|(response, [policy, reference, values])| Response {
            policy,
            reference,
            values,
            score: number(&response["score"]),
            ended: response["ended"].as_bool().unwrap(),
        })
        .collect();
    let ours = ppo::worth(&responses, &ppo_options(&case["options"])).unwrap();
    let mut out = Compared::new();
    add_list(&mut out, case, "advantages", &ours.advantages);
    add_list(&mut out, case, "returns", &ours.returns);
    add_list(&mut out, case, "rewards", &ours.rewards);
    add_metrics(&mut out, case, &ours.metrics);
    out
}

fn ppo_clipped(case: &Value) -> Compared {
    let names = ["policy", "old_policy", "advantages", "values", "old_values", "returns"];
    let [policy, old_policy, advantages, values, old_values, returns] =
        &names.map(|name| numbers(&case["inputs"][name]));
    let batch = Minibatch { policy, old_policy, advantages, values, old_values, returns };
    let ours = ppo::clipped(&batch, &ppo_options(&case["options"])).unwrap();
    let mut out = start(case, ours.loss);
    add_list(&mut out, case, "dpolicy", &ours.dpolicy);
    add_list(&mut out, case, "dvalues", &ours.dvalues);
    add_metrics(&mut out, case, &ours.metrics);
    out
}

fn adaptive_kl(case: &Value) -> Compared {
    let (inputs, options) = (&case["inputs"], &case["options"]);
    let options = AdaptiveKl { target: number(&options["target"]), horizon: number(&options["horizon"]) };
    let (last, kl) = (number(&inputs["coefficient"]), number(&inputs["kl"]));
    let ours = ppo::adapt(last, kl, size(&inputs["responses"]), &options).unwrap();
    vec![("coefficient".to_string(), ours, number(&case["expected"]["coefficient"]))]
}

fn advantages(case: &Value) -> Compared {
    let (inputs, options) = (&case["inputs"], &case["options"]);
    let scale = match options["scale"].as_str().unwrap() {
        "group" => Scale::Group,
        "batch" => Scale::Batch,
        "none" => Scale::None,
        other => panic!("a scale {other}"),
    };
    let (rewards, weights) = (numbers(&inputs["rewards"]), numbers(&inputs["weights"]));
    let ours = group::advantages(&rewards, &weights, size(&options["group"]), scale).unwrap();
    let mut out = Compared::new();
    add_list(&mut out, case, "advantages", &ours.advantages);
    add_metrics(&mut out, case, &ours.metrics);
    out
}

fn grpo(case: &Value) -> Compared {
    let (inputs, options) = (&case["inputs"], &case["options"]);
    let normalizer = match options["loss_type"].as_str().unwrap() {
        "grpo" => Normalizer::Grpo,
        "bnpo" => Normalizer::Bnpo,
        "dr_grpo" => Normalizer::DrGrpo { completion_length_max: size(&options["max_completion_length"]) },
        "dapo" => Normalizer::Dapo { tokens: Some(size(&options["tokens"])) },
        other => panic!("a loss {other}"),
    };
    let options = Grpo {
        normalizer,
        level: if options["level"] == "token" { Level::Token } else { Level::Sequence },
        epsilon: number(&options["epsilon"]),
        epsilon_high: number(&options["epsilon_high"]),
        beta: number(&options["beta"]),
    };
    let lists = ["policy", "old_policy", "reference"].map(|name| numbers(&inputs[name]));
    let mut start_at = 0;
    let mut completions = Vec::new();
    for (length, advantage) in inputs["lengths"].as_array().unwrap().iter().zip(numbers(&inputs["advantages"])) {
        let end = start_at + size(length);
        let [policy, old_policy, reference] = [0, 1, 2].map(|list: usize| &lists[list][start_at..end]);
        completions.push(group::Completion { policy, old_policy, reference, advantage });
        start_at = end;
    }
    let ours = group::grouped(&completions, &options).unwrap();
    let mut out = start(case, ours.loss);
    add_list(&mut out, case, "derivatives", &ours.derivatives);
    add_metrics(&mut out, case, &ours.metrics);
    out
}
