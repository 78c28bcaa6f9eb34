//! The seams of a stage: what it trains on ([`Data`]), by which objective ([`Loss`]), and what both belong to
//! ([`Stage`]).
//!
//! A stage author writes plain structs; the runtime makes them supervised actors.

use crate::engine::generation::{Generated, Sampling};
use crate::engine::layout::RoleId;
use crate::fault::Fault;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// One packed sequence of up to `context` tokens with the target of the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// One token id more than the row is long: token t's target is token t + 1.
    pub tokens: Vec<u32>,
    /// Weights of the targets; 0 = masked. As many as the row is long.
    pub weights: Vec<f32>,
    /// Where in this row each token's document begins.
    pub segments: Vec<u32>,
    /// Which row of the table (or draw) this is: keys the row's noise.
    pub key: u64,
}

impl Row {
    /// Tokens.
    pub fn len(&self) -> usize {
        self.weights.len()
    }
    /// Has it no tokens?
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }
}

/// Rows that an objective takes together: a pair, the K completions of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Which rows of the window.
    pub rows: Range<usize>,
    /// What the data knows of each of them (a rank, a reward), as data and loss of a stage agree.
    pub facts: Vec<f64>,
}

/// All rows of one optimizer step. Micro-batches only cut it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Tokens of the longest row.
    pub context: usize,
    /// The rows.
    pub rows: Vec<Row>,
    /// Rows that belong together; none where each stands for itself.
    pub groups: Vec<Group>,
    /// What a round knows of these tokens, then their numbers under other models in the order of [`Loss::beside`]; the
    /// step fills the latter in.
    pub given: Vec<Arc<Numbers>>,
}

impl Window {
    /// Rows that stand for themselves.
    pub fn new(context: usize, rows: Vec<Row>) -> Window {
        Window { context, rows, groups: Vec::new(), given: Vec::new() }
    }
    /// Where each row's tokens lie in the window's numbers.
    pub fn places(&self) -> Vec<Range<usize>> {
        let mut end = 0;
        let place = |row: &Row| {
            end += row.len();
            end - row.len()..end
        };
        self.rows.iter().map(place).collect()
    }
    /// Tokens of all rows.
    pub fn tokens(&self) -> usize {
        self.rows.iter().map(Row::len).sum()
    }
    /// Number of targets that count.
    pub fn unmasked(&self) -> usize {
        self.rows.iter().flat_map(|row| &row.weights).filter(|&&weight| weight != 0.0).count()
    }
    /// Sum of the weights of all targets.
    pub fn weight(&self) -> f64 {
        self.rows.iter().flat_map(|row| &row.weights).map(|&weight| f64::from(weight)).sum()
    }
}

/// Where a stage's rows come from. A window is a function of its number: asking twice is harmless.
pub trait Data: Send {
    /// The rows of window number `draw`.
    fn window(&mut self, draw: u64) -> Result<Window, Fault>;
    /// Evaluation rows, in sets that are measured apart: a name and a number of rows. The first set is what the stage
    /// is judged by; the loss of the others is watched.
    fn evaluation_sets(&self) -> Vec<(String, usize)>;
    /// Evaluation rows `from .. to`, counted over all sets in their order. Both lie in one set.
    fn evaluation(&mut self, from: usize, to: usize) -> Result<Window, Fault>;
    /// UTF-8 bytes that each token id stands for (0 for special tokens): what bits per byte divide by.
    fn token_bytes(&self) -> Arc<[u32]>;
    /// Names what the rows depend on; a checkpoint of other data is refused.
    fn fingerprint(&self) -> String;
}

/// What the head says of each token, in the order of the window: rows, then columns.
/// [log-probability of the target, log-sum-exp, entropy, 1 if the target was the most likely token]
pub type Numbers = Vec<[f32; 4]>;

/// What a loss remembers from step to step; it changes only with an applied update, and is checkpointed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory(pub BTreeMap<String, Vec<f64>>);

