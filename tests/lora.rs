//! Adapters against PEFT: logits, loss, gradients, merged weights; and what a layout with a shared base promises.
//!
//! The numbers lie under `tests/golden`, made by `tools/oracle/adapters.py`.

use crate::adapters::{self, Adapter};
use crate::oracle::{bytes, distance, gradients, json, model, norm, same_gradients, tensors};
use pleach::loss::next_token::NextToken;
use pleach_runtime::device::Device;
use pleach_runtime::device::cpu::{Cpu, CpuOptions};
use pleach_runtime::device::gpu::Options;
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::engine::layout::{AdamW, Key, POLICY, Role, RoleId, Shapes, Which};
use pleach_runtime::engine::state::{HostState, HostTensor};
use pleach_runtime::engine::{Engine, Learned};
use pleach_runtime::model::adapter::{AdapterConfig, AdapterKind, adapter_specs, merge, modules};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::model::families::peft::{export_adapter, import_adapter};
use pleach_runtime::model::families::{Family, export};
use pleach_runtime::shaders::spec::Tick;
use pleach_runtime::stage::{Loss, Memory, Row, Window};
use safetensors::SafeTensors;
use serde_json::{Value, json};

pub(crate) const MODELS: [&str; 2] = ["qwen3-adapted-tiny", "gpt2-adapted-tiny"];
const KINDS: [&str; 3] = ["lora", "rslora", "dora"];
pub(crate) const REFERENCE: RoleId = 1;
pub(crate) const CONTEXT: usize = 16;
/// Nats and logits: float32 sums in another order cost some units of 1e-6 here.
const NATS: f64 = 5e-5;
pub(crate) const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.1 };

pub(crate) fn shapes(recompute: bool) -> Shapes {
    let (micro_rows, context, sequence) = (3, CONTEXT, 20);
    Shapes { micro_rows, context, buckets: vec![], streams: 2, sequence, prefill: 4, head_chunk: 20, recompute }
}

pub(crate) fn tick(step: u32) -> Tick {
    let bias = |beta: f32| 1.0 - beta.powi(step as i32);
    let (bias1, bias2) = (bias(ADAMW.beta1), bias(ADAMW.beta2));
    Tick { step, learning_rate: 1e-2, bias1, bias2, clip: 1.0, ..Tick::default() }
}

pub(crate) fn cpu() -> Box<dyn Device> {
    Box::new(Cpu::open(CpuOptions { threads: Some(2), specs_only: false }).unwrap())
}

fn floats<'a>(tensors: &'a [HostTensor], name: &str) -> &'a [f32] {
    &tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("{name} is there")).data
}

/// A model of PEFT's with one of its adapters.
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) config: ModelConfig,
    pub(crate) family: &'static Family,
    pub(crate) base: HostState,
    pub(crate) adapter: AdapterConfig,
    pub(crate) own: HostState,
    pub(crate) expected: Vec<HostTensor>,
    pub(crate) window: Window,
}

impl Golden {
    pub(crate) fn read(folder: &str, kind: &str) -> Golden {
        let name = format!("{folder}/{kind}");
        let (config, family, weights) = model(folder);
        let document = json(&name, "adapter_config.json");
        let (adapter, own) = import_adapter(&config, &document, &tensors(&name, "adapter_model.safetensors")).unwrap();
        let base = HostState { weights, ..HostState::default() };
        let expected = tensors(&name, "expected.safetensors");
        let window = window(&name);
        Golden { name, config, family, base, adapter, own, expected, window }
    }

    fn all() -> Vec<Golden> {
        MODELS.iter().flat_map(|model| KINDS.map(|kind| Golden::read(model, kind))).collect()
    }

    pub(crate) fn roles(&self) -> [Role; 2] {
        [Role::policy(&self.config).with_adapter(&self.adapter), Role::reference(&self.config).on(POLICY)]
    }

    /// The adapter's policy and the model below it, the adapter not yet there.
    pub(crate) fn engine(&self, device: Box<dyn Device>, recompute: bool) -> Engine {
        let mut engine = Engine::new(device, &self.roles(), &shapes(recompute), &ADAMW).unwrap();
        engine.restore(POLICY, &self.base).unwrap();
        engine
    }

    /// Tensors of the adapter by PEFT's names.
    fn theirs(&self, own: Vec<HostTensor>) -> Vec<HostTensor> {
        let own = HostState { weights: own, ..HostState::default() };
        export_adapter(&self.config, &self.adapter, &own, None).unwrap().1
    }

    fn merged(&self) -> HostState {
        merge(&self.config, &self.adapter, &self.base, &self.own).unwrap()
    }
}

