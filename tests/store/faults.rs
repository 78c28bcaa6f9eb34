//! Every file operation made to fail, once and from then on, in saving and in recovering; and the disk run full.

use super::memory::Injected;
use super::*;

/// Lets `act` meet a fault at its first operation, its second, ... until it meets none; the number of points tried.
/// `act` says whether the fault was met.
fn sweep(base: &Memory, act: &mut dyn FnMut(Memory, Injected) -> bool) -> u64 {
    for at in 1.. {
        let ways = [(true, false), (true, true), (false, false), (false, true)];
        let met = ways.map(|(once, effect)| act(base.copy(), Injected { at, once, effect, dies: false }));
        if met == [false; 4] {
            return at - 1;
        }
    }
    unreachable!("an endless save")
}

fn assert_named(fault: &Fault, disk: &Memory) {
    let (_, hit) = disk.outcome();
    let path = hit.expect("an error without an injected fault");
    assert!(fault.what.contains(path.to_str().unwrap()), "{:?} does not name {}", fault.what, path.display());
}

#[test]
fn a_save_that_fails_at_any_operation_leaves_the_older_checkpoint_and_names_the_file() {
    let mut points = 0;
    // 0: the very first save; 2: nothing to retain; 5: retention removes one.
    for held in [0, 2, 5] {
        let base = disk_with(held);
        points += sweep(&base, &mut |disk, fault| {
            let (mut run, _, step) = recovered(&disk).unwrap();
            assert_eq!(step, held);
            disk.inject(Some(fault));
            let saved = save(&mut run, held + 1);
            if let Err(fault) = &saved {
                assert_named(fault, &disk);
            }
            let met = disk.outcome().1.is_some();
            let at_once = disk.copy();
            at_once.inject(None);
            let (_, found, step) = recovered(&at_once).unwrap();
            assert!(found.lost.is_empty(), "{:?}", found.lost);
            match saved {
                Ok(_) => assert_eq!(step, held + 1, "{fault:?}"),
                Err(_) => assert!(step == held || step == held + 1, "{fault:?}: step {step}"),
            }
            // The same process goes on when the disk does, and keeps count of failures.
            if !fault.once {
                let again = save(&mut run, held + 2);
                assert_eq!(run.failing(), saved.is_err() && again.is_err());
            }
            disk.inject(None);
            save(&mut run, held + 3).unwrap();
            assert!(!run.failing());
            assert_eq!(recovered(&disk).unwrap().2, held + 3);
            met
        });
    }
    assert!(points > 100, "{points} points are too few to be all");
}

#[test]
fn a_recovery_that_fails_at_any_operation_loses_nothing() {
    for damaged in [false, true] {
        let base = disk_with(4);
        if damaged {
            let file = Path::new(ROOT).join("stages/01-pretrain/checkpoint-000004-4/model.safetensors");
            base.damage(&file, |bytes| bytes[200] ^= 4);
        }
        let newest = if damaged { 3 } else { 4 };
        let points = sweep(&base, &mut |disk, fault| {
            disk.inject(Some(fault));
            match recovered(&disk) {
                Ok((_, _, step)) => assert!((2..=newest).contains(&step), "{fault:?}: step {step}"),
                // The first fault may have met something that recovery can do without; a later one is told then.
                Err(fault) => assert!(fault.what.contains(" /") && fault.what.ends_with("injected fault"), "{fault}"),
            }
            let met = disk.outcome().1.is_some();
            let healed = disk.copy();
            healed.inject(None);
            let (mut run, found, step) = recovered(&healed).unwrap();
            assert_eq!(step, newest, "{fault:?}");
            assert!(found.checkpoint.is_some());
            save(&mut run, 9).unwrap();
            assert_eq!(recovered(&healed).unwrap().2, 9);
            met
        });
        assert!(points > 20, "{points} points are too few to be all");
    }
}

#[test]
fn a_failed_sync_is_never_trusted_again() {
    for held in [0, 3] {
        failed_sync(held);
    }
}

fn failed_sync(held: u64) {
    let base = disk_with(held);
    sweep(&base, &mut |disk, fault| {
        let mut run = open(&disk).unwrap();
        run.recover().unwrap();
        disk.inject(Some(Injected { once: true, ..fault }));
        let first = save(&mut run, held + 1).is_ok();
        let met = disk.outcome().1.is_some();
        let second = save(&mut run, held + 2).is_ok();
        let mut chance = memory::Chance(fault.at);
        for _ in 0..4 {
            let (_, _, step) = recovered(&disk.after_power_cut(&mut chance)).unwrap();
            let least = held + if second { 2 } else { u64::from(first) };
            assert!((least..=held + 2).contains(&step), "{fault:?}: {step} where {least} was promised");
        }
        met
    });
}

#[test]
fn a_disk_that_fills_at_any_point_loses_nothing() {
    let base = Memory::new();
    let mut run = open(&base).unwrap();
    save_sized(&mut run, 1, 16_000).unwrap();
    let used = base.used();
    let (mut failed, mut budget) = (0, used);
    loop {
        let disk = base.copy();
        let (mut run, _, _) = recovered(&disk).unwrap();
        disk.limit(Some(budget));
        let saved = save_sized(&mut run, 2, 16_000);
        let (_, _, step) = recovered(&disk).unwrap();
        match saved {
            Ok(_) => {
                assert_eq!(step, 2);
                break;
            }
            Err(fault) => {
                assert_eq!(fault.kind, pleach_runtime::fault::FaultKind::DiskFull, "{fault}");
                assert!(fault.what.contains("checkpoint-000002"), "{fault}");
                assert_eq!(step, 1);
                assert!(disk.used() <= used, "a failed save gives its space back");
                disk.limit(None);
                save_sized(&mut run, 3, 16_000).unwrap();
                assert_eq!(recovered(&disk).unwrap().2, 3);
                failed += 1;
            }
        }
        budget += 4096;
    }
    assert!(failed >= 20, "only {failed} budgets were too small");
}
