use proptest::prelude::*;

use super::*;
use crate::Kind;
use crate::codec::Encoder;
use crate::id::{KeyId, ObjectId, PackId, PinId};
use crate::keys::{Rights, Role};
use crate::log::fold::Folded;
use crate::log::fold::tests::{TIME, VAULT, World, begin, commit, forget, session, sign, snapshot};
use crate::log::{Body, Config, Op, Replacement, ReplacesStatement};
use crate::name::Name;
use crate::object::{log_path, without_trailer};
use crate::suite::Secret;

fn name(number: u8) -> Name {
    match number % 3 {
        0 => Name::pack(ObjectId([number; 32])),
        1 => Name::index(ObjectId([number.wrapping_add(200); 32])),
        _ => Name::snapshot(snapshot(number)),
    }
}

/// An operation of any kind, valid or not, by whoever may try it.
fn op(world: &World, kind: u8, (one, two): (u8, u8)) -> (SigningKey, Op) {
    let (owner, writer, keeper) = (world.owner.clone(), world.writer.clone(), world.keeper.clone());
    let courier = SigningKey::from_seed(Secret([100 + one; 32]));
    let names = vec![name(one), name(two)];
    match kind {
        0 | 1 => (writer, begin(one)),
        2 | 3 => (writer.clone(), commit(&writer, one, two)),
        4 => (owner, forget(&[one])),
        5 => (
            owner,
            world.publish(if two % 2 == 0 {
                Body::Hold(snapshot(one))
            } else {
                Body::Release(snapshot(one))
            }),
        ),
        6 => (keeper, Op::Fence { session: session(one) }),
        7 | 8 => (keeper, Op::Condemn { names }),
        9 => (writer, Op::Keep { session: session(one), names: vec![name(two)] }),
        10 => (writer, Op::Seen { session: session(one) }),
        11 | 12 => (keeper, Op::Sweep { names: vec![name(one)] }),
        13 => (keeper, Op::Swept { sweep: u64::from(one) * 5 + u64::from(two) }),
        14 => (keeper, Op::Pin { pin: PinId([one; 16]), snapshot: snapshot(two), expiry: TIME }),
        15 => (keeper, Op::Unpin { pin: PinId([one; 16]) }),
        16 => {
            let pack = |number: u8| PackId::from(ObjectId([number; 32]));
            let body = Body::Replaces(ReplacesStatement {
                segments: vec![ObjectId([one; 32])],
                replacements: vec![Replacement { old: pack(one), new: vec![pack(two), pack(50 + two)] }],
                covers: vec![snapshot(one), snapshot(two)],
            });
            (writer, Op::Replace { session: session(one), statement: sign(&keeper, 0, body) })
        }
        17 => (courier.clone(), Op::Courier { session: session(50 + one), key: courier.verify_key() }),
        18 => (courier, Op::Fence { session: session(50 + one) }),
        19 => (writer, Op::Index { session: session(one), segments: vec![ObjectId([two; 32])] }),
        20 => (owner, world.publish(Body::Vouch(vec![ObjectId([one; 32])]))),
        21 => (
            keeper.clone(),
            Op::Publish { statement: sign(&keeper, 0, Body::Bad(vec![(KeyId([one; 16]), 7)])) },
        ),
        22 => {
            let config = Config {
                trust_writers: two % 2 == 0,
                retention: "keep-last 2".to_owned(),
                ..Config::default()
            };
            (owner, world.publish(Body::Config(config)))
        }
        23 => (owner, world.remove(if one % 2 == 0 { &world.second } else { &courier })),
        24 => (owner, world.certify(&courier, Rights::of_role(Role::Writer), Role::Writer)),
        25 => {
            let presence = crate::log::KeyPresence::Slot(ObjectId([two; 32]));
            (owner, world.publish(Body::Key { subject: [one; 16], presence }))
        }
        26 => (keeper.clone(), begin(one)),
        _ => {
            let parent = Some(snapshot(two));
            let source = world.state.visible().get(&snapshot(two)).map(|visible| visible.source);
            (writer, Op::Begin { session: session(one), source: source.unwrap_or_default(), parent })
        }
    }
}

