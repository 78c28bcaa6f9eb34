//! `pleach plan`: memory, disk, time and data of a pipeline, before anything starts.

use super::run::{PipelineArgs, base_of, launch, opened, own};
use super::{Answer, words};
use crate::show::words::{bytes, count, duration};
use clap::Parser;
use pleach::launch::Launch;
use pleach::pipeline::Kind;
use pleach::runtime::fault::Refusal;
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
    vocabulary: usize,
    /// Stages that are done already.
    done: usize,
    checkpoint_bytes: u64,
    seconds_about: Option<f64>,
    stages: Vec<Planned>,
    /// Stages that can be planned only when another one is done.
    later: Vec<String>,
}

/// What it says of one stage.
#[derive(serde::Serialize)]
struct Planned {
    stage: String,
    parameters: usize,
    context: usize,
    #[serde(flatten)]
    data: Data,
    notes: Vec<String>,
    windows_per_epoch: u64,
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
    flops_per_step: f64,
    seconds_per_step: Option<f64>,
    seconds_about: Option<f64>,
    first_loss_about: Option<f64>,
}

/// What a stage learns from.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Data {
    /// Raw text.
    Text { train_tokens: u64, validation_tokens: u64, documents: u64, empty_documents: u64 },
    /// Records.
    Records { records: usize, train_records: usize, validation_records: usize, trained_share: f64 },
    /// Nothing that is known beforehand.
    Nothing {},
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

fn plan(launch: &Launch) -> Result<Plan, Refusal> {
    // A run that does not fit is not measured.
    let fits = launch.check_fit().is_ok();
    let stages = (0..launch.stages.len()).map(|at| planned(launch, at, fits)).collect::<Result<Vec<_>, _>>()?;
    let left = stages.iter().skip(launch.done).map(|stage| stage.seconds_about);
    Ok(Plan {
        device: launch.why.clone(),
        vocabulary: launch.tokenizer.vocab(),
        done: launch.done,
        checkpoint_bytes: 12 * stages.iter().map(|stage| stage.parameters as u64).max().unwrap_or(0),
        seconds_about: left.sum(),
        stages,
        later: launch.later(),
    })
}

fn planned(launch: &Launch, at: usize, fits: bool) -> Result<Planned, Refusal> {
    let needs = launch.needs(at).map_err(words)?;
    let (stage, frozen) = (&launch.stages[at], &launch.frozen.stages[at]);
    let (config, choice) = (stage.config(), &stage.choice);
    let weights = parameters(config);
    let step = if fits { Some(launch.step_seconds(at).map_err(words)?) } else { None };
    let tokens = choice.batch * config.context;
    let attention = 12.0 * config.layers as f64 * config.q_width() as f64 * config.context as f64 / 2.0;
    let embedded = if config.tied { 0 } else { config.vocab * config.width };
    let data = match (&stage.prepared, &stage.loaded) {
        (Some(text), _) => Data::Text {
            train_tokens: text.train_tokens,
            validation_tokens: text.validation_tokens,
            documents: text.documents,
            empty_documents: text.empty,
        },
        (_, Some(loaded)) => Data::Records {
            records: loaded.figures.records as usize,
            train_records: loaded.train.len(),
            validation_records: loaded.validation.len(),
            trained_share: loaded.figures.trained_share(),
        },
        _ => Data::Nothing {},
    };
    Ok(Planned {
        stage: stage.folder.clone(),
        parameters: weights,
        context: config.context,
        data,
        notes: stage.notes.clone(),
        windows_per_epoch: stage.epoch,
        steps: frozen.steps,
        steps_from: frozen.steps_from.clone(),
        epochs: frozen.steps as f64 / stage.epoch.max(1) as f64,
        tokens_per_step: tokens,
        micro_rows: frozen.micro_rows,
        micro_batches: choice.batch.div_ceil(frozen.micro_rows),
        persistent_bytes: needs.persistent,
        activation_bytes: needs.activations,
        host_bytes: needs.host,
        room_bytes: needs.room.bytes,
        room_from: needs.room.from,
        host_room_bytes: needs.host_room.bytes,
        flops_per_step: (6.0 * (weights - embedded) as f64 + attention) * tokens as f64,
        seconds_per_step: step,
        seconds_about: step.map(|step| step * frozen.steps as f64 / 0.9),
        first_loss_about: (choice.kind == Kind::Pretrain).then(|| (config.vocab as f64).ln()),
    })
}

fn show(plan: &Plan) {
    println!("device       {}", plan.device);
    for (at, stage) in plan.stages.iter().enumerate() {
        let done = if at < plan.done { "   (done)" } else { "" };
        println!("\n{}{done}", stage.stage);
        show_stage(stage, plan.vocabulary);
    }
    for folder in &plan.later {
        println!("\n{folder}\nlater        it is planned when the stage above it has collected what it learns from");
    }
    println!();
    println!("disk         {} a checkpoint", bytes(plan.checkpoint_bytes));
    if let Some(all) = plan.seconds_about {
        println!("time         about {} in all", duration(all));
    }
}

fn show_stage(plan: &Planned, vocabulary: usize) {
    if plan.windows_per_epoch == 0 {
        return println!("people       the model answers, and its answers are ranked; nothing is trained");
    }
    println!(
        "model        {} parameters, vocabulary {vocabulary}, context {}",
        count(plan.parameters as f64),
        plan.context
    );
    match &plan.data {
        Data::Text { train_tokens, validation_tokens, documents, empty_documents } => println!(
            "data         {} tokens to train on, {} to validate on, {documents} documents ({empty_documents} empty \
             ones left out)",
            count(*train_tokens as f64),
            count(*validation_tokens as f64),
        ),
        Data::Records { records, train_records, validation_records, trained_share } => println!(
            "data         {records} records: {train_records} to train on, {validation_records} to validate on, {:.0} % \
             of their tokens are learned",
            100.0 * trained_share
        ),
        Data::Nothing {} => {}
    }
    for note in &plan.notes {
        println!("             {note}");
    }
    println!(
        "length       {} steps ({}), {:.2} epochs, up to {} tokens a step in {} micro-batches of {} rows",
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
    println!("arithmetic   {} FLOP a step", count(plan.flops_per_step));
    if let (Some(step), Some(all)) = (plan.seconds_per_step, plan.seconds_about) {
        println!("time         {:.3} s a step as measured now, about {} in all", step, duration(all));
    }
    if let Some(loss) = plan.first_loss_about {
        println!("expect       a first loss of about {loss:.2} (the logarithm of the vocabulary)");
    }
}
