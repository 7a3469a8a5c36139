//! Readers of a file's extents, whether they stand in the entry or in list nodes.

use std::collections::VecDeque;

use super::list_node::ListNode;
use super::read::Walk;
use super::{LEVEL_MAX, NodeSource, fetch, is_loss};
use crate::entry::{Extent, Extents};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;

/// A list node and the bytes of the file that it speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListNodeRef {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// 0 for a leaf; not known of the root before it is read.
    pub level: Option<u8>,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many they are.
    pub length: u64,
    /// Number of extents below it.
    pub extents: u64,
}

/// A file's extents in logical order. Holds one node per level.
#[derive(Debug)]
pub struct ExtentStream<S> {
    source: S,
    frames: Vec<VecDeque<ListNodeRef>>,
    leaf: VecDeque<(u64, Extent)>,
    /// Extents that end here or before are passed over.
    floor: u64,
    gap: Option<ListNodeRef>,
}

impl<S: NodeSource> ExtentStream<S> {
    /// The extents of a file of `size` bytes. Reads nothing yet.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if extents that stand in the entry do not sum to `size`.
    pub fn open(source: S, extents: &Extents, size: u64) -> Result<Self> {
        let mut stream = Self { source, frames: Vec::new(), leaf: VecDeque::new(), floor: 0, gap: None };
        match extents {
            Extents::Inline(extents) => {
                let sum = extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.length()));
                if sum != Some(size) {
                    return Err(Error::damaged("read extents: they do not sum to the file's size"));
                }
                stream.leaf = place(0, extents);
            }
            Extents::Listed { root, count } => {
                let root =
                    ListNodeRef { digest: *root, level: None, offset: 0, length: size, extents: *count };
                stream.frames.push(VecDeque::from([root]));
            }
        }
        Ok(stream)
    }

    /// The next extent and its offset in the file, or `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`Kind::Missing`] or [`Kind::Damaged`] once for each lost node, with the bytes that are lost with it
    /// ([`ExtentStream::gap`] has them as values); the next call goes on after them. After any other error the next
    /// call tries the same node again.
    pub async fn next(&mut self) -> Result<Option<(u64, Extent)>> {
        loop {
            self.pass_hidden();
            if let Some(next) = self.leaf.pop_front() {
                return Ok(Some(next));
            }
            if self.peek().is_none() {
                return Ok(None);
            }
            self.expand().await?;
        }
    }

    /// Passes over every extent that ends at `offset` or before. Never goes back.
    pub fn seek(&mut self, offset: u64) {
        self.floor = self.floor.max(offset);
    }

    /// The node that was lost last, with the range of bytes lost with it.
    pub fn gap(&self) -> Option<&ListNodeRef> {
        self.gap.as_ref()
    }

    fn peek(&self) -> Option<ListNodeRef> {
        self.frames.last().and_then(VecDeque::front).copied()
    }

    fn pop_node(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            frame.pop_front();
        }
    }

    fn pass_hidden(&mut self) {
        let floor = self.floor;
        while self.leaf.front().is_some_and(|(offset, extent)| offset + extent.length() <= floor) {
            self.leaf.pop_front();
        }
        if !self.leaf.is_empty() {
            return;
        }
        while let Some(frame) = self.frames.last_mut() {
            match frame.front() {
                None => {
                    self.frames.pop();
                }
                Some(node) if node.offset + node.length <= floor => {
                    frame.pop_front();
                }
                Some(_) => return,
            }
        }
    }

    /// Reads the node that comes next; returns its level.
    async fn expand(&mut self) -> Result<u8> {
        let Some(at) = self.peek() else {
            return Err(Error::new(Kind::Bug, "read extents: nothing to expand"));
        };
        let node = match read(&self.source, &at).await {
            Ok(node) => node,
            Err(error) if is_loss(&error) => {
                self.pop_node();
                self.gap = Some(at);
                return Err(error.context(format!(
                    "read list node {}: bytes {} up to {} of the file are lost",
                    at.digest.short(),
                    at.offset,
                    at.offset + at.length
                )));
            }
            Err(error) => return Err(error),
        };
        self.pop_node();
        let level = node.level();
        match node {
            ListNode::Leaf(extents) => self.leaf = place(at.offset, &extents),
            ListNode::Branch { level, children } => {
                let mut offset = at.offset;
                let mut frame = VecDeque::with_capacity(children.len());
                for child in children {
                    frame.push_back(ListNodeRef {
                        digest: child.digest,
                        level: Some(level - 1),
                        offset,
                        length: child.length,
                        extents: child.extents,
                    });
                    offset += child.length;
                }
                self.frames.push(frame);
            }
        }
        Ok(level)
    }
}

/// Sees every node of an extent list, parents before children, in logical order.
pub trait ListVisitor {
    /// Decides, before a node is read, whether it is.
    fn enter(&mut self, node: &ListNodeRef) -> Walk;

    /// Sees extents with their offsets: those of a leaf that was read, or all that stand in the entry.
    fn extents(&mut self, extents: &[(u64, Extent)]);

    /// Hears of a node that is lost, and of the bytes lost with it.
    fn lost(&mut self, node: &ListNodeRef, error: Error);
}

/// Walks a file's extents and the list nodes that hold them, going on after lost ones.
///
/// # Errors
/// As [`ExtentStream::open`]; the source's, but for [`Kind::Missing`] and [`Kind::Damaged`], which the visitor hears of.
pub async fn walk_list<S: NodeSource>(
    source: S,
    extents: &Extents,
    size: u64,
    visitor: &mut impl ListVisitor,
) -> Result<()> {
    let mut stream = ExtentStream::open(source, extents, size)?;
    loop {
        stream.pass_hidden();
        if !stream.leaf.is_empty() {
            visitor.extents(stream.leaf.make_contiguous());
            stream.leaf.clear();
            continue;
        }
        let Some(node) = stream.peek() else { return Ok(()) };
        if visitor.enter(&node) == Walk::Skip {
            stream.pop_node();
            continue;
        }
        match stream.expand().await {
            Ok(_) => {}
            Err(error) if is_loss(&error) => visitor.lost(&node, error),
            Err(error) => return Err(error),
        }
    }
}

/// The extents with their offsets; their sum has been checked.
fn place(mut offset: u64, extents: &[Extent]) -> VecDeque<(u64, Extent)> {
    let mut placed = VecDeque::with_capacity(extents.len());
    for extent in extents {
        placed.push_back((offset, *extent));
        offset += extent.length();
    }
    placed
}

async fn read<S: NodeSource>(source: &S, at: &ListNodeRef) -> Result<ListNode> {
    let node = ListNode::decode(&fetch(source, &at.digest).await?)?;
    let is_single_root =
        at.level.is_none() && matches!(&node, ListNode::Branch { children, .. } if children.len() < 2);
    let level_fits = at.level.is_none_or(|level| level == node.level());
    let fault = if is_single_root {
        "is a root with a single child"
    } else if !level_fits || node.level() > LEVEL_MAX {
        "not of the level that its parent says"
    } else if node.sums() != Some((at.extents, at.length)) {
        "does not sum to what its parent or its entry says"
    } else {
        return Ok(node);
    };
    Err(Error::damaged(format!("check list node {}: {fault}", at.digest)))
}
