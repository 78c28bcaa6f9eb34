//! `pleach generate`: continues prompts.

use super::{Answer, words};
use clap::Parser;
use pleach::data::mask::{ChatEncoder, Turns};
use pleach::data::records::{Message, Role, Said};
use pleach::model::Model;
use pleach::runtime::device::Device;
use pleach::runtime::device::choose::{Wish, choose, open};
use pleach::runtime::engine::generation::{Ended, Sampling};
use pleach::runtime::fault::Refusal;
use std::io::Write;
use std::path::PathBuf;

/// Sequences continued at once.
const STREAMS: usize = 8;

/// `pleach generate`.
#[derive(Parser)]
#[command(after_help = "Examples:\n  pleach generate runs/demo --prompt 'In spring'\n  \
                        pleach generate model/ --prompt-file prompts.txt --temperature 0 --json\n  \
                        pleach generate model/ --chat --prompt 'Who grows tulips?'")]
pub struct Args {
    /// A model folder, a run, or a checkpoint
    pub model: PathBuf,
    /// The text to continue; several are continued together
    #[arg(long)]
    pub prompt: Vec<String>,
    /// A file with one prompt a line
    #[arg(long)]
    pub prompt_file: Option<PathBuf>,
    /// Ask each prompt as a person would in a chat: through the model's chat template
    #[arg(long)]
    pub chat: bool,
    /// model, chatml, plain, a .jinja file, or the name of one of the model's templates (default: the model's own, else
    /// ChatML, else plain)
    #[arg(long, requires = "chat")]
    pub template: Option<String>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Add the log-probability of each token
    #[arg(long, requires = "json")]
    pub logprobs: bool,
    /// One JSON object a prompt, one a line, on stdout
    #[arg(long)]
    pub json: bool,
}

/// How tokens are chosen.
#[derive(Parser, Clone)]
pub struct SamplingArgs {
    /// New tokens at most
    #[arg(long, default_value_t = 128)]
    pub max_tokens: usize,
    /// 0 = the most likely token always
    #[arg(long, default_value_t = 0.8)]
    pub temperature: f32,
    /// Keep this many most likely tokens (0 = all)
    #[arg(long, default_value_t = 0)]
    pub top_k: u32,
    /// Keep the smallest set with this total probability
    #[arg(long, default_value_t = 0.95)]
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely
    #[arg(long, default_value_t = 0.0)]
    pub min_p: f32,
    /// Penalty on recent tokens (1 = off)
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Key of the draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    /// Checked values.
    pub fn sampling(&self) -> Result<Sampling, Refusal> {
        for (name, value, low, high) in [
            ("temperature", self.temperature, 0.0, 100.0),
            ("top-p", self.top_p, 0.0, 1.0),
            ("min-p", self.min_p, 0.0, 1.0),
            ("repetition-penalty", self.repetition_penalty, 0.01, 100.0),
        ] {
            if !(low..=high).contains(&value) {
                let hint = format!("give a value from {low} to {high}");
                return Err(Refusal::new(format!("--{name} {value} cannot be used"), "it is out of range", hint));
            }
        }
        Ok(Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            max_tokens: self.max_tokens,
        })
    }
}

/// Which device.
#[derive(Parser, Clone)]
pub struct DeviceArgs {
    /// auto, gpu, cpu, software, or an adapter's number
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Processor threads (0 = all)
    #[arg(long, default_value_t = 0, value_parser = super::threads)]
    pub threads: usize,
}