/// The value of an objective on a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated {
    /// The loss.
    pub loss: f64,
    /// Its derivative with respect to every number of every token.
    pub derivatives: Numbers,
    /// What people may want to see, by TRL's names.
    pub metrics: Vec<(String, f64)>,
    /// The memory after an applied update.
    pub memory: Memory,
    /// Where other models learn in the same step (a critic): which, of those in [`Loss::beside`], and the derivatives
    /// with respect to their numbers. The update is applied to all of them, or to none.
    pub beside: Vec<(RoleId, Numbers)>,
}

/// What evaluation rows say, as sums: parts add up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Sum of the loss over targets, in nats.
    pub sum: f64,
    /// Targets that counted.
    pub count: f64,
    /// Targets that were right: the model's first choice.
    pub hits: f64,
    /// Where targets are no text: what [`Loss::report`] needs.
    pub more: BTreeMap<String, f64>,
}

impl Measured {
    /// Of the unmasked targets: negative log-likelihood, weights, and first choices.
    pub fn targets(window: &Window, numbers: &Numbers) -> Measured {
        let mut out = Measured::default();
        assert_eq!(numbers.len(), window.tokens(), "a number for every token");
        for (row, place) in window.rows.iter().zip(window.places()) {
            for (&weight, number) in row.weights.iter().zip(&numbers[place]).filter(|(weight, _)| **weight != 0.0) {
                out.sum -= f64::from(weight) * f64::from(number[0]);
                out.count += f64::from(weight);
                out.hits += f64::from(weight) * f64::from(number[3]);
            }
        }
        out
    }

    /// Adds another part.
    pub fn add(&mut self, part: &Measured) {
        (self.sum, self.count, self.hits) = (self.sum + part.sum, self.count + part.count, self.hits + part.hits);
        for (name, value) in &part.more {
            *self.more.entry(name.clone()).or_default() += value;
        }
    }
}

/// What the loss decides after a window was learned. No gradient reaches the weights without it.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Update the weights.
    Apply,
    /// Drop this window's gradient, and say why.
    Skip(String),
    /// The stage has reached its end before its length.
    Finish(String),
    /// Drop this window's gradient and what is left of the round, and say why: the next round is gathered.
    NextRound(String),
    /// Stop the run: nothing sensible can follow.
    Halt(String),
}

/// An objective: a function of the head's numbers.
pub trait Loss: Send {
    /// The derivatives, where they do not depend on the numbers: forward, head and backward then run as one program.
    /// Where they do, the window's numbers are looked at first, and the forward pass is made a second time; such a
    /// stage trains a model without dropout, so that both passes are the same.
    fn known(&self, window: &Window) -> Option<Numbers>;
    /// The other models whose numbers of a window it wants in [`Window::given`]: frozen ones, and those that learn in
    /// the same step.
    fn beside(&self) -> Vec<RoleId> {
        Vec::new()
    }
    /// The loss of a window, its derivatives, and the memory that follows.
    fn evaluate(&self, window: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault>;
    /// What the objective itself says to a learned window. Whether its numbers are finite or a spike is judged
    /// elsewhere.
    fn verdict(&self, _evaluated: &Evaluated) -> Verdict {
        Verdict::Apply
    }
    /// What evaluation rows say; by default of their targets as text.
    fn measure(&self, window: &Window, numbers: &Numbers) -> Result<Measured, Fault> {
        Ok(Measured::targets(window, numbers))
    }
    /// What people see of it beside loss and accuracy.
    fn report(&self, _total: &Measured) -> Vec<(String, f64)> {
        Vec::new()
    }
}

/// What the policy is to continue for a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Token ids of each prompt; as often as it is to be continued.
    pub prompts: Vec<Vec<u32>>,
    /// How. A continuation depends on the seed here and on the number of its prompt in the list.
    pub sampling: Sampling,
    /// Tokens that end a continuation.
    pub eos: Vec<u32>,
}

