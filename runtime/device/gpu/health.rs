//! Health of a device: errors and loss as faults, submissions, waits in slices, the canary.

use super::adapter::now;
use crate::fault::{Fault, FaultKind};
use crate::supervise::{Hired, text_of};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Submissions that may be under way at once: a hung queue is noticed early and a host application is not starved.
const IN_FLIGHT: usize = 3;
/// One wait. A driver may leave the fence of a killed context unsignaled for good, so waits are cut.
const SLICE: Duration = Duration::from_secs(1);
/// Slices without progress after which an empty submission asks the driver whether it still lives: some report a loss
/// to the next submission only.
const PROBE_AFTER: u32 = 5;

/// What wgpu tells outside of calls.
enum Event {
    /// The device is gone.
    Lost(String),
    /// An error that no scope caught.
    Error(wgpu::Error),
}

/// What a finished submission tells about the speed of a device.
pub(super) struct Measured {
    /// What the submitter named it with.
    pub(super) tag: Tag,
    /// Seconds from the end of the one before (or from its own start) to its end.
    pub(super) seconds: f64,
    /// Both ends were observed as they happened; otherwise `seconds` is an upper bound.
    pub(super) sharp: bool,
}

/// Dispatches `from .. to` of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    /// Index of the program.
    pub(super) program: usize,
    /// First dispatch.
    pub(super) from: usize,
    /// One past the last dispatch.
    pub(super) to: usize,
}

struct Flight {
    index: wgpu::SubmissionIndex,
    tag: Option<Tag>,
    begun: Instant,
    queue_was_empty: bool,
}

/// A device and its queue, with everything that can go wrong turned into faults.
pub(super) struct Link {
    /// The wgpu device.
    pub(super) device: wgpu::Device,
    /// Its only queue.
    pub(super) queue: wgpu::Queue,
    inbox: Receiver<Event>,
    lost: Option<Fault>,
    flights: VecDeque<Flight>,
    last_end: (Instant, bool),
    measured: Vec<Measured>,
    patience: u32,
    ours: bool,
}

impl Link {
    /// Takes a device over. `patience` is the number of one-second slices without progress after which the device
    /// counts as lost. A device that is `ours` alone gets our handlers; a host application keeps its own, and errors of
    /// our commands are caught in scopes.
    pub(super) fn new(device: wgpu::Device, queue: wgpu::Queue, patience: u32, ours: bool) -> Link {
        let (sender, inbox): (Sender<Event>, _) = bounded(64);
        if ours {
            let errors = sender.clone();
            // A full inbox drops what follows: the first events decide.
            device.on_uncaptured_error(std::sync::Arc::new(move |error| drop(errors.try_send(Event::Error(error)))));
            device.set_device_lost_callback(move |reason, message| {
                drop(sender.try_send(Event::Lost(format!("{reason:?}: {message}"))));
            });
        }
        Link {
            device,
            queue,
            inbox,
            lost: None,
            flights: VecDeque::new(),
            last_end: (Instant::now(), false),
            measured: Vec::new(),
            patience,
            ours,
        }
    }

    /// Fails if the device is lost or an error arrived. A validation error is our own mistake: a panic.
    pub(super) fn check(&mut self) -> Result<(), Fault> {
        if self.lost.is_none() {
            self.poll(wgpu::PollType::Poll);
        }
        while let Ok(event) = self.inbox.try_recv() {
            match event {
                Event::Lost(why) => self.lose(format!("the device was lost ({why})")),
                Event::Error(wgpu::Error::OutOfMemory { .. }) => self.lose("the device ran out of memory".into()),
                Event::Error(wgpu::Error::Internal { description, .. }) => self.lose(description),
                Event::Error(wgpu::Error::Validation { description, .. }) => {
                    assert!(self.lost.is_some(), "wgpu refused a command of ours: {description}");
                }
            }
        }
        self.lost.clone().map_or(Ok(()), Err)
    }

    /// Asks the device for its progress. None where it is lost: wgpu answers that with a panic, not with an error.
    fn poll(&mut self, how: wgpu::PollType) -> Option<Result<wgpu::PollStatus, wgpu::PollError>> {
        self.guarded(|device| device.poll(how))
    }

    /// Runs a call of wgpu that panics when the driver reports the device as lost, and marks it so. Of all calls that
    /// are made here only `Device::poll` does that (wgpu 30, `handle_error_fatal`), after it gave its locks back, so
    /// nothing is left torn: submissions, mappings and new objects report a loss as an error or through the callback.
    /// The panic hook has printed the panic all the same. Callbacks of a host application run in there too; a panic of
    /// theirs is taken for a loss, with its words.
    fn guarded<T>(&mut self, call: impl FnOnce(&wgpu::Device) -> T) -> Option<T> {
        let answer = catch_unwind(AssertUnwindSafe(|| call(&self.device)));
        answer.map_err(|panic| self.lose(format!("the device was lost ({})", text_of(panic)))).ok()
    }

