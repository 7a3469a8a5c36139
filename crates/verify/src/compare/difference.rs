//! How two entries at one path differ.

use std::fmt;

use shudao_vault::entry::{FileTime, Node, Portable, TreePath, Xattr};
use shudao_vault::id::Digest;

use super::Aspects;

/// One way in which a live path is not what the snapshot says. A path can have several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: TreePath,
    /// In what.
    pub kind: DifferenceKind,
}

/// In what a path differs; `expected` is the snapshot's side, `found` the live tree's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The snapshot has this kind of thing here, the live tree nothing.
    Missing(FileKind),
    /// The live tree has this kind of thing here, the snapshot nothing.
    Extra(FileKind),
    /// Two kinds of thing; nothing else of them is compared.
    Type {
        /// In the snapshot.
        expected: FileKind,
        /// In the live tree.
        found: FileKind,
    },
    /// File size in bytes.
    Size {
        /// In the snapshot.
        expected: u64,
        /// In the live tree.
        found: u64,
    },
    /// BLAKE3 of the file's bytes.
    Content {
        /// In the snapshot.
        expected: Digest,
        /// In the live tree.
        found: Digest,
    },
    /// A symbolic link's target.
    Target {
        /// In the snapshot.
        expected: Vec<u8>,
        /// In the live tree.
        found: Vec<u8>,
    },
    /// A device's major and minor number.
    Device {
        /// In the snapshot.
        expected: (u32, u32),
        /// In the live tree.
        found: (u32, u32),
    },
    /// Permission bits.
    Mode {
        /// In the snapshot.
        expected: u32,
        /// In the live tree.
        found: u32,
    },
    /// Owner's and group's number.
    Owner {
        /// In the snapshot.
        expected: (u32, u32),
        /// In the live tree.
        found: (u32, u32),
    },
    /// Modification time.
    Mtime {
        /// In the snapshot.
        expected: FileTime,
        /// In the live tree.
        found: FileTime,
    },
    /// One extended attribute.
    Xattr {
        /// Its raw name.
        name: Vec<u8>,
        /// What is wrong with it.
        change: XattrChange,
    },
    /// The first path in path order that is the same file; `None` if this is it, or the only one.
    Link {
        /// In the snapshot.
        expected: Option<TreePath>,
        /// In the live tree.
        found: Option<TreePath>,
    },
}

/// What is wrong with an extended attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrChange {
    /// Only the snapshot has it.
    Missing,
    /// Only the live tree has it.
    Extra,
    /// Both have it, with different values.
    Value,
}

/// The kinds of thing that can stand at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum FileKind {
    Directory,
    File,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
    Socket,
}

impl FileKind {
    /// The kind of an entry.
    pub fn of(node: &Node) -> Self {
        match node {
            Node::Directory => Self::Directory,
            Node::File { .. } => Self::File,
            Node::Symlink { .. } => Self::Symlink,
            Node::Fifo => Self::Fifo,
            Node::CharDevice { .. } => Self::CharDevice,
            Node::BlockDevice { .. } => Self::BlockDevice,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Symlink => "symbolic link",
            Self::Fifo => "named pipe",
            Self::CharDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Socket => "socket",
        })
    }
}

impl DifferenceKind {
    /// One lower-case word for machines; it does not change between versions.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Extra(_) => "extra",
            Self::Type { .. } => "type",
            Self::Size { .. } => "size",
            Self::Content { .. } => "content",
            Self::Target { .. } => "target",
            Self::Device { .. } => "device",
            Self::Mode { .. } => "mode",
            Self::Owner { .. } => "owner",
            Self::Mtime { .. } => "mtime",
            Self::Xattr { .. } => "xattr",
            Self::Link { .. } => "link",
        }
    }
}

/// All ways in which `found` is not what `expected` says, both being at one path.
pub fn differences(expected: &Portable, found: &Portable, aspects: Aspects) -> Vec<Difference> {
    let mut kinds = Vec::new();
    if FileKind::of(&expected.node) != FileKind::of(&found.node) {
        let (expected, found) = (FileKind::of(&expected.node), FileKind::of(&found.node));
        kinds.push(DifferenceKind::Type { expected, found });
    } else {
        compare_nodes(expected, found, aspects, &mut kinds);
        compare_metadata(expected, found, aspects, &mut kinds);
    }
    kinds.into_iter().map(|kind| Difference { path: expected.path.clone(), kind }).collect()
}

