//! How a child is asked: a stable name ([`Ref`]) over a slot whose holder may change, with fencing by generation.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use pleach_sync::{Busy, Heartbeat};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::behaviour::{Behaviour, Hired};
use super::host::Host;
use crate::fault::{Fault, FaultKind};

/// How many messages wait at one child at most; further askers wait before they are let in.
pub(crate) const ROOM: usize = 8;

/// How often an asker that is a child itself looks whether it is to stop.
const SLICE: Duration = Duration::from_millis(5);

pub(crate) struct Answer<R> {
    pub(crate) generation: u64,
    pub(crate) result: Result<R, Fault>,
}

pub(crate) struct Envelope<B: Behaviour> {
    pub(crate) message: B::Message,
    pub(crate) reply: oneshot::Sender<Answer<B::Reply>>,
    pub(crate) pinned: Option<u64>,
    /// Held while the message waits: this is the mailbox's bound.
    pub(crate) place: OwnedSemaphorePermit,
}

pub(crate) enum Mail<B: Behaviour> {
    Ask(Envelope<B>),
    /// Look at the heartbeat: perhaps you are to stop.
    Nudge,
}

impl<B: Behaviour> actix::Message for Mail<B> {
    type Result = ();
}

pub(crate) enum Way<B: Behaviour> {
    Actor(actix::Addr<Host<B>>),
    Thread(crossbeam_channel::Sender<Mail<B>>),
}

/// The way into one mailbox; a restart in place keeps it.
pub(crate) struct Door<B: Behaviour> {
    pub(crate) way: Way<B>,
    pub(crate) room: Arc<Semaphore>,
}

impl<B: Behaviour> Door<B> {
    pub(crate) fn new(way: Way<B>) -> Arc<Door<B>> {
        Arc::new(Door { way, room: Arc::new(Semaphore::new(ROOM)) })
    }

    /// Never waits: the room was taken before. False: nobody is behind the door.
    fn post(&self, mail: Mail<B>) -> bool {
        match &self.way {
            Way::Actor(address) => address.try_send(mail).is_ok(),
            Way::Thread(sender) => sender.try_send(mail).is_ok(),
        }
    }

    /// Wakes the child so that it looks at its heartbeat. Where the mailbox is full it is awake anyway.
    pub(crate) fn nudge(&self) {
        match &self.way {
            Way::Actor(address) => address.do_send(Mail::Nudge),
            Way::Thread(sender) => drop(sender.try_send(Mail::Nudge)),
        }
    }
}

pub(crate) enum Home<B: Behaviour> {
    /// Not hired yet, or being replaced: askers wait.
    Vacant,
    Open(Arc<Door<B>>),
    /// It will not be hired again by itself: askers are refused.
    Closed,
}

pub(crate) struct Slot<B: Behaviour> {
    pub(crate) name: Arc<str>,
    pub(crate) heart: Arc<Heartbeat>,
    homes: watch::Sender<Home<B>>,
}

impl<B: Behaviour> Slot<B> {
    pub(crate) fn set(&self, home: Home<B>) {
        self.homes.send_replace(home);
    }

    pub(crate) fn nudge(&self) {
        if let Home::Open(door) = &*self.homes.borrow() {
            door.nudge();
        }
    }

    fn fault(&self, what: impl std::fmt::Display) -> Fault {
        Fault::new(FaultKind::Actor, format!("\"{}\" {what}", self.name))
    }
}

/// A stable reference to a child: it outlives the child's restarts. Cheap to clone, may be sent anywhere.
pub struct Ref<B: Behaviour> {
    pub(crate) slot: Arc<Slot<B>>,
    patience: Duration,
    pinned: Option<u64>,
}

impl<B: Behaviour> Clone for Ref<B> {
    fn clone(&self) -> Ref<B> {
        Ref { slot: self.slot.clone(), patience: self.patience, pinned: self.pinned }
    }
}

impl<B: Behaviour> Ref<B> {
    /// A name that nobody holds yet: asks wait until a supervisor hires somebody for it. Patience 60 s.
    pub fn new(name: &str) -> Ref<B> {
        let (name, heart) = (Arc::from(name), Arc::new(Heartbeat::new()));
        let slot = Slot { name, heart, homes: watch::channel(Home::Vacant).0 };
        Ref { slot: Arc::new(slot), patience: Duration::from_secs(60), pinned: None }
    }

    /// The same with another time-out for a whole ask: waiting for a place, the mailbox, the handler.
    pub fn patient(&self, patience: Duration) -> Ref<B> {
        Ref { patience, ..self.clone() }
    }

    /// The same, but bound to the generation that holds the post now: its successors refuse what this asks.
    pub fn pin(&self) -> Ref<B> {
        Ref { pinned: Some(self.generation()), ..self.clone() }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.slot.name
    }

