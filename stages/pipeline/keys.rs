//! The keys of a pipeline file: names, aliases, kind and range of the value, meaning. What is not in these lists is
//! refused with a suggestion, and so is a value outside of its range.

use super::stage::Kind;
use super::takes::Takes::{self, List, Name, Number, Sources, Text, Truth, Validation, Weights, Whole, Word};
use toml::Value;

/// Steps of a run at most: the device counts them in 32 bits.
pub const STEPS: u64 = 1_000_000_000;
/// Threads at most: more than any machine has processors for, fewer than bring one down.
pub const THREADS: usize = 1024;
/// Layers at most: ten times the deepest model that was ever worth its time.
const LAYERS: u64 = 1024;

/// One key of a table.
#[derive(Debug)]
pub struct Key {
    /// Our name.
    pub name: &'static str,
    /// Spellings of Hugging Face, axolotl, LLaMA-Factory and mlx-lm that mean the same.
    pub aliases: &'static [&'static str],
    /// What it takes: kind and range.
    pub takes: Takes,
    /// One line for people.
    pub doc: &'static str,
    /// May it change when a run goes on? Otherwise the run is defined by it.
    pub free: bool,
}

const fn fixed(name: &'static str, aliases: &'static [&'static str], takes: Takes, doc: &'static str) -> Key {
    Key { name, aliases, takes, doc, free: false }
}

const fn free(name: &'static str, aliases: &'static [&'static str], takes: Takes, doc: &'static str) -> Key {
    Key { name, aliases, takes, doc, free: true }
}

/// Keys outside any table.
pub const TOP: &[Key] = &[
    free("name", &["run_name"], Name, "what the run's folder is called under runs/"),
    fixed("seed", &[], Whole(0, i64::MAX as u64), "key of all randomness"),
    free("device", &[], Name, "auto, gpu, cpu, software, or an adapter's index"),
    free("threads", &[], Whole(0, THREADS as u64), "processor threads; 0 = all"),
];

/// Keys of `[model]`.
pub const MODEL: &[Key] = &[
    fixed("from", &["base_model", "model_name_or_path"], Text, "a model folder to begin with, instead of a new model"),
    fixed("shape", &[], Word(&["depth", "qwen3", "gpt2"]), "depth (one dial), qwen3 or gpt2"),
    fixed("depth", &[], Whole(1, LAYERS), "the one dial: layers; width and heads follow"),
    fixed(
        "context",
        &["sequence_len", "cutoff_len", "max_seq_length", "block_size"],
        Whole(2, 1 << 20),
        "tokens of a sequence",
    ),
    fixed("width", &["hidden_size", "n_embd"], Whole(1, 1 << 16), "channels of the residual stream"),
    fixed("layers", &["num_hidden_layers", "n_layer"], Whole(1, LAYERS), "decoder blocks"),
    fixed("heads", &["num_attention_heads", "n_head"], Whole(1, 1024), "query heads"),
    fixed("kv_heads", &["num_key_value_heads"], Whole(1, 1024), "key/value heads"),
    fixed("head_dim", &[], Whole(1, 4096), "channels of a head"),
    fixed("hidden", &["intermediate_size", "n_inner"], Whole(1, 1 << 18), "width of the feed-forward part"),
    fixed("biases", &["bias"], Truth, "biases in the gpt2 shape"),
    fixed("tied", &["tie_word_embeddings"], Truth, "the head is the token embedding"),
    fixed("dropout", &[], Number(0.0, 0.99), "dropout rate in training"),
    fixed("rope_theta", &[], Number(1.0, 1e12), "base of the rotary positions"),
    fixed("sliding_window", &[], Whole(1, 1 << 20), "a token sees at most this many tokens"),
    fixed(
        "feed_forward",
        &[],
        Word(&["gelu_tanh", "gelu", "swi_glu", "ge_glu", "relu_squared"]),
        "gelu_tanh, gelu, swi_glu, ge_glu or relu_squared",
    ),
];

const KIND: &[Key] = &[fixed(
    "kind",
    &["stage"],
    Word(&["pretrain", "continued", "finetune", "instruct", "rank", "reward", "dpo", "ppo", "grpo"]),
    "pretrain, continued, finetune, instruct, rank, reward, dpo, ppo or grpo",
)];

/// What text stages learn from.
const TEXT: &[Key] = &[
    fixed(
        "data",
        &["dataset", "datasets", "train_file", "path"],
        Sources,
        "files, folders or globs; world:N = N generated stories, world:manuals:N = N pages of manuals",
    ),
    fixed("text_field", &["text_column", "dataset_text_field"], Text, "the field of .jsonl records"),
    fixed("valid", &["val_size", "val_set_size"], Validation, "share of documents held out, or a file"),
    fixed("boundaries", &[], Truth, "documents end with a token, see only themselves, and restart positions"),
];

/// What only a model that begins here has.
const VOCABULARY: &[Key] = &[
    fixed(
        "sampling",
        &[],
        Word(&["epochs", "offsets"]),
        "epochs (every row once an epoch) or offsets (nanoGPT: random places)",
    ),
    fixed("tokenizer", &[], Text, "bpe, chars, or the path of a tokenizer.json"),
    fixed("vocab", &["vocab_size"], Whole(1, 1 << 20), "size of a trained tokenizer"),
    fixed("split", &["pre_tokenizer"], Word(&["gpt2", "qwen2"]), "how a trained tokenizer splits words: gpt2 or qwen2"),
    fixed("vocab_data", &[], Sources, "texts that a trained tokenizer learns from; the stage's data where left out"),
];

/// What holds a model to what it could before.
const REPLAY: &[Key] = &[
    fixed("replay", &[], Number(0.0, 0.9), "share of the rows that are general text"),
    fixed("general", &[], Sources, "the general text; the pretraining stage's where it is left out"),
    free("forgetting", &[], Number(0.0, 100.0), "alarm where the general loss grows by this share; 0 = off"),
];

/// What record stages learn from.
const RECORDS: &[Key] = &[
    fixed(
        "data",
        &["dataset", "datasets", "train_file", "path"],
        Sources,
        "files, folders or globs of records; world:notes:N, world:instructions:N, ...; rankings = the run's own",
    ),
    fixed("valid", &["val_size", "val_set_size"], Validation, "share of prompts held out, or a file"),
    fixed(
        "template",
        &["chat_template"],
        Text,
        "model (the model's own, else ChatML), chatml, plain, or a file of Jinja",
    ),
    fixed("too_long", &[], Number(0.0, 1.0), "share of records that may be left out because they exceed the context"),
];

/// What stages that learn answers have.
const ANSWERS: &[Key] = &[
    fixed(
        "turns",
        &["train_on_turn"],
        Word(&["all", "last"]),
        "which of the assistant's turns are learned: all or last",
    ),
    fixed("texts", &[], Truth, "records of plain text are learned whole; without it they are refused"),
    fixed("packing", &["sample_packing", "pack"], Truth, "lay records end to end; each sees only itself"),
    free(
        "patience",
        &["early_stopping_patience"],
        Whole(0, STEPS),
        "evaluations without a better one before the end; 0 = off",
    ),
];

/// What stages that learn from pairs have.
const PAIRS: &[Key] = &[
    fixed(
        "objective",
        &["loss_type", "pref_loss"],
        Word(&["sigmoid", "ipo", "orpo", "simpo"]),
        "sigmoid (DPO), ipo, orpo or simpo",
    ),
    fixed("beta", &["pref_beta", "dpo_beta"], Number(1e-6, 1e3), "how hard the model is held to where it began"),
    fixed("label_smoothing", &[], Number(0.0, 0.5), "share of the labels that are taken to be wrong"),
];

/// What is continued where answers are sampled.
const PROMPTS: &[Key] = &[
    fixed("data", &["dataset", "datasets", "path"], Sources, "files, folders or globs of prompts; world:prompts:N"),
    fixed(
        "template",
        &["chat_template"],
        Text,
        "model (the model's own, else ChatML), chatml, plain, or a file of Jinja",
    ),
    fixed(
        "completions",
        &["num_generations", "k"],
        Whole(1, 64),
        "answers to each prompt: 4 to rank, 1 for PPO, 8 for GRPO",
    ),
    fixed(
        "completion_tokens",
        &["max_completion_length", "response_length", "max_new_tokens"],
        Whole(1, 1 << 20),
        "tokens of the longest answer",
    ),
];

/// How answers are drawn.
const DRAWING: &[Key] = &[
    fixed("temperature", &[], Number(0.01, 100.0), "of the answers"),
    fixed("top_p", &[], Number(0.01, 1.0), "of the answers"),
];

/// Who puts answers in order.
const RANKING: &[Key] = &[
    fixed(
        "rater",
        &[],
        Word(&["people", "simulated"]),
        "people (the ranking page), or simulated, which says that it is",
    ),
    free("min_rankings", &[], Whole(1, 1 << 30), "rankings that suffice; each item once where left out"),
    free("overlap", &[], Number(0.0, 1.0), "share of items that two raters get"),
    free("repeats", &[], Number(0.0, 1.0), "share of items that a rater sees again, unannounced"),
];

/// How rankings become a reward.
const REWARDING: &[Key] = &[
    fixed(
        "ranking",
        &[],
        Word(&["pairs", "pairs_and_ties", "plackett_luce"]),
        "pairs, pairs_and_ties (a tie is half a label for each side), or plackett_luce",
    ),
    fixed("margin", &[], Number(0.0, 1e3), "by how much the better answer is to lead"),
    fixed("centering", &["center_rewards_coefficient"], Number(0.0, 1e3), "pulls rewards to a mean of 0"),
    fixed("veto", &[], List, "flags that put an answer below all without them"),
    fixed("flag_weights", &[], Weights(0.0, 1e3), "how often pairs with a flagged answer count"),
];

/// How rounds of answers are rewarded and cut.
const ROLLOUTS: &[Key] = &[
    fixed(
        "rewards",
        &["reward_funcs"],
        List,
        "model, exact:COLUMN, regex:PATTERN, length:MOST:SOFT; \"0.5 length:64:16\" weighs",
    ),
    fixed("windows", &["num_mini_batches"], Whole(1, 1 << 16), "windows that a round is cut into"),
    fixed("round_epochs", &["num_ppo_epochs"], Whole(1, 1 << 10), "how often a round is learned"),
    fixed("mask_truncated", &["mask_truncated_completions"], Truth, "learn nothing of answers that were cut"),
    fixed("kl_limit", &[], Number(0.0, 1e6), "KL in nats a token above which a round is sick"),
];

/// PPO.
const PPO: &[Key] = &[
    fixed("kl_coef", &["init_kl_coef"], Number(0.0, 1e3), "how hard the model is held to where it began"),
    fixed("kl_estimator", &[], Word(&["k1", "k3"]), "k1 or k3"),
    fixed("kl_target", &["ppo_target"], Number(1e-6, 1e6), "adapts kl_coef to this KL in nats an answer"),
    fixed("missing_eos_penalty", &[], Number(0.0, 1e6), "taken off the score of an answer that did not end"),
    fixed("score_clip", &[], Number(1e-6, 1e6), "scores are kept within this"),
    fixed("whiten_rewards", &[], Truth, "divide rewards by their spread"),
    fixed("gamma", &[], Number(0.0, 1.0), "discount"),
    fixed("lambda", &["lam"], Number(0.0, 1.0), "of GAE"),
    fixed("cliprange", &[], Number(1e-6, 1e3), "the ratio's way to either side of 1"),
    fixed("cliprange_value", &[], Number(1e-6, 1e3), "the value's way to either side of the old one"),
    fixed("vf_coef", &[], Number(0.0, 1e3), "weight of the critic's loss"),
    fixed("critic_rate", &[], Number(0.0, 1e3), "the critic's learning rate as a share of the policy's"),
];

/// GRPO.
const GRPO: &[Key] = &[
    fixed("beta", &[], Number(0.0, 1e3), "how hard the model is held to where it began; 0 = not"),
    fixed("epsilon", &[], Number(0.0, 1e3), "the ratio's way below 1"),
    fixed("epsilon_high", &[], Number(0.0, 1e3), "its way above; as below where left out"),
    fixed(
        "normalizer",
        &["loss_type"],
        Word(&["grpo", "bnpo", "dr_grpo", "dapo"]),
        "how tokens are averaged: grpo, bnpo, dr_grpo or dapo",
    ),
    fixed("importance", &["importance_sampling_level"], Word(&["token", "sequence"]), "token, or sequence (GSPO)"),
    fixed("scale_rewards", &[], Word(&["group", "batch", "none"]), "what a reward is divided by"),
];

/// How a stage trains.
const TRAINING: &[Key] = &[
    fixed("batch", &["batch_size", "train_batch_size"], Whole(1, 1 << 20), "rows of an optimizer step"),
    free(
        "micro_batch",
        &["micro_batch_size", "per_device_train_batch_size"],
        Whole(0, 1 << 20),
        "rows computed at once; 0 = all that fit",
    ),
    free("steps", &["max_steps", "iters", "num_iterations"], Whole(1, STEPS), "optimizer steps"),
    free("epochs", &["num_epochs", "num_train_epochs"], Number(1e-6, 1e9), "passes over the data instead of steps"),
    free("minutes", &[], Number(0.05, 1e7), "time instead of steps: measured and frozen at the first start"),
    free("learning_rate", &["lr"], Number(0.0, 10.0), "peak learning rate"),
    free(
        "schedule",
        &["lr_scheduler", "lr_scheduler_type"],
        Word(&["constant", "cosine", "linear", "wsd"]),
        "constant, cosine, linear or wsd",
    ),
    free("floor", &["min_lr_ratio"], Number(0.0, 1.0), "last learning rate as a share of the peak"),
    free("warmup", &["warmup_steps"], Whole(0, STEPS), "steps of warm-up"),
    free("decay_share", &[], Number(0.0, 1.0), "share of the steps in which wsd falls"),
    free("beta1", &["adam_beta1"], Number(0.0, 0.999_999), "AdamW"),
    free("beta2", &["adam_beta2"], Number(0.0, 0.999_999_9), "AdamW"),
    free("eps", &["adam_epsilon"], Number(1e-12, 1.0), "AdamW"),
    free("weight_decay", &[], Number(0.0, 10.0), "AdamW, on matrices only"),
    free("clip", &["max_grad_norm", "grad_clip"], Number(0.0, 1e9), "largest norm of the gradient; 0 = off"),
    free(
        "recompute",
        &["gradient_checkpointing", "grad_checkpoint"],
        Truth,
        "compute activations twice instead of keeping them",
    ),
    free("save_every", &["save_steps"], Whole(0, STEPS), "steps between checkpoints; 0 = by time"),
    free("save_minutes", &[], Number(0.01, 1e7), "minutes between checkpoints"),
    free("vault_every", &[], Whole(0, STEPS), "steps between copies in memory; 0 = chosen"),
    free("milestones", &[], Whole(0, 1000), "checkpoints kept over the whole run"),
];

/// What stages have that draw from a table, and measure by another.
const STEADY: &[Key] = &[
    free("eval_every", &["eval_steps"], Whole(0, STEPS), "steps between evaluations; 0 = at the end"),
    free("prefetch", &["dataloader_prefetch_factor"], Whole(0, 64), "windows prepared ahead"),
];

/// Which samples are shown, and how they are drawn.
const SAMPLING: &[Key] = &[
    free("sample_every", &[], Whole(0, STEPS), "steps between samples; 0 = at the end"),
    free("prompts", &[], List, "texts continued now and then"),
    free("sample_tokens", &["max_new_tokens"], Whole(0, 1 << 20), "length of a sample"),
    free("temperature", &[], Number(0.0, 100.0), "of samples"),
    free("top_p", &[], Number(0.0, 1.0), "of samples"),
];

/// The keys of a `[[stage]]` of a kind, in the order in which they are shown.
pub fn of(kind: Kind) -> &'static [&'static [Key]] {
    match kind {
        Kind::Pretrain => &[KIND, TEXT, VOCABULARY, TRAINING, STEADY, SAMPLING],
        Kind::Continued => &[KIND, TEXT, REPLAY, TRAINING, STEADY, SAMPLING],
        Kind::Finetune | Kind::Instruct => &[KIND, RECORDS, ANSWERS, TRAINING, STEADY, SAMPLING],
        Kind::Rank => &[KIND, PROMPTS, DRAWING, RANKING],
        Kind::Reward => &[KIND, RECORDS, REWARDING, TRAINING, STEADY],
        Kind::Dpo => &[KIND, RECORDS, PAIRS, TRAINING, STEADY, SAMPLING],
        Kind::Ppo => &[KIND, PROMPTS, DRAWING, ROLLOUTS, PPO, TRAINING],
        Kind::Grpo => &[KIND, PROMPTS, DRAWING, ROLLOUTS, GRPO, TRAINING],
    }
}

impl Key {
    /// Is it written so?
    pub fn is(&self, written: &str) -> bool {
        self.name == written || self.aliases.contains(&written)
    }
}

/// A value as it stands in a TOML file.
pub fn shown(value: &Value) -> String {
    value.to_string()
}