/// Compares two nodes of one kind.
fn compare_nodes(expected: &Portable, found: &Portable, aspects: Aspects, kinds: &mut Vec<DifferenceKind>) {
    match (&expected.node, &found.node) {
        (Node::File { size: expected, digest: is }, Node::File { size: found, digest }) => {
            if expected != found {
                kinds.push(DifferenceKind::Size { expected: *expected, found: *found });
            }
            if is != digest {
                kinds.push(DifferenceKind::Content { expected: *is, found: *digest });
            }
        }
        (Node::Symlink { target: expected }, Node::Symlink { target: found }) if expected != found => {
            kinds.push(DifferenceKind::Target { expected: expected.clone(), found: found.clone() });
        }
        (Node::CharDevice { major, minor }, Node::CharDevice { major: found, minor: least })
        | (Node::BlockDevice { major, minor }, Node::BlockDevice { major: found, minor: least })
            if aspects.devices && (major, minor) != (found, least) =>
        {
            kinds.push(DifferenceKind::Device { expected: (*major, *minor), found: (*found, *least) });
        }
        _ => {}
    }
}

fn compare_metadata(
    expected: &Portable,
    found: &Portable,
    aspects: Aspects,
    kinds: &mut Vec<DifferenceKind>,
) {
    if aspects.mode && expected.mode != found.mode {
        kinds.push(DifferenceKind::Mode { expected: expected.mode, found: found.mode });
    }
    let owners = ((expected.uid, expected.gid), (found.uid, found.gid));
    if aspects.owner && owners.0 != owners.1 {
        kinds.push(DifferenceKind::Owner { expected: owners.0, found: owners.1 });
    }
    if aspects.mtime && expected.mtime != found.mtime {
        kinds.push(DifferenceKind::Mtime { expected: expected.mtime, found: found.mtime });
    }
    if aspects.xattrs {
        compare_xattrs(&expected.xattrs, &found.xattrs, kinds);
    }
    if aspects.links && expected.first_link != found.first_link {
        let (expected, found) = (expected.first_link.clone(), found.first_link.clone());
        kinds.push(DifferenceKind::Link { expected, found });
    }
}

fn compare_xattrs(expected: &[Xattr], found: &[Xattr], kinds: &mut Vec<DifferenceKind>) {
    let value = |of: &'_ [Xattr], name: &[u8]| {
        of.iter().find(|xattr| xattr.name == name).map(|xattr| xattr.value.clone())
    };
    for xattr in expected {
        let change = match value(found, &xattr.name) {
            None => XattrChange::Missing,
            Some(other) if other != xattr.value => XattrChange::Value,
            Some(_) => continue,
        };
        kinds.push(DifferenceKind::Xattr { name: xattr.name.clone(), change });
    }
    for xattr in found.iter().filter(|xattr| value(expected, &xattr.name).is_none()) {
        kinds.push(DifferenceKind::Xattr { name: xattr.name.clone(), change: XattrChange::Extra });
    }
}

impl fmt::Display for Difference {
    /// One line in English. Bytes that a terminal must not see are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path_for_people(), self.kind)
    }
}

impl Difference {
    fn path_for_people(&self) -> String {
        if self.path.is_root() { ".".into() } else { self.path.to_string() }
    }
}

impl fmt::Display for DifferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(kind) => write!(f, "missing: the snapshot has a {kind} here"),
            Self::Extra(kind) => write!(f, "extra: the snapshot has nothing here, found a {kind}"),
            Self::Type { expected, found } => {
                write!(f, "type differs: expected a {expected}, found a {found}")
            }
            Self::Size { expected, found } => {
                write!(f, "size differs: expected {expected} bytes, found {found}")
            }
            Self::Content { expected, found } => {
                write!(f, "content differs: expected digest {}…, found {}…", expected.short(), found.short())
            }
            Self::Target { expected, found } => {
                write!(f, "link target differs: expected {}, found {}", quoted(expected), quoted(found))
            }
            Self::Device { expected, found } => write!(
                f,
                "device differs: expected {}:{}, found {}:{}",
                expected.0, expected.1, found.0, found.1
            ),
            Self::Mode { expected, found } => {
                write!(f, "mode differs: expected {expected:04o}, found {found:04o}")
            }
            Self::Owner { expected, found } => write!(
                f,
                "owner differs: expected {}:{}, found {}:{}",
                expected.0, expected.1, found.0, found.1
            ),
            Self::Mtime { expected, found } => {
                write!(
                    f,
                    "modification time differs: expected {}, found {}",
                    seconds(*expected),
                    seconds(*found)
                )
            }
            Self::Xattr { name, change } => write!(f, "extended attribute {} {change}", quoted(name)),
            Self::Link { expected, found } => match (expected, found) {
                (Some(expected), Some(found)) => {
                    write!(
                        f,
                        "hard link differs: expected the same file as {expected}, found the same as {found}"
                    )
                }
                (Some(expected), None) => write!(f, "hard link lost: expected the same file as {expected}"),
                (None, Some(found)) => write!(f, "hard link not expected: found the same file as {found}"),
                (None, None) => f.write_str("hard link differs"),
            },
        }
    }
}

impl fmt::Display for XattrChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::Extra => "was not expected",
            Self::Value => "has another value",
        })
    }
}

fn quoted(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

/// Seconds since 1970 with all nine decimals, as `touch -d @…` takes them.
fn seconds(time: FileTime) -> String {
    format!("@{}.{:09}", time.seconds, time.nanos)
}
