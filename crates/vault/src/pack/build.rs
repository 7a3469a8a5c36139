//! Building a pack in memory.
//!
//! Room is reserved first, so that frames can be compressed and sealed by several threads and appended in any order:
//! [`PackBuilder::reserve`] hands out tickets, each with a counter of its own, and a ticket seals one frame.

use std::sync::Arc;

use bytes::Bytes;

use super::directory::COUNTER;
use super::{
    Directory, DirectoryChunk, DirectoryFrame, END_MAGIC, FOOTER_BYTES, PACK_CHUNKS_MAX, PackContents,
    PackHeader, PackKind, PackRef,
};
use crate::codec::Encoder;
use crate::error::{Error, Kind, Result};
use crate::frame::{
    Compression, FrameName, OVERHEAD_BYTES_MAX, PLAIN_BYTES_MAX, PlainLength, Scratch, open_frame, seal_frame,
};
use crate::id::{ChunkId, Digest, KeyId, PackId, WriterId};
use crate::keys::KeyRing;
use crate::object;
use crate::suite::{ObjectKey, Purpose, WrappedKey};

fn bug(message: impl Into<String>) -> Error {
    Error::new(Kind::Bug, message)
}

/// The right to seal one frame of a pack: a counter that nobody else has, and room for the frame.
#[derive(Debug)]
pub struct FrameTicket {
    key: Arc<ObjectKey>,
    purpose: Purpose,
    counter: u32,
    plain_len: usize,
    chunks: usize,
}

impl FrameTicket {
    /// Compresses and seals `plain`, which consists of `chunks` (id and length in bytes), one after the other.
    ///
    /// # Errors
    /// [`Kind::Bug`] if lengths or counts are not those that were reserved. The pack of a lost ticket cannot be
    /// finished any more.
    pub fn seal(
        self,
        plain: &[u8],
        chunks: Vec<(ChunkId, u32)>,
        compression: Compression,
        scratch: &mut Scratch,
    ) -> Result<SealedFrame> {
        let sum: u64 = chunks.iter().map(|(_, length)| u64::from(*length)).sum();
        let empty = chunks.iter().any(|(_, length)| *length == 0);
        if plain.len() != self.plain_len || sum != plain.len() as u64 || chunks.len() != self.chunks || empty
        {
            return Err(bug("seal a frame: its chunks are not those that were reserved"));
        }
        let name = FrameName { key: &self.key, purpose: self.purpose, counter: self.counter };
        let bytes = seal_frame(name, plain, compression, scratch)?;
        Ok(SealedFrame { key: self.key.id(), counter: self.counter, bytes, chunks })
    }
}

/// A sealed frame on its way into its pack.
#[derive(Debug)]
pub struct SealedFrame {
    key: KeyId,
    counter: u32,
    bytes: Vec<u8>,
    chunks: Vec<(ChunkId, u32)>,
}

impl SealedFrame {
    /// Number of sealed bytes.
    pub fn stored_length(&self) -> usize {
        self.bytes.len()
    }
}

/// What reserved but not yet appended frames may still need.
#[derive(Debug, Default)]
struct Outstanding {
    frames: usize,
    bytes: usize,
    chunks: usize,
}

/// A pack that is being written.
#[derive(Debug)]
pub struct PackBuilder {
    header: PackHeader,
    writer: WriterId,
    target_bytes: usize,
    directory_key: ObjectKey,
    frame_key: Arc<ObjectKey>,
    next_counter: u32,
    outstanding: Outstanding,
    directory: Directory,
    bytes: Vec<u8>,
}

impl PackBuilder {
    /// Begins a pack that ends near `target_bytes` (see [`super::PACK_BYTES_TARGET`]) with two fresh keys.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] if the ring cannot wrap keys for this kind of pack.
    pub fn new(kind: PackKind, target_bytes: usize, ring: &KeyRing) -> Result<Self> {
        let directory_key = ObjectKey::generate(ring.vault);
        let frame_key = ObjectKey::generate(ring.vault);
        let wrapped = match kind {
            PackKind::Content => ring.wrap_content(&frame_key),
            PackKind::Metadata => ring.wrap_tree(&frame_key)?,
        };
        let keys = vec![ring.wrap_index(&directory_key)?, wrapped];
        let mut bytes = encode_header(kind, &keys, ring);
        let header = PackHeader { kind, keys, len: bytes.len() as u64 };
        bytes.reserve_exact(target_bytes);
        Ok(Self {
            header,
            writer: ring.writer_id(),
            target_bytes,
            directory_key,
            frame_key: Arc::new(frame_key),
            next_counter: 0,
            outstanding: Outstanding::default(),
            directory: Directory::default(),
            bytes,
        })
    }

    /// Reserves room for a frame of `plain_len` bytes in `chunks` chunks.
    ///
    /// `None` says that the pack is full and must be finished; an empty pack has room for any frame.
    ///
    /// # Errors
    /// [`Kind::Bug`] for a frame that no pack can hold.
    pub fn reserve(&mut self, plain_len: usize, chunks: usize) -> Result<Option<FrameTicket>> {
        if plain_len == 0 || plain_len > PLAIN_BYTES_MAX as usize || chunks == 0 || chunks > PACK_CHUNKS_MAX {
            return Err(bug(format!("reserve a frame of {plain_len} bytes in {chunks} chunks")));
        }
        let most = plain_len + OVERHEAD_BYTES_MAX;
        let frames_fit = self.directory.frames.len() + self.outstanding.frames < PACK_CHUNKS_MAX;
        let chunks_fit = self.directory.chunks.len() + self.outstanding.chunks + chunks <= PACK_CHUNKS_MAX;
        let bytes_fit = self.bytes.len() + self.outstanding.bytes + most <= self.target_bytes;
        let empty = self.next_counter == 0;
        if !(frames_fit && chunks_fit && bytes_fit || empty) {
            return Ok(None);
        }
        let counter = self.next_counter;
        self.next_counter += 1;
        self.outstanding.frames += 1;
        self.outstanding.bytes += most;
        self.outstanding.chunks += chunks;
        let purpose = self.header.kind.purpose();
        Ok(Some(FrameTicket { key: Arc::clone(&self.frame_key), purpose, counter, plain_len, chunks }))
    }

