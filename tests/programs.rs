//! Whole programs: however a window is cut, packed, planned or repeated, and on whichever device, the numbers agree.

use crate::adapters::{self, Adapter};
use pleach::loss::next_token::NextToken;
use pleach::runtime::device::bisect::first_difference;
use pleach::runtime::device::cpu::{Cpu, CpuOptions};
use pleach::runtime::device::gpu::Options;
use pleach::runtime::device::{Device, Facts, Held, ProgramId};
use pleach::runtime::engine::generation::Sampling;
use pleach::runtime::engine::layout::{AdamW, Key, Layout, POLICY, Role, Shapes, Which};
use pleach::runtime::engine::state::HostState;
use pleach::runtime::engine::{Engine, Learned};
use pleach::runtime::fault::{Fault, FaultKind};
use pleach::runtime::model::config::ModelConfig;
use pleach::runtime::shaders::spec::{Dtype, Shape, Tensor, Tick};
use pleach::runtime::stage::{Loss, Numbers, Row, Window};
use pleach::runtime::tape::Program;
use std::cell::Cell;
use std::rc::Rc;

const CONTEXT: usize = 24;
const VOCAB: usize = 67;

fn adamw() -> AdamW {
    AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.1 }
}

fn configs() -> [ModelConfig; 2] {
    let qwen = ModelConfig { dropout: 0.1, ..ModelConfig::qwen3(VOCAB, CONTEXT, 32, 2, 4, 2) };
    [ModelConfig { dropout: 0.1, ..ModelConfig::gpt2(VOCAB, CONTEXT, 32, 2, 2, true) }, qwen]
}

fn shapes(micro_rows: usize, recompute: bool) -> Shapes {
    Shapes {
        micro_rows,
        context: CONTEXT,
        buckets: vec![],
        streams: 2,
        sequence: CONTEXT,
        prefill: 8,
        head_chunk: 20,
        recompute,
    }
}

/// Eight rows, some of several documents, some targets masked.
fn window() -> Window {
    let row = |r: usize| {
        let tokens = (0..=CONTEXT).map(|t| ((t * t * 5 + r * 31 + t * r) % VOCAB) as u32).collect();
        let border = 5 + r;
        let segments: Vec<u32> = (0..CONTEXT).map(|t| if t < border { 0 } else { border as u32 }).collect();
        let weights = (0..CONTEXT).map(|t| if t + 1 == border || (r == 3 && t > 9) { 0.0 } else { 1.0 }).collect();
        Row { tokens, weights, segments, key: r as u64 * 7 + 1 }
    };
    Window::new(CONTEXT, (0..8).map(row).collect())
}

fn cpu(threads: usize) -> Box<dyn Device> {
    Box::new(Cpu::open(CpuOptions { threads: Some(threads), specs_only: false }).unwrap())
}

/// Fresh devices of every adapter that is there.
fn each_gpu(name: &str, options: Options, mut test: impl FnMut(&dyn Fn() -> Box<dyn Device>)) {
    for adapter in Adapter::ALL {
        if adapters::fresh(adapter, options, name).is_some() {
            test(&|| Box::new(adapters::fresh(adapter, options, name).expect("it was there a moment ago")));
        }
    }
}

fn tick(step: u32) -> Tick {
    let bias = |beta: f32| 1.0 - beta.powi(step as i32);
    Tick {
        step,
        seed_lo: 3,
        draw: step,
        learning_rate: 1e-2,
        bias1: bias(0.9),
        bias2: bias(0.95),
        clip: 0.5,
        ..Tick::default()
    }
}

/// The gradients of the first step.
fn gradients(device: Box<dyn Device>, config: &ModelConfig, shapes: &Shapes) -> (Learned, Vec<f32>) {
    let mut engine = Engine::new(device, &[Role::policy(config)], shapes, &adamw()).unwrap();
    engine.begin(POLICY, 11).unwrap();
    let learned = engine.learn(POLICY, &window(), &NextToken.known(&window()).unwrap(), &tick(1)).unwrap();
    let slots = engine.layout().slots(POLICY).to_vec();
    let mut all = Vec::new();
    for slot in &slots {
        let [gradient, ..] = slot.trained.unwrap();
        let mut words = vec![0; gradient.shape.len()];
        engine.device().read(gradient, 0, &mut words).unwrap();
        all.extend(words.into_iter().map(f32::from_bits));
    }
    (learned, all)
}

