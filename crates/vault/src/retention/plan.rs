//! The decision over each snapshot.

use std::collections::{BTreeMap, BTreeSet};

use super::calendar::Period;
use super::clock::{Doubt, doubts};
use super::{Rules, Zone};
use crate::id::{SnapshotId, SourceId, Timestamp};

/// A visible snapshot, as far as rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: SnapshotId,
    /// Its source: rules count within one source.
    pub source: SourceId,
    /// The parent's sequence plus 1.
    pub sequence: u64,
    /// When its writer signed it, by the writer's clock.
    pub time: Timestamp,
    /// Whether the owner holds it.
    pub held: bool,
    /// Its tags, where they can be read: they are sealed. A rule about tags keeps what it cannot see into.
    pub tags: Option<&'a [String]>,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There are no rules.
    NoRules,
    /// The owner holds it.
    Held,
    /// Its time is in doubt: it is shown and not acted on.
    Clock(Doubt),
    /// It is its source's newest.
    Newest,
    /// It is among the last so many.
    Last,
    /// It is the newest of one of the last so many periods that have any.
    Periodic(Period),
    /// It is not older than that, counted from the source's newest.
    Within,
    /// It has this tag.
    Tag(String),
    /// There is a rule about tags, and its own cannot be read.
    TagsUnknown,
}

impl Reason {
    /// Its name in machine-readable output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NoRules => "no_rules",
            Self::Held => "held",
            Self::Clock(Doubt::Ahead) => "clock_ahead",
            Self::Clock(Doubt::AgainstSequence) => "clock_against_sequence",
            Self::Newest => "newest",
            Self::Last => "last",
            Self::Periodic(Period::Hour) => "hourly",
            Self::Periodic(Period::Day) => "daily",
            Self::Periodic(Period::Week) => "weekly",
            Self::Periodic(Period::Month) => "monthly",
            Self::Periodic(Period::Year) => "yearly",
            Self::Within => "within",
            Self::Tag(_) => "tag",
            Self::TagsUnknown => "tags_unknown",
        }
    }
}

/// What is to happen to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The snapshot.
    pub id: SnapshotId,
    /// Why it stays, ascending; empty if it may go.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// Decides over `snapshots`, in their order. `now` serves only to recognise times in the future; `zone` says where days
/// begin.
pub fn plan(rules: &Rules, snapshots: &[Candidate<'_>], now: Timestamp, zone: Zone<'_>) -> Vec<Decision> {
    let mut sources: BTreeMap<SourceId, Vec<&Candidate<'_>>> = BTreeMap::new();
    for snapshot in snapshots {
        sources.entry(snapshot.source).or_default().push(snapshot);
    }
    let mut reasons: BTreeMap<SnapshotId, BTreeSet<Reason>> = BTreeMap::new();
    for of_source in sources.values_mut() {
        of_source.sort_by_key(|snapshot| (snapshot.sequence, snapshot.time, snapshot.id));
        decide(rules, of_source, now, zone, &mut |id, reason| {
            reasons.entry(id).or_default().insert(reason);
        });
    }
    let decided = snapshots.iter().map(|snapshot| {
        let reasons = reasons.get(&snapshot.id).into_iter().flatten().cloned().collect();
        Decision { id: snapshot.id, reasons }
    });
    decided.collect()
}

/// Says to `keep` every reason for which a snapshot of one source stays; they come in the order of the sequence.
fn decide(
    rules: &Rules,
    snapshots: &[&Candidate<'_>],
    now: Timestamp,
    zone: Zone<'_>,
    keep: &mut impl FnMut(SnapshotId, Reason),
) {
    let doubts = doubts(snapshots, now);
    for (snapshot, doubt) in snapshots.iter().zip(&doubts) {
        if rules.is_empty() {
            keep(snapshot.id, Reason::NoRules);
        }
        if snapshot.held {
            keep(snapshot.id, Reason::Held);
        }
        if let Some(doubt) = doubt {
            keep(snapshot.id, Reason::Clock(*doubt));
        }
        match snapshot.tags {
            None if !rules.tags.is_empty() => keep(snapshot.id, Reason::TagsUnknown),
            tags => {
                let wanted = tags.unwrap_or_default().iter().filter(|tag| rules.tags.contains(*tag));
                wanted.for_each(|tag| keep(snapshot.id, Reason::Tag(tag.clone())));
            }
        }
    }
    if let Some(newest) = snapshots.last() {
        keep(newest.id, Reason::Newest);
    }
    // From here on only clocks that can be believed are asked, the newest first; the others take no one's place.
    let sound = || {
        snapshots
            .iter()
            .zip(&doubts)
            .rev()
            .filter(|(_, doubt)| doubt.is_none())
            .map(|(snapshot, _)| *snapshot)
    };
    for snapshot in sound().take(rules.last.unwrap_or(0) as usize) {
        keep(snapshot.id, Reason::Last);
    }
    for (period, count) in rules.periods() {
        let mut seen: BTreeSet<i64> = BTreeSet::new();
        for snapshot in sound() {
            let number = period.of(snapshot.time, zone);
            if seen.len() < count as usize && seen.insert(number) {
                keep(snapshot.id, Reason::Periodic(period));
            }
        }
    }
    if let (Some(within), Some(newest)) = (rules.within, sound().next()) {
        let oldest = newest.time.0.saturating_sub(within.micros());
        for snapshot in sound().filter(|snapshot| snapshot.time.0 >= oldest) {
            keep(snapshot.id, Reason::Within);
        }
    }
}
