//! Copying sealed frames verbatim into a new pack: what compaction is made of.
//!
//! Needs the index key, for directories, and no key that opens a frame. A frame's key, counter and writer stay what they
//! were, and so does the entry of its key in the key table; only its place is new. Whoever copies MUST have held the whole
//! source against its name first: a frame of content that was spoilt on the way cannot be told from a good one here.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::build::{encode_header, seal_directory};
use super::{
    Directory, DirectoryChunk, DirectoryFrame, KEYS_MAX, PACK_CHUNKS_MAX, PackContents, PackHeader, PackKind,
    PackRef,
};
use crate::error::{Error, Kind, Result};
use crate::id::{KeyId, PackId};
use crate::keys::KeyRing;
use crate::suite::{ObjectKey, WrappedKey};

/// A whole pack whose frames are to be copied: its bytes, which hash to its name, and what they say.
#[derive(Debug)]
pub struct CopySource {
    pub(super) header: PackHeader,
    contents: PackContents,
    bytes: Bytes,
}

impl CopySource {
    /// Reads header and directory of the pack `id`.
    ///
    /// # Errors
    /// [`Kind::Damaged`] if the bytes are not those of that name, or break the format; [`Kind::Forbidden`] without the
    /// index key.
    pub fn read(id: &PackId, bytes: Bytes, ring: &KeyRing) -> Result<Self> {
        let (header, contents) = PackContents::read(&bytes, ring)?;
        if contents.pack.id != *id {
            return Err(Error::damaged(format!("copy from pack {id}: its bytes do not hash to its name")));
        }
        Ok(Self { header, contents, bytes })
    }

    /// What the pack's directory says.
    pub fn contents(&self) -> &PackContents {
        &self.contents
    }

    /// A frame's sealed bytes; frames lie inside their pack, which decoding has checked.
    fn sealed(&self, frame: &DirectoryFrame) -> Bytes {
        let start = frame.offset as usize;
        self.bytes.slice(start..start + frame.stored_length as usize)
    }
}

/// What became of a frame that was to be copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It is in the pack, now or since before: a frame of that name was there already.
    In,
    /// The pack has no room for it and must be finished first.
    Full,
}

/// A pack that is being filled with copies.
#[derive(Debug)]
pub struct PackCopier {
    kind: PackKind,
    target_bytes: usize,
    directory_key: ObjectKey,
    /// Key 0 is the directory's.
    keys: Vec<WrappedKey>,
    ordinals: BTreeMap<KeyId, u32>,
    /// Frame names (key ordinal, counter) that are in already.
    names: BTreeSet<(u32, u32)>,
    /// Offsets count from the first frame until the header's length is known.
    directory: Directory,
    frames: Vec<u8>,
    sources: BTreeSet<PackId>,
}

impl PackCopier {
    /// Begins a pack that ends near `target_bytes`, with a fresh key for its directory.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] without an index key.
    pub fn new(kind: PackKind, target_bytes: usize, ring: &KeyRing) -> Result<Self> {
        let directory_key = ObjectKey::generate(ring.vault);
        Ok(Self {
            kind,
            target_bytes,
            keys: vec![ring.wrap_index(&directory_key)?],
            directory_key,
            ordinals: BTreeMap::new(),
            names: BTreeSet::new(),
            directory: Directory::default(),
            frames: Vec::new(),
            sources: BTreeSet::new(),
        })
    }

