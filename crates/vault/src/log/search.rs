//! The rules of collection, searched exhaustively in small bounds: every order of the steps of a writer with a parent, a
//! writer without, a keeper who condemns, sweeps, fences, compacts and whose deletions land late, an owner who forgets, and a
//! reader who pins. Packs have two frames.
//!
//! The state is the real one, and what it judges is judged by its real code; the store is a set of keys. After every step:
//! every root's chunks are present under keys in force (I1), no open session finds what it relies on swept (P1), a fenced
//! session is never visible (I3), a forgotten snapshot never returns (I4). Each rule turned off must break one of these.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use super::collection::PIN_MICROS_MAX;
use super::duty::{Evidence, Needed, ReadList};
use super::fold::Appender;
use super::fold::tests::{TIME, World as Log, session, sign, snapshot};
use super::rules::Rules;
use super::state::{SessionState, State};
use super::statement::{Body, CommitStatement, Replacement, ReplacesStatement};
use super::{Op, SignedStatement};
use crate::id::{NeedListId, ObjectId, PinId, SnapshotId, SourceId};
use crate::keys::{Rights, Role};
use crate::name::Name;
use crate::suite::SigningKey;

/// The first snapshot's pack: chunks 0 and 1.
const FIRST: u8 = 1;
/// What the second writer uploads: chunk 0.
const OWN: u8 = 2;
/// What a compaction makes of the first pack: chunk 1.
const COMPACT: u8 = 3;
const PACKS: [u8; 3] = [FIRST, OWN, COMPACT];

fn chunks(pack: u8) -> &'static [u8] {
    match pack {
        FIRST => &[0, 1],
        OWN => &[0],
        _ => &[1],
    }
}

fn name(pack: u8) -> Name {
    Name::pack(ObjectId([pack; 32]))
}

fn list_of(pack: u8) -> NeedListId {
    ObjectId([pack + 100; 32])
}

/// The snapshot of a writer that relies on `pack`; the first snapshot is number 0.
fn snapshot_of(writer: usize, pack: u8) -> SnapshotId {
    snapshot((writer as u8 + 1) * 10 + pack)
}

/// The chunks of a snapshot.
fn wanted(id: &SnapshotId) -> &'static [u8] {
    match id.0[0] / 10 {
        0 => &[0, 1],
        1 => &[1],
        _ => &[0],
    }
}

/// A key of the store: the name and the sweep that gave it the key.
type Key = (Name, Option<u64>);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
enum Doing {
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
struct Writer {
    doing: Doing,
    known: Rc<State>,
    /// The length of the log that it knew when it came to rely on its pack.
    since: u64,
}

#[derive(Clone)]
struct World {
    head: Rc<State>,
    store: BTreeSet<Key>,
    /// Deletions sent that have not landed.
    late: BTreeSet<Key>,
    writers: Vec<Writer>,
    compacting: Doing,
    compacted: Rc<State>,
    /// What the keeper decides on; the head, unless it is a mutant.
    keeper: Rc<State>,
    left: Left,
    broken: Option<String>,
}

/// How often each thing may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Left {
    condemns: u8,
    sweeps: u8,
    fences: u8,
    forgets: u8,
    compactions: u8,
    pins: u8,
    revivals: u8,
    writers: usize,
}

struct Fixed {
    owner: SigningKey,
    keeper: SigningKey,
    writers: [SigningKey; 2],
    commits: BTreeMap<(usize, u8), SignedStatement>,
    first: SignedStatement,
    replaces: BTreeMap<Vec<SnapshotId>, SignedStatement>,
    evidence: Evidence,
    /// A mutant: what a keeper deletes it never logged.
    deletes_strays: bool,
    /// A mutant: packs of a compaction serve before it is committed.
    counts_early: bool,
}

