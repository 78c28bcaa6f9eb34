//! The keys of a pipeline file: names, aliases, meaning. What is not in these lists is refused with a suggestion.

use pleach_runtime::fault::Refusal;
use toml::{Table, Value};

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// Our name.
    pub name: &'static str,
    /// Spellings of Hugging Face, axolotl, LLaMA-Factory and mlx-lm that mean the same.
    pub aliases: &'static [&'static str],
    /// One line for people.
    pub doc: &'static str,
    /// May it change when a run goes on? Otherwise the run is defined by it.
    pub free: bool,
}

const fn fixed(name: &'static str, aliases: &'static [&'static str], doc: &'static str) -> Key {
    Key { name, aliases, doc, free: false }
}

const fn free(name: &'static str, aliases: &'static [&'static str], doc: &'static str) -> Key {
    Key { name, aliases, doc, free: true }
}

/// Keys outside any table.
pub const TOP: &[Key] = &[
    free("name", &["run_name"], "what the run's folder is called under runs/"),
    fixed("seed", &[], "key of all randomness"),
    free("device", &[], "auto, gpu, cpu, software, or an adapter's index"),
    free("threads", &[], "processor threads; 0 = all"),
];

/// Keys of `[model]`.
pub const MODEL: &[Key] = &[
    fixed("shape", &[], "depth (one dial), qwen3 or gpt2"),
    fixed("depth", &[], "the one dial: layers; width and heads follow"),
    fixed("context", &["sequence_len", "cutoff_len", "max_seq_length", "block_size"], "tokens of a sequence"),
    fixed("width", &["hidden_size", "n_embd"], "channels of the residual stream"),
    fixed("layers", &["num_hidden_layers", "n_layer"], "decoder blocks"),
    fixed("heads", &["num_attention_heads", "n_head"], "query heads"),
    fixed("kv_heads", &["num_key_value_heads"], "key/value heads"),
    fixed("head_dim", &[], "channels of a head"),
    fixed("hidden", &["intermediate_size", "n_inner"], "width of the feed-forward part"),
    fixed("biases", &["bias"], "biases in the gpt2 shape"),
    fixed("tied", &["tie_word_embeddings"], "the head is the token embedding"),
    fixed("dropout", &[], "dropout rate in training"),
    fixed("rope_theta", &[], "base of the rotary positions"),
    fixed("sliding_window", &[], "a token sees at most this many tokens"),
    fixed("feed_forward", &[], "gelu_tanh, gelu, swi_glu, ge_glu or relu_squared"),
];

/// Keys of a `[[stage]]` of kind pretrain.
pub const PRETRAIN: &[Key] = &[
    fixed("kind", &["stage"], "pretrain"),
    fixed(
        "data",
        &["dataset", "datasets", "train_file", "path"],
        "files, folders or globs; world:N = N generated stories",
    ),
    fixed("text_field", &["text_column", "dataset_text_field"], "the field of .jsonl records"),
    fixed("tokenizer", &[], "bpe, chars, or the path of a tokenizer.json"),
    fixed("vocab", &["vocab_size"], "size of a trained tokenizer"),
    fixed("split", &["pre_tokenizer"], "how a trained tokenizer splits words: gpt2 or qwen2"),
    fixed("valid", &["val_size", "val_set_size"], "share of documents held out, or a file"),
    fixed("boundaries", &[], "documents end with a token, see only themselves, and restart positions"),
    fixed("sampling", &[], "epochs (every row once an epoch) or offsets (nanoGPT: random places)"),
    fixed("batch", &["batch_size", "train_batch_size"], "rows of an optimizer step"),
    free(
        "micro_batch",
        &["micro_batch_size", "per_device_train_batch_size"],
        "rows computed at once; 0 = all that fit",
    ),
    free("steps", &["max_steps", "iters", "num_iterations"], "optimizer steps"),
    free("epochs", &["num_epochs", "num_train_epochs"], "passes over the data instead of steps"),
    free("minutes", &[], "time instead of steps: measured and frozen at the first start"),
    free("learning_rate", &["lr"], "peak learning rate"),
    free("schedule", &["lr_scheduler", "lr_scheduler_type"], "constant, cosine, linear or wsd"),
    free("floor", &["min_lr_ratio"], "last learning rate as a share of the peak"),
    free("warmup", &["warmup_steps"], "steps of warm-up"),
    free("decay_share", &[], "share of the steps in which wsd falls"),
    free("beta1", &["adam_beta1"], "AdamW"),
    free("beta2", &["adam_beta2"], "AdamW"),
    free("eps", &["adam_epsilon"], "AdamW"),
    free("weight_decay", &[], "AdamW, on matrices only"),
    free("clip", &["max_grad_norm", "grad_clip"], "largest norm of the gradient; 0 = off"),
    free(
        "recompute",
        &["gradient_checkpointing", "grad_checkpoint"],
        "compute activations twice instead of keeping them",
    ),
    free("eval_every", &["eval_steps"], "steps between evaluations; 0 = at the end"),
    free("sample_every", &[], "steps between samples; 0 = at the end"),
    free("save_every", &["save_steps"], "steps between checkpoints; 0 = by time"),
    free("save_minutes", &[], "minutes between checkpoints"),
    free("vault_every", &[], "steps between copies in memory; 0 = chosen"),
    free("milestones", &[], "checkpoints kept over the whole run"),
    free("prefetch", &["dataloader_prefetch_factor"], "windows prepared ahead"),
    free("prompts", &[], "texts continued now and then"),
    free("sample_tokens", &["max_new_tokens"], "length of a sample"),
    free("temperature", &[], "of samples"),
    free("top_p", &[], "of samples"),
];

/// Renames aliases to our names and refuses unknown keys; `where_` says which table, `text` finds the line.
pub fn normalise(table: &Table, keys: &[Key], where_: &str, text: &str) -> Result<Table, Refusal> {
    let mut out = Table::new();
    for (written, value) in table {
        let Some(key) = keys.iter().find(|key| key.name == written || key.aliases.contains(&written.as_str())) else {
            return Err(unknown(written, keys, where_, text));
        };
        if out.insert(key.name.to_string(), value.clone()).is_some() {
            let detail = format!("{where_} says {} twice ({written} means the same)", key.name);
            return Err(Refusal::new("could not read the pipeline file", detail, "keep one of the two"));
        }
    }
    Ok(out)
}

fn unknown(written: &str, keys: &[Key], where_: &str, text: &str) -> Refusal {
    let nearest = keys
        .iter()
        .flat_map(|key| std::iter::once(&key.name).chain(key.aliases).map(move |name| (*name, key.name)))
        .map(|(name, ours)| (distance(written, name), ours))
        .min();
    let hint = match nearest {
        Some((far, ours)) if far <= 1 + written.len() / 3 => format!("did you mean \"{ours}\"?"),
        _ => format!("known keys: {}", keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")),
    };
    let detail = format!("{}: unknown key \"{written}\" in {where_}", place(written, text));
    Refusal::new("could not read the pipeline file", detail, hint)
}

/// "line 12", where the key stands.
fn place(key: &str, text: &str) -> String {
    let starts = |line: &str| {
        let rest = line.trim_start().trim_start_matches('[').trim_start();
        rest.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with(['=', ']', '.']))
    };
    text.lines().position(starts).map_or("somewhere".into(), |index| format!("line {}", index + 1))
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replace = corner + usize::from(ca != cb);
            corner = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

/// A value as it stands in a TOML file.
pub fn shown(value: &Value) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_answered_with_the_key_that_was_meant() {
        let text = "batch = 3\nlerning_rate = 1e-3\n";
        let table: Table = text.parse().expect("it is TOML");
        let refusal = normalise(&table, PRETRAIN, "[[stage]]", text).expect_err("the key is unknown");
        assert!(refusal.detail.contains("line 2"), "{refusal}");
        assert!(refusal.hint.contains("learning_rate"), "{refusal}");
    }

    #[test]
    fn aliases_are_taken_and_doubles_refused() {
        let text = "lr = 1e-3\nmax_steps = 10\n";
        let table: Table = text.parse().expect("it is TOML");
        let ours = normalise(&table, PRETRAIN, "[[stage]]", text).expect("aliases are known");
        assert!(ours.contains_key("learning_rate") && ours.contains_key("steps"));
        let text = "lr = 1e-3\nlearning_rate = 1e-3\n";
        let table: Table = text.parse().expect("it is TOML");
        assert!(normalise(&table, PRETRAIN, "[[stage]]", text).is_err());
    }
}
