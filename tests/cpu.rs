//! The cpu device against the definitions: every case of every pair, for several numbers of threads, bit for bit.
#![allow(clippy::unwrap_used)]

use pleach_runtime::device::cpu::{Cpu, CpuOptions};
use pleach_runtime::device::{Device, ProgramId};
use pleach_runtime::tape::{Activation, Program};
use pleach_shaders::PAIRS;
use pleach_shaders::spec::{Call, Case, Dtype, Pair, Shape, Tensor, Tick, Tolerance};

/// Runs a case on a device, on buffers that outlive programs, and returns its writes.
fn run(device: &mut Cpu, case: &Case) -> Vec<Vec<u32>> {
    let mut allocate = |tensors: &[Tensor], contents: &[Vec<f32>]| -> Vec<Tensor> {
        let mut out = Vec::new();
        for (&tensor, content) in tensors.iter().zip(contents) {
            out.push(if tensor.is_none() {
                tensor
            } else {
                let t = device.allocate("case", tensor.shape, tensor.dtype).unwrap();
                device.write(t, 0, bytemuck::cast_slice(content)).unwrap();
                t
            });
        }
        out
    };
    let reads = allocate(&case.call.reads, &case.reads);
    let writes = allocate(&case.call.writes, &case.writes);
    let call = Call { reads: reads.clone(), writes: writes.clone(), ..case.call.clone() };
    let program = Program { name: "case".into(), calls: vec![call], activations: vec![], splits: vec![] };
    let id = device.build(&[program]).unwrap()[0];
    device.run(id, 0, &case.tick).unwrap();
    let mut out = Vec::new();
    for tensor in &writes {
        let mut words = vec![0; if tensor.is_none() { 0 } else { tensor.shape.len() }];
        if !tensor.is_none() {
            device.read(*tensor, 0, &mut words).unwrap();
        }
        out.push(words);
    }
    for &tensor in reads.iter().chain(&writes).filter(|t| !t.is_none()) {
        device.free(tensor);
    }
    out
}

fn open(threads: usize, specs_only: bool) -> Cpu {
    Cpu::open(CpuOptions { threads: Some(threads), specs_only }).unwrap()
}

/// Panics where `got` leaves the tolerance around `want`.
fn compare(place: &str, tensor: &Tensor, got: &[u32], want: &[u32], tolerance: &Tolerance) {
    if tensor.dtype == Dtype::U32 {
        assert_eq!(got, want, "{place}");
        return;
    }
    let (got, want): (&[f32], &[f32]) = (bytemuck::cast_slice(got), bytemuck::cast_slice(want));
    let largest = want.iter().filter(|v| v.is_finite()).fold(0.0_f32, |m, v| m.max(v.abs()));
    let allowed = tolerance.absolute + tolerance.relative * largest;
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= allowed;
        assert!(same, "{place}: element {i} is {g}, the definition says {w} (allowed {allowed:e})");
    }
}

/// Every case of every pair, with its place in words.
fn each_case(mut body: impl FnMut(&Pair, &Case, &str)) {
    let mut cases = 0;
    for pair in PAIRS {
        for case in (pair.cases)() {
            body(pair, &case, &format!("{} / {}", case.call.op.name, case.name));
            cases += 1;
        }
    }
    assert!(cases > PAIRS.len(), "pairs come with cases");
}

#[test]
fn fast_versions_agree_with_the_definitions() {
    let (mut fast, mut specs) = (open(2, false), open(2, true));
    each_case(|pair, case, place| {
        let (got, want) = (run(&mut fast, case), run(&mut specs, case));
        for (i, tensor) in case.call.writes.iter().enumerate() {
            compare(&format!("{place}, write {i}"), tensor, &got[i], &want[i], &pair.tolerance);
        }
    });
}

#[test]
fn threads_and_repetition_change_no_bit() {
    let mut devices: Vec<Cpu> = [1, 2, 3].map(|threads| open(threads, false)).into();
    each_case(|_, case, place| {
        let want = run(&mut devices[0], case);
        assert!(run(&mut devices[0], case) == want, "{place}: another run, other bits");
        for device in &mut devices[1..] {
            assert!(run(device, case) == want, "{place}: {} threads, other bits", device.threads());
        }
    });
}

#[test]
fn every_op_of_a_training_step_has_a_fast_version() {
    let rare = ["cast.", "sample."];
    for op in PAIRS.iter().flat_map(|pair| pair.ops) {
        if !rare.iter().any(|prefix| op.name.starts_with(prefix)) {
            assert!(Cpu::is_fast(op.name), "{} has no fast version", op.name);
        }
    }
}

/// A program of doublings: x -> a -> b -> y, with x and y outside.
fn doublings(x: Tensor, y: Tensor, splits: Vec<usize>) -> Program {
    let shape = x.shape;
    let activation = |name: &str| Activation { name: name.into(), shape, dtype: Dtype::F32 };
    let inner = |id| Tensor { id, shape, dtype: Dtype::F32 };
    let double = |a, y| pleach_shaders::add::copy_call(a, y, 2.0);
    Program {
        name: "doublings".into(),
        calls: vec![double(x, inner(0)), double(inner(0), inner(1)), double(inner(1), y)],
        activations: vec![activation("a"), activation("b")],
        splits,
    }
}

#[test]
fn programs_run_in_parts_and_open_up_for_bisecting() {
    let mut cpu = open(2, false);
    let shape = Shape::new(&[1000]);
    let x = cpu.allocate("x", shape, Dtype::F32).unwrap();
    let y = cpu.allocate("y", shape, Dtype::F32).unwrap();
    let program = doublings(x, y, vec![2]);
    let predicted = cpu.predict(std::slice::from_ref(&program));
    let id = cpu.build(std::slice::from_ref(&program)).unwrap()[0];
    assert_eq!(cpu.held().activations, predicted);
    assert_eq!(cpu.held().persistent, 2 * 1008 * 4, "buffers end on a cache line");
    let input: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    cpu.write(x, 0, bytemuck::cast_slice(&input)).unwrap();
    let tick = Tick::default();
    let result = |cpu: &mut Cpu| {
        let mut out = vec![0_u32; 1000];
        cpu.read(y, 0, &mut out).unwrap();
        bytemuck::cast_slice::<u32, f32>(&out).to_vec()
    };
    cpu.run(id, 0, &tick).unwrap();
    assert_eq!(result(&mut cpu)[7], 0.0, "the second part has not run");
    cpu.run(id, 1, &tick).unwrap();
    assert_eq!(result(&mut cpu)[7], 56.0);
    peek_and_poke(&mut cpu, id, program.activations.len());
    assert_eq!(result(&mut cpu)[7], 6.0);
    cpu.clear(&[y]).unwrap();
    assert_eq!(result(&mut cpu), vec![0.0; 1000]);
    cpu.free(x);
    assert_eq!(cpu.held().persistent, 1008 * 4);
}

/// Overwrites the last activation with threes and runs the last call.
fn peek_and_poke(cpu: &mut Cpu, id: ProgramId, activations: usize) {
    let b = Tensor { id: activations as u32 - 1, shape: Shape::new(&[1000]), dtype: Dtype::F32 };
    let mut seen = vec![0_u32; 1000];
    cpu.peek(id, b, &mut seen).unwrap();
    assert_eq!(f32::from_bits(seen[7]), 28.0);
    cpu.poke(id, b, &vec![3.0_f32.to_bits(); 1000]).unwrap();
    cpu.run_calls(id, 2, 3, &Tick::default()).unwrap();
}
