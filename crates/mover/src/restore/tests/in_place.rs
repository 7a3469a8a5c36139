//! Into a tree that exists: what differs is replaced, patched or linked, and nothing is right by accident.

use std::os::unix::fs::{FileExt, PermissionsExt, symlink};

use shudao_vault::entry::TreePath;

use super::super::mark::Mark;
use super::*;

#[tokio::test]
async fn both_names_of_a_spoilt_file_get_the_right_bytes() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "a", "right");
    fs::hard_link(bench.source().join("a"), bench.source().join("b")).unwrap();
    let snapshot = bench.backup().await;
    bench.restore(&snapshot, false).await;
    fs::write(bench.target().join("a"), "wrong").unwrap();
    assert_eq!(fs::read(bench.target().join("b")).unwrap(), b"wrong", "both names are still one file");

    let summary = bench.restore(&snapshot, true).await;
    assert_eq!(summary.failed, []);
    assert_eq!(fs::read(bench.target().join("a")).unwrap(), b"right");
    assert_eq!(fs::read(bench.target().join("b")).unwrap(), b"right");
    assert_eq!(inode(&bench.target().join("a")), inode(&bench.target().join("b")));
    assert_eq!(part_files(&bench.target()), 0);
}

#[tokio::test]
async fn separate_files_become_one_again() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "a", "right");
    fs::hard_link(bench.source().join("a"), bench.source().join("b")).unwrap();
    let snapshot = bench.backup().await;
    write(&bench.target(), "a", "right");
    write(&bench.target(), "b", "other");
    assert_eq!(bench.restore(&snapshot, true).await.failed, []);
    assert_eq!(fs::read(bench.target().join("b")).unwrap(), b"right");
    assert_eq!(inode(&bench.target().join("a")), inode(&bench.target().join("b")));
}

#[tokio::test]
async fn a_second_name_is_never_linked_to_a_first_one_that_was_not_restored() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "a", "right");
    fs::hard_link(bench.source().join("a"), bench.source().join("b")).unwrap();
    let snapshot = bench.backup().await;
    lose_content(&bench, &[]).await;
    write(&bench.target(), "a", "stale");
    let summary = bench.restore(&snapshot, true).await;
    assert_eq!(paths(&summary.failed), ["a", "b"]);
    assert_eq!(summary.files, 0);
    assert!(!bench.target().join("b").exists(), "no link to what stood at the first name");
}

#[tokio::test]
async fn a_group_whose_first_name_has_no_place_is_linked_among_the_others() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "d/first", "shared");
    for name in ["second", "third"] {
        fs::hard_link(bench.source().join("d/first"), bench.source().join(name)).unwrap();
    }
    let snapshot = bench.backup().await;
    // A directory with something in it stands where the first name must be.
    write(&bench.target(), "d/first/mine", "kept");
    let summary = bench.restore(&snapshot, true).await;
    assert_eq!(paths(&summary.failed), ["d/first"]);
    assert_eq!(fs::read(bench.target().join("second")).unwrap(), b"shared");
    assert_eq!(inode(&bench.target().join("second")), inode(&bench.target().join("third")));
    assert_eq!(fs::read(bench.target().join("d/first/mine")).unwrap(), b"kept");
}

#[tokio::test]
async fn things_of_another_kind_are_replaced_where_they_stand() {
    let mut bench = Bench::new().await;
    let source = bench.source();
    write(&source, "directory/file", "1");
    write(&source, "file", "2");
    symlink("file", source.join("link")).unwrap();
    let snapshot = bench.backup().await;

    let outside = bench.place.path().join("outside");
    write(&outside, "file", "untouched");
    fs::create_dir(bench.target()).unwrap();
    symlink(&outside, bench.target().join("directory")).unwrap();
    symlink(outside.join("file"), bench.target().join("file")).unwrap();
    fs::create_dir(bench.target().join("link")).unwrap();
    assert_eq!(bench.restore(&snapshot, true).await.failed, []);
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"untouched", "no link is followed");
    assert!(fs::symlink_metadata(bench.target().join("directory")).unwrap().is_dir());
    assert_eq!(fs::read(bench.target().join("directory/file")).unwrap(), b"1");
    assert!(fs::symlink_metadata(bench.target().join("file")).unwrap().is_file());
    assert_eq!(fs::read_link(bench.target().join("link")).unwrap(), Path::new("file"));
}

