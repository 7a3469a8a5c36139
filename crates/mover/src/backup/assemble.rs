//! Slots in path order become entries, tree, roots and counts.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crossbeam_channel::Receiver;
use shudao_vault::Kind;
use shudao_vault::entry::{Entry, Node, TreePath};
use shudao_vault::tree::{TreeBuilder, TreeSummary};

use super::content::Content;
use super::pump::{Inode, Outcome, Read, Slot, entry_of};
use super::{BackupError, BackupProgress, BackupSummary, PROBLEMS_MAX, Problem, ProblemKind};
use crate::ingest::{Ingest, Nodes, lock};
use crate::source::{Found, FoundNode};

/// Builds the tree of one run.
pub(super) struct Assembler<'a> {
    ingest: &'a Ingest,
    progress: &'a BackupProgress,
    tree: Arc<Mutex<TreeBuilder>>,
    groups: HashMap<Inode, Group>,
    /// A directory that could not be stored: nothing can stand in it.
    lost: Option<TreePath>,
    pub(super) summary: BackupSummary,
}

/// The first stored member of a hard-link group. The others are stored as what it was, so that all names of an inode
/// tell the same content *and* the times that belong to it: times of a later look beside the content of an earlier one
/// would let the next backup take a changed file for unchanged.
struct Group(Entry);

impl Group {
    /// Whether `found` is still what was stored.
    fn is_still(&self, found: &Found) -> bool {
        let Self(first) = self;
        let same_node = match (&found.node, &first.portable.node) {
            (FoundNode::File { size }, Node::File { size: stored, .. }) => size == stored,
            (FoundNode::Symlink { target }, Node::Symlink { target: stored }) => target == stored,
            (FoundNode::Fifo, Node::Fifo) => true,
            (FoundNode::CharDevice { major, minor }, Node::CharDevice { major: stored, minor: and })
            | (FoundNode::BlockDevice { major, minor }, Node::BlockDevice { major: stored, minor: and }) => {
                (major, minor) == (stored, and)
            }
            _ => false,
        };
        same_node && found.mtime == first.portable.mtime && found.ctime == first.local.ctime
    }

    fn has_content(&self, content: &Content) -> bool {
        matches!(&self.0.portable.node, Node::File { size, digest } if (size, digest) == (&content.size, &content.digest))
    }

    fn entry_at(&self, path: &TreePath) -> Entry {
        let mut entry = self.0.clone();
        entry.portable.first_link = Some(std::mem::replace(&mut entry.portable.path, path.clone()));
        entry
    }
}

impl<'a> Assembler<'a> {
    pub(super) fn new(ingest: &'a Ingest, progress: &'a BackupProgress, tree: TreeBuilder) -> Self {
        let tree = Arc::new(Mutex::new(tree));
        Self { ingest, progress, tree, groups: HashMap::new(), lost: None, summary: BackupSummary::default() }
    }

    /// The tree as it grows: what stands in it, a checkpoint may tell.
    pub(super) fn tree(&self) -> Arc<Mutex<TreeBuilder>> {
        Arc::clone(&self.tree)
    }

    /// Takes slots until the pump has ended, then finishes the tree. `read_inline` reads a file whose group's first
    /// member failed.
    pub(super) fn run(
        mut self,
        slots: &Receiver<Vec<Slot>>,
        read_inline: impl Fn(&Arc<Found>) -> Result<Outcome, BackupError>,
    ) -> Result<(TreeSummary, BackupSummary), BackupError> {
        while let Ok(together) = slots.recv() {
            for slot in together {
                self.take(slot, &read_inline)?;
            }
        }
        let tree = lock(&self.tree).clone();
        let tree = tree.finish(&mut Nodes(self.ingest))?;
        Ok((tree, self.summary))
    }

    fn take(
        &mut self,
        slot: Slot,
        read_inline: &impl Fn(&Arc<Found>) -> Result<Outcome, BackupError>,
    ) -> Result<(), BackupError> {
        match slot {
            Slot::Ready { entry, group, read } => {
                self.count_unread(&entry, read);
                self.add(*entry, group)
            }
            Slot::Reading { outcome, group, had_parent } => {
                let outcome = outcome.recv().map_err(|_| self.stopped())?;
                self.add_read(outcome, group, had_parent)
            }
            Slot::Linked { found, inode, is_last } => {
                self.add_linked(&found, inode, read_inline)?;
                if is_last {
                    self.groups.remove(&inode);
                }
                Ok(())
            }
            Slot::Problem(problem) => {
                self.note(problem);
                Ok(())
            }
            Slot::Skipped { is_socket } => {
                let counts = &mut self.summary.counts;
                *if is_socket { &mut counts.sockets } else { &mut counts.excluded } += 1;
                Ok(())
            }
        }
    }

