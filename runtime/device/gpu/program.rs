//! From op lists to dispatches over planned memory: lowering, placing, bind groups.

use super::health::Link;
use super::memory::{STORAGE, Staging, Store, padded};
use super::pipelines::{Key, Pipelines};
use crate::fault::Fault;
use crate::tape::Program;
use crate::tape::plan::{Item, Plan, plan};
use pleach_shaders::spec::{Access, Call, Caps, Cost, Dispatch, Kernel, Lowering, Place, Region, Tensor, Tick};
use std::collections::{BTreeSet, HashMap};

/// Activations and scratch start at multiples of this many bytes.
const ALIGN: u64 = Region::ALIGN * 4;

/// A program on a device, before memory: the same for [`build`] and for a prediction.
pub(super) struct Lowered {
    dispatches: Vec<Dispatch>,
    /// Call of each dispatch.
    owner: Vec<usize>,
    /// First dispatch of each call, and the number of dispatches at the end.
    pub(super) calls: Vec<usize>,
    plan: Plan,
    /// Item of each activation that is used.
    activations: Vec<Option<usize>>,
    /// Item of each scratch block of each call.
    scratch: HashMap<(usize, u32), usize>,
}

/// Where something lies: slot, byte offset, words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    /// Slot.
    pub(super) slot: usize,
    /// First byte.
    pub(super) offset: u64,
    /// Words.
    pub(super) words: u64,
}

/// Lowers a program and plans its memory. `slot_max` bounds a slot in bytes.
pub(super) fn lower(program: &Program, caps: &Caps, slot_max: u64) -> Lowered {
    let (mut dispatches, mut owner, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    let mut blocks: Vec<((usize, u32), u64)> = Vec::new();
    for (at, call) in program.calls.iter().enumerate() {
        calls.push(dispatches.len());
        let lowering = lower_call(call, caps);
        for (block, &words) in lowering.scratch.iter().enumerate() {
            blocks.push(((at, block as u32), words));
        }
        owner.extend(std::iter::repeat_n(at, lowering.dispatches.len()));
        dispatches.extend(lowering.dispatches);
    }
    calls.push(dispatches.len());
    let mut lowered = Lowered {
        dispatches,
        owner,
        calls,
        plan: Plan::default(),
        activations: vec![None; program.activations.len()],
        scratch: HashMap::new(),
    };
    lowered.place(program, &blocks, slot_max);
    lowered
}

fn lower_call<'c>(call: &Call, caps: &'c Caps) -> Lowering<'c> {
    let mut lowering = Lowering::new(caps);
    (call.op.lower)(call, &mut lowering);
    lowering
}

impl Lowered {
    /// Bytes of the slots, largest first.
    pub(super) fn slots(&self) -> &[u64] {
        &self.plan.slots
    }

    /// Costs of the dispatches.
    pub(super) fn costs(&self) -> impl Iterator<Item = &Cost> {
        self.dispatches.iter().map(|dispatch| &dispatch.cost)
    }

    /// Where an activation lies.
    pub(super) fn activation(&self, program: &Program, id: u32) -> Option<Spot> {
        let item = (*self.activations.get(id as usize)?)?;
        let words = program.activations[id as usize].shape.len() as u64;
        Some(Spot { slot: self.plan.slot[item], offset: self.plan.offset[item], words })
    }

    /// Lifetimes, conflicts, plan. An activation lives from its first call to its last, whole calls, so that a replay
    /// that stops between two calls finds it; a scratch block lives from its first dispatch to its last.
    fn place(&mut self, program: &Program, blocks: &[((usize, u32), u64)], slot_max: u64) {
        let mut items: Vec<Item> = Vec::new();
        for (at, call) in program.calls.iter().enumerate() {
            let (first, last) = (self.calls[at], self.calls[at + 1].max(self.calls[at] + 1) - 1);
            for tensor in call.reads.iter().chain(&call.writes) {
                if tensor.is_none() || tensor.is_persistent() {
                    continue;
                }
                let slot = &mut self.activations[tensor.id as usize];
                let item = *slot.get_or_insert_with(|| {
                    let words = program.activations[tensor.id as usize].shape.len() as u64;
                    items.push(Item { bytes: padded(words), first, last });
                    items.len() - 1
                });
                items[item].last = last;
            }
        }
        for &(key, words) in blocks {
            self.scratch.insert(key, items.len());
            items.push(Item { bytes: padded(words), first: usize::MAX, last: 0 });
        }
        let mut conflicts = BTreeSet::new();
        for (at, dispatch) in self.dispatches.iter().enumerate() {
            let touched: Vec<(usize, Access)> = dispatch
                .bindings
                .iter()
                .zip(dispatch.kernel.storage)
                .filter_map(|(region, &(_, access))| Some((self.item(region.place, self.owner[at])?, access)))
                .collect();
            for &(item, access) in &touched {
                let (first, last) = (items[item].first.min(at), items[item].last.max(at));
                (items[item].first, items[item].last) = (first, last);
                for &(other, _) in touched.iter().filter(|&&(_, opposite)| opposite != access) {
                    assert!(item != other, "{} reads and writes one tensor in one dispatch", dispatch.kernel.name);
                    conflicts.insert((item.min(other), item.max(other)));
                }
            }
        }
        // A block that was asked for and never bound needs no time.
        items.iter_mut().filter(|item| item.first == usize::MAX).for_each(|item| item.first = item.last);
        let conflicts: Vec<(usize, usize)> = conflicts.into_iter().collect();
        self.plan = largest_first(plan(&items, &conflicts, ALIGN, slot_max));
    }

