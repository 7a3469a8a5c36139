//! Segments: sorted pieces of the index, each a signed claim of its author about where the chunks of some packs lie.
//!
//! Layout: `docs/format/index.md` section 1. The author and the packs stand in the clear, so that collection needs no
//! key; the rest is sealed under the index key.

mod build;

pub use build::{FinishedSegment, SegmentBuilder};

use crate::codec::Decoder;
use crate::error::{Error, Result};
use crate::frame::{FrameName, OVERHEAD_BYTES_MAX, PLAIN_BYTES_MAX, PlainLength, Scratch, open_frame};
use crate::id::{ChunkId, KeyId, ObjectId, PackId, SegmentId, VaultId, WriterId};
use crate::keys::KeyRing;
use crate::object::{self, ObjectKind};
use crate::pack::{PACK_BYTES_MAX, PackKind, PackRef};
use crate::suite::{Purpose, Signature, VerifyKey, WrappedKey, Wrapping};

/// A writer ends a segment before it would pass this many chunks.
pub const SEGMENT_CHUNKS_TARGET: usize = 65_536;
/// A reader accepts this many chunks, and as many frames.
pub const SEGMENT_CHUNKS_MAX: usize = 1 << 20;
const SEGMENT_PACKS_MAX: usize = 65_536;
const SIGNATURE_BYTES: usize = 64;
const SIGNATURE_DOMAIN: &str = "shudao segment";
/// The body is the only frame under its key.
const COUNTER: u32 = 0;

/// Finds the certified key of a writer.
pub type VerifyKeyOf<'a> = &'a dyn Fn(WriterId) -> Option<VerifyKey>;

/// What everyone can read of a segment: whose claim it is, and about which packs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentClear {
    /// BLAKE3 of the object.
    pub id: SegmentId,
    /// Who signed it.
    pub author: WriterId,
    /// Ascending by id; the segment is needed while one of them is.
    pub packs: Vec<PackRef>,
}

/// Where one sealed frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFrame {
    /// Ordinal in the segment's packs.
    pub pack: u32,
    /// The object key that opens it.
    pub key: KeyId,
    /// Counter under that key.
    pub counter: u32,
    /// Where the sealed bytes begin in the pack.
    pub offset: u64,
    /// Number of sealed bytes.
    pub stored_length: u32,
    /// Number of plain bytes.
    pub plain_length: u32,
    /// Who sealed it.
    pub writer: WriterId,
}

/// Where one chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentChunk {
    /// Its name.
    pub id: ChunkId,
    /// Ordinal in the segment's frames.
    pub frame: u32,
    /// Where it begins in the frame's plain bytes.
    pub offset: u32,
    /// Its length in bytes.
    pub length: u32,
}

/// An opened segment. Every ordinal is in range, frames lie inside their packs and chunks inside their frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The part in the clear.
    pub clear: SegmentClear,
    /// Ascending by pack and offset.
    pub frames: Vec<SegmentFrame>,
    /// Ascending by id, frame and offset.
    pub chunks: Vec<SegmentChunk>,
}

impl SegmentClear {
    /// Reads the clear part of the segment `bytes` and checks the signature over all of them.
    ///
    /// # Errors
    /// [`crate::Kind::Damaged`] if the bytes break the format, or `verify_key_of` has no key for the author, or
    /// another one than the key that signed.
    pub fn decode(bytes: &[u8], vault: VaultId, verify_key_of: VerifyKeyOf<'_>) -> Result<Self> {
        Self::decode_signed(bytes, vault, verify_key_of).map(|(clear, _)| clear)
    }

    /// The same, and what follows the clear part up to the signature.
    fn decode_signed<'a>(
        bytes: &'a [u8],
        vault: VaultId,
        verify_key_of: VerifyKeyOf<'_>,
    ) -> Result<(Self, Decoder<'a>)> {
        let damaged = |problem| Decoder::new(&[], "segment").error(problem);
        let signed_len = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or_else(|| damaged("ends too early"))?;
        let (signed, signature) = bytes.split_at(signed_len);
        let mut input = object::open(signed, ObjectKind::Segment, vault, "segment")?;
        let author = WriterId(input.array()?);
        let key = verify_key_of(author)
            .filter(|key| key.writer_id() == author)
            .ok_or_else(|| Error::damaged(format!("decode segment: nobody certified its author {author}")))?;
        let signature = Signature(Decoder::new(signature, "segment").array()?);
        if !key.verifies(SIGNATURE_DOMAIN, signed, &signature) {
            return Err(damaged("its signature does not hold"));
        }
        let packs = decode_packs(&mut input)?;
        Ok((Self { id: SegmentId::of(bytes), author, packs }, input))
    }
}

fn decode_packs(input: &mut Decoder<'_>) -> Result<Vec<PackRef>> {
    let count = input.count(PackId::LEN + 9)?;
    if !(1..=SEGMENT_PACKS_MAX).contains(&count) {
        return Err(input.error("names no pack, or too many"));
    }
    let mut packs: Vec<PackRef> = Vec::with_capacity(count);
    for _ in 0..count {
        let (id, kind, size) = (ObjectId(input.array()?), input.u8()?, input.u64()?);
        let kind = PackKind::from_code(kind).ok_or_else(|| input.error("unknown kind of pack"))?;
        if packs.last().is_some_and(|last| last.id >= id) || size > PACK_BYTES_MAX {
            return Err(input.error("its packs are not in order, or too long"));
        }
        packs.push(PackRef { id, kind, size });
    }
    Ok(packs)
}

