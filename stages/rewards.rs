//! What a completion earns: rules that anybody can read, a reward model, or a function of one's own.
//!
//! A reward that is not a number does not apply (TRL's rule): the completion keeps what other functions say of it, and
//! one that no function rewarded teaches nothing. Infinite rewards are treated so too, and both are said in words.

use pleach_runtime::fault::Refusal;
use pleach_runtime::stage::Window;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A prompt that the policy continues.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// As people see it.
    pub text: String,
    /// As the model sees it.
    pub ids: Vec<u32>,
    /// What else its record says: the right answer, for one.
    pub columns: Map<String, Value>,
}

/// One completion.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// What it continues.
    pub prompt: &'a Prompt,
    /// Its tokens, the end mark left out.
    pub ids: &'a [u32],
    /// The same as text.
    pub text: &'a str,
    /// It ended by itself, and was not cut.
    pub ended: bool,
}

/// A function of one's own: NaN where it does not apply.
pub type Function = Arc<dyn Fn(&Written) -> f64 + Send + Sync>;

/// How a completion is rewarded.
#[derive(Clone)]
pub enum Rule {
    /// 1 if the text is that of a column of the prompt's record, blanks at both ends apart; else 0. Does not apply
    /// where the record has no such column.
    Exact {
        /// The column: `answer`.
        column: String,
    },
    /// 1 if the pattern is found in the text, else 0.
    Matches(regex::Regex),
    /// DAPO's soft punishment of length (Yu et al. 2025, eq. 13), in tokens: 0 up to `most - soft`, falling evenly to
    /// -1 at `most`, -1 beyond.
    Length {
        /// Tokens of the longest completion that is not punished in full.
        most: usize,
        /// Tokens over which the punishment grows.
        soft: usize,
    },
    /// The reward model's score.
    Model,
    /// A function of one's own.
    Function(Function),
}

impl Rule {
    /// A pattern, refused in words where it is none. Matching takes time linear in the text, whatever the pattern.
    ///
    /// # Errors
    /// A refusal with the place of the mistake.
    pub fn matches(pattern: &str) -> Result<Rule, Refusal> {
        let wrong = |error: regex::Error| {
            let hint = "write a regular expression without look-around and back-references";
            Refusal::new("a reward's pattern cannot be read", error.to_string(), hint)
        };
        regex::Regex::new(pattern).map(Rule::Matches).map_err(wrong)
    }

    fn score(&self, written: &Written, model: Option<f64>) -> f64 {
        match self {
            Rule::Exact { column } => match written.prompt.columns.get(column) {
                None | Some(Value::Null) => f64::NAN,
                Some(Value::String(wanted)) => f64::from(u8::from(wanted.trim() == written.text.trim())),
                Some(wanted) => {
                    // A number or a truth value as JSON writes it.
                    let wanted = wanted.to_string();
                    f64::from(u8::from(wanted == written.text.trim()))
                }
            },
            Rule::Matches(pattern) => f64::from(u8::from(pattern.is_match(written.text))),
            Rule::Length { most, soft } => {
                let over = (written.ids.len() + soft) as f64 - *most as f64;
                -(over / (*soft).max(1) as f64).clamp(0.0, 1.0)
            }
            Rule::Model => model.unwrap_or(f64::NAN),
            Rule::Function(function) => function(written),
        }
    }
}

/// A rule with its name and its weight.
#[derive(Clone)]
pub struct Reward {
    /// For people and metrics.
    pub name: String,
    /// What its values are multiplied by before they are added up.
    pub weight: f64,
    /// The rule.
    pub rule: Rule,
}

impl Reward {
    /// With weight 1.
    pub fn new(name: impl Into<String>, rule: Rule) -> Reward {
        Reward { name: name.into(), weight: 1.0, rule }
    }

