//! GRPO: the policy writes several completions of each prompt and learns from those that earn more than the others.
//!
//! - **Data**: prompts ([`Prompt`](crate::rewards::Prompt)): `{"prompt": "2 + 2 =", "answer": "4"}`; each round the
//!   policy continues some of them ([`Rollout`]).
//! - **Loss**: the clipped ratio to the policy that wrote, times a completion's advantage over its group, in the forms
//!   of GRPO, BNPO, Dr. GRPO, DAPO and GSPO ([`Groups`]); with `beta`, a KL leash to the model at entry.
//! - **Rewards**: rules, functions, or a reward model that reads the same tokens ([`crate::rewards`]).
//! - **Assumptions**: no dropout. A group of one reward teaches nothing and is counted; a completion without a reward
//!   has advantage 0, and that is said.
//! - **Done**: after `steps` steps; the last model is handed on.

use crate::loss::pairs::REFERENCE;
use crate::loss::policy::group::{self, Scale, advantages};
use crate::loss::policy::round::{ADVANTAGE, Groups, OLD, REFERENCE as AT_REFERENCE};
use crate::rollout::{Rollout, column, places};
use pleach_runtime::engine::generation::Generated;
use pleach_runtime::engine::layout::{POLICY, Role, RoleId};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::stage::{Asked, Data, Gather, Loss, Memory, Numbers, Round, Settled, Stage, Voice, Window};
use std::sync::Arc;

/// The stage.
#[derive(Clone)]
pub struct Grpo {
    /// Prompts, completions, rewards.
    pub rollout: Arc<Rollout>,
    /// Options of the objective; with `beta` the reference is beside the policy.
    pub options: group::Grpo,
    /// What a reward is divided by: TRL's default is the group's spread.
    pub scale: Scale,
    /// Keep the reference beside the policy also where `beta` is 0, to watch the KL.
    pub watch_kl: bool,
}

impl Grpo {
    fn has_reference(&self) -> bool {
        self.options.beta != 0.0 || self.watch_kl
    }

    /// The roles in their order: the policy, the reference where there is one, the reward model (a config with a scalar
    /// head) where a reward asks for it. The entries of a plan are to be in the same order.
    pub fn roles(&self, policy: &ModelConfig, reward: Option<&ModelConfig>) -> Vec<Role> {
        let temperature = self.rollout.sampling.temperature;
        let mut roles = vec![Role { temperature, ..Role::policy(policy) }];
        if self.has_reference() {
            roles.push(Role { temperature, ..Role::reference(policy) });
        }
        roles.extend(reward.map(|config| Role { name: "reward".into(), ..Role::reference(config) }));
        roles
    }

    /// The place of the reward model among the roles, and in the windows.
    fn model(&self) -> Option<usize> {
        self.rollout.wants_model().then(|| 1 + usize::from(self.has_reference()))
    }
}

impl Gather for Grpo {
    fn draws(&self) -> u64 {
        self.rollout.draws()
    }

    fn ask(&mut self, round: u64) -> Result<Asked, Fault> {
        Ok(self.rollout.ask(round))
    }

    fn windows(&mut self, round: u64, written: &[Generated]) -> Result<Vec<Window>, Fault> {
        self.rollout.rows(round, written)
    }

    fn under(&self) -> Vec<RoleId> {
        [Some(POLICY), self.has_reference().then_some(REFERENCE), self.model()].into_iter().flatten().collect()
    }

    fn settle(
        &mut self,
        round: u64,
        written: &[Generated],
        mut windows: Vec<Window>,
        memory: &Memory,
    ) -> Result<Settled, Fault> {
        let (rollout, reference) = (&self.rollout, self.has_reference().then_some(1));
        let scored = rollout.score(round, written, &windows, self.model());
        let weights: Vec<f64> = rollout.rewards.iter().map(|reward| reward.weight).collect();
        let worth = advantages(&scored.rewards, &weights, rollout.completions, self.scale)?;
        let mut looks = rollout.look(written, &windows, reference);
        looks.alarms.extend(scored.alarms);
        let (mut memory, groups) = (memory.clone(), rollout.batch);
        let flat = worth.groups_without_spread as f64 / groups as f64;
        let verdict = rollout.verdict(&mut looks, worth.unrewarded, flat, &mut memory);
        let mut earned = worth.advantages.iter();
        for window in &mut windows {
            let mut given: Numbers = vec![[0.0; 4]; window.tokens()];
            for place in places(window) {
                let advantage = earned.next().copied().unwrap_or(0.0) as f32;
                let old = column(window, 0, place.clone());
                let reference = reference.map(|list| column(window, list, place.clone()));
                for (index, at) in place.enumerate() {
                    given[at][OLD] = old[index] as f32;
                    given[at][AT_REFERENCE] = reference.as_ref().map_or(0.0, |list| list[index] as f32);
                    given[at][ADVANTAGE] = advantage;
                }
            }
            window.given = vec![Arc::new(given)];
        }
        let metrics = [worth.metrics, scored.metrics, looks.metrics].concat();
        let shown = rollout.shown(round, written, &worth.rewards);
        Ok(Settled { windows, metrics, memory, alarms: looks.alarms, shown, verdict })
    }

    fn window(&mut self, round: &Round, index: u64) -> Result<Window, Fault> {
        self.rollout.window(round, index)
    }
}

impl Stage for Grpo {
    fn name(&self) -> &'static str {
        "grpo"
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        if self.rollout.completions < 2 {
            let detail = format!("{} completion of each prompt: nothing to compare with", self.rollout.completions);
            return Err(Refusal::new("a group is too small", detail, "take at least two completions").into());
        }
        Ok(self.rollout.data(&format!("{:?} {:?}", self.options, self.scale))?)
    }

    fn loss(&self) -> Box<dyn Loss> {
        Box::new(Groups { options: self.options, moved_limit: self.rollout.moved_limit })
    }

    fn gather(&self) -> Option<Box<dyn Gather>> {
        Some(Box::new(self.clone()))
    }

    fn voice(&self) -> Voice {
        let voice = crate::model::voice(&self.rollout.tokenizer, self.rollout.template.as_deref(), Vec::new());
        Voice { eos: self.rollout.eos.clone(), ..voice }
    }
}