    /// Marks the device as lost. The first reason stays.
    pub(super) fn lose(&mut self, why: String) {
        self.flights.clear();
        self.lost.get_or_insert_with(|| Fault::new(FaultKind::DeviceLost, why));
    }

    /// Runs something that creates objects, and returns what wgpu has against it.
    pub(super) fn scoped<T>(&mut self, what: &str, make: impl FnOnce(&wgpu::Device) -> T) -> Result<T, Fault> {
        self.check()?;
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = self.device.push_error_scope(wgpu::ErrorFilter::Internal);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make(&self.device);
        let (validation, internal, memory) = (now(validation.pop()), now(internal.pop()), now(memory.pop()));
        self.check()?;
        if memory.is_some() {
            return Err(Fault::new(FaultKind::OutOfMemory, format!("the device has no memory for {what}")));
        }
        if let Some(error) = internal {
            return Err(Fault::new(FaultKind::DeviceLost, format!("{what}: {error}")));
        }
        if let Some(error) = validation {
            // Without handlers of our own, a host's lost device shows as an error of the next command.
            let text = error.to_string();
            assert!(!self.ours && text.contains("lost"), "wgpu refused {what}: {text}");
            self.lose(format!("{what}: {text}"));
            self.check()?;
        }
        Ok(made)
    }

    /// A buffer, or a fault that says how much was asked for.
    pub(super) fn buffer(
        &mut self,
        label: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
        mapped: bool,
    ) -> Result<wgpu::Buffer, Fault> {
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size: bytes, usage, mapped_at_creation: mapped };
        self.scoped(&format!("{label} ({bytes} bytes)"), |device| device.create_buffer(&descriptor))
    }

    /// Hands commands over; waits first while too many are under way.
    pub(super) fn submit(&mut self, commands: Vec<wgpu::CommandBuffer>, tag: Option<Tag>) -> Result<(), Fault> {
        self.check()?;
        while self.flights.len() >= IN_FLIGHT {
            self.land()?;
        }
        let queue_was_empty = self.flights.is_empty();
        let begun = Instant::now();
        let queue = self.queue.clone();
        let index = match self.ours {
            true => queue.submit(commands),
            false => self.scoped("a submission", |_| queue.submit(commands))?,
        };
        self.flights.push_back(Flight { index, tag, begun, queue_was_empty });
        Ok(())
    }

    /// Waits until everything handed over is done.
    pub(super) fn drain(&mut self) -> Result<(), Fault> {
        while self.land()? {}
        self.check()
    }

    /// What was learned about speed since the last call.
    pub(super) fn measured(&mut self) -> Vec<Measured> {
        std::mem::take(&mut self.measured)
    }

    /// Waits until the oldest submission is done; false if none is under way.
    pub(super) fn land(&mut self) -> Result<bool, Fault> {
        let Some(flight) = self.flights.pop_front() else { return Ok(false) };
        let asked = Instant::now();
        self.wait(flight.index.clone())?;
        Hired::beat_here();
        let end = Instant::now();
        // A wait that took no time found the work done long ago: its end is only an upper bound.
        let sharp_end = end - asked > Duration::from_micros(30);
        let (start, sharp_start) = match flight.queue_was_empty {
            true => (flight.begun, true),
            false => (self.last_end.0.max(flight.begun), self.last_end.1),
        };
        if let Some(tag) = flight.tag {
            let seconds = (end - start).as_secs_f64();
            self.measured.push(Measured { tag, seconds, sharp: sharp_start && sharp_end });
        }
        self.last_end = (end, sharp_end);
        Ok(true)
    }

    /// Waits for one submission in slices, so that a lost or hung device is noticed.
    fn wait(&mut self, index: wgpu::SubmissionIndex) -> Result<(), Fault> {
        for slice in 0..self.patience {
            let wait = wgpu::PollType::Wait { submission_index: Some(index.clone()), timeout: Some(SLICE) };
            let answer = self.poll(wait);
            self.check()?;
            match answer {
                Some(Ok(_)) => return Ok(()),
                Some(Err(wgpu::PollError::Timeout)) if slice + 1 == PROBE_AFTER => drop(self.queue.submit([])),
                Some(Err(wgpu::PollError::Timeout)) => {}
                // A lost device takes no submission, and says so nowhere where the handlers are a host application's.
                Some(Err(error)) => self.lose(format!("the device took no submission ({error})")),
                None => unreachable!("a poll without an answer is a lost device, which the check has told"),
            }
        }
        let seconds = self.patience;
        self.lose(format!("the device made no progress for {seconds} seconds"));
        self.check()
    }
}

