//! Everything that a POSIX tree can hold, and everything that can go wrong with it.

use std::os::unix::net::UnixListener;

use rustix::fs::{FileType, XattrFlags};
use rustix::io::Errno;
use shudao_vault::entry::{Xattr, XattrValue};

use super::*;

/// An ACL as the kernel takes it: owner rw, user 4242 r, group r, mask r, others none.
const ACL: [u8; 44] = [
    2, 0, 0, 0, // version
    1, 0, 6, 0, 255, 255, 255, 255, // owner
    2, 0, 4, 0, 0x92, 0x10, 0, 0, // user 4242
    4, 0, 4, 0, 255, 255, 255, 255, // group
    16, 0, 4, 0, 255, 255, 255, 255, // mask
    32, 0, 0, 0, 255, 255, 255, 255, // others
];
/// CAP_NET_RAW, permitted and effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// A tree under construction, and the entries that a reader must find in it.
struct Tree {
    top: tempfile::TempDir,
    expected: Vec<Portable>,
}

impl Tree {
    fn new() -> Self {
        let mut tree = Self { top: tempfile::tempdir().unwrap(), expected: Vec::new() };
        tree.expect("", 0o755, Node::Directory);
        tree
    }

    fn at(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.top.path().join(std::ffi::OsStr::from_bytes(name.as_ref()))
    }

    /// Expects an entry of our own with the usual time and no attributes.
    fn expect(&mut self, name: impl AsRef<[u8]>, mode: u32, node: Node) -> &mut Portable {
        if !matches!(node, Node::Symlink { .. }) {
            set_mode(&self.at(&name), mode);
        }
        self.expected.push(Portable {
            path: tree_path(name),
            node,
            mode,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime: MTIME,
            xattrs: Vec::new(),
            first_link: None,
        });
        self.expected.last_mut().unwrap()
    }

    fn file(&mut self, name: impl AsRef<[u8]>, mode: u32, content: &[u8]) -> &mut Portable {
        std::fs::write(self.at(&name), content).unwrap();
        self.expect(name, mode, Node::File { size: content.len() as u64, digest: Digest::of(content) })
    }

    fn directory(&mut self, name: &str, mode: u32) -> &mut Portable {
        std::fs::create_dir(self.at(name)).unwrap();
        self.expect(name, mode, Node::Directory)
    }

    fn symlink(&mut self, name: &str, target: &str) {
        symlink(target, self.at(name)).unwrap();
        self.expect(name, 0o777, Node::Symlink { target: target.into() });
    }

    fn node(&mut self, name: &str, kind: FileType, node: Node) {
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, self.at(name), kind, Mode::from(0o640), device).unwrap();
        self.expect(name, 0o640, node);
    }

    /// Sets an attribute and expects it, where the file system takes it.
    fn xattr(&mut self, name: &str, attribute: &str, value: &[u8]) {
        match rustix::fs::lsetxattr(self.at(name), attribute, value, XattrFlags::empty()) {
            Ok(()) => {}
            // ext4 keeps no long values.
            Err(Errno::NOSPC | Errno::TOOBIG) if value.len() > 4000 => return,
            Err(errno) => panic!("set {attribute} of {name}: {errno}"),
        }
        let value = if value.len() > 4096 {
            XattrValue::Chunk { digest: Digest::of(value), length: value.len() as u32 }
        } else {
            XattrValue::Inline(value.to_vec())
        };
        let path = tree_path(name);
        let portable = self.expected.iter_mut().find(|portable| portable.path == path).unwrap();
        portable.xattrs.push(Xattr { name: attribute.into(), value });
        portable.xattrs.sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Sets the time of everything, which creating siblings has changed, and returns what is expected in path order.
    fn finish(&mut self) -> Vec<Portable> {
        for portable in &self.expected {
            set_mtime(&self.at(portable.path.as_bytes()), portable.mtime);
        }
        let mut expected = self.expected.clone();
        expected.sort_by(|one, other| one.path.cmp(&other.path));
        expected
    }
}

/// `mode` says what chmod leaves of an ACL: group bits are its mask.
fn build_attributes(tree: &mut Tree) {
    tree.file("acl", 0o640, b"acl");
    tree.xattr("acl", "system.posix_acl_access", &ACL);
    tree.xattr("acl", "user.second", b"2");
    tree.xattr("acl", "user.first", b"");
    tree.directory("defaults", 0o755);
    tree.xattr("defaults", "system.posix_acl_default", &ACL);
    tree.xattr("defaults", "user.蜀", "道".as_bytes());
    tree.node("pipe", FileType::Fifo, Node::Fifo);
    tree.xattr("pipe", "system.posix_acl_access", &ACL);
    tree.file("long", 0o644, b"");
    tree.xattr("long", "user.long", &[7; 5000]);
}