    fn item(&self, place: Place, call: usize) -> Option<usize> {
        match place {
            Place::Tensor(id) if id & Tensor::PERSISTENT != 0 => None,
            Place::Tensor(id) => self.activations[id as usize],
            Place::Scratch(block) => Some(self.scratch[&(call, block)]),
        }
    }
}

/// Renumbers slots by size, so that the plans of several programs share well.
fn largest_first(plan: Plan) -> Plan {
    let mut order: Vec<usize> = (0..plan.slots.len()).collect();
    order.sort_by_key(|&slot| (std::cmp::Reverse(plan.slots[slot]), slot));
    let mut to = vec![0; order.len()];
    order.iter().enumerate().for_each(|(new, &old)| to[old] = new);
    let slot = plan.slot.iter().map(|&old| to[old]).collect();
    Plan { slot, offset: plan.offset, slots: order.iter().map(|&old| plan.slots[old]).collect() }
}

/// Bytes of the slots that several programs share: each as large as the largest user needs.
pub(super) fn shared_slots(programs: &[Lowered]) -> Vec<u64> {
    let mut slots: Vec<u64> = Vec::new();
    for lowered in programs {
        slots.resize(slots.len().max(lowered.slots().len()), 0);
        slots.iter_mut().zip(lowered.slots()).for_each(|(have, &need)| *have = need.max(*have));
    }
    slots
}

/// One dispatch, ready to encode.
pub(super) struct Step {
    /// What runs.
    pub(super) pipeline: wgpu::ComputePipeline,
    /// Params and storage.
    pub(super) group: wgpu::BindGroup,
    /// Workgroups.
    pub(super) grid: [u32; 3],
}

/// A built program.
pub(super) struct Built {
    /// For people.
    pub(super) name: String,
    /// Dispatches in order.
    pub(super) steps: Vec<Step>,
    /// First dispatch of each call, and the number of dispatches.
    pub(super) calls: Vec<usize>,
    /// First and past-the-last dispatch of each part.
    pub(super) parts: Vec<std::ops::Range<usize>>,
    /// Where activations lie.
    pub(super) activations: Vec<Option<Spot>>,
}

/// Everything that belongs to the programs of a build.
#[derive(Default)]
pub(super) struct Programs {
    /// The programs in order.
    pub(super) built: Vec<Built>,
    /// Activation slots and scratch, shared by all programs.
    pub(super) slots: Vec<wgpu::Buffer>,
    /// All `Params`, 256 bytes apart.
    pub(super) uniforms: Option<wgpu::Buffer>,
}

/// Buffers that stand for the absent tensor: four zero words to read, and a place that is never written.
pub(super) struct Absent {
    read: wgpu::Buffer,
    write: wgpu::Buffer,
}

impl Absent {
    /// Bytes held.
    pub(super) const BYTES: u64 = 32;

    /// Allocates both.
    pub(super) fn new(link: &mut Link) -> Result<Absent, Fault> {
        let read = link.buffer("absent, read", 16, STORAGE, false)?;
        let write = link.buffer("absent, written", 16, STORAGE, false)?;
        Ok(Absent { read, write })
    }
}

/// What [`build`] takes from.
pub(super) struct Site<'a> {
    /// The device.
    pub(super) link: &'a mut Link,
    /// Tensors that outlive programs.
    pub(super) store: &'a Store,
    /// Kernels.
    pub(super) pipelines: &'a mut Pipelines,
    /// Uploads.
    pub(super) staging: &'a mut Staging,
    /// The absent tensor.
    pub(super) absent: &'a Absent,
}

