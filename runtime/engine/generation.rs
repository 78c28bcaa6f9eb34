//! Generation: prompts in, sampled tokens out, several sequences at once, each step handed to the caller.

use super::Engine;
use super::layout::{Key, POLICY, Streams, Which};
use crate::fault::{Fault, Refusal};
use crate::model::generate::{DecodeInputs, RECENT};
use pleach_shaders::spec::Tick;
use serde::{Deserialize, Serialize};

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 = the most likely token always.
    pub temperature: f32,
    /// Keep this many most likely tokens; 0 = all.
    pub top_k: u32,
    /// Keep the smallest set with this total probability; 1 = all.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely; 0 = none.
    pub min_p: f32,
    /// Penalty on recent tokens; 1 = off.
    pub repetition_penalty: f32,
    /// Key of the draws.
    pub seed: u64,
    /// New tokens at most.
    pub max_tokens: usize,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.8,
            top_k: 0,
            top_p: 0.95,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
            max_tokens: 128,
        }
    }
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The end-of-sequence token came; it is not part of the tokens.
    Eos,
    /// As many tokens as asked for.
    Length,
    /// The model's context is full, or as much of it as was laid out.
    Context,
    /// The caller said stop.
    Caller,
}

/// One finished sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// New tokens, the end-of-sequence token left out.
    pub tokens: Vec<u32>,
    /// Log-probability of each new token at temperature 1, before filters.
    pub log_probabilities: Vec<f32>,
    /// Why it ended.
    pub ended: Ended,
    /// The token that ended it, where one did.
    pub end: Option<u32>,
}

/// One running sequence.
struct Stream {
    all: Vec<u32>,
    prompt: usize,
    out: Generated,
    done: bool,
}

impl Engine {
    /// Continues every prompt with the first role's model. `emit(sequence, token)` is called for each new token and may
    /// say `false` to end that sequence. Prompts are taken in groups of as many streams as the layout has; a sequence's
    /// draws depend on the seed, its own number and its position only.
    pub fn generate(
        &mut self,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        eos: &[u32],
        emit: &mut dyn FnMut(usize, u32) -> bool,
    ) -> Result<Vec<Generated>, Fault> {
        self.generate_from(0, prompts, sampling, eos, emit)
    }

    /// The same for a part of a longer list of prompts, in which the first one here has number `first`.
    pub fn generate_from(
        &mut self,
        first: usize,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        eos: &[u32],
        emit: &mut dyn FnMut(usize, u32) -> bool,
    ) -> Result<Vec<Generated>, Fault> {
        if self.layout.members[POLICY].streams.is_none() {
            let name = &self.layout.members[POLICY].role.name;
            let (what, hint) = ("the model was laid out without generation", "this is a mistake of the program");
            return Err(
                Refusal::new(what, format!("role \"{name}\" has no programs that continue prompts"), hint).into()
            );
        }
        let (room, vocab) = (self.layout.shapes.sequence, self.layout.config(POLICY).vocab as u32);
        for (index, prompt) in prompts.iter().enumerate() {
            let problem = if prompt.is_empty() {
                "is empty".to_string()
            } else if prompt.len() >= room {
                format!("has {} tokens; the context has room for {room}, and one more must fit", prompt.len())
            } else if prompt.iter().any(|&token| token >= vocab) {
                format!("has a token outside the vocabulary of {vocab}")
            } else {
                continue;
            };
            let hint = "shorten it, or take a model with a longer context";
            return Err(Refusal::new("a prompt cannot be continued", format!("prompt {index} {problem}"), hint).into());
        }
        let mut out = Vec::with_capacity(prompts.len());
        for (group, chunk) in prompts.chunks(self.layout.shapes.streams).enumerate() {
            let first = first + group * self.layout.shapes.streams;
            out.extend(self.generate_group(first, chunk, sampling, eos, emit)?);
        }
        self.device.settle()?;
        Ok(out)
    }

    fn generate_group(
        &mut self,
        first: usize,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        eos: &[u32],
        emit: &mut dyn FnMut(usize, u32) -> bool,
    ) -> Result<Vec<Generated>, Fault> {
        let empty = Generated { tokens: vec![], log_probabilities: vec![], ended: Ended::Length, end: None };
        let mut streams: Vec<Stream> = prompts
            .iter()
            .map(|p| Stream { all: p.clone(), prompt: p.len(), out: empty.clone(), done: sampling.max_tokens == 0 })
            .collect();
        let tick = tick(sampling);
        for index in 0..streams.len() {
            if !streams[index].done {
                let (token, logp) = self.prefill(index, first + index, &streams[index].all, &tick)?;
                let room = self.layout.shapes.sequence;
                accept(&mut streams[index], token, logp, sampling, eos, room, &mut |t| emit(first + index, t));
            }
        }
        while streams.iter().any(|stream| !stream.done) {
            let (tokens, logps) = self.decode_step(first, &streams, &tick)?;
            for (index, stream) in streams.iter_mut().enumerate().filter(|(_, stream)| !stream.done) {
                let room = self.layout.shapes.sequence;
                accept(stream, tokens[index], logps[index], sampling, eos, room, &mut |t| emit(first + index, t));
            }
        }
        Ok(streams.into_iter().map(|stream| stream.out).collect())
    }

