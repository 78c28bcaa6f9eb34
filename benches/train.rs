//! Tokens per second of a whole training step of nanoGPT's shapes, on any device: what stands beside the peers.
//!
//! `cargo bench --bench train -- [cpu|software|gpu|INDEX] [small|medium|gpt2] [threads] [seconds of a round]`. One JSON
//! object on stdout: tokens/s (median and best of five rounds), seconds from the start to the end of the first step,
//! bytes predicted and held.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use pleach::loss::next_token::NextToken;
use pleach::runtime::device::choose::{Wish, choose, open};
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::layout::{AdamW, Layout, POLICY, Role, Shapes, head_chunk};
use pleach::runtime::model::config::ModelConfig;
use pleach::runtime::shaders::spec::Tick;
use pleach::runtime::stage::{Loss, Row, Window};
use std::time::Instant;

/// Rounds.
const ROUNDS: usize = 5;

fn shape(name: &str) -> (ModelConfig, usize) {
    match name {
        "medium" => (ModelConfig::gpt2(65, 256, 384, 6, 6, false), 8),
        "gpt2" => (ModelConfig::gpt2(50257, 1024, 768, 12, 12, false), 8),
        _ => (ModelConfig::gpt2(65, 64, 128, 4, 4, false), 12),
    }
}

fn window(config: &ModelConfig, rows: usize, draw: u64) -> Window {
    let row = |r: usize| {
        let token =
            |t: usize| ((t as u64 * 2_654_435_761 + r as u64 * 97 + draw * 31) >> 7) as u32 % config.vocab as u32;
        Row {
            tokens: (0..=config.context).map(token).collect(),
            weights: vec![1.0; config.context],
            segments: vec![0; config.context],
            key: draw * rows as u64 + r as u64,
        }
    };
    Window::new(config.context, (0..rows).map(row).collect())
}

/// A line of /proc/self/status in bytes; 0 where there is no such file.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line)).unwrap_or("");
    found.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>().unwrap_or(0) * 1024
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let word = |at: usize, otherwise: &str| arguments.get(at).cloned().unwrap_or_else(|| otherwise.to_string());
    let (device, name) = (word(0, "cpu"), word(1, "small"));
    let (threads, seconds): (usize, f64) = (word(2, "0").parse().unwrap(), word(3, "4").parse().unwrap());
    let (config, rows) = shape(&name);
    let shapes = Shapes {
        micro_rows: rows,
        buckets: Vec::new(),
        context: config.context,
        streams: 1,
        sequence: config.context,
        prefill: 16,
        head_chunk: head_chunk(config.vocab, rows * config.context),
        recompute: false,
    };
    let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, decay: 0.1 };
    let began = Instant::now();
    let (chosen, _) = choose(&Wish::parse(&device).unwrap(), threads);
    let opened = open(&chosen).unwrap();
    let predicted = Layout::predict(&[Role::policy(&config)], &shapes, &adamw, &*opened).unwrap();
    let before = resident("VmRSS:");
    let mut engine = Engine::new(opened, &[Role::policy(&config)], &shapes, &adamw).unwrap();
    engine.begin(POLICY, 1).unwrap();
    let mut step = 0u32;
    let mut one = |engine: &mut Engine| {
        step += 1;
        let window = window(&config, rows, u64::from(step));
        let derivatives = NextToken.known(&window).unwrap();
        let bias = |beta: f32| 1.0 - beta.powi(step as i32);
        let mut tick = Tick {
            step,
            draw: step,
            learning_rate: 1e-3,
            bias1: bias(0.9),
            bias2: bias(0.99),
            clip: 1.0,
            ..Tick::default()
        };
        let learned = engine.learn(POLICY, &window, &derivatives, &tick).unwrap();
        tick.clip = (1.0 / (learned.gradient_norm + 1e-6)).min(1.0) as f32;
        engine.update(POLICY, &tick).unwrap();
        NextToken.evaluate(&window, &learned.numbers, &Default::default()).unwrap().loss
    };
    let first_loss = one(&mut engine);
    let first = began.elapsed().as_secs_f64();
    one(&mut engine);
    let tokens = (rows * config.context) as f64;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (round, mut count) = (Instant::now(), 0.0);
        while round.elapsed().as_secs_f64() < seconds {
            one(&mut engine);
            count += 1.0;
        }
        rates.push(count * tokens / round.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let held = engine.held();
    println!(
        "{{\"device\": {:?}, \"shape\": {name:?}, \"tokens_per_second\": {:.0}, \"best\": {:.0}, \"first_step_s\": {first:.2}, \
         \"first_loss\": {first_loss:.4}, \"predicted_bytes\": {}, \"held_bytes\": {}, \
         \"resident_growth\": {}}}",
        engine.device().facts().name,
        rates[ROUNDS / 2],
        rates[ROUNDS - 1],
        predicted.0 + predicted.1,
        held.total(),
        resident("VmHWM:").saturating_sub(before)
    );
}
