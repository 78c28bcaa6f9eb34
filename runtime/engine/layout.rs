//! Everything a training run keeps on a device, and the programs over it: recorded once, before the first step.

use crate::device::Device;
use crate::fault::{Fault, Refusal};
use crate::model::config::{ModelConfig, Positions};
use crate::model::generate::{Cached, DecodeInputs};
use crate::model::transformer::{self, Inputs, Weights, Within, decoder, head_weight};
use crate::model::weights::{WeightSpec, specs};
use crate::tape::{Program, Tape};
use pleach_shaders::embed::Sorted;
use pleach_shaders::head::{self, HeadOptions};
use pleach_shaders::spec::{Dtype, Recorder, Shape, Tensor};
use pleach_shaders::{adamw, norm_sq};
use serde::{Deserialize, Serialize};

/// The shapes that programs are recorded for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shapes {
    /// Rows of a full micro-batch; it holds `micro_rows * context` tokens, or more rows that are shorter.
    pub micro_rows: usize,
    /// Tokens of the longest row in training and evaluation.
    pub context: usize,
    /// Further lengths in tokens, largest first, that training and evaluation are recorded for: what does not fill a
    /// micro-batch takes the shortest that holds it.
    pub buckets: Vec<usize>,
    /// Sequences generated at once.
    pub streams: usize,
    /// Tokens of the longest sequence that is generated, its prompt among them: rows of a stream's cache. At most the
    /// model's context.
    pub sequence: usize,
    /// Prompt tokens taken in at once.
    pub prefill: usize,
    /// Rows of logits that exist at once.
    pub head_chunk: usize,
    /// Compute activations a second time instead of keeping them.
    pub recompute: bool,
}

impl Shapes {
    /// For evaluation and generation over the model's whole context.
    pub fn inference(config: &ModelConfig, micro_rows: usize, streams: usize) -> Shapes {
        Shapes {
            micro_rows,
            context: config.context,
            buckets: halves(micro_rows * config.context),
            streams,
            sequence: config.context,
            prefill: config.context.min(64),
            head_chunk: head_chunk(config.vocab, micro_rows * config.context),
            recompute: false,
        }
    }

    /// For [`Role::generator`]: `streams` sequences of up to `longest` tokens, prompts among them.
    pub fn generation(config: &ModelConfig, streams: usize, longest: usize) -> Shapes {
        let sequence = sequence(config, longest);
        let prefill = sequence.min(64);
        let (micro_rows, context, buckets, head_chunk) = (1, 1, Vec::new(), 1);
        Shapes { micro_rows, context, buckets, streams, sequence, prefill, head_chunk, recompute: false }
    }

    /// For [`Role::reference`]: windows of `context` tokens a row, at most the model's own.
    pub fn evaluation(config: &ModelConfig, context: usize) -> Shapes {
        let micro_rows = (2048 / context).clamp(1, 8);
        let config = ModelConfig { context: context.min(config.context), ..config.clone() };
        Shapes::inference(&config, micro_rows, 1)
    }

    /// Lengths in tokens of the recorded micro-batches, the full one first.
    pub fn lengths(&self) -> Vec<usize> {
        let full = self.micro_rows * self.context;
        std::iter::once(full).chain(self.buckets.iter().copied().filter(|&tokens| tokens < full)).collect()
    }

    /// Number of the shortest of [`Shapes::lengths`] that holds so many tokens. Panics beyond the full one.
    pub fn bucket(&self, tokens: usize) -> usize {
        self.lengths().iter().rposition(|&length| tokens <= length).expect("a micro-batch that fits the full length")
    }
}

/// Rows of a stream's cache for sequences of up to `longest` tokens: whole blocks of 64, so that a stream's rows begin
/// where a block of keys does, however long the cache is; at most the context.
pub fn sequence(config: &ModelConfig, longest: usize) -> usize {
    longest.clamp(1, config.context).next_multiple_of(64).min(config.context)
}

/// Half and a quarter of a micro-batch, but not below 64 tokens: for windows that seldom fill one.
pub fn halves(tokens: usize) -> Vec<usize> {
    [tokens / 2, tokens / 4].into_iter().filter(|&length| length >= 64).collect()
}

