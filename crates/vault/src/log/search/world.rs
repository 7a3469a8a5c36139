//! The searched world: what may happen next, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::collection::PIN_MICROS_MAX;
use super::super::duty::{Evidence, Needed, ReadList};
use super::super::fold::Appender;
use super::super::fold::tests::{TIME, World as Log, session, sign, snapshot};
use super::super::rules::{self, Rule};
use super::super::state::{SessionState, State};
use super::super::statement::{Body, CommitStatement, Replacement, ReplacesStatement};
use super::super::{Op, SignedStatement};
use crate::id::{NeedListId, ObjectId, PinId, SnapshotId, SourceId};
use crate::keys::Rights;
use crate::name::Name;
use crate::suite::SigningKey;

/// The first snapshot's pack: chunks 0 and 1.
pub(super) const FIRST: u8 = 1;
/// What the second writer uploads: chunk 0.
pub(super) const OWN: u8 = 2;
/// What a compaction makes of the first pack: chunk 1.
pub(super) const COMPACT: u8 = 3;
pub(super) const PACKS: [u8; 3] = [FIRST, OWN, COMPACT];

pub(super) fn chunks(pack: u8) -> &'static [u8] {
    match pack {
        FIRST => &[0, 1],
        OWN => &[0],
        _ => &[1],
    }
}

pub(super) fn name(pack: u8) -> Name {
    Name::pack(ObjectId([pack; 32]))
}

pub(super) fn list_of(pack: u8) -> NeedListId {
    ObjectId([pack + 100; 32])
}

/// The snapshot of a writer that relies on `pack`; the first snapshot is number 0.
pub(super) fn snapshot_of(writer: usize, pack: u8) -> SnapshotId {
    snapshot((writer as u8 + 1) * 10 + pack)
}

/// The chunks of a snapshot.
pub(super) fn wanted(id: &SnapshotId) -> &'static [u8] {
    match id.0[0] / 10 {
        0 => &[0, 1],
        1 => &[1],
        _ => &[0],
    }
}

/// A key of the store: the name and the sweep that gave it the key.
pub(super) type Key = (Name, Option<u64>);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) enum Doing {
    Nothing,
    /// Begun; has not chosen what to rely on.
    Looking,
    /// Must put this pack.
    Putting(u8),
    /// Relies on this pack.
    Relying(u8),
    Done,
}

#[derive(Clone)]
pub(super) struct Writer {
    pub(super) doing: Doing,
    pub(super) known: Rc<State>,
    /// The length of the log that it knew when it came to rely on its pack.
    pub(super) since: u64,
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) head: Rc<State>,
    pub(super) store: BTreeSet<Key>,
    /// Deletions sent that have not landed.
    pub(super) late: BTreeSet<Key>,
    pub(super) writers: Vec<Writer>,
    pub(super) compacting: Doing,
    pub(super) compacted: Rc<State>,
    /// What the keeper decides on; the head, unless it is a mutant.
    pub(super) keeper: Rc<State>,
    pub(super) left: Left,
    pub(super) broken: Option<String>,
}

/// How often each thing may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) condemns: u8,
    pub(super) sweeps: u8,
    pub(super) fences: u8,
    pub(super) forgets: u8,
    pub(super) compactions: u8,
    pub(super) pins: u8,
    pub(super) revivals: u8,
    pub(super) writers: usize,
}

pub(super) struct Fixed {
    pub(super) owner: SigningKey,
    pub(super) keeper: SigningKey,
    pub(super) writers: [SigningKey; 2],
    pub(super) commits: BTreeMap<(usize, u8), SignedStatement>,
    pub(super) first: SignedStatement,
    pub(super) replaces: BTreeMap<Vec<SnapshotId>, SignedStatement>,
    pub(super) evidence: Evidence,
}

impl Fixed {
    pub(super) fn new(log: &Log) -> Self {
        let lists = PACKS.map(|pack| {
            let read = ReadList { packs: [name(pack).id].into(), chain: vec![list_of(pack)] };
            (list_of(pack), read)
        });
        let writers = [log.writer.clone(), log.second.clone()];
        let mut commits = BTreeMap::new();
        for (number, key) in writers.iter().enumerate() {
            for pack in PACKS {
                commits.insert((number, pack), statement(key, snapshot_of(number, pack), number, pack));
            }
        }
        Self {
            first: statement(&log.writer, snapshot(0), 0, FIRST),
            owner: log.owner.clone(),
            keeper: log.keeper.clone(),
            writers,
            commits,
            replaces: BTreeMap::new(),
            evidence: Evidence { lists: lists.into(), ..Evidence::default() },
        }
    }

