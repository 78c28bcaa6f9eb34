//! Events on their way: to the application's listener at once, to the journal with the trainer's next note.

use crate::event::Event;
use crossbeam_channel::{Receiver, Sender, unbounded};
use pleach_sync::Lock;

/// Metrics that a slow listener may be behind; further ones are dropped for it (never for the journal).
const BEHIND: usize = 1024;

/// One per run.
pub struct Bus {
    listener: Sender<Event>,
    /// Not yet in the journal.
    waiting: Lock<Vec<Event>>,
}

impl Bus {
    /// A bus and its listener's end: state changes are never lost there, metrics are when it lags.
    pub fn new() -> (Bus, Receiver<Event>) {
        let (listener, events) = unbounded();
        (Bus { listener, waiting: Lock::new(Vec::new()) }, events)
    }

    /// Something happened.
    pub fn emit(&self, event: Event) {
        let metric = matches!(event, Event::Step { .. });
        if !metric || self.listener.len() < BEHIND {
            // Nobody listens any more: the journal still does.
            let _ = self.listener.send(event.clone());
        }
        self.waiting.hold().push(event);
    }

    /// What the journal has not seen yet.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.waiting.hold())
    }
}
