//! The pieces on real threads: time-outs, depth, panics of a writer, a pause under load.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pleach_sync::gate::Wish;
use pleach_sync::{Gate, Heartbeat, Popped, Pushed, Reader, Ring, Vault};

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(20))
}

#[test]
fn ring_times_out_full_and_empty() {
    let ring = Ring::new(1, 0);
    assert_eq!(ring.pop(soon()), Popped::Late);
    assert_eq!(ring.push(1, None), Pushed::In);
    assert_eq!(ring.push(2, soon()), Pushed::Late(2));
    assert_eq!(ring.depth(), (1, 1));
    assert_eq!(ring.pop(None), Popped::Item(1));
}

#[test]
fn ring_refuses_a_ticket_that_was_brought() {
    let ring = Ring::new(2, 7);
    assert_eq!(ring.push_at(8, 'b', None), Pushed::In);
    assert_eq!(ring.push_at(8, 'x', None), Pushed::Refused('x'));
    assert_eq!(ring.push_at(6, 'x', None), Pushed::Refused('x'));
    assert_eq!(ring.push_at(9, 'c', soon()), Pushed::Late('c'));
    assert_eq!(ring.pop(soon()), Popped::Late, "7 is missing");
    ring.close();
    assert_eq!(ring.pop(None), Popped::Closed, "nothing in order is left");
}

#[test]
fn ring_gives_one_sequence_from_four_workers() {
    let ring = Arc::new(Ring::new(3, 0));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let ring = ring.clone();
            thread::spawn(move || {
                for ticket in (worker..10_000).step_by(4) {
                    assert_eq!(ring.push_at(ticket, ticket, None), Pushed::In);
                }
            })
        })
        .collect();
    for ticket in 0..10_000 {
        assert_eq!(ring.pop(None), Popped::Item(ticket));
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn vault_writer_never_waits_for_a_slow_reader() {
    let vault = Arc::new(Vault::new(0, 0));
    let put = |value| {
        vault
            .put(|state| {
                *state = value;
                Ok::<(), ()>(())
            })
            .unwrap()
    };
    assert_eq!(put(10), Some(1));
    let mut reader = Reader::default();
    let epochs = vault.newest(&mut reader, |_, state| {
        assert_eq!(*state, 10);
        // While this reader holds the first slot, one state finds room and the next does not.
        (put(20), put(30), vault.epoch(), *state)
    });
    assert_eq!(epochs, Some((Some(2), None, 2, 10)));
    assert_eq!(vault.newer(&mut reader, |epoch, state| (epoch, *state)), Some((2, 20)));
    assert_eq!(vault.newer(&mut reader, |epoch, state| (epoch, *state)), None);
    assert_eq!(put(30), Some(3));
    assert_eq!(reader.seen(), 2);
}

#[test]
fn vault_survives_a_writer_that_panics() {
    let vault = Arc::new(Vault::new(0, 0));
    assert_eq!(
        vault.put(|state| {
            *state = 1;
            Ok::<(), ()>(())
        }),
        Ok(Some(1))
    );
    let torn = vault.clone();
    let writer = thread::spawn(move || {
        torn.put(|state| -> Result<(), ()> {
            *state = 99;
            panic!("half way")
        })
        .is_ok()
    });
    assert!(writer.join().is_err());
    let mut reader = Reader::default();
    assert_eq!(vault.newest(&mut reader, |epoch, state| (epoch, *state)), Some((1, 1)));
    assert_eq!(
        vault.put(|state| {
            *state = 2;
            Ok::<(), ()>(())
        }),
        Ok(Some(2))
    );
}

#[test]
fn gate_pauses_and_resumes_under_load() {
    let gate = Arc::new(Gate::new());
    let worker = thread::spawn({
        let gate = gate.clone();
        move || {
            let mut steps = 0u64;
            while gate.pass() == Wish::Run {
                steps += 1;
            }
            steps
        }
    });
    for _ in 0..200 {
        gate.ask(Wish::Pause);
        assert!(gate.parked(1, Some(Instant::now() + Duration::from_secs(10))));
        assert!(!gate.parked(2, soon().map(|soon| soon - Duration::from_millis(19))));
        gate.ask(Wish::Run);
    }
    gate.ask(Wish::Stop);
    worker.join().unwrap();
}

#[test]
#[should_panic(expected = "never goes back")]
fn heartbeat_never_goes_back() {
    let heart = Heartbeat::new();
    heart.advance(3);
    heart.advance(2);
}
