//! The supervision policy against 100,000 random histories (`PLEACH_CASES` sets another number): a world of children
//! that start, die, hang and obey at random, and a judge that knows OTP's rules by heart.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pleach_runtime::fault::{Fault, FaultKind};
use pleach_runtime::supervise::policy::{Action, Event, Plan, Policy, Restart, Spec, Strategy};
use pleach_runtime::supervise::{Ending, GaveUp, Reason};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Never started, or dead and waiting for its successor.
    Waiting,
    Starting,
    Live,
    /// Told to stop at this time.
    Stopping(Duration),
    /// Dismissed: nobody follows.
    Gone,
}

impl Life {
    fn active(self) -> bool {
        matches!(self, Life::Starting | Life::Live)
    }
}

/// The world and the judge: what each child really does, and what the rules demand.
struct World {
    plan: Plan,
    specs: Vec<Spec>,
    policy: Policy,
    now: Duration,
    life: Vec<Life>,
    generation: Vec<u64>,
    /// To be stopped for a sibling's sake, by the judge's own reckoning.
    condemned: Vec<bool>,
    forgotten: Vec<bool>,
    incidents: Vec<Duration>,
    left_behind: Vec<(usize, u64)>,
    up: bool,
    asked: bool,
    /// The only endings that the rules allow now; None: no end is due.
    must_end: Option<&'static str>,
    ended: Option<Ending>,
}

impl World {
    fn new(plan: Plan, specs: Vec<Spec>) -> World {
        let n = specs.len();
        let policy = Policy::new(plan.clone(), specs.clone());
        World {
            plan,
            policy,
            now: Duration::ZERO,
            life: vec![Life::Waiting; n],
            generation: specs.iter().map(|spec| spec.after).collect(),
            condemned: vec![false; n],
            forgotten: vec![false; n],
            specs,
            incidents: Vec::new(),
            left_behind: Vec::new(),
            up: false,
            asked: false,
            must_end: None,
            ended: None,
        }
    }

    fn feed(&mut self, event: Event) {
        let quiet = self.ended.is_some();
        let actions = self.policy.handle(self.now, event.clone());
        assert!(!quiet || actions.is_empty(), "after the end, {event:?} led to {actions:?}");
        for action in actions {
            self.check(action);
        }
    }

    /// Judges one action and lets the world follow it.
    fn check(&mut self, action: Action) {
        assert!(self.ended.is_none(), "{action:?} after the end");
        match action {
            Action::Start { child, generation } => self.check_start(child, generation),
            Action::Stop { child, generation } => {
                assert_eq!(generation, self.generation[child]);
                assert!(self.life[child].active(), "stop of a child that does not run");
                assert!(self.condemned[child], "stop of a child that nobody condemned");
                let later = (child + 1..self.life.len()).any(|other| self.life[other].active());
                assert!(!later, "children stop in reverse order");
                assert!(!self.any(|life| matches!(life, Life::Stopping(_))), "one stop at a time");
                self.life[child] = Life::Stopping(self.now);
            }
            Action::Abandon { child, generation } => {
                assert_eq!(generation, self.generation[child]);
                if let Life::Stopping(since) = self.life[child] {
                    assert!(self.now >= since + self.specs[child].shutdown.unwrap(), "abandoned before its time");
                }
                self.left_behind.push((child, generation));
                self.life[child] = Life::Waiting;
                self.condemned[child] = false;
                if self.left_behind.len() > self.plan.abandoned as usize {
                    self.must_stop("gave up");
                }
            }
            Action::Dismiss { child } => {
                assert_eq!(self.life[child], Life::Waiting, "dismissed while it runs");
                self.life[child] = Life::Gone;
                self.forgotten[child] |= self.specs[child].restart == Restart::Temporary;
            }
            Action::Up => {
                assert!(!self.up, "up twice");
                assert!(!self.any(|life| life == Life::Waiting), "up with a child missing");
                self.up = true;
            }
            Action::End(ending) => self.check_end(ending),
        }
    }

    fn check_start(&mut self, child: usize, generation: u64) {
        assert!(self.must_end.is_none(), "a start after the end was due");
        assert_eq!(self.life[child], Life::Waiting, "two live generations of a child");
        assert_eq!(generation, self.generation[child] + 1, "generations go up one by one");
        assert!(!self.forgotten[child], "a temporary child is never hired again");
        assert!(!self.any(|life| matches!(life, Life::Starting | Life::Stopping(_))), "starts are synchronous");
        assert!(!self.condemned.iter().any(|condemned| *condemned), "started before the stops were done");
        if self.plan.strategy != Strategy::OneForOne || !self.up {
            let ready = |life: &Life| matches!(life, Life::Live | Life::Gone);
            assert!(self.life[..child].iter().all(ready), "children start in order");
        }
        self.generation[child] = generation;
        self.life[child] = Life::Starting;
    }

