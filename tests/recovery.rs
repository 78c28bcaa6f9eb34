//! Recovery: whatever actor dies at whatever message, the final weights are those of the undisturbed run, bit for bit.

use pleach::launch::Launch;
use pleach::pipeline::Pipeline;
use pleach::runtime::event::Event;
use pleach::runtime::fault::{Fault, FaultKind, Refusal};
use pleach::runtime::run::{Run, RunEnd, RunPlan};
use pleach::runtime::store::RunLock;
use pleach::runtime::supervise::{DROP, Deed, Failpoints, START};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A run of a second: a tiny model on a few stories, evaluated, sampled and saved on the way.
pub(crate) fn toml(threads: usize, prefetch: usize) -> String {
    format!(
        "name = \"r\"\nseed = 5\ndevice = \"cpu\"\nthreads = {threads}\n[model]\nshape = \"qwen3\"\nlayers = 1\nwidth = 16\n\
         heads = 2\nkv_heads = 1\ncontext = 16\ndropout = 0.1\n[[stage]]\nkind = \"pretrain\"\ndata = \"world:30\"\n\
         tokenizer = \"chars\"\nbatch = 4\nsteps = 12\neval_every = 5\nsample_every = 6\nsave_every = 4\nvault_every = 3\n\
         valid = 0.05\nprompts = [\"The \"]\nsample_tokens = 4\nprefetch = {prefetch}\nlearning_rate = 1e-2\n"
    )
}

/// Prepares once, copies from there: preparing is not what is tested here.
pub(crate) fn folder(place: &Path, name: &str, text: &str) -> PathBuf {
    let folder = place.join(name);
    let prepared = place.join("prepared");
    if !prepared.join("data").is_dir() {
        Launch::new(&Pipeline::parse(text).unwrap(), place, &prepared, &mut |_| true).unwrap();
    }
    std::fs::create_dir_all(folder.join("data")).unwrap();
    for entry in std::fs::read_dir(prepared.join("data")).unwrap() {
        let from = entry.unwrap().path();
        std::fs::copy(&from, folder.join("data").join(from.file_name().unwrap())).unwrap();
    }
    folder
}

/// A run, ready but for its device.
pub(crate) fn launch(folder: &Path, text: &str) -> Launch {
    Launch::new(&Pipeline::parse(text).unwrap(), folder, folder, &mut |_| true).unwrap()
}

/// Runs to the end under planned failures; the events and the end.
pub(crate) fn run(folder: &Path, text: &str, failpoints: Failpoints) -> (RunEnd, Vec<Event>) {
    drive(launch(folder, text).run_plan(failpoints))
}

/// Runs a plan to its end.
pub(crate) fn drive(plan: RunPlan) -> (RunEnd, Vec<Event>) {
    let lock = RunLock::take(&plan.folder).unwrap();
    let mut run = Run::start(plan, lock).unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    let mut events = Vec::new();
    loop {
        events.extend(run.events().try_iter());
        if let Some(end) = run.wait(Duration::from_millis(2)) {
            events.extend(run.events().try_iter());
            return (end, events);
        }
        assert!(Instant::now() < until, "the run does not end; last events: {:?}", events.iter().rev().take(5));
    }
}

/// The newest checkpoint's weights, moments and progress, and the model that was handed on, as bytes.
pub(crate) fn bits(folder: &Path) -> Vec<u8> {
    let stage = folder.join("stages/01-pretrain");
    let mut names: Vec<PathBuf> = std::fs::read_dir(&stage).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-000012"));
    names.sort();
    let last = names.pop().expect("the last step was saved");
    let mut out = std::fs::read(last.join("model.safetensors")).unwrap();
    for file in ["optimizer.safetensors", "state.bin", "../model/model.safetensors", "../model/config.json"] {
        out.extend(std::fs::read(last.join(file)).unwrap());
    }
    out
}

