//! What an op looks like from outside: tensors, calls, the recorder; kernels, regions and dispatches.
//!
//! An *op* is the unit of the op list (whole tensors, the same on every device). A *kernel* is one WGSL entry
//! point. A device's *lowering* turns one [`Call`] of an op into [`Dispatch`]es of kernels; the spec turns it into
//! plain loops. Everything is 4-byte words: a `u32` tensor travels as `f32` bits (`bytemuck::cast_slice` recovers it).

pub use crate::pair::{Case, GradientCheck, Pair, Tolerance};
use bytemuck::{Pod, Zeroable};

/// Element type of a tensor. Both are 4 bytes wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// Unsigned 32-bit integers: token ids, positions, row numbers, counters.
    U32,
}

/// The extents of a tensor, row-major, one to four of them, each at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [u32; 4],
    rank: u8,
}

impl Shape {
    /// A shape from its extents. Panics on rank 0 or above 4, or an extent of 0 or above `u32::MAX`.
    pub fn new(dims: &[usize]) -> Shape {
        assert!(!dims.is_empty() && dims.len() <= 4, "a shape has one to four extents, got {dims:?}");
        let mut out = [1u32; 4];
        for (slot, &dim) in out.iter_mut().zip(dims) {
            assert!(dim >= 1, "an extent is at least 1, got {dims:?}");
            *slot = u32::try_from(dim).expect("an extent fits u32");
        }
        Shape { dims: out, rank: dims.len() as u8 }
    }
    /// Number of extents.
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }
    /// Extent `axis` (0 is the outermost).
    pub fn dim(&self, axis: usize) -> usize {
        assert!(axis < self.rank(), "axis {axis} of {self:?}");
        self.dims[axis] as usize
    }
    /// The extents.
    pub fn dims(&self) -> Vec<usize> {
        (0..self.rank()).map(|axis| self.dim(axis)).collect()
    }
    /// Number of elements (words).
    pub fn len(&self) -> usize {
        self.dims[..self.rank()].iter().map(|&dim| dim as usize).product()
    }
    /// Never true: extents are at least 1.
    pub fn is_empty(&self) -> bool {
        false
    }
    /// The outermost extent.
    pub fn rows(&self) -> usize {
        self.dim(0)
    }
    /// Words of one outermost row.
    pub fn row_len(&self) -> usize {
        self.len() / self.rows()
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// A handle on a tensor of a tape. Ids with [`Tensor::PERSISTENT`] set name device buffers that outlive programs
/// (weights, gradients, moments, inputs, results); the others are activations that the planner places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Which one.
    pub id: u32,
    /// Extents.
    pub shape: Shape,
    /// Element type.
    pub dtype: Dtype,
}

impl Tensor {
    /// Marks ids of buffers that outlive programs.
    pub const PERSISTENT: u32 = 1 << 31;
    /// The id that stands for "no tensor here" (an absent bias, say). Devices bind four zero words to it.
    pub const NONE_ID: u32 = u32::MAX;

    /// "No tensor here": shape (4), all zero on every device, never written.
    pub fn none() -> Tensor {
        Tensor { id: Tensor::NONE_ID, shape: Shape::new(&[4]), dtype: Dtype::F32 }
    }
    /// The first rows of a buffer as a tensor: the same id, fewer rows. Only for buffers that outlive programs.
    pub fn first_rows(self, rows: usize) -> Tensor {
        if self.is_none() {
            return self;
        }
        assert!(self.is_persistent() && rows <= self.shape.rows(), "the first {rows} rows of {self:?}");
        let dims: Vec<usize> = std::iter::once(rows).chain(self.shape.dims()[1..].iter().copied()).collect();
        Tensor { shape: Shape::new(&dims), ..self }
    }
    /// Is this the absent tensor?
    pub fn is_none(&self) -> bool {
        self.id == Tensor::NONE_ID
    }
    /// Is this a buffer that outlives programs?
    pub fn is_persistent(&self) -> bool {
        self.id & Tensor::PERSISTENT != 0 && !self.is_none()
    }
    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.shape.len() as u64 * 4
    }
}

