//! The cpu device: fast versions of every op of a training step on a thread pool of its own.
//!
//! Work is cut by shape alone, so that the number of threads changes no bit. Ops without a fast version run their spec.

mod adapter;
mod attention;
mod attention_backward;
mod cache;
mod elementwise;
mod embed;
mod gate;
mod head;
mod heads;
mod math;
mod matmul;
mod memory;
mod noise;
mod norms;
mod optimizer;
mod product;
mod reduce;
mod share;
mod sums;
mod table;

use pleach_shaders::spec::{Dtype, Shape, Tensor, Tick};

use self::memory::{Block, Built, Memory, Step};
use self::share::Team;
use super::{Device, Facts, Held, ProgramId};
use crate::fault::{Fault, FaultKind};
use crate::supervise::Hired;
use crate::tape::Program;

/// Words that a piece of `clear` sets to zero.
const CLEARED: usize = 1 << 17;

/// How to open the cpu device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuOptions {
    /// Threads; none = as many as the machine offers. No bit of a result depends on it.
    pub threads: Option<usize>,
    /// Run the definition of every op instead of its fast version: the oracle.
    pub specs_only: bool,
}

/// The cpu device.
pub struct Cpu {
    facts: Facts,
    specs_only: bool,
    team: Team,
    memory: Memory,
    programs: Vec<Built>,
}

impl Cpu {
    /// Starts the device's threads. Fails where the machine grants none.
    pub fn open(options: CpuOptions) -> Result<Cpu, Fault> {
        let offered = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = options.threads.unwrap_or(offered).max(1);
        let team = Team::new(threads)
            .map_err(|error| Fault::new(FaultKind::Actor, format!("could not start {threads} threads: {error}")))?;
        let facts = facts(options.specs_only);
        Ok(Cpu { facts, specs_only: options.specs_only, team, memory: Memory::new()?, programs: Vec::new() })
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// Is there a fast version of this op?
    pub fn is_fast(op: &str) -> bool {
        table::find(op).is_some()
    }

    /// Plans the programs; words of the arena and of working memory that all of them need.
    fn plan(&self, programs: &[Program]) -> (Vec<Built>, usize, usize) {
        let threads = self.team.threads();
        let built: Vec<Built> = programs.iter().map(|p| Built::new(p, threads, self.specs_only)).collect();
        let arena = built.iter().map(|b| b.arena).max().unwrap_or(0);
        let work = built.iter().map(|b| b.work).max().unwrap_or(0);
        (built, arena, work)
    }

    /// An activation's words of the arena.
    fn activation(&mut self, program: ProgramId, tensor: Tensor) -> &mut [f32] {
        let range = self.programs[program.0].places[tensor.id as usize].clone();
        &mut self.memory.arena.words_mut()[range]
    }
}

/// What a person, and a checkpoint, should know.
fn facts(specs_only: bool) -> Facts {
    let refresh = sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing());
    let system = sysinfo::System::new_with_specifics(refresh).ok();
    let brand = system.as_ref().and_then(|system| system.cpus().first()).map_or("", |cpu| cpu.brand().trim());
    let backend = match pulp::Arch::new() {
        pulp::Arch::Scalar => "scalar",
        _ => "avx2+fma",
    };
    let tiles = if specs_only { "specs".into() } else { format!("{backend}, {}", product::tiles()) };
    Facts {
        kind: "cpu".into(),
        name: if brand.is_empty() { std::env::consts::ARCH.into() } else { brand.into() },
        backend: backend.into(),
        driver: String::new(),
        software: false,
        tiles,
    }
}

/// Runs one call.
fn run_step(memory: &mut Memory, team: &Team, step: &Step, tick: &Tick) {
    memory.with(step, team, tick, |args, room| match step.fast {
        Some(fast) => (fast.run)(args, room),
        None => (step.call.op.spec)(args),
    });
}

