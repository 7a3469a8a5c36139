//! What snapshots reach: every node, list node and chunk of their trees, marked in an index.
//!
//! Needs the trees' keys and no key of content: a keeper can do it. A subtree that was marked before was walked before, and is
//! passed over; so a vault of many snapshots costs what differs between them.

use std::sync::Arc;

use crate::entry::{Entry, Extent, Extents, Node, XattrValue};
use crate::error::{Error, Result};
use crate::id::{ChunkId, Digest};
use crate::index::{Mark, Marks};
use crate::keys::KeyRing;
use crate::keys::ring::ChunkSpace;
use crate::snapshot::TreeRoot;
use crate::tree::{
    Gap, ListNodeRef, ListVisitor, NodeRef, NodeSource, NodeVisitor, Walk, walk_list, walk_nodes,
};

/// Chunks are marked together, so that pages of the index are read in order: 4 MiB of ids.
const PENDING_MAX: usize = 128 << 10;
/// Of at most so many chunks it is remembered exactly that they were met (32 MiB): neighbours in time share most of their
/// leaves' entries, and what was met lately need not be looked up again. A small vault has fewer.
const RECENT_MAX: usize = 1 << 20;
/// So many losses are told; all are counted.
const LOSSES_TOLD_MAX: usize = 20;

/// What walking found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reached {
    /// Nodes and list nodes that were read.
    pub nodes: u64,
    /// References to chunks of content in them.
    pub references: u64,
    /// Nodes that could not be read.
    pub nodes_lost: u64,
    /// References to chunks that the index does not know.
    pub chunks_unknown: u64,
    /// The first nodes that were lost, and why.
    pub losses: Vec<String>,
}

impl Reached {
    /// Whether everything was reached: only then what is not marked is waste.
    pub fn is_complete(&self) -> bool {
        self.nodes_lost == 0
    }
}

/// Marks what trees reach.
pub struct Walker<'a, S> {
    source: S,
    ring: Arc<KeyRing>,
    marks: Marks<'a>,
    reached: Reached,
    pending: Vec<ChunkId>,
    /// By the first bytes of a digest, the last chunk with these that was met.
    recent: Vec<Digest>,
    lists: Vec<(Extents, u64)>,
    /// The index failed while a visitor could not say so.
    failure: Option<Error>,
}

impl<'a, S: NodeSource + Clone> Walker<'a, S> {
    /// A walker that has walked nothing. `ring` names chunks.
    pub fn new(source: S, ring: Arc<KeyRing>, marks: Marks<'a>) -> Self {
        let recent = usize::try_from(marks.chunks()).unwrap_or(RECENT_MAX).clamp(1, RECENT_MAX);
        Self {
            source,
            ring,
            marks,
            reached: Reached::default(),
            pending: Vec::new(),
            recent: vec![Digest::default(); recent],
            lists: Vec::new(),
            failure: None,
        }
    }

    /// Walks the tree below `root`. Nodes that are lost are counted, and the walk goes on after them.
    ///
    /// # Errors
    /// The source's, but for lost nodes; the index's.
    pub async fn walk(&mut self, root: TreeRoot) -> Result<()> {
        let source = self.source.clone();
        walk_nodes(&source, root.digest, root.level, self).await?;
        while let Some((extents, size)) = self.lists.pop() {
            let before = self.reached.nodes_lost;
            let walked = walk_list(&source, &extents, size, self).await;
            match walked {
                Err(error) if error.kind() == crate::Kind::Damaged && self.reached.nodes_lost == before => {
                    self.lose("extents", &error);
                }
                other => other?,
            }
        }
        self.flush();
        self.failure.take().map_or(Ok(()), Err)
    }

    /// The marks and what was found.
    ///
    /// # Errors
    /// The index's.
    pub fn finish(mut self) -> Result<(Marks<'a>, Reached)> {
        self.flush();
        match self.failure.take() {
            None => Ok((self.marks, self.reached)),
            Some(error) => Err(error),
        }
    }

    fn flush(&mut self) {
        match self.marks.mark_all(&mut self.pending) {
            Ok(absent) => self.reached.chunks_unknown += absent,
            Err(error) => self.failure = self.failure.take().or(Some(error)),
        }
        self.pending.clear();
    }

    fn reach(&mut self, chunk: &Digest) {
        self.reached.references += 1;
        let [first, second, third, fourth, ..] = chunk.0;
        let slot = u32::from_le_bytes([first, second, third, fourth]) as usize % self.recent.len();
        // No chunk has the digest of zeros that an empty slot holds; whoever claims one has it looked up.
        if self.recent[slot] == *chunk && *chunk != Digest::default() {
            return;
        }
        self.recent[slot] = *chunk;
        self.pending.push(self.ring.chunk_id(ChunkSpace::Content, chunk));
        if self.pending.len() >= PENDING_MAX {
            self.flush();
        }
    }

    /// Marks a node and says whether to read it. After a failure nothing more is read.
    fn reach_node(&mut self, node: &Digest) -> Walk {
        if self.failure.is_some() {
            return Walk::Skip;
        }
        match self.marks.mark(&self.ring.chunk_id(ChunkSpace::Metadata, node)) {
            Ok(Mark::Before) => Walk::Skip,
            // Of one that the index does not know the reader will say that it is lost.
            Ok(Mark::Fresh | Mark::Absent) => {
                self.reached.nodes += 1;
                Walk::Enter
            }
            Err(error) => {
                self.failure = Some(error);
                Walk::Skip
            }
        }
    }

    fn reach_entry(&mut self, entry: &Entry) {
        for xattr in &entry.portable.xattrs {
            if let XattrValue::Chunk { digest, .. } = &xattr.value {
                self.reach(digest);
            }
        }
        let Node::File { size, .. } = entry.portable.node else { return };
        match &entry.local.extents {
            Extents::Inline(extents) => extents.iter().for_each(|extent| self.reach_extent(extent)),
            Extents::Listed { root, .. } => {
                if self.reach_node(root) == Walk::Enter {
                    self.lists.push((entry.local.extents.clone(), size));
                }
            }
        }
    }

    fn reach_extent(&mut self, extent: &Extent) {
        if let Extent::Data { digest, .. } = extent {
            self.reach(digest);
        }
    }

    fn lose(&mut self, what: &str, error: &Error) {
        self.reached.nodes_lost += 1;
        if self.reached.losses.len() < LOSSES_TOLD_MAX {
            self.reached.losses.push(format!("{what}: {}", crate::vault::chain(error)));
        }
    }
}

impl<S: NodeSource + Clone> NodeVisitor for Walker<'_, S> {
    fn enter(&mut self, node: &NodeRef) -> Walk {
        self.reach_node(&node.digest)
    }

    fn leaf(&mut self, _node: &NodeRef, entries: &[Entry]) {
        for entry in entries {
            self.reach_entry(entry);
        }
    }

    fn lost(&mut self, gap: &Gap, error: Error) {
        self.lose(&format!("tree node {}", gap.node.digest.short()), &error);
    }
}

impl<S: NodeSource + Clone> ListVisitor for Walker<'_, S> {
    fn enter(&mut self, node: &ListNodeRef) -> Walk {
        // The root was marked when its entry was met.
        if node.level.is_none() { Walk::Enter } else { self.reach_node(&node.digest) }
    }

    fn extents(&mut self, extents: &[(u64, Extent)]) {
        for (_, extent) in extents {
            self.reach_extent(extent);
        }
    }

    fn lost(&mut self, node: &ListNodeRef, error: Error) {
        self.lose(&format!("list node {}", node.digest.short()), &error);
    }
}