    pub(super) fn replaces(&mut self, covers: Vec<SnapshotId>) -> SignedStatement {
        let keeper = &self.keeper;
        let statement = self.replaces.entry(covers).or_insert_with_key(|covers| {
            let replacement = Replacement { old: name(FIRST).id, new: vec![name(COMPACT).id] };
            let body = ReplacesStatement {
                segments: vec![],
                replacements: vec![replacement],
                covers: covers.clone(),
            };
            sign(keeper, 0, Body::Replaces(body))
        });
        statement.clone()
    }
}

pub(super) fn statement(key: &SigningKey, snapshot: SnapshotId, writer: usize, pack: u8) -> SignedStatement {
    let source = SourceId([writer as u8; 16]);
    let commit =
        CommitStatement { snapshot, source, sequence: 1, need_list: list_of(pack), segments: vec![] };
    sign(key, 0, Body::Commit(commit))
}

impl World {
    pub(super) fn start(fixed: &Fixed, state: State, left: Left) -> Self {
        let state = Rc::new(state);
        let idle = Writer { doing: Doing::Nothing, known: Rc::clone(&state), since: 0 };
        let mut world = Self {
            head: Rc::clone(&state),
            store: [(name(FIRST), None)].into(),
            late: BTreeSet::new(),
            writers: vec![idle.clone(), idle],
            compacting: Doing::Nothing,
            compacted: Rc::clone(&state),
            keeper: state,
            left,
            broken: None,
        };
        world.writers.truncate(left.writers);
        let writer = fixed.writers[0].clone();
        let source = SourceId([0; 16]);
        world.append(&writer, Op::Begin { session: session(0), source, parent: None });
        world.append(&writer, Op::Commit { session: session(0), statement: fixed.first.clone() });
        assert_eq!(world.head.visible().len(), 1);
        world
    }

    /// Appends to the head; whether the entry was valid.
    pub(super) fn append(&mut self, key: &SigningKey, op: Op) -> bool {
        let author = key.verify_key().writer_id();
        let Some(rights) = self.head.rights(author) else { return false };
        let Ok(effect) = self.head.effect_of(op, Appender { author, rights, time: TIME }) else {
            return false;
        };
        let mut state = State::clone(&self.head);
        state.apply(effect);
        state.next += 1;
        self.head = Rc::new(state);
        true
    }

    pub(super) fn key(state: &State, pack: u8) -> Key {
        (name(pack), state.key_sweep(&name(pack)))
    }

    pub(super) fn is_present(&self, pack: u8) -> bool {
        self.store.contains(&Self::key(&self.head, pack))
    }

    pub(super) fn serves(&self, snapshot: &SnapshotId, chunk: u8) -> bool {
        let retired = self.head.collection.retired.get(snapshot);
        let Some(visible) = self.head.visible().get(snapshot).or(retired) else { return false };
        let listed = self.listed(visible.need_list);
        let serving = self.head.serving(snapshot, name(listed).id);
        PACKS.iter().any(|pack| {
            serving.contains(&name(*pack).id) && chunks(*pack).contains(&chunk) && self.is_present(*pack)
        })
    }

    pub(super) fn listed(&self, list: NeedListId) -> u8 {
        list.0[0] - 100
    }

    /// The first invariant that does not hold.
    pub(super) fn violation(&self) -> Option<String> {
        if self.broken.is_some() {
            return self.broken.clone();
        }
        for snapshot in self.head.visible().keys().chain(self.head.pins().values().map(|pin| &pin.snapshot)) {
            if let Some(chunk) = wanted(snapshot).iter().find(|chunk| !self.serves(snapshot, **chunk)) {
                return Some(format!("I1: snapshot {snapshot:?} lacks chunk {chunk}"));
            }
            if self.head.forgotten().contains(snapshot) && self.head.visible().contains_key(snapshot) {
                return Some("I4: a forgotten snapshot is visible".to_owned());
            }
        }
        None
    }

