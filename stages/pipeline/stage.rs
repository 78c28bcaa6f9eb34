//! A `[[stage]]` of the pipeline file: its kind, and every value with the default that its kind has.

use super::keys::Key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Data by this name are the rankings that the run's own stage collected.
pub const RANKINGS: &str = "rankings";

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
    /// Nothing: people, or who stands in for them, put the model's answers in order.
    Rank,
    /// How good an answer is, from rankings.
    Reward,
    /// Preferred answers rather than others, without a reward model.
    Dpo,
    /// What earns a reward, beside a critic.
    Ppo,
    /// What earns more reward than other answers to the same prompt.
    Grpo,
}

impl Kind {
    /// All of them, in the order of the ladder.
    pub const ALL: [Kind; 9] = [
        Kind::Pretrain,
        Kind::Continued,
        Kind::Finetune,
        Kind::Instruct,
        Kind::Rank,
        Kind::Reward,
        Kind::Dpo,
        Kind::Ppo,
        Kind::Grpo,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pretrain => "pretrain",
            Kind::Continued => "continued",
            Kind::Finetune => "finetune",
            Kind::Instruct => "instruct",
            Kind::Rank => "rank",
            Kind::Reward => "reward",
            Kind::Dpo => "dpo",
            Kind::Ppo => "ppo",
            Kind::Grpo => "grpo",
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

    /// Does it train the model that the next stage goes on with? Else it collects, or trains a model of its own.
    pub fn hands_on(self) -> bool {
        !matches!(self, Kind::Rank | Kind::Reward)
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
            Kind::Rank => (0.0, 0.0),
            Kind::Reward => (0.1, 1e-5),
            Kind::Dpo => (0.03, 1e-6),
            Kind::Ppo | Kind::Grpo => (0.02, 1e-6),
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
    pub rater: String,
    pub min_rankings: Option<u64>,
    pub overlap: f64,
    pub repeats: f64,
    pub ranking: String,
    pub margin: f64,
    pub centering: f64,
    pub veto: Vec<String>,
    pub flag_weights: BTreeMap<String, f64>,
    pub completions: Option<usize>,
    pub completion_tokens: usize,
    pub windows: usize,
    pub round_epochs: usize,
    pub rewards: Vec<String>,
    pub mask_truncated: bool,
    pub kl_limit: f64,
    pub kl_coef: f64,
    pub kl_estimator: String,
    pub kl_target: Option<f64>,
    pub missing_eos_penalty: Option<f64>,
    pub score_clip: Option<f64>,
    pub whiten_rewards: bool,
    pub gamma: f64,
    pub lambda: f64,
    pub cliprange: f64,
    pub cliprange_value: f64,
    pub vf_coef: f64,
    pub critic_rate: f64,
    pub normalizer: String,
    pub importance: String,
    pub scale_rewards: String,
    pub epsilon: f64,
    pub epsilon_high: Option<f64>,
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
        // What is sampled to be learned from is sampled as the model says it.
        let rolls_out = matches!(kind, Kind::Rank | Kind::Ppo | Kind::Grpo);
        StageChoice {
            kind,
            data: match kind {
                Kind::Reward | Kind::Dpo => OneOrMany::One(RANKINGS.into()),
                _ => OneOrMany::Many(Vec::new()),
            },
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
            rater: "people".into(),
            min_rankings: None,
            overlap: 0.1,
            repeats: 0.05,
            ranking: "pairs".into(),
            margin: 0.0,
            centering: 0.0,
            veto: Vec::new(),
            flag_weights: BTreeMap::new(),
            completions: None,
            completion_tokens: 128,
            windows: if kind == Kind::Ppo { 1 } else { 2 },
            round_epochs: if kind == Kind::Ppo { 4 } else { 1 },
            rewards: vec!["model".into()],
            mask_truncated: false,
            kl_limit: 2.0,
            kl_coef: 0.05,
            kl_estimator: "k1".into(),
            kl_target: None,
            missing_eos_penalty: None,
            score_clip: None,
            whiten_rewards: false,
            gamma: 1.0,
            lambda: 0.95,
            cliprange: 0.2,
            cliprange_value: 0.2,
            vf_coef: 0.1,
            critic_rate: 1.0,
            normalizer: "dapo".into(),
            importance: "token".into(),
            scale_rewards: "group".into(),
            epsilon: 0.2,
            epsilon_high: None,
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
            temperature: if rolls_out { 1.0 } else { 0.8 },
            top_p: if rolls_out { 1.0 } else { 0.95 },
        }
    }
}
