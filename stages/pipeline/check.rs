//! What a stage's values say together: what excludes, exceeds or ignores one another is refused. The range of each
//! value alone stands in [`super::keys`].

use super::{Kind, StageChoice, Valid, WHAT};
use crate::data::may_hold_json;
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

    /// Refuses keys that would change nothing beside the others.
    fn check_idle(&self, given: &Table) -> Result<(), Refusal> {
        let refuse = |detail: String, hint: &str| Err(Refusal::new(WHAT, format!("[[stage]]: {detail}"), hint));
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
