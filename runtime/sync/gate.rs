//! The gate between "go on" and "wait": run, pause, stop, with an acknowledgement once the worker is parked.

use std::time::Instant;

use crate::facade::{Bell, Lock, mutant};

/// What the worker is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Work.
    #[default]
    Run,
    /// Stand still at the next gate, holding all state, until told otherwise.
    Pause,
    /// End in good order.
    Stop,
}

#[derive(Debug, Default)]
struct State {
    wish: Wish,
    parked: usize,
}

/// One gate, any number of askers, any number of workers. A stop is final.
#[derive(Debug, Default)]
pub struct Gate {
    state: Lock<State>,
    bell: Bell,
}

impl Gate {
    /// An open gate.
    pub fn new() -> Gate {
        Gate { state: Lock::new(State::default()), bell: Bell::new() }
    }

    /// Asks for something. Nothing takes back a stop.
    pub fn ask(&self, wish: Wish) {
        let mut state = self.state.hold();
        if state.wish != Wish::Stop {
            state.wish = wish;
        }
        drop(state);
        if !mutant("gate-silent-ask") {
            self.bell.ring();
        }
    }

    /// What is asked for now.
    pub fn wish(&self) -> Wish {
        self.state.hold().wish
    }

    /// The worker passes: at once if it may run, after the pause if it is paused. Returns `Run` or `Stop`.
    pub fn pass(&self) -> Wish {
        let mut state = self.state.hold();
        if state.wish == Wish::Pause {
            state.parked += 1;
            if !mutant("gate-silent-park") {
                self.bell.ring();
            }
            while state.wish == Wish::Pause {
                state = self.bell.wait(state, None);
            }
            state.parked -= 1;
            self.bell.ring();
        }
        state.wish
    }

    /// Waits until at least `workers` are parked. False: the pause was lifted, or `until` came first.
    pub fn parked(&self, workers: usize, until: Option<Instant>) -> bool {
        let mut state = self.state.hold();
        loop {
            if state.wish != Wish::Pause {
                return false;
            }
            if state.parked >= workers {
                return true;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            state = self.bell.wait(state, until);
        }
    }
}
