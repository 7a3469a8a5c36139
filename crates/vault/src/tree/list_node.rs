//! Nodes of a long extent list as bytes.
//!
//! ```text
//! form 2 | level u8 | count varint | items:
//!     leaf:   extent (0, digest 32, length varint | 1, length varint)
//!     branch: child's digest 32, extents varint, length varint
//! ```

use super::entry_codec::{decode_extent, encode_extent};
use super::{LEVEL_MAX, NODE_WEIGHT_MAX};
use crate::codec::{Decoder, Encoder};
use crate::entry::Extent;
use crate::error::{Error, Kind, Result};
use crate::id::Digest;

const FORM_LIST: u8 = 2;
const WHAT: &str = "extent list node";

/// What a branch of a list says about one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListChild {
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// Extents below it, at least 1.
    pub extents: u64,
    /// Sum of their lengths in bytes, at least 1.
    pub length: u64,
}

/// A decoded list node, legal in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListNode {
    /// Extents in logical order, at least one.
    Leaf(Vec<Extent>),
    /// Children in logical order, at least one.
    Branch {
        /// 1 above leaves, and so on.
        level: u8,
        /// The children, whose level is one less.
        children: Vec<ListChild>,
    },
}

impl ListNode {
    /// Decodes a node and checks everything that can be seen in it alone.
    ///
    /// # Errors
    /// [`Kind::Damaged`] for every byte string that [`ListNode::encode`] does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Decoder::new(bytes, WHAT);
        if input.u8()? != FORM_LIST {
            return Err(input.error("unknown form"));
        }
        let level = input.u8()?;
        if level > LEVEL_MAX {
            return Err(input.error("impossible level"));
        }
        let count = input.count(2)?;
        if count == 0 || input.remaining() > NODE_WEIGHT_MAX {
            return Err(input.error("has no items, or is too long"));
        }
        let node = if level == 0 {
            Self::Leaf((0..count).map(|_| decode_extent(&mut input)).collect::<Result<_>>()?)
        } else {
            let children = (0..count).map(|_| decode_child(&mut input)).collect::<Result<_>>()?;
            Self::Branch { level, children }
        };
        if node.sums().is_none() {
            return Err(input.error("is longer than any file"));
        }
        input.finish()?;
        Ok(node)
    }

    /// The node's bytes.
    ///
    /// # Errors
    /// [`Kind::Bug`] if the node is not legal.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut open = OpenListNode::default();
        match self {
            Self::Leaf(extents) => extents.iter().for_each(|extent| open.push_extent(extent)),
            Self::Branch { children, .. } => children.iter().for_each(|child| open.push_child(child)),
        }
        let bytes = open.close(self.level()).map(|(_, bytes)| bytes).unwrap_or_default();
        match Self::decode(&bytes) {
            Ok(node) if node == *self => Ok(bytes),
            _ => Err(Error::new(Kind::Bug, "encode extent list node: it breaks a rule of the format")),
        }
    }

    /// 0 for a leaf.
    pub fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Branch { level, .. } => *level,
        }
    }

    /// Extents below the node and the sum of their lengths, if both fit.
    pub fn sums(&self) -> Option<(u64, u64)> {
        let add = |(a, b): (u64, u64), (c, d): (u64, u64)| Some((a.checked_add(c)?, b.checked_add(d)?));
        match self {
            Self::Leaf(extents) => {
                extents.iter().try_fold((0, 0), |sums, extent| add(sums, (1, extent.length())))
            }
            Self::Branch { children, .. } => {
                children.iter().try_fold((0, 0), |sums, child| add(sums, (child.extents, child.length)))
            }
        }
    }
}

fn decode_child(input: &mut Decoder<'_>) -> Result<ListChild> {
    let child =
        ListChild { digest: Digest(input.array()?), extents: input.varint()?, length: input.varint()? };
    if child.extents == 0 || child.length == 0 {
        return Err(input.error("empty child"));
    }
    Ok(child)
}

/// A list node that is being filled.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenListNode {
    items: Encoder,
    count: u64,
    extents: u64,
    length: u64,
}

/// No item of a list node is longer: tag, digest and two varints at their longest.
const ITEM_BYTES_MAX: usize = 1 + 32 + 2 * 10;

impl OpenListNode {
    /// Items so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Whether any item still fits.
    pub(super) fn has_room(&self) -> bool {
        self.items.as_slice().len() + ITEM_BYTES_MAX <= NODE_WEIGHT_MAX
    }

    pub(super) fn push_extent(&mut self, extent: &Extent) {
        encode_extent(extent, &mut self.items);
        self.add(1, extent.length());
    }

    pub(super) fn push_child(&mut self, child: &ListChild) {
        self.items.raw(&child.digest.0).varint(child.extents).varint(child.length);
        self.add(child.extents, child.length);
    }

    fn add(&mut self, extents: u64, length: u64) {
        self.count += 1;
        self.extents = self.extents.saturating_add(extents);
        self.length = self.length.saturating_add(length);
    }

    /// What the parent says of the node, and its bytes; `None` if it has no items. Begins a new one.
    pub(super) fn close(&mut self, level: u8) -> Option<(ListChild, Vec<u8>)> {
        let Self { items, count, extents, length } = std::mem::take(self);
        if count == 0 {
            return None;
        }
        let mut out = Encoder::new();
        out.u8(FORM_LIST).u8(level).varint(count).raw(items.as_slice());
        let node = out.finish();
        Some((ListChild { digest: Digest::of(&node), extents, length }, node))
    }
}