    pub(super) fn needed(&self, fixed: &Fixed) -> Needed {
        let decided_on = if Rule::PrefixesDecide.holds() { &self.head } else { &self.keeper };
        rules::forget_copied();
        if self.compacting == Doing::Relying(COMPACT) {
            rules::copied([name(FIRST).id].iter());
        }
        Needed::of(decided_on, &fixed.evidence, TIME)
    }

    /// Every world that one step leads to, with the step's name.
    pub(super) fn next(&self, fixed: &mut Fixed) -> Vec<(String, Self)> {
        let mut found = Vec::new();
        for number in 0..self.writers.len() {
            self.writer_steps(number, fixed, &mut found);
        }
        self.keeper_steps(fixed, &mut found);
        self.compaction_steps(fixed, &mut found);
        self.people_steps(fixed, &mut found);
        for key in &self.late {
            let mut world = self.clone();
            world.late.remove(key);
            world.store.remove(key);
            found.push((format!("land {key:?}"), world));
        }
        found
    }

    pub(super) fn session_of(number: usize) -> crate::id::SessionId {
        session(number as u8 + 1)
    }

    pub(super) fn writer_steps(&self, number: usize, fixed: &Fixed, found: &mut Vec<(String, Self)>) {
        let id = Self::session_of(number);
        let key = &fixed.writers[number];
        let writer = &self.writers[number];
        let mut step = |what: String, change: &dyn Fn(&mut Self) -> Option<Doing>| {
            let mut world = self.clone();
            if let Some(doing) = change(&mut world) {
                if writer.doing != doing {
                    world.writers[number].since = world.writers[number].known.next();
                }
                world.writers[number].doing = doing;
                found.push((format!("writer {number}: {what}"), world));
            }
        };
        match writer.doing {
            Doing::Nothing => step("begin".to_owned(), &|world| {
                let source = SourceId([number as u8; 16]);
                let parent = world.head.latest(source).map(|(id, _)| id);
                world.append(key, Op::Begin { session: id, source, parent }).then(|| {
                    world.writers[number].known = Rc::clone(&world.head);
                    Doing::Looking
                })
            }),
            Doing::Looking => {
                let chunk = wanted(&snapshot_of(number, FIRST))[0];
                for pack in PACKS.into_iter().filter(|pack| chunks(*pack).contains(&chunk)) {
                    let known = &writer.known;
                    let indexed = pack == FIRST || (pack == COMPACT && known.is_compacted(&name(pack).id));
                    if indexed && !known.is_gone(&name(pack)) && !known.condemned().contains_key(&name(pack))
                    {
                        step(format!("rely on {pack}"), &|_| Some(Doing::Relying(pack)));
                    }
                }
                // The first writer puts the pack that is, or was, there, as whoever copies or resumes does.
                let own = if number == 0 { FIRST } else { OWN };
                step(format!("lack, so put {own}"), &|_| Some(Doing::Putting(own)));
            }
            // Who puts a condemned name keeps it first; if it was swept meanwhile, it goes under its new key.
            Doing::Putting(pack) if writer.known.condemned().contains_key(&name(pack)) => {
                step(format!("keep {pack} before putting it"), &|world| {
                    if world.head.condemned().contains_key(&name(pack)) {
                        world.append(key, Op::Keep { session: id, names: vec![name(pack)] });
                    }
                    world.writers[number].known = Rc::clone(&world.head);
                    Some(Doing::Putting(pack))
                });
            }
            Doing::Putting(pack) => step(format!("put {pack}"), &|world| {
                let key = Self::key(&world.writers[number].known, pack);
                world.store.insert(key);
                Some(Doing::Relying(pack))
            }),
            Doing::Relying(pack) => {
                step("attend".to_owned(), &|world| world.attend(number, key, pack));
                step("commit".to_owned(), &|world| {
                    let statement = fixed.commits[&(number, pack)].clone();
                    world.conclude(id, key, pack, &Op::Commit { session: id, statement }, number)
                });
            }
            Doing::Done => {}
        }
    }

