//! The gpu device: programs on wgpu. The only folder that names wgpu.

mod adapter;
mod governor;
mod health;
mod limits;
mod memory;
mod name;
mod pipelines;
mod program;
pub mod share;
mod vram;

pub use adapter::{AdapterFacts, Choice, Kind, adapters};
pub use name::Name;

use crate::device::room::Room;
use crate::device::{Device, Facts, Held, ProgramId};
use crate::fault::{Fault, Refusal};
use crate::tape::Program;
use governor::{Governor, Rates};
use health::{Canary, Link, Tag};
use memory::{Staging, Store};
use pipelines::Pipelines;
use pleach_shaders::spec::{Caps, Cost, Dtype, Region, Shape, Tensor, Tick};
use program::{Absent, Lowered, Programs, Site};
use std::time::Duration;

/// How a device is opened. The default is what a run uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Compile kernels with all of wgpu's run-time checks: slower, the same bits (for tests).
    pub checked: bool,
    /// Most bytes of one binding, at most what the adapter offers (for tests of sharding).
    pub binding_limit: Option<u64>,
    /// A host application draws on this GPU: submissions of 8 ms instead of 50.
    pub shared: bool,
}

/// A GPU, or a processor that plays one.
pub struct Gpu {
    facts: Facts,
    adapter: AdapterFacts,
    own: Caps,
    caps: Caps,
    slot_max: u64,
    link: Link,
    store: Store,
    staging: Staging,
    pipelines: Pipelines,
    absent: Absent,
    canary: Canary,
    tick: wgpu::Buffer,
    tick_group: wgpu::BindGroup,
    governor: Governor,
    programs: Programs,
}

/// A slot is at most this many bytes where the device allows more.
const SLOT_MAX: u64 = 2 << 30;
/// A binding is at most this many bytes where the device allows more.
const BINDING_MAX: u64 = 1 << 30;

impl Gpu {
    /// Opens an adapter. Refused (exit code 3) if there is none of the kind, or it lacks something.
    pub fn open(choice: &Choice) -> Result<Gpu, Refusal> {
        Gpu::open_with(choice, Options::default())
    }

    /// Opens an adapter with options.
    pub fn open_with(choice: &Choice, options: Options) -> Result<Gpu, Refusal> {
        let (facts, adapter) = adapter::choose(choice)?;
        let (device, queue) = adapter::request(&facts, &adapter)?;
        Gpu::assemble(facts, device, queue, options, true)
    }

    fn assemble(
        adapter: AdapterFacts,
        device: wgpu::Device,
        queue: wgpu::Queue,
        options: Options,
        ours: bool,
    ) -> Result<Gpu, Refusal> {
        let limits = device.limits();
        let caps = caps_of(&adapter, &limits, options);
        let mut link = Link::new(device, queue, if adapter.kind == Kind::Software { 600 } else { 30 }, ours);
        let name = adapter.name.clone();
        let made = Gpu::parts(&mut link, options);
        let (staging, pipelines, absent, canary, tick, tick_group) = made.map_err(|fault| {
            let what = format!("the adapter {name} cannot be used");
            Refusal::new(what, fault.what, "close other programs that use the GPU, or use `--device cpu`").with_code(3)
        })?;
        let facts = facts_of(&adapter, &caps);
        let governor = Governor::new(rates(adapter.kind), slice(adapter.kind, options.shared));
        Ok(Gpu {
            facts,
            adapter,
            own: caps,
            caps,
            slot_max: limits.max_buffer_size.min(SLOT_MAX) / 256 * 256,
            link,
            store: Store::default(),
            staging,
            pipelines,
            absent,
            canary,
            tick,
            tick_group,
            governor,
            programs: Programs::default(),
        })
    }

