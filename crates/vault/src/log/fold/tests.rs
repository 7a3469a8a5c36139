use proptest::prelude::*;

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

#[test]
fn each_operation_needs_its_right() {
    let bodies = |serial| {
        [
            (Body::Hold(snapshot(1)), serial, [true, false, false]),
            (Body::Release(snapshot(2)), serial, [true, false, false]),
            (Body::Vouch(vec![ObjectId([1; 32])]), 0, [true, false, false]),
            (Body::Bad(vec![(KeyId([1; 16]), 7)]), 0, [true, false, true]),
            (
                Body::Key { subject: [9; 16], presence: KeyPresence::Slot(ObjectId([9; 32])) },
                serial,
                [true, false, false],
            ),
            (Body::Config(Config::default()), serial, [true, false, false]),
        ]
    };
    for which in 0..3 {
        for (body, serial, allowed) in bodies(100) {
            let mut world = World::new();
            let key = [&world.owner, &world.writer, &world.keeper][which].clone();
            let op = Op::Publish { statement: sign(&key, serial, body.clone()) };
            let folded = world.append(&key, op);
            assert_eq!(matches!(folded, Folded::Applied(_)), allowed[which], "{body:?} {folded:?}");
        }
    }
    let mut world = World::new();
    let [writer, keeper, owner] = [world.writer.clone(), world.keeper.clone(), world.owner.clone()];
    world.forbidden(&writer, forget(&[1]));
    world.forbidden(&keeper, forget(&[1]));
    world.applies(&owner, forget(&[1]), OpKind::Forget);
    world.committed(&keeper, 20);
    world.committed(&owner, 21);
    let reader = SigningKey::generate();
    let op = world.certify(&reader, Rights(0), Role::Writer);
    world.applies(&owner, op, OpKind::Key);
    world.forbidden(&reader, begin(30));
    let op = world.certify(&reader, Rights::BEGIN, Role::Writer);
    world.applies(&owner, op, OpKind::Key);
    world.applies(&reader, begin(30), OpKind::Begin);
    world.forbidden(&reader, commit(&reader, 30, 30));
    world.breaks_rule(
        &owner,
        Op::Publish { statement: sign(&owner, 0, commit_body(40)) },
        "needs its session",
    );
}

#[test]
fn statements_take_effect() {
    let mut world = World::new();
    let owner = world.owner.clone();
    for body in [
        Body::Vouch(vec![ObjectId([1; 32]), ObjectId([2; 32])]),
        Body::Bad(vec![(KeyId([1; 16]), 7)]),
        Body::Key { subject: [9; 16], presence: KeyPresence::Slot(ObjectId([9; 32])) },
    ] {
        let op = world.publish(body);
        assert!(matches!(world.append(&owner, op), Folded::Applied(_)));
    }
    assert!(world.state.vouched(&ObjectId([2; 32])) && !world.state.vouched(&ObjectId([3; 32])));
    assert!(world.state.bad(&KeyId([1; 16]), 7) && !world.state.bad(&KeyId([1; 16]), 8));
    let slots: Vec<_> = world.state.slots().collect();
    assert_eq!(slots, [(crate::id::SlotId([9; 16]), ObjectId([9; 32]))]);
    let config = Config { replicas: vec![(REPLICA, "there".to_owned())], ..Config::default() };
    assert_eq!(world.state.replica_name(), "here");
    let op = world.publish(Body::Config(config.clone()));
    world.applies(&owner, op, OpKind::Config);
    assert_eq!((world.state.config(), world.state.replica_name()), (&config, "there"));
    let older = Op::Publish { statement: sign(&owner, 1, Body::Config(Config::default())) };
    world.breaks_rule(&owner, older, "serial");
    let op = world.publish(Body::Key { subject: [9; 16], presence: KeyPresence::Removed });
    world.applies(&owner, op, OpKind::Key);
    assert_eq!(world.state.slots().count(), 0);
}

