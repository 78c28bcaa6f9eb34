//! Every op of a training step of nanoGPT's shapes on any device, one by one: time, rates, the step they add up to.
//!
//! `cargo bench --bench step [-- [cpu|software|gpu|INDEX] [threads] [SHAPE ...]]`. The rate of a plain product, taken
//! in the same run, is the yardstick: the machine may be busy. `square` is no model but products of 1024, 2048 and
//! 4096. A gpu gets each call many times in one program, so that no submission is measured.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;

use pleach_runtime::device::Device;
use pleach_runtime::device::choose::{Wish, choose, open};
use pleach_runtime::engine::layout::head_chunk;
use pleach_runtime::tape::Program;
use pleach_shaders::spec::{Call, Dtype, Shape, Tensor, Tick};
use pleach_shaders::{activation, adamw, add, attention, embed, head, layer_norm, matmul, norm_sq, reduce, sink};

/// A model as nanoGPT has it.
struct Model {
    name: &'static str,
    layers: usize,
    heads: usize,
    width: usize,
    context: usize,
    batch: usize,
    vocabulary: usize,
}

const MODELS: [Model; 3] = [
    Model { name: "small", layers: 4, heads: 4, width: 128, context: 64, batch: 12, vocabulary: 65 },
    Model { name: "medium", layers: 6, heads: 6, width: 384, context: 256, batch: 8, vocabulary: 65 },
    Model { name: "gpt2", layers: 12, heads: 12, width: 768, context: 1024, batch: 8, vocabulary: 50257 },
];

/// Most copies of a call in a gpu's program.
const COPIES: usize = 100;

/// The device, and how calls are built on it.
struct Bench {
    device: Box<dyn Device>,
    kept: Vec<Tensor>,
    total: f64,
    flops: f64,
}

impl Bench {
    fn fill(&mut self, shape: &[usize], words: impl Fn(usize) -> u32, dtype: Dtype) -> Tensor {
        let t = self.device.allocate("bench", Shape::new(shape), dtype).unwrap();
        let words: Vec<u32> = (0..t.shape.len()).map(words).collect();
        self.device.write(t, 0, &words).unwrap();
        self.kept.push(t);
        t
    }
    /// Gives back what was allocated so far.
    fn free(&mut self) {
        self.kept.drain(..).for_each(|t| self.device.free(t));
    }
    /// Seconds of the best of several runs of a program of so many copies of a call, and until they are done.
    fn best(&mut self, call: &Call, copies: usize, runs: usize, seconds: f64) -> f64 {
        let calls = vec![call.clone(); copies];
        let program = Program { name: call.op.name.into(), calls, activations: vec![], splits: vec![] };
        let id = self.device.build(&[program]).unwrap()[0];
        let tick = Tick { learning_rate: 1e-9, bias1: 0.5, bias2: 0.5, clip: 1.0, ..Tick::default() };
        let (mut best, start, mut count) = (f64::MAX, Instant::now(), 0);
        while count < runs || start.elapsed().as_secs_f64() < seconds {
            let begin = Instant::now();
            self.device.run(id, 0, &tick).unwrap();
            self.device.settle().unwrap();
            best = best.min(begin.elapsed().as_secs_f64());
            count += 1;
        }
        best
    }
    /// Numbers in [-0.5, 0.5).
    fn noise(&mut self, shape: &[usize]) -> Tensor {
        let word = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0 - 0.5;
        self.fill(shape, |i| word(i).to_bits(), Dtype::F32)
    }
    /// Times a call, prints its rates, and adds it to the step `count` times.
    fn time(&mut self, count: usize, call: Call) -> f64 {
        let cost = (call.op.cost)(&call);
        let name = call.op.name;
        let shapes: Vec<String> = call.reads.iter().take(2).map(|t| format!("{:?}", t.shape)).collect();
        let best = if self.device.facts().kind == "cpu" {
            self.best(&call, 1, 5, 0.15)
        } else {
            let one = self.best(&call, 1, 3, 0.0);
            let copies = ((0.03 / one) as usize).clamp(1, COPIES);
            self.best(&call, copies, 4, 0.05) / copies as f64
        };
        self.total += best * count as f64;
        self.flops += cost.flops * count as f64;
        println!(
            "  {name:22} x{count:<3} {:9.1} us  {:7.1} GFLOP/s {:6.1} GB/s  {}",
            best * 1e6,
            cost.flops / best / 1e9,
            cost.bytes / best / 1e9,
            shapes.join(" ")
        );
        cost.flops / best / 1e9
    }
    /// Forward, dx and dw of a product; returns the rate of the forward product.
    fn product(&mut self, count: usize, n: usize, k: usize, m: usize, active: bool, residual: bool) -> f64 {
        let (x, w, y) = (self.noise(&[n, k]), self.noise(&[m, k]), self.noise(&[n, m]));
        let (z, rest, none) = (self.noise(&[n, m]), self.noise(&[n, m]), Tensor::none());
        let p = matmul::Params {
            n: n as u32,
            k: k as u32,
            m: m as u32,
            scale: 1.0,
            activation: u32::from(active),
            bias: 0,
            residual: u32::from(residual),
            acc: 0,
        };
        let rest = if residual { rest } else { none };
        let writes = if active { vec![y, z] } else { vec![y] };
        let rate = self.time(count, Call::new(&matmul::FORWARD, &p, &[x, w, none, rest], &writes));
        let (dx, dw) = (self.noise(&[n, k]), self.noise(&[m, k]));
        let p = matmul::Params { activation: 0, residual: 0, ..p };
        self.time(count, Call::new(&matmul::DX, &p, &[y, w], &[dx]));
        self.time(count, Call::new(&matmul::DW, &matmul::Params { acc: 1, ..p }, &[y, x], &[dw]));
        rate
    }
}

