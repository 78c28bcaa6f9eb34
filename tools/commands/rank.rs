//! `pleach rank`: people put completions in order, in a browser on this machine; and what becomes of their rankings.

use super::status::run_folder;
use super::{Answer, words};
use crate::show::words::count;
use crate::signals::Signals;
use clap::Parser;
use pleach::data::world::preferences::SimulatedRater;
use pleach::ranking::agreement::{Agreement, YARDSTICKS, agreement};
use pleach::ranking::blind::{self, Verdict, verdict};
use pleach::ranking::exchange::{Format, export, import, items};
use pleach::ranking::page::{Page, PageOptions, invite};
use pleach::ranking::{Counts, Flags, Mode, Options, Rate, Store, freeze, simulate};
use pleach::runtime::fault::{Fault, Refusal};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const HELP: &str = "\
Examples:
  pleach rank                            the ranking page of the newest run under runs/
  pleach rank runs/demo --rater Ada      an address for one rater; run it again for the next one
  pleach rank --file items.jsonl         {\"prompt\": ..., \"completions\": [\"...\", \"...\"]} on each line
  pleach rank --ab before.jsonl after.jsonl     a blind comparison of two checkpoints' completions
  pleach rank runs/demo --agreement      how far raters agree; who won a blind comparison
  pleach rank runs/demo --export trl pairs.jsonl
Formats: kwise, trl, kto, label-studio, oasst, nectar, sft (better answers that raters wrote).";

/// `pleach rank`.
#[derive(Parser)]
#[command(after_help = HELP)]
pub struct Args {
    /// The run folder, or a file of rankings (default: the newest run under runs/)
    pub run: Option<PathBuf>,
    /// Rank the items of this file; without RUN the rankings lie beside it
    #[arg(long, value_name = "ITEMS", conflicts_with = "ab")]
    pub file: Option<PathBuf>,
    /// Compare two files of prompt and completion, blind
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    pub ab: Option<Vec<PathBuf>>,
    /// The rater that the address is for (default: they give a name themselves)
    #[arg(long, value_name = "NAME")]
    pub rater: Option<String>,
    /// The port on 127.0.0.1 (default: the last one, or a free one)
    #[arg(long)]
    pub port: Option<u16>,
    /// Print the address and open no browser
    #[arg(long)]
    pub no_open: bool,
    /// End by itself as soon as nothing is missing, or --enough rankings are there
    #[arg(long)]
    pub wait: bool,
    /// Rankings that suffice
    #[arg(long, value_name = "COUNT")]
    pub enough: Option<u64>,
    /// Share of items that two raters get, from 0 to 1 (default 0.1; 0 of a blind comparison)
    #[arg(long, value_name = "SHARE")]
    pub overlap: Option<f64>,
    /// Share of items that a rater sees again, unannounced (default 0.05)
    #[arg(long, value_name = "SHARE")]
    pub repeats: Option<f64>,
    /// A text with guidelines for raters
    #[arg(long, value_name = "FILE")]
    pub guidelines: Option<PathBuf>,
    /// A TOML or JSON file with the flags that raters may set
    #[arg(long, value_name = "FILE")]
    pub flags: Option<PathBuf>,
    /// Write the rankings into a file of another format, and end
    #[arg(long, num_args = 2, value_names = ["FORMAT", "FILE"])]
    pub export: Option<Vec<String>>,
    /// Add the rankings of a file, whatever its format, and end
    #[arg(long, value_name = "FILE")]
    pub import: Option<PathBuf>,
    /// Freeze all rankings to rankings-HASH.jsonl beside the store, and end
    #[arg(long)]
    pub freeze: bool,
    /// Say how far raters agree, or who won, and end
    #[arg(long)]
    pub agreement: bool,
    /// Let a simulated rater of this seed answer what is open (prompts of the little world only), and end
    #[arg(long, value_name = "SEED")]
    pub simulate: Option<u64>,
    /// Delete a rater with all their answers, and end
    #[arg(long, value_name = "NAME")]
    pub delete_rater: Option<String>,
    /// One JSON object a line on stdout
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let mut store = Store::open(&place(args)?).map_err(words)?;
    set_up(&mut store, args).map_err(words)?;
    let done = act(&mut store, args).map_err(words)?;
    match done {
        Some((value, text)) => {
            say(args, &value, &text);
            Ok(0)
        }
        None => serve(&mut store, args),
    }
}

/// The answer of a command: a JSON object, or words.
fn say(args: &Args, value: &Value, text: &str) {
    println!("{}", if args.json { value.to_string() } else { text.to_owned() });
}

/// The file of the rankings. It need not be there where something is to be put into it.
fn place(args: &Args) -> Result<PathBuf, Refusal> {
    let stem = |path: &Path| path.file_stem().map_or("items".into(), |stem| stem.to_string_lossy().into_owned());
    let beside = |path: &Path, name: String| path.with_file_name(format!("{name}.rankings.sqlite"));
    let versus = args.ab.as_ref().map(|both| format!("{}-{}", stem(&both[0]), stem(&both[1])));
    let path = match (&args.run, &args.ab, &args.file) {
        (Some(file), ..) if file.is_file() || file.extension().is_some_and(|extension| extension == "sqlite") => {
            file.clone()
        }
        (None, Some(both), _) => beside(&both[0], versus.unwrap_or_default()),
        (None, None, Some(file)) => beside(file, stem(file)),
        (run, ab, _) => {
            let folder = run_folder(run.as_deref())?;
            let blind = ab.as_ref().and(versus).map(|versus| format!("blind-{versus}.sqlite"));
            folder.join(blind.as_deref().unwrap_or("rankings.sqlite"))
        }
    };
    let fills = args.file.is_some() || args.ab.is_some() || args.import.is_some();
    if !fills && !path.is_file() {
        let detail = format!("there is no {}", path.display());
        let hint = "give items with --file, rankings with --import, or let a run come to its ranking stage";
        return Err(Refusal::new("there is nothing to rank", detail, hint));
    }
    Ok(path)
}

/// Items, options and guidelines as the command line has them.
fn set_up(store: &mut Store, args: &Args) -> Result<(), Fault> {
    let mut options: Options = store.options().clone();
    if args.ab.is_some() && options.mode != Mode::Blind {
        options = Options { mode: Mode::Blind, overlap: 0.0, ..options };
    }
    options.overlap = args.overlap.unwrap_or(options.overlap);
    options.repeats = args.repeats.unwrap_or(options.repeats);
    options.enough = args.enough.or(options.enough);
    if let Some(path) = &args.flags {
        options.flags = Flags::read(path)?;
    }
    if options != *store.options() {
        store.configure(&options)?;
    }
    if let Some(path) = &args.guidelines {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let what = format!("could not read the guidelines {}", path.display());
            Refusal::new(what, error.to_string(), "name a file of plain text")
        })?;
        store.set_guidelines(&text)?;
    }
    let items = match (&args.file, &args.ab) {
        (Some(file), _) => items(file)?,
        (_, Some(both)) => blind::pair(&both[0], &both[1])?,
        _ => return Ok(()),
    };
    let added = store.add_items(&items)?;
    eprintln!("{} new items, {} known", added.added, added.known);
    Ok(())
}

