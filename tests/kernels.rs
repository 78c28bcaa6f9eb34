//! Every kernel on every adapter against its spec: all lowerings, checked and unchecked, repeated, in slots, sharded.
//!
//! `PLEACH_PAIRS=matmul,head` and `PLEACH_LOWERINGS=card,processor` narrow the walk.

use crate::adapters::{Adapter, on};
use crate::local::expected;
use pleach_runtime::device::gpu::{Gpu, Options};
use pleach_runtime::device::{Device, ProgramId};
use pleach_runtime::engine::layout::{AdamW, Layout, Role, Shapes};
use pleach_runtime::model::config::ModelConfig;
use pleach_runtime::tape::{Activation, Program};
use pleach_shaders::PAIRS;
use pleach_shaders::spec::{Call, Caps, Case, Cost, Dtype, Lowering, Pair, Tensor, Tolerance};
use std::collections::BTreeSet;

/// The results of a case: the bits of each written tensor.
type Bits = Vec<Vec<u32>>;

/// The pairs of this walk.
pub(crate) fn pairs() -> impl Iterator<Item = &'static Pair> {
    let chosen = std::env::var("PLEACH_PAIRS").unwrap_or_default();
    let chosen: Vec<String> = chosen.split(',').filter(|name| !name.is_empty()).map(String::from).collect();
    PAIRS.iter().copied().filter(move |pair| chosen.is_empty() || chosen.iter().any(|name| name == pair.name))
}

/// Lowerings that every adapter can run, and that must all follow the spec.
fn lowerings(own: Caps) -> Vec<(&'static str, Caps)> {
    let caps = |software, fill, invocations| Caps { software, fill, invocations, ..own };
    let all = [
        ("own", own),
        ("card", caps(false, 256, 256)),
        ("small card", caps(false, 16, 64)),
        // One workgroup fills these devices: the largest tiles that they can run, whatever the case.
        ("large tiles", caps(false, 1, 256)),
        ("tiles of a small card", caps(false, 1, 64)),
        ("processor", caps(true, 8, 256)),
        ("one thread", caps(true, 1, 64)),
    ];
    let chosen = std::env::var("PLEACH_LOWERINGS").unwrap_or_default();
    all.into_iter().filter(|(name, _)| chosen.is_empty() || chosen.split(',').any(|other| other == *name)).collect()
}

/// Reads and writes of a call, absent ones left out, with their contents on entry.
fn tensors(case: &Case) -> Vec<(Tensor, &Vec<f32>)> {
    let reads = case.call.reads.iter().zip(&case.reads);
    let writes = case.call.writes.iter().zip(&case.writes);
    reads.chain(writes).filter(|(tensor, _)| !tensor.is_none()).map(|(tensor, data)| (*tensor, data)).collect()
}

fn renamed(call: &Call, name: impl Fn(&Tensor) -> Tensor) -> Call {
    let rename = |tensor: &Tensor| if tensor.is_none() { *tensor } else { name(tensor) };
    let (reads, writes) = (call.reads.iter().map(rename).collect(), call.writes.iter().map(rename).collect());
    Call { reads, writes, ..call.clone() }
}

fn is_u32(case: &Case, write: usize) -> bool {
    case.call.writes[write].dtype == Dtype::U32
}

/// Runs all cases of a pair with their tensors in buffers of their own: twice each, with the same bits.
fn in_buffers(gpu: &mut Gpu, cases: &[Case]) -> Vec<Bits> {
    let (mut programs, mut owned) = (Vec::new(), Vec::new());
    for case in cases {
        let mut mine: Vec<(u32, Tensor)> = Vec::new();
        for (tensor, _) in tensors(case) {
            if mine.iter().all(|(id, _)| *id != tensor.id) {
                mine.push((tensor.id, gpu.allocate(case.name, tensor.shape, tensor.dtype).unwrap()));
            }
        }
        let find = |tensor: &Tensor| mine.iter().find(|(id, _)| *id == tensor.id).unwrap().1;
        let call = renamed(&case.call, find);
        programs.push(Program {
            name: case.name.into(),
            calls: vec![call.clone()],
            activations: vec![],
            splits: vec![],
        });
        owned.push((call, mine));
    }
    let ids = gpu.build(&programs).unwrap();
    let mut results = Vec::new();
    for ((case, (call, _)), &id) in cases.iter().zip(&owned).zip(&ids) {
        let mut run = || -> Bits {
            let contents = call.reads.iter().zip(&case.reads).chain(call.writes.iter().zip(&case.writes));
            for (tensor, data) in contents.filter(|(tensor, _)| !tensor.is_none()) {
                gpu.write(*tensor, 0, bytemuck::cast_slice(data)).unwrap();
            }
            gpu.run(id, 0, &case.tick).unwrap();
            let read = |tensor: &Tensor| {
                let mut out = vec![0u32; tensor.shape.len()];
                if !tensor.is_none() {
                    gpu.read(*tensor, 0, &mut out).unwrap();
                }
                out
            };
            call.writes.iter().map(read).collect()
        };
        let (first, second) = (run(), run());
        assert!(first == second, "{}/{}: two runs differ", case.call.op.name, case.name);
        results.push(first);
    }
    gpu.settle().unwrap();
    owned.into_iter().flat_map(|(_, mine)| mine).for_each(|(_, tensor)| gpu.free(tensor));
    results
}

