//! Data: hosts the stage's `Data`; windows are prefetched by a thread through a bounded ring.

use crate::fault::{Fault, FaultKind};
use crate::messages::{DataMessage, DataReply};
use crate::stage::{Data, Gather, Stage, Window};
use crate::supervise::Behaviour;
use pleach_sync::ring::{Popped, Pushed, Ring};
use std::sync::Arc;

/// The data actor's inside. It holds no state: a window is a function of its number.
pub struct DataActor {
    stage: Arc<dyn Stage>,
    data: Box<dyn Data>,
    gather: Option<Box<dyn Gather>>,
    depth: usize,
    prefetch: Option<Prefetch>,
}

impl Behaviour for DataActor {
    type Message = DataMessage;
    type Reply = DataReply;

    fn handle(&mut self, message: DataMessage) -> Result<DataReply, Fault> {
        match message {
            DataMessage::Draw { draw } => Ok(DataReply::Window(self.draw(draw)?)),
            DataMessage::Ask { round } => Ok(DataReply::Asked(Arc::new(self.gathering()?.ask(round)?))),
            DataMessage::Windows { round, written } => {
                let windows = self.gathering()?.windows(round, &written)?;
                Ok(DataReply::Windows(windows.into_iter().map(Arc::new).collect()))
            }
            DataMessage::Settle { round, written, windows, memory } => {
                let windows = windows.iter().map(|window| Window::clone(window)).collect();
                let settled = self.gathering()?.settle(round, &written, windows, &memory)?;
                Ok(DataReply::Settled(Box::new(settled)))
            }
            DataMessage::DrawFrom { round, index } => {
                Ok(DataReply::Window(Arc::new(self.gathering()?.window(&round, index)?)))
            }
            DataMessage::EvaluationSets => Ok(DataReply::Sets(self.data.evaluation_sets())),
            DataMessage::Evaluation { from, to } => Ok(DataReply::Window(Arc::new(self.data.evaluation(from, to)?))),
        }
    }
}

impl DataActor {
    /// Opens the stage's data; `depth` windows are prepared ahead (0 = none).
    pub fn new(stage: Arc<dyn Stage>, depth: usize) -> Result<DataActor, Fault> {
        let data = stage.data()?;
        let gather = stage.gather();
        Ok(DataActor { stage, data, gather, depth, prefetch: None })
    }

    fn gathering(&mut self) -> Result<&mut dyn Gather, Fault> {
        match &mut self.gather {
            Some(gather) => Ok(gather.as_mut()),
            None => Err(Fault::new(FaultKind::Actor, "a round was asked of a stage that gathers none")),
        }
    }

    /// From the ring where it stands at `draw`; anything else starts the ring anew behind the window asked for.
    fn draw(&mut self, draw: u64) -> Result<Arc<Window>, Fault> {
        if self.depth == 0 {
            return Ok(Arc::new(self.data.window(draw)?));
        }
        if self.prefetch.as_ref().is_none_or(|prefetch| prefetch.next != draw) {
            self.prefetch = None;
            self.prefetch = Some(Prefetch::start(self.stage.data()?, draw, self.depth)?);
        }
        let prefetch = self.prefetch.as_mut().expect("it was started above");
        let window = prefetch.take();
        if window.is_err() {
            self.prefetch = None;
        }
        window
    }
}

/// Windows on their way, or why there are none.
type Windows = Ring<Result<Arc<Window>, Fault>>;

/// The thread's end of the ring: who waits at the other end is woken however the thread ends.
struct Inlet(Arc<Windows>);

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A thread that keeps the ring full.
struct Prefetch {
    ring: Arc<Windows>,
    thread: Option<std::thread::JoinHandle<()>>,
    next: u64,
}

impl Prefetch {
    fn start(mut data: Box<dyn Data>, first: u64, depth: usize) -> Result<Prefetch, Fault> {
        let ring = Arc::new(Ring::new(depth, 0));
        let inlet = Inlet(ring.clone());
        let work = move || {
            // Taken whole: what ends this thread, a panic too, closes the ring.
            let inlet = inlet;
            for draw in first.. {
                let window = data.window(draw).map(Arc::new);
                let failed = window.is_err();
                if inlet.0.push(window, None) != Pushed::In || failed {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("pleach-prefetch".into())
            .spawn(work)
            .map_err(|error| Fault::new(FaultKind::Actor, format!("could not start the prefetch thread: {error}")))?;
        Ok(Prefetch { ring, thread: Some(thread), next: first })
    }

    fn take(&mut self) -> Result<Arc<Window>, Fault> {
        match self.ring.pop(None) {
            Popped::Item(window) => {
                self.next += 1;
                window
            }
            _ => Err(Fault::new(FaultKind::Actor, "the prefetch thread ended")),
        }
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.ring.close();
        if let Some(thread) = self.thread.take() {
            // A panic in the thread was answered as a fault already; there is nothing to learn from it here.
            let _ = thread.join();
        }
    }
}
