//! Prompts with answers: the loss over the answers, and answers that the model writes, beside their references.

use super::report::Report;
use super::{Answer, Args, Metric, language_model, loaded, template, wanted, words};
use crate::commands::generate::opened;
use indicatif::{ProgressBar, ProgressDrawTarget};
use pleach::data::examples::{Kind, Loaded, prompt_key};
use pleach::data::mask::{ChatEncoder, Turns};
use pleach::data::records::{ReadOptions, Record, Said, read};
use pleach::evaluate::{Sum, Task, greedy, sums};
use pleach::metrics::text::{exact_match, exact_match_normalised, rouge_l, token_f1};
use pleach::metrics::{Interval, clustered};
use pleach::model::Model;
use pleach::runtime::fault::{Fault, FaultKind, Refusal};
use std::io::IsTerminal;

/// Runs it.
pub(super) fn run(args: &Args) -> Answer {
    let model = language_model(&args.model)?;
    let mut report = Report::default();
    if wanted(args, Metric::Loss, true) {
        let loaded = loaded(args, &model, Kind::Answers)?;
        let answers = Loaded::answers(&loaded.train);
        let found = sums(&model, opened(&args.device)?, &answers).map_err(words)?;
        let all = found.iter().fold(Sum::default(), |all, one| all.plus(one));
        report.records("records", answers.len() as u64, loaded.figures.tally.records - answers.len() as u64);
        report.loss(&all);
    }
    let written = [Metric::ExactMatch, Metric::F1, Metric::RougeL];
    if written.iter().any(|metric| args.metric.contains(metric)) {
        answers(args, &model, &mut report)?;
    }
    report.print(args.json);
    Ok(0)
}

/// A figure of an answer and its reference.
type Figure = fn(&str, &str) -> f64;

/// Writes the answers and compares.
fn answers(args: &Args, model: &Model, report: &mut Report) -> Result<(), Refusal> {
    let (tasks, passed) = tasks(args)?;
    let asked = Asked::new(args, model, tasks)?;
    let answers = asked.answer(args, model)?;
    report.value("answers", answers.len());
    report.value("unanswered", asked.too_long + passed);
    report.line(format!("{} answers were written", answers.len()));
    if asked.too_long + passed > 0 {
        let line = format!(
            "{} records were not asked: {} prompts fill the context, {passed} have no answer of text",
            asked.too_long + passed,
            asked.too_long
        );
        report.line(line);
    }
    let figures: [(Metric, &str, Figure); 4] = [
        (Metric::ExactMatch, "exact_match", exact_match),
        (Metric::ExactMatch, "exact_match_normalised", exact_match_normalised),
        (Metric::F1, "f1", token_f1),
        (Metric::RougeL, "rouge_l", rouge_l),
    ];
    for (_, name, figure) in figures.into_iter().filter(|(metric, ..)| args.metric.contains(metric)) {
        report.share(name, mean(&asked.tasks, &answers, figure));
    }
    for ((_, task), answer) in asked.tasks.iter().zip(&answers).take(args.samples) {
        report.sample(&task.prompt.words(), answer, &task.reference);
    }
    Ok(())
}

fn mean(tasks: &[(u64, Task)], answers: &[String], figure: Figure) -> Interval {
    let values = tasks.iter().zip(answers).map(|((key, task), answer)| (*key, figure(answer, &task.reference)));
    clustered(&values.collect::<Vec<_>>())
}

/// The tasks of the file with their prompts' keys, and how many records are none.
fn tasks(args: &Args) -> Result<(Vec<(u64, Task)>, usize), Refusal> {
    let (mut tasks, mut passed) = (Vec::new(), 0);
    let outcome = each(args, &mut |record| match Task::of(&record) {
        Some(task) => tasks.push((prompt_key(&record), task)),
        None => passed += 1,
    });
    outcome.map(|()| (tasks, passed))
}

/// The records of the file, as many as are wanted.
pub(super) fn each(args: &Args, sink: &mut dyn FnMut(Record)) -> Result<(), Refusal> {
    let mut count = 0;
    let outcome = read(&args.data, &ReadOptions::default(), &mut |_, record| {
        if args.limit.is_some_and(|most| count >= most) {
            return Err(Fault::new(FaultKind::Stopped, "enough"));
        }
        count += 1;
        sink(record);
        Ok(())
    });
    match outcome {
        Err(fault) if fault.kind != FaultKind::Stopped => Err(words(fault)),
        _ => Ok(()),
    }
}

/// Prompts that fit a model, as it sees them.
pub(super) struct Asked {
    /// Those that fit, with their keys.
    pub(super) tasks: Vec<(u64, Task)>,
    /// How many do not.
    pub(super) too_long: usize,
    prompts: Vec<Vec<u32>>,
    stops: Vec<u32>,
}

impl Asked {
    /// Encodes; too many prompts that fill the context are refused.
    pub(super) fn new(args: &Args, model: &Model, tasks: Vec<(u64, Task)>) -> Result<Asked, Refusal> {
        let messages = tasks.iter().any(|(_, task)| matches!(task.prompt, Said::Messages(_)));
        let template = template(args, model, messages)?;
        let encoder = ChatEncoder::new(&model.tokenizer, &template, Turns::Last);
        let (count, mut asked) = (tasks.len(), Vec::new());
        let mut prompts = Vec::new();
        for (key, task) in tasks {
            let prompt = encoder.prompt(&task.prompt, task.tools.as_deref())?;
            if !prompt.is_empty() && prompt.len() < model.config.context {
                prompts.push(prompt);
                asked.push((key, task));
            }
        }
        let too_long = count - asked.len();
        if asked.is_empty() || too_long * 20 > count {
            let detail = format!("{too_long} of {count} prompts are empty or fill {} tokens", model.config.context);
            let hint = "shorten them, or take a model with a longer context";
            return Err(Refusal::new("the prompts do not fit the model's context", detail, hint));
        }
        Ok(Asked { tasks: asked, too_long, prompts, stops: encoder.stops() })
    }

    /// The most likely answers.
    pub(super) fn answer(&self, args: &Args, model: &Model) -> Result<Vec<String>, Refusal> {
        let shown = std::io::stderr().is_terminal() && !args.json;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let mut each = |tokens: u64| bar.set_message(format!("{tokens} tokens written"));
        bar.set_style(indicatif::ProgressStyle::with_template("{msg}").unwrap_or_else(|_| bar.style()));
        let device = opened(&args.device)?;
        let answers = greedy(model, device, &self.prompts, &self.stops, args.max_tokens, &mut each).map_err(words);
        bar.finish_and_clear();
        answers
    }
}