fn window(folder: &str) -> Window {
    let file = bytes(folder, "expected.safetensors");
    let file = SafeTensors::deserialize(&file).unwrap();
    let ints = |name: &str| -> Vec<i32> {
        let words = file.tensor(name).unwrap().data().chunks_exact(4);
        words.map(|b| i32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let (tokens, targets) = (ints("tokens"), ints("targets"));
    let rows = tokens.chunks_exact(CONTEXT + 1).zip(targets.chunks_exact(CONTEXT)).enumerate();
    let rows = rows.map(|(key, (tokens, targets))| Row {
        tokens: tokens.iter().map(|&token| token as u32).collect(),
        weights: targets.iter().map(|&target| f32::from(u8::from(target >= 0))).collect(),
        segments: vec![0; CONTEXT],
        key: key as u64,
    });
    Window::new(CONTEXT, rows.collect())
}

fn learn(engine: &mut Engine, role: RoleId, window: &Window, step: u32) -> Learned {
    engine.learn(role, window, &NextToken.known(window).unwrap(), &tick(step)).unwrap()
}

/// Every logit, by taking every token as the target of all places in turn.
fn logits(engine: &mut Engine, golden: &Golden) {
    engine.evaluate(POLICY, &golden.window).unwrap();
    let (targets, out) = (engine.layout().ports.targets, engine.layout().ports.numbers);
    let program = engine.program(Key::full(POLICY, Which::Evaluate));
    let (vocab, tokens) = (golden.config.vocab, targets.shape.len());
    let wanted = floats(&golden.expected, "logits");
    for v in 0..vocab {
        let device = engine.device();
        device.write(targets, 0, &vec![v as u32; tokens]).unwrap();
        device.run(program, 0, &Tick::default()).unwrap();
        let mut words = vec![0u32; 4 * tokens];
        device.read(out, 0, &mut words).unwrap();
        for (token, number) in words.chunks_exact(4).enumerate() {
            let logit = f64::from(f32::from_bits(number[0])) + f64::from(f32::from_bits(number[1]));
            let far = (logit - f64::from(wanted[token * vocab + v])).abs();
            assert!(far <= NATS, "{}: logit {v} of token {token} is {far:e} away", golden.name);
        }
    }
}

/// Logits, loss, gradients; what is restored is what is kept; a merged model says the same.
fn equals_peft(golden: &Golden, device: Box<dyn Device>, recompute: bool) {
    let name = &golden.name;
    let mut engine = golden.engine(device, recompute);
    engine.restore(POLICY, &golden.own).unwrap();
    assert_eq!(engine.state(POLICY).unwrap().weights, golden.own.weights, "{name}: the adapter is the role's state");
    logits(&mut engine, golden);
    let looked = engine.look(POLICY, &golden.window).unwrap();
    let learned = learn(&mut engine, POLICY, &golden.window, 1);
    assert!(learned.numbers == looked, "{name}: what is learned is what was looked at");
    let loss = NextToken.evaluate(&golden.window, &learned.numbers, &Memory::default()).unwrap().loss;
    let wanted = f64::from(floats(&golden.expected, "loss")[0]);
    assert!((loss - wanted).abs() <= NATS, "{name}: loss {loss}, PEFT has {wanted}");
    let found: Vec<HostTensor> = gradients(&mut engine);
    same_gradients(name, &golden.theirs(found), &golden.expected);
}

/// Weights of order 0.2 to 3 from sums of a handful of products.
fn merges_as_peft_does(golden: &Golden) {
    let merged = export(golden.family, &golden.config, &golden.merged().weights);
    let before = export(golden.family, &golden.config, &golden.base.weights);
    let mut changed = 0;
    for (tensor, before) in merged.iter().zip(&before) {
        match golden.expected.iter().find(|wanted| wanted.name == format!("merged.{}", tensor.name)) {
            Some(wanted) => {
                assert_eq!(tensor.shape, wanted.shape);
                let far = distance(&tensor.data, &wanted.data);
                assert!(far <= 1e-6 * norm(&wanted.data), "{}: {} is {far:e} away", golden.name, tensor.name);
                changed += 1;
            }
            None => assert_eq!(tensor, before, "{}: {} has no adapter", golden.name, tensor.name),
        }
    }
    let all = golden.expected.iter().filter(|tensor| tensor.name.starts_with("merged.")).count();
    assert_eq!(changed, all, "{}: every merged weight is compared", golden.name);
}

/// A prompt continued under the adapter is that of the merged model, also token by token against whole rows.
fn generates_as_the_merged_model(golden: &Golden, open: &mut dyn FnMut() -> Option<Box<dyn Device>>) {
    let sampling = Sampling { temperature: 0.0, max_tokens: 10, ..Sampling::default() };
    let prompts = [golden.window.rows[0].tokens[..6].to_vec(), golden.window.rows[1].tokens[..3].to_vec()];
    let (Some(first), Some(second)) = (open(), open()) else { return };
    let mut engine = golden.engine(first, false);
    engine.restore(POLICY, &golden.own).unwrap();
    let found = engine.generate(&prompts, &sampling, &[], &mut |_, _| true).unwrap();
    let mut engine = Engine::new(second, &[Role::policy(&golden.config)], &shapes(false), &ADAMW).unwrap();
    engine.restore(POLICY, &golden.merged()).unwrap();
    let wanted = engine.generate(&prompts, &sampling, &[], &mut |_, _| true).unwrap();
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found.tokens, wanted.tokens, "{}", golden.name);
        let far = found.log_probabilities.iter().zip(&wanted.log_probabilities).map(|(a, b)| (a - b).abs());
        assert!(far.fold(0.0, f32::max) < 1e-4, "{}: log-probabilities", golden.name);
    }
}

