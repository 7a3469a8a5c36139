//! A place in a tree, moved forward entry by entry or subtree by subtree. Every reader of trees is built on it.

use std::collections::VecDeque;

use super::node::{Previous, TreeNode};
use super::read::NodeRef;
use super::{LEVEL_MAX, NodeSource, fetch, is_loss};
use crate::entry::{Entry, TreePath};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;

/// A range of paths that cannot be read because a node is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The lost node.
    pub node: NodeRef,
    /// First path that is not affected; `None` if the gap goes to the tree's end. It begins at `node.first`.
    pub until: Option<TreePath>,
}

/// A subtree that has not been read, and what its parent says of it.
#[derive(Debug, Clone)]
pub(super) struct Subtree {
    pub(super) at: NodeRef,
    until: Option<TreePath>,
    sums: Sums,
}

#[derive(Debug, Clone, Copy)]
enum Sums {
    /// Nobody speaks of the root but the snapshot, which names its digest and level alone.
    Root,
    Child {
        entries: u64,
        bytes: u64,
    },
}

/// What comes next.
pub(super) enum Item<'a> {
    Subtree(&'a Subtree),
    Entry(&'a Entry),
}

/// What lies before it is passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Floor {
    /// Everything before this path.
    At(TreePath),
    /// Everything before this directory, the directory and everything in it.
    After(TreePath),
    /// Everything.
    End,
}

impl Floor {
    fn hides(&self, path: &TreePath) -> bool {
        match self {
            Self::At(at) => path < at,
            Self::After(directory) => path < directory || path.is_within(directory),
            Self::End => true,
        }
    }

    /// Whether every path before `until` is hidden.
    fn hides_before(&self, until: Option<&TreePath>) -> bool {
        match (self, until) {
            (Self::End, _) => true,
            (Self::At(at), Some(until)) => until <= at,
            (Self::After(_), Some(until)) => self.hides(until),
            (Self::At(_) | Self::After(_), None) => false,
        }
    }

    /// The floor that hides what either hides.
    fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::End, _) => self,
            (_, Self::End) => other,
            (_, Self::At(path)) => {
                if self.hides(path) {
                    self
                } else {
                    other
                }
            }
            (Self::At(path), Self::After(_)) => {
                if other.hides(path) {
                    other
                } else {
                    self
                }
            }
            (Self::After(a), Self::After(b)) => {
                if a.is_within(b) || (a < b && !b.is_within(a)) {
                    other
                } else {
                    self
                }
            }
        }
    }
}

/// A place in a tree. Holds one node per level.
#[derive(Debug)]
pub(super) struct Cursor<S> {
    source: S,
    frames: Vec<VecDeque<Subtree>>,
    leaf: VecDeque<Entry>,
    /// Last entry of the leaf read directly before what comes next, for the rule about directories.
    previous: Option<Previous>,
    floor: Option<Floor>,
    gap: Option<Gap>,
}

impl<S: NodeSource> Cursor<S> {
    /// Stands before the root node. Reads nothing.
    pub(super) fn new(source: S, root: Digest, level: u8) -> Self {
        let at = NodeRef { digest: root, level, first: TreePath::root() };
        let root = Subtree { at, until: None, sums: Sums::Root };
        Self {
            source,
            frames: vec![VecDeque::from([root])],
            leaf: VecDeque::new(),
            previous: None,
            floor: None,
            gap: None,
        }
    }