fn norms_and_activation(b: &mut Bench, m: &Model, n: usize) {
    let c = m.width;
    let (x, gain, y, stats) = (b.noise(&[n, c]), b.noise(&[c]), b.noise(&[n, c]), b.noise(&[n, 2]));
    let (dx, dgain, none) = (b.noise(&[n, c]), b.noise(&[c]), Tensor::none());
    let p =
        layer_norm::Params { n: n as u32, c: c as u32, eps: 1e-5, bias: 0, dx: sink::ADD, dgain: sink::ADD, dbias: 0 };
    b.time(2 * m.layers + 1, Call::new(&layer_norm::FORWARD, &p, &[x, gain, none], &[y, stats]));
    b.time(2 * m.layers + 1, Call::new(&layer_norm::BACKWARD, &p, &[y, x, gain, stats], &[dx, dgain, none]));
    let (dz, z, out) = (b.noise(&[n, 4 * c]), b.noise(&[n, 4 * c]), b.noise(&[n, 4 * c]));
    let p = activation::Params { len: (n * 4 * c) as u32, kind: 1 };
    b.time(m.layers, Call::new(&activation::BACKWARD, &p, &[dz, z], &[out]));
    b.time(0, Call::new(&activation::FORWARD, &p, &[z], &[out]));
    let sums = b.noise(&[4 * c]);
    b.time(0, reduce::columns_call(z, sums, true));
    let (a, s) = (b.noise(&[n, c]), b.noise(&[n, c]));
    b.time(m.layers, add::accumulate_call(a, s, 1.0));
}

fn attend(b: &mut Bench, m: &Model, n: usize) {
    let (c, d, t) = (m.width, m.width / m.heads, m.context);
    let (qkv, y, dy, lse) = (b.noise(&[n, 3 * c]), b.noise(&[n, c]), b.noise(&[n, c]), b.noise(&[n, m.heads]));
    let dqkv = b.noise(&[n, 3 * c]);
    let span = |i: usize| {
        let (row, start) = (i / 4, i / 4 / t * t);
        [start, row + 1, row, start + t][i % 4] as u32
    };
    let spans = b.fill(&[n, 4], span, Dtype::U32);
    let p = attention::Params {
        n: n as u32,
        m: n as u32,
        heads: m.heads as u32,
        kv_heads: m.heads as u32,
        head_dim: d as u32,
        q_stride: 3 * c as u32,
        kv_stride: 3 * c as u32,
        k_offset: c as u32,
        v_offset: 2 * c as u32,
        scale: 1.0 / (d as f32).sqrt(),
        softcap: 0.0,
        dqkv: sink::WRITE,
        apart: 0,
    };
    // The op's own cost assumes one row of n tokens; here the rows are m.context long.
    let share = t as f64 / n as f64;
    b.time(m.layers, Call::new(&attention::FORWARD, &p, &[qkv, qkv, spans], &[y, lse]));
    b.time(m.layers, Call::new(&attention::BACKWARD, &p, &[dy, qkv, spans, y, lse], &[dqkv]));
    println!("    (attention's true rates are {share:.4} of those)");
}

