//! Ranking: the model answers prompts several times, and people put its answers in order.
//!
//! - **Data**: prompts: `{"prompt": "How do I greet Mira?"}`.
//! - **Work**: K answers to each prompt, sampled from the model that the stage before handed on, put into the run's
//!   `rankings.sqlite`; then it waits until enough of them are ranked, on the page, by another process (`pleach rank`),
//!   or by a simulated rater that says that it is one.
//! - **Assumptions**: none of what is in the store is ever sampled again; a killed process loses no ranking.
//! - **Done**: when there are `enough` rankings; they are frozen to `rankings-HASH.jsonl` in the stage's folder.

use crate::data::Tokenizer;
use crate::data::records::Said;
use crate::data::world::preferences::SimulatedRater;
use crate::ranking::page::{Page, PageHandle, PageOptions};
use crate::ranking::{Completion, Item, Options, Store, freeze, simulate};
use crate::rewards::Prompt;
use pleach_runtime::collect::{Collect, Collected, Desk};
use pleach_runtime::engine::generation::Sampling;
use pleach_runtime::fault::{Fault, Refusal};
use pleach_runtime::run::WAITS;
use pleach_runtime::stage::Asked;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether there is enough.
const LOOK: Duration = Duration::from_secs(2);
/// The file of a run's rankings.
pub const STORE: &str = "rankings.sqlite";

/// Who ranks.
#[derive(Clone, Debug)]
pub enum Rater {
    /// People. Where somebody is there the run serves the page itself and waits; else it ends with exit code 5.
    People,
    /// The little world's own rater.
    Simulated(SimulatedRater),
}

/// The stage.
pub struct Rank {
    /// Its folder under `stages/`: `05-rank`.
    pub name: String,
    /// The run folder.
    pub run: PathBuf,
    /// The prompts, and what a person is shown of each.
    pub prompts: Vec<(Said, Prompt)>,
    /// Answers to each.
    pub completions: usize,
    /// How they are drawn.
    pub sampling: Sampling,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
    /// Rankings that suffice; each item once where absent.
    pub enough: Option<u64>,
    /// How items are handed out.
    pub options: Options,
    /// Who ranks.
    pub rater: Rater,
    /// Somebody is there, who sees what this process says.
    pub somebody: bool,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
}

impl Collect for Rank {
    fn name(&self) -> &'static str {
        "rank"
    }

    fn collect(&self, desk: &mut Desk) -> Result<Collected, Fault> {
        let mut store = Store::open(&self.run.join(STORE))?;
        let known = store.items()?.len();
        if self.fresh(&store)? && known == 0 {
            store.configure(&Options { enough: self.enough, ..self.options.clone() })?;
        }
        if !self.sample(desk, &mut store)? {
            return Ok(Collected::Stopped);
        }
        if let Rater::Simulated(rater) = &self.rater {
            simulate(&mut store, rater, &mut || !desk.goes_on(Duration::ZERO))?;
        }
        self.wait(desk, &mut store)
    }
}

impl Rank {
    fn fresh(&self, store: &Store) -> Result<bool, Fault> {
        let counts = store.answered()?;
        Ok(counts.rankings == 0 && counts.open == 0)
    }

    /// Rankings that are wanted.
    fn wanted(&self) -> u64 {
        self.enough.unwrap_or(self.prompts.len() as u64)
    }

    /// Samples what is not in the store yet, a few prompts at a time; false: told to stop.
    fn sample(&self, desk: &mut Desk, store: &mut Store) -> Result<bool, Fault> {
        let known: std::collections::HashSet<String> = store.items()?.into_iter().map(|item| item.id).collect();
        let at_once = (desk.streams() / self.completions).max(1);
        let left: Vec<usize> = (0..self.prompts.len()).filter(|at| !known.contains(&self.id(*at))).collect();
        for chunk in left.chunks(at_once) {
            if !desk.goes_on(Duration::ZERO) {
                return Ok(false);
            }
            let mut items = Vec::new();
            // A sequence's draws depend on its own number in the whole list, and on nothing else.
            for &at in chunk {
                items.push(self.item(desk, at)?);
            }
            store.add_items(&items)?;
            let have = store.items()?.len() as u64;
            desk.tell(have, self.prompts.len() as u64, "prompts answered by the model");
        }
        Ok(true)
    }

