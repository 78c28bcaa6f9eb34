//! The Rust peer: tokens per second of a training step of nanoGPT's two shapes in burn, on its processor backend (flex)
//! or its wgpu backend (WGSL).
//!
//! ```text
//! peer-burn [flex|wgpu] [small|medium] [SECONDS] [ROUNDS]
//! ```
//! A step is forward, backward and AdamW on random tokens of a vocabulary of 65, with the same parameters as the other
//! peers: no biases, head tied to the embedding. There is no clipping: burn clips each tensor for itself, and the
//! global norm would need a read-back. The rounds come twice: with the device waited for after every step, as a
//! program that looks at its loss does, and after every eighth. One JSON object on stdout, with the adapter, the
//! milliseconds of each warm-up step, and the loss after the last step, which shows that it learned.

use burn::module::{Module, Param};
use burn::nn::{
    Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear, LinearConfig, loss::CrossEntropyLoss,
};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Device, DeviceKind, Int, Tensor, activation, module::attention};
use std::time::{Duration, Instant};

const VOCABULARY: usize = 65;

/// Extents of a model and its batch.
#[derive(Clone, Copy)]
struct Shape {
    layers: usize,
    heads: usize,
    width: usize,
    context: usize,
    batch: usize,
}

const SMALL: Shape = Shape { layers: 4, heads: 4, width: 128, context: 64, batch: 12 };
const MEDIUM: Shape = Shape { layers: 6, heads: 6, width: 384, context: 256, batch: 8 };

/// Attention and feed-forward, each behind a norm and added to the stream.
#[derive(Module, Debug)]
struct Layer {
    norm_attention: LayerNorm,
    qkv: Linear,
    out: Linear,
    norm_forward: LayerNorm,
    up: Linear,
    down: Linear,
    heads: usize,
}

impl Layer {
    fn new(shape: Shape, device: &Device) -> Layer {
        let norm = || LayerNormConfig::new(shape.width).with_bias(false).init(device);
        let linear = |from: usize, to: usize| {
            let initializer = Initializer::Normal { mean: 0.0, std: 0.02 };
            LinearConfig::new(from, to).with_bias(false).with_initializer(initializer).init(device)
        };
        let width = shape.width;
        Layer {
            norm_attention: norm(),
            qkv: linear(width, 3 * width),
            out: linear(width, width),
            norm_forward: norm(),
            up: linear(width, 4 * width),
            down: linear(4 * width, width),
            heads: shape.heads,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, time, width] = x.dims();
        let mut parts = self
            .qkv
            .forward(self.norm_attention.forward(x.clone()))
            .chunk(3, 2)
            .into_iter()
            .map(|part| part.reshape([batch, time, self.heads, width / self.heads]).swap_dims(1, 2));
        let mut part = || parts.next().expect("three chunks of qkv");
        let (q, k, v) = (part(), part(), part());
        let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
        let seen = attention(q, k, v, None, None, options).swap_dims(1, 2).reshape([batch, time, width]);
        let x = x + self.out.forward(seen);
        let up = activation::gelu(self.up.forward(self.norm_forward.forward(x.clone())));
        x + self.down.forward(up)
    }
}

/// The decoder.
#[derive(Module, Debug)]
struct Model {
    tokens: Embedding,
    positions: Param<Tensor<2>>,
    layers: Vec<Layer>,
    norm: LayerNorm,
}

impl Model {
    fn new(shape: Shape, device: &Device) -> Model {
        let initializer = Initializer::Normal { mean: 0.0, std: 0.02 };
        Model {
            tokens: EmbeddingConfig::new(VOCABULARY, shape.width).with_initializer(initializer.clone()).init(device),
            positions: initializer.init([shape.context, shape.width], device),
            layers: (0..shape.layers).map(|_| Layer::new(shape, device)).collect(),
            norm: LayerNormConfig::new(shape.width).with_bias(false).init(device),
        }
    }

    fn loss(&self, ids: Tensor<2, Int>, targets: Tensor<1, Int>, criterion: &CrossEntropyLoss) -> Tensor<1> {
        let [batch, time] = ids.dims();
        let mut x = self.tokens.forward(ids) + self.positions.val().unsqueeze::<3>();
        for layer in &self.layers {
            x = layer.forward(x);
        }
        let width = self.tokens.weight.dims()[1];
        let rows = self.norm.forward(x).reshape([batch * time, width]);
        criterion.forward(rows.matmul(self.tokens.weight.val().transpose()), targets)
    }
}

/// Random tokens from a fixed seed (xorshift; the values do not matter, only that they vary).
fn tokens(count: usize) -> Vec<i32> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % VOCABULARY as u64) as i32
    };
    (0..count).map(|_| next()).collect()
}

/// A model in training.
struct Bench {
    model: Model,
    optimizer: ModuleOptimizer,
    criterion: CrossEntropyLoss,
    ids: Tensor<2, Int>,
    targets: Tensor<1, Int>,
    device: Device,
}

