//! The roles of a stage's models: who is trained, who only says its numbers, who continues prompts.

use super::shapes::Shapes;
use crate::fault::Refusal;
use crate::model::adapter::{AdapterConfig, same_decoder};
use crate::model::config::{Head, ModelConfig};

/// Number of a role within a layout.
pub type RoleId = usize;

/// The first role of every layout: the model that a stage is about; its samples, evaluation and checkpoints.
pub const POLICY: RoleId = 0;

/// One of the models that a stage keeps on the device at once: the policy, a frozen reference, a critic, ... All share
/// the inputs, the activation memory and the results; where nothing else is said, each has weights of its own.
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
    /// Stands on the weights of an earlier role, which are frozen; a scalar head's score is its own. None: has weights
    /// of its own.
    pub base: Option<RoleId>,
    /// What stands beside its weights, which are frozen then: where trained, only this is (and a scalar head's score).
    pub adapter: Option<AdapterConfig>,
    /// What logits are divided by before the numbers are taken of them: 1, or the temperature that a policy samples at,
    /// whose log-probabilities those of its own samples then are. Above 0.
    pub temperature: f32,
    /// Its share of the learning rate: 1, or a critic's own.
    pub rate: f32,
}

impl Role {
    fn new(name: &str, config: &ModelConfig, [trained, evaluates, generates]: [bool; 3]) -> Role {
        let (name, config) = (name.into(), config.clone());
        let (temperature, rate, base, adapter) = (1.0, 1.0, None, None);
        Role { name, config, trained, evaluates, generates, base, adapter, temperature, rate }
    }
    /// The model that a stage trains; it samples from it too where it has a vocabulary's head.
    pub fn policy(config: &ModelConfig) -> Role {
        Role::new("policy", config, [true, true, config.head == Head::Vocabulary])
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
    /// The same on the weights of an earlier role.
    pub fn on(self, base: RoleId) -> Role {
        Role { base: Some(base), ..self }
    }
    /// The same with an adapter beside its weights.
    pub fn with_adapter(self, adapter: &AdapterConfig) -> Role {
        Role { adapter: Some(adapter.clone()), ..self }
    }
    /// Why number `id` of these roles cannot be laid out at all.
    pub(super) fn refusal(roles: &[Role], id: RoleId) -> Option<Refusal> {
        let role = &roles[id];
        let what = |what: &str| format!("the model \"{}\" {what}", role.name);
        if role.generates && role.config.head == Head::Scalar {
            let detail = "it has a scalar head: it says one value for each token, and no next token";
            let hint = "name a language model; this one is a reward model or a critic";
            return Some(Refusal::new(what("cannot continue prompts"), detail, hint));
        }
        if let Some(refusal) = role.adapter.as_ref().and_then(|adapter| adapter.check(&role.config).err()) {
            return Some(refusal);
        }
        let base = role.base?;
        let below = &roles[base.min(id)];
        let detail = if base >= id || below.base.is_some() {
            "the model below comes first and has weights of its own"
        } else if below.trained && below.adapter.is_none() {
            "the model below is trained as a whole: what stands on it would move with it"
        } else if !same_decoder(&role.config, &below.config) {
            "both have the same decoder, apart from the head"
        } else if role.config.head == Head::Vocabulary && below.config.head == Head::Scalar && !role.config.tied {
            "the model below has no vocabulary's head"
        } else if role.trained && role.adapter.is_none() && role.config.head == Head::Vocabulary {
            "the model below is frozen: without an adapter there is nothing to train"
        } else {
            return None;
        };
        let hint = "give it an adapter on a frozen model, or weights of its own";
        Some(Refusal::new(what(&format!("cannot stand on \"{}\"", below.name)), detail, hint))
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
