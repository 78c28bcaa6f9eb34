//! The run folder: what is kept, room on the disk, values that are not finite, files written in place of others.

use pleach_runtime::fault::FaultKind;
use pleach_runtime::store::{
    Disk, Lost, Manifest, Store, best, crosses_milestone, plan, replace, reserve, write_model_folder,
};
use proptest::prelude::*;

use super::*;

fn manifest(seq: u64, stage: &str, good: bool, validation: Option<f64>) -> Manifest {
    Manifest {
        seq,
        parent: None,
        step: seq * 10,
        stage: stage.to_owned(),
        good,
        validation,
        milestone: false,
        last: false,
        written: 0,
        facts: Facts::default(),
        files: Vec::new(),
    }
}

#[test]
fn retention_keeps_what_the_design_names() {
    let mut all: Vec<Manifest> = (1..=12).map(|seq| manifest(seq, "01-pretrain", true, Some(seq as f64))).collect();
    all[3].milestone = true;
    all[5].last = true;
    for m in &mut all[9..] {
        (m.good, m.stage) = (false, "02-continued".to_owned());
    }
    // A roll-back: number 8 holds an early step, and steps decide nothing.
    all[7].step = 5;
    let kept: Vec<(u64, String)> = plan(&all, 3).into_iter().map(|k| (k.seq, k.why)).collect();
    let expected = [
        (1, "best of 01-pretrain"),
        (4, "milestone"),
        (6, "last of 01-pretrain"),
        (9, "newest good"),
        (10, "newest"),
        (11, "newest"),
        (12, "newest"),
    ];
    assert_eq!(kept, expected.map(|(seq, why)| (seq, why.to_owned())));
}

#[test]
fn a_run_shows_its_best_checkpoint_else_its_last_good_one() {
    let mut all: Vec<Manifest> = (1..=4).map(|seq| manifest(seq, "01-pretrain", true, None)).collect();
    assert_eq!(best(&[]), None);
    assert_eq!(best(&all).unwrap().seq, 4);
    all[3].good = false;
    assert_eq!(best(&all).unwrap().seq, 3);
    (all[0].validation, all[1].validation, all[2].validation) = (Some(2.0), Some(1.0), Some(f64::NAN));
    (all[3].validation, all[3].good) = (Some(1.0), true);
    assert_eq!(best(&all).unwrap().seq, 4, "of equals the newest");
    all.push(manifest(5, "02-continued", true, None));
    assert_eq!(best(&all).unwrap().seq, 5);
}

proptest! {
    #[test]
    fn retention_never_gives_up_the_newest_good_one(
        bits in prop::collection::vec((any::<bool>(), any::<bool>(), prop::option::of(-4.0f64..4.0)), 0..40),
        newest in 0usize..4,
    ) {
        let stage = |i: usize| if i < 20 { "01-a" } else { "02-b" };
        let all: Vec<Manifest> = bits.iter().enumerate().map(|(i, &(good, last, validation))| Manifest {
            last, ..manifest(i as u64, stage(i), good, validation)
        }).collect();
        let kept = plan(&all, newest);
        let holds = |seq: u64| kept.iter().any(|k| k.seq == seq);
        if let Some(good) = all.iter().rev().find(|m| m.good) { prop_assert!(holds(good.seq)); }
        if let Some(last) = all.last() { prop_assert!(holds(last.seq)); }
        prop_assert!(kept.len() <= newest.max(1) + 1 + 2 * 2);
        for stage in ["01-a", "02-b"] {
            let of_stage = all.iter().filter(|m| m.stage == stage && m.good);
            let validated = of_stage.filter_map(|m| m.validation.map(|v| (v, m.seq)));
            if let Some((_, seq)) = validated.min_by(|a, b| a.0.total_cmp(&b.0)) { prop_assert!(holds(seq)); }
        }
    }
}

#[test]
fn a_run_has_ten_milestones_however_it_is_cut() {
    for (total, every) in [(1000, 7), (1000, 100), (30, 1), (7, 1), (12_345, 500)] {
        let steps: Vec<u64> = (0..=total).step_by(every).collect();
        let crossed = steps.windows(2).filter(|w| crosses_milestone(w[0], w[1], total)).count();
        let possible = 10.min(steps.len() - 1);
        assert!((possible - 1..=possible).contains(&crossed), "{crossed} of {possible} in {total} by {every}");
    }
}

#[test]
fn long_runs_keep_a_bounded_number() {
    let disk = Memory::new();
    let mut run = open(&disk).unwrap();
    for step in 1..=20 {
        let saved = save(&mut run, step).unwrap();
        assert!(saved.warnings.is_empty(), "{:?}", saved.warnings);
        assert_eq!(saved.removed.len(), usize::from(step > 3));
    }
    let steps: Vec<u64> = run.checkpoints().unwrap().iter().map(|(_, m)| m.step).collect();
    assert_eq!(steps, [18, 19, 20]);
    let parents: Vec<Option<u64>> = run.checkpoints().unwrap().iter().map(|(_, m)| m.parent).collect();
    assert_eq!(parents, [Some(17), Some(18), Some(19)]);
}

