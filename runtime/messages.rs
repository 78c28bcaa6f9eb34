//! Every message of a run, in the order in which a step sends them. Numbers and handles, never tensors (windows
//! excepted).

use crate::actors::optimizer::OptimizerConfig;
use crate::engine::Learned;
use crate::engine::generation::{Generated, Sampling};
use crate::engine::layout::{AdamW, POLICY, Role, RoleId, Shapes};
use crate::engine::state::HostState;
use crate::model::config::ModelConfig;
use crate::progress::{Progress, Saved};
use crate::stage::{Asked, Measured, Memory, Numbers, Round, Settled, Verdict, Window};
use crate::supervise::Message;
use pleach_shaders::spec::Tick;
use std::sync::Arc;

/// To data, from the trainer.
#[derive(Clone, Debug)]
pub enum DataMessage {
    /// The rows of window `draw`. Answered by `Window`.
    Draw {
        /// Number of the window.
        draw: u64,
    },
    /// What the policy is to continue for a round. Answered by `Asked`.
    Ask {
        /// Number of the round.
        round: u64,
    },
    /// The rows of what it wrote. Answered by `Windows`.
    Windows {
        /// Number of the round.
        round: u64,
        /// What it wrote.
        written: Arc<Vec<Generated>>,
    },
    /// What a round teaches. Answered by `Settled`.
    Settle {
        /// Number of the round.
        round: u64,
        /// What was written.
        written: Arc<Vec<Generated>>,
        /// Its rows, with what the models say of them.
        windows: Vec<Arc<Window>>,
        /// The loss's memory before it.
        memory: Memory,
    },
    /// A window of a round. Answered by `Window`.
    DrawFrom {
        /// The round.
        round: Arc<Round>,
        /// Number of the window within it.
        index: u64,
    },
    /// Which sets of evaluation rows there are. Answered by `Sets`.
    EvaluationSets,
    /// Evaluation rows `from .. to`. Answered by `Window`.
    Evaluation {
        /// First row.
        from: usize,
        /// One past the last row.
        to: usize,
    },
}

/// From data.
#[derive(Clone, Debug)]
pub enum DataReply {
    /// Rows.
    Window(Arc<Window>),
    /// Prompts.
    Asked(Arc<Asked>),
    /// Rows that are looked at.
    Windows(Vec<Arc<Window>>),
    /// What a round teaches.
    Settled(Box<Settled>),
    /// Names of sets, and their rows.
    Sets(Vec<(String, usize)>),
}

/// Derivatives with respect to the numbers of each role that learns, the policy first.
pub type Derivatives = Vec<(RoleId, Arc<Numbers>)>;

/// To loss, from the trainer.
#[derive(Clone, Debug)]
pub enum LossMessage {
    /// The derivatives of a window, before it is learned. Answered by `Known`.
    Know {
        /// The rows.
        window: Arc<Window>,
    },
    /// The derivatives of a window by its numbers. Answered by `Derivatives`.
    Derive {
        /// The rows, with what other models say of them.
        window: Arc<Window>,
        /// The head's numbers under the policy.
        numbers: Arc<Numbers>,
        /// The loss's memory before the step.
        memory: Memory,
    },
    /// May this gradient reach the weights? Answered by `Judged`.
    Judge {
        /// Optimizer step that the window would make.
        step: u64,
        /// The rows.
        window: Arc<Window>,
        /// What came of learning them.
        learned: Arc<Learned>,
        /// The loss's memory before the step.
        memory: Memory,
    },
    /// The loss of evaluation rows. Answered by `Evaluated`.
    Evaluate {
        /// The rows.
        window: Arc<Window>,
        /// The head's numbers.
        numbers: Arc<Numbers>,
    },
    /// What people see of an evaluation. Answered by `Reported`.
    Report {
        /// The sums over all rows.
        total: Box<Measured>,
    },
}

/// From loss.
#[derive(Clone, Debug)]
pub enum LossReply {
    /// Derivatives with respect to the numbers, or the models whose numbers must be looked at first.
    Known(Result<Arc<Numbers>, Vec<RoleId>>),
    /// Derivatives with respect to the numbers.
    Derivatives(Derivatives),
    /// The verdict.
    Judged(Box<Judged>),
    /// What evaluation rows say, as sums.
    Evaluated(Box<Measured>),
    /// What people see of it.
    Reported(Vec<(String, f64)>),
}

