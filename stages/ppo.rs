//! PPO: the policy writes, a reward model or rules score what it wrote, and a critic that learns beside it says how
//! much better each token was than expected.
//!
//! - **Data**: prompts ([`Prompt`](crate::rewards::Prompt)): `{"prompt": "How do I greet Mira?"}`; each round the
//!   policy continues some of them ([`Rollout`]).
//! - **Loss**: the clipped ratio to the policy that wrote times GAE's advantages, and the critic's clipped error
//!   ([`ActorCritic`]); a per-token KL to the model at entry is taken off the reward, its coefficient adaptive on
//!   demand.
//! - **Roles**: policy and critic learn in one step, both or neither; reference and reward model are frozen.
//! - **Assumptions**: no dropout. A completion without a score is not learned from, and that is said.
//! - **Done**: after `steps` steps; the last policy is handed on. The critic stays in the checkpoints.

use crate::loss::pairs::REFERENCE;
use crate::loss::policy::ppo::{self, AdaptiveKl, Response, adapt, worth};
use crate::loss::policy::round::{ADVANTAGE, ActorCritic, OLD, REFERENCE as AT_REFERENCE, RETURN, VALUE};
use crate::rewards::totals;
use crate::rollout::{Rollout, column, places};
use pleach_runtime::engine::generation::Generated;
use pleach_runtime::engine::layout::{POLICY, Role, RoleId};
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::stage::{
    Asked, Data, Gather, Loss, Memory, Numbers, Round, Settled, Stage, Verdict, Voice, Window,
};
use std::sync::Arc;

/// The role of the critic.
pub const CRITIC: RoleId = 2;
/// The role of the reward model, where there is one.
pub const REWARD: RoleId = 3;
/// Where the adaptive coefficient stands in the loss's memory.
const COEFFICIENT: &str = "ppo.kl_coef";

/// The stage.
#[derive(Clone)]
pub struct Ppo {
    /// Prompts, completions, rewards.
    pub rollout: Arc<Rollout>,
    /// Options of the objective.
    pub options: ppo::Ppo,
    /// Adapts the KL coefficient from round to round; none keeps it.
    pub adaptive: Option<AdaptiveKl>,
    /// The critic's share of the learning rate: 1, or what OpenRLHF's 9e-6 is to its 1e-6.
    pub critic_rate: f32,
}

/// What is known of one completion.
struct Told {
    policy: Vec<f64>,
    reference: Vec<f64>,
    values: Vec<f64>,
}

impl Ppo {
    /// The roles in their order: policy, reference, critic (the policy's decoder under a scalar head), and the reward
    /// model where a reward asks for it. The entries of a plan are to be in the same order.
    pub fn roles(&self, policy: &ModelConfig, reward: Option<&ModelConfig>) -> Vec<Role> {
        let temperature = self.rollout.sampling.temperature;
        let mut roles = vec![
            Role { temperature, ..Role::policy(policy) },
            Role { temperature, ..Role::reference(policy) },
            Role { rate: self.critic_rate, ..Role::critic(&policy.scalar()) },
        ];
        roles.extend(reward.map(|config| Role { name: "reward".into(), ..Role::reference(config) }));
        roles
    }

    /// The objective at the coefficient of now, and the memory after a round of this KL.
    fn adapted(&self, memory: &Memory) -> ppo::Ppo {
        let now = memory.0.get(COEFFICIENT).and_then(|list| list.first()).copied();
        ppo::Ppo { kl_coefficient: now.unwrap_or(self.options.kl_coefficient), ..self.options }
    }
}

/// The numbers of each completion, window by window.
fn told(windows: &[Window]) -> Vec<Told> {
    let of = |window: &Window| {
        let one = |place: std::ops::Range<usize>| Told {
            policy: column(window, 0, place.clone()),
            reference: column(window, 1, place.clone()),
            // Before each token, and at the end for the whole.
            values: column(window, 2, place.start..place.end + 1),
        };
        places(window).into_iter().map(one).collect::<Vec<_>>()
    };
    windows.iter().flat_map(of).collect()
}

