//! Llama, Qwen2 and Qwen3: RMSNorm, rotary positions, separate q/k/v and gate/up matrices.

use super::{Family, Part, count, is_rotary, llama_like, number, only, read_head, refuse_key, write_head};
use crate::fault::Refusal;
use crate::model::config::{Head, ModelConfig, Positions};
use serde_json::{Value, json};

/// `Qwen3ForCausalLM`: q/k norm, no biases, its own head_dim.
pub static QWEN3: Family = Family {
    model_type: "qwen3",
    fits: |config| llama_like(config) && config.qk_norm && !config.qkv_bias,
    write_config: |config| write_config(config, "qwen3", "Qwen3"),
    read_config: |value| read_config(value, true, false),
    parts,
};

/// `Qwen2ForCausalLM`: biases on q, k and v.
pub static QWEN2: Family = Family {
    model_type: "qwen2",
    fits: |config| {
        llama_like(config) && !config.qk_norm && config.qkv_bias && config.heads * config.head_dim == config.width
    },
    write_config: |config| write_config(config, "qwen2", "Qwen2"),
    read_config: |value| read_config(value, false, true),
    parts,
};

/// `LlamaForCausalLM`: neither.
pub static LLAMA: Family = Family {
    model_type: "llama",
    fits: |config| llama_like(config) && !config.qk_norm && !config.qkv_bias && config.sliding_window.is_none(),
    write_config: |config| write_config(config, "llama", "Llama"),
    read_config: |value| read_config(value, false, false),
    parts,
};

fn write_config(config: &ModelConfig, model_type: &str, model: &str) -> Value {
    let theta = is_rotary(config).expect("a llama-like model is rotary");
    let mut out = json!({
        "architectures": [format!("{model}ForCausalLM")],
        "model_type": model_type,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_eps,
        "rope_theta": theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attention_bias": false,
        "mlp_bias": false,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tied,
        "use_sliding_window": config.sliding_window.is_some(),
        "torch_dtype": "float32",
    });
    if let Some(window) = config.sliding_window {
        out["sliding_window"] = json!(window);
        out["max_window_layers"] = json!(0);
    }
    if config.dropout != 0.0 {
        out["pleach_dropout"] = json!(config.dropout);
    }
    write_head(&mut out, config, model);
    out
}

fn read_config(value: &Value, qk_norm: bool, qkv_bias: bool) -> Result<ModelConfig, Refusal> {
    let (width, heads) = (count(value, "hidden_size")?, count(value, "num_attention_heads")?);
    let kv_heads =
        if value.get("num_key_value_heads").is_some() { count(value, "num_key_value_heads")? } else { heads };
    let (vocab, context) = (count(value, "vocab_size")?, count(value, "max_position_embeddings")?);
    let mut config = ModelConfig::qwen3(vocab, context, width, count(value, "num_hidden_layers")?, heads, kv_heads);
    if value.get("head_dim").is_some_and(|dim| !dim.is_null()) {
        config.head_dim = count(value, "head_dim")?;
    }
    config.hidden = count(value, "intermediate_size")?;
    config.norm_eps = number(value, "rms_norm_eps")? as f32;
    config.qk_norm = qk_norm;
    config.qkv_bias = qkv_bias;
    config.tied = value.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
    config.dropout = value.get("pleach_dropout").and_then(Value::as_f64).unwrap_or(0.0) as f32;
    match value.get("hidden_act").and_then(Value::as_str) {
        Some("silu") | None => {}
        Some(_) => return Err(refuse_key(value, "hidden_act", "silu")),
    }
    for key in ["attention_bias", "mlp_bias"] {
        only(value, key, false)?;
    }
    config.positions = Positions::Rotary { theta: theta(value)? };
    config.sliding_window = sliding_window(value, config.layers)?;
    config.head = read_head(value)?;
    config.check()?;
    Ok(config)
}