/// Every actor, at every message it gets, at its first and at a later visit: before and after the handler.
#[test]
fn an_actor_that_dies_at_any_message_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 2);
    let calm = folder(place.path(), "calm", &text);
    let counting = Failpoints::counting();
    let (end, _) = run(&calm, &text, counting.clone());
    assert_eq!(end, RunEnd::Finished);
    let expected = bits(&calm);
    let visits: Vec<(String, String, u64)> =
        counting.visits().into_iter().filter(|(_, point, _)| point != DROP).collect();
    for child in ["data", "loss", "compute", "optimizer", "checkpoint", "journal"] {
        let points = visits.iter().filter(|(name, ..)| name == child).count();
        assert!(points > 0, "{child} was asked something: {visits:?}");
    }
    let mut injected = 0;
    for (child, point, count) in &visits {
        let mut at = vec![1, count / 2 + 1, *count];
        at.dedup();
        for (index, &visit) in at.iter().enumerate() {
            let deed = if index % 2 == 0 { Deed::Panic } else { Deed::PanicAfter };
            let name = format!("{child}-{}-{visit}", point.replace(['(', ')'], ""));
            let here = folder(place.path(), &name, &text);
            let failpoints = Failpoints::none().at(child, point, visit, deed.clone());
            let (end, events) = run(&here, &text, failpoints.clone());
            let context = format!("{child} at {point}, visit {visit} of {count}, {deed:?}: {events:#?}");
            assert_eq!(end, RunEnd::Finished, "{context}");
            assert_eq!(failpoints.left(), 0, "the failure happened: {context}");
            assert!(bits(&here) == expected, "the weights differ: {context}");
            injected += 1;
            std::fs::remove_dir_all(&here).unwrap();
        }
    }
    assert!(injected > 40, "{injected} failures over {} points", visits.len());
}

/// A checkpoint actor that dies between the vault and the disk: what was due at that step, a milestone or the best so
/// far, gets there all the same.
#[test]
fn a_checkpoint_that_was_due_is_saved_by_the_successor() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0).replace("save_every = 4", "save_every = 0\nmilestones = 3");
    let here = folder(place.path(), "calm", &text);
    let saved = |events: &[Event]| -> Vec<u64> {
        let steps =
            events.iter().map(|event| if let Event::CheckpointSaved { saved } = event { saved.step } else { 0 });
        let mut steps: Vec<u64> = steps.filter(|step| *step > 0).collect();
        steps.dedup();
        steps
    };
    let (_, events) = run(&here, &text, Failpoints::none());
    // The first step, milestones at 4 and 8, evaluations at 5 and 10, the end.
    assert_eq!(saved(&events), [1, 4, 5, 8, 10, 12]);
    let expected = bits(&here);
    for (visit, step) in [(2, 4), (3, 5), (4, 8), (5, 10)] {
        let here = folder(place.path(), &format!("dies{visit}"), &text);
        let dies = Failpoints::none().at("checkpoint", "Save", visit, Deed::Panic);
        let (end, events) = run(&here, &text, dies);
        assert_eq!(end, RunEnd::Finished);
        assert!(saved(&events).contains(&step), "the checkpoint of step {step} is missing: {:?}", saved(&events));
        let kept = std::fs::read_dir(here.join("stages/01-pretrain")).unwrap();
        let kept: Vec<String> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        for milestone in ["checkpoint-000004-", "checkpoint-000008-"] {
            assert!(kept.iter().any(|name| name.starts_with(milestone)), "{milestone} is missing: {kept:?}");
        }
        assert!(bits(&here) == expected);
    }
}

fn device_lost() -> Deed {
    Deed::Error(Fault::new(FaultKind::DeviceLost, "the test took the device away"))
}