/// The device that was asked for; the choice is said.
pub fn opened(args: &DeviceArgs) -> Result<Box<dyn Device>, Refusal> {
    let (chosen, why) = choose(&Wish::parse(&args.device)?, args.threads);
    eprintln!("device: {why}");
    open(&chosen).map_err(words)
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let sampling = args.sampling.sampling()?;
    let mut texts = args.prompt.clone();
    if let Some(path) = &args.prompt_file {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let what = format!("could not read the prompts \"{}\"", path.display());
            Refusal::new(what, error.to_string(), "give a UTF-8 file with one prompt a line")
        })?;
        texts.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_string));
    }
    if texts.is_empty() {
        let hint = "add --prompt \"...\" or --prompt-file FILE";
        return Err(Refusal::new("there is nothing to continue", "no prompt was given", hint));
    }
    let model = Model::open(&args.model)?;
    let (tokens, eos) = prompts(args, &model, &texts)?;
    let longest = tokens.iter().map(Vec::len).max().unwrap_or(0).saturating_add(sampling.max_tokens);
    let device = opened(&args.device)?;
    let mut engine = model.generator(device, STREAMS.min(texts.len()), longest).map_err(words)?;
    let stream = texts.len() == 1 && !args.json;
    if stream && !args.chat {
        print!("{}", texts[0]);
    }
    let mut words_out = model.tokenizer.stream();
    let out = engine
        .generate(&tokens, &sampling, &eos, &mut |_, token| {
            if stream {
                print!("{}", words_out.push(token));
                // A closed pipe shows at the end; nothing is lost before.
                let _ = std::io::stdout().flush();
            }
            true
        })
        .map_err(words)?;
    if stream {
        println!("{}", words_out.finish());
        return Ok(0);
    }
    for ((text, prompt), generated) in texts.iter().zip(&tokens).zip(&out) {
        let continuation = match args.chat {
            true => model.tokenizer.decode(&generated.tokens),
            false => continuation(&model, prompt, &generated.tokens),
        };
        if !args.json {
            println!("{text}{}{continuation}\n", if args.chat { "\n" } else { "" });
            continue;
        }
        let mut answer = serde_json::json!({
            "prompt": text,
            "text": continuation,
            "token_ids": generated.tokens,
            "ended": ended(generated.ended),
        });
        if args.logprobs {
            answer["logprobs"] = serde_json::json!(generated.log_probabilities);
        }
        println!("{answer}");
    }
    Ok(0)
}

/// The prompts as the model sees them, and the tokens that end an answer.
fn prompts(args: &Args, model: &Model, texts: &[String]) -> Result<(Vec<Vec<u32>>, Vec<u32>), Refusal> {
    if !args.chat {
        let tokens = texts.iter().map(|text| encode(model, text)).collect::<Result<_, _>>()?;
        return Ok((tokens, model.tokenizer.eos().into_iter().collect()));
    }
    let template = super::chat::template(model, args.template.as_deref())?;
    let encoder = ChatEncoder::new(&model.tokenizer, &template, Turns::Last);
    let asked = |text: &String| Said::Messages(vec![Message::new(Role::User, text.as_str())]);
    let tokens = texts.iter().map(|text| encoder.prompt(&asked(text), None)).collect::<Result<_, _>>()?;
    Ok((tokens, encoder.stops()))
}

fn ended(ended: Ended) -> &'static str {
    match ended {
        Ended::Eos => "eos",
        Ended::Length => "length",
        Ended::Context => "context",
        Ended::Caller => "caller",
    }
}

/// The raw prompt as the tokenizer's own rules give it.
pub fn encode(model: &Model, text: &str) -> Result<Vec<u32>, Refusal> {
    let mut tokens = model.tokenizer.encode_whole(text)?;
    if tokens.is_empty() {
        tokens = model.tokenizer.prefix().to_vec();
    }
    if tokens.is_empty() {
        return Err(Refusal::new("the prompt is empty", "it has no token", "write something to continue"));
    }
    Ok(tokens)
}

/// Decode of all minus decode of the prompt.
pub fn continuation(model: &Model, prompt: &[u32], new: &[u32]) -> String {
    let all: Vec<u32> = prompt.iter().chain(new).copied().collect();
    let (whole, head) = (model.tokenizer.decode(&all), model.tokenizer.decode(prompt));
    whole.strip_prefix(&head).map_or_else(|| model.tokenizer.decode(new), str::to_string)
}
