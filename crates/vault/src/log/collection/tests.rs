use super::*;
use crate::id::{ObjectId, ReplicaId};
use crate::log::duty::{Evidence, Needed, ReadList};
use crate::log::entry::Entry;
use crate::log::fold::Folded;
use crate::log::fold::tests::{REPLICA, TIME, VAULT, World, begin, commit, forget, session, sign, snapshot};
use crate::log::statement::Replacement;
use crate::suite::SigningKey;

fn pack(number: u8) -> Name {
    Name::pack(ObjectId([number; 32]))
}

fn condemn(numbers: &[u8]) -> Op {
    Op::Condemn { names: numbers.iter().map(|number| pack(*number)).collect() }
}

fn sweep(numbers: &[u8]) -> Op {
    Op::Sweep { names: numbers.iter().map(|number| pack(*number)).collect() }
}

fn keep(number: u8, packs: &[u8]) -> Op {
    Op::Keep { session: session(number), names: packs.iter().map(|number| pack(*number)).collect() }
}

fn replaces(old: u8, new: u8, covers: &[u8]) -> Body {
    Body::Replaces(ReplacesStatement {
        segments: vec![],
        replacements: vec![Replacement { old: pack(old).id, new: vec![pack(new).id] }],
        covers: covers.iter().map(|number| snapshot(*number)).collect(),
    })
}

struct Keys {
    owner: SigningKey,
    writer: SigningKey,
    keeper: SigningKey,
}

fn world() -> (World, Keys) {
    let world = World::new();
    let keys =
        Keys { owner: world.owner.clone(), writer: world.writer.clone(), keeper: world.keeper.clone() };
    (world, keys)
}

#[test]
fn a_sweep_waits_for_every_session_that_began_before_the_condemn_until_it_answers_or_is_fenced() {
    let (mut world, keys) = world();
    world.applies(&keys.writer, begin(1), OpKind::Begin);
    world.applies(&keys.writer, begin(2), OpKind::Begin);
    world.applies(&keys.keeper, condemn(&[1, 2]), OpKind::Condemn);
    world.applies(&keys.writer, begin(3), OpKind::Begin);
    world.breaks_rule(&keys.keeper, sweep(&[1]), "has not answered");
    world.applies(&keys.writer, Op::Seen { session: session(1) }, OpKind::Seen);
    world.breaks_rule(&keys.keeper, sweep(&[1]), "has not answered");
    world.applies(&keys.keeper, Op::Fence { session: session(2) }, OpKind::Fence);
    world.applies(&keys.keeper, sweep(&[1]), OpKind::Sweep);
    world.breaks_rule(&keys.writer, commit(&keys.writer, 2, 2), "closed");
    world.breaks_rule(&keys.keeper, sweep(&[1]), "not condemned");
    world.breaks_rule(&keys.keeper, sweep(&[2, 2]), "twice");
}

#[test]
fn a_keep_ends_the_condemnation_of_its_names_alone() {
    let (mut world, keys) = world();
    world.applies(&keys.writer, begin(1), OpKind::Begin);
    world.applies(&keys.keeper, condemn(&[1, 2]), OpKind::Condemn);
    world.applies(&keys.writer, keep(1, &[1]), OpKind::Keep);
    world.breaks_rule(&keys.keeper, sweep(&[1, 2]), "not condemned");
    world.applies(&keys.keeper, sweep(&[2]), OpKind::Sweep);
    assert!(!world.state.is_gone(&pack(1)) && world.state.is_gone(&pack(2)));
}

#[test]
fn each_sweep_gives_a_name_a_new_key_and_gives_up_the_one_before() {
    let (mut world, keys) = world();
    let mut before = pack(1).plain_key();
    for _ in 0..3 {
        world.applies(&keys.keeper, condemn(&[1]), OpKind::Condemn);
        let n = world.state.next();
        world.applies(&keys.keeper, sweep(&[1]), OpKind::Sweep);
        let given_up: Vec<GivenUp> = world.state.given_up().collect();
        assert_eq!(given_up, [GivenUp { sweep: n, name: pack(1), key: before }]);
        world.applies(&keys.keeper, Op::Swept { sweep: n }, OpKind::Swept);
        world.breaks_rule(&keys.keeper, Op::Swept { sweep: n }, "no such sweep");
        assert_eq!(world.state.given_up().count(), 0);
        before = pack(1).key(world.state.sweep_of(&pack(1)));
        assert!(before.ends_with(&format!("~{n}")));
    }
}

