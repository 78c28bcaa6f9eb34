//! Supervision on toy actors: what dies is hired again, in order, within limits, and nothing late is believed.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use pleach_runtime::supervise::watch::{Sight, Watch};
use pleach_runtime::supervise::*;
use pleach_sync::{Busy, Lock};

/// A counter that can be told to die.
struct Toy {
    count: u32,
    hired: Hired,
}

#[derive(Clone, Copy)]
enum Ask {
    Add(u32),
    Crash,
    Sleep(u64),
    Fail(FaultKind),
    Leave,
}

impl Message for Ask {
    fn name(&self) -> &'static str {
        match self {
            Ask::Add(_) => "Add",
            Ask::Crash => "Crash",
            Ask::Sleep(_) => "Sleep",
            Ask::Fail(_) => "Fail",
            Ask::Leave => "Leave",
        }
    }
}

impl Behaviour for Toy {
    type Message = Ask;
    /// The count, and the generation that answers.
    type Reply = (u32, u64);

    fn handle(&mut self, message: Ask) -> Result<(u32, u64), Fault> {
        match message {
            Ask::Add(more) => self.count += more,
            Ask::Crash => panic!("told to crash"),
            Ask::Sleep(time) => thread::sleep(millis(time)),
            Ask::Fail(kind) => return Err(Fault::new(kind, "told to fail")),
            Ask::Leave => self.count = u32::MAX,
        }
        Ok((self.count, self.hired.generation()))
    }

    fn fatal(&self, fault: &Fault) -> bool {
        fault.kind == FaultKind::DeviceLost || fault.kind == FaultKind::Refused
    }

    fn over(&self) -> bool {
        self.count == u32::MAX
    }
}

fn fresh(hired: &Hired) -> Result<Toy, Fault> {
    Ok(Toy { count: 0, hired: hired.clone() })
}

fn millis(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn plan(strategy: Strategy) -> Plan {
    Plan { strategy, intensity: 1000, backoff: millis(1), backoff_cap: millis(2), ..Plan::default() }
}

/// Collects what the observer is told.
#[derive(Clone, Default)]
struct Notes(Arc<Lock<Vec<Incident>>>);

impl Notes {
    fn settings(&self, failpoints: Failpoints) -> Settings {
        let notes = self.clone();
        let observer = Arc::new(move |incident: &Incident| notes.0.hold().push(incident.clone()));
        Settings { failpoints, observer, ..Settings::default() }
    }

    /// The children of those incidents that match, in order.
    fn of(&self, matches: impl Fn(&What) -> bool) -> Vec<String> {
        self.0.hold().iter().filter(|note| matches(&note.what)).map(|note| note.child.clone()).collect()
    }

    fn count(&self, matches: impl Fn(&What) -> bool) -> usize {
        self.of(matches).len()
    }
}

/// Waits until something is so.
#[track_caller]
fn eventually(so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(Instant::now() < until, "it never came");
        thread::sleep(millis(1));
    }
}

/// Waits until a child is at a generation.
fn reach(child: &Ref<Toy>, generation: u64) {
    eventually(|| child.generation() >= generation);
}

fn solo(child: Child, plan: Plan, settings: Settings) -> Running {
    start(Team::new("solo", plan).child(child).tick(millis(10)), settings).unwrap()
}

fn both(name: &Ref<Toy>) -> [Child; 2] {
    [Child::actor(name, fresh), Child::thread(name, fresh)]
}

#[test]
fn a_restart_in_place_keeps_the_mailbox() {
    for kind in 0..2 {
        let toy = Ref::<Toy>::new("toy");
        let [actor, plain] = both(&toy);
        let running = solo(if kind == 0 { actor } else { plain }, plan(Strategy::OneForOne), Settings::default());
        assert_eq!(toy.call(Ask::Add(5)).unwrap(), (5, 1));
        let ask = |message, wait| {
            let toy = toy.clone();
            thread::sleep(millis(wait));
            thread::spawn(move || toy.call(message))
        };
        let busy = ask(Ask::Sleep(200), 0);
        let crash = ask(Ask::Crash, 30);
        let queued: Vec<_> = (0..3).map(|_| ask(Ask::Add(1), 10)).collect();
        assert_eq!(busy.join().unwrap().unwrap().1, 1);
        let fault = crash.join().unwrap().unwrap_err();
        assert!(fault.kind == FaultKind::Actor && fault.what.contains("told to crash (at Crash)"), "{fault}");
        let answers: Vec<_> = queued.into_iter().map(|queued| queued.join().unwrap().unwrap()).collect();
        assert_eq!(answers, [(1, 2), (2, 2), (3, 2)]);
        running.stop();
        assert_eq!(running.join(), Ending::Asked);
        assert!(toy.call(Ask::Add(1)).unwrap_err().what.contains("not running"));
    }
}

