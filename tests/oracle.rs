//! The whole model against PyTorch: logits, loss, every gradient, packed documents, ten AdamW steps, greedy tokens.
//!
//! The numbers lie under `tests/golden`, made by `tools/oracle/model.py`; they are float32 themselves, about 1e-6 of a
//! gradient's norm away from float64.

use crate::adapters::{self, Adapter};
use pleach::loss::next_token::NextToken;
use pleach_runtime::actors::optimizer::clip_factor;
use pleach_runtime::device::Device;
use pleach_runtime::device::cpu::{Cpu, CpuOptions};
use pleach_runtime::device::gpu::Options;
use pleach_runtime::engine::Engine;
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::engine::layout::{AdamW, Key, POLICY, Role, Shapes, Which};
use pleach_runtime::engine::state::{HostState, HostTensor};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::model::families::{FAMILIES, Family, export, import};
use pleach_runtime::shaders::spec::{Caps, Tick};
use pleach_runtime::stage::{Loss, Memory, Numbers, Row, Window};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::PathBuf;

const MODELS: [&str; 3] = ["gpt2-tiny", "qwen3-tiny", "qwen3-tied-tiny"];
const CONTEXT: usize = 16;
/// How transformers writes an ignored target.
const IGNORED: i32 = -100;
/// Of a gradient's norm, or of a thousandth of the norm of all gradients where that is more. Sums of a few hundred
/// products in another order differ by about 1e-6.
const GRADIENT: f64 = 1e-4;
/// Nats: two orders of magnitude above what float32 sums in another order cost here.
const NATS: f64 = 1e-4;

/// One golden folder.
struct Golden {
    name: &'static str,
    config: ModelConfig,
    family: &'static Family,
    expected: Vec<u8>,
    weights: Vec<HostTensor>,
    steps: Value,
}

/// A file of a golden folder.
pub(crate) fn bytes(folder: &str, file: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder).join(file)).unwrap()
}

/// A JSON file of a golden folder.
pub(crate) fn json(folder: &str, file: &str) -> Value {
    serde_json::from_slice(&bytes(folder, file)).unwrap()
}

/// All tensors of a golden file that are float32.
pub(crate) fn tensors(folder: &str, file: &str) -> Vec<HostTensor> {
    let file = bytes(folder, file);
    let file = SafeTensors::deserialize(&file).unwrap();
    let ours = file.iter().filter(|(_, view)| view.dtype() == safetensors::Dtype::F32);
    ours.map(|(name, view)| HostTensor {
        name: name.to_string(),
        shape: view.shape().to_vec(),
        data: floats(view.data()),
    })
    .collect()
}

/// The model of a golden folder.
pub(crate) fn model(folder: &str) -> (ModelConfig, &'static Family, Vec<HostTensor>) {
    let written = json(folder, "config.json");
    let kind = written["model_type"].as_str().unwrap();
    let family = FAMILIES.iter().copied().find(|family| family.model_type == kind).unwrap();
    let config = (family.read_config)(&written).unwrap();
    let weights = import(family, &config, &tensors(folder, "model.safetensors")).unwrap();
    (config, family, weights)
}

impl Golden {
    fn read(name: &'static str) -> Golden {
        let (config, family, weights) = model(name);
        let (expected, steps) = (bytes(name, "expected.safetensors"), json(name, "steps.json"));
        Golden { name, config, family, expected, weights, steps }
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        floats(SafeTensors::deserialize(&self.expected).unwrap().tensor(name).unwrap().data())
    }

