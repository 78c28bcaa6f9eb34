//! The whole ladder from one pipeline file: pretraining to reinforcement, a simulated rater in the place of people.

use crate::recovery::drive;
use pleach::launch::Launch;
use pleach::model::Model;
use pleach::pipeline::Pipeline;
use pleach::runtime::event::Event;
use pleach::runtime::fault::Refusal;
use pleach::runtime::run::{RunEnd, StagePlan};
use pleach::runtime::supervise::{DROP, Deed, Failpoints, START};
use std::path::Path;

/// Every kind of stage, each for seconds.
const LADDER: &str = r#"
name = "ladder"
seed = 3
device = "cpu"
threads = 2
[model]
shape = "qwen3"
layers = 1
width = 32
heads = 2
context = 224
dropout = 0.05
[[stage]]
kind = "pretrain"
data = "world:300"
vocab = 600
vocab_data = ["world:300", "world:instructions:400", "world:preferences:100", "world:notes:200"]
batch = 8
steps = 10
learning_rate = 1e-2
[[stage]]
kind = "continued"
data = "world:manuals:100"
replay = 0.25
batch = 8
steps = 6
[[stage]]
kind = "finetune"
data = "world:notes:100"
batch = 4
steps = 6
patience = 5
[[stage]]
kind = "instruct"
data = ["world:instructions:150", "world:answers:150"]
batch = 8
steps = 30
learning_rate = 1e-2
prompts = ["Who grows tulips?"]
sample_tokens = 8
[[stage]]
kind = "rank"
data = "world:prompts:12"
rater = "simulated"
completions = 4
completion_tokens = 12
[[stage]]
kind = "reward"
batch = 2
steps = 6
veto = ["safety"]
[[stage]]
kind = "dpo"
data = "world:preferences:40"
batch = 4
steps = 4
[[stage]]
kind = "grpo"
data = "world:prompts:8"
batch = 2
completions = 3
completion_tokens = 8
rewards = ["model", "0.5 length:8:4"]
steps = 4
[[stage]]
kind = "ppo"
data = "world:prompts:8"
batch = 4
round_epochs = 2
completion_tokens = 8
missing_eos_penalty = 1.0
steps = 4
"#;

const FOLDERS: [&str; 9] = [
    "01-pretrain",
    "02-continued",
    "03-finetune",
    "04-instruct",
    "05-rank",
    "06-reward",
    "07-dpo",
    "08-grpo",
    "09-ppo",
];

fn launched(folder: &Path, text: &str) -> Launch {
    Launch::seen(&Pipeline::parse(text).unwrap(), folder, folder, false, &mut |_| true).unwrap()
}

fn launch(folder: &Path) -> Launch {
    launched(folder, LADDER)
}

/// All that the stages handed on: models, and the rankings.
fn given(folder: &Path) -> Vec<Vec<u8>> {
    let of = |name: &&str| match *name {
        "05-rank" => std::fs::read(pleach::rank::frozen(&folder.join("stages/05-rank")).unwrap()).unwrap(),
        name => std::fs::read(folder.join("stages").join(name).join("model/model.safetensors")).unwrap(),
    };
    FOLDERS.iter().map(of).collect()
}

