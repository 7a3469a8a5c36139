//! Merging the scan with the parent snapshot: what is unchanged is reused, the rest is read.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded};
use shudao_vault::entry::{
    Entry, Extents, Local, Node, Portable, TreePath, XATTR_INLINE_BYTES_MAX, Xattr, XattrValue,
};
use shudao_vault::id::Digest;
use shudao_vault::keys::ring::ChunkSpace;
use shudao_vault::{Error, Kind, Result};

use super::beside::Beside;
use super::content::Content;
use super::reuse::Reuse;
use super::{BackupError, BackupProgress, Problem, ProblemKind};
use crate::ingest::{Ingest, Nodes, lock};
use crate::source::{Found, FoundNode, HardLinks, Scan, Scanned, UnreadKind, Why, unchanged};

/// Device and inode of a hard-link group.
pub(super) type Inode = (u64, u64);

/// What is known of one path, in path order.
pub(super) enum Slot {
    /// Complete: not a file, or an unchanged one.
    Ready { entry: Box<Entry>, group: Option<Inode>, read: Read },
    /// A file that a reader is reading.
    Reading { outcome: Receiver<Outcome>, group: Option<Inode>, had_parent: bool },
    /// A further name of a file that came earlier.
    Linked { found: Arc<Found>, inode: Inode, is_last: bool },
    /// Not in the snapshot.
    Problem(Problem),
    /// Not in the snapshot, and that is no problem.
    Skipped { is_socket: bool },
}

/// Why an entry is complete without reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// It has no content.
    Nothing,
    /// The parent tells it.
    AsInParent,
    /// An interrupted session had read it.
    Earlier { had_parent: bool },
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
    pub(super) reuse: Reuse<'a>,
    pub(super) parent: Beside<'a>,
    /// What interrupted sessions had stored, the newest first.
    pub(super) earlier: Vec<Beside<'a>>,
    pub(super) rescan: bool,
    pub(super) progress: &'a BackupProgress,
    pub(super) jobs: Sender<ReadJob>,
    pub(super) slots: SlotSender,
}

/// Slots go to the assembler so many at a time: to wake it for each costs more than what it does with most of them.
const SLOTS_TOGETHER: usize = 64;

/// How many vectors of slots may wait for the assembler where so many slots may be on their way: one more is being
/// gathered, and one taken apart.
pub(super) fn slots_waiting(slots_max: usize) -> usize {
    (slots_max / SLOTS_TOGETHER).saturating_sub(2).max(1)
}

/// Gathers slots on their way to the assembler. What is gathered is passed on before anything is waited for, so that the
/// tree never lags behind what the readers have done.
pub(super) struct SlotSender {
    gathered: Vec<Slot>,
    sender: Sender<Vec<Slot>>,
}

impl SlotSender {
    pub(super) fn new(sender: Sender<Vec<Slot>>) -> Self {
        Self { gathered: Vec::new(), sender }
    }

    /// Takes a slot; false if nobody takes slots any more.
    fn send(&mut self, slot: Slot) -> bool {
        self.gathered.push(slot);
        self.gathered.len() < SLOTS_TOGETHER || self.flush()
    }

    /// Passes on what is gathered; false if nobody takes it any more.
    fn flush(&mut self) -> bool {
        self.gathered.is_empty() || self.sender.send(std::mem::take(&mut self.gathered)).is_ok()
    }
}

/// What the walk says goes to the pump so many paths at a time, for the same reason.
const SCANNED_TOGETHER: usize = 64;

/// Walks ahead of the pump, until there is nothing more or nobody asks for it. Nothing in a vector says that the walk is at its
/// end: a walk that breaks off must not pass for one.
pub(super) fn walk(mut scan: Scan, sender: &Sender<Vec<Scanned>>) {
    loop {
        let together: Vec<Scanned> = scan.by_ref().take(SCANNED_TOGETHER).collect();
        let is_end = together.is_empty();
        if sender.send(together).is_err() || is_end {
            return;
        }
    }
}

/// The next paths of the walk; none at its end.
fn walked(walk: &Receiver<Vec<Scanned>>) -> Result<Option<Vec<Scanned>>> {
    let together = walk.recv().map_err(|_| Error::new(Kind::Bug, "the walk broke off by a panic"))?;
    Ok((!together.is_empty()).then_some(together))
}

