//! `pleach inspect`: what a data set is, before anything is trained on it.

use super::{Answer, words};
use crate::show::samples::{self, Paint};
use clap::{Parser, ValueEnum};
use pleach::data::Tokenizer;
use pleach::data::examples::{Choices, Kind, Loaded, Origin, survey};
use pleach::data::mask::Limits;
use pleach::data::records::{Shape, has_choices, read_choices};
use pleach::data::template::Source;
use pleach::model::Model;
use pleach::runtime::fault::Refusal;
use std::path::{Path, PathBuf};

/// `pleach inspect`.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  pleach inspect chats.jsonl\n  pleach inspect chats.jsonl --model model/ --samples 5\n  \
                        pleach inspect train.jsonl --model runs/demo --against valid.jsonl --json"
)]
pub struct Args {
    /// Files, folders or patterns: text, messages, sharegpt, alpaca, prompt/completion, preferences, rankings ...
    #[arg(required = true)]
    pub data: Vec<String>,
    /// The model whose tokenizer, template and context count: a model folder, a run, or a checkpoint
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// A tokenizer.json, or a folder with one, instead of a model
    #[arg(long, conflicts_with = "model")]
    pub tokenizer: Option<PathBuf>,
    /// model, chatml, plain, a .jinja file, or the name of one of the model's templates (default: the model's own, else
    /// ChatML, else plain)
    #[arg(long)]
    pub template: Option<String>,
    /// Records that are looked at at most, from the first on
    #[arg(long)]
    pub limit: Option<u64>,
    /// A file to evaluate with: what it shares with the data is told
    #[arg(long)]
    pub against: Option<String>,
    /// Records to show with their mask
    #[arg(long, default_value_t = 3)]
    pub samples: usize,
    /// Tokens of the longest record (default: the model's context)
    #[arg(long)]
    pub context: Option<usize>,
    /// Share of records whose prompt may be too long for the context
    #[arg(long, default_value_t = 0.05)]
    pub long_prompts: f64,
    /// What is not to be refused; may be given several times
    #[arg(long)]
    pub allow: Vec<Allowed>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// What may be asked for that is a mistake otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Allowed {
    /// A mask of 100 %: every token is learnt
    All,
    /// A mask of 0 %: nothing is learnt
    None,
    /// Answers without an end mark
    Unended,
}

/// Runs the command: figures first, then the refusal if there is one.
pub fn run(args: &Args) -> Answer {
    if !(0.0..=1.0).contains(&args.long_prompts) {
        let detail = format!("--long-prompts {}", args.long_prompts);
        return Err(Refusal::new("the share of long prompts cannot be used", detail, "give a share from 0 to 1"));
    }
    if let [one] = &args.data[..]
        && Path::new(one).is_file()
        && has_choices(Path::new(one)).map_err(words)?
    {
        return questions(Path::new(one), args);
    }
    let (mut folder, mut tokenizer, mut context) = (None, None, args.context);
    if let Some(model) = &args.model {
        let outline = Model::outline(model)?;
        context = context.or(Some(outline.config.context));
        (folder, tokenizer) = (Some(outline.folder), Some(outline.tokenizer));
    } else if let Some(path) = &args.tokenizer {
        let own = if path.is_dir() { path.clone() } else { path.parent().unwrap_or(Path::new(".")).to_path_buf() };
        (folder, tokenizer) = (Some(own), Some(Tokenizer::load(path)?));
    }
    let limits = Limits {
        long_prompts: args.long_prompts,
        all: args.allow.contains(&Allowed::All),
        none: args.allow.contains(&Allowed::None),
        unended: args.allow.contains(&Allowed::Unended),
        ..Limits::of(context.unwrap_or(usize::MAX))
    };
    let choices = Choices {
        kind: Kind::Any,
        train: args.data.iter().map(|path| Origin::Path(path.clone())).collect(),
        validation: args.against.iter().map(|path| Origin::Path(path.clone())).collect(),
        share: 0.0,
        seed: 0,
        root: PathBuf::new(),
        read: Default::default(),
        template: args.template.as_deref().map_or(Source::Suited, Source::parse),
        folder,
        turns: Default::default(),
        limits,
        most: args.limit,
        samples: args.samples,
        tokenizer: tokenizer.as_ref(),
    };
    let loaded = survey(&choices, &mut |_| true).map_err(words)?;
    let verdict = judged(&loaded, &choices);
    if args.json {
        println!("{}", document(&loaded, context, verdict.as_ref().err()));
    } else {
        show(&loaded, &choices);
    }
    verdict.map(|()| 0)
}

