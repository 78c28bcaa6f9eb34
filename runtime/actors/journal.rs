//! Journal: append-only events; everything that shows a run reads this and nothing else.

use crate::event::Event;
use crate::fault::{Fault, FaultKind};
use crate::messages::JournalMessage;
use crate::store::{Journal, Store};
use crate::supervise::Behaviour;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Events that wait for a disk that refuses them, at most; the oldest are dropped then, and that is told.
const WAITING: usize = 10_000;

/// The journal actor's inside.
pub struct JournalActor {
    store: Arc<dyn Store>,
    path: PathBuf,
    journal: Option<Journal>,
    waiting: VecDeque<Event>,
    dropped: u64,
}

impl JournalActor {
    /// Opens the journal where the disk lets it; otherwise with the first note.
    pub fn new(store: Arc<dyn Store>, path: &Path) -> JournalActor {
        let journal = Journal::open(store.clone(), path).ok().map(|(journal, _)| journal);
        JournalActor { store, path: path.to_path_buf(), journal, waiting: VecDeque::new(), dropped: 0 }
    }

    fn flush(&mut self) -> Result<(), Fault> {
        if self.journal.is_none() {
            self.journal = Some(Journal::open(self.store.clone(), &self.path)?.0);
        }
        let journal = self.journal.as_mut().expect("it was opened above");
        while let Some(event) = self.waiting.front() {
            journal.note(json(event)?)?;
            self.waiting.pop_front();
        }
        if self.dropped > 0 {
            let what = format!("{} events were dropped while the journal could not be written", self.dropped);
            journal.note(json(&Event::Trouble { what, then: "the run went on".into() })?)?;
            self.dropped = 0;
        }
        journal.sync_if_due()
    }
}

/// An event as the journal keeps it.
pub fn json(event: &Event) -> Result<serde_json::Value, Fault> {
    serde_json::to_value(event).map_err(|error| Fault::new(FaultKind::Actor, format!("an event is not JSON: {error}")))
}

impl Behaviour for JournalActor {
    type Message = JournalMessage;
    type Reply = ();

    fn handle(&mut self, message: JournalMessage) -> Result<(), Fault> {
        match message {
            JournalMessage::Note(events) => {
                self.waiting.extend(events);
                while self.waiting.len() > WAITING {
                    self.waiting.pop_front();
                    self.dropped += 1;
                }
                self.flush()
            }
            JournalMessage::Sync => {
                self.flush()?;
                self.journal.as_mut().map_or(Ok(()), Journal::sync)
            }
        }
    }
}
