//! Trees and files that a run had not finished.

use crate::codec::{Decoder, Encoder};
use crate::entry::{EXTENTS_INLINE_MAX, Extents, FileTime, TreePath};
use crate::error::Result;
use crate::id::Digest;
use crate::tree::entry_codec::{decode_extent, encode_extent};
use crate::tree::{ENTRY_BYTES_MAX, LEVEL_MAX};

/// Files of a checkpoint at most.
pub const FILES_MAX: usize = 256;

/// The unit in which a file's hash state counts.
pub const HASH_BLOCK_BYTES: u64 = 64 << 10;

/// A tree of all entries up to some path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialTree {
    /// Plain digest of the root node.
    pub root: Digest,
    /// Its level.
    pub level: u8,
    /// The last path that it holds.
    pub last: TreePath,
}

impl PartialTree {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.raw(&self.root.0).u8(self.level).bytes(self.last.as_bytes());
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let (root, level) = (Digest(input.array()?), input.u8()?);
        if level > LEVEL_MAX {
            return Err(input.error("a tree has an impossible level"));
        }
        Ok(Self { root, level, last: decode_path(input)? })
    }
}

/// BLAKE3 over the first blocks of a file: the chaining values of the complete subtrees that they make up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HashState {
    blocks: u64,
    subtrees: Vec<[u8; 32]>,
}

impl HashState {
    /// The state after `blocks` blocks: one chaining value for each bit set in their number, largest subtree first. Values
    /// of another number are none, and nothing is hashed then.
    pub fn of_blocks(blocks: u64, subtrees: Vec<[u8; 32]>) -> Self {
        if blocks.count_ones() as usize == subtrees.len() {
            Self { blocks, subtrees }
        } else {
            Self::default()
        }
    }

    /// Bytes of the file that the state stands for.
    pub fn hashed(&self) -> u64 {
        self.blocks * HASH_BLOCK_BYTES
    }

    /// Largest first.
    pub fn subtrees(&self) -> &[[u8; 32]] {
        &self.subtrees
    }
}

/// A file that was being read: what it was, and how far it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialFile {
    /// Where it stands in the tree.
    pub path: TreePath,
    /// Its size in bytes.
    pub size: u64,
    /// Its modification time.
    pub mtime: FileTime,
    /// Its inode change time.
    pub ctime: FileTime,
    /// Its inode.
    pub inode: u64,
    /// The chunker profile that it is cut by.
    pub profile: u8,
    /// So many of its bytes are stored: the end of a chunk or of a hole; 1 to `size`.
    pub offset: u64,
    /// Where they are.
    pub extents: Extents,
    /// Their hash, up to less than `offset`.
    pub hash: HashState,
}

impl PartialFile {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.bytes(self.path.as_bytes()).varint(self.size);
        for time in [self.mtime, self.ctime] {
            out.i64(time.seconds).u32(time.nanos);
        }
        out.varint(self.inode).u8(self.profile).varint(self.offset);
        match &self.extents {
            Extents::Inline(extents) => {
                out.u8(0).varint(extents.len() as u64);
                for extent in extents {
                    encode_extent(extent, out);
                }
            }
            Extents::Listed { root, count } => {
                out.u8(1).raw(&root.0).varint(*count);
            }
        }
        out.varint(self.hash.hashed());
        for subtree in &self.hash.subtrees {
            out.raw(subtree);
        }
    }

    pub(super) fn decode(input: &mut Decoder<'_>) -> Result<Self> {
        let (path, size) = (decode_path(input)?, input.varint()?);
        let (mtime, ctime) = (decode_time(input)?, decode_time(input)?);
        let (inode, profile, offset) = (input.varint()?, input.u8()?, input.varint()?);
        if offset == 0 || offset > size {
            return Err(input.error("a file is stored up to nowhere, or beyond its end"));
        }
        let extents = decode_extents(offset, input)?;
        let hash = decode_hash(offset, input)?;
        Ok(Self { path, size, mtime, ctime, inode, profile, offset, extents, hash })
    }
}

fn decode_path(input: &mut Decoder<'_>) -> Result<TreePath> {
    let bytes = input.bytes(ENTRY_BYTES_MAX)?;
    TreePath::new(bytes).ok_or_else(|| input.error("illegal path"))
}

fn decode_time(input: &mut Decoder<'_>) -> Result<FileTime> {
    let time = FileTime { seconds: input.i64()?, nanos: input.u32()? };
    if time.nanos >= 1_000_000_000 { Err(input.error("a time has too many nanoseconds")) } else { Ok(time) }
}

fn decode_extents(offset: u64, input: &mut Decoder<'_>) -> Result<Extents> {
    match input.u8()? {
        0 => {
            let count = input.count(2)?;
            if count > EXTENTS_INLINE_MAX {
                return Err(input.error("too many extents outside a list"));
            }
            let extents = (0..count).map(|_| decode_extent(input)).collect::<Result<Vec<_>>>()?;
            let sum = extents.iter().try_fold(0_u64, |sum, extent| sum.checked_add(extent.length()));
            if sum == Some(offset) {
                return Ok(Extents::Inline(extents));
            }
            Err(input.error("a file's extents do not sum to what is stored of it"))
        }
        1 => {
            let (root, count) = (Digest(input.array()?), input.varint()?);
            if count > EXTENTS_INLINE_MAX as u64 && count <= offset {
                return Ok(Extents::Listed { root, count });
            }
            Err(input.error("impossible number of extents"))
        }
        _ => Err(input.error("unknown kind of extents")),
    }
}

fn decode_hash(offset: u64, input: &mut Decoder<'_>) -> Result<HashState> {
    let hashed = input.varint()?;
    // The block that ends at the offset may be the last, which is hashed otherwise.
    if hashed % HASH_BLOCK_BYTES != 0 || hashed >= offset {
        return Err(input.error("a file is hashed up to an impossible place"));
    }
    let blocks = hashed / HASH_BLOCK_BYTES;
    let subtrees = (0..blocks.count_ones()).map(|_| input.array()).collect::<Result<Vec<_>>>()?;
    Ok(HashState { blocks, subtrees })
}