/// Whatever is asked for beside the page.
fn act(store: &mut Store, args: &Args) -> Result<Option<(Value, String)>, Fault> {
    let value = |of: Result<Value, serde_json::Error>| of.unwrap_or_default();
    if let Some(path) = &args.import {
        let done = import(store, path)?;
        let text = format!("{} rankings of {}: {} new items", done.rankings, path.display(), done.items);
        return Ok(Some((value(serde_json::to_value(&done)), with_notes(text, &done.notes))));
    }
    if let Some(name) = &args.delete_rater {
        return delete(store, name).map(Some);
    }
    if let Some(seed) = args.simulate {
        let done = simulate(store, &SimulatedRater::new(seed), &mut || false)?;
        let text = format!("{}: {} ranked, {} skipped", done.rater, done.ranked, done.skipped);
        return Ok(Some((value(serde_json::to_value(&done)), text)));
    }
    if let Some([format, file]) = args.export.as_deref() {
        let done = export(store, Format::of(format)?, Path::new(file))?;
        let text = format!("{} records in {file}", done.records);
        return Ok(Some((value(serde_json::to_value(&done)), with_notes(text, &done.notes))));
    }
    if args.freeze {
        let done = freeze(store, folder_of(store))?;
        let text = format!("{} rankings in {} (BLAKE3 {})", done.rankings, done.path.display(), done.hash);
        return Ok(Some((value(serde_json::to_value(&done)), text)));
    }
    if args.agreement {
        return figures(store).map(Some);
    }
    Ok(None)
}

