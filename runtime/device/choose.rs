//! Which device a run uses: as told, or the best one, with the reason in words.

use super::Device;
use super::cpu::{Cpu, CpuOptions};
use super::gpu::{self, Gpu, Kind};
use crate::fault::Refusal;

/// What a person asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Discrete GPU, else integrated GPU, else cpu.
    Auto,
    /// The best real GPU.
    Gpu,
    /// The processor.
    Cpu,
    /// A processor that plays a GPU (lavapipe, SwiftShader, WARP).
    Software,
    /// Adapter number, as `pleach doctor` lists them.
    Index(usize),
}

impl Wish {
    /// From the word of a flag or a pipeline file.
    pub fn parse(word: &str) -> Result<Wish, Refusal> {
        match word {
            "auto" => Ok(Wish::Auto),
            "gpu" => Ok(Wish::Gpu),
            "cpu" => Ok(Wish::Cpu),
            "software" => Ok(Wish::Software),
            other => other.parse().map(Wish::Index).map_err(|_| {
                let what = format!("there is no device \"{other}\"");
                Refusal::new(
                    what,
                    "devices are auto, gpu, cpu, software, or a number",
                    "`pleach doctor` lists the adapters",
                )
            }),
        }
    }
}

/// The device that a wish comes to, settled before anything is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The processor with this many threads (none = all).
    Cpu(Option<usize>),
    /// A wgpu adapter.
    Gpu(gpu::Choice),
}

impl Chosen {
    /// From the words that a run keeps.
    pub fn parse(words: &str, threads: usize) -> Option<Chosen> {
        match words {
            "cpu" => Some(Chosen::Cpu((threads > 0).then_some(threads))),
            words => gpu::Name::parse(words).map(|name| Chosen::Gpu(gpu::Choice::Named(name))),
        }
    }

    /// The words that a run keeps: the same device at every start. None where nothing was found that has a name.
    pub fn words(&self) -> Option<String> {
        match self {
            Chosen::Cpu(_) => Some("cpu".into()),
            Chosen::Gpu(gpu::Choice::Named(name)) => Some(name.to_string()),
            Chosen::Gpu(_) => None,
        }
    }
}

/// The first adapter that is asked for, by its name; else as it was asked for, which is refused when it is opened.
fn settled(otherwise: gpu::Choice, fits: impl Fn(&gpu::AdapterFacts) -> bool) -> Chosen {
    let adapters = gpu::adapters();
    let name = adapters.iter().position(fits).and_then(|index| gpu::Name::of(&adapters, index));
    Chosen::Gpu(name.map_or(otherwise, gpu::Choice::Named))
}

/// Settles a wish; the reason is for people.
pub fn choose(wish: &Wish, threads: usize) -> (Chosen, String) {
    let threads = (threads > 0).then_some(threads);
    match wish {
        Wish::Cpu => (Chosen::Cpu(threads), "the cpu, as asked".into()),
        Wish::Gpu => {
            let fits = |a: &gpu::AdapterFacts| a.kind != Kind::Software && a.lacks.is_empty();
            (settled(gpu::Choice::Best, fits), "the best GPU, as asked".into())
        }
        Wish::Software => {
            let fits = |a: &gpu::AdapterFacts| a.kind == Kind::Software && a.lacks.is_empty();
            (settled(gpu::Choice::Software, fits), "a software adapter, as asked".into())
        }
        Wish::Index(index) => {
            let chosen = settled(gpu::Choice::Index(*index), |a| a.index == *index);
            (chosen, format!("adapter {index}, as asked"))
        }
        Wish::Auto => {
            let adapters = gpu::adapters();
            let real = |kind: Kind| adapters.iter().find(|adapter| adapter.kind == kind && adapter.lacks.is_empty());
            match real(Kind::Discrete).or(real(Kind::Integrated)) {
                Some(adapter) => (
                    settled(gpu::Choice::Index(adapter.index), |a| a.index == adapter.index),
                    format!("{}: the best GPU of this machine", adapter.name),
                ),
                None if adapters.is_empty() => (Chosen::Cpu(threads), "the cpu: no GPU was found".into()),
                None => {
                    let name = &adapters[0].name;
                    let why = match adapters[0].kind {
                        Kind::Software => {
                            format!("the cpu: the best adapter ({name}) is software, which the cpu beats")
                        }
                        _ => format!("the cpu: the best adapter ({name}) lacks {}", adapters[0].lacks.join(", ")),
                    };
                    (Chosen::Cpu(threads), why)
                }
            }
        }
    }
}

/// Opens a settled device.
pub fn open(chosen: &Chosen) -> Result<Box<dyn Device>, crate::fault::Fault> {
    match chosen {
        Chosen::Cpu(threads) => Ok(Box::new(Cpu::open(CpuOptions { threads: *threads, specs_only: false })?)),
        Chosen::Gpu(choice) => Ok(Box::new(Gpu::open(choice)?)),
    }
}