/// Runs all cases with their tensors as activations in planned slots.
fn in_slots(gpu: &mut Gpu, cases: &[Case]) -> Vec<Bits> {
    let mut programs = Vec::new();
    for case in cases {
        let most = tensors(case).iter().map(|(tensor, _)| tensor.id as usize + 1).max().unwrap();
        let empty =
            Activation { name: "unused".into(), shape: pleach_shaders::spec::Shape::new(&[1]), dtype: Dtype::F32 };
        let mut activations = vec![empty; most];
        for (tensor, _) in tensors(case) {
            activations[tensor.id as usize] =
                Activation { name: case.name.into(), shape: tensor.shape, dtype: tensor.dtype };
        }
        programs.push(Program { name: case.name.into(), calls: vec![case.call.clone()], activations, splits: vec![] });
    }
    let ids = gpu.build(&programs).unwrap();
    let run = |(case, id): (&Case, &ProgramId)| -> Bits {
        for (tensor, data) in tensors(case) {
            gpu.poke(*id, tensor, bytemuck::cast_slice(data)).unwrap();
        }
        gpu.run_calls(*id, 0, 1, &case.tick).unwrap();
        let read = |tensor: &Tensor| {
            let mut out = vec![0u32; tensor.shape.len()];
            if !tensor.is_none() {
                gpu.peek(*id, *tensor, &mut out).unwrap();
            }
            out
        };
        case.call.writes.iter().map(read).collect()
    };
    cases.iter().zip(&ids).map(run).collect()
}

/// Asserts that results follow the spec within the tolerance; integers exactly.
fn follows(place: &str, case: &Case, expected: &[Vec<f32>], got: &Bits, tolerance: &Tolerance) {
    for (write, (expected, got)) in expected.iter().zip(got).enumerate() {
        if case.call.writes[write].is_none() {
            continue;
        }
        let most = expected.iter().filter(|e| e.is_finite()).fold(0f32, |most, e| most.max(e.abs()));
        let allowed = tolerance.absolute + tolerance.relative * most;
        for (element, (&expected, &bits)) in expected.iter().zip(got).enumerate() {
            let got = f32::from_bits(bits);
            let fine = match is_u32(case, write) {
                true => expected.to_bits() == bits,
                false => (expected - got).abs() <= allowed || expected == got || (expected.is_nan() && got.is_nan()),
            };
            assert!(
                fine,
                "{place}: {} \"{}\" write {write} element {element}: {got} ({bits:#x}), the spec says {expected}; \
                 allowed {allowed}",
                case.call.op.name, case.name
            );
        }
    }
}

