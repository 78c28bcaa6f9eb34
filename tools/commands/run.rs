//! `pleach run`: trains what a pipeline file describes; the same command resumes.

use super::guardian::{AGAIN, Input, after, guard, has_guardian, is_worker, watch_guardian};
use super::life::{self, Life};
use super::{Answer, words};
use crate::show::curves::Curves;
use crate::show::live::{Live, Style};
use crate::show::words::shell;
use crate::show::{curve, report};
use crate::signals::Signals;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use pleach::launch::Launch;
use pleach::pipeline::Pipeline;
use pleach::runtime::actors::opening::{DELAY, DELAY_MAX, PATIENCE};
use pleach::runtime::control;
use pleach::runtime::event::Event;
use pleach::runtime::fault::{Fault, FaultKind, Refusal};
use pleach::runtime::run::{Run, RunEnd, RunPlan};
use pleach::runtime::store::RunLock;
use pleach::runtime::supervise::Failpoints;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `pleach run`.
#[derive(Parser, Clone)]
#[command(after_help = "Examples:\n  pleach run                        the pipeline file of this folder\n  \
                        pleach run my-run/pleach.toml --device cpu\n  pleach run --dry-run              look, do not train")]
pub struct Args {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Prepare, plan and check, but do not train
    #[arg(long)]
    pub dry_run: bool,
}

/// A pipeline file and what flags put over it: `run` and `plan` take the same.
#[derive(Parser, Clone)]
pub struct PipelineArgs {
    /// The pipeline file
    #[arg(default_value = "pleach.toml")]
    pub pipeline: PathBuf,
    /// auto, gpu, cpu, software, or an adapter's number
    #[arg(long)]
    pub device: Option<String>,
    /// Processor threads
    #[arg(long, value_parser = super::threads)]
    pub threads: Option<usize>,
    /// Where run folders are made (default: runs/ beside the pipeline file)
    #[arg(long)]
    pub runs: Option<PathBuf>,
    /// JSON on stdout: one object a line, or one document
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    if args.dry_run {
        return super::plan::run(&super::plan::Args { pipeline: args.pipeline.clone() });
    }
    let args = &args.pipeline;
    let (pipeline, typed, folder) = opened(args)?;
    if !is_worker() {
        return guard(&folder, Input::Unused);
    }
    let life = life::show();
    let style = if args.json { Style::Json } else { Style::Words };
    let base = base_of(&args.pipeline);
    train(&pipeline, &typed, &base, &folder, style, &life)
}

/// The pipeline with its flags, its text, and its run folder.
pub fn opened(args: &PipelineArgs) -> Result<(Pipeline, String, PathBuf), Refusal> {
    let mut pipeline = Pipeline::read(&args.pipeline)?;
    let typed = std::fs::read_to_string(&args.pipeline).unwrap_or_default();
    if let Some(device) = &args.device {
        pipeline.device = device.clone();
        pipeline.flags.push("device");
    }
    if let Some(threads) = args.threads {
        pipeline.threads = threads;
        pipeline.flags.push("threads");
    }
    let runs = args.runs.clone().unwrap_or_else(|| base_of(&args.pipeline).join("runs"));
    let folder = runs.join(&pipeline.name);
    Ok((pipeline, typed, folder))
}

/// Where relative data paths start: the pipeline file's folder.
pub fn base_of(pipeline: &Path) -> PathBuf {
    match pipeline.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Makes the run folder and takes its lock; a second process is refused in words.
pub fn own(folder: &Path) -> Result<RunLock, Refusal> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let what = format!("could not make the run folder \"{}\"", folder.display());
        Refusal::new(what, error.to_string(), "choose another place with --runs").with_code(1)
    })?;
    RunLock::take(folder).map_err(words)
}

/// Prepares with a bar, as long as `goes_on` says so.
pub fn launch(pipeline: &Pipeline, base: &Path, folder: &Path, goes_on: &dyn Fn() -> bool) -> Result<Launch, Fault> {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new(1000) } else { ProgressBar::hidden() };
    let style = ProgressStyle::with_template("preparing data {bar:30} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let launch = Launch::new(pipeline, base, folder, &mut |progress| {
        bar.set_position((progress.share * 1000.0) as u64);
        bar.set_message(format!("{} tokens", crate::show::words::count(progress.tokens as f64)));
        goes_on()
    });
    bar.finish_and_clear();
    for note in launch.iter().flat_map(|launch| &launch.stages).flat_map(|stage| &stage.notes) {
        eprintln!("{note}");
    }
    launch
}

fn asked_to_stop(folder: &Path, signals: &Signals) -> bool {
    signals.count() > 0 || control::asked(&folder.join("CONTROL")).as_deref() == Some("stop")
}

fn stopped_early(signals: &Signals, again: &str) -> u8 {
    eprintln!("stopped before training; go on with: {again}");
    if signals.count() > 0 { signals.code() } else { 75 }
}