/// Three steps; what the last one learned, and the state after it.
fn three(device: Box<dyn Device>, config: &ModelConfig, shapes: &Shapes) -> (Learned, HostState) {
    let mut engine = Engine::new(device, &[Role::policy(config)], shapes, &adamw()).unwrap();
    engine.begin(POLICY, 11).unwrap();
    let window = window();
    let derivatives = NextToken.known(&window).unwrap();
    let mut learned = None;
    for step in 1..=3 {
        learned = Some(engine.learn(POLICY, &window, &derivatives, &tick(step)).unwrap());
        engine.update(POLICY, &tick(step)).unwrap();
    }
    (learned.unwrap(), engine.state(POLICY).unwrap())
}

/// Norm of the difference as a share of the norm.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    let norm = |pairs: &mut dyn Iterator<Item = f64>| pairs.map(|x| x * x).sum::<f64>().sqrt();
    let gap = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    gap / norm(&mut a.iter().map(|a| f64::from(*a)))
}

fn loss(numbers: &Numbers) -> f64 {
    NextToken.evaluate(&window(), numbers, &Default::default()).unwrap().loss
}

/// Checks on one kind of device; `open` makes a fresh one.
fn checks(open: &dyn Fn() -> Box<dyn Device>) {
    for config in configs() {
        let (learned, whole) = three(open(), &config, &shapes(8, false));
        let (again, same) = three(open(), &config, &shapes(8, false));
        assert!(whole == same && learned == again, "the same seed twice gives the same bits");
        let (_, recomputed) = three(open(), &config, &shapes(8, true));
        assert!(whole == recomputed, "recompute changes no bit");
        let (one, all) = gradients(open(), &config, &shapes(8, false));
        for micro_rows in [1, 3] {
            let (cut, pieces) = gradients(open(), &config, &shapes(micro_rows, false));
            assert!((loss(&cut.numbers) - loss(&one.numbers)).abs() < 1e-6, "{micro_rows} rows at once");
            assert!(apart(&all, &pieces) < 1e-6, "{micro_rows} rows at once: {}", apart(&all, &pieces));
        }
    }
}

#[test]
fn cpu_programs_agree_with_themselves() {
    checks(&|| cpu(2));
    for config in configs() {
        let (_, one) = three(cpu(1), &config, &shapes(8, false));
        for threads in [2, 3] {
            assert!(three(cpu(threads), &config, &shapes(8, false)).1 == one, "{threads} threads change no bit");
        }
    }
}

#[test]
fn gpu_programs_agree_with_themselves() {
    each_gpu("gpu_programs_agree_with_themselves", Options::default(), |open| checks(open));
}

#[test]
fn checked_shaders_change_nothing() {
    let config = &configs()[1];
    each_gpu("checked_shaders_change_nothing", Options::default(), |open| {
        let (_, plain) = three(open(), config, &shapes(8, false));
        each_gpu("checked_shaders_change_nothing", Options { checked: true, ..Options::default() }, |checked| {
            if open().facts().name == checked().facts().name {
                assert!(plain == three(checked(), config, &shapes(8, false)).1, "bounds checks change no bit");
            }
        });
    });
}

/// The recomputed program really keeps less.
#[test]
fn recompute_needs_less_memory() {
    let config = ModelConfig::qwen3(VOCAB, CONTEXT, 32, 6, 4, 2);
    let device = cpu(1);
    let bytes =
        |recompute| Layout::predict(&[Role::policy(&config)], &shapes(8, recompute), &adamw(), &*device).unwrap().1;
    assert!(bytes(true) * 2 < bytes(false), "{} against {}", bytes(true), bytes(false));
}

/// The same program call by call on two devices: no call's results differ beyond rounding.
#[test]
fn cpu_and_gpu_agree_call_by_call() {
    each_gpu("cpu_and_gpu_agree_call_by_call", Options::default(), |open| {
        for config in configs() {
            let mut engines = [cpu(2), open()].map(|device| {
                let mut engine = Engine::new(device, &[Role::policy(&config)], &shapes(8, false), &adamw()).unwrap();
                engine.begin(POLICY, 11).unwrap();
                engine.stage_batch(&window(), &NextToken.known(&window()).unwrap()).unwrap();
                engine
            });
            let [a, b] = &mut engines;
            let found = first_difference(a, b, Key::full(POLICY, Which::Learn), &tick(1), 2e-5).unwrap();
            assert!(found.is_none(), "{found:?}");
            let found = first_difference(a, b, Key::full(POLICY, Which::Learn), &tick(1), 0.0).unwrap();
            assert!(found.is_some(), "two devices round differently somewhere: the search does search");
        }
    });
}

