//! The reward model, GRPO and PPO in the real tree: rounds are gathered, kept, learned; whatever dies in their midst
//! changes no bit.

use crate::recovery::{bits, drive, folder, launch, toml};
use pleach::data::Tokenizer;
use pleach::data::mask::{Agreement, Encoded};
use pleach::data::table::Draws;
use pleach::grpo::Grpo;
use pleach::loss::policy::group::{self, Level, Normalizer, Scale};
use pleach::loss::policy::ppo::{self, AdaptiveKl, Estimator};
use pleach::loss::ranking::{Form, Ranking, Ties};
use pleach::ppo::Ppo;
use pleach::reward::{Flags, RankedSet, Reward as RewardStage, split};
use pleach::rewards::{Prompt, Reward, Rule};
use pleach::rollout::Rollout;
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::generation::Sampling;
use pleach::runtime::engine::layout::{POLICY, Role};
use pleach::runtime::engine::state::{HostState, scalar_from};
use pleach::runtime::event::Event;
use pleach::runtime::fault::{Fault, FaultKind, Refusal};
use pleach::runtime::messages::Blueprint;
use pleach::runtime::model::config::ModelConfig;
use pleach::runtime::run::{RunEnd, RunPlan};
use pleach::runtime::stage::Stage;
use pleach::runtime::supervise::{DROP, Deed, Failpoints, START};
use pleach::runtime::trainer::{Entry, TrainerPlan};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The token that a good answer says.
const GOOD: u32 = 5;

fn text(steps: u64) -> String {
    let text = toml(1, 0).replace("dropout = 0.1", "dropout = 0.0").replace("steps = 12", &format!("steps = {steps}"));
    text.replace("eval_every = 5", "eval_every = 0")
}

/// Pays for the share of even tokens.
fn share() -> Reward {
    let share = |it: &pleach::rewards::Written| {
        it.ids.iter().filter(|&&id| id % 2 == 0).count() as f64 / it.ids.len().max(1) as f64
    };
    Reward::new("share", Rule::Function(Arc::new(share)))
}

fn rollout(context: usize, tokenizer: &Arc<Tokenizer>, reward: Reward) -> Rollout {
    let prompt =
        |i: u32| Prompt { text: format!("prompt {i}"), ids: vec![i, 3, i * 7 % 13], columns: serde_json::Map::new() };
    Rollout {
        prompts: (0..6).map(prompt).collect(),
        batch: 4,
        completions: 4,
        windows: 2,
        epochs: 2,
        context,
        sampling: Sampling { temperature: 1.0, top_p: 1.0, max_tokens: 6, ..Sampling::default() },
        seed: 11,
        eos: vec![2],
        rewards: vec![reward],
        mask_truncated: false,
        kl_limit: 2.0,
        moved_limit: None,
        tokenizer: tokenizer.clone(),
        template: None,
    }
}

fn grpo(rollout: Rollout) -> Grpo {
    let options = group::Grpo::default();
    Grpo { rollout: Arc::new(rollout), options, scale: Scale::Group, watch_kl: false }
}

fn ppo(rollout: Rollout) -> Ppo {
    let options = ppo::Ppo { missing_eos_penalty: Some(0.1), score_clip: Some(5.0), ..ppo::Ppo::default() };
    Ppo { rollout: Arc::new(rollout), options, adaptive: Some(AdaptiveKl::default()), critic_rate: 1.0 }
}

/// Random weights of a model.
fn weights(plan: &RunPlan, config: &ModelConfig, seed: u64) -> HostState {
    let shapes = &plan.stages[0].trainer().unwrap().blueprint.shapes;
    let adamw = &plan.stages[0].trainer().unwrap().blueprint.adamw;
    let mut engine = Engine::new((plan.open)().unwrap(), &[Role::reference(config)], shapes, adamw).unwrap();
    engine.begin(POLICY, seed).unwrap();
    engine.state(POLICY).unwrap()
}