#[test]
fn every_lowering_follows_the_spec_with_the_same_bits_checked_and_in_slots() {
    for adapter in Adapter::ALL {
        for pair in pairs() {
            let cases = (pair.cases)();
            let specs: Vec<Vec<Vec<f32>>> = cases.iter().map(expected).collect();
            let mut plain: Vec<Vec<Bits>> = Vec::new();
            on(adapter, Options::default(), "kernels against specs", |gpu| {
                for (lowering, caps) in lowerings(gpu.own_caps()) {
                    gpu.pretend(caps);
                    let results = in_buffers(gpu, &cases);
                    let slots = in_slots(gpu, &cases);
                    for (((case, spec), got), slots) in cases.iter().zip(&specs).zip(&results).zip(&slots) {
                        let place = format!("{adapter:?} {lowering}");
                        follows(&place, case, spec, got, &pair.tolerance);
                        assert!(got == slots, "{place}: {} \"{}\" differs in slots", case.call.op.name, case.name);
                    }
                    plain.push(results);
                }
            });
            on(adapter, Options { checked: true, ..Options::default() }, "checked kernels", |gpu| {
                for ((lowering, caps), plain) in lowerings(gpu.own_caps()).into_iter().zip(&plain) {
                    gpu.pretend(caps);
                    for ((case, plain), checked) in cases.iter().zip(plain).zip(&in_buffers(gpu, &cases)) {
                        let (op, name) = (case.call.op.name, case.name);
                        assert!(plain == checked, "{adapter:?} {lowering}: {op} \"{name}\" differs checked");
                    }
                }
            });
        }
    }
}

/// Ops whose work on one call has no bound but that of `Caps::dispatch`.
const CUT: &[&str] = &[
    "matmul.forward",
    "matmul.dx",
    "matmul.dw",
    "attention.forward",
    "attention.backward",
    "head.forward",
    "head.train",
    "matmul.columns",
    "matmul.columns_dx",
    "matmul.columns_dw",
    "dora.scales",
];

fn dispatches(call: &Call, caps: &Caps) -> usize {
    let mut lowering = Lowering::new(caps);
    (call.op.lower)(call, &mut lowering);
    lowering.dispatches.len()
}

/// Compares a pair's cases as single dispatches with the same in dispatches of at most `flops`; the ops that were cut.
fn cut_like_whole(gpu: &mut Gpu, place: &str, pair: &Pair, whole: Caps, flops: f64) -> BTreeSet<&'static str> {
    let cut = Caps { dispatch: Cost { flops, bytes: f64::INFINITY }, ..whole };
    let cases = (pair.cases)();
    gpu.pretend(whole);
    let expected = in_buffers(gpu, &cases);
    gpu.pretend(cut);
    for ((case, want), got) in cases.iter().zip(&expected).zip(&in_buffers(gpu, &cases)) {
        assert!(want == got, "{place}: {} \"{}\" differs in several dispatches", case.call.op.name, case.name);
    }
    let is_cut = |case: &&Case| dispatches(&case.call, &cut) > dispatches(&case.call, &whole);
    cases.iter().filter(is_cut).map(|case| case.call.op.name).collect()
}

#[test]
fn a_long_call_in_several_dispatches_gives_the_same_bits() {
    for adapter in Adapter::ALL {
        on(adapter, Options::default(), "cut dispatches", |gpu| {
            let mut seen = BTreeSet::new();
            for (lowering, caps) in lowerings(gpu.own_caps()) {
                let whole = Caps { dispatch: Cost::INFINITE, ..caps };
                for pair in pairs().filter(|pair| pair.ops.iter().any(|op| CUT.contains(&op.name))) {
                    // One unit of work each; several.
                    for flops in [1.0, 1e4] {
                        seen.extend(cut_like_whole(gpu, &format!("{adapter:?} {lowering}"), pair, whole, flops));
                    }
                }
            }
            let wanted: BTreeSet<&str> = CUT.iter().copied().collect();
            assert!(wanted.is_subset(&seen) || std::env::var_os("PLEACH_PAIRS").is_some(), "only {seen:?} were cut");
        });
    }
}

/// A step far beyond any desk: every dispatch keeps within twice the bound (a causal call's last rows cost twice the
/// mean).
#[test]
fn no_dispatch_of_a_large_step_is_longer_than_the_bound() {
    let most = Cost { flops: 12.5e9, bytes: 1.25e9 };
    let caps = Caps { binding_words: 64 << 20, software: false, fill: 64, invocations: 256, dispatch: most };
    let config = ModelConfig::qwen3(150_000, 4096, 2048, 2, 16, 8);
    let shapes = Shapes { micro_rows: 1, buckets: vec![], streams: 2, prefill: 8, ..Shapes::inference(&config, 1, 2) };
    let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, decay: 0.1 };
    let (layout, bytes) = Layout::dry(&[Role::policy(&config)], &shapes, &adamw);
    assert!(bytes > 4 << 30, "{bytes} bytes");
    let mut cut = BTreeSet::new();
    for call in layout.programs.iter().flat_map(|program| &program.calls) {
        if dispatches(call, &caps) > dispatches(call, &Caps { dispatch: Cost::INFINITE, ..caps }) {
            cut.insert(call.op.name);
        }
        let mut lowering = Lowering::new(&caps);
        (call.op.lower)(call, &mut lowering);
        for dispatch in &lowering.dispatches {
            let (cost, kernel) = (dispatch.cost, dispatch.kernel.name);
            assert!(cost.flops <= 2.0 * most.flops, "{} {kernel}: {:.1} GFLOP", call.op.name, cost.flops / 1e9);
            assert!(cost.bytes <= 2.0 * most.bytes, "{} {kernel}: {:.2} GB", call.op.name, cost.bytes / 1e9);
        }
    }
    assert!(CUT[..5].iter().all(|op| cut.contains(op)), "only {cut:?} were cut");
}

