//! What a supervisor supervises: a [`Team`] of [`Child`]ren in start order, and how each kind of child is started,
//! stopped and abandoned.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_rt::Arbiter;
use pleach_sync::Heartbeat;

use super::behaviour::{Behaviour, Hired};
use super::exit::Reason;
use super::host::Host;
use super::policy::{Plan, Restart, Spec};
use super::post::{Door, Home, ROOM, Ref, Slot, Way};
use super::shell::{Factory, Permit, Shell, text_of};
use super::supervisor::{Command, Line, Supervisor};
use super::thread::{self, Work};
use crate::fault::{Fault, FaultKind};

/// How a supervisor reaches one child, whatever it is.
pub(crate) trait Post: Send {
    /// Starts a generation; the news come by the line. A restart in place where a permit waits.
    fn start(&mut self, generation: u64, line: &Line) -> Result<(), Reason>;
    /// Tells it to stop.
    fn stop(&mut self, generation: u64);
    /// Fences it off and leaves its thread behind.
    fn abandon(&mut self, generation: u64);
    /// It ended; with a permit its mailbox waits for a successor.
    fn exited(&mut self, permit: Option<Permit>);
    /// No successor follows for now: askers are refused, the thread is joined.
    fn dismiss(&mut self);
    /// Its word.
    fn heart(&self) -> &Heartbeat;
}

/// One child of a team, in the words of OTP's child specification.
pub struct Child {
    pub(crate) spec: Spec,
    pub(crate) post: Box<dyn Post>,
    pub(crate) limit: Option<Duration>,
}

impl Child {
    fn new(name: &str, shutdown: Option<Duration>, post: Box<dyn Post>) -> Child {
        let after = post.heart().generation();
        let spec = Spec { name: name.to_string(), restart: Restart::Permanent, significant: false, shutdown, after };
        Child { spec, post, limit: None }
    }

    /// A behaviour on an event loop (and thread) of its own. The factory runs on that thread, once per generation, and
    /// must be fast: the next child starts when it is done. Permanent, 5 s to stop, until told otherwise.
    pub fn actor<B: Behaviour>(
        name: &Ref<B>,
        factory: impl Fn(&Hired) -> Result<B, Fault> + Send + Sync + 'static,
    ) -> Child {
        Child::new(name.name(), Some(WORKER), Box::new(Seat::new(name, Arc::new(factory), false)))
    }

    /// The same on a plain thread fed by a bounded channel, for handlers that block.
    pub fn thread<B: Behaviour>(
        name: &Ref<B>,
        factory: impl Fn(&Hired) -> Result<B, Fault> + Send + Sync + 'static,
    ) -> Child {
        Child::new(name.name(), Some(WORKER), Box::new(Seat::new(name, Arc::new(factory), true)))
    }

    /// One long piece of work on a plain thread, such as a training loop: it may `call` others, looks at
    /// [`Hired::stopping`], and its return is its end (`Ok`: normal; a fault: abnormal).
    pub fn task(name: &str, work: impl Fn(&Hired) -> Result<(), Fault> + Send + Sync + 'static) -> Child {
        let heart = Arc::new(Heartbeat::new());
        let chore = Chore { name: Arc::from(name), heart, work: Arc::new(work), thread: None };
        Child::new(name, Some(WORKER), Box::new(chore))
    }

    /// A supervisor as a child. `build` makes its team anew for each generation (it is replaced, never reused) on the
    /// control thread, so it only builds; `None` says that there is nothing (more) to do. No time-out to stop.
    pub fn supervisor(name: &str, build: impl Fn(u64) -> Result<Option<Team>, Fault> + Send + Sync + 'static) -> Child {
        let nest = Nest { heart: Heartbeat::new(), build: Arc::new(build), address: None };
        Child::new(name, None, Box::new(nest))
    }

    /// Hired again after an abnormal end only.
    pub fn transient(self) -> Child {
        self.restart(Restart::Transient)
    }

