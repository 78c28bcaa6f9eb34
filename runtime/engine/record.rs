//! The programs of a role, recorded once.

use super::layout::{AdamW, Member, Ports, Which};
use super::shapes::Shapes;
use crate::model::config::{Head, ModelConfig};
use crate::model::generate::{Cached, DecodeInputs};
use crate::model::transformer::{Beside, BesideModule, Weights, Within, decoder, head_weight, scalar_head};
use crate::tape::{Program, Tape};
use pleach_shaders::head::{self, HeadOptions};
use pleach_shaders::spec::{Call, Recorder, Tensor};
use pleach_shaders::{adamw, dora, norm_sq};

/// All programs of a role: what they do, the number of their length, and the op list.
pub(super) fn record(member: &Member, shapes: &Shapes, ports: &Ports, adamw: &AdamW) -> Vec<(Which, usize, Program)> {
    let weights = &member.weights;
    let config = &member.role.config;
    let mut out = Vec::new();
    for (bucket, &tokens) in shapes.lengths().iter().enumerate() {
        let ports = ports.first(tokens, member.rotary);
        if member.role.evaluates {
            out.push((Which::Evaluate, bucket, forward("evaluate", member, shapes, weights, &ports, false)));
        }
        if member.role.trained {
            out.push((Which::Learn, bucket, forward("learn", member, shapes, weights, &ports, true)));
        }
    }
    if let Some(streams) = &member.streams {
        let program = |name, inputs| decode(name, config, weights, &streams.caches, inputs);
        out.push((Which::Prefill, 0, program("prefill", &streams.prefill)));
        out.push((Which::Decode, 0, program("decode", &streams.decode)));
    }
    if member.role.trained {
        out.push((Which::Norm, 0, norm(member, ports)));
        out.push((Which::Update, 0, update(member, adamw)));
    }
    if weights.scaled().next().is_some() {
        out.push((Which::Scales, 0, program("scales", scales(weights))));
    }
    out
}

/// Forward and head; with `train` also backward into the gradient sums.
fn forward(name: &str, member: &Member, shapes: &Shapes, weights: &Weights, ports: &Ports, train: bool) -> Program {
    let mut tape = Tape::new(name, shapes.recompute);
    if train {
        for slot in &member.slots {
            if let Some([gradient, ..]) = slot.trained {
                tape.train(slot.weight, gradient);
            }
        }
    }
    tape.place("numbers", ports.numbers);
    let config = &member.role.config;
    let config = &ModelConfig { dropout: if train { config.dropout } else { 0.0 }, ..config.clone() };
    let mut within = Within(ports.inputs.spans);
    let hidden = decoder(&mut tape, config, weights, &ports.inputs, &mut within);
    tape.scope("head");
    let derivatives = train.then_some(ports.dnumbers);
    match config.head {
        Head::Scalar => scalar_head(&mut tape, hidden, weights.tensors["score"], ports.unit, derivatives),
        Head::Vocabulary => {
            let options = HeadOptions {
                scale: 1.0,
                softcap: 0.0,
                temperature: member.role.temperature,
                chunk: shapes.head_chunk,
            };
            head::record(&mut tape, hidden, head_weight(config, weights), ports.targets, derivatives, options)
        }
    };
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
    let gradients = member.gradients();
    program("norm", norm_sq::calls(&gradients, ports.norm_parts.first_rows(gradients.len()), ports.norm))
}

fn update(member: &Member, adamw: &AdamW) -> Program {
    let mut calls = Vec::new();
    for slot in &member.slots {
        let Some([g, m, v]) = slot.trained else { continue };
        let decay = if slot.spec.decays() { adamw.decay } else { 0.0 };
        let params = adamw::Params {
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            eps: adamw.eps,
            decay,
            lr_scale: member.role.rate,
            len: slot.spec.len() as u32,
        };
        calls.push(adamw::call(g, slot.weight, m, v, params));
    }
    calls.extend(scales(&member.weights));
    program("update", calls)
}

/// Norms and factors of what has magnitudes.
fn scales(weights: &Weights) -> Vec<Call> {
    let of = |(name, beside, scales): (&String, &Beside, [Tensor; 2])| -> Vec<Call> {
        let w = weights.tensors[name];
        let one = |module: &BesideModule| {
            let parts = [module.a, module.b, module.magnitude];
            dora::scales_call(w, module.first, beside.scale, parts, scales)
        };
        beside.modules.iter().map(one).collect()
    };
    weights.scaled().flat_map(of).collect()
}

fn program(name: &str, calls: Vec<Call>) -> Program {
    let mut tape = Tape::new(name, false);
    calls.into_iter().for_each(|call| tape.call(call));
    tape.finish()
}
