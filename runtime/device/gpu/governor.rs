//! The governor: cuts a program into submissions that are short enough for watchdogs and for other users of the GPU.
//!
//! Each dispatch has an estimate in seconds, first from its [`Cost`] and cautious rates, then corrected by what its
//! submissions took. Cuts never change a result.

use super::health::Measured;
use pleach_shaders::spec::Cost;
use std::time::Duration;

/// Cautious first rates of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates {
    /// Floating-point operations per second.
    pub(super) flops: f64,
    /// Bytes per second.
    pub(super) bytes: f64,
    /// Seconds of a dispatch that does nothing.
    pub(super) dispatch: f64,
}

impl Rates {
    /// The work of so many seconds.
    pub(super) fn within(&self, seconds: f64) -> Cost {
        Cost { flops: self.flops * seconds, bytes: self.bytes * seconds }
    }
    fn seconds(&self, cost: &Cost) -> f64 {
        self.dispatch + (cost.flops / self.flops).max(cost.bytes / self.bytes)
    }
}

/// The slice of a program's first run is this much shorter: nothing was measured yet.
const CAUTION: f64 = 8.0;
/// No slice is planned longer than this on a real GPU, whatever was asked for.
pub(super) const HARD_CAP: Duration = Duration::from_millis(250);

/// How long submissions may be.
pub(super) struct Governor {
    rates: Rates,
    slice: f64,
    estimates: Vec<Estimates>,
}

/// What the dispatches of one program take.
struct Estimates {
    seconds: Vec<f64>,
    measured: bool,
}

impl Governor {
    /// A governor that aims at `slice`.
    pub(super) fn new(rates: Rates, slice: Duration) -> Governor {
        Governor { rates, slice: slice.as_secs_f64(), estimates: Vec::new() }
    }

    /// Another aim; programs are cut anew at their next run.
    pub(super) fn set_slice(&mut self, slice: Duration) {
        self.slice = slice.as_secs_f64();
    }

    /// Forgets all programs.
    pub(super) fn forget(&mut self) {
        self.estimates.clear();
    }

    /// Knows a program by the costs of its dispatches; programs are numbered from 0.
    pub(super) fn learn<'c>(&mut self, costs: impl Iterator<Item = &'c Cost>) {
        let seconds = costs.map(|cost| self.rates.seconds(cost)).collect();
        self.estimates.push(Estimates { seconds, measured: false });
    }

    /// Cuts dispatches `from .. to` of a program: the ends of its submissions, the last one being `to`.
    pub(super) fn cuts(&self, program: usize, from: usize, to: usize) -> Vec<usize> {
        let known = &self.estimates[program];
        let slice = if known.measured { self.slice } else { self.slice / CAUTION };
        let (mut cuts, mut sum) = (Vec::new(), 0.0);
        for at in from..to {
            sum += known.seconds[at];
            if sum > slice && at > from && cuts.last() != Some(&at) {
                cuts.push(at);
                sum = known.seconds[at];
            }
        }
        cuts.push(to);
        cuts
    }

    /// Estimated seconds of dispatches `from .. to`.
    pub(super) fn seconds(&self, program: usize, from: usize, to: usize) -> f64 {
        self.estimates[program].seconds[from..to].iter().sum()
    }

    /// Corrects estimates. An upper bound only ever lowers one; half the step (of the logarithm) is taken at a time, so
    /// that one disturbed measurement does not decide.
    pub(super) fn correct(&mut self, measured: &[Measured]) {
        for one in measured {
            let Some(known) = self.estimates.get_mut(one.tag.program) else { continue };
            let Some(seconds) = known.seconds.get_mut(one.tag.from..one.tag.to) else { continue };
            let factor = (one.seconds / seconds.iter().sum::<f64>().max(1e-9)).max(1e-6).sqrt().clamp(0.1, 10.0);
            if one.sharp || factor < 1.0 {
                seconds.iter_mut().for_each(|estimate| *estimate *= factor);
                known.measured = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::health::Tag;
    use super::*;

    const RATES: Rates = Rates { flops: 1e9, bytes: 1e9, dispatch: 0.0 };

    fn governor(costs: &[f64]) -> Governor {
        let mut governor = Governor::new(RATES, Duration::from_millis(80));
        let costs: Vec<Cost> = costs.iter().map(|&ms| Cost { flops: ms * 1e6, bytes: 0.0 }).collect();
        governor.learn(costs.iter());
        governor
    }

    fn measured(from: usize, to: usize, seconds: f64, sharp: bool) -> Measured {
        Measured { tag: Tag { program: 0, from, to }, seconds, sharp }
    }

    #[test]
    fn the_first_run_is_cut_finer_than_the_second() {
        let mut governor = governor(&[8.0; 20]);
        assert_eq!(governor.cuts(0, 0, 20), (1..=20).collect::<Vec<_>>());
        governor.correct(&[measured(0, 20, 0.160, true)]);
        assert_eq!(governor.cuts(0, 0, 20), vec![10, 20]);
        assert_eq!(governor.cuts(0, 5, 9), vec![9]);
    }

    #[test]
    fn a_dispatch_above_the_slice_stands_alone() {
        let mut governor = governor(&[1.0, 500.0, 1.0]);
        governor.correct(&[measured(0, 3, 0.502, true)]);
        assert_eq!(governor.cuts(0, 0, 3), vec![1, 2, 3]);
    }

    #[test]
    fn slow_slices_are_cut_and_bounds_only_shorten() {
        let mut governor = governor(&[10.0; 8]);
        for _ in 0..20 {
            governor.correct(&[measured(0, 8, 0.320, true)]);
        }
        assert_eq!(governor.cuts(0, 0, 8), vec![2, 4, 6, 8]);
        governor.correct(&[measured(0, 8, 9.0, false)]);
        assert_eq!(governor.cuts(0, 0, 8), vec![2, 4, 6, 8]);
    }
}
