//! What became of the records of a data set: counted, and refused where it is too much.

use super::Encoded;
use pleach_runtime::fault::Refusal;
use serde::Serialize;
use std::collections::HashSet;

/// Hashes of records that are remembered for finding the same ones: 16 MiB times eight.
const REMEMBERED: usize = 1 << 24;

/// What is taken, and from which share on a data set is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Largest number of ids of a record.
    pub context: usize,
    /// Whether a record whose answer does not fit is cut (its end is then not learnt) or left out.
    pub cut: bool,
    /// Largest share of records whose prompt alone fills the context, 0 to 1.
    pub long_prompts: f64,
    /// Largest share of records that are cut or left out for their length, 0 to 1.
    pub long_answers: f64,
    /// Whether a mask of 100 % (all is learnt) is wanted.
    pub all: bool,
    /// Whether a mask of 0 % (nothing is learnt) is wanted.
    pub none: bool,
    /// Whether answers may lack an end mark.
    pub unended: bool,
}

impl Limits {
    /// The usual ones: at most 5 % of the prompts and 10 % of the answers too long.
    pub fn of(context: usize) -> Limits {
        Limits { context, cut: false, long_prompts: 0.05, long_answers: 0.1, all: false, none: false, unended: false }
    }
}

/// Counts over a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Records seen.
    pub records: u64,
    /// Records that are trained on.
    pub kept: u64,
    /// Of the kept ones, those whose answer was cut.
    pub truncated: u64,
    /// Left out because the answer does not fit.
    pub answer_too_long: u64,
    /// Left out because the prompt alone fills the context.
    pub prompt_too_long: u64,
    /// Left out because nothing in them is learnt.
    pub untrained: u64,
    /// Answers that say nothing.
    pub empty_answers: u64,
    /// Records with the same ids as an earlier one; they are kept.
    pub duplicates: u64,
    /// Ids of the kept records.
    pub tokens: u64,
    /// Of those, ids that are learnt.
    pub trained_tokens: u64,
    /// Answers that are learnt.
    pub turns: u64,
    /// Of those, answers without an end mark.
    pub unended: u64,
    /// Tokens across the beginning of an answer.
    pub straddling: u64,
    /// Records, and answers of preferences, whose mask both ways gave alike.
    pub exact: u64,
    /// Answers beside which words of the template are learnt.
    pub contained: u64,
    /// Answers without a template: text after text.
    pub plain: u64,
    /// The longest record, in ids.
    pub longest: u64,
    #[serde(skip)]
    seen: HashSet<u64>,
}

impl Tally {
    /// Counts a record; what is trained on of it, if anything.
    pub fn take(&mut self, record: Encoded, limits: &Limits) -> Option<Encoded> {
        self.take_all(vec![record], limits)?.pop()
    }

    /// Counts a record of several answers to one prompt: all of them are taken, or none.
    pub fn take_all(&mut self, answers: Vec<Encoded>, limits: &Limits) -> Option<Vec<Encoded>> {
        self.records += 1;
        let longest = answers.iter().map(|one| one.ids.len()).max().unwrap_or(0);
        self.longest = self.longest.max(longest as u64);
        self.empty_answers += answers.iter().map(|one| u64::from(one.empty)).sum::<u64>();
        self.remember(&answers);
        if answers.iter().any(|one| one.trained_count() == 0) && !limits.none {
            self.untrained += 1;
            return None;
        }
        let too_long = || answers.iter().filter(|one| one.ids.len() > limits.context);
        if too_long().any(|one| one.prompt_length() >= limits.context) {
            self.prompt_too_long += 1;
            return None;
        }
        let fits = too_long().next().is_none();
        if !fits && !limits.cut {
            self.answer_too_long += 1;
            return None;
        }
        self.truncated += u64::from(!fits);
        self.kept += 1;
        let answers: Vec<Encoded> = answers.into_iter().map(|one| one.cut(limits.context)).collect();
        for one in &answers {
            self.tokens += one.ids.len() as u64;
            self.trained_tokens += one.trained_count() as u64;
            self.turns += u64::from(one.turns);
            self.unended += u64::from(one.unended);
            self.straddling += u64::from(one.straddling);
            match one.agreement {
                super::Agreement::Exact => self.exact += 1,
                super::Agreement::Contained => self.contained += 1,
                super::Agreement::Plain => self.plain += 1,
            }
        }
        Some(answers)
    }

    fn remember(&mut self, answers: &[Encoded]) {
        let mut hasher = blake3::Hasher::new();
        for one in answers {
            hasher.update(&(one.ids.len() as u64).to_le_bytes());
            hasher.update(&one.ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>());
        }
        let digest = hasher.finalize();
        let hash = u64::from_le_bytes(std::array::from_fn(|at| digest.as_bytes()[at]));
        if self.seen.contains(&hash) {
            self.duplicates += 1;
        } else if self.seen.len() < REMEMBERED {
            self.seen.insert(hash);
        }
    }

    /// Share of the kept ids that is learnt, 0 to 1.
    pub fn trained_share(&self) -> f64 {
        self.trained_tokens as f64 / self.tokens.max(1) as f64
    }

    /// Whether a data set like this may be trained on.
    ///
    /// # Errors
    /// A refusal with the counts: too many prompts or answers too long, nothing or everything learnt, no end marks.
    pub fn verdict(&self, limits: &Limits) -> Result<(), Refusal> {
        let refuse = |what: &str, detail: String, hint: &str| Err(Refusal::new(what, detail, hint));
        let share = |count: u64| count as f64 / self.records.max(1) as f64;
        if self.records == 0 {
            return refuse("the data hold no record", "0 records".into(), "check the sources");
        }
        let percent = |count: u64| format!("{count} of {} records ({:.1} %)", self.records, 100.0 * share(count));
        if share(self.prompt_too_long) > limits.long_prompts {
            let detail = format!(
                "{} have a prompt of {} tokens or more; the longest record has {}; allowed are {:.1} %",
                percent(self.prompt_too_long),
                limits.context,
                self.longest,
                100.0 * limits.long_prompts
            );
            let hint = "raise the context, shorten or leave out these prompts, or allow a larger share";
            return refuse("prompts do not fit into the context", detail, hint);
        }
        let long = self.truncated + self.answer_too_long;
        if share(long) > limits.long_answers {
            let detail = format!(
                "{} are longer than {} tokens, the longest has {}; allowed are {:.1} %",
                percent(long),
                limits.context,
                self.longest,
                100.0 * limits.long_answers
            );
            let hint = "raise the context, split the conversations, or allow a larger share";
            return refuse("answers do not fit into the context", detail, hint);
        }
        if (self.trained_tokens == 0 || self.kept == 0) && !limits.none {
            let detail = format!("0 of {} tokens are learnt; {}", self.tokens, percent(self.untrained));
            let hint = "check roles and train flags: only answers of the assistant are learnt";
            return refuse("nothing would be learnt", detail, hint);
        }
        if self.trained_tokens == self.tokens && !limits.all && self.kept > 0 {
            let detail = format!("all {} tokens are learnt, prompts too", self.tokens);
            let hint = "check prompt and answer, or ask for it: a mask of 100 % is continued pretraining";
            return refuse("everything would be learnt", detail, hint);
        }
        if self.unended > 0 && !limits.unended {
            let detail = format!("{} of {} answers have no end mark that is learnt", self.unended, self.turns);
            let hint =
                "use a template that ends each answer with a special token, or allow it: the model will not stop";
            return refuse("answers would have no end", detail, hint);
        }
        Ok(())
    }
}
