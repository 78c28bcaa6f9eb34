//! A run that began: what its folder says of the first start. A damaged file is refused with its path, for what was
//! begun with other values would be another run.

use crate::launch::STAGE_FOLDER;
use crate::pipeline::Pipeline;
use crate::pipeline::resolved::{self, Frozen};
use pleach_runtime::fault::{Fault, Refusal};
use std::path::Path;

/// Has anything been trained in this folder?
pub(crate) fn began(folder: &Path) -> bool {
    folder.join("journal.jsonl").is_file() || folder.join("stages").join(STAGE_FOLDER).is_dir()
}

/// What changed in the pipeline file since the run began.
pub(crate) fn compare(now: &Pipeline, folder: &Path) -> Result<Vec<String>, Fault> {
    let path = folder.join("pleach.toml");
    let Some(text) = read(&path)? else { return Ok(Vec::new()) };
    let before = Pipeline::parse(&text).map_err(|refusal| unreadable(&path, &refusal.detail))?;
    Ok(resolved::changes(&before, now)?)
}

/// The values that an earlier start froze.
pub(crate) fn frozen(folder: &Path) -> Result<Option<Frozen>, Fault> {
    let path = folder.join("resolved.toml");
    match read(&path)? {
        Some(text) => match resolved::read(&text) {
            Some(frozen) => Ok(Some(frozen)),
            None => Err(unreadable(&path, "its table [frozen] is damaged").into()),
        },
        // Both files are written before the journal.
        None if folder.join("pleach.toml").is_file() && folder.join("journal.jsonl").is_file() => {
            Err(unreadable(&path, "it is gone").into())
        }
        None => Ok(None),
    }
}

/// A file of the run folder, if it is there.
fn read(path: &Path) -> Result<Option<String>, Fault> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => Err(unreadable(path, "it is no text").into()),
        Err(error) => Err(Fault::disk("read", path, &error)),
    }
}

fn unreadable(path: &Path, detail: &str) -> Refusal {
    let detail = format!("{}: {detail}", path.display());
    let hint = "it is the run's own copy: restore it, or give the new run another name";
    Refusal::new("could not read what the run was begun with", detail, hint)
}
