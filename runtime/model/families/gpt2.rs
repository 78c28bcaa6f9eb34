//! GPT-2: LayerNorm, learned positions, fused c_attn, matrices stored (in, out), biases everywhere.

use super::{Family, Part, count, number, only, read_head, refuse_key, write_head};
use crate::fault::Refusal;
use crate::model::config::{FeedForward, Head, ModelConfig, Norm, Positions};
use serde_json::{Value, json};

/// `GPT2LMHeadModel`, `GPT2ForSequenceClassification`.
pub static GPT2: Family = Family { model_type: "gpt2", fits, write_config, read_config, parts };

fn fits(config: &ModelConfig) -> bool {
    config.norm == Norm::Layer
        && config.positions == Positions::Learned
        && config.kv_heads == config.heads
        && config.heads * config.head_dim == config.width
        && matches!(config.feed_forward, FeedForward::Gelu | FeedForward::GeluTanh)
        && config.tied
        && !config.qk_norm
        && config.sliding_window.is_none()
        && config.attention_softcap == 0.0
}

fn write_config(config: &ModelConfig) -> Value {
    let activation = if config.feed_forward == FeedForward::Gelu { "gelu" } else { "gelu_new" };
    let mut out = json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.hidden,
        "activation_function": activation,
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "pleach_biases": [config.norm_bias, config.qkv_bias, config.projection_bias],
    });
    write_head(&mut out, config, "GPT2");
    out
}

fn read_config(value: &Value) -> Result<ModelConfig, Refusal> {
    let feed_forward = match value.get("activation_function").and_then(Value::as_str) {
        Some("gelu_new") | None => FeedForward::GeluTanh,
        Some("gelu") => FeedForward::Gelu,
        Some(_) => return Err(refuse_key(value, "activation_function", "gelu and gelu_new")),
    };
    for (key, supported) in [
        ("scale_attn_weights", true),
        ("scale_attn_by_inverse_layer_idx", false),
        ("reorder_and_upcast_attn", false),
        ("add_cross_attention", false),
        ("tie_word_embeddings", true),
    ] {
        only(value, key, supported)?;
    }
    let (width, heads) = (count(value, "n_embd")?, count(value, "n_head")?);
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(refuse_key(value, "n_head", &format!("a divisor of n_embd, which is {width}")));
    }
    let (context, vocab) = (count(value, "n_positions")?, count(value, "vocab_size")?);
    let mut config = ModelConfig::gpt2(vocab, context, width, count(value, "n_layer")?, heads, true);
    if let Some(hidden) = value.get("n_inner").filter(|hidden| !hidden.is_null()) {
        let hidden = hidden.as_u64().and_then(|hidden| usize::try_from(hidden).ok());
        config.hidden = hidden.ok_or_else(|| refuse_key(value, "n_inner", "a count"))?;
    }
    config.norm_eps = number(value, "layer_norm_epsilon")? as f32;
    config.feed_forward = feed_forward;
    config.dropout = value.get("resid_pdrop").and_then(Value::as_f64).unwrap_or(0.0) as f32;
    if let Some(list) = value.get("pleach_biases").and_then(Value::as_array) {
        let flag = |index: usize| list.get(index).and_then(Value::as_bool).unwrap_or(true);
        (config.norm_bias, config.qkv_bias, config.projection_bias) = (flag(0), flag(1), flag(2));
    }
    config.head = read_head(value)?;
    config.check()?;
    Ok(config)
}

fn parts(config: &ModelConfig) -> Vec<Part> {
    let (c, f) = (config.width, config.hidden);
    let mut out = vec![
        Part::whole("transformer.wte.weight", "embed.tokens", config.vocab),
        Part::whole("transformer.wpe.weight", "embed.positions", config.context),
    ];
    let bias = |has: bool, theirs: String, ours: String, len: usize| {
        if has { Part::whole(theirs, ours, len) } else { Part::zeros(theirs, len) }
    };
    for layer in 0..config.layers {
        let theirs = |part: &str| format!("transformer.h.{layer}.{part}");
        let ours = |part: &str| format!("layers.{layer}.{part}");
        for (ln, norm) in [("ln_1", "attention_norm"), ("ln_2", "feed_forward_norm")] {
            out.push(Part::whole(theirs(&format!("{ln}.weight")), ours(&format!("{norm}.gain")), c));
            out.push(bias(config.norm_bias, theirs(&format!("{ln}.bias")), ours(&format!("{norm}.bias")), c));
        }
        for (name, part, rows, has) in [
            ("attn.c_attn", "attention.qkv", 3 * c, config.qkv_bias),
            ("attn.c_proj", "attention.out", c, config.projection_bias),
            ("mlp.c_fc", "feed_forward.up", f, config.projection_bias),
            ("mlp.c_proj", "feed_forward.down", c, config.projection_bias),
        ] {
            out.push(Part::whole(theirs(&format!("{name}.weight")), ours(part), rows).transposed());
            out.push(bias(has, theirs(&format!("{name}.bias")), ours(&format!("{part}.bias")), rows));
        }
    }
    out.push(Part::whole("transformer.ln_f.weight", "norm.gain", c));
    out.push(bias(config.norm_bias, "transformer.ln_f.bias".into(), "norm.bias".into(), c));
    if config.head == Head::Scalar {
        out.push(Part::whole("score.weight", "score", 1));
    }
    out
}
