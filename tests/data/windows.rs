//! Windows: pure, complete, masked at borders.

use super::{all_ids, corpus, prepared};
use pleach::data::random::{Permutation, philox};
use pleach::data::{
    Corpus, Evaluation, PrepareOptions, Sampling, Source, Split, Vocabulary, WindowOptions, Windows, target_bytes,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// A prepared folder of world stories.
fn stories(count: u64) -> (TempDir, pleach::data::Tokenizer) {
    let train = vec![Source::parse(&format!("world:stories:{count}:9")).unwrap()];
    let corpus = Corpus { train, ..Corpus::default() };
    let options = pleach::data::TrainOptions { vocab: 400, ..Default::default() };
    let tokenizer = Vocabulary::Trained { options, sample: 50_000 }.tokenizer(&corpus).unwrap();
    let folder = tempfile::tempdir().unwrap();
    prepared(&corpus, &tokenizer, &PrepareOptions::default(), folder.path()).unwrap();
    (folder, tokenizer)
}

fn options(context: usize, batch: usize) -> WindowOptions {
    WindowOptions { context, batch, seed: 4, sampling: Sampling::Epochs }
}

/// Known answers of Random123's philox4x32-10.
#[test]
fn philox_gives_the_published_words() {
    assert_eq!(philox([0; 2], [0; 4]), [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
    assert_eq!(philox([!0; 2], [!0; 4]), [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]);
    let digits = [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344];
    assert_eq!(philox([0xA409_3822, 0x299F_31D0], digits), [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_permutation_visits_each_place_once(size in 1u64..3000, key: u64) {
        let permutation = Permutation::new(size, key);
        let mut places: Vec<u64> = (0..size).map(|i| permutation.at(i)).collect();
        places.sort_unstable();
        prop_assert!(places.into_iter().eq(0..size));
    }
}

#[test]
fn permutations_are_near_uniform_and_differ_by_key() {
    let size = 1000;
    let (mut fixed, mut neighbours) = (0, 0);
    for key in 0..50 {
        let permutation = Permutation::new(size, key);
        fixed += (0..size).filter(|&i| permutation.at(i) == i).count();
        neighbours += (1..size).filter(|&i| permutation.at(i) == permutation.at(i - 1) + 1).count();
    }
    // Both counts are near Poisson with mean 1 per permutation: 50, within 5 standard deviations.
    assert!((15..=85).contains(&fixed) && (15..=85).contains(&neighbours), "{fixed} fixed, {neighbours} neighbours");
}

#[test]
fn a_window_is_a_pure_function_of_its_draw() {
    let (folder, _) = stories(60);
    for sampling in [Sampling::Epochs, Sampling::RandomOffset] {
        let options = WindowOptions { sampling, ..options(32, 7) };
        let open = || Windows::open(folder.path(), Split::Train, options).unwrap();
        let forward: Vec<_> = (0..40).map(|draw| open().window(draw).unwrap()).collect();
        let one = open();
        for draw in (0..40).rev().chain([13, 2, 13]) {
            assert_eq!(one.window(draw).unwrap(), forward[draw as usize], "draw {draw}");
        }
        let other = Windows::open(folder.path(), Split::Train, WindowOptions { seed: 5, ..options }).unwrap();
        assert_ne!(other.window(0).unwrap(), forward[0]);
        assert_ne!(other.fingerprint(), one.fingerprint());
        // The rows do not depend on how many a window holds: 7 windows of 8 hold the same as 8 of 7.
        if sampling == Sampling::Epochs {
            let eight = Windows::open(folder.path(), Split::Train, WindowOptions { batch: 8, ..options }).unwrap();
            let rows = |windows: &Windows, draws| -> Vec<_> {
                (0..draws).flat_map(|draw| windows.window(draw).unwrap().rows).collect()
            };
            assert_eq!(rows(&one, 8), rows(&eight, 7));
        }
    }
}

#[test]
fn each_epoch_visits_each_row_once_in_another_order() {
    let (folder, _) = stories(40);
    let windows = Windows::open(folder.path(), Split::Train, options(16, 5)).unwrap();
    let rows = windows.rows();
    assert_eq!(windows.draws_per_epoch(), rows.div_ceil(5));
    let keys: Vec<u64> =
        (0..3 * rows / 5 + 1).flat_map(|draw| windows.window(draw).unwrap().rows).map(|r| r.key).collect();
    let epochs: Vec<&[u64]> = keys.chunks_exact(rows as usize).collect();
    assert_eq!(epochs.len(), 3);
    for epoch in &epochs {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..rows));
    }
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
}

#[test]
fn rows_hold_the_stream_and_mask_across_borders() {
    let (folder, tokenizer) = stories(30);
    let (ids, begins) = all_ids(folder.path(), Split::Train);
    let context = 50;
    let windows = Windows::open(folder.path(), Split::Train, options(context, 4)).unwrap();
    let mut borders = 0;
    for row in (0..windows.draws_per_epoch()).flat_map(|draw| windows.window(draw).unwrap().rows) {
        let start = row.key as usize * context;
        assert_eq!(row.tokens, ids[start..=start + context]);
        for column in 0..context {
            assert_eq!(row.weights[column] == 0.0, begins[start + column + 1]);
            let segment = row.segments[column] as usize;
            assert!(segment <= column && (segment == 0 || begins[start + segment]));
            assert!(!begins[start + segment + 1..=start + column].contains(&true));
            if row.weights[column] == 0.0 {
                borders += 1;
                assert_eq!(row.tokens[column], tokenizer.eos().unwrap(), "the last of a document is its end mark");
            }
        }
    }
    assert!(borders > 10);
}

#[test]
fn evaluation_predicts_every_token_but_the_first_once() {
    let (folder, tokenizer) = stories(30);
    for split in [Split::Train, Split::Validation] {
        let (ids, begins) = all_ids(folder.path(), split);
        let evaluation = Evaluation::open(folder.path(), split, 37).unwrap();
        let mut rows = Vec::new();
        for first in (0..evaluation.rows()).step_by(4) {
            rows.extend(evaluation.window(first, 4).unwrap().rows);
        }
        assert_eq!(rows.len(), (ids.len() - 1).div_ceil(37));
        let predicted: f32 = rows.iter().flat_map(|row| &row.weights).sum();
        let targets: Vec<usize> = (1..ids.len()).filter(|&i| !begins[i]).collect();
        assert_eq!(predicted as usize, targets.len());
        let mut seen = BTreeMap::new();
        for row in &rows {
            let here =
                (0..37).filter(|&t| row.weights[t] > 0.0).map(|t| (row.key as usize * 37 + t + 1, row.tokens[t + 1]));
            seen.extend(here);
        }
        assert!(seen.into_iter().eq(targets.iter().map(|&i| (i, ids[i]))));
        let last = rows.last().unwrap();
        let real = (ids.len() - 1) % 37;
        assert!(real == 0 || last.weights[real..].iter().all(|&w| w == 0.0) && last.segments[36] as usize > real);
        let bytes: u64 = rows.iter().map(|row| target_bytes(row, &tokenizer.byte_lengths())).sum();
        // Every document begins with a mark, so every byte of text is a target.
        let text: usize = ids.iter().map(|&id| tokenizer.byte_length(id)).sum();
        assert_eq!(bytes as usize, text);
    }
}

#[test]
fn a_plain_stream_has_no_borders_and_random_offsets_reach_its_ends() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("a.txt"), "abcdefghijklmnopqrstuvwxyz").unwrap();
    let corpus = corpus(root.path(), &["a.txt"]);
    let tokenizer = Vocabulary::Characters.tokenizer(&corpus).unwrap();
    let plain = PrepareOptions { boundaries: false, validation: 0.0, ..PrepareOptions::default() };
    prepared(&corpus, &tokenizer, &plain, root.path()).unwrap();
    let random = WindowOptions { sampling: Sampling::RandomOffset, ..options(8, 6) };
    let windows = Windows::open(root.path(), Split::Train, random).unwrap();
    let mut starts: BTreeMap<u32, usize> = BTreeMap::new();
    for row in (0..500).flat_map(|draw| windows.window(draw).unwrap().rows) {
        assert!(row.tokens.windows(2).all(|pair| pair[1] == pair[0] + 1), "{:?}", row.tokens);
        assert!(row.weights.iter().all(|&w| w == 1.0) && row.segments.iter().all(|&s| s == 0));
        *starts.entry(row.tokens[0]).or_default() += 1;
    }
    // 18 places, 3000 throws: 167 each, standard deviation 13.
    assert!(starts.len() == 18 && starts.values().all(|&count| (100..240).contains(&count)), "{starts:?}");
    assert_eq!(Evaluation::open(root.path(), Split::Validation, 8).unwrap().rows(), 0);
    let fault = Windows::open(root.path(), Split::Train, options(26, 1)).unwrap_err();
    assert!(fault.refusal.unwrap().hint.contains("context to 25"));
}
