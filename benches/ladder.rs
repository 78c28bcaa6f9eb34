//! Climbs the ladder of the little world on a bare engine, without supervision, and judges the model after each stage:
//! how the figures of `stages/data/world/ladder.rs` come out.
//!
//! `cargo bench --bench ladder -- [scale] [threads] [folder]`: `scale` times the recipe's tokens (1), all threads (0);
//! where a folder is named, the weights after each stage are kept there, and stages that are there already are passed
//! over. One line of JSON for each stage.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use pleach::data::Tokenizer;
use pleach::data::mask::{ChatEncoder, Encoded, Turns};
use pleach::data::random::Permutation;
use pleach::data::records::{Completion, Conversation, Message, Pair, Role as Speaker, Said};
use pleach::data::table::{pack, row};
use pleach::data::template::Template;
use pleach::data::tokenizer::{TrainOptions, train};
use pleach::data::world::Side;
use pleach::data::world::ladder::{CONTEXT, HEADS, LAYERS, RANKED, RUNGS, Rung, VOCAB, WIDTH, sample};
use pleach::data::world::manuals::Manuals;
use pleach::data::world::preferences::{Prompt, Prompts, SimulatedRater};
use pleach::judge::preferences::{Judged, win_rate};
use pleach::judge::{Counts, Judge, SEED};
use pleach::loss::next_token::NextToken;
use pleach::loss::pairs::{Pairs, REFERENCE};
use pleach::loss::preference::Preference;
use pleach::runtime::device::choose::{Wish, choose, open};
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::generation::Sampling;
use pleach::runtime::engine::layout::{AdamW, POLICY, Role, Shapes, halves, head_chunk};
use pleach::runtime::engine::state::HostState;
use pleach::runtime::model::config::ModelConfig;
use pleach::runtime::schedule::{Decay, Schedule};
use pleach::runtime::shaders::spec::Tick;
use pleach::runtime::stage::{Group, Loss, Row, Window};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The seed of the world, the weights and the orders.
const WORLD: u64 = 1;

struct Climb {
    tokenizer: Tokenizer,
    template: Template,
    engine: Engine,
    scale: f64,
    folder: Option<PathBuf>,
    before: Vec<Judged>,
}

fn shapes(config: &ModelConfig) -> Shapes {
    let rows = 4096 / CONTEXT;
    Shapes {
        micro_rows: rows,
        context: CONTEXT,
        buckets: halves(rows * CONTEXT),
        streams: 32,
        sequence: CONTEXT,
        prefill: 64,
        head_chunk: head_chunk(config.vocab, rows * CONTEXT),
        recompute: false,
    }
}

