//! The house rules that a machine can read.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the repository with these extensions, as (path from the root, text).
fn files(extensions: &[&str]) -> Vec<(String, String)> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !matches!(name, "target" | ".git" | "runs" | "golden" | "peers") {
                walk(&path, out);
            } else if path.is_file() {
                out.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&root(), &mut paths);
    paths.sort();
    let wanted = |path: &PathBuf| path.extension().is_some_and(|e| extensions.contains(&e.to_str().unwrap()));
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        (name, std::fs::read_to_string(path).unwrap())
    };
    paths.into_iter().filter(wanted).map(read).collect()
}

#[test]
fn files_and_lines_keep_their_budget() {
    let all = files(&["rs", "wgsl"]);
    let mut lengths: Vec<usize> = all.iter().map(|(_, text)| text.lines().count()).collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median < 200, "the median file has {median} lines");
    for (name, text) in &all {
        let length = text.lines().count();
        // Tables of words are data.
        let data = name.starts_with("stages/data/world/");
        assert!(length <= 500 || data, "{name} has {length} lines; the budget is 500");
        for (index, line) in text.lines().enumerate() {
            // A text is not broken for its width: rustfmt does not either.
            assert!(
                line.chars().count() <= 120 || line.contains('"'),
                "{name}:{} is {} columns wide",
                index + 1,
                line.chars().count()
            );
            assert!(!line.ends_with(' '), "{name}:{} ends in a space", index + 1);
        }
        assert!(text.ends_with('\n'), "{name} ends without a line end");
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (name, text) in files(&["rs"]) {
        assert!(text.starts_with("//! "), "{name} begins without a sentence that says what it is");
    }
    for (name, text) in files(&["wgsl"]) {
        assert!(text.starts_with("// "), "{name} begins without a header");
    }
}

#[test]
fn every_shader_has_its_pair_in_the_list() {
    for (name, _) in files(&["wgsl"]) {
        let Some(stem) = name.strip_prefix("shaders/").and_then(|rest| rest.strip_suffix(".wgsl")) else {
            // The canary belongs to the gpu device, not to an op.
            assert!(name.starts_with("runtime/device/gpu/"), "{name} lies outside shaders/");
            continue;
        };
        // A pair's further texts lie in the folder of its name, each beside its own kernels.
        let pair = stem.split_once('/').map_or(stem, |(folder, _)| folder);
        if pair != "shared" {
            assert!(root().join(format!("shaders/{stem}.rs")).is_file(), "{name} has no .rs beside it");
            assert!(pleach_shaders::PAIRS.iter().any(|known| known.name == pair), "{pair} is not in PAIRS");
        }
    }
}

/// Who may name a crate: its owner's folder, and nobody else.
#[test]
fn crates_stay_with_their_owners() {
    let owners: &[(&str, &[&str])] = &[
        ("wgpu::", &["runtime/device/gpu/"]),
        ("actix::", &["runtime/supervise/"]),
        ("actix_rt::", &["runtime/supervise/"]),
        ("bincode::", &["runtime/store/format"]),
        ("tokenizers::", &["stages/data/tokenizer"]),
        ("rusqlite::", &["stages/ranking/store/"]),
        ("actix_web::", &["stages/ranking/page/"]),
        ("getrandom::", &["stages/ranking/page/"]),
        ("minijinja::", &["stages/data/template"]),
        ("minijinja_contrib::", &["stages/data/template"]),
        ("std::sync::atomic", &["runtime/sync/"]),
        ("rayon::", &["runtime/device/cpu/", "stages/data/"]),
    ];
    for (name, text) in files(&["rs"]) {
        if name.starts_with("tests/") || name.starts_with("benches/") {
            continue;
        }
        for (what, allowed) in owners {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let named = code.into_iter().any(|line| names(line, what));
            assert!(!named || allowed.iter().any(|folder| name.starts_with(folder)), "{name} names {what}");
        }
    }
}

/// Does a line name this path, and not one that only ends like it?
fn names(line: &str, what: &str) -> bool {
    line.match_indices(what).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    })
}

#[test]
fn systems_are_named_in_the_listed_files_only() {
    let allowed = [
        "runtime/store/platform.rs",
        "runtime/device/gpu/vram.rs",
        "runtime/device/gpu/adapter.rs",
        "tools/signals.rs",
        "tools/commands/guardian.rs",
        "runtime/Cargo.toml",
        "tools/Cargo.toml",
    ];
    for (name, text) in files(&["rs"]) {
        if name.starts_with("tests/") || name.starts_with("tools/xtask") {
            continue;
        }
        let named = ["cfg(unix", "cfg(windows", "cfg(target_os", "cfg(not(unix", "cfg!(unix", "cfg!(windows"];
        let found = named.iter().any(|what| text.contains(what));
        assert!(!found || allowed.contains(&name.as_str()), "{name} is for one operating system");
    }
}

#[test]
fn nothing_is_left_to_do() {
    for (name, text) in files(&["rs", "wgsl", "toml", "md"]) {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimpl", "emented!(")] {
            assert!(!text.contains(word), "{name} says {word}");
        }
    }
}

/// README's tree names what is there.
#[test]
fn the_readme_tree_is_the_real_tree() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for folder in ["runtime", "shaders", "stages", "tests", "benches", "tools"] {
        assert!(readme.contains(&format!("{folder}/")), "README names {folder}/");
        assert!(root().join(folder).is_dir(), "{folder}/ is there");
    }
    for word in readme.split(['`', ' ', '\n', '(', ')', ',']) {
        let looks = word.contains('/') && (word.ends_with(".rs") || word.ends_with(".md") || word.ends_with(".toml"));
        if looks && !word.contains(['*', '<', '{', ':']) && !word.contains("runs/") && !word.starts_with("my-") {
            assert!(root().join(word).exists(), "README names {word}, which is not there");
        }
    }
}
