//! No room left, at the vault and at the target of a restore.

use std::path::Path;

use shudao_tests::compare::{b3sums, same};
use shudao_tests::content::{plant_small, put_noise};
use shudao_tests::disk::SmallDisk;
use shudao_tests::vaultbox::Vaultbox;

const MIB: u64 = 1 << 20;

#[test]
fn a_full_disk_under_the_vault_is_said_leaves_nothing_visible_and_heals() {
    let place = Vaultbox::empty();
    let (source, target) = (place.dir("source"), place.path("target"));
    plant_small(&source, 1);
    let disk = SmallDisk::mount(&place.vault_dir(), 24 * MIB);
    place.owner.init();
    let small = place.owner.backup(&source).ok().snapshot();
    put_noise(&source.join("too-large"), 64 * MIB, 5);

    place.owner.backup(&source).exits(1).says("no room");
    let visible = place.owner.snapshots();
    assert_eq!(visible.len(), 1, "{visible:?}");
    place.owner.restore(&small, &target).ok();
    assert!(!target.join("too-large").exists());

    disk.grow(200 * MIB);
    place.owner.backup(&source).ok();
    std::fs::remove_dir_all(&target).unwrap();
    place.owner.restore("latest", &target).ok();
    same(&source, &target);
    place.owner.run(["check", "--read-data"]).ok();
}

#[test]
fn a_full_disk_under_a_restore_is_said_leaves_no_half_file_and_heals() {
    let place = Vaultbox::new();
    let source = place.dir("source");
    plant_small(&source, 1);
    for number in 0..6 {
        put_noise(&source.join(format!("part-{number}")), 8 * MIB, number);
    }
    place.owner.backup(&source).ok();
    let disk = SmallDisk::mount(&place.path("target"), 20 * MIB);
    place.owner.restore("latest", disk.path()).exits(1).says("no room");
    no_half_file(&source, disk.path());

    disk.grow(200 * MIB);
    place.owner.shudao(["restore", "latest", "--in-place", "--to"]).arg(disk.path()).run().ok();
    same(&source, disk.path());
}

/// Whatever a name stands for in the target, it is the whole file; nothing has a name that the source has not.
fn no_half_file(source: &Path, target: &Path) {
    let whole = b3sums(source);
    for (path, sum) in b3sums(target) {
        assert_eq!(whole.get(&path), Some(&sum), "{path} is left behind and not whole");
    }
}

#[test]
fn a_vault_cannot_be_half_made_on_a_full_disk() {
    let place = Vaultbox::empty();
    let disk = SmallDisk::mount(&place.vault_dir(), 4096);
    put_noise(&disk.path().join("filler"), 4096, 1);
    place.owner.bare(["vault", "init", "--no-recovery-kit"]).arg(disk.path()).run().exits(1);
    place.owner.run(["snapshots"]).exits(10);
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    disk.grow(MIB);
    place.owner.init();
    place.owner.run(["snapshots"]).ok();
}
