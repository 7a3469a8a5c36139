use proptest::prelude::*;

mod authority;
mod chain;

use super::*;
use crate::codec::Encoder;
use crate::id::{KeyId, SnapshotId, SourceId, Timestamp, VaultId};
use crate::keys::Role;
use crate::log::config::{Config, Feature, Operation};
use crate::log::entry::Entry;
use crate::object::{self, ObjectKind};
use crate::suite::SigningKey;
use crate::vault_file::VaultFile;

pub(in crate::log) const VAULT: VaultId = VaultId([3; 16]);
pub(in crate::log) const REPLICA: ReplicaId = ReplicaId([4; 16]);
const SOURCE: SourceId = SourceId([5; 16]);
pub(in crate::log) const TIME: Timestamp = Timestamp(1_000);

pub(in crate::log) fn snapshot(number: u8) -> SnapshotId {
    ObjectId([number; 32])
}

pub(in crate::log) fn session(number: u8) -> SessionId {
    SessionId([number; 16])
}

/// A log with an owner, two writers and a keeper; `serial` counts the owner's statements.
pub(in crate::log) struct World {
    pub(in crate::log) state: State,
    pub(in crate::log) owner: SigningKey,
    pub(in crate::log) writer: SigningKey,
    pub(in crate::log) second: SigningKey,
    pub(in crate::log) keeper: SigningKey,
}

impl World {
    pub(in crate::log) fn born() -> Self {
        let [owner, writer, second, keeper] =
            [1, 2, 3, 4].map(|seed| SigningKey::from_seed(crate::suite::Secret([seed; 32])));
        let file = VaultFile::new(VAULT, owner.verify_key());
        let mut world = Self { state: State::new(file), owner, writer, second, keeper };
        let birth = world.birth(&world.owner);
        assert_eq!(world.fold(&birth), Folded::Applied(OpKind::Birth));
        world
    }

    pub(in crate::log) fn new() -> Self {
        let mut world = Self::born();
        for (key, role) in [
            (world.writer.clone(), Role::Writer),
            (world.second.clone(), Role::Writer),
            (world.keeper.clone(), Role::Keeper),
        ] {
            let op = world.certify(&key, Rights::of_role(role), role);
            world.applies(&world.owner.clone(), op, OpKind::Key);
        }
        world
    }

    pub(in crate::log) fn birth(&self, config_author: &SigningKey) -> Vec<u8> {
        let config = sign(config_author, 1, Body::Config(Config::default()));
        let op = Op::Birth { replica: REPLICA, name: "here".to_owned(), config };
        self.entry(&self.owner, op)
    }

    pub(in crate::log) fn entry(&self, key: &SigningKey, op: Op) -> Vec<u8> {
        let (n, previous) = (self.state.next(), self.state.head());
        Entry { n, previous, replica: REPLICA, time: TIME, nonce: [0; 16], op }.sign(VAULT, key).unwrap()
    }

    pub(in crate::log) fn fold(&mut self, bytes: &[u8]) -> Folded {
        self.state.fold(self.state.next(), bytes).unwrap()
    }

    pub(in crate::log) fn append(&mut self, key: &SigningKey, op: Op) -> Folded {
        let bytes = self.entry(key, op);
        self.fold(&bytes)
    }

    #[track_caller]
    pub(in crate::log) fn applies(&mut self, key: &SigningKey, op: Op, kind: OpKind) {
        assert_eq!(self.append(key, op), Folded::Applied(kind));
    }

    #[track_caller]
    pub(in crate::log) fn breaks_rule(&mut self, key: &SigningKey, op: Op, part: &str) {
        let folded = self.append(key, op);
        assert!(matches!(&folded, Folded::Ignored(Reason::Rule(rule)) if rule.contains(part)), "{folded:?}");
    }

    #[track_caller]
    pub(in crate::log) fn forbidden(&mut self, key: &SigningKey, op: Op) {
        let folded = self.append(key, op);
        assert!(matches!(folded, Folded::Ignored(Reason::Forbidden { .. })), "{folded:?}");
    }