/// What only root may make.
fn build_as_root(tree: &mut Tree) {
    tree.node("char", FileType::CharacterDevice, Node::CharDevice { major: 1, minor: 3 });
    tree.node("block", FileType::BlockDevice, Node::BlockDevice { major: 1, minor: 3 });
    tree.file("capable", 0o755, b"ping");
    tree.xattr("capable", "security.capability", &CAPABILITY);
    tree.file("theirs", 0o600, b"");
    std::os::unix::fs::chown(tree.at("theirs"), Some(70_000), Some(80_000)).unwrap();
    let theirs = tree.expected.last_mut().unwrap();
    (theirs.uid, theirs.gid) = (70_000, 80_000);
}

#[test]
fn every_kind_of_file_is_read_as_it_is() {
    let mut tree = Tree::new();
    tree.file("empty", 0o644, b"");
    tree.file("secret", 0o600, b"abc");
    tree.file("large", 0o644, &[1; 3 * 1024 * 1024 + 1]);
    tree.file(b"bytes\xff", 0o644, b"1");
    tree.file("line\nbreak", 0o644, b"2");
    tree.file("setuid", 0o4755, b"#!/bin/sh");
    tree.file("old", 0o444, b"").mtime = FileTime { seconds: -1_001, nanos: 500_000_000 };
    tree.directory("sticky", 0o1777);
    tree.directory("shared", 0o2775);
    tree.symlink("dangling", "no/such\nplace");
    tree.symlink("up", "..");

    let mut sparse = vec![0; 5_000_001];
    sparse[4_999_999] = 9;
    let file = std::fs::File::create(tree.at("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &[9, 0], 4_999_999).unwrap();
    tree.expect("sparse", 0o644, Node::File { size: 5_000_001, digest: Digest::of(&sparse) });

    let _socket = UnixListener::bind(tree.at("socket")).unwrap();
    build_attributes(&mut tree);
    if is_root() {
        build_as_root(&mut tree);
    }
    let expected = tree.finish();

    let items = read(&[tree.top.path()], &LiveOptions::default());
    let (skipped, found): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| matches!(item, Live::Skipped { .. }));
    assert_eq!(skipped, [Live::Skipped { path: tree_path("socket"), why: Skipped::Socket }]);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(*found, Live::Entry(expected.clone()));
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn later_links_name_the_first_in_path_order() {
    let top = tempfile::tempdir().unwrap();
    let at = |name: &str| top.path().join(name);
    std::fs::create_dir(at("dir")).unwrap();
    std::fs::write(at("z"), "linked").unwrap();
    rustix::fs::mkfifoat(CWD, at("pipe-b"), Mode::from(0o600)).unwrap();
    symlink("target", at("sym-b")).unwrap();
    for (from, to) in [("z", "dir/y"), ("z", "dir/x"), ("pipe-b", "pipe-a"), ("sym-b", "sym-a")] {
        rustix::fs::linkat(CWD, at(from), CWD, at(to), AtFlags::empty()).unwrap();
    }
    // The last two links of this one lie outside the tree.
    let outside = tempfile::tempdir_in(top.path().parent().unwrap()).unwrap();
    std::fs::write(at("lone"), "lone").unwrap();
    std::fs::hard_link(at("lone"), outside.path().join("lone")).unwrap();

    let found: Vec<_> = entries(top.path())
        .into_iter()
        .filter_map(|portable| portable.first_link.map(|first| format!("{} = {first}", portable.path)))
        .collect();
    assert_eq!(found, ["dir/y = dir/x", "pipe-b = pipe-a", "sym-b = sym-a", "z = dir/x"]);
    for portable in
        entries(top.path()).iter().filter(|portable| matches!(portable.node, Node::File { size: 6, .. }))
    {
        assert_eq!(portable.node, Node::File { size: 6, digest: Digest::of(b"linked") });
    }
}

#[test]
fn links_are_told_apart_when_the_window_is_long_past() {
    let top = tempfile::tempdir().unwrap();
    std::fs::write(top.path().join("first"), "x").unwrap();
    for number in 0..2 * WINDOW_ITEMS_MAX {
        std::fs::write(top.path().join(format!("m{number}")), "").unwrap();
    }
    std::fs::hard_link(top.path().join("first"), top.path().join("zlast")).unwrap();
    let last = entries(top.path()).pop().unwrap();
    assert_eq!((last.path, last.first_link), (tree_path("zlast"), Some(tree_path("first"))));
}

/// Runs `body` as an ordinary user: root gives its rights up for one thread, others are ordinary already.
fn as_ordinary_user(body: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let run = move || {
            if is_root() {
                let (user, group) = (rustix::fs::Uid::from_raw(65_534), rustix::fs::Gid::from_raw(65_534));
                rustix::thread::set_thread_groups(&[]).unwrap();
                rustix::thread::set_thread_res_gid(group, group, group).unwrap();
                rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            }
            body();
        };
        scope.spawn(run).join().unwrap();
    });
}