/// Rows of logits at once: about 32 MiB of them, but at least 256 rows, because each chunk reads the head's weights
/// twice and adds to their gradient. (A device takes fewer where so many exceed a binding.)
pub fn head_chunk(vocab: usize, rows: usize) -> usize {
    ((32 << 20) / (4 * vocab)).clamp(256, 4096).min(rows.max(1))
}

/// What AdamW needs besides the step's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay of matrices.
    pub decay: f32,
}

/// Number of a role within a layout.
pub type RoleId = usize;

/// The first role of every layout: the model that a stage is about; its samples, evaluation and checkpoints.
pub const POLICY: RoleId = 0;

/// One of the models that a stage keeps on the device at once: the policy, a frozen reference, a critic, ... All share
/// the inputs, the activation memory and the results; each has weights of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// For people: `policy`, `reference`, ...
    pub name: String,
    /// The model. Its context must hold the rows.
    pub config: ModelConfig,
    /// Has gradients, moments, and the programs that use them.
    pub trained: bool,
    /// Has the programs that say its numbers for given tokens.
    pub evaluates: bool,
    /// Has caches, and the programs that continue prompts.
    pub generates: bool,
}

impl Role {
    /// The model that a stage trains and samples from.
    pub fn policy(config: &ModelConfig) -> Role {
        Role { name: "policy".into(), config: config.clone(), trained: true, evaluates: true, generates: true }
    }
    /// A model that only continues prompts.
    pub fn generator(config: &ModelConfig) -> Role {
        Role { name: "model".into(), config: config.clone(), trained: false, evaluates: false, generates: true }
    }
    /// A frozen model that only says its numbers.
    pub fn reference(config: &ModelConfig) -> Role {
        Role { name: "reference".into(), config: config.clone(), trained: false, evaluates: true, generates: false }
    }
    /// Tokens of the longest row or sequence that it sees, its own context at most.
    fn longest(&self, shapes: &Shapes) -> usize {
        let generated = if self.generates { shapes.sequence } else { 0 };
        let longest = if self.evaluates { generated.max(shapes.context) } else { generated };
        let (name, context) = (&self.name, self.config.context);
        assert!((1..=context).contains(&longest), "{longest} tokens for {name}, whose context is {context}");
        longest
    }
}

/// A weight with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Name, shape, beginning.
    pub spec: WeightSpec,
    /// The weight.
    pub weight: Tensor,
    /// Gradient sum, first and second moment: only where training.
    pub trained: Option<[Tensor; 3]>,
}

/// Inputs and results of training and evaluation, for the full length; all roles share them.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Inputs of training and evaluation; each role has a rotary table of its own.
    pub inputs: Inputs,
    /// (n) target ids.
    pub targets: Tensor,
    /// (n, 4) derivatives with respect to the numbers.
    pub dnumbers: Tensor,
    /// (n, 4) what the head says.
    pub numbers: Tensor,
    /// (4) sum of squares of all gradients.
    pub norm: Tensor,
    /// (weights, 64) partial sums of squares.
    pub norm_parts: Tensor,
}

impl Ports {
    /// The same buffers as a program of `tokens` tokens sees them: their first rows.
    fn first(&self, tokens: usize, rotary: Tensor) -> Ports {
        let cut = |tensor: Tensor| tensor.first_rows(tokens);
        let sorted = |of: Sorted| Sorted { order: cut(of.order), runs: cut(of.runs) };
        let inputs = Inputs {
            ids: cut(self.inputs.ids),
            sorted: sorted(self.inputs.sorted),
            positions: cut(self.inputs.positions),
            positions_sorted: sorted(self.inputs.positions_sorted),
            spans: cut(self.inputs.spans),
            keys: cut(self.inputs.keys),
            rotary,
        };
        let (targets, dnumbers, numbers) = (cut(self.targets), cut(self.dnumbers), cut(self.numbers));
        Ports { inputs, targets, dnumbers, numbers, ..self.clone() }
    }
}

