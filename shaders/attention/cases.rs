//! Cases of attention: intervals of every kind, head widths with and without vectors, grouped heads, a cache.

use super::{AttentionShape, BACKWARD, FORWARD, Params, record, spans};
use crate::cases::{Build, input, input_words};
use crate::noise::values;
use crate::sink;
use crate::spec::{Args, Case, GradientCheck, Tick};

/// Causal, within documents of `document` rows and a window of `window` keys.
fn causal(n: u32, document: u32, window: u32) -> Vec<(u32, u32)> {
    (0..n).map(|i| ((i / document * document).max((i + 1).saturating_sub(window)), i + 1)).collect()
}

struct Problem {
    name: &'static str,
    seen: Vec<(u32, u32)>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    softcap: f32,
    dqkv: u32,
}

fn problems() -> Vec<Problem> {
    let base = |name, seen, heads, kv_heads, head_dim| Problem {
        name,
        seen,
        heads,
        kv_heads,
        head_dim,
        softcap: 0.0,
        dqkv: sink::WRITE,
    };
    let all = u32::MAX;
    vec![
        base("one row, one channel", causal(1, all, all), 1, 1, 1),
        base("causal, width 8", causal(37, all, all), 2, 2, 8),
        base("causal, width 20, grouped heads", causal(50, all, all), 6, 2, 20),
        base("causal, odd width", causal(21, all, all), 2, 1, 5),
        Problem { dqkv: sink::ADD, ..base("packed documents, width 32", causal(150, 23, all), 4, 4, 32) },
        base("sliding window, width 64", causal(133, all, 20), 2, 1, 64),
        Problem { softcap: 1.5, ..base("soft-cap, width 128", causal(41, 30, 17), 2, 2, 128) },
        base("grouped heads, width 96", causal(45, 17, all), 4, 1, 96),
        base("packed documents, width 160", causal(70, 41, all), 2, 1, 160),
        base("wider than a register tile", causal(9, all, all), 1, 1, 264),
        base("both directions", (0..70).map(|_| (0, 70)).collect(), 2, 1, 16),
        base("a row that sees nothing", (0..40).map(|i| if i < 33 { (0, i + 1) } else { (0, 0) }).collect(), 2, 2, 32),
        Problem { softcap: 2.0, dqkv: sink::ADD, ..base("soft-cap, odd width", causal(19, 7, 5), 3, 3, 3) },
    ]
}

/// Scores up to a few units: large enough that the softmax is far from flat.
fn qkv(key: u32, len: usize) -> Vec<f32> {
    values(key, len).iter().map(|x| 2.0 * x).collect()
}

fn params(p: &Problem) -> Params {
    let (n, d) = (p.seen.len(), p.head_dim);
    Params {
        n: n as u32,
        m: n as u32,
        heads: p.heads as u32,
        kv_heads: p.kv_heads as u32,
        head_dim: d as u32,
        q_stride: ((p.heads + 2 * p.kv_heads) * d) as u32,
        kv_stride: ((p.heads + 2 * p.kv_heads) * d) as u32,
        k_offset: (p.heads * d) as u32,
        v_offset: ((p.heads + p.kv_heads) * d) as u32,
        scale: 1.0 / (d as f32).sqrt(),
        softcap: p.softcap,
        dqkv: p.dqkv,
        apart: 0,
    }
}

/// y and lse of a problem by the spec: what the backward pass is given.
fn forward_of(params: &Params, qkv: &[f32], spans: &[u32]) -> (Vec<f32>, Vec<f32>) {
    let (n, h, d) = (params.n as usize, params.heads as usize, params.head_dim as usize);
    let (mut y, mut lse) = (vec![0.0; n * h * d], vec![0.0; n * h]);
    (FORWARD.spec)(&mut Args {
        params: bytemuck::bytes_of(params),
        tick: &Tick::default(),
        reads: &[qkv, qkv, bytemuck::cast_slice(spans)],
        writes: &mut [&mut y, &mut lse],
    });
    (y, lse)
}

fn training(p: &Problem) -> [Case; 2] {
    let params = params(p);
    let (n, width, h, y_width) = (p.seen.len(), params.q_stride as usize, p.heads, p.heads * p.head_dim);
    let (qkv, spans) = (qkv(1, n * width), spans(&p.seen));
    let (y, lse) = forward_of(&params, &qkv, &spans);
    // q and kv are one tensor in training; as two reads they are the same numbers.
    let build = Build::new(p.name).read(&[n, width], qkv.clone()).read(&[n, width], qkv.clone());
    let forward = build.words(&[n, 4], &spans).write(&[n, y_width]).write(&[n, h]).call(&FORWARD, &params);
    let build = Build::new(p.name).read(&[n, y_width], values(3, n * y_width)).read(&[n, width], qkv);
    let build = build.words(&[n, 4], &spans).read(&[n, y_width], y).read(&[n, h], lse);
    [forward, build.write_over(&[n, width], values(4, n * width)).call(&BACKWARD, &params)]
}

/// `rows` queries against a cache of `slots` sequences of `context` rows; keys and values lie behind other columns.
fn cache(name: &'static str, seen: &[(u32, u32)], m: usize, [h, g, d]: [usize; 3], apart: bool) -> Case {
    let (n, wq, wkv) = (seen.len(), (h + 2 * g) * d, 2 * g * d);
    let params = Params {
        n: n as u32,
        m: m as u32,
        heads: h as u32,
        kv_heads: g as u32,
        head_dim: d as u32,
        q_stride: wq as u32,
        kv_stride: wkv as u32,
        k_offset: 0,
        v_offset: (g * d) as u32,
        scale: 1.0 / (d as f32).sqrt(),
        softcap: 0.0,
        dqkv: sink::ABSENT,
        apart: u32::from(apart),
    };
    let spans: Vec<u32> = seen.iter().flat_map(|&(lo, hi)| [lo, hi, 0, 0]).collect();
    let build = Build::new(name).read(&[n, wq], qkv(1, n * wq)).read(&[m, wkv], qkv(2, m * wkv));
    build.words(&[n, 4], &spans).write(&[n, h * d]).write(&[n, h]).call(&FORWARD, &params)
}

pub(super) fn cases() -> Vec<Case> {
    let mut out: Vec<Case> = problems().iter().flat_map(training).collect();
    out.push(cache("decode, slots in any order", &[(300, 420), (0, 1), (200, 263), (5, 5)], 450, [6, 2, 64], true));
    out.push(cache("decode, odd width", &[(90, 100), (0, 70)], 100, [2, 1, 7], true));
    out.push(cache("decode, wide heads", &[(3, 180)], 200, [2, 2, 136], true));
    let prefill: Vec<(u32, u32)> = (0..20).map(|i| (100, 101 + i)).chain((0..30).map(|i| (0, 1 + i))).collect();
    out.push(cache("prefill of two slots", &prefill, 200, [4, 2, 32], false));
    out
}

pub(super) fn gradients() -> Vec<GradientCheck> {
    let inputs = || {
        let words = spans(&causal(7, 5, 4));
        vec![input(0, &[7, 16], values(1, 112), true), input_words(1, &[7, 4], &words)]
    };
    const SHAPE: AttentionShape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 4, scale: 0.5, softcap: 0.0 };
    vec![
        GradientCheck { name: "attention", inputs: inputs(), record: |r, t| record(r, t[0], t[1], SHAPE) },
        GradientCheck {
            name: "attention with soft-cap",
            inputs: inputs(),
            record: |r, t| record(r, t[0], t[1], AttentionShape { softcap: 0.7, ..SHAPE }),
        },
    ]
}
