//! The run as the runtime starts it.

use super::{Launch, Work, folder_of};
use crate::pipeline::resolved::Derived;
use crate::pipeline::{Kind, StageChoice};
use pleach_runtime::actors::optimizer::OptimizerConfig;
use pleach_runtime::collect::CollectorPlan;
use pleach_runtime::device::choose::open;
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::messages::Blueprint;
use pleach_runtime::run::{QUICK_WATCH, RunPlan, StagePlan};
use pleach_runtime::schedule::{Decay, Schedule};
use pleach_runtime::stage::Stage;
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
            stages: (0..self.pipeline.stages.len()).map(|at| self.stage_plan(at)).collect(),
            done: self.done,
            watch: QUICK_WATCH,
            changes: self.changes.clone(),
            open: Arc::new(move || open(&chosen)),
            known: self.known,
            failpoints,
            store: RunPlan::disk(),
        }
    }

    /// Stage number `at`; one that learns from what is still to be collected is planned when that is there, by
    /// launching anew.
    fn stage_plan(&self, at: usize) -> StagePlan {
        let Some(stage) = self.stages.get(at) else {
            let folder = folder_of(at, self.pipeline.stages[at].kind);
            let (pipeline, base, run) = (self.pipeline.clone(), self.base.clone(), self.folder.clone());
            let somebody = self.somebody;
            let make = move || {
                let launch = Launch::seen(&pipeline, &base, &run, somebody, &mut |_| true)?;
                launch.check_fit()?;
                launch.record_again()?;
                Ok(launch.stage_plan(at))
            };
            return StagePlan::Later { folder, make: Arc::new(make) };
        };
        match &stage.work {
            Work::Train(recipe) => self.trainer(at, recipe.clone()).into(),
            Work::Collect(work) => StagePlan::Collect(Arc::new(CollectorPlan {
                folder: stage.folder.clone(),
                stage: work.clone(),
                blueprint: self.blueprint(at),
                entry: self.entry(at, &stage.roles[0]).expect("a stage that collects is never the first"),
            })),
        }
    }

    fn blueprint(&self, at: usize) -> Blueprint {
        let stage = &self.stages[at];
        let shapes = stage.shapes(self.frozen.stages[at].micro_rows);
        Blueprint { roles: stage.roles.clone(), shapes, adamw: stage.adamw() }
    }

    fn trainer(&self, at: usize, recipe: Arc<dyn Stage>) -> TrainerPlan {
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
        TrainerPlan {
            folder: stage.folder.clone(),
            stage: recipe,
            blueprint: self.blueprint(at),
            optimizer,
            prefetch: choice.prefetch,
            timing,
            seed: self.pipeline.seed,
            sampling,
            // A frozen reference is the model that the stage was entered with.
            entries: stage.roles.iter().map(|role| self.entry(at, role)).collect(),
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
