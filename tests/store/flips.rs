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
    let (_, found, step) = recovered(&base).unwrap();
    assert_eq!((step, found.lost.len(), found.lost_steps()), (0, 3, 40));
    assert!(found.words().unwrap().contains("from the beginning"));
}
