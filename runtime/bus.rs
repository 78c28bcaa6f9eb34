//! Events on their way: to the application's listener at once, to the journal with the trainer's next note.

use crate::event::Event;
use crossbeam_channel::{Receiver, Sender, unbounded};
use pleach_sync::Lock;

/// Metrics that a slow listener may be behind; further ones are dropped for it (never for the journal).
const BEHIND: usize = 1024;

/// An event and its number: 0, 1, 2, ... in the order in which this process told them.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbered {
    /// The number: an event that is sent twice is known by it.
    pub number: u64,
    /// What happened.
    pub event: Event,
}

/// One per run.
pub struct Bus {
    listener: Sender<Event>,
    /// Not yet in the journal, and the next event's number.
    waiting: Lock<(Vec<Numbered>, u64)>,
    /// The highest step that was made in this process.
    reached: Lock<u64>,
}

impl Bus {
    /// A bus and its listener's end: state changes are never lost there, metrics are when it lags.
    pub fn new() -> (Bus, Receiver<Event>) {
        let (listener, events) = unbounded();
        (Bus { listener, waiting: Lock::new((Vec::new(), 0)), reached: Lock::default() }, events)
    }

    /// Something happened.
    pub fn emit(&self, event: Event) {
        let metric = matches!(event, Event::Step { .. });
        if let Event::Step { step, .. } | Event::Skipped { step, .. } = event {
            let mut reached = self.reached.hold();
            *reached = step.max(*reached);
        }
        if !metric || self.listener.len() < BEHIND {
            // Nobody listens any more: the journal still does.
            let _ = self.listener.send(event.clone());
        }
        let mut held = self.waiting.hold();
        let (waiting, next) = &mut *held;
        waiting.push(Numbered { number: *next, event });
        *next += 1;
    }

    /// The highest step of this process so far: what a replay goes through again is no progress.
    pub fn reached(&self) -> u64 {
        *self.reached.hold()
    }

    /// What the journal has not seen yet.
    pub fn take(&self) -> Vec<Numbered> {
        std::mem::take(&mut self.waiting.hold().0)
    }
}