    /// Never hired again.
    pub fn temporary(self) -> Child {
        self.restart(Restart::Temporary)
    }

    /// Hired again after a normal end too, as the next of a succession.
    pub fn successive(self) -> Child {
        self.restart(Restart::Successive)
    }

    fn restart(mut self, restart: Restart) -> Child {
        self.spec.restart = restart;
        self
    }

    /// Its own end ends the supervisor, where the plan has `auto_shutdown`.
    pub fn significant(mut self) -> Child {
        self.spec.significant = true;
        self
    }

    /// How long it may take to stop before it is abandoned; None: for ever.
    pub fn shutdown(mut self, within: Option<Duration>) -> Child {
        self.spec.shutdown = within;
        self
    }

    /// Watched: busy for longer than this without a sign of life (see [`Hired::beat`]), it is abandoned and replaced.
    pub fn watched(mut self, limit: Duration) -> Child {
        self.limit = Some(limit);
        self
    }
}

/// The default time-out of a worker's stop (OTP's).
const WORKER: Duration = Duration::from_secs(5);

/// A supervisor to be: its name, its plan, its children in start order.
pub struct Team {
    pub(crate) name: String,
    pub(crate) plan: Plan,
    pub(crate) children: Vec<Child>,
    pub(crate) tick: Duration,
}

impl Team {
    /// A team without children. The watchdog looks every 250 ms.
    pub fn new(name: &str, plan: Plan) -> Team {
        Team { name: name.to_string(), plan, children: Vec::new(), tick: Duration::from_millis(250) }
    }

    /// Adds the next child. Panics where its name is taken.
    pub fn child(mut self, child: Child) -> Team {
        let name = &child.spec.name;
        assert!(self.children.iter().all(|known| known.spec.name != *name), "two children named \"{name}\"");
        self.children.push(child);
        self
    }

    /// How often the watchdog looks.
    pub fn tick(mut self, tick: Duration) -> Team {
        self.tick = tick;
        self
    }
}

enum Thread {
    Loop(Arbiter),
    Plain(JoinHandle<()>),
}

impl Thread {
    /// Ends and joins the thread of a child that has reported its end: a matter of microseconds.
    fn join(self) {
        let joined = match self {
            Thread::Loop(arbiter) => {
                arbiter.stop();
                arbiter.join()
            }
            Thread::Plain(handle) => handle.join(),
        };
        drop(joined.map_err(text_of));
    }
}

/// The post of a behaviour.
struct Seat<B: Behaviour> {
    slot: Arc<Slot<B>>,
    factory: Factory<B>,
    plain: bool,
    thread: Option<Thread>,
    permit: Option<Permit>,
}

impl<B: Behaviour> Seat<B> {
    fn new(name: &Ref<B>, factory: Factory<B>, plain: bool) -> Seat<B> {
        Seat { slot: name.slot.clone(), factory, plain, thread: None, permit: None }
    }