impl Fixed {
    fn new(log: &Log) -> Self {
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
            deletes_strays: false,
            counts_early: false,
        }
    }

    fn replaces(&mut self, covers: Vec<SnapshotId>) -> SignedStatement {
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

fn statement(key: &SigningKey, snapshot: SnapshotId, writer: usize, pack: u8) -> SignedStatement {
    let source = SourceId([writer as u8; 16]);
    let commit =
        CommitStatement { snapshot, source, sequence: 1, need_list: list_of(pack), segments: vec![] };
    sign(key, 0, Body::Commit(commit))
}

impl World {
    fn start(fixed: &mut Fixed, rules: Rules, left: Left) -> Self {
        let mut log = Log::new();
        log.state.rules = rules;
        *fixed = Fixed {
            deletes_strays: fixed.deletes_strays,
            counts_early: fixed.counts_early,
            ..Fixed::new(&log)
        };
        let state = Rc::new(log.state);
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
    fn append(&mut self, key: &SigningKey, op: Op) -> bool {
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

    fn key(state: &State, pack: u8) -> Key {
        (name(pack), state.key_sweep(&name(pack)))
    }

    fn is_present(&self, pack: u8) -> bool {
        self.store.contains(&Self::key(&self.head, pack))
    }

    fn serves(&self, snapshot: &SnapshotId, chunk: u8) -> bool {
        let retired = self.head.collection.retired.get(snapshot);
        let Some(visible) = self.head.visible().get(snapshot).or(retired) else { return false };
        let listed = self.listed(visible.need_list);
        let serving = self.head.serving(snapshot, name(listed).id);
        PACKS.iter().any(|pack| {
            serving.contains(&name(*pack).id) && chunks(*pack).contains(&chunk) && self.is_present(*pack)
        })
    }

    fn listed(&self, list: NeedListId) -> u8 {
        list.0[0] - 100
    }

    /// The first invariant that does not hold.
    fn violation(&self) -> Option<String> {
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

    fn needed(&self, fixed: &Fixed) -> Needed {
        let decided_on = if self.head.rules.losers_decide_again { &self.head } else { &self.keeper };
        let mut needed = Needed::of(decided_on, &fixed.evidence, TIME);
        if fixed.counts_early && self.compacting == Doing::Relying(COMPACT) {
            needed.forget(&name(FIRST));
        }
        needed
    }

    /// Every world that one step leads to, with the step's name.
    fn next(&self, fixed: &mut Fixed) -> Vec<(String, Self)> {
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

    fn session_of(number: usize) -> crate::id::SessionId {
        session(number as u8 + 1)
    }

    fn writer_steps(&self, number: usize, fixed: &Fixed, found: &mut Vec<(String, Self)>) {
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

    fn attend(&mut self, number: usize, key: &SigningKey, pack: u8) -> Option<Doing> {
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
    fn conclude(
        &mut self,
        id: crate::id::SessionId,
        key: &SigningKey,
        pack: u8,
        op: &Op,
        number: usize,
    ) -> Option<Doing> {
        let decided_on = if self.head.rules.losers_decide_again {
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

    fn keeper_steps(&self, fixed: &Fixed, found: &mut Vec<(String, Self)>) {
        if !self.head.rules.losers_decide_again {
            let world = Self { keeper: Rc::clone(&self.head), ..self.clone() };
            found.push(("keeper: read".to_owned(), world));
        }
        let needed = self.needed(fixed);
        let is_free = |name: &Name| needed.permits(&self.head, &[*name]).is_ok();
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
                    world.late.insert((name, before.filter(|_| world.head.rules.keys_move)));
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
        if fixed.deletes_strays {
            for key in self.store.iter().filter(|(name, _)| is_free(name)) {
                let mut world = self.clone();
                world.store.remove(key);
                found.push((format!("delete stray {key:?}"), world));
            }
        }
    }

    fn compaction_steps(&self, fixed: &mut Fixed, found: &mut Vec<(String, Self)>) {
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

    fn people_steps(&self, fixed: &Fixed, found: &mut Vec<(String, Self)>) {
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

    /// The world's identity: log numbers by rank, so that orders without a difference fall together. Ids differ in their
    /// first byte.
    fn fingerprint(&self) -> [u8; 32] {
        let rank = self.ranks();
        let mut out = Vec::with_capacity(256);
        let Left { condemns, sweeps, fences, forgets, compactions, pins, revivals, .. } = self.left;
        out.extend([
            condemns,
            sweeps,
            fences,
            forgets,
            compactions,
            pins,
            revivals,
            self.compacting.number(),
        ]);
        for writer in &self.writers {
            out.extend([writer.doing.number(), rank[&writer.since]]);
        }
        for state in self.states() {
            print_state(state, &rank, &mut out);
        }
        for keys in [&self.store, &self.late] {
            out.push(200);
            for (name, sweep) in keys {
                out.extend([name.id.0[0], sweep.map_or(255, |n| rank[&n])]);
            }
        }
        *blake3::hash(&out).as_bytes()
    }

    fn states(&self) -> impl Iterator<Item = &Rc<State>> {
        let known = self.writers.iter().map(|writer| &writer.known);
        known.chain([&self.head, &self.compacted, &self.keeper])
    }

    fn ranks(&self) -> BTreeMap<u64, u8> {
        let mut numbers: BTreeSet<u64> = self.writers.iter().map(|writer| writer.since).collect();
        for state in self.states() {
            numbers.extend(state.condemned().values().chain(state.swept().values()));
            for session in state.sessions.values() {
                numbers.extend([session.begun, session.answered]);
                numbers.extend(session.kept.values());
            }
        }
        numbers.extend(self.store.iter().chain(&self.late).filter_map(|(_, sweep)| *sweep));
        numbers.into_iter().zip(0..).collect()
    }
}

impl Doing {
    fn number(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Looking => 1,
            Self::Done => 2,
            Self::Putting(pack) => 10 + pack,
            Self::Relying(pack) => 20 + pack,
        }
    }
}

fn print_state(state: &State, rank: &BTreeMap<u64, u8>, out: &mut Vec<u8>) {
    for (name, n) in state.condemned() {
        out.extend([201, name.id.0[0], rank[n]]);
    }
    for (name, n) in state.swept() {
        out.extend([202, name.id.0[0], rank[n], u8::from(state.is_gone(name))]);
    }
    for (id, one) in &state.sessions {
        let parent = one.parent.map_or(255, |parent| parent.0[0]);
        let is_open = u8::from(one.state == SessionState::Open);
        out.extend([203, id.0[0], is_open, parent, rank[&one.begun], rank[&one.answered]]);
        for (name, n) in &one.kept {
            out.extend([204, name.id.0[0], rank[n]]);
        }
    }
    for id in state.visible().keys() {
        out.extend([205, id.0[0]]);
        out.extend(state.serving(id, name(FIRST).id).iter().map(|pack| pack.0[0]));
    }
    out.extend(state.forgotten().iter().flat_map(|id| [206, id.0[0]]));
    out.extend([207, state.pins().len() as u8, u8::from(state.is_compacted(&name(COMPACT).id))]);
}

/// What a search found.
struct Found {
    worlds: usize,
    violation: Option<(String, Vec<String>)>,
}

/// Searches every order of steps; stops at the first violation, with the steps that lead to it.
fn search(fixed: &mut Fixed, rules: Rules, left: Left) -> Found {
    let start = World::start(fixed, rules, left);
    let mut met = HashSet::from([start.fingerprint()]);
    let mut waiting = vec![(start, Vec::new())];
    while let Some((world, steps)) = waiting.pop() {
        for (step, next) in world.next(fixed) {
            if !met.insert(next.fingerprint()) {
                continue;
            }
            let mut path: Vec<String> = steps.clone();
            path.push(step);
            if let Some(violation) = next.violation() {
                return Found { worlds: met.len(), violation: Some((violation, path)) };
            }
            waiting.push((next, path));
        }
    }
    Found { worlds: met.len(), violation: None }
}

fn fixed() -> Fixed {
    Fixed::new(&Log::new())
}

const COLLECTING: Left =
    Left { condemns: 2, sweeps: 2, fences: 1, forgets: 1, compactions: 0, pins: 0, revivals: 0, writers: 2 };

#[track_caller]
fn holds(left: Left, worlds_min: usize) {
    let found = search(&mut fixed(), Rules::ALL, left);
    assert!(found.violation.is_none(), "{:#?}", found.violation);
    assert!(found.worlds >= worlds_min, "{} worlds", found.worlds);
}

#[track_caller]
fn breaks(rule: &str, mutant: impl FnOnce(&mut Rules, &mut Fixed), left: Left) {
    let (mut rules, mut fixed) = (Rules::ALL, fixed());
    mutant(&mut rules, &mut fixed);
    let found = search(&mut fixed, rules, left);
    assert!(found.violation.is_some(), "{rule} is off: {} worlds and nothing is lost", found.worlds);
}

#[test]
fn nothing_is_lost_when_two_writers_and_a_keeper_meet() {
    holds(COLLECTING, 1_000);
}

#[test]
fn nothing_is_lost_when_a_keeper_compacts() {
    holds(Left { compactions: 1, writers: 1, ..COLLECTING }, 1_000);
}

#[test]
fn nothing_is_lost_when_a_reader_pins_and_a_courier_carries() {
    holds(Left { fences: 0, pins: 1, revivals: 1, ..COLLECTING }, 1_000);
}

#[test]
fn each_rule_is_needed() {
    let reviving = Left { revivals: 1, ..COLLECTING };
    let pinning = Left { pins: 1, writers: 1, fences: 0, ..COLLECTING };
    let compacting = Left { compactions: 1, writers: 1, fences: 0, ..COLLECTING };
    breaks("what roots need", |rules, _| rules.roots_count = false, COLLECTING);
    breaks("sweeps wait", |rules, _| rules.sweep_waits = false, COLLECTING);
    let neither = |rules: &mut Rules, _: &mut Fixed| (rules.sweep_waits, rules.commit_looks) = (false, false);
    breaks("sweeps wait and commits look", neither, COLLECTING);
    breaks("keeps count", |rules, _| rules.keep_counts = false, COLLECTING);
    breaks("keys move", |rules, _| rules.keys_move = false, COLLECTING);
    breaks("losers decide again", |rules, _| rules.losers_decide_again = false, COLLECTING);
    breaks("a forget is final", |rules, _| rules.forget_is_final = false, reviving);
    breaks("pins count", |rules, _| rules.pins_count = false, pinning);
    breaks("strays are logged", |_, fixed| fixed.deletes_strays = true, COLLECTING);
    breaks("compactions serve once committed", |_, fixed| fixed.counts_early = true, compacting);
}

#[test]
fn every_kind_of_holder_takes_part() {
    // The search stands on the roles' presets: a keeper that could not sweep would make it pass for nothing.
    assert!(Rights::of_role(Role::Keeper).allow(Rights::SWEEP));
    assert!(!Rights::of_role(Role::Writer).allow(Rights::CONDEMN));
}