    pub(in crate::log) fn publish(&self, body: Body) -> Op {
        Op::Publish { statement: sign(&self.owner, self.state.next_serial(), body) }
    }

    pub(in crate::log) fn certify(&self, key: &SigningKey, rights: Rights, role: Role) -> Op {
        let certificate = Certificate { rights, ..Certificate::new(key.verify_key(), role, "holder", TIME) };
        let bytes = certificate.sign(VAULT, &self.owner).unwrap();
        let subject = key.verify_key().writer_id().0;
        self.publish(Body::Key { subject, presence: KeyPresence::Certificate(bytes) })
    }

    pub(in crate::log) fn remove(&self, key: &SigningKey) -> Op {
        let subject = key.verify_key().writer_id().0;
        self.publish(Body::Key { subject, presence: KeyPresence::Removed })
    }

    pub(in crate::log) fn committed(&mut self, key: &SigningKey, number: u8) {
        self.applies(key, begin(number), OpKind::Begin);
        self.applies(key, commit(key, number, number), OpKind::Commit);
    }

    pub(in crate::log) fn stray(&self, change: impl Fn(&mut Entry)) -> Vec<u8> {
        let (n, previous) = (self.state.next(), self.state.head());
        let mut entry = Entry { n, previous, replica: REPLICA, time: TIME, nonce: [0; 16], op: begin(9) };
        change(&mut entry);
        entry.sign(VAULT, &self.writer).unwrap()
    }

    /// An entry with any version, operation number and payload.
    pub(in crate::log) fn raw(&self, key: &SigningKey, version: u8, op: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = object::start(ObjectKind::LogEntry, VAULT).finish();
        out[7] = version;
        let mut rest = Encoder::new();
        rest.raw(&out).u64(self.state.next()).raw(&self.state.head()).raw(&REPLICA.0).i64(0).raw(&[0; 16]);
        rest.raw(&key.verify_key().writer_id().0).u8(op).bytes(payload);
        let signature = key.sign("shudao log entry", rest.as_slice());
        rest.raw(&signature.0);
        object::finish_with_trailer(rest)
    }
}

pub(in crate::log) fn sign(key: &SigningKey, serial: u64, body: Body) -> SignedStatement {
    let author = key.verify_key().writer_id();
    Statement { author, time: TIME, serial, body }.sign(VAULT, key).unwrap()
}

pub(in crate::log) fn begin(number: u8) -> Op {
    Op::Begin { session: session(number), source: SOURCE, parent: None }
}

pub(in crate::log) fn commit_body(number: u8) -> Body {
    Body::Commit(CommitStatement {
        snapshot: snapshot(number),
        source: SOURCE,
        sequence: u64::from(number),
        need_list: ObjectId([100; 32]),
        segments: vec![ObjectId([200; 32]), ObjectId([number.wrapping_add(200); 32])],
    })
}

pub(in crate::log) fn commit(key: &SigningKey, session_number: u8, number: u8) -> Op {
    Op::Commit { session: session(session_number), statement: sign(key, 0, commit_body(number)) }
}

pub(in crate::log) fn forget(numbers: &[u8]) -> Op {
    Op::Forget { snapshots: numbers.iter().map(|number| snapshot(*number)).collect() }
}

#[test]
fn a_commit_in_ones_own_open_session_makes_the_snapshot_visible() {
    let mut world = World::new();
    let writer = world.writer.clone();
    world.committed(&writer, 1);
    world.committed(&writer, 2);
    let visible = &world.state.visible()[&snapshot(1)];
    assert_eq!((visible.author, visible.source), (writer.verify_key().writer_id(), SOURCE));
    assert_eq!((visible.session, visible.sequence, visible.time), (session(1), 1, TIME));
    assert_eq!(world.state.session(session(1)).unwrap().state, SessionState::Committed(snapshot(1)));
    assert_eq!(world.state.open_sessions().count(), 0);
    let segments: Vec<u8> = world.state.segments_live().iter().map(|segment| segment.0[0]).collect();
    assert_eq!(segments, [200, 201, 202]);
    assert_eq!(world.state.latest(SOURCE).unwrap().0, snapshot(2));
    assert!(world.state.latest(SourceId([9; 16])).is_none());
}

