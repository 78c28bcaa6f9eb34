//! Adapters as PEFT keeps them: `adapter_config.json`, and the names of `adapter_model.safetensors`.

use super::{count, family_of, number};
use crate::engine::state::{HostState, HostTensor};
use crate::fault::Refusal;
use crate::model::adapter::{AdapterConfig, AdapterKind, Module, adapter_specs, modules};
use crate::model::config::{Head, ModelConfig};
use serde_json::{Value, json};

/// What stands before every name.
const PREFIX: &str = "base_model.model.";
/// PEFT's names of A, B and magnitude, behind a module's.
const PARTS: [&str; 3] = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"];
/// The score's name there.
const SCORE: &str = "base_model.model.score.weight";

/// An adapter's tensors by PEFT's names and by ours.
fn names(module: &Module) -> impl Iterator<Item = (String, String)> + use<> {
    let theirs = PARTS.map(|part| format!("{PREFIX}{}.{part}", module.theirs));
    theirs.into_iter().zip(module.tensors())
}

/// `adapter_config.json` and the tensors of `adapter_model.safetensors`. `own` holds the adapter's tensors and, under a
/// scalar head, the score; `base` is how the model below is found (a folder or a name), if anyhow.
///
/// # Errors
/// A refusal where no family of Hugging Face models can say the model.
pub fn export_adapter(
    config: &ModelConfig,
    adapter: &AdapterConfig,
    own: &HostState,
    base: Option<&str>,
) -> Result<(Value, Vec<HostTensor>), Refusal> {
    let Some(family) = family_of(config) else {
        let detail = "the model has a shape of our own, for which PEFT has no names";
        return Err(Refusal::new("could not write the adapter", detail, "write the merged model instead"));
    };
    let all = modules(config, adapter);
    let mut targets: Vec<&str> = all.iter().map(|module| module.target.as_str()).collect();
    targets.sort_unstable();
    targets.dedup();
    let scalar = config.head == Head::Scalar;
    let document = json!({
        "peft_type": "LORA",
        "task_type": if scalar { "SEQ_CLS" } else { "CAUSAL_LM" },
        "base_model_name_or_path": base,
        "r": adapter.rank,
        "lora_alpha": adapter.alpha,
        "lora_dropout": adapter.dropout,
        "use_rslora": adapter.kind == AdapterKind::RsLora,
        "use_dora": adapter.kind == AdapterKind::Dora,
        "target_modules": targets,
        "modules_to_save": scalar.then_some(["score"]),
        "fan_in_fan_out": (family.parts)(config).iter().any(|part| part.transposed),
        "bias": "none",
        "init_lora_weights": true,
        "inference_mode": true,
    });
    let mut tensors = Vec::new();
    let mut take = |theirs: String, ours: &str| {
        let found = own.weights.iter().find(|tensor| tensor.name == ours).expect("an adapter's state is whole");
        tensors.push(HostTensor { name: theirs, ..found.clone() });
    };
    let parts = if adapter.kind == AdapterKind::Dora { 3 } else { 2 };
    for module in &all {
        names(module).take(parts).for_each(|(theirs, ours)| take(theirs, &ours));
    }
    if scalar {
        take(SCORE.into(), "score");
    }
    Ok((document, tensors))
}

