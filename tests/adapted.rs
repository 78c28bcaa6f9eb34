//! Roles with adapters: shared weights, what is planned, what is refused, and that an adapter begins without a trace.

use crate::adapters::{self, Adapter};
use crate::lora::{ADAMW, CONTEXT, Golden, MODELS, REFERENCE, cpu, shapes, tick};
use pleach::loss::next_token::NextToken;
use pleach_runtime::device::Device;
use pleach_runtime::device::gpu::Options;
use pleach_runtime::engine::Engine;
use pleach_runtime::engine::layout::{Layout, POLICY, Role, RoleId, Shapes};
use pleach_runtime::engine::state::HostState;
use pleach_runtime::model::adapter::{AdapterConfig, AdapterKind, adapter_specs, merge};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::model::families::peft::{export_adapter, import_adapter};
use pleach_runtime::shaders::spec::Caps;
use pleach_runtime::stage::{Loss, Numbers, Row, Window};
use serde_json::json;

#[test]
fn a_shared_base_is_planned_once() {
    let golden = Golden::read(MODELS[0], "dora");
    let [policy, reference] = golden.roles();
    let plan = |roles: &[Role]| Layout::predict(roles, &shapes(false), &ADAMW, &*cpu()).unwrap();
    let both = plan(&[policy.clone(), reference]);
    let alone = plan(std::slice::from_ref(&policy));
    let engine = golden.engine(cpu(), false);
    assert_eq!(both.0 - alone.0, engine.layout().members[REFERENCE].rotary.bytes(), "no second copy of the weights");
    let full = plan(&[Role::policy(&golden.config)]);
    let trained: usize = adapter_specs(&golden.config, &golden.adapter).iter().map(|spec| 4 * 4 * spec.len()).sum();
    let frozen: usize = golden.base.weights.iter().map(|tensor| 4 * tensor.data.len()).sum();
    let scales: u64 = engine.layout().members[POLICY].weights.scaled().map(|(_, _, s)| 2 * s[0].bytes()).sum();
    let weights = |slots: u64| 64 * 4 * slots;
    let parts = |roles: &Layout| weights(roles.members.iter().map(|m| m.slots.len() as u64).max().unwrap());
    let (whole, _) = Layout::dry(&[Role::policy(&golden.config)], &shapes(false), &ADAMW);
    let rest = full.0 - 4 * frozen as u64 - parts(&whole);
    assert_eq!(alone.0, rest + frozen as u64 + trained as u64 + scales + parts(engine.layout()), "nothing else");
}

