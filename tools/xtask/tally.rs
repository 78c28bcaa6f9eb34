//! Counting: what the lines of a test run say about tests that passed, failed, or could not be run.

use std::collections::BTreeSet;

/// How a test says that it could not be run here: `SKIPPED: name: why` on a line of its own.
const SKIPPED_TEST: &str = "SKIPPED: ";
/// How a test says that it could not be run on one of several adapters: `skipped: name on Adapter: why`.
const SKIPPED_PART: &str = "skipped: ";

/// Sums over all test binaries of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran and held.
    pub(crate) passed: u64,
    /// Tests that ran and did not hold.
    pub(crate) failed: u64,
    /// Tests, or parts of tests on one adapter, that said they could not be run; and ignored tests.
    pub(crate) skipped: u64,
}

impl Tally {
    /// Adds another run's counts.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// How many tests were met at all.
    pub(crate) fn total(self) -> u64 {
        self.passed + self.failed + self.skipped
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Reads a test run line by line.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    results: Tally,
    tests: BTreeSet<String>,
    parts: BTreeSet<String>,
    elsewhere: Vec<&'static str>,
    in_captured: bool,
}

impl Counter {
    /// A counter that passes over the skipped parts on these adapters, because another run covers them.
    pub(crate) fn new(elsewhere: &[&'static str]) -> Counter {
        Counter { elsewhere: elsewhere.to_vec(), ..Counter::default() }
    }

    /// Takes one line; says whether a person should see it. What a test printed although it passed is counted, not
    /// shown.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let said = line.trim();
        if said.starts_with(SKIPPED_TEST) {
            return self.tests.insert(said.to_string());
        }
        if said.starts_with(SKIPPED_PART) {
            let covered = self.elsewhere.iter().any(|adapter| said.contains(&format!(" on {adapter}:")));
            return !covered && self.parts.insert(said.to_string());
        }
        if let Some(found) = test_result(line) {
            self.results.add(found);
            self.in_captured = false;
            return true;
        }
        match line {
            "successes:" => self.in_captured = true,
            "failures:" => self.in_captured = false,
            _ => {}
        }
        !self.in_captured
    }

    /// The counts so far. libtest counts a skipping test among the passed ones; here it is taken out.
    pub(crate) fn tally(&self) -> Tally {
        let (tests, parts) = (self.tests.len() as u64, self.parts.len() as u64);
        let Tally { passed, failed, skipped } = self.results;
        Tally { passed: passed.saturating_sub(tests), failed, skipped: skipped + tests + parts }
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; ...`
fn test_result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let part = counts.split(';').find_map(|part| part.trim().strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tally(lines: &[&str]) -> (Tally, Vec<String>) {
        let mut counter = Counter::new(&[]);
        let shown = lines.iter().filter(|line| counter.line(line)).map(|line| (*line).to_string()).collect();
        (counter.tally(), shown)
    }

    #[test]
    fn sums_over_binaries() {
        let (found, _) = tally(&[
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
            "test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ]);
        assert_eq!(found, Tally { passed: 12, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_skip_is_not_a_pass_and_is_counted_once() {
        let (found, shown) = tally(&[
            "SKIPPED: gpu_matmul: no adapter",
            "successes:",
            "---- gpu_matmul stdout ----",
            "SKIPPED: gpu_matmul: no adapter",
            "chatter",
            "successes:",
            "    gpu_matmul",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ]);
        assert_eq!(found, Tally { passed: 2, failed: 0, skipped: 1 });
        assert!(shown.iter().all(|line| line != "chatter"));
    }

    #[test]
    fn a_part_that_another_run_covers_is_passed_over() {
        let mut counter = Counter::new(&["SwiftShader"]);
        for adapter in ["SwiftShader", "Real", "Real"] {
            counter.line(&format!("skipped: matmul on {adapter}: no such adapter"));
        }
        counter.line("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        assert_eq!(counter.tally(), Tally { passed: 1, failed: 0, skipped: 1 });
    }

    #[test]
    fn failures_are_shown_after_captured_output() {
        let (_, shown) = tally(&["successes:", "quiet", "failures:", "---- a stdout ----", "assertion failed"]);
        assert_eq!(shown, ["failures:", "---- a stdout ----", "assertion failed"]);
    }

    #[test]
    fn other_lines_are_no_results() {
        assert_eq!(test_result("test result: ok"), None);
        assert_eq!(test_result("running 4 tests"), None);
    }
}
