//! The part of the state that collection is about, and the rules of its operations (`docs/format/log.md` section 7).
//!
//! What the log alone can decide is decided here, for everyone and for ever. What takes need lists to decide, lists that are
//! themselves collected one day, is the appender's duty: see [`super::duty`].

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{PackId, PinId, SegmentId, SessionId, SnapshotId, Timestamp, WriterId};
use crate::keys::Rights;
use crate::log::effect::OpKind;
use crate::log::fold::{Appender, Judged, Reason, Stop, rule};
use crate::log::op::Op;
use crate::log::rules::Rule;
use crate::log::state::{Pin, Session, SessionState, State, Visible};
use crate::log::statement::{Body, ReplacesStatement, SignedStatement};
use crate::name::{Area, Name};

/// A pin lasts at most this long: 7 days, in microseconds.
pub const PIN_MICROS_MAX: i64 = 7 * 24 * 3600 * 1_000_000;

/// Clocks of those who pin and those who collect may differ by this much: 1 day, in microseconds.
const PIN_MARGIN_MICROS: i64 = 24 * 3600 * 1_000_000;

/// Where one compaction put what covered snapshots need of a pack.
#[derive(Debug, Clone)]
pub(super) struct Replaced {
    pub(super) new: Vec<PackId>,
    pub(super) covers: BTreeSet<SnapshotId>,
}

/// What collection has done and is doing.
#[derive(Debug, Clone, Default)]
pub(super) struct Collection {
    /// By name, the entry that condemned it.
    pub(super) condemned: BTreeMap<Name, u64>,
    /// By name, the latest sweep of it.
    pub(super) swept: BTreeMap<Name, u64>,
    pub(super) last_sweep: Option<u64>,
    /// Swept names that a session kept since: put again, under the key of their latest sweep.
    pub(super) returned: BTreeSet<Name>,
    /// By sweep, what it gave up: names with the sweep before, which tells the key.
    pub(super) undeleted: BTreeMap<u64, Vec<(Name, Option<u64>)>>,
    pub(super) pins: BTreeMap<PinId, Pin>,
    /// Forgotten snapshots that a pin or an open session's parent still needs.
    pub(super) retired: BTreeMap<SnapshotId, Visible>,
    pub(super) replaced: BTreeMap<PackId, Vec<Replaced>>,
    /// Packs that compactions made, and whether all that they hold was vouched for.
    pub(super) compacted: BTreeMap<PackId, bool>,
}

/// The change that a valid operation of collection makes.
#[derive(Debug)]
pub(super) enum Collect {
    Fence(SessionId),
    Condemn(Vec<Name>),
    Keep { session: SessionId, names: Vec<Name> },
    Seen(SessionId),
    Sweep(Vec<Name>),
    Swept(u64),
    Pin { pin: PinId, standing: Pin },
    Unpin(PinId),
    Replace { session: SessionId, replaces: ReplacesStatement },
}

/// A key that a sweep gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// The sweep.
    pub sweep: u64,
    /// The object.
    pub name: Name,
    /// The key: nobody relies on it any more.
    pub key: String,
}

impl State {
    /// What is condemned, with the entry that condemned it.
    pub fn condemned(&self) -> &BTreeMap<Name, u64> {
        &self.collection.condemned
    }

    /// The latest sweep of each name that was ever swept.
    pub fn swept(&self) -> &BTreeMap<Name, u64> {
        &self.collection.swept
    }

    /// The number of the last entry that swept anything.
    pub fn last_sweep(&self) -> Option<u64> {
        self.collection.last_sweep
    }

    /// The latest sweep of `name`.
    pub fn sweep_of(&self, name: &Name) -> Option<u64> {
        self.collection.swept.get(name).copied()
    }