/// Whether the masks may be trained on; where there are none, there is nothing to judge.
fn judged(loaded: &Loaded, choices: &Choices) -> Result<(), Refusal> {
    match loaded.figures.tally.records {
        0 => Ok(()),
        _ => loaded.figures.tally.verdict(&choices.limits),
    }
}

fn document(loaded: &Loaded, context: Option<usize>, refusal: Option<&Refusal>) -> String {
    let mut value = serde_json::to_value(&loaded.figures).expect("figures are JSON");
    value["trained_share"] = loaded.figures.trained_share().into();
    value["context"] = context.into();
    value["template"] = loaded.template.as_ref().map(|template| template.origin().to_owned()).into();
    let told = |it: &Refusal| serde_json::json!({"what": it.what, "detail": it.detail, "hint": it.hint});
    value["refused"] = refusal.map_or(serde_json::Value::Null, told);
    serde_json::to_string_pretty(&value).expect("a JSON value is JSON")
}

fn show(loaded: &Loaded, choices: &Choices) {
    for (name, text) in loaded.figures.words() {
        println!("{name:<11}{}", samples::plain(&text));
    }
    match (&loaded.template, choices.tokenizer) {
        (Some(template), _) => println!("{:<11}{}", "template", template.origin()),
        (None, Some(_)) => println!("{:<11}none: no record holds messages", "template"),
        (None, None) => {
            println!("{:<11}nothing was tokenised: --model or --tokenizer shows lengths, masks and samples", "");
        }
    }
    let paint = Paint::of_stdout();
    if !loaded.figures.samples.is_empty() {
        println!("\n{}", samples::legend(paint));
    }
    for sample in &loaded.figures.samples {
        println!("\n{}", samples::shown(sample, paint));
    }
    let texts = loaded.figures.files.iter().all(|file| file.reading.shape == Shape::Text);
    if texts && choices.tokenizer.is_some() {
        println!("\ntexts have no mask: every token is learnt in pretraining");
    }
}

/// Questions with choices: they are for evaluation, and have no mask.
fn questions(file: &Path, args: &Args) -> Answer {
    let (mut count, mut choices, mut first) = (0u64, [usize::MAX, 0], Vec::new());
    let mut groups = std::collections::BTreeMap::<String, u64>::new();
    read_choices(file, &mut |_, one| {
        count += 1;
        choices = [choices[0].min(one.choices.len()), choices[1].max(one.choices.len())];
        *groups.entry(one.group.clone().unwrap_or_else(|| "all".into())).or_default() += 1;
        if first.len() < args.samples {
            first.push(one);
        }
        Ok(())
    })
    .map_err(words)?;
    if count == 0 {
        let hint = "name a file with questions";
        return Err(Refusal::new("there is nothing to show", format!("\"{}\" is empty", file.display()), hint));
    }
    if args.json {
        let value = serde_json::json!({"shape": "multiple_choice", "records": count, "choices": choices,
                                       "groups": groups});
        println!("{value}");
        return Ok(0);
    }
    println!("{:<11}{}: questions with choices, for `pleach eval`", "file", file.display());
    println!("{:<11}{count}, of {} to {} choices", "records", choices[0], choices[1]);
    for (group, count) in groups {
        println!("{:<11}{}: {count}", "", samples::plain(&group));
    }
    for one in first {
        println!("\n{}", samples::plain(&one.prompt()));
        for (index, choice) in one.choices.iter().enumerate() {
            println!("  {} {}", if index == one.answer { "*" } else { "-" }, samples::plain(choice));
        }
    }
    Ok(0)
}