/// The run of a folder with a stage of these roles.
fn staged(
    folder: &Path,
    text: &str,
    stage: &dyn Fn(usize, &Arc<Tokenizer>, &ModelConfig) -> (Arc<dyn Stage>, Vec<Role>),
    failpoints: Failpoints,
) -> RunPlan {
    let launch = launch(folder, text);
    let plan = launch.run_plan(failpoints);
    let first = plan.stages[0].trainer().unwrap().clone();
    let config = first.blueprint.policy().clone();
    let (stage, roles) = stage(config.context, &launch.tokenizer, &config);
    let model = weights(&plan, &config, 77);
    let entry = |role: &Role| -> Option<Entry> {
        let scalar = role.config == config.scalar();
        let seed = u64::from(role.name == "reward");
        let state = if scalar { scalar_from(&model, &config, seed).unwrap() } else { model.clone() };
        let state = Arc::new(HostState { weights: state.weights, ..HostState::default() });
        Some(Arc::new(move || Ok(state.clone())))
    };
    let entries = roles.iter().map(entry).collect();
    let mut blueprint = Blueprint { roles, ..first.blueprint.clone() };
    blueprint.shapes.streams = 8;
    let trainer = TrainerPlan { stage, blueprint, entries, ..TrainerPlan::clone(&first) };
    RunPlan { stages: vec![trainer.into()], ..plan }
}

/// A GRPO run; `change` is made to its stage.
fn grpo_plan(folder: &Path, text: &str, failpoints: Failpoints, change: &dyn Fn(&mut Grpo)) -> RunPlan {
    let stage = |context: usize, tokenizer: &Arc<Tokenizer>, config: &ModelConfig| {
        let mut stage = grpo(rollout(context, tokenizer, share()));
        change(&mut stage);
        let reward = stage.rollout.wants_model().then(|| config.scalar());
        let roles = stage.roles(config, reward.as_ref());
        (Arc::new(stage) as Arc<dyn Stage>, roles)
    };
    staged(folder, text, &stage, failpoints)
}

fn ppo_plan(folder: &Path, text: &str, failpoints: Failpoints, change: &dyn Fn(&mut Ppo)) -> RunPlan {
    let stage = |context: usize, tokenizer: &Arc<Tokenizer>, config: &ModelConfig| {
        let mut stage = ppo(rollout(context, tokenizer, share()));
        change(&mut stage);
        let reward = stage.rollout.wants_model().then(|| config.scalar());
        let roles = stage.roles(config, reward.as_ref());
        (Arc::new(stage) as Arc<dyn Stage>, roles)
    };
    staged(folder, text, &stage, failpoints)
}

/// Changes the rollout that a stage shares.
fn with(rollout: &mut Arc<Rollout>, change: impl FnOnce(&mut Rollout)) {
    change(Arc::get_mut(rollout).unwrap());
}

