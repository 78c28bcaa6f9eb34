//! The curves of a stage, from the events of a run's journal.

use pleach::runtime::event::Event;
use std::collections::BTreeMap;

/// Points of a curve: step and value.
pub type Points = Vec<(f64, f64)>;

/// What happened in one stage of a run.
pub struct Part {
    /// Its folder: `01-pretrain`; empty for what came before the first stage.
    pub folder: String,
    /// Its events, in order.
    pub events: Vec<Event>,
}

/// A run's events by stage, in the order of the stages' first beginnings.
pub fn parts(events: &[Event]) -> Vec<Part> {
    let mut parts: Vec<Part> = vec![Part { folder: String::new(), events: Vec::new() }];
    let mut at = 0;
    for event in events {
        if let Event::StageStarted { folder, .. } | Event::Collecting { folder, .. } = event {
            at = parts.iter().position(|part| part.folder == *folder && part.folder != "").unwrap_or_else(|| {
                parts.push(Part { folder: folder.clone(), events: Vec::new() });
                parts.len() - 1
            });
        }
        parts[at].events.push(event.clone());
    }
    let begun = |event: &Event| matches!(event, Event::StageStarted { .. } | Event::Collecting { .. });
    parts.retain(|part| part.events.iter().any(begun));
    parts
}

/// Points of a stage's curves: later events replace earlier ones of the same step (a run that fell back learns anew).
#[derive(Default)]
pub struct Curves {
    /// Loss.
    pub loss: Points,
    /// Validation loss.
    pub eval: Points,
    /// Bits per byte of the validation split.
    pub bits: Points,
    /// Bits per byte of the sets that are only watched, by name.
    pub watched: BTreeMap<String, Points>,
    /// What the objective reports, by name.
    pub metrics: BTreeMap<String, Points>,
    /// Gradient norm.
    pub norm: Points,
    /// Learning rate.
    pub rate: Points,
    /// Tokens per second.
    pub speed: Points,
}

impl Curves {
    /// From the events of one stage.
    pub fn of(events: &[Event]) -> Curves {
        let mut out = Curves::default();
        for event in events {
            match event {
                Event::StageStarted { step, .. } => out.fall_back(*step as f64),
                Event::Step { step, loss, grad_norm, learning_rate, tokens_per_second, metrics, .. } => {
                    let x = *step as f64;
                    out.loss.push((x, *loss));
                    out.norm.push((x, *grad_norm));
                    out.rate.push((x, *learning_rate));
                    out.speed.push((x, *tokens_per_second));
                    for (name, value) in metrics {
                        out.metrics.entry(name.clone()).or_default().push((x, *value));
                    }
                }
                Event::Evaluated { watched: true, set, step, bits_per_byte, .. } => {
                    out.watched.entry(set.clone()).or_default().push((*step as f64, *bits_per_byte));
                }
                Event::Evaluated { step, eval_loss, bits_per_byte, .. } => {
                    out.eval.push((*step as f64, *eval_loss));
                    out.bits.push((*step as f64, *bits_per_byte));
                }
                _ => {}
            }
        }
        out
    }

    /// From the events of a run: those of the stage that it is at.
    pub fn of_last(events: &[Event]) -> Curves {
        parts(events).pop().map_or(Curves::default(), |part| Curves::of(&part.events))
    }

    fn fall_back(&mut self, step: f64) {
        let lists = [&mut self.loss, &mut self.eval, &mut self.bits, &mut self.norm, &mut self.rate, &mut self.speed];
        let lists = lists.into_iter().chain(self.watched.values_mut()).chain(self.metrics.values_mut());
        lists.for_each(|list| list.retain(|(x, _)| *x <= step));
    }
}
