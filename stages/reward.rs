//! The reward model: learns from people's rankings how good an answer is.
//!
//! - **Data**: one prompt's K completions with their ranks ([`RankedSet`]); a set is learned as one group, so that K
//!   completions cost K forward passes, not K (K - 1):
//!   `{"prompt": "..", "completions": [{"id": "a", "text": "..", "flags": {"bias": true}}, ..], "ranks": [2, 1]}`
//! - **Loss**: all C(K, 2) pairs of a set, or Plackett and Luce's choices ([`RankedSets`]), on the value that the
//!   scalar head gives at each completion's last token.
//! - **Assumptions**: the policy's role has a scalar head and no dropout; a flag of harm vetoes or weighs ([`Flags`]).
//! - **Done**: after `steps` steps; the best validated checkpoint is handed on. Validation is by prompt: no prompt is
//!   on both sides ([`split`]).

use crate::data::Tokenizer;
use crate::data::mask::{ChatEncoder, Encoded};
use crate::data::records::{Completion, Ranked};
use crate::data::table::{Draws, Item, Table};
use crate::data::template::Template;
use crate::loss::ranked::{RankedSets, check_form};
use crate::loss::ranking::Ranking;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::stage::{Data, Loss, Row, Stage, Voice};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One prompt's completions, best to worst by rank.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedSet {
    /// Prompt and completion of each.
    pub completions: Vec<Encoded>,
    /// Rank of each: lower is better, equal is a tie.
    pub ranks: Vec<u32>,
    /// What people marked on each: `bias`, `harm`, ...
    pub flags: Vec<Vec<String>>,
    /// By how much a better one is to lead, where the data says so.
    pub margin: Option<f64>,
}

impl RankedSet {
    /// From a record.
    ///
    /// # Errors
    /// As [`ChatEncoder::completion`].
    pub fn encode(it: &Ranked, encoder: &ChatEncoder) -> Result<RankedSet, Refusal> {
        let one = |answer: &crate::data::records::Answer| {
            let (prompt, completion) = (it.prompt.clone(), answer.said.clone());
            encoder.completion(&Completion { prompt, completion, tools: None })
        };
        let marked = |answer: &crate::data::records::Answer| {
            let yes = answer.flags.iter().filter(|(_, value)| is_marked(value));
            yes.map(|(name, _)| name.clone()).collect()
        };
        Ok(RankedSet {
            completions: it.completions.iter().map(one).collect::<Result<_, _>>()?,
            ranks: it.ranks.clone(),
            flags: it.completions.iter().map(marked).collect(),
            margin: None,
        })
    }

    /// The ids that all completions follow.
    fn prompt(&self) -> &[u32] {
        self.completions.first().map_or(&[], |one| &one.ids[..one.prompt_length()])
    }
}

/// Did somebody mark it: true, a number other than 0, or words other than "no" and "false"?
fn is_marked(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Bool(yes) => *yes,
        serde_json::Value::Number(number) => number.as_f64().is_some_and(|number| number != 0.0),
        serde_json::Value::String(text) => !["", "no", "false"].contains(&text.to_lowercase().as_str()),
        // The ranking page says what of a group was flagged.
        serde_json::Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

/// What flags do to a ranking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// A completion with one of these is worse than every completion without, whatever its rank.
    pub veto: Vec<String>,
    /// Pairs with a completion that has this flag count so many times; the heaviest where there are several.
    pub weights: BTreeMap<String, f64>,
}

impl Flags {
    /// The facts of a set, as [`RankedSets`] reads them: ranks, weights, margin.
    fn facts(&self, set: &RankedSet, margin: f64) -> Vec<f64> {
        let worst = set.ranks.iter().copied().max().unwrap_or(0);
        let rank = |index: usize| {
            let vetoed = set.flags[index].iter().any(|flag| self.veto.contains(flag));
            f64::from(set.ranks[index]) + if vetoed { f64::from(worst) + 1.0 } else { 0.0 }
        };
        let weight = |flags: &Vec<String>| {
            let heaviest = flags.iter().filter_map(|flag| self.weights.get(flag)).copied().reduce(f64::max);
            heaviest.unwrap_or(1.0)
        };
        let ranks = (0..set.ranks.len()).map(rank);
        ranks.chain(set.flags.iter().map(weight)).chain([set.margin.unwrap_or(margin)]).collect()
    }
}

/// Puts a share of the prompts, with all their sets, aside for validation: at least one prompt where there are two and
/// the share is above 0. Which ones is a function of the prompts and the seed.
pub fn split(sets: Vec<RankedSet>, share: f64, seed: u64) -> (Vec<RankedSet>, Vec<RankedSet>) {
    let key = |set: &RankedSet| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        set.prompt().iter().for_each(|id| {
            hasher.update(&id.to_le_bytes());
        });
        *hasher.finalize().as_bytes()
    };
    let mut prompts: Vec<[u8; 32]> = sets.iter().map(key).collect();
    prompts.sort_unstable();
    prompts.dedup();
    let aside = (share.clamp(0.0, 1.0) * prompts.len() as f64).ceil() as usize;
    let aside = &prompts[..aside.min(prompts.len().saturating_sub(1))];
    let (validation, train) = sets.into_iter().partition(|set| aside.binary_search(&key(set)).is_ok());
    (train, validation)
}

