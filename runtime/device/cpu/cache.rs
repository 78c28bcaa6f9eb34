//! cache.append: rows that the key/value cache takes.

use pleach_shaders::cache;
use pleach_shaders::spec::{Args, words};

use super::memory::Room;

/// cache.append.
pub(super) fn append(args: &mut Args<'_>, _: &mut Room<'_>) {
    let p: cache::Params = args.params();
    let (x, slots) = (args.reads[0], words(args.reads[1]));
    let (width, from) = (p.width as usize, p.from as usize);
    // A copy of a few rows: not worth waking threads.
    for (x, &slot) in x.chunks_exact(p.stride as usize).zip(slots) {
        if slot != u32::MAX {
            assert!(slot < p.rows, "slot {slot} of a cache of {} rows", p.rows);
            let at = slot as usize * width;
            args.writes[0][at..at + width].copy_from_slice(&x[from..from + width]);
        }
    }
}