#[test]
fn what_an_ordinary_user_may_not_read_is_no_entry() {
    let top = tempfile::tempdir().unwrap();
    let at = |name: &str| top.path().join(name);
    for directory in ["closed", "names-only", "open"] {
        std::fs::create_dir(at(directory)).unwrap();
        std::fs::write(at(directory).join("f"), "x").unwrap();
    }
    std::fs::write(at("secret"), "x").unwrap();
    for (name, mode) in
        [("", 0o755), ("closed", 0o311), ("names-only", 0o744), ("secret", 0o000), ("open", 0o755)]
    {
        set_mode(&at(name), mode);
    }
    if !is_root() {
        // The owner's bits are what counts for us.
        set_mode(&at("closed"), 0o300);
        set_mode(&at("names-only"), 0o400);
    }
    as_ordinary_user(|| {
        assert_eq!(
            show(&read(&[top.path()], &LiveOptions::default())),
            [
                "",
                "closed: cannot open the directory: Permission denied (os error 13)",
                "names-only",
                "names-only/f: cannot read the metadata: Permission denied (os error 13)",
                "open",
                "open/f",
                "secret: cannot open the file: Permission denied (os error 13)",
            ]
        );
        let refused = LiveTree::read(&[at("closed")], &LiveOptions::default()).err();
        assert!(matches!(refused, Some(LiveError::OpenRoot { .. })), "{refused:?}");
        // What only leads to a root need not be readable.
        let roots = [at("closed/f"), at("open")];
        assert_eq!(
            below(&read(&roots, &LiveOptions::default()), top.path()).0,
            ["closed", "closed/f", "open", "open/f"]
        );
    });
    if is_root() {
        assert_eq!(entries(top.path()).len(), 8);
    }
    // The directory must be removable again.
    set_mode(&at("closed"), 0o755);
    set_mode(&at("names-only"), 0o755);
}

/// A leaf as the walk finds it, before something happens to it.
fn leaf(top: &Path, name: &str) -> Leaf {
    let directory = rustix::fs::open(top, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let name = CString::new(name).unwrap();
    let facts = node::Facts::of_name(directory.as_fd(), &name, node::Follow::Never).unwrap();
    let path = tree_path(name.to_bytes());
    Leaf { directory: Arc::new(directory), name, path, facts, follow: node::Follow::Never }
}

#[test]
fn what_changes_under_the_reader_is_no_entry() {
    type Event = fn(&Path);
    let fifo = |path: &Path| rustix::fs::mkfifoat(CWD, path, Mode::from(0o600)).unwrap();
    let write = |path: &Path| std::fs::write(path, "abc").unwrap();
    let remove: Event = |path| std::fs::remove_file(path).unwrap();
    let by_link: Event = |path| {
        std::fs::remove_file(path).unwrap();
        symlink("/etc/passwd", path).unwrap();
    };
    let by_pipe: Event = |path| {
        std::fs::rename(path, path.with_extension("moved")).unwrap();
        rustix::fs::mkfifoat(CWD, path, Mode::from(0o600)).unwrap();
    };
    let chmod: Event = |path| set_mode(path, 0o777);
    for (make, event, expected) in [
        (write as Event, remove, NotRead::Vanished),
        (write, by_link, NotRead::Replaced),
        (write, by_pipe, NotRead::Replaced),
        (fifo, remove, NotRead::Vanished),
        (fifo, by_pipe, NotRead::Replaced),
        (fifo, chmod, NotRead::Changed),
    ] {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("p");
        make(&path);
        let leaf = leaf(top.path(), "p");
        event(&path);
        assert_eq!(leaf.read(Known::Nothing, &AtomicBool::new(false)).err(), Some(expected));
    }
}

#[test]
fn a_file_that_grows_or_shrinks_while_it_is_read_has_changed() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("p");
    std::fs::write(&path, "abc").unwrap();
    for (size, expected) in
        [(2, Err(NotRead::Changed)), (3, Ok(Digest::of(b"abc"))), (4, Err(NotRead::Changed))]
    {
        let file = std::fs::File::open(&path).unwrap();
        assert_eq!(node::read_digest(file.as_fd(), size, &AtomicBool::new(false)), expected, "{size}");
    }
}

#[test]
fn a_known_digest_is_believed_only_while_the_file_is_the_same() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("p");
    std::fs::write(&path, "abc").unwrap();
    let leaf = leaf(top.path(), "p");
    let invented = Digest([7; 32]);
    let digest = |known| match leaf.read(known, &AtomicBool::new(false)).unwrap().0.node {
        Node::File { digest, .. } => digest,
        node => panic!("{node:?}"),
    };
    assert_eq!(digest(Known::Digest(leaf.facts, invented)), invented);
    set_mtime(&path, MTIME);
    assert_eq!(digest(Known::Digest(leaf.facts, invented)), Digest::of(b"abc"));
}
