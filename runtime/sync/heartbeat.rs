//! One word that says which generation of a child holds its post, since when it is busy, and whether it is to stop.

use crate::facade::{AtomicU64, Ordering, mutant};

const SINCE_BITS: u32 = 40;
const SINCE: u64 = (1 << SINCE_BITS) - 1;
const STOP: u64 = 1 << SINCE_BITS;
const GENERATION_SHIFT: u32 = SINCE_BITS + 1;
/// Generations are below this.
pub const GENERATIONS: u64 = 1 << (64 - GENERATION_SHIFT);

/// What a look at a busy child finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The generation that is busy.
    pub generation: u64,
    /// Since when, in milliseconds of the supervisor's clock.
    pub since: u64,
}

/// Generation, stop flag and busy-since in one atomic word. The supervisor alone moves the generation, upwards only;
/// a child may touch the word only while the generation is its own, so that a hung thread which wakes up late can
/// neither mark nor clear its successor. Layout: 23 bits generation, 1 bit stop, 40 bits milliseconds + 1 (0: idle).
#[derive(Debug)]
pub struct Heartbeat {
    word: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Heartbeat {
        Heartbeat::new()
    }
}

impl Heartbeat {
    /// Generation 0, which nobody holds; idle.
    pub fn new() -> Heartbeat {
        Heartbeat { word: AtomicU64::new(0) }
    }

    /// The supervisor moves the fence: from now on every generation below `generation` is refused. Idle, not stopping.
    pub fn advance(&self, generation: u64) {
        assert!(generation < GENERATIONS, "generation {generation} does not fit");
        let previous = self.word.swap(generation << GENERATION_SHIFT, Ordering::AcqRel);
        assert!(previous >> GENERATION_SHIFT <= generation, "a generation never goes back");
    }

    /// Tells a generation to stop; false where it is not the current one.
    pub fn order_stop(&self, generation: u64) -> bool {
        self.change(generation, |word| word | STOP)
    }

    /// The child becomes busy at `now` milliseconds (or shows that it is alive: a new "since"). False: it was replaced
    /// and must not go on.
    pub fn enter(&self, generation: u64, now: u64) -> bool {
        self.change(generation, |word| (word & !SINCE) | (now + 1).min(SINCE))
    }

    /// The child is idle again. False: it was replaced, and what it has made must not be handed out.
    pub fn leave(&self, generation: u64) -> bool {
        if mutant("heartbeat-store") {
            // The mistake: look, then store; the fence may move in between.
            let mine = self.generation() == generation;
            self.word.store(generation << GENERATION_SHIFT, Ordering::Release);
            return mine;
        }
        self.change(generation, |word| word & !SINCE)
    }

    /// Whether this generation is the current one.
    pub fn holds(&self, generation: u64) -> bool {
        self.generation() == generation
    }

    /// Whether this generation is to stop, or was replaced.
    pub fn stopping(&self, generation: u64) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word >> GENERATION_SHIFT != generation || word & STOP != 0
    }

    /// The current generation.
    pub fn generation(&self) -> u64 {
        self.word.load(Ordering::Acquire) >> GENERATION_SHIFT
    }

    /// Who is busy, since when.
    pub fn busy(&self) -> Option<Busy> {
        let word = self.word.load(Ordering::Acquire);
        let since = word & SINCE;
        (since != 0).then(|| Busy { generation: word >> GENERATION_SHIFT, since: since - 1 })
    }

    fn change(&self, generation: u64, next: impl Fn(u64) -> u64) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
        while word >> GENERATION_SHIFT == generation {
            match self.word.compare_exchange_weak(word, next(word), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
        false
    }
}
