//! A stage that a stranger wrote, in sixty lines and with public names only: it runs supervised, and resumes.

mod unlikelihood;

use crate::recovery::{bits, drive, folder, launch, toml};
use pleach::data::mask::{Agreement, Encoded};
use pleach::data::table::Draws;
use pleach::runtime::event::Event;
use pleach::runtime::run::{RunEnd, RunPlan};
use pleach::runtime::supervise::{Deed, Failpoints};
use pleach::runtime::trainer::TrainerPlan;
use std::path::Path;
use std::sync::Arc;
use unlikelihood::Unlikelihood;

/// Three tokens that are given, and an answer: 5 is good, 6 is bad.
fn record(i: u32) -> (Encoded, bool) {
    let (good, ids) = (i.is_multiple_of(2), vec![i % 11, 3, i * 7 % 13]);
    let ids: Vec<u32> = ids.into_iter().chain([if good { 5 } else { 6 }; 3]).collect();
    let (trained, agreement) = ((0..ids.len()).map(|at| at >= 3).collect(), Agreement::Plain);
    (Encoded { ids, trained, turns: 1, unended: 0, empty: 0, straddling: 0, bos_inside: 0, agreement }, good)
}

fn plan(folder: &Path, text: &str, failpoints: Failpoints) -> RunPlan {
    let launch = launch(folder, text);
    let plan = launch.run_plan(failpoints);
    let first = plan.stages[0].trainer().unwrap().clone();
    let draws = Draws { context: first.blueprint.policy().context, batch: 8, seed: 4 };
    let stage = Unlikelihood { records: (0..40).map(record).collect(), draws, tokenizer: launch.tokenizer.clone() };
    let trainer = TrainerPlan { stage: Arc::new(stage), ..TrainerPlan::clone(&first) };
    RunPlan { stages: vec![trainer.into()], ..plan }
}

#[test]
fn a_strangers_stage_runs_supervised_and_resumes() {
    let source = include_str!("stranger/unlikelihood.rs");
    assert!(source.lines().count() <= 60, "a stage is a page");
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 2).replace("dropout = 0.1", "dropout = 0.0");
    let calm = folder(place.path(), "calm", &text);
    let (end, events) = drive(plan(&calm, &text, Failpoints::none()));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    let losses: Vec<f64> = events
        .iter()
        .filter_map(|event| if let Event::Step { loss, .. } = event { Some(*loss) } else { None })
        .collect();
    assert!(losses[11] < 0.5 * losses[0], "{losses:?}");
    for (child, point, visit) in [("loss", "Derive", 5), ("data", "Draw", 3), ("compute", "Learn", 7)] {
        let here = folder(place.path(), child, &text);
        let failpoints = Failpoints::none().at(child, point, visit, Deed::Panic);
        let (end, events) = drive(plan(&here, &text, failpoints.clone()));
        assert_eq!((end, failpoints.left()), (RunEnd::Finished, 0), "{child}: {events:#?}");
        assert!(bits(&here) == bits(&calm), "{child}: the weights differ");
    }
}
