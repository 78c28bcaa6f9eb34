//! The Device trait: where programs run. Two devices run the same op list.

pub mod bisect;
pub mod choose;
pub mod cpu;
pub mod gpu;
pub mod room;

use crate::fault::{Fault, Refusal};
use crate::tape::Program;
use pleach_shaders::spec::{Dtype, Shape, Tensor, Tick};
use room::Room;

/// What a person should know of a device.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// `cpu` or `gpu`.
    pub kind: String,
    /// The adapter's or processor's name.
    pub name: String,
    /// Vulkan, Metal, Dx12, or the instruction set.
    pub backend: String,
    /// Driver name and version; empty on the cpu.
    pub driver: String,
    /// A processor plays the GPU.
    pub software: bool,
    /// What the results depend on besides the inputs (tile table, instruction set): kept in checkpoints.
    pub tiles: String,
}

/// Bytes a device holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// Buffers that outlive programs: weights, gradients, moments, inputs, results.
    pub persistent: u64,
    /// Activation slots and scratch, shared by all programs.
    pub activations: u64,
    /// Staging, uniforms and other small things.
    pub other: u64,
}

impl Held {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.persistent + self.activations + self.other
    }
}

/// A program built on a device. Only valid on that device, until its next `build`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramId(pub usize);

/// Where programs run. Methods block until done; errors are faults, and after `DeviceLost` every call fails the same.
pub trait Device {
    /// Name, driver, tiles.
    fn facts(&self) -> &Facts;
    /// A zeroed buffer that outlives programs. Its id has [`Tensor::PERSISTENT`] set.
    fn allocate(&mut self, name: &str, shape: Shape, dtype: Dtype) -> Result<Tensor, Fault>;
    /// Gives a buffer back. Programs that use it must not run again.
    fn free(&mut self, tensor: Tensor);
    /// Writes words `offset .. offset + data.len()` of a buffer; seen by the next run.
    fn write(&mut self, tensor: Tensor, offset: usize, data: &[u32]) -> Result<(), Fault>;
    /// Reads words `offset .. offset + out.len()` of a buffer after all runs so far.
    fn read(&mut self, tensor: Tensor, offset: usize, out: &mut [u32]) -> Result<(), Fault>;
    /// Sets all words of the buffers to zero.
    fn clear(&mut self, tensors: &[Tensor]) -> Result<(), Fault>;
    /// Plans, allocates and compiles all programs of a stage together; those built before are forgotten.
    fn build(&mut self, programs: &[Program]) -> Result<Vec<ProgramId>, Fault>;
    /// What of these programs the device cannot run at all, in words (exit code 3); `build` fails with the same.
    fn refusal(&self, _programs: &[Program]) -> Option<Refusal> {
        None
    }
    /// Memory that a run may take of the device, nothing allocated there yet; without memory of its own: the system's.
    fn room(&self) -> Room {
        Room::system()
    }
    /// What `build` would hold for these programs, which it does not refuse, without allocating: activation slots and
    /// scratch in bytes.
    fn predict(&self, programs: &[Program]) -> u64;
    /// Runs one part of a program (see [`Program::parts`]). Activations persist from part to part.
    fn run(&mut self, program: ProgramId, part: usize, tick: &Tick) -> Result<(), Fault>;
    /// Runs calls `from .. to` only (the bisecting switch); no activation of another range is kept apart from the plan.
    fn run_calls(&mut self, program: ProgramId, from: usize, to: usize, tick: &Tick) -> Result<(), Fault>;
    /// Reads an activation (the bisecting switch): its content is only defined between its first write and last use.
    fn peek(&mut self, program: ProgramId, tensor: Tensor, out: &mut [u32]) -> Result<(), Fault>;
    /// Overwrites an activation (the bisecting switch).
    fn poke(&mut self, program: ProgramId, tensor: Tensor, data: &[u32]) -> Result<(), Fault>;
    /// Waits until everything that was handed over is done, and checks that the device is well.
    fn settle(&mut self) -> Result<(), Fault>;
    /// What it holds now.
    fn held(&self) -> Held;
}

/// Names all shaders of this build: a checkpoint keeps it, since other text may round differently.
pub fn shaders_hash() -> String {
    let mut hasher = blake3::Hasher::new();
    for pair in pleach_shaders::PAIRS {
        for kernel in pair.kernels {
            hasher.update(kernel.name.as_bytes()).update(kernel.source.as_bytes());
        }
    }
    for (name, text) in pleach_shaders::template::SNIPPETS {
        hasher.update(name.as_bytes()).update(text.as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_string()
}
