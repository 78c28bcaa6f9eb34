//! The shell round a behaviour, the same on an event loop and on a plain thread: makes it, runs its handler under
//! `catch_unwind`, buries it, and tells the supervisor.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::behaviour::{Behaviour, Hired, Message, Site};
use super::exit::Reason;
use super::failpoints::{DROP, Moment, START};
use super::post::{Answer, Envelope, Mail, Slot};
use super::supervisor::{Line, News};
use crate::fault::{Fault, FaultKind};

/// Makes a behaviour for one generation.
pub(crate) type Factory<B> = Arc<dyn Fn(&Hired) -> Result<B, Fault> + Send + Sync>;

/// Sent with the news of a death: the next generation to be, in place. Dropped: nobody follows here.
pub(crate) type Permit = oneshot::Sender<u64>;

/// What follows after a message.
pub(crate) enum Next {
    /// The next message.
    Go,
    /// The child died; wait for a permit.
    Dead(Reason),
    /// The child ended; its thread may go.
    Over(Reason),
}

pub(crate) struct Shell<B: Behaviour> {
    slot: Arc<Slot<B>>,
    factory: Factory<B>,
    line: Line,
    hired: Hired,
    /// On the heap, so that the shell may move.
    behaviour: Option<Box<B>>,
    told: bool,
}

impl<B: Behaviour> Shell<B> {
    pub(crate) fn new(slot: Arc<Slot<B>>, factory: Factory<B>, line: Line, generation: u64) -> Shell<B> {
        let site = line.site.clone();
        let hired = Hired { name: slot.name.clone(), generation, heart: slot.heart.clone(), site };
        Shell { slot, factory, line, hired, behaviour: None, told: false }
    }

    fn site(&self) -> &Site {
        &self.line.site
    }

    fn fault(&self, what: impl std::fmt::Display) -> Fault {
        Fault::new(FaultKind::Actor, format!("\"{}\" {what}", self.slot.name))
    }

    /// Makes the behaviour of a generation and reports that it serves.
    pub(crate) fn begin(&mut self, generation: u64) -> Result<(), Reason> {
        self.hired.generation = generation;
        self.told = false;
        self.hired.settle();
        self.slot.heart.enter(generation, self.site().millis());
        let made = catch_unwind(AssertUnwindSafe(|| {
            self.hired.failpoint(START)?;
            (self.factory)(&self.hired)
        }));
        match made {
            Ok(Ok(behaviour)) => self.behaviour = Some(Box::new(behaviour)),
            Ok(Err(fault)) => return Err(Reason::Fault(fault)),
            Err(payload) => return Err(Reason::Panic(text_of(payload))),
        }
        if !self.slot.heart.leave(generation) {
            return Err(Reason::Lost);
        }
        self.line.tell(generation, News::Started);
        Ok(())
    }

    /// Handles one piece of mail.
    pub(crate) fn serve(&mut self, mail: Mail<B>) -> Next {
        let generation = self.hired.generation;
        match mail {
            Mail::Nudge if self.slot.heart.stopping(generation) => Next::Over(Reason::Shutdown),
            Mail::Nudge => Next::Go,
            Mail::Ask(envelope) => self.answer(envelope),
        }
    }

    fn answer(&mut self, envelope: Envelope<B>) -> Next {
        let Envelope { message, reply, pinned, place } = envelope;
        drop(place);
        let generation = self.hired.generation;
        let send = |result| drop(reply.send(Answer { generation, result }));
        if let Some(pinned) = pinned.filter(|pinned| *pinned != generation) {
            send(Err(self.fault(format_args!("is at generation {generation}; generation {pinned} was asked"))));
            return Next::Go;
        }
        if self.slot.heart.stopping(generation) {
            send(Err(self.fault("is being stopped")));
            return Next::Over(Reason::Shutdown);
        }
        let Some(behaviour) = &mut self.behaviour else { unreachable!("mail is served between begin and bury only") };
        self.slot.heart.enter(generation, self.line.site.millis());
        let name = message.name();
        let hired = &self.hired;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let result = hired.failpoint(name).and_then(|()| behaviour.handle(message));
            hired.site.failpoints.meet(&hired.name, name, Moment::After)?;
            let fatal = result.as_ref().err().filter(|fault| behaviour.fatal(fault)).cloned();
            let over = behaviour.over();
            Ok::<_, Fault>((result, fatal, over))
        }));
        match outcome {
            Err(payload) => {
                let text = format!("{} (at {name})", text_of(payload));
                send(Err(self.fault(format_args!("panicked: {text}"))));
                Next::Dead(Reason::Panic(text))
            }
            Ok(Err(fault)) => {
                send(Err(fault));
                Next::Go
            }
            Ok(Ok((result, fatal, over))) => {
                if !self.slot.heart.leave(generation) {
                    send(Err(self.fault(format_args!("was replaced: generation {generation} answers too late"))));
                    return Next::Over(Reason::Shutdown);
                }
                send(result);
                match fatal {
                    Some(fault) => Next::Dead(Reason::Fault(fault)),
                    None if over => Next::Over(Reason::Normal),
                    None => Next::Go,
                }
            }
        }
    }

    /// Buries a dead behaviour and asks the supervisor what follows.
    pub(crate) fn bury(&mut self, reason: Reason) -> oneshot::Receiver<u64> {
        let reason = self.drop_behaviour(reason);
        let (permit, verdict) = oneshot::channel();
        self.told = true;
        self.line.tell(self.hired.generation, News::Exit { reason, permit: Some(permit) });
        verdict
    }

    /// The child ended and its thread or event loop ends too.
    pub(crate) fn retire(&mut self, reason: Reason) {
        let reason = self.drop_behaviour(reason);
        self.told = true;
        self.line.tell(self.hired.generation, News::Exit { reason, permit: None });
    }

    /// Drops the behaviour under the watchdog; a panic in its destructor becomes the reason.
    fn drop_behaviour(&mut self, reason: Reason) -> Reason {
        let generation = self.hired.generation;
        let Some(behaviour) = self.behaviour.take() else {
            self.slot.heart.leave(generation);
            return reason;
        };
        self.slot.heart.enter(generation, self.site().millis());
        let hired = &self.hired;
        let dropped = catch_unwind(AssertUnwindSafe(|| {
            let _last = behaviour;
            hired.failpoint(DROP)
        }));
        self.slot.heart.leave(generation);
        match (dropped, reason) {
            (Ok(_), reason) => reason,
            (Err(payload), Reason::Panic(text)) => Reason::Panic(format!("{text}; then in drop: {}", text_of(payload))),
            (Err(payload), _) => Reason::Panic(format!("in drop: {}", text_of(payload))),
        }
    }
}

impl<B: Behaviour> Drop for Shell<B> {
    /// The sentinel: whatever takes the shell away outside its own ways is reported as a loss.
    fn drop(&mut self) {
        if !self.told {
            self.retire(Reason::Lost);
        }
    }
}

/// The text of a panic. A payload whose own destructor panics is left where it is.
pub(crate) fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string).or_else(|| payload.downcast_ref().cloned());
    if text.is_none() {
        std::mem::forget(payload);
    }
    text.unwrap_or_else(|| "a panic without text".to_string())
}
