//! Everything a training run keeps on a device, and the programs over it: recorded once, before the first step.

pub use super::role::{POLICY, Role, RoleId};
pub use super::shapes::{Shapes, halves, head_chunk, sequence};

use super::record::record;
use crate::device::Device;
use crate::fault::{Fault, Refusal};
use crate::model::adapter::{AdapterConfig, AdapterKind, adapter_specs, is_adapter, modules};
use crate::model::config::{Head, ModelConfig, Positions};
use crate::model::generate::DecodeInputs;
use crate::model::transformer::{self, Beside, BesideModule, Inputs, Weights};
use crate::model::weights::{WeightSpec, specs};
use crate::tape::Program;
use pleach_shaders::embed::Sorted;
use pleach_shaders::spec::{Dtype, Shape, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

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

/// A weight with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Name, shape, beginning.
    pub spec: WeightSpec,
    /// The weight.
    pub weight: Tensor,
    /// Gradient sum, first and second moment: only where training.
    pub trained: Option<[Tensor; 3]>,
    /// A frozen weight below an adapter: no part of the role's state.
    pub base: bool,
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
    /// (4, 1) = {1, 0, 0, 0}: where a scalar head's value stands among the numbers. Absent without such a head.
    pub unit: Tensor,
    /// (4) sum of squares of all gradients.
    pub norm: Tensor,
    /// (weights, 64) partial sums of squares.
    pub norm_parts: Tensor,
}

impl Ports {
    /// The same buffers as a program of `tokens` tokens sees them: their first rows.
    pub(super) fn first(&self, tokens: usize, rotary: Tensor) -> Ports {
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
    /// Weights of its own in their kept order; behind them an adapter's tensors.
    pub slots: Vec<Slot>,
    /// All that its programs read, those of the role below included.
    pub weights: Weights,
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
    /// AdamW on every trained weight; where there are scales, those too.
    Update,
    /// DoRA's norms and factors.
    Scales,
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
        if let Some(refusal) = refusal(roles) {
            return Err(refusal.into());
        }
        let mut members: Vec<Member> = Vec::new();
        for role in roles {
            members.push(member(role, &members, shapes, allocate)?);
        }
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

    /// The weights that a role has of its own.
    pub fn slots(&self, role: RoleId) -> &[Slot] {
        &self.members[role].slots
    }

    /// Index of a program. Panics where the role has no such program: our own mistake.
    pub fn index(&self, key: Key) -> usize {
        let found = self.keys.iter().position(|&known| known == key);
        found.unwrap_or_else(|| panic!("{} has no program {key:?}", self.members[key.role].role.name))
    }

    /// The same without a device: counts the bytes that would be allocated. Panics where a role is refused.
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
        if let Some(refusal) = refusal(roles) {
            return Err(refusal);
        }
        let (layout, persistent) = Layout::dry(roles, shapes, adamw);
        match device.refusal(&layout.programs) {
            Some(refusal) => Err(refusal),
            None => Ok((persistent, device.predict(&layout.programs).saturating_add(device.held().other))),
        }
    }
}

fn refusal(roles: &[Role]) -> Option<Refusal> {
    (0..roles.len()).find_map(|id| Role::refusal(roles, id))
}

fn member(role: &Role, before: &[Member], shapes: &Shapes, allocate: &mut Allocate) -> Result<Member, Fault> {
    let config = &role.config;
    let adapter = role.adapter.iter().flat_map(|adapter| adapter_specs(config, adapter));
    // Below an adapter, all is frozen but a score.
    let frozen = |spec: &WeightSpec| role.adapter.is_some() && spec.name != "score";
    let own = specs(config).into_iter().filter(|spec| role.base.is_none() || spec.name == "score");
    let all: Vec<(WeightSpec, bool)> = own
        .map(|spec| (frozen(&spec), spec))
        .map(|(base, spec)| (spec, base))
        .chain(adapter.map(|s| (s, false)))
        .collect();
    let mut slots = Vec::new();
    for (spec, base) in all {
        let shape = Shape::new(&spec.shape);
        let mut one = |what: &str| allocate(&format!("{} {} {what}", role.name, spec.name), shape, Dtype::F32);
        let weight = one("weight")?;
        let trained = match role.trained && !base {
            true => Some([one("gradient")?, one("moment 1")?, one("moment 2")?]),
            false => None,
        };
        slots.push(Slot { spec, weight, trained, base });
    }
    let below = role.base.iter().flat_map(|&base| &before[base].slots);
    let below = below.filter(|slot| !is_adapter(&slot.spec.name));
    let tensors: HashMap<String, Tensor> =
        below.chain(&slots).map(|slot| (slot.spec.name.clone(), slot.weight)).collect();
    let beside = role.adapter.as_ref().map(|adapter| beside(role, adapter, &tensors, allocate)).transpose()?;
    let weights = Weights { tensors, beside: beside.unwrap_or_default() };
    let table = match config.positions {
        Positions::Learned => Shape::new(&[4]),
        Positions::Rotary { .. } => Shape::new(&[role.longest(shapes), config.head_dim / 2, 2]),
    };
    let rotary = allocate("rotary", table, Dtype::F32)?;
    let streams = if role.generates { Some(streams(config, shapes, rotary, allocate)?) } else { None };
    Ok(Member { role: role.clone(), slots, weights, rotary, streams })
}

/// What stands beside each of our weights.
fn beside(
    role: &Role,
    adapter: &AdapterConfig,
    tensors: &HashMap<String, Tensor>,
    allocate: &mut Allocate,
) -> Result<HashMap<String, Beside>, Fault> {
    let mut out: HashMap<String, Beside> = HashMap::new();
    for module in modules(&role.config, adapter) {
        let [a, b, magnitude] = module.tensors().map(|name| tensors.get(&name).copied().unwrap_or(Tensor::none()));
        let part = BesideModule { first: module.rows.start, a, b, magnitude };
        if let Some(beside) = out.get_mut(&module.ours) {
            beside.modules.push(part);
            continue;
        }
        let rows = Shape::new(&[tensors[&module.ours].shape.rows()]);
        let mut one = |what: &str| allocate(&format!("{} {} {what}", role.name, module.ours), rows, Dtype::F32);
        let scales = match adapter.kind {
            AdapterKind::Dora => Some([one("norms")?, one("factors")?]),
            AdapterKind::Lora | AdapterKind::RsLora => None,
        };
        out.insert(module.ours, Beside { scale: adapter.scale(), modules: vec![part], scales });
    }
    Ok(out)
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
    let scalar = members.iter().any(|member| member.role.config.head == Head::Scalar);
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
        unit: if scalar { allocate("unit", Shape::new(&[4, 1]), Dtype::F32)? } else { Tensor::none() },
        norm: allocate("norm", Shape::new(&[4]), Dtype::F32)?,
        norm_parts: allocate("norm parts", Shape::new(&[weights, 64]), Dtype::F32)?,
    })
}

/// The rotary table of a model, ready to be written to its `Member::rotary`.
pub fn rotary_words(member: &Member) -> Vec<u32> {
    let config = &member.role.config;
    let config = ModelConfig { context: member.rotary.shape.rows(), ..config.clone() };
    transformer::rotary_table(&config).into_iter().map(f32::to_bits).collect()
}
