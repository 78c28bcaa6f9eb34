//! The stages of learning from people: ranking, the reward model, PPO, GRPO.

use super::{Launch, Making, Ready, Work, folder_of};
use crate::data::examples::{Origin, visit};
use crate::data::mask::{ChatEncoder, Turns};
use crate::data::records::{Ranked, Record, Said};
use crate::data::table::Draws;
use crate::data::template::Template;
use crate::data::world::preferences::SimulatedRater;
use crate::grpo::Grpo;
use crate::loss::policy::group::{self, Level, Normalizer, Scale};
use crate::loss::policy::ppo::{self, AdaptiveKl, Estimator};
use crate::loss::ranking::{Form, Ranking, Ties};
use crate::pipeline::{Kind, StageChoice, Valid};
use crate::ppo::Ppo;
use crate::rank::{Rank, Rater};
use crate::ranking::Options;
use crate::reward::{Flags, RankedSet, Reward as RewardStage, split};
use crate::rewards::{Prompt, Reward, Rule};
use crate::rollout::Rollout;
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::engine::layout::Role;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::model::config::ModelConfig;
use std::path::PathBuf;
use std::sync::Arc;

/// Sequences that are continued at once.
const STREAMS: usize = 32;

/// Prompts with what a person is shown of each, and the template that they needed.
type Prompts = (Vec<(Said, Prompt)>, Option<Arc<Template>>);