#[test]
fn removing_a_key_closes_its_sessions_voids_its_commits_and_lists_what_stands() {
    let mut world = World::new();
    let [writer, second, owner] = [world.writer.clone(), world.second.clone(), world.owner.clone()];
    world.committed(&writer, 1);
    world.committed(&second, 2);
    world.applies(&writer, begin(3), OpKind::Begin);
    world.applies(&second, begin(4), OpKind::Begin);
    let old_certificate = world.certify(&writer, Rights::of_role(Role::Writer), Role::Writer);
    let remove = world
        .publish(Body::Key { subject: writer.verify_key().writer_id().0, presence: KeyPresence::Removed });
    world.applies(&owner, remove, OpKind::Key);
    assert_eq!(world.state.session(session(3)).unwrap().state, SessionState::KeyRemoved);
    for op in [commit(&writer, 3, 3), begin(5)] {
        assert!(matches!(world.append(&writer, op), Folded::Ignored(Reason::Garbage(_))));
    }
    assert!(world.state.visible().contains_key(&snapshot(1)));
    let listed: Vec<_> = world.state.visible_of_removed_keys().map(|(id, _)| id).collect();
    assert_eq!(listed, [snapshot(1)]);
    // What it signed before stays verifiable; an old key statement does not bring it back; others go on.
    let id = writer.verify_key().writer_id();
    assert_eq!(world.state.verify_key(id), Some(writer.verify_key()));
    assert!(!world.state.stands(id) && world.state.rights(id).is_none());
    world.breaks_rule(&owner, old_certificate, "serial");
    world.applies(&second, commit(&second, 4, 4), OpKind::Commit);
    // Certified again, its closed session stays closed.
    let again = world.certify(&writer, Rights::of_role(Role::Writer), Role::Writer);
    world.applies(&owner, again, OpKind::Key);
    world.breaks_rule(&writer, commit(&writer, 3, 3), "closed");
    world.committed(&writer, 6);
    assert_eq!(world.state.visible_of_removed_keys().count(), 0);
}

#[test]
fn a_statement_of_a_removed_or_unknown_key_is_void_whoever_carries_it() {
    let mut world = World::new();
    let [keeper, owner] = [world.keeper.clone(), world.owner.clone()];
    let bad = Body::Bad(vec![(KeyId([1; 16]), 7)]);
    let remove = world.remove(&keeper);
    world.applies(&owner, remove, OpKind::Key);
    for author in [keeper, SigningKey::generate()] {
        let op = Op::Publish { statement: sign(&author, 0, bad.clone()) };
        assert!(matches!(world.append(&owner, op), Folded::Ignored(Reason::Garbage(_))));
    }
    let mut forged = sign(&owner, 0, bad).as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let op = Op::Publish { statement: SignedStatement::from_bytes(forged) };
    assert!(matches!(world.append(&owner, op), Folded::Ignored(Reason::Garbage(_))));
    assert!(!world.state.bad(&KeyId([1; 16]), 7));
}

#[test]
fn a_certificate_counts_only_for_its_holder_and_signed_by_the_owner() {
    let mut world = World::new();
    let [owner, keeper] = [world.owner.clone(), world.keeper.clone()];
    let stranger = SigningKey::generate();
    let certificate = Certificate::new(stranger.verify_key(), Role::Writer, "", TIME);
    let good = KeyPresence::Certificate(certificate.sign(VAULT, &owner).unwrap());
    let own = stranger.verify_key().writer_id().0;
    let op = world.publish(Body::Key { subject: [1; 16], presence: good });
    world.breaks_rule(&owner, op, "another holder's");
    let by_keeper = KeyPresence::Certificate(certificate.sign(VAULT, &keeper).unwrap());
    let op = world.publish(Body::Key { subject: own, presence: by_keeper });
    assert!(matches!(world.append(&owner, op), Folded::Ignored(Reason::Garbage(_))));
    let subject = owner.verify_key().writer_id().0;
    let op = world.publish(Body::Key { subject, presence: KeyPresence::Removed });
    world.breaks_rule(&owner, op, "no subject");
    assert!(!world.state.stands(stranger.verify_key().writer_id()));
    assert_eq!(world.state.certificates().count(), 3);
}

#[test]
fn garbage_has_no_effect_and_the_chain_goes_on_over_it() {
    let mut world = World::new();
    let writer = world.writer.clone();
    let good = world.stray(|_| {});
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    let mut unsigned = good[..good.len() - 32].to_vec();
    let at = unsigned.len() - 1;
    unsigned[at] ^= 1;
    let mut whole = Encoder::new();
    whole.raw(&unsigned);
    let strays: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"junk".to_vec(),
        vec![0; crate::log::ENTRY_BYTES_MAX + 1],
        flipped,
        object::finish_with_trailer(whole),
        world.stray(|entry| entry.n += 1),
        world.stray(|entry| entry.n = 0),
        world.stray(|entry| entry.replica = ReplicaId([9; 16])),
        world.entry(&SigningKey::generate(), begin(9)),
        world.raw(&writer, 0, 2, b"not a begin"),
    ];
    for bytes in strays {
        let mut after = World { state: world.state.clone(), ..World::new() };
        let folded = after.fold(&bytes);
        assert!(matches!(folded, Folded::Ignored(Reason::Garbage(_))), "{folded:?}");
        assert_eq!(after.state.head(), *blake3::hash(&bytes).as_bytes());
        after.committed(&writer, 1);
    }
    world.applies(&writer, begin(9), OpKind::Begin);
}

