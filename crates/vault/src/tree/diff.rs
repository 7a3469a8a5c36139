//! What differs between two trees, found without reading what they share.
//!
//! Two cursors move together. Equal subtrees in the same place are passed over; of two unequal ones the higher is
//! opened first, so that a node is opened if and only if the other tree does not have it.

use std::cmp::Ordering;

use super::cursor::{Cursor, Floor, Gap, Item};
use super::{NodeRef, NodeSource, is_loss};
use crate::entry::{Entry, TreePath};
use crate::error::Result;
use crate::id::Digest;

/// A difference at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the second tree has it.
    Added(Entry),
    /// Only the first tree has it.
    Removed(Entry),
    /// Both have it; the portable or the local parts differ.
    Changed {
        /// In the first tree.
        before: Box<Entry>,
        /// In the second tree.
        after: Box<Entry>,
    },
}

impl Change {
    /// The path.
    pub fn path(&self) -> &TreePath {
        match self {
            Self::Added(entry) | Self::Removed(entry) => entry.path(),
            Self::Changed { before, .. } => before.path(),
        }
    }
}

/// One of the two trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first tree.
    Before,
    /// The second tree.
    After,
}

/// One step of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A node that only one tree has.
    Node(Side, NodeRef),
    /// A difference between entries.
    Change(Box<Change>),
}

/// Compares two trees in path order.
#[derive(Debug)]
pub struct Diff<S> {
    before: Cursor<S>,
    after: Cursor<S>,
    gap: Option<(Side, Gap)>,
}

/// Compares the trees with these (root, level). Reads nothing yet.
pub fn diff<S: NodeSource + Clone>(source: S, before: (Digest, u8), after: (Digest, u8)) -> Diff<S> {
    Diff {
        before: Cursor::new(source.clone(), before.0, before.1),
        after: Cursor::new(source, after.0, after.1),
        gap: None,
    }
}

enum Move {
    Open(Side, NodeRef),
    SkipBoth,
    Remove,
    Add,
    Compare,
}

impl<S: NodeSource> Diff<S> {
    /// The next difference between entries, or `None` at the end.
    ///
    /// # Errors
    /// As [`super::EntryStream::next`]. Where a node of either tree is lost, nothing is said about its paths but the
    /// error; the next call goes on after them in both trees.
    pub async fn next(&mut self) -> Result<Option<Change>> {
        loop {
            match self.next_step().await? {
                Some(Step::Change(change)) => return Ok(Some(*change)),
                Some(Step::Node(..)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next difference between nodes or entries. A node stands before everything below it.
    ///
    /// # Errors
    /// As [`Diff::next`].
    pub async fn next_step(&mut self) -> Result<Option<Step>> {
        while let Some(next) = self.decide() {
            match next {
                Move::Open(side, node) => {
                    self.open(side).await?;
                    return Ok(Some(Step::Node(side, node)));
                }
                Move::SkipBoth => {
                    self.before.skip_subtree();
                    self.after.skip_subtree();
                }
                Move::Remove => return Ok(self.before.take_entry().map(Change::Removed).map(step)),
                Move::Add => return Ok(self.after.take_entry().map(Change::Added).map(step)),
                Move::Compare => {
                    let (Some(before), Some(after)) = (self.before.take_entry(), self.after.take_entry())
                    else {
                        return Ok(None);
                    };
                    if before != after {
                        let change = Change::Changed { before: Box::new(before), after: Box::new(after) };
                        return Ok(Some(step(change)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The range of paths that the latest lost node took with it, and whose it was.
    pub fn gap(&self) -> Option<&(Side, Gap)> {
        self.gap.as_ref()
    }

    fn decide(&mut self) -> Option<Move> {
        Some(match (self.before.peek(), self.after.peek()) {
            (None, None) => return None,
            (Some(Item::Entry(_)), None) => Move::Remove,
            (None, Some(Item::Entry(_))) => Move::Add,
            (Some(Item::Subtree(tree)), None) => Move::Open(Side::Before, tree.at.clone()),
            (None, Some(Item::Subtree(tree))) => Move::Open(Side::After, tree.at.clone()),
            (Some(before), Some(after)) => decide_between(&before, &after),
        })
    }

    async fn open(&mut self, side: Side) -> Result<()> {
        let (cursor, other) = match side {
            Side::Before => (&mut self.before, &mut self.after),
            Side::After => (&mut self.after, &mut self.before),
        };
        let opened = cursor.expand().await;
        if let (Err(error), Some(gap)) = (&opened, cursor.gap())
            && is_loss(error)
        {
            // What the other tree has in the lost range may be equal, changed or new: nobody knows.
            other.raise(gap.until.clone().map_or(Floor::End, Floor::At));
            self.gap = Some((side, gap.clone()));
        }
        opened
    }
}

fn step(change: Change) -> Step {
    Step::Change(Box::new(change))
}

fn decide_between(before: &Item<'_>, after: &Item<'_>) -> Move {
    let order = first_path(before).cmp(first_path(after));
    match (order, before, after) {
        (Ordering::Less, Item::Subtree(tree), _) => Move::Open(Side::Before, tree.at.clone()),
        (Ordering::Less, Item::Entry(_), _) => Move::Remove,
        (Ordering::Greater, _, Item::Subtree(tree)) => Move::Open(Side::After, tree.at.clone()),
        (Ordering::Greater, _, Item::Entry(_)) => Move::Add,
        (Ordering::Equal, Item::Subtree(a), Item::Subtree(b)) => match a.at.level.cmp(&b.at.level) {
            Ordering::Equal if a.at.digest == b.at.digest => Move::SkipBoth,
            Ordering::Less => Move::Open(Side::After, b.at.clone()),
            Ordering::Equal | Ordering::Greater => Move::Open(Side::Before, a.at.clone()),
        },
        (Ordering::Equal, Item::Subtree(tree), Item::Entry(_)) => Move::Open(Side::Before, tree.at.clone()),
        (Ordering::Equal, Item::Entry(_), Item::Subtree(tree)) => Move::Open(Side::After, tree.at.clone()),
        (Ordering::Equal, Item::Entry(_), Item::Entry(_)) => Move::Compare,
    }
}

fn first_path<'a>(item: &'a Item<'_>) -> &'a TreePath {
    match item {
        Item::Subtree(tree) => &tree.at.first,
        Item::Entry(entry) => entry.path(),
    }
}