/// A metric of each step that has it.
fn metric(events: &[Event], name: &str) -> Vec<f64> {
    let of = |event: &Event| match event {
        Event::Step { metrics, .. } => metrics.get(name).copied(),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// The rounds that were gathered, and a metric of each.
fn rounds(events: &[Event], name: &str) -> Vec<(u64, f64)> {
    let of = |event: &Event| match event {
        Event::Gathered { round, metrics, .. } => Some((*round, metrics.get(name).copied().unwrap_or(f64::NAN))),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn mean(list: &[f64]) -> f64 {
    list.iter().sum::<f64>() / list.len() as f64
}

/// All that is kept of a stage, the critic among it.
fn all_bits(folder: &Path) -> Vec<u8> {
    let mut out = bits(folder);
    let stage = folder.join("stages/01-pretrain");
    let mut names: Vec<_> = std::fs::read_dir(&stage).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-000012"));
    names.sort();
    if let Ok(critic) = std::fs::read(names.pop().unwrap().join("critic.safetensors")) {
        out.extend(critic);
    }
    out
}

#[test]
fn grpo_raises_what_a_rule_pays_for_in_every_form() {
    let place = tempfile::tempdir().unwrap();
    let text = text(30);
    type Change = fn(&mut Grpo);
    let changes: [(&str, Change); 4] = [
        ("dapo", |_| ()),
        ("grpo-kl", |it| {
            it.options = group::Grpo { normalizer: Normalizer::Grpo, beta: 0.04, ..it.options };
        }),
        ("gspo", |it| {
            it.options = group::Grpo { normalizer: Normalizer::Bnpo, level: Level::Sequence, ..it.options };
            it.scale = Scale::Batch;
        }),
        ("dr", |it| {
            it.options = group::Grpo { normalizer: Normalizer::DrGrpo { completion_length_max: 6 }, ..it.options };
            it.scale = Scale::None;
        }),
    ];
    for (name, change) in changes {
        let here = folder(place.path(), name, &text);
        let (end, events) = drive(grpo_plan(&here, &text, Failpoints::none(), &change));
        assert_eq!(end, RunEnd::Finished, "{name}: {events:#?}");
        let rewards = rounds(&events, "reward");
        assert_eq!(rewards.len(), 8, "{name}: four windows of each round, thirty steps");
        let of =
            |range: std::ops::Range<usize>| mean(&rewards[range].iter().map(|(_, reward)| *reward).collect::<Vec<_>>());
        assert!(of(6..8) > of(0..2) + 0.2, "{name}: {rewards:?}");
        let kl = metric(&events, "kl");
        assert_eq!(kl.is_empty(), name != "grpo-kl", "{name}");
        assert!(kl.first().is_none_or(|kl| *kl == 0.0), "policy and reference are one model, bit for bit: {kl:?}");
        for known in ["reward", "reward_std", "frac_reward_zero_std", "entropy", "completions/mean_length"] {
            assert_eq!(metric(&events, known).len(), 30, "{name}: {known}");
        }
        assert_eq!(metric(&events, "clip_ratio/region_mean").len(), 30, "{name}");
    }
}

#[test]
fn grpo_raises_what_a_reward_model_says() {
    let place = tempfile::tempdir().unwrap();
    let text = text(30);
    let here = folder(place.path(), "model", &text);
    let change =
        |it: &mut Grpo| with(&mut it.rollout, |rollout| rollout.rewards = vec![Reward::new("model", Rule::Model)]);
    let (end, events) = drive(grpo_plan(&here, &text, Failpoints::none(), &change));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    let (rewards, spread) = (rounds(&events, "rewards/model/mean"), rounds(&events, "reward_std"));
    assert!(rewards[7].1 > rewards[0].1 + spread[0].1, "{rewards:?} {spread:?}");
}

#[test]
fn ppo_raises_what_a_rule_pays_for_and_its_critic_learns() {
    let place = tempfile::tempdir().unwrap();
    let text = text(40);
    let here = folder(place.path(), "ppo", &text);
    let (end, events) = drive(ppo_plan(&here, &text, Failpoints::none(), &|it| {
        it.options.kl_coefficient = 0.01;
        it.critic_rate = 2.0;
    }));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    let scores = rounds(&events, "objective/scores");
    assert!(scores[9].1 > scores[0].1 + 0.2, "{scores:?}");
    let losses = metric(&events, "loss/value_avg");
    assert!(mean(&losses[20..40]) < mean(&losses[..4]), "{losses:?}");
    let coefficients = rounds(&events, "objective/kl_coef");
    assert!(coefficients[0].1 == 0.01 && coefficients[9].1 != 0.01, "it adapts: {coefficients:?}");
    assert_eq!(rounds(&events, "objective/kl")[0].1, 0.0, "policy and reference are one model, bit for bit");
    for known in ["objective/entropy", "objective/rlhf_reward", "objective/non_score_reward", "policy/clipfrac_avg"] {
        assert_eq!(metric(&events, known).len(), 40, "{known}");
    }
}

/// The log-probabilities of the policy that wrote are those of the training program: the first ratios are exactly 1.
#[test]
fn the_first_ratio_of_every_round_is_exactly_1() {
    let place = tempfile::tempdir().unwrap();
    let text = text(12);
    for temperature in [1.0, 0.7] {
        let hot = |rollout: &mut Rollout| rollout.sampling.temperature = temperature;
        let here = folder(place.path(), &format!("ppo{temperature}"), &text);
        let plan = ppo_plan(&here, &text, Failpoints::none(), &|it| {
            with(&mut it.rollout, hot);
            it.options.kl_estimator = Estimator::K3;
        });
        let (end, events) = drive(plan);
        assert_eq!(end, RunEnd::Finished, "{events:#?}");
        let ratios = metric(&events, "val/ratio");
        let moved = metric(&events, "policy/approxkl_avg");
        for (at, (ratio, moved)) in ratios.iter().zip(&moved).enumerate() {
            assert_eq!((*ratio == 1.0, *moved == 0.0), (at % 4 == 0, at % 4 == 0), "step {at}: {ratios:?} {moved:?}");
        }
        let here = folder(place.path(), &format!("grpo{temperature}"), &text);
        let (end, events) = drive(grpo_plan(&here, &text, Failpoints::none(), &|it| with(&mut it.rollout, hot)));
        assert_eq!(end, RunEnd::Finished, "{events:#?}");
        let moved = metric(&events, "policy/approxkl_avg");
        assert!(moved.iter().enumerate().all(|(at, moved)| (*moved == 0.0) == (at % 4 == 0)), "{moved:?}");
    }
}

#[test]
fn a_death_at_any_message_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let text = text(12);
    let calm = folder(place.path(), "calm", &text);
    let counting = Failpoints::counting();
    assert_eq!(drive(ppo_plan(&calm, &text, counting.clone(), &|_| ())).0, RunEnd::Finished);
    let expected = all_bits(&calm);
    let lost = || Deed::Error(Fault::new(FaultKind::DeviceLost, "the test took the device away"));
    let mut injected = BTreeSet::new();
    for (child, point, count) in counting.visits() {
        let ours = ["data", "loss", "compute", "optimizer", "checkpoint"].contains(&&*child);
        // The first, one in the midst, the last: of Generate, one in the midst of a gathering.
        for visit in BTreeSet::from([1, count / 2 + 1, count]).into_iter().filter(|_| ours) {
            if [DROP, START].contains(&&*point) {
                continue;
            }
            let deed = if child == "compute" && visit > 1 { lost() } else { Deed::Panic };
            let here = folder(place.path(), &format!("{child}-{point}-{visit}"), &text);
            let failpoints = Failpoints::none().at(&child, &point, visit, deed);
            let (end, events) = drive(ppo_plan(&here, &text, failpoints.clone(), &|_| ()));
            assert_eq!((end, failpoints.left()), (RunEnd::Finished, 0), "{child} {point} {visit}: {events:#?}");
            assert!(all_bits(&here) == expected, "{child} {point} {visit}: the weights differ");
            injected.insert(point.clone());
            std::fs::remove_dir_all(&here).unwrap();
        }
    }
    for point in ["Ask", "Generate", "Windows", "Evaluate", "Settle", "DrawFrom", "Look", "Learn", "Apply", "Save"] {
        assert!(injected.iter().any(|seen| seen.contains(point)), "no death at {point}: {injected:?}");
    }
}

/// A process that ends in the midst of a round, or of its gathering: the next goes on to the same bits, and samples
/// nothing again that was kept.
#[test]
fn another_process_goes_on_in_the_midst_of_a_round() {
    let place = tempfile::tempdir().unwrap();
    let text = text(12);
    let calm = folder(place.path(), "calm", &text);
    let (end, events) = drive(grpo_plan(&calm, &text, Failpoints::none(), &|_| ()));
    assert_eq!(end, RunEnd::Finished);
    assert_eq!(rounds(&events, "reward").iter().map(|(round, _)| *round).collect::<Vec<_>>(), [0, 1, 2]);
    let expected = all_bits(&calm);
    let refusal = || Deed::Error(Refusal::new("the test", "refuses", "nothing").into());
    // Steps 5 to 8 are of round 1; two Generates make a round.
    for (child, point, visit, again) in [
        ("optimizer", "Update", 6, vec![2]),
        ("optimizer", "Update", 5, vec![2]),
        ("compute", "Generate", 4, vec![1, 2]),
        ("data", "Settle", 2, vec![1, 2]),
    ] {
        let here = folder(place.path(), &format!("{point}{visit}"), &text);
        let failpoints = Failpoints::none().at(child, point, visit, refusal());
        let (end, _) = drive(grpo_plan(&here, &text, failpoints, &|_| ()));
        assert!(matches!(end, RunEnd::Failed(_)), "{end:?}");
        let (end, events) = drive(grpo_plan(&here, &text, Failpoints::none(), &|_| ()));
        assert_eq!(end, RunEnd::Finished, "{events:#?}");
        let gathered: Vec<u64> = rounds(&events, "reward").into_iter().map(|(round, _)| round).collect();
        assert_eq!(gathered, again, "{point} {visit}");
        assert!(all_bits(&here) == expected, "{point} {visit}: the weights differ");
    }
}

/// Which events say so, in words.
fn said(events: &[Event], words: &str) -> usize {
    let has = |event: &&Event| match event {
        // The supervisors say the halt once more.
        Event::Trouble { what, then } => what.contains(words) && then != "its supervisor decides",
        Event::Skipped { why, .. } => why.contains(words),
        _ => false,
    };
    events.iter().filter(has).count()
}

#[test]
fn sick_rounds_are_told_dropped_and_halt_the_run() {
    let place = tempfile::tempdir().unwrap();
    let text = text(30);
    // No reward at all: two rounds are dropped, the third halts.
    let here = folder(place.path(), "bare", &text);
    let nothing = Rule::Function(Arc::new(|_| f64::NAN));
    let change = |it: &mut Grpo| {
        let nothing = Reward::new("nothing", nothing.clone());
        with(&mut it.rollout, |rollout| rollout.rewards = vec![nothing]);
    };
    let (end, events) = drive(grpo_plan(&here, &text, Failpoints::none(), &change));
    assert_eq!(end.code(), 4, "{end:?}");
    assert_eq!((said(&events, "16 of 16 completions got no reward"), metric(&events, "entropy").len()), (5, 0));
    // The policy goes away from its reference: told, dropped, halted.
    let here = folder(place.path(), "kl", &text);
    let change = |it: &mut Grpo| {
        it.watch_kl = true;
        with(&mut it.rollout, |rollout| rollout.kl_limit = 1e-9);
    };
    let (end, events) = drive(grpo_plan(&here, &text, Failpoints::none(), &change));
    assert_eq!(end.code(), 4, "{end:?}");
    assert_eq!(metric(&events, "reward").len(), 8, "the first round was sound, the second told: {events:#?}");
    assert_eq!(said(&events, "KL to the reference"), 4, "three rounds, one of them dropped: {events:#?}");
    // Within a round it goes away from the policy that wrote: the rest of the round is dropped, the run goes on.
    let here = folder(place.path(), "moved", &text);
    let change = |it: &mut Grpo| with(&mut it.rollout, |rollout| rollout.moved_limit = Some(1e-9));
    let (end, events) = drive(grpo_plan(&here, &text, Failpoints::none(), &change));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    assert_eq!(rounds(&events, "reward").len(), 30, "one step of each round");
    assert_eq!(said(&events, "from the one that wrote"), 29, "the last step ends the stage");
    // Some completions without a reward: they teach nothing, and that is said.
    let here = folder(place.path(), "some", &text);
    let some = Rule::Function(Arc::new(|it| if it.ids.first().is_some_and(|id| id % 2 == 0) { f64::NAN } else { 1.0 }));
    let change = |it: &mut Ppo| {
        let some = Reward::new("some", some.clone());
        with(&mut it.rollout, |rollout| rollout.rewards = vec![some]);
    };
    let (end, events) = drive(ppo_plan(&here, &text, Failpoints::none(), &change));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    assert!(said(&events, "completions got no reward") > 0);
}

#[test]
fn what_cannot_be_gathered_is_refused_in_words() {
    let place = tempfile::tempdir().unwrap();
    let text = text(4);
    type Change = fn(&mut Rollout);
    let changes: [(&str, Change); 5] = [
        ("divides", |it| it.windows = 3),
        ("temperature above 0", |it| it.sampling.temperature = 0.0),
        ("longer context", |it| it.sampling.max_tokens = 14),
        ("at least one reward", |it| it.rewards.clear()),
        ("at least two completions", |it| it.completions = 1),
    ];
    for (hint, change) in changes {
        let here = folder(place.path(), &hint.replace(' ', "-"), &text);
        let (end, _) = drive(grpo_plan(&here, &text, Failpoints::none(), &|it| with(&mut it.rollout, change)));
        let RunEnd::Failed(fault) = end else { panic!("{hint}: {end:?}") };
        assert!(fault.refusal.is_some_and(|refusal| refusal.hint.contains(hint)), "{hint}");
    }
}

/// Sets of four answers, the better the more of a token they say; every third has a tie.
fn sets() -> Vec<RankedSet> {
    let one = |prompt: u32, good: usize| {
        let mut ids = vec![prompt % 11, 3, prompt * 7 % 13];
        ids.extend((0..4).map(|at| if at < good { GOOD } else { 6 + prompt % 4 }));
        let trained = (0..ids.len()).map(|at| at >= 3).collect();
        Encoded {
            ids,
            trained,
            turns: 1,
            unended: 0,
            empty: 0,
            straddling: 0,
            bos_inside: 0,
            agreement: Agreement::Plain,
        }
    };
    let set = |prompt: u32| {
        let good: Vec<usize> = (0..4).map(|k| (k + prompt as usize) % 4).collect();
        let ranks = good.iter().map(|&good| 4 - if prompt % 3 == 0 { good.max(1) } else { good } as u32).collect();
        let completions = good.iter().map(|&good| one(prompt, good)).collect();
        RankedSet { completions, ranks, flags: vec![vec![]; 4], margin: None }
    };
    (0..40).map(set).collect()
}

#[test]
fn a_reward_model_learns_a_ranking() {
    let place = tempfile::tempdir().unwrap();
    let text = text(60).replace("eval_every = 0", "eval_every = 20");
    for (name, form) in [("pairs", Form::Pairs(Ties::Half)), ("choices", Form::PlackettLuce)] {
        let here = folder(place.path(), name, &text);
        let stage = |context: usize, tokenizer: &Arc<Tokenizer>, config: &ModelConfig| {
            let (train, validation) = split(sets(), 0.2, 1);
            let stage = RewardStage {
                train: train.into(),
                validation: validation.into(),
                draws: Draws { context, batch: 4, seed: 9 },
                ranking: Ranking { form, centering: 0.01 },
                margin: 0.0,
                flags: Flags::default(),
                tokenizer: tokenizer.clone(),
                template: None,
            };
            (Arc::new(stage) as Arc<dyn Stage>, vec![Role::policy(&config.scalar())])
        };
        let (end, events) = drive(staged(&here, &text, &stage, Failpoints::none()));
        assert_eq!(end, RunEnd::Finished, "{events:#?}");
        let measured = |event: &Event| match event {
            Event::Evaluated { accuracy, metrics, .. } => Some((*accuracy, metrics.clone())),
            _ => None,
        };
        let all: Vec<_> = events.iter().filter_map(measured).collect();
        let (accuracy, metrics) = all.last().unwrap();
        assert!(*accuracy > 0.9 && *accuracy == metrics["accuracy"], "{name}: {all:#?}");
        assert!(metrics["margin"] > 0.5 && metrics["calibration_error"] < 0.3, "{name}: {metrics:?}");
        let losses: Vec<f64> = events
            .iter()
            .filter_map(|event| if let Event::Step { loss, .. } = event { Some(*loss) } else { None })
            .collect();
        assert!(losses[59] < 0.6 * losses[0], "{name}: {losses:?}");
    }
}
