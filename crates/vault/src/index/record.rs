//! The fixed-size records of a run, and how they fill pages. Layout: `docs/format/index.md` section 4.

use crate::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::id::{ChunkId, KeyId, ObjectId, PackId, WriterId};
use crate::pack::{PackKind, PackRef};

/// A page's bytes.
pub(super) const PAGE_BYTES: usize = 4096;
/// What a page has room for before its checksum.
pub(super) const PAYLOAD_BYTES: usize = PAGE_BYTES - 4;

/// One page of a run.
pub(super) type Page = [u8; PAGE_BYTES];

/// A record of fixed size.
pub(super) trait Record: Sized {
    /// Bytes of a record.
    const BYTES: usize;
    /// Records in a page.
    const PER_PAGE: u64 = (PAYLOAD_BYTES / Self::BYTES) as u64;

    fn encode(&self, out: &mut Encoder);
    fn decode(input: &mut Decoder<'_>) -> Result<Self>;

    /// The record in `slot` of a page.
    fn in_page(page: &[u8], slot: usize) -> Result<Self> {
        let start = slot * Self::BYTES;
        let bytes = page.get(start..start + Self::BYTES).unwrap_or_default();
        Self::decode(&mut Decoder::new(bytes, "index cache record"))
    }
}

/// Where a chunk lies: frame ordinals count in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkRecord {
    pub(super) id: ChunkId,
    pub(super) frame: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Record for ChunkRecord {
    const BYTES: usize = ChunkId::LEN + 12;

    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.id.0).u32(self.frame).u32(self.offset).u32(self.length);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let id = ChunkId(input.array()?);
        Ok(Self { id, frame: input.u32()?, offset: input.u32()?, length: input.u32()? })
    }
}

/// Where a frame lies and what opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameRecord {
    pub(super) pack: PackId,
    pub(super) kind: PackKind,
    pub(super) key: KeyId,
    pub(super) counter: u32,
    pub(super) offset: u64,
    pub(super) stored_length: u32,
    pub(super) plain_length: u32,
    pub(super) writer: WriterId,
}

impl Record for FrameRecord {
    const BYTES: usize = PackId::LEN + 1 + KeyId::LEN + 4 + 8 + 4 + 4 + WriterId::LEN;

    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.pack.0).u8(self.kind as u8).raw(&self.key.0).u32(self.counter).u64(self.offset);
        out.u32(self.stored_length).u32(self.plain_length).raw(&self.writer.0);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self {
            pack: ObjectId(input.array()?),
            kind: decode_kind(input)?,
            key: KeyId(input.array()?),
            counter: input.u32()?,
            offset: input.u64()?,
            stored_length: input.u32()?,
            plain_length: input.u32()?,
            writer: WriterId(input.array()?),
        })
    }
}

impl Record for PackRef {
    const BYTES: usize = PackId::LEN + 1 + 8;

    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.id.0).u8(self.kind as u8).u64(self.size);
    }

    fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        Ok(Self { id: ObjectId(input.array()?), kind: decode_kind(input)?, size: input.u64()? })
    }
}

fn decode_kind(input: &mut Decoder<'_>) -> Result<PackKind> {
    PackKind::from_code(input.u8()?).ok_or_else(|| input.error("unknown kind of pack"))
}

/// A number by which ids sort: their first eight bytes.
pub(super) fn prefix(id: &ChunkId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    u64::from_be_bytes(first)
}

/// The checksum at the end of page `number`.
pub(super) fn page_checksum(number: u64, payload: &[u8]) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes()).update(payload);
    let mut checksum = [0; 4];
    checksum.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    checksum
}

/// Whether `page` is page `number` as it was written.
pub(super) fn page_is_whole(number: u64, page: &[u8]) -> bool {
    page.split_at_checked(PAYLOAD_BYTES)
        .is_some_and(|(payload, checksum)| checksum == page_checksum(number, payload))
}