    fn check_end(&mut self, ending: Ending) {
        assert!(!self.any(|life| !matches!(life, Life::Waiting | Life::Gone)), "ended with a child running");
        match (&ending, self.must_end) {
            (Ending::Asked, Some("asked")) | (Ending::Done { .. }, Some("done")) => {}
            (Ending::GaveUp(gave_up), Some("gave up" | "asked" | "done")) => {
                if gave_up.restarts == 0 {
                    let hung = matches!(gave_up.reason, Reason::Hung(_));
                    assert!(self.plan.intensity == 0 || gave_up.reason.hopeless() || hung, "{gave_up}");
                }
                assert!(gave_up.restarts <= self.plan.intensity, "more restarts than allowed");
            }
            (ending, due) => panic!("ended with {ending:?}, due was {due:?}"),
        }
        self.ended = Some(ending);
    }

    fn any(&self, of: impl Fn(Life) -> bool) -> bool {
        self.life.iter().any(|life| of(*life))
    }

    fn must_stop(&mut self, why: &'static str) {
        self.must_end = Some(self.must_end.unwrap_or(why));
        for child in 0..self.life.len() {
            self.condemned[child] |= self.life[child].active();
        }
    }

    /// A running child ends: what the rules demand is reckoned first, then the policy hears of it.
    fn exit(&mut self, child: usize, reason: Reason, hung: bool) {
        let generation = self.generation[child];
        let stopping = self.condemned[child] || matches!(self.life[child], Life::Stopping(_));
        if !hung {
            self.life[child] = Life::Waiting;
        }
        if !hung || stopping {
            self.condemned[child] = false;
        }
        let too_many = hung && self.left_behind.len() + 1 > self.plan.abandoned as usize;
        if !stopping && self.must_end.is_none() && !too_many {
            self.reckon(child, &reason);
        }
        match reason {
            Reason::Hung(busy) if hung => self.feed(Event::Hung { child, generation, busy }),
            reason => self.feed(Event::Exit { child, generation, reason }),
        }
    }

    fn reckon(&mut self, child: usize, reason: &Reason) {
        let spec = &self.specs[child];
        if reason.hopeless() {
            return self.must_stop("gave up");
        }
        let again = match spec.restart {
            Restart::Permanent => true,
            Restart::Transient => reason.abnormal(),
            Restart::Temporary => false,
            Restart::Successive => *reason != Reason::Finished && *reason != Reason::Shutdown,
        };
        if !again {
            if spec.significant && self.plan.auto_shutdown {
                self.must_stop("done");
            }
            return;
        }
        if reason.abnormal() || spec.restart == Restart::Permanent {
            let recent = self.incidents.iter().filter(|then| self.now - **then < self.plan.period).count();
            if recent >= self.plan.intensity as usize {
                return self.must_stop("gave up");
            }
            self.incidents.push(self.now);
        }
        let affected = match self.plan.strategy {
            Strategy::OneForOne => child..child + 1,
            Strategy::OneForAll => 0..self.life.len(),
            Strategy::RestForOne => child..self.life.len(),
        };
        for other in affected {
            if other != child {
                self.condemned[other] |= self.life[other].active();
                if self.life[other] == Life::Gone && self.specs[other].restart != Restart::Temporary {
                    self.life[other] = Life::Waiting;
                }
            }
        }
    }

