//! Counter-based noise: a keyed permutation of any domain, and dice, both drawn from Philox4x32-10.
//!
//! Nothing here has a state that could be lost: a number is a function of a key and a counter
//! (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).

pub use pleach_runtime::shaders::noise::philox;

/// Rounds of the Feistel network; four suffice for pseudo-randomness, more keep tiny domains even.
const ROUNDS: u32 = 6;

/// The two halves of a 64-bit number, low half first.
pub(crate) fn halves(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// A permutation of `0..size`, keyed: a balanced Feistel network on the next even power of two, with cycle walking.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    size: u64,
    half_bits: u32,
    key: [u32; 2],
}

impl Permutation {
    /// The permutation of `0..size` (at least 1, below 2^62) that belongs to `key`.
    pub fn new(size: u64, key: u64) -> Permutation {
        assert!((1..1 << 62).contains(&size), "a permutation of {size} elements");
        let bits = 64 - (size - 1).leading_zeros();
        Permutation { size, half_bits: bits.div_ceil(2).max(1), key: halves(key) }
    }

    /// Where element `index` goes: for distinct indices distinct places.
    pub fn at(&self, index: u64) -> u64 {
        assert!(index < self.size, "element {index} of a permutation of {}", self.size);
        let mut x = self.walk(index);
        while x >= self.size {
            x = self.walk(x);
        }
        x
    }

    fn walk(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (x >> self.half_bits, x & mask);
        for round in 0..ROUNDS {
            let word = philox(self.key, [right as u32, (right >> 32) as u32, round, 0xFE15_7E11]);
            let noise = (u64::from(word[1]) << 32 | u64::from(word[0])) & mask;
            (left, right) = (right, left ^ noise);
        }
        left << self.half_bits | right
    }
}

/// Dice of one document: the n-th throw is a function of seed, document and n.
#[derive(Clone, Debug)]
pub struct Dice {
    key: [u32; 2],
    document: [u32; 2],
    throws: u64,
}

impl Dice {
    /// The dice of document `document` of the seed.
    pub fn new(seed: u64, document: u64) -> Dice {
        Dice { key: halves(seed), document: halves(document), throws: 0 }
    }

    /// The next 64 random bits.
    pub fn word(&mut self) -> u64 {
        let [low, high] = halves(self.throws);
        let word = philox(self.key, [self.document[0], self.document[1], low, high]);
        self.throws += 1;
        u64::from(word[1]) << 32 | u64::from(word[0])
    }

    /// A number in `0..count`; `count` is at least 1. The bias is below count / 2^64.
    pub fn below(&mut self, count: usize) -> usize {
        assert!(count > 0, "no choice among nothing");
        ((u128::from(self.word()) * count as u128) >> 64) as usize
    }

    /// One of the elements.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// True in `percent` of 100 throws.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}
