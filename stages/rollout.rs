//! What on-policy stages share: prompts that the policy continues, the rows of what it wrote, and what people must
//! hear of a round.
//!
//! A round is `batch` prompts with `completions` each, cut into `windows` windows of whole prompts, which are learned
//! `epochs` times: first as they were looked at, so that the first ratios are exactly 1, then in other mixtures. All of
//! it is a function of the seed and the round's number.
//!
//! A row is a prompt with its completion and the mark that ended it. Its last token is read too, though nothing follows
//! it: there a reward model says its score, and a critic what the whole is worth.

use crate::data::Tokenizer;
use crate::data::random::{Permutation, halves, philox};
use crate::data::template::Template;
use crate::loss::numeric::k3;
use crate::loss::policy::round::learned;
use crate::rewards::{Prompt, Reward, Rule, Scored, Written, model_scores, score};
use pleach_runtime::engine::generation::{Generated, Sampling};
use pleach_runtime::fault::{Fault, FaultKind, Refusal};
use pleach_runtime::stage::{Asked, Data, Group, Memory, Numbers, Round, Row, Verdict, Window};
use std::ops::Range;
use std::sync::Arc;

/// Rounds in a row that may be sick before the run halts: the first is told, the second dropped, the third halts.
const SICK_ROUNDS: f64 = 3.0;
/// Share of groups without spread above which little is learned (axolotl's guide to GRPO).
const FLAT_LIMIT: f64 = 0.8;
/// Mean entropy in nats a token below which a policy says one thing only (the same).
const ENTROPY_LEAST: f64 = 0.05;
/// Completions of a round that people see.
const SHOWN: usize = 2;

/// The prompts of an on-policy stage, and how they are continued.
pub struct Rollout {
    /// The prompts.
    pub prompts: Arc<[Prompt]>,
    /// Prompts of a round.
    pub batch: usize,
    /// Completions of each prompt.
    pub completions: usize,
    /// Windows that a round is cut into; must divide `batch`.
    pub windows: usize,
    /// How often each window of a round is learned.
    pub epochs: usize,
    /// Tokens of the longest row: a prompt with its completion.
    pub context: usize,
    /// How completions are drawn; the seed is made of `seed` and the round.
    pub sampling: Sampling,
    /// Key of the order of prompts and of all completions.
    pub seed: u64,
    /// Tokens that end a completion.
    pub eos: Vec<u32>,
    /// What completions earn.
    pub rewards: Vec<Reward>,
    /// Learn nothing of completions that were cut.
    pub mask_truncated: bool,
    /// KL to the reference in nats a token (k3) above which a round is sick; axolotl's guide says 2.
    pub kl_limit: f64,
    /// `policy/approxkl_avg` above which the rest of a round is dropped; none learns it in any case.
    pub moved_limit: Option<f64>,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template that the prompts were encoded with, if they needed one.
    pub template: Option<Arc<Template>>,
}

/// What a round's completions look like, whatever they earn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looks {
    /// completions/..., by TRL's names.
    pub metrics: Vec<(String, f64)>,
    /// What is not as it should be.
    pub alarms: Vec<String>,
    /// Mean k3 of KL(policy || reference) in nats a token, where there is a reference.
    pub kl: Option<f64>,
}

impl Rollout {
    /// Refuses what cannot be gathered.
    ///
    /// # Errors
    /// A refusal that names the number to change.
    pub fn check(&self) -> Result<(), Refusal> {
        let refuse = |detail: String, hint: &str| Err(Refusal::new("completions cannot be gathered", detail, hint));
        let room = self.context.saturating_sub(self.sampling.max_tokens);
        if self.prompts.is_empty() || self.rewards.is_empty() {
            let detail = format!("{} prompts and {} rewards", self.prompts.len(), self.rewards.len());
            return refuse(detail, "name a file of prompts and at least one reward");
        }
        if self.batch == 0 || self.completions == 0 || self.epochs == 0 || self.sampling.max_tokens == 0 {
            return refuse("prompts, completions, epochs or new tokens are 0".into(), "each must be at least 1");
        }
        if self.windows == 0 || !self.batch.is_multiple_of(self.windows) {
            let detail = format!("{} prompts of a round in {} windows", self.batch, self.windows);
            return refuse(detail, "take a number of windows that divides the number of prompts");
        }
        if !(self.sampling.temperature > 0.0 && self.sampling.temperature.is_finite()) {
            let detail = format!("temperature is {}: all completions would be one", self.sampling.temperature);
            return refuse(detail, "set a temperature above 0");
        }
        if let Some(reward) = self.rewards.iter().find(|reward| !reward.weight.is_finite()) {
            return refuse(format!("reward {} has weight {}", reward.name, reward.weight), "set a number");
        }
        match self.prompts.iter().position(|prompt| prompt.ids.is_empty() || prompt.ids.len() > room) {
            None => Ok(()),
            Some(at) => {
                let (have, new) = (self.prompts[at].ids.len(), self.sampling.max_tokens);
                let detail = format!("prompt {} has {have} tokens; {new} new ones leave room for {room}", at + 1);
                refuse(detail, "shorten or drop it, take fewer new tokens, or a longer context")
            }
        }
    }

