//! A behaviour, or one long piece of work, on a plain thread: for what blocks (devices, tokenizers, the training loop).

use std::panic::{AssertUnwindSafe, catch_unwind};

use crossbeam_channel::Receiver;

use super::behaviour::{Behaviour, Hired};
use super::exit::Reason;
use super::failpoints::START;
use super::post::Mail;
use super::shell::{Next, Shell, text_of};
use super::supervisor::{Line, News};
use crate::fault::{Fault, FaultKind};

/// One long piece of work, run to its end once per generation.
pub(crate) type Work = std::sync::Arc<dyn Fn(&Hired) -> Result<(), Fault> + Send + Sync>;

/// The life of a behaviour's thread, over any number of generations.
pub(crate) fn serve<B: Behaviour>(mut shell: Shell<B>, inbox: &Receiver<Mail<B>>, first: u64) {
    let mut generation = first;
    loop {
        let end = match shell.begin(generation) {
            Ok(()) => attend(&mut shell, inbox),
            Err(reason) => Next::Dead(reason),
        };
        match end {
            Next::Dead(reason) => match shell.bury(reason).blocking_recv() {
                Ok(next) => generation = next,
                Err(_) => return,
            },
            Next::Over(reason) => return shell.retire(reason),
            Next::Go => unreachable!("attend goes on"),
        }
    }
}

fn attend<B: Behaviour>(shell: &mut Shell<B>, inbox: &Receiver<Mail<B>>) -> Next {
    loop {
        // No door is left: nobody can ask any more.
        let Ok(mail) = inbox.recv() else {
            return Next::Over(Reason::Lost);
        };
        match shell.serve(mail) {
            Next::Go => {}
            end => return end,
        }
    }
}

/// The life of a worker's thread: one generation.
pub(crate) fn work(work: &Work, hired: &Hired, line: &Line) {
    hired.settle();
    line.tell(hired.generation(), News::Started);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        hired.failpoint(START)?;
        work(hired)
    }));
    let reason = match outcome {
        Ok(Ok(())) => Reason::Normal,
        Ok(Err(fault)) if fault.kind == FaultKind::Stopped && hired.stopping() => Reason::Shutdown,
        Ok(Err(fault)) => Reason::Fault(fault),
        Err(payload) => Reason::Panic(text_of(payload)),
    };
    hired.heart.leave(hired.generation());
    line.tell(hired.generation(), News::Exit { reason, permit: None });
}
