//! `pleach new`: a pipeline file with comments.

use super::Answer;
use clap::Parser;
use pleach::pipeline::keys::{Key, MODEL, PRETRAIN, TOP};
use pleach::pipeline::{ModelChoice, Pipeline, Pretrain};
use pleach::runtime::fault::Refusal;
use std::path::PathBuf;

/// `pleach new`.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  pleach new my-run --data 'texts/*.txt'\n  pleach new tiny --data world:20000 --depth 3 --minutes 5"
)]
pub struct Args {
    /// The folder to make
    pub folder: PathBuf,
    /// Files, folders or globs; world:N = N stories of the little world
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
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let file = args.folder.join("pleach.toml");
    let what = format!("could not make \"{}\"", file.display());
    if file.exists() {
        return Err(Refusal::new(what, "it exists already", "choose another folder, or edit the file"));
    }
    let name = args.folder.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
    let text = text(args, &name);
    Pipeline::parse(&text)?;
    let made = std::fs::create_dir_all(&args.folder).and_then(|()| std::fs::write(&file, text));
    made.map_err(|error| Refusal::new(what, error.to_string(), "check the folder's permissions").with_code(1))?;
    eprintln!("wrote {}", file.display());
    eprintln!("next: pleach plan {0}   then   pleach run {0}", file.display());
    Ok(0)
}

/// The values asked for, then every other key commented out with its default.
fn text(args: &Args, name: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let data: Vec<String> = args.data.iter().map(|path| quoted(path)).collect();
    let mut out = format!(
        "# A pipeline of pleach. Run it with `pleach run`; see what it needs with `pleach plan`.\nname = {}\n",
        quoted(name)
    );
    out.push_str(&rest(TOP, &toml::Table::new(), &["name"]));
    out.push_str(&format!("\n[model]\ndepth = {} # the one dial: layers; width and heads follow\n", args.depth));
    out.push_str(&format!("context = {} # tokens of a sequence\n", args.context));
    out.push_str(&rest(
        MODEL,
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
    out.push_str(&rest(PRETRAIN, &toml::Table::try_from(Pretrain::default()).unwrap_or_default(), &told));
    out
}

fn rest(keys: &[Key], defaults: &toml::Table, told: &[&str]) -> String {
    let mut out = String::new();
    for key in keys.iter().filter(|key| !told.contains(&key.name)) {
        match defaults.get(key.name) {
            Some(value) => out.push_str(&format!("# {} = {value} # {}\n", key.name, key.doc)),
            None => out.push_str(&format!("# {} = # {}\n", key.name, key.doc)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    #[test]
    fn a_new_file_reads_back() {
        let args = super::Args::parse_from(["new", "somewhere", "--data", "a\"b.txt", "--steps", "7"]);
        let pipeline = pleach::pipeline::Pipeline::parse(&super::text(&args, "somewhere")).expect("it parses");
        assert_eq!(pipeline.stages[0].steps, Some(7));
        assert_eq!(pipeline.stages[0].data.list(), ["a\"b.txt"]);
    }
}
