//! A run that began: what its folder says of the first start. A damaged file is refused with its path, for what was
//! begun with other values would be another run.

use crate::launch::folder_of;
use crate::pipeline::Pipeline;
use crate::pipeline::resolved::{self, Frozen};
use pleach_runtime::device::choose::{Chosen, Wish, choose};
use pleach_runtime::fault::{Fault, Refusal};
use std::path::Path;

/// Has anything been trained in this folder?
pub(crate) fn began(folder: &Path) -> bool {
    folder.join("journal.jsonl").is_file() || folder.join("stages").is_dir()
}

/// Are there tokens in this folder? A begun run has learned from them, or is about to.
pub(crate) fn learned_from(data: &Path) -> bool {
    ["prepared.json", "train.tokens"].iter().any(|name| data.join(name).is_file())
}

/// What changed in the pipeline file since the run began.
pub(crate) fn compare(now: &Pipeline, folder: &Path) -> Result<Vec<String>, Fault> {
    let path = folder.join("pleach.toml");
    let Some(text) = read(&path)? else { return Ok(Vec::new()) };
    let before = Pipeline::parse(&text).map_err(|refusal| unreadable(&path, &refusal.detail))?;
    let of = |at: usize| folder.join("stages").join(folder_of(at, now.stages[at].kind));
    // What the first stage is made of is settled when the run's data are.
    let begun = |at: usize| at == 0 || of(at).is_dir();
    let mut changes = resolved::changes(&before, now, &begun)?;
    // A flag is not in the file that was kept; what it asks of the device is compared with the frozen wish.
    changes.retain(|change| {
        !now.flags.iter().any(|flag| change.strip_prefix(flag).is_some_and(|rest| rest.starts_with(':')))
    });
    Ok(changes)
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

/// The device, why it is this one, and whether the run has worked with it: the one of the first start, whatever else is
/// there now, until a person asks for another.
pub(crate) fn device(
    pipeline: &Pipeline,
    before: Option<&Frozen>,
    changes: &mut Vec<String>,
) -> Result<(Chosen, String, bool), Fault> {
    let wish = Wish::parse(&pipeline.device)?;
    let kept = before.and_then(|frozen| Some((frozen, Chosen::parse(&frozen.device, pipeline.threads)?)));
    if let Some((frozen, chosen)) = kept {
        if frozen.wish == pipeline.device {
            return Ok((chosen, format!("{}, as at the first start", frozen.device), true));
        }
        if !changes.iter().any(|change| change.starts_with("device:")) {
            changes.push(format!("device: was {}, is {}", frozen.wish, pipeline.device));
        }
    }
    let (chosen, why) = choose(&wish, pipeline.threads);
    Ok((chosen, why, false))
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
