//! The stages after pretraining in the real tree: answers alone are learned; an objective sees the numbers first, with
//! a frozen reference beside the policy.

use crate::recovery::{bits, drive, folder, launch, toml};
use pleach::data::Tokenizer;
use pleach::data::mask::{Agreement, Encoded, EncodedPair};
use pleach::data::table::Draws;
use pleach::dpo::Dpo;
use pleach::finetune::Finetune;
use pleach::loss::preference::Preference;
use pleach::model::Model;
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::layout::{POLICY, Role};
use pleach::runtime::event::Event;
use pleach::runtime::fault::{Fault, FaultKind, Refusal};
use pleach::runtime::messages::Blueprint;
use pleach::runtime::run::{RunEnd, RunPlan, StagePlan};
use pleach::runtime::stage::Stage;
use pleach::runtime::supervise::{DROP, Deed, Failpoints, START};
use pleach::runtime::trainer::{Entry, TrainerPlan};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn text() -> String {
    toml(1, 2).replace("dropout = 0.1", "dropout = 0.0")
}

/// A prompt of three tokens and an answer of `length`.
fn encoded(prompt: u32, answer: u32, length: usize) -> Encoded {
    let mut ids = vec![prompt % 11, 3, (prompt * 7) % 13];
    ids.extend(std::iter::repeat_n(answer, length));
    let trained = (0..ids.len()).map(|at| at >= 3).collect();
    Encoded { ids, trained, turns: 1, unended: 0, empty: 0, straddling: 0, bos_inside: 0, agreement: Agreement::Plain }
}

/// Pairs of answers of different lengths, of which the chosen ones say 5 and the others 6.
fn pairs(from: u32, count: u32) -> Arc<[EncodedPair]> {
    let pair =
        |i: u32| EncodedPair { chosen: encoded(i, 5, 3 + i as usize % 4), rejected: encoded(i, 6, 2 + i as usize % 5) };
    (from..from + count).map(pair).collect()
}

/// Fine-tuning on packed records.
fn finetune(train: Arc<[Encoded]>, validation: Arc<[Encoded]>, draws: Draws, tokenizer: Arc<Tokenizer>) -> Finetune {
    let (name, packing, template, prompts) = ("finetune", true, None, vec![]);
    Finetune { name, train, validation, draws, packing, tokenizer, template, prompts }
}

/// DPO as the run of a folder.
fn plan(folder: &Path, text: &str, objective: Preference, failpoints: Failpoints) -> RunPlan {
    let stage = |context, tokenizer| -> Arc<dyn Stage> {
        let (train, validation) = (pairs(0, 20), pairs(20, 3));
        let prompts = vec![];
        Arc::new(Dpo { train, validation, context, batch: 4, seed: 9, objective, tokenizer, template: None, prompts })
    };
    staged(folder, text, &stage, failpoints)
}

/// The run of a folder with another stage, from random weights.
fn staged(
    folder: &Path,
    text: &str,
    stage: &dyn Fn(usize, Arc<Tokenizer>) -> Arc<dyn Stage>,
    failpoints: Failpoints,
) -> RunPlan {
    let launch = launch(folder, text);
    let plan = launch.run_plan(failpoints);
    let trainer = plan.stages[0].trainer().unwrap().clone();
    let config = trainer.blueprint.policy().clone();
    let roles = vec![Role::policy(&config), Role::reference(&config)];
    let blueprint = Blueprint { roles, ..trainer.blueprint.clone() };
    let mut engine =
        Engine::new((plan.open)().unwrap(), &blueprint.roles, &blueprint.shapes, &blueprint.adamw).unwrap();
    engine.begin(POLICY, 77).unwrap();
    let weights = engine.state(POLICY).unwrap().weights;
    let entry = pleach::runtime::engine::state::HostState { weights, ..Default::default() };
    let entry = Arc::new(entry);
    let entry: Entry = Arc::new(move || Ok(entry.clone()));
    let stage = stage(config.context, launch.tokenizer.clone());
    let entries = vec![Some(entry.clone()), Some(entry)];
    let trainer = TrainerPlan { stage, blueprint, entries, ..TrainerPlan::clone(&trainer) };
    RunPlan { stages: vec![trainer.into()], ..plan }
}

/// Loss and margin of each step.
fn steps(events: &[Event]) -> Vec<(f64, f64)> {
    let step = |event: &Event| match event {
        Event::Step { loss, metrics, .. } => Some((*loss, metrics["rewards/margins"])),
        _ => None,
    };
    events.iter().filter_map(step).collect()
}

