//! What a stage's values say together: what excludes, exceeds or ignores one another is refused. The range of each
//! value alone stands in [`super::keys`].

use super::{Kind, RANKINGS, StageChoice, Valid, WHAT};
use crate::data::may_hold_json;
use crate::ranking::COMPLETIONS;
use pleach_runtime::fault::Refusal;
use toml::Table;

/// Tokens of all windows that wait in the system's memory at most, the one in work among them: 3 GiB at 12 bytes each.
const WINDOW_TOKENS: usize = 1 << 28;

impl StageChoice {
    /// Refuses what cannot be or would change nothing; `given` holds what was typed, `before` are the stages above.
    pub(super) fn check(&self, given: &Table, before: &[StageChoice], context: usize) -> Result<(), Refusal> {
        let refuse = |detail: String, hint: &str| Err(Refusal::new(WHAT, format!("[[stage]]: {detail}"), hint));
        if self.data.list().is_empty() {
            return refuse("\"data\" is missing".into(), "name a file, a folder, a glob, or \"world:20000\"");
        }
        if self.kind == Kind::Pretrain && !before.is_empty() {
            let hint = "a run is pretrained first, and once; kind = \"continued\" learns more text";
            return refuse("kind = \"pretrain\" stands below another stage".into(), hint);
        }
        self.check_ranks(before)?;
        let lengths = [self.steps.is_some(), self.epochs.is_some(), self.minutes.is_some()];
        if lengths.iter().filter(|&&given| given).count() > 1 {
            return refuse("steps, epochs and minutes exclude each other".into(), "keep one of them");
        }
        if self.micro_batch > self.batch {
            let detail = format!("micro_batch = {} is more than batch = {}", self.micro_batch, self.batch);
            return refuse(detail, "micro-batches cut a batch: lower micro_batch, or raise batch");
        }
        // Each factor is bounded by its range, so that the product fits.
        if self.batch * context * (self.prefetch + 1) > WINDOW_TOKENS {
            let detail = format!("batch = {}, context = {context}, prefetch = {}", self.batch, self.prefetch);
            let hint = format!("lower one: batch * context * (prefetch + 1) is at most {WINDOW_TOKENS} tokens");
            return refuse(detail, &hint);
        }
        self.check_idle(given)
    }

    /// What ranking and reinforcement need, as far as it can be told without data: a person should not hear of it after
    /// weeks of work.
    fn check_ranks(&self, before: &[StageChoice]) -> Result<(), Refusal> {
        let refuse = |detail: String, hint: &str| Err(Refusal::new(WHAT, format!("[[stage]]: {detail}"), hint));
        let has = |kind| before.iter().any(|stage| stage.kind == kind);
        if self.kind == Kind::Rank && has(Kind::Rank) {
            return refuse(
                "there are two stages of kind \"rank\"".into(),
                "a run ranks once; begin another run on its model",
            );
        }
        if !self.kind.learns_text() && self.data.list().iter().any(|name| name == RANKINGS) && !has(Kind::Rank) {
            let hint = "put a stage of kind \"rank\" above it, or name a file of rankings or pairs";
            return refuse("data = \"rankings\", and no stage above collects any".into(), hint);
        }
        let answers = self.completions.unwrap_or(4);
        if self.kind == Kind::Rank && !COMPLETIONS.contains(&answers) {
            return refuse(format!("completions = {answers}: people rank 2 to 9 answers"), "take 2 to 9");
        }
        if self.kind == Kind::Grpo && self.completions.is_some_and(|count| count < 2) {
            return refuse("completions = 1: there is nothing to compare an answer with".into(), "take at least 2");
        }
        if matches!(self.kind, Kind::Ppo | Kind::Grpo) {
            if !self.batch.is_multiple_of(self.windows) {
                let detail = format!("windows = {} do not divide batch = {}", self.windows, self.batch);
                return refuse(detail, "choose windows that divide the batch");
            }
            for reward in &self.rewards {
                let model = matches!(crate::rewards::Reward::parse(reward)?.rule, crate::rewards::Rule::Model);
                if model && !has(Kind::Reward) {
                    let hint = "put a stage of kind \"reward\" above it, or name other rewards";
                    return refuse("the reward \"model\", and no stage above trains one".into(), hint);
                }
            }
        }
        if self.patience > 0 && self.eval_every == Some(0) {
            let hint = "leave patience out, or set eval_every";
            return refuse("patience counts evaluations, and eval_every = 0 makes one".into(), hint);
        }
        Ok(())
    }

    /// Refuses keys that would change nothing beside the others.
    fn check_idle(&self, given: &Table) -> Result<(), Refusal> {
        let refuse = |detail: String, hint: &str| Err(Refusal::new(WHAT, format!("[[stage]]: {detail}"), hint));
        for key in ["overlap", "repeats"] {
            if given.contains_key(key) && self.rater == "simulated" {
                let detail = format!("the simulated rater has no {key}");
                return refuse(detail, "leave it out, or set rater = \"people\"");
            }
        }
        let sigmoid_like = ["sigmoid", "simpo"].contains(&self.objective.as_str());
        if given.contains_key("label_smoothing") && !sigmoid_like {
            let detail = format!("objective = \"{}\" has no label_smoothing", self.objective);
            return refuse(detail, "leave it out, or take the objective sigmoid or simpo");
        }
        if given.contains_key("general") && self.replay == 0.0 && self.forgetting == 0.0 {
            let detail = "neither replay nor the forgetting alarm looks at the general text".into();
            return refuse(detail, "leave general out, or set one of the two");
        }
        for key in ["vocab", "split", "vocab_data"] {
            if given.contains_key(key) && self.tokenizer != "bpe" {
                let detail = format!("tokenizer = \"{}\" has no {key}", self.tokenizer);
                return refuse(detail, "leave it out; only tokenizer = \"bpe\" is trained");
            }
        }
        for (key, having, hint) in [
            ("decay_share", self.schedule == "wsd", "leave it out, or set schedule = \"wsd\""),
            ("floor", self.schedule != "constant", "leave it out, or choose a schedule that falls"),
        ] {
            if given.contains_key(key) && !having {
                return refuse(format!("schedule = \"{}\" has no {key}", self.schedule), hint);
            }
        }
        let held_out = match &self.valid {
            Valid::Share(_) => Vec::new(),
            Valid::Files(files) => files.list(),
        };
        let mut sources = self.data.list().into_iter().chain(held_out);
        if given.contains_key("text_field") && !sources.any(|source| may_hold_json(&source)) {
            let detail = "no source has records, so there is no text_field".into();
            return refuse(detail, "leave it out; only .jsonl and .json files have fields");
        }
        Ok(())
    }
}
