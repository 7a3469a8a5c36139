//! Builds a tree from its entries in path order, holding one open node per level.

use super::entry_codec::{content_bytes, encode_parts, portable_bytes};
use super::node::{BRANCH_ITEMS_OVER_LIMIT, Child, OpenNode, Previous, Sums, child_parts};
use super::{Boundary, NodeSink};
use crate::entry::{Entry, TreePath};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;
use crate::roots::RootHasher;
use crate::suite::Secret;

/// What a finished tree is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeSummary {
    /// Plain digest of the root node.
    pub root: Digest,
    /// Level of the root node.
    pub level: u8,
    /// Number of entries, the root directory included.
    pub entries: u64,
    /// Sum of the files' sizes, held at `u64::MAX`.
    pub bytes: u64,
    /// RFC 6962 hash over the portable parts.
    pub manifest_root: [u8; 32],
    /// RFC 6962 hash over paths, kinds, sizes and digests or targets.
    pub content_root: [u8; 32],
    /// Nodes put into the sink.
    pub nodes: u64,
}

/// Turns entries in path order into nodes.
#[derive(Debug, Clone)]
pub struct TreeBuilder {
    boundary: Boundary,
    levels: Vec<Level>,
    roots: RootHasher,
    previous: Option<Previous>,
    newest: Option<Child>,
    nodes: u64,
}

#[derive(Debug, Clone, Default)]
struct Level {
    open: OpenNode,
    /// Whether a node of this level has been put.
    has_nodes: bool,
}

impl TreeBuilder {
    /// An empty builder that cuts by the vault's boundary key.
    pub fn new(boundary: &Secret) -> Self {
        Self {
            boundary: Boundary(boundary.clone()),
            levels: vec![Level::default()],
            roots: RootHasher::new(),
            previous: None,
            newest: None,
            nodes: 0,
        }
    }

    /// Adds the next entry. The first is the root directory; each later one stands in a directory that was added.
    ///
    /// # Errors
    /// [`Kind::Input`] if the entry is too large to be stored; the builder is as before and can go on without it.
    /// [`Kind::Bug`] if it breaks a rule of the format or does not ascend. Errors of the sink end the builder.
    pub fn push(&mut self, entry: &Entry, sink: &mut impl NodeSink) -> Result<()> {
        self.check_place(entry)?;
        let parts = encode_parts(entry)?;
        if self.levels[0].open.count() > 0 && !self.levels[0].open.has_room(entry.path(), &parts) {
            self.close(0, sink)?;
        }
        self.levels[0].open.push(entry.path(), &parts, Sums { entries: 1, bytes: entry.size() });
        self.roots.push_encoded(&portable_bytes(&entry.portable), &content_bytes(&entry.portable));
        self.previous = Some(Previous::of(entry));
        if self.boundary.ends_tree_node(0, entry.path().as_bytes()) {
            self.close(0, sink)?;
        }
        Ok(())
    }

    /// The path of the newest entry. A clone that is finished is a tree of everything up to here.
    pub fn last(&self) -> Option<&TreePath> {
        self.previous.as_ref().map(Previous::path)
    }

    /// Puts the last nodes and returns what the tree is known by.
    ///
    /// # Errors
    /// [`Kind::Bug`] if nothing was added; the sink's errors.
    pub fn finish(mut self, sink: &mut impl NodeSink) -> Result<TreeSummary> {
        if self.previous.is_none() {
            return Err(Error::new(Kind::Bug, "finish tree: it has no root directory"));
        }
        let mut level = 0;
        while !self.is_above_root(level) {
            self.close(level, sink)?;
            level += 1;
        }
        let root = self.newest.ok_or_else(|| Error::new(Kind::Bug, "finish tree: no root node"))?;
        let roots = self.roots.finish();
        Ok(TreeSummary {
            root: root.digest,
            level: level as u8 - 1,
            entries: root.entries,
            bytes: root.bytes,
            manifest_root: roots.manifest,
            content_root: roots.content,
            nodes: self.nodes,
        })
    }

    /// Whether the level below has put one node in all; it is the newest node then, and the root.
    fn is_above_root(&self, level: usize) -> bool {
        level > 0 && !self.levels[level].has_nodes && self.levels[level].open.count() == 1
    }

    /// Ends the open node of `level`, if it has items, and adds it to the level above.
    fn close(&mut self, level: usize, sink: &mut impl NodeSink) -> Result<()> {
        let Some((child, node)) = self.levels[level].open.close(level as u8) else { return Ok(()) };
        self.levels[level].has_nodes = true;
        self.nodes += 1;
        self.newest = Some(child.clone());
        sink.put_node(child.digest, node)?;

        let above = level + 1;
        if above == self.levels.len() {
            self.levels.push(Level::default());
        }
        let parts = child_parts(&child);
        if self.can_close_branch(above) && !self.levels[above].open.has_room(&child.first, &parts) {
            self.close(above, sink)?;
        }
        let sums = Sums { entries: child.entries, bytes: child.bytes };
        self.levels[above].open.push(&child.first, &parts, sums);
        if self.can_close_branch(above) && self.boundary.ends_tree_node(above as u8, child.first.as_bytes()) {
            self.close(above, sink)?;
        }
        Ok(())
    }

    /// A branch of one child would not bring the tree to an end.
    fn can_close_branch(&self, level: usize) -> bool {
        self.levels[level].open.count() >= BRANCH_ITEMS_OVER_LIMIT
    }

    fn check_place(&self, entry: &Entry) -> Result<()> {
        let stands = match &self.previous {
            None => entry.path().is_root(),
            Some(previous) => previous.allows(entry.path()),
        };
        if stands {
            return Ok(());
        }
        Err(Error::new(
            Kind::Bug,
            format!(
                "add entry \"{}\" to a tree: it does not ascend, or stands in no directory; before it {:?}",
                entry.path(),
                self.previous
            ),
        ))
    }
}
