//! Who may do what with the keys that a role holds, whatever program holds them.

use shudao_tests::clock::settle;
use shudao_tests::content::{plant_small, put};
use shudao_vault::Kind;
use shudao_vault::entry::{Node, Portable};
use shudao_vault::id::{Digest, SnapshotId};
use shudao_vault::keys::Role;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::vault::Vault;
use shudao_verify::check::{CheckProgress, Selection, check_data, check_structure};
use tempfile::TempDir;

use crate::place::{Place, back_up, entries, has_root_of, now, restore_to, restores_exactly};

fn digest_of(entries: &[Portable], path: &str) -> Digest {
    let entry = entries.iter().find(|entry| entry.path.as_bytes() == path.as_bytes()).unwrap();
    match &entry.node {
        Node::File { digest, .. } => *digest,
        other => panic!("{path} is no file: {other:?}"),
    }
}

/// Fails unless every way to the snapshot's content is closed to this key, and nothing of it is written.
async fn reads_no_content(vault: &Vault, snapshot: &SnapshotId, small_file: &Digest) {
    assert!(!vault.ring().reads_content());
    let refused = vault.reader().chunk(ChunkSpace::Content, small_file).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden, "{refused}");
    let home = TempDir::new().unwrap();
    let target = home.path().join("target");
    // The names may be read, so the tree is made; of the files none is.
    let summary = restore_to(vault, snapshot, &target).await.unwrap();
    assert_eq!(summary.bytes_written, 0);
    assert!(summary.failed.iter().any(|problem| problem.path.as_bytes() == b"readme.txt"));
    assert!(!target.join("readme.txt").exists());
    let progress = CheckProgress::default();
    let refused = check_data(vault, &Selection::All, &progress).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_backs_up_twice_reads_nothing_the_second_time_and_never_content() {
    let home = TempDir::new().unwrap();
    plant_small(home.path(), 1);
    tokio::task::spawn_blocking(settle).await.unwrap();
    let mut place = Place::new().await;
    let mut writer = place.add(Role::Writer, "writer").await;
    let first = back_up(&mut writer, "letters", home.path()).await;
    let second = back_up(&mut writer, "letters", home.path()).await;
    assert!(first.bytes_read > 3 << 20);
    assert_eq!(second.bytes_read, 0);
    assert_eq!(second.bytes_new, 0, "not even the tree changed");
    assert_eq!(second.counts.files_unmodified, first.counts.files);
    assert_eq!(second.parent, first.snapshot);
    has_root_of(&second, home.path());

    let snapshot = second.snapshot.unwrap();
    let names = entries(&writer, &snapshot).await;
    reads_no_content(&writer, &snapshot, &digest_of(&names, "readme.txt")).await;
    assert_eq!(writer.forget(&[snapshot], now()).await.unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(writer.hold(snapshot, now()).await.unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(writer.vouch(&[snapshot], now()).await.unwrap_err().kind(), Kind::Forbidden);

    place.owner.refresh().await.unwrap();
    let target = TempDir::new().unwrap();
    for (number, snapshot) in [first.snapshot.unwrap(), snapshot].iter().enumerate() {
        restores_exactly(&place.owner, snapshot, &target.path().join(number.to_string())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_opens_neither_the_snapshot_nor_the_tree_of_another() {
    let home = TempDir::new().unwrap();
    plant_small(home.path(), 1);
    let mut place = Place::new().await;
    let mut writer = place.add(Role::Writer, "writer").await;
    let mut other = place.add(Role::Writer, "other").await;
    let snapshot = back_up(&mut writer, "letters", home.path()).await.snapshot.unwrap();
    other.refresh().await.unwrap();
    assert!(other.visible().iter().any(|(id, _)| *id == snapshot), "that it exists is no secret");
    assert!(other.snapshot_outer(&snapshot).await.is_ok());
    assert_eq!(other.snapshot(&snapshot).await.unwrap_err().kind(), Kind::Forbidden);
    // Even with the tree's root in hand, which only the sealed part says, no node opens.
    let root = writer.snapshot(&snapshot).await.unwrap().contents.tree.digest;
    assert!(writer.reader().chunk(ChunkSpace::Metadata, &root).await.is_ok());
    let refused = other.reader().chunk(ChunkSpace::Metadata, &root).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Forbidden, "{refused}");
    // Its own run of the same source neither fails on the parent that it cannot open nor takes anything from it.
    let own = back_up(&mut other, "letters", home.path()).await;
    assert_eq!(own.counts.files_unmodified, 0);
    place.owner.refresh().await.unwrap();
    let target = TempDir::new().unwrap();
    restores_exactly(&place.owner, &own.snapshot.unwrap(), &target.path().join("restored")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_reads_every_writers_names_checks_and_never_sees_content() {
    let home = TempDir::new().unwrap();
    plant_small(home.path(), 1);
    put(&home.path().join("secret-plans.txt"), b"secret");
    let mut place = Place::new().await;
    let mut writer = place.add(Role::Writer, "writer").await;
    let mut keeper = place.add(Role::Keeper, "keeper").await;
    let snapshot = back_up(&mut writer, "letters", home.path()).await.snapshot.unwrap();
    keeper.refresh().await.unwrap();
    let names = entries(&keeper, &snapshot).await;
    reads_no_content(&keeper, &snapshot, &digest_of(&names, "secret-plans.txt")).await;
    let report = check_structure(&keeper, &CheckProgress::default()).await.unwrap();
    assert!(!report.is_damaged(), "{:?}", report.findings);
    let vouch = keeper.vouch(&[snapshot], now()).await.unwrap_err();
    assert_eq!(vouch.kind(), Kind::Forbidden);
}
