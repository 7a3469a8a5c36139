//! A snapshot's entries as a Merkle B-tree, and long extent lists as trees of the same making.
//!
//! Layout: `docs/format/tree.md`. Nodes are plain bytes named by their BLAKE3; packing and sealing them is the caller's
//! ([`NodeSink`]), finding and opening them too ([`NodeSource`]). Nothing here reads a clock, draws randomness or
//! touches a store.

pub mod builder;
mod cursor;
pub mod diff;
pub mod entry_codec;
pub mod extents;
pub mod list_node;
pub mod list_stream;
#[cfg(test)]
mod list_tests;
pub mod node;
#[cfg(test)]
mod node_tests;
pub mod read;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

pub use builder::{TreeBuilder, TreeSummary};
pub use cursor::Gap;
pub use diff::{Change, Diff, Side, Step, diff};
pub use entry_codec::{content_bytes, portable_bytes};
pub use extents::ExtentListBuilder;
pub use list_node::{ListChild, ListNode};
pub use list_stream::{ExtentStream, ListNodeRef, ListVisitor, walk_list};
pub use node::{Child, TreeNode};
pub use read::{EntryStream, NodeRef, NodeStream, NodeVisitor, Walk, lookup, nodes, walk_nodes};

use crate::error::{Error, Kind, Result};
use crate::id::Digest;
use crate::suite::Secret;

/// Levels are at most this high; a branch has at least two children, so no tree of 2^64 entries is higher.
pub const LEVEL_MAX: u8 = 63;

/// An entry's weight (its full path, its parts, and 8) is at most this.
pub const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Weights of a node's items sum to at most this, unless the node has as few items as it can have.
pub const NODE_WEIGHT_MAX: usize = (64 << 10) - 8;

/// No node is longer: a branch of two children with the longest paths.
pub const NODE_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX + 256;

/// Takes the nodes that a builder makes, children before parents. A node may be put more than once.
pub trait NodeSink {
    /// Keeps `node`, whose BLAKE3 is `digest`.
    ///
    /// # Errors
    /// Whatever the sink cannot do; the builder passes it on and must not be used any more.
    fn put_node(&mut self, digest: Digest, node: Vec<u8>) -> Result<()>;
}

/// Finds nodes by their plain digest.
pub trait NodeSource: Send + Sync {
    /// The node's bytes. Readers check them against the digest themselves.
    ///
    /// # Errors
    /// [`Kind::Missing`] or [`Kind::Damaged`] if the node is lost; readers report it and go on after it. Any other
    /// kind stops the reader where it is.
    fn node(&self, digest: &Digest) -> impl Future<Output = Result<Bytes>> + Send;
}

impl<S: NodeSource> NodeSource for &S {
    fn node(&self, digest: &Digest) -> impl Future<Output = Result<Bytes>> + Send {
        (**self).node(digest)
    }
}

impl<S: NodeSource> NodeSource for Arc<S> {
    fn node(&self, digest: &Digest) -> impl Future<Output = Result<Bytes>> + Send {
        (**self).node(digest)
    }
}

/// Fetches a node and checks its digest and length.
async fn fetch<S: NodeSource>(source: &S, digest: &Digest) -> Result<Bytes> {
    let bytes = source.node(digest).await?;
    if bytes.len() > NODE_BYTES_MAX || Digest::of(&bytes) != *digest {
        return Err(Error::damaged(format!("check node {digest}: its bytes do not have this digest")));
    }
    Ok(bytes)
}

/// Whether an error means that a node is lost for good, so that a reader reports it and goes on after it.
fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), Kind::Missing | Kind::Damaged)
}

/// Decides where nodes end: a keyed hash of what identifies an item, never of its metadata.
#[derive(Debug, Clone)]
struct Boundary(Secret);

/// An average leaf has this many entries.
const LEAF_DIVISOR: u32 = 32;
/// An average branch has this many children.
const BRANCH_DIVISOR: u32 = 64;
/// An average list node has this many items.
const LIST_DIVISOR: u32 = 128;
/// Added to a list's levels, so that lists and trees are cut by different hashes.
const LIST_LEVELS: u8 = 0x80;

impl Boundary {
    fn ends_tree_node(&self, level: u8, path: &[u8]) -> bool {
        let divisor = if level == 0 { LEAF_DIVISOR } else { BRANCH_DIVISOR };
        self.hits(level, path, divisor)
    }

    fn ends_list_node(&self, level: u8, digest: &Digest) -> bool {
        self.hits(LIST_LEVELS + level, &digest.0, LIST_DIVISOR)
    }

    fn hits(&self, level: u8, bytes: &[u8], divisor: u32) -> bool {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.0);
        hasher.update(&[level]).update(bytes);
        let mut head = [0; 4];
        head.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
        u64::from(u32::from_le_bytes(head)) < (1 << 32) / u64::from(divisor)
    }
}
