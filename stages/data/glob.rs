//! Shell-style patterns of file names: `*`, `?`, `[a-z]`, and `**` for any depth of folders.

use super::source::is_a_runs;
use std::path::{Path, PathBuf};

/// Folders deeper than this are not entered.
pub(crate) const MAX_DEPTH: usize = 64;

/// Whether a source names a pattern rather than one file or folder.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Whether `name`, one component of a path, fits `pattern`. Unlike `**`, `*` does not cross a `/`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // The place to go back to: after the last `*`, having let it take one character more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some('[') => {
                if let Some((length, true)) = class(&pattern[p..], name[n]) {
                    (p, n) = (p + length, n + 1);
                    continue;
                }
            }
            Some(&c) if c == '?' || c == name[n] => {
                (p, n) = (p + 1, n + 1);
                continue;
            }
            _ => {}
        }
        let Some((after, taken)) = star else {
            return false;
        };
        star = Some((after, taken + 1));
        (p, n) = (after, taken + 1);
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Reads `[...]` at the start of `pattern`: its length and whether `c` is in it. `[!...]` and `[^...]` negate.
fn class(pattern: &[char], c: char) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = if negated { 2 } else { 1 };
    let close = (first + 1..pattern.len()).find(|&i| pattern[i] == ']')?;
    let body = &pattern[first..close];
    let mut found = false;
    let mut i = 0;
    while i < body.len() {
        if i + 2 < body.len() && body[i + 1] == '-' {
            found |= (body[i]..=body[i + 2]).contains(&c);
            i += 3;
        } else {
            found |= body[i] == c;
            i += 1;
        }
    }
    Some((close + 1, found != negated))
}

/// All files below `root` that fit the pattern, unsorted. Folders that cannot be read are an error.
pub(crate) fn expand(root: &Path, pattern: &str) -> std::io::Result<Vec<PathBuf>> {
    let separator = |c: char| c == '/' || c == std::path::MAIN_SEPARATOR;
    let wild = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    let literal = pattern[..wild].rfind(separator).map_or(0, |at| at + 1);
    let parts: Vec<&str> = pattern[literal..].split(separator).filter(|p| !p.is_empty() && *p != ".").collect();
    let mut found = Vec::new();
    descend(&root.join(&pattern[..literal]), &parts, MAX_DEPTH, &mut found)?;
    Ok(found)
}

fn descend(folder: &Path, parts: &[&str], depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Some((&part, rest)) = parts.split_first() else {
        return Ok(());
    };
    if depth == 0 || !here.is_dir() {
        return Ok(());
    }
    if part == "**" {
        descend(folder, if rest.is_empty() { &["*"] } else { rest }, depth, found)?;
    }
    for entry in std::fs::read_dir(here)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = folder.join(entry.file_name());
        let hidden = name.starts_with('.') && !part.starts_with('.');
        // A linked folder is not entered by `**`: it may lead back to here.
        let walk = part == "**" && entry.file_type()?.is_dir();
        if hidden {
            continue;
        }
        if walk {
            if !is_a_runs(&path) {
                descend(&path, parts, depth - 1, found)?;
            }
        } else if part != "**" && matches(part, &name) {
            match rest.is_empty() {
                true if path.is_file() => found.push(path),
                true => {}
                false => descend(&path, rest, depth - 1, found)?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_a_shell_would() {
        let yes = [("*.txt", "a.txt"), ("a?c", "abc"), ("[a-c]x", "bx"), ("[!a]x", "bx"), ("*a*b*", "xxaxxbxx")];
        let no = [("*.txt", "a.txt.gz"), ("a?c", "ac"), ("[a-c]x", "dx"), ("[!a]x", "ax"), ("", "a"), ("[a", "a")];
        assert!(yes.iter().all(|(pattern, name)| matches(pattern, name)));
        assert!(!no.iter().any(|(pattern, name)| matches(pattern, name)));
        assert!(matches("*", "") && matches("", "") && matches("**", "ab"));
    }
}
