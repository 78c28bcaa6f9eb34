//! A bounded prefetch ring: any number of producers, one order, one consumer; closing wakes everybody.

use std::collections::VecDeque;
use std::time::Instant;

use crate::facade::{Bell, Lock, mutant};

/// How a push ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// The item is in.
    In,
    /// The ring is closed, or this ticket was taken already: the item comes back.
    Refused(T),
    /// `until` came first: the item comes back.
    Late(T),
}

/// How a pop ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// The next item in order.
    Item(T),
    /// The ring is closed and what was in order is drained.
    Closed,
    /// `until` came first.
    Late,
}

#[derive(Debug)]
struct State<T> {
    /// Places head .. head + capacity; an empty one waits for its producer.
    places: VecDeque<Option<T>>,
    /// The ticket of the next item to come out.
    head: u64,
    /// The ticket of the next plain push.
    next: u64,
    closed: bool,
}

/// Items come out in the order of their tickets 0, 1, 2, ..., whichever thread brought them: several workers may
/// prepare windows at once and the trainer still sees one sequence. At most `capacity` items wait at any time.
#[derive(Debug)]
pub struct Ring<T> {
    state: Lock<State<T>>,
    bell: Bell,
    capacity: usize,
}

impl<T> Ring<T> {
    /// A ring of `capacity` places, at least one, whose first ticket is `first`.
    pub fn new(capacity: usize, first: u64) -> Ring<T> {
        assert!(capacity >= 1, "a ring has at least one place");
        let places = (0..capacity).map(|_| None).collect();
        Ring {
            state: Lock::new(State { places, head: first, next: first, closed: false }),
            bell: Bell::new(),
            capacity,
        }
    }

    /// Pushes the next item of a single sequence, waiting for a place. Do not mix with [`Ring::push_at`].
    pub fn push(&self, item: T, until: Option<Instant>) -> Pushed<T> {
        let mut state = self.state.hold();
        loop {
            if state.closed {
                return Pushed::Refused(item);
            }
            let ticket = state.next;
            let index = (ticket - state.head) as usize;
            if index < self.capacity {
                state.next += 1;
                state.places[index] = Some(item);
                self.tell(index == 0);
                return Pushed::In;
            }
            if expired(until) {
                return Pushed::Late(item);
            }
            state = self.bell.wait(state, until);
            if mutant("ring-push-once") {
                let index = (state.next - state.head) as usize % self.capacity;
                state.next += 1;
                state.places[index] = Some(item);
                self.bell.ring();
                return Pushed::In;
            }
        }
    }

    /// Puts the item of a ticket in its place, waiting until the consumer has come near enough. A ticket is delivered
    /// once: one that was brought already is refused.
    pub fn push_at(&self, ticket: u64, item: T, until: Option<Instant>) -> Pushed<T> {
        let mut state = self.state.hold();
        loop {
            if state.closed || ticket < state.head {
                return Pushed::Refused(item);
            }
            let index = ticket - state.head;
            if index < self.capacity as u64 {
                let index = index as usize;
                if state.places[index].is_some() {
                    return Pushed::Refused(item);
                }
                state.places[index] = Some(item);
                self.tell(index == 0);
                return Pushed::In;
            }
            if expired(until) {
                return Pushed::Late(item);
            }
            state = self.bell.wait(state, until);
        }
    }

    /// Takes the next item in order, waiting for it.
    pub fn pop(&self, until: Option<Instant>) -> Popped<T> {
        let mut state = self.state.hold();
        loop {
            if let Some(item) = state.places[0].take() {
                state.places.rotate_left(1);
                state.head += 1;
                if !mutant("ring-silent-pop") {
                    self.bell.ring();
                }
                return Popped::Item(item);
            }
            if state.closed {
                return Popped::Closed;
            }
            if expired(until) {
                return Popped::Late;
            }
            state = self.bell.wait(state, until);
        }
    }

    /// Closes: pushes are refused from now on, pops drain what is in order, everybody who waits is woken.
    pub fn close(&self) {
        self.state.hold().closed = true;
        if !mutant("ring-silent-close") {
            self.bell.ring();
        }
    }

    /// How many items wait, and how many places there are.
    pub fn depth(&self) -> (usize, usize) {
        (self.state.hold().places.iter().flatten().count(), self.capacity)
    }

    fn tell(&self, consumer_can_go_on: bool) {
        if consumer_can_go_on && !mutant("ring-silent-push") {
            self.bell.ring();
        }
    }
}

fn expired(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}