impl Device for Cpu {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn allocate(&mut self, name: &str, shape: Shape, dtype: Dtype) -> Result<Tensor, Fault> {
        let block = Block::zeroed(shape.len(), name)?;
        let buffers = &mut self.memory.buffers;
        let index = buffers.iter().position(Option::is_none).unwrap_or(buffers.len());
        if index == buffers.len() {
            buffers.push(None);
        }
        buffers[index] = Some(block);
        let id = u32::try_from(index).expect("fewer than 2^31 buffers") | Tensor::PERSISTENT;
        Ok(Tensor { id, shape, dtype })
    }

    fn free(&mut self, tensor: Tensor) {
        assert!(tensor.is_persistent(), "{tensor:?} is no buffer");
        self.memory.buffers[(tensor.id & !Tensor::PERSISTENT) as usize] = None;
    }

    fn write(&mut self, tensor: Tensor, offset: usize, data: &[u32]) -> Result<(), Fault> {
        let words = self.memory.buffer(tensor).words_mut();
        words[offset..offset + data.len()].copy_from_slice(bytemuck::cast_slice(data));
        Ok(())
    }

    fn read(&mut self, tensor: Tensor, offset: usize, out: &mut [u32]) -> Result<(), Fault> {
        let words = self.memory.buffer(tensor).words();
        out.copy_from_slice(bytemuck::cast_slice(&words[offset..offset + out.len()]));
        Ok(())
    }

    fn clear(&mut self, tensors: &[Tensor]) -> Result<(), Fault> {
        for &tensor in tensors {
            let words = self.memory.buffer(tensor).words_mut();
            self.team.rows(words.len(), CLEARED, [(words, 1)], |_, [words]| words.fill(0.0));
        }
        Ok(())
    }

    fn build(&mut self, programs: &[Program]) -> Result<Vec<ProgramId>, Fault> {
        let (built, arena, work) = self.plan(programs);
        self.programs.clear();
        // The old memory goes before the new comes: a stage must not hold both.
        self.memory.arena = Block::zeroed(0, "nothing")?;
        self.memory.work = Block::zeroed(0, "nothing")?;
        self.memory.arena = Block::zeroed(arena, "activations")?;
        self.memory.work = Block::zeroed(work, "working memory")?;
        self.programs = built;
        Ok((0..programs.len()).map(ProgramId).collect())
    }

    fn predict(&self, programs: &[Program]) -> u64 {
        let (_, arena, work) = self.plan(programs);
        (arena + work) as u64 * 4
    }

    fn run(&mut self, program: ProgramId, part: usize, tick: &Tick) -> Result<(), Fault> {
        let range = self.programs[program.0].parts[part].clone();
        self.run_calls(program, range.start, range.end, tick)
    }

    fn run_calls(&mut self, program: ProgramId, from: usize, to: usize, tick: &Tick) -> Result<(), Fault> {
        let (memory, team) = (&mut self.memory, &self.team);
        let steps = &self.programs[program.0].steps[from..to];
        let here = Hired::here();
        team.enter(|| {
            for step in steps {
                run_step(memory, team, step, tick);
                // A large step takes long in all, but none of its calls does.
                here.as_ref().map(Hired::beat);
            }
        });
        Ok(())
    }

    fn peek(&mut self, program: ProgramId, tensor: Tensor, out: &mut [u32]) -> Result<(), Fault> {
        let words = self.activation(program, tensor);
        out.copy_from_slice(bytemuck::cast_slice(&words[..out.len()]));
        Ok(())
    }

    fn poke(&mut self, program: ProgramId, tensor: Tensor, data: &[u32]) -> Result<(), Fault> {
        let words = self.activation(program, tensor);
        words[..data.len()].copy_from_slice(bytemuck::cast_slice(data));
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn held(&self) -> Held {
        let persistent = self.memory.buffers.iter().flatten().map(Block::bytes).sum();
        let activations = self.memory.arena.bytes() + self.memory.work.bytes();
        Held { persistent, activations, other: 0 }
    }
}
