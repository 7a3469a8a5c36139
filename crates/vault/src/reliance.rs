//! What a writer may deduplicate against without reading it. Pure: it says what the logs say; whether an object is where they
//! say is for others to look up.
//!
//! A run goes on for hours, and what is known changes under it. So a [`Reliance`] is told what each log says now, which
//! replicas are out of reach, and which packs turned out to be nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::id::{PackId, SegmentId, WriterId};
use crate::index::Location;
use crate::keys::ring::ChunkSpace;
use crate::log::State;
use crate::name::Name;

/// Whether a writer may deduplicate against what stands at `place` without reading it.
///
/// `trusted` are the writers whose word counts: itself and, for metadata, its named predecessors. Of anybody else's
/// chunks both the pack and the segment must be vouched for: a pack that was read and is good still has no say in what
/// a later segment claims about it. What is condemned or swept, or only a condemned segment tells of, is as good as absent;
/// and what a compaction replaced is about to go, and may never have been brought to this replica.
pub fn may_rely_on(place: &Location, state: &State, trusted: &[WriterId]) -> bool {
    let pack = Name::pack(place.pack);
    if state.bad(&place.key, u64::from(place.counter))
        || state.is_gone(&pack)
        || state.condemned().contains_key(&pack)
        || state.condemned().contains_key(&Name::index(place.segment))
        || state.is_replaced(&place.pack)
    {
        return false;
    }
    // Compaction copies frames, and who copies is a keeper: trusted to copy what is there.
    let is_copy = state.is_compacted(&place.pack) && state.is_keeper(place.author);
    if trusted.contains(&place.writer) && (is_copy || trusted.contains(&place.author)) {
        return true;
    }
    let vouched = state.vouched(&place.pack) && (is_copy || state.vouched(&place.segment));
    place.pack_kind.space() == ChunkSpace::Content && (state.config().trust_writers || vouched)
}

/// What a writer may deduplicate against, by the logs of all replicas that take part.
#[derive(Debug, Clone)]
pub struct Reliance {
    logs: Vec<Log>,
    trusted: Vec<WriterId>,
    adopted: BTreeSet<SegmentId>,
    renounced: BTreeSet<PackId>,
}

/// One replica's log, as it was heard last.
#[derive(Debug, Clone)]
struct Log {
    state: Arc<State>,
    is_withdrawn: bool,
}

impl Reliance {
    /// By these logs, in the order of the replicas; `trusted` as for [`may_rely_on`].
    pub fn new(states: Vec<State>, trusted: Vec<WriterId>) -> Self {
        let log = |state| Log { state: Arc::new(state), is_withdrawn: false };
        let logs = states.into_iter().map(log).collect();
        Self { logs, trusted, adopted: BTreeSet::new(), renounced: BTreeSet::new() }
    }

    /// The same, and also these segments, which a session has adopted: they are in no log yet, and their packs were looked
    /// up.
    #[must_use]
    pub fn and(mut self, adopted: impl IntoIterator<Item = SegmentId>) -> Self {
        self.adopted.extend(adopted);
        self
    }

    /// Takes over what the log of the replica at `place` says now.
    pub fn hear(&mut self, place: usize, state: &State) {
        if let Some(log) = self.logs.get_mut(place)
            && (log.state.next(), log.state.head()) != (state.next(), state.head())
        {
            log.state = Arc::new(state.clone());
        }
    }

    /// The replica at `place` is out of reach from now on: what only it has is as good as absent.
    pub fn withdraw(&mut self, place: usize) {
        if let Some(log) = self.logs.get_mut(place) {
            log.is_withdrawn = true;
        }
    }

    /// Whether the replica at `place` was not withdrawn.
    pub fn is_reachable(&self, place: usize) -> bool {
        self.logs.get(place).is_some_and(|log| !log.is_withdrawn)
    }

    /// Nothing in this pack is relied on from now on: it is where no log says it is.
    pub fn renounce(&mut self, pack: PackId) {
        self.renounced.insert(pack);
    }

    /// Whether what stands at `place` may be relied on: nobody has called it bad, and it is live on some replica within
    /// reach whose log allows it. A replica that has not got it gets a copy before its commit.
    pub fn allows(&self, place: &Location) -> bool {
        self.allowing(place).next().is_some()
    }

    /// The replicas by whose logs what stands at `place` may be relied on.
    pub fn allowing<'a>(&'a self, place: &'a Location) -> impl Iterator<Item = usize> + 'a {
        let is_bad = |log: &Log| log.state.bad(&place.key, u64::from(place.counter));
        let is_void = self.renounced.contains(&place.pack) || self.logs.iter().any(is_bad);
        let logs = self.logs.iter().enumerate().filter(move |(_, log)| !is_void && !log.is_withdrawn);
        let allows = move |log: &Log| {
            let is_live = log.state.is_segment_live(&place.segment) || self.adopted.contains(&place.segment);
            is_live && may_rely_on(place, &log.state, &self.trusted)
        };
        logs.filter(move |(_, log)| allows(log)).map(|(number, _)| number)
    }

    /// Whether a pack that the replica at `place` had is still there by its log, and the replica within reach.
    pub fn still_holds(&self, place: usize, pack: &PackId) -> bool {
        let is_held = |log: &Log| !log.is_withdrawn && !log.state.is_gone(&Name::pack(*pack));
        self.logs.get(place).is_some_and(is_held)
    }
}