    fn count_unread(&mut self, entry: &Entry, read: Read) {
        let counts = &mut self.summary.counts;
        match read {
            Read::Nothing => {}
            Read::AsInParent => counts.files_unmodified += 1,
            Read::Earlier { had_parent } => {
                *if had_parent { &mut counts.files_changed } else { &mut counts.files_new } += 1;
                self.progress.resumed.files.fetch_add(1, Ordering::Relaxed);
                self.progress.resumed.bytes.fetch_add(entry.size(), Ordering::Relaxed);
            }
        }
    }

    /// A further name of an inode. If that was changed, or is another one, since its first name was stored, only what
    /// is read now tells whether both still belong together.
    fn add_linked(
        &mut self,
        found: &Arc<Found>,
        inode: Inode,
        read_inline: &impl Fn(&Arc<Found>) -> Result<Outcome, BackupError>,
    ) -> Result<(), BackupError> {
        if let Some(group) = self.groups.get(&inode)
            && group.is_still(found)
        {
            return self.add(group.entry_at(&found.path), None);
        }
        if !matches!(found.node, FoundNode::File { .. }) {
            return self.add(entry_of(found, None, self.ingest)?, Some(inode));
        }
        let outcome = read_inline(found)?;
        if let (Some(group), Outcome::Content { found, content, torn: false }) =
            (self.groups.get(&inode), &outcome)
            && (found.device, found.inode) == inode
            && group.has_content(content)
        {
            return self.add(group.entry_at(&found.path), None);
        }
        self.add_read(outcome, Some(inode), false)
    }

    fn add_read(
        &mut self,
        outcome: Outcome,
        group: Option<Inode>,
        had_parent: bool,
    ) -> Result<(), BackupError> {
        let (found, content, torn) = match outcome {
            Outcome::Content { found, content, torn } => (found, content, torn),
            Outcome::Problem(problem) => {
                self.note(problem);
                return Ok(());
            }
        };
        // Where another file took its place while it was read, it is no member of the group any more.
        let group = group.filter(|inode| *inode == (found.device, found.inode));
        let counts = &mut self.summary.counts;
        *if had_parent { &mut counts.files_changed } else { &mut counts.files_new } += 1;
        let mut entry = entry_of(&found, Some(content), self.ingest)?;
        entry.local.torn = torn;
        if torn {
            let what = "it changed while it was read; what was read is stored".to_owned();
            self.note(Problem { path: found.path.clone(), kind: ProblemKind::Changed, what });
        }
        self.add(entry, group)
    }

    /// Puts the entry into the tree, or notes why it cannot be there; false in that case.
    fn push(&mut self, entry: &mut Entry) -> Result<bool, BackupError> {
        let unstorable =
            |entry: &Entry, what| Problem { path: entry.path().clone(), kind: ProblemKind::Unstorable, what };
        if self.lost.as_ref().is_some_and(|lost| entry.path().is_within(lost)) {
            self.note(unstorable(entry, "it stands in a directory that cannot be stored".to_owned()));
            return Ok(false);
        }
        loop {
            let pushed = lock(&self.tree).push(entry, &mut Nodes(self.ingest));
            match pushed {
                Ok(()) => return Ok(true),
                // An entry beyond the format's bound, such as one with a megabyte of attributes.
                Err(error) if error.kind() == Kind::Input => {
                    self.note(unstorable(entry, error.to_string()));
                    if entry.portable.node != Node::Directory {
                        return Ok(false);
                    }
                    if entry.portable.xattrs.is_empty() {
                        self.lost = Some(entry.path().clone());
                        return Ok(false);
                    }
                    // What is in the directory is worth more than its attributes.
                    entry.portable.xattrs.clear();
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn add(&mut self, mut entry: Entry, group: Option<Inode>) -> Result<(), BackupError> {
        if !self.push(&mut entry)? {
            return Ok(());
        }
        let counts = &mut self.summary.counts;
        match &entry.portable.node {
            Node::File { size, .. } => {
                counts.files += 1;
                self.summary.bytes_total += size;
                self.progress.files.fetch_add(1, Ordering::Relaxed);
                self.progress.bytes.fetch_add(*size, Ordering::Relaxed);
            }
            Node::Directory => counts.directories += 1,
            Node::Symlink { .. } => counts.symlinks += 1,
            Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => counts.others += 1,
        }
        self.progress.entries.fetch_add(1, Ordering::Relaxed);
        if let Some(inode) = group {
            self.groups.insert(inode, Group(entry));
        }
        Ok(())
    }

    fn note(&mut self, problem: Problem) {
        match problem.kind {
            ProblemKind::Unreadable | ProblemKind::Vanished | ProblemKind::Unstorable => {
                self.summary.unreadable += 1
            }
            ProblemKind::Changed => self.summary.torn += 1,
        }
        if self.summary.problems.len() < PROBLEMS_MAX {
            self.summary.problems.push(problem);
        }
    }

    /// Why a reader gave nothing: it has recorded a failure, or was told to stop.
    fn stopped(&self) -> BackupError {
        self.ingest.check().err().map_or(BackupError::Interrupted, BackupError::from)
    }
}

#[cfg(test)]
mod tests;
