//! The watchdog: who has been busy too long without a sign of life. A pure function of looks; time is injected.

use std::time::Duration;

pub use pleach_sync::Busy;

/// What a look at the children finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The look itself came this much late (suspend, SIGSTOP, a starved machine): everybody gets a fresh start.
    Late(Duration),
    /// This child of this generation has given no sign of life for so long.
    Accused {
        /// Index of the child.
        child: usize,
        /// Its generation.
        generation: u64,
        /// How long it has been busy, in time in which the watchdog itself was alive.
        busy: Duration,
    },
}

/// Looks every tick. A tick that comes later than twice its time proves that this process did not run, and accuses
/// nobody: busy times are counted from that tick on.
#[derive(Debug)]
pub struct Watch {
    tick: Duration,
    last: Duration,
    armed: Duration,
}

impl Watch {
    /// A watchdog that looks every `tick`, from `now` on.
    pub fn new(tick: Duration, now: Duration) -> Watch {
        Watch { tick, last: now, armed: now }
    }

    /// One look at time `now`: for each watched child its limit and what its heartbeat shows.
    pub fn look(
        &mut self,
        now: Duration,
        children: impl Iterator<Item = (usize, Duration, Option<Busy>)>,
    ) -> Vec<Sight> {
        let gap = now.saturating_sub(self.last);
        self.last = now;
        if gap > self.tick * 2 {
            self.armed = now;
            return vec![Sight::Late(gap - self.tick)];
        }
        let mut found = Vec::new();
        for (child, limit, busy) in children {
            let Some(Busy { generation, since }) = busy else {
                continue;
            };
            let since = Duration::from_millis(since).max(self.armed);
            let busy = now.saturating_sub(since);
            if busy > limit {
                found.push(Sight::Accused { child, generation, busy });
            }
        }
        found
    }
}
