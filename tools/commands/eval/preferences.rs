//! Better and worse answers: what a language model finds more likely, what a reward model scores higher.

use super::answers::{Asked, each};
use super::report::Report;
use super::{Answer, Args, Metric, language_model, loaded, reward_model, template, wanted, words};
use crate::commands::generate::opened;
use pleach::data::examples::{Example, Kind, prompt_key};
use pleach::data::mask::{ChatEncoder, Encoded, Turns};
use pleach::data::records::{Completion, Record, Role, Said};
use pleach::evaluate::{Sum, Task, scores, sums};
use pleach::metrics::preference::{Scored, accuracy, preferred, win_rate as rate};
use pleach::model::Model;
use pleach::runtime::fault::Refusal;
use pleach::runtime::model::config::Head;

/// Runs it.
pub(super) fn run(args: &Args) -> Answer {
    let model = Model::open(&args.model)?;
    let scalar = model.config.head == Head::Scalar;
    if wanted(args, Metric::RewardAccuracy, false) && !scalar {
        reward_model(&args.model)?;
    }
    if scalar && (wanted(args, Metric::Loss, false) || wanted(args, Metric::PreferenceAccuracy, false)) {
        language_model(&args.model)?;
    }
    let loaded = loaded(args, &model, Kind::Preferences)?;
    let answers: Vec<Encoded> = loaded.train.iter().flat_map(|one| one.answers.iter().cloned()).collect();
    let tally = &loaded.figures.tally;
    let mut report = Report::default();
    report.records("records", tally.kept, tally.records - tally.kept);
    if scalar {
        let scores = scores(&model, opened(&args.device)?, &answers).map_err(words)?;
        reward(&pairs(&loaded.train, &scores), &mut report);
    } else {
        let found = sums(&model, opened(&args.device)?, &answers).map_err(words)?;
        likely(args, &loaded.train, &found, &mut report);
    }
    report.print(args.json);
    Ok(0)
}

/// All pairs of a better and a worse answer with their scores, which are in the order of the answers.
fn pairs(examples: &[Example], scores: &[f64]) -> Vec<Scored> {
    let (mut out, mut at) = (Vec::new(), 0);
    for one in examples {
        let here = &scores[at..at + one.answers.len()];
        at += one.answers.len();
        let pair = |(a, b): (usize, usize)| Scored { prompt: one.prompt, chosen: here[a], rejected: here[b] };
        out.extend(one.pairs().into_iter().map(pair));
    }
    out
}

/// A reward model's figures.
fn reward(pairs: &[Scored], report: &mut Report) {
    let found = preferred(pairs);
    report.share("reward_accuracy", found.accuracy);
    report.value("margin", found.margin);
    report.value("loss", found.loss);
    report.value("ties", found.ties);
    report.value("calibration_error", found.calibration_error);
    report.line(format!(
        "margin {:.4}, loss {:.4} (0.6931 for one that knows nothing), {} ties, calibration error {:.4}",
        found.margin, found.loss, found.ties, found.calibration_error
    ));
    for (index, bar) in found.bars.iter().enumerate().filter(|(_, bar)| bar.count > 0) {
        let (from, to) = (0.5 + 0.05 * index as f64, 0.55 + 0.05 * index as f64);
        report.line(format!("  confidence {from:.2} to {to:.2}: right {:.3} of {}", bar.accuracy, bar.count));
    }
    report.value("calibration", serde_json::json!(found.bars));
}

/// A language model's figures.
fn likely(args: &Args, examples: &[Example], found: &[Sum], report: &mut Report) {
    if wanted(args, Metric::PreferenceAccuracy, true) {
        let by = |of: fn(&Sum) -> f64| accuracy(&pairs(examples, &found.iter().map(of).collect::<Vec<_>>()));
        report.share("preference_accuracy", by(|sum| sum.log_probability));
        report.share("preference_accuracy_mean", by(Sum::mean));
    }
    if wanted(args, Metric::Loss, false) {
        let mut at = 0;
        let mut best = Sum::default();
        for one in examples {
            let first = one.ranks.iter().position(|&rank| rank == 1).unwrap_or(0);
            best = best.plus(&found[at + first]);
            at += one.answers.len();
        }
        report.line("loss of the best answers:".into());
        report.loss(&best);
    }
}