impl Bench {
    fn new(shape: Shape, device: Device) -> Bench {
        let n = shape.batch * shape.context;
        let ids = Tensor::<1, Int>::from_ints(tokens(n).as_slice(), &device).reshape([shape.batch, shape.context]);
        Bench {
            model: Model::new(shape, &device),
            optimizer: AdamWConfig::new().with_beta_2(0.99).with_epsilon(1e-8).with_weight_decay(0.1).init(),
            criterion: CrossEntropyLoss::new(None, &device),
            ids,
            targets: Tensor::from_ints(tokens(n).as_slice(), &device),
            device,
        }
    }

    /// One step. The loss is not read back: a training loop that reads it every step would be slower.
    fn step(mut self) -> Bench {
        let loss = self.model.loss(self.ids.clone(), self.targets.clone(), &self.criterion);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.model);
        self.model = self.optimizer.step(1e-3, self.model, gradients);
        self
    }

    fn sync(&self) {
        self.device.sync().expect("the device finishes its work");
    }
}

/// Steps before the rounds: at least `WARM_LEAST`, then until the slowest of the last five took at most 1.3 times the
/// quickest (autotune and the search for fusions are over), and at most `WARM_MOST`. Returns the milliseconds of each.
fn warm(mut bench: Bench) -> (Bench, Vec<f64>) {
    const WARM_LEAST: usize = 12;
    const WARM_MOST: usize = 60;
    let mut each: Vec<f64> = Vec::new();
    while each.len() < WARM_MOST {
        let begin = Instant::now();
        bench = bench.step();
        bench.sync();
        each.push(begin.elapsed().as_secs_f64() * 1e3);
        eprintln!("warm-up step {}: {:.0} ms", each.len(), each[each.len() - 1]);
        if each.len() >= WARM_LEAST {
            let last = &each[each.len() - 5..];
            let slowest = last.iter().copied().fold(0.0, f64::max);
            if slowest <= 1.3 * last.iter().copied().fold(f64::INFINITY, f64::min) {
                break;
            }
        }
    }
    (bench, each)
}

/// Tokens per second of each round, in rising order. The device is waited for after every `wait` steps and at the end
/// of a round.
fn measure(mut bench: Bench, tokens: usize, rounds: u32, seconds: f64, wait: u32) -> (Bench, Vec<f64>) {
    let mut rates: Vec<f64> = Vec::new();
    for _ in 0..rounds {
        let (begin, mut steps) = (Instant::now(), 0u32);
        while steps == 0 || begin.elapsed() < Duration::from_secs_f64(seconds / f64::from(rounds)) {
            for _ in 0..wait {
                bench = bench.step();
            }
            bench.sync();
            steps += wait;
        }
        rates.push(f64::from(steps) * tokens as f64 / begin.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    (bench, rates)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or_else(|| default.to_string());
    let (backend, name) = (word(0, "flex"), word(1, "small"));
    let seconds: f64 = word(2, "10").parse().expect("SECONDS is a number");
    let rounds: u32 = word(3, "5").parse().expect("ROUNDS is a count");
    let device = match backend.as_str() {
        "flex" => Device::flex(),
        "wgpu" => Device::wgpu(DeviceKind::DefaultDevice),
        other => panic!("unknown backend {other}: flex or wgpu"),
    };
    let shape = match name.as_str() {
        "small" => SMALL,
        "medium" => MEDIUM,
        other => panic!("unknown shape {other}: small or medium"),
    };
    let adapter = device.identity().map_or_else(|| "the processor".to_string(), |identity| identity.name);
    let start = Instant::now();
    let (bench, each) = warm(Bench::new(shape, device.autodiff()));
    let settled = start.elapsed();
    let tokens = shape.batch * shape.context;
    let (bench, each_step) = measure(bench, tokens, rounds, seconds, 1);
    let (bench, each_eighth) = measure(bench, tokens, rounds, seconds, 8);
    let loss: f32 = bench.model.loss(bench.ids.clone(), bench.targets.clone(), &bench.criterion).into_scalar();
    let rounded = |x: f64| (x * 10.0).round() / 10.0;
    let line = serde_json::json!({
        "peer": format!("burn 0.22.1 {backend}"),
        "adapter": adapter,
        "shape": name,
        "tokens_per_second_median": rounded(each_step[each_step.len() / 2]),
        "tokens_per_second_best": rounded(each_step[each_step.len() - 1]),
        "waiting_every_eighth_median": rounded(each_eighth[each_eighth.len() / 2]),
        "waiting_every_eighth_best": rounded(each_eighth[each_eighth.len() - 1]),
        "warm_ms": rounded(settled.as_secs_f64() * 1e3),
        "warm_step_ms": each.iter().copied().map(rounded).collect::<Vec<_>>(),
        "loss_at_the_end": loss,
        "parameters": bench.model.num_params(),
    });
    println!("{line}");
}