fn ends(b: &mut Bench, m: &Model, n: usize) {
    let (c, v) = (m.width, m.vocabulary);
    let (table, y, add) = (b.noise(&[v, c]), b.noise(&[n, c]), b.noise(&[n, c]));
    let ids = b.fill(&[n], |i| (i * 7 % v) as u32, Dtype::U32);
    let p = embed::Params { n: n as u32, c: c as u32, v: v as u32, add: 1 };
    b.time(2, Call::new(&embed::FORWARD, &p, &[table, ids, add], &[y]));
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by_key(|&i| i as usize * 7 % v);
    let mut runs = vec![[u32::MAX, n as u32]; n];
    let mut count = 0;
    for (i, &token) in order.iter().enumerate() {
        let id = (token as usize * 7 % v) as u32;
        if count == 0 || runs[count - 1][0] != id {
            runs[count] = [id, i as u32];
            count += 1;
        }
    }
    let order = b.fill(&[n], |i| order[i], Dtype::U32);
    let runs = b.fill(&[n, 2], |i| runs[i / 2][i % 2], Dtype::U32);
    let p = embed::Params { add: sink::ADD, ..p };
    b.time(2, Call::new(&embed::BACKWARD, &p, &[y, order, runs], &[table]));
    let slopes = b.fill(&[n, 4], |i| if i % 4 == 0 { (-1.0_f32 / n as f32).to_bits() } else { 0 }, Dtype::F32);
    let (numbers, dx, dw) = (b.noise(&[n, 4]), b.noise(&[n, c]), b.noise(&[v, c]));
    let targets = b.fill(&[n], |i| (i * 5 % v) as u32, Dtype::U32);
    let p = head::Params {
        n: n as u32,
        c: c as u32,
        v: v as u32,
        scale: 1.0,
        softcap: 0.0,
        temperature: 1.0,
        chunk: head_chunk(v, n) as u32,
        dx: sink::WRITE,
        dw: sink::ADD,
    };
    b.time(1, Call::new(&head::TRAIN, &p, &[y, table, targets, slopes], &[numbers, dx, dw]));
    b.time(0, Call::new(&head::FORWARD, &p, &[y, table, targets], &[numbers]));
}

fn update(b: &mut Bench, m: &Model) {
    let c = m.width;
    let len = 12 * c * c * m.layers + (m.vocabulary + m.context) * c;
    let tensors = [(); 4].map(|()| b.fill(&[len], |_| 0.25_f32.to_bits(), Dtype::F32));
    let [g, p, first, second] = tensors;
    let group = adamw::Params { beta1: 0.9, beta2: 0.99, eps: 1e-8, decay: 0.1, lr_scale: 1.0, len: 0 };
    b.time(1, adamw::call(g, p, first, second, group));
    let (parts, total) = (b.noise(&[1, 64]), b.noise(&[4]));
    for call in norm_sq::calls(&[g], parts, total) {
        b.time(1, call);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let word = |at: usize, otherwise: &str| arguments.get(at).cloned().unwrap_or_else(|| otherwise.to_string());
    let (wish, threads) = (word(0, "cpu"), word(1, "2").parse().unwrap());
    let shapes = if arguments.len() > 2 { &arguments[2..] } else { &["small".to_string(), "medium".to_string()] };
    for shape in shapes {
        let (chosen, _) = choose(&Wish::parse(&wish).unwrap(), threads);
        let mut b = Bench { device: open(&chosen).unwrap(), kept: Vec::new(), total: 0.0, flops: 0.0 };
        let facts = b.device.facts();
        println!("{shape}: {}, {}, {threads} threads", facts.name, facts.tiles);
        if shape == "square" {
            for side in [1024, 2048, 4096] {
                b.product(0, side, side, side, false, false);
                b.free();
            }
            continue;
        }
        let m = MODELS.iter().find(|m| m.name == shape).unwrap_or_else(|| panic!("no shape is called {shape}"));
        let (n, c) = (m.batch * m.context, m.width);
        b.product(m.layers, n, c, 3 * c, false, false);
        b.product(m.layers, n, c, c, false, true);
        let rate = b.product(m.layers, n, c, 4 * c, true, false);
        b.product(m.layers, n, 4 * c, c, false, true);
        b.free();
        attend(&mut b, m, n);
        norms_and_activation(&mut b, m, n);
        ends(&mut b, m, n);
        b.free();
        update(&mut b, m);
        println!(
            "  in all {:.2} ms a step, {:.0} tokens/s, {:.0} GFLOP/s; product at {rate:.0}",
            b.total * 1e3,
            n as f64 / b.total,
            b.flops / b.total / 1e9
        );
    }
}