/// Checks that the run fits. A device that the run has worked with and that is not there (a driver that starts anew, a
/// card that hangs) is waited for.
fn wait_for_device(launch: &Launch, folder: &Path, signals: &Signals) -> Result<(), Fault> {
    let (began, mut delay) = (Instant::now(), DELAY);
    loop {
        let fault = match launch.check_fit() {
            Err(fault) if fault.kind == FaultKind::DeviceLost && began.elapsed() < PATIENCE => fault,
            answer => return answer,
        };
        if delay == DELAY {
            let other =
                "another word for `--device` (cpu, an adapter's number) takes another one, which rounds differently";
            eprintln!("{}; it is waited for. {other}", fault.what);
        }
        let until = Instant::now() + delay;
        while Instant::now() < until {
            if asked_to_stop(folder, signals) {
                return Err(Fault::new(FaultKind::Stopped, "stopped while the device was away"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        delay = (delay * 2).min(DELAY_MAX);
    }
}

/// Trains to the end and says what to do next; the exit code.
pub fn train(pipeline: &Pipeline, typed: &str, base: &Path, folder: &Path, style: Style, life: &Life) -> Answer {
    let again = &again();
    let signals = Signals::listen();
    let lock = own(folder)?;
    if after().is_none() {
        // A word that was meant for an earlier process; to one that died, this process is the same.
        control::forget(&folder.join("CONTROL"));
    }
    let launch = match launch(pipeline, base, folder, &|| !asked_to_stop(folder, &signals)) {
        Err(fault) if fault.kind == FaultKind::Stopped => return Ok(stopped_early(&signals, again)),
        other => other.map_err(words)?,
    };
    if let Some(model) = launch.finished().map_err(words)? {
        say_finished(&launch, &model, style);
        return Ok(0);
    }
    match wait_for_device(&launch, folder, &signals) {
        Err(fault) if fault.kind == FaultKind::Stopped => return Ok(stopped_early(&signals, again)),
        // A worker that follows a dead one goes on trying; a person who is there can choose.
        Err(fault) if fault.kind == FaultKind::DeviceLost && has_guardian() && after().is_some() => {
            eprintln!("{}", fault.what);
            return Ok(AGAIN);
        }
        Err(fault) if fault.kind == FaultKind::DeviceLost => {
            let hint = "run the same command when it is back, or name another device with `--device`";
            return Err(Refusal::new("the device of this run is not there", fault.what, hint).with_code(3));
        }
        fits => fits.map_err(words)?,
    }
    launch.check_disk().map_err(words)?;
    launch.record(typed).map_err(words)?;
    if style == Style::Words {
        eprintln!("device: {}", launch.why);
    }
    let plan = RunPlan { after: after(), ..launch.run_plan(Failpoints::none()) };
    let run = Run::start(plan, lock).map_err(words)?;
    life.follow(run.pulse());
    let end = follow(run, folder, style, &signals);
    finish(folder, &end, style, again);
    match end {
        RunEnd::Failed(Fault { refusal: Some(refusal), .. }) => Err(*refusal),
        RunEnd::Stopped if signals.count() > 0 => Ok(signals.code()),
        end if end.wants_another_process() && has_guardian() => Ok(AGAIN),
        end => Ok(end.code()),
    }
}

/// Nothing is left to train: says so, and changes no file.
fn say_finished(launch: &Launch, model: &Path, style: Style) {
    let stages = match launch.frozen.stages.as_slice() {
        [one] => format!("all {} steps are made", one.steps),
        all => format!("all {} stages are done", all.len()),
    };
    let why = format!("{stages}; the model lies in {}", model.display());
    if style == Style::Json {
        return Live::new(style).show(&Event::Ended { how: "finished".into(), why });
    }
    let folder = launch.folder.display();
    eprintln!("the run is finished: {why}");
    eprintln!("next: pleach chat {folder}   or more steps in the pipeline file, or another name for a new run");
}

/// This command as it was typed: it is what resumes.
fn again() -> String {
    let words: Vec<String> = std::env::args().skip(1).map(|word| shell(&word)).collect();
    format!("pleach {}", words.join(" "))
}

/// Shows events until the run ends; the first signal stops it in order, the second at once.
fn follow(mut run: Run, folder: &Path, style: Style, signals: &Signals) -> RunEnd {
    let (mut live, mut report) = (Live::new(style), report::Keeper::new(folder));
    let mut told = false;
    let control = run.control().clone();
    watch_guardian(move || control.stop());
    loop {
        while let Ok(event) = run.events().recv_timeout(Duration::from_millis(100)) {
            live.show(&event);
            report.hear(&event);
            if signals.count() > 0 {
                break;
            }
        }
        match signals.count() {
            0 => {}
            1 => {
                if !told {
                    told = true;
                    eprintln!("finishing the step and saving; once more ends at once");
                    run.control().stop();
                }
            }
            _ => std::process::exit(i32::from(signals.code())),
        }
        if let Some(end) = run.wait(Duration::from_millis(1)) {
            while let Ok(event) = run.events().try_recv() {
                live.show(&event);
            }
            return end;
        }
    }
}

/// The curve, the report, and the next command.
fn finish(folder: &Path, end: &RunEnd, style: Style, again: &str) {
    let report = report::write(folder);
    if let Err(error) = &report {
        eprintln!("the report could not be written: {error}");
    }
    if style == Style::Json {
        return;
    }
    let curves = Curves::of_last(&report::events(folder));
    eprint!("{}", curve::draw(&curves.loss, &curves.eval, "loss (o = validation)"));
    if let Ok(path) = report {
        eprintln!("report: {}", path.display());
    }
    match end {
        RunEnd::Finished => {
            let folder = shell(&folder.display().to_string());
            eprintln!("next: pleach chat {folder}   or   pleach generate {folder} --prompt \"...\"");
        }
        // What cannot be done so cannot be done by the same command either: the reason follows.
        RunEnd::Failed(fault) if fault.kind == FaultKind::Refused => {}
        _ => eprintln!("go on with: {again}"),
    }
}
