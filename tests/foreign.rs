//! Models of others: a config that would change the numbers, or that the file does not bear out, is refused by name.

use pleach_runtime::engine::state::HostTensor;
use pleach_runtime::fault::Refusal;
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::model::families::{FAMILIES, Family, check_own, import};
use serde_json::{Value, json};

fn family(name: &str) -> &'static Family {
    FAMILIES.iter().copied().find(|family| family.model_type == name).unwrap()
}

fn gpt2() -> Value {
    json!({"model_type": "gpt2", "vocab_size": 50, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3,
        "layer_norm_epsilon": 1e-5})
}

fn qwen(kind: &str) -> Value {
    json!({"model_type": kind, "vocab_size": 50, "max_position_embeddings": 16, "hidden_size": 12,
        "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 4,
        "intermediate_size": 20, "rms_norm_eps": 1e-6, "sliding_window": 8})
}

fn read(config: &Value, changes: &Value) -> Result<ModelConfig, Refusal> {
    let mut config = config.clone();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    (family(config["model_type"].as_str().unwrap()).read_config)(&config)
}

#[test]
fn switches_that_change_the_numbers_are_refused_by_name() {
    for (key, good, bad) in [
        ("scale_attn_weights", json!(true), json!(false)),
        ("scale_attn_by_inverse_layer_idx", json!(false), json!(true)),
        ("reorder_and_upcast_attn", json!(false), json!(true)),
        ("tie_word_embeddings", json!(true), json!(false)),
        ("scale_attn_weights", Value::Null, json!("yes")),
    ] {
        read(&gpt2(), &json!({key: good})).unwrap();
        let refusal = read(&gpt2(), &json!({key: bad})).unwrap_err();
        assert!(refusal.detail.contains(key) && refusal.hint.contains("convert"), "{refusal}");
    }
    for kind in ["llama", "qwen2", "qwen3"] {
        for key in ["attention_bias", "mlp_bias"] {
            assert!(read(&qwen(kind), &json!({key: true})).unwrap_err().detail.contains(key));
        }
    }
    let refusal = read(&qwen("llama"), &json!({"use_sliding_window": true})).unwrap_err();
    assert!(refusal.detail.contains("use_sliding_window"), "llama has no such window: {refusal}");
}

#[test]
fn only_layers_that_are_all_alike_slide() {
    let window = |changes: Value| read(&qwen("qwen3"), &changes).map(|config| config.sliding_window);
    let kinds = |a: &str, b: &str| json!([format!("{a}_attention"), format!("{b}_attention")]);
    assert_eq!(window(json!({})).unwrap(), None);
    assert_eq!(window(json!({"layer_types": kinds("full", "full")})).unwrap(), None);
    let sliding = |key: &str, value: Value| window(json!({"use_sliding_window": true, key: value}));
    assert_eq!(sliding("max_window_layers", json!(0)).unwrap(), Some(8));
    assert_eq!(sliding("max_window_layers", json!(2)).unwrap(), None, "the first two see everything");
    assert_eq!(window(json!({"use_sliding_window": true})).unwrap(), None, "so do the first 28");
    assert_eq!(sliding("layer_types", kinds("sliding", "sliding")).unwrap(), Some(8));
    assert_eq!(sliding("layer_types", kinds("full", "full")).unwrap(), None);
    assert_eq!(sliding("sliding_window", Value::Null).unwrap(), None);
    assert!(sliding("max_window_layers", json!(1)).unwrap_err().detail.contains("max_window_layers"));
    for (types, slides) in [
        (kinds("full", "sliding"), true),
        (kinds("sliding", "sliding"), false),
        (kinds("chunked", "full"), true),
        (json!(["full_attention"]), true),
        (json!("full_attention"), false),
    ] {
        let refusal = window(json!({"use_sliding_window": slides, "layer_types": types})).unwrap_err();
        assert!(refusal.detail.contains("layer_types"), "{refusal}");
    }
    for odd in [json!(0), json!("wide"), json!(1.5)] {
        let all = json!({"sliding_window": odd, "use_sliding_window": true, "max_window_layers": 0});
        assert!(window(all).unwrap_err().detail.contains("sliding_window"), "{odd}");
    }
}

#[test]
fn no_number_of_a_config_panics() {
    let refusal = read(&gpt2(), &json!({"n_embd": 13})).unwrap_err();
    assert!(refusal.detail.contains("n_head") && refusal.detail.contains("13"), "{refusal}");
    let odd =
        [json!(0), json!(-1), json!(1.5), json!(1e9), json!(1u64 << 24), json!(u64::MAX), json!(1e300), json!("3")];
    for config in [gpt2(), qwen("llama"), qwen("qwen2"), qwen("qwen3")] {
        let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
        for key in keys.iter().map(String::as_str).chain(["n_inner", "rope_theta", "max_window_layers"]) {
            for value in odd.iter().filter(|_| key != "model_type") {
                // Read or refused; what is read has tensors that can be counted.
                let changes = json!({key: value, "use_sliding_window": config["model_type"] != "llama"});
                let Ok(config) = read(&config, &changes) else { continue };
                let refused: Result<Vec<HostTensor>, Refusal> =
                    import(family("qwen3"), &config, &[]).and_then(|_| check_own(&config, &[]).map(|()| vec![]));
                assert!(refused.is_err(), "{key} = {value}");
            }
        }
    }
    let huge = json!({"hidden_size": 1 << 24, "num_attention_heads": 1 << 24, "num_key_value_heads": 1 << 24,
        "head_dim": 1 << 24, "intermediate_size": 1 << 24});
    assert!(
        read(&qwen("llama"), &huge).unwrap_err().detail.contains("weights"),
        "2^75 weights are not counted modulo 2^64"
    );
    assert!(read(&gpt2(), &json!({"n_layer": 1 << 20})).unwrap_err().detail.contains("layers"));
}

/// A config of a thousand gigabytes beside a file of nothing: no memory is taken on its word.
#[test]
fn a_config_that_its_file_does_not_bear_out_allocates_nothing() {
    let tensor = |name: &str, shape: &[usize]| HostTensor {
        name: name.into(),
        shape: shape.to_vec(),
        data: vec![0.0; shape.iter().product()],
    };
    let huge = ModelConfig::gpt2(1 << 20, 1 << 20, 1 << 16, 12, 1 << 10, true);
    huge.check().unwrap();
    let names = ["wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"].map(|name| format!("transformer.{name}"));
    let mut file: Vec<HostTensor> = names.iter().map(|name| tensor(name, &[1])).collect();
    let refusal = import(family("gpt2"), &huge, &file).unwrap_err();
    assert!(refusal.detail.contains("12 layers, the file 4 tensors"), "{refusal}");
    for layer in 0..12 {
        file.push(tensor(&format!("transformer.h.{layer}.ln_1.weight"), &[1]));
    }
    let refusal = import(family("gpt2"), &huge, &file).unwrap_err();
    assert!(refusal.detail.contains("transformer.wte.weight is [1], expected [1048576, 65536]"), "{refusal}");
    let own = ModelConfig { attention_softcap: 2.0, ..huge };
    let file: Vec<HostTensor> = (0..12).map(|layer| tensor(&format!("layers.{layer}"), &[1])).collect();
    assert!(check_own(&own, &file).unwrap_err().detail.contains("embed.tokens is missing"));
}
