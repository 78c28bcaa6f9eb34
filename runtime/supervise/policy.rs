//! The supervision policy: a pure state machine, events in, actions out, time injected.
//!
//! It has the semantics of OTP's supervisor: children start in order, one at a time, and stop in reverse order, one at
//! a time, each within its time-out; a death is answered by the strategy; more than `intensity` restarts within
//! `period` make the supervisor stop all children and give up. Differences: a child that cannot start counts as a death
//! also at the very first start (OTP gives up there); repeated deaths are answered after a growing delay; a child that
//! does not stop in time, or hangs, cannot be killed and is abandoned (fenced by its generation, and counted).

use std::collections::VecDeque;
use std::time::Duration;

use super::exit::{Ending, GaveUp, Reason};
pub use super::plan::{Plan, Restart, Spec, Strategy};

/// What happens to a supervisor. Events about a generation that is not the current one are ignored.
#[derive(Clone, Debug)]
pub enum Event {
    /// The supervisor starts.
    Begin,
    /// The child serves.
    Started {
        /// Index of the child.
        child: usize,
        /// Its generation.
        generation: u64,
    },
    /// The child ended (or could not start; or, abandoned before, its thread is gone at last).
    Exit {
        /// Index of the child.
        child: usize,
        /// Its generation.
        generation: u64,
        /// Why.
        reason: Reason,
    },
    /// The watchdog accuses the child.
    Hung {
        /// Index of the child.
        child: usize,
        /// Its generation.
        generation: u64,
        /// How long it gave no sign of life.
        busy: Duration,
    },
    /// The supervisor is asked to stop.
    Stop,
    /// Time has passed; see [`Policy::deadline`].
    Tick,
}

/// What the shell must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this generation of the child; answered by `Started` or `Exit`.
    Start {
        /// Index of the child.
        child: usize,
        /// Its new generation.
        generation: u64,
    },
    /// Tell the child to stop; answered by `Exit`.
    Stop {
        /// Index of the child.
        child: usize,
        /// Its generation.
        generation: u64,
    },
    /// Fence the child off and leave its thread behind.
    Abandon {
        /// Index of the child.
        child: usize,
        /// Its generation.
        generation: u64,
    },
    /// The child, which is not running, will not be started again unless a strategy does.
    Dismiss {
        /// Index of the child.
        child: usize,
    },
    /// All children serve for the first time.
    Up,
    /// Nothing runs any more; nothing will.
    End(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Starting,
    Live { since: Duration },
    Stopping { deadline: Option<Duration> },
}

#[derive(Debug)]
struct Child {
    spec: Spec,
    generation: u64,
    state: State,
    /// It is to be stopped when its turn comes.
    condemned: bool,
    /// It is to be started (again) when its turn comes.
    wanted: bool,
    /// Not before this time.
    not_before: Duration,
    /// Deaths in a row.
    streak: u32,
    /// Temporary and ended.
    forgotten: bool,
}

impl Child {
    fn active(&self) -> bool {
        matches!(self.state, State::Starting | State::Live { .. })
    }
}

/// The state of one supervisor.
#[derive(Debug)]
pub struct Policy {
    plan: Plan,
    children: Vec<Child>,
    restarts: VecDeque<Duration>,
    /// Deaths since the work last moved on.
    fruitless: u32,
    abandoned: Vec<(usize, u64)>,
    inherited: u32,
    up: bool,
    ending: Option<Ending>,
    ended: bool,
}

impl Policy {
    /// A supervisor that has not begun. Panics on a significant permanent child: it would never end anything.
    pub fn new(plan: Plan, specs: Vec<Spec>) -> Policy {
        let children = specs.into_iter().map(|spec| {
            assert!(
                !(spec.significant && spec.restart == Restart::Permanent),
                "the significant child \"{}\" must not be permanent",
                spec.name
            );
            let generation = spec.after;
            let not_before = Duration::ZERO;
            let (condemned, wanted, forgotten) = (false, false, false);
            Child { spec, generation, state: State::Idle, condemned, wanted, not_before, streak: 0, forgotten }
        });
        Policy {
            children: children.collect(),
            plan,
            restarts: VecDeque::new(),
            fruitless: 0,
            abandoned: Vec::new(),
            inherited: 0,
            up: false,
            ending: None,
            ended: false,
        }
    }

