//! What the objectives share: logarithms that keep their digits, and the conditions at an objective's border.

use pleach_runtime::fault::{Fault, FaultKind};

/// log(1 + e^x), for any x.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// 1 / (1 + e^-x), for any x; small values keep their digits.
pub(super) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// log(1 - e^x) for x <= 0; -inf at 0. Two branches, because either formula loses its digits at the other's end
/// (Maechler, "Accurately computing log(1 - exp(-|a|))", 2012).
pub(super) fn log1mexp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// e^x - 1 - x with x = reference - policy: the k3 estimate of KL(policy || reference), never below 0, and its
/// derivative by the policy's log-probability (Schulman, "Approximating KL divergence", 2020).
pub(crate) fn k3(policy: f64, reference: f64) -> (f64, f64) {
    let x = reference - policy;
    (x.exp_m1() - x, -x.exp_m1())
}

/// The fault of a number that is none, by the name of its list and its place.
pub(super) fn finite(name: &str, numbers: &[f64]) -> Result<(), Fault> {
    match numbers.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Fault::new(FaultKind::Numbers, format!("{name} number {at} is {}", numbers[at]))),
    }
}

/// Lists that must be equally long, by their names.
pub(super) fn as_long(name: &str, length: usize, other: &str, wanted: usize) -> Result<(), Fault> {
    if length == wanted {
        return Ok(());
    }
    Err(Fault::new(FaultKind::Actor, format!("{length} {name} for {wanted} {other}")))
}

/// What an objective cannot be asked for.
pub(super) fn refused(what: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Refused, what)
}

/// An option that must be finite and above 0.
pub(super) fn positive(name: &str, value: f64) -> Result<(), Fault> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(refused(format!("{name} is {value}; it must be above 0")))
    }
}

/// An option that must be finite and not below 0.
pub(super) fn not_negative(name: &str, value: f64) -> Result<(), Fault> {
    let good = value.is_finite() && value >= 0.0;
    if good { Ok(()) } else { Err(refused(format!("{name} is {value}; it must be 0 or more"))) }
}

/// A metric by TRL's name.
pub(super) fn metric(name: &str, value: f64) -> (String, f64) {
    (name.to_string(), value)
}

/// Random inputs and finite differences for the objectives' tests.
#[cfg(test)]
pub(super) mod trial {
    /// SplitMix64.
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        fn bits(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }
        /// In `low .. high`.
        pub(crate) fn within(&mut self, low: f64, high: f64) -> f64 {
            low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
        }
        /// In `0 .. n`.
        pub(crate) fn below(&mut self, n: usize) -> usize {
            (self.bits() % n as u64) as usize
        }
        /// Many within `low .. high`.
        pub(crate) fn list(&mut self, count: usize, low: f64, high: f64) -> Vec<f64> {
            (0..count).map(|_| self.within(low, high)).collect()
        }
    }

    /// Each derivative beside the central difference of `loss`: the step's error is about 1e-10 of the third
    /// derivative, the rounding's about 1e-11.
    pub(crate) fn assert_slopes(what: &str, at: &[f64], derivatives: &[f64], loss: impl Fn(&[f64]) -> f64) {
        assert_eq!(at.len(), derivatives.len(), "{what}: a derivative for every number");
        const STEP: f64 = 1e-5;
        for index in 0..at.len() {
            let moved = |by: f64| {
                let mut there = at.to_vec();
                there[index] += by;
                loss(&there)
            };
            let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let wanted = derivatives[index];
            let off = (slope - wanted).abs() / wanted.abs().max(1.0);
            assert!(off < 1e-7, "{what}: derivative {index} is {wanted}, the difference says {slope}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_keep_their_digits_at_the_ends() {
        assert_eq!(softplus(-800.0), 0.0);
        assert_eq!(softplus(800.0), 800.0);
        assert!((softplus(0.0) - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(sigmoid(800.0), 1.0);
        assert!(sigmoid(-700.0) > 0.0 && sigmoid(-800.0) == 0.0);
        assert!((sigmoid(-40.0) / (-40f64).exp() - 1.0).abs() < 1e-15);
        assert_eq!(log1mexp(0.0), f64::NEG_INFINITY);
        assert!((log1mexp(-1e-12) - (1e-12f64).ln()).abs() < 1e-11);
        assert!((log1mexp(-50.0) / -(-50f64).exp() - 1.0).abs() < 1e-12);
        assert_eq!(k3(-1.5, -1.5), (0.0, 0.0));
        assert!((k3(-1.0, -1.0 + 1e-6).0 / 5e-13 - 1.0).abs() < 1e-3);
    }

    #[test]
    fn the_fault_names_the_list_and_the_place() {
        let fault = finite("score", &[0.0, f64::NAN]).expect_err("not a number");
        assert_eq!((fault.kind, fault.what.as_str()), (FaultKind::Numbers, "score number 1 is NaN"));
    }
}
