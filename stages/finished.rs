//! Which stages of a run are done already? What is done is not trained again, and at the end of all the same command
//! trains nothing, and says where the model lies.

use crate::launch::{Launch, folder_of};
use crate::pipeline::Kind;
use crate::rank;
use pleach_runtime::fault::Fault;
use pleach_runtime::store::{Disk, Follower, Manifest, checkpoints, model_files, verify_files};
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Launch {
    /// The model folder of a run whose stages are all done. Writes nothing.
    ///
    /// # Errors
    /// A disk that does not answer.
    pub fn finished(&self) -> Result<Option<PathBuf>, Fault> {
        if self.done < self.pipeline.stages.len() {
            return Ok(None);
        }
        let last = (0..self.pipeline.stages.len()).rev().find(|&at| self.pipeline.stages[at].kind.hands_on());
        Ok(last.map(|at| self.model_of(at)))
    }

    /// The last stage is not done where more steps are asked of it: it goes on from its last checkpoint. (A stage that
    /// ended for want of patience has made all that it will make.)
    pub(crate) fn ask_for_more(&mut self) -> Result<(), Fault> {
        let last = self.pipeline.stages.len() - 1;
        if self.done <= last || self.stages[last].recipe().is_none() || self.stages[last].choice.patience > 0 {
            return Ok(());
        }
        let newest = checkpoints(&Disk, &self.folder)?.pop();
        if newest.is_none_or(|(_, manifest)| manifest.step < self.frozen.stages[last].steps) {
            self.done = last;
        }
        Ok(())
    }

    /// How many stages are done: those before the one that the newest checkpoint belongs to, and that one too where its
    /// model was handed on. Whatever of this fails is gone through again, which mends it.
    pub(crate) fn stages_done(&self) -> Result<usize, Fault> {
        let all = checkpoints(&Disk, &self.folder)?;
        let names: Vec<String> =
            self.pipeline.stages.iter().enumerate().map(|(at, stage)| folder_of(at, stage.kind)).collect();
        let newest = all.iter().rev().find_map(|(folder, manifest)| {
            let at = names.iter().position(|name| *name == manifest.stage)?;
            Some((at, folder, manifest))
        });
        let mut done = match newest {
            Some((at, folder, manifest)) => at + usize::from(self.handed_on(at, folder, manifest)?),
            None => 0,
        };
        // What a stage collected was frozen at its end.
        while self.pipeline.stages.get(done).is_some_and(|stage| stage.kind == Kind::Rank) {
            if rank::frozen(&self.folder.join("stages").join(&names[done])).is_none() {
                break;
            }
            done += 1;
        }
        Ok(done)
    }

    /// The model folder of a stage.
    fn model_of(&self, at: usize) -> PathBuf {
        self.folder.join("stages").join(folder_of(at, self.pipeline.stages[at].kind)).join("model")
    }

    /// Is a checkpoint whole and its stage's last one, and was the model of just this step handed on?
    fn handed_on(&self, at: usize, checkpoint: &Path, manifest: &Manifest) -> Result<bool, Fault> {
        if !manifest.good || !manifest.last {
            return Ok(false);
        }
        let records = Follower::read_all(Arc::new(Disk), &self.folder.join("journal.jsonl"))?;
        let model = self.model_of(at);
        // The journal has the path as it was then; a run's folder may have moved.
        let of_stage = format!("{}/model", manifest.stage);
        let ends = records.iter().rev().find(|record| {
            record.text("event") == "stage_finished" && record.text("model").replace('\\', "/").ends_with(&of_stage)
        });
        let told = ends.and_then(|record| record.number("step")) == Some(manifest.step as f64);
        Ok(told
            && model.join("config.json").is_file()
            && model_files(&Disk, &model).is_ok()
            && verify_files(&Disk, checkpoint, manifest, &|_| true).is_ok())
    }
}