fn with_notes(text: String, notes: &[String]) -> String {
    notes.iter().fold(text, |text, note| format!("{text}\nnote: {note}"))
}

/// The folder of a store.
fn folder_of(store: &Store) -> &Path {
    let folder = store.path().parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Deletes a rater, and names the frozen files that still have their rankings.
fn delete(store: &mut Store, name: &str) -> Result<(Value, String), Fault> {
    let answers = store.delete_rater(name)?;
    let mark = format!("\"rater\":{}", Value::from(name));
    let frozen =
        std::fs::read_dir(folder_of(store)).into_iter().flatten().flatten().map(|entry| entry.path()).filter(|path| {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let frozen = name.starts_with("rankings-") && name.ends_with(".jsonl");
            frozen && std::fs::read_to_string(path).is_ok_and(|text| text.contains(&mark))
        });
    let mut frozen: Vec<String> = frozen.map(|path| path.display().to_string()).collect();
    frozen.sort();
    let text = format!("deleted {name:?} with {answers} answers; their items are open again");
    let still: Vec<String> = frozen
        .iter()
        .map(|path| {
            format!("{path} was frozen before and still has their rankings: delete it, and what was trained on it")
        })
        .collect();
    Ok((json!({"deleted": name, "answers": answers, "frozen": frozen}), with_notes(text, &still)))
}

/// The figures: agreement, and of a blind comparison who won.
fn figures(store: &Store) -> Result<(Value, String), Fault> {
    let (counts, agreed) = (store.answered()?, agreement(store)?);
    let mut value = json!({"counts": counts, "agreement": agreed});
    let mut text = format!("{}\n{}", standing(&counts), agreement_text(&agreed));
    if store.options().mode == Mode::Blind {
        let won = verdict(store)?;
        value["verdict"] = serde_json::to_value(&won).unwrap_or_default();
        text = format!("{}\n{text}", verdict_text(&won));
    }
    Ok((value, text))
}

fn standing(counts: &Counts) -> String {
    let Counts { items, ranked, rankings, repeats, skipped, raters, missing, .. } = counts;
    format!(
        "{ranked} of {items} items ranked by {raters} raters: {rankings} rankings and {repeats} repeats, \
         {skipped} skipped, {missing} missing"
    )
}

fn share(rate: Option<Rate>) -> String {
    rate.map_or("not yet known".into(), |rate| {
        let [share, low, high] = [rate.share, rate.low, rate.high].map(|share| 100.0 * share);
        format!("{share:.1} % ({low:.1} to {high:.1}; {} of {} items)", count(rate.count as f64), rate.clusters)
    })
}

fn agreement_text(agreed: &Agreement) -> String {
    let figure = |value: Option<f64>| value.map_or("not yet known".into(), |value| format!("{value:.3}"));
    let mut lines = vec![
        format!("same order of a pair, raters with each other: {}", share(agreed.others.pairwise)),
        format!("  with ties as a third order: {}", share(agreed.others.with_ties)),
        format!("  Kendall's tau-b: {}", figure(agreed.others.tau_b)),
        format!("  Krippendorff's alpha of the ranks: {}", figure(agreed.alpha)),
        format!("a rater with themselves, on repeats: {}", share(agreed.selves.pairwise)),
    ];
    for (group, alpha) in &agreed.flags {
        lines.push(format!("Krippendorff's alpha of flags, {group}: {}", figure(*alpha)));
    }
    for one in YARDSTICKS {
        let (share, error) = (100.0 * one.share, 100.0 * one.error);
        lines.push(format!("published: {}: {share:.1} +- {error:.1} % ({})", one.who, one.source));
    }
    lines.join("\n")
}

fn verdict_text(won: &Verdict) -> String {
    let [first, second] = &won.names;
    format!(
        "{first} against {second}: {} better, {} equal, {} worse; {first} wins {}, ties as halves; \
         it stood on the left {} times",
        won.wins,
        won.ties,
        won.losses,
        share(won.win_rate),
        won.left
    )
}

/// Serves the page until it is told to end, or gives an address of the page that another process serves.
fn serve(store: &mut Store, args: &Args) -> Answer {
    if store.answered().map_err(words)?.items == 0 {
        let detail = format!("{} has no items", store.path().display());
        return Err(Refusal::new("there is nothing to rank", detail, "give items with --file"));
    }
    if let Some(port) = Page::find(store).map_err(words)? {
        let url = invite(store, port, args.rater.as_deref()).map_err(words)?;
        announce(args, store, &url);
        // The browser reads the file that leads there while this waits.
        let opened = open(args, &url);
        std::thread::sleep(if opened.is_some() { Duration::from_secs(5) } else { Duration::ZERO });
        return Ok(0);
    }
    let signals = Signals::listen();
    let options = PageOptions { port: args.port, rater: args.rater.clone() };
    let page = Page::start(store, &options).map_err(words)?;
    announce(args, store, page.url());
    let _opened = open(args, page.url());
    let enough =
        |counts: &Counts| counts.missing == 0 || store.options().enough.is_some_and(|enough| counts.rankings >= enough);
    let mut code = 0;
    for round in 0u64.. {
        if signals.count() > 0 {
            code = signals.code();
            break;
        }
        // Once a second; a rater who just gave the last answer sees the page say so.
        if args.wait && round % 5 == 4 && enough(&store.answered().map_err(words)?) {
            std::thread::sleep(Duration::from_secs(2));
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    page.stop();
    let counts = store.answered().map_err(words)?;
    say(args, &json!({"event": "ended", "counts": counts}), &standing(&counts));
    Ok(code)
}

fn announce(args: &Args, store: &Store, url: &str) {
    let path = store.path().display().to_string();
    let text = format!("Rank here (this address is good once): {url}");
    say(args, &json!({"event": "serving", "url": url, "store": path}), &text);
    let _ = std::io::stdout().flush();
    eprintln!("Everything is kept in {path}. For another rater or browser run the same command again; Ctrl-C ends it.");
}

/// Opens the page in the person's browser where they sit at a terminal. The address goes through a file that only they
/// may read, because everybody may read command lines; it lives as long as what is returned.
fn open(args: &Args, url: &str) -> Option<tempfile::TempPath> {
    if args.no_open || args.json || !std::io::stdout().is_terminal() {
        return None;
    }
    let mut file = tempfile::Builder::new().prefix("pleach-rank-").suffix(".html").tempfile().ok()?;
    write!(file, "<!doctype html><meta http-equiv=\"refresh\" content=\"0; url={url}\"><a href=\"{url}\">Rank</a>")
        .ok()?;
    let path = file.into_temp_path();
    let program = match std::env::consts::OS {
        "macos" => "open",
        "windows" => "explorer",
        _ => "xdg-open",
    };
    let null = std::process::Stdio::null;
    let mut command = std::process::Command::new(program);
    let started = command.arg(&path).stdin(null()).stdout(null()).stderr(null()).spawn();
    // Without such a program the address stands in the terminal.
    started.ok().map(|_| path)
}
