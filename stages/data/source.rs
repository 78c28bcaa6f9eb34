//! Where text comes from: files, folders and patterns, resolved to one sorted list, or the little world.

use super::glob;
use super::stream;
use super::world::Excerpt;
use pleach_runtime::fault::Refusal;
use std::path::{Path, PathBuf};

/// One source of documents, as the pipeline file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, a folder (taken with all folders below it) or a pattern such as `books/**/*.txt.gz`.
    Path(String),
    /// Documents of the little world, a record as all that is said in it.
    World(Excerpt),
}

impl Source {
    /// The source of a name in a pipeline file.
    ///
    /// # Errors
    /// As [`Excerpt::parse`].
    pub fn parse(name: &str) -> Result<Source, Refusal> {
        Ok(Excerpt::parse(name)?.map_or_else(|| Source::Path(name.to_string()), Source::World))
    }
}

/// What a file holds, by its name (`.gz` and `.zst` set aside).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One document, or several divided by separator lines.
    Text,
    /// One JSON object a line.
    JsonLines,
    /// One JSON array of objects.
    Json,
}

/// The shape that a file's name promises; `None` for names that say something else (`.csv`, `.pdf`).
pub(crate) fn shape(path: &Path) -> Option<Shape> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let bare = [".gz", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    match Path::new(bare).extension().and_then(|e| e.to_str()) {
        None | Some("txt" | "text" | "md") => Some(Shape::Text),
        Some("jsonl" | "ndjson") => Some(Shape::JsonLines),
        Some("json") => Some(Shape::Json),
        Some(_) => None,
    }
}

/// Could a source, by its name alone, hold records with fields? Folders and patterns could.
pub(crate) fn may_hold_json(source: &str) -> bool {
    let path = Path::new(source);
    let folder = path.extension().is_none();
    !source.starts_with("world:") && (folder || shape(path) != Some(Shape::Text))
}

/// Is it a folder that a run writes to? Its journal, tokenizer and tokens are no text to learn from, and they change
/// while the run goes on. Two names are asked for each time: one alone may be anybody's.
pub(super) fn is_a_runs(folder: &Path) -> bool {
    let all = |names: &[&str]| names.iter().all(|name| folder.join(name).exists());
    all(&["lock", "lock.pid"])
        || all(&["journal.jsonl", "stages"])
        || all(&["tokenizer.json", "prepare.json"])
        || all(&["tokenizer.json", "prepared.json"])
}

/// The files of a source, sorted by path, each once. Folders of runs are passed by.
pub(crate) fn files(source: &str, root: &Path) -> Result<Vec<PathBuf>, Refusal> {
    let path = root.join(source);
    let mut found = if path.is_dir() {
        let mut all = Vec::new();
        walk(&path, glob::MAX_DEPTH, &mut all).map_err(|error| stream::unreadable(&path, &error))?;
        let total = all.len();
        all.retain(|file| file.extension().is_some() && shape(file).is_some());
        if all.is_empty() {
            return Err(Refusal::new(
                format!("no text in the folder \"{}\"", path.display()),
                format!("{total} files, none of them .txt, .md, .jsonl or .json (also .gz, .zst)"),
                "name the files themselves, or convert them",
            ));
        }
        all
    } else if !path.exists() && glob::is_pattern(source) {
        let all = glob::expand(root, source).map_err(|error| stream::unreadable(&path, &error))?;
        if all.is_empty() {
            return Err(Refusal::new(
                format!("no file fits the pattern \"{source}\""),
                format!("looked for {}", path.display()),
                "check the pattern: * stays inside one folder, ** crosses folders",
            ));
        }
        all
    } else {
        vec![path]
    };
    found.sort();
    found.dedup();
    for file in &found {
        if shape(file).is_none() {
            return Err(Refusal::new(
                stream::cannot_read(file),
                "its name promises none of .txt, .md, .jsonl, .json (also .gz, .zst)",
                "convert it to one of these; a plain text file may be renamed to .txt",
            ));
        }
        let about = std::fs::metadata(file).map_err(|error| stream::unreadable(file, &error))?;
        if about.len() == 0 {
            return Err(stream::empty(file));
        }
    }
    Ok(found)
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link to a file is followed, a link to a folder is not: it may lead back to here.
        if kind.is_dir() && depth > 0 {
            if !is_a_runs(&entry.path()) {
                walk(&entry.path(), depth - 1, found)?;
            }
        } else if kind.is_file() || entry.path().is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}
