//! `pleach demo`: a small model learns the little world's language in minutes, then talks.

use super::Answer;
use super::generate::{DeviceArgs, opened};
use super::guardian::{Input, guard, is_worker};
use super::life;
use super::run::train;
use crate::show::live::Style;
use clap::Parser;
use pleach::data::world;
use pleach::model::Model;
use pleach::pipeline::Pipeline;
use pleach::runtime::engine::generation::Sampling;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// `pleach demo`.
#[derive(Parser)]
#[command(after_help = "Examples:\n  pleach demo\n  pleach demo --minutes 10\n  pleach demo --text my-novel.txt")]
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
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// One JSON object a line on stdout
    #[arg(long)]
    pub json: bool,
}

/// Stories that are generated: more than a small model sees in minutes.
const STORIES: u64 = 24_000;
/// Texts sampled at the end, to see how many sentences the world's grammar knows.
const JUDGED: usize = 24;

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let name = if args.text.is_some() { "demo-text" } else { "demo" };
    let folder = args.runs.join(name);
    if !is_worker() {
        return guard(&folder, Input::Talk);
    }
    let life = life::show();
    let typed = pipeline(args, name);
    let pipeline = Pipeline::parse(&typed)?;
    let style = if args.json { Style::Json } else { Style::Words };
    if style == Style::Words {
        eprintln!("A small model will learn {} for about {} minutes.", subject(args), args.minutes);
    }
    let base = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let code = train(&pipeline, &typed, &base, &folder, style, &life)?;
    if code != 0 {
        return Ok(code);
    }
    show(args, &folder)
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
    let prompts = if args.text.is_some() { "[\"The \"]" } else { "[\"One morning\", \"In spring\", \"The gardener\"]" };
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
    let prompts = vec![begin(&model)?; JUDGED];
    let longest = super::chat::LINE.saturating_add(sampling.max_tokens);
    let mut engine = model.generator(opened(&args.device)?, 8, longest).map_err(super::words)?;
    let eos: Vec<u32> = model.tokenizer.eos().into_iter().collect();
    let out = engine.generate(&prompts, &sampling, &eos, &mut |_, _| true).map_err(super::words)?;
    let texts: Vec<String> = out.iter().map(|generated| model.tokenizer.decode(&generated.tokens)).collect();
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
    eprintln!("talk to it: pleach chat {}", folder.display());
    Ok(0)
}

fn begin(model: &Model) -> Result<Vec<u32>, pleach::runtime::fault::Refusal> {
    match model.tokenizer.prefix() {
        [] => super::generate::encode(model, "The "),
        prefix => Ok(prefix.to_vec()),
    }
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
