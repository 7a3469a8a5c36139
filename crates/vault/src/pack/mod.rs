//! Packs: the unit of upload. Frames back to back between a key table and a sealed directory.
//!
//! Layout: `docs/format/pack.md`. [`PackBuilder`] writes a pack in memory, [`PackContents`] is what its directory
//! says, [`PackHeader`] and [`Footer`] find their way in a stored one. [`PackCopier`] fills one with sealed frames of others.

mod build;
mod copy;
mod directory;
mod ends;

use std::ops::Range;

pub use build::{FinishedPack, FrameTicket, PackBuilder, SealedFrame};
pub use copy::{Copied, CopiedPack, CopySource, PackCopier};
pub use directory::{Directory, DirectoryChunk, DirectoryFrame};
pub use ends::PackEnds;

use crate::codec::Decoder;
use crate::error::Result;
use crate::frame::{OVERHEAD_BYTES_MAX, PLAIN_BYTES_MAX};
use crate::id::{KeyId, PackId, VaultId};
use crate::keys::KeyRing;
use crate::keys::ring::ChunkSpace;
use crate::object::{self, HEADER_BYTES, ObjectKind};
use crate::suite::{Purpose, WrappedKey, Wrapping};

/// A writer ends a pack near this many bytes (32 MiB).
pub const PACK_BYTES_TARGET: usize = 32 << 20;
/// No pack is longer than this (1 GiB).
pub const PACK_BYTES_MAX: u64 = 1 << 30;
/// A pack holds at most this many chunks, and at most as many frames, so that one segment always holds all of a pack.
pub const PACK_CHUNKS_MAX: usize = 65_536;

/// The first bytes of a pack that say how long its header is; see [`PackHeader::length_from`].
pub const PREFIX_BYTES: usize = HEADER_BYTES + 4;
/// What is worth fetching from the end of a pack at first.
const TAIL_BYTES: u64 = 64 << 10;
const FOOTER_BYTES: usize = 8 + 4 + 8;
const END_MAGIC: &[u8; 8] = b"SHUDAO.P";
const KEY_TABLE_BYTES_MAX: u32 = 1 << 20;
const KEYS_MAX: usize = 1024;

/// What a pack's frames hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackKind {
    /// File content and long extended attributes.
    Content = 1,
    /// Tree and list nodes.
    Metadata = 2,
}

impl PackKind {
    /// The kind with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Content),
            2 => Some(Self::Metadata),
            _ => None,
        }
    }

    /// The kind that holds chunks of `space`.
    pub fn of_space(space: ChunkSpace) -> Self {
        match space {
            ChunkSpace::Content => Self::Content,
            ChunkSpace::Metadata => Self::Metadata,
        }
    }

    /// The name space of the chunks in a pack of this kind.
    pub fn space(self) -> ChunkSpace {
        match self {
            Self::Content => ChunkSpace::Content,
            Self::Metadata => ChunkSpace::Metadata,
        }
    }

    /// The purpose of the frames in a pack of this kind.
    pub fn purpose(self) -> Purpose {
        match self {
            Self::Content => Purpose::Content,
            Self::Metadata => Purpose::Metadata,
        }
    }

    fn object_kind(self) -> ObjectKind {
        match self {
            Self::Content => ObjectKind::ContentPack,
            Self::Metadata => ObjectKind::MetadataPack,
        }
    }

    /// How the keys of its frames are wrapped.
    fn wrapping(self) -> Wrapping {
        match self {
            Self::Content => Wrapping::Read,
            Self::Metadata => Wrapping::Tree,
        }
    }
}

/// A pack by name, as the index and collection know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackRef {
    /// Id.
    pub id: PackId,
    /// Kind.
    pub kind: PackKind,
    /// Length of the object in bytes.
    pub size: u64,
}

/// The clear beginning of a pack: its kind and its table of wrapped keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackHeader {
    /// Kind.
    pub kind: PackKind,
    /// Key 0 opens the directory, the others open frames.
    pub keys: Vec<WrappedKey>,
    /// Bytes of the header: where the first frame begins.
    pub len: u64,
}

impl PackHeader {
    /// How many bytes from the pack's beginning [`PackHeader::decode`] needs, said by the first [`PREFIX_BYTES`].
    pub fn length_from(prefix: &[u8], vault: VaultId) -> Result<usize> {
        let (_, table_len, _) = Self::prefix(prefix, vault)?;
        Ok(PREFIX_BYTES + table_len)
    }

