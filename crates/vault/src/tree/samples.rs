//! Trees for tests, and a store of nodes that can lose some.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use bytes::Bytes;
use proptest::prelude::*;

use super::{NodeSink, NodeSource, TreeBuilder, TreeSummary};
use crate::entry::{Entry, Extent, Extents, FileTime, Local, Node, Portable, TreePath, Xattr, XattrValue};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;
use crate::suite::Secret;

/// A boundary key.
pub(crate) const KEY: Secret = Secret([3; 32]);

/// Nodes in memory.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) nodes: HashMap<Digest, Vec<u8>>,
    pub(crate) lost: BTreeSet<Digest>,
    pub(crate) reads: Mutex<Vec<Digest>>,
    /// Every other request is refused for now.
    pub(crate) is_flaky: bool,
}

impl NodeSink for Nodes {
    fn put_node(&mut self, digest: Digest, node: Vec<u8>) -> Result<()> {
        assert_eq!(Digest::of(&node), digest);
        self.nodes.insert(digest, node);
        Ok(())
    }
}

impl NodeSource for Nodes {
    async fn node(&self, digest: &Digest) -> Result<Bytes> {
        let reads = {
            let mut reads = self.reads.lock().unwrap();
            reads.push(*digest);
            reads.len()
        };
        if self.is_flaky && reads % 2 == 1 {
            return Err(Error::new(Kind::Unavailable, "busy"));
        }
        match self.nodes.get(digest) {
            Some(node) if !self.lost.contains(digest) => Ok(Bytes::from(node.clone())),
            _ => Err(Error::new(Kind::Missing, "no such node")),
        }
    }
}

impl Nodes {
    pub(crate) fn take_reads(&self) -> Vec<Digest> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

/// A source of numbers that depends on its seed alone.
pub(crate) struct Numbers {
    seed: u64,
    drawn: Cell<u64>,
}

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, drawn: Cell::new(0) }
    }

    pub(crate) fn next(&self) -> u64 {
        self.drawn.set(self.drawn.get() + 1);
        let hash = blake3::hash(&[self.seed.to_le_bytes(), self.drawn.get().to_le_bytes()].concat());
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap())
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(&self.next().to_le_bytes())
    }

    fn time(&self) -> FileTime {
        FileTime { seconds: self.next() as i64, nanos: self.below(1_000_000_000) as u32 }
    }
}

/// An entry of any kind; which one follows from the seed.
pub(crate) fn entry(path: TreePath, seed: u64) -> Entry {
    let numbers = Numbers::new(seed);
    let (node, extents) = match numbers.below(10) {
        _ if path.is_root() => (Node::Directory, Vec::new()),
        0 => (Node::Directory, Vec::new()),
        1 => (Node::Symlink { target: b"../\xff/target".to_vec() }, Vec::new()),
        2 => (Node::Fifo, Vec::new()),
        3 => (Node::CharDevice { major: numbers.next() as u32, minor: 1 }, Vec::new()),
        4 => (Node::BlockDevice { major: 8, minor: numbers.next() as u32 }, Vec::new()),
        5 => (Node::File { size: 0, digest: Digest::of(b"") }, Vec::new()),
        6 | 7 => {
            let (size, digest) = (1 + numbers.below(1 << 32), numbers.digest());
            let length = u32::try_from(size).unwrap_or(u32::MAX);
            let size = u64::from(length);
            (Node::File { size, digest }, vec![Extent::Data { digest, length }])
        }
        _ => {
            let extents: Vec<_> = (0..1 + numbers.below(16)).map(|_| extent(&numbers)).collect();
            let size = extents.iter().map(Extent::length).sum();
            (Node::File { size, digest: numbers.digest() }, extents)
        }
    };
    let is_directory = node == Node::Directory;
    let first_link = (!is_directory && numbers.below(8) == 0).then(|| self::path("\u{1}"));
    Entry {
        portable: Portable {
            first_link: first_link.filter(|first| *first < path),
            path,
            node,
            mode: numbers.below(0o10000) as u32,
            uid: [0, 1000, u32::MAX][numbers.below(3) as usize],
            gid: 0,
            mtime: numbers.time(),
            xattrs: xattrs(&numbers),
        },
        local: Local {
            user: b"root".to_vec(),
            group: if numbers.below(2) == 0 { Vec::new() } else { b"wheel".to_vec() },
            ctime: numbers.time(),
            inode: numbers.next(),
            device: 5,
            extents: Extents::Inline(extents),
            profile: 1,
            settled: numbers.below(2) == 0,
            torn: numbers.below(9) == 0,
        },
    }
}

