//! Readers of a tree: entries in order, one entry, every node.

use super::cursor::{Cursor, Floor, Gap, Item};
use super::{NodeSource, is_loss};
use crate::entry::{Entry, TreePath};
use crate::error::{Error, Result};
use crate::id::Digest;

/// A node and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// 0 for a leaf.
    pub level: u8,
    /// The first path below it.
    pub first: TreePath,
}

/// The entries of a tree in path order. Holds one node per level.
#[derive(Debug)]
pub struct EntryStream<S> {
    cursor: Cursor<S>,
}

impl<S: NodeSource> EntryStream<S> {
    /// The entries below the node `root` of `level`. Reads nothing yet.
    pub fn open(source: S, root: Digest, level: u8) -> Self {
        Self { cursor: Cursor::new(source, root, level) }
    }

    /// The next entry, or `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`crate::Kind::Missing`] or [`crate::Kind::Damaged`] once for each lost node, with the paths that are lost
    /// with it ([`EntryStream::gap`] has them as values); the next call goes on after them. After any other error the
    /// next call tries the same node again.
    pub async fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            match self.cursor.peek() {
                None => return Ok(None),
                Some(Item::Entry(_)) => return Ok(self.cursor.take_entry()),
                Some(Item::Subtree(_)) => self.cursor.expand().await?,
            }
        }
    }

    /// Passes over every entry before `path`, without reading subtrees that hold nothing else. Never goes back.
    pub fn seek(&mut self, path: &TreePath) {
        self.cursor.raise(Floor::At(path.clone()));
    }

    /// Passes over everything before `directory`, the directory and what is in it. Never goes back.
    pub fn skip_within(&mut self, directory: &TreePath) {
        self.cursor.raise(Floor::After(directory.clone()));
    }

    /// The range of paths that the latest lost node took with it.
    pub fn gap(&self) -> Option<&Gap> {
        self.cursor.gap()
    }
}

/// The entry at `path`, or `None` if there is none. Reads one node per level.
///
/// # Errors
/// The source's; [`crate::Kind::Missing`] or [`crate::Kind::Damaged`] if a node on the way is lost.
pub async fn lookup<S: NodeSource>(
    source: S,
    root: Digest,
    level: u8,
    path: &TreePath,
) -> Result<Option<Entry>> {
    let mut cursor = Cursor::new(source, root, level);
    cursor.raise(Floor::At(path.clone()));
    loop {
        match cursor.peek() {
            Some(Item::Subtree(subtree)) if subtree.at.first <= *path => cursor.expand().await?,
            Some(Item::Entry(entry)) if entry.path() == path => return Ok(cursor.take_entry()),
            None | Some(Item::Subtree(_) | Item::Entry(_)) => return Ok(None),
        }
    }
}

/// Whether to read a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Read it.
    Enter,
    /// Pass over it and everything below it.
    Skip,
}

/// Sees every node of a tree, parents before children, in path order.
pub trait NodeVisitor {
    /// Decides, before a node is read, whether it is.
    fn enter(&mut self, node: &NodeRef) -> Walk;

    /// Sees the entries of a leaf that was read and is legal. List nodes are reached from their extents.
    fn leaf(&mut self, node: &NodeRef, entries: &[Entry]);

    /// Hears of a node that is lost, and of the paths lost with it.
    fn lost(&mut self, gap: &Gap, error: Error);
}

/// Walks every node below `root`, going on after lost ones.
///
/// # Errors
/// The source's, but for [`crate::Kind::Missing`] and [`crate::Kind::Damaged`], which the visitor hears of.
pub async fn walk_nodes<S: NodeSource>(
    source: S,
    root: Digest,
    level: u8,
    visitor: &mut impl NodeVisitor,
) -> Result<()> {
    let mut cursor = Cursor::new(source, root, level);
    while let Some(Item::Subtree(subtree)) = cursor.peek() {
        let node = subtree.at.clone();
        if visitor.enter(&node) == Walk::Skip {
            cursor.skip_subtree();
            continue;
        }
        match (cursor.expand().await, cursor.gap()) {
            (Ok(()), _) if node.level == 0 => {
                visitor.leaf(&node, cursor.leaf());
                cursor.skip_leaf();
            }
            (Ok(()), _) => {}
            (Err(error), Some(gap)) if is_loss(&error) => visitor.lost(gap, error),
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}

/// The nodes of a tree, parents before children, in path order, without their contents; leaves are not read.
#[derive(Debug)]
pub struct NodeStream<S> {
    cursor: Cursor<S>,
    pending: bool,
}

/// The nodes of the tree below `root`. Reads nothing yet.
pub fn nodes<S: NodeSource>(source: S, root: Digest, level: u8) -> NodeStream<S> {
    NodeStream { cursor: Cursor::new(source, root, level), pending: false }
}

impl<S: NodeSource> NodeStream<S> {
    /// The next node, or `None` at the end. A lost branch is named like any other.
    ///
    /// # Errors
    /// As [`EntryStream::next`], for branches.
    pub async fn next(&mut self) -> Result<Option<NodeRef>> {
        if std::mem::take(&mut self.pending) {
            self.cursor.expand().await?;
        }
        let node = match self.cursor.peek() {
            Some(Item::Subtree(subtree)) => subtree.at.clone(),
            None | Some(Item::Entry(_)) => return Ok(None),
        };
        if node.level == 0 {
            self.cursor.skip_subtree();
        } else {
            self.pending = true;
        }
        Ok(Some(node))
    }
}
