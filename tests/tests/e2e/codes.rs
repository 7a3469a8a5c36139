//! Exit codes, and an error's last words: what to do.

use std::sync::OnceLock;

use shudao_tests::content::{plant_small, put_noise};
use shudao_tests::invocation::Running;
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn wrong_usage_is_2_and_touches_nothing() {
    let place = Vaultbox::empty();
    for args in [
        &["--no-such-flag"][..],
        &["no-such-command"],
        &["backup"],
        &["backup", "--limit", "fast", "/etc"],
        &["backup", "--compression", "extreme", "/etc"],
        &["restore", "latest"],
        &["check", "--sample", "110%"],
        &["vault", "key", "add", "--role", "king"],
    ] {
        place.owner.run(args).exits(2);
    }
    place.owner.bare(["snapshots"]).run().exits(2).says("SHUDAO_VAULT");
    place.owner.bare(["vault", "init"]).arg(place.vault_dir()).run().exits(2).says("--recovery-kit");
    assert!(!place.vault_dir().exists());
    for args in [&["--help"][..], &["--version"], &["backup", "--help"]] {
        place.owner.bare(args).run().ok();
    }
}

#[test]
fn no_vault_is_10_for_every_command_that_needs_one() {
    let place = Vaultbox::empty();
    let source = place.dir("source");
    std::fs::create_dir(place.vault_dir()).unwrap();
    for args in [
        &["snapshots"][..],
        &["vault", "info"],
        &["vault", "status"],
        &["vault", "key", "list"],
        &["ls", "latest"],
        &["cat", "latest", "x"],
        &["check"],
        &["check", "--names"],
    ] {
        place.owner.run(args).exits(10).says("vault init");
    }
    place.owner.backup(&source).exits(10);
    place.owner.restore("latest", &place.path("target")).exits(10);
    assert!(!place.path("target").exists());
    assert_eq!(std::fs::read_dir(place.vault_dir()).unwrap().count(), 0, "nothing was written");
}

#[test]
fn a_wrong_password_is_12() {
    let place = Vaultbox::empty();
    place.owner.init();
    let mut stranger = place.other_machine("stranger");
    stranger.password = "somebody-elses-long-password-2718281828".to_owned();
    for args in [&["snapshots"][..], &["ls", "latest"], &["check"], &["vault", "key", "list"]] {
        stranger.run(args).exits(12);
    }
    stranger.run(["check", "--names"]).ok();
}

#[test]
fn a_second_vault_is_not_made_over_the_first() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    place.owner.backup(&source).ok();
    place.owner.bare(["vault", "init", "--no-recovery-kit"]).arg(place.vault_dir()).run().exits(1);
    assert_eq!(place.owner.snapshots().len(), 1);
}

#[test]
fn an_unknown_snapshot_and_an_absent_source_are_errors() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let unknown = place.owner.run(["ls", "latest"]);
    assert!([1, 2].contains(&unknown.code), "{unknown}");
    place.owner.backup(&source).ok();
    let unknown = place.owner.run(["ls", "0123456789abcdef"]);
    assert!([1, 2].contains(&unknown.code), "{unknown}");
    let absent = place.owner.backup(&place.path("absent"));
    assert!([1, 2].contains(&absent.code) && absent.mentions("absent"), "{absent}");
    assert_eq!(place.owner.snapshots().len(), 1);
}

#[test]
fn an_interrupted_backup_is_130_and_leaves_nothing_visible() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    put_noise(&source.join("large"), 64 << 20, 1);
    let mut running = place.owner.shudao(["backup", "--limit", "1MiB"]).arg(&source).start();
    until(&mut running, || busy(&place));
    running.interrupt();
    running.wait().exits(130);
    assert!(place.owner.snapshots().is_empty());
    place.owner.backup(&source).ok();
    place.owner.run(["check", "--read-data"]).ok();
}

#[test]
fn a_second_run_of_one_source_on_one_host_is_11() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    put_noise(&source.join("large"), 64 << 20, 1);
    let mut running = place.owner.shudao(["backup", "--limit", "1MiB"]).arg(&source).start();
    until(&mut running, || busy(&place));
    place.owner.backup(&source).exits(11);
    running.interrupt();
    running.wait().exits(130);
    place.owner.backup(&source).ok();
}

/// Whether a session was opened in the vault's log: it is longer than a new vault's.
fn busy(place: &Vaultbox) -> bool {
    static NEW_VAULT_ENTRIES: OnceLock<usize> = OnceLock::new();
    let entries =
        |place: &Vaultbox| std::fs::read_dir(place.vault_dir().join("log")).map_or(0, Iterator::count);
    entries(place) > *NEW_VAULT_ENTRIES.get_or_init(|| entries(&Vaultbox::new()))
}

/// Waits until `done`, while the program runs.
fn until(running: &mut Running, done: impl Fn() -> bool) {
    while !done() {
        assert!(running.is_running(), "the program ended before it was expected to");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}