    pub(super) fn attend(&mut self, number: usize, key: &SigningKey, pack: u8) -> Option<Doing> {
        let id = Self::session_of(number);
        if !self.head.awaits_answer(id) {
            return None;
        }
        let op = if self.head.condemned().contains_key(&name(pack)) {
            Op::Keep { session: id, names: vec![name(pack)] }
        } else {
            Op::Seen { session: id }
        };
        self.append(key, op).then(|| {
            self.writers[number].known = Rc::clone(&self.head);
            Doing::Relying(pack)
        })
    }

    /// One step of `Session::conclude`.
    pub(super) fn conclude(
        &mut self,
        id: crate::id::SessionId,
        key: &SigningKey,
        pack: u8,
        op: &Op,
        number: usize,
    ) -> Option<Doing> {
        let decided_on = if Rule::PrefixesDecide.holds() {
            Rc::clone(&self.head)
        } else {
            Rc::clone(&self.writers.get(number)?.known)
        };
        let Ok(hindrances) = decided_on.hindrances(id, &[name(pack)]) else { return Some(Doing::Done) };
        if let Some(writer) = self.writers.get_mut(number) {
            writer.known = Rc::clone(&self.head);
        }
        let since = self.writers.get(number).map_or(0, |writer| writer.since);
        if hindrances.lost.iter().any(|name| decided_on.sweep_of(name) >= Some(since)) {
            self.broken = Some(format!("P1: {pack} was swept under an open session"));
            return Some(Doing::Done);
        }
        if !hindrances.lost.is_empty() || !hindrances.condemned.is_empty() {
            let kept = self.append(key, Op::Keep { session: id, names: vec![name(pack)] });
            return kept.then_some(Doing::Relying(pack));
        }
        if !self.append(key, op.clone()) {
            return Some(Doing::Done);
        }
        if self.head.session(id).map(|session| session.state) == Some(SessionState::Fenced) {
            self.broken = Some("I3: a fenced session is visible".to_owned());
        }
        Some(Doing::Done)
    }

    pub(super) fn keeper_steps(&self, fixed: &Fixed, found: &mut Vec<(String, Self)>) {
        if !Rule::PrefixesDecide.holds() {
            let world = Self { keeper: Rc::clone(&self.head), ..self.clone() };
            found.push(("keeper: read".to_owned(), world));
        }
        let needed = self.needed(fixed);
        let is_free = |name: &Name| needed.permits(&[*name]).is_ok();
        if self.left.condemns > 0 {
            let known = |pack: &u8| *pack == FIRST || self.store.iter().any(|(held, _)| *held == name(*pack));
            let names: Vec<Name> = PACKS.iter().filter(|pack| known(pack)).map(|pack| name(*pack)).collect();
            let names: Vec<Name> = names
                .into_iter()
                .filter(|name| is_free(name) && !self.head.condemned().contains_key(name))
                .collect();
            let mut world = self.clone();
            world.left.condemns -= 1;
            if !names.is_empty() && world.append(&fixed.keeper, Op::Condemn { names: names.clone() }) {
                found.push((format!("condemn {names:?}"), world));
            }
        }
        if self.left.sweeps > 0 {
            let names: Vec<Name> =
                self.head.condemned().keys().filter(|name| is_free(name)).copied().collect();
            let mut world = self.clone();
            world.left.sweeps -= 1;
            if !names.is_empty() && world.append(&fixed.keeper, Op::Sweep { names: names.clone() }) {
                for (name, before) in world
                    .head
                    .collection
                    .undeleted
                    .last_key_value()
                    .map(|(_, all)| all.clone())
                    .unwrap_or_default()
                {
                    world.late.insert((name, before.filter(|_| Rule::KeysMove.holds())));
                }
                found.push((format!("sweep {names:?}"), world));
            }
        }
        for number in 0..self.writers.len() {
            let mut world = self.clone();
            world.left.fences = world.left.fences.saturating_sub(1);
            if self.left.fences > 0
                && world.append(&fixed.keeper, Op::Fence { session: Self::session_of(number) })
            {
                found.push((format!("fence {number}"), world));
            }
        }
        if !Rule::StraysAreLogged.holds() {
            for key in self.store.iter().filter(|(name, _)| is_free(name)) {
                let mut world = self.clone();
                world.store.remove(key);
                found.push((format!("delete stray {key:?}"), world));
            }
        }
    }

