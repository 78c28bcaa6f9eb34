//! sample: picks one token per row of logits, in Hugging Face's order of processors.
//!
//! Shapes: logits (b, v); recent (b, r), latest tokens last, 0xFFFFFFFF = empty; keys (b, 2); token (b) u32; logp (b).
//! Repetition penalty over the last `tick.recent` entries (positive logits divided, negative multiplied), temperature
//! (0 = the most likely, the lowest index wins ties), top-k (ties with the k-th stay), top-p (a token stays while the
//! likelier ones hold less than p of the mass; equal ones stay together; the best always stays), min-p (share of the
//! best's probability). Then the first token in index order whose cumulative weight exceeds u times the total, u from
//! Philox(seed = tick.seed, counter = {keys.0, keys.1, 0, 0x5A17}). logp is the token's log-probability under the raw
//! logits: no penalty, temperature 1, nothing left out. Keskar et al. (CTRL), arXiv 1909.05858; Holtzman et al.
//! (top-p),
//! arXiv 1904.09751; Nguyen et al. (min-p), arXiv 2407.01082.

use crate::cases::Build;
use crate::grid::{grid, streaming, threads};
use crate::noise::{philox, unit};
use crate::spec::{Access, Args, Call, Case, Kernel, Lowering, Op, Pair, Tensor, Tick, Tolerance, words};
use bytemuck::{Pod, Zeroable};

/// Pick; also the kernels' uniform.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows.
    pub b: u32,
    /// Vocabulary.
    pub v: u32,
    /// Entries of `recent` per row.
    pub r: u32,
    /// Zero.
    pub spare: u32,
}

/// Last word of the noise counter: no other use of noise shares it.
const PURPOSE: u32 = 0x5A17;

/// reads logits, recent, keys; writes token, logp.
pub static PICK: Op = Op {
    name: "sample.pick",
    spec: pick,
    lower,
    cost: |call| streaming(call, 10.0 * call.reads[0].shape.len() as f64),
};

fn pick(args: &mut Args<'_>) {
    let p: Params = args.params();
    let (v, r, tick) = (p.v as usize, p.r as usize, args.tick);
    for row in 0..p.b as usize {
        let logits = &args.reads[0][row * v..(row + 1) * v];
        let used = r - (tick.recent as usize).min(r);
        let recent = &words(args.reads[1])[row * r..(row + 1) * r][used..];
        let scaled: Vec<f32> = (0..v).map(|id| scale(logits[id], recent.contains(&(id as u32)), tick)).collect();
        let keys = &words(args.reads[2])[2 * row..2 * row + 2];
        let noise = philox([tick.seed_lo, tick.seed_hi], [keys[0], keys[1], 0, PURPOSE]);
        let token = if tick.temperature == 0.0 { greedy(&scaled) } else { draw(&scaled, tick, unit(noise[0])) };
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&x| f64::from(x - top).exp()).sum();
        args.writes[0][row] = f32::from_bits(token as u32);
        args.writes[1][row] = (f64::from(logits[token] - top) - sum.ln()) as f32;
    }
}

fn scale(logit: f32, repeated: bool, tick: &Tick) -> f32 {
    let value = match (repeated, logit > 0.0) {
        (false, _) => logit,
        (true, true) => logit / tick.repetition,
        (true, false) => logit * tick.repetition,
    };
    if tick.temperature > 0.0 { value / tick.temperature } else { value }
}

fn greedy(scaled: &[f32]) -> usize {
    (0..scaled.len()).rev().max_by(|&a, &b| scaled[a].total_cmp(&scaled[b])).expect("a vocabulary is not empty")
}

