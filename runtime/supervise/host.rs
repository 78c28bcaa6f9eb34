//! A behaviour on an event loop of its own: the actix shell. Its mailbox outlives a panic.

use actix::fut::ActorFutureExt;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, WrapFuture};

use super::behaviour::Behaviour;
use super::exit::Reason;
use super::post::Mail;
use super::shell::{Next, Shell};

/// The one actor type. It has no `stopping` and no `stopped`: those would run on torn state.
pub(crate) struct Host<B: Behaviour> {
    shell: Shell<B>,
    first: u64,
}

impl<B: Behaviour> Host<B> {
    pub(crate) fn new(shell: Shell<B>, first: u64) -> Host<B> {
        Host { shell, first }
    }

    fn begin(&mut self, generation: u64, context: &mut Context<Self>) {
        if let Err(reason) = self.shell.begin(generation) {
            self.die(reason, context);
        }
    }

    /// While it waits for the verdict the mailbox is not read: what is in it is for the successor.
    fn die(&mut self, reason: Reason, context: &mut Context<Self>) {
        let verdict = self.shell.bury(reason).into_actor(self);
        context.wait(verdict.map(|verdict, host, context| match verdict {
            Ok(generation) => host.begin(generation, context),
            Err(_) => context.terminate(),
        }));
    }
}

impl<B: Behaviour> Actor for Host<B> {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.begin(self.first, context);
    }
}

impl<B: Behaviour> Handler<Mail<B>> for Host<B> {
    type Result = ();

    fn handle(&mut self, mail: Mail<B>, context: &mut Context<Self>) {
        match self.shell.serve(mail) {
            Next::Go => {}
            Next::Dead(reason) => self.die(reason, context),
            Next::Over(reason) => {
                self.shell.retire(reason);
                context.terminate();
            }
        }
    }
}
