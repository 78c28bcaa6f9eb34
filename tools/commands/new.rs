//! `pleach new`: a pipeline file with comments.

use super::Answer;
use crate::show::words::shell;
use clap::Parser;
use pleach::data::{Corpus, Source};
use pleach::pipeline::keys::{Key, MODEL, TOP};
use pleach::pipeline::{Kind, ModelChoice, Pipeline, StageChoice};
use pleach::runtime::fault::Refusal;
use pleach::runtime::store::is_plain_name;
use std::path::{Component, Path, PathBuf};

/// `pleach new`.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  pleach new my-run --data 'texts/*.txt'\n  pleach new tiny --data world:20000 --depth 3 --minutes 5"
)]
pub struct Args {
    /// The folder to make
    pub folder: PathBuf,
    /// Files, folders or globs, as seen from here; world:N = N stories of the little world
    #[arg(long, default_value = "world:20000")]
    pub data: Vec<String>,
    /// The one dial: layers; width and heads follow
    #[arg(long, default_value_t = 4)]
    pub depth: usize,
    /// Tokens of a sequence
    #[arg(long, default_value_t = 256)]
    pub context: usize,
    /// Minutes of training, instead of one epoch
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Optimizer steps, instead of one epoch
    #[arg(long, conflicts_with = "minutes")]
    pub steps: Option<u64>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Letters of a derived name at most: a run's name may have 128, and `demo` puts words around this one.
const NAME_LETTERS: usize = 90;

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let file = args.folder.join("pleach.toml");
    let what = format!("could not make \"{}\"", file.display());
    if file.exists() {
        return Err(Refusal::new(what, "it exists already", "choose another folder, or edit the file"));
    }
    args.data.iter().try_for_each(|name| look("--data", name))?;
    let name = std::path::absolute(&args.folder).unwrap_or_else(|_| args.folder.clone());
    let name = plain(&name.file_name().unwrap_or_default().to_string_lossy());
    let name = if name.is_empty() { "run".to_string() } else { name };
    let text = text(args, &name);
    Pipeline::parse(&text)?;
    let made = std::fs::create_dir_all(&args.folder).and_then(|()| std::fs::write(&file, text));
    made.map_err(|error| Refusal::new(what, error.to_string(), "check the folder's permissions").with_code(1))?;
    let shown = file.display().to_string();
    eprintln!("wrote {shown}");
    eprintln!("next: pleach plan {0}   then   pleach run {0}", shell(&shown));
    if args.json {
        println!("{}", serde_json::json!({"wrote": shown, "name": name}));
    }
    Ok(0)
}

/// Refuses data that names nothing to read, seen from the working folder; `flag` is where it was typed.
pub fn look(flag: &str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        let hint = "name a file, a folder, a glob in quotes, or world:20000";
        return Err(Refusal::new("there is nothing to train on", format!("{flag} is empty"), hint));
    }
    let found = Corpus { train: vec![Source::parse(name)?], ..Corpus::default() }.parts();
    found.map(drop).map_err(|refusal| match name.starts_with("world:") || Path::new(name).exists() {
        true => refusal,
        false => {
            let hint = format!("check {flag} \"{name}\": a relative path starts at the folder you are in");
            Refusal { hint, ..refusal }
        }
    })
}

/// A run's name out of any words: what no folder's name takes becomes a dash. Empty where nothing is left.
pub fn plain(words: &str) -> String {
    let name = match is_plain_name(words) {
        true => words.to_string(),
        false => {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_');
            let parts: Vec<&str> = words.split(|c| !plain(c)).filter(|part| !part.is_empty()).collect();
            parts.join("-").trim_start_matches('.').to_string()
        }
    };
    name.chars().take(NAME_LETTERS).collect()
}

