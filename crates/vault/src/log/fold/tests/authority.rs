//! Who may say what: rights, certificates, removed keys.

use super::*;

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