/// Allocates slots, compiles kernels, uploads params and makes all bind groups.
pub(super) fn build(site: &mut Site<'_>, programs: &[Program], lowered: &[Lowered]) -> Result<Programs, Fault> {
    let mut slots = Vec::new();
    for (i, &bytes) in shared_slots(lowered).iter().enumerate() {
        slots.push(site.link.buffer(&format!("slot {i}"), bytes, STORAGE, false)?);
    }
    site.pipelines.compile(site.link, lowered.iter().flat_map(|program| &program.dispatches))?;
    let (offsets, bytes) = pack_params(lowered);
    let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
    let uniforms = site.link.buffer("params", bytes.len() as u64, usage, false)?;
    site.staging.put(site.link, &uniforms, 0, &bytes)?;
    let mut out = Programs { built: Vec::new(), slots, uniforms: None };
    for (program, lowered) in programs.iter().zip(lowered) {
        let mut steps = Vec::with_capacity(lowered.dispatches.len());
        for (at, dispatch) in lowered.dispatches.iter().enumerate() {
            let params = (&uniforms, offsets[dispatch.params.as_slice()], dispatch.params.len() as u64);
            steps.push(step(site, lowered, &out.slots, at, dispatch, params)?);
        }
        let bounds = |calls: std::ops::Range<usize>| lowered.calls[calls.start]..lowered.calls[calls.end];
        out.built.push(Built {
            name: program.name.clone(),
            steps,
            calls: lowered.calls.clone(),
            parts: program.parts().into_iter().map(bounds).collect(),
            activations: (0..program.activations.len() as u32).map(|id| lowered.activation(program, id)).collect(),
        });
    }
    out.uniforms = Some(uniforms);
    Ok(out)
}

/// Equal params share a place.
fn pack_params(lowered: &[Lowered]) -> (HashMap<&[u8], u64>, Vec<u8>) {
    let (mut offsets, mut bytes) = (HashMap::new(), vec![0; ALIGN as usize]);
    for dispatch in lowered.iter().flat_map(|program| &program.dispatches) {
        offsets.entry(dispatch.params.as_slice()).or_insert_with(|| {
            let offset = bytes.len();
            bytes.extend_from_slice(&dispatch.params);
            bytes.resize(bytes.len().next_multiple_of(ALIGN as usize), 0);
            offset as u64
        });
    }
    (offsets, bytes)
}

fn step(
    site: &mut Site<'_>,
    lowered: &Lowered,
    slots: &[wgpu::Buffer],
    at: usize,
    dispatch: &Dispatch,
    params: (&wgpu::Buffer, u64, u64),
) -> Result<Step, Fault> {
    let kernel: &Kernel = dispatch.kernel;
    let mut bound = vec![(params.0.clone(), params.1, params.2)];
    for (region, &(name, access)) in dispatch.bindings.iter().zip(kernel.storage) {
        assert!(region.offset.is_multiple_of(Region::ALIGN), "{}: {name} is not aligned", kernel.name);
        let (buffer, offset, bytes) = resolve(site, lowered, slots, at, region, access);
        bound.push((buffer.clone(), offset, bytes));
    }
    let entries: Vec<wgpu::BindGroupEntry<'_>> = bound
        .iter()
        .enumerate()
        .map(|(binding, &(ref buffer, offset, size))| wgpu::BindGroupEntry {
            binding: binding as u32,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset,
                size: std::num::NonZeroU64::new(size),
            }),
        })
        .collect();
    let layout = site.pipelines.group_layout(kernel);
    let descriptor = wgpu::BindGroupDescriptor { label: Some(kernel.name), layout, entries: &entries };
    let group = site.link.scoped(kernel.name, |device| device.create_bind_group(&descriptor))?;
    Ok(Step { pipeline: site.pipelines.get(&Key::of(dispatch)).clone(), group, grid: dispatch.grid })
}

/// The buffer, byte offset and bytes that a region binds: whole `vec4`s.
fn resolve<'a>(
    site: &'a Site<'_>,
    lowered: &Lowered,
    slots: &'a [wgpu::Buffer],
    at: usize,
    region: &Region,
    access: Access,
) -> (&'a wgpu::Buffer, u64, u64) {
    if region.place == Place::Tensor(Tensor::NONE_ID) {
        assert!(
            region.offset == 0 && region.len <= 4,
            "{} binds an absent tensor as more",
            lowered.dispatches[at].kernel.name
        );
        return (if access == Access::Read { &site.absent.read } else { &site.absent.write }, 0, 16);
    }
    if let Place::Tensor(id) = region.place
        && id & Tensor::PERSISTENT != 0
    {
        let (buffer, first) = site.store.locate(id, region.offset, region.len);
        return (buffer, first * 4, padded(region.len));
    }
    let item = lowered.item(region.place, lowered.owner[at]).expect("a bound activation belongs to its call");
    let (slot, offset) = (lowered.plan.slot[item], lowered.plan.offset[item]);
    (&slots[slot], offset + region.offset * 4, padded(region.len))
}

/// Bytes of the tick uniform.
pub(super) const TICK_BYTES: u64 = size_of::<Tick>() as u64;
