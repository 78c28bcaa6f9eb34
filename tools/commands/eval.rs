//! `pleach eval`: a model measured on a text, on records with answers, on questions with choices, on preferences.

mod answers;
mod preferences;
mod questions;
mod report;
mod text;

use super::generate::DeviceArgs;
use super::{Answer, words};
use clap::{Parser, ValueEnum};
use pleach::data::examples::{Choices, Kind, Loaded, Origin, survey};
use pleach::data::mask::Limits;
use pleach::data::records::{ReadOptions, Shape, detect, has_choices, holds_records};
use pleach::data::template::{Source, Template};
use pleach::model::Model;
use pleach::runtime::fault::Refusal;
use pleach::runtime::model::config::Head;
use std::path::PathBuf;

/// `pleach eval`.
#[derive(Parser)]
#[command(after_help = "What is measured goes by the file:\n  \
        .txt, .md         one document: loss, perplexity, bits per byte\n  \
        .jsonl, .json     texts: the same, each a document\n                    \
        answers (prompt/completion, messages, alpaca ...): loss over the answers; with --metric\n                    \
        exact_match, f1, rouge_l also of answers that are written greedily\n                    \
        questions with choices (ARC, BBQ, MMLU, HellaSwag): multiple_choice\n                    \
        preferences and rankings: preference_accuracy, of a reward model reward_accuracy\n\n\
        Examples:\n  pleach eval runs/demo --data valid.txt --json\n  \
        pleach eval model/ --data tasks.jsonl --metric loss --metric exact_match --max-tokens 64\n  \
        pleach eval model/ --data arc.jsonl --limit 200\n  \
        pleach eval model/ --data prompts.jsonl --metric win_rate --against before/ --reward rm/")]
