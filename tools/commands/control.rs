//! `pleach pause | resume | stop`: a word in the run folder's CONTROL file.

use super::Answer;
use clap::Parser;
use pleach::runtime::control;
use pleach::runtime::fault::Refusal;
use pleach::runtime::store::RunLock;
use std::path::PathBuf;

/// A run.
#[derive(Parser)]
pub struct Args {
    /// The run folder (default: the newest under runs/)
    pub run: Option<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &Args, word: &str) -> Answer {
    let folder = super::status::run_folder(args.run.as_deref())?;
    let what = format!("could not {word} \"{}\"", folder.display());
    let Some(pid) = RunLock::owner(&folder) else {
        let hint = "start it with `pleach run`";
        return Err(Refusal::new(what, "no process works on this run", hint).with_code(1));
    };
    control::tell(&folder.join("CONTROL"), word)
        .map_err(|error| Refusal::new(what, error.to_string(), "check the folder's permissions").with_code(1))?;
    eprintln!("told process {pid} to {word}; `pleach status {}` shows when it has", folder.display());
    if args.json {
        println!("{}", serde_json::json!({"told": word, "run": folder.display().to_string(), "pid": pid}));
    }
    Ok(0)
}