impl Making<'_> {
    /// People put the model's answers in order.
    pub(super) fn rank(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = self.pipeline.stages[at].clone();
        let (prompts, template) = self.asked(&choice)?;
        let seed = self.pipeline.seed;
        let rater = match choice.rater.as_str() {
            "simulated" => Rater::Simulated(SimulatedRater::new(seed)),
            _ => Rater::People,
        };
        let options = Options { seed, overlap: choice.overlap, repeats: choice.repeats, ..Options::default() };
        let rank = Rank {
            name: self.name(at),
            run: self.folder.to_path_buf(),
            completions: choice.completions.unwrap_or(4),
            sampling: self.drawing(&choice),
            eos: crate::model::stops(&self.tokenizer, template.as_deref()),
            enough: choice.min_rankings,
            // Nobody but the simulated rater shares its items.
            options: if choice.rater == "simulated" {
                Options { overlap: 0.0, repeats: 0.0, ..options }
            } else {
                options
            },
            rater,
            somebody: self.somebody,
            tokenizer: self.tokenizer.clone(),
            prompts,
        };
        let longest = rank.prompts.iter().map(|(_, prompt)| prompt.ids.len()).max().unwrap_or(0);
        let roles = vec![Role::generator(&self.config)];
        let mut ready = Ready::new(self.name(at), choice, roles, Work::Collect(Arc::new(rank)));
        ready.generates = Some((STREAMS, longest));
        Ok(ready)
    }

    /// The reward model.
    pub(super) fn reward(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = self.pipeline.stages[at].clone();
        let config = ModelConfig { dropout: 0.0, ..self.config.scalar() };
        let (sets, left_out, template) = self.sets(&choice)?;
        let (train, validation) = match &choice.valid {
            Valid::Share(share) => split(sets, *share, self.pipeline.seed),
            Valid::Files(files) => {
                let files = self.origins(files)?;
                (sets, self.sets_of(&choice, &files)?.0)
            }
        };
        let form = match choice.ranking.as_str() {
            "plackett_luce" => Form::PlackettLuce,
            "pairs_and_ties" => Form::Pairs(Ties::Half),
            _ => Form::Pairs(Ties::Drop),
        };
        let epoch = (train.len() as u64).div_ceil(choice.batch as u64);
        let mut notes = vec![format!("{} rankings to learn from, {} to validate with", train.len(), validation.len())];
        if left_out > 0 {
            notes.push(format!("{left_out} rankings exceed the context and are left out"));
        }
        let recipe = RewardStage {
            train: train.into(),
            validation: validation.into(),
            draws: Draws { context: config.context, batch: choice.batch, seed: self.pipeline.seed },
            ranking: Ranking { form, centering: choice.centering },
            margin: choice.margin,
            flags: Flags { veto: choice.veto.clone(), weights: choice.flag_weights.clone() },
            tokenizer: self.tokenizer.clone(),
            template,
        };
        let mut ready = Ready::new(self.name(at), choice, vec![Role::policy(&config)], Work::Train(Arc::new(recipe)));
        (ready.epoch, ready.notes) = (epoch, notes);
        Ok(ready)
    }

    pub(super) fn ppo(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = self.pipeline.stages[at].clone();
        let rollout = self.rollout(at, &choice, 1)?;
        let options = ppo::Ppo {
            kl_coefficient: choice.kl_coef,
            kl_estimator: if choice.kl_estimator == "k3" { Estimator::K3 } else { Estimator::K1 },
            missing_eos_penalty: choice.missing_eos_penalty,
            score_clip: choice.score_clip,
            whiten_rewards: choice.whiten_rewards,
            gamma: choice.gamma,
            lambda: choice.lambda,
            clip: choice.cliprange,
            clip_value: choice.cliprange_value,
            value_coefficient: choice.vf_coef,
        };
        let adaptive = choice.kl_target.map(|target| AdaptiveKl { target, ..AdaptiveKl::default() });
        let (config, model) = self.configs(at, &rollout)?;
        let recipe = Ppo { rollout: Arc::new(rollout), options, adaptive, critic_rate: choice.critic_rate as f32 };
        let roles = recipe.roles(&config, model.as_ref());
        Ok(self.rolled(at, choice, roles, &recipe.rollout.clone(), Work::Train(Arc::new(recipe))))
    }

    pub(super) fn grpo(&mut self, at: usize) -> Result<Ready, Fault> {
        let choice = self.pipeline.stages[at].clone();
        let rollout = self.rollout(at, &choice, 8)?;
        let normalizer = match choice.normalizer.as_str() {
            "grpo" => Normalizer::Grpo,
            "bnpo" => Normalizer::Bnpo,
            "dr_grpo" => Normalizer::DrGrpo { completion_length_max: choice.completion_tokens },
            _ => Normalizer::Dapo { tokens: None },
        };
        let options = group::Grpo {
            normalizer,
            level: if choice.importance == "sequence" { Level::Sequence } else { Level::Token },
            epsilon: choice.epsilon,
            epsilon_high: choice.epsilon_high.unwrap_or(choice.epsilon),
            beta: choice.beta.unwrap_or(0.0),
        };
        let scale = match choice.scale_rewards.as_str() {
            "batch" => Scale::Batch,
            "none" => Scale::None,
            _ => Scale::Group,
        };
        let (config, model) = self.configs(at, &rollout)?;
        let recipe = Grpo { rollout: Arc::new(rollout), options, scale, watch_kl: true };
        let roles = recipe.roles(&config, model.as_ref());
        Ok(self.rolled(at, choice, roles, &recipe.rollout.clone(), Work::Train(Arc::new(recipe))))
    }

    /// The policy's config, and the reward model's where a reward asks for it.
    fn configs(&self, at: usize, rollout: &Rollout) -> Result<(ModelConfig, Option<ModelConfig>), Refusal> {
        let config = ModelConfig { dropout: 0.0, ..self.config.clone() };
        let judged = self.pipeline.stages[..at].iter().any(|stage| stage.kind == Kind::Reward);
        if rollout.wants_model() && !judged {
            let detail = format!("stage {} has the reward \"model\", and no stage above trains one", at + 1);
            let hint = "put a stage of kind \"reward\" above it, or name other rewards";
            return Err(Refusal::new("there is no reward model", detail, hint));
        }
        let scalar = rollout.wants_model().then(|| config.scalar());
        Ok((config, scalar))
    }

    fn rolled(&self, at: usize, choice: StageChoice, roles: Vec<Role>, rollout: &Rollout, work: Work) -> Ready {
        let longest = rollout.prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
        let mut ready = Ready::new(self.name(at), choice, roles, work);
        // A round's windows, until every prompt was asked once.
        let rounds = (rollout.prompts.len() as u64).div_ceil(rollout.batch as u64);
        ready.epoch = rounds * rollout.draws();
        ready.generates = Some((STREAMS, longest));
        ready
    }

    fn rollout(&mut self, at: usize, choice: &StageChoice, completions: usize) -> Result<Rollout, Fault> {
        let (prompts, template) = self.asked(choice)?;
        let rollout = Rollout {
            prompts: prompts.into_iter().map(|(_, prompt)| prompt).collect(),
            batch: choice.batch,
            completions: choice.completions.unwrap_or(completions),
            windows: choice.windows,
            epochs: choice.round_epochs,
            context: self.config.context,
            sampling: self.drawing(choice),
            // Two on-policy stages of a run do not draw the same.
            seed: self.pipeline.seed ^ (at as u64) << 32,
            eos: crate::model::stops(&self.tokenizer, template.as_deref()),
            rewards: choice.rewards.iter().map(|reward| rule(reward)).collect::<Result<_, _>>()?,
            mask_truncated: choice.mask_truncated,
            kl_limit: choice.kl_limit,
            moved_limit: None,
            tokenizer: self.tokenizer.clone(),
            template,
        };
        rollout.check()?;
        Ok(rollout)
    }

    fn drawing(&self, choice: &StageChoice) -> Sampling {
        Sampling {
            temperature: choice.temperature as f32,
            top_p: choice.top_p as f32,
            seed: self.pipeline.seed,
            max_tokens: choice.completion_tokens,
            ..Sampling::default()
        }
    }

    /// The chat template of a stage, and why it is none where that is so: texts need none.
    fn chat(&mut self, choice: &StageChoice) -> Result<(Template, Option<Refusal>), Refusal> {
        let folder = super::entry::given(self.pipeline, self.base).unwrap_or_default();
        match Template::load(&self.template_of(choice), &folder, &self.tokenizer) {
            Ok(template) => Ok((template, None)),
            Err(refusal) => Ok((Template::new("no template", "", Vec::new())?, Some(refusal))),
        }
    }

    /// The prompts of a stage, as many as leave room for an answer.
    fn asked(&mut self, choice: &StageChoice) -> Result<Prompts, Fault> {
        let origins = self.origins(&choice.data)?;
        let tokenizer = self.tokenizer.clone();
        let (template, lacking) = self.chat(choice)?;
        let encoder = ChatEncoder::new(&tokenizer, &template, Turns::All);
        let room = self.config.context.saturating_sub(choice.completion_tokens);
        let (mut prompts, mut long, mut chats) = (Vec::new(), 0, false);
        visit(&origins, self.base, &mut |record| {
            let (said, columns) = match record {
                Record::Prompt(it) => (it.prompt, it.columns),
                Record::Completion(it) => (it.prompt, serde_json::Map::new()),
                Record::Pair(it) => (it.prompt, serde_json::Map::new()),
                Record::Ranked(it) => (it.prompt, serde_json::Map::new()),
                Record::Unpaired(it) => (it.prompt, serde_json::Map::new()),
                Record::Text(_) | Record::Conversation(_) => {
                    let detail = "a text or a whole conversation has no prompt to answer";
                    let hint = "give records of {\"prompt\": ...}";
                    return Err(Refusal::new("these records are no prompts", detail, hint).into());
                }
            };
            chats |= needs(&said, &lacking)?;
            let (ids, text) = (encoder.prompt(&said, None)?, said.words());
            if ids.len() > room {
                long += 1;
                return Ok(());
            }
            prompts.push((said, Prompt { text, ids, columns }));
            Ok(())
        })?;
        let all = prompts.len() + long;
        if prompts.is_empty() || long as f64 > LONG_PROMPTS * all as f64 {
            let detail = format!("{long} of {all} prompts leave no room for {} tokens", choice.completion_tokens);
            let hint = "lower completion_tokens, shorten the prompts, or take a longer context";
            return Err(Refusal::new("there is too little to answer", detail, hint).into());
        }
        Ok((prompts, chats.then(|| Arc::new(template))))
    }

    /// The rankings of a reward model, how many were left out for their length, and the template that they needed.
    fn sets(&mut self, choice: &StageChoice) -> Result<(Vec<RankedSet>, usize, Option<Arc<Template>>), Fault> {
        let origins = self.origins(&choice.data)?;
        self.sets_of(choice, &origins)
    }

    fn sets_of(
        &mut self,
        choice: &StageChoice,
        origins: &[Origin],
    ) -> Result<(Vec<RankedSet>, usize, Option<Arc<Template>>), Fault> {
        let tokenizer = self.tokenizer.clone();
        let (template, lacking) = self.chat(choice)?;
        let encoder = ChatEncoder::new(&tokenizer, &template, Turns::All);
        let context = self.config.context;
        let (mut sets, mut long, mut chats) = (Vec::new(), 0, false);
        visit(origins, self.base, &mut |record| {
            let ranked: Ranked = match record {
                Record::Ranked(it) => it,
                Record::Pair(it) => it.into_ranked(),
                other => {
                    let detail = format!("\"{}\" has no order", other.words().chars().take(60).collect::<String>());
                    let hint = "give rankings, or pairs of chosen and rejected";
                    return Err(Refusal::new("a reward model learns from preferences", detail, hint).into());
                }
            };
            chats |= needs(&ranked.prompt, &lacking)?;
            let set = RankedSet::encode(&ranked, &encoder)?;
            match set.completions.iter().any(|one| one.ids.len() > context) {
                true => long += 1,
                false => sets.push(set),
            }
            Ok(())
        })?;
        let all = sets.len() + long;
        if sets.is_empty() || long as f64 > choice.too_long * all as f64 {
            let detail = format!("{long} of {all} rankings exceed the context of {context} tokens");
            let hint = "raise too_long, drop them, or take a longer context";
            return Err(Refusal::new("there is too little to learn from", detail, hint).into());
        }
        Ok((sets, long, chats.then(|| Arc::new(template))))
    }
}