/// The window of every layer, or none. transformers lets the first `max_window_layers` layers (28 where the key is
/// missing) see everything and the others slide, unless `layer_types` says which does what; here all layers are alike.
fn sliding_window(value: &Value, layers: usize) -> Result<Option<usize>, Refusal> {
    let slides = match value.get("use_sliding_window") {
        None | Some(Value::Null) => false,
        Some(slides) => slides.as_bool().ok_or_else(|| refuse_key(value, "use_sliding_window", "true or false"))?,
    };
    if slides && value.get("model_type").and_then(Value::as_str) == Some("llama") {
        return Err(refuse_key(value, "use_sliding_window", "false in a llama model"));
    }
    let types = value.get("layer_types").filter(|types| !types.is_null());
    let full = match types.map(|types| types.as_array().ok_or(types)) {
        Some(Ok(types)) => {
            let of = |name: &str| types.iter().filter(|kind| kind.as_str() == Some(name)).count();
            let (sliding, full) = (of("sliding_attention"), of("full_attention"));
            if sliding + full != layers || types.len() != layers || (sliding > 0 && !slides) {
                let expected = "\"full_attention\" for every layer, or \"sliding_attention\" with use_sliding_window";
                return Err(refuse_key(value, "layer_types", expected));
            }
            full
        }
        Some(Err(_)) => return Err(refuse_key(value, "layer_types", "a list with one kind a layer")),
        None if !slides => layers,
        None if value.get("max_window_layers").is_none() => layers.min(28),
        None => layers.min(count(value, "max_window_layers")?),
    };
    let off = value.get("sliding_window").is_some_and(Value::is_null);
    match (slides && !off, full) {
        (false, _) => Ok(None),
        (true, 0) => Ok(Some(count(value, "sliding_window")?)),
        (true, full) if full == layers => Ok(None),
        (true, _) => {
            let key = if types.is_some() { "layer_types" } else { "max_window_layers" };
            let expected =
                format!("layers that are all alike: max_window_layers 0 (all slide) or {layers} (none does)");
            Err(refuse_key(value, key, &expected))
        }
    }
}

/// The rotary base, from transformers 5's `rope_parameters` or the flat key; scaling is refused by name.
fn theta(value: &Value) -> Result<f32, Refusal> {
    let parameters = value.get("rope_parameters").or(value.get("rope_scaling")).filter(|p| !p.is_null());
    if let Some(kind) = parameters.and_then(|p| p.get("rope_type").or(p.get("type"))).and_then(Value::as_str)
        && kind != "default"
    {
        return Err(refuse_key(value, "rope_parameters", "rope_type \"default\""));
    }
    let nested = parameters.and_then(|p| p.get("rope_theta")).and_then(Value::as_f64);
    let flat = value.get("rope_theta").and_then(Value::as_f64);
    if let (Some(a), Some(b)) = (nested, flat)
        && a != b
    {
        return Err(refuse_key(value, "rope_theta", &format!("the same base in rope_parameters, which says {a}")));
    }
    Ok(nested.or(flat).unwrap_or(10_000.0) as f32)
}

fn parts(config: &ModelConfig) -> Vec<Part> {
    let (c, f, d) = (config.width, config.hidden, config.head_dim);
    let (q, kv) = (config.q_width(), config.kv_heads * d);
    let mut out = vec![Part::whole("model.embed_tokens.weight", "embed.tokens", config.vocab)];
    for layer in 0..config.layers {
        let theirs = |part: &str| format!("model.layers.{layer}.{part}");
        let ours = |part: &str| format!("layers.{layer}.{part}");
        out.push(Part::whole(theirs("input_layernorm.weight"), ours("attention_norm.gain"), c));
        let heads = [("q_proj", 0..q), ("k_proj", q..q + kv), ("v_proj", q + kv..q + 2 * kv)];
        for (name, rows) in heads {
            out.push(Part::rows(theirs(&format!("self_attn.{name}.weight")), ours("attention.qkv"), rows.clone()));
            if config.qkv_bias {
                out.push(Part::rows(theirs(&format!("self_attn.{name}.bias")), ours("attention.qkv.bias"), rows));
            }
        }
        if config.qk_norm {
            out.push(Part::rows(theirs("self_attn.q_norm.weight"), ours("attention.qk_norm"), 0..1).flat());
            out.push(Part::rows(theirs("self_attn.k_norm.weight"), ours("attention.qk_norm"), 1..2).flat());
        }
        out.push(Part::whole(theirs("self_attn.o_proj.weight"), ours("attention.out"), c));
        out.push(Part::whole(theirs("post_attention_layernorm.weight"), ours("feed_forward_norm.gain"), c));
        out.push(Part::rows(theirs("mlp.gate_proj.weight"), ours("feed_forward.up"), 0..f));
        out.push(Part::rows(theirs("mlp.up_proj.weight"), ours("feed_forward.up"), f..2 * f));
        out.push(Part::whole(theirs("mlp.down_proj.weight"), ours("feed_forward.down"), c));
    }
    out.push(Part::whole("model.norm.weight", "norm.gain", c));
    match config.head {
        Head::Scalar => out.push(Part::whole("score.weight", "score", 1)),
        Head::Vocabulary if config.tied => {}
        Head::Vocabulary => out.push(Part::whole("lm_head.weight", "head", config.vocab)),
    }
    out
}
