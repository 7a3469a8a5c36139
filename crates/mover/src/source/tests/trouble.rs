//! A tree that changes under the walk, and one that may not be read.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;

fn next_found(scan: &mut Scan) -> Box<Found> {
    match scan.next() {
        Some(Scanned::Found(found)) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_vanishes_between_listing_and_looking_is_reported() {
    let root = tempdir();
    plant(root.path(), &["a", "b/x", "c"]);
    let mut scan = scan(options(&[root.path()])).unwrap();
    next_found(&mut scan);
    fs::remove_file(root.path().join("a")).unwrap();
    fs::remove_dir_all(root.path().join("b")).unwrap();
    assert_eq!(lines(&scan.collect::<Vec<_>>()), ["a Vanished", "b Vanished", "c"]);
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let root = tempdir();
    plant(root.path(), &["tree/a/secret", "tree/b/x", "elsewhere/secret"]);
    let tree = root.path().join("tree");
    let become_link = |name: &str| {
        fs::rename(tree.join(name), root.path().join(format!("old-{name}"))).unwrap();
        symlink("../elsewhere", tree.join(name)).unwrap();
    };
    let mut scan = scan(ScanOptions { open_directories_max: 1, ..options(&[&tree]) }).unwrap();
    next_found(&mut scan);
    become_link("a");
    let found = next_found(&mut scan);
    assert_eq!(found.node, FoundNode::Symlink { target: b"../elsewhere".to_vec() });
    assert_eq!(next_found(&mut scan).path.as_bytes(), b"b");
    let file = next_found(&mut scan);
    assert_eq!(file.path.as_bytes(), b"b/x");
    assert!(scan.next().is_none());

    let opened =
        directory::Directory::open_base(&tree, directory::Purpose::List, &directory::Pool::new(1)).unwrap();
    let child = opened.directory.open_child(b"a", status::Follow::Never, directory::Purpose::List);
    assert_eq!(classify(&child.err().unwrap()), UnreadKind::Replaced);
}

#[test]
fn a_directory_that_was_replaced_is_not_taken_for_the_one_that_was_scanned() {
    let root = tempdir();
    plant(root.path(), &["a/b/file", "c/d"]);
    // With one open directory, `a/b` is closed by the time the walk is in `c`.
    let scanned = scan_all(ScanOptions { open_directories_max: 1, ..options(&[root.path()]) });
    fs::rename(root.path().join("a"), root.path().join("old")).unwrap();
    plant(root.path(), &["a/b/file"]);
    assert_eq!(find(&scanned, b"a/b/file").open().unwrap_err().kind, UnreadKind::Replaced);
    assert_eq!(find(&scanned, b"a/b/file").look_again().unwrap_err().kind, UnreadKind::Replaced);
}

#[test]
fn a_directory_that_may_not_be_read_is_reported_and_the_rest_walked() {
    let root = tempdir();
    plant(root.path(), &["a", "closed/inside", "z"]);
    let closed = root.path().join("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let expected: &[&str] = if is_root() {
        &["/", "a", "closed/", "closed/inside", "z"]
    } else {
        &["/", "a", "closed Denied", "z"]
    };
    let lines = walk_lines(root.path());
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(lines, expected);
}

#[test]
fn a_path_beyond_the_limit_of_an_entry_is_reported_and_the_rest_walked() {
    let root = tempdir();
    let name = "d".repeat(250);
    plant(root.path(), &["z"]);
    // 64 KiB hold 261 names of 250 bytes and their slashes.
    deepen(root.path(), &name, 265);
    let scanned = scan_all(options(&[root.path()]));
    let [.., Scanned::Found(deepest), Scanned::Unreadable { path, error, kind }, Scanned::Found(last)] =
        &scanned[..]
    else {
        panic!("{:?}", lines(&scanned));
    };
    assert_eq!(deepest.path.as_bytes().len(), 261 * 251 - 1);
    assert_eq!(path.as_bytes().len(), 262 * 251 - 1);
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()));
    assert_eq!(*kind, UnreadKind::Failed);
    assert_eq!(last.path.as_bytes(), b"z");
    drop(scanned);
    remove_deep(root.path(), &name);
}

#[test]
fn a_file_that_was_replaced_is_told_by_its_inode_and_can_be_looked_at_again() {
    let root = tempdir();
    plant(root.path(), &["pipe", "link", "file", "gone", "directory", "socket", "elsewhere"]);
    let scanned = scan_all(options(&[root.path()]));
    let at = |name: &str| root.path().join(name);
    // Kept under another name, so that no new file can get the inode.
    for name in ["pipe", "link", "file", "gone", "directory", "socket"] {
        fs::rename(at(name), at(&format!("old-{name}"))).unwrap();
    }
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink("elsewhere", at("link")).unwrap();
    fs::write(at("file"), "longer than before").unwrap();
    fs::create_dir(at("directory")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();

    for (name, kind) in [
        ("pipe", UnreadKind::Replaced),
        ("link", UnreadKind::Replaced),
        ("file", UnreadKind::Replaced),
        ("directory", UnreadKind::Replaced),
        ("socket", UnreadKind::Replaced),
        ("gone", UnreadKind::Vanished),
    ] {
        assert_eq!(find(&scanned, name.as_bytes()).open().unwrap_err().kind, kind, "{name}");
    }
    let again = |name: &str| find(&scanned, name.as_bytes()).look_again();
    assert_eq!(again("pipe").unwrap().node, FoundNode::Fifo);
    assert_eq!(again("link").unwrap().node, FoundNode::Symlink { target: b"elsewhere".to_vec() });
    assert_eq!(again("directory").unwrap().node, FoundNode::Directory);
    assert_eq!(again("gone").unwrap_err().kind, UnreadKind::Vanished);
    assert_eq!(again("socket").unwrap_err().kind, UnreadKind::Replaced);
    let file = again("file").unwrap();
    assert_eq!(file.node, FoundNode::File { size: 18 });
    assert!(!file.settled);
    assert_eq!(read_parts(&mut file.open().unwrap(), 100), [Part::Data(b"longer than before".to_vec())]);
}