/// A value of a template variable that no case of any lowering chooses is a kernel that no test runs.
#[test]
fn every_variant_of_every_kernel_is_chosen_by_some_case() {
    let own = Caps { binding_words: 32 << 20, software: true, fill: 8, invocations: 256, dispatch: Cost::INFINITE };
    let mut chosen: BTreeSet<(&str, &str, u32)> = BTreeSet::new();
    for (_, caps) in lowerings(own) {
        for case in PAIRS.iter().flat_map(|pair| (pair.cases)()) {
            let mut lowering = Lowering::new(&caps);
            (case.call.op.lower)(&case.call, &mut lowering);
            for dispatch in &lowering.dispatches {
                for &(variable, values) in dispatch.kernel.defines {
                    let set = dispatch.defines.iter().find(|(name, _)| *name == variable);
                    chosen.insert((dispatch.kernel.name, variable, set.map_or(values[0], |set| set.1)));
                }
            }
        }
    }
    let all = PAIRS.iter().flat_map(|pair| pair.kernels).flat_map(|kernel| {
        let name = kernel.name;
        kernel.defines.iter().flat_map(move |&(variable, values)| values.iter().map(move |&v| (name, variable, v)))
    });
    let missing: Vec<_> = all.filter(|one| !chosen.contains(one)).collect();
    assert!(missing.is_empty(), "never run: {missing:?}");
}

/// Ops whose weights may exceed a binding: each must have a case that is cut into shards.
const SHARDED: &[&str] = &[
    "embed.forward",
    "embed.backward",
    "matmul.forward",
    "matmul.dx",
    "matmul.dw",
    "head.forward",
    "head.train",
    "norm_sq.partial",
    "adamw.apply",
    "matmul.columns",
    "matmul.columns_dx",
    "matmul.columns_dw",
    "dora.scales",
];

/// Does the case exceed a binding, and can its op be cut at this limit?
fn cuts(case: &Case, caps: &Caps) -> bool {
    let big = tensors(case).iter().any(|(tensor, _)| tensor.shape.len() as u64 > caps.binding_words);
    let lower = || dispatches(&case.call, caps);
    big && std::panic::catch_unwind(std::panic::AssertUnwindSafe(lower)).is_ok()
}

#[test]
fn sharded_weights_give_what_the_spec_gives() {
    for adapter in Adapter::ALL {
        let mut seen: BTreeSet<(bool, &str)> = BTreeSet::new();
        let mut ran = false;
        on(adapter, Options::default(), "sharded kernels", |gpu| {
            ran = true;
            for (software, limit) in [true, false].into_iter().flat_map(|s| [2048, 4096, 16384].map(|limit| (s, limit)))
            {
                let caps = Caps { binding_words: limit, software, ..gpu.own_caps() };
                gpu.pretend(caps);
                for pair in pairs() {
                    let cases: Vec<Case> = (pair.cases)().into_iter().filter(|case| cuts(case, &caps)).collect();
                    let results = in_buffers(gpu, &cases);
                    for (case, got) in cases.iter().zip(&results) {
                        let place = format!("{adapter:?}, bindings of {limit} words");
                        follows(&place, case, &expected(case), got, &pair.tolerance);
                        seen.insert((software, case.call.op.name));
                    }
                }
            }
        });
        for pair in pairs().filter(|_| ran) {
            for op in pair.ops.iter().filter(|op| SHARDED.contains(&op.name)) {
                for software in [true, false] {
                    let name = op.name;
                    assert!(seen.contains(&(software, name)), "{adapter:?}: {name} never cut (software: {software})");
                }
            }
        }
    }
}
