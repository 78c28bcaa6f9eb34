//! `pleach chat`: a model with a chat template answers what you type; any other goes on with it.

use super::generate::{DeviceArgs, SamplingArgs, encode, opened};
use super::{Answer, words};
use clap::Parser;
use pleach::data::mask::{ChatEncoder, Turns};
use pleach::data::records::{Message, Role, Said};
use pleach::data::template::Template;
use pleach::model::{Model, stops};
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::generation::Sampling;
use pleach::runtime::fault::Refusal;
use std::io::{BufRead, IsTerminal, Read, Write};
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

/// Bytes of a line at most; no context is as long.
const LINE_BYTES: usize = 1 << 20;

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let sampling = args.sampling.sampling()?;
    let model = Model::open(&args.model)?;
    let longest = LINE.saturating_add(sampling.max_tokens);
    let mut engine = model.generator(opened(&args.device)?, 1, longest).map_err(words)?;
    talk(&model, &mut engine, &sampling, args.json)
}

/// Reads lines until the end of input; on a terminal an empty line ends too. A line that cannot be continued is refused
/// in words, and the next one is read; the first such refusal's code is the answer.
pub fn talk(model: &Model, engine: &mut Engine, sampling: &Sampling, json: bool) -> Answer {
    let terminal = std::io::stdin().is_terminal();
    let mut talk = Talk::new(model)?;
    if terminal {
        match talk.template {
            Some(_) => eprintln!("Say something; the model answers. An empty line ends."),
            None => eprintln!("Write the beginning of a text; the model goes on. An empty line ends."),
        }
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
        if let Err(refusal) = text(bytes).and_then(|text| talk.answer(engine, &text, &sampling, json)) {
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

/// A talk with a model.
struct Talk<'a> {
    model: &'a Model,
    /// The model's own; without one it goes on with texts.
    template: Option<Template>,
    /// What was said so far, as far as it leaves room for an answer.
    messages: Vec<Message>,
    stops: Vec<u32>,
}

impl<'a> Talk<'a> {
    fn new(model: &'a Model) -> Result<Talk<'a>, Refusal> {
        let template = Template::own(&model.folder, &model.tokenizer)?;
        let stops = stops(&model.tokenizer, template.as_ref());
        Ok(Talk { model, template, messages: Vec::new(), stops })
    }

    /// What the model sees: a text, or the talk with this as its newest message. The oldest messages are forgotten where
    /// they would leave no half of the context to answer in.
    fn prompt(&mut self, text: &str) -> Result<Vec<u32>, Refusal> {
        let Some(template) = &self.template else { return encode(self.model, text) };
        let encoder = ChatEncoder::new(&self.model.tokenizer, template, Turns::All);
        self.messages.push(Message::new(Role::User, text.to_string()));
        loop {
            let prompt = encoder.prompt(&Said::Messages(self.messages.clone()), None);
            match prompt {
                Ok(prompt) if prompt.len() > self.model.config.context / 2 && self.messages.len() > 2 => {
                    self.messages.drain(..2);
                }
                Ok(prompt) => return Ok(prompt),
                Err(refusal) => {
                    self.messages.pop();
                    return Err(refusal);
                }
            }
        }
    }

    fn answer(&mut self, engine: &mut Engine, text: &str, sampling: &Sampling, json: bool) -> Result<(), Refusal> {
        let prompt = self.prompt(text)?;
        if prompt.len() > LINE {
            self.messages.pop();
            let detail = format!("it has {} tokens; chat lays itself out for lines of {LINE} at most", prompt.len());
            return Err(Refusal::new("the line cannot be continued", detail, "give its end, or take generate"));
        }
        let mut stream = self.model.tokenizer.stream();
        let mut said = String::new();
        let mut say = |part: String| {
            if !json {
                print!("{part}");
                // A closed pipe ends the loop at the next read.
                let _ = std::io::stdout().flush();
            }
            said.push_str(&part);
        };
        if !json && self.template.is_none() {
            say(text.to_string());
        }
        let ends = self.stops.clone();
        let out = engine.generate(&[prompt], sampling, &ends, &mut |_, token| {
            if !ends.contains(&token) {
                say(stream.push(token));
            }
            true
        });
        let out = out.map_err(|fault| {
            self.messages.pop();
            words(fault)
        })?;
        say(stream.finish());
        if json {
            println!("{}", serde_json::json!({"prompt": text, "text": said, "token_ids": out[0].tokens}));
        } else {
            println!();
        }
        if self.template.is_some() {
            self.messages.push(Message::new(Role::Assistant, said));
        }
        Ok(())
    }
}
