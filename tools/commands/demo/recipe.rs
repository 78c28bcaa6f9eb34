//! The demo's pipeline as a file that a person can read, change and run.

use super::{Args, OPENING};
use pleach::data::world::ladder::{CONTEXT, HEADS, LAYERS, RANKED, RUNGS, Rung, VOCAB, WIDTH, sample};
use pleach::data::world::{Excerpt, Material};
use pleach::judge::SHOWCASE;
use pleach::pipeline::Kind;

/// Minutes that the recipe as it is written down takes two idle cores; its counts grow and shrink with the minutes.
pub const MINUTES: f64 = 15.0;

/// The kinds of the ladder, from the bottom up.
pub const KINDS: [Kind; 6] = [Kind::Pretrain, Kind::Continued, Kind::Finetune, Kind::Instruct, Kind::Rank, Kind::Dpo];

/// The whole ladder, or as much of it as was asked for.
pub fn ladder(args: &Args, name: &str) -> String {
    let scale = args.minutes() / MINUTES;
    let last = args.until.unwrap_or(Kind::Dpo);
    let wanted = KINDS.iter().position(|kind| *kind == last).map_or(KINDS.len(), |at| at + 1);
    let mut out = format!(
        "# The demo of Pleach. A stage is entered with the model that the stage above it leaves. Documents of the little \
         world\n# are named world:KIND:COUNT:SEED:FIRST.\n{}",
        top(args, name, CONTEXT)
    );
    for rung in RUNGS.iter().take(wanted) {
        out.push_str(&stage(rung, scale, args.seed));
    }
    if wanted > RUNGS.len() {
        out.push_str(&ranking(scale, args.seed));
    }
    if wanted > RUNGS.len() + 1 {
        out.push_str(&preferences());
    }
    out
}

/// What stands above the stages.
fn top(args: &Args, name: &str, context: usize) -> String {
    format!(
        "name = {}\nseed = {}\ndevice = {}\nthreads = {}\n\n[model]\nshape = \"qwen3\"\nlayers = {LAYERS}\nwidth = {WIDTH}\n\
         heads = {HEADS}\ncontext = {context}\n",
        quoted(name),
        args.seed,
        quoted(&args.device.device),
        args.device.threads,
    )
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The names of documents, a line each where they are many.
fn list(excerpts: &[Excerpt]) -> String {
    let names: Vec<String> = excerpts.iter().map(|excerpt| quoted(&excerpt.name())).collect();
    match names.as_slice() {
        [one] => one.clone(),
        many => format!("[\n  {},\n]", many.join(",\n  ")),
    }
}

/// How the documents of a rung stand in its stage.
fn stage(rung: &Rung, scale: f64, seed: u64) -> String {
    let excerpts = rung.excerpts(scale, seed);
    let openings = "[\"One morning\", \"In spring\", \"The gardener\"]".to_string();
    let (why, data, prompts) = match Kind::of(rung.stage).unwrap_or_default() {
        Kind::Continued => {
            let (general, domain): (Vec<Excerpt>, Vec<Excerpt>) =
                excerpts.into_iter().partition(|excerpt| excerpt.material == Material::Stories);
            let replay = rung.mix.iter().find(|(material, _)| *material == Material::Stories).map_or(0.0, |mix| mix.1);
            let why = "Manuals, with facts that no story tells. General stories among them hold what was learned.";
            (why, format!("data = {}\ngeneral = {}\nreplay = {replay}\n", list(&domain), list(&general)), openings)
        }
        Kind::Finetune => {
            let why = "One narrow task: notes to JSON. Only the answers are learned, and some texts as a whole.";
            let note = format!("[{}]", quoted(&format!("{}\n", SHOWCASE[2])));
            (why, format!("data = {}\ntexts = true\n", list(&excerpts)), note)
        }
        Kind::Instruct => {
            let why = "Many kinds of instruction, as conversations; what was learned before is kept up beside them.";
            let asked = format!("[{}, {}]", quoted(SHOWCASE[0]), quoted(SHOWCASE[1]));
            (why, format!("data = {}\ntexts = true\n", list(&excerpts)), asked)
        }
        _ => {
            let why = "General stories, from random weights. The vocabulary knows the words of all stages.";
            let words = list(&sample(seed));
            (why, format!("data = {}\nvocab = {VOCAB}\nvocab_data = {words}\n", list(&excerpts)), openings)
        }
    };
    format!(
        "\n# {why}\n[[stage]]\nkind = \"{}\"\n{data}valid = 0.02\nepochs = 1.0\nbatch = {}\nlearning_rate = {:?}\nfloor = {:?}\n\
         beta2 = 0.95\nweight_decay = 0.1\nsave_minutes = 1.0\nprompts = {prompts}\nsample_tokens = 48\n",
        rung.stage, rung.batch, rung.learning_rate, rung.floor
    )
}

/// The model's own answers, in the order of a rater who says that it is none of people.
fn ranking(scale: f64, seed: u64) -> String {
    let count = (RANKED.prompts as f64 * scale).ceil() as u64;
    let prompts = Excerpt { material: Material::Prompts, seed, first: RANKED.first, count };
    format!(
        "\n# The model answers prompts, and a simulated rater ranks: truthful, safe, unbiased, polite; wrong one time in \
         ten.\n# With rater = \"people\" the run opens the ranking page instead.\n[[stage]]\nkind = \"rank\"\ndata = {}\n\
         rater = \"simulated\"\ncompletions = {}\ncompletion_tokens = 40\ntemperature = {:?}\ntop_p = 1.0\n",
        list(&[prompts]),
        RANKED.samples,
        RANKED.temperature,
    )
}

/// What is learned from the rankings.
fn preferences() -> String {
    format!(
        "\n# The better answer of each pair rather than the worse one, held to the model that gave them.\n[[stage]]\n\
         kind = \"dpo\"\ndata = \"rankings\"\nvalid = 0.02\nepochs = 1.0\nbatch = {}\nlearning_rate = {:?}\nfloor = 0.05\n\
         beta = {:?}\nbeta2 = 0.95\nweight_decay = 0.1\nsave_minutes = 1.0\nprompts = [{}, {}]\nsample_tokens = 48\n",
        RANKED.batch,
        RANKED.learning_rate,
        RANKED.beta,
        quoted(SHOWCASE[0]),
        quoted(SHOWCASE[1]),
    )
}

/// Pretraining alone, on a person's text.
pub fn text(args: &Args, name: &str, text: &std::path::Path) -> String {
    format!(
        "{}\n[[stage]]\nkind = \"pretrain\"\ndata = {}\nvocab = {VOCAB}\nvalid = 0.02\nbatch = 16\nminutes = {:?}\n\
         learning_rate = 4e-3\nsave_minutes = 1.0\nprompts = [{}]\nsample_tokens = 48\n",
        top(args, name, 128),
        quoted(&text.display().to_string()),
        args.minutes(),
        quoted(OPENING),
    )
}
