//! The one module that hands overlapping-looking memory to several threads, and why that is sound.
//!
//! Work is cut into numbered pieces whose borders depend on the shape alone. A [`Shared`] wraps a slice that a call
//! writes; its pieces ask for disjoint parts of it. Three rules carry the safety of the whole cpu device:
//! 1. a `Shared` borrows its slice mutably for as long as it lives, so nobody outside can look at it meanwhile;
//! 2. every part is bounds-checked against that slice;
//! 3. two pieces that may run at the same time ask for disjoint parts. [`Team::rows`] guarantees it by construction
//!    (consecutive rows); the few callers of the `unsafe` methods say why it holds for their cut.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

/// A slice that pieces of one parallel region write in disjoint parts.
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Shared` is only a base address; parts are reached through unsafe methods whose callers promise that they
// are disjoint, so moving or sharing the address between threads races on nothing. f32 is Send and Sync.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Wraps a slice for as long as it is borrowed.
    pub(super) fn new(slice: &'a mut [f32]) -> Shared<'a> {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }
    /// A contiguous part.
    ///
    /// # Safety
    /// No other part that overlaps `range` is alive.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} words", self.len);
        // SAFETY: in bounds by the assertion; unaliased by rule 1 and the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
    /// A rectangle: `rows` rows of `width` columns, `stride` words from row to row, the first word at `from`.
    ///
    /// # Safety
    /// No other part or tile that overlaps this one is alive.
    pub(super) unsafe fn tile(&self, from: usize, rows: usize, width: usize, stride: usize) -> Tile<'_> {
        assert!(width <= stride || rows <= 1, "a tile of {width} columns with stride {stride}");
        let last = if rows == 0 { 0 } else { from + (rows - 1) * stride + width };
        assert!(last <= self.len, "a tile that ends at {last} of {} words", self.len);
        Tile { start: self.start.wrapping_add(from), rows, width, stride, borrow: PhantomData }
    }
}

/// A rectangle of a [`Shared`] (or of a plain slice) that one piece writes.
pub(super) struct Tile<'a> {
    start: *mut f32,
    rows: usize,
    width: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

impl<'a> Tile<'a> {
    /// A whole row-major slice as a tile.
    pub(super) fn whole(slice: &'a mut [f32], rows: usize, width: usize) -> Tile<'a> {
        assert!(rows * width <= slice.len(), "a tile of {rows} x {width} in {} words", slice.len());
        Tile { start: slice.as_mut_ptr(), rows, width, stride: width, borrow: PhantomData }
    }
    /// Rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }
    /// Columns.
    pub(super) fn width(&self) -> usize {
        self.width
    }
    /// Words from row to row.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }
    /// One row.
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: inside the rectangle that was bounds-checked when the tile was made; `&mut self` keeps rows apart.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.width) }
    }
    /// A rectangle inside it: some rows, and `width` columns from `col`.
    pub(super) fn part(&mut self, rows: Range<usize>, col: usize, width: usize) -> Tile<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.rows && col + width <= self.width, "a part of a tile");
        let start = self.start.wrapping_add(rows.start * self.stride + col);
        Tile { start, rows: rows.len(), width, stride: self.stride, borrow: PhantomData }
    }
    /// Its first word, for the matrix product.
    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.start
    }
}

thread_local! {
    /// Is this thread inside a piece? Lanes are handed out by thread, so pieces must not nest.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Marks the thread busy until dropped.
struct Busy;

impl Busy {
    fn enter() -> Busy {
        assert!(!BUSY.replace(true), "parallel regions of the cpu device do not nest");
        Busy
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.set(false);
    }
}

/// The device's own threads.
pub(super) struct Team {
    pool: rayon::ThreadPool,
}

impl Team {
    /// A pool of this many threads; the global pool of a host application is never touched.
    pub(super) fn new(threads: usize) -> Result<Team, rayon::ThreadPoolBuildError> {
        let pool =
            rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("pleach-cpu-{i}")).build()?;
        Ok(Team { pool })
    }
    /// How many threads.
    pub(super) fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }
    /// Runs `body` on one of the threads; regions started inside begin without a hand-over.
    pub(super) fn enter<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        self.pool.install(body)
    }
    /// Runs `body(0), ..., body(pieces - 1)`, in any order, on all threads.
    pub(super) fn each(&self, pieces: usize, body: impl Fn(usize) + Sync) {
        let one = |piece| {
            let _busy = Busy::enter();
            body(piece);
        };
        if pieces <= 1 || self.threads() == 1 {
            (0..pieces).for_each(one);
        } else {
            self.enter(|| (0..pieces).into_par_iter().with_max_len(1).for_each(one));
        }
    }
    /// The same with `words` of working memory for each running piece, taken from `lanes` by thread.
    pub(super) fn each_with(
        &self,
        lanes: &mut [f32],
        words: usize,
        pieces: usize,
        body: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        assert!(lanes.len() >= words * self.threads(), "working memory of {words} words a thread");
        let lanes = Shared::new(lanes);
        self.enter(|| {
            self.each(pieces, |piece| {
                let thread = rayon::current_thread_index().expect("pieces run on the team's threads");
                // SAFETY: a thread runs one piece at a time (`Busy` refuses nesting), and its lane belongs to it alone.
                body(piece, unsafe { lanes.part(thread * words..(thread + 1) * words) });
            });
        });
    }
    /// Cuts `rows` rows into pieces of `chunk` rows and gives each piece its rows of every output. An output comes with
    /// its words per row; 0 stands for an absent one and gives an empty slice.
    pub(super) fn rows<const N: usize>(
        &self,
        rows: usize,
        chunk: usize,
        outs: [(&mut [f32], usize); N],
        body: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
    ) {
        self.rows_with(rows, chunk, outs, (&mut [], 0), |range, parts, _| body(range, parts));
    }
    /// The same with so many words of `own` for each piece, one piece after the other: partial sums.
    pub(super) fn rows_with<const N: usize>(
        &self,
        rows: usize,
        chunk: usize,
        outs: [(&mut [f32], usize); N],
        own: (&mut [f32], usize),
        body: impl Fn(Range<usize>, [&mut [f32]; N], &mut [f32]) + Sync,
    ) {
        let chunk = chunk.max(1);
        let shared = outs.map(|(slice, width)| (Shared::new(slice), width));
        let (own, words) = (Shared::new(own.0), own.1);
        self.each(rows.div_ceil(chunk), |piece| {
            let range = piece * chunk..((piece + 1) * chunk).min(rows);
            let parts = std::array::from_fn(|j| {
                let (slice, width) = &shared[j];
                // SAFETY: pieces own consecutive, disjoint ranges of rows; `outs` are distinct mutable borrows.
                unsafe { slice.part(range.start * width..range.end * width) }
            });
            // SAFETY: every piece has its own number, and so its own words.
            let own = unsafe { own.part(piece * words..(piece + 1) * words) };
            body(range, parts, own);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_given_out_once_for_any_number_of_threads() {
        for threads in [1, 2, 3] {
            let team = Team::new(threads).expect("a pool");
            let (mut a, mut b) = (vec![0.0; 37 * 3], vec![0.0; 37]);
            team.rows(37, 5, [(&mut a, 3), (&mut b, 1)], |rows, [a, b]| {
                assert_eq!((a.len(), b.len()), (rows.len() * 3, rows.len()));
                a.iter_mut().for_each(|v| *v += 1.0);
                b.iter_mut().zip(rows).for_each(|(v, row)| *v += row as f32);
            });
            assert!(a.iter().all(|&v| v == 1.0));
            assert!(b.iter().enumerate().all(|(i, &v)| v == i as f32));
        }
    }

    #[test]
    #[should_panic(expected = "do not nest")]
    fn regions_do_not_nest() {
        let team = Team::new(1).expect("a pool");
        team.each(2, |_| team.each(2, |_| ()));
    }
}
