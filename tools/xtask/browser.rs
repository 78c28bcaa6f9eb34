//! The ranking page in a real browser: `tools/browser/proof.mjs`, driven through playwright-core and judged by axe.
//!
//! Its two packages come from npm, as `tools/browser/package-lock.json` pins them, and lie under `target/`; the browser
//! is the system's own Chromium. This is no part of `cargo xtask test`: tests touch no network.

use crate::section::{self, Outcome};
use crate::tally::{Counter, Tally};
use crate::{needs, say};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The section's name.
const NAME: &str = "browser";
/// Oldest Node.js that the packages run on.
const NODE: u32 = 18;
/// Names of Chromium in the systems' packages.
const BROWSERS: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
/// What is copied beside the packages.
const FILES: [&str; 4] = ["package.json", "package-lock.json", "proof.mjs", "items.mjs"];

/// The first of some programs that is in a folder of PATH.
fn program(names: &[&str]) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

/// The major version of Node.js, from "v20.1.2".
fn major(text: &str) -> Option<u32> {
    text.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn node() -> Option<u32> {
    major(&String::from_utf8(Command::new("node").arg("--version").output().ok()?.stdout).ok()?)
}

/// What is missing, each as words and the Debian package that has it.
fn missing() -> Vec<(String, &'static str)> {
    let mut out = Vec::new();
    match node() {
        Some(found) if found >= NODE => {}
        Some(found) => out.push((format!("Node.js {NODE} or newer (this is {found})"), "nodejs")),
        None => out.push((format!("Node.js {NODE} or newer"), "nodejs")),
    }
    if program(&["npm"]).is_none() {
        out.push(("npm, which brings playwright-core and axe-core".into(), "npm"));
    }
    if program(&BROWSERS).is_none() {
        out.push(("Chromium".into(), "chromium"));
    }
    out
}

/// Builds the program and drives its page.
pub(crate) fn run(root: &Path, target: &Path, install: bool, cargo: Command) -> Vec<Outcome> {
    let failed = |why: String| vec![Outcome::of(NAME, Some(why), Tally { failed: 1, ..Tally::default() })];
    say("== needs");
    let lacks = missing();
    if install && !lacks.is_empty() {
        let packages: Vec<&str> = lacks.iter().map(|(_, package)| *package).collect();
        if let Err(why) = needs::install_packages(&packages) {
            return failed(why);
        }
    }
    let lacks = missing();
    for (what, package) in &lacks {
        say(&format!("missing: {what}. Install it with: apt-get install {package}, or the like of your system"));
    }
    if !lacks.is_empty() {
        say("  or let `cargo xtask browser --install` do that");
        return failed("the ranking page was not looked at: see what is missing above".into());
    }
    let mut outcomes = vec![section::run("build", &mut { cargo }, Counter::new(&[]), &say)];
    if outcomes[0].failure.is_some() {
        return outcomes;
    }
    let place = target.join("xtask/browser");
    match lay_out(root, &place) {
        Ok(()) => {}
        Err(error) => return failed(format!("could not prepare {}: {error}", place.display())),
    }
    let mut packages = Command::new("npm");
    packages.current_dir(&place).args(["ci", "--no-audit", "--no-fund"]);
    outcomes.push(section::run("packages", &mut packages, Counter::new(&[]), &say));
    if outcomes[1].failure.is_some() {
        return outcomes;
    }
    let mut proof = Command::new("node");
    proof.current_dir(&place).arg("proof.mjs").arg(target.join("debug/pleach"));
    proof.arg(program(&BROWSERS).unwrap_or_default()).arg(place.join("pictures"));
    outcomes.push(section::run(NAME, &mut proof, Counter::new(&[]), &say).not_empty("no check ran"));
    say(&format!("pictures of the page: {}", place.join("pictures").display()));
    outcomes
}

/// Copies the proof to where its packages are installed.
fn lay_out(root: &Path, place: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(place)?;
    for file in FILES {
        std::fs::copy(root.join("tools/browser").join(file), place.join(file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_are_read() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("v8"), Some(8));
        assert_eq!(major("node 20"), None);
    }
}
