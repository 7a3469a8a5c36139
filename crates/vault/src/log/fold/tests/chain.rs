//! What is no entry of this log, and what is not of this time.

use super::*;

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