fn round_trip(world: &World) -> State {
    let state = &world.state;
    let bytes = codec::encode(state, &world.owner).unwrap();
    let read = codec::decode(&bytes, state.vault_file(), state.next() - 1).unwrap();
    assert_eq!(codec::encode(&read, &world.owner).unwrap(), bytes);
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn folding_on_from_a_checkpoint_is_folding_from_birth(
        steps in proptest::collection::vec((0u8..28, (0u8..5, 0u8..5)), 0..60),
        at in any::<proptest::sample::Index>(),
    ) {
        let mut world = World::new();
        let at = at.index(steps.len() + 1);
        let mut opened = (at == 0).then(|| round_trip(&world));
        for (place, (kind, numbers)) in steps.into_iter().enumerate() {
            let (key, op) = op(&world, kind, numbers);
            let bytes = world.entry(&key, op);
            let folded = world.fold(&bytes);
            if let Some(opened) = &mut opened {
                prop_assert_eq!(opened.fold(opened.next(), &bytes).unwrap(), folded);
            }
            if place + 1 == at {
                opened = Some(round_trip(&world));
            }
        }
        prop_assert!(opened.unwrap().says_the_same(&world.state));
    }

    #[test]
    fn no_altered_byte_is_believed(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let world = World::new();
        let mut bytes = codec::encode(&world.state, &world.owner).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(codec::decode(&bytes, world.state.vault_file(), world.state.next() - 1).is_err());
        prop_assert!(codec::decode(&bytes[..at], world.state.vault_file(), world.state.next() - 1).is_err());
    }
}

#[test]
fn the_operations_of_the_property_reach_every_part_of_the_state() {
    let mut world = World::new();
    let applied = |world: &mut World, kind, numbers| {
        let (key, op) = op(world, kind, numbers);
        assert!(matches!(world.append(&key, op), Folded::Applied(_)), "kind {kind}");
    };
    for (kind, numbers) in [
        (0, (1, 0)),
        (2, (1, 1)),
        (14, (1, 1)),
        (27, (2, 1)),
        (4, (1, 0)),
        (5, (3, 0)),
        (20, (1, 0)),
        (21, (1, 0)),
        (22, (0, 0)),
        (23, (0, 0)),
        (25, (3, 4)),
        (17, (1, 0)),
        (0, (3, 0)),
        (16, (3, 4)),
    ] {
        // A compaction is a keeper's; here a keeper's key signs the statement of a session that it begins itself.
        if kind == 16 {
            let keeper = world.keeper.clone();
            world.append(&keeper, begin(4));
            let (_, replace) = op(&world, kind, numbers);
            let Op::Replace { statement, .. } = replace else { panic!("it is a compaction") };
            let replace = Op::Replace { session: session(4), statement };
            assert!(matches!(world.append(&keeper, replace), Folded::Applied(_)));
            continue;
        }
        applied(&mut world, kind, numbers);
    }
    for (kind, numbers) in [(7, (3, 0)), (10, (2, 0)), (9, (2, 4)), (9, (3, 4))] {
        applied(&mut world, kind, numbers);
    }
    let shown = format!("{:?}", round_trip(&world));
    for empty in [
        "subjects: {}",
        "certificates: {}",
        "sessions: {}",
        "forgotten: {}",
        "holds: {}",
        "vouched: {}",
        "bad: {}",
        "couriers: {}",
        "condemned: {}",
        "pins: {}",
        "retired: {}",
        "replaced: {}",
        "compacted: {}",
        "segments: []",
        "kept: {}}",
    ] {
        assert!(!shown.contains(empty) || empty == "kept: {}}", "{empty} in {shown}");
    }
}

/// A store with a log of some entries and a checkpoint of them, and its owner.
async fn stored(world: &mut World, entries: u8) -> Store {
    let store = Store::memory();
    let mut log = vec![world.birth(&world.owner)];
    let mut fresh = World::born();
    for number in 0..entries {
        let bytes = fresh.entry(&fresh.owner, begin(number));
        fresh.fold(&bytes);
        log.push(bytes);
    }
    for (n, bytes) in (0..).zip(log) {
        store.create(&log_path(n), Bytes::from(bytes)).await.unwrap();
    }
    put(&store, &fresh.state, &fresh.owner).await.unwrap();
    *world = fresh;
    store
}

fn file(world: &World) -> VaultFile {
    world.state.vault_file().clone()
}

