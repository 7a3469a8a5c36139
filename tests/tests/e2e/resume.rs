//! Backups that are cut off, and the runs after them.

use std::path::Path;

use shudao_tests::clock::settle;
use shudao_tests::compare::same;
use shudao_tests::content::{plant_small, put_hole, put_noise};
use shudao_tests::invocation::Running;
use shudao_tests::vaultbox::Vaultbox;

const LARGE_BYTES: u64 = 80 << 20;

/// A source with a large file among small ones, left alone for long enough.
fn planted(place: &Vaultbox) -> std::path::PathBuf {
    let source = place.dir("source");
    plant_small(&source, 1);
    put_noise(&source.join("b large"), LARGE_BYTES, 7);
    settle();
    source
}

/// Bytes of all packs in the vault.
fn packs(vault: &Path) -> u64 {
    fn sum(directory: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
        entries
            .flatten()
            .map(|entry| entry.path())
            .map(|path| if path.is_dir() { sum(&path) } else { size(&path) })
            .sum()
    }
    fn size(path: &Path) -> u64 {
        path.metadata().map_or(0, |status| status.len())
    }
    sum(&vault.join("packs"))
}

/// A backup that runs until this many bytes of packs are stored.
fn running(place: &Vaultbox, source: &Path, bytes: u64) -> Running {
    let mut running = place.owner.shudao(["backup", "--limit", "24MiB"]).arg(source).start();
    while packs(&place.vault_dir()) < bytes {
        assert!(running.is_running(), "it ended before it could be cut off");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    running
}

fn resumed(run: &shudao_tests::output::Run, field: &str) -> u64 {
    run.summary()["resumed"][field].as_u64().unwrap_or_else(|| panic!("nothing was resumed: {run}"))
}

#[test]
fn a_killed_backup_uploads_nothing_twice() {
    let undisturbed = Vaultbox::new();
    undisturbed.owner.backup(&planted(&undisturbed)).ok();
    let place = Vaultbox::new();
    let source = planted(&place);
    for bytes in [30 << 20, 60 << 20] {
        // Dropped, it is killed.
        drop(running(&place, &source, bytes));
    }
    let done = place.owner.backup(&source).ok();
    assert!(resumed(&done, "bytes_stored") > 50 << 20, "{done}");
    let (stored, enough) = (packs(&place.vault_dir()), packs(&undisturbed.vault_dir()));
    assert!(stored * 10 <= enough * 11, "{stored} bytes are stored where {enough} do: {done}");
    let target = place.path("target");
    place.owner.restore(&done.snapshot(), &target).ok();
    same(&source, &target);
    place.owner.run(["check", "--read-data"]).ok();
    let status = place.owner.run(["vault", "status", "--json"]).ok();
    assert!(
        status.rows().iter().any(|row| row["open_sessions"] == 0),
        "one session served all runs: {status}"
    );
}

#[test]
fn an_interrupted_backup_says_how_to_go_on_and_another_machine_does_not_read_again_what_was_read() {
    let place = Vaultbox::new();
    let source = planted(&place);
    // What comes last takes minutes to read, and no pack: the run cannot have read everything when it is told to stop.
    let ballast = source.join("zz ballast");
    put_hole(&ballast, 256 << 30);
    let running = running(&place, &source, 30 << 20);
    running.interrupt();
    let stopped = running.wait().exits(130);
    assert!(stopped.mentions("backup --limit 24MiB"), "{stopped}");
    std::fs::remove_file(&ballast).unwrap();
    let other = place.other_machine("other");
    let name = format!("{}:{}", rustix::system::uname().nodename().to_string_lossy(), source.display());
    let done = other.backup_as(&name, &source).ok();
    assert!(resumed(&done, "bytes") > 16 << 20, "{done}");
    assert!(done.count("bytes_read") < done.count("bytes_total") - (16 << 20), "{done}");
    let target = place.path("target");
    other.restore(&done.snapshot(), &target).ok();
    same(&source, &target);
    place.owner.run(["check", "--read-data"]).ok();
}