/// A critic with a score of its own stands on the policy's weights, and both learn as if each were alone.
#[test]
fn a_policy_and_a_critic_share_one_base() {
    const CRITIC: RoleId = 1;
    let golden = Golden::read(MODELS[0], "dora");
    let lora =
        AdapterConfig { rank: 2, targets: vec!["v_proj".into(), "down_proj".into()], ..AdapterConfig::default() };
    let policy = Role::policy(&golden.config).with_adapter(&golden.adapter);
    let critic = Role::critic(&golden.config.scalar()).with_adapter(&lora);
    let values: Numbers = (0..golden.window.tokens()).map(|t| [(t as f32 * 0.7).sin(), 0.0, 0.0, 0.0]).collect();
    let known = NextToken.known(&golden.window).unwrap();
    let step = |engine: &mut Engine, role: RoleId, derivatives: &Numbers, step: u32| {
        let learned = engine.learn(role, &golden.window, derivatives, &tick(step)).unwrap();
        engine.update(role, &tick(step)).unwrap();
        learned
    };
    let mut engine = Engine::new(cpu(), &[policy, critic.clone().on(POLICY)], &shapes(false), &ADAMW).unwrap();
    engine.restore(POLICY, &golden.base).unwrap();
    engine.begin(POLICY, 5).unwrap();
    engine.begin(CRITIC, 6).unwrap();
    let entry = engine.state(CRITIC).unwrap();
    assert_eq!(entry.weights[0].name, "score");
    let mut beside = Vec::new();
    for at in 1..4 {
        step(&mut engine, POLICY, &known, at);
        beside.push(step(&mut engine, CRITIC, &values, at));
    }
    assert!(engine.state(CRITIC).unwrap().weights[0] != entry.weights[0], "the score is trained beside the adapter");

    let mut alone = Engine::new(cpu(), &[critic], &shapes(false), &ADAMW).unwrap();
    let mut whole = golden.base.clone();
    whole.weights.push(entry.weights[0].clone());
    alone.restore(POLICY, &whole).unwrap();
    alone.restore(POLICY, &entry).unwrap();
    for at in 1..4 {
        let learned = step(&mut alone, POLICY, &values, at);
        assert!(learned == beside[at as usize - 1], "step {at}: another role changes no bit");
    }
    assert!(alone.state(POLICY).unwrap() == engine.state(CRITIC).unwrap());
    let merged = merge(&golden.config.scalar(), &lora, &golden.base, &alone.state(POLICY).unwrap()).unwrap();
    assert_eq!(
        merged.weights.last().unwrap(),
        &alone.state(POLICY).unwrap().weights[0],
        "a merged critic keeps its score"
    );
    let (document, tensors) =
        export_adapter(&golden.config.scalar(), &lora, &alone.state(POLICY).unwrap(), Some("base")).unwrap();
    assert_eq!((&document["task_type"], &document["modules_to_save"]), (&json!("SEQ_CLS"), &json!(["score"])));
    let (adapter, own) = import_adapter(&golden.config.scalar(), &document, &tensors).unwrap();
    assert_eq!((adapter.targets.len(), adapter.rank, adapter.kind), (2, 2, AdapterKind::Lora));
    assert_eq!(
        own.weights.iter().map(|tensor| tensor.data.len()).sum::<usize>(),
        tensors.iter().map(|t| t.data.len()).sum::<usize>()
    );
}

#[test]
fn roles_that_cannot_stand_on_each_other_are_refused_in_words() {
    let config = ModelConfig::qwen3(29, 20, 16, 1, 2, 1);
    let lora = AdapterConfig::default();
    let (policy, reference) = (Role::policy(&config), Role::reference(&config));
    let adapted = policy.clone().with_adapter(&lora);
    let wider = Role::reference(&ModelConfig { hidden: 48, ..config.clone() });
    let odd = |change: fn(&mut AdapterConfig)| {
        let mut adapter = AdapterConfig::default();
        change(&mut adapter);
        policy.clone().with_adapter(&adapter)
    };
    for (roles, word) in [
        (vec![policy.clone(), reference.clone().on(POLICY)], "trained as a whole"),
        (vec![reference.clone().on(1), adapted.clone()], "comes first"),
        (vec![adapted.clone(), reference.clone().on(0), reference.clone().on(1)], "weights of its own"),
        (vec![adapted.clone(), wider.on(POLICY)], "same decoder"),
        (vec![reference.clone(), policy.clone().on(POLICY)], "nothing to train"),
        (vec![odd(|adapter| adapter.dropout = 0.05)], "dropout"),
        (vec![odd(|adapter| adapter.rank = 0)], "rank"),
        (vec![odd(|adapter| adapter.alpha = f32::NAN)], "alpha"),
        (vec![odd(|adapter| adapter.targets = vec!["c_attn".into()])], "c_attn"),
    ] {
        let refusal = Layout::predict(&roles, &shapes(false), &ADAMW, &*cpu()).unwrap_err();
        assert!(refusal.to_string().contains(word), "{word}: {refusal}");
        assert!(Engine::new(cpu(), &roles, &shapes(false), &ADAMW).is_err());
    }
    let dora = AdapterConfig { kind: AdapterKind::Dora, ..AdapterConfig::default() };
    let roles = [policy.with_adapter(&dora), reference.on(POLICY)];
    let mut engine = Engine::new(cpu(), &roles, &shapes(false), &ADAMW).unwrap();
    assert!(engine.begin(POLICY, 1).unwrap_err().what.contains("norms"), "the weights below come first");
    let nothing = engine.restore(REFERENCE, &HostState::default()).unwrap_err();
    assert!(nothing.what.contains("nothing"), "{nothing:?}");
}

