//! What an appender owes the log beyond what the log itself can check: questions that take need lists to answer.
//!
//! Need lists are objects, collected when their snapshots are gone, so whoever folds a log years later could not answer
//! them again. They are answered once, on exactly the prefix that the entry follows (`append` makes sure of that), by the
//! one who appends: a keeper before it condemns or sweeps, and again before it deletes; a writer or courier before it
//! commits. Everything here is pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Kind, Result};
use crate::id::{NeedListId, PackId, SegmentId, SessionId, SnapshotId, Timestamp};
use crate::log::rules::{self, Rule};
use crate::log::state::{SessionState, State};
use crate::name::{Area, Name};

/// A need list as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadList {
    /// The packs that it resolves to.
    pub packs: BTreeSet<PackId>,
    /// The list itself and those that it builds on.
    pub chain: Vec<NeedListId>,
}

/// What was read to answer a state's questions. What is not here could not be read.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Need lists of roots.
    pub lists: BTreeMap<NeedListId, ReadList>,
    /// The packs that live segments name in the clear.
    pub segments: BTreeMap<SegmentId, Vec<PackId>>,
}

/// What the roots of a state need.
#[derive(Debug, Clone, Default)]
pub struct Needed {
    names: BTreeSet<Name>,
    unread: BTreeSet<SnapshotId>,
}

/// What stands in the way of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hindrances {
    /// Swept since the session obtained it, or before and not there again: it must be put, under its new key, and kept.
    pub lost: Vec<Name>,
    /// Condemned: it must be kept.
    pub condemned: Vec<Name>,
}

impl Needed {
    /// What the roots of `state` need at the time `now` (which expires pins, nothing else).
    pub fn of(state: &State, evidence: &Evidence, now: Timestamp) -> Self {
        let mut needed = Self::default();
        if !Rule::RootsCount.holds() {
            return needed;
        }
        let mut packs: BTreeSet<PackId> = BTreeSet::new();
        for (snapshot, visible) in state.roots(now) {
            needed.names.insert(Name::snapshot(snapshot));
            let Some(list) = evidence.lists.get(&visible.need_list) else {
                needed.unread.insert(snapshot);
                needed.names.insert(Name::index(visible.need_list));
                continue;
            };
            needed.names.extend(list.chain.iter().map(|id| Name::index(*id)));
            packs.extend(state.serving_all(&snapshot, &list.packs));
        }
        for segment in state.segments_live() {
            // A segment that cannot be read is in nobody's way, and may say what is needed.
            let read = evidence.segments.get(segment);
            if read.is_none_or(|named| named.iter().any(|pack| packs.contains(pack))) {
                needed.names.insert(Name::index(*segment));
            }
        }
        needed.names.extend(packs.into_iter().filter(|pack| !rules::is_copied(pack)).map(Name::pack));
        needed
    }

    /// Whether a root needs `name`.
    pub fn contains(&self, name: &Name) -> bool {
        self.names.contains(name)
    }

    /// Everything that roots need.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.iter()
    }

    /// The packs that roots need.
    pub fn packs(&self) -> impl Iterator<Item = PackId> + '_ {
        self.names.iter().filter(|name| name.area == Area::Pack).map(|name| name.id)
    }

    /// The roots whose need lists could not be read: until they are forgotten or repaired, nothing may be collected.
    pub fn unread(&self) -> &BTreeSet<SnapshotId> {
        &self.unread
    }

    /// Whether these names may be condemned or swept on the state that this was made of.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if it is unknown what a root needs; [`Kind::Conflict`] if a root needs one of the names.
    pub fn permits(&self, names: &[Name]) -> Result<()> {
        if let Some(snapshot) = self.unread.first() {
            let message = format!(
                "collect: the need list of snapshot {} cannot be read, so nothing can be called unneeded; repair it \
                 or forget the snapshot",
                snapshot.short()
            );
            return Err(Error::damaged(message));
        }
        match names.iter().find(|name| self.contains(name)) {
            Some(name) => Err(Error::new(Kind::Conflict, format!("collect: {name} is needed"))),
            None => Ok(()),
        }
    }
}

impl State {
    /// The need lists that [`Needed::of`] asks for.
    pub fn wanted_lists(&self, now: Timestamp) -> BTreeSet<NeedListId> {
        self.roots(now).values().map(|visible| visible.need_list).collect()
    }

    /// What must be done before `session` may commit something that relies on `names`.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the session is not open any more, [`Kind::Forbidden`] if its key was removed.
    pub fn hindrances<'a>(
        &self,
        session: SessionId,
        names: impl IntoIterator<Item = &'a Name>,
    ) -> Result<Hindrances> {
        let Ok(open) = self.open_session(session) else { return Err(self.closed(session)) };
        let mut hindrances = Hindrances::default();
        for name in names {
            // A session that began after the sweep may still come to rely on the name by what a sibling's log says, or by
            // a segment that lives on because another of its packs does.
            if self.was_lost(open, name) || (Rule::CommitsLook.holds() && self.is_gone(name)) {
                hindrances.lost.push(*name);
            } else if self.condemned().contains_key(name) {
                hindrances.condemned.push(*name);
            }
        }
        Ok(hindrances)
    }

    fn closed(&self, session: SessionId) -> Error {
        let (kind, why) = match self.session(session).map(|session| session.state) {
            Some(SessionState::KeyRemoved) => (Kind::Forbidden, "the key that began it was removed"),
            Some(SessionState::Fenced) => {
                (Kind::Conflict, "a keeper took it for dead and fenced it; run it again")
            }
            Some(SessionState::Committed(_) | SessionState::Compacted) => {
                (Kind::Conflict, "it has committed already")
            }
            Some(SessionState::Open) | None => (Kind::Conflict, "it was never begun"),
        };
        Error::new(kind, format!("this session is closed: {why}"))
    }

    /// Whether a name is condemned and the session has not kept it since.
    pub fn was_condemned_unkept(&self, session: SessionId, name: &Name) -> bool {
        let kept = self.open_session(session).ok().and_then(|open| open.kept.get(name).copied());
        let condemned = self.condemned().get(name);
        condemned.is_some_and(|condemned| kept.is_none_or(|kept| kept < *condemned))
    }

    /// Whether something was condemned that the session has not answered yet.
    pub fn awaits_answer(&self, session: SessionId) -> bool {
        let answered = self.open_session(session).ok().map(|open| open.answered);
        answered.is_some_and(|answered| self.condemned().values().any(|condemned| *condemned > answered))
    }
}
