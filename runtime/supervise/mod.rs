//! Supervision with OTP's semantics on actix: actors that die are hired again, in order, within limits.
//!
//! - An actor is an ordinary struct with a trait ([`Behaviour`]: one message enum, one reply type, one handler), made
//!   by a factory on the thread where it lives. [`Child::actor`] puts it on an event loop of its own, [`Child::thread`]
//!   on a plain thread for handlers that block; [`Child::task`] is one long piece of work (a training loop);
//!   [`Child::supervisor`] is a team below.
//! - It is asked by a stable name, [`Ref`]: `ask(..).await` on an event loop, `call(..)` from a plain thread. At most 8
//!   messages wait; a further asker waits for room. Where nobody is hired yet, asks wait too, all within the patience.
//!   An ask from a child's own thread also ends when that child is told to stop: ask from there, not from helper
//!   threads. A child asks those that started before it, never those after it: two that ask each other wait for ever.
//! - A panic in a handler fails that one ask (`FaultKind::Actor`); the torn struct is dropped, the rest of the mailbox
//!   is served by a fresh one. A child that the supervisor stops (a sibling died, or the end) refuses what waits.
//! - Generations are fencing tokens: an answer of a replaced generation is refused, a pinned `Ref` refuses successors,
//!   and [`Hired::current`] says whether this child still holds its post.
//! - A fault is an answer and kills nobody, unless `Behaviour::fatal` says so. `FaultKind::Refused` and `Halted` as a
//!   cause of death make supervisors give up at once, all the way up: hiring again cannot help.
//! - Long handlers call [`Hired::beat`]; a [`Child::watched`] child without a sign of life is fenced off and replaced,
//!   its thread left behind; with more than [`Plan::abandoned`] of them the supervisor gives up.
//! - A stage is a supervisor with `auto_shutdown` and a transient, *significant* child (the trainer): when that ends
//!   normally the rest is stopped in reverse order and the supervisor ends normally. As a [`Child::successive`] child
//!   of its parent its `build` makes the next stage then, until it says `None`.
//! - [`Failpoints`] plan panics, delays and faults at the n-th visit of any message; [`Settings::observer`] is told all
//!   that happens.
//!
//! ```
//! use pleach_runtime::fault::{Fault, FaultKind};
//! use pleach_runtime::supervise::*;
//! use std::time::Duration;
//!
//! struct Counter { count: u32 }
//! enum Ask { Add(u32), Crash }
//! impl Message for Ask {
//!     fn name(&self) -> &'static str {
//!         match self { Ask::Add(_) => "Add", Ask::Crash => "Crash" }
//!     }
//! }
//! impl Behaviour for Counter {
//!     type Message = Ask;
//!     type Reply = u32;
//!     fn handle(&mut self, message: Ask) -> Result<u32, Fault> {
//!         match message {
//!             Ask::Add(more) => { self.count += more; Ok(self.count) }
//!             Ask::Crash => panic!("as asked"),
//!         }
//!     }
//! }
//!
//! // One actor: panicked, and served again in place.
//! let fresh = |_: &Hired| Ok(Counter { count: 0 });
//! let journal = Ref::<Counter>::new("journal");
//! let alone = start(Team::new("alone", Plan::default()).child(Child::actor(&journal, fresh)), Settings::default())?;
//! assert_eq!(journal.call(Ask::Add(2))?, 2);
//! let fault = journal.call(Ask::Crash).unwrap_err(); // the mailbox survives, the state does not
//! assert!(fault.what.contains("as asked"));
//! assert_eq!(journal.call(Ask::Add(1))?, 1);
//! assert_eq!(journal.generation(), 2);
//! alone.stop();
//! assert_eq!(alone.join(), Ending::Asked);
//!
//! // A run: three children, the last of which is a succession of two stages.
//! let compute = Ref::<Counter>::new("compute");
//! let asked = compute.clone();
//! let stages = move |generation| {
//!     if generation > 2 {
//!         return Ok(None);
//!     }
//!     let (data, compute) = (Ref::<Counter>::new("data"), asked.clone());
//!     let draw = data.clone();
//!     let train = move |hired: &Hired| {
//!         for _ in 0..3 {
//!             if hired.stopping() { return Err(Fault::new(FaultKind::Stopped, "stopped between steps")); }
//!             compute.call(Ask::Add(draw.call(Ask::Add(1))?))?;
//!         }
//!         Ok(())
//!     };
//!     let plan = Plan { strategy: Strategy::RestForOne, auto_shutdown: true, ..Plan::default() };
//!     Ok(Some(Team::new("stage", plan)
//!         .child(Child::actor(&data, fresh))
//!         .child(Child::task("trainer", train).transient().significant())))
//! };
//! let plan = Plan { strategy: Strategy::RestForOne, auto_shutdown: true, ..Plan::default() };
//! let team = Team::new("run", plan)
//!     .child(Child::actor(&journal, fresh))
//!     .child(Child::thread(&compute, fresh).watched(Duration::from_secs(5)))
//!     .child(Child::supervisor("stages", stages).successive().significant());
//! let ending = start(team, Settings::default())?.join();
//! // Two stages ended, there was no third: the succession is over, and with it the run.
//! assert!(matches!(ending, Ending::Done { child, .. } if child == "stages"));
//! assert_eq!(compute.generation(), 1);
//! # Ok::<(), Fault>(())
//! ```

mod behaviour;
mod exit;
mod failpoints;
mod host;
mod plan;
pub mod policy;
mod post;
mod shell;
mod supervisor;
mod team;
mod thread;
mod tree;
pub mod watch;

pub use behaviour::{Behaviour, Hired, Message};
pub use exit::{Ending, GaveUp, Incident, Reason, What};
pub use failpoints::{DROP, Deed, Failpoints, START};
pub use policy::{Plan, Restart, Strategy};
pub use post::Ref;
pub(crate) use shell::text_of;
pub use team::{Child, Team};
pub use tree::{Running, Settings, start};
