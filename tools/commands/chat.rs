//! `pleach chat`: talk to a model through its chat template; one without continues what is typed.

mod dialogue;

use super::generate::{DeviceArgs, SamplingArgs, encode, opened};
use super::{Answer, words};
use clap::Parser;
use dialogue::Dialogue;
use pleach::data::template::{Source, Template};
use pleach::model::Model;
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::generation::Sampling;
use pleach::runtime::fault::Refusal;
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;

/// Tokens of a line that memory is laid out for, its answer apart; a longer line is refused in words.
pub const LINE: usize = 4096;

/// `pleach chat`.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  pleach chat runs/demo\n  pleach chat model/ --system 'Be short.'\n  echo 'In spring' | pleach chat runs/demo"
)]
pub struct Args {
    /// A model folder, a run, or a checkpoint
    pub model: PathBuf,
    /// model, chatml, plain, a .jinja file, or the name of one of the model's templates (default: the model's own;
    /// without one the model continues what you write)
    #[arg(long)]
    pub template: Option<String>,
    /// Continue what you write, whatever template there is
    #[arg(long, conflicts_with = "template")]
    pub raw: bool,
    /// What the model is told before the first turn
    #[arg(long, conflicts_with = "raw")]
    pub system: Option<String>,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// One JSON object an answer on stdout
    #[arg(long)]
    pub json: bool,
}

/// Bytes of a line at most; no context is as long.
const LINE_BYTES: usize = 1 << 20;

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let sampling = args.sampling.sampling()?;
    let model = Model::open(&args.model)?;
    let longest = LINE.saturating_add(sampling.max_tokens);
    let mut engine = model.generator(opened(&args.device)?, 1, longest).map_err(words)?;
    let chat = !args.raw && (args.template.is_some() || args.system.is_some() || Template::is_in(&model.folder)?);
    if !chat {
        return talk(&model, &mut engine, &sampling, args.json);
    }
    let template = template(&model, args.template.as_deref())?;
    let mut dialogue = Dialogue::new(template, args.system.as_deref());
    let words = "Ask something; the model answers. An empty line ends.";
    each_line(words, &sampling, &mut |text, sampling| dialogue.answer(&model, &mut engine, text, sampling, args.json))
}

/// The template that was chosen, or that suits the model; which one is said.
pub fn template(model: &Model, chosen: Option<&str>) -> Result<Template, Refusal> {
    let source = chosen.map_or(Source::Suited, Source::parse);
    let template = Template::load(&source, &model.folder, &model.tokenizer)?;
    eprintln!("chat template: {}", template.origin());
    Ok(template)
}

/// Continues each line.
pub fn talk(model: &Model, engine: &mut Engine, sampling: &Sampling, json: bool) -> Answer {
    let words = "Write the beginning of a text; the model goes on. An empty line ends.";
    each_line(words, sampling, &mut |text, sampling| answer(model, engine, text, sampling, json))
}

/// What is done with a line.
type Each<'a> = dyn FnMut(&str, &Sampling) -> Result<(), Refusal> + 'a;

/// Reads lines until the end of input; on a terminal an empty line ends too. A line that cannot be answered is refused
/// in words, and the next one is read; the first such refusal's code is the answer.
fn each_line(words: &str, sampling: &Sampling, each: &mut Each) -> Answer {
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("{words}");
    }
    let mut input = std::io::stdin().lock();
    let (mut turn, mut code) = (0, 0);
    for number in 1u64.. {
        if terminal {
            eprint!("> ");
        }
        let Some(bytes) = line(&mut input)? else { break };
        if bytes.is_empty() && terminal {
            break;
        }
        if bytes.is_empty() {
            eprintln!("line {number} is empty: passed over");
            continue;
        }
        let sampling = Sampling { seed: sampling.seed.wrapping_add(turn), ..sampling.clone() };
        turn += 1;
        if let Err(refusal) = text(bytes).and_then(|text| each(&text, &sampling)) {
            eprintln!("error: line {number}: {refusal}");
            code = if code == 0 { refusal.code } else { code };
        }
    }
    Ok(code)
}

/// The next line without its end, and of a longer one as much as is refused; none at the end of the input.
fn line(input: &mut dyn BufRead) -> Result<Option<Vec<u8>>, Refusal> {
    let mut bytes = Vec::new();
    let failed = |error: std::io::Error| {
        let hint = "give the lines through a file or a pipe, or generate --prompt";
        Refusal::new("could not read what is to be continued", error.to_string(), hint).with_code(1)
    };
    let read = Read::take(&mut *input, LINE_BYTES as u64 + 2).read_until(b'\n', &mut bytes).map_err(failed)?;
    if bytes.last() != Some(&b'\n') && bytes.len() > LINE_BYTES {
        input.skip_until(b'\n').map_err(failed)?;
    }
    while bytes.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
    Ok((read > 0).then_some(bytes))
}

fn text(bytes: Vec<u8>) -> Result<String, Refusal> {
    let what = "the line cannot be continued";
    if bytes.len() > LINE_BYTES {
        let detail = format!("it is longer than {} KiB", LINE_BYTES >> 10);
        return Err(Refusal::new(what, detail, "give its end: a model sees no more than its context"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let detail = format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to());
        Refusal::new(what, detail, "convert it to UTF-8")
    })
}

fn answer(model: &Model, engine: &mut Engine, text: &str, sampling: &Sampling, json: bool) -> Result<(), Refusal> {
    let prompt = encode(model, text)?;
    if prompt.len() > LINE {
        let detail = format!("it has {} tokens; chat lays itself out for lines of {LINE} at most", prompt.len());
        return Err(Refusal::new("the line cannot be continued", detail, "give its end, or take generate"));
    }
    let eos: Vec<u32> = model.tokenizer.eos().into_iter().collect();
    let mut stream = model.tokenizer.stream();
    let mut said = String::new();
    let mut say = |part: String| {
        if !json {
            print!("{part}");
            // A closed pipe ends the loop at the next read.
            let _ = std::io::stdout().flush();
        }
        said.push_str(&part);
    };
    if !json {
        say(text.to_string());
    }
    let out = engine
        .generate(&[prompt], sampling, &eos, &mut |_, token| {
            say(stream.push(token));
            true
        })
        .map_err(words)?;
    say(stream.finish());
    if json {
        println!("{}", serde_json::json!({"prompt": text, "text": said, "token_ids": out[0].tokens}));
    } else {
        println!();
    }
    Ok(())
}
