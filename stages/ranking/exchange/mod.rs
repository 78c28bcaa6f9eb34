//! Items and rankings in the formats of other programs.
//!
//! | name | what is written | what is lost |
//! |---|---|---|
//! | `kwise` | our own records, as a freeze writes them | nothing |
//! | `trl` | `prompt`, `chosen`, `rejected`: every pair of unequal completions | ties, comments, flags |
//! | `kto` | `prompt`, `completion`, `label`: the best group is true, the last one false | what lies between |
//! | `label-studio` | a Ranker project's export | ties are broken by the order shown; roles of turns |
//! | `oasst` | a message tree for each ranking | comments, flags, raters |
//! | `nectar` | `prompt` and `answers` with ranks | comments, flags, raters |
//! | `sft` | better answers that raters wrote, as prompt and completion or messages | all else |

mod export;
mod import;

pub use export::{Exported, export};
pub use import::{Imported, import, items};

use pleach_runtime::fault::Refusal;

/// A format to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own.
    Kwise,
    /// TRL's preference pairs.
    Pairs,
    /// Unpaired, for KTO.
    Kto,
    /// Label Studio's Ranker.
    LabelStudio,
    /// OpenAssistant's message trees.
    Oasst,
    /// Nectar.
    Nectar,
    /// Better answers, for fine-tuning.
    Sft,
}

impl Format {
    /// All of them with their names.
    pub const ALL: [(&str, Format); 7] = [
        ("kwise", Format::Kwise),
        ("trl", Format::Pairs),
        ("kto", Format::Kto),
        ("label-studio", Format::LabelStudio),
        ("oasst", Format::Oasst),
        ("nectar", Format::Nectar),
        ("sft", Format::Sft),
    ];

    /// The format of a name.
    ///
    /// # Errors
    /// A refusal that lists the names.
    pub fn of(name: &str) -> Result<Format, Refusal> {
        let found = Format::ALL.iter().find(|(known, _)| *known == name).map(|(_, format)| *format);
        found.ok_or_else(|| {
            let names = Format::ALL.map(|(name, _)| name).join(", ");
            Refusal::new(
                "could not export the rankings",
                format!("there is no format {name:?}"),
                format!("use one of {names}"),
            )
        })
    }
}