/// Its destructor panics while its name says so.
struct Spiteful;

impl Behaviour for Spiteful {
    type Message = Ask;
    type Reply = ();

    fn handle(&mut self, _message: Ask) -> Result<(), Fault> {
        panic!("in the handler")
    }
}

impl Drop for Spiteful {
    fn drop(&mut self) {
        panic!("in the destructor")
    }
}

#[test]
fn panics_in_destructors_and_factories_are_deaths_like_others() {
    let notes = Notes::default();
    // The first restart meets a factory that panics, the next one that fails, then one that works.
    let failpoints = Failpoints::none().at("spite", START, 2, Deed::Panic).at(
        "spite",
        START,
        3,
        Deed::Error(Fault::new(FaultKind::Disk, "not now")),
    );
    let spite = Ref::<Spiteful>::new("spite");
    let running =
        solo(Child::actor(&spite, |_| Ok(Spiteful)), plan(Strategy::OneForOne), notes.settings(failpoints.clone()));
    assert!(spite.call(Ask::Crash).unwrap_err().what.contains("in the handler"));
    assert!(spite.call(Ask::Crash).unwrap_err().what.contains("in the handler"));
    assert_eq!(failpoints.left(), 0);
    assert_eq!(running.wait(millis(0)), None, "it lives on");
    running.stop();
    assert_eq!(running.join(), Ending::Asked);
    let ends: Vec<_> = notes
        .0
        .hold()
        .iter()
        .filter_map(|note| match &note.what {
            What::Ended(reason) => Some(reason.to_string()),
            _ => None,
        })
        .collect();
    assert!(ends[0].contains("in the handler") && ends[0].contains("then in drop: in the destructor"), "{ends:?}");
    assert!(ends[1].contains("failpoint") && ends[2].contains("not now"), "{ends:?}");
}

#[test]
fn a_crash_loop_is_given_up_after_exactly_the_allowed_restarts() {
    for (intensity, kind) in [(0, 0), (1, 1), (3, 0), (3, 1)] {
        let notes = Notes::default();
        let (first, last) = (Ref::<Toy>::new("first"), Ref::<Toy>::new("last"));
        let factory = |hired: &Hired| {
            if hired.generation() > 1 { panic!("cannot start") } else { fresh(hired) }
        };
        let looping = Ref::<Toy>::new("looping");
        let child = if kind == 0 { Child::actor(&looping, factory) } else { Child::thread(&looping, factory) };
        let team = Team::new("top", Plan { intensity, ..plan(Strategy::OneForOne) })
            .child(Child::actor(&first, fresh))
            .child(child)
            .child(Child::thread(&last, fresh));
        let running = start(team, notes.settings(Failpoints::none())).unwrap();
        last.call(Ask::Add(1)).unwrap();
        looping.call(Ask::Crash).unwrap_err();
        let Ending::GaveUp(gave_up) = running.join() else { panic!("it did not give up") };
        assert_eq!((gave_up.child.as_str(), gave_up.restarts), ("looping", intensity));
        assert_eq!(looping.generation(), u64::from(intensity) + 1);
        assert_eq!(notes.of(|what| *what == What::ToldToStop), ["last", "first"], "stopped in reverse");
    }
}

