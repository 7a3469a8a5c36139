//! What a session has acknowledged so far, as the next checkpoint will tell it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use crate::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{Digest, PackId, SegmentId};
use crate::pack::{PACK_BYTES_MAX, PackKind, PackRef};

/// An acknowledged pack that is in no segment yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackMark {
    /// The pack.
    pub pack: PackRef,
    /// BLAKE3 of its header and of everything from its sealed directory on; see [`crate::pack::PackEnds::digest`].
    pub digest: Digest,
}

/// Fewest bytes of an encoded mark.
pub(super) const MARK_BYTES: usize = PackId::LEN + 1 + 8 + Digest::LEN;

impl PackMark {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.raw(&self.pack.id.0).u8(self.pack.kind as u8).u64(self.pack.size).raw(&self.digest.0);
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let (id, kind, size) = (crate::id::ObjectId(input.array()?), input.u8()?, input.u64()?);
        let kind = PackKind::from_code(kind).ok_or_else(|| input.error("unknown kind of pack"))?;
        if size > PACK_BYTES_MAX {
            return Err(input.error("a pack is too long"));
        }
        Ok(Self { pack: PackRef { id, kind, size }, digest: Digest(input.array()?) })
    }
}

/// The segments and the packs without segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shelf {
    /// Put and acknowledged.
    pub segments: Vec<SegmentId>,
    /// Put and acknowledged, in no segment yet.
    pub packs: Vec<PackMark>,
}

/// A shelf that one task fills and another reads.
pub type SharedShelf = Arc<Mutex<Shelf>>;

impl Shelf {
    /// A segment over these packs is acknowledged: it stands for them.
    pub fn take_in(&mut self, id: SegmentId, packs: &BTreeSet<PackId>) {
        self.packs.retain(|mark| !packs.contains(&mark.pack.id));
        self.segments.push(id);
    }
}