/// Does a prompt go through the chat template? Refused where there is none.
fn needs(prompt: &Said, lacking: &Option<Refusal>) -> Result<bool, Refusal> {
    match (prompt, lacking) {
        (Said::Messages(_), Some(refusal)) => Err(refusal.clone()),
        (said, _) => Ok(matches!(said, Said::Messages(_))),
    }
}

/// Share of the prompts that may leave no room for an answer.
const LONG_PROMPTS: f64 = 0.05;

/// A reward as it is written: `model`, `exact:answer`, `regex:^yes`, `length:64:16`, each with a weight before it if
/// one is wanted: `0.5 length:64:16`.
fn rule(text: &str) -> Result<Reward, Refusal> {
    let refuse = || {
        let hint = "write model, exact:COLUMN, regex:PATTERN or length:MOST:SOFT, and a weight before it if you want";
        Refusal::new("could not read a reward", format!("\"{text}\""), hint)
    };
    let (weight, name) = match text.split_once(' ') {
        Some((weight, rest)) if weight.parse::<f64>().is_ok() => (weight.parse().unwrap_or(1.0), rest.trim()),
        _ => (1.0, text.trim()),
    };
    let rule = match name.split_once(':') {
        None if name == "model" => Rule::Model,
        Some(("exact", column)) if !column.is_empty() => Rule::Exact { column: column.into() },
        Some(("regex", pattern)) => Rule::matches(pattern)?,
        Some(("length", rest)) => {
            let (most, soft) = rest.split_once(':').ok_or_else(refuse)?;
            let number = |text: &str| text.parse::<usize>().map_err(|_| refuse());
            Rule::Length { most: number(most)?, soft: number(soft)? }
        }
        _ => return Err(refuse()),
    };
    Ok(Reward { weight, ..Reward::new(name, rule) })
}

impl Launch {
    /// The newest stage of a kind above stage `at`: its folder in the run.
    pub(super) fn above(&self, at: usize, is: impl Fn(Kind) -> bool) -> Option<PathBuf> {
        let found = (0..at).rev().find(|&before| is(self.pipeline.stages[before].kind))?;
        Some(self.folder.join("stages").join(folder_of(found, self.pipeline.stages[found].kind)))
    }
}