    fn ints(&self, name: &str) -> Vec<i32> {
        let file = SafeTensors::deserialize(&self.expected).unwrap();
        let bytes = file.tensor(name).unwrap().data();
        bytes.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.steps[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
    }

    /// The batch, its rows of 17 tokens rolled by `roll` places; the ignored targets stay where they are.
    fn window(&self, roll: usize) -> Window {
        let (tokens, targets) = (self.ints("tokens"), self.ints("targets"));
        let rows = tokens.chunks_exact(CONTEXT + 1).zip(targets.chunks_exact(CONTEXT)).enumerate();
        let rows = rows.map(|(key, (tokens, targets))| {
            let mut tokens: Vec<u32> = tokens.iter().map(|&token| token as u32).collect();
            tokens.rotate_right(roll);
            Row { tokens, weights: weights(targets), segments: vec![0; CONTEXT], key: key as u64 }
        });
        Window::new(CONTEXT, rows.collect())
    }

    /// Rows of several documents. The last target is always ignored: any token may stand there.
    fn packed(&self) -> Window {
        let (ids, targets) = (self.ints("packed.ids"), self.ints("packed.targets"));
        let segments = self.ints("packed.segments");
        let rows = (0..ids.len() / CONTEXT).map(|row| {
            let at = row * CONTEXT..(row + 1) * CONTEXT;
            let tokens = ids[at.clone()].iter().map(|&id| id as u32).chain([0]).collect();
            let segments = segments[at.clone()].iter().map(|&start| start as u32).collect();
            Row { tokens, weights: weights(&targets[at]), segments, key: row as u64 }
        });
        Window::new(CONTEXT, rows.collect())
    }

    fn engine(&self, device: Box<dyn Device>, recompute: bool) -> Engine {
        let number = |name: &str| self.steps[name].as_f64().unwrap() as f32;
        let betas = self.numbers("betas");
        let adamw = AdamW {
            beta1: betas[0] as f32,
            beta2: betas[1] as f32,
            eps: number("eps"),
            decay: number("decay_of_matrices"),
        };
        let shapes = Shapes {
            micro_rows: 3,
            context: CONTEXT,
            buckets: vec![],
            streams: 2,
            sequence: self.config.context,
            prefill: 4,
            head_chunk: 20,
            recompute,
        };
        let mut engine = Engine::new(device, &[Role::policy(&self.config)], &shapes, &adamw).unwrap();
        let state = HostState { weights: self.weights.clone(), ..HostState::default() };
        engine.restore(POLICY, &state).unwrap();
        engine
    }
}

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn weights(targets: &[i32]) -> Vec<f32> {
    targets.iter().map(|&target| f32::from(u8::from(target != IGNORED))).collect()
}

pub(crate) fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>().sqrt()
}