#[test]
fn one_file_climbs_the_whole_ladder_and_deaths_change_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let calm = place.path().join("calm");
    std::fs::create_dir_all(&calm).unwrap();
    let first = launch(&calm);
    assert_eq!((first.done, first.stages.len(), first.later().len()), (0, 5, 4), "what learns from rankings waits");
    let counting = Failpoints::counting();
    let (end, events) = drive(first.run_plan(counting.clone()));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    let finished = |event: &Event| match event {
        Event::StageFinished { stage, .. } => Some(stage.clone()),
        _ => None,
    };
    let stages: Vec<String> = events.iter().filter_map(finished).collect();
    assert_eq!(stages, FOLDERS.map(|folder| folder[3..].to_string()));
    let expected = given(&calm);
    // The same command finds nothing to do, and the model that was handed on last answers through its chat template.
    let again = launch(&calm);
    assert_eq!((again.done, again.stages.len()), (9, 9));
    assert!(again.finished().unwrap().unwrap().ends_with("09-ppo/model"));
    let model = Model::open(&calm).unwrap();
    assert!(model.folder.to_string_lossy().contains("09-ppo"), "{}", model.folder.display());
    assert!(calm.join("stages/09-ppo/model/chat_template.jinja").is_file());
    assert!(calm.join("stages/06-reward/model/config.json").is_file());
    // Deaths in every stage, and in the midst of what is collected and gathered.
    let mut injected = 0;
    let visits =
        counting.visits().into_iter().filter(|(_, point, count)| ![DROP, START].contains(&&**point) && *count > 1);
    // A whole ladder takes seconds: every third message here, all of them where more time is given.
    let every = if std::env::var_os("PLEACH_TORTURE").is_some() { 1 } else { 3 };
    for (child, point, count) in visits.step_by(every) {
        let visit = count * (injected % 4 + 1) / 5 + 1;
        let here = place.path().join("dies");
        std::fs::create_dir_all(&here).unwrap();
        let failpoints = Failpoints::none().at(&child, &point, visit, Deed::Panic);
        let (end, events) = drive(launch(&here).run_plan(failpoints.clone()));
        assert_eq!((end, failpoints.left()), (RunEnd::Finished, 0), "{child} {point} {visit}: {events:#?}");
        assert!(given(&here) == expected, "{child} {point} {visit}: what was handed on differs");
        injected += 1;
        std::fs::remove_dir_all(&here).unwrap();
    }
    assert!(injected > 8, "{injected} deaths");
}

/// Each stage is broken off in its midst by what no restart mends; the next process goes on where it was.
#[test]
fn another_process_goes_on_in_any_stage() {
    let place = tempfile::tempdir().unwrap();
    let calm = place.path().join("calm");
    std::fs::create_dir_all(&calm).unwrap();
    // What is not on the disk is trained again: each step is.
    let text = LADDER.replace("\nsteps = ", "\nsave_every = 1\nsteps = ");
    assert_eq!(drive(launched(&calm, &text).run_plan(Failpoints::none())).0, RunEnd::Finished);
    let expected = given(&calm);
    let here = place.path().join("broken");
    std::fs::create_dir_all(&here).unwrap();
    let refusal = || Deed::Error(Refusal::new("the test", "breaks it off", "go on").into());
    let mut ends = 0;
    for _ in 0..40 {
        let launch = launched(&here, &text);
        if launch.done == FOLDERS.len() {
            break;
        }
        // The third update of this process, or the second answer of the model.
        let failpoints =
            Failpoints::none().at("optimizer", "Update", 5, refusal()).at("compute", "Generate", 10, refusal());
        let (end, _) = drive(launch.run_plan(failpoints));
        ends += usize::from(end != RunEnd::Finished);
    }
    assert!(given(&here) == expected, "what was handed on differs");
    assert!(ends > 8, "{ends} processes were broken off");
}

#[test]
fn a_run_that_waits_for_people_ends_with_its_own_code_and_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let head = LADDER.split("[[stage]]\nkind = \"continued\"").next().unwrap();
    let text = format!(
        "{head}[[stage]]\nkind = \"rank\"\ndata = \"world:prompts:3\"\ncompletions = 2\ncompletion_tokens = 6\n\
         [[stage]]\nkind = \"dpo\"\nbatch = 1\nsteps = 2\n"
    );
    let pipeline = Pipeline::parse(&text).unwrap();
    let run = place.path().join("run");
    std::fs::create_dir_all(&run).unwrap();
    let launch = || Launch::seen(&pipeline, place.path(), &run, false, &mut |_| true).unwrap();
    let plan = launch().run_plan(Failpoints::none());
    assert!(matches!(plan.stages[2], StagePlan::Later { .. }));
    let (end, events) = drive(plan);
    assert_eq!(end.code(), 5, "{events:#?}");
    let mut store = pleach::ranking::Store::open(&run.join("rankings.sqlite")).unwrap();
    assert_eq!(store.items().unwrap().len(), 3);
    // A person answers, between two processes.
    while let Some(task) = store.next("Ada").unwrap() {
        let order = task.item.ids().into_iter().map(|id| vec![id.to_string()]).collect();
        let answer = pleach::ranking::Answer { order, ..Default::default() };
        store.submit("Ada", task.assignment, task.revision + 1, &answer).unwrap();
    }
    drop(store);
    let (end, events) = drive(launch().run_plan(Failpoints::none()));
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    assert!(run.join("stages/03-dpo/model/model.safetensors").is_file());
}