/// An adapter that begins changes no bit of the numbers; one that learned does, and the model below stays.
fn begins_as_the_base(golden: &Golden, device: Box<dyn Device>) {
    let name = &golden.name;
    let mut engine = golden.engine(device, false);
    engine.begin(POLICY, 5).unwrap();
    let below = engine.evaluate(REFERENCE, &golden.window).unwrap();
    assert!(engine.look(POLICY, &golden.window).unwrap() == below, "{name}: the first ratio is exactly 1");
    for step in 1..3 {
        learn(&mut engine, POLICY, &golden.window, step);
        engine.update(POLICY, &tick(step)).unwrap();
    }
    assert!(engine.evaluate(POLICY, &golden.window).unwrap() != below, "{name}: it learned");
    assert!(engine.evaluate(REFERENCE, &golden.window).unwrap() == below, "{name}: the model below is frozen");
}

#[test]
fn cpu_equals_peft() {
    for golden in Golden::all() {
        equals_peft(&golden, cpu(), false);
        equals_peft(&golden, cpu(), true);
        merges_as_peft_does(&golden);
        generates_as_the_merged_model(&golden, &mut || Some(cpu()));
        begins_as_the_base(&golden, cpu());
    }
}

#[test]
fn specs_equal_peft() {
    for golden in Golden::all() {
        let specs = Cpu::open(CpuOptions { threads: Some(1), specs_only: true }).unwrap();
        equals_peft(&golden, Box::new(specs), false);
    }
}

/// Software adapters take most of the time to compile kernels: every kind of adapter once, on one model or the other.
fn gpu_equals_peft(adapter: Adapter, test: &str) {
    let mut open =
        || -> Option<Box<dyn Device>> { Some(Box::new(adapters::fresh(adapter, Options::default(), test)?)) };
    let every = adapter == Adapter::Real;
    for (at, golden) in Golden::all().iter().enumerate().filter(|(at, _)| every || [1, 2, 3, 5].contains(at)) {
        let Some(device) = open() else { return };
        equals_peft(golden, device, at == 2);
        let Some(device) = open() else { return };
        begins_as_the_base(golden, device);
        if every || at == 2 {
            generates_as_the_merged_model(golden, &mut open);
        }
    }
}

#[test]
fn gpu_equals_peft_on_lavapipe() {
    gpu_equals_peft(Adapter::Lavapipe, "gpu_equals_peft_on_lavapipe");
}

#[test]
fn gpu_equals_peft_on_swiftshader() {
    gpu_equals_peft(Adapter::SwiftShader, "gpu_equals_peft_on_swiftshader");
}

#[test]
fn gpu_equals_peft_on_real() {
    gpu_equals_peft(Adapter::Real, "gpu_equals_peft_on_real");
}