/// Rows of other lengths, laid end to end into micro-batches of several lengths, learn what the same rows learn when
/// each is padded to the context.
fn lengths_change_nothing(open: &dyn Fn() -> Box<dyn Device>) {
    let mut short = window();
    let mut padded = window();
    for (r, length) in [24, 3, 9, 17, 1, 24, 6, 11].into_iter().enumerate() {
        let row = &mut short.rows[r];
        row.tokens.truncate(length + 1);
        row.weights.truncate(length);
        row.segments.truncate(length);
        let row = &mut padded.rows[r];
        row.weights[length..].fill(0.0);
        row.segments[length..].fill(length as u32);
    }
    for config in configs() {
        let run = |window: &Window, shapes: &Shapes| {
            let mut engine = Engine::new(open(), &[Role::policy(&config)], shapes, &adamw()).unwrap();
            engine.begin(POLICY, 11).unwrap();
            let known = NextToken.known(window).unwrap();
            let learned = engine.learn(POLICY, window, &known, &tick(1)).unwrap();
            engine.update(POLICY, &tick(1)).unwrap();
            let after = engine.evaluate(POLICY, window).unwrap();
            let counted: Vec<f32> = window.rows.iter().flat_map(|row| &row.weights).copied().collect();
            let kept = |numbers: &Numbers| -> Vec<f32> {
                numbers.iter().zip(&counted).filter(|(_, w)| **w != 0.0).map(|(n, _)| n[0]).collect()
            };
            (kept(&learned.numbers), learned.gradient_norm, kept(&after))
        };
        let (before, norm, after) = run(&padded, &shapes(8, false));
        for buckets in [vec![], vec![24], vec![64, 32, 5]] {
            let cut = Shapes { buckets, ..shapes(2, false) };
            let (b, n, a) = run(&short, &cut);
            assert!(apart(&before, &b) < 1e-6 && apart(&after, &a) < 1e-5, "{cut:?}: {}", apart(&after, &a));
            assert!((norm - n).abs() < 1e-5 * norm, "{cut:?}: norm {n}, not {norm}");
        }
    }
}

/// Two models on one device: the frozen one keeps saying what it said, and takes no activation memory of its own.
fn roles_stand_beside_each_other(open: &dyn Fn() -> Box<dyn Device>) {
    const REFERENCE: usize = 1;
    for config in configs() {
        let roles = [Role::policy(&config), Role::reference(&config)];
        let shapes = shapes(3, false);
        let mut engine = Engine::new(open(), &roles, &shapes, &adamw()).unwrap();
        engine.begin(POLICY, 11).unwrap();
        let entry = engine.state(POLICY).unwrap();
        engine.restore(REFERENCE, &entry).unwrap();
        let window = window();
        let first = engine.evaluate(POLICY, &window).unwrap();
        assert!(first == engine.evaluate(REFERENCE, &window).unwrap(), "one state, one program, the same bits");
        let (alone, state) = three(open(), &config, &shapes);
        let mut beside = None;
        for step in 1..=3 {
            let known = NextToken.known(&window).unwrap();
            beside = Some(engine.learn(POLICY, &window, &known, &tick(step)).unwrap());
            engine.update(POLICY, &tick(step)).unwrap();
        }
        assert!(beside.unwrap() == alone && engine.state(POLICY).unwrap() == state, "a neighbour changes no bit");
        assert!(first == engine.evaluate(REFERENCE, &window).unwrap(), "the reference is frozen");
        assert!(first != engine.evaluate(POLICY, &window).unwrap(), "the policy is not");
        assert!(engine.state(REFERENCE).unwrap().first.is_empty(), "what is frozen has no moments");

        let device = open();
        let both = Layout::predict(&roles, &shapes, &adamw(), &*device).unwrap();
        let one = Layout::predict(&roles[..1], &shapes, &adamw(), &*device).unwrap();
        let weights: u64 = engine.layout().slots(REFERENCE).iter().map(|slot| slot.weight.bytes()).sum();
        let more = both.0 - one.0 - weights - engine.layout().members[REFERENCE].rotary.bytes();
        assert_eq!(more, 0, "the reference takes its weights and nothing else");
        assert!(both.1 - one.1 < 1 << 16, "activations are shared: {} against {}", both.1, one.1);
    }
}

#[test]
fn lengths_and_roles_on_the_cpu() {
    lengths_change_nothing(&|| cpu(2));
    roles_stand_beside_each_other(&|| cpu(2));
}