    #[allow(clippy::type_complexity)]
    fn parts(
        link: &mut Link,
        options: Options,
    ) -> Result<(Staging, Pipelines, Absent, Canary, wgpu::Buffer, wgpu::BindGroup), Fault> {
        let staging = Staging::new(link)?;
        let pipelines = Pipelines::new(link, options.checked)?;
        let absent = Absent::new(link)?;
        let canary = Canary::new(link)?;
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let tick = link.buffer("tick", program::TICK_BYTES, usage, false)?;
        let group = link.scoped("the tick", |device| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("tick"),
                layout: pipelines.tick_layout(),
                entries: &[wgpu::BindGroupEntry { binding: 0, resource: tick.as_entire_binding() }],
            })
        })?;
        Ok((staging, pipelines, absent, canary, tick, group))
    }

    /// The adapter.
    pub fn adapter(&self) -> &AdapterFacts {
        &self.adapter
    }

    /// What kernels are lowered for.
    pub fn caps(&self) -> &Caps {
        &self.caps
    }

    /// Lowers later builds, and shards later tensors, as if the adapter had these caps (every adapter can run every
    /// lowering, so tests try them all). Tensors that are there already must not need other shards.
    pub fn pretend(&mut self, caps: Caps) {
        self.caps = Caps { binding_words: caps.binding_words.min(self.own.binding_words), ..caps };
    }

    /// The adapter's own caps.
    pub fn own_caps(&self) -> Caps {
        self.own
    }

    /// Aims at submissions of this length from the next run on; at most 250 ms on a real GPU.
    pub fn set_slice(&mut self, slice: Duration) {
        self.governor.set_slice(if self.facts.software { slice } else { slice.min(governor::HARD_CAP) });
    }

    /// Estimated seconds of one part of a program.
    pub fn estimate(&self, program: ProgramId, part: usize) -> f64 {
        let range = &self.programs.built[program.0].parts[part];
        self.governor.seconds(program.0, range.start, range.end)
    }

    fn lowered(&self, programs: &[Program]) -> Result<Vec<Lowered>, Refusal> {
        if let Some(refusal) = self.refusal(programs) {
            return Err(refusal);
        }
        Ok(programs.iter().map(|program| program::lower(program, &self.caps, self.slot_max)).collect())
    }

    /// Encodes and submits dispatches `from .. to`, cut by the governor.
    fn encode(&mut self, program: ProgramId, from: usize, to: usize, tick: &Tick) -> Result<(), Fault> {
        self.staging.put(&mut self.link, &self.tick, 0, bytemuck::bytes_of(tick))?;
        let mut begin = from;
        for end in self.governor.cuts(program.0, from, to) {
            let descriptor = wgpu::CommandEncoderDescriptor { label: None };
            let mut encoder = self.link.device.create_command_encoder(&descriptor);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_bind_group(1, &self.tick_group, &[]);
            for step in &self.programs.built[program.0].steps[begin..end] {
                pass.set_pipeline(&step.pipeline);
                pass.set_bind_group(0, &step.group, &[]);
                pass.dispatch_workgroups(step.grid[0], step.grid[1], step.grid[2]);
            }
            self.canary.sing(&mut pass);
            drop(pass);
            let commands = self.staging.take().into_iter().chain([encoder.finish()]).collect();
            self.link.submit(commands, Some(Tag { program: program.0, from: begin, to: end }))?;
            self.staging.sent();
            self.governor.correct(&self.link.measured());
            begin = end;
        }
        Ok(())
    }

    /// The slot, byte offset and bytes of an activation.
    fn spot(&self, program: ProgramId, tensor: Tensor, words: usize) -> (wgpu::Buffer, u64) {
        let built = &self.programs.built[program.0];
        let spot = built.activations[tensor.id as usize];
        let spot = spot.unwrap_or_else(|| panic!("no call of \"{}\" touches {tensor:?}", built.name));
        assert!(words as u64 <= spot.words, "{words} words of {tensor:?}");
        (self.programs.slots[spot.slot].clone(), spot.offset)
    }
}

impl Device for Gpu {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn allocate(&mut self, name: &str, shape: Shape, dtype: Dtype) -> Result<Tensor, Fault> {
        let id = self.store.allocate(&mut self.link, &self.caps, name, shape)?;
        Ok(Tensor { id, shape, dtype })
    }

    fn free(&mut self, tensor: Tensor) {
        // Uploads that are still collected may name its buffers. A lost device shows at the next call that can say so.
        drop(self.staging.flush(&mut self.link));
        self.store.free(tensor);
    }

    fn write(&mut self, tensor: Tensor, offset: usize, data: &[u32]) -> Result<(), Fault> {
        for (buffer, at, before, len) in self.store.cut(tensor.id, offset as u64, data.len() as u64) {
            let piece = &data[before as usize..(before + len) as usize];
            self.staging.put(&mut self.link, &buffer, at * 4, bytemuck::cast_slice(piece))?;
        }
        Ok(())
    }

    fn read(&mut self, tensor: Tensor, offset: usize, out: &mut [u32]) -> Result<(), Fault> {
        self.link.check()?;
        for (buffer, at, before, len) in self.store.cut(tensor.id, offset as u64, out.len() as u64) {
            let piece = &mut out[before as usize..(before + len) as usize];
            self.staging.get(&mut self.link, &buffer, at * 4, bytemuck::cast_slice_mut(piece))?;
        }
        self.governor.correct(&self.link.measured());
        Ok(())
    }

    fn clear(&mut self, tensors: &[Tensor]) -> Result<(), Fault> {
        self.link.check()?;
        for tensor in tensors {
            for shard in self.store.shards(tensor.id) {
                self.staging.zero(&self.link, &shard.buffer);
            }
        }
        Ok(())
    }

    fn build(&mut self, programs: &[Program]) -> Result<Vec<ProgramId>, Fault> {
        let lowered = self.lowered(programs)?;
        // Uploads that are still collected name the buffers that go now.
        self.staging.flush(&mut self.link)?;
        self.link.drain()?;
        let old = std::mem::take(&mut self.programs);
        old.slots.iter().chain(&old.uniforms).for_each(wgpu::Buffer::destroy);
        drop(old);
        self.link.check()?;
        self.governor.forget();
        let mut site = Site {
            link: &mut self.link,
            store: &self.store,
            pipelines: &mut self.pipelines,
            staging: &mut self.staging,
            absent: &self.absent,
        };
        self.programs = program::build(&mut site, programs, &lowered)?;
        lowered.iter().for_each(|program| self.governor.learn(program.costs()));
        Ok((0..programs.len()).map(ProgramId).collect())
    }

