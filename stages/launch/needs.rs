//! What a launch takes in memory and on the disk, and whether that fits.

use super::{Launch, Ready};
use pleach_runtime::actors::checkpoint::host_bytes_of;
use pleach_runtime::actors::opening::lost;
use pleach_runtime::device::Device;
use pleach_runtime::device::choose::open;
use pleach_runtime::device::room::Room;
use pleach_runtime::engine::layout::{AdamW, Layout, Shapes, halves, head_chunk, sequence};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::run::RunPlan;

/// Sequences that samples are drawn for at once.
const STREAMS: usize = 4;

/// What a stage takes in memory.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Needs {
    /// Weights, gradients, moments, inputs, caches: bytes on the device.
    pub persistent: u64,
    /// Activations, scratch and the device's own staging: bytes on the device.
    pub activations: u64,
    /// Copies of the model's state for recovery: bytes in the system's memory.
    pub host: u64,
    /// What the device has room for, as far as the machine tells.
    pub room: Room,
    /// What the system has room for.
    pub host_room: Room,
}

impl Needs {
    /// Why that is too much, if it is: what shares the system's memory must fit into it together.
    fn refusal(&self, what: &str, hint: &str) -> Option<Refusal> {
        let device = self.persistent.saturating_add(self.activations);
        if self.room.shared {
            return self.room.refuse(device.saturating_add(self.host), what, hint);
        }
        let copies = || {
            let hint = "take a smaller model, or free some memory";
            self.host_room.refuse(self.host, "copies that recovery needs do not fit the system's memory", hint)
        };
        self.room.refuse(device, what, hint).or_else(copies)
    }
}

impl Ready {
    /// The shapes of its programs, so many rows at once.
    pub(super) fn shapes(&self, micro_rows: usize) -> Shapes {
        let (config, choice) = (self.config(), &self.choice);
        let tokens = micro_rows * config.context;
        // Packed rows fill every micro-batch but the window's last; others fill none.
        let rest = choice.batch % micro_rows.max(1) * config.context;
        let buckets = match self.packed {
            true if rest > 0 => vec![rest],
            true => Vec::new(),
            false => halves(tokens),
        };
        let prompts = self.recipe().map_or(Vec::new(), |recipe| recipe.voice().prompts);
        let prompt = prompts.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0);
        let (streams, longest) = match self.generates {
            Some((streams, prompt)) => (streams, prompt + choice.completion_tokens),
            None => (STREAMS.min(prompts.len().max(1)), prompt + choice.sample_tokens),
        };
        if self.recipe().is_none() {
            return Shapes::generation(config, streams, longest);
        }
        Shapes {
            micro_rows,
            context: config.context,
            buckets,
            streams,
            sequence: sequence(config, longest),
            prefill: config.context.min(64),
            head_chunk: head_chunk(config.vocab, tokens),
            recompute: choice.recompute,
        }
    }

    pub(super) fn adamw(&self) -> AdamW {
        let choice = &self.choice;
        AdamW {
            beta1: choice.beta1 as f32,
            beta2: choice.beta2 as f32,
            eps: choice.eps as f32,
            decay: choice.weight_decay as f32,
        }
    }

    fn needs(&self, rows: usize, device: &dyn Device) -> Result<Needs, Refusal> {
        let (persistent, activations) = Layout::predict(&self.roles, &self.shapes(rows), &self.adamw(), device)?;
        // A stage that collects trains nothing that would have to be kept.
        let host = if self.recipe().is_some() { host_bytes_of(&self.roles) } else { 0 };
        Ok(Needs { persistent, activations, host, room: device.room(), host_room: Room::system() })
    }

    /// Why so many rows do not fit, if they do not: in the device's own words, or for want of memory.
    pub(super) fn refusal(&self, rows: usize, device: &dyn Device) -> Option<Refusal> {
        let needs = match self.needs(rows, device) {
            Ok(needs) => needs,
            Err(refusal) => return Some(refusal),
        };
        let what = format!("the stage {} does not fit the device at {rows} rows at once", self.folder);
        let hint = "lower context, batch or the model's size, set micro_batch, or recompute = true";
        needs.refusal(&what, hint)
    }
}

impl Launch {
    /// What a stage takes on its device, before anything is allocated there.
    ///
    /// # Errors
    /// A refusal where the device cannot run it at all.
    pub fn needs(&self, at: usize) -> Result<Needs, Fault> {
        Ok(self.stages[at].needs(self.frozen.stages[at].micro_rows, &*open(&self.chosen)?)?)
    }

    pub(super) fn open(&self) -> Result<Box<dyn Device>, Fault> {
        open(&self.chosen).map_err(|fault| if self.known { lost(fault) } else { fault })
    }

    /// Refuses a run of which a stage does not fit: exit code 3. Where a device that the run has worked with is not
    /// there, or lacks the memory for what it did before, that is
    /// [`pleach_runtime::fault::FaultKind::DeviceLost`], and may pass.
    pub fn check_fit(&self) -> Result<(), Fault> {
        let device = self.open()?;
        let left = self.stages.iter().zip(&self.frozen.stages).skip(self.done);
        match left.filter_map(|(stage, frozen)| stage.refusal(frozen.micro_rows, &*device)).next() {
            Some(refusal) if self.known && self.changes.is_empty() => Err(lost(refusal.into())),
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }

    /// Refuses a run whose checkpoints will not fit the disk: exit code 3. One that has trained waits for room instead.
    pub fn check_disk(&self) -> Result<(), Fault> {
        let weights = |stage: &Ready| 4 * pleach_runtime::model::weights::parameters(stage.config()) as u64;
        let largest = self.stages.iter().map(weights).max().unwrap_or(0);
        let free = RunPlan::disk().free(&self.folder).ok().flatten();
        // Weights and two moments a checkpoint; what a stage leaves is its best and its last one, and its model.
        let left = (self.stages.len() as u64).saturating_sub(1) * 7 * largest;
        let need = pleach_runtime::store::reserve(3 * largest) + largest + left;
        match free {
            Some(free) if free < need && !self.known => {
                let detail = format!("{} MiB are free, checkpoints need {} MiB", free >> 20, need.div_ceil(1 << 20));
                let hint = "free some space, or put the runs on another disk with --runs";
                Err(Refusal::new("the disk has too little room for checkpoints", detail, hint).with_code(3).into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Needs;
    use pleach_runtime::device::room::Room;

    #[test]
    fn copies_on_the_host_need_room_too() {
        let mib = |mib: u64| mib << 20;
        let room = |bytes: Option<u64>, shared| Room { bytes: bytes.map(mib), from: "told".into(), shared };
        let refused = |activations, host, of_device: Room, of_host| {
            let needs = Needs {
                persistent: mib(4),
                activations: mib(activations),
                host: mib(host),
                room: of_device,
                host_room: room(of_host, true),
            };
            needs.refusal("it does not fit", "less").map(|refusal| refusal.detail)
        };
        assert_eq!(refused(2, 9, room(Some(6), false), Some(9)), None);
        assert_eq!(refused(2, 9, room(None, false), None), None, "nobody tells");
        assert!(refused(3, 9, room(Some(6), false), Some(9)).unwrap().starts_with("7 MiB"));
        assert!(refused(2, 10, room(Some(6), false), Some(9)).unwrap().starts_with("10 MiB"));
        assert!(refused(2, 9, room(Some(14), true), Some(14)).unwrap().starts_with("15 MiB"), "one memory holds both");
        assert_eq!(refused(2, 9, room(Some(15), true), Some(15)), None);
    }
}
