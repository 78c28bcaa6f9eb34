//! What the tests need besides Rust: finding it, naming what is missing with the command that installs it, installing
//! it.

use crate::say;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Vulkan drivers register themselves on Linux.
const ICD_FOLDERS: [&str; 3] = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
/// Where browsers keep the SwiftShader that they ship, and where it is registered if installed on its own.
const SWIFTSHADER_FOLDERS: [&str; 7] = [
    "/usr/lib/chromium",
    "/usr/lib/chromium-browser",
    "/usr/lib64/chromium-browser",
    "/opt/google/chrome",
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
];
/// Where the Vulkan loader lies.
const LIBRARY_FOLDERS: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
    "/lib/x86_64-linux-gnu",
];

/// One thing that is needed.
struct Need {
    /// What a person calls it.
    what: &'static str,
    /// What is not tested without it.
    without: &'static str,
    /// Is it here?
    found: bool,
    /// Can the tests begin without it (its tests are then skipped and counted)?
    optional: bool,
    /// How it is installed.
    source: Source,
}

/// Where a missing thing comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A component of the Rust toolchain.
    Rustup(&'static str),
    /// A Debian or Ubuntu package.
    Apt(&'static str),
}

/// The drivers that were found; each is none where software adapters are not registered by file (not Linux).
#[derive(Debug, Default)]
pub(crate) struct Drivers {
    /// Mesa's software Vulkan driver.
    pub(crate) lavapipe: Option<PathBuf>,
    /// Google's software Vulkan driver.
    pub(crate) swiftshader: Option<PathBuf>,
}

/// Looks for the software drivers.
pub(crate) fn drivers() -> Drivers {
    if !cfg!(target_os = "linux") {
        return Drivers::default();
    }
    Drivers {
        lavapipe: find(&ICD_FOLDERS, |name| name.starts_with("lvp_icd") && name.ends_with(".json")),
        swiftshader: find(&SWIFTSHADER_FOLDERS, |name| name == "vk_swiftshader_icd.json"),
    }
}

/// Checks everything, installs what is missing if told to, and says why the tests cannot begin, if they cannot.
pub(crate) fn check(may_install: bool, gpu_required: bool) -> Result<(), String> {
    let mut missing: Vec<Need> = needs().into_iter().filter(|need| !need.found).collect();
    if may_install && !missing.is_empty() {
        install(&missing)?;
        missing = needs().into_iter().filter(|need| !need.found).collect();
    }
    for need in &missing {
        say(&format!("missing: {}. Without it: {}", need.what, need.without));
    }
    if missing.is_empty() {
        say("needs: all found");
        return Ok(());
    }
    for command in commands(&missing) {
        say(&format!("  install it with: {}", command.join(" ")));
    }
    say("  or let `cargo xtask test --install` do that");
    match missing.iter().find(|need| !need.optional || gpu_required) {
        Some(need) => Err(format!("{} is missing", need.what)),
        None => Ok(()),
    }
}

/// Everything that is needed on this system.
fn needs() -> Vec<Need> {
    let component = |name: &'static str, sub: &str, without| Need {
        what: name,
        without,
        found: succeeds("cargo", &[sub, "--version"]),
        optional: false,
        source: Source::Rustup(name),
    };
    let mut all = vec![
        component("rustfmt", "fmt", "formatting is not checked"),
        component("clippy", "clippy", "lints are not checked"),
    ];
    if cfg!(target_os = "linux") {
        let package =
            |what, without, found, package| Need { what, without, found, optional: true, source: Source::Apt(package) };
        let drivers = drivers();
        let loader = find(&LIBRARY_FOLDERS, |name| name == "libvulkan.so.1").is_some();
        all.push(package("the Vulkan loader", "no GPU test runs", loader, "libvulkan1"));
        all.push(package(
            "a software Vulkan adapter (lavapipe)",
            "GPU tests run only on a real GPU, or are skipped",
            drivers.lavapipe.is_some(),
            "mesa-vulkan-drivers",
        ));
        all.push(package(
            "a second software Vulkan adapter (SwiftShader)",
            "GPU tests are not repeated on a driver with other limits",
            drivers.swiftshader.is_some(),
            "chromium-common",
        ));
    }
    all
}