    /// Whether a reward model is asked.
    pub fn wants_model(&self) -> bool {
        self.rewards.iter().any(|reward| matches!(reward.rule, Rule::Model))
    }

    /// Windows that are drawn from a round.
    pub fn draws(&self) -> u64 {
        (self.windows * self.epochs) as u64
    }

    /// The data of the stage: it is drawn from rounds, and nothing is measured. `options` says what else a round
    /// depends on.
    ///
    /// # Errors
    /// As [`Rollout::check`].
    pub fn data(&self, options: &str) -> Result<Box<dyn Data>, Refusal> {
        self.check()?;
        let token_bytes = self.tokenizer.byte_lengths().into();
        Ok(Box::new(Unmeasured { token_bytes, fingerprint: self.fingerprint(options) }))
    }

    fn fingerprint(&self, options: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        for prompt in self.prompts.iter() {
            hasher.update(&(prompt.ids.len() as u64).to_le_bytes());
            prompt.ids.iter().for_each(|id| {
                hasher.update(&id.to_le_bytes());
            });
            hasher.update(serde_json::Value::Object(prompt.columns.clone()).to_string().as_bytes());
        }
        let rewards: Vec<_> = self.rewards.iter().map(|reward| (&reward.name, reward.weight)).collect();
        let numbers = [self.batch, self.completions, self.windows, self.epochs, self.context];
        let rest = (numbers, &self.sampling, self.seed, &self.eos, self.mask_truncated);
        hasher.update(format!("{rest:?} {rewards:?} {options}").as_bytes());
        hasher.finalize().to_hex()[..16].to_string()
    }

