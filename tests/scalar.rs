//! Scalar heads: values and gradients against transformers, what a config.json says of them, two trained roles at once.
//!
//! The numbers lie under `tests/golden`, made by `tools/oracle/scalar.py`.

use crate::adapters::{self, Adapter};
use crate::oracle::{gradients, json, model, same_gradients, tensors};
use pleach_runtime::device::Device;
use pleach_runtime::device::cpu::{Cpu, CpuOptions};
use pleach_runtime::device::gpu::Options;
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::engine::layout::{AdamW, Layout, POLICY, Role, RoleId, Shapes};
use pleach_runtime::engine::state::{HostState, HostTensor, scalar_from};
use pleach_runtime::engine::{Engine, Learned};
use pleach_runtime::model::config::{Head, ModelConfig};
use pleach_runtime::model::families::{FAMILIES, export, family_of, import};
use pleach_runtime::model::weights::{parameters, specs};
use pleach_runtime::shaders::spec::Tick;
use pleach_runtime::stage::{Numbers, Row, Window};
use safetensors::SafeTensors;
use serde_json::{Value, json};

const MODELS: [&str; 2] = ["gpt2-scalar-tiny", "qwen3-scalar-tiny"];
const CONTEXT: usize = 16;
/// Values of order 1, from sums of some dozens of products.
const VALUE: f32 = 1e-5;
const ADAMW: AdamW = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.1 };

fn shapes(recompute: bool) -> Shapes {
    let (micro_rows, context, sequence) = (2, CONTEXT, CONTEXT);
    Shapes { micro_rows, context, buckets: vec![16], streams: 1, sequence, prefill: 4, head_chunk: 20, recompute }
}

/// The batch of a golden folder; which targets count is no matter of a value.
fn window(name: &str) -> Window {
    let file = crate::oracle::bytes(name, "expected.safetensors");
    let file = SafeTensors::deserialize(&file).unwrap();
    let words = file.tensor("tokens").unwrap().data().chunks_exact(4);
    let tokens: Vec<u32> = words.map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect();
    let rows = tokens.chunks_exact(CONTEXT + 1).enumerate().map(|(key, tokens)| Row {
        tokens: tokens.to_vec(),
        weights: (0..CONTEXT).map(|t| f32::from(u8::from(t % 3 == key))).collect(),
        segments: vec![0; CONTEXT],
        key: key as u64,
    });
    Window::new(CONTEXT, rows.collect())
}

fn floats<'a>(tensors: &'a [HostTensor], name: &str) -> &'a [f32] {
    &tensors.iter().find(|tensor| tensor.name == name).unwrap().data
}

fn cpu(specs_only: bool) -> Box<dyn Device> {
    Box::new(Cpu::open(CpuOptions { threads: Some(2), specs_only }).unwrap())
}

/// Values at every position, and the gradients of a random linear functional of them.
fn equals_transformers(device: Box<dyn Device>, name: &str, recompute: bool) {
    let (config, family, weights) = model(name);
    assert_eq!(config.head, Head::Scalar);
    let expected = tensors(name, "expected.safetensors");
    let mut engine = Engine::new(device, &[Role::policy(&config)], &shapes(recompute), &ADAMW).unwrap();
    engine.restore(POLICY, &HostState { weights, ..HostState::default() }).unwrap();
    let window = window(name);
    let wanted = floats(&expected, "values");
    let compare = |what: &str, numbers: &Numbers| {
        assert_eq!(numbers.len(), wanted.len());
        for (at, (found, wanted)) in numbers.iter().zip(wanted).enumerate() {
            assert!((found[0] - wanted).abs() <= VALUE, "{name} {what} of token {at}: {}, not {wanted}", found[0]);
            assert_eq!(found[1..], [0.0; 3], "a value is one number");
        }
    };
    let looked = engine.look(POLICY, &window).unwrap();
    compare("value", &looked);
    // What stands beside the value's derivative is none.
    let derivatives: Numbers = floats(&expected, "weights").iter().map(|&w| [w, 3.0, -2.0, 7.0]).collect();
    let learned = engine.learn(POLICY, &window, &derivatives, &Tick::default()).unwrap();
    assert!(learned.numbers == looked, "{name}: what is learned is what was looked at");
    same_gradients(name, &export(family, &config, &gradients(&mut engine)), &expected);
}

