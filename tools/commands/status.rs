//! `pleach status`: how a run stands, from its journal.

use super::Answer;
use crate::show::curve;
use crate::show::curves::Curves;
use crate::show::report::events;
use crate::show::words::{count, duration};
use clap::Parser;
use pleach::runtime::event::Event;
use pleach::runtime::fault::Refusal;
use pleach::runtime::store::RunLock;
use std::path::{Path, PathBuf};

/// `pleach status`.
#[derive(Parser)]
#[command(after_help = "Examples:\n  pleach status\n  pleach status runs/demo --json")]
pub struct Args {
    /// The run folder (default: the newest under runs/)
    pub run: Option<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// The run folder named, or the newest under runs/.
pub fn run_folder(named: Option<&Path>) -> Result<PathBuf, Refusal> {
    let what = "could not find the run";
    if let Some(folder) = named {
        // A run that still prepares its data has no journal, but a process that owns it.
        if folder.join("journal.jsonl").is_file() || RunLock::owner(folder).is_some() {
            return Ok(folder.to_path_buf());
        }
        let detail = format!("{} has no journal.jsonl", folder.display());
        return Err(Refusal::new(what, detail, "name a run folder, such as runs/demo"));
    }
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir("runs")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let since = |name: &str| folder.join(name).metadata().ok()?.modified().ok();
            let owned = || RunLock::owner(&folder).and_then(|_| since("lock.pid"));
            let changed = since("journal.jsonl").or_else(owned)?;
            Some((changed, folder))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, folder)| folder).ok_or_else(|| {
        Refusal::new(what, "there is no run under runs/ here", "name the run folder, or begin with `pleach demo`")
    })
}

/// What a journal says.
#[derive(serde::Serialize)]
struct Standing {
    run: String,
    state: String,
    pid: Option<u32>,
    /// All stages of the run, and the one that it is at.
    stages: Vec<String>,
    stage: String,
    step: u64,
    steps: u64,
    loss: Option<f64>,
    eval_loss: Option<f64>,
    bits_per_byte: Option<f64>,
    best: Option<(f64, u64)>,
    tokens_per_second: Option<f64>,
    seconds_left: Option<f64>,
    checkpoint: Option<String>,
    /// What it collects, where its stage does.
    collecting: Option<String>,
    trouble: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let folder = run_folder(args.run.as_deref())?;
    let events = events(&folder);
    let standing = standing(&folder, &events);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&standing).unwrap_or_default());
        return Ok(0);
    }
    println!("{}: {}", standing.run, standing.state);
    if !standing.stage.is_empty() {
        let of =
            if standing.stages.len() > 1 { format!(" (of {})", standing.stages.join(", ")) } else { String::new() };
        match &standing.collecting {
            Some(what) => println!("{}: {} of {} {what}{of}", standing.stage, standing.step, standing.steps),
            None => println!("{} step {} of {}{of}", standing.stage, standing.step, standing.steps),
        }
    }
    let curves = Curves::of_last(&events);
    print!("{}", curve::draw(&curves.loss, &curves.eval, "loss (o = validation)"));
    if let Some((loss, step)) = standing.best {
        println!("best validation loss {loss:.4} at step {step}");
    }
    if let (Some(speed), Some(left)) = (standing.tokens_per_second, standing.seconds_left) {
        println!("{} tokens/s, {} left", count(speed), duration(left));
    }
    if let Some(checkpoint) = &standing.checkpoint {
        println!("newest checkpoint: {checkpoint}");
    }
    for line in standing.trouble.iter().rev().take(5).rev() {
        println!("trouble: {line}");
    }
    Ok(0)
}

fn standing(folder: &Path, events: &[Event]) -> Standing {
    let pid = RunLock::owner(folder);
    let mut out = Standing {
        run: folder.display().to_string(),
        state: String::new(),
        pid,
        stages: Vec::new(),
        stage: String::new(),
        step: 0,
        steps: 0,
        loss: None,
        eval_loss: None,
        bits_per_byte: None,
        best: None,
        tokens_per_second: None,
        seconds_left: None,
        checkpoint: None,
        collecting: None,
        trouble: Vec::new(),
    };
    let (mut paused, mut ended) = (None, None);
    for event in events {
        match event {
            Event::Started { stages, .. } => {
                (paused, ended) = (None, None);
                out.stages = stages.clone();
            }
            Event::StageStarted { stage, folder, steps, step, .. } => {
                let name = if folder.is_empty() { stage } else { folder };
                if out.stage != *name {
                    (out.loss, out.eval_loss, out.bits_per_byte, out.best) = (None, None, None, None);
                }
                (out.stage, out.steps, out.step) = (name.clone(), *steps, *step);
                out.collecting = None;
            }
            Event::Step { step, loss, tokens_per_second, step_time, .. } => {
                (out.step, out.loss, out.tokens_per_second) = (*step, Some(*loss), Some(*tokens_per_second));
                out.seconds_left = Some(step_time * out.steps.saturating_sub(*step) as f64);
            }
            Event::Evaluated { watched: false, step, eval_loss, bits_per_byte, best, .. } => {
                (out.eval_loss, out.bits_per_byte) = (Some(*eval_loss), Some(*bits_per_byte));
                out.best = if *best { Some((*eval_loss, *step)) } else { out.best };
            }
            Event::Collecting { folder, have, want, what, .. } => {
                (out.stage, out.step, out.steps) = (folder.clone(), *have, *want);
                out.collecting = Some(what.clone());
            }
            Event::CheckpointSaved { saved } => out.checkpoint = Some(saved.name.clone()),
            Event::Paused { why } => paused = Some(why.clone()),
            Event::Resumed => paused = None,
            Event::Trouble { what, .. } | Event::Alarm { what, .. } => out.trouble.push(what.clone()),
            Event::Ended { how, why } => ended = Some((how.clone(), why.clone())),
            _ => {}
        }
    }
    out.state = match (pid, paused, ended) {
        (Some(pid), Some(why), _) => format!("paused by process {pid}: {why}"),
        (Some(pid), None, _) if events.is_empty() => format!("preparing its data in process {pid}"),
        (Some(pid), None, _) => format!("running in process {pid}"),
        (None, _, Some((how, _))) if how == "finished" => "finished".into(),
        (None, _, Some((how, why))) => format!("{how}: {why}; resumable with `pleach run`"),
        (None, _, None) => "interrupted without a word; resumable with `pleach run`".into(),
    };
    if pid.is_none() {
        out.seconds_left = None;
    }
    out
}