    /// Copies the frame with this ordinal in the source's directory. An empty pack has room for any frame.
    ///
    /// # Errors
    /// [`Kind::Bug`] for a source of another kind or an ordinal that it does not have.
    pub fn copy(&mut self, source: &CopySource, ordinal: u32) -> Result<Copied> {
        let wrong =
            || Error::new(Kind::Bug, format!("copy frame {ordinal} of pack {}", source.contents.pack.id));
        let from = &source.contents.directory;
        let frame = from.frames.get(ordinal as usize).filter(|_| source.header.kind == self.kind);
        let frame = *frame.ok_or_else(wrong)?;
        let wrapped = source.header.keys.get(frame.key as usize).ok_or_else(wrong)?;
        let known = self.ordinals.get(&wrapped.id()).copied();
        if known.is_some_and(|key| self.names.contains(&(key, frame.counter))) {
            return Ok(Copied::In);
        }
        let chunks = from.chunks_of(ordinal);
        if !self.has_room(&frame, chunks.len(), known.is_none()) {
            return Ok(Copied::Full);
        }
        let key = known.unwrap_or_else(|| {
            let next = self.keys.len() as u32;
            self.keys.push(wrapped.clone());
            self.ordinals.insert(wrapped.id(), next);
            next
        });
        self.names.insert((key, frame.counter));
        let new = self.directory.frames.len() as u32;
        self.directory.chunks.extend(chunks.iter().map(|chunk| DirectoryChunk { frame: new, ..*chunk }));
        self.directory.frames.push(DirectoryFrame { key, offset: self.frames.len() as u64, ..frame });
        self.frames.extend_from_slice(&source.sealed(&frame));
        self.sources.insert(source.contents.pack.id);
        Ok(Copied::In)
    }

    fn has_room(&self, frame: &DirectoryFrame, chunks: usize, needs_key: bool) -> bool {
        self.is_empty()
            || self.frames.len() + frame.stored_length as usize <= self.target_bytes
                && self.directory.frames.len() < PACK_CHUNKS_MAX
                && self.directory.chunks.len() + chunks <= PACK_CHUNKS_MAX
                && (!needs_key || self.keys.len() < KEYS_MAX)
    }

    /// Whether nothing was copied yet.
    pub fn is_empty(&self) -> bool {
        self.directory.frames.is_empty()
    }

    /// Seals the directory, ends the pack, and reads it again as others will.
    ///
    /// # Errors
    /// [`Kind::Bug`] for an empty pack; [`Kind::Damaged`] if what is read is not what was copied.
    pub fn finish(mut self, ring: &KeyRing) -> Result<CopiedPack> {
        if self.is_empty() {
            return Err(Error::new(Kind::Bug, "finish a pack of copies: it holds none"));
        }
        let mut bytes = encode_header(self.kind, &self.keys, ring);
        let header = PackHeader { kind: self.kind, keys: self.keys, len: bytes.len() as u64 };
        for frame in &mut self.directory.frames {
            frame.offset += header.len;
        }
        bytes.extend_from_slice(&self.frames);
        let copied = blake3::hash(&self.frames);
        drop(self.frames);
        seal_directory(&self.directory_key, &self.directory, &mut bytes)?;
        let pack = PackRef { id: PackId::of(&bytes), kind: self.kind, size: bytes.len() as u64 };
        let contents = PackContents::new(pack.id, pack.size, &header, self.directory);
        let (again, read) = PackContents::read(&bytes, ring)?;
        let start = header.len as usize;
        let end = read.directory.frames.last().map_or(0, |last| last.offset + u64::from(last.stored_length));
        let same = again == header && read == contents;
        if !same || blake3::hash(&bytes[start..end as usize]) != copied {
            return Err(Error::damaged(format!("verify pack {}: it is not what was copied", pack.id)));
        }
        Ok(CopiedPack { contents, bytes: Bytes::from(bytes), sources: self.sources })
    }
}

/// A whole pack of copies, read again and ready for upload.
#[derive(Debug, Clone)]
pub struct CopiedPack {
    /// What it holds; its segment is made of this.
    pub contents: PackContents,
    /// The object.
    pub bytes: Bytes,
    /// The packs that its frames came from.
    pub sources: BTreeSet<PackId>,
}

impl CopiedPack {
    /// The pack's name, kind and size.
    pub fn pack(&self) -> PackRef {
        self.contents.pack
    }
}