#[test]
fn cpu_equals_transformers() {
    for name in MODELS {
        equals_transformers(cpu(false), name, false);
        equals_transformers(cpu(false), name, true);
        equals_transformers(cpu(true), name, false);
    }
}

fn gpu_equals_transformers(adapter: Adapter, test: &str) {
    for name in MODELS {
        let Some(gpu) = adapters::fresh(adapter, Options::default(), test) else { return };
        equals_transformers(Box::new(gpu), name, name == MODELS[1]);
    }
}

#[test]
fn gpu_equals_transformers_on_lavapipe() {
    gpu_equals_transformers(Adapter::Lavapipe, "gpu_equals_transformers_on_lavapipe");
}

#[test]
fn gpu_equals_transformers_on_swiftshader() {
    gpu_equals_transformers(Adapter::SwiftShader, "gpu_equals_transformers_on_swiftshader");
}

#[test]
fn gpu_equals_transformers_on_real() {
    gpu_equals_transformers(Adapter::Real, "gpu_equals_transformers_on_real");
}

fn tiny() -> ModelConfig {
    ModelConfig::qwen3(37, CONTEXT, 16, 2, 2, 1)
}

#[test]
fn a_folder_of_one_label_has_a_scalar_head_and_keeps_it() {
    for name in MODELS {
        let (config, family, weights) = model(name);
        let written = (family.write_config)(&config);
        let theirs = json(name, "config.json");
        for key in ["architectures", "problem_type", "id2label", "label2id", "model_type"] {
            assert_eq!(written[key], theirs[key], "{key} as transformers writes it");
        }
        assert_eq!(written["num_labels"], 1);
        assert_eq!((family.read_config)(&written).unwrap(), config);
        let exported = export(family, &config, &weights);
        let score = exported.iter().find(|tensor| tensor.name == "score.weight").unwrap();
        assert_eq!(score.shape, [1, config.width]);
        assert_eq!(import(family, &config, &exported).unwrap(), weights);

        let two = |key: &str, value: Value| {
            let mut changed = theirs.clone();
            changed[key] = value;
            (family.read_config)(&changed)
        };
        let refusal = two("id2label", json!({"0": "A", "1": "B"})).unwrap_err();
        assert!(refusal.detail.contains("ForSequenceClassification"), "{refusal}");
        assert!(two("num_labels", json!(3)).is_err());
        assert!(two("id2label", Value::Null).is_err(), "transformers would make two");
        assert_eq!(two("architectures", json!(["Qwen3ForCausalLM"])).unwrap().head, Head::Vocabulary);
    }
    for family in FAMILIES {
        let config = ModelConfig::gpt2(37, CONTEXT, 16, 2, 2, true);
        let config = if (family.fits)(&config) { config } else { tiny() }.scalar();
        assert_eq!(
            family_of(&config).map(|family| (family.write_config)(&config)["num_labels"].clone()),
            Some(json!(1))
        );
    }
}

/// What was written before there were heads to choose from.
#[test]
fn a_config_that_does_not_say_its_head_has_a_vocabulary() {
    let config = tiny();
    let written = serde_json::to_value(&config).unwrap();
    assert!(written.get("head").is_none(), "a language model is written as before");
    assert_eq!(serde_json::from_value::<ModelConfig>(written).unwrap(), config);
    let scalar = serde_json::to_value(config.scalar()).unwrap();
    assert_eq!(scalar["head"], "scalar");
    assert_eq!(serde_json::from_value::<ModelConfig>(scalar).unwrap(), config.scalar());
}

#[test]
fn a_score_begins_on_the_decoder_of_a_language_model() {
    for tied in [true, false] {
        let config = ModelConfig { tied, ..ModelConfig::qwen3(37, CONTEXT, 600, 1, 2, 1) };
        let scalar = config.scalar();
        let heads = if tied { 0 } else { 37 * 600 };
        assert_eq!(parameters(&scalar), parameters(&config) - heads + 600);
        let mut engine = Engine::new(cpu(false), &[Role::policy(&config)], &shapes(false), &ADAMW).unwrap();
        engine.begin(POLICY, 3).unwrap();
        let state = engine.state(POLICY).unwrap();
        let entry = scalar_from(&state, &config, 5).unwrap();
        assert!(entry.first.is_empty() && entry.second.is_empty());
        let names: Vec<&str> = entry.weights.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, specs(&scalar).iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>());
        let (score, decoder) = entry.weights.split_last().unwrap();
        assert!(decoder == &state.weights[..decoder.len()], "the decoder is the language model's");
        let spread = (score.data.iter().map(|x| f64::from(x * x)).sum::<f64>() / 600.0).sqrt() * 601f64.sqrt();
        assert!((spread - 1.0).abs() < 0.1, "N(0, 1 / sqrt(width + 1)), not {spread} of it");
        assert!(scalar_from(&state, &config, 6).unwrap().weights.last() != Some(score), "the seed begins the score");
        assert!(scalar_from(&state, &scalar, 5).unwrap() == entry, "either config will do");
        let lacking = HostState { weights: state.weights[1..].to_vec(), ..HostState::default() };
        assert!(scalar_from(&lacking, &config, 5).unwrap_err().detail.contains("embed.tokens"));
    }
}

