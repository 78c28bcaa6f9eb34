//! Two slots for the last good state: the writer never waits, a whole state is always there, no reader goes back.

use crate::facade::{AtomicU64, Lock, Ordering, mutant};

#[derive(Debug)]
struct Slot<T> {
    /// Which state this is: 1, 2, 3, ...; 0 while it is empty or half written.
    epoch: u64,
    value: T,
}

/// Two slots, filled in turn in place (their buffers are used again). The newest whole state stays untouched while the
/// other slot is filled; where a slow reader still holds that other slot, the writer keeps the newest and says so.
#[derive(Debug)]
pub struct Vault<T> {
    slots: [Lock<Slot<T>>; 2],
    /// The newest whole epoch; it lives in slot `epoch % 2`.
    newest: AtomicU64,
    /// The writer's own count of the same, so that it need not look at what it shares.
    writer: Lock<u64>,
}

/// A place in the sequence of states: a reader sees each state at most once, and never an older one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    seen: u64,
}

impl Reader {
    /// The epoch last seen; 0 before the first.
    pub fn seen(&self) -> u64 {
        self.seen
    }
}

impl<T> Vault<T> {
    /// A vault whose slots start as these two (empty) values.
    pub fn new(first: T, second: T) -> Vault<T> {
        let slot = |value| Lock::new(Slot { epoch: 0, value });
        Vault { slots: [slot(first), slot(second)], newest: AtomicU64::new(0), writer: Lock::new(0) }
    }

    /// The writer fills the older slot in place and publishes it as the newest. Gives the new epoch, or None, at once,
    /// where a reader still holds that slot (or another writer is at work): the newest state before stays the newest.
    /// Where `fill` fails or panics nothing is published, and the newest state before is still whole.
    pub fn put<E>(&self, fill: impl FnOnce(&mut T) -> Result<(), E>) -> Result<Option<u64>, E> {
        let Some(mut written) = self.writer.try_hold() else {
            return Ok(None);
        };
        let epoch = *written + 1;
        let target = if mutant("vault-overwrite") { epoch - 1 } else { epoch };
        let Some(mut slot) = self.slots[(target % 2) as usize].try_hold() else {
            return Ok(None);
        };
        slot.epoch = 0;
        if mutant("vault-early") {
            slot.epoch = epoch;
            self.newest.store(epoch, Ordering::Release);
            drop(slot);
            slot = self.slots[(target % 2) as usize].hold();
        }
        fill(&mut slot.value)?;
        slot.epoch = epoch;
        drop(slot);
        self.newest.store(epoch, Ordering::Release);
        *written = epoch;
        Ok(Some(epoch))
    }

    /// Shows the newest state to `look`, if it is newer than what this reader has seen. None: nothing newer.
    pub fn newer<R>(&self, reader: &mut Reader, look: impl FnOnce(u64, &T) -> R) -> Option<R> {
        let floor = reader.seen + 1;
        let (epoch, found) = self.visit(floor, look)?;
        reader.seen = epoch;
        Some(found)
    }

    /// Shows the newest state to `look`, seen before or not; never one older than this reader has seen. None: the vault
    /// is empty.
    pub fn newest<R>(&self, reader: &mut Reader, look: impl FnOnce(u64, &T) -> R) -> Option<R> {
        let (epoch, found) = self.visit(reader.seen.max(1), look)?;
        reader.seen = epoch;
        Some(found)
    }

    /// The epoch of the newest whole state; 0: the vault is empty.
    pub fn epoch(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    fn visit<R>(&self, floor: u64, look: impl FnOnce(u64, &T) -> R) -> Option<(u64, R)> {
        loop {
            let newest = self.newest.load(Ordering::Acquire);
            if newest < floor {
                return None;
            }
            let slot = self.slots[(newest % 2) as usize].hold();
            // Between the look at `newest` and the lock the writer may have come round: then this slot holds a later
            // state, or one that was given up half written while the newest moved to the other slot.
            if slot.epoch >= floor || mutant("vault-no-epoch-check") {
                return Some((slot.epoch, look(slot.epoch, &slot.value)));
            }
            drop(slot);
            relax();
        }
    }
}

#[cfg(loom)]
fn relax() {
    loom::thread::yield_now();
}

#[cfg(not(loom))]
fn relax() {
    std::thread::yield_now();
}