    /// Takes an event at a time that never goes back.
    pub fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        if self.ended {
            return out;
        }
        match event {
            Event::Begin => self.children.iter_mut().for_each(|child| child.wanted = true),
            Event::Started { child, generation } => self.started(now, child, generation),
            Event::Exit { child, generation, reason } => self.exit(now, child, generation, reason, &mut out),
            Event::Hung { child, generation, busy } => self.hung(now, child, generation, busy, &mut out),
            Event::Stop => self.end(Ending::Asked),
            Event::Tick => {}
        }
        self.overdue(now, &mut out);
        self.advance(now, &mut out);
        out
    }

    /// The work below has moved on since the last event: what died before was survived.
    pub fn progressed(&mut self) {
        self.fruitless = 0;
    }

    /// When the next `Tick` must come, if nothing else happens before.
    pub fn deadline(&self) -> Option<Duration> {
        if let Some(deadline) = self.children.iter().find_map(|child| match child.state {
            State::Stopping { deadline } => Some(deadline),
            _ => None,
        }) {
            return deadline;
        }
        if self.ended || self.children.iter().any(|child| child.state == State::Starting) {
            return None;
        }
        self.waiting().map(|child| self.children[child].not_before).min()
    }

    /// How many hung threads are left behind now, those of supervisors below included.
    pub fn abandoned(&self) -> u32 {
        self.abandoned.len() as u32 + self.inherited
    }

    /// Restarts within the period, as counted at the last death.
    pub fn restarts(&self) -> u32 {
        self.restarts.len() as u32
    }

    fn started(&mut self, now: Duration, index: usize, generation: u64) {
        let child = &mut self.children[index];
        if child.generation == generation && child.state == State::Starting {
            child.state = State::Live { since: now };
        }
    }

    fn exit(&mut self, now: Duration, index: usize, generation: u64, reason: Reason, out: &mut Vec<Action>) {
        if let Some(place) = self.abandoned.iter().position(|gone| *gone == (index, generation)) {
            self.abandoned.swap_remove(place);
            return;
        }
        let child = &mut self.children[index];
        if child.generation != generation || child.state == State::Idle {
            return;
        }
        if let Reason::GaveUp(gave_up) = &reason {
            self.inherited += gave_up.abandoned;
        }
        let was = child.state;
        child.state = State::Idle;
        if child.condemned || matches!(was, State::Stopping { .. }) {
            self.stopped(index, out);
        } else {
            self.decide(now, index, was, reason, out);
        }
    }

    fn hung(&mut self, now: Duration, index: usize, generation: u64, busy: Duration, out: &mut Vec<Action>) {
        let child = &self.children[index];
        if child.generation != generation || !child.active() {
            return;
        }
        let (was, condemned) = (child.state, child.condemned);
        self.abandon(index, out);
        if condemned {
            self.stopped(index, out);
        }
        if !self.too_many_abandoned(index, Reason::Hung(busy)) && !condemned {
            self.decide(now, index, was, Reason::Hung(busy), out);
        }
    }

    fn abandon(&mut self, index: usize, out: &mut Vec<Action>) {
        let child = &mut self.children[index];
        child.state = State::Idle;
        out.push(Action::Abandon { child: index, generation: child.generation });
        self.abandoned.push((index, child.generation));
    }

    fn too_many_abandoned(&mut self, index: usize, reason: Reason) -> bool {
        let too_many = self.abandoned() > self.plan.abandoned;
        if too_many {
            self.give_up(index, reason);
        }
        too_many
    }

    /// A child that was to stop has stopped.
    fn stopped(&mut self, index: usize, out: &mut Vec<Action>) {
        let child = &mut self.children[index];
        child.condemned = false;
        if !child.wanted {
            child.forgotten = child.spec.restart == Restart::Temporary;
            out.push(Action::Dismiss { child: index });
        }
    }

    /// A child ended by itself: the heart of the policy.
    fn decide(&mut self, now: Duration, index: usize, was: State, reason: Reason, out: &mut Vec<Action>) {
        let child = &self.children[index];
        if reason.hopeless() || self.too_many_inherited() {
            return self.give_up(index, reason);
        }
        let again = match child.spec.restart {
            Restart::Permanent => true,
            Restart::Transient => reason.abnormal(),
            Restart::Temporary => false,
            Restart::Successive => reason.abnormal() || reason == Reason::Normal,
        };
        if !again {
            let ends_all = child.spec.significant && self.plan.auto_shutdown;
            let name = child.spec.name.clone();
            self.stopped(index, out);
            if ends_all {
                self.end(Ending::Done { child: name, reason });
            }
            return;
        }
        if reason.abnormal() || child.spec.restart == Restart::Permanent {
            if !self.count(now) {
                return self.give_up(index, reason);
            }
            self.delay(now, index, was);
        }
        self.strike(index);
    }

    fn too_many_inherited(&self) -> bool {
        self.inherited > 0 && self.abandoned() > self.plan.abandoned
    }

    /// Counts a restart; false: it is one too many.
    fn count(&mut self, now: Duration) -> bool {
        while self.restarts.front().is_some_and(|then| now.saturating_sub(*then) >= self.plan.period) {
            self.restarts.pop_front();
        }
        self.fruitless += 1;
        let fruitless = self.plan.fruitless.is_some_and(|limit| self.fruitless > limit);
        if fruitless || self.restarts.len() >= self.plan.intensity as usize {
            return false;
        }
        self.restarts.push_back(now);
        true
    }

    /// The first restart in a row is immediate, then the delay grows.
    fn delay(&mut self, now: Duration, index: usize, was: State) {
        let child = &mut self.children[index];
        if matches!(was, State::Live { since } if now.saturating_sub(since) >= self.plan.period) {
            child.streak = 0;
        }
        child.streak += 1;
        let delay = match child.streak {
            1 => Duration::ZERO,
            n => self.plan.backoff.saturating_mul(1 << (n - 2).min(30)).min(self.plan.backoff_cap),
        };
        child.not_before = now + delay;
    }

    /// Marks who must stop and who must start after the death of a child.
    fn strike(&mut self, index: usize) {
        let affected = match self.plan.strategy {
            Strategy::OneForOne => index..index + 1,
            Strategy::OneForAll => 0..self.children.len(),
            Strategy::RestForOne => index..self.children.len(),
        };
        let not_before = self.children[index].not_before;
        for child in &mut self.children[affected] {
            if !child.forgotten {
                child.condemned |= child.active();
                child.wanted |= child.spec.restart != Restart::Temporary;
                child.not_before = child.not_before.max(not_before);
            }
        }
    }

    fn give_up(&mut self, index: usize, reason: Reason) {
        let child = self.children[index].spec.name.clone();
        self.end(Ending::GaveUp(GaveUp { child, reason, restarts: self.restarts(), abandoned: self.abandoned() }));
    }

    /// From now on everything is stopped, last first; the first cause stands, but for a wish to stop.
    fn end(&mut self, ending: Ending) {
        if self.ending.as_ref().is_none_or(|known| *known == Ending::Asked && matches!(ending, Ending::GaveUp(_))) {
            self.ending = Some(ending);
        }
        for child in &mut self.children {
            child.wanted = false;
            child.condemned |= child.active();
        }
    }

    /// Children that did not stop in time are abandoned.
    fn overdue(&mut self, now: Duration, out: &mut Vec<Action>) {
        for index in 0..self.children.len() {
            let State::Stopping { deadline: Some(deadline) } = self.children[index].state else {
                continue;
            };
            if now >= deadline {
                self.abandon(index, out);
                self.stopped(index, out);
                let late = self.children[index].spec.shutdown.unwrap_or_default();
                self.too_many_abandoned(index, Reason::Hung(late));
            }
        }
    }

    /// Takes the next step towards what is wanted: stop one, or start one, or say that it is done.
    fn advance(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.children.iter().any(|child| matches!(child.state, State::Stopping { .. })) {
            return;
        }
        if let Some(index) = self.children.iter().rposition(|child| child.condemned && child.active()) {
            let child = &mut self.children[index];
            child.state = State::Stopping { deadline: child.spec.shutdown.map(|within| now + within) };
            out.push(Action::Stop { child: index, generation: child.generation });
            return;
        }
        if self.ending.is_some() {
            self.finish(out);
            return;
        }
        if self.children.iter().any(|child| child.state == State::Starting) {
            return;
        }
        let next = self.waiting().find(|index| self.children[*index].not_before <= now);
        if let Some(index) = next {
            let child = &mut self.children[index];
            child.wanted = false;
            child.generation += 1;
            child.state = State::Starting;
            out.push(Action::Start { child: index, generation: child.generation });
        } else if !self.up && !self.children.iter().any(|child| child.wanted) {
            self.up = true;
            out.push(Action::Up);
        }
    }

    /// The children that may be started next: all that wait where each stands alone, else only the first.
    fn waiting(&self) -> impl Iterator<Item = usize> {
        let alone = self.up && self.plan.strategy == Strategy::OneForOne;
        let wait = self.children.iter().enumerate().filter(|(_, child)| child.wanted && child.state == State::Idle);
        wait.map(|(index, _)| index).take(if alone { usize::MAX } else { 1 })
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        let abandoned = self.abandoned();
        let Some(mut ending) = self.ending.take() else {
            return;
        };
        if let Ending::GaveUp(gave_up) = &mut ending {
            gave_up.abandoned = abandoned;
        }
        self.ended = true;
        out.push(Action::End(ending));
    }
}