/// The stage.
pub struct Reward {
    /// What is learned from.
    pub train: Arc<[RankedSet]>,
    /// What is only measured: other prompts.
    pub validation: Arc<[RankedSet]>,
    /// How sets are drawn; an item is a set.
    pub draws: Draws,
    /// What is asked of a set.
    pub ranking: Ranking,
    /// By how much a better completion is to lead, where the data does not say; default 0.
    pub margin: f64,
    /// What flags do.
    pub flags: Flags,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template that the sets were encoded with, if they needed one.
    pub template: Option<Arc<Template>>,
}

impl Reward {
    /// A set as rows whose last token alone counts: there the value is the score.
    fn item(&self, (index, set): (usize, &RankedSet)) -> Result<Item, Refusal> {
        let what = format!("ranking {}", index + 1);
        let count = set.completions.len();
        if count < 2 || set.ranks.len() != count || set.flags.len() != count {
            let detail = format!("{count} completions, {} ranks", set.ranks.len());
            return Err(Refusal::new(format!("{what} cannot be learned from"), detail, "rank at least two answers"));
        }
        let context = self.draws.context;
        let row = |(at, one): (usize, &Encoded)| {
            let length = one.ids.len();
            if length == 0 || length > context {
                let detail = format!("completion {} has {length} tokens; the context is {context}", at + 1);
                let hint = "shorten or drop it, or take a longer context";
                return Err(Refusal::new(format!("{what} cannot be learned from"), detail, hint));
            }
            // The target of the last token is nobody's: the scalar head predicts none.
            let tokens = one.ids.iter().copied().chain([0]).collect();
            let weights = (1..=length).map(|at| f32::from(u8::from(at == length))).collect();
            Ok(Row { tokens, weights, segments: vec![0; length], key: (index * 64 + at) as u64 })
        };
        let rows = set.completions.iter().enumerate().map(row).collect::<Result<_, _>>()?;
        Ok(Item { rows, facts: self.flags.facts(set, self.margin) })
    }
}

impl Stage for Reward {
    fn name(&self) -> &'static str {
        "reward"
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        let margins = self.margin != 0.0 || self.train.iter().any(|set| set.margin.is_some());
        check_form(&self.ranking, !self.flags.weights.is_empty(), margins)?;
        let items =
            |sets: &[RankedSet]| sets.iter().enumerate().map(|it| self.item(it)).collect::<Result<Vec<_>, Refusal>>();
        let bytes = self.tokenizer.byte_lengths().into();
        Ok(Box::new(Table::measured(items(&self.train)?, items(&self.validation)?, self.draws, bytes)?))
    }

    fn loss(&self) -> Box<dyn Loss> {
        Box::new(RankedSets { options: self.ranking })
    }

    fn voice(&self) -> Voice {
        crate::model::voice(&self.tokenizer, self.template.as_deref(), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::mask::Agreement;

    fn set(prompt: u32, ranks: &[u32], flags: &[&[&str]]) -> RankedSet {
        let one = |answer: u32| Encoded {
            ids: vec![prompt, 7, answer],
            trained: vec![false, false, true],
            turns: 1,
            unended: 0,
            empty: 0,
            straddling: 0,
            bos_inside: 0,
            agreement: Agreement::Plain,
        };
        let flags = flags.iter().map(|list| list.iter().map(ToString::to_string).collect()).collect();
        RankedSet {
            completions: ranks.iter().map(|&rank| one(rank)).collect(),
            ranks: ranks.into(),
            flags,
            margin: None,
        }
    }

    #[test]
    fn a_veto_puts_a_completion_below_all_others_and_a_weight_weighs_its_pairs() {
        let flags = Flags { veto: vec!["harm".into()], weights: [("bias".to_string(), 3.0)].into() };
        let set = set(1, &[1, 2, 3, 1], &[&["harm"], &[], &["bias"], &["harm", "bias"]]);
        let facts = flags.facts(&set, 0.5);
        assert_eq!(facts, [5.0, 2.0, 3.0, 5.0, 1.0, 1.0, 3.0, 3.0, 0.5]);
        assert_eq!(Flags::default().facts(&set, 0.0)[..4], [1.0, 2.0, 3.0, 1.0]);
    }

    #[test]
    fn no_prompt_is_on_both_sides() {
        let sets: Vec<RankedSet> = (0..40).map(|i| set(i % 10, &[1, 2], &[&[], &[]])).collect();
        let (train, validation) = split(sets.clone(), 0.25, 3);
        assert_eq!((train.len(), validation.len()), (28, 12), "three prompts of ten, each four times");
        assert!(validation.iter().all(|one| train.iter().all(|other| one.prompt() != other.prompt())));
        assert_eq!(split(sets.clone(), 0.25, 3).1, validation);
        assert_ne!(split(sets.clone(), 0.25, 4).1, validation);
        let one = || sets[..1].to_vec();
        assert_eq!((split(one(), 0.5, 0).0.len(), split(sets, 0.0, 0).1.len()), (1, 0));
    }

    #[test]
    fn marks_are_read_as_people_write_them() {
        for (text, marked) in [("true", true), ("false", false), ("1", true), ("0", false), ("\"No\"", false)] {
            assert_eq!(is_marked(&serde_json::from_str(text).unwrap()), marked, "{text}");
        }
        assert!(is_marked(&"rude".into()) && !is_marked(&serde_json::Value::Null));
    }
}
