//! Data: sources to documents, documents to tokens on disk, tokens to windows as a pure function.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use pleach::data::{
//!     Corpus, PrepareOptions, Sampling, Source, Split, TrainOptions, Vocabulary, WindowOptions, Windows, prepare,
//! };
//!
//! // Two hundred stories of the little world; Source::Path("books/**/*.txt.gz".into()) would name files.
//! let train = vec![Source::parse("world:200")?];
//! let corpus = Corpus { train, ..Corpus::default() };
//! let options = TrainOptions { vocab: 512, ..TrainOptions::default() };
//! let tokenizer = Vocabulary::Trained { options, sample: 1 << 20 }.tokenizer(&corpus)?;
//!
//! let folder = tempfile::tempdir()?;
//! let prepared = prepare(&corpus, &tokenizer, &PrepareOptions::default(), folder.path(), &mut |progress| {
//!     progress.share <= 1.0 // true: go on
//! })?;
//! prepared.check(64)?;
//!
//! let options = WindowOptions { context: 64, batch: 8, seed: 7, sampling: Sampling::Epochs };
//! let windows = Windows::open(folder.path(), Split::Train, options)?;
//! let window = windows.window(3)?;
//! assert_eq!(window.rows.len(), 8);
//! assert_eq!(window, windows.window(3)?);
//! # Ok(())
//! # }
//! ```

mod cache;
mod corpus;
pub mod examples;
mod glob;
pub mod inspect;
mod json;
pub mod mask;
mod prepare;
pub mod random;
pub mod records;
mod source;
mod stream;
pub mod table;
pub mod template;
mod text;
pub mod tokenizer;
mod vocabulary;
mod windows;
pub mod world;

pub use cache::{Header, TokenCache};
pub use corpus::{Corpus, Part};
pub use prepare::{Kept, PrepareOptions, Prepared, Progress, kept, prepare};
pub use source::Source;
pub(crate) use source::may_hold_json;
pub use text::{LINE, PIECE, Piece, Sink, TextOptions};
pub use tokenizer::{TextStream, Tokenizer, TrainOptions};
pub use vocabulary::{SAMPLE, Vocabulary};
pub use windows::{Evaluation, Sampling, Split, TOO_SHORT, WindowOptions, Windows, target_bytes};
