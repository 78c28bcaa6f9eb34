//! Continued pretraining: a model learns the text of a domain, and is held to the general text that it knows.
//!
//! - **Data**: text as for pretraining, and a share of rows of the general text (replay, 0.1 where nobody says):
//!   `{"text": "This is the manual of tulips. Tulips want sand."}`
//! - **Loss**: mean negative log-probability of the next token ([`NextToken`]).
//! - **Assumptions**: the vocabulary is the model's.
//! - **Done**: after `steps` steps; the checkpoint that knows the domain best is handed on. The general validation text
//!   is measured beside the domain's, and an alarm tells where its loss grows.

use crate::data::template::Template;
use crate::data::{Evaluation, Split, Tokenizer, WindowOptions, Windows};
use crate::loss::next_token::NextToken;
use pleach_runtime::fault::Fault;
use pleach_runtime::stage::{Data, Loss, Stage, Voice, Window};
use std::path::PathBuf;
use std::sync::Arc;

/// The stage.
pub struct Continued {
    /// The domain's prepared folder.
    pub domain: PathBuf,
    /// The general text's.
    pub general: Option<PathBuf>,
    /// Share of the rows that are general text, within 0 .. 1.
    pub replay: f64,
    /// Rows of a window.
    pub batch: usize,
    /// How single rows are drawn.
    pub windows: WindowOptions,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// The chat template that the model has, if it has one.
    pub template: Option<Arc<Template>>,
    /// Prompts continued now and then, as people see them and as tokens.
    pub prompts: Vec<(String, Vec<u32>)>,
}

impl Stage for Continued {
    fn name(&self) -> &'static str {
        "continued"
    }

    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        let text = |folder: &PathBuf| {
            let rows = Windows::open(folder, Split::Train, self.windows)?;
            Ok::<_, Fault>((rows, Evaluation::open(folder, Split::Validation, self.windows.context)?))
        };
        let general = self.general.as_ref().map(text).transpose()?;
        let bytes = self.tokenizer.byte_lengths().into();
        Ok(Box::new(Mixed { domain: text(&self.domain)?, general, replay: self.replay, batch: self.batch, bytes }))
    }

    fn loss(&self) -> Box<dyn Loss> {
        Box::new(NextToken)
    }

    fn voice(&self) -> Voice {
        let voice = crate::model::voice(&self.tokenizer, self.template.as_deref(), self.prompts.clone());
        Voice { eos: self.tokenizer.eos().into_iter().collect(), ..voice }
    }
}

/// Rows of two texts.
struct Mixed {
    domain: (Windows, Evaluation),
    general: Option<(Windows, Evaluation)>,
    replay: f64,
    batch: usize,
    bytes: Arc<[u32]>,
}

impl Mixed {
    /// How many of the first `place` rows are general text: their share, rounded down, so that it holds of any stretch.
    fn replayed(&self, place: u64) -> u64 {
        if self.general.is_some() { (place as f64 * self.replay).floor() as u64 } else { 0 }
    }
}

impl Data for Mixed {
    fn window(&mut self, draw: u64) -> Result<Window, Fault> {
        let batch = self.batch as u64;
        let mut window = Window::new(0, Vec::with_capacity(self.batch));
        for place in draw * batch..(draw + 1) * batch {
            let before = self.replayed(place);
            let drawn = match &self.general {
                Some((general, _)) if self.replayed(place + 1) > before => general.window(before)?,
                _ => self.domain.0.window(place - before)?,
            };
            window.context = drawn.context;
            // Rows of both texts have the same numbers; noise is keyed by the place, which is one row's alone.
            window.rows.extend(drawn.rows.into_iter().map(|row| pleach_runtime::stage::Row { key: place, ..row }));
        }
        Ok(window)
    }

    fn evaluation_sets(&self) -> Vec<(String, usize)> {
        let domain = ("domain".to_string(), self.domain.1.rows() as usize);
        let general = self.general.iter().map(|(_, rows)| ("general".to_string(), rows.rows() as usize));
        std::iter::once(domain).chain(general).collect()
    }

    fn evaluation(&mut self, from: usize, to: usize) -> Result<Window, Fault> {
        let domain = self.domain.1.rows() as usize;
        match &self.general {
            // A set is asked for without its neighbour.
            Some((_, rows)) if from >= domain => rows.window((from - domain) as u64, to - from),
            _ => self.domain.1.window(from as u64, to - from),
        }
    }

    fn token_bytes(&self) -> Arc<[u32]> {
        self.bytes.clone()
    }

    fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.domain.0.fingerprint());
        // What is only watched teaches nothing.
        if let Some((general, _)) = self.general.as_ref().filter(|_| self.replay > 0.0) {
            hasher.update(&general.fingerprint());
        }
        hasher.update(&self.replay.to_le_bytes()).update(&(self.batch as u64).to_le_bytes());
        hasher.finalize().to_hex()[..16].to_string()
    }
}
