//! Events on their way: to the application's listener at once, in bounded memory; to the journal with the trainer's
//! next note.

use crate::event::Event;
use crossbeam_channel::{Receiver, Sender, bounded};
use pleach_sync::Lock;
use std::collections::BTreeMap;

/// Events that a slow listener may be behind before metrics are dropped for it (never for the journal).
const METRICS_BEHIND: usize = 1024;
/// The same for state changes, of which a run makes a few an hour: beyond this nobody listens. How many were dropped is
/// the next thing a listener hears that comes back.
const BEHIND: usize = 8192;
/// Room for the end of the run and for the number of lost events, whatever went before.
const LAST: usize = 2;

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
    held: Lock<Held>,
}

#[derive(Default)]
struct Held {
    /// Not yet in the journal.
    waiting: Vec<Numbered>,
    /// The next event's number.
    next: u64,
    /// State changes that found no room at the listener's end.
    lost: u64,
    /// Steps of the stages that ended in this process, each by the model that it handed on.
    ended: BTreeMap<String, u64>,
    /// The most steps that were made in this process, those of its stages together.
    reached: u64,
}

impl Bus {
    /// A bus and its listener's end.
    pub fn new() -> (Bus, Receiver<Event>) {
        let (listener, events) = bounded(BEHIND + LAST);
        (Bus { listener, held: Lock::default() }, events)
    }

    /// Something happened. Never waits for a listener.
    pub fn emit(&self, event: Event) {
        let mut held = self.held.hold();
        self.tell(&event, &mut held.lost);
        match &event {
            Event::Step { step, .. } | Event::Skipped { step, .. } => {
                held.reached = held.reached.max(held.ended.values().sum::<u64>() + step);
            }
            Event::StageFinished { step, model, .. } => drop(held.ended.insert(model.clone(), *step)),
            _ => {}
        }
        let number = held.next;
        held.waiting.push(Numbered { number, event });
        held.next += 1;
    }

    fn tell(&self, event: &Event, lost: &mut u64) {
        let bound = match event {
            Event::Step { .. } => METRICS_BEHIND,
            Event::Ended { .. } => BEHIND + LAST,
            _ => BEHIND,
        };
        // Nobody listens any more, where sending fails: the journal still does.
        let room = self.listener.len() < bound;
        // Telling it takes room of its own.
        if *lost > 0 && self.listener.len() + 1 < bound {
            let what = format!("{lost} events did not reach this listener, which was {BEHIND} behind");
            let _ = self.listener.try_send(Event::Trouble { what, then: "they stand in the journal".into() });
            *lost = 0;
        }
        match event {
            _ if room => drop(self.listener.try_send(event.clone())),
            Event::Step { .. } => {}
            _ => *lost += 1,
        }
    }

    /// The most steps of this process so far: what a replay goes through again is no progress.
    pub fn reached(&self) -> u64 {
        self.held.hold().reached
    }

    /// What the journal has not seen yet.
    pub fn take(&self) -> Vec<Numbered> {
        std::mem::take(&mut self.held.hold().waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Event {
        let (loss, grad_norm, learning_rate, step_time, tokens_per_second) = (1.0, 1.0, 1.0, 1.0, 1.0);
        let metrics = std::collections::BTreeMap::new();
        Event::Step { step, loss, grad_norm, learning_rate, num_tokens: step, step_time, tokens_per_second, metrics }
    }

    #[test]
    fn a_listener_that_never_listens_costs_a_bounded_memory_and_hears_the_end() {
        let (bus, events) = Bus::new();
        let told = 3 * BEHIND as u64;
        for number in 0..told {
            bus.emit(step(number));
            bus.emit(Event::Resumed);
            assert_eq!(bus.take().len(), 2, "the journal gets each");
        }
        bus.emit(Event::Ended { how: "finished".into(), why: String::new() });
        assert!(events.len() <= BEHIND + LAST, "{} events wait", events.len());
        let heard: Vec<Event> = events.try_iter().collect();
        let resumed = heard.iter().filter(|event| **event == Event::Resumed).count() as u64;
        let steps = heard.iter().filter(|event| matches!(event, Event::Step { .. })).count();
        assert!(steps <= METRICS_BEHIND, "{steps} metrics");
        let Some([Event::Trouble { what, .. }, Event::Ended { .. }]) = heard.last_chunk() else {
            panic!("the last words are missing: {:?}", heard.last_chunk::<2>())
        };
        assert!(what.starts_with(&format!("{} events", told - resumed)), "{what}");
        bus.emit(step(1));
        assert_eq!(events.try_iter().count(), 1, "who listens again hears what follows, and no more of what is lost");
    }
}