#[test]
fn the_first_step_stands_at_ln_2_and_the_margin_grows() {
    let place = tempfile::tempdir().unwrap();
    let here = folder(place.path(), "dpo", &text());
    let (end, events) = drive(plan(&here, &text(), Preference::SIGMOID, Failpoints::none()));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    let steps = steps(&events);
    assert_eq!(steps.len(), 12);
    assert_eq!(steps[0], (std::f64::consts::LN_2, 0.0), "policy and reference are one model, bit for bit");
    let (loss, margin) = steps[11];
    assert!(loss < 0.6 && margin > 0.2, "{steps:?}");
    let free = folder(place.path(), "simpo", &text());
    let (end, events) = drive(plan(&free, &text(), Preference::SIMPO, Failpoints::none()));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
}

#[test]
fn answers_are_learned_and_prompts_are_not() {
    let place = tempfile::tempdir().unwrap();
    let text = text().replace("steps = 12", "steps = 60");
    let here = folder(place.path(), "finetune", &text);
    // The prompt decides the answer: nothing else could.
    let record = |i: u32| encoded(i, 20 + i % 11 % 2, 3 + i as usize % 4);
    let stage = |context, tokenizer| -> Arc<dyn Stage> {
        let (train, validation) = ((0..40).map(record).collect(), (40..51).map(record).collect());
        let draws = Draws { context, batch: 4, seed: 9 };
        Arc::new(finetune(train, validation, draws, tokenizer))
    };
    let (end, events) = drive(staged(&here, &text, &stage, Failpoints::none()));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    let losses: Vec<f64> = events
        .iter()
        .filter_map(|event| if let Event::Step { loss, .. } = event { Some(*loss) } else { None })
        .collect();
    assert!(losses[0] > 2.0 && losses[59] < 0.5, "{losses:?}");
    let measured = |event: &Event| match event {
        Event::Evaluated { eval_loss, accuracy, .. } => Some((*eval_loss, *accuracy)),
        _ => None,
    };
    let (loss, accuracy) = events.iter().filter_map(measured).next_back().unwrap();
    assert!(loss < 0.6 && accuracy > 0.8, "{loss} {accuracy}");
}

#[test]
fn a_death_at_any_message_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let calm = folder(place.path(), "calm", &text());
    let counting = Failpoints::counting();
    let (end, _) = drive(plan(&calm, &text(), Preference::SIGMOID, counting.clone()));
    assert_eq!(end, RunEnd::Finished);
    let expected = bits(&calm);
    let lost = || Deed::Error(Fault::new(FaultKind::DeviceLost, "the test took the device away"));
    let mut injected = BTreeSet::new();
    for (child, point, count) in counting.visits() {
        let ours = ["data", "loss", "compute"].contains(&&*child) && ![DROP, START].contains(&&*point);
        for visit in BTreeSet::from([1, count / 2 + 1]).into_iter().filter(|_| ours) {
            let deed = if child == "compute" && visit > 1 { lost() } else { Deed::Panic };
            let here = folder(place.path(), &format!("{child}-{point}-{visit}"), &text());
            let failpoints = Failpoints::none().at(&child, &point, visit, deed);
            let (end, events) = drive(plan(&here, &text(), Preference::SIGMOID, failpoints.clone()));
            assert_eq!((end, failpoints.left()), (RunEnd::Finished, 0), "{child} {point} {visit}: {events:#?}");
            assert!(bits(&here) == expected, "{child} {point} {visit}: the weights differ");
            injected.insert(point.clone());
        }
    }
    for point in ["Look", "Derive", "Evaluate", "Learn", "Draw"] {
        assert!(injected.iter().any(|seen| seen.contains(point)), "no death at {point}: {injected:?}");
    }
}

#[test]
fn a_model_that_drops_activations_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 2);
    let here = folder(place.path(), "dropout", &text);
    let (end, _) = drive(plan(&here, &text, Preference::SIGMOID, Failpoints::none()));
    let RunEnd::Failed(fault) = end else { panic!("{end:?}") };
    assert!(fault.refusal.is_some_and(|refusal| refusal.hint.contains("dropout = 0")), "another end");
}

