//! The primitives under everything here: the standard library's, or loom's where a model is checked.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::{Condvar, Mutex, MutexGuard};
use std::sync::{PoisonError, TryLockError};
use std::time::Instant;

/// A mutual exclusion that a panicking holder does not poison: its users keep their data whole at every step, and
/// whoever panicked is hired again.
#[derive(Debug, Default)]
pub struct Lock<T> {
    inside: Mutex<T>,
}

impl<T> Lock<T> {
    /// A lock round a value.
    pub fn new(value: T) -> Lock<T> {
        Lock { inside: Mutex::new(value) }
    }

    /// Waits for the value.
    pub fn hold(&self) -> MutexGuard<'_, T> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, if nobody holds it.
    pub fn try_hold(&self) -> Option<MutexGuard<'_, T>> {
        match self.inside.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

/// A bell that threads wait at, always with the lock whose state they wait for.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    inside: Condvar,
}

impl Bell {
    pub(crate) fn new() -> Bell {
        Bell { inside: Condvar::new() }
    }

    /// Waits for a ring, or for `until` (None: for ever). The caller looks at the state again in a loop.
    #[cfg(not(loom))]
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, until: Option<Instant>) -> MutexGuard<'a, T> {
        match until {
            None => self.inside.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.inside.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// The same in a model, where time does not pass.
    #[cfg(loom)]
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>, _until: Option<Instant>) -> MutexGuard<'a, T> {
        self.inside.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ring(&self) {
        self.inside.notify_all();
    }
}

/// True where the model checker asks for this mistake: the tests show that each is caught. Never true in a program.
#[cfg(loom)]
pub(crate) fn mutant(name: &str) -> bool {
    std::env::var("PLEACH_MUTANT").is_ok_and(|wanted| wanted == name)
}

/// No mistake is made outside the model checker.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn mutant(_name: &str) -> bool {
    false
}