/// A device that is lost at any of compute's messages: another one, and the same bits.
#[test]
fn a_lost_device_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 2);
    let calm = folder(place.path(), "calm", &text);
    let counting = Failpoints::counting();
    assert_eq!(run(&calm, &text, counting.clone()).0, RunEnd::Finished);
    let expected = bits(&calm);
    let visits = counting.visits();
    let of_compute = visits.iter().filter(|(child, point, _)| child == "compute" && ![DROP, START].contains(&&**point));
    let mut injected = 0;
    for (child, point, count) in of_compute {
        for visit in std::collections::BTreeSet::from([1, count / 2 + 1, *count]) {
            let here = folder(place.path(), &format!("{point}-{visit}"), &text);
            let failpoints = Failpoints::none().at(child, point, visit, device_lost());
            let (end, events) = run(&here, &text, failpoints.clone());
            let context = format!("{point}, visit {visit} of {count}: {events:#?}");
            assert_eq!((end, failpoints.left()), (RunEnd::Finished, 0), "{context}");
            assert!(bits(&here) == expected, "the weights differ: {context}");
            injected += 1;
        }
    }
    assert!(injected > 12, "{injected} losses");
}

/// The plan of a run whose device, once lost, refuses to open so many times, in turn for its own reasons and for want
/// of memory.
fn refusing(folder: &Path, text: &str, times: u32, failpoints: Failpoints) -> (RunPlan, Arc<AtomicU32>) {
    let launch = Launch::new(&Pipeline::parse(text).unwrap(), folder, folder, &mut |_| true).unwrap();
    let plan = launch.run_plan(failpoints);
    let (open, calls) = (plan.open.clone(), Arc::new(AtomicU32::new(0)));
    let count = calls.clone();
    let open = move || match count.fetch_add(1, Ordering::SeqCst) {
        call if (1..=times).contains(&call) && call % 2 == 1 => {
            Err(Refusal::new("could not open the adapter", "it is away", "none").with_code(3).into())
        }
        call if (1..=times).contains(&call) => Err(Fault::new(FaultKind::OutOfMemory, "no memory yet")),
        _ => open(),
    };
    (RunPlan { open: Arc::new(open), ..plan }, calls)
}

/// A lost device that does not open at once is waited for; the same refusals at the very first start are final.
#[test]
fn a_device_that_refuses_to_open_again_is_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 2);
    let calm = folder(place.path(), "calm", &text);
    assert_eq!(run(&calm, &text, Failpoints::none()).0, RunEnd::Finished);
    let here = folder(place.path(), "refusing", &text);
    let failpoints = Failpoints::none().at("compute", "Learn", 6, device_lost());
    let (plan, calls) = refusing(&here, &text, 3, failpoints);
    let (end, events) = drive(plan);
    assert_eq!(end, RunEnd::Finished, "{events:#?}");
    assert_eq!(calls.load(Ordering::SeqCst), 5, "one opening, three refusals, one more");
    assert!(bits(&here) == bits(&calm));
    let first = folder(place.path(), "first", &text);
    let (plan, calls) = refusing(&first, &text, 9, Failpoints::none());
    calls.store(1, Ordering::SeqCst);
    let (end, _) = drive(plan);
    assert!(matches!(end, RunEnd::Failed(_)) && end.code() == 3 && !end.wants_another_process(), "{end:?}");
    // A process that goes on with a device that an earlier one had waits.
    let (plan, calls) = refusing(&first, &text, 3, Failpoints::none());
    calls.store(1, Ordering::SeqCst);
    assert_eq!(drive(RunPlan { known: true, ..plan }).0, RunEnd::Finished);
    assert!(bits(&first) == bits(&calm));
}

