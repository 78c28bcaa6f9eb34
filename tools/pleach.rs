//! The `pleach` program: every command is one file under `commands/`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks: answers to stdout, words to stderr")]
#![allow(unreachable_pub, reason = "a program has no callers; pub says what a module offers its neighbours")]

mod commands;
mod show;
mod signals;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Under the list of commands.
const HELP: &str = "\
Examples:
  pleach demo                      train a small model in minutes, then talk to it
  pleach new my-run --data 'texts/*.txt'
  pleach run my-run/pleach.toml    (the same command resumes)

Exit codes: 0 done; 1 failure; 2 usage or config; 3 will not fit or no usable device; 4 halted by its
own watchdog; 5 waiting for people; 75 stopped as asked, resumable; 130/143 after a signal.";

/// One person takes a language model through every stage of training, on their own machine.
#[derive(Parser)]
#[command(
    name = "pleach",
    version,
    after_help = HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a small model on the generated little world (or your text), sample it, write a report
    Demo(commands::demo::Args),
    /// Write a pipeline file with comments
    New(commands::new::Args),
    /// Train what a pipeline file describes; resumes by itself
    Run(commands::run::Args),
    /// Memory, disk, time and data of a pipeline before anything starts
    Plan(commands::plan::Args),
    /// How a run stands
    Status(commands::status::Args),
    /// Let a run stand still after its current step
    #[command(after_help = "Examples:\n  pleach pause\n  pleach pause runs/demo --json")]
    Pause(commands::control::Args),
    /// Let a paused run go on
    #[command(after_help = "Examples:\n  pleach resume\n  pleach resume runs/demo --json")]
    Resume(commands::control::Args),
    /// End a run after its current step, everything on disk
    #[command(after_help = "Examples:\n  pleach stop\n  pleach stop runs/demo --json")]
    Stop(commands::control::Args),
    /// Continue prompts
    Generate(commands::generate::Args),
    /// Talk to a model through its chat template; one without continues what you write
    Chat(commands::chat::Args),
    /// A model measured on a text, on answers, on questions with choices, on preferences
    Eval(commands::eval::Args),
    /// Let people rank completions in the browser; agreement, blind comparisons, import and export
    Rank(commands::rank::Args),
    /// Shape, masks, repeats and figures of a data set
    Inspect(commands::inspect::Args),
    /// Adapters, drivers, processor, self-test; with a run: what happened to it
    Doctor(commands::doctor::Args),
}

/// A reader that went away (`pleach status | head`) is no failure: the program ends as if by SIGPIPE.
fn end_with_a_closed_pipe() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|text| text.starts_with("failed printing to stdout")) {
            std::process::exit(141);
        }
        usual(panic);
    }));
}

/// Mesa complains on stderr about every adapter it opens where this is unset; nothing of ours uses it.
fn quiet_drivers() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // Safety: the first thing that main does; no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

fn main() -> ExitCode {
    quiet_drivers();
    end_with_a_closed_pipe();
    let cli = Cli::parse();
    let answer = match cli.command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::New(args) => commands::new::run(&args),
        Command::Run(args) => commands::run::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Pause(args) => commands::control::run(&args, "pause"),
        Command::Resume(args) => commands::control::run(&args, "resume"),
        Command::Stop(args) => commands::control::run(&args, "stop"),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Chat(args) => commands::chat::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Rank(args) => commands::rank::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
    };
    match answer {
        Ok(code) => ExitCode::from(code),
        Err(refusal) => {
            eprintln!("error: {refusal}");
            ExitCode::from(refusal.code)
        }
    }
}
