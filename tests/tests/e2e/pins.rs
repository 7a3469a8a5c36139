//! What takes long to read is pinned while it is read.

use std::path::Path;
use std::thread::yield_now;
use std::time::Duration;

use shudao_tests::compare::same;
use shudao_tests::content::{plant_small, put_noise};
use shudao_tests::fault::{Fault, Target};
use shudao_tests::s3::S3Server;
use shudao_tests::tool::run;
use shudao_tests::vaultbox::Vaultbox;

/// How many entries a log has.
fn entries(log: &Path) -> usize {
    std::fs::read_dir(log).unwrap().count()
}

#[test]
fn a_restore_and_a_verification_pin_their_snapshot_and_end_the_pin() {
    let place = Vaultbox::new();
    let (source, target) = (place.dir("source"), place.path("target"));
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let log = place.vault_dir().join("log");
    for (pins, command) in [(1, "restore"), (1, "verify"), (0, "ls")] {
        let before = entries(&log);
        let invocation = match command {
            "restore" => place.owner.shudao(["restore", "latest", "--to"]).arg(&target),
            "verify" => place.owner.shudao(["verify", "latest"]).arg(&target),
            _ => place.owner.shudao(["ls", "latest"]),
        };
        let ran = invocation.run().ok();
        assert!(!ran.mentions("is not pinned"), "{ran}");
        assert_eq!(entries(&log) - before, 2 * pins, "{command}: a pin, and its end");
    }
    // One that fails for want of an empty target ends its pin too.
    let before = entries(&log);
    place.owner.restore("latest", &target).exits(2);
    assert!((entries(&log) - before).is_multiple_of(2));
}

#[test]
fn where_the_vault_cannot_be_written_a_restore_says_that_grace_alone_protects_it() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    let (room, vault) = (place.dir("room"), place.vault_dir());
    run("chmod", ["-R".as_ref(), "a+rX".as_ref(), vault.as_os_str()]);
    let before = entries(&vault.join("log"));
    let target = room.join("target");
    let restore = place.owner.shudao(["restore", "latest", "--to"]).arg(&target).as_nobody(&room).run();
    let restore = restore.exits(3).says("is not pinned there").says("grace");
    assert_eq!(entries(&vault.join("log")), before, "{restore}");
    let bytes = |root: &Path| std::fs::read(root.join("letters/2026/long.txt")).unwrap();
    assert!(bytes(&source) == bytes(&target));
}

#[test]
fn a_writer_verifies_without_a_pin_and_is_told() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let writer = place.with_role("writer", "writer");
    writer.backup_as("letters", &source).ok();
    let before = entries(&place.vault_dir().join("log"));
    writer.shudao(["verify", "latest"]).arg(&source).run().ok().says("no right to pin");
    assert_eq!(entries(&place.vault_dir().join("log")), before);
}

#[test]
fn a_restore_that_is_interrupted_ends_its_pin() {
    let server = S3Server::start();
    let place = Vaultbox::at(server.replica("v"), server.env());
    let (source, target) = (place.dir("source"), place.path("target"));
    put_noise(&source.join("noise"), 3 << 20, 1);
    place.owner.backup(&source).ok();
    let log = server.bucket_dir().join("v/log");
    let before = entries(&log);
    let packs = Target { method: "GET", part: "/packs/" };
    server.plan(&packs, Fault::Delay(Duration::from_secs(2)), 1000);
    let mut restoring = place.owner.shudao(["restore", "latest", "--to"]).arg(&target).start();
    while entries(&log) == before && restoring.is_running() {
        yield_now();
    }
    restoring.interrupt();
    restoring.wait().exits(130);
    assert_eq!(entries(&log) - before, 2, "a pin, and its end");
    server.forgive();
    let again = place.path("again");
    place.owner.restore("latest", &again).ok();
    same(&source, &again);
}