    /// Appends a frame sealed by one of this pack's tickets, in any order.
    ///
    /// # Errors
    /// [`Kind::Bug`] for a frame of another pack.
    pub fn append(&mut self, frame: SealedFrame) -> Result<()> {
        if frame.key != self.frame_key.id() {
            return Err(bug("append a frame: it was sealed for another pack"));
        }
        let ordinal = self.directory.frames.len() as u32;
        let mut plain_length = 0;
        for (id, length) in &frame.chunks {
            let chunk = DirectoryChunk { id: *id, frame: ordinal, offset: plain_length, length: *length };
            self.directory.chunks.push(chunk);
            plain_length += length;
        }
        self.outstanding.frames -= 1;
        self.outstanding.bytes -= plain_length as usize + OVERHEAD_BYTES_MAX;
        self.outstanding.chunks -= frame.chunks.len();
        self.directory.frames.push(DirectoryFrame {
            key: 1,
            counter: frame.counter,
            offset: self.bytes.len() as u64,
            stored_length: frame.bytes.len() as u32,
            plain_length,
            writer: self.writer,
        });
        self.bytes.extend_from_slice(&frame.bytes);
        Ok(())
    }

    /// Bytes of the pack so far, without directory.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no frame was reserved yet.
    pub fn is_empty(&self) -> bool {
        self.next_counter == 0
    }

    /// Seals the directory and ends the pack.
    ///
    /// # Errors
    /// [`Kind::Bug`] for an empty pack, or while a reserved frame was not appended.
    pub fn finish(mut self) -> Result<FinishedPack> {
        if self.outstanding.frames > 0 || self.directory.frames.is_empty() {
            return Err(bug(format!("finish a pack: {} frames are missing", self.outstanding.frames)));
        }
        seal_directory(&self.directory_key, &self.directory, &mut self.bytes)?;
        let (id, size) = (PackId::of(&self.bytes), self.bytes.len() as u64);
        let contents = PackContents::new(id, size, &self.header, self.directory);
        Ok(FinishedPack { contents, bytes: Bytes::from(self.bytes), frame_key: self.frame_key })
    }
}

/// Appends the sealed directory and the footer to a pack that ends with its frames.
pub(super) fn seal_directory(key: &ObjectKey, directory: &Directory, pack: &mut Vec<u8>) -> Result<()> {
    let name = FrameName { key, purpose: Purpose::Directory, counter: COUNTER };
    let sealed = seal_frame(name, &directory.encode(), Compression::Stored, &mut Scratch::new())?;
    let mut footer = Encoder::new();
    footer.u64(pack.len() as u64).u32(sealed.len() as u32).raw(END_MAGIC);
    pack.reserve_exact(sealed.len() + FOOTER_BYTES);
    pack.extend_from_slice(&sealed);
    pack.extend_from_slice(footer.as_slice());
    Ok(())
}

pub(super) fn encode_header(kind: PackKind, keys: &[WrappedKey], ring: &KeyRing) -> Vec<u8> {
    let mut table = Encoder::new();
    table.varint(keys.len() as u64);
    for key in keys {
        key.encode(&mut table);
    }
    let mut out = object::start(kind.object_kind(), ring.vault);
    out.u32(table.as_slice().len() as u32).raw(table.as_slice());
    out.finish()
}

/// A whole pack, ready for upload once [`FinishedPack::verify`] has passed.
#[derive(Debug, Clone)]
pub struct FinishedPack {
    /// What it holds; its segment is made of this.
    pub contents: PackContents,
    /// The object.
    pub bytes: Bytes,
    frame_key: Arc<ObjectKey>,
}

impl FinishedPack {
    /// The pack's name, kind and size.
    pub fn pack(&self) -> PackRef {
        self.contents.pack
    }

    /// Decodes the bytes again as a reader will: directory, each frame, and each chunk's id from its plain bytes.
    ///
    /// A writer can no longer open its content packs afterwards, so this is the last chance to notice that memory or
    /// a codec lied; it must pass before the pack is uploaded.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if anything differs from what was packed.
    pub fn verify(&self, ring: &KeyRing, scratch: &mut Scratch) -> Result<()> {
        let differs = || Error::damaged(format!("verify pack {}: it is not what was packed", self.pack().id));
        let (header, contents) = PackContents::read(&self.bytes, ring)?;
        if contents != self.contents {
            return Err(differs());
        }
        let (purpose, space) = (header.kind.purpose(), header.kind.space());
        for (ordinal, frame) in contents.directory.frames.iter().enumerate() {
            let start = frame.offset as usize;
            let sealed = &self.bytes[start..start + frame.stored_length as usize];
            let name = FrameName { key: &self.frame_key, purpose, counter: frame.counter };
            let plain = open_frame(name, sealed, PlainLength::Exactly(frame.plain_length), scratch)?;
            for chunk in contents.directory.chunks_of(ordinal as u32) {
                let bytes = &plain[chunk.offset as usize..][..chunk.length as usize];
                if ring.chunk_id(space, &Digest::of(bytes)) != chunk.id {
                    return Err(differs());
                }
            }
        }
        Ok(())
    }
}
