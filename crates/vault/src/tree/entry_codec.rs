//! Entries as bytes: the portable part and the local part, each in one canonical form.
//!
//! The rules that a value must keep are written once; the encoder refuses to write what the decoder would refuse to
//! read.

use super::ENTRY_BYTES_MAX;
use crate::codec::{Decoder, Encoder};
use crate::entry::{
    EXTENTS_INLINE_MAX, Entry, Extent, Extents, FileTime, Local, Node, Portable, TreePath,
    XATTR_INLINE_BYTES_MAX, Xattr, XattrValue,
};
use crate::error::{Error, Kind, Result};
use crate::id::Digest;

const ALGORITHM_BLAKE3: u8 = 1;
const XATTR_NAME_BYTES_MAX: usize = 255;
const OWNER_NAME_BYTES_MAX: usize = 1024;
const WHAT: &str = "tree entry";

/// What an item of a node weighs beyond its path and the bytes that follow the path.
pub(super) const ITEM_OVERHEAD: usize = 8;

/// The bytes that the manifest root hashes for an entry: full path and portable part, each length-prefixed.
pub fn portable_bytes(portable: &Portable) -> Vec<u8> {
    let mut out = Encoder::new();
    out.bytes(portable.path.as_bytes()).bytes(&portable_part(portable));
    out.finish()
}

/// The bytes that the content root hashes for an entry: full path, and kind with size and digest or target.
pub fn content_bytes(portable: &Portable) -> Vec<u8> {
    let mut part = Encoder::new();
    part.u8(kind_of(&portable.node));
    encode_content(&portable.node, &mut part);
    let mut out = Encoder::new();
    out.bytes(portable.path.as_bytes()).bytes(part.as_slice());
    out.finish()
}

/// Everything that follows an entry's path in a leaf.
///
/// # Errors
/// [`Kind::Input`] if the entry is too large to be stored; [`Kind::Bug`] if it breaks a rule of the format.
pub(super) fn encode_parts(entry: &Entry) -> Result<Vec<u8>> {
    if let Some(fault) = portable_fault(&entry.portable).or_else(|| local_fault(entry)) {
        return Err(Error::new(Kind::Bug, format!("encode entry {}: {fault}", entry.path())));
    }
    let mut out = Encoder::new();
    out.bytes(&portable_part(&entry.portable)).bytes(&local_part(entry));
    let parts = out.finish();
    if ITEM_OVERHEAD + entry.path().as_bytes().len() + parts.len() > ENTRY_BYTES_MAX {
        return Err(Error::new(
            Kind::Input,
            format!("store entry {}: its names and attributes exceed 1 MiB", entry.path()),
        ));
    }
    Ok(parts)
}

/// Reads what [`encode_parts`] wrote for the entry at `path`.
pub(super) fn decode_parts(path: TreePath, input: &mut Decoder<'_>) -> Result<Entry> {
    let mut part = Decoder::new(input.bytes(ENTRY_BYTES_MAX)?, WHAT);
    let portable = decode_portable(path, &mut part)?;
    part.finish()?;
    let mut part = Decoder::new(input.bytes(ENTRY_BYTES_MAX)?, WHAT);
    let local = decode_local(&portable, &mut part)?;
    part.finish()?;
    let entry = Entry { portable, local };
    match local_fault(&entry) {
        Some(fault) => Err(input.error(fault)),
        None => Ok(entry),
    }
}

fn portable_part(portable: &Portable) -> Vec<u8> {
    let mut out = Encoder::new();
    out.u8(kind_of(&portable.node));
    encode_content(&portable.node, &mut out);
    if let Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } = portable.node {
        out.varint(u64::from(major)).varint(u64::from(minor));
    }
    out.varint(u64::from(portable.mode)).varint(u64::from(portable.uid)).varint(u64::from(portable.gid));
    encode_time(portable.mtime, &mut out);
    out.varint(portable.xattrs.len() as u64);
    for xattr in &portable.xattrs {
        out.bytes(&xattr.name);
        match &xattr.value {
            XattrValue::Inline(value) => out.u8(0).bytes(value),
            XattrValue::Chunk { digest, length } => {
                out.u8(1).u8(ALGORITHM_BLAKE3).raw(&digest.0).varint(u64::from(*length))
            }
        };
    }
    match &portable.first_link {
        None => out.u8(0),
        Some(path) => out.u8(1).bytes(path.as_bytes()),
    };
    out.finish()
}

fn kind_of(node: &Node) -> u8 {
    match node {
        Node::Directory => 1,
        Node::File { .. } => 2,
        Node::Symlink { .. } => 3,
        Node::Fifo => 4,
        Node::CharDevice { .. } => 5,
        Node::BlockDevice { .. } => 6,
    }
}

