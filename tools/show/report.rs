//! `report.html`: what a run did, in one file without anything from elsewhere; made from the journal alone.

use super::svg::{Series, chart, escape};
use super::words::{bytes, count, duration};
use pleach::runtime::event::Event;
use std::path::Path;

/// The events of a run's journal, in order; lines of other shapes are left out.
pub fn events(run: &Path) -> Vec<Event> {
    let store = pleach::runtime::run::RunPlan::disk();
    let records = pleach::runtime::store::Follower::read_all(store, &run.join("journal.jsonl")).unwrap_or_default();
    let event = |fields| serde_json::from_value(serde_json::Value::Object(fields)).ok();
    records.into_iter().filter_map(|record| event(record.fields)).collect()
}

/// Points of a run's curves: later events replace earlier ones of the same step (a run that fell back learns anew).
#[derive(Default)]
pub struct Curves {
    /// (step, loss).
    pub loss: Vec<(f64, f64)>,
    /// (step, validation loss).
    pub eval: Vec<(f64, f64)>,
    /// (step, bits per byte).
    pub bits: Vec<(f64, f64)>,
    /// (step, gradient norm).
    pub norm: Vec<(f64, f64)>,
    /// (step, learning rate).
    pub rate: Vec<(f64, f64)>,
    /// (step, tokens per second).
    pub speed: Vec<(f64, f64)>,
}