#[test]
fn latest_follows_sequence_then_time_then_id_and_never_the_logs_order() {
    let mut world = World::new();
    let writer = world.writer.clone();
    for number in [7, 3, 5] {
        world.committed(&writer, number);
    }
    assert_eq!(world.state.latest(SOURCE).unwrap().0, snapshot(7));
    let owner = world.owner.clone();
    world.applies(&owner, forget(&[7]), OpKind::Forget);
    assert_eq!(world.state.latest(SOURCE).unwrap().0, snapshot(5));
}

#[test]
fn a_commit_is_void_unless_session_author_statement_and_source_agree() {
    let mut world = World::new();
    let [writer, second] = [world.writer.clone(), world.second.clone()];
    world.breaks_rule(&writer, commit(&writer, 1, 1), "never begun");
    world.applies(&writer, begin(1), OpKind::Begin);
    world.breaks_rule(&second, commit(&second, 1, 1), "begun by another");
    world.breaks_rule(&writer, commit(&second, 1, 1), "by another key");
    world.breaks_rule(
        &writer,
        Op::Commit { session: session(1), statement: sign(&writer, 0, Body::Hold(snapshot(1))) },
        "carries a commit",
    );
    let elsewhere = Op::Begin { session: session(2), source: SourceId([9; 16]), parent: None };
    world.applies(&writer, elsewhere, OpKind::Begin);
    world.breaks_rule(&writer, commit(&writer, 2, 1), "another source");
    // None of them closed the session.
    world.applies(&writer, commit(&writer, 1, 1), OpKind::Commit);
    world.breaks_rule(&writer, commit(&writer, 1, 2), "closed");
    world.applies(&writer, begin(3), OpKind::Begin);
    world.breaks_rule(&writer, commit(&writer, 3, 1), "visible already");
}

#[test]
fn a_session_id_is_used_once_and_its_parent_is_visible_and_of_its_source() {
    let mut world = World::new();
    let [writer, second] = [world.writer.clone(), world.second.clone()];
    let with_parent = |number, source, parent| Op::Begin {
        session: session(number),
        source,
        parent: Some(snapshot(parent)),
    };
    world.applies(&writer, begin(1), OpKind::Begin);
    world.breaks_rule(&second, begin(1), "used before");
    world.applies(&writer, commit(&writer, 1, 1), OpKind::Commit);
    world.breaks_rule(&writer, begin(1), "used before");
    world.breaks_rule(&writer, with_parent(2, SOURCE, 8), "not visible");
    world.breaks_rule(&writer, with_parent(2, SourceId([9; 16]), 1), "another source");
    world.applies(&second, with_parent(2, SOURCE, 1), OpKind::Begin);
}

#[test]
fn a_forgotten_snapshot_never_returns() {
    let mut world = World::new();
    let [writer, owner] = [world.writer.clone(), world.owner.clone()];
    world.committed(&writer, 1);
    world.applies(&owner, forget(&[1, 2]), OpKind::Forget);
    assert!(world.state.visible().is_empty());
    assert_eq!(world.state.forgotten().len(), 2);
    for number in [1, 2] {
        world.applies(&writer, begin(10 + number), OpKind::Begin);
        world.breaks_rule(&writer, commit(&writer, 10 + number, number), "forgotten");
    }
}

#[test]
fn a_held_snapshot_is_not_forgotten_until_released_and_serials_decide() {
    let mut world = World::new();
    let [writer, owner] = [world.writer.clone(), world.owner.clone()];
    world.committed(&writer, 1);
    world.committed(&writer, 2);
    let old_hold = sign(&owner, world.state.next_serial(), Body::Hold(snapshot(1)));
    world.applies(&owner, Op::Publish { statement: old_hold.clone() }, OpKind::Hold);
    assert_eq!(world.state.held().collect::<Vec<_>>(), [snapshot(1)]);
    world.breaks_rule(&owner, forget(&[1, 2]), "held");
    assert_eq!(world.state.visible().len(), 2);
    let release = world.publish(Body::Release(snapshot(1)));
    // Anyone who stands may carry the owner's statement.
    world.applies(&writer, release, OpKind::Release);
    world.breaks_rule(&writer, Op::Publish { statement: old_hold }, "serial");
    assert!(!world.state.is_held(&snapshot(1)));
    world.applies(&owner, forget(&[1, 2]), OpKind::Forget);
}

