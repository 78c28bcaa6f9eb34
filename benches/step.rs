//! Every op of a training step of nanoGPT's two shapes on the cpu, one by one: time, rates, and the step they add up
//! to.
//!
//! `cargo bench --bench step [-- threads]`. The rate of a plain product, measured in the same run, is the yardstick:
//! the
//! machine may be busy.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;

use pleach_runtime::device::Device;
use pleach_runtime::device::cpu::{Cpu, CpuOptions};
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

const MODELS: [Model; 2] = [
    Model { name: "small", layers: 4, heads: 4, width: 128, context: 64, batch: 12, vocabulary: 65 },
    Model { name: "medium", layers: 6, heads: 6, width: 384, context: 256, batch: 8, vocabulary: 65 },
];

/// The device, and how calls are built on it.
struct Bench {
    cpu: Cpu,
    total: f64,
    flops: f64,
}

impl Bench {
    fn fill(&mut self, shape: &[usize], words: impl Fn(usize) -> u32, dtype: Dtype) -> Tensor {
        let t = self.cpu.allocate("bench", Shape::new(shape), dtype).unwrap();
        let words: Vec<u32> = (0..t.shape.len()).map(words).collect();
        self.cpu.write(t, 0, &words).unwrap();
        t
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
        let program = Program { name: name.into(), calls: vec![call], activations: vec![], splits: vec![] };
        let id = self.cpu.build(&[program]).unwrap()[0];
        let tick = Tick { learning_rate: 1e-9, bias1: 0.5, bias2: 0.5, clip: 1.0, ..Tick::default() };
        let (mut best, start, mut runs) = (f64::MAX, Instant::now(), 0);
        while runs < 5 || start.elapsed().as_secs_f64() < 0.15 {
            let begin = Instant::now();
            self.cpu.run(id, 0, &tick).unwrap();
            best = best.min(begin.elapsed().as_secs_f64());
            runs += 1;
        }
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
        chunk: n as u32,
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
    let threads = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(2);
    for m in &MODELS {
        let cpu = Cpu::open(CpuOptions { threads: Some(threads), specs_only: false }).unwrap();
        let mut b = Bench { cpu, total: 0.0, flops: 0.0 };
        let (n, c) = (m.batch * m.context, m.width);
        println!("{}: {n} tokens, {threads} threads, {}", m.name, b.cpu.facts().tiles);
        b.product(m.layers, n, c, 3 * c, false, false);
        b.product(m.layers, n, c, c, false, true);
        let rate = b.product(m.layers, n, c, 4 * c, true, false);
        b.product(m.layers, n, 4 * c, c, false, true);
        attend(&mut b, m, n);
        norms_and_activation(&mut b, m, n);
        ends(&mut b, m, n);
        update(&mut b, m);
        println!(
            "  in all {:.2} ms a step, {:.0} tokens/s; product at {rate:.0} GFLOP/s",
            b.total * 1e3,
            n as f64 / b.total
        );
    }
}