    /// The current generation; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.slot.heart.generation()
    }

    /// Whether it works on something now, and since when it has given no sign of life.
    pub fn busy(&self) -> Option<Busy> {
        self.slot.heart.busy()
    }

    /// Asks and waits for the answer without blocking; inside a tree's own event loops only (it needs their timer).
    /// Faults of kind `Actor`: no answer in time, the child panicked at this message, was replaced meanwhile, or will
    /// not be hired again; the message may or may not have had its effect. Other kinds are the child's own.
    ///
    /// An ask made on a child's own thread also ends, with kind `Stopped`, as soon as that child is told to stop or was
    /// replaced: whom it asks may be waiting for just that.
    pub async fn ask(&self, message: B::Message) -> Result<B::Reply, Fault> {
        let Some(asker) = Hired::here() else {
            let answered = tokio::time::timeout(self.patience, self.exchange(message)).await;
            return answered.unwrap_or_else(|_| Err(self.late()));
        };
        let until = tokio::time::Instant::now().checked_add(self.patience);
        let mut exchange = pin!(self.exchange(message));
        loop {
            if let Ok(result) = tokio::time::timeout(SLICE, &mut exchange).await {
                return result;
            }
            if until.is_some_and(|until| tokio::time::Instant::now() >= until) {
                return Err(self.late());
            }
            if asker.stopping() {
                return Err(self.stopped(&asker));
            }
        }
    }

    /// The same from a plain thread, which it blocks.
    pub fn call(&self, message: B::Message) -> Result<B::Reply, Fault> {
        let until = Instant::now().checked_add(self.patience);
        let asker = Hired::here();
        let mut exchange = pin!(self.exchange(message));
        loop {
            let slice = asker.is_some().then(|| Instant::now() + SLICE);
            let stop = match (slice, until) {
                (Some(slice), Some(until)) => Some(slice.min(until)),
                (slice, until) => slice.or(until),
            };
            if let Some(result) = block_on(exchange.as_mut(), stop) {
                return result;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(self.late());
            }
            if let Some(asker) = asker.as_ref().filter(|asker| asker.stopping()) {
                return Err(self.stopped(asker));
            }
        }
    }

    fn stopped(&self, asker: &Hired) -> Fault {
        let what = format!("\"{}\" was told to stop while it asked \"{}\"", asker.name(), self.slot.name);
        Fault::new(FaultKind::Stopped, what)
    }

    fn late(&self) -> Fault {
        self.slot.fault(format_args!("gave no answer within {:.1} s", self.patience.as_secs_f64()))
    }

    async fn exchange(&self, message: B::Message) -> Result<B::Reply, Fault> {
        let mut homes = self.slot.homes.subscribe();
        let door = self.door(&mut homes).await?;
        let place = match either(door.room.clone().acquire_owned(), moved(&mut homes, &door)).await {
            Some(Ok(place)) => place,
            _ => return Err(self.slot.fault("was replaced before it could be asked")),
        };
        let (reply, answer) = oneshot::channel();
        if !door.post(Mail::Ask(Envelope { message, reply, pinned: self.pinned, place })) {
            return Err(self.slot.fault("is gone"));
        }
        match either(answer, moved(&mut homes, &door)).await {
            None => Err(self.slot.fault("was replaced while it was asked")),
            Some(Err(_)) => Err(self.slot.fault("ended before it answered")),
            Some(Ok(Answer { result: Err(fault), .. })) => Err(fault),
            Some(Ok(Answer { generation, result: Ok(reply) })) => {
                // An answer given before a restart in place stands, unless this asker is bound to its generation; one
                // of a child that was fenced off never does.
                let home =
                    self.pinned.is_none() && matches!(&*homes.borrow(), Home::Open(now) if Arc::ptr_eq(now, &door));
                if home || self.slot.heart.holds(generation) {
                    return Ok(reply);
                }
                Err(self.slot.fault(format_args!("was replaced: a late answer of generation {generation} is refused")))
            }
        }
    }

    async fn door(&self, homes: &mut watch::Receiver<Home<B>>) -> Result<Arc<Door<B>>, Fault> {
        loop {
            match &*homes.borrow_and_update() {
                Home::Open(door) => return Ok(door.clone()),
                Home::Closed => return Err(self.slot.fault("is not running")),
                Home::Vacant => {}
            }
            if homes.changed().await.is_err() {
                return Err(self.slot.fault("is not running"));
            }
        }
    }
}

/// Ends when the slot no longer has this door.
async fn moved<B: Behaviour>(homes: &mut watch::Receiver<Home<B>>, door: &Arc<Door<B>>) {
    loop {
        let same = matches!(&*homes.borrow_and_update(), Home::Open(now) if Arc::ptr_eq(now, door));
        if !same || homes.changed().await.is_err() {
            return;
        }
    }
}

/// The outcome of the first future, unless the second ends before: None.
async fn either<T>(first: impl Future<Output = T>, second: impl Future<Output = ()>) -> Option<T> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if let Poll::Ready(outcome) = first.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        second.as_mut().poll(context).map(|()| None)
    })
    .await
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Unpark>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread until its end, or until `until`: None.
pub(crate) fn block_on<T>(future: impl Future<Output = T>, until: Option<Instant>) -> Option<T> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return Some(outcome);
        }
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            None => std::thread::park(),
            Some(left) if left.is_zero() => return None,
            Some(left) => std::thread::park_timeout(left),
        }
    }
}
