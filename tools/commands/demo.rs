//! `pleach demo`: a small model learns the little world's language in minutes, then talks.

use super::Answer;
use super::generate::{DeviceArgs, encode, opened};
use super::guardian::{Input, guard, is_worker};
use super::new::{look, plain};
use super::run::train;
use super::{life, words};
use crate::show::live::Style;
use crate::show::words::shell;
use clap::Parser;
use pleach::data::{TOO_SHORT, world};
use pleach::model::Model;
use pleach::pipeline::Pipeline;
use pleach::runtime::engine::generation::Sampling;
use pleach::runtime::fault::Refusal;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// `pleach demo`.
#[derive(Parser)]
#[command(after_help = "Examples:\n  pleach demo\n  pleach demo --minutes 10\n  pleach demo --text my-novel.txt\n  \
                        pleach demo --seed 2")]
pub struct Args {
    /// Minutes of training
    #[arg(long, default_value_t = 3.0)]
    pub minutes: f64,
    /// Learn your text instead of the little world
    #[arg(long)]
    pub text: Option<PathBuf>,
    /// Where run folders are made
    #[arg(long, default_value = "runs")]
    pub runs: PathBuf,
    /// Key of all randomness
    #[arg(long, default_value_t = FIRST_SEED)]
    pub seed: u64,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// One JSON object a line on stdout
    #[arg(long)]
    pub json: bool,
}

/// Stories that are generated: more than a small model sees in minutes.
const STORIES: u64 = 24_000;
/// The seed where none is given.
const FIRST_SEED: u64 = 1;
/// How a text is begun that is not the little world's. No space after it: a space belongs to the word that follows.
const OPENING: &str = "The";
/// Texts sampled at the end, to see how many sentences the world's grammar knows.
const JUDGED: usize = 24;

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
        eprintln!("A small model will learn {} for about {} minutes.", subject(args), args.minutes);
    }
    let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let code = train(&pipeline, &typed, &base, &folder, style, &life);
    let code = code.map_err(|refusal| possible(args, &folder, refusal))?;
    if code != 0 {
        return Ok(code);
    }
    show(args, &folder)
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
        Some(path) => format!("the text {}", path.display()),
        None => "the stories of a little generated world".into(),
    }
}

fn pipeline(args: &Args, name: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let data = match &args.text {
        Some(path) => quoted(&path.display().to_string()),
        None => quoted(&format!("world:{STORIES}")),
    };
    let prompts = match args.text {
        Some(_) => format!("[{}]", quoted(OPENING)),
        None => "[\"One morning\", \"In spring\", \"The gardener\"]".into(),
    };
    let vocab = if args.text.is_some() { 2048 } else { 1024 };
    format!(
        "name = {}\nseed = {}\ndevice = {}\nthreads = {}\n\n[model]\nshape = \"qwen3\"\nlayers = 4\nwidth = 160\nheads = 5\n\
         context = 128\n\n[[stage]]\nkind = \"pretrain\"\ndata = {data}\nvocab = {vocab}\nvalid = 0.02\nbatch = 16\n\
         minutes = {:?}\nlearning_rate = 4e-3\nsave_minutes = 1.0\nprompts = {prompts}\nsample_tokens = 48\n",
        quoted(name),
        args.seed,
        quoted(&args.device.device),
        args.device.threads,
        args.minutes
    )
}

/// Samples, how many of their sentences the world's grammar knows, and a talk where someone is there.
fn show(args: &Args, folder: &Path) -> Answer {
    let model = Model::open(folder)?;
    let sampling = Sampling { temperature: 0.6, max_tokens: 100, seed: args.seed, ..Sampling::default() };
    // The world's texts are begun at their beginning, so that their first sentences are whole.
    let opening = if args.text.is_some() { OPENING } else { "" };
    let prompts = vec![encode(&model, opening)?; JUDGED];
    let longest = super::chat::LINE.saturating_add(sampling.max_tokens);
    let mut engine = model.generator(opened(&args.device)?, 8, longest).map_err(words)?;
    let eos: Vec<u32> = model.tokenizer.eos().into_iter().collect();
    let out = engine.generate(&prompts, &sampling, &eos, &mut |_, _| true).map_err(words)?;
    let said = |tokens: &[u32]| format!("{opening}{}", model.tokenizer.decode(tokens));
    let texts: Vec<String> = out.iter().map(|generated| said(&generated.tokens)).collect();
    if args.json {
        println!("{}", serde_json::json!({"samples": texts, "grammatical": grammatical(args, &texts)}));
        return Ok(0);
    }
    println!();
    for text in texts.iter().take(3) {
        println!("{}\n", text.trim());
    }
    if let Some((good, all)) = grammatical(args, &texts) {
        let share = 100.0 * good as f64 / all.max(1) as f64;
        println!("{good} of {all} sampled sentences ({share:.0} %) parse in the little world's own grammar.");
    }
    if std::io::stdin().is_terminal() {
        return super::chat::talk(&model, &mut engine, &sampling, false);
    }
    eprintln!("talk to it: pleach chat {}", shell(&shown(folder)));
    Ok(0)
}

/// Complete sentences that parse, and all complete sentences; nothing is known about other texts.
fn grammatical(args: &Args, texts: &[String]) -> Option<(usize, usize)> {
    if args.text.is_some() {
        return None;
    }
    let sentences: Vec<&str> = texts.iter().flat_map(|text| world::sentences(text)).collect();
    let whole: Vec<&&str> = sentences.iter().filter(|s| s.trim_end().ends_with(['.', '!', '?', '"'])).collect();
    let parser = world::Parser::new();
    Some((whole.iter().filter(|sentence| parser.parses(sentence)).count(), whole.len()))
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
            let prompts = &pipeline.stages[0].prompts;
            assert!(!prompts.is_empty() && prompts.iter().all(|prompt| prompt.trim() == prompt), "{prompts:?}");
        }
    }
}
