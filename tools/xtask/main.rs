//! The development tasks: `cargo xtask test` is what CI runs, `torture` its long form, `bless` accepts golden files,
//! `browser` drives the ranking page.

mod browser;
mod needs;
mod section;
mod tally;

use section::Outcome;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use tally::{Counter, Tally};

const HELP: &str = "\
cargo xtask test [--install] [--hardware] [NAME...]
    Everything: formatting, lints, build, all tests (on lavapipe, then the GPU tests again on SwiftShader), and the
    exhaustive interleavings of the sync code under loom. Names what is missing; --install installs it; --hardware
    repeats the GPU tests on this machine's own drivers. With NAMEs: only the tests whose path contains one of them.
    PLEACH_GPU=require makes a skipped GPU test a failure.
cargo xtask torture [--install] [--hardware] [NAME...]
    The same with PLEACH_TORTURE=1: the long form of the tests, for tables. Takes hours.
cargo xtask bless [NAME...]
    Runs the tests with BLESS=1, which rewrites golden files; review them with `git diff`.
cargo xtask browser [--install]
    Drives the ranking page in headless Chromium: dragging, keys, crashes of the server, two raters, a blind comparison,
    and axe on every view. Needs Node.js, npm (and with it the network, for two pinned packages) and Chromium.
Exit codes: 0 all passed; 1 something failed; 2 usage.
";

/// Parts of the paths of tests that open a GPU adapter: what is repeated on another driver.
const GPU_TESTS: [&str; 3] = ["gpu", "kernels::", "programs::"];
/// What tests call the adapters that they look for.
const LAVAPIPE: &str = "Lavapipe";
const SWIFTSHADER: &str = "SwiftShader";
const REAL: &str = "Real";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    task: String,
    install: bool,
    hardware: bool,
    names: Vec<String>,
}

/// Reads the arguments; the error is a sentence for the person.
fn options(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut found = Options::default();
    for argument in arguments {
        match argument.as_str() {
            "-h" | "--help" | "help" => found.task = "help".to_string(),
            "--install" => found.install = true,
            "--hardware" => found.hardware = true,
            flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
            task if found.task.is_empty() => match task {
                "test" | "torture" | "bless" | "browser" => found.task = task.to_string(),
                _ => {
                    return Err(format!("unknown task {task}: it is one of test, torture, bless, browser"));
                }
            },
            name => found.names.push(name.to_string()),
        }
    }
    if found.task.is_empty() { Err("which task? test, torture, bless or browser".to_string()) } else { Ok(found) }
}

/// Prints a line at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe is no reason to stop testing.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => {
            say(&format!("{wrong}\n\n{HELP}"));
            return ExitCode::from(2);
        }
    };
    if options.task == "help" {
        say(HELP);
        return ExitCode::SUCCESS;
    }
    let outcomes = House::new(&options).run(&options);
    if report(&outcomes, &say) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The workspace and the environment that the sections share.
struct House {
    root: PathBuf,
    environment: Vec<(&'static str, String)>,
    gpu_required: bool,
}

impl House {
    fn new(options: &Options) -> House {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = here.as_deref().and_then(|tool| tool.ancestors().nth(2)).unwrap_or(Path::new(".")).to_path_buf();
        let mut environment = Vec::new();
        match options.task.as_str() {
            "torture" => environment.push(("PLEACH_TORTURE", "1".to_string())),
            "bless" => environment.push(("BLESS", "1".to_string())),
            _ => {}
        }
        if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
            // Mesa prints an error into every test without it.
            environment.push(("XDG_RUNTIME_DIR", root.join("target/xtask").display().to_string()));
        }
        let gpu_required = std::env::var("PLEACH_GPU").is_ok_and(|value| value == "require");
        House { root, environment, gpu_required }
    }