    /// Decodes the header at the beginning of `bytes`, which may go on after it.
    pub fn decode(bytes: &[u8], vault: VaultId) -> Result<Self> {
        let (kind, table_len, mut input) = Self::prefix(bytes, vault)?;
        let mut table = Decoder::new(input.raw(table_len)?, "pack key table");
        let count = table.count(32)?;
        if !(2..=KEYS_MAX).contains(&count) {
            return Err(table.error("holds no frame key, or too many"));
        }
        let mut keys = Vec::with_capacity(count);
        for i in 0..count {
            let key = WrappedKey::decode(&mut table)?;
            let wrapping = if i == 0 { Wrapping::Index } else { kind.wrapping() };
            if key.name.wrapping != wrapping {
                return Err(table.error("a key is wrapped in a way that this kind of pack does not allow"));
            }
            keys.push(key);
        }
        table.finish()?;
        let mut ids: Vec<KeyId> = keys.iter().map(WrappedKey::id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(input.error("names a key twice"));
        }
        Ok(Self { kind, keys, len: (PREFIX_BYTES + table_len) as u64 })
    }

    fn prefix(bytes: &[u8], vault: VaultId) -> Result<(PackKind, usize, Decoder<'_>)> {
        let announced = bytes.get(object::MAGIC.len()).copied().and_then(PackKind::from_code);
        let kind = announced.unwrap_or(PackKind::Content);
        let mut input = object::open(bytes, kind.object_kind(), vault, "pack")?;
        let table_len = input.u32()?;
        if table_len > KEY_TABLE_BYTES_MAX {
            return Err(input.error("key table too long"));
        }
        Ok((kind, table_len as usize, input))
    }

    /// The wrapped key with this id, if it opens frames here.
    pub fn frame_key(&self, id: KeyId) -> Option<&WrappedKey> {
        self.keys.iter().skip(1).find(|key| key.id() == id)
    }
}

/// The range of a pack of `pack_len` bytes to fetch first in order to find, and usually to hold, its directory.
pub fn tail_range(pack_len: u64) -> Range<u64> {
    pack_len.saturating_sub(TAIL_BYTES)..pack_len
}

/// Where a pack's sealed directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Offset in the pack: where the frames end.
    pub directory_offset: u64,
    /// Bytes of the sealed directory.
    pub directory_length: u32,
}

impl Footer {
    /// Decodes the footer at the end of `tail`, the last bytes of a pack of `pack_len` bytes.
    pub fn decode(tail: &[u8], pack_len: u64) -> Result<Self> {
        let damaged = |problem| Decoder::new(&[], "pack footer").error(problem);
        let start = tail.len().checked_sub(FOOTER_BYTES).ok_or_else(|| damaged("ends too early"))?;
        let mut input = Decoder::new(&tail[start..], "pack footer");
        let footer = Self { directory_offset: input.u64()?, directory_length: input.u32()? };
        if &input.array::<8>()? != END_MAGIC {
            return Err(damaged("does not end with a pack's magic"));
        }
        let end =
            footer.directory_offset.checked_add(u64::from(footer.directory_length) + FOOTER_BYTES as u64);
        if pack_len > PACK_BYTES_MAX || end != Some(pack_len) {
            return Err(damaged("does not fit the pack's length"));
        }
        if footer.directory_length as usize > PLAIN_BYTES_MAX as usize + OVERHEAD_BYTES_MAX {
            return Err(damaged("directory too long"));
        }
        Ok(footer)
    }

    /// The range of the sealed directory in the pack.
    pub fn directory_range(&self) -> Range<u64> {
        self.directory_offset..self.directory_offset + u64::from(self.directory_length)
    }
}

/// A pack and everything that its directory says: what a segment is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackContents {
    /// The pack.
    pub pack: PackRef,
    /// The ids of its key table; a frame's `key` counts in them.
    pub keys: Vec<KeyId>,
    /// Its frames and chunks.
    pub directory: Directory,
}

impl PackContents {
    /// What `directory`, read from the pack `id` of `size` bytes with this header, says.
    pub fn new(id: PackId, size: u64, header: &PackHeader, directory: Directory) -> Self {
        let keys = header.keys.iter().map(WrappedKey::id).collect();
        Self { pack: PackRef { id, kind: header.kind, size }, keys, directory }
    }

    /// Reads header and directory of the whole pack `bytes`; the id is taken from the bytes.
    pub fn read(bytes: &[u8], ring: &KeyRing) -> Result<(PackHeader, Self)> {
        let header = PackHeader::decode(bytes, ring.vault)?;
        let footer = Footer::decode(bytes, bytes.len() as u64)?;
        let range = footer.directory_range();
        let sealed = &bytes[range.start as usize..range.end as usize];
        let directory = Directory::open(ring, &header, &footer, sealed)?;
        let contents = Self::new(PackId::of(bytes), bytes.len() as u64, &header, directory);
        Ok((header, contents))
    }
}

#[cfg(test)]
mod copy_tests;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