#[test]
fn a_hung_call_is_replaced_and_its_late_reply_refused() {
    for kind in 0..2 {
        let notes = Notes::default();
        let toy = Ref::<Toy>::new("toy");
        let [actor, plain] = both(&toy);
        let child = if kind == 0 { actor } else { plain };
        let _running = solo(child.watched(millis(100)), plan(Strategy::OneForOne), notes.settings(Failpoints::none()));
        toy.call(Ask::Add(1)).unwrap();
        let pinned = toy.pin();
        let asked = Instant::now();
        let fault = toy.call(Ask::Sleep(700)).unwrap_err();
        let took = asked.elapsed();
        assert!(fault.what.contains("replaced while it was asked"), "{fault}");
        assert!(took >= millis(95) && took < millis(600), "found after {took:?}");
        assert_eq!(toy.call(Ask::Add(1)).unwrap(), (1, 2), "the successor serves while the other hangs");
        assert!(pinned.call(Ask::Add(1)).unwrap_err().what.contains("generation 1 was asked"));
        thread::sleep(millis(900).saturating_sub(asked.elapsed()));
        assert_eq!(toy.call(Ask::Add(1)).unwrap(), (2, 2), "the late one changed nothing");
        assert_eq!(notes.of(|what| *what == What::Abandoned), ["toy"]);
        let late =
            notes.0.hold().iter().filter(|note| note.generation == 1 && matches!(note.what, What::Ended(_))).count();
        assert_eq!(late, 1, "its thread ended at last");
    }
}

#[test]
fn a_child_that_shows_life_is_not_accused() {
    let toy = Ref::<Toy>::new("toy");
    let worker = Child::task("worker", |hired| {
        while hired.beat() {
            thread::sleep(millis(20));
        }
        Ok(())
    });
    let notes = Notes::default();
    let team = Team::new("top", plan(Strategy::OneForOne))
        .tick(millis(10))
        .child(worker.watched(millis(400)))
        .child(Child::actor(&toy, fresh).watched(millis(400)));
    let running = start(team, notes.settings(Failpoints::none())).unwrap();
    thread::sleep(millis(1000));
    toy.call(Ask::Add(1)).unwrap();
    running.stop();
    assert_eq!(running.join(), Ending::Asked);
    assert_eq!(notes.count(|what| *what == What::Abandoned), 0);
}

#[test]
fn three_hung_threads_are_too_many() {
    let toy = Ref::<Toy>::new("toy");
    let child = Child::thread(&toy, fresh).watched(millis(60));
    let running = solo(child, plan(Strategy::OneForOne), Settings::default());
    for _ in 0..3 {
        toy.call(Ask::Sleep(3000)).unwrap_err();
    }
    let Ending::GaveUp(gave_up) = running.join() else { panic!("it did not give up") };
    assert_eq!(gave_up.abandoned, 3);
    assert!(matches!(gave_up.reason, Reason::Hung(_)));
}

#[test]
fn a_late_tick_accuses_nobody() {
    let mut watch = Watch::new(millis(100), Duration::ZERO);
    let busy = |since| [(0, millis(500), Some(Busy { generation: 4, since }))].into_iter();
    assert_eq!(watch.look(millis(100), busy(50)), []);
    // The process stood still for a minute: busy since long ago, but not in time that anybody lived through.
    assert_eq!(watch.look(millis(60_100), busy(50)), [Sight::Late(millis(59_900))]);
    for tick in 1..=5 {
        assert_eq!(watch.look(millis(60_100 + 100 * tick), busy(50)), []);
    }
    let accused = Sight::Accused { child: 0, generation: 4, busy: millis(600) };
    assert_eq!(watch.look(millis(60_700), busy(50)), [accused]);
    assert_eq!(watch.look(millis(60_800), busy(60_750)), [], "it was busy with something newer");
}

#[test]
fn children_start_in_order_and_stop_in_reverse() {
    let notes = Notes::default();
    let names = ["a", "b", "c", "d"];
    let refs = names.map(Ref::<Toy>::new);
    let mut team = Team::new("top", plan(Strategy::OneForAll));
    for (index, name) in refs.iter().enumerate() {
        let factory = move |hired: &Hired| {
            thread::sleep(millis(30 - 10 * index as u64));
            fresh(hired)
        };
        team = team.child(if index % 2 == 0 { Child::actor(name, factory) } else { Child::thread(name, factory) });
    }
    let running = start(team, notes.settings(Failpoints::none())).unwrap();
    refs[3].call(Ask::Add(1)).unwrap();
    eventually(|| notes.of(|what| *what == What::Started) == names);
    refs[1].call(Ask::Crash).unwrap_err();
    reach(&refs[3], 2);
    assert_eq!(refs[3].call(Ask::Add(1)).unwrap(), (1, 2), "one for all");
    eventually(|| notes.count(|what| *what == What::Started) == 8);
    assert_eq!(notes.of(|what| *what == What::ToldToStop), ["d", "c", "a"]);
    running.stop();
    assert_eq!(running.join(), Ending::Asked);
    assert_eq!(notes.of(|what| *what == What::ToldToStop)[3..], ["d", "c", "b", "a"]);
    assert_eq!(notes.of(|what| *what == What::Started)[4..], names);
}