/// What continues prompts.
#[derive(Clone, Debug)]
pub struct Streams {
    /// Inputs of prefill: one sequence.
    pub prefill: DecodeInputs,
    /// Inputs of decode: one token of each stream.
    pub decode: DecodeInputs,
    /// KV caches by layer.
    pub caches: Vec<Tensor>,
}

/// A role with all that it keeps on the device.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it is.
    pub role: Role,
    /// Weights in their kept order.
    pub slots: Vec<Slot>,
    /// Cosines and sines of its positions.
    pub rotary: Tensor,
    /// Where it generates: what for.
    pub streams: Option<Streams>,
}

impl Member {
    /// The gradient sums, in the order of the weights; none where it is frozen.
    pub fn gradients(&self) -> Vec<Tensor> {
        self.slots.iter().filter_map(|slot| slot.trained.map(|[gradient, ..]| gradient)).collect()
    }
}

/// What a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Forward and head.
    Evaluate,
    /// A stretch of one prompt.
    Prefill,
    /// One token of every stream.
    Decode,
    /// Forward, head and backward of a micro-batch, derivatives known.
    Learn,
    /// The gradient's sum of squares.
    Norm,
    /// AdamW on every weight.
    Update,
}

/// Which program: whose, what it does, and for which of [`Shapes::lengths`] (0 where there is one length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Whose.
    pub role: RoleId,
    /// What it does.
    pub which: Which,
    /// Number of its length.
    pub bucket: usize,
}

impl Key {
    /// A role's program of the full length, or of its only one.
    pub fn full(role: RoleId, which: Which) -> Key {
        Key { role, which, bucket: 0 }
    }
}

/// All tensors and programs of a stage's models on a device.
pub struct Layout {
    /// The shapes.
    pub shapes: Shapes,
    /// The models, the policy first.
    pub members: Vec<Member>,
    /// Inputs and results.
    pub ports: Ports,
    /// Programs; their keys stand in `keys`.
    pub programs: Vec<Program>,
    keys: Vec<Key>,
}

/// Makes one buffer that outlives programs.
pub type Allocate<'a> = dyn FnMut(&str, Shape, Dtype) -> Result<Tensor, Fault> + 'a;

impl Layout {
    /// Lays out the models of a stage: allocates through `allocate`, records all programs. They are planned together:
    /// whichever runs, it uses the same activation memory.
    pub fn new(roles: &[Role], shapes: &Shapes, adamw: &AdamW, allocate: &mut Allocate) -> Result<Layout, Fault> {
        assert!(!roles.is_empty(), "a stage has a policy");
        let members =
            roles.iter().map(|role| member(role, shapes, allocate)).collect::<Result<Vec<Member>, Fault>>()?;
        let ports = ports(&members, shapes, allocate)?;
        let (mut programs, mut keys) = (Vec::new(), Vec::new());
        for (role, member) in members.iter().enumerate() {
            for (which, bucket, program) in record(member, shapes, &ports, adamw) {
                keys.push(Key { role, which, bucket });
                programs.push(program);
            }
        }
        Ok(Layout { shapes: shapes.clone(), members, ports, programs, keys })
    }

    /// The model of a role.
    pub fn config(&self, role: RoleId) -> &ModelConfig {
        &self.members[role].role.config
    }

    /// The weights of a role.
    pub fn slots(&self, role: RoleId) -> &[Slot] {
        &self.members[role].slots
    }

    /// Index of a program. Panics where the role has no such program: our own mistake.
    pub fn index(&self, key: Key) -> usize {
        let found = self.keys.iter().position(|&known| known == key);
        found.unwrap_or_else(|| panic!("{} has no program {key:?}", self.members[key.role].role.name))
    }

    /// The same without a device: counts the bytes that would be allocated.
    pub fn dry(roles: &[Role], shapes: &Shapes, adamw: &AdamW) -> (Layout, u64) {
        let (mut bytes, mut next) = (0u64, 0u32);
        let layout = Layout::new(roles, shapes, adamw, &mut |_, shape, dtype| {
            bytes += shape.len() as u64 * 4;
            next += 1;
            Ok(Tensor { id: Tensor::PERSISTENT | (next - 1), shape, dtype })
        });
        (layout.expect("counting cannot fail"), bytes)
    }

