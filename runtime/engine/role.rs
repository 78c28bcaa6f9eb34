//! The roles of a stage's models: who is trained, who only says its numbers, who continues prompts.

use super::shapes::Shapes;
use crate::fault::Refusal;
use crate::model::config::{Head, ModelConfig};

/// Number of a role within a layout.
pub type RoleId = usize;

/// The first role of every layout: the model that a stage is about; its samples, evaluation and checkpoints.
pub const POLICY: RoleId = 0;

/// One of the models that a stage keeps on the device at once: the policy, a frozen reference, a critic, ... All share
/// the inputs, the activation memory and the results; each has weights of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// For people: `policy`, `reference`, ...
    pub name: String,
    /// The model. Its context must hold the rows.
    pub config: ModelConfig,
    /// Has gradients, moments, and the programs that use them.
    pub trained: bool,
    /// Has the programs that say its numbers for given tokens.
    pub evaluates: bool,
    /// Has caches, and the programs that continue prompts.
    pub generates: bool,
    /// What logits are divided by before the numbers are taken of them: 1, or the temperature that a policy samples at,
    /// whose log-probabilities those of its own samples then are. Above 0.
    pub temperature: f32,
    /// Its share of the learning rate: 1, or a critic's own.
    pub rate: f32,
}

impl Role {
    fn new(name: &str, config: &ModelConfig, [trained, evaluates, generates]: [bool; 3]) -> Role {
        let (name, config) = (name.into(), config.clone());
        Role { name, config, trained, evaluates, generates, temperature: 1.0, rate: 1.0 }
    }
    /// The model that a stage trains; it samples from it too where it has a vocabulary's head.
    pub fn policy(config: &ModelConfig) -> Role {
        let generates = config.head == Head::Vocabulary;
        Role::new("policy", config, [true, true, generates])
    }
    /// A second model that a stage trains beside its policy: PPO's critic.
    pub fn critic(config: &ModelConfig) -> Role {
        Role::new("critic", config, [true, true, false])
    }
    /// A model that only continues prompts.
    pub fn generator(config: &ModelConfig) -> Role {
        Role::new("model", config, [false, false, true])
    }
    /// A frozen model that only says its numbers.
    pub fn reference(config: &ModelConfig) -> Role {
        Role::new("reference", config, [false, true, false])
    }
    /// Why it cannot be laid out at all.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        if self.generates && self.config.head == Head::Scalar {
            let what = format!("the model \"{}\" cannot continue prompts", self.name);
            let detail = "it has a scalar head: it says one value for each token, and no next token";
            return Some(Refusal::new(what, detail, "name a language model; this one is a reward model or a critic"));
        }
        None
    }
    /// Tokens of the longest row or sequence that it sees, its own context at most.
    pub(super) fn longest(&self, shapes: &Shapes) -> usize {
        let generated = if self.generates { shapes.sequence } else { 0 };
        let longest = if self.evaluates { generated.max(shapes.context) } else { generated };
        let (name, context) = (&self.name, self.config.context);
        assert!((1..=context).contains(&longest), "{longest} tokens for {name}, whose context is {context}");
        longest
    }
}
