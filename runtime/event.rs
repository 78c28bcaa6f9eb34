//! What happens in a run, as data: the journal's lines, the embedding application's events, what `status` reads.

use crate::device::{Facts, Held};
use crate::progress::Saved;
use serde::{Deserialize, Serialize};

/// One event. Names of metrics are TRL's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A process began to work on the run.
    Started {
        /// Version of the program.
        version: String,
        /// Name of the run.
        run: String,
        /// Its process.
        pid: u32,
        /// The folders of the run's stages, in their order.
        #[serde(default)]
        stages: Vec<String>,
        /// How the process before it ended, where its guardian saw that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// A person changed the pipeline file since the run began.
    Changed {
        /// What, from what, to what.
        what: String,
    },
    /// A stage is ready to train.
    StageStarted {
        /// `pretrain`, ...
        stage: String,
        /// Its folder: `01-pretrain`.
        #[serde(default)]
        folder: String,
        /// Steps in all.
        steps: u64,
        /// Trained numbers.
        parameters: u64,
        /// The device.
        device: Facts,
        /// Its memory.
        held: Held,
        /// The step it starts at; 0 = from the beginning.
        step: u64,
        /// Where the state came from: `seed`, `model`, `memory`, `checkpoint`.
        from: String,
        /// What was passed over on the way, in words.
        lost: Vec<String>,
    },
    /// A step was made.
    Step {
        /// Its number, from 1.
        step: u64,
        /// Mean nats per target.
        loss: f64,
        /// Before clipping.
        grad_norm: f64,
        /// Used.
        learning_rate: f64,
        /// Targets learned since the beginning.
        num_tokens: u64,
        /// Seconds.
        step_time: f64,
        /// Targets per second of this step.
        tokens_per_second: f64,
        /// What the objective reports.
        metrics: std::collections::BTreeMap<String, f64>,
    },
    /// A window's gradient was dropped.
    Skipped {
        /// The step that was not made.
        step: u64,
        /// Number of the window.
        draw: u64,
        /// Why.
        why: String,
    },
    /// The validation split was measured.
    Evaluated {
        /// Which set of it; empty where there is one.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        set: String,
        /// Only watched: another set is what the stage is judged by.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        watched: bool,
        /// After this step.
        step: u64,
        /// Mean nats per target.
        eval_loss: f64,
        /// Bits per UTF-8 byte of the targets.
        bits_per_byte: f64,
        /// Share of targets that were the first choice.
        accuracy: f64,
        /// Targets.
        tokens: u64,
        /// Better than all before.
        best: bool,
        /// What else the objective says of them.
        #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
        metrics: std::collections::BTreeMap<String, f64>,
    },
    /// A round of completions was gathered; it is in memory.
    Gathered {
        /// After this step.
        step: u64,
        /// Number of the round.
        round: u64,
        /// Windows that are drawn from it.
        windows: u64,
        /// Completions in it.
        completions: u64,
        /// Seconds it took.
        seconds: f64,
        /// What the stage says of it, by TRL's names.
        metrics: std::collections::BTreeMap<String, f64>,
    },
    /// The model's answers are collected, or what people say of them.
    Collecting {
        /// `rank`, ...
        stage: String,
        /// Its folder: `05-rank`.
        folder: String,
        /// How many there are.
        have: u64,
        /// How many are wanted.
        want: u64,
        /// What, and what a person can do.
        what: String,
    },
    /// A measure left its bounds; the run goes on.
    Alarm {
        /// After this step.
        step: u64,
        /// What, and what a person can do.
        what: String,
    },
    /// A fixed prompt was continued.
    Sample {
        /// After this step.
        step: u64,
        /// The prompt.
        prompt: String,
        /// The continuation.
        text: String,
    },
    /// A checkpoint is on disk and verified.
    CheckpointSaved {
        /// Which.
        #[serde(flatten)]
        saved: Saved,
    },
    /// Something failed; what follows is said.
    Trouble {
        /// What.
        what: String,
        /// What the run does about it.
        then: String,
    },
    /// An actor was hired again.
    Rehired {
        /// Which.
        child: String,
        /// Its new generation.
        generation: u64,
        /// Why the one before ended.
        why: String,
    },
    /// The run stands still, holding its state.
    Paused {
        /// Why.
        why: String,
    },
    /// It goes on.
    Resumed,
    /// A stage reached its end.
    StageFinished {
        /// `pretrain`, ...
        stage: String,
        /// Steps made.
        step: u64,
        /// Why it ended.
        why: String,
        /// Best evaluation: loss and step.
        best: Option<(f64, u64)>,
        /// The model folder that is handed on.
        model: String,
    },
    /// The process ends its work on the run: `finished`, `stopped`, `failed`, `halted`.
    Ended {
        /// How.
        how: String,
        /// In words.
        why: String,
    },
}
