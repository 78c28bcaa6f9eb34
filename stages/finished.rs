//! Is a run at its end already? Then the same command trains nothing, and says where the model lies.

use crate::launch::{Launch, STAGE_FOLDER};
use pleach_runtime::fault::Fault;
use pleach_runtime::store::{Disk, Follower, checkpoints, model_files, verify_files};
use std::path::PathBuf;
use std::sync::Arc;

impl Launch {
    /// The model folder of a run that made all its steps: its newest checkpoint is whole and the last one, and the
    /// journal says that the model of just this step was handed on. Where one of these fails the run goes on, which
    /// mends it. Writes nothing.
    ///
    /// # Errors
    /// A disk that does not answer.
    pub fn finished(&self) -> Result<Option<PathBuf>, Fault> {
        let Some((checkpoint, manifest)) = checkpoints(&Disk, &self.folder)?.pop() else { return Ok(None) };
        if !manifest.good || !manifest.last || manifest.step < self.frozen.steps {
            return Ok(None);
        }
        let records = Follower::read_all(Arc::new(Disk), &self.folder.join("journal.jsonl"))?;
        let ends = records.iter().rev().find(|record| record.text("event") == "stage_finished");
        let handed_on = ends.and_then(|record| record.number("step")) == Some(manifest.step as f64);
        let model = self.folder.join("stages").join(STAGE_FOLDER).join("model");
        let whole = handed_on
            && model.join("config.json").is_file()
            && model_files(&Disk, &model).is_ok()
            && verify_files(&Disk, &checkpoint, &manifest, &|_| true).is_ok();
        Ok(whole.then_some(model))
    }
}