#[derive(Debug, Clone)]
enum Step {
    Begin { who: usize, session: u8, parent: Option<u8> },
    Commit { who: usize, session: u8, snapshot: u8 },
    Forget { who: usize, snapshot: u8 },
    Hold { snapshot: u8, held: bool },
    Remove { who: usize },
    Certify { who: usize },
    Junk(Vec<u8>),
}

fn steps() -> impl Strategy<Value = Step> {
    let (who, small) = (0usize..4, 0u8..6);
    prop_oneof![
        3 => (who.clone(), small.clone(), proptest::option::of(small.clone()))
            .prop_map(|(who, session, parent)| Step::Begin { who, session, parent }),
        4 => (who.clone(), small.clone(), small.clone())
            .prop_map(|(who, session, snapshot)| Step::Commit { who, session, snapshot }),
        1 => (who.clone(), small.clone()).prop_map(|(who, snapshot)| Step::Forget { who, snapshot }),
        1 => (small, any::<bool>()).prop_map(|(snapshot, held)| Step::Hold { snapshot, held }),
        1 => (1usize..4).prop_map(|who| Step::Remove { who }),
        1 => (1usize..4).prop_map(|who| Step::Certify { who }),
        1 => any::<Vec<u8>>().prop_map(Step::Junk),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_keeps_the_invariants_and_folds_the_same_twice(steps in proptest::collection::vec(steps(), 0..40)) {
        let mut world = World::new();
        let keys = [&world.owner, &world.writer, &world.second, &world.keeper].map(Clone::clone);
        let mut log = Vec::new();
        let start = world.state.clone();
        for step in steps {
            let bytes = match step {
                Step::Begin { who, session: id, parent } => {
                    let op = Op::Begin { session: session(id), source: SOURCE, parent: parent.map(snapshot) };
                    world.entry(&keys[who], op)
                }
                Step::Commit { who, session, snapshot } => world.entry(&keys[who], commit(&keys[who], session, snapshot)),
                Step::Forget { who, snapshot } => world.entry(&keys[who], forget(&[snapshot])),
                Step::Hold { snapshot: id, held } => {
                    let body = if held { Body::Hold(snapshot(id)) } else { Body::Release(snapshot(id)) };
                    world.entry(&keys[0], world.publish(body))
                }
                Step::Remove { who } => world.entry(&keys[0], world.remove(&keys[who])),
                Step::Certify { who } => {
                    let op = world.certify(&keys[who], Rights::of_role(Role::Writer), Role::Writer);
                    world.entry(&keys[0], op)
                }
                Step::Junk(bytes) => bytes,
            };
            let before = world.state.clone();
            world.fold(&bytes);
            log.push(bytes);
            let after = &world.state;
            for (id, visible) in after.visible() {
                prop_assert!(!after.forgotten().contains(id));
                let committed = after.session(visible.session).unwrap();
                prop_assert_eq!(committed.state, SessionState::Committed(*id));
                prop_assert_eq!(committed.author, visible.author);
                prop_assert!(visible.segments.iter().all(|segment| after.segments_live().contains(segment)));
            }
            prop_assert!(before.forgotten().is_subset(after.forgotten()));
            for held in before.held() {
                prop_assert!(!before.visible().contains_key(&held) || after.visible().contains_key(&held));
            }
            for (id, session) in &before.sessions {
                if session.state != SessionState::Open {
                    prop_assert_eq!(after.session(*id), Some(session));
                }
            }
            for (_, session) in after.open_sessions() {
                prop_assert!(after.stands(session.author));
            }
        }
        let mut again = start;
        for bytes in &log {
            again.fold(again.next(), bytes).unwrap();
        }
        prop_assert_eq!(again.head(), world.state.head());
        prop_assert_eq!(again.visible(), world.state.visible());
        prop_assert_eq!(again.sessions, world.state.sessions);
    }
}
