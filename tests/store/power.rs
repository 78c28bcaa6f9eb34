//! Power cut at every file operation: what was not synced is dropped, torn or zeroed, and the run must still have the
//! old checkpoint or the new one. Forgotten syncs are planted to prove that these tests would see them.

use super::memory::{Chance, Forget, Injected};
use super::*;

/// Cuts the power at every operation of the save of step `held + 1` and after it; what was found wrong.
fn violations(held: u64, damages: usize, forget: Option<Forget>) -> (usize, Vec<String>) {
    let base = Memory::new();
    if let Some(what) = forget {
        base.forget(what);
    }
    let mut run = open(&base).unwrap();
    for step in 1..=held {
        save(&mut run, step).unwrap();
    }
    let (mut cuts, mut wrong) = (0, Vec::new());
    for at in 1.. {
        let disk = base.copy();
        let (mut run, _, _) = recovered(&disk).unwrap();
        disk.inject(Some(Injected::end(at)));
        let acknowledged = save(&mut run, held + 1).is_ok();
        let over = disk.outcome().1.is_none();
        for damage in 0..damages {
            let mut chance = Chance(at * 1000 + damage as u64);
            let image = disk.after_power_cut(&mut chance);
            cuts += 1;
            let mut judge = |image: &Memory, when: &str| {
                let found = recovered(image);
                let step = found.map(|(_, _, step)| step).map_err(|e| e.to_string());
                let fine = if acknowledged { vec![held + 1] } else { vec![held, held + 1] };
                if !step.as_ref().is_ok_and(|s| fine.contains(s)) {
                    wrong.push(format!("cut at {at}, damage {damage}, {when}: {step:?} instead of {fine:?}"));
                }
            };
            // A second cut, while the first is being recovered from; then a start without one.
            let again = image.copy();
            again.inject(Some(Injected::end(1 + chance.below(60) as u64)));
            let _ = open(&again).and_then(|mut run| run.recover());
            let again = again.after_power_cut(&mut chance);
            judge(&image, "first recovery");
            judge(&again, "second recovery");
            // Recovery itself must leave something that recovers.
            judge(&image, "recovered again");
        }
        if over {
            break;
        }
    }
    (cuts, wrong)
}

#[test]
fn a_power_cut_leaves_the_old_checkpoint_or_the_new_one() {
    let mut all = 0;
    for held in [0, 1, 5] {
        let (cuts, wrong) = violations(held, 20 * torture(), None);
        assert!(wrong.is_empty(), "{} of {cuts}: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
        all += cuts;
    }
    assert!(all > 2000, "{all} cuts are too few to be all");
}

#[test]
fn a_process_that_dies_leaves_nothing_that_a_later_power_cut_takes() {
    for held in [0, 1, 5] {
        let base = if held == 0 { Memory::new() } else { disk_with(held) };
        for at in 1.. {
            let disk = base.copy();
            disk.inject(Some(Injected::end(at)));
            let _ = open(&disk).and_then(|mut run| save(&mut run, held + 1));
            let over = disk.outcome().1.is_none();
            // The process is gone, what it wrote is in the system's memory; the next one saves, then the power goes.
            disk.inject(None);
            let (mut run, _, _) = recovered(&disk).unwrap();
            save(&mut run, held + 2).unwrap();
            for damage in 0..10 * torture() {
                let image = disk.after_power_cut(&mut Chance(at * 1000 + damage as u64));
                assert_eq!(recovered(&image).unwrap().2, held + 2, "died at {at} of a save over {held}");
            }
            if over {
                break;
            }
        }
    }
}

#[test]
fn a_forgotten_sync_would_be_seen() {
    for forget in [Forget::File, Forget::Folder, Forget::Rename] {
        let (cuts, wrong) = violations(5, 10, Some(forget));
        assert!(!wrong.is_empty(), "{forget:?}: nothing was found in {cuts} cuts");
    }
}