    /// Bytes that a device would hold for this layout, before anything is allocated: what outlives programs, and the
    /// rest (activations, scratch, the device's own staging).
    ///
    /// # Errors
    /// The device's own words for what it cannot run at all.
    pub fn predict(roles: &[Role], shapes: &Shapes, adamw: &AdamW, device: &dyn Device) -> Result<(u64, u64), Refusal> {
        let (layout, persistent) = Layout::dry(roles, shapes, adamw);
        match device.refusal(&layout.programs) {
            Some(refusal) => Err(refusal),
            None => Ok((persistent, device.predict(&layout.programs).saturating_add(device.held().other))),
        }
    }
}

/// All programs of a role: what they do, the number of their length, and the op list.
fn record(member: &Member, shapes: &Shapes, ports: &Ports, adamw: &AdamW) -> Vec<(Which, usize, Program)> {
    let weights: Weights = member.slots.iter().map(|slot| (slot.spec.name.clone(), slot.weight)).collect();
    let config = &member.role.config;
    let mut out = Vec::new();
    for (bucket, &tokens) in shapes.lengths().iter().enumerate() {
        let ports = ports.first(tokens, member.rotary);
        if member.role.evaluates {
            out.push((Which::Evaluate, bucket, forward("evaluate", member, shapes, &weights, &ports, false)));
        }
        if member.role.trained {
            out.push((Which::Learn, bucket, forward("learn", member, shapes, &weights, &ports, true)));
        }
    }
    if let Some(streams) = &member.streams {
        let program = |name, inputs| decode(name, config, &weights, &streams.caches, inputs);
        out.push((Which::Prefill, 0, program("prefill", &streams.prefill)));
        out.push((Which::Decode, 0, program("decode", &streams.decode)));
    }
    if member.role.trained {
        out.push((Which::Norm, 0, norm(member, ports)));
        out.push((Which::Update, 0, update(&member.slots, adamw)));
    }
    out
}

fn member(role: &Role, shapes: &Shapes, allocate: &mut Allocate) -> Result<Member, Fault> {
    let config = &role.config;
    let mut slots = Vec::new();
    for spec in specs(config) {
        let shape = Shape::new(&spec.shape);
        let mut one = |what: &str| allocate(&format!("{} {} {what}", role.name, spec.name), shape, Dtype::F32);
        let weight = one("weight")?;
        let trained = if role.trained { Some([one("gradient")?, one("moment 1")?, one("moment 2")?]) } else { None };
        slots.push(Slot { spec, weight, trained });
    }
    let table = match config.positions {
        Positions::Learned => Shape::new(&[4]),
        Positions::Rotary { .. } => Shape::new(&[role.longest(shapes), config.head_dim / 2, 2]),
    };
    let rotary = allocate("rotary", table, Dtype::F32)?;
    let streams = if role.generates { Some(streams(config, shapes, rotary, allocate)?) } else { None };
    Ok(Member { role: role.clone(), slots, rotary, streams })
}

fn streams(config: &ModelConfig, shapes: &Shapes, rotary: Tensor, allocate: &mut Allocate) -> Result<Streams, Fault> {
    let cache = Shape::new(&[shapes.streams * shapes.sequence, 2 * config.kv_heads * config.head_dim]);
    Ok(Streams {
        prefill: DecodeInputs::allocate("prefill", shapes.prefill, 1, config, rotary, allocate)?,
        decode: DecodeInputs::allocate("decode", shapes.streams, shapes.streams, config, rotary, allocate)?,
        caches: (0..config.layers)
            .map(|layer| allocate(&format!("cache {layer}"), cache, Dtype::F32))
            .collect::<Result<_, _>>()?,
    })
}

