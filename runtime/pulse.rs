//! A run's sign of life, for whoever watches the process from outside: does the device's work move?
//!
//! Only compute calls into drivers, and a hung driver call is what no thread of this process can end. Data, loss and
//! journal are watched inside; a disk is waited for, and so is a person who paused.

use crate::actors::compute::ComputeActor;
use crate::supervise::Ref;
use pleach_sync::Busy;

/// Looks at compute's heartbeat, which each message and each part of one moves.
pub struct Pulse {
    compute: Ref<ComputeActor>,
    seen: Option<Busy>,
}

impl Pulse {
    pub(crate) fn new(compute: Ref<ComputeActor>) -> Pulse {
        Pulse { compute, seen: None }
    }

    /// Whether the device is idle, or has shown a sign of life since the last look.
    pub fn moves(&mut self) -> bool {
        let now = self.compute.busy();
        let moves = now.is_none() || now != self.seen;
        self.seen = now;
        moves
    }
}
