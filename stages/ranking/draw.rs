//! Draws that are functions of the store's seed and of names: who gets what, in which order.

use crate::data::random::Dice;

/// 64 bits that belong to a seed, a purpose and names.
fn word(seed: u64, purpose: &str, names: &[&str]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    for name in [&[purpose], names].concat() {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
    }
    let bytes = *hasher.finalize().as_bytes();
    u64::from_le_bytes(std::array::from_fn(|index| bytes[index]))
}

/// A number that tells one of these names from another.
pub(super) fn number(seed: u64, purpose: &str, names: &[&str]) -> u64 {
    word(seed, purpose, names)
}

/// True for this share of all names.
pub(super) fn chance(seed: u64, purpose: &str, names: &[&str], share: f64) -> bool {
    ((word(seed, purpose, names) >> 11) as f64) < share * (1u64 << 53) as f64
}

/// The elements in an order of their own.
pub(super) fn shuffled<T>(seed: u64, purpose: &str, names: &[&str], mut elements: Vec<T>) -> Vec<T> {
    let mut dice = Dice::new(word(seed, purpose, names), 0);
    for last in (1..elements.len()).rev() {
        elements.swap(last, dice.below(last + 1));
    }
    elements
}