    /// A reward as it is written: `model`, `exact:answer`, `regex:^yes`, `length:64:16`, each with a weight before it
    /// if one is wanted: `0.5 length:64:16`.
    ///
    /// # Errors
    /// A refusal that names what can be written.
    pub fn parse(text: &str) -> Result<Reward, Refusal> {
        let refuse = || {
            let hint =
                "write model, exact:COLUMN, regex:PATTERN or length:MOST:SOFT, and a weight before it if you want";
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
}

/// The rewards of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// (completions, rules), row-major; NaN where a rule does not apply.
    pub rewards: Vec<f64>,
    /// rewards/NAME/mean and rewards/NAME/std, of the completions that a rule applies to.
    pub metrics: Vec<(String, f64)>,
    /// Infinite rewards, by the rule's name, in words.
    pub alarms: Vec<String>,
}

/// Rewards completions; `model` has the reward model's score of each, where there is one.
pub fn score(written: &[Written], rules: &[Reward], model: Option<&[f64]>) -> Scored {
    let mut out = Scored { rewards: Vec::with_capacity(written.len() * rules.len()), metrics: vec![], alarms: vec![] };
    for (index, one) in written.iter().enumerate() {
        let model = model.map(|scores| scores[index]);
        out.rewards.extend(rules.iter().map(|reward| reward.rule.score(one, model)));
    }
    for (column, reward) in rules.iter().enumerate() {
        let mut infinite = 0;
        for value in out.rewards.iter_mut().skip(column).step_by(rules.len()).filter(|value| value.is_infinite()) {
            (*value, infinite) = (f64::NAN, infinite + 1);
        }
        if infinite > 0 {
            let name = &reward.name;
            out.alarms.push(format!("reward {name} was infinite for {infinite} of {} completions", written.len()));
        }
        let there = || out.rewards.iter().skip(column).step_by(rules.len()).filter(|value| !value.is_nan());
        let count = there().count() as f64;
        if count > 0.0 {
            let mean = there().sum::<f64>() / count;
            let squares = there().map(|value| (value - mean).powi(2)).sum::<f64>();
            out.metrics.push((format!("rewards/{}/mean", reward.name), mean));
            out.metrics.push((format!("rewards/{}/std", reward.name), (squares / (count - 1.0).max(1.0)).sqrt()));
        }
    }
    out
}

/// What each completion earns in all: the weighted sum over the rules that apply, NaN where none does.
pub fn totals(rewards: &[f64], rules: &[Reward]) -> Vec<f64> {
    let total = |row: &[f64]| {
        let there = || row.iter().zip(rules).filter(|(value, _)| !value.is_nan());
        if there().next().is_none() { f64::NAN } else { there().map(|(value, rule)| value * rule.weight).sum() }
    };
    rewards.chunks_exact(rules.len().max(1)).map(total).collect()
}

/// A reward model's score of each row of windows: its value at the row's last token.
pub fn model_scores(windows: &[Window], given: usize) -> Vec<f64> {
    let of = |window: &Window| -> Vec<f64> {
        let last = |place: std::ops::Range<usize>| f64::from(window.given[given][place.end - 1][0]);
        window.places().into_iter().map(last).collect()
    };
    windows.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn prompt(answer: Option<Value>) -> Prompt {
        let columns = answer.into_iter().map(|answer| ("answer".to_string(), answer)).collect();
        Prompt { text: String::new(), ids: vec![1], columns }
    }

    fn of(rule: Rule, prompt: &Prompt, text: &str, ids: &[u32]) -> f64 {
        let written = Written { prompt, ids, text, ended: true };
        score(&[written], &[Reward::new("r", rule)], Some(&[2.5])).rewards[0]
    }

    #[test]
    fn rules_say_what_they_say() {
        let exact = || Rule::Exact { column: "answer".into() };
        let known = prompt(Some("Mira".into()));
        assert_eq!(of(exact(), &known, " Mira\n", &[]), 1.0);
        assert_eq!(of(exact(), &known, "mira", &[]), 0.0);
        assert_eq!(of(exact(), &prompt(Some(7.into())), "7", &[]), 1.0);
        assert!(of(exact(), &prompt(None), "Mira", &[]).is_nan());
        let pattern = || Rule::matches(r"^\d+$").unwrap();
        assert_eq!((of(pattern(), &known, "42", &[]), of(pattern(), &known, "4 2", &[])), (1.0, 0.0));
        assert!(Rule::matches("(").is_err_and(|refusal| refusal.detail.contains("unclosed")));
        let length = |n: usize| of(Rule::Length { most: 10, soft: 4 }, &known, "", &vec![0; n]);
        assert_eq!([length(3), length(6), length(8), length(10), length(30)], [0.0, 0.0, -0.5, -1.0, -1.0]);
        assert_eq!(of(Rule::Length { most: 10, soft: 0 }, &known, "", &[0; 11]), -1.0);
        assert_eq!(of(Rule::Model, &known, "", &[]), 2.5);
        assert_eq!(of(Rule::Function(Arc::new(|it| it.ids.len() as f64)), &known, "", &[3, 4]), 2.0);
    }

    #[test]
    fn what_is_no_number_is_left_out_and_what_is_infinite_is_told() {
        let known = prompt(None);
        let rule = Rule::Function(Arc::new(|it| [1.0, f64::NAN, f64::INFINITY, 3.0][it.ids[0] as usize]));
        let ids = [[0], [1], [2], [3]];
        let written: Vec<Written> =
            ids.iter().map(|ids| Written { prompt: &known, ids, text: "", ended: true }).collect();
        let scored = score(&written, &[Reward::new("odd", rule)], None);
        assert!(scored.rewards[1].is_nan() && scored.rewards[2].is_nan());
        assert_eq!(scored.alarms, ["reward odd was infinite for 1 of 4 completions"]);
        assert_eq!(scored.metrics[0], ("rewards/odd/mean".to_string(), 2.0));
        assert!((scored.metrics[1].1 - 2f64.sqrt()).abs() < 1e-12);
    }
}
