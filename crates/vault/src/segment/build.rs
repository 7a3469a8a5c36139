//! Building segments from packs' contents.

use bytes::Bytes;

use super::{
    COUNTER, SEGMENT_CHUNKS_TARGET, SIGNATURE_DOMAIN, Segment, SegmentChunk, SegmentClear, SegmentFrame,
};
use crate::codec::Encoder;
use crate::error::{Error, Result};
use crate::frame::{Compression, FrameName, Scratch, seal_frame};
use crate::id::{SegmentId, WriterId};
use crate::keys::KeyRing;
use crate::object::{self, ObjectKind};
use crate::pack::{PackContents, PackRef};
use crate::suite::{ObjectKey, Purpose};

/// A segment, encoded, signed and decoded again; ready for upload once all its packs are acknowledged.
#[derive(Debug, Clone)]
pub struct FinishedSegment {
    /// The object.
    pub bytes: Bytes,
    /// What it says, for the local index.
    pub segment: Segment,
}

impl FinishedSegment {
    /// The segment's id.
    pub fn id(&self) -> SegmentId {
        self.segment.clear.id
    }
}

/// A segment ends at this many packs too: until it is put, each checkpoint of its session names them one by one.
const SEGMENT_PACKS_TARGET: usize = 1024;

/// Collects packs into segments. A pack is always held by one segment as a whole.
#[derive(Debug)]
pub struct SegmentBuilder<'a> {
    ring: &'a KeyRing,
    packs: Vec<PackContents>,
    chunks: usize,
}

impl<'a> SegmentBuilder<'a> {
    /// Builds segments that the ring's holder signs.
    pub fn new(ring: &'a KeyRing) -> Self {
        Self { ring, packs: Vec::new(), chunks: 0 }
    }

    /// Adds a pack; returns the segment of the packs before it where that had no room for it. A pack that the open
    /// segment already holds is ignored.
    ///
    /// # Errors
    /// [`crate::Kind::Forbidden`] without an index key.
    pub fn add_pack(&mut self, contents: PackContents) -> Result<Option<FinishedSegment>> {
        if self.packs.iter().any(|known| known.pack.id == contents.pack.id) {
            return Ok(None);
        }
        let added = contents.directory.chunks.len();
        let full = self.chunks + added > SEGMENT_CHUNKS_TARGET || self.packs.len() >= SEGMENT_PACKS_TARGET;
        let segment = if full { self.end_segment()? } else { None };
        self.chunks += added;
        self.packs.push(contents);
        Ok(segment)
    }

    /// The segment of the packs that are in no segment yet; `None` if there are none. The builder can be used on.
    pub fn end_segment(&mut self) -> Result<Option<FinishedSegment>> {
        if self.packs.is_empty() {
            return Ok(None);
        }
        self.packs.sort_unstable_by_key(|contents| contents.pack.id);
        let (frames, chunks) = merge(&self.packs);
        let packs: Vec<PackRef> = self.packs.iter().map(|contents| contents.pack).collect();
        let bytes = encode(self.ring, &packs, &frames, &chunks)?;
        let own = self.ring.signing.verify_key();
        let segment = Segment::decode(&bytes, self.ring, &|_| Some(own))?;
        let clear = SegmentClear { id: SegmentId::of(&bytes), author: self.ring.writer_id(), packs };
        if segment != (Segment { clear, frames, chunks }) {
            return Err(Error::damaged("verify a new segment: it is not what was encoded"));
        }
        self.packs.clear();
        self.chunks = 0;
        Ok(Some(FinishedSegment { bytes: Bytes::from(bytes), segment }))
    }
}

impl Segment {
    /// What a segment over this pack alone would say, if `author` had signed it under this name. For a pack whose
    /// segment cannot be read.
    pub(crate) fn of_pack(id: SegmentId, author: WriterId, contents: PackContents) -> Self {
        let packs = [contents];
        let (frames, chunks) = merge(&packs);
        let packs = packs.iter().map(|contents| contents.pack).collect();
        Self { clear: SegmentClear { id, author, packs }, frames, chunks }
    }
}

/// All frames in the order of the packs, and all chunks sorted.
fn merge(packs: &[PackContents]) -> (Vec<SegmentFrame>, Vec<SegmentChunk>) {
    let mut frames = Vec::new();
    let mut chunks = Vec::new();
    for (ordinal, contents) in packs.iter().enumerate() {
        let first = frames.len() as u32;
        frames.extend(contents.directory.frames.iter().map(|frame| SegmentFrame {
            pack: ordinal as u32,
            key: contents.keys[frame.key as usize],
            counter: frame.counter,
            offset: frame.offset,
            stored_length: frame.stored_length,
            plain_length: frame.plain_length,
            writer: frame.writer,
        }));
        chunks.extend(contents.directory.chunks.iter().map(|chunk| SegmentChunk {
            id: chunk.id,
            frame: first + chunk.frame,
            offset: chunk.offset,
            length: chunk.length,
        }));
    }
    chunks.sort_unstable();
    (frames, chunks)
}

fn encode(
    ring: &KeyRing,
    packs: &[PackRef],
    frames: &[SegmentFrame],
    chunks: &[SegmentChunk],
) -> Result<Vec<u8>> {
    let mut out = object::start(ObjectKind::Segment, ring.vault);
    out.raw(&ring.writer_id().0).varint(packs.len() as u64);
    for pack in packs {
        out.raw(&pack.id.0).u8(pack.kind as u8).u64(pack.size);
    }
    let key = ObjectKey::generate(ring.vault);
    ring.wrap_index(&key)?.encode(&mut out);
    let name = FrameName { key: &key, purpose: Purpose::Segment, counter: COUNTER };
    let body = encode_body(frames, chunks);
    // Ids are random bytes: there is nothing to compress.
    out.bytes(&seal_frame(name, &body, Compression::Stored, &mut Scratch::new())?);
    let mut bytes = out.finish();
    let signature = ring.signing.sign(SIGNATURE_DOMAIN, &bytes);
    bytes.extend_from_slice(&signature.0);
    Ok(bytes)
}

fn encode_body(frames: &[SegmentFrame], chunks: &[SegmentChunk]) -> Vec<u8> {
    let writers = sorted(frames.iter().map(|frame| frame.writer.0));
    let keys = sorted(frames.iter().map(|frame| frame.key.0));
    let mut out = Encoder::new();
    for table in [&writers, &keys] {
        out.varint(table.len() as u64);
        for id in table {
            out.raw(id);
        }
    }
    out.varint(frames.len() as u64);
    for frame in frames {
        let key = keys.partition_point(|key| *key < frame.key.0);
        let writer = writers.partition_point(|writer| *writer < frame.writer.0);
        out.varint(u64::from(frame.pack)).varint(key as u64).varint(u64::from(frame.counter));
        out.varint(frame.offset).varint(u64::from(frame.stored_length));
        out.varint(u64::from(frame.plain_length)).varint(writer as u64);
    }
    out.varint(chunks.len() as u64);
    for chunk in chunks {
        out.raw(&chunk.id.0).varint(u64::from(chunk.frame));
        out.varint(u64::from(chunk.offset)).varint(u64::from(chunk.length));
    }
    out.finish()
}

fn sorted(ids: impl Iterator<Item = [u8; 16]>) -> Vec<[u8; 16]> {
    let mut ids: Vec<[u8; 16]> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