/// The filters as they are said, on the sorted logits; then the inverse of the cumulative distribution at `u`.
fn draw(scaled: &[f32], tick: &Tick, u: f32) -> usize {
    let mut sorted = scaled.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let top = sorted[0];
    let weight = |z: f32| f64::from(z - top).exp();
    let mut least = f32::NEG_INFINITY;
    if tick.top_k > 0 && (tick.top_k as usize) < sorted.len() {
        least = sorted[tick.top_k as usize - 1];
    }
    if tick.top_p < 1.0 {
        let kept: Vec<f32> = sorted.iter().copied().filter(|&z| z >= least).collect();
        let wanted = f64::from(tick.top_p) * kept.iter().map(|&z| weight(z)).sum::<f64>();
        let likelier = |z: f32| kept.iter().filter(|&&other| other > z).map(|&other| weight(other)).sum::<f64>();
        least = kept.iter().copied().take_while(|&z| z == top || likelier(z) < wanted).last().unwrap_or(top);
    }
    let weights: Vec<f64> = scaled
        .iter()
        .map(|&z| if z >= least && weight(z) >= f64::from(tick.min_p) { weight(z) } else { 0.0 })
        .collect();
    let aim = f64::from(u) * weights.iter().sum::<f64>();
    let mut passed = 0.0;
    let hit = weights.iter().position(|weight| {
        passed += weight;
        passed > aim
    });
    hit.unwrap_or_else(|| greedy(scaled))
}

/// The call: logits (b, v), recent (b, r), keys (b, 2) -> token (b), logp (b).
pub fn call(logits: Tensor, recent: Tensor, keys: Tensor, token: Tensor, logp: Tensor) -> Call {
    let (b, v, r) = (logits.shape.rows(), logits.shape.row_len(), recent.shape.row_len());
    assert!(recent.shape.rows() == b && keys.shape.len() == 2 * b, "recent tokens and noise keys of each row");
    assert!(token.shape.len() == b && logp.shape.len() == b, "one token per row");
    let params = Params { b: b as u32, v: v as u32, r: r as u32, spare: 0 };
    Call::new(&PICK, &params, &[logits, recent, keys], &[token, logp])
}

static SCALE_KERNEL: Kernel = Kernel {
    name: "sample.scale",
    source: include_str!("sample.wgsl"),
    entry: "scale",
    storage: &[("logits", Access::Read), ("recent", Access::Read), ("scaled_out", Access::Write)],
    tick: true,
    params_size: 16,
    defines: &[("WG", &[256])],
    overrides: &[],
};

static PICK_KERNEL: Kernel = Kernel {
    name: "sample.pick",
    entry: "pick",
    storage: &[
        ("logits", Access::Read),
        ("scaled", Access::Read),
        ("keys", Access::Read),
        ("token", Access::Write),
        ("logp", Access::Write),
    ],
    defines: &[("WG", &[256, 8])],
    ..SCALE_KERNEL
};

fn lower(call: &Call, l: &mut Lowering<'_>) {
    let p: Params = call.params();
    let [logits, recent, keys] = call.reads[..] else { panic!("sample.pick reads three tensors") };
    let (logits, recent, keys) = (l.whole(logits), l.whole(recent), l.whole(keys));
    let (token, logp) = (l.whole(call.writes[0]), l.whole(call.writes[1]));
    let scaled = l.scratch(logits.len);
    let cost = (PICK.cost)(call);
    // A barrier costs a software adapter dearly: there one row is the work of one subgroup.
    let width = if l.caps.software { 8 } else { 256 };
    let elements = threads(logits.len as usize, 64);
    l.dispatch(&SCALE_KERNEL, &p, &[logits, recent, scaled], elements, cost);
    let bound = [logits, scaled, keys, token, logp];
    l.dispatch_with(&PICK_KERNEL, &p, &bound, grid(p.b as usize), cost, &[("WG", width)], &[]);
}

/// Logits in steps of 1/4 in a shuffled order: far enough apart that rounding cannot move a limit.
fn logits(b: usize, v: usize) -> Vec<f32> {
    let order = |row: usize, id: usize| (id * 7919 + row * 31 + 5) % v;
    (0..b * v).map(|i| 4.0 - 0.25 * order(i / v, i % v).min(60) as f32).collect()
}