#[test]
fn values_that_are_not_finite_are_never_good_nor_resumed_from() {
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let disk = disk_with(1);
        let mut run = open(&disk).unwrap();
        run.recover().unwrap();
        let mut weights = vec![1.0; 300_000];
        weights[299_999] = odd;
        let model = vec![TensorRef::new("w", &[300, 1000], &weights)];
        for step in 2..7 {
            let saved = run.save(&Snapshot { model: model.clone(), ..Snapshot::new(step, "01-pretrain") }).unwrap();
            assert!(!saved.manifest.good);
        }
        let (_, found, step) = recovered(&disk).unwrap();
        assert_eq!((step, found.lost.len(), found.lost_steps()), (1, 3, 5));
        assert!(found.lost[0].why.contains("not finite") && found.lost[0].quarantined.is_none());
    }
}

#[test]
fn a_run_without_room_is_refused_before_it_starts_and_before_it_saves() {
    let disk = disk_with(3);
    let mut run = open(&disk).unwrap();
    run.recover().unwrap();
    disk.tell_free(Some(10 << 20));
    let refusal = run.check_space(1 << 20).unwrap_err();
    assert_eq!(refusal.code, 3);
    assert!(refusal.detail.contains("10 MiB are free, checkpoints need 18 MiB"), "{refusal}");
    let fault = save(&mut run, 4).unwrap_err();
    assert_eq!(fault.kind, FaultKind::DiskFull);
    assert!(fault.what.contains("10 MiB free"), "{fault}");
    // Room was sought: the third newest went, and nothing else.
    assert_eq!(run.checkpoints().unwrap().len(), 2);
    save(&mut run, 4).unwrap_err();
    assert!(run.failing());
    disk.tell_free(Some(1 << 30));
    run.check_space(1 << 20).unwrap();
    save(&mut run, 4).unwrap();
    assert!(!run.failing());
    assert_eq!(reserve(1 << 40), (1 << 40) + (1 << 40) / 5 + (512 << 20));
}

#[test]
fn the_last_checkpoint_leaves_room_for_the_model_that_is_handed_on() {
    let disk = Memory::new();
    let mut run = open(&disk).unwrap();
    let weights = vec![0.5f32; 1 << 20];
    let model = vec![TensorRef::new("w", &[1 << 20], &weights)];
    let of = |step, last| Snapshot { model: model.clone(), last, ..Snapshot::new(step, "01-pretrain") };
    disk.tell_free(Some(reserve(of(1, false).bytes())));
    run.save(&of(1, false)).unwrap();
    assert_eq!(run.save(&of(2, true)).unwrap_err().kind, FaultKind::DiskFull);
    disk.tell_free(Some(reserve(of(1, false).bytes()) + of(1, true).model_bytes()));
    run.save(&of(2, true)).unwrap();
}

#[test]
fn quarantined_checkpoints_are_bounded() {
    let disk = disk_with(3);
    for round in 4..12 {
        let (mut run, _, step) = recovered(&disk).unwrap();
        let saved = save(&mut run, step + 1).unwrap();
        assert_eq!(saved.manifest.seq, round, "a number is never used again");
        disk.damage(&saved.folder.join("state.bin"), |bytes| bytes[33] ^= 1);
    }
    let quarantined = |disk: &Memory| {
        let names = disk.list(&Path::new(ROOT).join("stages/01-pretrain")).unwrap();
        names.iter().filter(|e| e.name.starts_with("bad-")).count()
    };
    assert!(quarantined(&disk) <= 3, "{}", quarantined(&disk));
}

#[test]
fn files_and_model_folders_are_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolved.toml");
    for text in ["one", "two"] {
        replace(&Disk, &file, text.as_bytes()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
    let model = folder.path().join("model");
    for k in 1..3u8 {
        let data = [f32::from(k)];
        let extras = vec![("config.json".to_owned(), vec![k])];
        write_model_folder(&Disk, &model, &[TensorRef::new("w", &[1], &data)], &extras).unwrap();
        assert_eq!(std::fs::read(model.join("config.json")).unwrap(), [k]);
    }
    let names: Vec<String> = Disk.list(folder.path()).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names, ["model", "resolved.toml"]);
}

#[test]
fn the_free_space_of_this_disk_is_known() {
    let free = Disk.free(&std::env::temp_dir()).unwrap();
    assert!(free.is_none_or(|bytes| bytes > 0));
    assert!(cfg!(not(target_os = "linux")) || free.is_some());
}

/// What a start says of a damaged checkpoint: one step is no plural, and milliseconds are no minutes.
#[test]
fn what_was_lost_is_said_in_its_own_size() {
    for (step, seconds, words) in [
        (21, 0, "1 step is lost (less than a second of training)"),
        (25, 1, "5 steps are lost (1 second of training)"),
        (25, 119, "5 steps are lost (119 seconds of training)"),
        (25, 121, "5 steps are lost (3 minutes of training)"),
        (25, 7201, "5 steps are lost (3 hours of training)"),
    ] {
        let manifest = Manifest { written: 1000, ..manifest(2, "01-pretrain", true, None) };
        let folder = "checkpoint-000020-2".into();
        let kept = Checkpoint {
            folder,
            manifest,
            model: vec![],
            optimizer: vec![],
            beside: vec![],
            state: vec![],
            extras: vec![],
        };
        let lost = Lost {
            name: "checkpoint".to_owned(),
            seq: 3,
            step,
            known: Some((0, 1000 + seconds)),
            why: "cut".to_owned(),
            quarantined: None,
        };
        let said = Recovered { checkpoint: Some(kept), lost: vec![lost] }.words().unwrap();
        assert!(said.starts_with(&format!("going on from step 20; {words}: ")), "{said}");
    }
}