/// A model of our own shape has adapters too, under our names; PEFT has no names for it.
#[test]
fn a_model_without_a_family_has_adapters() {
    let config = ModelConfig { attention_softcap: 5.0, ..ModelConfig::qwen3(29, 20, 16, 1, 2, 1) };
    let adapter = AdapterConfig { targets: vec!["qkv".into(), "down".into()], ..AdapterConfig::default() };
    let mut engine =
        Engine::new(cpu(), &[Role::policy(&config).with_adapter(&adapter)], &shapes(false), &ADAMW).unwrap();
    engine.begin(POLICY, 1).unwrap();
    let state = engine.state(POLICY).unwrap();
    assert_eq!(state.weights.len(), 4);
    let refusal = export_adapter(&config, &adapter, &state, None).unwrap_err();
    assert!(refusal.hint.contains("merged"), "{refusal}");
}

/// Where a row is short and the model wide, a device cuts the depth of a bare product, and not of one that something
/// follows: the bits of an adapter that begins are those of the model below all the same.
fn begins_without_a_trace(open: &mut dyn FnMut() -> Option<Box<dyn Device>>) {
    let row = |key: u64| Row {
        tokens: (0..=CONTEXT as u32).map(|t| (t * t * 5 + key as u32) % 29).collect(),
        weights: vec![1.0; CONTEXT],
        segments: vec![0; CONTEXT],
        key,
    };
    let window = Window::new(CONTEXT, vec![row(1), row(2)]);
    for (config, kind) in [
        (ModelConfig::qwen3(29, 20, 256, 1, 4, 2), AdapterKind::Dora),
        (ModelConfig::gpt2(29, 20, 512, 1, 8, false), AdapterKind::Lora),
        (ModelConfig::gpt2(29, 20, 256, 1, 4, true), AdapterKind::Dora),
    ] {
        let adapter = AdapterConfig { kind, ..AdapterConfig::default() };
        let roles = [Role::policy(&config).with_adapter(&adapter), Role::reference(&config).on(POLICY)];
        let shapes = Shapes { micro_rows: 1, ..shapes(false) };
        let mut whole = Engine::new(cpu(), &[Role::policy(&config)], &shapes, &ADAMW).unwrap();
        whole.begin(POLICY, 3).unwrap();
        let Some(device) = open() else { return };
        let mut engine = Engine::new(device, &roles, &shapes, &ADAMW).unwrap();
        engine.restore(POLICY, &whole.state(POLICY).unwrap()).unwrap();
        engine.begin(POLICY, 4).unwrap();
        let below = engine.evaluate(REFERENCE, &window).unwrap();
        assert!(engine.look(POLICY, &window).unwrap() == below, "{kind:?}: the first ratio is exactly 1");
    }
}

#[test]
fn an_adapter_begins_without_a_trace_on_the_cpu() {
    begins_without_a_trace(&mut || Some(cpu()));
}

#[test]
fn an_adapter_begins_without_a_trace_on_the_gpu() {
    let test = "an_adapter_begins_without_a_trace_on_the_gpu";
    for adapter in Adapter::ALL {
        begins_without_a_trace(&mut || Some(Box::new(adapters::fresh(adapter, Options::default(), test)?)));
    }
    begins_without_a_trace(&mut || {
        let mut gpu = adapters::fresh(Adapter::Lavapipe, Options::default(), test)?;
        gpu.pretend(Caps { software: false, fill: 256, ..gpu.own_caps() });
        Some(Box::new(gpu))
    });
}