/// A stop while the device is away is obeyed, and what memory holds is on the disk afterwards.
#[test]
fn a_stop_is_obeyed_while_the_device_is_away() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0).replace("save_every = 4", "save_every = 0\nmilestones = 0");
    let here = folder(place.path(), "away", &text);
    let failpoints = Failpoints::none().at("compute", "Learn", 5, device_lost());
    let (plan, calls) = refusing(&here, &text, u32::MAX, failpoints);
    let run = Run::start(plan, RunLock::take(&here).unwrap()).unwrap();
    while calls.load(Ordering::SeqCst) < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    run.control().stop();
    assert_eq!(run.join(), RunEnd::Stopped);
    let names = std::fs::read_dir(here.join("stages/01-pretrain")).unwrap();
    let names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("checkpoint-000003")), "step 3 was in memory: {names:?}");
}

/// What always fails at a step ends the run after a number of trainers that is known, whoever dies of it.
#[test]
fn a_fault_that_always_comes_again_ends_the_run() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let fault = || Deed::Error(Fault::new(FaultKind::Disk, "the test's"));
    for (child, point, deed) in
        [("compute", "Learn", fault()), ("compute", "Learn", Deed::Panic), ("loss", "Judge", Deed::Panic)]
    {
        let here = folder(place.path(), &format!("{child}-{}", matches!(deed, Deed::Panic)), &text);
        let failpoints = (7..400).fold(Failpoints::none(), |all, visit| all.at(child, point, visit, deed.clone()));
        let (end, _) = run(&here, &text, failpoints.clone());
        assert!(matches!(end, RunEnd::Failed(_)) && end.code() == 1, "{child}: {end:?}");
        let visits = failpoints.visits();
        let starts = visits.iter().find(|(child, point, _)| child == "trainer" && point == START);
        assert!(starts.is_some_and(|(.., count)| *count <= 24), "{child}: {starts:?}");
    }
}

/// Neither the number of threads nor the prefetch depth is in the result.
#[test]
fn threads_and_prefetch_change_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let mut first = None;
    for (threads, prefetch) in [(1, 0), (2, 1), (3, 2), (1, 5)] {
        let text = toml(threads, prefetch);
        let here = folder(place.path(), &format!("t{threads}p{prefetch}"), &text);
        assert_eq!(run(&here, &text, Failpoints::none()).0, RunEnd::Finished);
        let found = bits(&here);
        assert!(*first.get_or_insert_with(|| found.clone()) == found, "{threads} threads, prefetch {prefetch}");
    }
}

/// Whoever writes the journal may die before or after it wrote: each event stands there once, in order.
#[test]
fn an_event_stands_in_the_journal_once() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    // Without the measured numbers: JSON may round their last bit.
    let named = |event: &serde_json::Value| {
        ["event", "step", "what", "child", "generation", "how"].map(|field| event[field].to_string()).join(" ")
    };
    for (name, deed) in [("before", Deed::Panic), ("after", Deed::PanicAfter)] {
        let here = folder(place.path(), name, &text);
        let mut told = Vec::new();
        // The second run goes through the stage's end again, and comes to a journal that has records.
        for _ in 0..2 {
            let failpoints = [1, 4].iter().fold(Failpoints::none(), |f, &at| f.at("journal", "Note", at, deed.clone()));
            let again = RunPlan { done: 0, ..launch(&here, &text).run_plan(failpoints.clone()) };
            let (end, events) = drive(again);
            assert_eq!((end, failpoints.left()), (RunEnd::Finished, 0));
            told.extend(events.iter().map(|event| named(&serde_json::to_value(event).unwrap())));
        }
        // The lines themselves: a reader passes over a number that it has seen.
        let text = std::fs::read_to_string(here.join("journal.jsonl")).unwrap();
        let written: Vec<String> = text.lines().map(|line| named(&serde_json::from_str(line).unwrap())).collect();
        assert_eq!(written, told, "died {name} writing");
    }
}