    fn id(&self, at: usize) -> String {
        format!("{}/{}", self.name, at + 1)
    }

    fn item(&self, desk: &mut Desk, at: usize) -> Result<Item, Fault> {
        let (said, prompt) = &self.prompts[at];
        let prompts = vec![prompt.ids.clone(); self.completions];
        let asked = Asked { prompts, sampling: self.sampling.clone(), eos: self.eos.clone() };
        let written = desk.write(at * self.completions, asked)?;
        let completion = |(index, one): (usize, &pleach_runtime::engine::generation::Generated)| {
            let text = self.tokenizer.decode(&one.tokens);
            let said = match said {
                Said::Text(_) => Said::Text(text),
                Said::Messages(_) => Said::Messages(vec![crate::data::records::Message::new(
                    crate::data::records::Role::Assistant,
                    text,
                )]),
            };
            let origin = serde_json::json!({"stage": self.name, "seed": self.sampling.seed, "number": index});
            Completion { id: format!("{}", index + 1), said, origin }
        };
        let completions = written.iter().enumerate().map(completion).collect();
        Ok(Item { id: self.id(at), prompt: said.clone(), completions })
    }

    /// Waits for people, with the page where somebody is there; freezes what they said.
    fn wait(&self, desk: &mut Desk, store: &mut Store) -> Result<Collected, Fault> {
        let mut page: Option<PageHandle> = None;
        let mut told = None;
        loop {
            let counts = store.answered()?;
            let wanted = self.wanted();
            if told != Some(counts.rankings) {
                told = Some(counts.rankings);
                let what = match &page {
                    Some(page) => format!("rankings; rank at {}", page.url()),
                    None => "rankings".to_string(),
                };
                desk.tell(counts.rankings, wanted, what);
            }
            if counts.rankings >= wanted || (counts.missing == 0 && counts.rankings > 0 && self.enough.is_none()) {
                let frozen = freeze(store, &self.run.join("stages").join(&self.name))?;
                let why = format!("{} rankings by {} raters, frozen", frozen.rankings, counts.raters);
                return Ok(Collected::Enough { count: frozen.rankings, why, what: frozen.path.display().to_string() });
            }
            match self.rater {
                Rater::People if self.somebody && page.is_none() && Page::find(store)?.is_none() => {
                    page = Some(Page::start(store, &PageOptions::default())?);
                    told = None;
                    continue;
                }
                Rater::People if self.somebody => {}
                _ => return Err(self.nobody(counts.rankings, wanted).into()),
            }
            if !desk.goes_on(LOOK) {
                return Ok(Collected::Stopped);
            }
        }
    }

    fn nobody(&self, have: u64, want: u64) -> Refusal {
        let run = self.run.display();
        let detail = format!("{have} of {want} rankings are there");
        let hint = match self.rater {
            Rater::People => {
                format!("rank with `pleach rank {run}`; the same command then goes on by itself")
            }
            Rater::Simulated(_) => "the simulated rater knows the little world's prompts only: let people rank, or \
                                    set min_rankings"
                .to_string(),
        };
        Refusal::new("the run waits for people to rank", detail, hint).with_code(WAITS)
    }
}

/// The frozen rankings of a stage's folder, once there are.
pub fn frozen(folder: &std::path::Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("rankings-") && name.ends_with(".jsonl")
        })
        .collect();
    // Frozen again after more rankings came, before the stage's end was noted: the newest counts.
    found.sort_by_key(|path| std::fs::metadata(path).and_then(|about| about.modified()).ok());
    found.pop()
}
