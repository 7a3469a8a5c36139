//! Hard links: which path of an inode stands first, and what was read there.

use std::collections::HashMap;

use shudao_vault::entry::{Node, Portable, TreePath};
use shudao_vault::id::Digest;

use super::node::{Facts, Inode, Known, Leaf};

/// The inodes with several links met so far. One whose last link was met is forgotten: a bind mount can show an inode
/// at more paths than it has links, and those beyond are a group of their own.
#[derive(Default)]
pub(super) struct Links {
    groups: HashMap<Inode, Group>,
}

enum Group {
    /// No member was read yet; one may be under way.
    Pending,
    /// The first member that is an entry, and its content where it is a file.
    Read { first: TreePath, content: Option<(Facts, Digest)>, links_left: u64 },
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
        match self.groups.get_mut(&facts.inode) {
            Some(Group::Read { first, links_left, .. }) => {
                portable.first_link = Some(first.clone());
                *links_left = links_left.saturating_sub(1);
                if *links_left == 0 {
                    self.groups.remove(&facts.inode);
                }
            }
            Some(Group::Pending) | None => {
                let content = match &portable.node {
                    Node::File { digest, .. } => Some((*facts, *digest)),
                    _ => None,
                };
                let group = Group::Read {
                    first: portable.path.clone(),
                    content,
                    links_left: facts.links.saturating_sub(1),
                };
                self.groups.insert(facts.inode, group);
            }
        }
        portable
    }
}