    /// Time passes; the policy gets its ticks when it wants them.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..1000 {
            match self.policy.deadline() {
                Some(deadline) if deadline <= until => {
                    self.now = self.now.max(deadline);
                    self.feed(Event::Tick);
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("ticks without end");
    }

    /// One random event: `kind` says what, `pick` who and how.
    fn step(&mut self, kind: u8, pick: u32, time: u16) {
        self.pass(Duration::from_millis(u64::from(time)));
        let (n, pick) = (self.life.len(), pick as usize);
        let child = pick % n;
        let generation = self.generation[child];
        let reasons = pick / n;
        match kind {
            0..=5 => {
                if let Some(child) = self.life.iter().position(|life| *life == Life::Starting) {
                    self.life[child] = Life::Live;
                    let generation = self.generation[child];
                    self.feed(Event::Started { child, generation });
                }
            }
            6..=9 if !matches!(self.life[child], Life::Waiting | Life::Gone) => {
                self.exit(child, reason(reasons), false);
            }
            10 if self.life[child].active() => self.exit(child, Reason::Hung(Duration::from_secs(1)), true),
            11 => self.feed(Event::Tick),
            12 if generation > 0 => {
                // Words from the past change nothing.
                let before = (self.life.clone(), self.ended.clone());
                let generation = generation - 1;
                if !self.left_behind.contains(&(child, generation)) {
                    self.feed(Event::Exit { child, generation, reason: reason(reasons) });
                }
                self.feed(Event::Started { child, generation });
                self.feed(Event::Hung { child, generation, busy: Duration::from_secs(9) });
                assert_eq!(before, (self.life.clone(), self.ended.clone()));
            }
            13 => {
                if let Some((child, generation)) = self.left_behind.pop() {
                    self.feed(Event::Exit { child, generation, reason: Reason::Lost });
                }
            }
            14 if reasons.is_multiple_of(7) => {
                self.asked = true;
                self.must_stop("asked");
                self.feed(Event::Stop);
            }
            _ => {}
        }
        self.check_patience();
    }

    /// Where somebody waits and nothing is under way, a tick is due within the longest delay.
    fn check_patience(&self) {
        let busy = self.any(|life| matches!(life, Life::Starting | Life::Stopping(_)));
        if self.ended.is_none() && !busy && self.any(|life| life == Life::Waiting) {
            let due = self.policy.deadline().expect("somebody waits and nothing will happen");
            assert!(due <= self.now + self.plan.backoff_cap, "a delay beyond the cap");
        }
        if self.ended.is_none() {
            assert_eq!(self.policy.abandoned() as usize, self.left_behind.len());
        }
    }

    /// From now on everybody behaves: the tree must come to rest, up or ended.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let busy = self.life.iter().position(|life| matches!(life, Life::Starting | Life::Stopping(_)));
            match busy {
                Some(child) if self.life[child] == Life::Starting => {
                    self.life[child] = Life::Live;
                    let generation = self.generation[child];
                    self.feed(Event::Started { child, generation });
                }
                Some(child) => self.exit(child, Reason::Shutdown, false),
                None if self.policy.deadline().is_some() => self.pass(self.plan.backoff_cap),
                None => break,
            }
        }
        assert_eq!(self.ended.is_some(), self.must_end.is_some(), "due: {:?}", self.must_end);
        if self.ended.is_none() {
            assert!(!self.any(|life| !matches!(life, Life::Live | Life::Gone)), "not at rest: {:?}", self.life);
            assert!(self.up);
        }
        assert!(!self.asked || self.ended.is_some());
    }
}

fn reason(pick: usize) -> Reason {
    match pick % 12 {
        0..=2 => Reason::Panic("oh".to_string()),
        3 | 4 => Reason::Fault(Fault::new(FaultKind::Disk, "disk")),
        5 | 6 => Reason::Normal,
        7 => Reason::Shutdown,
        8 => Reason::Finished,
        9 => Reason::Lost,
        10 if pick.is_multiple_of(5) => Reason::Fault(Fault::new(FaultKind::Refused, "a typo")),
        _ => Reason::Normal,
    }
}

fn plans() -> impl Strategy_<Value = Plan> {
    let strategy = prop_oneof![Just(Strategy::OneForOne), Just(Strategy::OneForAll), Just(Strategy::RestForOne)];
    (strategy, 0u32..8, 1u64..3000, any::<bool>(), 0u64..200, 0u32..4).prop_map(
        |(strategy, intensity, period, auto_shutdown, backoff, abandoned)| Plan {
            strategy,
            intensity,
            period: Duration::from_millis(period),
            auto_shutdown,
            backoff: Duration::from_millis(backoff),
            backoff_cap: Duration::from_millis(backoff * 4),
            abandoned,
            fruitless: None,
        },
    )
}

use proptest::strategy::Strategy as Strategy_;

fn specs() -> impl Strategy_<Value = Vec<Spec>> {
    let restart = prop_oneof![
        4 => Just(Restart::Permanent),
        2 => Just(Restart::Transient),
        1 => Just(Restart::Temporary),
        1 => Just(Restart::Successive)
    ];
    let shutdown = prop_oneof![3 => (0u64..500).prop_map(Some), 1 => Just(None)];
    let spec = (restart, any::<bool>(), shutdown, 0u64..3).prop_map(|(restart, significant, shutdown, after)| Spec {
        name: "child".to_string(),
        restart,
        significant: significant && restart != Restart::Permanent,
        shutdown: shutdown.map(Duration::from_millis),
        after,
    });
    proptest::collection::vec(spec, 1..6)
}