    fn leave(&mut self, home: Home<B>) {
        self.slot.set(home);
        self.permit = None;
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

impl<B: Behaviour> Post for Seat<B> {
    fn start(&mut self, generation: u64, line: &Line) -> Result<(), Reason> {
        self.slot.heart.advance(generation);
        if let Some(permit) = self.permit.take()
            && permit.send(generation).is_ok()
        {
            return Ok(());
        }
        self.leave(Home::Vacant);
        let (slot, factory, line) = (self.slot.clone(), self.factory.clone(), line.clone());
        // The shell is made on its thread: a behaviour need not be Send.
        let shell = move || Shell::new(slot, factory, line, generation);
        let (way, thread) = if self.plain {
            let (sender, inbox) = crossbeam_channel::bounded(ROOM + 1);
            let life = move || thread::serve(shell(), &inbox, generation);
            (Way::Thread(sender), Thread::Plain(spawn(&self.slot.name, life)?))
        } else {
            let arbiter = Arbiter::try_new().map_err(|error| no_thread(&self.slot.name, &error))?;
            let address = actix::Actor::start_in_arbiter(&arbiter.handle(), move |_| Host::new(shell(), generation));
            (Way::Actor(address), Thread::Loop(arbiter))
        };
        self.thread = Some(thread);
        self.slot.set(Home::Open(Door::new(way)));
        Ok(())
    }

    fn stop(&mut self, generation: u64) {
        self.slot.heart.order_stop(generation);
        self.slot.nudge();
    }

    fn abandon(&mut self, generation: u64) {
        self.slot.heart.advance(generation + 1);
        self.slot.set(Home::Vacant);
        self.permit = None;
        if let Some(Thread::Loop(arbiter)) = self.thread.take() {
            arbiter.stop();
        }
    }

    fn exited(&mut self, permit: Option<Permit>) {
        match permit {
            Some(permit) => self.permit = Some(permit),
            None => self.leave(Home::Vacant),
        }
    }

    fn dismiss(&mut self) {
        self.leave(Home::Closed);
    }

    fn heart(&self) -> &Heartbeat {
        &self.slot.heart
    }
}

/// The post of a long piece of work.
struct Chore {
    name: Arc<str>,
    heart: Arc<Heartbeat>,
    work: Work,
    thread: Option<Thread>,
}

impl Post for Chore {
    fn start(&mut self, generation: u64, line: &Line) -> Result<(), Reason> {
        self.heart.advance(generation);
        let (name, heart, site) = (self.name.clone(), self.heart.clone(), line.site.clone());
        let hired = Hired { name, generation, heart, site };
        let (work, line) = (self.work.clone(), line.clone());
        self.thread = Some(Thread::Plain(spawn(&self.name, move || thread::work(&work, &hired, &line))?));
        Ok(())
    }

    fn stop(&mut self, generation: u64) {
        self.heart.order_stop(generation);
    }

    fn abandon(&mut self, generation: u64) {
        self.heart.advance(generation + 1);
        self.thread = None;
    }

    fn exited(&mut self, _permit: Option<Permit>) {
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }

    fn dismiss(&mut self) {
        self.exited(None);
    }

    fn heart(&self) -> &Heartbeat {
        &self.heart
    }
}

type Build = Arc<dyn Fn(u64) -> Result<Option<Team>, Fault> + Send + Sync>;

/// The post of a supervisor.
struct Nest {
    heart: Heartbeat,
    build: Build,
    address: Option<actix::Addr<Supervisor>>,
}

impl Post for Nest {
    fn start(&mut self, generation: u64, line: &Line) -> Result<(), Reason> {
        self.heart.advance(generation);
        let team = match catch_unwind(AssertUnwindSafe(|| (self.build)(generation))) {
            Ok(Ok(Some(team))) => team,
            Ok(Ok(None)) => return Err(Reason::Finished),
            Ok(Err(fault)) => return Err(Reason::Fault(fault)),
            Err(payload) => return Err(Reason::Panic(text_of(payload))),
        };
        self.address = Some(Supervisor::hire(team, line.clone(), generation));
        Ok(())
    }

    fn stop(&mut self, _generation: u64) {
        if let Some(address) = &self.address {
            address.do_send(Command::Stop);
        }
    }

    fn abandon(&mut self, generation: u64) {
        self.heart.advance(generation + 1);
        if let Some(address) = self.address.take() {
            address.do_send(Command::Abandon);
        }
    }

    fn exited(&mut self, _permit: Option<Permit>) {
        self.address = None;
    }

    fn dismiss(&mut self) {
        self.address = None;
    }

    fn heart(&self) -> &Heartbeat {
        &self.heart
    }
}

fn spawn(name: &str, life: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Reason> {
    let builder = std::thread::Builder::new().name(format!("pleach-{name}"));
    builder.spawn(life).map_err(|error| no_thread(name, &error))
}

fn no_thread(name: &str, error: &std::io::Error) -> Reason {
    Reason::Fault(Fault::new(FaultKind::Actor, format!("no thread for \"{name}\": {error}")))
}
