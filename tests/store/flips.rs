//! Damaged bytes: every flipped bit and every truncation of the newest checkpoint is seen, and the one before is used.

use super::memory::Chance;
use super::*;

const NEWEST: &str = "/runs/first/stages/01-pretrain/checkpoint-000040-4";
const FILES: [&str; 5] = ["MANIFEST", "model.safetensors", "optimizer.safetensors", "state.bin", "config.json"];

fn disk() -> Memory {
    let disk = Memory::new();
    let mut run = open(&disk).unwrap();
    for step in [10, 20, 30, 40] {
        save(&mut run, step).unwrap();
    }
    disk
}

fn assert_seen(disk: &Memory, damage: &str, file: &str) {
    let (mut run, found, step) = recovered(disk).unwrap();
    assert_eq!(step, 30, "{damage}");
    assert_eq!((found.lost.len(), found.lost[0].step, found.lost_steps()), (1, 40, 10), "{damage}");
    assert!(found.lost[0].why.contains(file), "{damage}: {}", found.lost[0].why);
    let aside = found.lost[0].quarantined.as_ref().unwrap();
    assert!(aside.ends_with("bad-checkpoint-000040-4"), "{}", aside.display());
    let words = found.words().unwrap();
    assert!(words.contains("going on from step 30; 10 steps are lost"), "{words}");
    // Its number is not used again, and the next start has nothing to tell.
    assert_eq!(save(&mut run, 31).unwrap().manifest.seq, 5);
    let (_, found, step) = recovered(disk).unwrap();
    assert_eq!((step, found.lost.len(), found.words()), (31, 0, None));
}

#[test]
fn every_flipped_bit_is_seen() {
    let base = disk();
    let mut chance = Chance(7);
    for i in 0..1000 * torture() {
        let name = FILES[i % FILES.len()];
        let disk = base.copy();
        let mut at = 0;
        disk.damage(&Path::new(NEWEST).join(name), |bytes| {
            at = chance.below(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
        });
        assert_seen(&disk, &format!("bit {at} of {name}"), name);
    }
}

#[test]
fn every_truncation_and_every_added_byte_is_seen() {
    let base = disk();
    let mut chance = Chance(8);
    for i in 0..200 * torture() {
        let name = FILES[i % FILES.len()];
        let disk = base.copy();
        let mut len = 0;
        disk.damage(&Path::new(NEWEST).join(name), |bytes| {
            len = chance.below(bytes.len());
            bytes.truncate(len);
        });
        assert_seen(&disk, &format!("{name} cut to {len}"), name);
    }
    for name in FILES {
        let disk = base.copy();
        disk.damage(&Path::new(NEWEST).join(name), |bytes| bytes.push(0));
        assert_seen(&disk, &format!("a byte added to {name}"), name);
    }
}

#[test]
fn a_missing_file_and_a_renamed_folder_are_seen() {
    use pleach_runtime::store::Store;
    for name in FILES {
        let disk = disk();
        disk.remove(&Path::new(NEWEST).join(name)).unwrap();
        assert_seen(&disk, &format!("{name} removed"), name);
    }
    let disk = disk();
    disk.rename(Path::new(NEWEST), &Path::new(NEWEST).with_file_name("checkpoint-000090-9")).unwrap();
    let (_, found, step) = recovered(&disk).unwrap();
    assert_eq!((step, found.lost[0].step), (30, 90));
    assert!(found.lost[0].why.contains("another checkpoint"), "{}", found.lost[0].why);
}

#[test]
fn nothing_but_damage_is_told_and_not_taken_for_a_fresh_run() {
    let base = disk();
    for step in [20, 30, 40] {
        let file = format!("/runs/first/stages/01-pretrain/checkpoint-{step:06}-{}/MANIFEST", step / 10);
        base.damage(Path::new(&file), |bytes| bytes[40] ^= 1);
    }
    // The second start finds what the first one found.
    for _ in 0..2 {
        let (_, found, step) = recovered(&base).unwrap();
        assert_eq!((step, found.lost.len(), found.lost_steps()), (0, 3, 40));
        assert!(found.lost.iter().all(|lost| lost.quarantined.is_none()));
        assert!(found.words().unwrap().contains("no checkpoint is left to go on from; 40 steps"));
    }
}

/// The same through a whole run: it refuses, removes nothing, and goes on where one is put back.
#[test]
fn a_run_with_nothing_but_damage_does_not_begin_anew() {
    use crate::recovery::{bits, folder, run, toml};
    use pleach_runtime::run::RunEnd;
    use pleach_runtime::supervise::Failpoints;
    let place = tempfile::tempdir().unwrap();
    let text = toml(1, 0);
    let here = folder(place.path(), "damaged", &text);
    assert_eq!(run(&here, &text, Failpoints::none()).0, RunEnd::Finished);
    let expected = bits(&here);
    let stage = here.join("stages/01-pretrain");
    let list = || {
        let names = std::fs::read_dir(&stage).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.contains("checkpoint-")).collect();
        names.sort();
        names
    };
    let (before, flip) = (list(), |name: &str| {
        let file = stage.join(name).join("state.bin");
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    });
    before.iter().for_each(|name| flip(name));
    for _ in 0..2 {
        let (end, _) = run(&here, &text, Failpoints::none());
        let RunEnd::Failed(fault) = &end else { panic!("it ended as {end:?}") };
        let refusal = fault.refusal.as_ref().expect("it is refused in words");
        assert!(refusal.what.contains("no checkpoint of this run is whole"), "{refusal}");
        assert!(refusal.detail.contains("state.bin") && refusal.hint.contains("another name"), "{refusal}");
        assert_eq!((end.code(), list()), (1, before.clone()));
    }
    // Put aside by an earlier start, say, they are no fresh run either.
    for name in &before {
        std::fs::rename(stage.join(name), stage.join(format!("bad-{name}"))).unwrap();
    }
    assert!(matches!(run(&here, &text, Failpoints::none()).0, RunEnd::Failed(_)));
    let newest = before.last().unwrap();
    flip(&format!("bad-{newest}"));
    std::fs::rename(stage.join(format!("bad-{newest}")), stage.join(newest)).unwrap();
    assert_eq!(run(&here, &text, Failpoints::none()).0, RunEnd::Finished);
    assert!(bits(&here) == expected);
}

