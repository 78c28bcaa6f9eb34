//! Which checkpoints stay. By number, never by step: after a roll-back the newest has a smaller step than older ones.

use super::Manifest;

/// How many of the newest stay.
pub(super) const NEWEST: usize = 3;

/// A checkpoint that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub seq: u64,
    /// "newest", "newest good", "best of 01-pretrain", "last of 01-pretrain" or "milestone".
    pub why: String,
}

/// What stays of these checkpoints (in any order), by number: the `newest` newest, the newest good one, and of each
/// stage the best validated good one and the last; and every milestone. A checkpoint is named once, by its first
/// reason.
pub fn plan(all: &[Manifest], newest: usize) -> Vec<Kept> {
    let mut by_seq: Vec<&Manifest> = all.iter().collect();
    by_seq.sort_by_key(|m| std::cmp::Reverse(m.seq));
    let mut kept: Vec<Kept> = Vec::new();
    let mut keep = |seq: u64, why: String| {
        if kept.iter().all(|k| k.seq != seq) {
            kept.push(Kept { seq, why });
        }
    };
    for m in by_seq.iter().take(newest.max(1)) {
        keep(m.seq, "newest".to_owned());
    }
    if let Some(m) = by_seq.iter().find(|m| m.good) {
        keep(m.seq, "newest good".to_owned());
    }
    let mut stages: Vec<&str> = by_seq.iter().map(|m| m.stage.as_str()).collect();
    stages.sort_unstable();
    stages.dedup();
    for stage in stages {
        let of_stage = || by_seq.iter().filter(|m| m.stage == stage);
        if let Some(m) = of_stage().find(|m| m.last && m.good).or_else(|| of_stage().find(|m| m.last)) {
            keep(m.seq, format!("last of {stage}"));
        }
        let validated = of_stage().filter(|m| m.good && m.validation.is_some_and(f64::is_finite));
        // Of equals the newest wins: `by_seq` runs from new to old and min_by keeps the first.
        if let Some(m) = validated.min_by(|a, b| a.validation.unwrap_or(0.0).total_cmp(&b.validation.unwrap_or(0.0))) {
            keep(m.seq, format!("best of {stage}"));
        }
    }
    for m in by_seq.iter().filter(|m| m.milestone) {
        keep(m.seq, "milestone".to_owned());
    }
    kept.sort_by_key(|k| k.seq);
    kept
}

/// What a run has to hand on or to show: of the newest stage that has a good checkpoint, the best validated one, else
/// the last. `all` is in any order.
pub fn best(all: &[Manifest]) -> Option<&Manifest> {
    let newest = all.iter().filter(|m| m.good).max_by_key(|m| m.seq)?;
    let rank = |m: &Manifest| m.validation.filter(|v| v.is_finite());
    let of_stage = all.iter().filter(|m| m.good && m.stage == newest.stage);
    let validated = of_stage.filter_map(|m| Some((rank(m)?, m)));
    let best = validated.min_by(|(a, x), (b, y)| a.total_cmp(b).then(y.seq.cmp(&x.seq)));
    Some(best.map_or(newest, |(_, m)| m))
}

/// Whether a run of `total` steps enters a new tenth between the checkpoint at `before` and the one at `step`.
pub fn crosses_milestone(before: u64, step: u64, total: u64) -> bool {
    let tenth = |s: u64| u128::from(s) * 10 / u128::from(total.max(1));
    tenth(step) > tenth(before)
}
