//! The gpu device itself: memory, sharding, order of writes and runs, parts, loss, prediction. With kernels of its own.

use crate::adapters::{Adapter, fresh, list, on};
use pleach_runtime::device::gpu::{Choice, Gpu, Options};
use pleach_runtime::device::{Device, ProgramId};
use pleach_runtime::fault::FaultKind;
use pleach_runtime::tape::{Activation, Program};
use pleach_shaders::spec::{Access, Args, Call, Caps, Cost, Dtype, Kernel, Lowering, Op, Shape, Tensor, Tick};

/// y = a x + y, elementwise, by row shards.
static AXPY: Op = Op { name: "test.axpy", spec: axpy_spec, lower: axpy_lower, cost: |_| Cost::default() };

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    a: f32,
    keep: u32,
    tick: u32,
}

const AXPY_TEXT: &str = "
struct Params { n: u32, a: f32, keep: u32, tick: u32 }
struct Tick { step: u32, seed_lo: u32, seed_hi: u32, draw: u32, learning_rate: f32, bias1: f32, bias2: f32, clip: f32,
    temperature: f32, top_k: u32, top_p: f32, min_p: f32, repetition: f32, recent: u32, spare0: u32, spare1: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(1) @binding(0) var<uniform> tick: Tick;
@compute @workgroup_size(64)
fn axpy(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < params.n {
        let old = select(0.0, y[id.x], params.keep == 1u);
        y[id.x] = old + params.a * x[id.x] + select(0.0, tick.learning_rate, params.tick == 1u);
    }
}";

static AXPY_KERNEL: Kernel = Kernel {
    name: "test.axpy",
    source: AXPY_TEXT,
    entry: "axpy",
    storage: &[("x", Access::Read), ("y", Access::Write)],
    tick: true,
    params_size: 16,
    defines: &[],
    overrides: &[],
};

fn axpy_spec(args: &mut Args<'_>) {
    let p: Params = args.params();
    for i in 0..p.n as usize {
        let old = if p.keep == 1 { args.writes[0][i] } else { 0.0 };
        args.writes[0][i] = old + p.a * args.reads[0][i] + if p.tick == 1 { args.tick.learning_rate } else { 0.0 };
    }
}

fn axpy_lower(call: &Call, lowering: &mut Lowering<'_>) {
    let p: Params = call.params();
    for (first, rows) in lowering.caps.shards(&call.reads[0].shape) {
        let regions = [lowering.rows(call.reads[0], first, rows), lowering.rows(call.writes[0], first, rows)];
        let n = regions[0].len as u32;
        let cost = Cost { flops: 2.0 * f64::from(n), bytes: 12.0 * f64::from(n) };
        lowering.dispatch(&AXPY_KERNEL, &Params { n, ..p }, &regions, [n.div_ceil(64), 1, 1], cost);
    }
}

fn axpy(x: Tensor, y: Tensor, a: f32, keep: bool, tick: bool) -> Call {
    let params = Params { n: x.shape.len() as u32, a, keep: keep.into(), tick: tick.into() };
    Call::new(&AXPY, &params, &[x], &[y])
}

fn activation(name: &str, shape: Shape) -> Activation {
    Activation { name: name.into(), shape, dtype: Dtype::F32 }
}

fn program(calls: Vec<Call>, activations: Vec<Activation>, splits: Vec<usize>) -> Program {
    Program { name: "test".into(), calls, activations, splits }
}

fn temporary(id: u32, shape: Shape) -> Tensor {
    Tensor { id, shape, dtype: Dtype::F32 }
}

fn floats(gpu: &mut Gpu, tensor: Tensor) -> Vec<f32> {
    let mut out = vec![0u32; tensor.shape.len()];
    gpu.read(tensor, 0, &mut out).unwrap();
    out.into_iter().map(f32::from_bits).collect()
}

fn write(gpu: &mut Gpu, tensor: Tensor, data: &[f32]) {
    gpu.write(tensor, 0, bytemuck::cast_slice(data)).unwrap();
}

fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

#[test]
fn writes_runs_and_reads_keep_their_order() {
    for adapter in Adapter::ALL {
        on(adapter, Options::default(), "order", |gpu| {
            let shape = Shape::new(&[1000]);
            let x = gpu.allocate("x", shape, Dtype::F32).unwrap();
            let y = gpu.allocate("y", shape, Dtype::F32).unwrap();
            assert!(floats(gpu, y).iter().all(|&v| v == 0.0), "a new buffer is zeroed");
            let ids = gpu.build(&[program(vec![axpy(x, y, 2.0, true, true)], vec![], vec![])]).unwrap();
            // Ten runs with other contents and another tick each, and no wait in between.
            for step in 0..10 {
                write(gpu, x, &vec![step as f32; 1000]);
                let tick = Tick { learning_rate: 100.0 * step as f32, ..Tick::default() };
                gpu.run(ids[0], 0, &tick).unwrap();
            }
            gpu.settle().unwrap();
            assert!(floats(gpu, y).iter().all(|&v| v == 45.0 * 102.0));
            gpu.clear(&[y]).unwrap();
            assert!(floats(gpu, y).iter().all(|&v| v == 0.0));
            gpu.free(x);
            gpu.free(y);
        });
    }
}

#[test]
fn a_tensor_beyond_a_binding_lies_in_shards() {
    let options = Options { binding_limit: Some(64 << 10), ..Options::default() };
    for adapter in Adapter::ALL {
        on(adapter, options, "shards", |gpu| {
            // 300 rows of 100 words: 128 rows fill a binding, three shards.
            let shape = Shape::new(&[300, 100]);
            let x = gpu.allocate("x", shape, Dtype::F32).unwrap();
            let y = gpu.allocate("y", shape, Dtype::F32).unwrap();
            assert_eq!(gpu.caps().shards(&shape).len(), 3);
            write(gpu, x, &ramp(30_000));
            let mut part = vec![0u32; 20_000];
            gpu.read(x, 7_777, &mut part).unwrap();
            assert!(part.iter().enumerate().all(|(i, &bits)| f32::from_bits(bits) == (7_777 + i) as f32));
            let ids = gpu.build(&[program(vec![axpy(x, y, 3.0, false, false)], vec![], vec![])]).unwrap();
            gpu.run(ids[0], 0, &Tick::default()).unwrap();
            let got = floats(gpu, y);
            assert!(got.iter().enumerate().all(|(i, &v)| v == 3.0 * i as f32));
            gpu.free(x);
            gpu.free(y);
        });
    }
}

/// x -> a -> b -> c -> y by activations, in two parts; and a wider program beside it.
fn chain(x: Tensor, y: Tensor) -> Program {
    let shape = x.shape;
    let [a, b, c] = [0, 1, 2].map(|id| temporary(id, shape));
    let calls = vec![
        axpy(x, a, 2.0, false, false),
        axpy(a, b, 3.0, false, false),
        axpy(b, c, 5.0, false, false),
        axpy(a, c, 1.0, true, false),
        axpy(c, y, 1.0, false, false),
    ];
    program(calls, ["a", "b", "c"].map(|name| activation(name, shape)).to_vec(), vec![2])
}

#[test]
fn activations_live_in_slots_across_parts_and_can_be_swapped() {
    for adapter in Adapter::ALL {
        on(adapter, Options::default(), "activations", |gpu| {
            let shape = Shape::new(&[777]);
            let x = gpu.allocate("x", shape, Dtype::F32).unwrap();
            let y = gpu.allocate("y", shape, Dtype::F32).unwrap();
            write(gpu, x, &ramp(777));
            let chain = chain(x, y);
            let predicted = gpu.predict(std::slice::from_ref(&chain));
            let ids = gpu.build(&[chain.clone(), chain]).unwrap();
            assert_eq!(gpu.held().activations, predicted, "two equal programs share their slots");
            for &id in &ids {
                gpu.run(id, 0, &Tick::default()).unwrap();
                gpu.run(id, 1, &Tick::default()).unwrap();
                let got = floats(gpu, y);
                assert!(got.iter().enumerate().all(|(i, &v)| v == 32.0 * i as f32));
            }
            // The bisecting switch: stop after two calls, look, put something else in, go on.
            gpu.run_calls(ids[1], 0, 2, &Tick::default()).unwrap();
            let mut b = vec![0u32; 777];
            gpu.peek(ids[1], temporary(1, shape), &mut b).unwrap();
            assert!(b.iter().enumerate().all(|(i, &bits)| f32::from_bits(bits) == 6.0 * i as f32));
            gpu.poke(ids[1], temporary(1, shape), &vec![1f32.to_bits(); 777]).unwrap();
            gpu.run_calls(ids[1], 2, 5, &Tick::default()).unwrap();
            let got = floats(gpu, y);
            assert!(got.iter().enumerate().all(|(i, &v)| v == 5.0 + 2.0 * i as f32));
            gpu.free(x);
            gpu.free(y);
        });
    }
}

/// Repeats dispatches until the governor must cut, and compares with one submission per dispatch.
#[test]
fn cuts_change_no_bit() {
    for adapter in Adapter::ALL {
        on(adapter, Options::default(), "cuts", |gpu| {
            let shape = Shape::new(&[4096]);
            let x = gpu.allocate("x", shape, Dtype::F32).unwrap();
            let y = gpu.allocate("y", shape, Dtype::F32).unwrap();
            write(gpu, x, &ramp(4096));
            let calls = (0..200).map(|i| axpy(x, y, 1.0 / (1.0 + i as f32), true, false)).collect();
            let ids = gpu.build(&[program(calls, vec![], vec![])]).unwrap();
            let mut results = Vec::new();
            for slice in [1, 1, 1_000, 200_000] {
                gpu.set_slice(std::time::Duration::from_micros(slice));
                gpu.clear(&[y]).unwrap();
                gpu.run(ids[0], 0, &Tick::default()).unwrap();
                gpu.settle().unwrap();
                results.push(floats(gpu, y).into_iter().map(f32::to_bits).collect::<Vec<_>>());
            }
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
            gpu.set_slice(std::time::Duration::from_millis(50));
            gpu.free(x);
            gpu.free(y);
        });
    }
}

#[test]
fn what_is_held_is_what_the_allocator_reports() {
    for adapter in Adapter::ALL {
        let Some(mut gpu) = fresh(adapter, Options::default(), "held") else { continue };
        let shape = Shape::new(&[1 << 20]);
        let x = gpu.allocate("x", shape, Dtype::F32).unwrap();
        let y = gpu.allocate("y", shape, Dtype::F32).unwrap();
        let small: Vec<Tensor> =
            (0..50).map(|_| gpu.allocate("gain", Shape::new(&[384]), Dtype::F32).unwrap()).collect();
        let ids = gpu.build(&[chain(x, y)]).unwrap();
        let compare = |gpu: &Gpu| {
            let Some(report) = gpu.wgpu().0.generate_allocator_report() else { return };
            let (held, real) = (gpu.held().total() as f64, report.total_allocated_bytes as f64);
            assert!((held - real).abs() <= 0.05 * real, "{adapter:?}: held {held}, the allocator says {real}");
        };
        gpu.run(ids[0], 0, &Tick::default()).unwrap();
        gpu.settle().unwrap();
        compare(&gpu);
        let before = gpu.wgpu().0.generate_allocator_report().map(|report| report.allocations.len());
        for _ in 0..20 {
            write(&mut gpu, x, &ramp(1 << 20));
            gpu.run(ids[0], 0, &Tick::default()).unwrap();
            gpu.run(ids[0], 1, &Tick::default()).unwrap();
            let _ = floats(&mut gpu, y);
        }
        gpu.settle().unwrap();
        let after = gpu.wgpu().0.generate_allocator_report().map(|report| report.allocations.len());
        assert_eq!(before, after, "{adapter:?}: a step allocates nothing");
        small.into_iter().for_each(|tensor| gpu.free(tensor));
        gpu.free(x);
        gpu.settle().unwrap();
        compare(&gpu);
    }
}

#[test]
fn a_lost_device_fails_every_call_and_a_new_one_works() {
    for adapter in Adapter::ALL {
        let Some(mut gpu) = fresh(adapter, Options::default(), "loss") else { continue };
        let shape = Shape::new(&[256]);
        let x = gpu.allocate("x", shape, Dtype::F32).unwrap();
        let y = gpu.allocate("y", shape, Dtype::F32).unwrap();
        let ids = gpu.build(&[chain(x, y)]).unwrap();
        gpu.run(ids[0], 0, &Tick::default()).unwrap();
        gpu.wgpu().0.destroy();
        let lost = |result: Result<(), pleach_runtime::fault::Fault>| {
            assert_eq!(result.unwrap_err().kind, FaultKind::DeviceLost);
        };
        lost(gpu.settle());
        lost(gpu.run(ids[0], 1, &Tick::default()));
        lost(gpu.write(x, 0, &[0; 256]));
        lost(gpu.read(x, 0, &mut [0; 256]));
        lost(gpu.clear(&[x]));
        lost(gpu.allocate("z", shape, Dtype::F32).map(drop));
        lost(gpu.build(&[chain(x, y)]).map(drop));
        lost(gpu.peek(ids[0], temporary(0, shape), &mut [0; 256]));
        lost(gpu.poke(ids[0], temporary(0, shape), &[0; 256]));
        lost(gpu.settle());
        drop(gpu);
        let mut gpu = fresh(adapter, Options::default(), "loss").unwrap();
        let x = gpu.allocate("x", shape, Dtype::F32).unwrap();
        let y = gpu.allocate("y", shape, Dtype::F32).unwrap();
        write(&mut gpu, x, &ramp(256));
        let ids = gpu.build(&[chain(x, y)]).unwrap();
        for part in 0..2 {
            gpu.run(ids[0], part, &Tick::default()).unwrap();
        }
        gpu.settle().unwrap();
        assert_eq!(floats(&mut gpu, y)[200], 32.0 * 200.0);
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused_before_anything_is_allocated() {
    let options = Options { binding_limit: Some(64 << 10), ..Options::default() };
    for adapter in Adapter::ALL {
        on(adapter, options, "refusal", |gpu| {
            let shape = Shape::new(&[1 << 15]);
            let program = program(vec![], vec![activation("layer 3 gate", shape)], vec![]);
            let fault = gpu.build(std::slice::from_ref(&program)).unwrap_err();
            let refusal = fault.refusal.expect("a person can change it");
            assert_eq!((fault.kind, refusal.code), (FaultKind::Refused, 3));
            assert!(refusal.detail.contains("layer 3 gate") && refusal.hint.contains("micro-batch"), "{refusal}");
            assert_eq!(gpu.predict(&[program]), u64::MAX);
        });
    }
}

#[test]
fn an_adapter_that_is_not_there_is_refused_with_a_way_out() {
    let count = list().len();
    let refusal = Gpu::open(&Choice::Index(count + 7)).err().unwrap();
    assert_eq!(refusal.code, 3);
    assert!(refusal.hint.contains("doctor"), "{refusal}");
    if list().iter().all(|facts| facts.kind == pleach_runtime::device::gpu::Kind::Software) {
        let refusal = Gpu::open(&Choice::Best).err().unwrap();
        assert!(refusal.hint.contains("--device cpu"), "a software adapter is only taken when asked for: {refusal}");
    }
}

/// A host application's device: wgpu through our re-export, its own handlers kept.
#[test]
fn a_host_application_lends_its_device() {
    use pleach_runtime::device::gpu::share;
    for adapter in Adapter::ALL {
        let Some(host) = fresh(adapter, Options::default(), "sharing") else { continue };
        let (device, queue) = host.wgpu();
        let (device, queue): (share::wgpu::Device, share::wgpu::Queue) = (device.clone(), queue.clone());
        let options = Options { shared: true, ..Options::default() };
        let mut guest = share::from_existing(host.adapter().clone(), device, queue, options).unwrap();
        let shape = Shape::new(&[256]);
        let x = guest.allocate("x", shape, Dtype::F32).unwrap();
        let y = guest.allocate("y", shape, Dtype::F32).unwrap();
        write(&mut guest, x, &ramp(256));
        let ids = guest.build(&[chain(x, y)]).unwrap();
        (0..2).for_each(|part| guest.run(ids[0], part, &Tick::default()).unwrap());
        guest.settle().unwrap();
        assert_eq!(floats(&mut guest, y)[100], 3200.0);
        // The host's device goes: the guest notices without handlers of its own.
        host.wgpu().0.destroy();
        let gone = guest.run(ids[0], 0, &Tick::default()).and_then(|()| guest.settle());
        assert_eq!(gone.unwrap_err().kind, FaultKind::DeviceLost);
    }
}

/// The compute actor owns its device on a thread of its own.
#[test]
fn a_device_can_move_to_another_thread() {
    fn movable<T: Send>() {}
    movable::<Gpu>();
}

#[test]
fn program_ids_name_programs_in_order() {
    on(Adapter::Lavapipe, Options::default(), "ids", |gpu| {
        let empty = program(vec![], vec![], vec![]);
        assert_eq!(gpu.build(&[empty.clone(), empty]).unwrap(), [ProgramId(0), ProgramId(1)]);
    });
}

/// The caps that the specs' own tests rely on.
#[test]
fn caps_shard_by_whole_blocks_of_rows() {
    let caps = Caps { binding_words: 16384, software: true, fill: 8, invocations: 256, dispatch: Cost::INFINITE };
    assert_eq!(caps.shards(&Shape::new(&[300, 100])), [(0, 128), (128, 128), (256, 44)]);
}