#[test]
fn what_has_a_scalar_head_does_not_generate() {
    let scalar = tiny().scalar();
    let role = Role::generator(&scalar);
    let refusal = Layout::predict(std::slice::from_ref(&role), &shapes(false), &ADAMW, &*cpu(false)).unwrap_err();
    assert!(refusal.detail.contains("scalar head"), "{refusal}");
    assert!(Engine::new(cpu(false), &[role], &shapes(false), &ADAMW).is_err());
    let mut engine = Engine::new(cpu(false), &[Role::policy(&scalar)], &shapes(false), &ADAMW).unwrap();
    assert!(engine.layout().members[POLICY].streams.is_none(), "no caches either");
    engine.begin(POLICY, 1).unwrap();
    assert!(engine.generate(&[vec![1, 2]], &Sampling::default(), &[], &mut |_, _| true).is_err());
}

/// Three steps of a role.
fn steps(engine: &mut Engine, role: RoleId, window: &Window, range: std::ops::Range<u32>) -> Vec<Learned> {
    let derivatives: Numbers = (0..window.tokens()).map(|t| [(t as f32 * 0.37).sin(), 0.0, 0.0, 0.0]).collect();
    let one = |step: u32| {
        let bias = |beta: f32| 1.0 - beta.powi(step as i32);
        let (bias1, bias2) = (bias(ADAMW.beta1), bias(ADAMW.beta2));
        let tick = Tick { step, learning_rate: 1e-2, bias1, bias2, clip: 1.0, ..Tick::default() };
        let learned = engine.learn(role, window, &derivatives, &tick).unwrap();
        engine.update(role, &tick).unwrap();
        learned
    };
    range.map(one).collect()
}

/// A policy and a critic on one device, trained in turn: each as if it were alone, bit for bit.
fn two_are_trained_at_once(open: &mut dyn FnMut() -> Option<Box<dyn Device>>) {
    const CRITIC: RoleId = 1;
    let (policy, critic) = (tiny(), ModelConfig::gpt2(37, CONTEXT, 12, 1, 2, true).scalar());
    let window = window(MODELS[1]);
    let mut alone = Vec::new();
    for role in [Role::policy(&policy), Role::critic(&critic)] {
        let Some(device) = open() else { return };
        let mut engine = Engine::new(device, &[role], &shapes(false), &ADAMW).unwrap();
        engine.begin(POLICY, 9).unwrap();
        let learned = steps(&mut engine, POLICY, &window, 1..4);
        alone.push((learned, engine.state(POLICY).unwrap()));
    }
    let Some(device) = open() else { return };
    let mut engine =
        Engine::new(device, &[Role::policy(&policy), Role::critic(&critic)], &shapes(false), &ADAMW).unwrap();
    engine.begin(POLICY, 9).unwrap();
    engine.begin(CRITIC, 9).unwrap();
    let mut beside = [Vec::new(), Vec::new()];
    for step in 1..4 {
        for role in [POLICY, CRITIC] {
            beside[role].extend(steps(&mut engine, role, &window, step..step + 1));
        }
    }
    for (role, (learned, state)) in alone.iter().enumerate() {
        assert!(beside[role] == *learned && engine.state(role).unwrap() == *state, "role {role} is as it was alone");
    }
}

#[test]
fn two_are_trained_at_once_on_the_cpu() {
    two_are_trained_at_once(&mut || Some(cpu(false)));
}

#[test]
fn two_are_trained_at_once_on_the_gpu() {
    for adapter in Adapter::ALL {
        two_are_trained_at_once(&mut || {
            Some(Box::new(adapters::fresh(adapter, Options::default(), "two_are_trained_at_once_on_the_gpu")?))
        });
    }
}
