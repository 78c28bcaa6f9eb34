//! The cpu device's memory: aligned blocks, the arena's plan, and the views of one call.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use pleach_shaders::spec::{Args, Call, Tensor, Tick};

use super::share::Team;
use super::table::{self, Fast};
use crate::fault::{Fault, FaultKind};
use crate::tape::Program;
use crate::tape::plan::{Item, plan};

/// Words of a cache line: every tensor and every working memory starts on one.
const LINE: usize = 16;
/// Most tensors that one call reads, and most that it writes.
const MOST: usize = 8;

/// One cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([f32; LINE]);

/// Zeroed memory that starts on a cache line.
pub(super) struct Block {
    lines: Vec<Line>,
    words: usize,
}

impl Block {
    /// Zeroed memory of so many words. Fails with `OutOfMemory` where the allocator refuses.
    pub(super) fn zeroed(words: usize, what: &str) -> Result<Block, Fault> {
        let mut lines = Vec::new();
        let count = words.div_ceil(LINE);
        lines.try_reserve_exact(count).map_err(|_| {
            let mebibytes = words.div_ceil(1 << 18);
            Fault::new(FaultKind::OutOfMemory, format!("the machine has no {mebibytes} MiB for {what}"))
        })?;
        lines.resize(count, Line::zeroed());
        Ok(Block { lines, words })
    }
    /// Its words.
    pub(super) fn words(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.words]
    }
    /// Its words.
    pub(super) fn words_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.words]
    }
    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        (self.lines.len() * LINE * 4) as u64
    }
}

/// Where a tensor of a call lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: the absent tensor.
    Absent,
    /// A buffer that outlives programs, by index: its first words, as many as the call's tensor has.
    Buffer(usize, usize),
    /// Words of the arena.
    Arena(Range<usize>),
}

impl Place {
    /// Do two places share a word?
    fn overlaps(&self, other: &Place) -> bool {
        match (self, other) {
            (Place::Buffer(a, _), Place::Buffer(b, _)) => a == b,
            (Place::Arena(a), Place::Arena(b)) => a.start < b.end && b.start < a.end,
            _ => false,
        }
    }
}

/// Working memory of a call, in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// Shared by all threads.
    pub(super) shared: usize,
    /// For each thread.
    pub(super) lane: usize,
}

impl Need {
    /// Words for a team of so many threads, each part on its own cache lines.
    pub(super) fn total(self, threads: usize) -> usize {
        self.shared.next_multiple_of(LINE) + self.lane.next_multiple_of(LINE) * threads
    }
}

/// What a fast version works with besides its tensors. `shared` and `lanes` hold rubbish on entry.
pub(super) struct Room<'a> {
    /// The threads.
    pub(super) team: &'a Team,
    /// [`Need::shared`] words.
    pub(super) shared: &'a mut [f32],
    /// [`Need::lane`] words for each thread.
    pub(super) lanes: &'a mut [f32],
}

/// One call of a built program.
pub(super) struct Step {
    /// The call.
    pub(super) call: Call,
    /// Its fast version, where it has one.
    pub(super) fast: Option<&'static Fast>,
    reads: Vec<Place>,
    writes: Vec<Place>,
    need: Need,
}

/// A program with its memory planned.
pub(super) struct Built {
    /// The calls.
    pub(super) steps: Vec<Step>,
    /// First and last call of each part.
    pub(super) parts: Vec<Range<usize>>,
    /// Words of the arena for each activation.
    pub(super) places: Vec<Range<usize>>,
    /// Words of the arena that it uses.
    pub(super) arena: usize,
    /// Words of working memory that it uses.
    pub(super) work: usize,
}

impl Built {
    /// Plans a program. Panics where a call writes a tensor that it also reads or writes (our own mistake).
    pub(super) fn new(program: &Program, threads: usize, specs_only: bool) -> Built {
        let (places, arena) = place(program);
        let find = |tensor: &Tensor| match tensor {
            t if t.is_none() => Place::Absent,
            t if t.is_persistent() => Place::Buffer((t.id & !Tensor::PERSISTENT) as usize, t.shape.len()),
            t => Place::Arena(places[t.id as usize].clone()),
        };
        let mut work = 0;
        let mut steps = Vec::with_capacity(program.calls.len());
        for call in &program.calls {
            assert!(call.reads.len() <= MOST && call.writes.len() <= MOST, "{:?} has too many tensors", call.op);
            let fast = if specs_only { None } else { table::find(call.op.name) };
            let need = fast.map_or(Need::default(), |fast| (fast.need)(call));
            let reads: Vec<Place> = call.reads.iter().map(find).collect();
            let writes: Vec<Place> = call.writes.iter().map(find).collect();
            for (i, write) in writes.iter().enumerate() {
                let others = reads.iter().chain(&writes[..i]);
                assert!(others.into_iter().all(|o| !o.overlaps(write)), "{:?} writes what it also touches", call.op);
            }
            work = work.max(need.total(threads));
            steps.push(Step { call: call.clone(), fast, reads, writes, need });
        }
        Built { steps, parts: program.parts(), places, arena, work }
    }
}

