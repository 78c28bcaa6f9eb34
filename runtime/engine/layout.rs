//! Everything a training run keeps on a device, and the programs over it: recorded once, before the first step.

use crate::device::Device;
use crate::fault::Fault;
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
    /// Rows of a micro-batch.
    pub micro_rows: usize,
    /// Tokens of a row in training and evaluation.
    pub context: usize,
    /// Sequences generated at once.
    pub streams: usize,
    /// Prompt tokens taken in at once.
    pub prefill: usize,
    /// Rows of logits that exist at once.
    pub head_chunk: usize,
    /// Compute activations a second time instead of keeping them.
    pub recompute: bool,
    /// Train, or only evaluate and generate.
    pub train: bool,
}

impl Shapes {
    /// For evaluation and generation only.
    pub fn inference(config: &ModelConfig, micro_rows: usize, streams: usize) -> Shapes {
        Shapes {
            micro_rows,
            context: config.context,
            streams,
            prefill: config.context.min(64),
            head_chunk: head_chunk(config.vocab, micro_rows * config.context),
            recompute: false,
            train: false,
        }
    }
}

/// Rows of logits at once: at most 32 MiB of them, at least 16 rows.
pub fn head_chunk(vocab: usize, rows: usize) -> usize {
    ((32 << 20) / (4 * vocab)).clamp(16, 4096).min(rows.max(1))
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

/// Inputs and results of the programs.
#[derive(Clone, Debug)]
pub struct Ports {
    /// Inputs of training and evaluation.
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
    /// Inputs of prefill: one sequence.
    pub prefill: DecodeInputs,
    /// Inputs of decode: one token of each stream.
    pub decode: DecodeInputs,
    /// KV caches by layer.
    pub caches: Vec<Tensor>,
}

/// The programs in the order in which they are built.
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

/// All tensors and programs of a model on a device.
pub struct Layout {
    /// The model.
    pub config: ModelConfig,
    /// The shapes.
    pub shapes: Shapes,
    /// Weights in their kept order.
    pub slots: Vec<Slot>,
    /// Inputs and results.
    pub ports: Ports,
    /// Programs, in the order of [`Which`].
    pub programs: Vec<Program>,
}

/// Makes one buffer that outlives programs.
pub type Allocate<'a> = dyn FnMut(&str, Shape, Dtype) -> Result<Tensor, Fault> + 'a;

impl Layout {
    /// Lays out a model: allocates through `allocate`, records all programs.
    pub fn new(config: &ModelConfig, shapes: &Shapes, adamw: &AdamW, allocate: &mut Allocate) -> Result<Layout, Fault> {
        let slots = slots(config, shapes, allocate)?;
        let ports = ports(config, shapes, slots.len(), allocate)?;
        let weights: Weights = slots.iter().map(|slot| (slot.spec.name.clone(), slot.weight)).collect();
        let mut programs = vec![
            forward("evaluate", config, shapes, &weights, &slots, &ports, false),
            decode("prefill", config, &weights, &ports, &ports.prefill),
            decode("decode", config, &weights, &ports, &ports.decode),
        ];
        if shapes.train {
            programs.push(forward("learn", config, shapes, &weights, &slots, &ports, true));
            programs.push(norm(&slots, &ports));
            programs.push(update(&slots, adamw));
        }
        Ok(Layout { config: config.clone(), shapes: shapes.clone(), slots, ports, programs })
    }

    /// The same without a device: counts the bytes that would be allocated.
    pub fn dry(config: &ModelConfig, shapes: &Shapes, adamw: &AdamW) -> (Layout, u64) {
        let (mut bytes, mut next) = (0u64, 0u32);
        let layout = Layout::new(config, shapes, adamw, &mut |_, shape, dtype| {
            bytes += shape.len() as u64 * 4;
            next += 1;
            Ok(Tensor { id: Tensor::PERSISTENT | (next - 1), shape, dtype })
        });
        (layout.expect("counting cannot fail"), bytes)
    }

    /// Bytes that a device would hold for this layout, before anything is allocated: what outlives programs, and the
    /// rest (activations, scratch, the device's own staging).
    pub fn predict(config: &ModelConfig, shapes: &Shapes, adamw: &AdamW, device: &dyn Device) -> (u64, u64) {
        let (layout, persistent) = Layout::dry(config, shapes, adamw);
        (persistent, device.predict(&layout.programs).saturating_add(device.held().other))
    }
}

fn slots(config: &ModelConfig, shapes: &Shapes, allocate: &mut Allocate) -> Result<Vec<Slot>, Fault> {
    let mut out = Vec::new();
    for spec in specs(config) {
        let shape = Shape::new(&spec.shape);
        let mut one = |what: &str| allocate(&format!("{} {what}", spec.name), shape, Dtype::F32);
        let weight = one("weight")?;
        let trained = if shapes.train { Some([one("gradient")?, one("moment 1")?, one("moment 2")?]) } else { None };
        out.push(Slot { spec, weight, trained });
    }
    Ok(out)
}

fn ports(config: &ModelConfig, shapes: &Shapes, weights: usize, allocate: &mut Allocate) -> Result<Ports, Fault> {
    let n = shapes.micro_rows * shapes.context;
    let mut ints = |name: &str, dims: &[usize]| allocate(name, Shape::new(dims), Dtype::U32);
    let sorted = Sorted { order: ints("order", &[n])?, runs: ints("runs", &[n, 2])? };
    let learned = config.positions == Positions::Learned;
    let positions_sorted = if learned {
        Sorted { order: ints("position order", &[n])?, runs: ints("position runs", &[n, 2])? }
    } else {
        sorted
    };
    let rotary = if learned { Shape::new(&[4]) } else { Shape::new(&[config.context, config.head_dim / 2, 2]) };
    let inputs = Inputs {
        ids: ints("ids", &[n])?,
        sorted,
        positions: ints("positions", &[n])?,
        positions_sorted,
        spans: ints("spans", &[n, 4])?,
        keys: ints("keys", &[n])?,
        rotary: allocate("rotary", rotary, Dtype::F32)?,
    };
    let cache = Shape::new(&[shapes.streams * config.context, 2 * config.kv_heads * config.head_dim]);
    Ok(Ports {
        inputs,
        targets: allocate("targets", Shape::new(&[n]), Dtype::U32)?,
        dnumbers: allocate("dnumbers", Shape::new(&[n, 4]), Dtype::F32)?,
        numbers: allocate("numbers", Shape::new(&[n, 4]), Dtype::F32)?,
        norm: allocate("norm", Shape::new(&[4]), Dtype::F32)?,
        norm_parts: allocate("norm parts", Shape::new(&[weights, 64]), Dtype::F32)?,
        prefill: DecodeInputs::allocate("prefill", shapes.prefill, 1, config, inputs.rotary, allocate)?,
        decode: DecodeInputs::allocate("decode", shapes.streams, shapes.streams, config, inputs.rotary, allocate)?,
        caches: (0..config.layers)
            .map(|layer| allocate(&format!("cache {layer}"), cache, Dtype::F32))
            .collect::<Result<_, _>>()?,
    })
}

/// Forward and head; with `train` also backward into the gradient sums.
fn forward(
    name: &str,
    config: &ModelConfig,
    shapes: &Shapes,
    weights: &Weights,
    slots: &[Slot],
    ports: &Ports,
    train: bool,
) -> Program {
    let mut tape = Tape::new(name, shapes.recompute);
    if train {
        for slot in slots {
            let [gradient, ..] = slot.trained.expect("a training layout has gradients");
            tape.train(slot.weight, gradient);
        }
    }
    tape.place("numbers", ports.numbers);
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
fn decode(name: &str, config: &ModelConfig, weights: &Weights, ports: &Ports, inputs: &DecodeInputs) -> Program {
    let mut tape = Tape::new(name, false);
    let config = &ModelConfig { dropout: 0.0, ..config.clone() };
    let mut cached = Cached { caches: &ports.caches, slots: inputs.slots, spans: inputs.inputs.spans };
    let hidden = decoder(&mut tape, config, weights, &inputs.inputs, &mut cached);
    inputs.record_sampling(&mut tape, hidden, head_weight(config, weights));
    tape.finish()
}

fn norm(slots: &[Slot], ports: &Ports) -> Program {
    let mut tape = Tape::new("norm", false);
    let gradients: Vec<Tensor> = slots.iter().filter_map(|slot| slot.trained.map(|[g, ..]| g)).collect();
    for call in norm_sq::calls(&gradients, ports.norm_parts, ports.norm) {
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

/// The rotary table of a layout's model, ready to be written to `ports.inputs.rotary`.
pub fn rotary_words(config: &ModelConfig) -> Vec<u32> {
    transformer::rotary_table(config).into_iter().map(f32::to_bits).collect()
}