    /// Takes a prompt into cache rows of stream `index`, in stretches; returns the first sampled token.
    fn prefill(&mut self, index: usize, sequence: usize, prompt: &[u32], tick: &Tick) -> Result<(u32, f32), Fault> {
        let ports = self.streams().prefill.clone();
        let (chunk, room) = (self.layout.shapes.prefill, self.layout.shapes.sequence);
        let mut answer = (0, 0.0);
        for from in (0..prompt.len()).step_by(chunk) {
            let part = &prompt[from..(from + chunk).min(prompt.len())];
            let sliding_window = self.layout.config(POLICY).sliding_window;
            let mut feed = Feed::new(chunk, 1);
            for (i, &token) in part.iter().enumerate() {
                feed.token(i, token, from + i, index * room, sliding_window);
            }
            feed.last[0] = part.len() as u32 - 1;
            feed.sequence(0, prompt, sequence);
            self.feed(&ports, &feed)?;
            self.device.run(self.program(Key::full(POLICY, Which::Prefill)), 0, tick)?;
            let (tokens, logps) = self.sampled(&ports, 1)?;
            answer = (tokens[0], logps[0]);
        }
        Ok(answer)
    }

    /// One token of every stream that is not done.
    fn decode_step(&mut self, first: usize, streams: &[Stream], tick: &Tick) -> Result<(Vec<u32>, Vec<f32>), Fault> {
        let ports = self.streams().decode.clone();
        let (width, room) = (self.layout.shapes.streams, self.layout.shapes.sequence);
        let sliding_window = self.layout.config(POLICY).sliding_window;
        let mut feed = Feed::new(width, width);
        for (index, stream) in streams.iter().enumerate() {
            if stream.done {
                continue;
            }
            let at = stream.all.len() - 1;
            feed.token(index, stream.all[at], at, index * room, sliding_window);
            feed.last[index] = index as u32;
            feed.sequence(index, &stream.all, first + index);
        }
        self.feed(&ports, &feed)?;
        self.device.run(self.program(Key::full(POLICY, Which::Decode)), 0, tick)?;
        self.sampled(&ports, streams.len())
    }

    fn streams(&self) -> &Streams {
        self.layout.members[POLICY].streams.as_ref().expect("the first role generates")
    }

    fn feed(&mut self, ports: &DecodeInputs, feed: &Feed) -> Result<(), Fault> {
        for (tensor, data) in [
            (ports.inputs.ids, &feed.ids),
            (ports.inputs.positions, &feed.positions),
            (ports.inputs.spans, &feed.spans),
            (ports.slots, &feed.slots),
            (ports.last, &feed.last),
            (ports.recent, &feed.recent),
            (ports.draws, &feed.draws),
        ] {
            self.device.write(tensor, 0, data)?;
        }
        Ok(())
    }

    fn sampled(&mut self, ports: &DecodeInputs, count: usize) -> Result<(Vec<u32>, Vec<f32>), Fault> {
        let mut tokens = vec![0u32; count];
        let mut logps = vec![0f32; count];
        self.device.read(ports.token, 0, &mut tokens)?;
        self.device.read(ports.log_probability, 0, bytemuck::cast_slice_mut(&mut logps))?;
        Ok((tokens, logps))
    }
}

/// The arrays that one run of a decode program reads.
struct Feed {
    ids: Vec<u32>,
    positions: Vec<u32>,
    spans: Vec<u32>,
    slots: Vec<u32>,
    last: Vec<u32>,
    recent: Vec<u32>,
    draws: Vec<u32>,
}

impl Feed {
    /// All padding: nothing is appended, nothing is seen.
    fn new(tokens: usize, sequences: usize) -> Feed {
        Feed {
            ids: vec![0; tokens],
            positions: vec![0; tokens],
            spans: vec![0; 4 * tokens],
            slots: vec![u32::MAX; tokens],
            last: vec![0; sequences],
            recent: vec![u32::MAX; sequences * RECENT],
            draws: vec![0; 2 * sequences],
        }
    }

    /// Token number `i` of this run stands at `position` of the sequence whose cache rows begin at `base`.
    fn token(&mut self, i: usize, token: u32, position: usize, base: usize, sliding_window: Option<usize>) {
        let begin = sliding_window.map_or(0, |width| (position + 1).saturating_sub(width));
        self.ids[i] = token;
        self.positions[i] = position as u32;
        self.slots[i] = (base + position) as u32;
        self.spans[4 * i] = (base + begin) as u32;
        self.spans[4 * i + 1] = (base + position + 1) as u32;
    }

    /// Recent tokens (newest last) and noise key of sequence `s` of this run.
    fn sequence(&mut self, s: usize, all: &[u32], number: usize) {
        let tail = &all[all.len().saturating_sub(RECENT)..];
        let row = &mut self.recent[s * RECENT..(s + 1) * RECENT];
        row[RECENT - tail.len()..].copy_from_slice(tail);
        self.draws[2 * s] = number as u32;
        self.draws[2 * s + 1] = all.len() as u32;
    }
}

/// Takes a sampled token into its stream, or ends the stream.
fn accept(
    stream: &mut Stream,
    token: u32,
    logp: f32,
    sampling: &Sampling,
    eos: &[u32],
    room: usize,
    emit: &mut dyn FnMut(u32) -> bool,
) {
    let mut end = |ended| {
        stream.done = true;
        stream.out.ended = ended;
    };
    if eos.contains(&token) {
        end(Ended::Eos);
        stream.out.end = Some(token);
        return;
    }
    stream.all.push(token);
    stream.out.tokens.push(token);
    stream.out.log_probabilities.push(logp);
    if !emit(token) {
        end(Ended::Caller);
    } else if stream.all.len() - stream.prompt >= sampling.max_tokens {
        end(Ended::Length);
    } else if stream.all.len() >= room {
        end(Ended::Context);
    }
}

fn tick(sampling: &Sampling) -> Tick {
    Tick {
        seed_lo: sampling.seed as u32,
        seed_hi: (sampling.seed >> 32) as u32,
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition: sampling.repetition_penalty,
        recent: if sampling.repetition_penalty == 1.0 { 0 } else { RECENT as u32 },
        ..Tick::default()
    }
}
