//! Planned failures for recovery tests: panic, delay or fault at the n-th visit of a message. Empty in a real run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pleach_sync::Lock;

use crate::fault::Fault;

/// The point that stands for a child's factory.
pub const START: &str = "(start)";
/// The point that stands for a behaviour's destructor.
pub const DROP: &str = "(drop)";

/// What happens at a failpoint.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A panic before the handler runs.
    Panic,
    /// A panic after the handler ran, before its answer is sent: the state has changed and nobody knows.
    PanicAfter,
    /// The thread sleeps before the handler runs.
    Delay(Duration),
    /// The handler does not run; this fault is its answer.
    Error(Fault),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

#[derive(Debug)]
struct Planned {
    child: String,
    point: String,
    visit: u64,
    deed: Deed,
}

#[derive(Debug, Default)]
struct Inside {
    planned: Vec<Planned>,
    visits: BTreeMap<(String, String), u64>,
}

/// A plan of failures shared by all actors of a tree. It also counts who visited which point how often, so that a test
/// can walk every message of every actor.
#[derive(Clone, Debug, Default)]
pub struct Failpoints {
    inside: Option<Arc<Lock<Inside>>>,
}

impl Failpoints {
    /// No failures and no counting: what a real run has.
    pub fn none() -> Failpoints {
        Failpoints::default()
    }

    /// No failures yet, but visits are counted.
    pub fn counting() -> Failpoints {
        Failpoints { inside: Some(Arc::default()) }
    }

    /// Plans a failure at the `visit`-th visit (1 is the first) of a message of a child. Visits go on counting through
    /// restarts, so each planned failure happens once.
    pub fn at(self, child: &str, point: &str, visit: u64, deed: Deed) -> Failpoints {
        let plan = match self.inside {
            Some(_) => self,
            None => Failpoints::counting(),
        };
        if let Some(inside) = &plan.inside {
            let (child, point) = (child.to_string(), point.to_string());
            inside.hold().planned.push(Planned { child, point, visit, deed });
        }
        plan
    }

    /// All visits so far: child, point, count; sorted.
    pub fn visits(&self) -> Vec<(String, String, u64)> {
        let Some(inside) = &self.inside else {
            return Vec::new();
        };
        let inside = inside.hold();
        inside.visits.iter().map(|((child, point), count)| (child.clone(), point.clone(), *count)).collect()
    }

    /// How many planned failures have not happened yet.
    pub fn left(&self) -> usize {
        self.inside.as_ref().map_or(0, |inside| inside.hold().planned.len())
    }

    /// A child is at a point: does what is planned for this visit. The visit is counted at the moment before.
    pub(crate) fn meet(&self, child: &str, point: &str, moment: Moment) -> Result<(), Fault> {
        let Some(inside) = &self.inside else {
            return Ok(());
        };
        let mut held = inside.hold();
        let visits = held.visits.entry((child.to_string(), point.to_string())).or_insert(0);
        *visits += u64::from(moment == Moment::Before);
        let visit = *visits;
        let due = held.planned.iter().position(|planned| {
            let after = matches!(planned.deed, Deed::PanicAfter);
            planned.child == child
                && planned.point == point
                && planned.visit == visit
                && after == (moment == Moment::After)
        });
        let deed = due.map(|place| held.planned.remove(place).deed);
        drop(held);
        match deed {
            None => Ok(()),
            Some(Deed::Panic) => panic!("failpoint: {child} at {point}, visit {visit}"),
            Some(Deed::PanicAfter) => panic!("failpoint: {child} after {point}, visit {visit}"),
            Some(Deed::Delay(time)) => {
                std::thread::sleep(time);
                Ok(())
            }
            Some(Deed::Error(fault)) => Err(fault),
        }
    }
}