#[test]
fn lengths_and_roles_on_the_gpu() {
    each_gpu("lengths_and_roles_on_the_gpu", Options::default(), |open| {
        lengths_change_nothing(open);
        roles_stand_beside_each_other(open);
    });
}

/// A processor that reports work as done that was not, from the moment that it is told to.
struct Sour {
    inner: Cpu,
    sour: Rc<Cell<bool>>,
}

impl Device for Sour {
    fn facts(&self) -> &Facts {
        self.inner.facts()
    }
    fn allocate(&mut self, name: &str, shape: Shape, dtype: Dtype) -> Result<Tensor, Fault> {
        self.inner.allocate(name, shape, dtype)
    }
    fn free(&mut self, tensor: Tensor) {
        self.inner.free(tensor);
    }
    fn write(&mut self, tensor: Tensor, offset: usize, data: &[u32]) -> Result<(), Fault> {
        self.inner.write(tensor, offset, data)
    }
    fn read(&mut self, tensor: Tensor, offset: usize, out: &mut [u32]) -> Result<(), Fault> {
        self.inner.read(tensor, offset, out)
    }
    fn clear(&mut self, tensors: &[Tensor]) -> Result<(), Fault> {
        self.inner.clear(tensors)
    }
    fn build(&mut self, programs: &[Program]) -> Result<Vec<ProgramId>, Fault> {
        self.inner.build(programs)
    }
    fn predict(&self, programs: &[Program]) -> u64 {
        self.inner.predict(programs)
    }
    fn run(&mut self, program: ProgramId, part: usize, tick: &Tick) -> Result<(), Fault> {
        self.inner.run(program, part, tick)
    }
    fn run_calls(&mut self, program: ProgramId, from: usize, to: usize, tick: &Tick) -> Result<(), Fault> {
        self.inner.run_calls(program, from, to, tick)
    }
    fn peek(&mut self, program: ProgramId, tensor: Tensor, out: &mut [u32]) -> Result<(), Fault> {
        self.inner.peek(program, tensor, out)
    }
    fn poke(&mut self, program: ProgramId, tensor: Tensor, data: &[u32]) -> Result<(), Fault> {
        self.inner.poke(program, tensor, data)
    }
    fn settle(&mut self) -> Result<(), Fault> {
        match self.sour.get() {
            true => Err(Fault::new(FaultKind::DeviceLost, "the device reports work as done that was not")),
            false => self.inner.settle(),
        }
    }
    fn held(&self) -> Held {
        self.inner.held()
    }
}

/// Nobody is handed numbers or tokens of a device that did not do the work.
#[test]
fn numbers_and_tokens_are_asked_of_the_canary_first() {
    let sour = Rc::new(Cell::new(false));
    let inner = Cpu::open(CpuOptions { threads: Some(1), specs_only: false }).unwrap();
    let device = Box::new(Sour { inner, sour: sour.clone() });
    let mut engine = Engine::new(device, &[Role::policy(&configs()[1])], &shapes(2, false), &adamw()).unwrap();
    engine.begin(POLICY, 11).unwrap();
    let prompts = [vec![1, 2, 3]];
    let sampling = Sampling { max_tokens: 4, ..Sampling::default() };
    let generate = |engine: &mut Engine| engine.generate(&prompts, &sampling, &[], &mut |_, _| true).map(drop);
    engine.evaluate(POLICY, &window()).unwrap();
    generate(&mut engine).unwrap();
    sour.set(true);
    for told in [engine.evaluate(POLICY, &window()).map(drop), generate(&mut engine)] {
        assert_eq!(told.unwrap_err().kind, FaultKind::DeviceLost);
    }
}

/// Dropout's noise follows the row, not the place in the micro-batch: rows in another order learn the same.
#[test]
fn noise_belongs_to_the_row() {
    let config = &configs()[1];
    let run = |window: &Window| {
        let mut engine = Engine::new(cpu(1), &[Role::policy(config)], &shapes(8, false), &adamw()).unwrap();
        engine.begin(POLICY, 11).unwrap();
        engine.learn(POLICY, window, &NextToken.known(window).unwrap(), &tick(1)).unwrap().numbers
    };
    let forward = window();
    let mut backward = window();
    backward.rows.reverse();
    let (a, b) = (run(&forward), run(&backward));
    for (r, numbers) in a.chunks(CONTEXT).enumerate() {
        let other = &b[(7 - r) * CONTEXT..(8 - r) * CONTEXT];
        let far = numbers.iter().zip(other).map(|(a, b)| (a[0] - b[0]).abs()).fold(0.0, f32::max);
        assert!(far < 1e-5, "row {r}: {far}");
    }
}