/// An entry that is no directory and has no links, attributes or extents.
pub(crate) fn fifo(path: TreePath) -> Entry {
    let mut entry = entry(path, 5);
    entry.portable.node = Node::Fifo;
    entry.portable.first_link = None;
    entry.portable.xattrs = Vec::new();
    entry.local.extents = Extents::default();
    entry
}

pub(crate) fn extent(numbers: &Numbers) -> Extent {
    match numbers.below(4) {
        0 => Extent::Hole { length: 1 + numbers.below(1 << 40) },
        _ => Extent::Data { digest: numbers.digest(), length: 1 + numbers.below(1 << 20) as u32 },
    }
}

fn xattrs(numbers: &Numbers) -> Vec<Xattr> {
    let mut xattrs = Vec::new();
    if numbers.below(5) == 0 {
        let length = 4097 + numbers.below(60_000) as u32;
        xattrs.push(Xattr {
            name: b"user.long".to_vec(),
            value: XattrValue::Chunk { digest: numbers.digest(), length },
        });
    }
    if numbers.below(5) == 0 {
        let value = vec![b'x'; numbers.below(200) as usize];
        xattrs.push(Xattr { name: b"user.short".to_vec(), value: XattrValue::Inline(value) });
    }
    xattrs
}

pub(crate) type Model = BTreeMap<TreePath, Entry>;

/// The tree with these entries and every directory above them.
pub(crate) fn model(paths: impl IntoIterator<Item = (TreePath, u64)>) -> Model {
    let mut model = Model::new();
    model.insert(TreePath::root(), entry(TreePath::root(), 0));
    for (path, seed) in paths {
        insert(&mut model, path, seed);
    }
    model
}

/// Adds or replaces an entry; directories above it are added, and an entry that holds others stays a directory.
pub(crate) fn insert(model: &mut Model, path: TreePath, seed: u64) {
    let mut above = path.parent();
    while let Some(directory) = above {
        if model.get(&directory).is_some_and(|entry| entry.portable.node == Node::Directory) {
            break;
        }
        above = directory.parent();
        model.insert(directory.clone(), directory_entry(directory, seed));
    }
    let holds_others = model.range(&path..).nth(1).is_some_and(|(next, _)| next.is_within(&path));
    let is_new = !model.contains_key(&path);
    let new =
        if holds_others && !is_new { directory_entry(path.clone(), seed) } else { entry(path.clone(), seed) };
    model.insert(path, new);
}

fn directory_entry(path: TreePath, seed: u64) -> Entry {
    let mut entry = entry(path, seed);
    entry.portable.node = Node::Directory;
    entry.portable.first_link = None;
    entry.local.extents = Extents::default();
    entry
}

/// Paths with names that sort around the separator, and names that are not text.
pub(crate) fn any_path() -> impl Strategy<Value = TreePath> {
    let names: [&[u8]; 8] = [b"a", b"a-", b"a\x01", b"b", b"\xff", b"\n", b"longer name", b"z.z"];
    proptest::collection::vec(proptest::sample::select(names.to_vec()), 1..5)
        .prop_map(|names| TreePath::new(names.join(&b'/')).unwrap())
}

pub(crate) fn any_model(entries_max: usize) -> impl Strategy<Value = Model> {
    proptest::collection::vec((any_path(), any::<u64>()), 0..entries_max).prop_map(model)
}

/// A tree as large as it takes for three levels of nodes.
pub(crate) fn large_model(files: u64) -> Model {
    model((0..files).map(|i| (path(&format!("directory {}/of files/file number {i}", i % 97)), i)))
}

pub(crate) fn build(model: &Model, nodes: &mut Nodes) -> TreeSummary {
    let mut builder = TreeBuilder::new(&KEY);
    for entry in model.values() {
        builder.push(entry, nodes).unwrap();
    }
    builder.finish(nodes).unwrap()
}
