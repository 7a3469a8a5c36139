//! One entry of a snapshot's tree: a file, directory, link or device at a path.
//!
//! An entry has a *portable* part, which must be equal wherever the file is equal and which the manifest root covers,
//! and a *local* part, which says how the bytes are stored and how an unchanged file is recognised.
//! Encoding: `docs/format/tree.md`.

use std::cmp::Ordering;

use crate::id::Digest;

/// Seconds and nanoseconds since 1970-01-01 UTC, as file systems keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

/// A path inside a tree: raw bytes, components joined by `/`, no leading or trailing slash, no empty, `.` or `..`
/// component, no NUL. The root directory is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Vec<u8>);

impl TreePath {
    /// The root directory.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path with these bytes, or `None` if they break the rules above.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        let legal = bytes.is_empty()
            || bytes
                .split(|byte| *byte == b'/')
                .all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0));
        legal.then_some(Self(bytes))
    }

    /// The path of `name` inside this directory. `name` must be a legal single component.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// Whether this is the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// Whether `self` is `directory` or lies below it.
    pub fn is_within(&self, directory: &TreePath) -> bool {
        directory.is_root()
            || (self.0.starts_with(&directory.0)
                && (self.0.len() == directory.0.len() || self.0[directory.0.len()] == b'/'))
    }
}

impl Ord for TreePath {
    /// Component-wise, raw bytes: a directory stands before what it holds, and what it holds before its next sibling.
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::fmt::Display for TreePath {
    /// The path for people: bytes that are not UTF-8, and control characters, are escaped.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// What kind of thing stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file; `digest` is BLAKE3 of its logical bytes, holes read as zeros.
    File {
        /// Logical size in bytes.
        size: u64,
        /// BLAKE3 of the whole file.
        digest: Digest,
    },
    /// A symbolic link, dangling or not.
    Symlink {
        /// The raw target.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// Values longer than this are stored as a chunk, and the entry holds its digest.
pub const XATTR_INLINE_BYTES_MAX: usize = 4096;

/// An extended attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XattrValue {
    /// The value itself, at most [`XATTR_INLINE_BYTES_MAX`] bytes.
    Inline(Vec<u8>),
    /// Digest and length of a longer value, which is stored as one content chunk.
    Chunk {
        /// BLAKE3 of the value.
        digest: Digest,
        /// Its length in bytes.
        length: u32,
    },
}

/// An extended attribute of `user.*`, `system.posix_acl_*` or `security.capability`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// Raw name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: XattrValue,
}

/// What must be equal wherever this file is equal; covered by the manifest root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portable {
    /// Where it stands.
    pub path: TreePath,
    /// What it is.
    pub node: Node,
    /// Permission bits including setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Modification time.
    pub mtime: FileTime,
    /// Extended attributes, sorted by name, no name twice.
    pub xattrs: Vec<Xattr>,
    /// On the second and later members of a hard-link group in path order: the first member's path.
    pub first_link: Option<TreePath>,
}

/// A run of a file's logical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// `length` bytes that are the chunk with this plain digest.
    Data {
        /// BLAKE3 of the chunk's plain bytes.
        digest: Digest,
        /// Length in bytes, at least 1.
        length: u32,
    },
    /// `length` bytes that are not allocated and read as zeros.
    Hole {
        /// Length in bytes, at least 1.
        length: u64,
    },
}

impl Extent {
    /// Logical length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Data { length, .. } => u64::from(*length),
            Self::Hole { length } => *length,
        }
    }
}

/// Up to this many extents stand in the entry itself.
pub const EXTENTS_INLINE_MAX: usize = 16;

/// A file's extents, in logical order; their lengths sum to its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extents {
    /// At most [`EXTENTS_INLINE_MAX`] extents. Empty for empty files and for everything that is not a file.
    Inline(Vec<Extent>),
    /// A longer list, stored as list nodes in metadata packs.
    Listed {
        /// Plain digest of the list's root node.
        root: Digest,
        /// Number of extents.
        count: u64,
    },
}

impl Default for Extents {
    fn default() -> Self {
        Self::Inline(Vec::new())
    }
}

/// How the file is stored, and how an unchanged one is recognised. Not covered by any root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Local {
    /// Owner's name on the source, if known.
    pub user: Vec<u8>,
    /// Group's name on the source, if known.
    pub group: Vec<u8>,
    /// Inode change time.
    pub ctime: FileTime,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Where its bytes are.
    pub extents: Extents,
    /// Number of the chunker profile that cut it.
    pub profile: u8,
    /// Its ctime was old enough at the scan for it to be reused unread while nothing changes.
    pub settled: bool,
    /// It changed while it was read; what is stored is what was read. Never reused.
    pub torn: bool,
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Equal wherever the file is equal.
    pub portable: Portable,
    /// Particular to this source and this vault.
    pub local: Local,
}

impl Entry {
    /// The path.
    pub fn path(&self) -> &TreePath {
        &self.portable.path
    }

    /// Logical size in bytes; zero for everything that is not a file.
    pub fn size(&self) -> u64 {
        match &self.portable.node {
            Node::File { size, .. } => *size,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn order_is_by_component_not_by_byte() {
        let mut paths: Vec<_> = ["a-b", "a/b", "a", "", "a/b/c", "a/b-c", "b"].map(path).to_vec();
        paths.sort();
        assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a/b-c", "a-b", "b"].map(path));
    }

    #[test]
    fn illegal_paths_are_refused() {
        for bad in ["/a", "a/", "a//b", ".", "a/..", "a/./b", "a\0b"] {
            assert_eq!(TreePath::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn within_means_the_directory_or_below() {
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(path("a").is_within(&path("")));
        assert!(!path("ab").is_within(&path("a")));
    }

    #[test]
    fn display_escapes_what_a_terminal_must_not_see() {
        assert_eq!(TreePath::new(b"a\nb\xff/\xe8\x9c\x80".to_vec()).unwrap().to_string(), "a\\nb\\xff/蜀");
    }
}
