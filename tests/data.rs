//! Data: sources, tokenizers, preparing, and windows as a pure function.

mod chat;
mod prepare;
mod sources;
mod tokenizers;
mod windows;

use pleach::data::{Corpus, PrepareOptions, Prepared, Source, Split, TokenCache, Tokenizer, prepare};
use pleach_runtime::fault::Fault;
use std::path::{Path, PathBuf};

/// A corpus of the sources below a folder.
pub(crate) fn corpus(root: &Path, names: &[&str]) -> Corpus {
    let train = names.iter().map(|name| Source::Path(name.to_string())).collect();
    Corpus { train, root: root.to_path_buf(), ..Corpus::default() }
}

/// Prepares without being watched.
pub(crate) fn prepared(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    options: &PrepareOptions,
    folder: &Path,
) -> Result<Prepared, Fault> {
    prepare(corpus, tokenizer, options, folder, &mut |_| true)
}

/// The ids of a whole split.
pub(crate) fn all_ids(folder: &Path, split: Split) -> (Vec<u32>, Vec<bool>) {
    let name = match split {
        Split::Train => "train.tokens",
        Split::Validation => "validation.tokens",
    };
    let cache = TokenCache::open(&folder.join(name)).unwrap();
    let (mut ids, mut begins) = (Vec::new(), Vec::new());
    cache.read(0, cache.header().tokens as usize, &mut ids, &mut begins).unwrap();
    (ids, begins)
}

/// The folder of real data, where this machine has one.
pub(crate) fn real_data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let known = std::env::var_os("PLEACH_DATA").map(PathBuf::from);
    known.into_iter().chain([beside]).find(|path| path.join("README.md").is_file())
}

/// A file of real data; where it is absent, a line of the test's output says that the test was skipped.
pub(crate) fn real_file(name: &str) -> Option<PathBuf> {
    let found = real_data().map(|root| root.join(name)).filter(|path| path.exists());
    if found.is_none() {
        // Counted by the test runner, which looks for this line.
        let line = format!("SKIPPED: no {name} in PLEACH_DATA or ../shared/data\n");
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
    }
    found
}
