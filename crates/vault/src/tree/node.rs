//! Nodes of the tree as bytes, and what one must satisfy.
//!
//! ```text
//! form 1 | level u8 | count varint | items: shared varint, suffix bytes, then
//!     leaf:   portable part bytes, local part bytes
//!     branch: child's digest 32, entries varint, size varint
//! ```

use super::entry_codec::{ITEM_OVERHEAD, decode_parts, encode_parts};
use super::{ENTRY_BYTES_MAX, LEVEL_MAX, NODE_BYTES_MAX, NODE_WEIGHT_MAX};
use crate::codec::{Decoder, Encoder};
use crate::entry::{Entry, Node, TreePath};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;

const FORM_TREE: u8 = 1;
/// A heavy entry stands alone in its leaf.
const LEAF_ITEMS_OVER_LIMIT: usize = 1;
/// A branch needs two children to bring the tree to an end, however long their paths.
pub(super) const BRANCH_ITEMS_OVER_LIMIT: usize = 2;
/// Digest and two varints at their longest, and the overhead of an item.
const CHILD_PARTS_BYTES_MAX: usize = 64;
const WHAT: &str = "tree node";

/// What a branch says about one child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The first path below it.
    pub first: TreePath,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Entries below it.
    pub entries: u64,
    /// Sum of the sizes of the files below it, held at `u64::MAX`.
    pub bytes: u64,
}

/// A decoded node, legal in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeNode {
    /// Entries in path order, at least one.
    Leaf(Vec<Entry>),
    /// Children in path order, at least one.
    Branch {
        /// 1 above leaves, and so on.
        level: u8,
        /// The children, whose level is one less.
        children: Vec<Child>,
    },
}

impl TreeNode {
    /// Decodes a node and checks everything that can be seen in it alone.
    ///
    /// # Errors
    /// [`Kind::Damaged`] for every byte string that [`TreeNode::encode`] does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Decoder::new(bytes, WHAT);
        if bytes.len() > NODE_BYTES_MAX {
            return Err(input.error("too long"));
        }
        if input.u8()? != FORM_TREE {
            return Err(input.error("unknown form"));
        }
        let level = input.u8()?;
        if level > LEVEL_MAX {
            return Err(input.error("impossible level"));
        }
        let node = if level == 0 {
            Self::Leaf(decode_entries(&mut input)?)
        } else {
            Self::Branch { level, children: decode_children(&mut input)? }
        };
        input.finish()?;
        Ok(node)
    }

    /// The node's bytes.
    ///
    /// # Errors
    /// [`Kind::Bug`] if the node is not legal.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut open = OpenNode::default();
        match self {
            Self::Leaf(entries) => {
                for entry in entries {
                    open.push(entry.path(), &encode_parts(entry)?, Sums { entries: 1, bytes: entry.size() });
                }
            }
            Self::Branch { children, .. } => {
                for child in children {
                    let sums = Sums { entries: child.entries, bytes: child.bytes };
                    open.push(&child.first, &child_parts(child), sums);
                }
            }
        }
        let bytes = open.close(self.level()).map(|(_, bytes)| bytes).unwrap_or_default();
        match Self::decode(&bytes) {
            Ok(node) if node == *self => Ok(bytes),
            _ => Err(Error::new(Kind::Bug, "encode tree node: it breaks a rule of the format")),
        }
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch { level, .. } => *level,
        }
    }

    /// First and last path that stand in the node itself.
    pub(super) fn ends(&self) -> Option<(&TreePath, &TreePath)> {
        match self {
            Self::Leaf(entries) => Some((entries.first()?.path(), entries.last()?.path())),
            Self::Branch { children, .. } => Some((&children.first()?.first, &children.last()?.first)),
        }
    }

    /// Entries below the node, if their number fits, and the sum of their sizes.
    pub(super) fn sums(&self) -> (Option<u64>, u64) {
        match self {
            Self::Leaf(entries) => (
                Some(entries.len() as u64),
                entries.iter().fold(0, |sum, entry| u64::saturating_add(sum, entry.size())),
            ),
            Self::Branch { children, .. } => (
                children.iter().try_fold(0, |sum, child| u64::checked_add(sum, child.entries)),
                children.iter().fold(0, |sum, child| u64::saturating_add(sum, child.bytes)),
            ),
        }
    }
}

/// What the rule about directories needs to know of the entry before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Previous {
    path: TreePath,
    is_directory: bool,
}

impl Previous {
    pub(super) fn of(entry: &Entry) -> Self {
        Self { path: entry.path().clone(), is_directory: entry.portable.node == Node::Directory }
    }

    pub(super) fn path(&self) -> &TreePath {
        &self.path
    }

