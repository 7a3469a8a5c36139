//! Slots in path order become entries, tree, roots and counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use shudao_vault::Kind;
use shudao_vault::entry::{Entry, Node, TreePath};
use shudao_vault::tree::{TreeBuilder, TreeSummary};

use super::content::Content;
use super::pump::{Inode, Outcome, Slot, entry_of};
use super::{BackupError, BackupProgress, BackupSummary, PROBLEMS_MAX, Problem, ProblemKind};
use crate::ingest::{Ingest, Nodes};
use crate::source::Found;

/// Builds the tree of one run.
pub(super) struct Assembler<'a> {
    ingest: &'a Ingest,
    progress: &'a BackupProgress,
    tree: TreeBuilder,
    groups: HashMap<Inode, Group>,
    pub(super) summary: BackupSummary,
}

/// The first stored member of a hard-link group.
struct Group {
    first: TreePath,
    content: Option<Content>,
    torn: bool,
}

impl<'a> Assembler<'a> {
    pub(super) fn new(ingest: &'a Ingest, progress: &'a BackupProgress, tree: TreeBuilder) -> Self {
        Self { ingest, progress, tree, groups: HashMap::new(), summary: BackupSummary::default() }
    }

    /// Takes slots until the pump has ended, then finishes the tree. `read_inline` reads a file whose group's first
    /// member failed.
    pub(super) fn run(
        mut self,
        slots: &Receiver<Slot>,
        read_inline: impl Fn(&Arc<Found>) -> Result<Outcome, BackupError>,
    ) -> Result<(TreeSummary, BackupSummary), BackupError> {
        while let Ok(slot) = slots.recv() {
            self.take(slot, &read_inline)?;
        }
        let tree = self.tree.finish(&mut Nodes(self.ingest))?;
        Ok((tree, self.summary))
    }

    fn take(
        &mut self,
        slot: Slot,
        read_inline: &impl Fn(&Arc<Found>) -> Result<Outcome, BackupError>,
    ) -> Result<(), BackupError> {
        match slot {
            Slot::Ready { entry, group, reused } => {
                if matches!(entry.portable.node, Node::File { .. }) && reused {
                    self.summary.counts.files_unmodified += 1;
                }
                self.add(*entry, group)
            }
            Slot::Reading { outcome, group, had_parent } => {
                let outcome = outcome.recv().map_err(|_| self.stopped())?;
                self.add_read(outcome, group, had_parent)
            }
            Slot::Linked { found, inode } => match self.groups.get(&inode) {
                Some(group) => {
                    let mut entry = entry_of(&found, group.content.clone(), self.ingest)?;
                    entry.portable.first_link = Some(group.first.clone());
                    entry.local.torn = group.torn;
                    self.add(entry, None)
                }
                None => {
                    let outcome = read_inline(&found)?;
                    self.add_read(outcome, Some(inode), false)
                }
            },
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

    fn add(&mut self, entry: Entry, group: Option<Inode>) -> Result<(), BackupError> {
        match self.tree.push(&entry, &mut Nodes(self.ingest)) {
            Ok(()) => {}
            // An entry beyond the format's bound, such as one with a megabyte of attributes.
            Err(error) if error.kind() == Kind::Input => {
                let (path, what) = (entry.path().clone(), error.to_string());
                self.note(Problem { path, kind: ProblemKind::Unstorable, what });
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(inode) = group {
            let content = match &entry.portable.node {
                Node::File { size, digest } => {
                    Some(Content { size: *size, digest: *digest, extents: entry.local.extents.clone() })
                }
                _ => None,
            };
            let group = Group { first: entry.path().clone(), content, torn: entry.local.torn };
            self.groups.insert(inode, group);
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

    fn stopped(&self) -> BackupError {
        match self.ingest.check() {
            Err(error) => error.into(),
            Ok(()) => BackupError::Interrupted,
        }
    }
}