pub struct Args {
    /// A model folder, a run, or a checkpoint
    pub model: PathBuf,
    /// A UTF-8 text, or a file of records
    #[arg(long)]
    pub data: PathBuf,
    /// What is measured; may be given several times
    #[arg(long)]
    pub metric: Vec<Metric>,
    /// model, chatml, plain, a .jinja file, or the name of one of the model's templates (default: the model's own,
    /// else ChatML, else plain; questions with choices take none unless this is given)
    #[arg(long)]
    pub template: Option<String>,
    /// New tokens of an answer at most
    #[arg(long, default_value_t = 256)]
    pub max_tokens: usize,
    /// Records that are taken at most, from the first on
    #[arg(long)]
    pub limit: Option<u64>,
    /// Answers to show with their reference
    #[arg(long, default_value_t = 0)]
    pub samples: usize,
    /// The model that is to be beaten, for win_rate
    #[arg(long)]
    pub against: Option<PathBuf>,
    /// The reward model that judges, for win_rate
    #[arg(long)]
    pub reward: Option<PathBuf>,
    /// Of a text: tokens from one window's beginning to the next (default: the context)
    #[arg(long)]
    pub stride: Option<usize>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Add the log-probability of each token of a text to --json
    #[arg(long, requires = "json")]
    pub logprobs: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Metric {
    /// Nats per token, perplexity, bits per byte
    Loss,
    /// The answer is the reference, blanks at both ends aside; and as SQuAD normalises both
    ExactMatch,
    /// F1 of the words in common (SQuAD)
    F1,
    /// F1 of the longest common subsequence of words (rouge-score without stemming)
    RougeL,
    /// The most likely choice is the right one: acc, and acc_norm by bytes
    MultipleChoice,
    /// A language model finds the better answer more likely: by the sum and by the mean of log-probabilities
    PreferenceAccuracy,
    /// A reward model scores the better answer higher
    RewardAccuracy,
    /// How often a reward model (--reward) prefers the answer to that of another model (--against)
    WinRate,
}

impl Metric {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    if !holds_records(&args.data) {
        only(args, &[Metric::Loss], "a text")?;
        return text::run(args);
    }
    if has_choices(&args.data).map_err(words)? {
        only(args, &[Metric::MultipleChoice], "a file of questions with choices")?;
        return questions::run(args);
    }
    let shape = detect(&args.data, &ReadOptions::default()).map_err(words)?.shape;
    let found = format!("a file of {} records", shape.name());
    match kind(shape) {
        Some(Kind::Any) => {
            only(args, &[Metric::Loss], &found)?;
            text::run(args)
        }
        Some(Kind::Answers) if args.metric.contains(&Metric::WinRate) => {
            only(args, &[Metric::WinRate], &format!("{found}, with win_rate alone,"))?;
            preferences::win_rate(args)
        }
        Some(Kind::Answers) => {
            only(args, &[Metric::Loss, Metric::ExactMatch, Metric::F1, Metric::RougeL], &found)?;
            answers::run(args)
        }
        Some(Kind::Preferences) => {
            only(args, &[Metric::Loss, Metric::PreferenceAccuracy, Metric::RewardAccuracy], &found)?;
            preferences::run(args)
        }
        None if shape == Shape::Prompt && args.metric == [Metric::WinRate] => preferences::win_rate(args),
        None => {
            let detail = format!("\"{}\" is {found}", args.data.display());
            let hint = "give texts, prompts with one answer, questions with choices, or preferences; prompts alone \
                        serve for --metric win_rate";
            Err(Refusal::new("there is nothing to measure by", detail, hint))
        }
    }
}

/// What records of a shape serve for: [`Kind::Any`] are texts.
fn kind(shape: Shape) -> Option<Kind> {
    match shape {
        Shape::Text => Some(Kind::Any),
        Shape::Messages | Shape::Sharegpt | Shape::Alpaca | Shape::Completion | Shape::Question => Some(Kind::Answers),
        Shape::Preference
        | Shape::ImplicitPreference
        | Shape::SharegptPreference
        | Shape::AlpacaPreference
        | Shape::Transcripts
        | Shape::Ranking
        | Shape::OasstTree
        | Shape::Nectar
        | Shape::Argilla
        | Shape::LabelStudio => Some(Kind::Preferences),
        Shape::Unpaired | Shape::SharegptUnpaired | Shape::AlpacaUnpaired | Shape::Prompt => None,
    }
}

/// Refuses a metric that this file does not serve for.
fn only(args: &Args, known: &[Metric], found: &str) -> Result<(), Refusal> {
    let Some(wrong) = args.metric.iter().find(|metric| !known.contains(metric)) else { return Ok(()) };
    let names: Vec<String> = known.iter().map(|metric| metric.name()).collect();
    let detail = format!("\"{}\" is {found}", args.data.display());
    let hint = format!("it serves for {}", names.join(", "));
    Err(Refusal::new(format!("{} cannot be measured on this file", wrong.name()), detail, hint))
}

/// Is a metric asked for, or one of the usual ones where none is?
fn wanted(args: &Args, metric: Metric, usual: bool) -> bool {
    if args.metric.is_empty() { usual } else { args.metric.contains(&metric) }
}

/// A language model, or a refusal that says what it is instead.
fn language_model(path: &std::path::Path) -> Result<Model, Refusal> {
    let model = Model::open(path)?;
    if model.config.head == Head::Scalar {
        let detail = "it has a scalar head: a reward model or a critic, which says no next token";
        let hint = "name a language model; a reward model is measured with --metric reward_accuracy";
        return Err(Refusal::new(format!("\"{}\" is no language model", path.display()), detail, hint));
    }
    Ok(model)
}

/// A reward model, or a refusal that says what it is instead.
fn reward_model(path: &std::path::Path) -> Result<Model, Refusal> {
    let model = Model::open(path)?;
    if model.config.head != Head::Scalar {
        let detail = "it has no scalar head: a language model scores nothing";
        let hint = "name a model that a reward stage has trained; a language model is measured with \
                    --metric preference_accuracy";
        return Err(Refusal::new(format!("\"{}\" is no reward model", path.display()), detail, hint));
    }
    Ok(model)
}

/// The template that was asked for, or that suits the model; without messages none: a text is followed as it stands.
fn template(args: &Args, model: &Model, messages: bool) -> Result<Template, Refusal> {
    if !messages {
        return Template::new("no template", "", Vec::new());
    }
    let source = args.template.as_deref().map_or(Source::Suited, Source::parse);
    let template = Template::load(&source, &model.folder, &model.tokenizer)?;
    eprintln!("chat template: {}", template.origin());
    Ok(template)
}

/// The records of the file, encoded; those that do not fit the model's context are left out, and refused above a limit.
fn loaded(args: &Args, model: &Model, kind: Kind) -> Result<Loaded, Refusal> {
    // What is only measured may lack a prompt or an end.
    let limits = Limits { all: true, unended: true, ..Limits::of(model.config.context) };
    let origins = vec![Origin::Path(args.data.display().to_string())];
    let choices = Choices::new(kind, origins, &model.tokenizer, limits);
    let choices = Choices {
        share: 0.0,
        root: PathBuf::new(),
        template: args.template.as_deref().map_or(Source::Suited, Source::parse),
        folder: Some(model.folder.clone()),
        samples: 0,
        most: args.limit,
        ..choices
    };
    let loaded = survey(&choices, &mut |_| true).map_err(words)?;
    loaded.figures.tally.verdict(&choices.limits)?;
    for note in &loaded.notes {
        eprintln!("{note}");
    }
    Ok(loaded)
}