/// What the windows of one gathering teach: kept before anything is learned from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// Its number: draw / `draws`.
    pub number: u64,
    /// Windows that are drawn from it: [`Gather::draws`].
    pub draws: u64,
    /// The windows in which its rows are learned first. What is known of their tokens stands in [`Window::given`], as
    /// gathering and loss of a stage agree.
    pub windows: Vec<Window>,
    /// What people may want to see beside each of its steps, by TRL's names.
    pub metrics: Vec<(String, f64)>,
}

impl Round {
    /// The draw that follows its last.
    pub fn end(&self) -> u64 {
        (self.number + 1) * self.draws
    }
}

/// What a stage makes of a gathering.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// [`Round::windows`].
    pub windows: Vec<Window>,
    /// [`Round::metrics`].
    pub metrics: Vec<(String, f64)>,
    /// The loss's memory after it.
    pub memory: Memory,
    /// What is not as it should be, in words.
    pub alarms: Vec<String>,
    /// A few prompts with their continuations, for people.
    pub shown: Vec<(String, String)>,
    /// `Apply` learns the round, `NextRound` drops it, `Halt` stops the run.
    pub verdict: Verdict,
}

/// How an on-policy stage comes to its windows: in rounds. The policy continues prompts, models say their numbers of
/// what it wrote, and the stage makes of both what the next [`Gather::draws`] windows teach. Every answer is a function
/// of the question: asking twice is harmless, and a seed belongs into [`Asked::sampling`].
pub trait Gather: Send {
    /// Windows that are drawn from a round, at least 1.
    fn draws(&self) -> u64;
    /// What the policy is to continue for round number `round`.
    fn ask(&mut self, round: u64) -> Result<Asked, Fault>;
    /// The rows of what it wrote, in the windows in which they are learned first: numbers depend in their last bits on
    /// what else is in a window, and the first ratio to the policy that wrote must be exactly 1.
    fn windows(&mut self, round: u64, written: &[Generated]) -> Result<Vec<Window>, Fault>;
    /// The models whose numbers of each window are wanted. They are those of the training program, never the sampler's.
    fn under(&self) -> Vec<RoleId>;
    /// What the round teaches. `windows` are those of [`Gather::windows`]; their `given` has the numbers under each of
    /// [`Gather::under`], in that order.
    fn settle(
        &mut self,
        round: u64,
        written: &[Generated],
        windows: Vec<Window>,
        memory: &Memory,
    ) -> Result<Settled, Fault>;
    /// Window `index` of a round, below [`Gather::draws`]: by default its windows again and again.
    fn window(&mut self, round: &Round, index: u64) -> Result<Window, Fault> {
        Ok(round.windows[(index % round.windows.len() as u64) as usize].clone())
    }
}

/// A stage: its name, its data and its loss. Everything else is the runtime's.
pub trait Stage: Send + Sync {
    /// `pretrain`, ...
    fn name(&self) -> &'static str;
    /// Opens the data; called again after a fault: a stage is its own recipe.
    fn data(&self) -> Result<Box<dyn Data>, Fault>;
    /// The objective.
    fn loss(&self) -> Box<dyn Loss>;
    /// How an on-policy stage comes to its windows; its [`Data`] is asked for none then, but for what it measures by.
    fn gather(&self) -> Option<Box<dyn Gather>> {
        None
    }
    /// What its model says, and how it is read.
    fn voice(&self) -> Voice;
}

/// How a stage's model speaks to people and to other programs.
#[derive(Clone, Default)]
pub struct Voice {
    /// Small files that make a model folder complete: tokenizer.json, generation_config.json, ...
    pub files: Vec<(String, Vec<u8>)>,
    /// Prompts to continue now and then, as people see them and as tokens.
    pub prompts: Vec<(String, Vec<u32>)>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// Tokens as text; without it they are shown as numbers.
    pub text: Option<Text>,
}

/// Tokens as text.
pub type Text = Arc<dyn Fn(&[u32]) -> String + Send + Sync>;

impl Voice {
    /// Tokens as people read them.
    pub fn say(&self, tokens: &[u32]) -> String {
        self.text.as_ref().map_or_else(|| format!("{tokens:?}"), |text| text(tokens))
    }
}
