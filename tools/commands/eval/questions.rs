//! Questions with choices, by log-likelihood.

use super::report::Report;
use super::{Answer, Args, language_model, template, words};
use crate::commands::generate::opened;
use pleach::data::mask::{ChatEncoder, Turns};
use pleach::data::records::read_choices;
use pleach::evaluate::{choices, sums};
use pleach::metrics::choice::{Taken, taken};
use pleach::metrics::clustered;
use pleach::runtime::fault::{Fault, FaultKind, Refusal};
use std::collections::BTreeMap;

/// Runs it.
pub(super) fn run(args: &Args) -> Answer {
    let model = language_model(&args.model)?;
    let template = args.template.as_ref().map(|_| template(args, &model, true)).transpose()?;
    let encoder = template.as_ref().map(|template| ChatEncoder::new(&model.tokenizer, template, Turns::Last));
    if template.is_none() {
        eprintln!("asked as text: \"Question: ...\\nAnswer:\", and the choice after a blank");
    }
    let (mut questions, mut encoded, mut left_out) = (Vec::new(), Vec::new(), 0u64);
    let outcome = read_choices(&args.data, &mut |place, question| {
        if args.limit.is_some_and(|most| questions.len() as u64 + left_out >= most) {
            return Err(Fault::new(FaultKind::Stopped, "enough"));
        }
        let located = |refusal: Refusal| Refusal { detail: format!("{}: {}", place.words, refusal.detail), ..refusal };
        let all = choices(&question, &model.tokenizer, encoder.as_ref()).map_err(located)?;
        if all.iter().any(|one| one.ids.len() > model.config.context || one.trained_count() == 0) {
            left_out += 1;
        } else {
            encoded.extend(all);
            questions.push(question);
        }
        Ok(())
    });
    outcome.or_else(|fault| if fault.kind == FaultKind::Stopped { Ok(()) } else { Err(words(fault)) })?;
    let count = questions.len() as u64 + left_out;
    if questions.is_empty() || left_out * 20 > count {
        let detail = format!("{left_out} of {count} do not fit {} tokens", model.config.context);
        let hint = "shorten them, or take a model with a longer context";
        return Err(Refusal::new("the questions do not fit the model's context", detail, hint));
    }
    let found = sums(&model, opened(&args.device)?, &encoded).map_err(words)?;
    let mut report = Report::default();
    report.records("questions", questions.len() as u64, left_out);
    let (mut at, mut rights) = (0, Vec::new());
    for question in &questions {
        let bytes = question.choices.iter().map(String::len);
        let scores: Vec<(f64, usize)> = found[at..].iter().map(|sum| sum.log_probability).zip(bytes).collect();
        at += scores.len();
        let Taken { by_sum, by_byte } = taken(&scores);
        rights.push((question.group.as_deref(), by_sum == question.answer, by_byte == question.answer));
    }
    let values = |of: &dyn Fn(&(Option<&str>, bool, bool)) -> Option<bool>| {
        let right = rights.iter().enumerate().filter_map(|(index, one)| Some((index as u64, of(one)?)));
        clustered(&right.map(|(index, right)| (index, f64::from(u8::from(right)))).collect::<Vec<_>>())
    };
    report.share("acc", values(&|one| Some(one.1)));
    report.share("acc_norm", values(&|one| Some(one.2)));
    let chance = questions.iter().map(|one| 1.0 / one.choices.len() as f64).sum::<f64>() / questions.len() as f64;
    report.value("chance", chance);
    report.line(format!("chance {chance:.4}"));
    let names: std::collections::BTreeSet<&str> = rights.iter().filter_map(|one| one.0).collect();
    let mut groups = BTreeMap::new();
    for name in names {
        let acc = values(&|one| (one.0 == Some(name)).then_some(one.1));
        report.line(format!("  {name}: acc {:.4} of {}", acc.mean, acc.count));
        groups.insert(name.to_owned(), serde_json::json!(acc));
    }
    if !groups.is_empty() {
        report.value("groups", serde_json::json!(groups));
    }
    report.print(args.json);
    Ok(0)
}
