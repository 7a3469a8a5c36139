//! Nodes of trees and extent lists, and where content is cut.

use std::sync::LazyLock;

use shudao_mover::chunker::{Chunker, GearTable, Profile};
use shudao_vault::tree::{ListNode, TreeNode};

/// A node that is accepted has one spelling.
pub(crate) fn tree_node(bytes: &[u8]) -> bool {
    let Ok(node) = TreeNode::decode(bytes) else { return false };
    let encoded = node.encode().expect("a node that was read can be written");
    assert_eq!(encoded, bytes, "a node has one spelling");
    true
}

/// The same of an extent list's nodes.
pub(crate) fn list_node(bytes: &[u8]) -> bool {
    let Ok(node) = ListNode::decode(bytes) else { return false };
    let encoded = node.encode().expect("a node that was read can be written");
    assert_eq!(encoded, bytes, "a node has one spelling");
    node.sums().is_some()
}

static TABLE: LazyLock<GearTable> = LazyLock::new(|| GearTable::derive(&[5; 32]));

/// Cuts the input to its end. Every piece is within the profile's bounds, the last may be shorter, and what a cut is
/// does not hang on how much of the rest is in sight.
pub(crate) fn chunker(bytes: &[u8]) -> bool {
    let profile = Profile::new(9, 64, 256, 1024).expect("the profile is legal");
    let chunker = Chunker::new(&profile, &TABLE);
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut = chunker.next_cut(rest, true).expect("at the end there is always a cut");
        assert!((1..=rest.len().min(1024)).contains(&cut), "a cut after {cut} bytes");
        assert!(cut >= 64 || cut == rest.len(), "only the last piece is shorter: {cut}");
        let seen = &rest[..rest.len().min(1024)];
        let narrow = chunker.next_cut(seen, seen.len() == rest.len());
        assert_eq!(narrow, Some(cut), "the rest of the stream moves no cut");
        rest = &rest[cut..];
    }
    chunker.next_cut(&[], true).is_none()
}
