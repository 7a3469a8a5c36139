//! Hard-link groups: which path of an inode came first.

use std::collections::HashMap;

use shudao_vault::entry::TreePath;

use super::found::{Found, FoundNode};
use super::status::Identity;

/// Inodes with several names, from their first name to their last. Inodes with one name cost nothing, and a group
/// whose last name was seen is forgotten.
#[derive(Debug, Default)]
pub struct HardLinks {
    groups: HashMap<Identity, Group>,
}

#[derive(Debug)]
struct Group {
    first: TreePath,
    left: u64,
}

impl HardLinks {
    /// To be asked once for each found path that gets an entry, in path order: the path of the group's first member,
    /// or `None` if this is the first, or has no other name. Directories have none.
    pub fn member(&mut self, found: &Found) -> Option<TreePath> {
        if found.links < 2 || found.node == FoundNode::Directory {
            return None;
        }
        let identity = (found.device, found.inode);
        let Some(group) = self.groups.get_mut(&identity) else {
            self.groups.insert(identity, Group { first: found.path.clone(), left: found.links - 1 });
            return None;
        };
        group.left = group.left.saturating_sub(1);
        let first = group.first.clone();
        if group.left == 0 {
            self.groups.remove(&identity);
        }
        Some(first)
    }

    /// Whether the group of `found` waits for further members.
    pub fn is_open(&self, found: &Found) -> bool {
        self.groups.contains_key(&(found.device, found.inode))
    }

    /// How many groups wait for further members.
    pub fn open_groups(&self) -> usize {
        self.groups.len()
    }
}