/// Pretraining, fine-tuning on what it gave, and DPO on what that gave, as one run.
fn ladder(folder: &Path, text: &str, failpoints: Failpoints) -> RunPlan {
    let launch = launch(folder, text);
    let plan = launch.run_plan(failpoints);
    let first = plan.stages[0].trainer().unwrap().clone();
    let (config, tokenizer) = (first.blueprint.policy().clone(), launch.tokenizer.clone());
    let context = config.context;
    let model = |stage: &str| -> Entry {
        let folder = folder.join("stages").join(stage).join("model");
        Arc::new(move || Ok(Arc::new(Model::open(&folder)?.state)))
    };
    let draws = Draws { context, batch: 4, seed: 9 };
    let record = |i: u32| encoded(i, 20 + i % 11 % 2, 3 + i as usize % 4);
    let (train, validation) = ((0..40).map(record).collect(), (40..44).map(record).collect());
    let second = finetune(train, validation, draws, tokenizer.clone());
    let (train, validation, objective) = (pairs(0, 20), pairs(20, 3), Preference::SIGMOID);
    let dpo =
        Dpo { train, validation, context, batch: 4, seed: 9, objective, tokenizer, template: None, prompts: vec![] };
    let roles = vec![Role::policy(&config), Role::reference(&config)];
    let second = TrainerPlan {
        folder: "02-finetune".into(),
        stage: Arc::new(second),
        entries: vec![Some(model("01-pretrain"))],
        ..TrainerPlan::clone(&first)
    };
    let third = TrainerPlan {
        folder: "03-dpo".into(),
        stage: Arc::new(dpo),
        blueprint: Blueprint { roles, ..first.blueprint.clone() },
        entries: vec![Some(model("02-finetune")), Some(model("02-finetune"))],
        ..TrainerPlan::clone(&first)
    };
    RunPlan { stages: vec![StagePlan::Train(first), second.into(), third.into()], ..plan }
}

/// The models that the three stages handed on.
fn handed_on(folder: &Path) -> Vec<Vec<u8>> {
    let model = |stage| std::fs::read(folder.join("stages").join(stage).join("model/model.safetensors")).unwrap();
    ["01-pretrain", "02-finetune", "03-dpo"].map(model).into()
}

fn ladder_text() -> String {
    text().replace("steps = 12", "steps = 6")
}

#[test]
fn one_run_climbs_several_stages_and_a_death_anywhere_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let text = ladder_text();
    let calm = folder(place.path(), "calm", &text);
    let counting = Failpoints::counting();
    let (end, events) = drive(ladder(&calm, &text, counting.clone()));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    let begun = |event: &Event| match event {
        Event::StageStarted { folder, from, step: 0, .. } => Some((folder.clone(), from.clone())),
        _ => None,
    };
    let begun: Vec<(String, String)> = events.iter().filter_map(begun).collect();
    let expected = [("01-pretrain", "seed"), ("02-finetune", "model"), ("03-dpo", "model")];
    assert_eq!(begun, expected.map(|(folder, from)| (folder.to_string(), from.to_string())));
    let expected = handed_on(&calm);
    assert!(expected[0] != expected[1] && expected[1] != expected[2], "each stage learned something");
    let mut injected = 0;
    for (child, point, count) in counting.visits() {
        if [DROP, START].contains(&&*point) {
            continue;
        }
        // Late in the ladder, where another stage's state lies in the vault or on the disk.
        for visit in BTreeSet::from([count / 2 + 1, count]) {
            let here = folder(place.path(), &format!("{child}-{point}-{visit}"), &text);
            let failpoints = Failpoints::none().at(&child, &point, visit, Deed::Panic);
            let (end, events) = drive(ladder(&here, &text, failpoints.clone()));
            assert_eq!((end, failpoints.left()), (RunEnd::Finished, 0), "{child} {point} {visit}: {events:#?}");
            assert!(handed_on(&here) == expected, "{child} {point} {visit}: the models differ");
            injected += 1;
            std::fs::remove_dir_all(&here).unwrap();
        }
    }
    assert!(injected > 30, "{injected} deaths");
}

#[test]
fn a_ladder_goes_on_in_another_process_from_the_stage_it_was_at() {
    let place = tempfile::tempdir().unwrap();
    let text = ladder_text();
    let calm = folder(place.path(), "calm", &text);
    assert_eq!(drive(ladder(&calm, &text, Failpoints::none())).0, RunEnd::Finished);
    let expected = handed_on(&calm);
    // A fault that no restart mends ends the process at the second and at the third stage: the next one goes on.
    let refusal = || Deed::Error(Refusal::new("the test", "refuses", "nothing").into());
    // Where the third one left nothing yet, the second's end may be gone through again.
    for (visit, done) in [(9, 1), (13, 1), (13, 2), (14, 2)] {
        let here = folder(place.path(), &format!("stopped-{visit}-{done}"), &text);
        let failpoints = Failpoints::none().at("optimizer", "Update", visit, refusal());
        let (end, _) = drive(ladder(&here, &text, failpoints));
        assert!(matches!(end, RunEnd::Failed(_)), "{end:?}");
        let plan = RunPlan { done, ..ladder(&here, &text, Failpoints::none()) };
        let (end, events) = drive(plan);
        assert_eq!(end, RunEnd::Finished, "{events:#?}");
        assert!(handed_on(&here) == expected, "stopped at update {visit}: the models differ");
    }
}
