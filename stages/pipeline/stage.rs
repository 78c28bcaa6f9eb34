//! A `[[stage]]` of the pipeline file: its kind, and every value with the default that its kind has.

use super::keys::Key;
use serde::{Deserialize, Serialize};

/// One file or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// A single one.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// As a list.
    pub fn list(&self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one.clone()],
            OneOrMany::Many(many) => many.clone(),
        }
    }
}

/// A share of the documents, or a file of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Valid {
    /// In (0, 0.5].
    Share(f64),
    /// Files held out.
    Files(OneOrMany),
}

/// What a stage does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The next token of raw text, from random weights.
    #[default]
    Pretrain,
    /// The same of a domain's text, with a share of the general text.
    Continued,
    /// Answers of one narrow task.
    Finetune,
    /// Answers to many kinds of instruction.
    Instruct,
    /// Preferred answers rather than others, without a reward model.
    Dpo,
}

impl Kind {
    /// All of them, in the order of the ladder.
    pub const ALL: [Kind; 5] = [Kind::Pretrain, Kind::Continued, Kind::Finetune, Kind::Instruct, Kind::Dpo];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pretrain => "pretrain",
            Kind::Continued => "continued",
            Kind::Finetune => "finetune",
            Kind::Instruct => "instruct",
            Kind::Dpo => "dpo",
        }
    }

    /// The kind of this name.
    pub fn of(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Does it learn raw text? Else it learns records.
    pub fn learns_text(self) -> bool {
        matches!(self, Kind::Pretrain | Kind::Continued)
    }

    /// The keys that it may have.
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        super::keys::of(self).iter().copied().flatten()
    }

    /// Its learning rate as a share of the one that the run was pretrained with, and where that is not known.
    fn rate(self) -> (f64, f64) {
        match self {
            Kind::Pretrain => (1.0, 1e-3),
            Kind::Continued => (0.3, 1e-4),
            Kind::Finetune | Kind::Instruct => (0.3, 2e-5),
            Kind::Dpo => (0.03, 1e-6),
        }
    }
}

/// A `[[stage]]`, every value with its default. What its kind has no key for is not looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs, reason = "keys.rs documents every key, and help prints it from there")]
pub struct StageChoice {
    pub kind: Kind,
    pub data: OneOrMany,
    pub valid: Valid,
    pub text_field: String,
    pub tokenizer: String,
    pub vocab: usize,
    pub split: String,
    pub vocab_data: Option<OneOrMany>,
    pub boundaries: bool,
    pub sampling: String,
    pub replay: f64,
    pub general: Option<OneOrMany>,
    pub forgetting: f64,
    pub template: String,
    pub turns: String,
    pub texts: bool,
    pub packing: bool,
    pub too_long: f64,
    pub patience: u64,
    pub objective: String,
    pub beta: Option<f64>,
    pub label_smoothing: f64,
    pub batch: usize,
    pub micro_batch: usize,
    pub steps: Option<u64>,
    pub epochs: Option<f64>,
    pub minutes: Option<f64>,
    pub learning_rate: f64,
    pub schedule: String,
    pub floor: f64,
    pub warmup: Option<u64>,
    pub decay_share: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
    pub clip: f64,
    pub recompute: bool,
    pub eval_every: Option<u64>,
    pub sample_every: Option<u64>,
    pub save_every: u64,
    pub save_minutes: f64,
    pub vault_every: u64,
    pub milestones: u64,
    pub prefetch: usize,
    pub prompts: Vec<String>,
    pub sample_tokens: usize,
    pub temperature: f64,
    pub top_p: f64,
}

impl Default for StageChoice {
    fn default() -> StageChoice {
        StageChoice::of(Kind::default(), None)
    }
}

impl StageChoice {
    /// The defaults of a kind, in a run that was pretrained with a learning rate, if it was.
    pub fn of(kind: Kind, pretrained: Option<f64>) -> StageChoice {
        let text = kind.learns_text();
        let (share, alone) = kind.rate();
        StageChoice {
            kind,
            data: OneOrMany::Many(Vec::new()),
            valid: Valid::Share(if text { 0.1 } else { 0.05 }),
            text_field: "text".into(),
            tokenizer: "bpe".into(),
            vocab: 4096,
            split: "gpt2".into(),
            vocab_data: None,
            boundaries: true,
            sampling: "epochs".into(),
            replay: 0.1,
            general: None,
            forgetting: 0.03,
            template: "model".into(),
            turns: "all".into(),
            texts: false,
            packing: true,
            too_long: 0.05,
            patience: 0,
            objective: "sigmoid".into(),
            beta: None,
            label_smoothing: 0.0,
            batch: 16,
            micro_batch: 0,
            steps: None,
            epochs: None,
            minutes: None,
            learning_rate: pretrained.map_or(alone, |peak| share * peak),
            schedule: "cosine".into(),
            floor: 0.1,
            warmup: None,
            decay_share: 0.2,
            beta1: 0.9,
            beta2: if text { 0.95 } else { 0.999 },
            eps: 1e-8,
            weight_decay: if text { 0.1 } else { 0.0 },
            clip: 1.0,
            recompute: false,
            eval_every: None,
            sample_every: None,
            save_every: 0,
            save_minutes: 10.0,
            vault_every: 0,
            milestones: 10,
            prefetch: 2,
            prompts: Vec::new(),
            sample_tokens: 64,
            temperature: 0.8,
            top_p: 0.95,
        }
    }
}
