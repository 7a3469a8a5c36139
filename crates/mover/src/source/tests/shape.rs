//! Which paths are walked, and in which order.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use rustix::fs::{Mode, OFlags, openat};

use super::*;

/// A mount that is taken away again at the end.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Mounts with these arguments at `target`; `None` if this user may not.
    fn at(target: &'a Path, arguments: &[&std::ffi::OsStr]) -> Option<Self> {
        let done = Command::new("mount").args(arguments).arg(target).output().ok()?.status.success();
        done.then(|| Self(target))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn excludes(patterns: &[&str]) -> Excludes {
    let mut builder = ExcludesBuilder::default();
    for pattern in patterns {
        builder.pattern(pattern).unwrap();
    }
    builder.build().unwrap()
}

#[test]
fn directories_come_before_their_content_and_siblings_in_order() {
    let root = tempdir();
    plant(root.path(), &["b/x/1", "b/x/2", "b-c", "a", "b/a", "c/", ".hidden", ".git/config"]);
    assert_eq!(
        walk_lines(root.path()),
        ["/", ".git/", ".git/config", ".hidden", "a", "b/", "b/a", "b/x/", "b/x/1", "b/x/2", "b-c", "c/"]
    );
}

#[test]
fn excluded_paths_are_said_once_and_not_entered() {
    let root = tempdir();
    plant(root.path(), &["cache/a/b", "src/x.o", "src/x.c", "src/keep.o", ".gitignore", ".ignore"]);
    fs::write(root.path().join(".gitignore"), "*.c\n").unwrap();
    fs::write(root.path().join(".ignore"), "*.c\n").unwrap();
    let excludes = excludes(&["/cache/", "*.o", "!keep.o", "missing"]);
    let scanned = scan_all(ScanOptions { excludes, ..options(&[root.path()]) });
    assert_eq!(
        lines(&scanned),
        ["/", ".gitignore", ".ignore", "cache Excluded", "src/", "src/keep.o", "src/x.c", "src/x.o Excluded"],
        "ignore files in the tree mean nothing"
    );
}

#[test]
fn one_path_is_the_root_even_by_a_link_and_one_file_stands_alone() {
    let root = tempdir();
    plant(root.path(), &["real/a", "other"]);
    symlink("real", root.path().join("link")).unwrap();
    symlink("real/a", root.path().join("file-link")).unwrap();
    for (given, expected) in [
        ("real", &["/", "a"][..]),
        ("real/.", &["/", "a"]),
        ("real/../real//", &["/", "a"]),
        ("link", &["/", "a"]),
        ("other", &["/", "other"]),
        ("file-link", &["/", "file-link"]),
    ] {
        assert_eq!(walk_lines(&root.path().join(given)), expected, "{given}");
    }
    let scanned = scan_all(options(&[&root.path().join("file-link")]));
    let found = find(&scanned, b"file-link");
    assert_eq!(found.node, FoundNode::File { size: 6 });
    assert_eq!(read_parts(&mut found.open().unwrap(), 10), [Part::Data(b"real/a".to_vec())]);
    let twice = scan_all(options(&[&root.path().join("real"), &root.path().join("./real/")]));
    assert_eq!(lines(&twice), ["/", "a"]);
}

#[test]
fn several_paths_keep_their_full_paths_and_meet_in_one_tree() {
    let root = tempdir();
    plant(root.path(), &["x/a/1", "x/b/2", "y/3", "z", "t/in/side", "t/else"]);
    symlink("../t", root.path().join("x/link")).unwrap();
    let given: Vec<_> = ["y", "x/b", "x", "x/b", "z", "x/link/in"].map(|path| root.path().join(path)).into();
    let scanned =
        scan_all(ScanOptions { roots: given, excludes: excludes(&["b", "y", "1"]), ..options(&[]) });
    let prefix = root.path().to_str().unwrap().trim_start_matches('/');
    let mut expected = vec!["/".to_owned()];
    for (index, _) in prefix.match_indices('/') {
        expected.push(format!("{}/", &prefix[..index]));
    }
    expected.push(format!("{prefix}/"));
    for path in [
        "x/",
        "x/a/",
        "x/a/1 Excluded",
        "x/b/",
        "x/b/2",
        "x/link/",
        "x/link/in/",
        "x/link/in/side",
        "y/",
        "y/3",
        "z",
    ] {
        expected.push(format!("{prefix}/{path}"));
    }
    assert_eq!(lines(&scanned), expected, "what is named is never excluded, and links to it are followed");
    let ancestor = find(&scanned, prefix.as_bytes());
    assert_eq!(ancestor.inode, fs::metadata(root.path()).unwrap().ino());
}

#[test]
fn roots_that_are_missing_are_said() {
    let root = tempdir();
    plant(root.path(), &["there"]);
    let missing = root.path().join("missing");
    assert!(matches!(scan(options(&[&missing])), Err(ScanError::Root { path, .. }) if path == missing));
    assert!(matches!(scan(options(&[])), Err(ScanError::NoRoots)));
    let scanned = scan_all(options(&[&missing, &root.path().join("there")]));
    let tail: Vec<_> = lines(&scanned).into_iter().rev().take(2).collect();
    assert!(tail[0].ends_with("/there") && tail[1].ends_with("/missing Vanished"), "{tail:?}");
}

#[test]
fn a_tree_deeper_than_any_path_is_walked_with_few_open_directories() {
    let root = tempdir();
    let name = "d".repeat(200);
    for handle in deepen(root.path(), &name, 60) {
        for (file, content) in [("a", "first"), ("z", "last")] {
            let flags = OFlags::CREATE | OFlags::WRONLY;
            let file = openat(&handle, file, flags, Mode::from_raw_mode(0o644)).unwrap();
            rustix::io::write(file, content.as_bytes()).unwrap();
        }
    }
    let scanned = scan_all(ScanOptions { open_directories_max: 2, ..options(&[root.path()]) });
    assert_eq!(scanned.len(), 1 + 60 * 3);
    let files: Vec<_> = scanned
        .iter()
        .filter_map(|scanned| match scanned {
            Scanned::Found(found) if found.size() > 0 => Some(found),
            _ => None,
        })
        .collect();
    assert_eq!(files.len(), 120);
    assert!(files.iter().any(|found| found.path.as_bytes().len() > 2 * 4096));
    // Handles were closed long ago; each file opens all the same.
    for found in files.iter().rev().step_by(7) {
        let content: &[u8] = if found.path.name() == b"a" { b"first" } else { b"last" };
        assert_eq!(read_parts(&mut found.open().unwrap(), 64), [Part::Data(content.to_vec())]);
    }
    drop(scanned);
    remove_deep(root.path(), &name);
}

#[test]
fn a_chain_of_parents_longer_than_the_stack_is_dropped() {
    let root = tempdir();
    let pool = directory::Pool::new(4);
    let purpose = directory::Purpose::Pass;
    let mut directory = directory::Directory::open_base(root.path(), purpose, &pool).unwrap().directory;
    for _ in 0..200_000 {
        directory = directory.open_child(b".", status::Follow::Never, purpose).unwrap().directory;
    }
    drop(directory);
}

#[test]
fn a_directory_of_many_names_is_sorted_on_disk_when_memory_is_small() {
    let root = tempdir();
    for number in 0..3000_u32 {
        fs::write(root.path().join(format!("{:08x}", number.wrapping_mul(2_654_435_761))), "").unwrap();
    }
    let in_memory = walk_lines(root.path());
    let spilled = scan_all(ScanOptions { names_bytes_max: 2000, ..options(&[root.path()]) });
    assert_eq!(in_memory.len(), 3001);
    assert!(in_memory.is_sorted());
    assert_eq!(lines(&spilled), in_memory);
}

#[test]
fn other_file_systems_are_entered_or_not_as_asked() {
    let root = tempdir();
    plant(root.path(), &["a", "mounted/under", "bound/under", "z", "source/inner", "single"]);
    let (mounted, bound) = (root.path().join("mounted"), root.path().join("bound"));
    let tmpfs = Mounted::at(&mounted, &["-t".as_ref(), "tmpfs".as_ref(), "none".as_ref()]);
    let source = root.path().join("source");
    let bind = Mounted::at(&bound, &["--bind".as_ref(), source.as_os_str()]);
    let (Some(_tmpfs), Some(_bind)) = (tmpfs, bind) else {
        // Whoever may not mount sees one file system, in which both ways of walking agree.
        let one = scan_all(ScanOptions { one_file_system: true, ..options(&[root.path()]) });
        assert_eq!(lines(&one), walk_lines(root.path()));
        return;
    };
    plant(&mounted, &["over"]);
    assert_eq!(
        walk_lines(root.path()),
        [
            "/",
            "a",
            "bound/",
            "bound/inner",
            "mounted/",
            "mounted/over",
            "single",
            "source/",
            "source/inner",
            "z"
        ]
    );
    let one = |roots: &[&Path]| {
        lines(&scan_all(ScanOptions { one_file_system: true, ..options(roots) })).split_off(1)
    };
    assert_eq!(
        one(&[root.path()]),
        [
            "a",
            "bound/",
            "bound OtherFileSystem",
            "mounted/",
            "mounted OtherFileSystem",
            "single",
            "source/",
            "source/inner",
            "z"
        ]
    );
    let named = one(&[root.path(), &mounted]);
    assert!(named.iter().any(|line| line.ends_with("mounted/over")), "what is named is entered: {named:?}");
}

#[test]
fn a_directory_mounted_below_itself_is_not_entered_again() {
    let root = tempdir();
    plant(root.path(), &["a", "deep/loop/", "z"]);
    let point = root.path().join("deep/loop");
    match Mounted::at(&point, &["--bind".as_ref(), root.path().as_os_str()]) {
        Some(_mounted) => assert_eq!(
            walk_lines(root.path()),
            ["/", "a", "deep/", "deep/loop/", "deep/loop Loop", "z"],
            "one that is bound plainly shows itself once"
        ),
        None => assert_eq!(walk_lines(root.path()), ["/", "a", "deep/", "deep/loop/", "z"]),
    }
}
