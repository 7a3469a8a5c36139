//! Hard links: which path of an inode stands first, and what was read there.

use std::collections::HashMap;

use shudao_vault::entry::{Node, Portable, TreePath};
use shudao_vault::id::Digest;

use super::node::{Facts, Inode, Known, Leaf};

/// The inodes with several links met so far.
///
/// None is ever forgotten, because bind mounts can show an inode at more paths than it has links.
#[derive(Default)]
pub(super) struct Links {
    groups: HashMap<Inode, Group>,
}

enum Group {
    /// No member was read yet; one may be under way.
    Pending,
    /// The first member that is an entry, and its content where it is a file.
    Read { first: TreePath, content: Option<(Facts, Digest)> },
}

impl Links {
    /// Whether `leaf` is a file met before, so that it need not be read in parallel again; remembers it if not.
    pub(super) fn is_further_link(&mut self, leaf: &Leaf) -> bool {
        if !leaf.facts.is_linked() {
            return false;
        }
        let mut further = true;
        self.groups.entry(leaf.facts.inode).or_insert_with(|| {
            further = false;
            Group::Pending
        });
        further
    }

    /// What an earlier member of `leaf`'s group tells about its content.
    pub(super) fn known(&self, leaf: &Leaf) -> Known {
        match self.groups.get(&leaf.facts.inode) {
            Some(Group::Read { content: Some((facts, digest)), .. }) => Known::Digest(*facts, *digest),
            Some(Group::Read { content: None, .. } | Group::Pending) | None => Known::Nothing,
        }
    }

    /// The entry with its first link filled in. Must be called in path order.
    pub(super) fn place(&mut self, mut portable: Portable, facts: &Facts) -> Portable {
        if !facts.is_linked() {
            return portable;
        }
        match self.groups.get(&facts.inode) {
            Some(Group::Read { first, .. }) => portable.first_link = Some(first.clone()),
            Some(Group::Pending) | None => {
                let content = match &portable.node {
                    Node::File { digest, .. } => Some((*facts, *digest)),
                    _ => None,
                };
                self.groups.insert(facts.inode, Group::Read { first: portable.path.clone(), content });
            }
        }
        portable
    }
}