impl Climb {
    fn new(scale: f64, threads: usize, folder: Option<PathBuf>) -> Climb {
        let options = TrainOptions { vocab: VOCAB, ..TrainOptions::default() };
        let words = sample(WORLD).into_iter().flat_map(|excerpt| excerpt.texts()).collect();
        let tokenizer = train(words, &options).unwrap();
        let template = Template::chatml(&tokenizer).unwrap();
        let config = ModelConfig::qwen3(tokenizer.vocab(), CONTEXT, WIDTH, LAYERS, HEADS, HEADS);
        let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.1 };
        let (chosen, _) = choose(&Wish::parse("cpu").unwrap(), threads);
        let roles = [Role::policy(&config), Role::reference(&config)];
        let mut engine = Engine::new(open(&chosen).unwrap(), &roles, &shapes(&config), &adamw).unwrap();
        engine.begin(POLICY, WORLD).unwrap();
        Climb { tokenizer, template, engine, scale, folder, before: Vec::new() }
    }

    fn encoder(&self) -> ChatEncoder<'_> {
        ChatEncoder::new(&self.tokenizer, &self.template, Turns::All)
    }

    /// A line of the recipe as ids and mask; of a text, all is learned.
    fn encoded(&self, line: &str) -> Encoded {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| Said::Text(value[key].as_str().unwrap_or_default().to_owned());
        let Some(messages) = value["messages"].as_array() else {
            let (prompt, completion) = match value["text"].is_string() {
                true => (Said::Text(String::new()), text("text")),
                false => (text("prompt"), text("completion")),
            };
            return self
                .encoder()
                .completion(&Completion { prompt, completion, tools: None })
                .unwrap()
                .cut(CONTEXT + 1);
        };
        let message = |message: &serde_json::Value| {
            let said = |key: &str| message[key].as_str().unwrap();
            let role = Speaker::ALL.into_iter().find(|role| role.name() == said("role")).unwrap();
            Message::new(role, said("content"))
        };
        let messages = messages.iter().map(message).collect();
        self.encoder().conversation(&Conversation { messages, tools: None, documents: None }).unwrap()
    }

    /// The documents of a stage, mixed, and packed into rows.
    fn rows(&self, rung: &Rung) -> Vec<Row> {
        let excerpts = rung.excerpts(self.scale, WORLD);
        let lines: Vec<String> = excerpts.into_iter().flat_map(|excerpt| excerpt.lines()).collect();
        let mixed = |rows: u64| Permutation::new(rows, rung.first ^ WORLD);
        let order = mixed(lines.len() as u64);
        let mut records = Vec::with_capacity(lines.len());
        for index in 0..lines.len() as u64 {
            records.push(self.encoded(&lines[order.at(index) as usize]));
        }
        pack(&records, CONTEXT).unwrap()
    }

    /// One optimizer step: the loss.
    fn step(&mut self, step: u64, schedule: &Schedule, window: &mut Window, loss: &dyn Loss) -> f64 {
        let bias = |beta: f64| (1.0 - beta.powi(step as i32)) as f32;
        let mut tick = Tick {
            step: step as u32,
            draw: step as u32,
            learning_rate: schedule.rate(step) as f32,
            bias1: bias(0.9),
            bias2: bias(0.95),
            clip: 1.0,
            ..Tick::default()
        };
        let memory = Default::default();
        let derivatives = match loss.known(window) {
            Some(known) => known,
            None => {
                window.given = vec![Arc::new(self.engine.evaluate(REFERENCE, window).unwrap())];
                let numbers = self.engine.look(POLICY, window).unwrap();
                loss.evaluate(window, &numbers, &memory).unwrap().derivatives
            }
        };
        let learned = self.engine.learn(POLICY, window, &derivatives, &tick).unwrap();
        tick.clip = (1.0 / (learned.gradient_norm + 1e-6)).min(1.0) as f32;
        self.engine.update(POLICY, &tick).unwrap();
        loss.evaluate(window, &learned.numbers, &memory).unwrap().loss
    }

    /// Learns windows; seconds, tokens, and the mean loss of the last tenth.
    fn learn(&mut self, windows: Vec<Window>, rate: f64, floor: f64, loss: &dyn Loss) -> (f64, usize, f64) {
        let steps = windows.len() as u64;
        let warmup = (steps / 20).min(200);
        let schedule = Schedule { learning_rate: rate, floor, warmup, steps, decay: Decay::Cosine };
        let (began, mut tokens, mut losses) = (Instant::now(), 0, Vec::new());
        for (index, mut window) in windows.into_iter().enumerate() {
            tokens += window.tokens();
            losses.push(self.step(index as u64 + 1, &schedule, &mut window, loss));
        }
        let last = &losses[losses.len() - losses.len().div_ceil(10)..];
        (began.elapsed().as_secs_f64(), tokens, last.iter().sum::<f64>() / last.len() as f64)
    }

    /// A stage of documents.
    fn rung(&mut self, rung: &Rung) {
        if self.kept(rung.stage) {
            return;
        }
        let rows = self.rows(rung);
        let windows = rows.chunks_exact(rung.batch).map(|rows| Window::new(CONTEXT, rows.to_vec())).collect();
        let learned = self.learn(windows, rung.learning_rate, rung.floor, &NextToken);
        self.judge(rung.stage, learned);
    }

    /// Answers sampled from the model, ranked by the simulated rater: the pairs as windows.
    fn ranked(&mut self) -> Vec<Window> {
        let prompts: Vec<Prompt> = (0..(RANKED.prompts as f64 * self.scale) as u64)
            .map(|number| Prompts::new(WORLD, Side::Seen).prompt(RANKED.first + number))
            .collect();
        let user = |prompt: &Prompt| Said::Messages(vec![Message::new(Speaker::User, prompt.text.clone())]);
        let asked = |prompt| std::iter::repeat_n(self.encoder().prompt(&user(prompt), None).unwrap(), RANKED.samples);
        let ids: Vec<Vec<u32>> = prompts.iter().flat_map(asked).collect();
        let sampling = Sampling {
            temperature: RANKED.temperature,
            top_p: 1.0,
            seed: WORLD,
            max_tokens: pleach::judge::preferences::ANSWER,
            ..Sampling::default()
        };
        let stops = self.encoder().stops();
        let generated = self.engine.generate(&ids, &sampling, &stops, &mut |_, _| true).unwrap();
        let answers: Vec<String> = generated.iter().map(|one| self.tokenizer.decode(&one.tokens)).collect();
        let (rater, mut pairs) = (SimulatedRater::new(WORLD), Vec::new());
        for (number, (prompt, answers)) in prompts.iter().zip(answers.chunks(RANKED.samples)).enumerate() {
            let ranks = rater.rank(prompt, answers, number as u64).ranks;
            for (better, worse) in (0..ranks.len()).flat_map(|left| (0..ranks.len()).map(move |right| (left, right))) {
                if ranks[better] < ranks[worse] {
                    let said = |at: usize| Said::Messages(vec![Message::new(Speaker::Assistant, answers[at].clone())]);
                    let (chosen, rejected) = (said(better), said(worse));
                    let pair = Pair { prompt: user(prompt), chosen, rejected, margin: None, tools: None };
                    pairs.push(self.encoder().pair(&pair).unwrap());
                }
            }
        }
        let order = Permutation::new(pairs.len() as u64, WORLD);
        let order: Vec<usize> = (0..pairs.len() as u64).map(|at| order.at(at) as usize).collect();
        let window = |places: &[usize]| {
            let mut window = Window::new(CONTEXT, Vec::new());
            for &place in places {
                let at = window.rows.len();
                let sides = [&pairs[place].chosen, &pairs[place].rejected];
                window.rows.extend(sides.map(|side| row(side, CONTEXT, at as u64, "a pair").unwrap()));
                window.groups.push(Group { rows: at..at + 2, facts: Vec::new() });
            }
            window
        };
        order.chunks(RANKED.batch).map(window).collect()
    }

    /// DPO on the simulated rater's rankings.
    fn dpo(&mut self) {
        let began = Instant::now();
        let entry = self.engine.state(POLICY).unwrap();
        self.engine.restore(REFERENCE, &HostState { weights: entry.weights, ..HostState::default() }).unwrap();
        let windows = self.ranked();
        let loss = Pairs { objective: Preference::Sigmoid { beta: RANKED.beta, label_smoothing: 0.0 } };
        self.forget();
        let (_, tokens, last) = self.learn(windows, RANKED.learning_rate, 0.05, &loss);
        self.judge("dpo", (began.elapsed().as_secs_f64(), tokens, last));
    }

    /// Zeroes the moments.
    fn forget(&mut self) {
        let state = self.engine.state(POLICY).unwrap();
        self.engine.restore(POLICY, &HostState { weights: state.weights, ..HostState::default() }).unwrap();
    }

    fn judge(&mut self, stage: &str, (seconds, tokens, loss): (f64, usize, f64)) {
        let began = Instant::now();
        let mut judge = Judge::new(&mut self.engine, &self.tokenizer, &self.template);
        let card = judge.card((WORLD, 1 << 40), &Manuals::new(WORLD), &Counts::TABLE).unwrap();
        let mut line =
            serde_json::json!({"stage": stage, "seconds": seconds, "tokens": tokens, "loss": loss, "card": card});
        if stage == "continued" {
            let shots = [
                judge.notes_by_examples(SEED, Counts::TABLE.notes).unwrap().exact,
                judge.instructions_by_examples(SEED, Counts::TABLE.dialogues).unwrap().score,
            ];
            line["by_examples"] = serde_json::json!({"notes": shots[0], "instructions": shots[1]});
        }
        if stage == "dpo" {
            line["kl"] = serde_json::json!(judge.kl(REFERENCE, &card.judged).unwrap());
        }
        if !self.before.is_empty() {
            line["win_rate"] = serde_json::json!(win_rate(&card.judged, &self.before));
        }
        line["judged_seconds"] = serde_json::json!(began.elapsed().as_secs_f64());
        self.before = card.judged;
        println!("{line}");
        self.forget();
        self.keep(stage);
    }

    fn keep(&mut self, stage: &str) {
        let Some(folder) = &self.folder else { return };
        let state = self.engine.state(POLICY).unwrap();
        let numbers = state.weights.iter().flat_map(|tensor| &tensor.data);
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(stage), numbers.flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    }

    /// Takes up the weights after a stage, where they are kept.
    fn kept(&mut self, stage: &str) -> bool {
        let Some(Ok(bytes)) = self.folder.as_ref().map(|folder| std::fs::read(folder.join(stage))) else {
            return false;
        };
        let mut numbers = bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap()));
        let mut state = HostState { weights: self.engine.state(POLICY).unwrap().weights, ..HostState::default() };
        let places = state.weights.iter_mut().flat_map(|tensor| &mut tensor.data);
        places.for_each(|place| *place = numbers.next().unwrap());
        self.engine.restore(POLICY, &state).unwrap();
        let mut judge = Judge::new(&mut self.engine, &self.tokenizer, &self.template);
        self.before = judge.conduct(SEED, Counts::TABLE.prompts).unwrap();
        true
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let number = |at: usize, otherwise: f64| words.get(at).map_or(otherwise, |word| word.parse().unwrap());
    let mut climb = Climb::new(number(0, 1.0), number(1, 0.0) as usize, words.get(2).map(PathBuf::from));
    for rung in &RUNGS {
        climb.rung(rung);
    }
    climb.dpo();
}