#[test]
fn a_checkpoint_of_a_newer_version_is_refused_and_left_alone() {
    use pleach_runtime::store::format::{self, Kind};
    use pleach_runtime::store::{MANIFEST, STATE, Sections, read_manifest};
    let of = |what, magic| Kind { what, magic, version: 2, oldest: 2, limit: 1 << 20 };
    for name in [MANIFEST, STATE] {
        let disk = disk();
        let mut manifest = read_manifest(&disk, Path::new(NEWEST)).unwrap();
        let mut manifest_kind = of("manifest", *b"PLEACH MANIFEST\n");
        if name == STATE {
            manifest_kind = Kind { version: 1, oldest: 1, ..manifest_kind };
            let state = format::encode(&of("state file", *b"PLEACH STATE\n\n\n\n"), &Sections::new()).unwrap();
            let record = manifest.files.iter_mut().find(|file| file.name == STATE).unwrap();
            (record.len, record.hash) = (state.len() as u64, *blake3::hash(&state).as_bytes());
            disk.damage(&Path::new(NEWEST).join(STATE), |bytes| *bytes = state);
        }
        let bytes = format::encode(&manifest_kind, &manifest).unwrap();
        disk.damage(&Path::new(NEWEST).join(MANIFEST), |old| *old = bytes);
        // A damaged one above it does not open the way down.
        let newer = Path::new(NEWEST).with_file_name("checkpoint-000050-5");
        pleach_runtime::store::Store::make(&disk, &newer).unwrap();
        let before = disk.everything();
        let fault = recovered(&disk).err().expect("it is refused");
        let refusal = fault.refusal.expect("in words");
        assert!(refusal.detail.contains(name) && refusal.detail.contains("version 2"), "{refusal}");
        assert!(refusal.what.contains("another version"), "{refusal}");
        assert!(disk.everything() == before, "nothing is renamed");
    }
}