/// An adapter from PEFT's two files, for a model of this config. Its dropout, which acts in training only, is left out.
///
/// # Errors
/// A refusal that names the key or the tensor that this program does not understand or miss.
pub fn import_adapter(
    config: &ModelConfig,
    document: &Value,
    theirs: &[HostTensor],
) -> Result<(AdapterConfig, HostState), Refusal> {
    let mut adapter = read_config(document)?;
    let find = |name: &str| theirs.iter().find(|tensor| tensor.name == name);
    let everywhere = modules(config, &adapter);
    let mut known = vec![SCORE.to_string()];
    for module in &everywhere {
        known.extend(names(module).map(|(theirs, _)| theirs));
        let present = names(module).next().is_some_and(|(a, _)| find(&a).is_some());
        if present && !adapter.targets.contains(&module.target) {
            adapter.targets.push(module.target.clone());
        }
    }
    if let Some(odd) = theirs.iter().find(|tensor| !known.contains(&tensor.name)) {
        return Err(misfit(format!("tensor {} stands beside no linear layer of the model", odd.name)));
    }
    if adapter.targets.is_empty() {
        return Err(misfit("it has no tensor for any linear layer of the model".into()));
    }
    adapter.check(config)?;
    let mut own = HostState::default();
    let mut named: Vec<(String, String)> = modules(config, &adapter).iter().flat_map(names).collect();
    let mut specs = adapter_specs(config, &adapter);
    if config.head == Head::Scalar {
        named.push((SCORE.into(), "score".into()));
        specs.extend(crate::model::weights::specs(config).into_iter().filter(|spec| spec.name == "score"));
    }
    for spec in specs {
        let (name, _) = named.iter().find(|(_, ours)| *ours == spec.name).expect("every tensor has a name there");
        match find(name) {
            None => return Err(misfit(format!("tensor {name} is missing; an adapter stands in every layer alike"))),
            Some(tensor) if tensor.shape != spec.shape => {
                return Err(misfit(format!("tensor {name} is {:?}, expected {:?}", tensor.shape, spec.shape)));
            }
            Some(tensor) => {
                own.weights.push(HostTensor { name: spec.name, shape: spec.shape, data: tensor.data.clone() });
            }
        }
    }
    if theirs.len() != own.weights.len() {
        return Err(misfit("it has tensors that its adapter_config.json does not speak of".into()));
    }
    Ok((adapter, own))
}

fn misfit(detail: String) -> Refusal {
    let hint = "check that adapter_model.safetensors belongs to its adapter_config.json and to the model";
    Refusal::new("could not read the adapter", detail, hint)
}

/// Keys that say nothing about the numbers, or that are read below.
const PLAIN: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "use_dora",
    "use_rslora",
];

/// What the numbers depend on; a switch of PEFT that would change them is refused by name.
fn read_config(document: &Value) -> Result<AdapterConfig, Refusal> {
    let refuse = |key: &str, expected: &str| {
        let found = document.get(key).map_or("missing".into(), Value::to_string);
        let detail = format!("key \"{key}\" of adapter_config.json is {found}; this program understands {expected}");
        Refusal::new("could not read the adapter", detail, "merge it into its model with PEFT, and open the model")
    };
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    let flag = |key: &str| document.get(key).and_then(Value::as_bool).unwrap_or(false);
    let Some(keys) = document.as_object() else {
        return Err(misfit("adapter_config.json is no object".into()));
    };
    let off = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if text("peft_type") != Some("LORA") {
        return Err(refuse("peft_type", "\"LORA\""));
    }
    if let Some((key, _)) = keys.iter().find(|(key, value)| !PLAIN.contains(&key.as_str()) && !off(value)) {
        return Err(refuse(key, "it left out"));
    }
    if text("bias").is_some_and(|bias| bias != "none") {
        return Err(refuse("bias", "\"none\""));
    }
    // The others take a part out of the weights below.
    let begins = document.get("init_lora_weights");
    if begins.and_then(Value::as_str).is_some_and(|how| !["gaussian", "orthogonal"].contains(&how)) {
        return Err(refuse("init_lora_weights", "true, false, \"gaussian\" and \"orthogonal\""));
    }
    let saved = document.get("modules_to_save").and_then(Value::as_array).into_iter().flatten();
    if saved.filter_map(Value::as_str).any(|module| !["score", "classifier"].contains(&module)) {
        return Err(refuse("modules_to_save", "[\"score\"]"));
    }
    let (rank, alpha) = (count(document, "r")?, number(document, "lora_alpha")? as f32);
    let (kind, alpha) = match (flag("use_dora"), flag("use_rslora")) {
        (false, false) => (AdapterKind::Lora, alpha),
        (false, true) => (AdapterKind::RsLora, alpha),
        (true, false) => (AdapterKind::Dora, alpha),
        // alpha / sqrt(rank) said as alpha / rank.
        (true, true) => (AdapterKind::Dora, alpha * (rank as f32).sqrt()),
    };
    Ok(AdapterConfig { rank, alpha, kind, targets: Vec::new(), dropout: 0.0 })
}
