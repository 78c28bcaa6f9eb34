//! Unlikelihood training (Welleck et al. 2020): what is marked good is learned, what is marked bad is unlearned.

use pleach::data::Tokenizer;
use pleach::data::mask::Encoded;
use pleach::data::table::{Draws, Item, Table, row};
use pleach::runtime::fault::Fault;
use pleach::runtime::stage::{Data, Evaluated, Loss, Memory, Numbers, Stage, Voice, Window};
use std::sync::Arc;

pub(crate) struct Unlikelihood {
    pub(crate) records: Vec<(Encoded, bool)>,
    pub(crate) draws: Draws,
    pub(crate) tokenizer: Arc<Tokenizer>,
}

impl Stage for Unlikelihood {
    fn name(&self) -> &'static str {
        "unlikelihood"
    }
    fn data(&self) -> Result<Box<dyn Data>, Fault> {
        let item = |(at, (record, good)): (usize, &(Encoded, bool))| {
            let row = row(record, self.draws.context, at as u64, "a record")?;
            Ok::<_, Fault>(Item { rows: vec![row], facts: vec![f64::from(u8::from(*good))] })
        };
        let items = self.records.iter().enumerate().map(item).collect::<Result<_, _>>()?;
        Ok(Box::new(Table::new(items, Vec::new(), self.draws, self.tokenizer.byte_lengths().into())?))
    }
    fn loss(&self) -> Box<dyn Loss> {
        Box::new(Unlikely)
    }
    fn voice(&self) -> Voice {
        pleach::model::voice(&self.tokenizer, None, Vec::new())
    }
}

struct Unlikely;

impl Loss for Unlikely {
    fn known(&self, _: &Window) -> Option<Numbers> {
        None
    }
    fn evaluate(&self, window: &Window, numbers: &Numbers, memory: &Memory) -> Result<Evaluated, Fault> {
        let (mut loss, mut derivatives) = (0.0, vec![[0.0; 4]; numbers.len()]);
        for (group, (place, row)) in window.groups.iter().zip(window.places().into_iter().zip(&window.rows)) {
            for at in place.clone().filter(|at| row.weights[at - place.start] > 0.0) {
                let log_p = f64::from(numbers[at][0]).min(-1e-6);
                let rest = 1.0 - log_p.exp();
                let (value, slope) =
                    if group.facts[0] == 1.0 { (-log_p, -1.0) } else { (-rest.ln(), log_p.exp() / rest) };
                loss += value / window.weight();
                derivatives[at][0] = (slope / window.weight()) as f32;
            }
        }
        let (metrics, memory, beside) = (Vec::new(), memory.clone(), Vec::new());
        Ok(Evaluated { loss, derivatives, metrics, memory, beside })
    }
}
