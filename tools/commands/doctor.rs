//! `pleach doctor`: what the machine has and whether it computes rightly; with a run, what happened to it.

use super::{Answer, words};
use crate::show::report::events;
use crate::show::words::bytes;
use clap::Parser;
use pleach::runtime::device::choose::{Wish, choose, open};
use pleach::runtime::device::gpu::adapters;
use pleach::runtime::device::room::Room;
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::layout::{AdamW, POLICY, Role, Shapes};
use pleach::runtime::event::Event;
use pleach::runtime::fault::{Fault, Refusal};
use pleach::runtime::model::config::ModelConfig;
use pleach::runtime::stage::{Row, Window};
use pleach::runtime::store::{Disk, Store};
use std::path::PathBuf;

/// `pleach doctor`.
#[derive(Parser)]
#[command(after_help = "Examples:\n  pleach doctor\n  pleach doctor --report doctor.json\n  pleach doctor runs/demo")]
pub struct Args {
    /// A run folder: what happened to it, in words
    pub run: Option<PathBuf>,
    /// The device to test
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Write the findings into this file, to send to somebody
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// The largest difference of log-probabilities between a device and the definitions that is healthy.
const HEALTHY: f64 = 1e-3;

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    if let Some(run) = &args.run {
        return history(run, args.json);
    }
    let found = adapters();
    let (chosen, why) = choose(&Wish::parse(&args.device)?, 0);
    let difference = open(&chosen).and_then(self_test);
    let healthy = matches!(difference, Ok(difference) if difference < HEALTHY);
    let free = Disk.free(&std::env::current_dir().unwrap_or_default()).ok().flatten();
    let findings = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "system": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        "threads": std::thread::available_parallelism().map_or(0, usize::from),
        "adapters": found,
        "rooms": found.iter().map(Room::of).collect::<Vec<_>>(),
        "chosen": why,
        "self_test": match &difference { Ok(d) => format!("{d:.2e}"), Err(fault) => fault.to_string() },
        "healthy": healthy,
        "free_disk_bytes": free,
    });
    let pretty = serde_json::to_string_pretty(&findings).unwrap_or_default();
    if let Some(path) = &args.report {
        std::fs::write(path, &pretty).map_err(|error| {
            let detail = format!("{}: {error}", path.display());
            Refusal::new("could not write the report", detail, "name another file").with_code(1)
        })?;
        eprintln!("wrote {}", path.display());
    }
    if args.json {
        println!("{pretty}");
        return Ok(if healthy { 0 } else { 3 });
    }
    println!("pleach {} on {}", env!("CARGO_PKG_VERSION"), findings["system"].as_str().unwrap_or(""));
    println!("processor threads: {}", findings["threads"]);
    if found.is_empty() {
        println!("no GPU adapter was found (on Linux: install a Vulkan driver; the cpu device needs none)");
    }
    for adapter in &found {
        println!(
            "adapter {}: {} ({:?}, {}, {})",
            adapter.index, adapter.name, adapter.kind, adapter.backend, adapter.driver
        );
        println!("  binding {}, f16 {}, subgroups {:?}", bytes(adapter.binding_bytes), adapter.f16, adapter.subgroups);
        if !adapter.matrices.is_empty() {
            println!("  cooperative matrices {}", adapter.matrices.join(", "));
        }
        let room = Room::of(adapter);
        println!(
            "  room for a run: {}",
            room.bytes.map_or(room.from.clone(), |n| format!("{} ({})", bytes(n), room.from))
        );
        for lack in &adapter.lacks {
            println!("  lacks: {lack}");
        }
    }
    println!("device: {why}");
    match difference {
        Ok(d) if healthy => println!("self-test: good (differs from the definitions by {d:.1e})"),
        Ok(d) => println!("self-test: BAD (differs from the definitions by {d:.1e}); do not train on this device"),
        Err(fault) => println!("self-test: failed ({fault})"),
    }
    if let Some(free) = free {
        println!("free disk here: {}", bytes(free));
    }
    Ok(if healthy { 0 } else { 3 })
}

/// A tiny model on the device and on the definitions: the largest difference of a log-probability.
fn self_test(device: Box<dyn pleach::runtime::device::Device>) -> Result<f64, Fault> {
    use pleach::runtime::device::cpu::{Cpu, CpuOptions};
    let config = ModelConfig::qwen3(61, 16, 32, 2, 4, 2);
    let shapes = Shapes::inference(&config, 2, 1);
    let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, decay: 0.0 };
    let row = |key: u64| Row {
        tokens: (0..17).map(|t| ((t * 7 + key * 13) % 61) as u32).collect(),
        weights: vec![1.0; 16],
        segments: vec![0; 16],
        key,
    };
    let window = Window::new(16, vec![row(0), row(1)]);
    let numbers = |device| -> Result<_, Fault> {
        let mut engine = Engine::new(device, &[Role::reference(&config)], &shapes, &adamw)?;
        engine.begin(POLICY, 7)?;
        engine.evaluate(POLICY, &window)
    };
    let definition = Box::new(Cpu::open(CpuOptions { threads: Some(1), specs_only: true })?);
    let (a, b) = (numbers(device)?, numbers(definition)?);
    Ok(a.iter().zip(&b).map(|(a, b)| f64::from((a[0] - b[0]).abs())).fold(0.0, f64::max))
}

/// What happened to a run, in words.
fn history(run: &std::path::Path, json: bool) -> Answer {
    let folder = super::status::run_folder(Some(run))?;
    let telling: Vec<Event> = events(&folder)
        .into_iter()
        .filter(|event| !matches!(event, Event::Step { .. } | Event::Sample { .. } | Event::Evaluated { .. }))
        .collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&telling).unwrap_or_default());
        return Ok(0);
    }
    for event in &telling {
        match event {
            Event::Started { pid, version, after, .. } => {
                after.iter().for_each(|why| println!("the worker {why}"));
                println!("process {pid} (version {version}) took the run up");
            }
            Event::StageStarted { stage, step, from, lost, .. } => {
                lost.iter().for_each(|line| println!("  lost: {line}"));
                println!("  {stage} began at step {step} (state from {from})");
            }
            Event::Trouble { what, then } => println!("  trouble: {what}; {then}"),
            Event::Rehired { child, generation, .. } => println!("  {child} was hired again (generation {generation})"),
            Event::Changed { what } => println!("  changed since the run began: {what}"),
            Event::Skipped { why, .. } => println!("  skipped: {why}"),
            Event::Paused { why } => println!("  paused: {why}"),
            Event::Resumed => println!("  went on"),
            Event::CheckpointSaved { saved } => println!("  saved {} at step {}", saved.name, saved.step),
            Event::StageFinished { stage, step, why, .. } => println!("  {stage} finished at step {step}: {why}"),
            Event::Ended { how, why } => println!("  ended: {how} ({why})"),
            _ => {}
        }
    }
    if telling.is_empty() {
        let detail = "its journal holds no event this version knows";
        return Err(words(Fault::new(pleach::runtime::fault::FaultKind::Disk, detail)));
    }
    Ok(0)
}