    fn refusal(&self, programs: &[Program]) -> Option<Refusal> {
        programs.iter().find_map(|program| limits::refusal(program, &self.caps))
    }

    fn room(&self) -> Room {
        Room::of(&self.adapter)
    }

    fn predict(&self, programs: &[Program]) -> u64 {
        self.lowered(programs).map_or(u64::MAX, |lowered| program::shared_slots(&lowered).iter().sum())
    }

    fn run(&mut self, program: ProgramId, part: usize, tick: &Tick) -> Result<(), Fault> {
        let range = self.programs.built[program.0].parts[part].clone();
        self.encode(program, range.start, range.end, tick)
    }

    fn run_calls(&mut self, program: ProgramId, from: usize, to: usize, tick: &Tick) -> Result<(), Fault> {
        let calls = &self.programs.built[program.0].calls;
        self.encode(program, calls[from], calls[to], tick)
    }

    fn peek(&mut self, program: ProgramId, tensor: Tensor, out: &mut [u32]) -> Result<(), Fault> {
        let (buffer, offset) = self.spot(program, tensor, out.len());
        self.staging.get(&mut self.link, &buffer, offset, bytemuck::cast_slice_mut(out))
    }

    fn poke(&mut self, program: ProgramId, tensor: Tensor, data: &[u32]) -> Result<(), Fault> {
        let (buffer, offset) = self.spot(program, tensor, data.len());
        self.staging.put(&mut self.link, &buffer, offset, bytemuck::cast_slice(data))
    }

    fn settle(&mut self) -> Result<(), Fault> {
        self.staging.flush(&mut self.link)?;
        let mut words = [0u32; 4];
        let buffer = self.canary.buffer.clone();
        self.staging.get(&mut self.link, &buffer, 0, bytemuck::cast_slice_mut(&mut words))?;
        self.governor.correct(&self.link.measured());
        let verdict = self.canary.verify(&words);
        if let Err(fault) = &verdict {
            self.link.lose(fault.what.clone());
        }
        verdict
    }

    fn held(&self) -> Held {
        let uniforms = self.programs.uniforms.as_ref().map_or(0, wgpu::Buffer::size);
        Held {
            persistent: self.store.bytes(),
            activations: self.programs.slots.iter().map(wgpu::Buffer::size).sum(),
            other: Staging::BYTES + Absent::BYTES + Canary::BYTES + program::TICK_BYTES + uniforms,
        }
    }
}

/// What kernels may count on.
fn caps_of(adapter: &AdapterFacts, limits: &wgpu::Limits, options: Options) -> Caps {
    // An optimizer step streams seven bindings at once: slower memory gets smaller ones.
    let most = if matches!(adapter.kind, Kind::Integrated | Kind::Other) { BINDING_MAX / 4 } else { BINDING_MAX };
    let offered = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(most);
    let words = options.binding_limit.unwrap_or(offered).min(offered) / 4 / Region::ALIGN * Region::ALIGN;
    let fill = match adapter.kind {
        Kind::Discrete => 256,
        Kind::Integrated | Kind::Other => 64,
        Kind::Software => 8,
    };
    let software = adapter.kind == Kind::Software;
    // Half of the cap: a causal call's last rows cost twice the mean.
    let cap = rates(adapter.kind).within(governor::HARD_CAP.as_secs_f64() / 2.0);
    let dispatch = if software { Cost::INFINITE } else { cap };
    Caps { binding_words: words, software, fill, invocations: 256, dispatch }
}

fn facts_of(adapter: &AdapterFacts, caps: &Caps) -> Facts {
    Facts {
        kind: "gpu".into(),
        name: adapter.name.clone(),
        backend: adapter.backend.clone(),
        driver: adapter.driver.clone(),
        software: adapter.kind == Kind::Software,
        tiles: format!(
            "T0 {} fill {} binding {}",
            if caps.software { "direct" } else { "tiled" },
            caps.fill,
            caps.binding_words
        ),
    }
}

/// First rates, low enough for the slowest of a kind.
fn rates(kind: Kind) -> Rates {
    match kind {
        Kind::Discrete => Rates { flops: 1e12, bytes: 1e11, dispatch: 1e-5 },
        Kind::Integrated | Kind::Other => Rates { flops: 1e11, bytes: 1e10, dispatch: 2e-5 },
        Kind::Software => Rates { flops: 4e9, bytes: 3e9, dispatch: 6e-5 },
    }
}

/// Software adapters have no watchdog and no screen to serve, so their submissions may be longer.
fn slice(kind: Kind, shared: bool) -> Duration {
    match (kind, shared) {
        (_, true) => Duration::from_millis(8),
        (Kind::Software, false) => Duration::from_millis(500),
        (_, false) => Duration::from_millis(50),
    }
}