/// The last dispatch of each submission counts in a buffer of its own: Metal reports failed work as done, so only a
/// count that arrived proves that the work was.
pub(super) struct Canary {
    /// 16 bytes: the count, its complement, zeros.
    pub(super) buffer: wgpu::Buffer,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    expected: u32,
}

/// Counts submissions; the complement shows a torn or foreign write.
const CANARY: &str = "
@group(0) @binding(0) var<storage, read_write> canary: array<u32, 4>;
@compute @workgroup_size(1)
fn count() {
    let next = canary[0] + 1u;
    canary[0] = next;
    canary[1] = ~next;
}
";

impl Canary {
    /// Bytes of the buffer.
    pub(super) const BYTES: u64 = 16;

    /// Builds it on a device.
    pub(super) fn new(link: &mut Link) -> Result<Canary, Fault> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let buffer = link.buffer("canary", Canary::BYTES, usage, false)?;
        let (pipeline, group) = link.scoped("the canary", |device| {
            let source = wgpu::ShaderSource::Wgsl(CANARY.into());
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("canary"), source });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some("canary"),
                layout: None,
                module: &module,
                entry_point: Some("count"),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            });
            let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("canary"),
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
            });
            (pipeline, group)
        })?;
        Ok(Canary { buffer, pipeline, group, expected: 0 })
    }

    /// Ends a submission.
    pub(super) fn sing(&mut self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        self.expected = self.expected.wrapping_add(1);
    }

    /// Did all submissions so far run to their end?
    pub(super) fn verify(&self, words: &[u32; 4]) -> Result<(), Fault> {
        verdict(self.expected, words)
    }
}

/// What a canary that holds `words` says after `expected` submissions.
fn verdict(expected: u32, words: &[u32; 4]) -> Result<(), Fault> {
    let complement = if expected == 0 { 0 } else { !expected };
    if words[0] == expected && words[1] == complement {
        return Ok(());
    }
    let what = format!("the device reports work as done that was not: {} of {expected} submissions", words[0]);
    Err(Fault::new(FaultKind::DeviceLost, what))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::adapter;
    use super::*;

    #[test]
    fn a_canary_that_missed_a_submission_means_a_lost_device() {
        assert!(verdict(0, &[0; 4]).is_ok());
        assert!(verdict(7, &[7, !7, 0, 0]).is_ok());
        for words in [[6, !6, 0, 0], [8, !8, 0, 0], [7, 7, 0, 0], [0; 4]] {
            let fault = verdict(7, &words).unwrap_err();
            assert_eq!(fault.kind, FaultKind::DeviceLost);
            assert!(fault.what.contains("of 7 submissions"), "{fault}");
        }
    }

    /// What wgpu does with VK_ERROR_DEVICE_LOST: `Device::poll` panics.
    #[test]
    fn a_poll_that_panics_means_a_lost_device() {
        let Ok((facts, adapter)) = adapter::choose(&adapter::Choice::Software) else {
            return skip("a_poll_that_panics_means_a_lost_device");
        };
        let (device, queue) = adapter::request(&facts, &adapter).unwrap();
        let mut link = Link::new(device, queue, 5, true);
        link.submit(vec![], None).unwrap();
        assert!(link.land().unwrap(), "a device that is well");
        link.submit(vec![], None).unwrap();
        let answer = link.guarded(|_| -> () { panic!("Error in Device::poll: Parent device is lost") });
        assert_eq!(answer, None);
        for fault in [link.check().unwrap_err(), link.submit(vec![], None).unwrap_err(), link.drain().unwrap_err()] {
            assert_eq!(fault.kind, FaultKind::DeviceLost);
            assert!(fault.what.contains("Parent device is lost"), "{fault}");
        }
        assert!(link.flights.is_empty(), "nothing waits for a lost device");
    }

    /// A submission that wgpu did not take, as it takes none on a lost device.
    #[test]
    fn a_submission_that_was_not_taken_means_a_lost_device() {
        let Ok((facts, adapter)) = adapter::choose(&adapter::Choice::Software) else {
            return skip("a_submission_that_was_not_taken_means_a_lost_device");
        };
        let (device, queue) = adapter::request(&facts, &adapter).unwrap();
        let host = device.clone();
        let mut link = Link::new(device, queue, 5, false);
        link.submit(vec![], None).unwrap();
        host.destroy();
        let fault = link.submit(vec![], None).and_then(|()| link.drain()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::DeviceLost);
    }

    fn skip(name: &str) {
        use std::io::Write;
        let line = format!("SKIPPED: {name}: no software adapter");
        drop(writeln!(std::io::stderr(), "{line}"));
        if let Some(path) = std::env::var_os("PLEACH_SKIPPED") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            drop(file.and_then(|mut file| writeln!(file, "{line}")));
        }
    }
}