    /// The open sessions for which a sweep of what entry `condemned` condemned waits. Whoever began later has read the
    /// condemn, and says `keep` before it relies on the name.
    pub fn waiting_for(&self, condemned: u64) -> impl Iterator<Item = SessionId> + '_ {
        let unanswered = move |(_, open): &(SessionId, &Session)| open.answered < condemned;
        self.open_sessions()
            .filter(move |open| Rule::SweepsWait.holds() && unanswered(open))
            .map(|(id, _)| id)
    }

    /// The sweep that gives `name` its key, if one does.
    pub fn key_sweep(&self, name: &Name) -> Option<u64> {
        self.sweep_of(name).filter(|_| Rule::KeysMove.holds())
    }

    /// Whether a name was swept and nobody has said since that it is there again: it counts as absent.
    pub fn is_gone(&self, name: &Name) -> bool {
        self.collection.swept.contains_key(name) && !self.collection.returned.contains(name)
    }

    /// Keys that sweeps gave up and of which no `swept` says yet that they are deleted.
    pub fn given_up(&self) -> impl Iterator<Item = GivenUp> + '_ {
        self.collection.undeleted.iter().flat_map(|(sweep, names)| {
            names.iter().map(|(name, before)| GivenUp {
                sweep: *sweep,
                name: *name,
                key: name.key(before.filter(|_| Rule::KeysMove.holds())),
            })
        })
    }

    /// The pins that stand, expired or not.
    pub fn pins(&self) -> &BTreeMap<PinId, Pin> {
        &self.collection.pins
    }

    /// The snapshots whose needs no collection may touch: visible ones, pinned ones, and parents of open sessions.
    pub fn roots(&self, now: Timestamp) -> BTreeMap<SnapshotId, &Visible> {
        let mut roots: BTreeMap<SnapshotId, &Visible> =
            self.visible.iter().map(|(id, visible)| (*id, visible)).collect();
        let stands =
            |pin: &&Pin| Rule::PinsCount.holds() && pin.expiry.0.saturating_add(PIN_MARGIN_MICROS) >= now.0;
        let pinned = self.collection.pins.values().filter(stands).map(|pin| pin.snapshot);
        let parents = self.open_sessions().filter_map(|(_, session)| session.parent);
        for id in pinned.chain(parents) {
            if let Some(visible) = self.collection.retired.get(&id) {
                roots.insert(id, visible);
            }
        }
        roots
    }

    /// The packs that serve `snapshot` in place of `pack`: the pack itself unless a compaction replaced it for that
    /// snapshot.
    pub fn serving(&self, snapshot: &SnapshotId, pack: PackId) -> BTreeSet<PackId> {
        let mut serving = BTreeSet::new();
        let mut waiting = vec![pack];
        let mut met = BTreeSet::new();
        while let Some(pack) = waiting.pop() {
            // A keeper's statements could go in circles; each pack is followed once.
            if !met.insert(pack) {
                continue;
            }
            let all = self.collection.replaced.get(&pack);
            match all.and_then(|all| all.iter().find(|one| one.covers.contains(snapshot))) {
                Some(replaced) => waiting.extend(&replaced.new),
                None => drop(serving.insert(pack)),
            }
        }
        serving
    }

    /// The packs that serve `snapshot` where its list names `packs`.
    pub fn serving_all(&self, snapshot: &SnapshotId, packs: &BTreeSet<PackId>) -> BTreeSet<PackId> {
        if self.collection.replaced.is_empty() {
            return packs.clone();
        }
        packs.iter().flat_map(|pack| self.serving(snapshot, *pack)).collect()
    }

    /// Whether a compaction put elsewhere what snapshots need of this pack.
    pub fn is_replaced(&self, pack: &PackId) -> bool {
        self.collection.replaced.contains_key(pack)
    }

    /// Whether a compaction made this pack.
    pub fn is_compacted(&self, pack: &PackId) -> bool {
        self.collection.compacted.contains_key(pack)
    }

    pub(super) fn inherits_vouch(&self, pack: &PackId) -> bool {
        self.collection.compacted.get(pack).copied().unwrap_or(false)
    }

    /// Lets a valid operation take effect.
    pub(super) fn collect(&mut self, effect: Collect) -> OpKind {
        match effect {
            Collect::Replace { session, replaces } => {
                self.add_segments(&replaces.segments);
                self.replace(replaces);
                self.close(session, SessionState::Compacted);
                OpKind::Replace
            }
            Collect::Fence(session) => {
                self.close(session, SessionState::Fenced);
                OpKind::Fence
            }
            Collect::Condemn(names) => {
                // Who condemns again does not make anybody wait longer.
                for name in names {
                    self.collection.condemned.entry(name).or_insert(self.next);
                }
                OpKind::Condemn
            }
            Collect::Keep { session, names } => {
                self.keep(session, names);
                OpKind::Keep
            }
            Collect::Seen(session) => {
                self.answer(session);
                OpKind::Seen
            }
            Collect::Sweep(names) => {
                self.sweep(names);
                OpKind::Sweep
            }
            Collect::Swept(sweep) => {
                self.collection.undeleted.remove(&sweep);
                OpKind::Swept
            }
            Collect::Pin { pin, standing } => {
                self.collection.pins.insert(pin, standing);
                OpKind::Pin
            }
            Collect::Unpin(pin) => {
                self.collection.pins.remove(&pin);
                self.let_retired_go();
                OpKind::Unpin
            }
        }
    }

    fn answer(&mut self, session: SessionId) {
        let last = self.last();
        if let Some(session) = self.sessions.get_mut(&session) {
            session.answered = last;
        }
    }

    fn keep(&mut self, session: SessionId, names: Vec<Name>) {
        let last = self.last();
        self.answer(session);
        let Some(session) = self.sessions.get_mut(&session) else { return };
        for name in names {
            // What is kept because it is condemned need not be there: it may have been condemned while it was gone.
            let was_condemned = self.collection.condemned.contains_key(&name);
            if Rule::KeepsCount.holds() {
                self.collection.condemned.remove(&name);
            }
            if !was_condemned && self.collection.swept.contains_key(&name) {
                self.collection.returned.insert(name);
            }
            session.kept.insert(name, last);
        }
    }

    fn sweep(&mut self, names: Vec<Name>) {
        let last = self.last();
        let mut given_up = Vec::with_capacity(names.len());
        let mut segments = BTreeSet::new();
        for name in names {
            self.collection.condemned.remove(&name);
            self.collection.returned.remove(&name);
            given_up.push((name, self.collection.swept.insert(name, last)));
            match name.area {
                Area::Index if self.segments_known.remove(&name.id) => drop(segments.insert(name.id)),
                // What replaces a pack stays known when the pack is gone: need lists go on naming it.
                Area::Pack => {
                    self.collection.compacted.remove(&name.id);
                    self.vouched.remove(&name.id);
                }
                Area::Index | Area::Snapshot => {}
            }
        }
        if !segments.is_empty() {
            self.segments.retain(|segment| !segments.contains(segment));
        }
        self.collection.last_sweep = Some(last);
        self.collection.undeleted.insert(last, given_up);
    }

    pub(super) fn close(&mut self, id: SessionId, state: SessionState) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.state = state;
            session.kept = BTreeMap::new();
            if session.courier.is_some() {
                self.couriers.remove(&session.author);
            }
        }
        self.let_retired_go();
    }

    /// Drops what was kept of forgotten snapshots that nobody holds on to any more.
    pub(super) fn let_retired_go(&mut self) {
        if self.collection.retired.is_empty() {
            return;
        }
        let mut wanted: BTreeSet<SnapshotId> =
            self.collection.pins.values().map(|pin| pin.snapshot).collect();
        wanted.extend(self.open_sessions().filter_map(|(_, session)| session.parent));
        self.collection.retired.retain(|id, _| wanted.contains(id));
        // A covered snapshot may still come, carried from another replica; a forgotten one never does.
        let (forgotten, retired) = (&self.forgotten, &self.collection.retired);
        self.collection.replaced.retain(|_, all| {
            for one in all.iter_mut() {
                one.covers.retain(|id| !forgotten.contains(id) || retired.contains_key(id));
            }
            all.retain(|one| !one.covers.is_empty());
            !all.is_empty()
        });
    }

    pub(super) fn add_segments(&mut self, segments: &[SegmentId]) {
        for segment in segments {
            if self.segments_known.insert(*segment) {
                self.segments.push(*segment);
            }
        }
    }

    fn replace(&mut self, replaces: ReplacesStatement) {
        let covers: BTreeSet<SnapshotId> = replaces.covers.into_iter().collect();
        for replacement in &replaces.replacements {
            let is_vouched = self.vouched.contains(&replacement.old) || self.inherits_vouch(&replacement.old);
            for new in &replacement.new {
                let vouched = self.collection.compacted.entry(*new).or_insert(true);
                *vouched &= is_vouched;
            }
        }
        for replacement in replaces.replacements {
            let replaced = Replaced { new: replacement.new, covers: covers.clone() };
            self.collection.replaced.entry(replacement.old).or_default().push(replaced);
        }
    }

    /// The number of the entry that is taking effect.
    fn last(&self) -> u64 {
        self.next
    }
}