/// Places the activations of a program in one arena: word ranges by id, and the words in all.
fn place(program: &Program) -> (Vec<Range<usize>>, usize) {
    let mut items: Vec<Item> = program
        .activations
        .iter()
        .map(|a| Item { bytes: a.shape.len() as u64 * 4, first: usize::MAX, last: 0 })
        .collect();
    for (at, call) in program.calls.iter().enumerate() {
        for tensor in call.reads.iter().chain(&call.writes) {
            if !tensor.is_none() && !tensor.is_persistent() {
                let item = &mut items[tensor.id as usize];
                item.first = item.first.min(at);
                item.last = item.last.max(at);
            }
        }
    }
    // What no call touches still gets a place of its own call, so that it can be peeked at.
    for item in items.iter_mut().filter(|item| item.first == usize::MAX) {
        (item.first, item.last) = (0, 0);
    }
    let plan = plan(&items, &[], (LINE * 4) as u64, u64::MAX);
    assert!(plan.slots.len() <= 1, "without conflicts one slot takes everything");
    let words = |i: usize| {
        let from = (plan.offset[i] / 4) as usize;
        from..from + program.activations[i].shape.len()
    };
    ((0..items.len()).map(words).collect(), (plan.total() / 4) as usize)
}

/// All memory of the device.
pub(super) struct Memory {
    /// Buffers that outlive programs.
    pub(super) buffers: Vec<Option<Block>>,
    /// Activations of whichever program runs.
    pub(super) arena: Block,
    /// Working memory of whichever call runs.
    pub(super) work: Block,
    /// What stands in for absent tensors that a call writes: never touched.
    sink: [[f32; 4]; MOST],
}

impl Memory {
    /// Nothing yet.
    pub(super) fn new() -> Result<Memory, Fault> {
        let (arena, work) = (Block::zeroed(0, "nothing")?, Block::zeroed(0, "nothing")?);
        Ok(Memory { buffers: Vec::new(), arena, work, sink: [[0.0; 4]; MOST] })
    }

    /// The buffer of a tensor.
    pub(super) fn buffer(&mut self, tensor: Tensor) -> &mut Block {
        assert!(tensor.is_persistent(), "{tensor:?} is no buffer");
        let index = (tensor.id & !Tensor::PERSISTENT) as usize;
        self.buffers[index].as_mut().expect("the buffer was given back")
    }

    /// Hands the tensors of a step to `body`: reads, writes and working memory.
    pub(super) fn with(
        &mut self,
        step: &Step,
        team: &Team,
        tick: &Tick,
        body: impl FnOnce(&mut Args<'_>, &mut Room<'_>),
    ) {
        const ABSENT: &[f32] = &[0.0; 4];
        let Memory { buffers, arena, work, sink } = self;
        let arena: *mut [f32] = arena.words_mut();
        let mut find = |place: &Place| -> Option<*mut [f32]> {
            match place {
                Place::Absent => None,
                Place::Buffer(index, words) => {
                    let block = buffers[*index].as_mut().expect("a program uses a buffer that was given back");
                    Some(&mut block.words_mut()[..*words])
                }
                Place::Arena(range) => Some(part(arena, range)),
            }
        };
        let mut sinks = sink.iter_mut();
        let mut reads = [ABSENT; MOST];
        let mut writes: [&mut [f32]; MOST] = std::array::from_fn(|_| Default::default());
        for (slot, place) in reads.iter_mut().zip(&step.reads) {
            // SAFETY: reads may overlap each other, being shared; no write of the step overlaps them (see below).
            *slot = find(place).map_or(ABSENT, |words| unsafe { &*words });
        }
        for (slot, place) in writes.iter_mut().zip(&step.writes) {
            *slot = match find(place) {
                // SAFETY: `Built::new` asserts that no write of a step overlaps another place of it, buffers are
                // allocations of their own, and `self` is borrowed mutably for the whole call.
                Some(words) => unsafe { &mut *words },
                None => sinks.next().expect("as many sinks as writes").as_mut_slice(),
            };
        }
        let (shared, lanes) = work.words_mut().split_at_mut(step.need.shared.next_multiple_of(LINE));
        let shared = &mut shared[..step.need.shared];
        let lanes = &mut lanes[..step.need.lane.next_multiple_of(LINE) * team.threads()];
        let mut args = Args {
            params: &step.call.params,
            tick,
            reads: &reads[..step.reads.len()],
            writes: &mut writes[..step.writes.len()],
        };
        body(&mut args, &mut Room { team, shared, lanes });
    }
}

/// A range of a raw slice, checked against its length.
fn part(slice: *mut [f32], range: &Range<usize>) -> *mut [f32] {
    assert!(range.start <= range.end && range.end <= slice.len(), "{range:?} of the arena");
    std::ptr::slice_from_raw_parts_mut(slice.cast::<f32>().wrapping_add(range.start), range.len())
}