/// Writes what a round found into its windows; a completion without a score is masked.
fn give(windows: &mut [Window], told: &[Told], scores: &[f64], worth: &ppo::Worth) {
    let (mut advantages, mut returns) = (worth.advantages.iter(), worth.returns.iter());
    let mut each = told.iter().zip(scores);
    let next = |list: &mut std::slice::Iter<f64>| list.next().copied().unwrap_or(0.0) as f32;
    for window in windows {
        let places = places(window);
        let (mut given, mut valued): (Numbers, Numbers) =
            (vec![[0.0; 4]; window.tokens()], vec![[0.0; 4]; window.tokens()]);
        for (row, place) in places.into_iter().enumerate() {
            let Some((told, score)) = each.next() else { return };
            if score.is_nan() {
                window.rows[row].weights.fill(0.0);
                continue;
            }
            for (index, value) in told.values.iter().enumerate() {
                valued[place.start + index][VALUE] = *value as f32;
                valued[place.start + index][RETURN] = next(&mut returns);
            }
            for (index, at) in place.enumerate() {
                given[at][OLD] = told.policy[index] as f32;
                given[at][AT_REFERENCE] = told.reference[index] as f32;
                given[at][ADVANTAGE] = next(&mut advantages);
            }
        }
        window.given = vec![Arc::new(given), Arc::new(valued)];
    }
}

impl Gather for Ppo {
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
        let model = self.rollout.wants_model().then_some(REWARD);
        [Some(POLICY), Some(REFERENCE), Some(CRITIC), model].into_iter().flatten().collect()
    }

    fn settle(
        &mut self,
        round: u64,
        written: &[Generated],
        mut windows: Vec<Window>,
        memory: &Memory,
    ) -> Result<Settled, Fault> {
        let rollout = &self.rollout;
        let scored = rollout.score(round, written, &windows, rollout.wants_model().then_some(REWARD));
        let scores = totals(&scored.rewards, &rollout.rewards);
        let told = told(&windows);
        let mut looks = rollout.look(written, &windows, Some(1));
        looks.alarms.extend(scored.alarms);
        let unrewarded = scores.iter().filter(|score| score.is_nan()).count();
        let (mut after, options) = (memory.clone(), self.adapted(memory));
        let mut verdict = rollout.verdict(&mut looks, unrewarded, 0.0, &mut after);
        let mut metrics = vec![("objective/kl_coef".to_string(), options.kl_coefficient)];
        if unrewarded < scores.len() {
            let responses: Vec<Response> = (told.iter().enumerate())
                .filter(|(index, _)| !scores[*index].is_nan())
                .map(|(index, told)| Response {
                    policy: &told.policy,
                    reference: &told.reference,
                    values: &told.values,
                    score: scores[index],
                    ended: written[index].end.is_some(),
                })
                .collect();
            let worth = worth(&responses, &options)?;
            let kl = worth.metrics.iter().find(|(name, _)| name == "objective/kl").map_or(0.0, |(_, kl)| *kl);
            if let Some(adaptive) = &self.adaptive {
                let next = adapt(options.kl_coefficient, kl, responses.len(), adaptive)?;
                after.0.insert(COEFFICIENT.into(), vec![next]);
            }
            drop(responses);
            give(&mut windows, &told, &scores, &worth);
            metrics.extend(worth.metrics);
        } else if verdict == Verdict::Apply {
            verdict = Verdict::NextRound("no completion has a score".into());
        }
        let ended = written.iter().filter(|one| one.end.is_some()).count();
        metrics.push(("val/num_eos_tokens".into(), ended as f64));
        metrics.extend([scored.metrics, looks.metrics].concat());
        let shown = rollout.shown(round, written, &scores);
        Ok(Settled { windows, metrics, memory: after, alarms: looks.alarms, shown, verdict })
    }

    fn window(&mut self, round: &Round, index: u64) -> Result<Window, Fault> {
        self.rollout.window(round, index)
    }
}

impl Stage for Ppo {
    fn name(&self) -> &'static str {
        "ppo"
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        if self.rollout.mask_truncated {
            let detail = "cut completions are masked, and PPO scores them";
            let hint = "set missing_eos_penalty instead of mask_truncated_completions";
            return Err(Refusal::new("PPO cannot be begun", detail, hint).into());
        }
        Ok(self.rollout.data(&format!("{:?} {:?}", self.options, self.adaptive))?)
    }

    fn loss(&self) -> Box<dyn Loss> {
        let moved_limit = self.rollout.moved_limit;
        Box::new(ActorCritic { options: self.options, critic: CRITIC, moved_limit })
    }

    fn gather(&self) -> Option<Box<dyn Gather>> {
        Some(Box::new(self.clone()))
    }

    fn voice(&self) -> Voice {
        let voice = crate::model::voice(&self.rollout.tokenizer, self.rollout.template.as_deref(), Vec::new());
        Voice { eos: self.rollout.eos.clone(), ..voice }
    }
}