impl Segment {
    /// Checks and opens the segment `bytes`.
    ///
    /// # Errors
    /// As [`SegmentClear::decode`]; [`crate::Kind::Forbidden`] without the index key of its generation.
    pub fn decode(bytes: &[u8], ring: &KeyRing, verify_key_of: VerifyKeyOf<'_>) -> Result<Self> {
        let (clear, mut input) = SegmentClear::decode_signed(bytes, ring.vault, verify_key_of)?;
        let wrapped = WrappedKey::decode(&mut input)?;
        if wrapped.name.wrapping != Wrapping::Index {
            return Err(input.error("its key is not wrapped under the index key"));
        }
        let sealed = input.bytes(PLAIN_BYTES_MAX as usize + OVERHEAD_BYTES_MAX)?;
        input.finish()?;
        let key = ring.unwrap(&wrapped)?;
        let name = FrameName { key: &key, purpose: Purpose::Segment, counter: COUNTER };
        let body = open_frame(name, sealed, PlainLength::AtMost(PLAIN_BYTES_MAX), &mut Scratch::new())?;
        Self::decode_body(clear, &body)
    }

    fn decode_body(clear: SegmentClear, body: &[u8]) -> Result<Self> {
        let mut input = Decoder::new(body, "segment body");
        let writers = decode_ids(&mut input)?.into_iter().map(WriterId).collect();
        let keys = decode_ids(&mut input)?.into_iter().map(KeyId).collect();
        let tables = Tables { packs: &clear.packs, writers, keys };
        let count = input.count(7)?;
        if count > SEGMENT_CHUNKS_MAX {
            return Err(input.error("too many frames"));
        }
        let mut frames: Vec<SegmentFrame> = Vec::with_capacity(count);
        for _ in 0..count {
            let frame = tables.decode_frame(&mut input, frames.last())?;
            frames.push(frame);
        }
        let count = input.count(ChunkId::LEN + 3)?;
        if count > SEGMENT_CHUNKS_MAX {
            return Err(input.error("too many chunks"));
        }
        let mut chunks: Vec<SegmentChunk> = Vec::with_capacity(count);
        for _ in 0..count {
            let chunk = decode_chunk(&mut input, &frames)?;
            let place = |chunk: &SegmentChunk| (chunk.id, chunk.frame, chunk.offset);
            if chunks.last().is_some_and(|last| place(last) >= place(&chunk)) {
                return Err(input.error("its chunks are not in order"));
            }
            chunks.push(chunk);
        }
        input.finish()?;
        Ok(Self { clear, frames, chunks })
    }
}

fn decode_ids(input: &mut Decoder<'_>) -> Result<Vec<[u8; 16]>> {
    let count = input.count(16)?;
    let mut ids: Vec<[u8; 16]> = Vec::with_capacity(count);
    for _ in 0..count {
        let id = input.array()?;
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(input.error("its writers or keys are not in order"));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// What a frame's ordinals count in.
struct Tables<'a> {
    packs: &'a [PackRef],
    writers: Vec<WriterId>,
    keys: Vec<KeyId>,
}

impl Tables<'_> {
    fn decode_frame(&self, input: &mut Decoder<'_>, last: Option<&SegmentFrame>) -> Result<SegmentFrame> {
        let (pack, key) = (input.varint_u32()?, input.varint_u32()?);
        let (counter, offset) = (input.varint_u32()?, input.varint()?);
        let (stored_length, plain_length) = (input.varint_u32()?, input.varint_u32()?);
        let writer = input.varint_u32()?;
        let unknown = || input.error("a frame names no pack, key or writer of the tables");
        let size = self.packs.get(pack as usize).ok_or_else(unknown)?.size;
        let key = *self.keys.get(key as usize).ok_or_else(unknown)?;
        let writer = *self.writers.get(writer as usize).ok_or_else(unknown)?;
        let end = offset.checked_add(u64::from(stored_length));
        if end.is_none_or(|end| end > size)
            || stored_length as usize > PLAIN_BYTES_MAX as usize + OVERHEAD_BYTES_MAX
            || !(1..=PLAIN_BYTES_MAX).contains(&plain_length)
        {
            return Err(input.error("a frame lies outside its pack, or is too long"));
        }
        let follows = |last: &SegmentFrame| {
            last.pack < pack
                || last.pack == pack
                    && last.offset < offset
                    && last.offset + u64::from(last.stored_length) <= offset
        };
        if last.is_some_and(|last| !follows(last)) {
            return Err(input.error("its frames overlap or are not in order"));
        }
        Ok(SegmentFrame { pack, key, counter, offset, stored_length, plain_length, writer })
    }
}

fn decode_chunk(input: &mut Decoder<'_>, frames: &[SegmentFrame]) -> Result<SegmentChunk> {
    let (id, frame) = (ChunkId(input.array()?), input.varint_u32()?);
    let (offset, length) = (input.varint_u32()?, input.varint_u32()?);
    let plain_length = frames.get(frame as usize).map_or(0, |frame| frame.plain_length);
    if length == 0 || offset.checked_add(length).is_none_or(|end| end > plain_length) {
        return Err(input.error("a chunk lies outside its frame"));
    }
    Ok(SegmentChunk { id, frame, offset, length })
}

#[cfg(test)]
mod tests;
