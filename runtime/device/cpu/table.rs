//! The fast versions, keyed by the name of the op.

use pleach_shaders::spec::{Args, Call};

use super::memory::{Need, Room};

/// A fast version of an op.
pub(super) struct Fast {
    /// `pair.verb`.
    pub(super) name: &'static str,
    /// Computes a call: all writes from all reads, as the spec does, up to rounding.
    pub(super) run: fn(&mut Args<'_>, &mut Room<'_>),
    /// The working memory of a call.
    pub(super) need: fn(&Call) -> Need,
}

/// All of them.
const FAST: &[Fast] = &[];

/// The fast version of an op.
pub(super) fn find(name: &str) -> Option<&'static Fast> {
    FAST.iter().find(|fast| fast.name == name)
}
