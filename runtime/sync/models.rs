//! loom's walk through the interleavings of each piece, and the proof that each planted mistake is caught.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p pleach-sync --test models --target-dir target/loom`
//! Exhaustive where the numbers say so in a second, else with three pre-emptions (`LOOM_MAX_PREEMPTIONS` overrides).
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use std::process::Command;

use loom::sync::Arc;
use loom::thread;
use pleach_sync::gate::Wish;
use pleach_sync::{Gate, Heartbeat, Popped, Pushed, Reader, Ring, Vault};

/// Walks a model with at most `preemptions` (None: all interleavings).
fn walk(preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_branches = 100_000;
    builder.check(model);
}

#[test]
fn ring_keeps_the_order_of_one_producer_and_drains_after_close() {
    walk(Some(3), || {
        let ring = Arc::new(Ring::new(2, 0));
        let producer = thread::spawn({
            let ring = ring.clone();
            move || {
                (0..3).for_each(|item| assert_eq!(ring.push(item, None), Pushed::In));
                ring.close();
                assert_eq!(ring.push(9, None), Pushed::Refused(9));
            }
        });
        for item in 0..3 {
            assert_eq!(ring.pop(None), Popped::Item(item));
        }
        assert_eq!(ring.pop(None), Popped::Closed);
        producer.join().unwrap();
    });
}

#[test]
fn ring_keeps_the_order_of_tickets_whoever_brings_them() {
    walk(Some(3), || {
        let ring = Arc::new(Ring::new(1, 5));
        let bring = |tickets: &'static [u64]| {
            let ring = ring.clone();
            move || {
                for ticket in tickets {
                    assert_eq!(ring.push_at(*ticket, *ticket, None), Pushed::In);
                }
            }
        };
        let even = thread::spawn(bring(&[6]));
        let odd = thread::spawn(bring(&[5, 7]));
        for ticket in 5..8 {
            assert_eq!(ring.pop(None), Popped::Item(ticket));
        }
        even.join().unwrap();
        odd.join().unwrap();
    });
}

#[test]
fn ring_loses_nothing_of_two_producers_that_wait_for_room() {
    walk(Some(3), || {
        let ring = Arc::new(Ring::new(1, 0));
        assert_eq!(ring.push(1, None), Pushed::In);
        let bring = |item| {
            let ring = ring.clone();
            move || assert_eq!(ring.push(item, None), Pushed::In)
        };
        let (second, third) = (thread::spawn(bring(2)), thread::spawn(bring(3)));
        assert_eq!(ring.pop(None), Popped::Item(1));
        let rest = [ring.pop(None), ring.pop(None)];
        assert!(rest == [Popped::Item(2), Popped::Item(3)] || rest == [Popped::Item(3), Popped::Item(2)]);
        second.join().unwrap();
        third.join().unwrap();
    });
}

#[test]
fn ring_close_wakes_a_producer_that_waits_for_room() {
    walk(None, || {
        let ring = Arc::new(Ring::new(1, 0));
        assert_eq!(ring.push(0, None), Pushed::In);
        let producer = thread::spawn({
            let ring = ring.clone();
            move || assert_eq!(ring.push(1, None), Pushed::Refused(1))
        });
        ring.close();
        producer.join().unwrap();
        assert_eq!(ring.pop(None), Popped::Item(0));
        assert_eq!(ring.pop(None), Popped::Closed);
    });
}

#[test]
fn ring_close_wakes_a_consumer_that_waits_for_an_item() {
    walk(None, || {
        let ring = Arc::new(Ring::<u8>::new(1, 0));
        let consumer = thread::spawn({
            let ring = ring.clone();
            move || assert_eq!(ring.pop(None), Popped::Closed)
        });
        ring.close();
        consumer.join().unwrap();
    });
}

#[test]
fn vault_shows_whole_states_and_never_an_older_one() {
    walk(Some(3), || {
        let vault = Arc::new(Vault::new([0u64; 2], [0u64; 2]));
        let writer = thread::spawn({
            let vault = vault.clone();
            move || {
                let mut last = 0;
                for value in 1..=3u64 {
                    let put = vault.put(|state| {
                        state[0] = value;
                        thread::yield_now();
                        state[1] = value;
                        Ok::<(), ()>(())
                    });
                    let epoch = put.unwrap();
                    assert!(epoch.is_none_or(|epoch| epoch == last + 1));
                    last = epoch.unwrap_or(last);
                }
                assert!(last >= 1, "the first two states find their slots free");
            }
        });
        let mut reader = Reader::default();
        let (mut seen, mut value) = (0, 0);
        for again in [false, true, false] {
            let look = |epoch: u64, state: &[u64; 2]| (epoch, *state);
            let found = if again { vault.newest(&mut reader, look) } else { vault.newer(&mut reader, look) };
            let Some((epoch, state)) = found else {
                assert!(!again || seen == 0, "a state that was there is there still");
                continue;
            };
            assert_eq!(state[0], state[1], "half a state");
            assert!(epoch > seen || (again && epoch == seen), "went back");
            assert!(state[0] > value || (epoch == seen && state[0] == value), "an older value");
            (seen, value) = (epoch, state[0]);
        }
        writer.join().unwrap();
        assert!(vault.newest(&mut reader, |_, state| *state).is_some());
    });
}

