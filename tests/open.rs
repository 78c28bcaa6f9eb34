//! What `chat`, `eval` and `generate` open: a damaged checkpoint is refused in words, with the file and the way out.

use crate::recovery::{folder, run, toml};
use pleach::model::Model;
use pleach::runtime::run::RunEnd;
use pleach::runtime::supervise::Failpoints;

#[test]
fn a_damaged_checkpoint_is_not_opened() {
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "damaged", &text);
    assert_eq!(run(&here, &text, Failpoints::none()).0, RunEnd::Finished);
    let checkpoint = Model::open(&here).expect("a whole run opens").folder;
    for name in ["model.safetensors", "config.json", "tokenizer.json", "MANIFEST"] {
        let file = checkpoint.join(name);
        let whole = std::fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        // The lowest bit of the last weight: the numbers stay finite, and JSON may stay JSON.
        let place = if name == "model.safetensors" { bytes.len() - 4 } else { bytes.len() / 2 };
        bytes[place] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let refusal = Model::open(&checkpoint).err().expect("a flipped bit is noticed");
        assert!(refusal.detail.contains(name), "{name}: {refusal}");
        assert!(refusal.hint.contains("another checkpoint"), "{name}: {refusal}");
        std::fs::write(&file, whole).unwrap();
        Model::open(&checkpoint).expect("mended");
    }
    std::fs::remove_file(checkpoint.join("MANIFEST")).unwrap();
    assert!(Model::open(&checkpoint).is_err(), "a checkpoint has a manifest");
    Model::open(&here.join("stages/01-pretrain/model")).expect("a plain model folder has none");
}