    fn run(&self, options: &Options) -> Vec<Outcome> {
        if options.task == "browser" {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.root.join("target"), PathBuf::from);
            let build = self.cargo(&["build", "--package", "pleach-tools", "--bin", "pleach"]);
            return browser::run(&self.root, &target, options.install, build);
        }
        say("== needs");
        if let Err(why) = needs::check(options.install, self.gpu_required) {
            return vec![Outcome::of("needs", Some(why), Tally { failed: 1, ..Tally::default() })];
        }
        if !options.names.is_empty() || options.task == "bless" {
            // A chosen few run once, on every adapter that they find.
            let names: Vec<&str> = options.names.iter().map(String::as_str).collect();
            return vec![self.tests("test", &names, None, &[])];
        }
        let lints = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        let mut outcomes = vec![
            self.check("format", &["fmt", "--all", "--check"]),
            self.check("clippy", &lints),
            self.check("build", &["build", "--workspace", "--all-targets"]),
        ];
        let later: &[&str] = if options.hardware { &[SWIFTSHADER, REAL] } else { &[SWIFTSHADER] };
        let drivers = needs::drivers();
        let later = if drivers.swiftshader.is_some() { later } else { &later[1..] };
        outcomes.push(self.tests("test", &[], self.chosen_or(drivers.lavapipe), later));
        outcomes.extend(self.swiftshader(drivers.swiftshader));
        if options.hardware {
            outcomes.push(self.tests("hardware", &GPU_TESTS, None, &[LAVAPIPE, SWIFTSHADER]));
        }
        outcomes.push(self.loom());
        outcomes
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(&self.root).args(arguments).envs(self.environment.iter().map(|(key, value)| (key, value)));
        command
    }

    /// A section without tests.
    fn check(&self, section: &'static str, arguments: &[&str]) -> Outcome {
        section::run(section, &mut self.cargo(arguments), Counter::new(&[]), &say)
    }

    /// All tests whose path contains one of the names (all, if none), on one Vulkan driver if one is given; skips on
    /// the
    /// adapters that another section covers are not counted.
    fn tests(
        &self,
        section: &'static str,
        names: &[&str],
        driver: Option<PathBuf>,
        elsewhere: &[&'static str],
    ) -> Outcome {
        let mut command = self.cargo(&["test", "--workspace", "--no-fail-fast", "--", "--show-output"]);
        command.args(names);
        if let Some(driver) = driver {
            // Two names of one setting: loaders before 1.3.207 know only the second.
            command.env("VK_DRIVER_FILES", &driver).env("VK_ICD_FILENAMES", &driver);
        }
        let outcome = section::run(section, &mut command, Counter::new(elsewhere), &say);
        outcome.not_empty(&format!("no test has {} in its path", names.join(" or ")))
    }

    /// Lavapipe for the first pass, so that two machines test the same thing; what the person chose, if anything.
    fn chosen_or(&self, lavapipe: Option<PathBuf>) -> Option<PathBuf> {
        let chosen = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().any(|key| std::env::var_os(key).is_some());
        if chosen { None } else { lavapipe }
    }

    /// The GPU tests once more on a driver with other limits; one skip where it is not installed.
    fn swiftshader(&self, driver: Option<PathBuf>) -> Option<Outcome> {
        const NAME: &str = "swiftshader";
        if !cfg!(target_os = "linux") {
            return None;
        }
        let Some(icd) = driver else {
            say("\n== swiftshader\nSKIPPED: swiftshader: its driver is not installed");
            return Some(Outcome::of(NAME, None, Tally { skipped: 1, ..Tally::default() }));
        };
        Some(match needs::absolute_icd(&icd, &self.root.join("target/xtask")) {
            Ok(copy) => self.tests(NAME, &GPU_TESTS, Some(copy), &[LAVAPIPE, REAL]),
            Err(error) => {
                let why = format!("could not copy {}: {error}", icd.display());
                Outcome::of(NAME, Some(why), Tally { failed: 1, ..Tally::default() })
            }
        })
    }

    /// Every interleaving of the sync code. Its own target folder: the flag would rebuild everything else.
    fn loom(&self) -> Outcome {
        let words = ["test", "--package", "pleach-sync", "--test", "models", "--target-dir", "target/loom"];
        let mut command = self.cargo(&words);
        command.args(["--", "--show-output"]).env("RUSTFLAGS", "--cfg loom");
        section::run("loom", &mut command, Counter::new(&[]), &say).not_empty("no model was walked")
    }
}

/// Prints the table, the failing sections and, as the last line, the sums. True if nothing failed.
fn report(outcomes: &[Outcome], say: &dyn Fn(&str)) -> bool {
    let mut sum = Tally::default();
    say("\n== sections");
    for outcome in outcomes {
        sum.add(outcome.tally);
        let mark = if outcome.failure.is_none() { "ok" } else { "FAILED" };
        say(&format!("{:<12} {mark:<7} {:>6.1} s  {}", outcome.name, outcome.seconds, outcome.tally));
    }
    let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
    for outcome in &failed {
        say(&format!("FAILED {}: {}", outcome.name, outcome.failure.as_deref().unwrap_or_default()));
    }
    say(&sum.to_string());
    failed.is_empty() && sum.failed == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parsed(line: &str) -> Result<Options, String> {
        options(line.split_whitespace().map(str::to_string))
    }

    #[test]
    fn arguments_are_read() {
        let found = parsed("test --install rope gate").unwrap();
        assert_eq!((found.task.as_str(), found.install, found.hardware), ("test", true, false));
        assert_eq!(found.names, ["rope", "gate"]);
        assert_eq!(parsed("--help").unwrap().task, "help");
    }

    #[test]
    fn typos_are_refused() {
        assert!(parsed("").is_err());
        assert!(parsed("tset").unwrap_err().contains("tset"));
        assert!(parsed("test --instal").unwrap_err().contains("--instal"));
    }

    #[test]
    fn one_failure_fails_the_whole() {
        let fine = Outcome::of("a", None, Tally { passed: 3, failed: 0, skipped: 1 });
        assert!(report(std::slice::from_ref(&fine), &|_| ()));
        let bad = Outcome::of("b", Some("why".to_string()), Tally { passed: 1, failed: 1, skipped: 0 });
        let said = std::cell::RefCell::new(Vec::new());
        assert!(!report(&[fine, bad], &|line| said.borrow_mut().push(line.to_string())));
        assert_eq!(said.borrow().last().unwrap(), "4 passed, 1 failed, 1 skipped");
    }
}