#[test]
fn what_was_swept_hinders_a_commit_until_it_is_kept_again() {
    let (mut world, keys) = world();
    world.applies(&keys.keeper, condemn(&[1]), OpKind::Condemn);
    world.applies(&keys.writer, begin(1), OpKind::Begin);
    let hindered = world.state.hindrances(session(1), &[pack(1), pack(2)]).unwrap();
    assert_eq!((hindered.lost, hindered.condemned), (vec![], vec![pack(1)]));
    world.applies(&keys.keeper, sweep(&[1]), OpKind::Sweep);
    let hindered = world.state.hindrances(session(1), &[pack(1)]).unwrap();
    assert_eq!(hindered.lost, [pack(1)]);
    world.applies(&keys.writer, keep(1, &[1]), OpKind::Keep);
    assert_eq!(world.state.hindrances(session(1), &[pack(1)]).unwrap(), Default::default());
    assert!(!world.state.is_gone(&pack(1)));
}

#[test]
fn what_was_swept_before_a_session_began_hinders_its_commit_too_until_it_is_there_again() {
    let (mut world, keys) = world();
    world.applies(&keys.keeper, condemn(&[1]), OpKind::Condemn);
    world.applies(&keys.keeper, sweep(&[1]), OpKind::Sweep);
    world.applies(&keys.writer, begin(1), OpKind::Begin);
    let hindered = world.state.hindrances(session(1), &[pack(1), pack(2)]).unwrap();
    assert_eq!((hindered.lost, hindered.condemned), (vec![pack(1)], vec![]));
    world.applies(&keys.writer, keep(1, &[1]), OpKind::Keep);
    assert_eq!(world.state.hindrances(session(1), &[pack(1)]).unwrap(), Default::default());
}

#[test]
fn a_commit_that_names_a_segment_swept_meanwhile_is_void() {
    let (mut world, keys) = world();
    let segment = Name::index(ObjectId([200; 32]));
    world.applies(&keys.keeper, Op::Condemn { names: vec![segment] }, OpKind::Condemn);
    world.applies(&keys.writer, begin(1), OpKind::Begin);
    world.applies(&keys.keeper, Op::Sweep { names: vec![segment] }, OpKind::Sweep);
    world.breaks_rule(&keys.writer, commit(&keys.writer, 1, 1), "swept since");
    world.applies(&keys.writer, Op::Keep { session: session(1), names: vec![segment] }, OpKind::Keep);
    world.applies(&keys.writer, commit(&keys.writer, 1, 1), OpKind::Commit);
    assert!(world.state.segments_live().contains(&segment.id));
}

#[test]
fn a_condemned_segment_is_live_and_does_not_stay() {
    let (mut world, keys) = world();
    world.applies(&keys.writer, begin(1), OpKind::Begin);
    world.applies(&keys.writer, commit(&keys.writer, 1, 1), OpKind::Commit);
    let segment = world.state.segments_live().first().copied().unwrap();
    let name = Name::index(segment);
    let all = world.state.segments_staying();
    assert!(all.contains(&segment));
    world.applies(&keys.keeper, Op::Condemn { names: vec![name] }, OpKind::Condemn);
    assert!(world.state.is_segment_live(&segment) && !world.state.does_segment_stay(&segment));
    assert_eq!(world.state.segments_staying(), all[1..]);
    world.applies(&keys.writer, begin(2), OpKind::Begin);
    world.applies(&keys.writer, Op::Keep { session: session(2), names: vec![name] }, OpKind::Keep);
    assert_eq!(world.state.segments_staying(), all);
}

#[test]
fn only_keepers_collect_and_only_the_own_session_is_answered_for() {
    let (mut world, keys) = world();
    let second = world.second.clone();
    world.applies(&keys.writer, begin(1), OpKind::Begin);
    for op in [condemn(&[1]), sweep(&[1]), Op::Swept { sweep: 1 }] {
        world.forbidden(&keys.writer, op);
    }
    world.forbidden(&second, Op::Fence { session: session(1) });
    world.breaks_rule(&second, keep(1, &[1]), "another key");
    world.breaks_rule(&second, Op::Seen { session: session(1) }, "another key");
    world.applies(&keys.writer, Op::Fence { session: session(1) }, OpKind::Fence);
    world.breaks_rule(&keys.writer, keep(1, &[1]), "closed");
}

