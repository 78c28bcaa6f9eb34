//! Opening a run's device: the first time a refusal is final; a device that the run had and lost is waited for.

use crate::bus::Bus;
use crate::control::Control;
use crate::device::Device;
use crate::engine::Engine;
use crate::event::Event;
use crate::fault::{Fault, FaultKind};
use crate::messages::Blueprint;
use crate::supervise::Hired;
use pleach_sync::Lock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Opens the device that a run was told to use.
pub type OpenDevice = Arc<dyn Fn() -> Result<Box<dyn Device>, Fault> + Send + Sync>;

/// How long a lost device may take to come back: a driver that starts anew, a machine that wakes up, another program
/// that gives its memory back. After that another process must try.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// The wait before the second try; it doubles from there.
pub const DELAY: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
pub const DELAY_MAX: Duration = Duration::from_secs(10);
/// How often a wait looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// What the run has had: it outlives compute.
#[derive(Default)]
struct Had {
    device: bool,
    built: Option<Blueprint>,
    /// Since when the device is away.
    away: Option<Instant>,
}

/// How compute comes to its engine, over all its generations.
#[derive(Clone)]
pub struct Opening {
    open: OpenDevice,
    control: Control,
    bus: Arc<Bus>,
    had: Arc<Lock<Had>>,
}

impl Opening {
    /// `known` says that an earlier process of the run has worked with this device.
    pub fn new(open: OpenDevice, known: bool, control: Control, bus: Arc<Bus>) -> Opening {
        let had = Had { device: known, ..Had::default() };
        Opening { open, control, bus, had: Arc::new(Lock::new(had)) }
    }

    /// Opens and builds. A device that was there before is asked for [`PATIENCE`] and is lost then; a stop ends the
    /// wait.
    pub fn engine(&self, blueprint: &Blueprint) -> Result<Engine, Fault> {
        let mut delay = DELAY;
        loop {
            let fault = match self.once(blueprint) {
                Err(fault) if fault.kind == FaultKind::DeviceLost => fault,
                answer => return answer,
            };
            let (first, away) = {
                let mut had = self.had.hold();
                (had.away.is_none(), had.away.get_or_insert_with(Instant::now).elapsed())
            };
            if away >= PATIENCE {
                let what = format!("the device has been away for {} s: {}", away.as_secs(), fault.what);
                return Err(Fault { what, ..fault });
            }
            if first {
                let then = format!("it is tried again for {} s", PATIENCE.as_secs());
                self.bus.emit(Event::Trouble { what: fault.what, then });
            }
            self.wait(delay)?;
            delay = (delay * 2).min(DELAY_MAX);
        }
    }

    fn once(&self, blueprint: &Blueprint) -> Result<Engine, Fault> {
        let (device, built) = {
            let had = self.had.hold();
            (had.device, had.built.as_ref() == Some(blueprint))
        };
        let opened = (self.open)().map_err(|fault| if device { lost(fault) } else { fault })?;
        self.had.hold().device = true;
        let engine = Engine::new(opened, &blueprint.roles, &blueprint.shapes, &blueprint.adamw);
        let may_pass = |fault: &Fault| built || (device && fault.kind == FaultKind::OutOfMemory);
        let engine = engine.map_err(|fault| if may_pass(&fault) { lost(fault) } else { fault })?;
        let mut had = self.had.hold();
        (had.built, had.away) = (Some(blueprint.clone()), None);
        Ok(engine)
    }

    /// Sleeps, with signs of life, until the next try; a fault where nobody waits for it any more.
    fn wait(&self, time: Duration) -> Result<(), Fault> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.control.wants_stop() {
                return Err(Fault::new(FaultKind::Stopped, "stopped while the device was away"));
            }
            if Hired::here().is_some_and(|hired| !hired.beat()) {
                return Err(Fault::new(FaultKind::Actor, "compute was told to end while the device was away"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// What was granted once and is refused now is a loss: nobody's mistake, and it may pass.
pub fn lost(fault: Fault) -> Fault {
    match fault.kind {
        FaultKind::Refused | FaultKind::OutOfMemory => {
            let detail = fault.refusal.map_or(String::new(), |refusal| format!(" ({})", refusal.detail));
            Fault::new(FaultKind::DeviceLost, format!("the device does not come back: {}{detail}", fault.what))
        }
        _ => fault,
    }
}
