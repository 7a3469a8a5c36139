mod edits;
mod mounts;
mod oddities;

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};
use shudao_vault::entry::{FileTime, Node};
use shudao_vault::id::Digest;

use super::*;

/// The modification time that every path of a test tree gets.
const MTIME: FileTime = FileTime { seconds: 1_500_000_000, nanos: 123_456_789 };

fn tree_path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(text.as_ref()).unwrap()
}

fn read(roots: &[impl AsRef<Path>], options: &LiveOptions) -> Vec<Live> {
    let items: Vec<_> = LiveTree::read(roots, options).unwrap().collect();
    let late = items.windows(2).find(|pair| pair[0].path() > pair[1].path());
    assert_eq!(late, None, "items are in path order");
    items
}

fn entries(root: impl AsRef<Path>) -> Vec<Portable> {
    let item = |live| match live {
        Live::Entry(portable) => portable,
        other => panic!("only entries were expected, not {other:?}"),
    };
    read(&[root], &LiveOptions::default()).into_iter().map(item).collect()
}

/// One line for each item: its path, and a word for what is no entry.
fn show(items: &[Live]) -> Vec<String> {
    let line = |item: &Live| match item {
        Live::Entry(portable) => portable.path.to_string(),
        Live::NotRead { path, why } => format!("{path}: {why}"),
        Live::Skipped { path, why } => format!("{path}: {why}"),
    };
    items.iter().map(line).collect()
}