// The rules. Each answers with the effect of a valid operation.
impl State {
    /// Judges an operation of collection.
    pub(super) fn judge_collection(&self, op: Op, appender: Appender) -> Judged<Collect> {
        let Appender { author, rights, .. } = appender;
        let need = |right: Rights, what: &'static str| {
            if rights.allow(right) { Ok(()) } else { Err(Stop::Void(Reason::Forbidden { author, what })) }
        };
        match op {
            Op::Fence { session } => self.judge_fence(author, rights, session),
            Op::Condemn { names } => {
                need(Rights::CONDEMN, "condemn")?;
                Ok(Collect::Condemn(names))
            }
            Op::Keep { session, names } => {
                need(Rights::KEEP, "keep")?;
                self.own_session(author, session)?;
                Ok(Collect::Keep { session, names })
            }
            Op::Seen { session } => {
                need(Rights::SEEN, "answer a condemn")?;
                self.own_session(author, session)?;
                Ok(Collect::Seen(session))
            }
            Op::Sweep { names } => {
                need(Rights::SWEEP, "sweep")?;
                self.judge_sweep(names)
            }
            Op::Swept { sweep } => {
                need(Rights::SWEPT, "note deletions")?;
                self.judge_swept(sweep)
            }
            Op::Pin { pin, snapshot, expiry } => {
                need(Rights::PIN, "pin")?;
                self.judge_pin(appender, pin, snapshot, expiry)
            }
            Op::Unpin { pin } => self.judge_unpin(author, rights, pin),
            Op::Replace { session, statement } => self.judge_replace(author, session, &statement),
            Op::Birth { .. }
            | Op::Begin { .. }
            | Op::Courier { .. }
            | Op::Index { .. }
            | Op::Commit { .. }
            | Op::Forget { .. }
            | Op::Publish { .. } => rule("it is no operation of collection"),
        }
    }

    fn judge_fence(&self, author: WriterId, rights: Rights, session: SessionId) -> Judged<Collect> {
        let open = self.open_session(session)?;
        // Whoever began a session may also give it up.
        if open.author != author && !rights.allow(Rights::FENCE) {
            return Err(Stop::Void(Reason::Forbidden { author, what: "fence a session" }));
        }
        Ok(Collect::Fence(session))
    }

    fn judge_sweep(&self, names: Vec<Name>) -> Judged<Collect> {
        let mut latest = 0;
        let mut distinct = BTreeSet::new();
        for name in &names {
            let Some(condemned) = self.collection.condemned.get(name) else {
                return rule("a name to be swept is not condemned");
            };
            if !distinct.insert(*name) {
                return rule("a name is swept twice at once");
            }
            latest = latest.max(*condemned);
        }
        if self.waiting_for(latest).next().is_some() {
            return rule("an open session has not answered the condemn yet");
        }
        Ok(Collect::Sweep(names))
    }

    fn judge_swept(&self, sweep: u64) -> Judged<Collect> {
        if self.collection.undeleted.contains_key(&sweep) {
            return Ok(Collect::Swept(sweep));
        }
        rule("there is no such sweep, or its keys are deleted already")
    }

    fn judge_pin(
        &self,
        appender: Appender,
        pin: PinId,
        snapshot: SnapshotId,
        expiry: Timestamp,
    ) -> Judged<Collect> {
        if self.collection.pins.contains_key(&pin) {
            return rule("the pin id is used already");
        }
        if !self.visible.contains_key(&snapshot) {
            return rule("the snapshot to be pinned is not visible");
        }
        if expiry.0 > appender.time.0.saturating_add(PIN_MICROS_MAX) {
            return rule("a pin lasts at most 7 days");
        }
        Ok(Collect::Pin { pin, standing: Pin { snapshot, author: appender.author, expiry } })
    }

    fn judge_unpin(&self, author: WriterId, rights: Rights, pin: PinId) -> Judged<Collect> {
        match self.collection.pins.get(&pin) {
            None => rule("there is no such pin"),
            Some(found) if found.author == author || rights.allow(Rights::UNPIN) => Ok(Collect::Unpin(pin)),
            Some(_) => Err(Stop::Void(Reason::Forbidden { author, what: "end another's pin" })),
        }
    }

    fn judge_replace(
        &self,
        author: WriterId,
        session: SessionId,
        statement: &SignedStatement,
    ) -> Judged<Collect> {
        let open = self.own_session(author, session)?;
        let statement = self.statement(statement)?;
        let signer = statement.author;
        let Body::Replaces(replaces) = statement.body else {
            return rule("a compaction's commit carries a replaces statement");
        };
        if signer != author && open.courier.is_none() {
            return rule("the compaction's statement is by another key");
        }
        if !self.rights(signer).is_some_and(|rights| rights.allow(Rights::REPLACES)) {
            return Err(Stop::Void(Reason::Forbidden { author: signer, what: "replace packs" }));
        }
        let news = replaces.replacements.iter().flat_map(|one| &one.new);
        let mut names = news.map(|pack| Name::pack(*pack));
        if names.any(|name| self.collection.condemned.contains_key(&name) || self.was_lost(open, &name)) {
            return rule("a new pack of the compaction is condemned or swept");
        }
        let mut segments = replaces.segments.iter().map(|segment| Name::index(*segment));
        if segments.any(|name| self.collection.condemned.contains_key(&name) || self.was_lost(open, &name)) {
            return rule("a segment of the compaction is condemned or swept");
        }
        Ok(Collect::Replace { session, replaces })
    }

    /// Whether `name` was swept since an open session obtained it: since it last kept it, or else since it began.
    pub(super) fn was_lost(&self, session: &Session, name: &Name) -> bool {
        let obtained = session.kept.get(name).copied().unwrap_or(session.begun);
        Rule::CommitsLook.holds() && self.sweep_of(name).is_some_and(|sweep| sweep > obtained)
    }

    pub(super) fn open_session(&self, id: SessionId) -> Judged<&Session> {
        match self.sessions.get(&id) {
            None => rule("the session was never begun"),
            Some(session) if session.state != SessionState::Open => rule("the session is closed"),
            Some(session) => Ok(session),
        }
    }

    pub(super) fn own_session(&self, author: WriterId, id: SessionId) -> Judged<&Session> {
        let session = self.open_session(id)?;
        if session.author == author { Ok(session) } else { rule("the session was begun by another key") }
    }
}

#[cfg(test)]
mod tests;
