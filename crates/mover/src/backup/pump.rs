//! Merging the scan with the parent snapshot: what is unchanged is reused, the rest is read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded};
use shudao_vault::entry::{
    Entry, Extent, Extents, Local, Node, Portable, TreePath, XATTR_INLINE_BYTES_MAX, Xattr, XattrValue,
};
use shudao_vault::id::Digest;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::reader::Reader;
use shudao_vault::suite::Secret;
use shudao_vault::tree::{EntryStream, ExtentListBuilder, ExtentStream};
use shudao_vault::{Error, Kind, Result};
use tokio::runtime::Handle;

use super::content::Content;
use super::{BackupError, BackupProgress, Problem, ProblemKind};
use crate::ingest::{Ingest, Nodes, lock};
use crate::source::{Found, FoundNode, HardLinks, Scan, Scanned, UnreadKind, Why, unchanged};

/// Device and inode of a hard-link group.
pub(super) type Inode = (u64, u64);

/// What is known of one path, in path order.
pub(super) enum Slot {
    /// Complete: not a file, or an unchanged one.
    Ready { entry: Box<Entry>, group: Option<Inode>, reused: bool },
    /// A file that a reader is reading.
    Reading { outcome: Receiver<Outcome>, group: Option<Inode>, had_parent: bool },
    /// A further name of a file that came earlier.
    Linked { found: Arc<Found>, inode: Inode, is_last: bool },
    /// Not in the snapshot.
    Problem(Problem),
    /// Not in the snapshot, and that is no problem.
    Skipped { is_socket: bool },
}

/// What reading a file came to.
pub(super) enum Outcome {
    /// Stored; `found` is what the bytes belong to.
    Content { found: Arc<Found>, content: Content, torn: bool },
    /// Could not be read.
    Problem(Problem),
}

/// A file for the readers.
pub(super) struct ReadJob {
    pub(super) found: Arc<Found>,
    pub(super) outcome: Sender<Outcome>,
}

/// The pump's surroundings.
pub(super) struct Pump<'a> {
    pub(super) ingest: &'a Ingest,
    pub(super) reader: &'a Arc<Reader>,
    pub(super) boundary: &'a Secret,
    pub(super) parent: Option<EntryStream<Arc<Reader>>>,
    pub(super) rescan: bool,
    pub(super) progress: &'a BackupProgress,
    pub(super) runtime: &'a Handle,
    pub(super) jobs: Sender<ReadJob>,
    pub(super) slots: Sender<Slot>,
    /// Paths of the parent that are gone, so far.
    pub(super) removed: u64,
}