/// A begun adapter is a function of the seed, and its kept state goes on where it was.
#[test]
fn an_adapter_begins_from_its_seed_and_goes_on_from_its_state() {
    for golden in Golden::all() {
        let (name, adapter) = (&golden.name, &golden.adapter);
        let mut engine = golden.engine(cpu(), false);
        engine.begin(POLICY, 5).unwrap();
        let begun = engine.state(POLICY).unwrap();
        for module in modules(&golden.config, adapter) {
            let [a, b, magnitude] = module.tensors();
            let limit = 1.0 / (module.inputs as f32).sqrt();
            let a = floats(&begun.weights, &a);
            assert!(a.iter().all(|x| x.abs() <= limit) && a.iter().any(|x| x.abs() > 0.8 * limit), "{name}: A");
            assert!(floats(&begun.weights, &b).iter().all(|&x| x == 0.0), "{name}: B");
            if adapter.kind == AdapterKind::Dora {
                let weight = floats(&golden.base.weights, &module.ours).chunks_exact(module.inputs);
                let rows = weight.skip(module.rows.start).zip(floats(&begun.weights, &magnitude));
                rows.for_each(|(row, &m)| assert!((norm(row) - f64::from(m)).abs() < 1e-5, "{name}: magnitude"));
            }
        }
        let mut other = golden.engine(cpu(), false);
        other.begin(POLICY, 5).unwrap();
        assert!(other.state(POLICY).unwrap() == begun, "{name}: the same seed");
        other.begin(POLICY, 6).unwrap();
        assert!(other.state(POLICY).unwrap() != begun, "{name}: another seed");

        for step in 1..3 {
            learn(&mut engine, POLICY, &golden.window, step);
            engine.update(POLICY, &tick(step)).unwrap();
        }
        let kept = engine.state(POLICY).unwrap();
        assert_eq!(kept.first.len(), kept.weights.len());
        let names: Vec<&str> = kept.weights.iter().map(|tensor| tensor.name.as_str()).collect();
        let wanted = adapter_specs(&golden.config, adapter);
        assert_eq!(names, wanted.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>(), "only the adapter is kept");
        // The adapter may come before the model below it.
        let mut resumed = Engine::new(cpu(), &golden.roles(), &shapes(false), &ADAMW).unwrap();
        resumed.restore(POLICY, &kept).unwrap();
        resumed.restore(POLICY, &golden.base).unwrap();
        for engine in [&mut engine, &mut resumed] {
            learn(engine, POLICY, &golden.window, 3);
            engine.update(POLICY, &tick(3)).unwrap();
        }
        assert!(engine.state(POLICY).unwrap() == resumed.state(POLICY).unwrap(), "{name}: bit for bit");
        let numbers = |engine: &mut Engine| engine.evaluate(POLICY, &golden.window).unwrap();
        assert!(numbers(&mut engine) == numbers(&mut resumed), "{name}: bit for bit");
    }
}

#[test]
fn peft_folders_are_read_back_and_odd_ones_refused_by_name() {
    for golden in Golden::all() {
        let (document, tensors) =
            export_adapter(&golden.config, &golden.adapter, &golden.own, Some("../base")).unwrap();
        let theirs = json(&golden.name, "adapter_config.json");
        for key in ["peft_type", "task_type", "r", "use_rslora", "use_dora", "target_modules", "fan_in_fan_out", "bias"]
        {
            assert_eq!(document[key], theirs[key], "{}: {key}", golden.name);
        }
        assert_eq!(document["lora_alpha"].as_f64(), theirs["lora_alpha"].as_f64());
        let (adapter, own) = import_adapter(&golden.config, &document, &tensors).unwrap();
        assert!(adapter == golden.adapter && own == golden.own, "{}", golden.name);

        let changed = |key: &str, value: Value| {
            let mut document = theirs.clone();
            document[key] = value;
            import_adapter(&golden.config, &document, &tensors).unwrap_err().to_string()
        };
        for (key, value) in [
            ("peft_type", json!("LOHA")),
            ("bias", json!("all")),
            ("rank_pattern", json!({"q_proj": 2})),
            ("lora_bias", json!(true)),
            ("init_lora_weights", json!("pissa")),
            ("modules_to_save", json!(["embed_tokens"])),
            ("something_new", json!(3)),
        ] {
            assert!(changed(key, value).contains(key), "{key} is refused by name");
        }
        let fewer = import_adapter(&golden.config, &theirs, &tensors[1..]).unwrap_err();
        assert!(fewer.detail.contains("missing") || fewer.detail.contains("speak"), "{fewer}");
        let mut wrong = tensors.clone();
        wrong[1].shape.reverse();
        assert!(import_adapter(&golden.config, &theirs, &wrong).is_err());
        wrong = tensors.clone();
        wrong[0].name.push('x');
        assert!(import_adapter(&golden.config, &theirs, &wrong).unwrap_err().detail.contains("no linear layer"));
    }
    // alpha / sqrt(rank) under DoRA is another alpha.
    let golden = Golden::read(MODELS[0], "dora");
    let mut document = json(&golden.name, "adapter_config.json");
    document["use_rslora"] = json!(true);
    let (adapter, _) = import_adapter(&golden.config, &document, &golden.theirs(golden.own.weights.clone())).unwrap();
    assert!((adapter.scale() - 6.0 / 2.0).abs() < 1e-6, "alpha 6, rank 4");
}