fn cases() -> Vec<Case> {
    let off = Tick { temperature: 1.0, top_p: 1.0, repetition: 1.0, seed_lo: 17, seed_hi: 3, ..Tick::default() };
    [
        ("one token", 1, 1, off),
        ("plain", 33, 65, off),
        ("greedy", 5, 300, Tick { temperature: 0.0, ..off }),
        ("greedy with penalty", 7, 65, Tick { temperature: 0.0, repetition: 3.0, recent: 4, ..off }),
        ("hot", 9, 1021, Tick { temperature: 3.0, ..off }),
        ("top-k", 33, 257, Tick { top_k: 7, ..off }),
        ("top-k of more than there are", 3, 20, Tick { top_k: 50, ..off }),
        ("top-p", 33, 65, Tick { top_p: 0.83, ..off }),
        ("top-p of nothing", 3, 65, Tick { top_p: 0.0, ..off }),
        ("min-p", 33, 65, Tick { min_p: 0.3, ..off }),
        ("repetition, only the latest", 17, 65, Tick { repetition: 1.7, recent: 3, ..off }),
        ("everything", 33, 1500, Tick { temperature: 0.7, top_k: 20, top_p: 0.87, min_p: 0.04, recent: 9, ..off }),
    ]
    .into_iter()
    .map(|(name, b, v, tick)| {
        let r = 6;
        let recent: Vec<u32> =
            (0..b * r).map(|i| if i % 5 == 0 { u32::MAX } else { (i * i * 13 % v) as u32 }).collect();
        let keys: Vec<u32> = (0..2 * b as u32).collect();
        let build = Build::new(name).tick(tick).read(&[b, v], logits(b, v)).words(&[b, r], &recent);
        let params = Params { b: b as u32, v: v as u32, r: r as u32, spare: 0 };
        build.words(&[b, 2], &keys).write_words(&[b]).write(&[b]).call(&PICK, &params)
    })
    .collect()
}

/// The pair.
pub const PAIR: Pair = Pair {
    name: "sample",
    ops: &[&PICK],
    kernels: &[&SCALE_KERNEL, &PICK_KERNEL],
    cases,
    gradients: Vec::new,
    tolerance: Tolerance {
        absolute: 1e-5,
        relative: 1e-6,
        why: "tokens are equal; log-probabilities are an exp, a sum and a log of f32 numbers",
    },
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::values;

    const PLAIN: Tick = Tick {
        step: 0,
        seed_lo: 0,
        seed_hi: 0,
        draw: 0,
        learning_rate: 0.0,
        bias1: 0.0,
        bias2: 0.0,
        clip: 0.0,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repetition: 1.0,
        recent: 0,
        spare: [0; 2],
    };

    /// The tokens that some u reaches.
    fn reached(scaled: &[f32], tick: &Tick) -> Vec<usize> {
        let mut all: Vec<usize> = (0..1000).map(|i| draw(scaled, tick, i as f32 / 1000.0)).collect();
        all.dedup();
        all
    }

    #[test]
    fn filters_keep_what_hugging_face_keeps() {
        // Probabilities 0.5, 0.3, 0.15, 0.05 in another order.
        let scaled = [0.15f32.ln(), 0.5f32.ln(), 0.05f32.ln(), 0.3f32.ln()];
        assert_eq!(reached(&scaled, &PLAIN), [0, 1, 2, 3]);
        assert_eq!(reached(&scaled, &Tick { top_k: 2, ..PLAIN }), [1, 3]);
        assert_eq!(reached(&scaled, &Tick { top_p: 0.7, ..PLAIN }), [1, 3]);
        assert_eq!(reached(&scaled, &Tick { top_p: 0.4, ..PLAIN }), [1]);
        assert_eq!(reached(&scaled, &Tick { top_p: 0.9, ..PLAIN }), [0, 1, 3]);
        assert_eq!(reached(&scaled, &Tick { min_p: 0.2, ..PLAIN }), [0, 1, 3]);
        assert_eq!(reached(&scaled, &Tick { top_k: 3, top_p: 0.5, ..PLAIN }), [1]);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let scaled = values(3, 20);
        let sum: f64 = scaled.iter().map(|&z| f64::from(z).exp()).sum();
        let mut counts = [0u32; 20];
        for i in 0..200_000u32 {
            counts[draw(&scaled, &PLAIN, unit(philox([1, 2], [i, 0, 0, PURPOSE])[0]))] += 1;
        }
        for (id, &count) in counts.iter().enumerate() {
            let expected = f64::from(scaled[id]).exp() / sum;
            let deviation = (expected * (1.0 - expected) / 200_000.0).sqrt();
            assert!((f64::from(count) / 200_000.0 - expected).abs() < 5.0 * deviation, "token {id}");
        }
    }

    #[test]
    fn the_lowest_index_wins_ties() {
        assert_eq!(greedy(&[1.0, 2.0, 2.0, 0.0]), 1);
    }
}