#[test]
fn a_broken_chain_stops_the_fold_and_changes_nothing() {
    let mut world = World::new();
    let bytes = world.stray(|entry| entry.previous = [7; 32]);
    let (next, head) = (world.state.next(), world.state.head());
    assert_eq!(world.state.fold(next, &bytes).unwrap_err().kind(), Kind::Damaged);
    assert_eq!((world.state.next(), world.state.head()), (next, head));
    assert_eq!(world.state.fold(next + 1, &bytes).unwrap_err().kind(), Kind::Bug);
    let writer = world.writer.clone();
    world.committed(&writer, 1);
}

#[test]
fn an_entry_below_that_was_replaced_is_noticed_at_the_next_one() {
    let mut world = World::new();
    let writer = world.writer.clone();
    let first = world.entry(&writer, begin(1));
    let mut true_world = World { state: world.state.clone(), ..World::new() };
    true_world.fold(&first);
    let second = true_world.entry(&writer, commit(&writer, 1, 1));
    world.fold(b"what a store put in the first one's place");
    let error = world.state.fold(world.state.next(), &second).unwrap_err();
    assert_eq!(error.kind(), Kind::Damaged);
}

#[test]
fn a_log_begins_with_the_owners_birth_or_is_damaged() {
    let born = World::born();
    let fresh = || World { state: State::new(born.state.vault_file().clone()), ..World::born() };
    let world = fresh();
    let config = |key: &SigningKey| sign(key, 1, Body::Config(Config::default()));
    let birth = |replica, config| Op::Birth { replica, name: String::new(), config };
    let not_births = [
        b"junk".to_vec(),
        world.entry(&world.writer, birth(REPLICA, config(&world.owner))),
        world.entry(&world.owner, birth(REPLICA, config(&world.writer))),
        world.entry(&world.owner, birth(ReplicaId([9; 16]), config(&world.owner))),
        world.entry(&world.owner, birth(REPLICA, sign(&world.owner, 1, Body::Hold(snapshot(1))))),
        world.entry(&world.owner, begin(1)),
    ];
    for bytes in not_births {
        assert_eq!(fresh().state.fold(0, &bytes).unwrap_err().kind(), Kind::Damaged);
    }
    let mut twice = World::born();
    let owner = twice.owner.clone();
    twice.breaks_rule(&owner, birth(REPLICA, config(&owner)), "entry 0");
    assert_eq!(twice.state.replica(), Some(REPLICA));
}

#[test]
fn only_those_who_may_speak_of_the_future_stop_an_old_reader() {
    let mut world = World::new();
    let [owner, writer, keeper] = [world.owner.clone(), world.writer.clone(), world.keeper.clone()];
    let newer = SigningKey::generate();
    let op = world.certify(&newer, Rights(1 << 20), Role::Writer);
    world.applies(&owner, op, OpKind::Key);
    let cases = [
        (&owner, 0, 200, true),
        (&newer, 0, 200, true),
        (&writer, 0, 200, false),
        (&keeper, 0, 200, false),
        (&owner, 99, 2, true),
        (&writer, 99, 2, false),
        (&newer, 0, 2, false),
    ];
    for (key, version, op, stops) in cases {
        let bytes = world.raw(key, version, op, b"x");
        let result = world.state.clone().fold(world.state.next(), &bytes);
        match result {
            Err(error) => assert!(stops && error.kind() == Kind::Unsupported, "{op} {error}"),
            Ok(folded) => assert!(!stops && matches!(folded, Folded::Ignored(_)), "{op} {folded:?}"),
        }
    }
}

#[test]
fn an_unknown_kind_of_statement_is_of_the_future_only_if_its_author_may_speak_of_it() {
    let mut world = World::new();
    for (key, stops) in [(world.owner.clone(), true), (world.writer.clone(), false)] {
        let mut out = object::start(ObjectKind::Statement, VAULT);
        out.raw(&key.verify_key().writer_id().0).i64(0).u64(0).u8(99).bytes(b"x");
        let signature = key.sign("shudao statement", out.as_slice());
        out.raw(&signature.0);
        let statement = SignedStatement::from_bytes(out.finish());
        assert_eq!(statement.read(VAULT).unwrap_err().kind(), Kind::Unsupported);
        let bytes = world.entry(&world.writer.clone(), Op::Publish { statement });
        match world.state.fold(world.state.next(), &bytes) {
            Err(error) => assert!(stops && error.kind() == Kind::Unsupported),
            Ok(folded) => assert!(!stops && matches!(folded, Folded::Ignored(_))),
        }
    }
}

#[test]
fn features_are_part_of_the_config_in_force() {
    let mut world = World::new();
    let owner = world.owner.clone();
    let feature = Feature { operation: Operation::Write, name: "later".to_owned() };
    let op = world.publish(Body::Config(Config { features: vec![feature], ..Config::default() }));
    world.applies(&owner, op, OpKind::Config);
    assert!(world.state.config().require_known(Operation::Read).is_ok());
    assert_eq!(world.state.config().require_known(Operation::Write).unwrap_err().kind(), Kind::Unsupported);
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
