//! `vault lock`: plans, exit codes, and what people are told.

use shudao_tests::content::{plant_small, put};
use shudao_tests::moto::Moto;
use shudao_tests::vaultbox::Vaultbox;

const GOVERNANCE: [&str; 6] = ["vault", "lock", "--mode", "governance", "--days", "30"];

fn place_at(server: &Moto) -> Vaultbox {
    let place = Vaultbox::at(server.replica("v"), server.env());
    plant_small(&place.dir("source"), 1);
    place
}

#[test]
fn locks_are_settled_after_the_plan_was_confirmed_and_gc_extends_them() {
    let server = Moto::with_object_lock();
    let place = place_at(&server);
    let run = |args: &[&str]| place.owner.run(args);
    run(&["vault", "lock"]).exits(2).says("not settled").says("vault lock --mode");
    let compliance = ["vault", "lock", "--mode", "compliance", "--days", "3650"];
    run(&compliance).exits(2).says("nobody can delete them before").says("provider").says("--yes");
    run(&["vault", "lock"]).exits(2);
    run(&[&GOVERNANCE[..], &["--dry-run"]].concat()).ok().says("may bypass governance");
    place.owner.backup(&place.path("source")).ok();
    run(&[&GOVERNANCE[..], &["--yes"]].concat()).ok().says("0 long enough");
    run(&["vault", "status"]).ok().says("governance 30 d");
    run(&["check"]).ok();
    put(&place.path("source/more"), b"more");
    place.owner.backup(&place.path("source")).ok();
    let status = run(&["vault", "status", "--json"]).ok();
    let replica = status.json().into_iter().find(|line| line["type"] == "replica").unwrap();
    assert_eq!(replica["locks"]["mode"], "governance", "{status}");
    let collected = run(&["gc", "--yes", "--json"]).ok();
    let lock = collected.json().into_iter().find(|line| line["type"] == "lock").unwrap();
    assert!(lock["extended"].as_u64().unwrap() > 0, "entries of the log: {collected}");
    let again = run(&["vault", "lock", "--json"]).ok();
    assert_eq!(again.summary()["extended"], 0, "{again}");
    run(&["check"]).ok();
    run(&["vault", "lock", "--off"]).exits(2).says("not be locked any more");
    run(&["vault", "lock", "--off", "--yes"]).ok();
    run(&["vault", "lock"]).exits(2);
    place.owner.restore("latest", &place.path("target")).ok();
    shudao_tests::compare::same(&place.path("source"), &place.path("target"));
}

#[test]
fn a_policy_that_refuses_locks_is_named_and_nothing_becomes_visible() {
    let server = Moto::with_object_lock();
    let place = place_at(&server);
    place.owner.backup(&place.path("source")).ok();
    server.refuse_locks();
    let settled = place.owner.run([&GOVERNANCE[..], &["--yes"]].concat()).exits(3);
    settled.says("not locked").says("no right to do this");
    place.owner.run(["vault", "status"]).ok().says("are not locked");
    place.owner.run(["check"]).exits(3).says("are not locked");
    put(&place.path("source/more"), b"more");
    place
        .owner
        .backup(&place.path("source"))
        .exits(1)
        .says("docs/object-lock.md")
        .says("settings want it locked");
    assert_eq!(place.owner.snapshots().len(), 1);
    place.owner.run(["gc", "--yes"]).exits(3).says("not locked");
    server.allow_locks();
    place.owner.run(["vault", "lock"]).ok();
    place.owner.run(["check"]).ok();
    place.owner.backup(&place.path("source")).ok();
    assert_eq!(place.owner.snapshots().len(), 2);
}

#[test]
fn a_store_without_object_lock_is_told_what_it_lacks() {
    let server = Moto::start();
    let bucket = place_at(&server);
    let set = [&GOVERNANCE[..], &["--yes"]].concat();
    bucket.owner.run(&set).exits(1).says("made without object lock").says("docs/object-lock.md");
    bucket.owner.run(["vault", "lock"]).exits(2);
    let directory = Vaultbox::new();
    directory.owner.run(&set).exits(1).says("only s3:// stores have object lock");
    directory.with_role("keeper", "keeper").run(&set).exits(12);
}

#[test]
fn a_replica_that_cannot_be_locked_is_behind_and_holds_up_no_other() {
    let server = Moto::with_object_lock();
    let mut place = Vaultbox::empty();
    place.owner.env = server.env();
    plant_small(&place.dir("source"), 1);
    let replicas = [place.vault_dir().display().to_string(), server.replica("v")];
    let on = |args: &[&str], replicas: &[String]| {
        replicas.iter().fold(place.owner.bare(args), |run, replica| run.args(["--vault", replica]))
    };
    place.owner.bare(["vault", "init", "--no-recovery-kit"]).args(&replicas).run().ok();
    on(&[&GOVERNANCE[..], &["--yes"]].concat(), &replicas[1..]).run().ok();
    server.refuse_locks();
    put(&place.path("source/more"), b"more");
    let source = place.path("source");
    let run = on(&["backup", "--json"], &replicas).arg(&source).run().exits(3);
    let committed = |place: usize| run.summary()["replicas"][place]["committed"].clone();
    assert_eq!((committed(0), committed(1)), (true.into(), false.into()), "{run}");
    server.allow_locks();
    on(&["vault", "replica", "sync"], &replicas).run().ok();
    on(&["vault", "lock"], &replicas).run().ok();
    let checked = on(&["check", "--json"], &replicas).run().ok();
    assert_eq!(checked.summary()["warnings"]["unlocked"], 0, "{checked}");
}
