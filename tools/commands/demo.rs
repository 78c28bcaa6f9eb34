//! `pleach demo`: a small model climbs all stages in the little world in minutes, is judged after each, then talks.

mod climb;
mod recipe;

use super::Answer;
use super::generate::{DeviceArgs, encode, opened};
use super::guardian::{Input, guard, is_worker};
use super::new::{look, plain};
use super::run::train;
use super::{life, words};
use crate::show::ladder::{FILE, Ladder};
use crate::show::live::Style;
use crate::show::report;
use crate::show::words::shell;
use clap::Parser;
use pleach::data::TOO_SHORT;
use pleach::model::Model;
use pleach::pipeline::{Kind, Pipeline};
use pleach::runtime::engine::generation::Sampling;
use pleach::runtime::fault::Refusal;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// `pleach demo`.
#[derive(Parser)]
#[command(after_help = "Examples:\n  pleach demo\n  pleach demo --minutes 5\n  pleach demo --until finetune\n  \
                        pleach demo --text my-novel.txt\n  pleach demo --seed 2")]
pub struct Args {
    /// How much is learned: as much as two processor cores learn in about so many minutes (15; with --text: minutes of
    /// training, 3)
    #[arg(long, value_parser = minutes)]
    pub minutes: Option<f64>,
    /// Pretrain on your text instead of climbing all stages in the little world
    #[arg(long, conflicts_with = "until")]
    pub text: Option<PathBuf>,
    /// The last stage: pretrain, continued, finetune, instruct, rank or dpo
    #[arg(long, value_parser = until)]
    pub until: Option<Kind>,
    /// Where run folders are made
    #[arg(long, default_value = "runs")]
    pub runs: PathBuf,
    /// Key of all randomness
    #[arg(long, default_value_t = FIRST_SEED)]
    pub seed: u64,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// One JSON object a line on stdout, the ladder's table the last
    #[arg(long)]
    pub json: bool,
}

impl Args {
    fn minutes(&self) -> f64 {
        self.minutes.unwrap_or(if self.text.is_some() { 3.0 } else { recipe::MINUTES })
    }
}

/// `--minutes`: the world has so many documents, and a stage so many steps.
fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|minutes| (0.05..=1500.0).contains(minutes));
    minutes.ok_or_else(|| "give a number from 0.05 to 1500".into())
}

/// `--until`.
fn until(text: &str) -> Result<Kind, String> {
    let kind = recipe::KINDS.into_iter().find(|kind| kind.name() == text);
    let names = recipe::KINDS.map(Kind::name);
    kind.ok_or_else(|| format!("the stages are {}", names.join(", ")))
}

/// The seed where none is given.
const FIRST_SEED: u64 = 1;
/// How a text is begun that is not the little world's. No space after it: a space belongs to the word that follows.
const OPENING: &str = "The";

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let name = name(args);
    let folder = args.runs.join(&name);
    if !is_worker() {
        let text = args.text.as_ref().map(|text| text.to_string_lossy());
        text.map_or(Ok(()), |text| look("--text", &text))?;
        return guard(&folder, Input::Talk);
    }
    let life = life::show();
    let typed = pipeline(args, &name);
    let pipeline = Pipeline::parse(&typed)?;
    let style = if args.json { Style::Json } else { Style::Words };
    if style == Style::Words {
        eprintln!("{}", subject(args));
    }
    let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let code = train(&pipeline, &typed, &base, &folder, style, &life);
    let code = code.map_err(|refusal| possible(args, &folder, refusal))?;
    if code != 0 {
        return Ok(code);
    }
    match args.text {
        Some(_) => show(args, &folder),
        None => climbed(args, &pipeline, &folder),
    }
}

/// Each text and each seed has a run of its own.
fn name(args: &Args) -> String {
    let mut name = String::from("demo");
    if let Some(text) = &args.text {
        let file = text.file_name().unwrap_or_default().to_string_lossy();
        let bare = [".gz", ".zst", ".zstd"].iter().find_map(|end| file.strip_suffix(end)).unwrap_or(&file);
        let stem = Path::new(bare).file_stem().unwrap_or_default().to_string_lossy();
        let stem = plain(&stem);
        name.push_str(&format!("-{}", if stem.is_empty() { "text" } else { &stem }));
    }
    if args.seed != FIRST_SEED {
        name.push_str(&format!("-seed{}", args.seed));
    }
    name
}