/// A verdict with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Apply, skip, finish, halt.
    pub verdict: Verdict,
    /// The loss of the window.
    pub loss: f64,
    /// What people may want to see.
    pub metrics: Vec<(String, f64)>,
    /// The memory if the update is applied.
    pub memory: Memory,
}

/// What compute builds for a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// The models, the one that is trained first.
    pub roles: Vec<Role>,
    /// The programs' shapes.
    pub shapes: Shapes,
    /// The optimizer's constants.
    pub adamw: AdamW,
}

impl Blueprint {
    /// The model that the stage trains.
    pub fn policy(&self) -> &ModelConfig {
        &self.roles[POLICY].config
    }
}

/// To compute.
#[derive(Clone, Debug)]
pub enum ComputeMessage {
    /// Build for a stage (from the trainer). Answered by `Begun`.
    Begin(Box<Blueprint>),
    /// Begin the weights from a seed (from the trainer). Answered by `Done`.
    Seed(u64),
    /// Put a state back that stands at `step` (from the trainer). Answered by `Done`.
    Restore {
        /// Whose. The policy's comes last and says the step: roles that learn beside it stand at the same.
        role: RoleId,
        /// Weights and moments.
        state: Arc<HostState>,
        /// The optimizer step they stand at.
        step: u64,
    },
    /// The head's numbers of a window that is about to be learned, as `Learn` will see them (from the trainer).
    /// Answered by `Numbers`.
    Look {
        /// The step that the window would make.
        step: u64,
        /// The rows.
        window: Arc<Window>,
    },
    /// Forward, loss, backward (from the trainer). Answered by `Learned`.
    Learn {
        /// The step that this gradient would make.
        step: u64,
        /// The rows.
        window: Arc<Window>,
        /// Derivatives with respect to the numbers of each role that learns.
        derivatives: Derivatives,
        /// Seeds and draw.
        tick: Tick,
    },
    /// AdamW on all roles that learned, once per step (from the optimizer). Answered by `Done`.
    Apply {
        /// The step; must follow the last applied one.
        step: u64,
        /// Learning rate, bias corrections, clip factor.
        tick: Tick,
    },
    /// The head's numbers of evaluation rows (from the trainer). Answered by `Numbers`.
    Evaluate {
        /// Under which model.
        role: RoleId,
        /// The rows.
        window: Arc<Window>,
    },
    /// Continue prompts (from the trainer). Answered by `Generated`.
    Generate {
        /// Number of the first prompt, in a longer list of which this is a part.
        first: usize,
        /// Token ids of each prompt.
        prompts: Vec<Vec<u32>>,
        /// How.
        sampling: Sampling,
        /// Tokens that end a sequence.
        eos: Vec<u32>,
    },
    /// Weights and moments (from the trainer). Answered by `State`.
    State {
        /// Whose.
        role: RoleId,
        /// The step they must stand at.
        step: u64,
    },
}

/// From compute.
#[derive(Clone, Debug)]
pub enum ComputeReply {
    /// Built; what the device holds.
    Begun {
        /// The device.
        facts: crate::device::Facts,
        /// Its memory.
        held: crate::device::Held,
    },
    /// Done.
    Done,
    /// Learned.
    Learned(Arc<Learned>),
    /// The head's numbers.
    Numbers(Arc<Numbers>),
    /// Continuations.
    Generated(Vec<Generated>),
    /// A copy on the host.
    State(Arc<HostState>),
}

/// To the optimizer, from the trainer.
#[derive(Clone, Debug)]
pub enum OptimizerMessage {
    /// A stage begins: by these rules. Answered by `Begun`.
    Begin(Box<OptimizerConfig>),
    /// Take over this progress. Answered by `Progress`.
    Restore(Box<Progress>),
    /// The point of no return: weights, moments, cursor and memory move together. Answered by `Updated`.
    Update {
        /// The step to make.
        step: u64,
        /// Norm of the gradient, before clipping.
        gradient_norm: f64,
        /// Targets learned.
        tokens: u64,
        /// The loss's memory after the step.
        memory: Memory,
    },
    /// The window gave no update: only the cursor moves. Answered by `Updated`.
    Skip {
        /// The step that was not made.
        step: u64,
        /// The window that is drawn next.
        next: u64,
        /// The loss's memory before the step, in which the guard has noted the skip.
        memory: Memory,
    },
}

