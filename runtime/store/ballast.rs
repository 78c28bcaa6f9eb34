//! A file of noise that holds space back for the last words of a run whose disk is full.

use std::path::Path;

use super::Store;
use crate::fault::{Fault, FaultKind};

/// The file's name in the run folder.
pub(super) const BALLAST: &str = "ballast";
/// Its bytes.
pub(super) const BALLAST_BYTES: usize = 1 << 20;

/// Puts the file there if it is not, or not whole. A disk too full for it is no error: the run's own checks speak of
/// that.
pub(super) fn load(store: &dyn Store, root: &Path) -> bool {
    let path = root.join(BALLAST);
    let whole = store
        .list(root)
        .is_ok_and(|entries| entries.iter().any(|e| e.name == BALLAST && e.len == BALLAST_BYTES as u64));
    if whole {
        return true;
    }
    let _ = store.remove(&path);
    // Noise, so that a compressing file system keeps real space for it.
    let mut noise = vec![0u8; BALLAST_BYTES];
    blake3::Hasher::new().update(b"pleach ballast").finalize_xof().fill(&mut noise);
    let written = store.write(&path, &mut |out| out.write_all(&noise)).is_ok();
    if !written {
        let _ = store.remove(&path);
    }
    written
}

/// Writes the last words of a run: where the disk is full, the ballast's space is given back for them, and `write` is
/// asked once more.
pub fn last_words(store: &dyn Store, root: &Path, write: &mut dyn FnMut() -> Result<(), Fault>) -> Result<(), Fault> {
    match write() {
        Err(fault) if fault.kind == FaultKind::DiskFull => {
            // Missing or unremovable, it is tried all the same.
            let _ = store.remove(&root.join(BALLAST));
            let _ = store.sync(root);
            write()
        }
        done => done,
    }
}