#[test]
fn rest_for_one_restarts_those_that_came_later() {
    let refs = ["a", "b", "c"].map(Ref::<Toy>::new);
    let team = Team::new("top", plan(Strategy::RestForOne))
        .child(Child::actor(&refs[0], fresh))
        .child(Child::thread(&refs[1], fresh))
        .child(Child::actor(&refs[2], fresh));
    let running = start(team, Settings::default()).unwrap();
    for toy in &refs {
        toy.call(Ask::Add(7)).unwrap();
    }
    // A fault that the behaviour calls fatal is a death too.
    assert_eq!(refs[1].call(Ask::Fail(FaultKind::Disk)).unwrap_err().kind, FaultKind::Disk);
    assert_eq!(refs[1].call(Ask::Add(0)).unwrap(), (7, 1));
    assert_eq!(refs[1].call(Ask::Fail(FaultKind::DeviceLost)).unwrap_err().kind, FaultKind::DeviceLost);
    reach(&refs[2], 2);
    assert_eq!(refs.each_ref().map(|toy| toy.call(Ask::Add(0)).unwrap()), [(7, 1), (0, 2), (0, 2)]);
    drop(running);
}

#[test]
fn a_significant_child_ends_its_supervisor_and_a_succession_goes_on() {
    let notes = Notes::default();
    let other = Ref::<Toy>::new("other");
    let helper = other.clone();
    let stages = move |generation| {
        if generation > 3 {
            return Ok(None);
        }
        let plan = Plan { auto_shutdown: true, ..plan(Strategy::RestForOne) };
        let helper = helper.clone();
        let trainer = Child::task("trainer", move |hired| {
            hired.failpoint("step")?;
            helper.call(Ask::Add(1)).map(drop)
        });
        let data = Ref::<Toy>::new("data");
        let team = Team::new("stage", plan).child(Child::actor(&data, fresh)).child(trainer.transient().significant());
        Ok(Some(team))
    };
    let top = Plan { auto_shutdown: true, ..plan(Strategy::RestForOne) };
    let team = Team::new("run", top)
        .child(Child::actor(&other, fresh))
        .child(Child::supervisor("stages", stages).successive().significant());
    // The trainer of the second stage panics once: that stage's own supervisor sees to it.
    let failpoints = Failpoints::none().at("trainer", "step", 2, Deed::Panic);
    let ending = start(team, notes.settings(failpoints)).unwrap().join();
    assert_eq!(ending, Ending::Done { child: "stages".to_string(), reason: Reason::Finished });
    let stage_ends =
        |what: &What| matches!(what, What::SupervisorEnded(Ending::Done { child, .. }) if child == "trainer");
    assert_eq!(notes.count(stage_ends), 3);
    assert_eq!(notes.of(|what| matches!(what, What::Ended(Reason::Panic(_)))), ["trainer"]);
    assert_eq!(other.generation(), 1);
}

#[test]
fn a_child_that_does_not_stop_in_time_is_left_behind() {
    let notes = Notes::default();
    let (stubborn, good) = (Ref::<Toy>::new("stubborn"), Ref::<Toy>::new("good"));
    let team = Team::new("top", plan(Strategy::OneForOne))
        .child(Child::actor(&good, fresh))
        .child(Child::thread(&stubborn, fresh).shutdown(Some(millis(80))));
    let running = start(team, notes.settings(Failpoints::none())).unwrap();
    let asked = stubborn.clone();
    let hanging = thread::spawn(move || asked.call(Ask::Sleep(2000)));
    thread::sleep(millis(50));
    let told = Instant::now();
    running.stop();
    assert_eq!(running.join(), Ending::Asked);
    assert!(told.elapsed() >= millis(75) && told.elapsed() < millis(1500), "ended after {:?}", told.elapsed());
    assert_eq!(notes.of(|what| *what == What::Abandoned), ["stubborn"]);
    hanging.join().unwrap().unwrap_err();
}