#[tokio::test]
async fn a_file_where_a_directory_was_is_replaced_by_the_directory() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "d/file", "1");
    let snapshot = bench.backup().await;
    write(&bench.target(), "d", "a file");
    assert_eq!(bench.restore(&snapshot, true).await.failed, []);
    assert_eq!(fs::read(bench.target().join("d/file")).unwrap(), b"1");
}

/// 66 MiB of bytes that chunk at many places.
fn large(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(66 << 20);
    while bytes.len() < 66 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes()[..4]);
    }
    bytes
}

#[tokio::test]
async fn a_large_file_is_patched_where_it_stands() {
    let mut bench = Bench::new().await;
    let bytes = large(1);
    write(&bench.source(), "image", &bytes);
    // A hole at the end, which in the target holds something.
    let image = fs::OpenOptions::new().write(true).open(bench.source().join("image")).unwrap();
    image.set_len(70 << 20).unwrap();
    let snapshot = bench.backup().await;
    bench.restore(&snapshot, false).await;
    let target = bench.target().join("image");
    let whole = fs::read(&target).unwrap();
    let before = inode(&target);

    for (size, at) in [(80 << 20, 1 << 20), (60 << 20, 2 << 20), (70 << 20, 69 << 20)] {
        let file = fs::OpenOptions::new().write(true).open(&target).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(b"spoilt", at).unwrap();
        let summary = bench.restore(&snapshot, true).await;
        assert_eq!(summary.failed, []);
        assert!(fs::read(&target).unwrap() == whole, "cut to {size}, spoilt at {at}");
        assert_eq!(inode(&target), before, "patched, not replaced");
        assert!(summary.bytes_written < 24 << 20, "{} bytes written", summary.bytes_written);
        assert_eq!(unfinished(&bench.marks()).unwrap(), []);
    }
}

#[tokio::test]
async fn a_file_with_other_names_is_not_patched_through_them() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "image", large(1));
    let snapshot = bench.backup().await;
    let other = large(2);
    write(&bench.target(), "image", &other);
    let elsewhere = bench.place.path().join("elsewhere");
    fs::hard_link(bench.target().join("image"), &elsewhere).unwrap();
    assert_eq!(bench.restore(&snapshot, true).await.failed, []);
    assert!(fs::read(bench.target().join("image")).unwrap() == large(1));
    assert!(fs::read(&elsewhere).unwrap() == other, "the other name keeps its bytes");
}

#[tokio::test]
async fn the_mark_of_a_file_that_is_right_after_all_is_removed() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "right", "1");
    write(&bench.source(), "small", "2");
    let snapshot = bench.backup().await;
    write(&bench.target(), "right", "1");
    write(&bench.target(), "small", "half");
    for path in ["right", "small"] {
        Mark::write(&bench.marks(), &bench.target(), &TreePath::new(path).unwrap()).unwrap();
    }
    bench.restore(&snapshot, true).await;
    assert_eq!(unfinished(&bench.marks()).unwrap(), []);
}

#[tokio::test]
async fn a_patched_file_that_lost_a_pack_stays_marked() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "image", large(1));
    let snapshot = bench.backup().await;
    write(&bench.target(), "image", large(2));
    lose_content(&bench, &[]).await;
    let summary = bench.restore(&snapshot, true).await;
    assert_eq!(paths(&summary.failed), ["image"]);
    let path = TreePath::new("image").unwrap();
    assert_eq!(unfinished(&bench.marks()).unwrap(), [Unfinished { to: bench.target(), path }]);
}

#[tokio::test]
async fn a_directory_closed_to_its_owner_is_opened_and_closed_again() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "closed/file", "1");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let snapshot = bench.backup().await;
    bench.restore(&snapshot, false).await;
    set(&bench.target().join("closed"), 0);
    write(&bench.source(), "closed/file", "22");
    set(&bench.source().join("closed"), 0o500);
    let snapshot = bench.backup().await;
    assert_eq!(bench.restore(&snapshot, true).await.failed, []);
    let mode = fs::metadata(bench.target().join("closed")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o500);
    assert_eq!(fs::read(bench.target().join("closed/file")).unwrap(), b"22");
    for root in [bench.source(), bench.target()] {
        set(&root.join("closed"), 0o700);
    }
}