    /// What comes next: an entry of the leaf in hand, or a subtree not read yet. `None` at the end.
    pub(super) fn peek(&mut self) -> Option<Item<'_>> {
        self.pass_hidden();
        if !self.leaf.is_empty() {
            return self.leaf.front().map(Item::Entry);
        }
        self.frames.last().and_then(VecDeque::front).map(Item::Subtree)
    }

    /// Takes the entry that [`Cursor::peek`] showed.
    pub(super) fn take_entry(&mut self) -> Option<Entry> {
        self.leaf.pop_front()
    }

    /// The entries of the leaf in hand.
    pub(super) fn leaf(&mut self) -> &[Entry] {
        self.leaf.make_contiguous()
    }

    /// Goes on after the leaf in hand.
    pub(super) fn skip_leaf(&mut self) {
        self.leaf.clear();
    }

    /// Passes over the subtree that [`Cursor::peek`] showed.
    pub(super) fn skip_subtree(&mut self) {
        self.pop_subtree();
        self.previous = None;
    }

    /// Passes over what `floor` hides; only ever goes forward.
    pub(super) fn raise(&mut self, floor: Floor) {
        self.floor = Some(match self.floor.take() {
            Some(old) => old.or(floor),
            None => floor,
        });
    }

    /// The latest range that was lost.
    pub(super) fn gap(&self) -> Option<&Gap> {
        self.gap.as_ref()
    }

    /// Reads the subtree that [`Cursor::peek`] showed; its children or entries come next.
    ///
    /// # Errors
    /// If the node is lost, the error says which paths are, and the cursor goes on after it. After any other error,
    /// or if the future is dropped, it stands where it stood.
    pub(super) async fn expand(&mut self) -> Result<()> {
        let Some(subtree) = self.frames.last().and_then(VecDeque::front) else {
            return Err(Error::new(Kind::Bug, "read tree: nothing to expand"));
        };
        match read(&self.source, subtree, self.previous.as_ref()).await {
            Ok(node) => {
                if let Some(subtree) = self.pop_subtree() {
                    self.enter(node, subtree);
                }
                Ok(())
            }
            Err(error) if is_loss(&error) => {
                let Some(subtree) = self.pop_subtree() else { return Err(error) };
                self.previous = None;
                let gap = Gap { node: subtree.at, until: subtree.until };
                let message = gap.to_string();
                self.gap = Some(gap);
                Err(error.context(message))
            }
            Err(error) => Err(error),
        }
    }

    fn enter(&mut self, node: TreeNode, subtree: Subtree) {
        match node {
            TreeNode::Leaf(entries) => {
                self.previous = entries.last().map(Previous::of);
                self.leaf = entries.into();
            }
            TreeNode::Branch { level, children } => {
                let mut until = subtree.until;
                let mut frame = VecDeque::with_capacity(children.len());
                for child in children.into_iter().rev() {
                    let at = NodeRef { digest: child.digest, level: level - 1, first: child.first };
                    let next_until = Some(at.first.clone());
                    let sums = Sums::Child { entries: child.entries, bytes: child.bytes };
                    frame.push_front(Subtree { at, until, sums });
                    until = next_until;
                }
                self.frames.push(frame);
            }
        }
    }

    fn pop_subtree(&mut self) -> Option<Subtree> {
        self.frames.last_mut().and_then(VecDeque::pop_front)
    }

    fn pass_hidden(&mut self) {
        if let Some(floor) = &self.floor {
            while self.leaf.front().is_some_and(|entry| floor.hides(entry.path())) {
                self.leaf.pop_front();
            }
        }
        if !self.leaf.is_empty() {
            return;
        }
        while let Some(frame) = self.frames.last_mut() {
            match (frame.front(), &self.floor) {
                (None, _) => {
                    self.frames.pop();
                }
                (Some(subtree), Some(floor)) if floor.hides_before(subtree.until.as_ref()) => {
                    frame.pop_front();
                    self.previous = None;
                }
                (Some(_), _) => return,
            }
        }
    }
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NodeRef { digest, level, first } = &self.node;
        write!(f, "read tree node {} (level {level}): entries from \"{first}\" ", digest.short())?;
        match &self.until {
            Some(until) => write!(f, "up to \"{until}\" are lost"),
            None => write!(f, "to the end of the tree are lost"),
        }
    }
}

async fn read<S: NodeSource>(source: &S, subtree: &Subtree, previous: Option<&Previous>) -> Result<TreeNode> {
    let node = TreeNode::decode(&fetch(source, &subtree.at.digest).await?)?;
    match fault(&node, subtree, previous) {
        Some(fault) => Err(Error::damaged(format!("check tree node {}: {fault}", subtree.at.digest))),
        None => Ok(node),
    }
}

/// What is wrong with a node in its place, if anything.
fn fault(node: &TreeNode, subtree: &Subtree, previous: Option<&Previous>) -> Option<&'static str> {
    let Some((first, last)) = node.ends() else { return Some("has no items") };
    if node.level() != subtree.at.level || node.level() > LEVEL_MAX {
        return Some("not of the level that its parent says");
    }
    if *first != subtree.at.first {
        return Some("does not begin with the path that its parent says");
    }
    if subtree.until.as_ref().is_some_and(|until| last >= until) {
        return Some("reaches into its next sibling's paths");
    }
    match (subtree.sums, node.sums()) {
        (Sums::Root, _) if matches!(node, TreeNode::Branch { children, .. } if children.len() < 2) => {
            return Some("is a root with a single child");
        }
        (Sums::Child { entries, bytes }, sums) if sums != (Some(entries), bytes) => {
            return Some("does not sum to what its parent says");
        }
        (Sums::Root | Sums::Child { .. }, _) => {}
    }
    match (node, previous) {
        (TreeNode::Leaf(_), Some(previous)) if !previous.allows(first) => {
            Some("begins with an entry that stands in no directory")
        }
        (TreeNode::Leaf(_) | TreeNode::Branch { .. }, _) => None,
    }
}