pub(crate) fn norm(x: &[f32]) -> f64 {
    x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

#[track_caller]
fn near(what: &str, found: f64, wanted: f64, tolerance: f64) {
    assert!((found - wanted).abs() <= tolerance, "{what}: {found}, PyTorch has {wanted}");
}

/// Learns a window; its loss and the norm of its gradient.
fn learn(engine: &mut Engine, window: &Window) -> (f64, f64, Numbers) {
    let derivatives = NextToken.known(window).unwrap();
    let learned = engine.learn(POLICY, window, &derivatives, &Tick::default()).unwrap();
    let evaluated = NextToken.evaluate(window, &learned.numbers, &Memory::default()).unwrap();
    (evaluated.loss, learned.gradient_norm, learned.numbers)
}

/// Every gradient that lies on the device, under our names.
pub(crate) fn gradients(engine: &mut Engine) -> Vec<HostTensor> {
    let slots = engine.layout().slots(POLICY).to_vec();
    let mut ours = Vec::new();
    for slot in &slots {
        let Some([gradient, ..]) = slot.trained else { continue };
        let mut words = vec![0u32; gradient.shape.len()];
        engine.device().read(gradient, 0, &mut words).unwrap();
        let data = words.into_iter().map(f32::from_bits).collect();
        ours.push(HostTensor { name: slot.spec.name.clone(), shape: slot.spec.shape.clone(), data });
    }
    ours
}

/// Each gradient found against the one under `grad.NAME`, which must all be there.
pub(crate) fn same_gradients(what: &str, found: &[HostTensor], expected: &[HostTensor]) {
    let expected: Vec<&HostTensor> = expected.iter().filter(|tensor| tensor.name.starts_with("grad.")).collect();
    let wanted = |name: &str| {
        let named = expected.iter().find(|tensor| tensor.name.strip_prefix("grad.") == Some(name));
        &named.unwrap_or_else(|| panic!("{what}: no gradient of {name} is expected")).data
    };
    let all: Vec<f32> = expected.iter().flat_map(|tensor| tensor.data.iter().copied()).collect();
    for tensor in found {
        let wanted = wanted(&tensor.name);
        let limit = GRADIENT * norm(wanted).max(1e-3 * norm(&all));
        let far = distance(&tensor.data, wanted);
        assert!(far <= limit, "{what} gradient of {}: {far:e} away, {limit:e} allowed", tensor.name);
    }
    assert_eq!(expected.len(), found.len(), "{what}: every gradient is compared");
}

fn one_batch(engine: &mut Engine, golden: &Golden) {
    let name = golden.name;
    let window = golden.window(0);
    let (loss, gradient_norm, numbers) = learn(engine, &window);
    near(&format!("{name} loss"), loss, f64::from(golden.floats("loss")[0]), NATS);
    near(&format!("{name} gradient norm"), gradient_norm, golden.numbers("gradient_norms")[0], 1e-4 * gradient_norm);
    for (column, what) in ["log_prob", "log_sum_exp", "entropy", "hit"].into_iter().enumerate() {
        for (at, (found, wanted)) in numbers.iter().zip(golden.floats(what)).enumerate() {
            near(&format!("{name} {what} of token {at}"), f64::from(found[column]), f64::from(wanted), NATS);
        }
    }
    let found = export(golden.family, &golden.config, &gradients(engine));
    same_gradients(name, &found, &tensors(name, "expected.safetensors"));
}

/// Logits through the head's numbers: with every token v as the target of all places, log p(v) + log-sum-exp.
fn logits(engine: &mut Engine, golden: &Golden) {
    let window = golden.window(0);
    engine.evaluate(POLICY, &window).unwrap();
    let (targets, out) = (engine.layout().ports.targets, engine.layout().ports.numbers);
    let program = engine.program(Key::full(POLICY, Which::Evaluate));
    let (vocab, wanted) = (golden.config.vocab, golden.floats("logits"));
    let tokens = targets.shape.len();
    for v in 0..vocab {
        let device = engine.device();
        device.write(targets, 0, &vec![v as u32; tokens]).unwrap();
        device.run(program, 0, &Tick::default()).unwrap();
        let mut words = vec![0u32; 4 * tokens];
        device.read(out, 0, &mut words).unwrap();
        for (token, number) in words.chunks_exact(4).enumerate() {
            let logit = f64::from(f32::from_bits(number[0])) + f64::from(f32::from_bits(number[1]));
            let what = format!("{} logit {v} of token {token}", golden.name);
            near(&what, logit, f64::from(wanted[token * vocab + v]), NATS);
        }
    }
}

fn packed_documents(engine: &mut Engine, golden: &Golden) {
    let window = golden.packed();
    let (loss, gradient_norm, numbers) = learn(engine, &window);
    let wanted = golden.floats("packed.log_prob");
    for (at, (found, wanted)) in numbers.iter().zip(&wanted).enumerate() {
        let what = format!("{} packed log-probability of token {at}", golden.name);
        near(&what, f64::from(found[0]), f64::from(*wanted), NATS);
    }
    near("packed loss", loss, f64::from(golden.floats("packed.loss")[0]), NATS);
    let wanted = f64::from(golden.floats("packed.grad_norm")[0]);
    near("packed gradient norm", gradient_norm, wanted, 1e-4 * wanted);
}

fn greedy_tokens(engine: &mut Engine, golden: &Golden) {
    let as_words = |name: &str| golden.ints(name).iter().map(|&token| token as u32).collect::<Vec<u32>>();
    let (prompt, wanted) = (as_words("greedy.prompt"), as_words("greedy.tokens"));
    let sampling = Sampling { temperature: 0.0, max_tokens: wanted.len(), ..Sampling::default() };
    // Twice at once, and once more alone: neither a neighbour nor what the cache held before may matter.
    let prompts = [prompt.clone(), prompt.clone(), prompt];
    let found = engine.generate(&prompts, &sampling, &[], &mut |_, _| true).unwrap();
    for sequence in found {
        assert_eq!(sequence.tokens, wanted, "{} greedy tokens", golden.name);
    }
}

fn ten_steps(engine: &mut Engine, golden: &Golden) {
    let (losses, norms, betas) = (golden.numbers("losses"), golden.numbers("gradient_norms"), golden.numbers("betas"));
    let (rate, clip) = (golden.steps["rate"].as_f64().unwrap(), golden.steps["clip"].as_f64().unwrap());
    for (index, (wanted, wanted_norm)) in losses.iter().zip(norms).enumerate() {
        let (loss, gradient_norm, _) = learn(engine, &golden.window(index));
        near(&format!("{} loss at step {index}", golden.name), loss, *wanted, NATS);
        near(&format!("{} norm at step {index}", golden.name), gradient_norm, wanted_norm, 1e-3 * wanted_norm);
        let t = index as i32 + 1;
        let tick = Tick {
            step: t as u32,
            learning_rate: rate as f32,
            bias1: (1.0 - betas[0].powi(t)) as f32,
            bias2: (1.0 - betas[1].powi(t)) as f32,
            clip: clip_factor(clip, gradient_norm) as f32,
            ..Tick::default()
        };
        engine.update(POLICY, &tick).unwrap();
    }
    let (after, _, _) = learn(engine, &golden.window(0));
    near(&format!("{} loss after ten steps", golden.name), after, golden.steps["loss_after"].as_f64().unwrap(), NATS);
}

/// All comparisons on one device, for which programs must be recorded anew with each model and each choice of
/// `recomputes`; ten steps last, because they move the weights.
fn all(recomputes: &dyn Fn(&str) -> Vec<bool>, open: &mut dyn FnMut() -> Option<Box<dyn Device>>) {
    for name in MODELS {
        for recompute in recomputes(name) {
            let Some(device) = open() else { return };
            let golden = Golden::read(name);
            let mut engine = golden.engine(device, recompute);
            one_batch(&mut engine, &golden);
            packed_documents(&mut engine, &golden);
            logits(&mut engine, &golden);
            greedy_tokens(&mut engine, &golden);
            ten_steps(&mut engine, &golden);
        }
    }
}

#[test]
fn cpu_equals_pytorch() {
    all(&both, &mut || Some(Box::new(Cpu::open(CpuOptions::default()).unwrap())));
}

#[test]
fn specs_equal_pytorch() {
    let options = CpuOptions { specs_only: true, ..CpuOptions::default() };
    all(&both, &mut || Some(Box::new(Cpu::open(options).unwrap())));
}

/// Activations kept, and computed twice.
fn both(_: &str) -> Vec<bool> {
    vec![false, true]
}

/// A device of its own for each model: an engine keeps its device. Software adapters take most of the time to compile
/// kernels, so that one of the models is enough to see activations computed twice.
fn gpu_equals_pytorch(adapter: Adapter, name: &str) {
    all(&|model| vec![model == "qwen3-tied-tiny"], &mut || {
        Some(Box::new(adapters::fresh(adapter, Options::default(), name)?))
    });
}

/// The tiled kernels, those of real GPUs, under a whole model.
#[test]
fn tiled_kernels_equal_pytorch_on_lavapipe() {
    all(&|_| vec![false], &mut || {
        let mut gpu =
            adapters::fresh(Adapter::Lavapipe, Options::default(), "tiled_kernels_equal_pytorch_on_lavapipe")?;
        gpu.pretend(Caps { software: false, fill: 1, invocations: 64, ..gpu.own_caps() });
        Some(Box::new(gpu))
    });
}

#[test]
fn gpu_equals_pytorch_on_lavapipe() {
    gpu_equals_pytorch(Adapter::Lavapipe, "gpu_equals_pytorch_on_lavapipe");
}

#[test]
fn gpu_equals_pytorch_on_swiftshader() {
    gpu_equals_pytorch(Adapter::SwiftShader, "gpu_equals_pytorch_on_swiftshader");
}

#[test]
fn gpu_equals_pytorch_on_real() {
    gpu_equals_pytorch(Adapter::Real, "gpu_equals_pytorch_on_real");
}