/// The numbers that change from step to step, the same for all calls of a run of a program. One uniform, 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Tick {
    /// Optimizer step, from 1 (AdamW's t).
    pub step: u32,
    /// Key of all counter-based noise, low word.
    pub seed_lo: u32,
    /// Key of all counter-based noise, high word.
    pub seed_hi: u32,
    /// Number of the window that is being learned: noise differs from draw to draw.
    pub draw: u32,
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// 1 - beta1^t.
    pub bias1: f32,
    /// 1 - beta2^t.
    pub bias2: f32,
    /// Factor on every gradient (global-norm clipping), in (0, 1].
    pub clip: f32,
    /// Sampling temperature; 0 = greedy.
    pub temperature: f32,
    /// Keep this many most likely tokens; 0 = all.
    pub top_k: u32,
    /// Keep the smallest set of tokens with this total probability; 1 = all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely one; 0 = none.
    pub min_p: f32,
    /// Divide positive and multiply negative logits of recent tokens by this; 1 = off.
    pub repetition: f32,
    /// How many of the recent tokens count (0 = none).
    pub recent: u32,
    /// Unused, zero.
    pub spare: [u32; 2],
}

/// What a spec or a fast version works on. Writes hold their previous content on entry.
pub struct Args<'a> {
    /// The op's `Params`, padded with zeros to a multiple of 16 bytes.
    pub params: &'a [u8],
    /// The per-step numbers.
    pub tick: &'a Tick,
    /// Read tensors in the order of the call.
    pub reads: &'a [&'a [f32]],
    /// Written tensors in the order of the call.
    pub writes: &'a mut [&'a mut [f32]],
}

impl Args<'_> {
    /// The op's parameters.
    pub fn params<P: Pod>(&self) -> P {
        bytemuck::pod_read_unaligned(&self.params[..size_of::<P>()])
    }
}

/// A tensor's words as unsigned integers.
pub fn words(x: &[f32]) -> &[u32] {
    bytemuck::cast_slice(x)
}

/// Work of a call: what the governor, the benches and `plan` count with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations (a fused multiply-add counts 2).
    pub flops: f64,
    /// Bytes that must move between memory and the processor at least once.
    pub bytes: f64,
}

