//! Loss and bits per byte of a text, or of records that are texts.

use super::report::Report;
use super::{Answer, Args, language_model, words};
use crate::commands::generate::opened;
use pleach::data::records::{ReadOptions, Record, holds_records, read};
use pleach::evaluate::Sum;
use pleach::model::Model;
use pleach::runtime::engine::layout::POLICY;
use pleach::runtime::fault::{Fault, FaultKind, Refusal};
use pleach::runtime::stage::{Row, Window};

/// Runs it.
pub(super) fn run(args: &Args) -> Answer {
    let what = format!("could not evaluate on \"{}\"", args.data.display());
    let texts = texts(args, &what)?;
    let model = language_model(&args.model)?;
    let documents: Vec<Vec<u32>> =
        texts.iter().map(|text| model.tokenizer.encode_whole(text)).collect::<Result<_, _>>()?;
    let longest = documents.iter().map(Vec::len).max().unwrap_or(0);
    if longest < 2 {
        let detail = format!("it has {longest} tokens");
        return Err(Refusal::new(what, detail, "a text of two tokens or more can be predicted"));
    }
    let context = model.config.context;
    let stride = args.stride.unwrap_or(context);
    if stride == 0 || stride > context {
        let detail = format!("--stride {stride} with a context of {context}");
        return Err(Refusal::new(what, detail, "give a stride from 1 to the context"));
    }
    let rows: Vec<Row> = documents.iter().flat_map(|tokens| rows(tokens, context, stride)).collect();
    // Texts below one context take windows of their own length.
    let (sum, list) = predicted(args, &model, &rows, context.min(longest - 1))?;
    let mut report = Report::default();
    if texts.len() > 1 {
        report.records("texts", texts.len() as u64, 0);
    }
    report.loss(&sum);
    if args.logprobs {
        report.value("logprobs", list);
    }
    report.print(args.json);
    Ok(0)
}

/// The file as it is, or the texts of its records.
fn texts(args: &Args, what: &str) -> Result<Vec<String>, Refusal> {
    if holds_records(&args.data) {
        let mut texts = Vec::new();
        let outcome = read(&args.data, &ReadOptions::default(), &mut |_, record| {
            if args.limit.is_some_and(|most| texts.len() as u64 >= most) {
                return Err(Fault::new(FaultKind::Stopped, "enough"));
            }
            if let Record::Text(text) = record {
                texts.push(text);
            }
            Ok(())
        });
        return match outcome {
            Err(fault) if fault.kind != FaultKind::Stopped => Err(words(fault)),
            _ => Ok(texts),
        };
    }
    let bytes = std::fs::read(&args.data)
        .map_err(|error| Refusal::new(what, error.to_string(), "name an existing text file"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let detail = format!("it is not UTF-8 from byte {} on", error.utf8_error().valid_up_to());
        Refusal::new(what, detail, "convert it to UTF-8")
    })?;
    Ok(vec![text])
}

/// The sum over all counted targets, and each one's log-probability in order.
fn predicted(args: &Args, model: &Model, rows: &[Row], context: usize) -> Result<(Sum, Vec<f32>), Refusal> {
    let mut engine = model.evaluator(opened(&args.device)?, context).map_err(words)?;
    let (mut sum, mut list) = (Sum::default(), Vec::new());
    for part in rows.chunks(8) {
        let window = Window::new(context, part.to_vec());
        let numbers = engine.evaluate(POLICY, &window).map_err(words)?;
        let targets = window.rows.iter().flat_map(|row| row.tokens[1..].iter().zip(&row.weights));
        for ((&target, _), of) in targets.zip(&numbers).filter(|((_, weight), _)| **weight != 0.0) {
            sum.log_probability += f64::from(of[0]);
            sum.tokens += 1;
            sum.bytes += model.tokenizer.byte_length(target) as u64;
            list.push(of[0]);
        }
    }
    Ok((sum, list))
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
