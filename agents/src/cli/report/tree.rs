//! Lines about paths: what a snapshot holds, and where two trees differ.

use serde::{Serialize, Serializer};
use shudao_vault::entry::{Entry, FileTime, Node};

use crate::cli::path::{LinkTarget, RawPath};
use crate::cli::show::json_file_time;

/// A path as an object of its own.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PathField {
    #[serde(flatten)]
    pub(crate) path: RawPath,
}

/// One path of a snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LsLine {
    #[serde(flatten)]
    pub(crate) path: RawPath,
    /// `file`, `directory`, `symlink`, `fifo`, `char_device` or `block_device`.
    pub(crate) kind: &'static str,
    /// Permission bits in octal, four digits.
    pub(crate) mode: String,
    /// Owner's number.
    pub(crate) uid: u32,
    /// Group's number.
    pub(crate) gid: u32,
    /// Owner's name on the source, if it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// Group's name on the source, if it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    /// Logical size; zero for what is no file.
    pub(crate) size: u64,
    /// Modification time.
    #[serde(serialize_with = "json_file_time")]
    pub(crate) mtime: FileTime,
    /// BLAKE3 of a file's bytes, as `b3sum` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blake3: Option<String>,
    /// A symbolic link's target.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<LinkTarget>,
    /// The first path of its hard-link group, on the other members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_link: Option<PathField>,
    /// Number of extended attributes.
    pub(crate) xattrs: usize,
    /// A device's major and minor number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<[u32; 2]>,
    /// It changed while it was read.
    pub(crate) torn: bool,
}

impl From<&Entry> for LsLine {
    fn from(entry: &Entry) -> Self {
        let portable = &entry.portable;
        let name = |bytes: &Vec<u8>| (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned());
        let (kind, blake3, target, device) = match &portable.node {
            Node::Directory => ("directory", None, None, None),
            Node::File { digest, .. } => ("file", Some(digest.to_hex()), None, None),
            Node::Symlink { target } => ("symlink", None, Some(LinkTarget(RawPath(target.clone()))), None),
            Node::Fifo => ("fifo", None, None, None),
            Node::CharDevice { major, minor } => ("char_device", None, None, Some([*major, *minor])),
            Node::BlockDevice { major, minor } => ("block_device", None, None, Some([*major, *minor])),
        };
        Self {
            path: RawPath::from(&portable.path),
            kind,
            mode: format!("{:04o}", portable.mode),
            uid: portable.uid,
            gid: portable.gid,
            user: name(&entry.local.user),
            group: name(&entry.local.group),
            size: entry.size(),
            mtime: portable.mtime,
            blake3,
            target,
            first_link: portable.first_link.as_ref().map(|path| PathField { path: RawPath::from(path) }),
            xattrs: portable.xattrs.len(),
            device,
            torn: entry.local.torn,
        }
    }
}

/// One difference between two trees.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DifferenceLine {
    #[serde(flatten)]
    pub(crate) path: RawPath,
    /// What differs.
    pub(crate) difference: Difference,
    /// What the first tree (in `verify`: the snapshot) has, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<String>,
    /// What the second tree (in `verify`: the live one) has, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) found: Option<String>,
}

/// Kinds of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Only in the second tree.
    Added,
    /// Only in the first tree.
    Removed,
    /// Another type of file.
    Type,
    /// Content or size; a link's target; a device's numbers.
    Content,
    /// Permission bits.
    Mode,
    /// Owner's or group's number.
    Owner,
    /// Modification time.
    Mtime,
    /// Extended attributes, ACLs or capabilities.
    Xattrs,
    /// Membership in a hard-link group.
    Link,
    /// The live path could not be read.
    Unreadable,
}

impl Difference {
    /// Its name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Type => "type",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Mtime => "mtime",
            Self::Xattrs => "xattrs",
            Self::Link => "link",
            Self::Unreadable => "unreadable",
        }
    }

    /// Its letter at the beginning of a line for people.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Added => '+',
            Self::Removed => '-',
            Self::Type => 'T',
            Self::Content => 'M',
            Self::Mode | Self::Owner | Self::Mtime | Self::Xattrs | Self::Link => 'U',
            Self::Unreadable => '?',
        }
    }
}

impl Serialize for Difference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use shudao_vault::entry::{Local, Portable, TreePath};
    use shudao_vault::id::Digest;

    use super::*;

    fn entry(node: Node) -> Entry {
        let portable = Portable {
            path: TreePath::new("a/b").unwrap(),
            node,
            mode: 0o4755,
            uid: 0,
            gid: 5,
            mtime: FileTime { seconds: 1_700_000_000, nanos: 5 },
            xattrs: Vec::new(),
            first_link: None,
        };
        Entry { portable, local: Local::default() }
    }

    #[test]
    fn a_file_in_json_has_the_digest_that_b3sum_prints() {
        let line = LsLine::from(&entry(Node::File { size: 3, digest: Digest::of(b"abc") }));
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["path"], "a/b");
        assert_eq!(json["mode"], "4755");
        assert_eq!(json["mtime"], "2023-11-14T22:13:20.000000005Z");
        assert_eq!(json["blake3"], "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        assert_eq!(json.get("target"), None);
    }

    #[test]
    fn a_link_that_is_no_text_keeps_its_bytes() {
        let line = LsLine::from(&entry(Node::Symlink { target: b"\xff".to_vec() }));
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["kind"], "symlink");
        assert_eq!(json["target_hex"], "ff");
    }
}
