//! What already stands in the target: same, to be patched, or to be written anew.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, OFlags};
use shudao_vault::entry::{Entry, Extent, Node};
use shudao_vault::id::Digest;

use super::target::Place;
use super::write::digest_of;

/// Existing files at least this large are patched instead of written anew.
pub(super) const PATCH_BYTES_MIN: u64 = 64 << 20;

/// How a path of the target stands to its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Nothing there.
    Absent,
    /// A file with the right bytes, or another thing that is as it must be; only metadata may differ.
    Same,
    /// A large file with other bytes: to be patched.
    Patchable,
    /// Something that must be replaced.
    Different,
    /// A directory stands where something else must.
    DirectoryInTheWay,
}

/// Looks at what stands at `place`; reads regular files.
pub(super) fn look(place: &Place, entry: &Entry) -> io::Result<Existing> {
    let Some(stat) = place.stat()? else { return Ok(Existing::Absent) };
    let found = FileType::from_raw_mode(stat.st_mode);
    let existing = match (&entry.portable.node, found) {
        (Node::Directory, FileType::Directory) | (Node::Fifo, FileType::Fifo) => Existing::Same,
        (_, FileType::Directory) => Existing::DirectoryInTheWay,
        (Node::Symlink { target }, FileType::Symlink) => {
            let there = rustix::fs::readlinkat(&*place.directory, &*place.name, Vec::new())?;
            if there.as_bytes() == target { Existing::Same } else { Existing::Different }
        }
        (Node::CharDevice { major, minor }, FileType::CharacterDevice)
        | (Node::BlockDevice { major, minor }, FileType::BlockDevice) => {
            let device = rustix::fs::makedev(*major, *minor);
            if stat.st_rdev == device { Existing::Same } else { Existing::Different }
        }
        (Node::File { size, digest }, FileType::RegularFile) => {
            // Patching a file that has other names would change those too.
            let patchable = *size >= PATCH_BYTES_MIN && stat.st_nlink == 1;
            let file = place.open(OFlags::RDONLY).map(File::from);
            // A file that cannot be read is no reason to fail: it is replaced.
            match file {
                Ok(file) if stat.st_size as u64 == *size => match digest_of(&file) {
                    Ok(found) if found == *digest => Existing::Same,
                    Ok(_) if patchable => Existing::Patchable,
                    Ok(_) | Err(_) => Existing::Different,
                },
                Ok(_) if patchable => Existing::Patchable,
                Ok(_) | Err(_) => Existing::Different,
            }
        }
        _ => Existing::Different,
    };
    Ok(existing)
}

/// Whether the existing file has this extent's bytes at `offset`.
pub(super) fn has_extent(file: &File, offset: u64, extent: &Extent) -> bool {
    match extent {
        Extent::Data { digest, length } => {
            let mut bytes = vec![0; *length as usize];
            file.read_exact_at(&mut bytes, offset).is_ok() && Digest::of(&bytes) == *digest
        }
        Extent::Hole { .. } => false,
    }
}
