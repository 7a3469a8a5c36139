//! Builds a file's extent list while the file is read, however long it gets, holding one open node per level.

use super::list_node::{ListChild, OpenListNode};
use super::{Boundary, NodeSink};
use crate::entry::{EXTENTS_INLINE_MAX, Extent, Extents};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;
use crate::suite::Secret;

/// A node of fewer items would not bring the list to an end where a digest repeats.
const ITEMS_MIN: u64 = 2;

/// Turns extents in logical order into what the entry holds.
#[derive(Debug, Clone)]
pub struct ExtentListBuilder {
    boundary: Boundary,
    /// The whole list while it may still stand in the entry.
    inline: Vec<Extent>,
    levels: Vec<Level>,
    newest: Option<ListChild>,
    count: u64,
    length: u64,
}

#[derive(Debug, Clone, Default)]
struct Level {
    open: OpenListNode,
    /// Whether a node of this level has been put.
    has_nodes: bool,
}

impl ExtentListBuilder {
    /// An empty list that is cut by the vault's boundary key.
    pub fn new(boundary: &Secret) -> Self {
        Self {
            boundary: Boundary(boundary.clone()),
            inline: Vec::new(),
            levels: Vec::new(),
            newest: None,
            count: 0,
            length: 0,
        }
    }

    /// Number of extents so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of their lengths in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds the next extent.
    ///
    /// # Errors
    /// [`Kind::Bug`] for an empty extent; [`Kind::Input`] if the lengths pass 2^64; the sink's errors.
    pub fn push(&mut self, extent: Extent, sink: &mut impl NodeSink) -> Result<()> {
        if extent.length() == 0 {
            return Err(Error::new(Kind::Bug, "add to extent list: an empty extent"));
        }
        self.length = self
            .length
            .checked_add(extent.length())
            .ok_or_else(|| Error::new(Kind::Input, "add to extent list: longer than any file"))?;
        self.count += 1;
        if self.levels.is_empty() && self.inline.len() < EXTENTS_INLINE_MAX {
            self.inline.push(extent);
            return Ok(());
        }
        if self.levels.is_empty() {
            self.levels.push(Level::default());
            for early in std::mem::take(&mut self.inline) {
                self.append(&early, sink)?;
            }
        }
        self.append(&extent, sink)
    }

    /// Puts the last nodes and returns what the entry holds. Its lengths sum to [`ExtentListBuilder::length`], which
    /// must be the file's size.
    ///
    /// # Errors
    /// The sink's.
    pub fn finish(mut self, sink: &mut impl NodeSink) -> Result<Extents> {
        if self.levels.is_empty() {
            return Ok(Extents::Inline(self.inline));
        }
        let mut level = 0;
        while !self.is_above_root(level) {
            self.close(level, sink)?;
            level += 1;
        }
        let root = self.newest.ok_or_else(|| Error::new(Kind::Bug, "finish extent list: no root node"))?;
        Ok(Extents::Listed { root: root.digest, count: self.count })
    }

    /// Whether the level below has put one node in all; it is the newest node then, and the root.
    fn is_above_root(&self, level: usize) -> bool {
        level > 0 && !self.levels[level].has_nodes && self.levels[level].open.count() == 1
    }

    fn append(&mut self, extent: &Extent, sink: &mut impl NodeSink) -> Result<()> {
        self.make_room(0, sink)?;
        self.levels[0].open.push_extent(extent);
        match extent {
            Extent::Data { digest, .. } => self.close_at_boundary(0, digest, sink),
            Extent::Hole { .. } => Ok(()),
        }
    }

    fn make_room(&mut self, level: usize, sink: &mut impl NodeSink) -> Result<()> {
        if self.levels[level].open.has_room() { Ok(()) } else { self.close(level, sink) }
    }

    fn close_at_boundary(&mut self, level: usize, digest: &Digest, sink: &mut impl NodeSink) -> Result<()> {
        let ends =
            self.levels[level].open.count() >= ITEMS_MIN && self.boundary.ends_list_node(level as u8, digest);
        if ends { self.close(level, sink) } else { Ok(()) }
    }

    /// Ends the open node of `level`, if it has items, and adds it to the level above.
    fn close(&mut self, level: usize, sink: &mut impl NodeSink) -> Result<()> {
        let Some((child, node)) = self.levels[level].open.close(level as u8) else { return Ok(()) };
        self.levels[level].has_nodes = true;
        self.newest = Some(child);
        sink.put_node(child.digest, node)?;

        let above = level + 1;
        if above == self.levels.len() {
            self.levels.push(Level::default());
        }
        self.make_room(above, sink)?;
        self.levels[above].open.push_child(&child);
        self.close_at_boundary(above, &child.digest, sink)
    }
}
