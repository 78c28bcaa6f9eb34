//! A round as a record: what a checkpoint holds of it, so that a resume in its midst samples nothing again.

use crate::fault::{Fault, FaultKind};
use crate::stage::{Group, Numbers, Round, Row, Window};
use crate::store::Damage;
use crate::store::format::{self, Decode, Encode, Kind};
use std::path::Path;
use std::sync::Arc;

/// At most 256 MiB: about 44 bytes a token, so six million tokens.
const KIND: Kind =
    Kind { what: "round record", magic: *b"PLEACH-ROUND\n\n\n\n", version: 1, oldest: 1, limit: 256 << 20 };

#[derive(Encode, Decode)]
struct Record {
    number: u64,
    draws: u64,
    windows: Vec<WindowRecord>,
    metrics: Vec<(String, f64)>,
}

#[derive(Encode, Decode)]
struct WindowRecord {
    context: u64,
    rows: Vec<RowRecord>,
    groups: Vec<(u64, u64, Vec<f64>)>,
    given: Vec<Numbers>,
}

#[derive(Encode, Decode)]
struct RowRecord {
    tokens: Vec<u32>,
    weights: Vec<f32>,
    segments: Vec<u32>,
    key: u64,
}

/// As a framed record.
pub fn encode(round: &Round) -> Result<Vec<u8>, Fault> {
    let row = |row: &Row| RowRecord {
        tokens: row.tokens.clone(),
        weights: row.weights.clone(),
        segments: row.segments.clone(),
        key: row.key,
    };
    let group = |group: &Group| (group.rows.start as u64, group.rows.end as u64, group.facts.clone());
    let window = |window: &Window| WindowRecord {
        context: window.context as u64,
        rows: window.rows.iter().map(row).collect(),
        groups: window.groups.iter().map(group).collect(),
        given: window.given.iter().map(|numbers| Numbers::clone(numbers)).collect(),
    };
    let record = Record {
        number: round.number,
        draws: round.draws,
        windows: round.windows.iter().map(window).collect(),
        metrics: round.metrics.clone(),
    };
    format::encode(&KIND, &record).map_err(|error| Fault::new(FaultKind::Refused, error.to_string()))
}

/// From a framed record.
pub fn decode(bytes: &[u8]) -> Result<Round, Fault> {
    let what = Path::new("the checkpoint's round");
    let record: Record = format::decode(&KIND, bytes).map_err(|error| Damage::record(what, &error))?;
    let row = |r: RowRecord| Row { tokens: r.tokens, weights: r.weights, segments: r.segments, key: r.key };
    let group = |(start, end, facts)| Group { rows: start as usize..end as usize, facts };
    let window = |w: WindowRecord| Window {
        context: w.context as usize,
        rows: w.rows.into_iter().map(row).collect(),
        groups: w.groups.into_iter().map(group).collect(),
        given: w.given.into_iter().map(Arc::new).collect(),
    };
    let windows = record.windows.into_iter().map(window).collect();
    Ok(Round { number: record.number, draws: record.draws, windows, metrics: record.metrics })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_round_comes_back_whole_and_a_damaged_one_does_not() {
        let row = Row { tokens: vec![1, 2, 3], weights: vec![0.0, 1.0], segments: vec![0, 0], key: 9 };
        let numbers = Arc::new(vec![[0.1, -2.0, f32::MIN_POSITIVE, 1.0], [0.0, -0.0, 3.0, 4.0]]);
        let groups = vec![Group { rows: 0..1, facts: vec![0.3] }];
        let window = Window { groups, given: vec![numbers.clone(), numbers], ..Window::new(2, vec![row]) };
        let metrics = vec![("reward".to_string(), 0.1 + 0.2)];
        let round = Round { number: 3, draws: 4, windows: vec![window.clone(), window], metrics };
        let mut bytes = encode(&round).unwrap();
        assert_eq!(decode(&bytes).unwrap(), round);
        assert_eq!(round.end(), 16);
        bytes[40] ^= 1;
        assert!(decode(&bytes).is_err());
    }
}
