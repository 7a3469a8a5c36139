//! Every kind of file, and everything an entry says of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use rustix::io::Errno;
use shudao_vault::entry::{Entry, FileTime, Local, Node, Portable, TreePath};
use shudao_vault::id::Digest;

use super::*;

#[test]
fn what_is_known_of_a_file_is_what_the_system_says() {
    let root = tempdir();
    let path = root.path().join("file");
    fs::write(&path, "12345").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
    let mtime = UNIX_EPOCH - Duration::new(99, 999_999_999);
    fs::File::options().write(true).open(&path).unwrap().set_modified(mtime).unwrap();
    let known = fs::symlink_metadata(&path).unwrap();

    let scanned = scan_all(options(&[root.path()]));
    let found = find(&scanned, b"file");
    assert_eq!(found.node, FoundNode::File { size: 5 });
    assert_eq!(found.mode, 0o4751);
    assert_eq!(found.mtime, FileTime { seconds: -100, nanos: 1 });
    assert_eq!((found.uid, found.gid, found.links), (known.uid(), known.gid(), 1));
    assert_eq!((found.inode, found.device), (known.ino(), known.dev()));
    assert_eq!((found.ctime.seconds, i64::from(found.ctime.nanos)), (known.ctime(), known.ctime_nsec()));
    if is_root() {
        assert_eq!((&*found.user, &*found.group), (&b"root"[..], &b"root"[..]));
    }
    let directory = find(&scanned, b"");
    assert_eq!(directory.node, FoundNode::Directory);
    assert_eq!(directory.mode, fs::metadata(root.path()).unwrap().permissions().mode() & 0o7777);
}

