//! `pleach chat`: type the beginning of a text, the model goes on (plain completion).

use super::generate::{DeviceArgs, SamplingArgs, encode, opened};
use super::{Answer, words};
use clap::Parser;
use pleach::model::Model;
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::generation::Sampling;
use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

/// Tokens of a line that memory is laid out for, its answer apart; a longer line is refused in words.
pub const LINE: usize = 4096;

/// `pleach chat`.
#[derive(Parser)]
#[command(after_help = "Examples:\n  pleach chat runs/demo\n  echo 'In spring' | pleach chat runs/demo")]
pub struct Args {
    /// A model folder, a run, or a checkpoint
    pub model: PathBuf,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// One JSON object an answer on stdout
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let sampling = args.sampling.sampling()?;
    let model = Model::open(&args.model)?;
    let longest = LINE.saturating_add(sampling.max_tokens);
    let mut engine = model.generator(opened(&args.device)?, 1, longest).map_err(words)?;
    talk(&model, &mut engine, &sampling, args.json)
}

/// Reads lines until the end of input; an empty line ends too.
pub fn talk(model: &Model, engine: &mut Engine, sampling: &Sampling, json: bool) -> Answer {
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("Write the beginning of a text; the model goes on. An empty line ends.");
    }
    let mut turn = 0;
    loop {
        if terminal {
            eprint!("> ");
        }
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        let text = line.trim_end_matches(['\n', '\r']);
        if !matches!(read, Ok(count) if count > 0) || text.is_empty() {
            return Ok(0);
        }
        let sampling = Sampling { seed: sampling.seed.wrapping_add(turn), ..sampling.clone() };
        turn += 1;
        if let Err(refusal) = answer(model, engine, text, &sampling, json) {
            eprintln!("error: {refusal}");
        }
    }
}

fn answer(
    model: &Model,
    engine: &mut Engine,
    text: &str,
    sampling: &Sampling,
    json: bool,
) -> Result<(), pleach::runtime::fault::Refusal> {
    let prompt = encode(model, text)?;
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
