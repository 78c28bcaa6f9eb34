//! The journal: torn tails, damaged lines, a full disk, and a reader that follows while it grows.

use pleach_runtime::store::{Disk, Follower, Journal, Record, Store, last_words};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn path() -> std::path::PathBuf {
    Path::new(ROOT).join("journal.jsonl")
}

fn store(disk: &Memory) -> Arc<dyn Store> {
    Arc::new(disk.clone())
}

fn with_records(n: u64) -> Memory {
    let disk = Memory::new();
    disk.make(Path::new(ROOT)).unwrap();
    let (mut journal, opened) = Journal::open(store(&disk), &path()).unwrap();
    assert_eq!((opened.records, opened.cut, opened.damaged), (0, 0, 0));
    for i in 0..n {
        assert_eq!(journal.note(json!({"event": "step", "loss": 1.5, "i": i})).unwrap(), i);
    }
    journal.sync().unwrap();
    disk
}

fn bytes(disk: &Memory) -> Vec<u8> {
    let all = disk.everything();
    all.into_iter().find(|(name, _)| name.ends_with("journal.jsonl")).unwrap().1
}

fn numbers(disk: &Memory) -> Vec<u64> {
    let records = Follower::read_all(store(disk), &path()).unwrap();
    records.iter().map(|r| r.n).collect()
}

#[test]
fn a_record_that_is_added_again_under_its_number_stands_there_once() {
    let disk = with_records(2);
    for again in 0..2 {
        let (mut journal, _) = Journal::open(store(&disk), &path()).unwrap();
        assert!(!journal.note_as(1, json!({"i": 1})).unwrap());
        for n in [2, 5] {
            assert_eq!(journal.note_as(n, json!({"i": n})).unwrap(), again == 0, "record {n}");
        }
    }
    assert_eq!(numbers(&disk), [0, 1, 2, 5]);
}

#[test]
fn a_record_is_a_json_line_with_a_number_and_a_checksum() {
    let disk = with_records(2);
    let text = String::from_utf8(bytes(&disk)).unwrap();
    let line = text.lines().nth(1).unwrap();
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&value["n"], &value["event"], &value["loss"]), (&json!(1), &json!("step"), &json!(1.5)));
    assert!(line.starts_with("{\"n\":1,\"time\":1") && line.contains(",\"crc\":\""), "{line}");
    let records = Follower::read_all(store(&disk), &path()).unwrap();
    assert_eq!((records[1].text("event"), records[1].number("loss")), ("step", Some(1.5)));
    assert_eq!(records[1].fields.len(), 3, "number, time and checksum are not fields");
}

#[test]
fn a_journal_of_the_first_format_is_read() {
    let disk = with_records(1);
    let golden = "{\"n\":7,\"time\":1700000000123,\"event\":\"step\",\"loss\":2.5,\"crc\":\"e5727376\"}\n";
    disk.damage(&path(), |b| *b = golden.as_bytes().to_vec());
    let records = Follower::read_all(store(&disk), &path()).unwrap();
    assert_eq!((records.len(), records[0].n, records[0].time), (1, 7, 1_700_000_000_123));
    assert_eq!(records[0].number("loss"), Some(2.5));
    assert_eq!(Journal::open(store(&disk), &path()).unwrap().1.records, 8);
}

proptest! {
    #[test]
    fn any_bytes_are_followed_and_gone_on_from(
        noise in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'{'), Just(b'"'), any::<u8>()], 0..300),
        at in 0usize..400,
    ) {
        let disk = with_records(3);
        disk.damage(&path(), |b| {
            let at = at.min(b.len());
            b.splice(at..at, noise.iter().copied());
        });
        let before = numbers(&disk);
        let (mut journal, opened) = Journal::open(store(&disk), &path()).unwrap();
        let n = journal.note(json!({"event": "resume"})).unwrap();
        prop_assert_eq!(n, opened.records);
        let after = numbers(&disk);
        prop_assert_eq!(&after[..after.len() - 1], &before[..]);
        prop_assert_eq!(after.last(), Some(&n));
    }
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_told_and_written_over() {
    let base = with_records(3);
    let whole = bytes(&base);
    let start = whole[..whole.len() - 1].iter().rposition(|&b| b == b'\n').unwrap() + 1;
    for len in start..=whole.len() {
        for noise in [&b""[..], &[0; 40], b"{\"n\":"] {
            let disk = base.copy();
            disk.damage(&path(), |b| {
                b.truncate(len);
                b.extend_from_slice(noise);
            });
            let (mut journal, opened) = Journal::open(store(&disk), &path()).unwrap();
            let whole = len == whole.len();
            assert_eq!(opened.records, if whole { 3 } else { 2 });
            assert_eq!(opened.cut, noise.len() as u64 + if whole { 0 } else { (len - start) as u64 });
            journal.note(json!({"event": "resume"})).unwrap();
            let last = if whole { vec![0, 1, 2, 3] } else { vec![0, 1, 2] };
            assert_eq!(numbers(&disk), last);
        }
    }
}

