//! A pack's directory: which frames and chunks it holds.
//!
//! Places are not stored but follow from the lengths, so that frames and chunks can neither overlap nor lie outside.

use super::{Footer, PACK_CHUNKS_MAX, PackHeader};
use crate::codec::{Decoder, Encoder};
use crate::error::Result;
use crate::frame::{FrameName, OVERHEAD_BYTES_MAX, PLAIN_BYTES_MAX, PlainLength, Scratch, open_frame};
use crate::id::{ChunkId, WriterId};
use crate::keys::KeyRing;
use crate::suite::Purpose;

/// A directory is padded to a multiple of this.
const PADDING_BYTES: usize = 4096;
/// The directory is the only frame under its key.
pub(super) const COUNTER: u32 = 0;

/// One sealed frame of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryFrame {
    /// Ordinal in the pack's key table, from 1.
    pub key: u32,
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

/// One chunk of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryChunk {
    /// The name under which the index knows it.
    pub id: ChunkId,
    /// Ordinal of its frame in the directory.
    pub frame: u32,
    /// Where it begins in the frame's plain bytes.
    pub offset: u32,
    /// Its length in bytes.
    pub length: u32,
}

/// What a pack holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// In the order in which they lie in the pack.
    pub frames: Vec<DirectoryFrame>,
    /// In the order of frames and, within a frame, in the order in which they lie in it.
    pub chunks: Vec<DirectoryChunk>,
}

impl Directory {
    /// The chunks of the frame with this ordinal.
    pub fn chunks_of(&self, frame: u32) -> &[DirectoryChunk] {
        let start = self.chunks.partition_point(|chunk| chunk.frame < frame);
        let end = self.chunks.partition_point(|chunk| chunk.frame <= frame);
        &self.chunks[start..end]
    }

    /// Opens a sealed directory of the pack with this header and footer.
    ///
    /// # Errors
    /// [`crate::Kind::Forbidden`] without the index key; [`crate::Kind::Damaged`] for anything that
    /// `docs/format/pack.md` does not allow.
    pub fn open(ring: &KeyRing, header: &PackHeader, footer: &Footer, sealed: &[u8]) -> Result<Self> {
        let wrapped = header.keys.first().ok_or_else(|| Decoder::new(&[], "pack").error("has no keys"))?;
        let key = ring.unwrap(wrapped)?;
        let name = FrameName { key: &key, purpose: Purpose::Directory, counter: COUNTER };
        let plain = open_frame(name, sealed, PlainLength::AtMost(PLAIN_BYTES_MAX), &mut Scratch::new())?;
        Self::decode(&plain, header, footer.directory_offset)
    }

    /// The padded plain bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writers: Vec<WriterId> = self.frames.iter().map(|frame| frame.writer).collect();
        writers.sort_unstable();
        writers.dedup();
        let mut out = Encoder::new();
        out.varint(writers.len() as u64);
        for writer in &writers {
            out.raw(&writer.0);
        }
        out.varint(self.frames.len() as u64);
        for (ordinal, frame) in self.frames.iter().enumerate() {
            let chunks = self.chunks_of(ordinal as u32);
            let writer = writers.partition_point(|writer| *writer < frame.writer);
            out.varint(u64::from(frame.key)).varint(u64::from(frame.counter));
            out.varint(u64::from(frame.stored_length)).varint(writer as u64).varint(chunks.len() as u64);
            for chunk in chunks {
                out.raw(&chunk.id.0).varint(u64::from(chunk.length));
            }
        }
        let mut plain = out.finish();
        plain.resize(plain.len().next_multiple_of(PADDING_BYTES), 0);
        plain
    }

    /// Decodes the padded plain bytes; the frames must fill the pack from the header to `frames_end`.
    pub(super) fn decode(plain: &[u8], header: &PackHeader, frames_end: u64) -> Result<Self> {
        let mut input = Decoder::new(plain, "pack directory");
        let writers = decode_writers(&mut input)?;
        let count = input.count(5 + ChunkId::LEN + 1)?;
        if !(1..=PACK_CHUNKS_MAX).contains(&count) {
            return Err(input.error("holds no frame, or too many"));
        }
        let mut directory = Self { frames: Vec::with_capacity(count), chunks: Vec::new() };
        let mut offset = header.len;
        for _ in 0..count {
            let key = input.varint_u32()?;
            if key == 0 || key as usize >= header.keys.len() {
                return Err(input.error("a frame names no key of the table"));
            }
            let (counter, stored_length) = (input.varint_u32()?, input.varint_u32()?);
            let writer = input.varint_u32()?;
            let writer =
                *writers.get(writer as usize).ok_or_else(|| input.error("a frame names no writer"))?;
            let plain_length = directory.decode_chunks(&mut input)?;
            let frame = DirectoryFrame { key, counter, offset, stored_length, plain_length, writer };
            if stored_length as usize > PLAIN_BYTES_MAX as usize + OVERHEAD_BYTES_MAX {
                return Err(input.error("a frame is too long"));
            }
            offset += u64::from(stored_length);
            directory.frames.push(frame);
        }
        if offset != frames_end {
            return Err(input.error("its frames do not fill the pack"));
        }
        directory.check_names(&input)?;
        check_padding(input)?;
        Ok(directory)
    }

    /// Reads the chunks of the next frame and returns the sum of their lengths.
    fn decode_chunks(&mut self, input: &mut Decoder<'_>) -> Result<u32> {
        let count = input.count(ChunkId::LEN + 1)?;
        if count == 0 || self.chunks.len() + count > PACK_CHUNKS_MAX {
            return Err(input.error("a frame holds no chunk, or the pack too many"));
        }
        let frame = self.frames.len() as u32;
        let mut offset = 0u32;
        for _ in 0..count {
            let (id, length) = (ChunkId(input.array()?), input.varint_u32()?);
            self.chunks.push(DirectoryChunk { id, frame, offset, length });
            offset = offset
                .checked_add(length)
                .filter(|end| *end <= PLAIN_BYTES_MAX && length > 0)
                .ok_or_else(|| input.error("a chunk is empty, or its frame too long"))?;
        }
        Ok(offset)
    }

    fn check_names(&self, input: &Decoder<'_>) -> Result<()> {
        let mut names: Vec<(u32, u32)> = self.frames.iter().map(|frame| (frame.key, frame.counter)).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(input.error("a key and counter name two frames"));
        }
        Ok(())
    }
}

fn decode_writers(input: &mut Decoder<'_>) -> Result<Vec<WriterId>> {
    let count = input.count(WriterId::LEN)?;
    if !(1..=PACK_CHUNKS_MAX).contains(&count) {
        return Err(input.error("names no writer, or too many"));
    }
    let mut writers = Vec::with_capacity(count);
    for _ in 0..count {
        let writer = WriterId(input.array()?);
        if writers.last().is_some_and(|last| *last >= writer) {
            return Err(input.error("its writers are not in order"));
        }
        writers.push(writer);
    }
    Ok(writers)
}

fn check_padding(mut input: Decoder<'_>) -> Result<()> {
    let rest = input.remaining();
    if rest >= PADDING_BYTES || input.raw(rest)?.iter().any(|byte| *byte != 0) {
        return Err(input.error("is not padded as it must be"));
    }
    Ok(())
}