fn encode_content(node: &Node, out: &mut Encoder) {
    match node {
        Node::File { size, digest } => {
            out.varint(*size).u8(ALGORITHM_BLAKE3).raw(&digest.0);
        }
        Node::Symlink { target } => {
            out.bytes(target);
        }
        Node::Directory | Node::Fifo | Node::CharDevice { .. } | Node::BlockDevice { .. } => {}
    }
}

fn encode_time(time: FileTime, out: &mut Encoder) {
    out.i64(time.seconds).u32(time.nanos);
}

fn decode_time(input: &mut Decoder<'_>) -> Result<FileTime> {
    Ok(FileTime { seconds: input.i64()?, nanos: input.u32()? })
}

fn decode_digest(input: &mut Decoder<'_>) -> Result<Digest> {
    match input.u8()? {
        ALGORITHM_BLAKE3 => Ok(Digest(input.array()?)),
        _ => Err(input.error("unknown digest algorithm")),
    }
}

fn decode_portable(path: TreePath, input: &mut Decoder<'_>) -> Result<Portable> {
    let portable = Portable {
        path,
        node: decode_node(input)?,
        mode: input.varint_u32()?,
        uid: input.varint_u32()?,
        gid: input.varint_u32()?,
        mtime: decode_time(input)?,
        xattrs: decode_xattrs(input)?,
        first_link: decode_first_link(input)?,
    };
    match portable_fault(&portable) {
        Some(fault) => Err(input.error(fault)),
        None => Ok(portable),
    }
}

fn decode_node(input: &mut Decoder<'_>) -> Result<Node> {
    Ok(match input.u8()? {
        1 => Node::Directory,
        2 => Node::File { size: input.varint()?, digest: decode_digest(input)? },
        3 => Node::Symlink { target: input.bytes(ENTRY_BYTES_MAX)?.to_vec() },
        4 => Node::Fifo,
        5 => Node::CharDevice { major: input.varint_u32()?, minor: input.varint_u32()? },
        6 => Node::BlockDevice { major: input.varint_u32()?, minor: input.varint_u32()? },
        _ => return Err(input.error("unknown kind of file")),
    })
}

fn decode_xattrs(input: &mut Decoder<'_>) -> Result<Vec<Xattr>> {
    let count = input.count(4)?;
    let mut xattrs = Vec::with_capacity(count);
    for _ in 0..count {
        let name = input.bytes(XATTR_NAME_BYTES_MAX)?.to_vec();
        let value = match input.u8()? {
            0 => XattrValue::Inline(input.bytes(XATTR_INLINE_BYTES_MAX)?.to_vec()),
            1 => XattrValue::Chunk { digest: decode_digest(input)?, length: input.varint_u32()? },
            _ => return Err(input.error("unknown kind of attribute value")),
        };
        xattrs.push(Xattr { name, value });
    }
    Ok(xattrs)
}

fn decode_first_link(input: &mut Decoder<'_>) -> Result<Option<TreePath>> {
    match input.u8()? {
        0 => Ok(None),
        1 => TreePath::new(input.bytes(ENTRY_BYTES_MAX)?)
            .map(Some)
            .ok_or_else(|| input.error("first link is not a legal path")),
        _ => Err(input.error("unknown tag of the first link")),
    }
}

/// What is wrong with a portable part, if anything.
pub(super) fn portable_fault(portable: &Portable) -> Option<&'static str> {
    let is_directory = portable.node == Node::Directory;
    if portable.path.is_root() && !is_directory {
        return Some("the root is not a directory");
    }
    if matches!(&portable.node, Node::Symlink { target } if target.is_empty() || target.contains(&0)) {
        return Some("illegal target of a symbolic link");
    }
    if portable.mode > 0o7777 {
        return Some("mode has more than permission bits");
    }
    if portable.mtime.nanos >= 1_000_000_000 {
        return Some("modification time has too many nanoseconds");
    }
    if !portable.xattrs.is_sorted_by(|a, b| a.name < b.name) {
        return Some("attributes are not sorted by name");
    }
    if !portable.xattrs.iter().all(is_legal_xattr) {
        return Some("illegal attribute name or value");
    }
    match &portable.first_link {
        Some(first) if is_directory || first.is_root() || *first >= portable.path => {
            Some("illegal first link")
        }
        _ => None,
    }
}

fn is_legal_xattr(xattr: &Xattr) -> bool {
    let name = &xattr.name;
    let name_is_legal = !name.is_empty() && name.len() <= XATTR_NAME_BYTES_MAX && !name.contains(&0);
    name_is_legal
        && match &xattr.value {
            XattrValue::Inline(value) => value.len() <= XATTR_INLINE_BYTES_MAX,
            XattrValue::Chunk { length, .. } => *length as usize > XATTR_INLINE_BYTES_MAX,
        }
}