    /// Prompt number `at` of a round: each epoch over the prompts has another order.
    fn prompt(&self, round: u64, at: usize) -> &Prompt {
        let (count, place) = (self.prompts.len() as u64, round * self.batch as u64 + at as u64);
        let key = self.seed.wrapping_add((place / count).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        &self.prompts[Permutation::new(count, key).at(place % count) as usize]
    }

    /// What the policy is to continue: each prompt so many times, one after the other.
    pub fn ask(&self, round: u64) -> Asked {
        let [low, high] = halves(round);
        let word = philox(halves(self.seed), [low, high, 0, 0x0207_0010]);
        let sampling = Sampling { seed: u64::from(word[1]) << 32 | u64::from(word[0]), ..self.sampling.clone() };
        let of = |at: usize| std::iter::repeat_n(self.prompt(round, at).ids.clone(), self.completions);
        Asked { prompts: (0..self.batch).flat_map(of).collect(), sampling, eos: self.eos.clone() }
    }

    /// The rows of what it wrote, in windows of whole prompts.
    ///
    /// # Errors
    /// A fault where it is not what was asked for.
    pub fn rows(&self, round: u64, written: &[Generated]) -> Result<Vec<Window>, Fault> {
        let (all, per) = (self.batch * self.completions, self.batch / self.windows);
        if written.len() != all {
            let what = format!("{} completions where {all} were asked for", written.len());
            return Err(Fault::new(FaultKind::Actor, what));
        }
        let row = |index: usize| {
            let (prompt, one) = (&self.prompt(round, index / self.completions).ids, &written[index]);
            let ids = prompt.iter().chain(&one.tokens).chain(&one.end);
            let (first, length) = (prompt.len() - 1, prompt.len() + one.tokens.len() + usize::from(one.end.is_some()));
            let learned = |at: usize| at >= first && at + 1 < length && (one.end.is_some() || !self.mask_truncated);
            Row {
                // One id more, which nothing predicts.
                tokens: ids.copied().chain([0]).collect(),
                weights: (0..length).map(|at| f32::from(u8::from(learned(at)))).collect(),
                segments: vec![0; length],
                key: round * all as u64 + index as u64,
            }
        };
        let window = |window: usize| {
            let first = window * per * self.completions;
            let rows = (first..first + per * self.completions).map(row).collect();
            let group = |at: usize| Group { rows: at * self.completions..(at + 1) * self.completions, facts: vec![] };
            Window { groups: (0..per).map(group).collect(), ..Window::new(self.context, rows) }
        };
        Ok((0..self.windows).map(window).collect())
    }

    /// Window `index` of a round: in the first epoch as it was looked at, later in another mixture of prompts.
    ///
    /// # Errors
    /// A fault where the round is not one of this rollout.
    pub fn window(&self, round: &Round, index: u64) -> Result<Window, Fault> {
        let (epoch, at) = (index / self.windows as u64, (index % self.windows as u64) as usize);
        if round.windows.len() != self.windows {
            let what = format!("a round of {} windows where there are {}", round.windows.len(), self.windows);
            return Err(Fault::new(FaultKind::Actor, what));
        }
        if epoch == 0 || self.windows == 1 {
            return Ok(round.windows[at].clone());
        }
        let per = self.batch / self.windows;
        let word = philox(halves(self.seed), [round.number as u32, epoch as u32, 0, 0x0207_0011]);
        let order = Permutation::new(self.batch as u64, u64::from(word[1]) << 32 | u64::from(word[0]));
        let picks = (at * per..(at + 1) * per).map(|place| order.at(place as u64) as usize);
        Ok(mixed(round, picks.map(|prompt| (prompt / per, prompt % per))))
    }

    /// What completions earn; `model` is the place of the reward model's numbers in [`Window::given`].
    pub fn score(&self, round: u64, written: &[Generated], windows: &[Window], model: Option<usize>) -> Scored {
        let texts: Vec<String> = written.iter().map(|one| self.tokenizer.decode(&one.tokens)).collect();
        let prompt = |index: usize| self.prompt(round, index / self.completions);
        let list = written.iter().zip(&texts).enumerate().map(|(index, (one, text))| Written {
            prompt: prompt(index),
            ids: &one.tokens,
            text,
            ended: one.end.is_some(),
        });
        let list: Vec<Written> = list.collect();
        let model = model.map(|given| model_scores(windows, given));
        score(&list, &self.rewards, model.as_deref())
    }

    /// A few prompts with what was written, and what it earned.
    pub fn shown(&self, round: u64, written: &[Generated], rewards: &[f64]) -> Vec<(String, String)> {
        let one = |index: usize| {
            let text = self.tokenizer.decode(&written[index].tokens);
            (self.prompt(round, index / self.completions).text.clone(), format!("{text} [{:.3}]", rewards[index]))
        };
        (0..written.len()).step_by(self.completions.max(1)).take(SHOWN).map(one).collect()
    }

    /// Looks at a round's completions. `given` has the policy's numbers first, and the reference's at `reference`.
    pub fn look(&self, written: &[Generated], windows: &[Window], reference: Option<usize>) -> Looks {
        let mut out = Looks::default();
        let lengths: Vec<f64> =
            written.iter().map(|one| (one.tokens.len() + usize::from(one.end.is_some())) as f64).collect();
        let ended: Vec<f64> =
            written.iter().zip(&lengths).filter(|(one, _)| one.end.is_some()).map(|(_, length)| *length).collect();
        let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
        let mut put = |name: &str, value: f64| out.metrics.push((format!("completions/{name}"), value));
        put("mean_length", mean(&lengths));
        put("min_length", lengths.iter().copied().fold(f64::INFINITY, f64::min));
        put("max_length", lengths.iter().copied().fold(0.0, f64::max));
        put("clipped_ratio", 1.0 - ended.len() as f64 / written.len() as f64);
        put("mean_terminated_length", mean(&ended));
        if ended.is_empty() && !self.eos.is_empty() {
            let what = format!("none of {} completions ended by itself", written.len());
            out.alarms.push(format!("{what} within {} tokens", self.sampling.max_tokens));
        }
        let (mut entropy, mut kl, mut tokens) = (0.0, 0.0, 0usize);
        for (window, place) in windows.iter().flat_map(|window| places(window).into_iter().map(move |at| (window, at)))
        {
            for at in place {
                let policy = &window.given[0][at];
                entropy += f64::from(policy[2]);
                let reference = reference.map(|given| f64::from(window.given[given][at][0]));
                kl += reference.map_or(0.0, |reference| k3(f64::from(policy[0]), reference).0);
                tokens += 1;
            }
        }
        out.kl = reference.filter(|_| tokens > 0).map(|_| kl / tokens as f64);
        let entropy = entropy / tokens.max(1) as f64;
        if tokens > 0 && entropy < ENTROPY_LEAST {
            out.alarms.push(format!(
                "the policy's entropy is {entropy:.4} nats a token; below {ENTROPY_LEAST} it says one thing only"
            ));
        }
        out
    }

    /// What becomes of a round by its KL and its rewards: a first sick one is told, a second in a row dropped, a third
    /// halts the run. One without any reward is dropped at once: it teaches nothing.
    pub fn verdict(&self, looks: &mut Looks, unrewarded: usize, flat: f64, memory: &mut Memory) -> Verdict {
        let all = self.batch * self.completions;
        if unrewarded > 0 {
            let what = format!("{unrewarded} of {all} completions got no reward");
            looks.alarms.push(format!("{what}; their advantage is 0"));
        }
        if flat > FLAT_LIMIT {
            let what = format!("{:.0} % of the prompts have completions of one reward", 100.0 * flat);
            looks.alarms.push(format!("{what}; nothing is learned from them"));
        }
        let over = looks.kl.filter(|kl| !(*kl <= self.kl_limit));
        if let Some(kl) = over {
            looks.alarms.push(format!("KL to the reference is {kl:.3} nats a token; the limit is {}", self.kl_limit));
        }
        let bare = unrewarded == all;
        let mut worst = 0.0f64;
        for (key, sick) in [("health.kl_rounds", over.is_some()), ("health.bare_rounds", bare)] {
            let count = memory.0.entry(key.into()).or_insert(vec![0.0]);
            count[0] = if sick { count[0] + 1.0 } else { 0.0 };
            worst = worst.max(count[0]);
        }
        let why = looks.alarms.last().cloned().unwrap_or_default();
        match worst {
            sick if sick >= SICK_ROUNDS => Verdict::Halt(format!("{sick} rounds in a row: {why}")),
            sick if sick > 1.0 || bare => Verdict::NextRound(why),
            _ => Verdict::Apply,
        }
    }
}

/// Where the numbers of each completion of a window lie.
pub fn places(window: &Window) -> Vec<Range<usize>> {
    window.rows.iter().zip(window.places()).map(|(row, place)| learned(row, &place)).collect()
}

/// Column 0 of one of a window's lists, at some places.
pub fn column(window: &Window, given: usize, places: Range<usize>) -> Vec<f64> {
    window.given[given][places].iter().map(|numbers| f64::from(numbers[0])).collect()
}

/// A window of groups of a round's windows, by window and group.
fn mixed(round: &Round, picks: impl Iterator<Item = (usize, usize)>) -> Window {
    let lists = round.windows[0].given.len();
    let mut out = Window::new(round.windows[0].context, Vec::new());
    let mut given = vec![Numbers::new(); lists];
    for (window, group) in picks.map(|(window, group)| (&round.windows[window], group)) {
        let (group, places) = (&window.groups[group], window.places());
        let rows = group.rows.clone();
        out.groups.push(Group { rows: out.rows.len()..out.rows.len() + rows.len(), facts: group.facts.clone() });
        for (list, from) in given.iter_mut().zip(&window.given) {
            list.extend_from_slice(&from[places[rows.start].start..places[rows.end - 1].end]);
        }
        out.rows.extend(window.rows[rows].iter().cloned());
    }
    out.given = given.into_iter().map(Arc::new).collect();
    out
}

/// The data of a stage that draws from rounds and measures nothing.
struct Unmeasured {
    token_bytes: Arc<[u32]>,
    fingerprint: String,
}

impl Data for Unmeasured {
    fn window(&mut self, _: u64) -> Result<Window, Fault> {
        Err(Fault::new(FaultKind::Actor, "an on-policy stage draws from rounds"))
    }
    fn evaluation_sets(&self) -> Vec<(String, usize)> {
        Vec::new()
    }
    fn evaluation(&mut self, _: usize, _: usize) -> Result<Window, Fault> {
        Ok(Window::new(1, Vec::new()))
    }
    fn token_bytes(&self) -> Arc<[u32]> {
        self.token_bytes.clone()
    }
    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::tokenizer::characters;
    use pleach_runtime::engine::generation::Ended;
    use std::collections::BTreeSet;