#[test]
fn every_damaged_line_is_passed_over_and_the_others_are_read() {
    let base = with_records(3);
    let ends: Vec<usize> = bytes(&base).iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i).collect();
    for bit in ((ends[0] + 1) * 8..ends[1] * 8).step_by(3) {
        let disk = base.copy();
        disk.damage(&path(), |b| b[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(numbers(&disk), [0, 2], "bit {bit}");
        let (_, opened) = Journal::open(store(&disk), &path()).unwrap();
        assert_eq!((opened.records, opened.cut), (3, 0));
        assert!(opened.damaged >= 1);
    }
}

#[test]
fn a_power_cut_keeps_what_was_synced() {
    for at in 1..12 {
        let disk = with_records(4);
        let (mut journal, _) = Journal::open(store(&disk), &path()).unwrap();
        disk.inject(Some(memory::Injected::end(at)));
        let mut synced = 4;
        for i in 4..9 {
            let noted = journal.note(json!({"i": i})).is_ok();
            if noted && i % 2 == 0 && journal.sync().is_ok() {
                synced = i + 1;
            }
        }
        let mut chance = memory::Chance(at);
        for _ in 0..20 {
            let image = disk.after_power_cut(&mut chance);
            let (mut journal, _) = Journal::open(store(&image), &path()).unwrap();
            let found = numbers(&image);
            assert!(found.len() >= synced as usize && found[..synced as usize] == (0..synced).collect::<Vec<_>>());
            let n = journal.note(json!({"event": "resume"})).unwrap();
            assert_eq!(numbers(&image).last(), Some(&n));
        }
    }
}

#[test]
fn a_full_disk_still_takes_the_goodbye() {
    for room in 0..200 {
        let disk = disk_with(1);
        let mut run = open(&disk).unwrap();
        let (mut journal, _) = Journal::open(run.store(), &run.journal()).unwrap();
        run.recover().unwrap();
        disk.limit(Some(disk.used() + room));
        assert!(save(&mut run, 2).is_err());
        let mut noted = 0;
        while journal.note(json!({"event": "step"})).is_ok() {
            noted += 1;
        }
        let last = json!({"event": "goodbye", "why": "the disk is full"});
        last_words(&disk, Path::new(ROOT), &mut || {
            journal.note_as(noted as u64, last.clone())?;
            journal.sync()
        })
        .unwrap();
        let mut image = disk.after_power_cut(&mut memory::Chance(room as u64));
        image.limit(None);
        let records = Follower::read_all(store(&image), &path()).unwrap();
        assert_eq!((records.len(), records.last().unwrap().text("event")), (noted + 1, "goodbye"));
        // The next start, with room again, puts the ballast back.
        image = image.copy();
        open(&image).unwrap();
        assert!(image.everything().iter().any(|(name, b)| name.ends_with("ballast") && b.len() == 1 << 20));
    }
}

#[test]
fn a_reader_follows_a_journal_that_grows_and_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let disk: Arc<dyn Store> = Arc::new(Disk);
    let mut follower = Follower::new(disk.clone(), &path);
    let mut poll = || {
        let mut seen: Vec<Record> = Vec::new();
        follower.poll(&mut |r| seen.push(r)).unwrap();
        seen.iter().map(|r| r.n).collect::<Vec<_>>()
    };
    assert!(poll().is_empty(), "a journal that is not there yet");
    let (mut journal, _) = Journal::open(disk.clone(), &path).unwrap();
    for i in 0..5 {
        journal.note(json!({"i": i})).unwrap();
        assert_eq!(poll(), [i]);
        assert!(poll().is_empty());
    }
    let whole = std::fs::read(&path).unwrap();
    journal.note(json!({"i": 5})).unwrap();
    let torn = std::fs::read(&path).unwrap();
    std::fs::write(&path, &torn[..whole.len() + 9]).unwrap();
    assert!(poll().is_empty(), "half a line is not a record");
    let (mut journal, opened) = Journal::open(disk.clone(), &path).unwrap();
    assert_eq!((opened.records, opened.cut), (5, 9));
    journal.note(json!({"i": 5})).unwrap();
    assert_eq!(poll(), [5]);
    // A whole line that was read and then lost to a power cut: what follows it is read once.
    std::fs::write(&path, &whole).unwrap();
    let (mut journal, _) = Journal::open(disk, &path).unwrap();
    journal.note(json!({"i": "again"})).unwrap();
    journal.note(json!({"i": 6})).unwrap();
    assert!(poll().contains(&6));
}

#[test]
fn a_line_of_any_length_is_met_in_bounded_memory() {
    let base = with_records(2);
    base.damage(&path(), |b| {
        b.extend(std::iter::repeat_n(b'x', 5 << 20));
        b.push(b'\n');
    });
    let (mut journal, opened) = Journal::open(store(&base), &path()).unwrap();
    assert_eq!((opened.records, opened.damaged, opened.cut), (2, 1, 0));
    journal.note(json!({"event": "resume"})).unwrap();
    assert_eq!(numbers(&base), [0, 1, 2]);
}
