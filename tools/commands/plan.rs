//! `pleach plan`: memory, disk, time and data of a pipeline, before anything starts.

use super::run::{PipelineArgs, base_of, launch, opened, own};
use super::{Answer, words};
use crate::show::words::{bytes, count, duration};
use clap::Parser;
use pleach::launch::Launch;
use pleach::runtime::model::weights::parameters;

/// `pleach plan`.
#[derive(Parser)]
#[command(after_help = "Examples:\n  pleach plan\n  pleach plan my-run/pleach.toml --json")]
pub struct Args {
    #[command(flatten)]
    pub pipeline: PipelineArgs,
}

/// What a plan says.
#[derive(serde::Serialize)]
struct Plan {
    device: String,
    parameters: usize,
    vocabulary: usize,
    context: usize,
    train_tokens: u64,
    validation_tokens: u64,
    documents: u64,
    empty_documents: u64,
    rows_per_epoch: u64,
    steps: u64,
    steps_from: String,
    epochs: f64,
    tokens_per_step: usize,
    micro_rows: usize,
    micro_batches: usize,
    persistent_bytes: u64,
    activation_bytes: u64,
    host_bytes: u64,
    room_bytes: Option<u64>,
    room_from: String,
    host_room_bytes: Option<u64>,
    checkpoint_bytes: u64,
    flops_per_step: f64,
    seconds_per_step: Option<f64>,
    seconds_about: Option<f64>,
    first_loss_about: f64,
}

/// Runs the command.
pub fn run(args: &Args) -> Answer {
    let (pipeline, _, folder) = opened(&args.pipeline)?;
    let lock = own(&folder)?;
    // A signal ends a plan at once, and a word in CONTROL is meant for a run.
    let launch = launch(&pipeline, &base_of(&args.pipeline.pipeline), &folder, &|| true).map_err(words)?;
    let plan = plan(&launch)?;
    if args.pipeline.json {
        println!("{}", serde_json::to_string_pretty(&plan).unwrap_or_default());
    } else {
        show(&plan);
    }
    launch.check_fit().map_err(words)?;
    launch.check_disk().map_err(words)?;
    drop(lock);
    Ok(0)
}

fn plan(launch: &Launch) -> Result<Plan, pleach::runtime::fault::Refusal> {
    let needs = launch.needs().map_err(words)?;
    let config = &launch.config;
    let stage = &launch.pipeline.stages[0];
    let weights = parameters(config);
    // A run that does not fit is not measured.
    let step = if launch.check_fit().is_ok() { Some(launch.step_seconds().map_err(words)?) } else { None };
    let tokens = stage.batch * config.context;
    let attention = 12.0 * config.layers as f64 * config.q_width() as f64 * config.context as f64 / 2.0;
    let embedded = if config.tied { 0 } else { config.vocab * config.width };
    Ok(Plan {
        device: launch.why.clone(),
        parameters: weights,
        vocabulary: config.vocab,
        context: config.context,
        train_tokens: launch.prepared.train_tokens,
        validation_tokens: launch.prepared.validation_tokens,
        documents: launch.prepared.documents,
        empty_documents: launch.prepared.empty,
        rows_per_epoch: launch.rows,
        steps: launch.frozen.steps,
        steps_from: launch.frozen.steps_from.clone(),
        epochs: (launch.frozen.steps * stage.batch as u64) as f64 / launch.rows as f64,
        tokens_per_step: tokens,
        micro_rows: launch.frozen.micro_rows,
        micro_batches: stage.batch.div_ceil(launch.frozen.micro_rows),
        persistent_bytes: needs.persistent,
        activation_bytes: needs.activations,
        host_bytes: needs.host,
        room_bytes: needs.room.bytes,
        room_from: needs.room.from,
        host_room_bytes: needs.host_room.bytes,
        checkpoint_bytes: 12 * weights as u64,
        flops_per_step: (6.0 * (weights - embedded) as f64 + attention) * tokens as f64,
        seconds_per_step: step,
        seconds_about: step.map(|step| step * launch.frozen.steps as f64 / 0.9),
        first_loss_about: (config.vocab as f64).ln(),
    })
}

fn show(plan: &Plan) {
    println!("device       {}", plan.device);
    println!(
        "model        {} parameters, vocabulary {}, context {}",
        count(plan.parameters as f64),
        plan.vocabulary,
        plan.context
    );
    println!(
        "data         {} tokens to train on, {} to validate on, {} documents ({} empty ones left out)",
        count(plan.train_tokens as f64),
        count(plan.validation_tokens as f64),
        plan.documents,
        plan.empty_documents
    );
    println!(
        "length       {} steps ({}), {:.2} epochs, {} tokens a step in {} micro-batches of {} rows",
        plan.steps, plan.steps_from, plan.epochs, plan.tokens_per_step, plan.micro_batches, plan.micro_rows
    );
    println!(
        "memory       {} for weights, gradients, moments, caches; {} for activations and staging; {}",
        bytes(plan.persistent_bytes),
        bytes(plan.activation_bytes),
        plan.room_bytes.map_or_else(
            || format!("room {}", plan.room_from),
            |room| format!("room for {} ({})", bytes(room), plan.room_from)
        )
    );
    println!(
        "copies       {} in the system's memory, to recover from; {}",
        bytes(plan.host_bytes),
        plan.host_room_bytes
            .map_or("the system does not say what it has".into(), |room| format!("room for {}", bytes(room)))
    );
    println!("disk         {} a checkpoint", bytes(plan.checkpoint_bytes));
    println!("arithmetic   {} FLOP a step", count(plan.flops_per_step));
    if let (Some(step), Some(all)) = (plan.seconds_per_step, plan.seconds_about) {
        println!("time         {:.3} s a step as measured now, about {} in all", step, duration(all));
    }
    println!("expect       a first loss of about {:.2} (the logarithm of the vocabulary)", plan.first_loss_about);
}