/// An op: one line of the op list, known to every device by its name.
pub struct Op {
    /// `pair.verb`, for example `rms_norm.forward`.
    pub name: &'static str,
    /// The definition: plain loops over whole tensors.
    pub spec: fn(&mut Args<'_>),
    /// How a GPU does it: dispatches of kernels.
    pub lower: fn(&Call, &mut Lowering<'_>),
    /// Its work.
    pub cost: fn(&Call) -> Cost,
}

impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// One line of the op list. No tensor is both read and written by one call; a written tensor that accumulates says so
/// in its op's `Params`.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is done.
    pub op: &'static Op,
    /// The op's `Params` as bytes, padded with zeros to a multiple of 16.
    pub params: Vec<u8>,
    /// What is read, in the op's order.
    pub reads: Vec<Tensor>,
    /// What is written, in the op's order.
    pub writes: Vec<Tensor>,
}

impl Call {
    /// A call. `params` is the op's own parameter struct.
    pub fn new<P: Pod>(op: &'static Op, params: &P, reads: &[Tensor], writes: &[Tensor]) -> Call {
        let mut bytes = bytemuck::bytes_of(params).to_vec();
        bytes.resize(bytes.len().next_multiple_of(16).max(16), 0);
        Call { op, params: bytes, reads: reads.to_vec(), writes: writes.to_vec() }
    }
    /// The op's parameters.
    pub fn params<P: Pod>(&self) -> P {
        bytemuck::pod_read_unaligned(&self.params[..size_of::<P>()])
    }
}

/// A gradient rule: given the gradient that arrived at the output, records the calls that send it on to the inputs.
pub type Rule = Box<dyn Fn(&mut dyn Recorder, Tensor)>;

/// A rule that starts a backward pass by itself.
pub type Root = Box<dyn Fn(&mut dyn Recorder)>;

/// Where ops record themselves. The runtime's tape implements it; the gradient check of the tests does too.
pub trait Recorder {
    /// A fresh activation, undefined until a call writes it.
    fn tensor(&mut self, name: &'static str, shape: &[usize], dtype: Dtype) -> Tensor;
    /// Appends a call.
    fn call(&mut self, call: Call);
    /// How `output`'s gradient reaches the inputs; run in reverse order of recording, if a gradient arrives at all.
    fn rule(&mut self, output: Tensor, rule: Rule);
    /// A rule that starts a backward pass without an arriving gradient (the head). It runs before all others.
    fn root(&mut self, rule: Root);
    /// Is a gradient for `x` wanted at all (a trained weight, or something that depends on one)?
    fn wants(&self, x: Tensor) -> bool;
    /// The tensor that collects the gradient of `x`, and whether the caller must add to what is already there
    /// (otherwise it must write every element). Call it once per contribution, only if `wants(x)`.
    fn gradient(&mut self, x: Tensor) -> (Tensor, bool);
    /// The whole of `dy` is a contribution to the gradient of `x`. May hand over the storage of `dy` instead of
    /// copying:
    /// the last thing a rule does with `dy`.
    fn pass(&mut self, x: Tensor, dy: Tensor);
}

/// How a kernel touches a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// One WGSL entry point. Binding 0 of group 0 is `var<uniform> params`; storage bindings follow from 1 in the order of
/// `storage`; a kernel that uses `tick` has `@group(1) @binding(0) var<uniform> tick: Tick`.
pub struct Kernel {
    /// `pair.entry`.
    pub name: &'static str,
    /// Template text of the pair's `.wgsl` (see `template.rs`).
    pub source: &'static str,
    /// Name of the entry point.
    pub entry: &'static str,
    /// Storage bindings from 1 on: name as in the WGSL, and access.
    pub storage: &'static [(&'static str, Access)],
    /// Does it read the per-step numbers?
    pub tick: bool,
    /// Bytes of its `Params` uniform (a multiple of 16).
    pub params_size: usize,
    /// Template variables with the values that tests try (the first is the default).
    pub defines: &'static [(&'static str, &'static [u32])],
    /// `override` constants with the values that tests try (the first is the default).
    pub overrides: &'static [(&'static str, &'static [u32])],
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Where a region lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In tensor number `.0` (an id; [`Tensor::NONE_ID`] is the four zero words).
    Tensor(u32),
    /// In scratch block `.0` of this call.
    Scratch(u32),
}

/// A range of words that a kernel binds. `offset` is a multiple of [`Region::ALIGN`] words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Region {
    /// In what.
    pub place: Place,
    /// First word.
    pub offset: u64,
    /// Words.
    pub len: u64,
}

impl Region {
    /// Alignment of a region's offset in words (256 bytes: WebGPU's default for storage buffers).
    pub const ALIGN: u64 = 64;
}

/// One dispatch of a kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// What runs.
    pub kernel: &'static Kernel,
    /// Template variables that differ from the kernel's defaults.
    pub defines: Vec<(&'static str, u32)>,
    /// `override` constants that differ from the kernel's defaults.
    pub overrides: Vec<(&'static str, u32)>,
    /// The kernel's uniform, a multiple of 16 bytes.
    pub params: Vec<u8>,
    /// What is bound from binding 1 on.
    pub bindings: Vec<Region>,
    /// Workgroups in x, y, z; each at most 65535.
    pub grid: [u32; 3],
    /// Its share of the call's work.
    pub cost: Cost,
}

/// What lowering must know of a GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caps {
    /// Most words that one binding can show. Tensors above it are sharded by rows (see [`Caps::shard_rows`]).
    pub binding_words: u64,
    /// A processor plays the GPU (lavapipe, SwiftShader, WARP): large register blocks straight from storage, no
    /// workgroup memory, few invocations.
    pub software: bool,
    /// Parallel workgroups of 256 invocations that fill the device (2 to 4 per compute unit): the aim of split-K.
    pub fill: u32,
    /// Invocations per workgroup at most (256 everywhere).
    pub invocations: u32,
    /// Most work of one dispatch, where its kind of work can grow without bound (products, attention): such a call is
    /// cut into several ([`crate::grid::bands`]), which changes no bit. Infinite where nothing hurries.
    pub dispatch: Cost,
}