fn ports(members: &[Member], shapes: &Shapes, allocate: &mut Allocate) -> Result<Ports, Fault> {
    let n = shapes.micro_rows * shapes.context;
    let weights = members.iter().map(|member| member.slots.len()).max().expect("a stage has a policy");
    let learned = members.iter().any(|member| member.role.config.positions == Positions::Learned);
    let mut ints = |name: &str, dims: &[usize]| allocate(name, Shape::new(dims), Dtype::U32);
    let sorted = Sorted { order: ints("order", &[n])?, runs: ints("runs", &[n, 2])? };
    let positions_sorted = if learned {
        Sorted { order: ints("position order", &[n])?, runs: ints("position runs", &[n, 2])? }
    } else {
        sorted
    };
    let inputs = Inputs {
        ids: ints("ids", &[n])?,
        sorted,
        positions: ints("positions", &[n])?,
        positions_sorted,
        spans: ints("spans", &[n, 4])?,
        keys: ints("keys", &[n])?,
        rotary: members[POLICY].rotary,
    };
    Ok(Ports {
        inputs,
        targets: allocate("targets", Shape::new(&[n]), Dtype::U32)?,
        dnumbers: allocate("dnumbers", Shape::new(&[n, 4]), Dtype::F32)?,
        numbers: allocate("numbers", Shape::new(&[n, 4]), Dtype::F32)?,
        norm: allocate("norm", Shape::new(&[4]), Dtype::F32)?,
        norm_parts: allocate("norm parts", Shape::new(&[weights, 64]), Dtype::F32)?,
    })
}

/// Forward and head; with `train` also backward into the gradient sums.
fn forward(name: &str, member: &Member, shapes: &Shapes, weights: &Weights, ports: &Ports, train: bool) -> Program {
    let mut tape = Tape::new(name, shapes.recompute);
    if train {
        for slot in &member.slots {
            let [gradient, ..] = slot.trained.expect("a training layout has gradients");
            tape.train(slot.weight, gradient);
        }
    }
    tape.place("numbers", ports.numbers);
    let config = &member.role.config;
    let config = &ModelConfig { dropout: if train { config.dropout } else { 0.0 }, ..config.clone() };
    let mut within = Within(ports.inputs.spans);
    let hidden = decoder(&mut tape, config, weights, &ports.inputs, &mut within);
    tape.scope("head");
    let options = HeadOptions { scale: 1.0, softcap: 0.0, temperature: 1.0, chunk: shapes.head_chunk };
    let derivatives = train.then_some(ports.dnumbers);
    head::record(&mut tape, hidden, head_weight(config, weights), ports.targets, derivatives, options);
    if train {
        tape.backward();
    }
    tape.finish()
}

/// Tokens into the caches, and the last hidden state of each sequence into sampled tokens.
fn decode(name: &str, config: &ModelConfig, weights: &Weights, caches: &[Tensor], inputs: &DecodeInputs) -> Program {
    let mut tape = Tape::new(name, false);
    let config = &ModelConfig { dropout: 0.0, ..config.clone() };
    let apart = inputs.slots.shape.len() == inputs.last.shape.len();
    let mut cached = Cached { caches, slots: inputs.slots, spans: inputs.inputs.spans, apart };
    let hidden = decoder(&mut tape, config, weights, &inputs.inputs, &mut cached);
    inputs.record_sampling(&mut tape, hidden, head_weight(config, weights));
    tape.finish()
}

fn norm(member: &Member, ports: &Ports) -> Program {
    let mut tape = Tape::new("norm", false);
    let gradients = member.gradients();
    for call in norm_sq::calls(&gradients, ports.norm_parts.first_rows(gradients.len()), ports.norm) {
        tape.call(call);
    }
    tape.finish()
}

fn update(slots: &[Slot], adamw: &AdamW) -> Program {
    let mut tape = Tape::new("update", false);
    for slot in slots {
        let Some([g, m, v]) = slot.trained else { continue };
        let decay = if slot.spec.decays() { adamw.decay } else { 0.0 };
        let params = adamw::Params {
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            eps: adamw.eps,
            decay,
            lr_scale: 1.0,
            len: slot.spec.len() as u32,
        };
        tape.call(adamw::call(g, slot.weight, m, v, params));
    }
    tape.finish()
}

/// The rotary table of a model, ready to be written to its `Member::rotary`.
pub fn rotary_words(member: &Member) -> Vec<u32> {
    let config = &member.role.config;
    let config = ModelConfig { context: member.rotary.shape.rows(), ..config.clone() };
    transformer::rotary_table(&config).into_iter().map(f32::to_bits).collect()
}
