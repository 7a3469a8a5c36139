//! What goes in and what does not: excludes, mounts, commands, dry runs.

use shudao_tests::compare::fingerprint;
use shudao_tests::content::{plant_small, put};
use shudao_tests::disk::{BindMount, SmallDisk};
use shudao_tests::vaultbox::Vaultbox;

#[test]
fn excludes_follow_gitignore_and_verify_knows_them() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    for path in ["a.tmp", "letters/b.tmp", "letters/keep.tmp", "top", "letters/top"] {
        put(&source.join(path), path.as_bytes());
    }
    let patterns = place.path("patterns");
    put(&patterns, b"# comment\n*.tmp\n!keep.tmp\n");
    let backup = place.owner.shudao(["backup", "--json", "--exclude", "/top", "--exclude-from"]);
    backup.arg(&patterns).arg(&source).run().ok();
    let paths = place.owner.run(["ls", "latest", "--json"]).ok().paths();
    for (path, expected) in [
        ("a.tmp", false),
        ("letters/b.tmp", false),
        ("letters/keep.tmp", true),
        ("top", false),
        ("letters/top", true),
    ] {
        assert_eq!(paths.contains(&path.to_owned()), expected, "{path} in {paths:?}");
    }
    place.owner.shudao(["verify", "latest"]).arg(&source).run().ok();
}

#[test]
fn hidden_and_ignored_files_are_no_less_files() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    std::fs::create_dir(source.join(".git")).unwrap();
    for path in [".gitignore", ".ignore", ".hidden", "ignored", ".git/config"] {
        put(&source.join(path), b"ignored\n");
    }
    place.owner.backup(&source).ok();
    let paths = place.owner.run(["ls", "latest", "--json"]).ok().paths();
    for path in [".gitignore", ".ignore", ".hidden", "ignored", ".git/config"] {
        assert!(paths.contains(&path.to_owned()), "{path} in {paths:?}");
    }
}

#[test]
fn one_file_system_stays_outside_other_mounts() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let disk = SmallDisk::mount(&source.join("mounted"), 1 << 20);
    put(&disk.path().join("inside"), b"inside");
    let paths = |options: &[&str]| {
        place.owner.shudao(["backup", "--source", "mounts"]).args(options).arg(&source).run().ok();
        place.owner.run(["ls", "latest", "--json"]).ok().paths()
    };
    let inside = "mounted/inside".to_owned();
    assert!(paths(&[]).contains(&inside));
    let staying = paths(&["--one-file-system"]);
    assert!(!staying.contains(&inside) && staying.contains(&"mounted".to_owned()), "{staying:?}");
}

#[test]
fn a_loop_made_by_a_bind_mount_ends() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let _loop = BindMount::mount(&source, &source.join("letters/again"));
    let backup = place.owner.backup(&source);
    assert!([0, 3].contains(&backup.code), "{backup}");
    assert!(backup.count("files") < 100, "{backup}");
}

#[test]
fn a_commands_output_is_stored_only_if_it_succeeds() {
    let place = Vaultbox::new();
    let backup = place.owner.shudao([
        "backup",
        "--json",
        "--stdin-from-command",
        "--stdin-name",
        "dump.sql",
        "--source",
        "db",
    ]);
    backup.clone().args(["--", "sh", "-c", "seq 1 200000"]).run().ok();
    let stored = place.owner.run(["cat", "latest", "dump.sql"]).ok().stdout;
    assert!(stored == shudao_tests::tool::run("seq", ["1", "200000"]));
    backup.clone().args(["--", "sh", "-c", "seq 1 200000; exit 7"]).run().exits(1).says("7");
    backup.args(["--", "sh", "-c", "seq 1 200000; kill -9 $$"]).run().exits(1);
    assert_eq!(place.owner.snapshots().len(), 1, "a failed command leaves no snapshot");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_writes_nothing() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    let before = fingerprint(&place.vault_dir());
    let dry = place.owner.shudao(["backup", "--json", "--dry-run"]).arg(&source).run().ok();
    assert!(dry.count("files") > 20, "{dry}");
    assert!(fingerprint(&place.vault_dir()) == before, "a dry run wrote to the vault");
    assert!(place.owner.snapshots().is_empty());
}
