//! What does not fit a device's bindings, said in words before anything is lowered.

use crate::fault::Refusal;
use crate::tape::Program;
use pleach_shaders::PAIRS;
use pleach_shaders::spec::{Call, Caps, Shape, Tensor};

/// Ops that take a tensor in shards, with the places of those tensors among their reads and writes. The other ops of
/// the pairs bind all that they touch whole.
const SHARDED: &[(&str, &[usize], &[usize])] = &[
    ("embed.forward", &[0], &[]),
    ("embed.backward", &[], &[0]),
    ("matmul.forward", &[1], &[]),
    ("matmul.dx", &[1], &[]),
    ("matmul.dw", &[], &[0]),
    ("matmul.columns", &[1], &[]),
    ("matmul.columns_dx", &[1], &[]),
    ("matmul.columns_dw", &[], &[0]),
    ("dora.scales", &[0], &[]),
    ("head.forward", &[1], &[]),
    ("head.train", &[1], &[2]),
    ("norm_sq.partial", &[0], &[]),
    ("adamw.apply", &[0, 1, 2, 3], &[0, 1, 2, 3]),
];

/// Rows of a shard at least: one shard begins where another ends, aligned.
const SHARD_ROWS: u64 = 64;

/// What of a program does not fit the device's bindings, as a person can change it.
pub(super) fn refusal(program: &Program, caps: &Caps) -> Option<Refusal> {
    let most = caps.binding_words;
    if let Some(big) = program.activations.iter().find(|a| a.shape.len() as u64 > most) {
        let hint = "take fewer rows per micro-batch (the window stays the same), or a shorter context";
        return Some(words(program, &big.name, &big.shape, big.shape.len() as u64, most, hint));
    }
    program.calls.iter().find_map(|call| of_call(program, call, most))
}

fn of_call(program: &Program, call: &Call, most: u64) -> Option<Refusal> {
    if ["head.forward", "head.train"].contains(&call.op.name) {
        // The smallest chunk that the head works in.
        let (rows, vocab) = (call.reads[0].shape.rows().min(SHARD_ROWS as usize), call.reads[1].shape.rows());
        let logits = Shape::new(&[rows, vocab.next_multiple_of(4)]);
        if logits.len() as u64 > most {
            let hint = "take a smaller vocabulary, or use `--device cpu`";
            return Some(words(program, "a chunk of logits", &logits, logits.len() as u64, most, hint));
        }
    }
    let of = SHARDED.iter().find(|(op, ..)| *op == call.op.name);
    let (reads, writes) = of.map_or((&[][..], &[][..]), |&(_, reads, writes)| (reads, writes));
    let reads = call.reads.iter().enumerate().map(|(at, tensor)| (tensor, reads.contains(&at)));
    let writes = call.writes.iter().enumerate().map(|(at, tensor)| (tensor, writes.contains(&at)));
    let persistent = |tensor: &Tensor| !tensor.is_none() && tensor.is_persistent();
    for (tensor, in_shards) in reads.chain(writes).filter(|(tensor, _)| persistent(tensor)) {
        let all = tensor.shape.len() as u64;
        let smallest = if in_shards { all.min(SHARD_ROWS * tensor.shape.row_len() as u64) } else { all };
        if smallest > most && is_ours(call.op.name) {
            let hint =
                "generate fewer sequences at once or shorter ones, or take a smaller model; or use `--device cpu`";
            return Some(words(program, &format!("a tensor of {}", call.op.name), &tensor.shape, smallest, most, hint));
        }
    }
    None
}

/// An op from elsewhere (a test's) answers for itself.
fn is_ours(op: &str) -> bool {
    PAIRS.iter().any(|pair| pair.ops.iter().any(|known| known.name == op))
}

fn words(program: &Program, name: &str, shape: &Shape, need: u64, most: u64, hint: &str) -> Refusal {
    // Rounded away from each other: what is refused must not read as if it fitted.
    let (need, most) = (need.div_ceil(1 << 18), most >> 18);
    Refusal::new(
        format!("the program \"{}\" does not fit the device", program.name),
        format!("{name} {shape:?} takes {need} MiB, a binding of this device {most}"),
        hint,
    )
    .with_code(3)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pleach_shaders::spec::{Cost, Lowering};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// The list above says what the lowerings do: what is not refused can be lowered, what is refused cannot.
    #[test]
    fn exactly_what_cannot_be_lowered_is_refused() {
        let (mut refused, mut fine) = (0, 0);
        for binding_words in [64, 256, 1024, 2048, 16384] {
            for software in [false, true] {
                let caps = Caps { binding_words, software, fill: 8, invocations: 256, dispatch: Cost::INFINITE };
                for case in PAIRS.iter().flat_map(|pair| (pair.cases)()) {
                    let mut call = case.call.clone();
                    for tensor in call.reads.iter_mut().chain(&mut call.writes).filter(|tensor| !tensor.is_none()) {
                        tensor.id |= Tensor::PERSISTENT;
                    }
                    let program = Program {
                        name: case.name.into(),
                        calls: vec![call.clone()],
                        activations: vec![],
                        splits: vec![],
                    };
                    let mut lowering = Lowering::new(&caps);
                    let lowers = catch_unwind(AssertUnwindSafe(|| (call.op.lower)(&call, &mut lowering))).is_ok();
                    let said = refusal(&program, &caps);
                    let place = format!("{} \"{}\", bindings of {binding_words} words", call.op.name, case.name);
                    // Scratch may need more than the tensors do: such small bindings are no device's.
                    assert!(said.is_none() || !lowers, "{place}: refused, but it can be lowered: {said:?}");
                    assert!(said.is_some() || lowers || binding_words < 16384, "{place}: panics unannounced");
                    refused += usize::from(said.is_some());
                    fine += usize::from(lowers);
                }
            }
        }
        assert!(refused > 100 && fine > 100, "{refused} refused, {fine} fine");
    }
}
