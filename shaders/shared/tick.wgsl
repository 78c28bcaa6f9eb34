// The numbers that change from step to step (spec.rs, Tick).
struct Tick {
    step: u32,
    seed_lo: u32,
    seed_hi: u32,
    draw: u32,
    learning_rate: f32,
    bias1: f32,
    bias2: f32,
    clip: f32,
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    repetition: f32,
    recent: u32,
    spare0: u32,
    spare1: u32,
}
@group(1) @binding(0) var<uniform> tick: Tick;
