//! Every pair's gradient rule against central differences of its specs.

use crate::local::Local;
use crate::numbers::Random;
use pleach_shaders::PAIRS;
use pleach_shaders::spec::{Dtype, GradientCheck, Tensor, Tick};

/// Elements that are compared per tensor.
const SAMPLES: usize = 200;

/// Runs a check's forward pass and weighs the output.
fn loss(check: &GradientCheck, inputs: &[(Tensor, Vec<f32>, bool)], weights: &[f32]) -> f64 {
    let mut local = Local::new(inputs, tick());
    let tensors: Vec<Tensor> = inputs.iter().map(|(tensor, ..)| *tensor).collect();
    let output = (check.record)(&mut local, &tensors);
    local.data[&output.id]
        .iter()
        .zip(weights)
        .map(|(&y, &w)| if w == 0.0 { 0.0 } else { f64::from(y) * f64::from(w) })
        .sum()
}

fn tick() -> Tick {
    Tick {
        step: 3,
        seed_lo: 17,
        seed_hi: 5,
        draw: 2,
        learning_rate: 1e-2,
        bias1: 0.5,
        bias2: 0.1,
        clip: 0.7,
        ..Tick::default()
    }
}

/// The weights of the outputs: random; a root (the head) brings its own derivatives, the input of the output's shape.
fn weights(check: &GradientCheck, local: &Local, output: Tensor, random: &mut Random) -> Vec<f32> {
    if !local.has_root() {
        return (0..output.shape.len()).map(|_| random.normal()).collect();
    }
    let given = check
        .inputs
        .iter()
        .rev()
        .find(|(tensor, _, wanted)| !wanted && tensor.dtype == Dtype::F32 && tensor.shape == output.shape);
    given.unwrap_or_else(|| panic!("{}: a root needs its derivatives among the inputs", check.name)).1.clone()
}

/// Central differences of fourth order: the error of the truncated series is far below that of f32 rounding.
fn slope(check: &GradientCheck, input: usize, element: usize, weights: &[f32]) -> f64 {
    let mut inputs = check.inputs.clone();
    let at = check.inputs[input].1[element];
    let step = 0.02 * at.abs().max(0.5);
    let mut around = |steps: f32| {
        let moved = at + steps * step;
        inputs[input].1[element] = moved;
        (loss(check, &inputs, weights), f64::from(moved))
    };
    let ((f1, x1), (f2, x2), (f3, x3), (f4, x4)) = (around(-2.0), around(-1.0), around(1.0), around(2.0));
    let (near, far) = ((f3 - f2) / (x3 - x2), (f4 - f1) / (x4 - x1));
    (4.0 * near - far) / 3.0
}

/// The largest deviation of each wanted input, as a share of the gradient's largest magnitude.
fn run(pair: &str, check: &GradientCheck) -> usize {
    let mut random = Random::new(0x6AD);
    let tensors: Vec<Tensor> = check.inputs.iter().map(|(tensor, ..)| *tensor).collect();
    let mut local = Local::new(&check.inputs, tick());
    let output = (check.record)(&mut local, &tensors);
    assert!(local.data[&output.id].iter().all(|y| y.is_finite()), "{pair}/{}: the output", check.name);
    let weights = weights(check, &local, output, &mut random);
    local.backward(output, weights.clone());
    let (mut compared, mut largest) = (0, 0f64);
    for (input, (tensor, data, wanted)) in check.inputs.iter().enumerate() {
        if !wanted {
            continue;
        }
        let gradient = local.gradient_of(*tensor);
        let scale = gradient.iter().fold(0f64, |most, &g| most.max(f64::from(g).abs()));
        assert!(scale.is_finite(), "{pair}/{}: input {input} has gradient {scale}", check.name);
        largest = scale.max(largest);
        let elements: Vec<usize> = match data.len() <= SAMPLES {
            true => (0..data.len()).collect(),
            false => (0..SAMPLES).map(|_| random.below(data.len())).collect(),
        };
        for element in elements {
            let (rule, measured) = (f64::from(gradient[element]), slope(check, input, element, &weights));
            assert!(
                (rule - measured).abs() <= 2e-3 * scale + 2e-4,
                "{pair}/{}: input {input} element {element}: the rule says {rule}, differences {measured} (scale {scale})",
                check.name
            );
            compared += 1;
        }
    }
    assert!(compared > 0 && largest > 0.0, "{pair}/{}: no gradient arrives at all", check.name);
    compared
}

#[test]
fn every_rule_follows_central_differences() {
    for pair in PAIRS {
        for check in (pair.gradients)() {
            run(pair.name, &check);
        }
    }
}

/// The method itself: a rule that is wrong by one percent does not pass.
#[test]
fn a_wrong_rule_is_noticed() {
    use pleach_shaders::spec::{Args, Call, Cost, Lowering, Op, Recorder, Shape};
    fn square(args: &mut Args<'_>) {
        let factor: f32 = args.params();
        for (y, x) in args.writes[0].iter_mut().zip(args.reads[0]) {
            *y = factor * x * x;
        }
    }
    fn slope(args: &mut Args<'_>) {
        let factor: f32 = args.params();
        for i in 0..args.writes[0].len() {
            args.writes[0][i] = factor * 2.0 * args.reads[1][i] * args.reads[0][i];
        }
    }
    fn never(_: &Call, _: &mut Lowering<'_>) {
        unreachable!("only the spec runs here")
    }
    static SQUARE: Op = Op { name: "test.square", spec: square, lower: never, cost: |_| Cost::default() };
    static SLOPE: Op = Op { name: "test.slope", spec: slope, lower: never, cost: |_| Cost::default() };
    fn record(r: &mut dyn Recorder, x: Tensor, factor: f32) -> Tensor {
        let y = r.tensor("y", &x.shape.dims(), Dtype::F32);
        r.call(Call::new(&SQUARE, &1f32, &[x], &[y]));
        r.rule(
            y,
            Box::new(move |r, dy| {
                let (dx, _) = r.gradient(x);
                r.call(Call::new(&SLOPE, &factor, &[dy, x], &[dx]));
            }),
        );
        y
    }
    let x = Tensor { id: 0, shape: Shape::new(&[5]), dtype: Dtype::F32 };
    let check =
        |record| GradientCheck { name: "square", inputs: vec![(x, vec![0.5, -1.0, 2.0, 3.0, -0.1], true)], record };
    assert_eq!(run("test", &check(|r, inputs| record(r, inputs[0], 1.0))), 5);
    let wrong = std::panic::catch_unwind(|| run("test", &check(|r, inputs| record(r, inputs[0], 1.01))));
    assert!(wrong.is_err(), "a rule that is wrong by 1 % passed");
}