    fn rollout() -> Rollout {
        let prompt = |i: u32| Prompt { text: i.to_string(), ids: vec![i, 1], columns: serde_json::Map::new() };
        Rollout {
            prompts: (0..10).map(prompt).collect(),
            batch: 4,
            completions: 3,
            windows: 2,
            epochs: 3,
            context: 8,
            sampling: Sampling { max_tokens: 4, ..Sampling::default() },
            seed: 5,
            eos: vec![2],
            rewards: vec![Reward::new("length", Rule::Length { most: 4, soft: 2 })],
            mask_truncated: false,
            kl_limit: 2.0,
            moved_limit: None,
            tokenizer: Arc::new(characters(&"abc".chars().collect()).unwrap()),
            template: None,
        }
    }

    fn written(count: usize) -> Vec<Generated> {
        let one = |i: usize| Generated {
            tokens: vec![3; i % 3 + 1],
            log_probabilities: vec![0.0; i % 3 + 1],
            ended: if i % 3 == 2 { Ended::Length } else { Ended::Eos },
            end: (i % 3 != 2).then_some(2),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_round_is_a_function_of_its_number_and_an_epoch_asks_every_prompt_once() {
        let rollout = rollout();
        let firsts = |round| rollout.ask(round).prompts.iter().step_by(3).map(|ids| ids[0]).collect::<Vec<_>>();
        assert_eq!(rollout.ask(7), rollout.ask(7));
        assert_ne!(rollout.ask(0).sampling.seed, rollout.ask(1).sampling.seed);
        let two_epochs: Vec<u32> = (0..5).flat_map(firsts).collect();
        for epoch in two_epochs.chunks(10) {
            assert_eq!(epoch.iter().collect::<BTreeSet<_>>().len(), 10, "{epoch:?}");
        }
        assert_ne!(two_epochs[..10], two_epochs[10..]);
    }

    #[test]
    fn rows_learn_the_completion_and_its_end_and_read_the_last_token() {
        let mut rollout = rollout();
        let windows = rollout.rows(0, &written(12)).unwrap();
        let rows: Vec<&Row> = windows.iter().flat_map(|window| &window.rows).collect();
        assert_eq!((windows.len(), rows.len(), windows[0].groups.len()), (2, 12, 2));
        assert_eq!(rows[0].tokens[1..], [1, 3, 2, 0]);
        assert_eq!(rows[0].weights, [0.0, 1.0, 1.0, 0.0], "one token and the end");
        assert_eq!(rows[2].tokens[1..], [1, 3, 3, 3, 0]);
        assert_eq!(rows[2].weights, [0.0, 1.0, 1.0, 1.0, 0.0], "three tokens, cut");
        assert_eq!(places(&windows[0])[..2], [1..3, 5..8]);
        rollout.mask_truncated = true;
        let masked = rollout.rows(0, &written(12)).unwrap();
        assert_eq!(masked[0].rows[2].weights, [0.0; 5]);
        assert!(rollout.rows(0, &written(11)).is_err());
    }

    #[test]
    fn later_epochs_mix_the_prompts_of_a_round_and_keep_what_is_known_of_them() {
        let rollout = rollout();
        let mut windows = rollout.rows(0, &written(12)).unwrap();
        for window in &mut windows {
            // Of each token, its row's key.
            let keys = window.rows.iter().flat_map(|row| vec![[row.key as f32, 0.0, 0.0, 0.0]; row.len()]);
            window.given = vec![Arc::new(keys.collect())];
        }
        let round = Round { number: 0, draws: rollout.draws(), windows: windows.clone(), metrics: vec![] };
        assert_eq!(rollout.draws(), 6);
        let epoch = |epoch: u64| (0..2).map(|at| rollout.window(&round, 2 * epoch + at).unwrap()).collect::<Vec<_>>();
        assert_eq!(epoch(0), windows);
        let keys = |windows: &[Window]| -> Vec<u64> {
            windows.iter().flat_map(|window| window.rows.iter().map(|row| row.key)).collect()
        };
        let mixtures: BTreeSet<Vec<u64>> = (0..20).map(|at| keys(&epoch(at))).collect();
        assert!(mixtures.len() > 4, "{mixtures:?}");
        for windows in (1..4).map(epoch) {
            assert_eq!(keys(&windows).into_iter().collect::<BTreeSet<_>>(), (0..12).collect());
            for window in &windows {
                let known: Vec<f32> = window.given[0].iter().map(|numbers| numbers[0]).collect();
                let wanted: Vec<f32> = window.rows.iter().flat_map(|row| vec![row.key as f32; row.len()]).collect();
                assert_eq!((known, window.groups.len()), (wanted, 2));
            }
        }
    }
}