/// A demo has no pipeline file to change: the ways out that it has.
fn possible(args: &Args, folder: &Path, refusal: Refusal) -> Refusal {
    let text = shell(&args.text.as_deref().map_or(String::new(), shown));
    let hint = if refusal.what == TOO_SHORT {
        format!("give a longer text, or make a pipeline for a short one: pleach new DIR --data {text} --context 16")
    } else if refusal.hint.contains("another name") {
        format!("name another place with --runs, or remove {} to begin anew", shell(&shown(folder)))
    } else {
        return refusal;
    };
    Refusal { hint, ..refusal }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn subject(args: &Args) -> String {
    match &args.text {
        Some(path) => {
            format!("A small model will learn the text {} for about {} minutes.", path.display(), args.minutes())
        }
        None => format!(
            "A small model will climb the stages of training in a little generated world: what two processor cores learn in \
             about {} minutes.",
            args.minutes()
        ),
    }
}

fn pipeline(args: &Args, name: &str) -> String {
    match &args.text {
        Some(path) => recipe::text(args, name, path),
        None => recipe::ladder(args, name),
    }
}

/// Judges the model of each stage, unless that is done, shows the table, and talks where someone is there.
fn climbed(args: &Args, pipeline: &Pipeline, folder: &Path) -> Answer {
    let models = climb::models(pipeline, folder);
    let kept = || {
        Ladder::read(folder).filter(|ladder| {
            let stages = ladder.stages.iter().map(|column| column.stage.as_str());
            stages.eq(models.iter().map(|(kind, _)| kind.name()))
        })
    };
    if kept().is_none() {
        let ladder = climb::judge(args, &models)?;
        ladder.write(folder).map_err(words)?;
        report::write(folder).map_err(words)?;
    }
    // What is shown is what was kept, the first time too: to the last digit.
    let Some(ladder) = kept() else {
        let hint = "look whether the disk is full, and run the same command again";
        let file = shown(&folder.join(FILE));
        return Err(Refusal::new("the table of the ladder could not be read again", file, hint).with_code(1));
    };
    if args.json {
        println!("{}", serde_json::to_string(&ladder).unwrap_or_default());
        return Ok(0);
    }
    println!("{}", ladder.words());
    let Some((_, last)) = models.last() else { return Ok(0) };
    talk(args, last)
}

/// Talks with a model where someone is there, or says how.
fn talk(args: &Args, folder: &Path) -> Answer {
    if !std::io::stdin().is_terminal() {
        eprintln!("talk to it: pleach chat {}", shell(&shown(folder)));
        return Ok(0);
    }
    let threads = args.device.threads.to_string();
    let device = ["--device", &args.device.device, "--threads", &threads];
    let words = ["--temperature", "0.6", "--max-tokens", "100"].into_iter().chain(device);
    let model = [std::ffi::OsStr::new("chat"), folder.as_os_str()];
    super::chat::run(&super::chat::Args::parse_from(model.into_iter().chain(words.map(std::ffi::OsStr::new))))
}

/// Samples of a model that learned a person's text.
fn show(args: &Args, folder: &Path) -> Answer {
    let model = Model::open(folder)?;
    let sampling = Sampling { temperature: 0.6, max_tokens: 100, seed: args.seed, ..Sampling::default() };
    let prompts = vec![encode(&model, OPENING)?; 3];
    let mut engine = model.generator(opened(&args.device)?, prompts.len(), 128).map_err(words)?;
    let eos: Vec<u32> = model.tokenizer.eos().into_iter().collect();
    let out = engine.generate(&prompts, &sampling, &eos, &mut |_, _| true).map_err(words)?;
    let said = |tokens: &[u32]| format!("{OPENING}{}", model.tokenizer.decode(tokens));
    let texts: Vec<String> = out.iter().map(|generated| said(&generated.tokens)).collect();
    if args.json {
        println!("{}", serde_json::json!({ "samples": texts }));
        return Ok(0);
    }
    println!();
    for text in &texts {
        println!("{}\n", text.trim());
    }
    talk(args, folder)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    #[test]
    fn each_text_and_each_seed_has_a_name() {
        let name = |words: &[&str]| super::name(&super::Args::parse_from([&["demo"], words].concat()));
        assert_eq!(name(&[]), "demo");
        assert_eq!(name(&["--seed", "2"]), "demo-seed2");
        assert_eq!(name(&["--text", "a.txt"]), "demo-a");
        assert_eq!(name(&["--text", "b/My novel.txt.gz", "--seed", "7"]), "demo-My-novel-seed7");
        assert_eq!(name(&["--text", ".."]), "demo-text");
        assert!(pleach::runtime::store::is_plain_name(&name(&["--text", &"x".repeat(300)])));
    }

    /// A space of its own is a token that no text begins a word with.
    #[test]
    fn no_prompt_ends_in_a_space() {
        for words in [&["demo"][..], &["demo", "--text", "a.txt"]] {
            let pipeline = super::pipeline(&super::Args::parse_from(words), "demo");
            let pipeline = pleach::pipeline::Pipeline::parse(&pipeline).expect("it parses");
            // A stage that collects shows no samples of its own.
            for stage in pipeline.stages.iter().filter(|stage| stage.kind.name() != "rank") {
                let prompts = &stage.prompts;
                assert!(!prompts.is_empty() && prompts.iter().all(|prompt| !prompt.ends_with(' ')), "{prompts:?}");
            }
        }
    }

    #[test]
    fn the_ladder_is_as_long_as_was_asked_for() {
        let stages = |words: &[&str]| {
            let args = super::Args::parse_from([&["demo"], words].concat());
            let pipeline = pleach::pipeline::Pipeline::parse(&super::pipeline(&args, "demo")).expect("it parses");
            pipeline.stages.iter().map(|stage| stage.kind.name()).collect::<Vec<_>>()
        };
        assert_eq!(stages(&[]), ["pretrain", "continued", "finetune", "instruct", "rank", "dpo"]);
        assert_eq!(stages(&["--until", "finetune", "--minutes", "0.1"]), ["pretrain", "continued", "finetune"]);
        assert!(super::Args::try_parse_from(["demo", "--until", "bed"]).is_err());
        assert!(super::Args::try_parse_from(["demo", "--minutes", "0"]).is_err());
    }
}
