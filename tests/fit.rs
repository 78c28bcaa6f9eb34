//! What fits a device: models are laid out for what is asked of them, and what does not fit is refused in words.

use crate::adapters::{Adapter, fresh};
use crate::recovery::{folder, run, toml};
use pleach::launch::Launch;
use pleach::model::Model;
use pleach::pipeline::Pipeline;
use pleach::runtime::device::Device;
use pleach::runtime::device::cpu::{Cpu, CpuOptions};
use pleach::runtime::device::gpu::Options;
use pleach::runtime::engine::Engine;
use pleach::runtime::engine::generation::{Ended, Generated, Sampling};
use pleach::runtime::engine::layout::POLICY;
use pleach::runtime::fault::{Fault, FaultKind};
use pleach::runtime::run::RunEnd;
use pleach::runtime::stage::{Row, Window};
use pleach::runtime::supervise::Failpoints;
use std::path::Path;

/// A small trained model; its positions are rotary, so that it has a longer context by saying so.
fn model(place: &Path, context: usize) -> Model {
    let text = toml(1, 0);
    let here = place.join("trained");
    if !here.is_dir() {
        assert_eq!(run(&folder(place, "trained", &text), &text, Failpoints::none()).0, RunEnd::Finished);
    }
    let mut model = Model::open(&here).unwrap();
    model.config.context = context;
    model
}

fn cpu() -> Box<dyn Device> {
    Box::new(Cpu::open(CpuOptions { threads: Some(1), specs_only: false }).unwrap())
}

fn generate(engine: &mut Engine, tokens: usize) -> Vec<Generated> {
    let sampling = Sampling { max_tokens: tokens, ..Sampling::default() };
    engine.generate(&[vec![1, 2, 3], vec![4]], &sampling, &[], &mut |_, _| true).unwrap()
}

#[test]
fn a_model_is_laid_out_for_what_is_asked_of_it() {
    let place = tempfile::tempdir().unwrap();
    let (short, long) = (model(place.path(), 64), model(place.path(), 40960));
    let mut engines = [&short, &long].map(|model| model.generator(cpu(), 2, 3 + 20).unwrap());
    assert_eq!(engines[0].held(), engines[1].held(), "the context alone costs nothing");
    let [a, b] = &mut engines;
    let (one, other) = (generate(a, 20), generate(b, 20));
    assert_eq!(one, other, "and changes no bit");
    assert!(one.iter().all(|sequence| sequence.tokens.len() == 20 && sequence.ended == Ended::Length));
    // More room than is needed, the same bits: rows of a stream begin at whole blocks.
    assert_eq!(generate(&mut long.generator(cpu(), 2, 1000).unwrap(), 20), one);
    // What was not laid out is refused in words.
    let prompt = vec![1; 64];
    let fault = b.generate(&[prompt], &Sampling::default(), &[], &mut |_, _| true).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Refused);
    assert!(fault.refusal.is_some_and(|refusal| refusal.detail.contains("room for 64")), "in words");

    let row = Row { tokens: (0..=16).collect(), weights: vec![1.0; 16], segments: vec![0; 16], key: 0 };
    let window = Window::new(16, vec![row]);
    let mut engines = [&short, &long].map(|model| model.evaluator(cpu(), 16).unwrap());
    assert_eq!(engines[0].held(), engines[1].held());
    assert!(engines[0].layout().members[POLICY].streams.is_none(), "what only evaluates has no caches");
    let [a, b] = &mut engines;
    assert_eq!(a.evaluate(POLICY, &window).unwrap(), b.evaluate(POLICY, &window).unwrap());
}

fn refused(answer: Result<Engine, Fault>) -> String {
    let refusal = answer.err().expect("it does not fit").refusal.expect("a person can change it");
    assert_eq!(refusal.code, 3);
    refusal.to_string()
}

#[test]
fn a_model_beyond_the_machine_is_refused_before_anything_is_allocated() {
    let place = tempfile::tempdir().unwrap();
    let mut model = model(place.path(), 1 << 24);
    let words = refused(model.generator(cpu(), 200, 1 << 24));
    assert!(words.contains("room for") && words.contains("fewer prompts"), "{words}");
    model.config.hidden = 1 << 16;
    let words = refused(model.evaluator(cpu(), 1 << 24));
    assert!(words.contains("room for"), "{words}");
}

#[test]
fn gpu_caches_beyond_a_binding_are_refused_in_words() {
    let place = tempfile::tempdir().unwrap();
    let model = model(place.path(), 40960);
    let options = Options { binding_limit: Some(64 << 10), ..Options::default() };
    for adapter in Adapter::ALL {
        let Some(gpu) = fresh(adapter, options, "gpu_caches_beyond_a_binding_are_refused_in_words") else { continue };
        let words = refused(model.generator(Box::new(gpu), 4, 4096));
        assert!(words.contains("a binding of this device") && words.contains("fewer prompts"), "{words}");
        let gpu = fresh(adapter, options, "gpu_caches_beyond_a_binding_are_refused_in_words").unwrap();
        assert_eq!(generate(&mut model.generator(Box::new(gpu), 2, 23).unwrap(), 20)[0].tokens.len(), 20);
    }
}

/// An activation between what an adapter offers and what the device binds of it: the words are the device's own.
#[test]
fn gpu_runs_that_do_not_fit_are_refused_in_the_devices_own_words() {
    let name = "gpu_runs_that_do_not_fit_are_refused_in_the_devices_own_words";
    if fresh(Adapter::Lavapipe, Options::default(), name).is_none() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0).replace("\"cpu\"", "\"software\"");
    let text = text.replace("batch = 4", "batch = 196608\nmicro_batch = 196608");
    let launch = Launch::new(&Pipeline::parse(&text).unwrap(), place.path(), &place.path().join("wide"), &mut |_| true);
    let launch = launch.unwrap();
    for fault in [launch.check_fit().unwrap_err(), launch.needs(0).unwrap_err()] {
        let refusal = fault.refusal.expect("a person can change it");
        assert_eq!(refusal.code, 3);
        assert!(
            refusal.detail.contains("a binding of this device") && refusal.hint.contains("fewer rows"),
            "{refusal}"
        );
    }
}