/// The only extent of a file that is one chunk: it repeats the file's digest and is not written.
fn whole_file(portable: &Portable) -> Option<Extent> {
    match portable.node {
        Node::File { size, digest } if size > 0 => {
            u32::try_from(size).ok().map(|length| Extent::Data { digest, length })
        }
        _ => None,
    }
}

fn local_part(entry: &Entry) -> Vec<u8> {
    let local = &entry.local;
    let mut out = Encoder::new();
    out.u8(u8::from(local.settled) | u8::from(local.torn) << 1).bytes(&local.user).bytes(&local.group);
    encode_time(local.ctime, &mut out);
    out.varint(local.inode).varint(local.device).u8(local.profile);
    match &local.extents {
        Extents::Inline(extents)
            if extents.len() == 1 && extents.first() == whole_file(&entry.portable).as_ref() =>
        {
            out.u8(2);
        }
        Extents::Inline(extents) => {
            out.u8(0).varint(extents.len() as u64);
            for extent in extents {
                encode_extent(extent, &mut out);
            }
        }
        Extents::Listed { root, count } => {
            out.u8(1).raw(&root.0).varint(*count);
        }
    }
    out.finish()
}

fn decode_local(portable: &Portable, input: &mut Decoder<'_>) -> Result<Local> {
    let flags = input.u8()?;
    if flags > 3 {
        return Err(input.error("unknown flags"));
    }
    Ok(Local {
        settled: flags & 1 != 0,
        torn: flags & 2 != 0,
        user: input.bytes(OWNER_NAME_BYTES_MAX)?.to_vec(),
        group: input.bytes(OWNER_NAME_BYTES_MAX)?.to_vec(),
        ctime: decode_time(input)?,
        inode: input.varint()?,
        device: input.varint()?,
        profile: input.u8()?,
        extents: decode_extents(portable, input)?,
    })
}

fn decode_extents(portable: &Portable, input: &mut Decoder<'_>) -> Result<Extents> {
    match input.u8()? {
        0 => {
            let count = input.count(2)?;
            if count > EXTENTS_INLINE_MAX {
                return Err(input.error("too many extents for an entry"));
            }
            let extents = (0..count).map(|_| decode_extent(input)).collect::<Result<Vec<_>>>()?;
            if extents.len() == 1 && extents.first() == whole_file(portable).as_ref() {
                return Err(input.error("repeats the file's digest"));
            }
            Ok(Extents::Inline(extents))
        }
        1 => Ok(Extents::Listed { root: Digest(input.array()?), count: input.varint()? }),
        2 => match whole_file(portable) {
            Some(extent) => Ok(Extents::Inline(vec![extent])),
            None => Err(input.error("is not a file of one chunk")),
        },
        _ => Err(input.error("unknown kind of extents")),
    }
}

/// What is wrong with a local part, seen with its portable part, if anything.
fn local_fault(entry: &Entry) -> Option<&'static str> {
    let local = &entry.local;
    if local.ctime.nanos >= 1_000_000_000 {
        return Some("inode change time has too many nanoseconds");
    }
    if local.user.len().max(local.group.len()) > OWNER_NAME_BYTES_MAX {
        return Some("owner's name is too long");
    }
    match &local.extents {
        Extents::Inline(extents) if extents.len() > EXTENTS_INLINE_MAX => {
            Some("too many extents for an entry")
        }
        Extents::Inline(extents) if extents.iter().any(|extent| extent.length() == 0) => Some("empty extent"),
        Extents::Inline(extents) => {
            let sum = extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.length()));
            (sum != Some(entry.size())).then_some("extents do not sum to the file's size")
        }
        Extents::Listed { count, .. } => {
            let legal = *count > EXTENTS_INLINE_MAX as u64 && *count <= entry.size();
            (!legal).then_some("impossible number of extents")
        }
    }
}

/// Appends an extent.
pub(crate) fn encode_extent(extent: &Extent, out: &mut Encoder) {
    match extent {
        Extent::Data { digest, length } => out.u8(0).raw(&digest.0).varint(u64::from(*length)),
        Extent::Hole { length } => out.u8(1).varint(*length),
    };
}

/// Reads an extent, which is never empty.
pub(crate) fn decode_extent(input: &mut Decoder<'_>) -> Result<Extent> {
    let extent = match input.u8()? {
        0 => Extent::Data { digest: Digest(input.array()?), length: input.varint_u32()? },
        1 => Extent::Hole { length: input.varint()? },
        _ => return Err(input.error("unknown kind of extent")),
    };
    if extent.length() == 0 {
        return Err(input.error("empty extent"));
    }
    Ok(extent)
}