#[tokio::test]
async fn the_newest_checkpoint_of_the_log_that_is_there_is_believed() {
    let mut world = World::born();
    let store = stored(&mut world, 3).await;
    let state = newest(&store, &file(&world)).await.unwrap();
    assert!(state.says_the_same(&world.state));
    let before = store.usage().reads;
    put(&store, &world.state, &world.owner).await.unwrap();
    assert_eq!(store.usage().reads, before, "one that is there stays");
    let stranger = SigningKey::generate();
    assert_eq!(put(&store, &world.state, &stranger).await.unwrap_err().kind(), Kind::Forbidden);
}

#[tokio::test]
async fn damaged_unsigned_foreign_misplaced_and_lying_checkpoints_are_passed_over() {
    let mut world = World::born();
    let store = stored(&mut world, 3).await;
    let inside = store.inside().unwrap();
    let (good, n) = (store.read(&checkpoint_path(3)).await.unwrap(), 3);
    let mut other = World::born();
    let foreign = {
        let bytes = other.entry(&other.owner, begin(77));
        other.fold(&bytes);
        for number in 0..3 {
            let bytes = other.entry(&other.owner, begin(number));
            other.fold(&bytes);
        }
        codec::encode(&other.state, &other.owner).unwrap()
    };
    let by_another = {
        let (body, _) =
            crate::keys::certificate::split_signature(without_trailer(&good, "x").unwrap(), "x").unwrap();
        let mut out = Encoder::new();
        out.raw(body).raw(&world.keeper.sign("shudao log checkpoint", body).0);
        crate::object::finish_with_trailer(out)
    };
    let mut flipped = good.to_vec();
    flipped[40] ^= 1;
    let cases: [(&str, u64, Bytes); 6] = [
        ("damaged", 3, flipped.into()),
        ("cut", 3, good.slice(..good.len() - 1)),
        ("empty", 3, Bytes::new()),
        ("misplaced", 2, good.clone()),
        ("signed by a keeper", 3, by_another.into()),
        ("of another log", 4, foreign.into()),
    ];
    for (what, at, bytes) in cases {
        inside.remove(&checkpoint_path(n));
        inside.set(&checkpoint_path(at), bytes);
        assert!(newest(&store, &file(&world)).await.is_none(), "{what}");
        inside.remove(&checkpoint_path(at));
    }
    // Garbage above a good one costs a few reads, and a flood of it no more than folding from the birth.
    inside.set(&checkpoint_path(3), good);
    for n in 10..12 {
        inside.set(&checkpoint_path(n), "garbage");
    }
    assert!(newest(&store, &file(&world)).await.is_some());
    for n in 20..40 {
        inside.set(&checkpoint_path(n), "garbage");
    }
    let reads = store.usage().reads;
    assert!(newest(&store, &file(&world)).await.is_none());
    assert_eq!(store.usage().reads - reads, TRIED_MAX as u64);
}

#[tokio::test]
async fn a_log_that_went_back_or_forked_below_a_checkpoint_is_read_itself() {
    let mut world = World::born();
    let store = stored(&mut world, 3).await;
    let inside = store.inside().unwrap();
    let last = inside.remove(&log_path(3)).unwrap();
    assert!(newest(&store, &file(&world)).await.is_none(), "it went back");
    let mut forked = last.to_vec();
    forked[60] ^= 1;
    inside.set(&log_path(3), forked);
    assert!(newest(&store, &file(&world)).await.is_none(), "it forked");
    inside.set(&log_path(3), last);
    assert!(newest(&store, &file(&world)).await.is_some());
}

#[tokio::test]
async fn a_keeper_clears_away_what_is_below_the_newest_that_is_believed() {
    let mut world = World::born();
    let store = stored(&mut world, 3).await;
    let inside = store.inside().unwrap();
    inside.set(&checkpoint_path(9), "garbage");
    assert_eq!(clear(&store, &file(&world)).await.unwrap(), 0, "the newest that is believed stays");
    for n in [0, 1] {
        inside.set(&checkpoint_path(n), "older");
    }
    assert_eq!(clear(&store, &file(&world)).await.unwrap(), 2);
    assert!(newest(&store, &file(&world)).await.is_some());
    assert_eq!(VAULT, world.state.vault_file().vault);
}