fn set_mtime(path: &Path, mtime: FileTime) {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn siblings_stand_by_their_bytes_and_children_before_the_next_sibling() {
    let top = tempfile::tempdir().unwrap();
    for directory in ["a", "a/b", "B"] {
        std::fs::create_dir(top.path().join(directory)).unwrap();
    }
    for file in ["a-b", "a/b/c", "a/b-c", "a b"] {
        std::fs::write(top.path().join(file), file).unwrap();
    }
    let items = read(&[top.path()], &LiveOptions { threads: 1, ..LiveOptions::default() });
    assert_eq!(show(&items), ["", "B", "a", "a/b", "a/b/c", "a/b-c", "a b", "a-b"]);
    assert_eq!(items, read(&[top.path()], &LiveOptions { threads: 4, ..LiveOptions::default() }));
}

#[test]
fn a_directory_of_many_names_comes_complete() {
    let top = tempfile::tempdir().unwrap();
    for number in 0..2_000_u32 {
        std::fs::write(top.path().join(format!("{number:x}")), number.to_le_bytes()).unwrap();
    }
    let entries = entries(top.path());
    assert_eq!(entries.len(), 2_001);
    for portable in &entries[1..] {
        let number = u32::from_str_radix(&portable.path.to_string(), 16).unwrap();
        let node = Node::File { size: 4, digest: Digest::of(&number.to_le_bytes()) };
        assert_eq!(portable.node, node);
    }
}

#[test]
fn no_path_is_too_long_and_no_tree_too_deep() {
    const LEVELS: usize = 150;
    let top = tempfile::tempdir().unwrap();
    let name = "d".repeat(100);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut directory = rustix::fs::open(top.path(), flags, Mode::empty()).unwrap();
    for level in 0..LEVELS {
        // This one stands after the deep directory, so that the way back up is walked too.
        let after =
            rustix::fs::openat(&directory, "e", OFlags::CREATE | OFlags::WRONLY, Mode::from(0o644)).unwrap();
        rustix::io::write(&after, &level.to_le_bytes()).unwrap();
        rustix::fs::mkdirat(&directory, &*name, Mode::from(0o755)).unwrap();
        directory = rustix::fs::openat(&directory, &*name, flags, Mode::empty()).unwrap();
    }
    rustix::fs::symlinkat("away", &directory, "link").unwrap();
    rustix::fs::mkfifoat(directory.as_fd(), "pipe", Mode::from(0o600)).unwrap();

    let entries = entries(top.path());
    assert_eq!(entries.len(), 1 + 2 * LEVELS + 2);
    assert_eq!(entries[LEVELS + 1].node, Node::Symlink { target: b"away".to_vec() });
    assert_eq!(entries[LEVELS + 2].node, Node::Fifo);
    assert_eq!(entries[LEVELS + 2].path.as_bytes().len(), LEVELS * 101 + 4);
    for (level, portable) in entries[LEVELS + 3..].iter().rev().enumerate() {
        assert_eq!(portable.node, Node::File { size: 8, digest: Digest::of(&level.to_le_bytes()) });
    }
}

#[test]
fn excluded_directories_are_not_entered() {
    let top = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(top.path().join("cache/deep")).unwrap();
    std::fs::create_dir(top.path().join("kept")).unwrap();
    for file in ["cache/deep/x", "kept/a.log", "kept/b", "cache.log", "top.log"] {
        std::fs::write(top.path().join(file), "").unwrap();
    }
    let excludes = ["cache/", "*.log", "!top.log"].map(String::from).to_vec();
    let items = read(&[top.path()], &LiveOptions { excludes, ..LiveOptions::default() });
    assert_eq!(
        show(&items),
        [
            "",
            "cache: is excluded by a pattern",
            "cache.log: is excluded by a pattern",
            "kept",
            "kept/a.log: is excluded by a pattern",
            "kept/b",
            "top.log"
        ]
    );
    let wrong = LiveOptions { excludes: vec!["a{b".into()], ..LiveOptions::default() };
    assert!(matches!(LiveTree::read(&[top.path()], &wrong), Err(LiveError::Exclude { .. })));
}

/// The items below `top`, with `top`'s own path taken off; and the paths of the directories above it.
fn below(items: &[Live], top: &Path) -> (Vec<String>, Vec<String>) {
    let top = top.to_str().unwrap().trim_start_matches('/').to_owned() + "/";
    let (inside, above): (Vec<_>, Vec<_>) = show(items).into_iter().partition(|line| line.starts_with(&top));
    (inside.into_iter().map(|line| line[top.len()..].to_owned()).collect(), above)
}

#[test]
fn several_roots_keep_their_paths_and_nothing_else_stands_beside_them() {
    let top = tempfile::tempdir().unwrap();
    let at = |path: &str| top.path().join(path);
    for directory in ["one/in", "two", "real/in", "other"] {
        std::fs::create_dir_all(at(directory)).unwrap();
    }
    for file in ["one/f", "one/in/f.log", "two/f", "real/f", "other/f"] {
        std::fs::write(at(file), "").unwrap();
    }
    symlink("real", at("link")).unwrap();
    let options = LiveOptions { excludes: vec!["in".into()], ..LiveOptions::default() };
    let roots = [at("two"), at("link"), at("one"), at("one/in"), at("other/f"), at("two")];
    let (inside, above) = below(&read(&roots, &options), top.path());
    assert_eq!(
        inside,
        [
            "link",
            "link/f",
            "link/in: is excluded by a pattern",
            "one",
            "one/f",
            "one/in",
            "one/in/f.log",
            "other",
            "other/f",
            "two",
            "two/f"
        ]
    );
    let depth = top.path().components().count();
    assert_eq!(above.len(), depth, "one entry for each directory above, `/` included: {above:?}");
}

#[test]
fn one_file_stands_alone_below_its_directory() {
    let top = tempfile::tempdir().unwrap();
    std::fs::write(top.path().join("file"), "x").unwrap();
    std::fs::write(top.path().join("other"), "x").unwrap();
    assert_eq!(show(&read(&[top.path().join("file")], &LiveOptions::default())), ["", "file"]);
}

#[test]
fn a_tree_may_be_dropped_half_read() {
    let top = tempfile::tempdir().unwrap();
    for number in 0..300 {
        std::fs::write(top.path().join(number.to_string()), vec![0; 10_000]).unwrap();
    }
    let mut tree = LiveTree::read(&[top.path()], &LiveOptions::default()).unwrap();
    assert!(tree.nth(3).is_some());
}