#[test]
fn a_forgotten_snapshot_stays_a_root_while_it_is_pinned_or_the_parent_of_an_open_session() {
    let (mut world, keys) = world();
    world.committed(&keys.writer, 1);
    world.committed(&keys.writer, 2);
    let pin = PinId([1; 16]);
    let late = Op::Pin { pin, snapshot: snapshot(1), expiry: Timestamp(TIME.0 + PIN_MICROS_MAX + 1) };
    world.breaks_rule(&keys.keeper, late, "at most 7 days");
    let op = Op::Pin { pin, snapshot: snapshot(1), expiry: TIME };
    world.applies(&keys.keeper, op, OpKind::Pin);
    let source = world.state.visible()[&snapshot(2)].source;
    let op = Op::Begin { session: session(3), source, parent: Some(snapshot(2)) };
    world.applies(&keys.writer, op, OpKind::Begin);
    world.applies(&keys.owner, forget(&[1, 2]), OpKind::Forget);
    let roots = |world: &World, now| world.state.roots(now).into_keys().collect::<Vec<_>>();
    assert_eq!(roots(&world, TIME), [snapshot(1), snapshot(2)]);
    assert_eq!(roots(&world, Timestamp(TIME.0 + PIN_MARGIN_MICROS + 1)), [snapshot(2)]);
    world.applies(&keys.writer, Op::Fence { session: session(3) }, OpKind::Fence);
    assert_eq!(roots(&world, TIME), [snapshot(1)]);
    world.applies(&keys.keeper, Op::Unpin { pin }, OpKind::Unpin);
    assert_eq!(roots(&world, TIME), []);
}

#[test]
fn a_compaction_serves_the_snapshots_that_it_covers_and_no_other() {
    let (mut world, keys) = world();
    for number in [1, 2] {
        world.committed(&keys.writer, number);
    }
    world.applies(&keys.keeper, begin(3), OpKind::Begin);
    let by_writer =
        Op::Replace { session: session(3), statement: sign(&keys.writer, 0, replaces(1, 9, &[1])) };
    world.breaks_rule(&keys.keeper, by_writer, "by another key");
    let op = Op::Replace { session: session(3), statement: sign(&keys.keeper, 0, replaces(1, 9, &[1])) };
    world.applies(&keys.keeper, op, OpKind::Replace);
    world.applies(&keys.keeper, begin(4), OpKind::Begin);
    let op = Op::Replace { session: session(4), statement: sign(&keys.keeper, 0, replaces(9, 10, &[1])) };
    world.applies(&keys.keeper, op, OpKind::Replace);
    let serving = |number| world.state.serving(&snapshot(number), pack(1).id);
    assert_eq!(serving(1), [pack(10).id].into());
    assert_eq!(serving(2), [pack(1).id].into());
    world.applies(&keys.keeper, condemn(&[1, 9]), OpKind::Condemn);
    world.applies(&keys.keeper, sweep(&[1, 9]), OpKind::Sweep);
    let serving = |number| world.state.serving(&snapshot(number), pack(1).id);
    assert_eq!(serving(1), [pack(10).id].into(), "need lists name the old pack after it is gone");
    world.applies(&keys.writer, begin(5), OpKind::Begin);
    let op = Op::Replace { session: session(5), statement: sign(&keys.writer, 0, replaces(1, 9, &[2])) };
    world.forbidden(&keys.writer, op);
}

#[test]
fn a_copy_is_vouched_for_if_everything_copied_was() {
    let (mut world, keys) = world();
    let op = world.publish(Body::Vouch(vec![pack(1).id]));
    world.applies(&keys.owner, op, OpKind::Vouch);
    for (number, old, new) in [(1, 1, 11), (2, 2, 12)] {
        world.applies(&keys.keeper, begin(number), OpKind::Begin);
        let statement = sign(&keys.keeper, 0, replaces(old, new, &[]));
        world.applies(&keys.keeper, Op::Replace { session: session(number), statement }, OpKind::Replace);
    }
    assert!(world.state.vouched(&pack(11).id) && !world.state.vouched(&pack(12).id));
}

