//! Snapshots whose signed time runs against their sequence, or ahead of the present.
//!
//! The sequence is the order in which a source's snapshots were made; their times come from writers' clocks. Where the two
//! disagree, some clock was wrong, and a rule about days must not act on what it said. Doubt is judged among the snapshots
//! that stand: once all that contradict one were forgotten, it is older in sequence and in time, and believed again.

use super::plan::Candidate;
use crate::id::Timestamp;

/// Clocks of different machines may differ by this much (one hour).
const AHEAD_MICROS_MAX: i64 = 3600 * 1_000_000;

/// What is wrong with a snapshot's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// It lies in the future.
    Ahead,
    /// It contradicts the order of the sequence.
    AgainstSequence,
}

/// For each of one source's snapshots, which come ascending by (sequence, time), whether its time is in doubt.
///
/// A longest series whose times do not fall is taken for right. Where there are several such series, only what all of
/// them share is: of two snapshots that contradict each other, nothing says which clock was wrong.
pub(super) fn doubts(snapshots: &[&Candidate<'_>], now: Timestamp) -> Vec<Option<Doubt>> {
    let limit = now.0.saturating_add(AHEAD_MICROS_MAX);
    let is_ahead = |time: i64| time > limit;
    let times: Vec<i64> =
        snapshots.iter().map(|snapshot| snapshot.time.0).filter(|time| !is_ahead(*time)).collect();
    let mut shared = in_every_longest_series(&times).into_iter();
    snapshots
        .iter()
        .map(|snapshot| {
            if is_ahead(snapshot.time.0) {
                return Some(Doubt::Ahead);
            }
            // There are as many answers as times that are not ahead.
            if shared.next() == Some(true) { None } else { Some(Doubt::AgainstSequence) }
        })
        .collect()
}

/// For each time, whether every longest series without a fall contains it.
fn in_every_longest_series(times: &[i64]) -> Vec<bool> {
    let ending = lengths(times.iter().copied());
    let reversed: Vec<usize> = lengths(times.iter().rev().map(|time| time.saturating_neg()));
    let longest = ending.iter().copied().max().unwrap_or(0);
    let total = |at: usize| ending[at] + reversed[times.len() - 1 - at] - 1;
    let mut at_rank = vec![0usize; longest + 1];
    for at in (0..times.len()).filter(|at| total(*at) == longest) {
        at_rank[ending[at]] += 1;
    }
    (0..times.len()).map(|at| total(at) == longest && at_rank[ending[at]] == 1).collect()
}

/// For each number, the length of the longest series without a fall that ends with it.
fn lengths(numbers: impl Iterator<Item = i64>) -> Vec<usize> {
    // The least last number of a series, by its length less one.
    let mut least: Vec<i64> = Vec::new();
    numbers
        .map(|number| {
            let shorter = least.partition_point(|last| *last <= number);
            match least.get_mut(shorter) {
                Some(last) => *last = number,
                None => least.push(number),
            }
            shorter + 1
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(times: &[i64], expected: &[i64]) {
        let kept: Vec<i64> = times
            .iter()
            .zip(in_every_longest_series(times))
            .filter_map(|(time, shared)| shared.then_some(*time))
            .collect();
        assert_eq!(kept, expected, "{times:?}");
    }

    #[test]
    fn only_what_no_series_contradicts_is_believed() {
        check(&[], &[]);
        check(&[5], &[5]);
        check(&[1, 2, 2, 3], &[1, 2, 2, 3]);
        check(&[1, 2, 99, 3, 4], &[1, 2, 3, 4]);
        check(&[10, 20, 5], &[10, 20]);
        check(&[20, 10], &[]);
        check(&[10, 20, 5, 6], &[]);
        check(&[1, 5, 4, 9], &[1, 9]);
        check(&[i64::MIN, i64::MAX], &[i64::MIN, i64::MAX]);
    }

    proptest! {
        #[test]
        fn what_is_believed_never_falls(times in prop::collection::vec(0i64..20, 0..12)) {
            let shared = in_every_longest_series(&times);
            let kept: Vec<i64> =
                times.iter().zip(&shared).filter_map(|(time, shared)| shared.then_some(*time)).collect();
            prop_assert!(kept.is_sorted());
            prop_assert_eq!(times.is_sorted(), shared.iter().all(|shared| *shared));
        }
    }
}
