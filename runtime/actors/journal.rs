//! Journal: append-only events; everything that shows a run reads this and nothing else.

use crate::bus::Numbered;
use crate::event::Event;
use crate::fault::{Fault, FaultKind};
use crate::messages::JournalMessage;
use crate::store::{Journal, Store};
use crate::supervise::Behaviour;
use pleach_sync::Lock;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Events that wait for a disk that refuses them, at most; the oldest are dropped then, and that is told.
const WAITING: usize = 10_000;

/// How many records the journal had when this process first opened it; outlives the actor. Event number `e` of the
/// process is record number `base + e`, so that the file itself tells whoever is asked again what it has already.
pub type Base = Arc<Lock<Option<u64>>>;

/// Opens the journal, and settles the base where nobody has.
pub fn open(store: Arc<dyn Store>, path: &Path, base: &Base) -> Result<(Journal, u64), Fault> {
    let (journal, opened) = Journal::open(store, path)?;
    let base = *base.hold().get_or_insert(opened.records);
    Ok((journal, base))
}

/// The journal actor's inside.
pub struct JournalActor {
    store: Arc<dyn Store>,
    path: PathBuf,
    base: Base,
    journal: Option<(Journal, u64)>,
    waiting: VecDeque<Numbered>,
    dropped: u64,
}

impl JournalActor {
    /// Opens the journal where the disk lets it; otherwise with the first note.
    pub fn new(store: Arc<dyn Store>, path: &Path, base: Base) -> JournalActor {
        let journal = open(store.clone(), path, &base).ok();
        JournalActor { store, path: path.to_path_buf(), base, journal, waiting: VecDeque::new(), dropped: 0 }
    }

    /// Writes what waits. After an error the file's end is not known any more: the next note opens it again.
    fn flush(&mut self, sync: bool) -> Result<(), Fault> {
        let done = self.write(sync);
        if done.is_err() {
            self.journal = None;
        }
        done
    }

    fn write(&mut self, sync: bool) -> Result<(), Fault> {
        if self.journal.is_none() {
            self.journal = Some(open(self.store.clone(), &self.path, &self.base)?);
        }
        let (journal, base) = self.journal.as_mut().expect("it was opened above");
        let first = self.waiting.front().map_or(0, |first| first.number);
        if self.dropped > 0 && first > 0 {
            let what = format!("{} events were dropped while the journal could not be written", self.dropped);
            // In the place of the last one dropped.
            journal.note_as(*base + first - 1, json(&Event::Trouble { what, then: "the run went on".into() })?)?;
            self.dropped = 0;
        }
        while let Some(Numbered { number, event }) = self.waiting.front() {
            journal.note_as(*base + number, json(event)?)?;
            self.waiting.pop_front();
        }
        if sync { journal.sync() } else { journal.sync_if_due() }
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
                self.flush(false)
            }
            JournalMessage::Sync => self.flush(true),
        }
    }
}