    pub(super) fn compaction_steps(&self, fixed: &mut Fixed, found: &mut Vec<(String, Self)>) {
        let id = session(9);
        let mut world = self.clone();
        match self.compacting {
            Doing::Nothing if self.left.compactions > 0 => {
                let begin = Op::Begin { session: id, source: SourceId([99; 16]), parent: None };
                if world.append(&fixed.keeper, begin) {
                    world.compacted = Rc::clone(&world.head);
                    world.compacting = Doing::Putting(COMPACT);
                    found.push(("compaction: begin".to_owned(), world));
                }
            }
            Doing::Putting(_) if self.compacted.condemned().contains_key(&name(COMPACT)) => {
                if world.head.condemned().contains_key(&name(COMPACT)) {
                    world.append(&fixed.keeper, Op::Keep { session: id, names: vec![name(COMPACT)] });
                }
                world.compacted = Rc::clone(&world.head);
                found.push(("compaction: keep before putting".to_owned(), world));
            }
            Doing::Putting(_) if self.is_present(FIRST) => {
                world.store.insert(Self::key(&self.compacted, COMPACT));
                world.compacting = Doing::Relying(COMPACT);
                found.push(("compaction: put".to_owned(), world));
            }
            Doing::Relying(_) => {
                let covers: Vec<SnapshotId> =
                    self.head.roots(TIME).into_keys().filter(|id| wanted(id) == [1]).collect();
                let op = Op::Replace { session: id, statement: fixed.replaces(covers) };
                if self.head.awaits_answer(id) && !self.head.condemned().contains_key(&name(COMPACT)) {
                    let mut seen = self.clone();
                    if seen.append(&fixed.keeper, Op::Seen { session: id }) {
                        found.push(("compaction: seen".to_owned(), seen));
                    }
                }
                let keeper = fixed.keeper.clone();
                // It decides on the head, like every appender; there is no writer of that number.
                if let Some(doing) = world.conclude(id, &keeper, COMPACT, &op, usize::MAX) {
                    world.compacting = doing;
                    found.push(("compaction: commit".to_owned(), world));
                }
            }
            _ => {}
        }
    }

    pub(super) fn people_steps(&self, fixed: &Fixed, found: &mut Vec<(String, Self)>) {
        if self.left.forgets > 0 {
            for snapshot in self.head.visible().keys() {
                let mut world = self.clone();
                world.left.forgets -= 1;
                if world.append(&fixed.owner, Op::Forget { snapshots: vec![*snapshot] }) {
                    found.push((format!("forget {snapshot:?}"), world));
                }
            }
        }
        if self.left.pins > 0 {
            let mut world = self.clone();
            world.left.pins -= 1;
            let expiry = crate::id::Timestamp(TIME.0 + PIN_MICROS_MAX);
            let pin = Op::Pin { pin: PinId([1; 16]), snapshot: snapshot(0), expiry };
            if world.append(&fixed.keeper, pin) {
                found.push(("pin".to_owned(), world));
            }
        }
        // Whoever carries the first snapshot from a replica where it still stands: puts what it needs, then commits.
        if self.left.revivals > 0 && !self.head.visible().contains_key(&snapshot(0)) {
            let mut world = self.clone();
            world.left.revivals -= 1;
            let courier = SigningKey::from_seed(crate::suite::Secret([77; 32]));
            let author = courier.verify_key().writer_id();
            let op = Op::Courier { session: session(8), key: courier.verify_key() };
            let Ok(effect) = world.head.effect_of(op, Appender { author, rights: Rights(0), time: TIME })
            else {
                return;
            };
            let mut state = State::clone(&world.head);
            state.apply(effect);
            state.next += 1;
            world.store.insert(Self::key(&state, FIRST));
            for op in [
                Op::Keep { session: session(8), names: vec![name(FIRST)] },
                Op::Commit { session: session(8), statement: fixed.first.clone() },
            ] {
                let Ok(effect) =
                    state.effect_of(op, Appender { author, rights: Rights::COURIER, time: TIME })
                else {
                    return;
                };
                state.apply(effect);
                state.next += 1;
            }
            world.head = Rc::new(state);
            found.push(("courier revives".to_owned(), world));
        }
    }
}
