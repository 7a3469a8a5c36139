//! Whether the parent snapshot's entry still tells a file's content.

use shudao_vault::entry::{Entry, Node};

use super::found::{Found, FoundNode};

/// Whether `found` is a file whose content `parent`, the entry of the same path in the parent snapshot, still
/// describes, so that it need not be opened: same size, mtime, ctime and inode, and the parent's scan saw it settled
/// and read it whole. Device numbers are not compared: they change when a file system is mounted again.
pub fn unchanged(found: &Found, parent: &Entry) -> bool {
    let (FoundNode::File { size }, Node::File { size: parent_size, .. }) =
        (&found.node, &parent.portable.node)
    else {
        return false;
    };
    let local = &parent.local;
    local.settled
        && !local.torn
        && size == parent_size
        && found.mtime == parent.portable.mtime
        && found.ctime == local.ctime
        && found.inode == local.inode
}
