//! `report.html`: what a run did, in one file without anything from elsewhere; made from the journal alone.

use super::curves::{Curves, Part, parts};
use super::ladder::Ladder;
use super::svg::{Series, chart, escape};
use super::words::{bytes, count, duration};
use pleach::runtime::event::Event;
use pleach::runtime::fault::Fault;
use pleach::runtime::run::RunPlan;
use pleach::runtime::store::{Follower, replace};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The events of a run's journal, in order; lines of other shapes are left out.
pub fn events(run: &Path) -> Vec<Event> {
    let records = Follower::read_all(RunPlan::disk(), &run.join("journal.jsonl")).unwrap_or_default();
    let event = |fields| serde_json::from_value(serde_json::Value::Object(fields)).ok();
    records.into_iter().filter_map(|record| event(record.fields)).collect()
}

/// Writes `report.html` into the run folder, whole at once; returns its path.
pub fn write(run: &Path) -> Result<PathBuf, Fault> {
    let events = events(run);
    let path = run.join("report.html");
    replace(&*RunPlan::disk(), &path, page(run, &events).as_bytes())?;
    Ok(path)
}

/// Keeps the report of a run that trains from growing old: whatever ends the process, there is one.
pub struct Keeper {
    run: PathBuf,
    next: Option<Instant>,
}

/// Between two reports at least this long, and [`SHARE`] times as long as the last one took.
const PERIOD: Duration = Duration::from_secs(60);
/// See [`PERIOD`].
const SHARE: u32 = 100;

impl Keeper {
    /// For a run folder.
    pub fn new(run: &Path) -> Keeper {
        Keeper { run: run.to_path_buf(), next: None }
    }

    /// Writes the report anew after an evaluation or a checkpoint.
    pub fn hear(&mut self, event: &Event) {
        let news = matches!(event, Event::Evaluated { .. } | Event::CheckpointSaved { .. });
        if !news || self.next.is_some_and(|next| Instant::now() < next) {
            return;
        }
        let began = Instant::now();
        // Where it cannot be written, the last one, at the run's end, says so.
        drop(write(&self.run));
        self.next = Some(Instant::now() + PERIOD.max(SHARE * began.elapsed()));
    }
}

fn page(run: &Path, events: &[Event]) -> String {
    let name = run.file_name().map_or("run".into(), |name| name.to_string_lossy().into_owned());
    let mut out = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\">");
    out.push_str(&format!("<title>{}</title><style>{STYLE}</style></head><body>", escape(&name)));
    out.push_str(&format!("<h1>{}</h1>{}", escape(&name), table(&end(events))));
    if let Some(ladder) = Ladder::read(run) {
        out.push_str(&ladder.html());
    }
    let parts = parts(events);
    if parts.len() > 1 {
        let link = |part: &Part| format!("<a href=\"#{0}\">{0}</a> ", escape(&part.folder));
        out.push_str(&format!("<nav>{}</nav>", parts.iter().map(link).collect::<String>()));
    }
    for part in &parts {
        out.push_str(&section(part));
    }
    out.push_str(&happenings(events));
    if let Ok(config) = std::fs::read_to_string(run.join("resolved.toml")) {
        out.push_str(&format!("<h2>Every value, with its origin</h2><pre>{}</pre>", escape(&config)));
    }
    out.push_str("</body></html>\n");
    out
}

/// How the run ended.
fn end(events: &[Event]) -> Vec<(String, String)> {
    let last = events.iter().rev().find_map(|event| match event {
        Event::Ended { how, why } => Some(format!("{how}: {why}")),
        _ => None,
    });
    last.into_iter().map(|end| ("end".to_string(), end)).collect()
}

/// One stage: its figures, every curve, its samples.
fn section(part: &Part) -> String {
    let curves = Curves::of(&part.events);
    let series = |name: &str, points: &[(f64, f64)], class, marked| Series {
        name: name.into(),
        points: points.to_vec(),
        class,
        marked,
    };
    let name = if curves.watched.is_empty() { "validation" } else { "what is learned" };
    let mut bits = vec![series(name, &curves.bits, "b", true)];
    bits.extend(curves.watched.iter().map(|(name, points)| series(name, points, "c", true)));
    let mut charts = vec![
        chart(
            "loss (nats per token)",
            "step",
            &[series("training", &curves.loss, "a", false), series("validation", &curves.eval, "b", true)],
        ),
        chart("bits per byte", "step", &bits),
    ];
    charts.extend(curves.metrics.iter().map(|(name, points)| chart(name, "step", &[series(name, points, "a", false)])));
    charts.push(chart("gradient norm", "step", &[series("before clipping", &curves.norm, "a", false)]));
    charts.push(chart("learning rate", "step", &[series("rate", &curves.rate, "c", false)]));
    charts.push(chart("tokens per second", "step", &[series("speed", &curves.speed, "c", false)]));
    let folder = escape(&part.folder);
    let mut out = format!("<section id=\"{folder}\"><h2>{folder}</h2>{}", table(&facts(&part.events)));
    for chart in &charts {
        out.push_str(&format!("<figure>{chart}</figure>"));
    }
    out + &samples(&part.events) + "</section>"
}

/// What a stage is and came to, as rows.
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
            Event::Evaluated { watched: true, set, bits_per_byte, .. } => {
                put(&format!("bits per byte, {set}"), format!("{bits_per_byte:.4}"));
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
    if rows.is_empty() {
        return String::new();
    }
    format!("<h3>Samples over time</h3><table class=\"samples\">{rows}</table>")
}

/// What else happened: trouble, restarts, pauses, checkpoints passed over.
fn happenings(events: &[Event]) -> String {
    let mut rows = Vec::new();
    for event in events {
        match event {
            Event::Trouble { what, then } => rows.push(("trouble", format!("{what}; {then}"))),
            Event::Rehired { child, generation, .. } => rows.push(("hired again", format!("{child} ({generation})"))),
            Event::Changed { what } => rows.push(("changed", what.clone())),
            Event::Alarm { step, what } => rows.push(("alarm", format!("step {step}: {what}"))),
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
.ladder td,.ladder th+th{text-align:right;padding:.15rem .5rem;font-variant-numeric:tabular-nums}\
.samples td{white-space:pre-wrap}pre{overflow-x:auto;font-size:13px}";
