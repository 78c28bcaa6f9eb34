//! `pleach eval`: loss and bits per byte of a model on a text.

use super::generate::{DeviceArgs, opened};
use super::{Answer, words};
use clap::Parser;
use pleach::model::Model;
use pleach::runtime::engine::layout::POLICY;
use pleach::runtime::fault::Refusal;
use pleach::runtime::stage::{Row, Window};
use std::path::PathBuf;

/// `pleach eval`.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  pleach eval runs/demo --data valid.txt\n  pleach eval model/ --data valid.txt --json"
)]
pub struct Args {
    /// A model folder, a run, or a checkpoint
    pub model: PathBuf,
    /// A UTF-8 text: one document
    #[arg(long)]
    pub data: PathBuf,
    /// Tokens from one window's beginning to the next (default: the context)
    #[arg(long)]
    pub stride: Option<usize>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Add the log-probability of each token to --json
    #[arg(long, requires = "json")]
    pub logprobs: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let what = format!("could not evaluate on \"{}\"", args.data.display());
    let bytes = std::fs::read(&args.data)
        .map_err(|error| Refusal::new(what.clone(), error.to_string(), "name an existing text file"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let detail = format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to());
        Refusal::new(what.clone(), detail, "convert it to UTF-8")
    })?;
    let model = Model::open(&args.model)?;
    let tokens = model.tokenizer.encode_whole(&text)?;
    if tokens.len() < 2 {
        let detail = format!("it has {} tokens", tokens.len());
        return Err(Refusal::new(what, detail, "a text of two tokens or more can be predicted"));
    }
    let context = model.config.context;
    let stride = args.stride.unwrap_or(context);
    if stride == 0 || stride > context {
        let detail = format!("--stride {stride} with a context of {context}");
        return Err(Refusal::new(what, detail, "give a stride from 1 to the context"));
    }
    let rows = rows(&tokens, context, stride);
    // A text below one context takes windows of its own length.
    let context = context.min(tokens.len() - 1);
    let mut engine = model.evaluator(opened(&args.device)?, context).map_err(words)?;
    let (mut nats, mut count, mut bytes, mut list) = (0.0, 0u64, 0u64, Vec::new());
    for part in rows.chunks(8) {
        let window = Window::new(context, part.to_vec());
        let numbers = engine.evaluate(POLICY, &window).map_err(words)?;
        let targets = window.rows.iter().flat_map(|row| row.tokens[1..].iter().zip(&row.weights));
        for ((&target, _), of) in targets.zip(&numbers).filter(|((_, weight), _)| **weight != 0.0) {
            nats -= f64::from(of[0]);
            count += 1;
            bytes += model.tokenizer.byte_length(target) as u64;
            list.push(of[0]);
        }
    }
    let loss = nats / count as f64;
    let bits = nats / std::f64::consts::LN_2 / (bytes as f64).max(1.0);
    if args.json {
        let mut answer = serde_json::json!({
            "loss": loss, "tokens": count, "perplexity": loss.exp(), "bits_per_byte": bits,
        });
        if args.logprobs {
            answer["logprobs"] = serde_json::json!(list);
        }
        println!("{answer}");
    } else {
        println!("loss {loss:.4} nats per token over {count} tokens");
        println!("perplexity {:.3}, {bits:.4} bits per byte", loss.exp());
    }
    Ok(0)
}

/// Windows that advance by `stride` and overlap so that each token but the first is predicted once.
fn rows(tokens: &[u32], context: usize, stride: usize) -> Vec<Row> {
    let mut out = Vec::new();
    let mut predicted = 1;
    let mut start = 0;
    while predicted < tokens.len() {
        let end = (start + context + 1).min(tokens.len());
        let known = end - start - 1;
        let weights = (0..known).map(|t| f32::from(u8::from(start + t + 1 >= predicted))).collect();
        let tokens = tokens[start..end].to_vec();
        out.push(Row { tokens, weights, segments: vec![0; known], key: out.len() as u64 });
        predicted = end;
        start += stride;
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_token_but_the_first_is_predicted_once() {
        let tokens: Vec<u32> = (0..103).collect();
        for (context, stride) in [(10, 10), (10, 3), (200, 200), (102, 102), (7, 1)] {
            let mut seen = vec![0; tokens.len()];
            for row in super::rows(&tokens, context, stride) {
                for t in (0..row.len()).filter(|&t| row.weights[t] != 0.0) {
                    seen[row.tokens[t + 1] as usize] += 1;
                }
            }
            assert_eq!(seen[0], 0);
            assert!(seen[1..].iter().all(|&count| count == 1), "context {context}, stride {stride}: {seen:?}");
        }
    }
}