/// How often a reward model prefers this model's answers to another's.
pub(super) fn win_rate(args: &Args) -> Answer {
    let missing = |what: &str, flag: &str| {
        let hint = format!("add {flag} MODEL");
        Refusal::new("win_rate needs two models and a judge", what, hint)
    };
    let against = args.against.as_ref().ok_or_else(|| missing("there is no model to beat", "--against"))?;
    let judge = args.reward.as_ref().ok_or_else(|| missing("there is no reward model", "--reward"))?;
    let mut prompts: Vec<(u64, Task)> = Vec::new();
    each(args, &mut |record| {
        let key = prompt_key(&record);
        let task = match &record {
            Record::Prompt(it) => Some(Task { prompt: it.prompt.clone(), tools: None, reference: String::new() }),
            other => Task::of(other),
        };
        prompts.extend(task.map(|task| (key, task)));
    })?;
    let judge = reward_model(judge)?;
    let mut sides = Vec::new();
    for path in [&args.model, against] {
        let model = language_model(path)?;
        let asked = Asked::new(args, &model, prompts.clone())?;
        let answers = asked.answer(args, &model)?;
        sides.push((asked, answers));
    }
    let [(first, ours), (second, theirs)] = &sides[..] else { unreachable!("two sides were written") };
    let both = |key: &(u64, Task)| second.tasks.iter().position(|other| other == key);
    let mut compared = Vec::new();
    for ((key, task), our) in first.tasks.iter().zip(ours) {
        if let Some(at) = both(&(*key, task.clone())) {
            compared.push((*key, task, our, &theirs[at]));
        }
    }
    let messages = prompts.iter().any(|(_, task)| matches!(task.prompt, Said::Messages(_)));
    let template = template(args, &judge, messages)?;
    let encoder = ChatEncoder::new(&judge.tokenizer, &template, Turns::Last);
    let (mut encoded, mut keys) = (Vec::new(), Vec::new());
    for (key, task, our, their) in &compared {
        let (one, other) = (said(&encoder, task, our)?, said(&encoder, task, their)?);
        if one.ids.len().max(other.ids.len()) <= judge.config.context {
            keys.push(*key);
            encoded.extend([one, other]);
        }
    }
    let found = scores(&judge, opened(&args.device)?, &encoded).map_err(words)?;
    let values: Vec<(u64, f64, f64)> = keys.iter().zip(found.chunks(2)).map(|(key, s)| (*key, s[0], s[1])).collect();
    let mut report = Report::default();
    report.records("prompts", keys.len() as u64, (prompts.len() - keys.len()) as u64);
    report.share("win_rate", rate(&values));
    let mean = |side: usize| found.iter().skip(side).step_by(2).sum::<f64>() / keys.len().max(1) as f64;
    report.value("reward", mean(0));
    report.value("reward_against", mean(1));
    report.line(format!("mean reward {:.4}, of the other model {:.4}", mean(0), mean(1)));
    for (_, task, our, their) in compared.iter().take(args.samples) {
        report.sample(&task.prompt.words(), our, their);
    }
    report.print(args.json);
    Ok(0)
}

/// A prompt with an answer, as the judge sees it.
fn said(encoder: &ChatEncoder, task: &Task, answer: &str) -> Result<Encoded, Refusal> {
    let completion = match &task.prompt {
        Said::Text(_) => Said::Text(answer.to_owned()),
        Said::Messages(_) => Said::Messages(Said::Text(answer.to_owned()).into_messages(Role::Assistant)),
    };
    encoder.completion(&Completion { prompt: task.prompt.clone(), completion, tools: task.tools.clone() })
}