    /// Whether an entry at `path` may follow: it comes later, and stands in this directory or in one that holds this
    /// entry.
    pub(super) fn allows(&self, path: &TreePath) -> bool {
        let (previous, bytes) = (self.path.as_bytes(), path.as_bytes());
        let parent = &bytes[..bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        let in_directory = if previous == parent {
            self.is_directory
        } else {
            parent.is_empty() || (previous.starts_with(parent) && previous[parent.len()] == b'/')
        };
        in_directory && self.path < *path
    }
}

fn decode_entries(input: &mut Decoder<'_>) -> Result<Vec<Entry>> {
    let count = item_count(input, 40)?;
    let mut items = Items::of_leaf();
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let path = items.next_path(input)?;
        let before = input.remaining();
        let entry = decode_parts(path, input)?;
        items.end_item(before - input.remaining(), input)?;
        if entries.last().is_some_and(|previous| !Previous::of(previous).allows(entry.path())) {
            return Err(input.error("an entry stands in no directory"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn decode_children(input: &mut Decoder<'_>) -> Result<Vec<Child>> {
    let count = item_count(input, 36)?;
    let mut items = Items::of_branch();
    let mut children = Vec::with_capacity(count);
    for _ in 0..count {
        let first = items.next_path(input)?;
        let before = input.remaining();
        let child =
            Child { first, digest: Digest(input.array()?), entries: input.varint()?, bytes: input.varint()? };
        items.end_item(before - input.remaining(), input)?;
        children.push(child);
    }
    Ok(children)
}

fn item_count(input: &mut Decoder<'_>, item_bytes_min: usize) -> Result<usize> {
    match input.count(item_bytes_min)? {
        0 => Err(input.error("has no items")),
        count => Ok(count),
    }
}

/// Reads the paths of a node's items and holds the node to its limits, counting full paths: prefix compression must
/// not let a short node expand to more than a long one.
struct Items {
    previous: Option<TreePath>,
    count: usize,
    weight: usize,
    /// A node with more items than this must keep to [`NODE_WEIGHT_MAX`].
    count_over_limit: usize,
    /// No item may be heavier.
    item_weight_max: usize,
}

impl Items {
    fn of_leaf() -> Self {
        Self::new(LEAF_ITEMS_OVER_LIMIT, ENTRY_BYTES_MAX)
    }

    fn of_branch() -> Self {
        Self::new(BRANCH_ITEMS_OVER_LIMIT, ENTRY_BYTES_MAX + CHILD_PARTS_BYTES_MAX)
    }

    fn new(count_over_limit: usize, item_weight_max: usize) -> Self {
        Self { previous: None, count: 0, weight: 0, count_over_limit, item_weight_max }
    }

    fn next_path(&mut self, input: &mut Decoder<'_>) -> Result<TreePath> {
        let shared = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
        let suffix = input.bytes(ENTRY_BYTES_MAX)?;
        let previous = self.previous.as_ref().map_or(&[][..], TreePath::as_bytes);
        if shared > previous.len() || (shared < previous.len() && suffix.first() == previous.get(shared)) {
            return Err(input.error("shared prefix is not the longest"));
        }
        self.count += 1;
        self.weigh(shared + suffix.len(), 0, input)?;
        let path = TreePath::new([&previous[..shared], suffix].concat());
        let path = path.ok_or_else(|| input.error("illegal path"))?;
        if self.previous.as_ref().is_some_and(|previous| *previous >= path) {
            return Err(input.error("paths do not ascend"));
        }
        self.weight += path.as_bytes().len();
        self.previous = Some(path.clone());
        Ok(path)
    }

    /// Counts the bytes that followed the item's path.
    fn end_item(&mut self, parts_bytes: usize, input: &Decoder<'_>) -> Result<()> {
        let path_bytes = self.previous.as_ref().map_or(0, |path| path.as_bytes().len());
        self.weigh(0, parts_bytes, input)?;
        if ITEM_OVERHEAD + path_bytes + parts_bytes > self.item_weight_max {
            return Err(input.error("item too long"));
        }
        self.weight += ITEM_OVERHEAD + parts_bytes;
        Ok(())
    }

    /// Refuses an item that would break a limit, before anything is allocated for it.
    fn weigh(&self, path_bytes: usize, parts_bytes: usize, input: &Decoder<'_>) -> Result<()> {
        let item = ITEM_OVERHEAD + path_bytes + parts_bytes;
        if item > self.item_weight_max {
            return Err(input.error("item too long"));
        }
        if self.count > self.count_over_limit && self.weight + item > NODE_WEIGHT_MAX {
            return Err(input.error("too long for its number of items"));
        }
        Ok(())
    }
}

/// A node that is being filled.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenNode {
    items: Encoder,
    first: Option<TreePath>,
    previous: TreePath,
    count: usize,
    weight: usize,
    entries: u64,
    bytes: u64,
}

/// What stands below an item: one entry and its size, or what a child says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums {
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

impl OpenNode {
    /// Items so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether an item may be added without passing the limit of a node.
    pub(super) fn has_room(&self, path: &TreePath, parts: &[u8]) -> bool {
        self.weight + ITEM_OVERHEAD + path.as_bytes().len() + parts.len() <= NODE_WEIGHT_MAX
    }

    /// Adds an item; paths must ascend.
    pub(super) fn push(&mut self, path: &TreePath, parts: &[u8], sums: Sums) {
        let bytes = path.as_bytes();
        let shared = bytes.iter().zip(self.previous.as_bytes()).take_while(|(a, b)| a == b).count();
        self.items.varint(shared as u64).bytes(&bytes[shared..]).raw(parts);
        self.first.get_or_insert_with(|| path.clone());
        self.previous = path.clone();
        self.count += 1;
        self.weight += ITEM_OVERHEAD + bytes.len() + parts.len();
        self.entries = self.entries.saturating_add(sums.entries);
        self.bytes = self.bytes.saturating_add(sums.bytes);
    }

    /// The node's bytes and what its parent says of it; `None` if it has no items. Begins a new one.
    pub(super) fn close(&mut self, level: u8) -> Option<(Child, Vec<u8>)> {
        let Self { items, first, count, entries, bytes, .. } = std::mem::take(self);
        let mut out = Encoder::new();
        out.u8(FORM_TREE).u8(level).varint(count as u64).raw(items.as_slice());
        let node = out.finish();
        Some((Child { first: first?, digest: Digest::of(&node), entries, bytes }, node))
    }
}

/// Everything that follows a child's first path in a branch.
pub(super) fn child_parts(child: &Child) -> Vec<u8> {
    let mut out = Encoder::new();
    out.raw(&child.digest.0).varint(child.entries).varint(child.bytes);
    out.finish()
}