impl Pump<'_> {
    /// Runs to the end of the scan. Returns how many paths of the parent are gone.
    pub(super) fn run(mut self, scan: Scan) -> std::result::Result<u64, BackupError> {
        let mut ahead = None;
        let mut links = HardLinks::default();
        for scanned in scan {
            if self.progress.stop.load(Ordering::Relaxed) {
                return Err(BackupError::Interrupted);
            }
            let slot = match scanned {
                Scanned::Found(found) => {
                    let parent = self.parent_of(&found.path, &mut ahead);
                    *lock(&self.progress.current) = found.path.to_string();
                    self.slot_of(*found, parent, &mut links)?
                }
                Scanned::Skipped { why, .. } => Slot::Skipped { is_socket: why == Why::Socket },
                Scanned::Unreadable { path, error, kind } => Slot::Problem(problem_of(path, kind, &error)),
            };
            // The assembler is gone only after it recorded why.
            if self.slots.send(slot).is_err() {
                return Ok(self.removed);
            }
        }
        // What the parent has beyond the last path is gone too.
        while ahead.take().is_some() || self.read_parent().is_some() {
            self.removed += 1;
        }
        Ok(self.removed)
    }

    /// The parent's next entry. What a lost node held is simply read again.
    fn read_parent(&mut self) -> Option<Entry> {
        loop {
            let stream = self.parent.as_mut()?;
            match self.runtime.block_on(stream.next()) {
                Ok(Some(entry)) => return Some(entry),
                Err(error) if matches!(error.kind(), Kind::Missing | Kind::Damaged) => {}
                Ok(None) | Err(_) => self.parent = None,
            }
        }
    }

    /// The parent's entry at `path`. The parent's stream is read forward only.
    fn parent_of(&mut self, path: &TreePath, ahead: &mut Option<Entry>) -> Option<Entry> {
        loop {
            if ahead.is_none() {
                *ahead = self.read_parent();
            }
            match ahead.as_ref()?.path().cmp(path) {
                std::cmp::Ordering::Less => {
                    *ahead = None;
                    self.removed += 1;
                }
                std::cmp::Ordering::Equal => return ahead.take(),
                std::cmp::Ordering::Greater => return None,
            }
        }
    }

    fn slot_of(
        &mut self,
        found: Found,
        parent: Option<Entry>,
        links: &mut HardLinks,
    ) -> std::result::Result<Slot, BackupError> {
        let inode = (found.device, found.inode);
        if links.member(&found).is_some() {
            let is_last = !links.is_open(&found);
            return Ok(Slot::Linked { found: Arc::new(found), inode, is_last });
        }
        let is_group = found.links > 1 && found.node != FoundNode::Directory;
        let group = is_group.then_some(inode);
        if !matches!(found.node, FoundNode::File { .. }) {
            let entry = Box::new(entry_of(&found, None, self.ingest)?);
            return Ok(Slot::Ready { entry, group, reused: false });
        }
        if let Some(parent) = &parent
            && !self.rescan
            && unchanged(&found, parent)
            && let Node::File { size, digest } = parent.portable.node
            && let Some(extents) = self.reuse(&parent.local.extents, size)?
        {
            let content = Content { size, digest, extents, profile: parent.local.profile };
            let entry = Box::new(entry_of(&found, Some(content), self.ingest)?);
            return Ok(Slot::Ready { entry, group, reused: true });
        }
        let (outcome, receiver) = bounded(1);
        let job = ReadJob { found: Arc::new(found), outcome };
        if self.jobs.send(job).is_err() {
            // The readers are gone only after one of them recorded why.
            self.ingest.check()?;
        }
        Ok(Slot::Reading { outcome: receiver, group, had_parent: parent.is_some() })
    }

    /// Refers to all chunks of an unchanged file, and to the nodes of its list; `None` if one is not stored any more or
    /// may not be relied on, or the list cannot be read: then the file is read again.
    fn reuse(&self, extents: &Extents, size: u64) -> Result<Option<Extents>> {
        if !self.for_each_extent(extents, size, |extent| match extent {
            Extent::Data { digest, .. } => self.ingest.knows(ChunkSpace::Content, digest),
            Extent::Hole { .. } => Ok(true),
        })? {
            return Ok(None);
        }
        // Building the list again offers its nodes, nearly always known, and so counts references to them.
        let mut list = ExtentListBuilder::new(self.boundary);
        let is_whole = self.for_each_extent(extents, size, |extent| {
            if let Extent::Data { digest, length } = extent {
                self.ingest.refer_known(ChunkSpace::Content, digest, *length as usize)?;
            }
            list.push(*extent, &mut Nodes(self.ingest)).map(|()| true)
        })?;
        if is_whole { list.finish(&mut Nodes(self.ingest)).map(Some) } else { Ok(None) }
    }

    /// Calls `visit` until it says false; false too when the list itself cannot be read.
    fn for_each_extent(
        &self,
        extents: &Extents,
        size: u64,
        mut visit: impl FnMut(&Extent) -> Result<bool>,
    ) -> Result<bool> {
        if let Extents::Inline(extents) = extents {
            for extent in extents {
                if !visit(extent)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let Ok(mut stream) = ExtentStream::open(Arc::clone(self.reader), extents, size) else {
            return Ok(false);
        };
        loop {
            match self.runtime.block_on(stream.next()) {
                Ok(None) => return Ok(true),
                Ok(Some((_, extent))) if visit(&extent)? => {}
                Ok(Some(_)) | Err(_) => return Ok(false),
            }
        }
    }
}

/// The entry of what was found. Long attribute values are offered to the ingest.
pub(super) fn entry_of(found: &Found, content: Option<Content>, ingest: &Ingest) -> Result<Entry> {
    let mut xattrs = Vec::with_capacity(found.xattrs.len());
    for xattr in &found.xattrs {
        let value = if xattr.value.len() <= XATTR_INLINE_BYTES_MAX {
            XattrValue::Inline(xattr.value.clone())
        } else {
            let digest = Digest::of(&xattr.value);
            ingest.offer(ChunkSpace::Content, &digest, &xattr.value)?;
            XattrValue::Chunk { digest, length: xattr.value.len() as u32 }
        };
        xattrs.push(Xattr { name: xattr.name.clone(), value });
    }
    let profile = content.as_ref().map_or(0, |content| content.profile);
    let (node, extents) = match (&found.node, content) {
        (FoundNode::File { .. }, Some(content)) => {
            (Node::File { size: content.size, digest: content.digest }, content.extents)
        }
        (FoundNode::File { .. }, None) => {
            let what = format!("make the entry of {}: a file without its content", found.path);
            return Err(Error::new(Kind::Bug, what));
        }
        (FoundNode::Directory, _) => (Node::Directory, Extents::default()),
        (FoundNode::Symlink { target }, _) => (Node::Symlink { target: target.clone() }, Extents::default()),
        (FoundNode::Fifo, _) => (Node::Fifo, Extents::default()),
        (FoundNode::CharDevice { major, minor }, _) => {
            (Node::CharDevice { major: *major, minor: *minor }, Extents::default())
        }
        (FoundNode::BlockDevice { major, minor }, _) => {
            (Node::BlockDevice { major: *major, minor: *minor }, Extents::default())
        }
    };
    Ok(Entry {
        portable: Portable {
            path: found.path.clone(),
            node,
            mode: found.mode,
            uid: found.uid,
            gid: found.gid,
            mtime: found.mtime,
            xattrs,
            first_link: None,
        },
        local: Local {
            user: found.user.to_vec(),
            group: found.group.to_vec(),
            ctime: found.ctime,
            inode: found.inode,
            device: found.device,
            extents,
            profile,
            settled: found.settled,
            torn: false,
        },
    })
}

/// A path that is not in the snapshot.
pub(super) fn problem_of(path: TreePath, kind: UnreadKind, error: &std::io::Error) -> Problem {
    let kind = match kind {
        UnreadKind::Vanished => ProblemKind::Vanished,
        UnreadKind::Denied | UnreadKind::Replaced | UnreadKind::Failed => ProblemKind::Unreadable,
    };
    Problem { path, kind, what: error.to_string() }
}