/// A device that does not come back from a call shows no sign of life; one that works, or a run that ended, does.
#[test]
fn the_pulse_stands_still_while_the_device_hangs() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "pulse", &text);
    let hang = Failpoints::none().at("compute", "Learn", 6, Deed::Delay(Duration::from_secs(3)));
    let launch = Launch::new(&Pipeline::parse(&text).unwrap(), &here, &here, &mut |_| true).unwrap();
    let mut run = Run::start(launch.run_plan(hang), RunLock::take(&here).unwrap()).unwrap();
    let mut pulse = run.pulse();
    let (mut still, mut longest) = (0, 0);
    let end = loop {
        if let Some(end) = run.wait(Duration::from_millis(100)) {
            break end;
        }
        still = if pulse.moves() { 0 } else { still + 1 };
        longest = longest.max(still);
    };
    assert_eq!(end, RunEnd::Finished);
    assert!((20..=32).contains(&longest), "it stood still for {longest} looks of 100 ms");
    assert!(pulse.moves() && pulse.moves(), "a run that has ended does not hang");
}

/// A crash loop ends with words, the newest checkpoint whole.
#[test]
fn a_crash_loop_gives_up_and_leaves_a_whole_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "loop", &text);
    let mut failpoints = Failpoints::counting();
    for visit in 7..200 {
        failpoints = failpoints.at("compute", "Learn", visit, Deed::Panic);
    }
    let (end, _) = run(&here, &text, failpoints);
    let RunEnd::Failed(fault) = &end else { panic!("it ended as {end:?}") };
    assert!(fault.to_string().contains("compute"), "the words name the child: {fault}");
    assert_eq!(end.code(), 1);
    let (end, events) = run(&here, &text, Failpoints::none());
    assert_eq!(end, RunEnd::Finished);
    let from = events.iter().find_map(|event| match event {
        Event::StageStarted { step, from, .. } => Some((*step, from.clone())),
        _ => None,
    });
    assert_eq!(from.map(|(step, from)| (step > 0, from)), Some((true, "checkpoint".to_string())));
    let calm = folder(place.path(), "calm", &text);
    run(&calm, &text, Failpoints::none());
    assert!(bits(&here) == bits(&calm), "the run went on bit for bit");
}

/// Asked to stop at any moment, and taken up again by the same command: the same bits.
#[test]
fn stopped_and_resumed_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 2);
    let calm = folder(place.path(), "calm", &text);
    run(&calm, &text, Failpoints::none());
    let expected = bits(&calm);
    for pause in [0, 15, 40, 80] {
        let here = folder(place.path(), &format!("stop{pause}"), &text);
        let launch = Launch::new(&Pipeline::parse(&text).unwrap(), &here, &here, &mut |_| true).unwrap();
        let running = Run::start(launch.run_plan(Failpoints::none()), RunLock::take(&here).unwrap()).unwrap();
        std::thread::sleep(Duration::from_millis(pause));
        running.control().stop();
        let end = running.join();
        assert!(matches!(end, RunEnd::Stopped | RunEnd::Finished), "{end:?}");
        let (end, _) = run(&here, &text, Failpoints::none());
        assert_eq!(end, RunEnd::Finished);
        assert!(bits(&here) == expected, "stopped after {pause} ms");
    }
}

/// A damaged newest checkpoint is put aside, the one before is used, and what was lost is said in steps.
#[test]
fn a_damaged_checkpoint_is_put_aside_and_told() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "damaged", &text);
    run(&here, &text, Failpoints::none());
    let expected = bits(&here);
    let stage = here.join("stages/01-pretrain");
    for entry in std::fs::read_dir(&stage).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-000012") {
            let file = path.join("model.safetensors");
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            std::fs::write(&file, bytes).unwrap();
        }
    }
    let (end, events) = run(&here, &text, Failpoints::none());
    assert_eq!(end, RunEnd::Finished);
    let lost: Vec<String> = events
        .iter()
        .filter_map(|event| if let Event::StageStarted { lost, .. } = event { Some(lost.clone()) } else { None })
        .flatten()
        .collect();
    assert!(lost.iter().any(|line| line.contains("step")), "what was lost is said: {lost:?}");
    assert!(bits(&here) == expected);
}