#[test]
fn a_courier_needs_no_certificate_and_makes_visible_only_what_a_certified_key_signed() {
    let (mut world, keys) = world();
    let (courier, stranger) = (SigningKey::generate(), SigningKey::generate());
    let op = Op::Courier { session: session(1), key: courier.verify_key() };
    let by_another = world.append(&stranger, op.clone());
    assert!(matches!(by_another, Folded::Ignored(Reason::Garbage(_))));
    world.applies(&courier, op, OpKind::Courier);
    let carried = |key: &SigningKey| commit(key, 1, 7);
    for op in [begin(2), condemn(&[1]), forget(&[1])] {
        world.forbidden(&courier, op);
    }
    assert!(matches!(world.append(&courier, carried(&stranger)), Folded::Ignored(Reason::Garbage(_))));
    world.applies(&courier, carried(&keys.writer), OpKind::Commit);
    let visible = &world.state.visible()[&snapshot(7)];
    assert_eq!(visible.author, keys.writer.verify_key().writer_id());
    // Its session is closed, and with it its key is nobody's.
    assert!(matches!(world.append(&courier, carried(&keys.writer)), Folded::Ignored(Reason::Garbage(_))));
}

#[test]
fn segments_become_part_of_the_index_by_an_open_session_and_not_when_they_were_swept_meanwhile() {
    let (mut world, keys) = world();
    let courier = SigningKey::generate();
    world.applies(&courier, Op::Courier { session: session(1), key: courier.verify_key() }, OpKind::Courier);
    let index =
        |number: u8, segment: u8| Op::Index { session: session(number), segments: vec![pack(segment).id] };
    world.applies(&courier, index(1, 5), OpKind::Index);
    assert_eq!(world.state.segments_live(), [pack(5).id]);
    world.breaks_rule(&courier, index(2, 6), "never begun");
    world.breaks_rule(&keys.writer, index(1, 6), "another key");
    let name = Name::index(pack(6).id);
    world.applies(&keys.keeper, Op::Condemn { names: vec![name] }, OpKind::Condemn);
    world.applies(&courier, Op::Seen { session: session(1) }, OpKind::Seen);
    world.applies(&keys.keeper, Op::Sweep { names: vec![name] }, OpKind::Sweep);
    world.breaks_rule(&courier, index(1, 6), "swept");
    world.applies(&courier, Op::Keep { session: session(1), names: vec![name] }, OpKind::Keep);
    world.applies(&courier, index(1, 6), OpKind::Index);
    world.applies(&courier, Op::Fence { session: session(1) }, OpKind::Fence);
    assert!(matches!(world.append(&courier, index(1, 7)), Folded::Ignored(Reason::Garbage(_))));
}

#[test]
fn a_courier_that_saw_another_log_stops_nobody() {
    let (mut world, _) = world();
    let courier = SigningKey::generate();
    let op = Op::Courier { session: session(1), key: courier.verify_key() };
    let entry = Entry {
        n: world.state.next(),
        previous: [9; 32],
        replica: ReplicaId(REPLICA.0),
        time: TIME,
        nonce: [0; 16],
        op,
    };
    let bytes = entry.sign(VAULT, &courier).unwrap();
    assert!(matches!(world.fold(&bytes), Folded::Ignored(Reason::Garbage(_))));
}

#[test]
fn a_keepers_duty_spares_what_roots_need_and_everything_while_a_list_is_unread() {
    let (mut world, keys) = world();
    world.committed(&keys.writer, 1);
    let list = world.state.visible()[&snapshot(1)].need_list;
    let unread = Needed::of(&world.state, &Evidence::default(), TIME);
    assert!(unread.permits(&[pack(5)]).is_err());
    let read = ReadList { packs: [pack(1).id].into(), chain: vec![list] };
    let evidence = Evidence { lists: [(list, read)].into(), ..Evidence::default() };
    let needed = Needed::of(&world.state, &evidence, TIME);
    assert!(needed.permits(&[pack(5)]).is_ok());
    for name in [pack(1), Name::index(list), Name::snapshot(snapshot(1)), Name::index(ObjectId([200; 32]))] {
        assert!(needed.permits(&[pack(5), name]).is_err(), "{name:?}");
    }
}