fn cases() -> u32 {
    std::env::var("PLEACH_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_keep_the_rules(
        plan in plans(),
        specs in specs(),
        events in proptest::collection::vec((0u8..15, any::<u32>(), 0u16..150), 0..120),
    ) {
        let mut world = World::new(plan, specs);
        world.feed(Event::Begin);
        for (kind, pick, time) in events {
            world.step(kind, pick, time);
        }
        world.settle();
    }
}

fn worker(name: &str) -> Spec {
    let shutdown = Some(Duration::from_secs(5));
    Spec { name: name.to_string(), restart: Restart::Permanent, significant: false, shutdown, after: 0 }
}

fn crash(child: usize, generation: u64) -> Event {
    Event::Exit { child, generation, reason: Reason::Panic("oh".to_string()) }
}

#[test]
fn delays_double_up_to_the_cap_and_are_forgotten_after_a_good_period() {
    let (backoff, backoff_cap) = (Duration::from_millis(10), Duration::from_millis(35));
    let plan = Plan { intensity: 100, period: Duration::from_secs(1), backoff, backoff_cap, ..Plan::default() };
    let mut policy = Policy::new(plan, vec![worker("a")]);
    let mut now = Duration::ZERO;
    policy.handle(now, Event::Begin);
    let mut delays = Vec::new();
    for generation in 1..=7 {
        policy.handle(now, Event::Started { child: 0, generation });
        now += if generation == 6 { Duration::from_secs(2) } else { Duration::from_millis(1) };
        let actions = policy.handle(now, crash(0, generation));
        let due = policy.deadline().map_or(Duration::ZERO, |deadline| deadline - now);
        assert_eq!(actions.is_empty(), due > Duration::ZERO);
        delays.push(due.as_millis());
        now += due;
        policy.handle(now, Event::Tick);
    }
    assert_eq!(delays, [0, 10, 20, 35, 35, 0, 10]);
}

#[test]
fn the_restart_that_is_one_too_many_is_counted_exactly() {
    let plan = Plan { intensity: 3, period: Duration::from_secs(10), backoff: Duration::ZERO, ..Plan::default() };
    let mut policy = Policy::new(plan, vec![worker("a")]);
    policy.handle(Duration::ZERO, Event::Begin);
    let at = Duration::from_secs;
    // Deaths at 0, 4, 8, 12, 13: at 12 the first is forgotten, at 13 three are within ten seconds.
    for (generation, second) in [(1, 0), (2, 4), (3, 8), (4, 12)] {
        let next = Action::Start { child: 0, generation: generation + 1 };
        assert_eq!(policy.handle(at(second), crash(0, generation)), [next]);
    }
    let last = policy.handle(at(13), crash(0, 5));
    assert!(matches!(&last[..], [Action::End(Ending::GaveUp(gave_up))] if gave_up.restarts == 3), "{last:?}");
}

#[test]
fn deaths_without_progress_count_however_slowly_they_come() {
    let plan = Plan { fruitless: Some(2), period: Duration::from_secs(10), backoff: Duration::ZERO, ..Plan::default() };
    let mut policy = Policy::new(plan, vec![worker("a")]);
    policy.handle(Duration::ZERO, Event::Begin);
    let at = |hour: u64| Duration::from_secs(3600 * hour);
    // After the second death the work moves on: the third is the first again.
    for generation in 1..=4 {
        let next = Action::Start { child: 0, generation: generation + 1 };
        assert_eq!(policy.handle(at(generation), crash(0, generation)), [next]);
        if generation == 2 {
            policy.progressed();
        }
    }
    let last = policy.handle(at(5), crash(0, 5));
    assert!(matches!(&last[..], [Action::End(Ending::GaveUp(_))]), "{last:?}");
}

/// What hung threads, or a lost device, brought down may stand up in another process; what a person must mend may not.
#[test]
fn a_give_up_says_whether_another_process_may_help() {
    let gave_up =
        |reason, abandoned| Reason::GaveUp(Box::new(GaveUp { child: "a".into(), reason, restarts: 0, abandoned }));
    let kind = |reason, abandoned| gave_up(gave_up(reason, abandoned), abandoned).fault().kind;
    let fault = |kind| Reason::Fault(Fault::new(kind, "the test's"));
    assert_eq!(kind(Reason::Hung(Duration::from_secs(9)), 3), FaultKind::Hung);
    assert_eq!(kind(Reason::Panic("boo".into()), 1), FaultKind::Hung);
    assert_eq!(kind(Reason::Panic("boo".into()), 0), FaultKind::Actor);
    assert_eq!(kind(fault(FaultKind::DeviceLost), 0), FaultKind::DeviceLost);
    assert_eq!(kind(fault(FaultKind::Halted), 1), FaultKind::Halted);
    assert_eq!(kind(fault(FaultKind::Refused), 1), FaultKind::Refused);
}
