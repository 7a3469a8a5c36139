//! `--delete` takes what is extra, and nothing that the snapshot says nothing about.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

#[tokio::test]
async fn what_the_snapshot_lacks_is_extra_and_removed() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "kept/file", "1");
    let snapshot = bench.backup().await;
    let target = bench.target();
    write(&target, "kept/file", "1");
    write(&target, "kept/extra", "2");
    write(&target, "old/deep/file", "3");
    write(&target, "kept/.shudao-00000000000000000000000000000000.part", "left by a killed run");
    let outside = bench.place.path().join("outside");
    write(&outside, "file", "untouched");
    symlink(&outside, target.join("old/link")).unwrap();
    symlink(&outside, target.join("link")).unwrap();

    let plan = bench.extras(&snapshot, &[], &[]).await;
    let part = "kept/.shudao-00000000000000000000000000000000.part";
    assert_eq!(names(&plan.extras), [part, "kept/extra", "link", "old"]);
    assert_eq!(plan.unseen, []);
    let scope = Scope::new(&snapshot.contents, filter(&[], &[])).unwrap();
    assert_eq!(remove_extras(&target, &plan.extras, &scope).unwrap(), []);
    assert!(target.join("kept/file").exists() && !target.join("old").exists());
    assert_eq!(fs::read(outside.join("file")).unwrap(), b"untouched");
    assert_eq!(bench.extras(&snapshot, &[], &[]).await, ExtrasPlan::default());
}

#[tokio::test]
async fn what_was_excluded_stays_even_inside_an_extra_directory() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "file", "1");
    let root = bench.source();
    let snapshot = bench.backup_of(&[&root], &["*.key", "/cache"], false).await;
    let target = bench.target();
    for path in ["old/a", "old/secret.key", "old/deep/b", "cache/c", "new/d"] {
        write(&target, path, "x");
    }
    let plan = bench.extras(&snapshot, &[], &["/new"]).await;
    assert_eq!(names(&plan.extras), ["old/a", "old/deep"]);
    // A pattern of the restore must not take back what the backup left out.
    let plan = bench.extras(&snapshot, &[], &["!*.key", "/new"]).await;
    assert_eq!(names(&plan.extras), ["old/a", "old/deep"]);
    let plan = bench.extras(&snapshot, &["/old/deep"], &[]).await;
    assert!(plan.extras.is_empty(), "{plan:?}: outside what is included nothing is extra");

    // What comes after the plan is held against the same rules.
    write(&target, "old/deep/late.key", "x");
    let scope = Scope::new(&snapshot.contents, filter(&[], &[])).unwrap();
    let failed = remove_extras(&target, &[TreePath::new("old/deep").unwrap()], &scope).unwrap();
    assert_eq!(paths(&failed), ["old/deep"]);
    assert!(target.join("old/deep/late.key").exists() && target.join("old/secret.key").exists());
}

#[tokio::test]
async fn what_was_not_stored_is_not_extra() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "file", "1");
    let mut snapshot = bench.backup().await;
    let target = bench.target();
    write(&target, "unread/below", "x");
    write(&target, "directory/extra", "x");
    let _socket = UnixListener::bind(target.join("directory/socket")).unwrap();
    let unread = shudao_vault::snapshot::Unread {
        path: b"unread".to_vec(),
        kind: shudao_vault::snapshot::UnreadKind::Unreadable,
        message: String::new(),
    };
    snapshot.contents.unread.add(unread);
    assert_eq!(names(&bench.extras(&snapshot, &[], &[]).await.extras), ["directory/extra"]);

    snapshot.contents.unread.total += 1;
    assert!(matches!(
        Scope::new(&snapshot.contents, filter(&[], &[])),
        Err(RestoreError::UnreadUnknown { total: 2 })
    ));
}

#[tokio::test]
async fn nothing_beside_a_file_that_was_named_alone_is_extra() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "file", "1");
    let file = bench.source().join("file");
    let snapshot = bench.backup_of(&[&file], &[], false).await;
    write(&bench.target(), "other", "x");
    assert!(bench.extras(&snapshot, &[], &[]).await.extras.is_empty());
}

#[tokio::test]
async fn with_several_named_paths_only_what_is_below_them_is_extra() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "a/file", "1");
    write(&bench.source(), "b/file", "1");
    let (a, b) = (bench.source().join("a"), bench.source().join("b"));
    let snapshot = bench.backup_of(&[&a, &b], &[], false).await;
    let above = bench.target().join(bench.source().strip_prefix("/").unwrap());
    write(&bench.target(), "etc/passwd", "x");
    write(&above, "c/file", "x");
    write(&above, "a/extra", "x");
    let plan = bench.extras(&snapshot, &[], &[]).await;
    assert_eq!(plan.extras.len(), 1, "{plan:?}");
    assert!(plan.extras[0].to_string().ends_with("source/a/extra"));
}

#[tokio::test]
async fn a_directory_where_a_file_belongs_is_extra_and_a_file_where_a_directory_belongs_is_no_obstacle() {
    let mut bench = Bench::new().await;
    write(&bench.source(), "directory/file", "1");
    write(&bench.source(), "file", "2");
    write(&bench.source(), "other/file", "3");
    let snapshot = bench.backup().await;
    let target = bench.target();
    write(&target, "directory", "a file");
    write(&target, "file/inside", "a directory");
    symlink("/", target.join("other")).unwrap();
    let plan = bench.extras(&snapshot, &[], &[]).await;
    assert_eq!(names(&plan.extras), ["file"]);
    assert_eq!(plan.unseen, []);
    let scope = Scope::new(&snapshot.contents, filter(&[], &[])).unwrap();
    assert_eq!(remove_extras(&target, &plan.extras, &scope).unwrap(), []);
    assert_eq!(bench.restore(&snapshot, true).await.failed, []);
    assert_eq!(fs::read(target.join("file")).unwrap(), b"2");
}