/// From the optimizer.
#[derive(Clone, Debug)]
pub enum OptimizerReply {
    /// Ready for a stage's progress.
    Begun,
    /// What was taken over.
    Progress(Box<Progress>),
    /// The progress after the step.
    Updated {
        /// Where the run stands.
        progress: Box<Progress>,
        /// Learning rate used.
        learning_rate: f64,
        /// Factor on the gradient.
        clip: f64,
    },
}

/// What the checkpoint actor keeps states for.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// The stage's folder: `01-pretrain`.
    pub folder: String,
    /// The model that is trained.
    pub config: ModelConfig,
    /// What makes a folder with its weights a model: config.json, tokenizer.json, ...
    pub files: Vec<(String, Vec<u8>)>,
}

/// A state with the progress that belongs to it: what the vault and the checkpoints hold.
#[derive(Clone, Debug)]
pub struct Keepsake {
    /// The stage's folder: `01-pretrain`.
    pub stage: String,
    /// Where the run stands.
    pub progress: Progress,
    /// What it was computed on, and by.
    pub facts: crate::store::Facts,
    /// Weights and moments there.
    pub state: Arc<HostState>,
    /// The same of each role that learns beside the policy, by its name.
    pub beside: Vec<(String, Arc<HostState>)>,
    /// The round that windows are drawn from, in an on-policy stage.
    pub round: Option<Arc<Round>>,
}

/// To the checkpoint actor, from the trainer.
#[derive(Clone, Debug)]
pub enum CheckpointMessage {
    /// A stage begins. Answered by `Begun`.
    Begin(Arc<Keeping>),
    /// Keep in memory (recovery level 1). Answered by `Kept`.
    Keep(Arc<Keepsake>),
    /// Write to disk. Answered by `Saved`.
    Save {
        /// What.
        keepsake: Arc<Keepsake>,
        /// Kept beyond the newest ones.
        milestone: bool,
        /// The last of its stage.
        last: bool,
    },
    /// The stage's newest state: the vault's, else the newest good checkpoint's. Answered by `Newest`.
    Newest,
    /// Hand the stage's model on as a Hugging Face folder. Answered by `Folder`.
    HandOn {
        /// The step wanted; the newest where absent.
        step: Option<u64>,
    },
}

/// From the checkpoint actor.
#[derive(Clone, Debug)]
pub enum CheckpointReply {
    /// Ready for a stage's states.
    Begun,
    /// It is in the vault.
    Kept,
    /// It is on disk.
    Saved(Saved),
    /// A state to start from, if there is any, and what was lost on the way.
    Newest {
        /// The state.
        keepsake: Option<Arc<Keepsake>>,
        /// From memory, not from disk.
        from_vault: bool,
        /// What had to be passed over, in words.
        lost: Vec<String>,
    },
    /// The model folder.
    Folder {
        /// Where it lies.
        folder: std::path::PathBuf,
        /// What had to be passed over, in words.
        passed: Vec<String>,
    },
}

/// To the journal, from whoever has something to tell.
#[derive(Clone, Debug)]
pub enum JournalMessage {
    /// Append these events, each unless its number was appended before. Answered by `()`.
    Note(Vec<crate::bus::Numbered>),
    /// Make everything so far durable. Answered by `()`.
    Sync,
}

macro_rules! names {
    ($($message:ident: $($variant:ident)*;)*) => {
        $(impl Message for $message {
            fn name(&self) -> &'static str {
                match self { $($message::$variant { .. } => stringify!($variant),)* }
            }
        })*
    };
}

names! {
    DataMessage: Draw Ask Windows Settle DrawFrom EvaluationSets Evaluation;
    LossMessage: Know Derive Judge Evaluate Report;
    ComputeMessage: Begin Seed Restore Look Learn Apply Evaluate Generate State;
    OptimizerMessage: Begin Restore Update Skip;
    CheckpointMessage: Begin Keep Save Newest HandOn;
    JournalMessage: Note Sync;
}