/// The commands that install what is missing, in order.
fn commands(missing: &[Need]) -> Vec<Vec<String>> {
    let of = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
    let root = if succeeds_with("id", &["-u"], "0\n") { "" } else { "sudo " };
    let mut commands = Vec::new();
    let mut packages = Vec::new();
    for need in missing {
        match need.source {
            Source::Rustup(name) => commands.push(of(&format!("rustup component add {name}"))),
            Source::Apt(name) => packages.push(name),
        }
    }
    if !packages.is_empty() {
        commands.push(of(&format!("{root}apt-get update")));
        commands.push(of(&format!("{root}apt-get install -y --no-install-recommends {}", packages.join(" "))));
    }
    commands
}

/// Installs Debian packages.
pub(crate) fn install_packages(packages: &[&'static str]) -> Result<(), String> {
    let need = |package: &&'static str| Need {
        what: package,
        without: "",
        found: false,
        optional: false,
        source: Source::Apt(package),
    };
    install(&packages.iter().map(need).collect::<Vec<_>>())
}

/// Runs the commands that install what is missing.
fn install(missing: &[Need]) -> Result<(), String> {
    for command in commands(missing) {
        say(&format!("installing: {}", command.join(" ")));
        let status = Command::new(&command[0]).args(&command[1..]).env("DEBIAN_FRONTEND", "noninteractive").status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(format!("`{}` failed", command.join(" ")));
        }
    }
    Ok(())
}

/// The first file of the folders whose name is wanted, folders in order, names sorted.
fn find(folders: &[&str], wanted: impl Fn(&str) -> bool) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let mut names: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
        names.sort();
        names.into_iter().find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&wanted))
    })
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn succeeds_with(program: &str, arguments: &[&str], output: &str) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|found| found.stdout == output.as_bytes())
}

/// Copies a driver's registration with its library named by an absolute path: the loader looks up a relative one in
/// places that differ between its versions.
pub(crate) fn absolute_icd(icd: &Path, folder: &Path) -> std::io::Result<PathBuf> {
    let text = std::fs::read_to_string(icd)?;
    let home = icd.parent().unwrap_or(Path::new("/"));
    let wrong = || std::io::Error::other(format!("{} names no library_path", icd.display()));
    let text = with_library(&text, |library| home.join(library.trim_start_matches("./")).display().to_string());
    std::fs::create_dir_all(folder)?;
    let copy = folder.join(icd.file_name().unwrap_or_default());
    std::fs::write(&copy, text.ok_or_else(wrong)?)?;
    Ok(copy)
}

/// The registration with its library path replaced; none if it has none.
fn with_library(text: &str, path: impl Fn(&str) -> String) -> Option<String> {
    let key = text.find("\"library_path\"")? + "\"library_path\"".len();
    let open = key + text[key..].find('"')? + 1;
    let close = open + text[open..].find('"')?;
    let library = &text[open..close];
    // A bare name is searched for by the system's own loader: it stays.
    let library = if library.contains('/') { path(library) } else { library.to_string() };
    Some(format!("{}{library}{}", &text[..open], &text[close..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_library_path_becomes_absolute() {
        let text = r#"{"ICD": {"api_version": "1.0.5", "library_path": "./libvk.so"}}"#;
        let found = with_library(text, |library| format!("/there/{}", library.trim_start_matches("./"))).unwrap();
        assert_eq!(found, r#"{"ICD": {"api_version": "1.0.5", "library_path": "/there/libvk.so"}}"#);
        let bare = r#"{"library_path": "libvk.so"}"#;
        assert_eq!(with_library(bare, |_| unreachable!("a bare name stays")).unwrap(), bare);
        assert_eq!(with_library("{}", str::to_string), None);
    }

    #[test]
    fn packages_are_installed_in_one_command() {
        let need = |source| Need { what: "", without: "", found: false, optional: true, source };
        let found = commands(&[need(Source::Apt("a")), need(Source::Rustup("clippy")), need(Source::Apt("b"))]);
        let lines: Vec<String> = found.iter().map(|words| words.join(" ")).collect();
        assert_eq!(lines[0], "rustup component add clippy");
        assert!(lines[1].ends_with("apt-get update"));
        assert!(lines[2].ends_with("apt-get install -y --no-install-recommends a b"));
    }
}
