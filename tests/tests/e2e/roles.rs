//! Who may do what: a writer backs up and reads nothing, a keeper sees names and no content.

use shudao_tests::content::{plant_small, put};
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn a_writer_backs_up_twice_incrementally_and_cannot_read_content() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let writer = place.with_role("writer", "writer");
    let first = writer.backup_as("letters", &source).ok();
    put(&source.join("added"), b"added");
    let second = writer.backup_as("letters", &source).ok();
    assert_eq!(second.summary()["parent"].as_str(), Some(&*first.snapshot()));
    assert!(second.count("bytes_added") < 256 << 10, "the second backup stores little: {second}");

    let target = place.path("target");
    writer.restore("latest", &target).exits(12);
    assert!(!target.exists() || std::fs::read_dir(&target).unwrap().count() == 0);
    writer.run(["cat", "latest", "readme.txt"]).exits(12);
    writer.run(["forget", "latest", "--yes"]).exits(12);
    writer.run(["hold", "latest"]).exits(12);
    writer
        .shudao(["vault", "key", "add", "--role", "owner"])
        .env("SHUDAO_NEW_PASSWORD", "other")
        .run()
        .exits(12);
    let own = writer.run(["ls", "latest", "--json"]).ok().paths();
    assert!(own.contains(&"added".to_owned()), "a writer sees its own names");
    place.owner.restore("latest", &target).ok();
    shudao_tests::compare::same(&source, &target);
}

#[test]
fn a_writer_sees_nothing_of_another_writers_names() {
    let place = Vaultbox::new();
    let (mine, theirs) = (place.dir("mine"), place.dir("theirs"));
    plant_small(&mine, 1);
    plant_small(&theirs, 2);
    put(&theirs.join("secret-plans.txt"), b"secret");
    let (writer, other) = (place.with_role("writer", "writer"), place.with_role("other", "writer"));
    writer.backup_as("mine-source", &mine).ok();
    let foreign = other.backup_as("theirs-source", &theirs).ok().snapshot();
    for args in [
        &["ls", &foreign][..],
        &["ls", &foreign, "--json"],
        &["snapshots"],
        &["snapshots", "--json"],
        &["diff", "latest", &foreign],
        &["vault", "status"],
        &["vault", "status", "--json"],
    ] {
        let run = writer.run(args);
        for name in ["secret-plans", "theirs"] {
            assert!(!run.mentions(name), "{name}: {run}");
        }
    }
    writer.run(["ls", &foreign]).exits(12);
    let paths = place.owner.run(["ls", &foreign, "--json"]).ok().paths();
    assert!(paths.contains(&"secret-plans.txt".to_owned()), "the owner reads everything");
}

#[test]
fn a_keeper_checks_and_lists_but_cannot_read_content() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let keeper = place.with_role("keeper", "keeper");
    keeper.run(["check"]).ok();
    let paths = keeper.run(["ls", "latest", "--json"]).ok().paths();
    assert!(paths.contains(&"readme.txt".to_owned()), "{paths:?}");
    let target = place.path("target");
    keeper.restore("latest", &target).exits(12);
    assert!(!target.exists() || std::fs::read_dir(&target).unwrap().count() == 0);
    keeper.run(["cat", "latest", "readme.txt"]).exits(12);
    keeper.run(["check", "--read-data"]).exits(12);
}

#[test]
fn an_identity_made_here_opens_the_vault_for_its_holder_and_replaces_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let place = Vaultbox::empty();
    place.owner.init();
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let (identity, public) = (place.path("identity"), place.path("identity.pub"));
    let made = place.owner.shudao(["vault", "key", "identity"]).arg(&identity).run().ok();
    assert_eq!(made.stdout, std::fs::read(&public).unwrap(), "stdout is the public line");
    assert_eq!(std::fs::metadata(&identity).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&identity).unwrap();
    assert!(!made.mentions(secret.trim()), "the secret half is shown nowhere");

    place.owner.shudao(["vault", "key", "identity"]).arg(&identity).run().exits(2).says("identity");
    std::fs::remove_file(&identity).unwrap();
    place.owner.shudao(["vault", "key", "identity"]).arg(&identity).run().exits(2).says("identity.pub");
    assert!(!identity.exists(), "half a pair is not left behind");
    std::fs::write(&identity, &secret).unwrap();

    place.owner.shudao(["vault", "key", "add", "--role", "owner", "--recipient"]).arg(&public).run().ok();
    let mut holder = place.other_machine("holder");
    holder.password = "not the password".into();
    let target = place.path("target");
    let restore = holder.shudao(["restore", "latest", "--to"]).arg(&target);
    restore.clone().run().exits(12);
    restore.arg("--identity").arg(&identity).run().ok();
    shudao_tests::compare::same(&source, &target);
}

#[test]
fn a_removed_key_opens_nothing_and_the_others_still_do() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let writer = place.with_role("writer", "writer");
    writer.backup_as("letters", &source).ok();
    let keys = place.owner.run(["vault", "key", "list", "--json"]).ok().rows();
    let key = keys.iter().find(|key| key["role"] == "writer").unwrap()["key"].as_str().unwrap().to_owned();
    place.owner.run(["vault", "key", "remove", &key]).exits(2);
    place.owner.run(["vault", "key", "remove", &key, "--yes"]).ok();
    writer.backup_as("letters", &source).exits(12);
    place.owner.restore("latest", &place.path("target")).ok();
}
