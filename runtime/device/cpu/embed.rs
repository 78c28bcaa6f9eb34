//! embed: rows of a table; their gradients by runs of equal ids.

use pleach_shaders::spec::{Args, words};
use pleach_shaders::{embed, sink};

use super::elementwise::rows_of;
use super::math::simd;
use super::memory::Room;
use super::share::Shared;

/// embed.forward.
pub(super) fn forward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: embed::Params = args.params();
    let (n, c) = (p.n as usize, p.c as usize);
    let (table, ids, add) = (args.reads[0], words(args.reads[1]), args.reads[2]);
    room.team.rows(n, rows_of(c), [(&mut *args.writes[0], c)], |range, [y]| {
        for (row, y) in range.zip(y.chunks_exact_mut(c)) {
            assert!(ids[row] < p.v, "token id {} of a vocabulary of {}", ids[row], p.v);
            let from = &table[ids[row] as usize * c..][..c];
            if p.add == 0 {
                y.copy_from_slice(from);
            } else {
                let add = &add[row * c..][..c];
                simd!({
                    for i in 0..c {
                        y[i] = from[i] + add[i];
                    }
                });
            }
        }
    });
}

/// embed.backward.
pub(super) fn backward(args: &mut Args<'_>, room: &mut Room<'_>) {
    let p: embed::Params = args.params();
    let (n, c, v) = (p.n as usize, p.c as usize, p.v as usize);
    let (dy, order, runs) = (args.reads[0], words(args.reads[1]), words(args.reads[2]));
    if p.add == sink::WRITE {
        room.team.rows(v, rows_of(c), [(&mut *args.writes[0], c)], |_, [rows]| rows.fill(0.0));
    }
    let runs = &runs[..2 * n];
    let count = runs.chunks_exact(2).take_while(|run| run[0] != u32::MAX).count();
    // The one table row per run must be its own: the host sorts by id, so ids rise from run to run.
    assert!(runs[..2 * count].chunks_exact(2).is_sorted_by(|a, b| a[0] < b[0]), "runs of ids that rise");
    let table = Shared::new(args.writes[0]);
    room.team.each(count, |run| {
        let (id, first) = (runs[2 * run] as usize, runs[2 * run + 1] as usize);
        let last = if run + 1 < n { runs[2 * run + 3] as usize } else { n };
        // SAFETY: ids differ from run to run (asserted above), so every run has a row of its own.
        let row = unsafe { table.part(id * c..(id + 1) * c) };
        simd!({
            for &token in &order[first..last] {
                let dy = &dy[token as usize * c..][..c];
                for i in 0..c {
                    row[i] += dy[i];
                }
            }
        });
    });
}