impl Cost {
    /// No bound.
    pub const INFINITE: Cost = Cost { flops: f64::INFINITY, bytes: f64::INFINITY };
}

impl Caps {
    /// Rows per shard of a tensor: all rows where it fits one binding; else the largest multiple of 64 rows that fits.
    /// Shards are buffers of their own; a region never crosses a shard. Panics if 64 rows do not fit.
    pub fn shard_rows(&self, shape: &Shape) -> usize {
        if shape.len() as u64 <= self.binding_words {
            return shape.rows();
        }
        let rows = (self.binding_words / shape.row_len() as u64) as usize / 64 * 64;
        assert!(rows > 0, "64 rows of {shape:?} exceed the binding limit of {} words", self.binding_words);
        rows
    }
    /// The shards of a tensor as (first row, rows).
    pub fn shards(&self, shape: &Shape) -> Vec<(usize, usize)> {
        let (rows, each) = (shape.rows(), self.shard_rows(shape));
        (0..rows).step_by(each).map(|first| (first, each.min(rows - first))).collect()
    }
}

/// Collects the dispatches of one call.
pub struct Lowering<'c> {
    /// The device.
    pub caps: &'c Caps,
    /// What was emitted, in order; each sees the writes of those before it.
    pub dispatches: Vec<Dispatch>,
    /// Words of each scratch block; blocks live for this call only.
    pub scratch: Vec<u64>,
}

impl<'c> Lowering<'c> {
    /// An empty lowering for a device.
    pub fn new(caps: &'c Caps) -> Lowering<'c> {
        Lowering { caps, dispatches: Vec::new(), scratch: Vec::new() }
    }
    /// The whole of a tensor that is known to fit one binding.
    pub fn whole(&self, t: Tensor) -> Region {
        assert!(t.shape.len() as u64 <= self.caps.binding_words, "{t:?} exceeds a binding: bind its shards");
        Region { place: Place::Tensor(t.id), offset: 0, len: t.shape.len() as u64 }
    }
    /// Rows `first .. first + rows` of a tensor: within one shard, `first * row_len` a multiple of the alignment.
    pub fn rows(&self, t: Tensor, first: usize, rows: usize) -> Region {
        let width = t.shape.row_len() as u64;
        let offset = first as u64 * width;
        assert!(offset.is_multiple_of(Region::ALIGN), "rows from {first} of {t:?} are not aligned");
        Region { place: Place::Tensor(t.id), offset, len: rows as u64 * width }
    }
    /// A scratch block of this many words.
    pub fn scratch(&mut self, words: u64) -> Region {
        assert!(words > 0 && words <= self.caps.binding_words, "scratch of {words} words");
        self.scratch.push(words);
        Region { place: Place::Scratch(self.scratch.len() as u32 - 1), offset: 0, len: words }
    }
    /// Emits a dispatch with the kernel's default variables.
    pub fn dispatch<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        params: &P,
        bindings: &[Region],
        grid: [u32; 3],
        cost: Cost,
    ) {
        self.dispatch_with(kernel, params, bindings, grid, cost, &[], &[]);
    }
    /// Emits a dispatch with chosen template variables and override constants.
    pub fn dispatch_with<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        params: &P,
        bindings: &[Region],
        grid: [u32; 3],
        cost: Cost,
        defines: &[(&'static str, u32)],
        overrides: &[(&'static str, u32)],
    ) {
        assert_eq!(bindings.len(), kernel.storage.len(), "bindings of {}", kernel.name);
        assert!(grid.iter().all(|&g| (1..=65535).contains(&g)), "grid {grid:?} of {}", kernel.name);
        let mut bytes = bytemuck::bytes_of(params).to_vec();
        bytes.resize(bytes.len().next_multiple_of(16).max(16), 0);
        assert_eq!(bytes.len(), kernel.params_size, "params of {}", kernel.name);
        self.dispatches.push(Dispatch {
            kernel,
            defines: defines.to_vec(),
            overrides: overrides.to_vec(),
            params: bytes,
            bindings: bindings.to_vec(),
            grid,
            cost,
        });
    }
}