/// Data as the pipeline file has it: typed here, it is read from the new folder.
fn from_folder(folder: &Path, name: &str) -> String {
    if name.starts_with("world:") || Path::new(name).is_absolute() {
        return name.to_string();
    }
    let inward = folder.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    // The way up from a linked folder leads elsewhere.
    if inward && !folder.ancestors().any(Path::is_symlink) {
        let depth = folder.components().filter(|part| matches!(part, Component::Normal(_))).count();
        return format!("{}{name}", "../".repeat(depth));
    }
    std::path::absolute(name).map_or_else(|_| name.to_string(), |path| path.display().to_string())
}

/// The values asked for, then every other key commented out with its default.
fn text(args: &Args, name: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let data: Vec<String> = args.data.iter().map(|name| quoted(&from_folder(&args.folder, name))).collect();
    let mut out = format!(
        "# A pipeline of pleach. Run it with `pleach run`; see what it needs with `pleach plan`.\nname = {}\n",
        quoted(name)
    );
    out.push_str(&rest(TOP.iter(), &toml::Table::new(), &["name"]));
    out.push_str(&format!("\n[model]\ndepth = {} # the one dial: layers; width and heads follow\n", args.depth));
    out.push_str(&format!("context = {} # tokens of a sequence\n", args.context));
    out.push_str(&rest(
        MODEL.iter(),
        &toml::Table::try_from(ModelChoice::default()).unwrap_or_default(),
        &["depth", "context"],
    ));
    out.push_str(&format!("\n[[stage]]\nkind = \"pretrain\"\ndata = [{}]\n", data.join(", ")));
    match (args.steps, args.minutes) {
        (Some(steps), _) => out.push_str(&format!("steps = {steps}\n")),
        (_, Some(minutes)) => out.push_str(&format!("minutes = {minutes:?}\n")),
        _ => out.push_str("epochs = 1.0\n"),
    }
    if args.data.iter().all(|path| path.starts_with("world:")) {
        out.push_str("prompts = [\"One morning\", \"In spring\"]\n");
    }
    let told = ["kind", "data", "steps", "minutes", "epochs", "prompts"];
    let defaults = toml::Table::try_from(StageChoice::default()).unwrap_or_default();
    out.push_str(&rest(Kind::Pretrain.keys(), &defaults, &told));
    out
}

fn rest<'a>(keys: impl Iterator<Item = &'a Key>, defaults: &toml::Table, told: &[&str]) -> String {
    let mut out = String::new();
    for key in keys.filter(|key| !told.contains(&key.name)) {
        match defaults.get(key.name) {
            Some(value) => out.push_str(&format!("# {} = {value} # {}\n", key.name, key.doc)),
            None => out.push_str(&format!("# {} = # {}\n", key.name, key.doc)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{from_folder, plain};
    use clap::Parser;
    use std::path::Path;

    #[test]
    fn a_new_file_reads_back() {
        let args = super::Args::parse_from(["new", "somewhere", "--data", "a\"b.txt", "--steps", "7"]);
        let pipeline = pleach::pipeline::Pipeline::parse(&super::text(&args, "somewhere")).expect("it parses");
        assert_eq!(pipeline.stages[0].steps, Some(7));
        assert_eq!(pipeline.stages[0].data.list(), ["../a\"b.txt"]);
    }

    #[test]
    fn data_is_named_from_the_new_folder() {
        assert_eq!(from_folder(Path::new("garden"), "texts/*.txt"), "../texts/*.txt");
        assert_eq!(from_folder(Path::new("./a/b/"), "../x"), "../../../x");
        assert_eq!(from_folder(Path::new("."), "x.txt"), "x.txt");
        assert_eq!(from_folder(Path::new("garden"), "world:9"), "world:9");
        assert!(Path::new(&from_folder(Path::new("../garden"), "x.txt")).is_absolute());
    }

    #[test]
    fn any_words_give_a_plain_name() {
        assert_eq!(plain("my garden"), "my-garden");
        assert_eq!(plain(".hidden (2)"), "hidden-2");
        assert_eq!(plain("\u{e4}\u{f6}"), "");
        assert_eq!(plain("v1.2_b--c"), "v1.2_b--c");
    }
}