#[test]
fn a_refusal_is_not_tried_again() {
    let toy = Ref::<Toy>::new("toy");
    let inner = toy.clone();
    let build = move |_| {
        let refuse = |_: &Hired| -> Result<Toy, Fault> { Err(Refusal::new("no corpus", "a.txt", "give one").into()) };
        Ok(Some(Team::new("inner", plan(Strategy::OneForOne)).child(Child::actor(&inner, refuse))))
    };
    let running = solo(Child::supervisor("inner", build), plan(Strategy::OneForOne), Settings::default());
    let ending = running.join();
    let fault = ending.reason().fault();
    assert_eq!((fault.kind, toy.generation()), (FaultKind::Refused, 1));
    assert_eq!(fault.refusal.unwrap().what, "no corpus");
}

#[test]
fn an_actor_may_end_by_itself() {
    let (leaving, other) = (Ref::<Toy>::new("leaving"), Ref::<Toy>::new("other"));
    let team = Team::new("top", plan(Strategy::OneForOne))
        .child(Child::actor(&leaving, fresh).transient())
        .child(Child::thread(&other, fresh).temporary());
    let running = start(team, Settings::default()).unwrap();
    leaving.call(Ask::Leave).unwrap();
    other.call(Ask::Crash).unwrap_err();
    for gone in [&leaving, &other] {
        let fault = gone.patient(Duration::from_secs(20)).call(Ask::Add(1)).unwrap_err();
        assert!(!fault.what.contains("no answer"), "refused at once or told that it is gone: {fault}");
    }
    assert_eq!(running.wait(millis(20)), None);
}

/// A toy run: two actors and a trainer that sums what they say, asking again where somebody died.
fn toy_run(failpoints: Failpoints) -> u32 {
    let (data, compute) = (Ref::<Toy>::new("data"), Ref::<Toy>::new("compute"));
    let total = Arc::new(Lock::new(0));
    let result = total.clone();
    let asked = [data.clone(), compute.clone()];
    let trainer = Child::task("trainer", move |hired| {
        let mut sum = 0;
        for step in 0..4 {
            hired.failpoint("step")?;
            for child in &asked {
                // Asked from the child's own state at zero, so that a fresh one says the same.
                let again = |_| child.pin().call(Ask::Sleep(0)).ok();
                (0..10).find_map(again).ok_or_else(|| Fault::new(FaultKind::Actor, "no answer in ten tries"))?;
                sum += step;
            }
        }
        *result.hold() = sum;
        Ok(())
    });
    let team = Team::new("run", Plan { auto_shutdown: true, ..plan(Strategy::RestForOne) })
        .child(Child::actor(&data, fresh))
        .child(Child::thread(&compute, fresh))
        .child(trainer.transient().significant());
    let ending = start(team, Settings { failpoints, ..Settings::default() }).unwrap().join();
    assert!(matches!(ending, Ending::Done { .. }), "{ending:?}");
    let total = *total.hold();
    assert!(total > 0, "the run counted");
    total
}

#[test]
fn a_failure_at_every_point_of_a_run_changes_nothing() {
    let counting = Failpoints::counting();
    let undisturbed = toy_run(counting.clone());
    let visits = counting.visits();
    assert!(visits.len() >= 6, "{visits:?}");
    for (child, point, count) in visits {
        for visit in 1..=count {
            for deed in [Deed::Panic, Deed::PanicAfter, Deed::Error(Fault::new(FaultKind::Disk, "full"))] {
                let plan = Failpoints::none().at(&child, &point, visit, deed.clone());
                assert_eq!(toy_run(plan), undisturbed, "{deed:?} at visit {visit} of {child} {point}");
            }
        }
    }
}

#[test]
fn restarts_leak_no_threads() {
    let threads = || std::fs::read_dir("/proc/self/task").map_or(0, |tasks| tasks.count());
    let toy = Ref::<Toy>::new("toy");
    let patience = Plan { intensity: 100_000, backoff: Duration::ZERO, ..plan(Strategy::OneForOne) };
    let running = solo(Child::actor(&toy, fresh), patience, Settings::default());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    toy.call(Ask::Add(1)).unwrap();
    let before = threads();
    for _ in 0..1000 {
        toy.call(Ask::Crash).unwrap_err();
        toy.call(Ask::Add(1)).unwrap();
    }
    std::panic::set_hook(hook);
    assert_eq!(toy.generation(), 1001);
    // Other tests run beside this one: the bound is on what a thousand leaks would look like.
    assert!(threads() < before + 300, "{} threads before, {} after", before, threads());
    drop(running);
}
