//! A run while it goes: one bar with loss, speed and the time left; samples and trouble as lines above it.

use super::words::{count, duration};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pleach::runtime::event::Event;
use std::io::IsTerminal;
use std::time::Instant;

/// Smoothing of the loss and the speed that are shown.
const SMOOTH: f64 = 0.05;

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A bar where stderr is a terminal, lines otherwise.
    Words,
    /// One JSON object a line on stdout.
    Json,
}

/// Shows the events of one process's work on a run.
pub struct Live {
    style: Style,
    bar: ProgressBar,
    terminal: bool,
    /// First step of this process and when it began: the ETA is measured from here.
    since: Option<(u64, Instant)>,
    steps: u64,
    loss: Option<f64>,
    speed: Option<f64>,
    last_line: Instant,
}

impl Live {
    /// Before the first event.
    pub fn new(style: Style) -> Live {
        let terminal = std::io::stderr().is_terminal() && style == Style::Words;
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        Live { style, bar, terminal, since: None, steps: 0, loss: None, speed: None, last_line: Instant::now() }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event) {
        if self.style == Style::Json {
            if let Ok(line) = serde_json::to_string(event) {
                println!("{line}");
            }
            return;
        }
        match event {
            Event::StageStarted { stage, steps, parameters, device, step, from, lost, .. } => {
                for line in lost {
                    self.say(format!("lost: {line}"));
                }
                let what = count(*parameters as f64);
                self.say(format!("{stage}: {what} parameters on {} {}, {steps} steps", device.kind, device.name));
                if *step > 0 {
                    self.say(format!("going on from step {step} (from {from})"));
                }
                self.begin(*step, *steps);
            }
            Event::Step { step, loss, tokens_per_second, .. } => self.step(*step, *loss, *tokens_per_second),
            Event::Evaluated { set, step, eval_loss, bits_per_byte, best, .. } => {
                let best = if *best { ", the best so far" } else { "" };
                let of = if set.is_empty() { String::new() } else { format!("{set} ") };
                self.say(format!(
                    "step {step}: {of}validation loss {eval_loss:.4}, {bits_per_byte:.4} bits per byte{best}"
                ));
            }
            Event::Gathered { round, completions, seconds, metrics, .. } => {
                let reward = ["reward", "objective/scores"].iter().find_map(|name| metrics.get(*name));
                let reward = reward.map_or(String::new(), |reward| format!(", reward {reward:.3}"));
                self.say(format!("round {round}: {completions} completions in {seconds:.1} s{reward}"));
            }
            Event::Sample { step, prompt, text } => {
                let text = text.replace('\n', " ");
                self.say(format!("step {step}: {prompt}|{}", text.chars().take(160).collect::<String>()));
            }
            Event::Changed { what } => self.say(format!("changed since this run began: {what}")),
            Event::Collecting { stage, have, want, what, .. } => self.say(format!("{stage}: {have} of {want} {what}")),
            Event::Alarm { step, what } => self.say(format!("alarm at step {step}: {what}")),
            Event::Skipped { why, .. } => self.say(format!("skipped: {why}")),
            Event::Trouble { what, then } => self.say(format!("trouble: {what}; {then}")),
            Event::Rehired { child, generation, .. } => self.say(format!("{child} is hired again ({generation})")),
            Event::Paused { why } => self.say(format!("paused: {why}")),
            Event::Resumed => self.say("going on".into()),
            Event::CheckpointSaved { saved } if !self.terminal => {
                self.say(format!("step {}: checkpoint {} in {:.1} s", saved.step, saved.name, saved.seconds));
            }
            Event::StageFinished { step, why, model, .. } => {
                self.bar.finish_and_clear();
                self.say(format!("done after {step} steps: {why}"));
                self.say(format!("model: {model}"));
            }
            Event::Ended { how, why } if how != "finished" => {
                self.bar.finish_and_clear();
                self.say(format!("{how}: {why}"));
            }
            _ => {}
        }
    }

    fn begin(&mut self, step: u64, steps: u64) {
        (self.since, self.steps, self.loss, self.speed) = (Some((step, Instant::now())), steps, None, None);
        if self.terminal {
            let style = "{bar:30} {pos}/{len} {msg}";
            self.bar = ProgressBar::new(steps);
            self.bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_position(step);
        }
    }

    fn step(&mut self, step: u64, loss: f64, speed: f64) {
        let smooth = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| old + SMOOTH * (new - old)));
        self.loss = smooth(self.loss, loss);
        self.speed = smooth(self.speed, speed);
        let message = format!(
            "loss {:.3}  {} tokens/s  {} left",
            self.loss.unwrap_or(loss),
            count(self.speed.unwrap_or(speed)),
            duration(self.left(step))
        );
        if self.terminal {
            self.bar.set_position(step);
            self.bar.set_message(message);
        } else if self.last_line.elapsed().as_secs() >= 10 {
            self.last_line = Instant::now();
            eprintln!("step {step}/{}: {message}", self.steps);
        }
    }

    /// Seconds to the end, from what this process made since it started.
    fn left(&self, step: u64) -> f64 {
        let Some((first, when)) = self.since else { return f64::NAN };
        let made = step.saturating_sub(first).max(1) as f64;
        when.elapsed().as_secs_f64() / made * self.steps.saturating_sub(step) as f64
    }

    fn say(&self, line: String) {
        if self.terminal {
            self.bar.suspend(|| eprintln!("{line}"));
        } else {
            eprintln!("{line}");
        }
    }
}