impl Curves {
    /// From events.
    pub fn of(events: &[Event]) -> Curves {
        let mut out = Curves::default();
        for event in events {
            match event {
                Event::StageStarted { step, .. } => out.fall_back(*step as f64),
                Event::Step { step, loss, grad_norm, learning_rate, tokens_per_second, .. } => {
                    let x = *step as f64;
                    out.loss.push((x, *loss));
                    out.norm.push((x, *grad_norm));
                    out.rate.push((x, *learning_rate));
                    out.speed.push((x, *tokens_per_second));
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

    fn fall_back(&mut self, step: f64) {
        for list in [&mut self.loss, &mut self.eval, &mut self.bits, &mut self.norm, &mut self.rate, &mut self.speed] {
            list.retain(|(x, _)| *x <= step);
        }
    }
}

/// Writes `report.html` into the run folder; returns its path.
pub fn write(run: &Path) -> std::io::Result<std::path::PathBuf> {
    let events = events(run);
    let path = run.join("report.html");
    std::fs::write(&path, page(run, &events))?;
    Ok(path)
}

fn page(run: &Path, events: &[Event]) -> String {
    let name = run.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
    let curves = Curves::of(events);
    let series = |name: &str, points: &[(f64, f64)], class, marked| Series {
        name: name.into(),
        points: points.to_vec(),
        class,
        marked,
    };
    let charts = [
        chart(
            "loss (nats per token)",
            "step",
            &[series("training", &curves.loss, "a", false), series("validation", &curves.eval, "b", true)],
        ),
        chart("bits per byte", "step", &[series("validation", &curves.bits, "b", true)]),
        chart("gradient norm", "step", &[series("before clipping", &curves.norm, "a", false)]),
        chart("learning rate", "step", &[series("rate", &curves.rate, "c", false)]),
        chart("tokens per second", "step", &[series("speed", &curves.speed, "c", false)]),
    ];
    let mut out = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
    out.push_str(&format!("<title>{}</title><style>{STYLE}</style></head><body>", escape(&name)));
    out.push_str(&format!("<h1>{}</h1>{}", escape(&name), table(&facts(events))));
    for chart in &charts {
        out.push_str(&format!("<figure>{chart}</figure>"));
    }
    out.push_str(&samples(events));
    out.push_str(&happenings(events));
    if let Ok(config) = std::fs::read_to_string(run.join("resolved.toml")) {
        out.push_str(&format!("<h2>Every value, with its origin</h2><pre>{}</pre>", escape(&config)));
    }
    out.push_str("</body></html>\n");
    out
}

/// What the run is and came to, as rows.
fn facts(events: &[Event]) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = Vec::new();
    let mut put = |key: &str, value: String| {
        rows.retain(|(known, _)| known != key);
        rows.push((key.to_string(), value));
    };
    let mut seconds = 0.0;
    for event in events {
        match event {
            Event::StageStarted { stage, steps, parameters, device, held, .. } => {
                put("stage", stage.clone());
                put("parameters", count(*parameters as f64));
                put("device", format!("{} {} ({})", device.kind, device.name, device.backend));
                put("device memory", bytes(held.total()));
                put("steps planned", steps.to_string());
            }
            Event::Step { step, loss, num_tokens, step_time, .. } => {
                seconds += step_time;
                put("steps made", step.to_string());
                put("last training loss", format!("{loss:.4}"));
                put("targets learned", count(*num_tokens as f64));
                put("time in steps", duration(seconds));
            }
            Event::Evaluated { eval_loss, bits_per_byte, accuracy, .. } => {
                put("validation loss", format!("{eval_loss:.4}"));
                put("bits per byte", format!("{bits_per_byte:.4}"));
                put("first choice right", format!("{:.1} %", 100.0 * accuracy));
            }
            Event::StageFinished { best: Some((loss, step)), model, .. } => {
                put("best validation loss", format!("{loss:.4} at step {step}"));
                put("model", model.clone());
            }
            Event::Ended { how, why } => put("end", format!("{how}: {why}")),
            _ => {}
        }
    }
    rows
}

fn table(rows: &[(String, String)]) -> String {
    let row = |(key, value): &(String, String)| format!("<tr><th>{}</th><td>{}</td></tr>", escape(key), escape(value));
    format!("<table>{}</table>", rows.iter().map(row).collect::<String>())
}

fn samples(events: &[Event]) -> String {
    let mut rows = String::new();
    for event in events {
        if let Event::Sample { step, prompt, text } = event {
            let (prompt, text) = (escape(prompt), escape(text));
            rows.push_str(&format!("<tr><th>{step}</th><td><b>{prompt}</b>{text}</td></tr>"));
        }
    }
    format!("<h2>Samples over time</h2><table class=\"samples\">{rows}</table>")
}

/// What else happened: trouble, restarts, pauses, checkpoints passed over.
fn happenings(events: &[Event]) -> String {
    let mut rows = Vec::new();
    for event in events {
        match event {
            Event::Trouble { what, then } => rows.push(("trouble", format!("{what}; {then}"))),
            Event::Rehired { child, generation, .. } => rows.push(("hired again", format!("{child} ({generation})"))),
            Event::Changed { what } => rows.push(("changed", what.clone())),
            Event::Skipped { why, .. } => rows.push(("skipped", why.clone())),
            Event::Paused { why } => rows.push(("paused", why.clone())),
            Event::StageStarted { lost, step, .. } => {
                rows.extend(lost.iter().map(|line| ("lost", line.clone())));
                if *step > 0 {
                    rows.push(("resumed", format!("at step {step}")));
                }
            }
            _ => {}
        }
    }
    if rows.is_empty() {
        return "<h2>What else happened</h2><p>Nothing: no restart, no skipped step, no pause.</p>".into();
    }
    let rows: Vec<(String, String)> = rows.into_iter().map(|(kind, what)| (kind.to_string(), what)).collect();
    format!("<h2>What else happened</h2>{}", table(&rows))
}

const STYLE: &str = ":root{color-scheme:light dark;--a:#4269d0;--b:#e8710a;--c:#3ca951;--g:#8884}\
body{font:16px/1.5 system-ui,sans-serif;max-width:800px;margin:2rem auto;padding:0 1rem}\
svg{width:100%;font:12px system-ui,sans-serif}svg text{fill:currentColor}svg .title{font-weight:600}\
.left{text-anchor:end}.under{text-anchor:middle}.grid{stroke:var(--g);fill:none}\
.line{fill:none;stroke-width:1.6}.line.a{stroke:var(--a)}.line.b{stroke:var(--b)}.line.c{stroke:var(--c)}\
circle.a{fill:var(--a)}circle.b{fill:var(--b)}circle.c{fill:var(--c)}figure{margin:1.5rem 0}\
table{border-collapse:collapse}th{text-align:left;font-weight:500;padding:.15rem 1rem .15rem 0;vertical-align:top}\
.samples td{white-space:pre-wrap}pre{overflow-x:auto;font-size:13px}";
