//! The run as the runtime starts it.

use super::Launch;
use crate::pipeline::resolved::Derived;
use crate::pipeline::{Kind, StageChoice};
use pleach_runtime::actors::optimizer::OptimizerConfig;
use pleach_runtime::device::choose::open;
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::messages::Blueprint;
use pleach_runtime::run::{QUICK_WATCH, RunPlan};
use pleach_runtime::schedule::{Decay, Schedule};
use pleach_runtime::supervise::Failpoints;
use pleach_runtime::trainer::{Timing, TrainerPlan};
use std::sync::Arc;
use std::time::Duration;

impl Launch {
    /// The run as the runtime starts it.
    pub fn run_plan(&self, failpoints: Failpoints) -> RunPlan {
        let chosen = self.chosen.clone();
        RunPlan {
            folder: self.folder.clone(),
            name: self.pipeline.name.clone(),
            after: None,
            stages: (0..self.stages.len()).map(|at| Arc::new(self.trainer(at))).collect(),
            done: self.done,
            watch: QUICK_WATCH,
            changes: self.changes.clone(),
            open: Arc::new(move || open(&chosen)),
            known: self.known,
            failpoints,
            store: RunPlan::disk(),
        }
    }

    fn trainer(&self, at: usize) -> TrainerPlan {
        let (stage, frozen) = (&self.stages[at], &self.frozen.stages[at]);
        let (choice, steps) = (&stage.choice, frozen.steps);
        let derived = Derived::of(choice, steps);
        let timing = Timing {
            steps,
            eval_every: derived.eval_every,
            sample_every: derived.sample_every,
            save_every: choice.save_every,
            save_period: Duration::from_secs_f64(choice.save_minutes * 60.0),
            vault_every: derived.vault_every,
            milestones: choice.milestones,
            patience: choice.patience,
            forgetting: if choice.kind == Kind::Continued { choice.forgetting } else { 0.0 },
        };
        let optimizer = OptimizerConfig {
            schedule: schedule(choice, steps),
            beta1: choice.beta1,
            beta2: choice.beta2,
            clip: choice.clip,
        };
        let sampling = Sampling {
            temperature: choice.temperature as f32,
            top_p: choice.top_p as f32,
            seed: self.pipeline.seed,
            max_tokens: choice.sample_tokens,
            ..Sampling::default()
        };
        let entry = self.entry(at, self.given.clone());
        TrainerPlan {
            folder: stage.folder.clone(),
            stage: stage.recipe.clone(),
            blueprint: Blueprint {
                roles: stage.roles.clone(),
                shapes: stage.shapes(frozen.micro_rows),
                adamw: stage.adamw(),
            },
            optimizer,
            prefetch: choice.prefetch,
            timing,
            seed: self.pipeline.seed,
            sampling,
            // A frozen reference is the model that the stage was entered with.
            entries: vec![entry; stage.roles.len()],
        }
    }
}

fn schedule(choice: &StageChoice, steps: u64) -> Schedule {
    let decay = match choice.schedule.as_str() {
        "constant" => Decay::Constant,
        "linear" => Decay::Linear,
        "wsd" => Decay::Wsd { share: choice.decay_share },
        _ => Decay::Cosine,
    };
    let warmup = Derived::of(choice, steps).warmup;
    Schedule { learning_rate: choice.learning_rate, floor: choice.floor, warmup, steps, decay }
}