#[test]
fn links_pipes_and_empty_things_are_found_and_sockets_skipped() {
    let root = tempdir();
    plant(root.path(), &["empty/"]);
    fs::write(root.path().join("nothing"), "").unwrap();
    symlink("/nowhere/at all", root.path().join("dangling")).unwrap();
    symlink("empty", root.path().join("link")).unwrap();
    let long_target = "x/".repeat(2000);
    symlink(&long_target, root.path().join("long")).unwrap();
    mknodat(CWD, root.path().join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = UnixListener::bind(root.path().join("socket")).unwrap();

    let scanned = scan_all(options(&[root.path()]));
    assert_eq!(
        lines(&scanned),
        ["/", "dangling", "empty/", "link", "long", "nothing", "pipe", "socket Socket"]
    );
    let target = |path: &[u8]| match &find(&scanned, path).node {
        FoundNode::Symlink { target } => target.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(target(b"dangling"), b"/nowhere/at all");
    assert_eq!(target(b"link"), b"empty");
    assert_eq!(target(b"long"), long_target.as_bytes());
    assert_eq!(find(&scanned, b"pipe").node, FoundNode::Fifo);
    assert_eq!(find(&scanned, b"nothing").node, FoundNode::File { size: 0 });
    assert_eq!(find(&scanned, b"empty").node, FoundNode::Directory);
}

#[test]
fn devices_keep_their_numbers() {
    let root = tempdir();
    let make = |name, kind| {
        mknodat(CWD, root.path().join(name), kind, Mode::from_raw_mode(0o600), makedev(240, 70_000))
    };
    let made = make("char", FileType::CharacterDevice).and_then(|()| make("block", FileType::BlockDevice));
    if let Err(refused) = made {
        // Not root, or root without the right to make devices: then one of the system's must do.
        assert_eq!(refused, Errno::PERM);
        let scanned = scan_all(options(&[Path::new("/dev/null")]));
        assert_eq!(find(&scanned, b"null").node, FoundNode::CharDevice { major: 1, minor: 3 });
        return;
    }
    let scanned = scan_all(options(&[root.path()]));
    assert_eq!(find(&scanned, b"char").node, FoundNode::CharDevice { major: 240, minor: 70_000 });
    assert_eq!(find(&scanned, b"block").node, FoundNode::BlockDevice { major: 240, minor: 70_000 });
}

#[test]
fn names_are_bytes_and_stand_in_the_order_of_bytes() {
    let root = tempdir();
    let names: [&[u8]; 6] = [b"a\nb", b"\xff\xfe", b"a", b"a-b", b"\x01", &[b'n'; 255]];
    for name in names {
        fs::write(root.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    fs::remove_file(root.path().join("a")).unwrap();
    plant(root.path(), &["a/z"]);
    let scanned = scan_all(options(&[root.path()]));
    let paths: Vec<_> = scanned
        .iter()
        .map(|scanned| match scanned {
            Scanned::Found(found) => found.path.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(paths.is_sorted());
    let expected: [&[u8]; 8] = [b"", b"\x01", b"a", b"a/z", b"a\nb", b"a-b", &[b'n'; 255], b"\xff\xfe"];
    assert_eq!(paths, expected.map(|path| TreePath::new(path).unwrap()));
}

#[test]
fn attributes_of_every_length_are_kept_and_foreign_ones_counted() {
    let root = tempdir();
    plant(root.path(), &["file", "directory/"]);
    symlink("file", root.path().join("link")).unwrap();
    let set = |path: &str, name: &str, value: &[u8]| {
        lsetxattr(root.path().join(path), name, value, XattrFlags::empty())
    };
    match set("file", "user.b", b"\0binary\xff") {
        // The temporary directory's file system has no attributes: then none are found, and nothing fails.
        Err(Errno::OPNOTSUPP) => {
            let scanned = scan_all(options(&[root.path()]));
            assert!(find(&scanned, b"file").xattrs.is_empty());
            return;
        }
        set => set.unwrap(),
    }
    set("file", "user.a", b"").unwrap();
    set("file", "user.long", &[7; 3000]).unwrap();
    // An access list: owner rw-, user 1000 r--, group r--, mask r--, others ---.
    let acl: Vec<u8> = [
        &[2, 0, 0, 0][..],
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[2, 0, 4, 0, 0xe8, 3, 0, 0],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[16, 0, 4, 0, 255, 255, 255, 255],
        &[32, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    set("file", "system.posix_acl_access", &acl).unwrap();
    set("directory", "system.posix_acl_default", &acl).unwrap();

    let xattr = |name: &str, value: &[u8]| FoundXattr { name: name.into(), value: value.to_vec() };
    let mut expected = vec![
        xattr("system.posix_acl_access", &acl),
        xattr("user.a", b""),
        xattr("user.b", b"\0binary\xff"),
        xattr("user.long", &[7; 3000]),
    ];
    let mut foreign = 0;
    if is_root() {
        // Version 2 of a capability: permitted cap_net_bind_service, effective.
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set("file", "security.capability", &capability).unwrap();
        expected.insert(0, xattr("security.capability", &capability));
        set("file", "trusted.foreign", b"x").unwrap();
        set("link", "trusted.foreign", b"x").unwrap();
        foreign = 1;
    }
    let scanned = scan_all(options(&[root.path()]));
    assert_eq!(find(&scanned, b"file").xattrs, expected);
    assert_eq!(find(&scanned, b"file").xattrs_dropped, foreign);
    assert_eq!(find(&scanned, b"directory").xattrs, [xattr("system.posix_acl_default", &acl)]);
    assert_eq!(find(&scanned, b"link").xattrs, []);
    assert_eq!(find(&scanned, b"link").xattrs_dropped, foreign, "the link's own, not its target's");
}

#[test]
fn later_members_of_a_hard_link_group_name_the_first() {
    let root = tempdir();
    plant(root.path(), &["a/one", "b/other", "outside"]);
    fs::hard_link(root.path().join("a/one"), root.path().join("b/two")).unwrap();
    fs::hard_link(root.path().join("a/one"), root.path().join("c")).unwrap();
    fs::create_dir(root.path().join("scanned")).unwrap();
    for moved in ["a", "b", "c"] {
        fs::rename(root.path().join(moved), root.path().join("scanned").join(moved)).unwrap();
    }
    fs::hard_link(root.path().join("outside"), root.path().join("scanned/half")).unwrap();
    let mut links = HardLinks::default();
    let mut firsts = Vec::new();
    for scanned in scan(options(&[&root.path().join("scanned")])).unwrap() {
        let Scanned::Found(found) = scanned else { panic!("{scanned:?}") };
        if let Some(first) = links.member(&found) {
            firsts.push(format!("{} -> {first}", found.path));
        }
    }
    assert_eq!(firsts, ["b/two -> a/one", "c -> a/one"]);
    assert_eq!(
        links.open_groups(),
        1,
        "a group is dropped with its last member; `half` waits for one outside"
    );
}

#[test]
fn unchanged_means_all_four_equal_and_a_settled_whole_parent() {
    let root = tempdir();
    plant(root.path(), &["file", "directory/"]);
    let scanned = scan_all(options(&[root.path()]));
    let found = find(&scanned, b"file");
    let digest = Digest::of(b"file");
    let parent = Entry {
        portable: Portable {
            path: found.path.clone(),
            node: Node::File { size: 4, digest },
            mode: 0,
            uid: 12345,
            gid: 12345,
            mtime: found.mtime,
            xattrs: Vec::new(),
            first_link: None,
        },
        local: Local {
            ctime: found.ctime,
            inode: found.inode,
            device: found.device + 1,
            settled: true,
            ..Local::default()
        },
    };
    assert!(unchanged(found, &parent), "owner, mode and device do not matter");
    type Change = fn(&mut Entry);
    let changes: [(&str, Change); 7] = [
        ("size", |entry| entry.portable.node = Node::File { size: 5, digest: Digest::of(b"file") }),
        ("type", |entry| entry.portable.node = Node::Fifo),
        ("mtime", |entry| entry.portable.mtime.seconds += 1),
        ("ctime", |entry| entry.local.ctime.nanos ^= 1),
        ("inode", |entry| entry.local.inode += 1),
        ("settled", |entry| entry.local.settled = false),
        ("torn", |entry| entry.local.torn = true),
    ];
    for (what, change) in changes {
        let mut other = parent.clone();
        change(&mut other);
        assert!(!unchanged(found, &other), "{what}");
    }
    assert!(!unchanged(find(&scanned, b"directory"), &parent));
}

#[test]
fn a_file_just_written_is_not_settled_and_an_old_one_is() {
    let root = tempdir();
    plant(root.path(), &["new"]);
    let scanned = scan_all(options(&[root.path()]));
    assert!(!find(&scanned, b"new").settled);
    // ctime cannot be set back, so the old file must be one that was there before.
    let program = std::env::current_exe().unwrap();
    let known = fs::metadata("/etc/passwd").unwrap();
    let scanned = scan_all(options(&[Path::new("/etc/passwd"), &program]));
    let old = find(&scanned, b"etc/passwd");
    let age =
        std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - known.ctime();
    assert_eq!(old.settled, age > 3, "its ctime is {age} s old");
}