#[test]
fn vault_keeps_a_whole_state_while_the_next_is_written_or_fails() {
    walk(None, || {
        let vault = Arc::new(Vault::new(0u64, 0u64));
        assert_eq!(
            vault.put(|state| {
                *state = 1;
                Ok::<(), ()>(())
            }),
            Ok(Some(1))
        );
        assert_eq!(vault.newest(&mut Reader::default(), |_, state| *state), Some(1), "there at once");
        let writer = thread::spawn({
            let vault = vault.clone();
            move || {
                assert_eq!(
                    vault.put(|state| {
                        *state = 2;
                        Ok::<(), ()>(())
                    }),
                    Ok(Some(2))
                );
                let torn = vault.put(|state| {
                    *state = 99;
                    Err(())
                });
                assert!(torn.is_err() || torn == Ok(None));
            }
        });
        let mut reader = Reader::default();
        let value = vault.newest(&mut reader, |_, state| *state);
        assert!(matches!(value, Some(1 | 2)), "the last good state is {value:?}");
        writer.join().unwrap();
        assert_eq!(vault.newest(&mut reader, |_, state| *state), Some(2));
    });
}

#[test]
fn gate_parks_acknowledges_and_lets_go() {
    walk(Some(3), || {
        let gate = Arc::new(Gate::new());
        gate.ask(Wish::Pause);
        let worker = thread::spawn({
            let gate = gate.clone();
            move || {
                let mut steps = 0;
                while gate.pass() == Wish::Run {
                    steps += 1;
                    assert!(steps < 3, "passed a gate after the stop");
                    if steps == 2 {
                        break;
                    }
                }
            }
        });
        assert!(gate.parked(1, None), "the pause is acknowledged");
        gate.ask(Wish::Run);
        gate.ask(Wish::Stop);
        gate.ask(Wish::Run);
        worker.join().unwrap();
        assert_eq!(gate.wish(), Wish::Stop);
        assert!(!gate.parked(1, None), "nobody waits for a pause that was lifted");
    });
}

#[test]
fn heartbeat_of_a_replaced_child_never_touches_its_successor() {
    walk(None, || {
        let heart = Arc::new(Heartbeat::new());
        heart.advance(1);
        assert!(heart.enter(1, 10));
        let hung = thread::spawn({
            let heart = heart.clone();
            move || (heart.leave(1), heart.enter(1, 30))
        });
        heart.advance(2);
        assert!(heart.enter(2, 20), "the successor holds the post");
        assert!(heart.order_stop(2));
        let (left, _) = hung.join().unwrap();
        let busy = heart.busy().expect("the successor's mark stands");
        assert_eq!((busy.generation, busy.since), (2, 20));
        assert!(heart.stopping(2) && heart.stopping(1) && !heart.holds(1));
        assert!(!heart.enter(1, 40) && !heart.leave(1), "fenced off for good, left in time: {left}");
    });
}

#[test]
fn heartbeat_loses_neither_the_stop_nor_the_mark() {
    walk(None, || {
        let heart = Arc::new(Heartbeat::new());
        heart.advance(1);
        let child = thread::spawn({
            let heart = heart.clone();
            move || assert!(heart.enter(1, 5) && heart.leave(1) && heart.enter(1, 7))
        });
        assert!(heart.order_stop(1));
        child.join().unwrap();
        assert!(heart.stopping(1));
        assert_eq!(heart.busy().map(|busy| busy.since), Some(7));
    });
}

/// Each mutant with the model that must fail on it. A mutant runs in a process of its own: loom aborts on a deadlock.
const MUTANTS: [(&str, &str); 10] = [
    ("ring-silent-push", "ring_keeps_the_order_of_one_producer_and_drains_after_close"),
    ("ring-silent-pop", "ring_keeps_the_order_of_one_producer_and_drains_after_close"),
    ("ring-push-once", "ring_loses_nothing_of_two_producers_that_wait_for_room"),
    ("ring-silent-close", "ring_close_wakes_a_consumer_that_waits_for_an_item"),
    ("vault-overwrite", "vault_keeps_a_whole_state_while_the_next_is_written_or_fails"),
    ("vault-early", "vault_shows_whole_states_and_never_an_older_one"),
    ("vault-no-epoch-check", "vault_keeps_a_whole_state_while_the_next_is_written_or_fails"),
    ("gate-silent-ask", "gate_parks_acknowledges_and_lets_go"),
    ("gate-silent-park", "gate_parks_acknowledges_and_lets_go"),
    ("heartbeat-store", "heartbeat_of_a_replaced_child_never_touches_its_successor"),
];

#[test]
fn every_mutant_is_caught() {
    let this = std::env::current_exe().unwrap();
    let survivors: Vec<_> = MUTANTS
        .iter()
        .filter(|(mutant, model)| {
            let mut child = Command::new(&this);
            child.args(["--exact", model, "--nocapture"]).env("PLEACH_MUTANT", mutant);
            let output = child.output().unwrap();
            let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
            assert!(ran, "{mutant}: the model {model} does not exist");
            output.status.success()
        })
        .collect();
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}