impl Pump<'_> {
    /// Runs to the end of the walk. Returns how many paths of the parent are gone.
    pub(super) fn run(mut self, walk: &Receiver<Vec<Scanned>>) -> std::result::Result<u64, BackupError> {
        let mut links = HardLinks::default();
        while let Some(together) = walked(walk)? {
            for scanned in together {
                if !self.pass_on(scanned, &mut links)? {
                    return Ok(self.parent.passed);
                }
            }
        }
        self.slots.flush();
        // What the parent has beyond the last path is gone too.
        self.parent.pass_rest();
        Ok(self.parent.passed)
    }

    /// Gives the assembler the slot of one path; false if it takes no more, which it says only after it recorded why.
    fn pass_on(&mut self, scanned: Scanned, links: &mut HardLinks) -> std::result::Result<bool, BackupError> {
        if self.progress.stop.load(Ordering::Relaxed) {
            self.slots.flush();
            return Err(BackupError::Interrupted);
        }
        let slot = match scanned {
            Scanned::Found(found) => {
                *lock(&self.progress.current) = found.path.to_string();
                self.slot_of(*found, links)?
            }
            Scanned::Skipped { why, .. } => Slot::Skipped { is_socket: why == Why::Socket },
            Scanned::Unreadable { path, error, kind } => Slot::Problem(problem_of(path, kind, &error)),
        };
        Ok(self.slots.send(slot))
    }

    fn slot_of(&mut self, found: Found, links: &mut HardLinks) -> std::result::Result<Slot, BackupError> {
        let parent = self.parent.at(&found.path);
        let earlier: Vec<Entry> = self.earlier.iter_mut().filter_map(|tree| tree.at(&found.path)).collect();
        let inode = (found.device, found.inode);
        if links.member(&found).is_some() {
            let is_last = !links.is_open(&found);
            return Ok(Slot::Linked { found: Arc::new(found), inode, is_last });
        }
        let is_group = found.links > 1 && found.node != FoundNode::Directory;
        let group = is_group.then_some(inode);
        if !matches!(found.node, FoundNode::File { .. }) {
            let entry = Box::new(entry_of(&found, None, self.reuse.ingest)?);
            return Ok(Slot::Ready { entry, group, read: Read::Nothing });
        }
        if let Some(parent) = &parent
            && let Some(content) = self.reused(&found, parent)?
        {
            let entry = Box::new(entry_of(&found, Some(content), self.reuse.ingest)?);
            return Ok(Slot::Ready { entry, group, read: Read::AsInParent });
        }
        for earlier in &earlier {
            if let Some(content) = self.reused(&found, earlier)? {
                let entry = Box::new(entry_of(&found, Some(content), self.reuse.ingest)?);
                return Ok(Slot::Ready {
                    entry,
                    group,
                    read: Read::Earlier { had_parent: parent.is_some() },
                });
            }
        }
        let (outcome, receiver) = bounded(1);
        let job = ReadJob { found: Arc::new(found), outcome };
        let sent = self.jobs.try_send(job).or_else(|unsent| {
            self.slots.flush();
            self.jobs.send(unsent.into_inner())
        });
        if sent.is_err() {
            // The readers are gone only after one of them recorded why.
            self.reuse.ingest.check()?;
        }
        Ok(Slot::Reading { outcome: receiver, group, had_parent: parent.is_some() })
    }

    /// The content of an unchanged file, by what an earlier tree says of it; `None` if it must be read.
    fn reused(&self, found: &Found, earlier: &Entry) -> Result<Option<Content>> {
        if self.rescan || !unchanged(found, earlier) {
            return Ok(None);
        }
        let Node::File { size, digest } = earlier.portable.node else { return Ok(None) };
        let Some(list) = self.reuse.extents(&earlier.local.extents, size)? else { return Ok(None) };
        let extents = list.finish(&mut Nodes(self.reuse.ingest))?;
        Ok(Some(Content { size, digest, extents, profile: earlier.local.profile }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{ScanOptions, scan};

    #[test]
    fn a_walk_says_when_it_is_at_its_end_and_one_that_breaks_off_does_not_pass_for_ended() {
        let tree = tempfile::tempdir().unwrap();
        for n in 0..2 * SCANNED_TOGETHER {
            std::fs::write(tree.path().join(n.to_string()), "").unwrap();
        }
        let (sender, receiver) = bounded(8);
        let roots = vec![tree.path().to_owned()];
        walk(scan(ScanOptions { roots, ..ScanOptions::default() }).unwrap(), &sender);
        let mut paths = 0;
        while let Some(together) = walked(&receiver).unwrap() {
            paths += together.len();
        }
        assert_eq!(paths, 2 * SCANNED_TOGETHER + 1);
        sender.send(vec![Scanned::Skipped { path: TreePath::root(), why: Why::Socket }]).unwrap();
        drop(sender);
        assert!(walked(&receiver).unwrap().is_some());
        assert_eq!(walked(&receiver).unwrap_err().kind(), Kind::Bug);
    }
}
