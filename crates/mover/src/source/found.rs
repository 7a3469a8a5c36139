//! What the walk says: found, skipped or unreadable; and how a found file is opened or looked at again.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;
use shudao_vault::entry::{FileTime, TreePath};

use super::clock::{Clock, Clocks, is_settled};
use super::directory::Directory;
use super::owners::Owners;
use super::reader::OpenFile;
use super::status::{Fingerprint, Follow, Status};
use super::xattrs;

/// How often a name that changes while it is looked at is looked at again.
const LOOKS_MAX: usize = 3;

/// The walk's word on one path.
#[derive(Debug)]
pub enum Scanned {
    /// It belongs in the snapshot.
    Found(Box<Found>),
    /// It, or what is below it, does not, by rule. A directory whose *content* is skipped (another file system, a
    /// loop) was given as [`Scanned::Found`] before; everything else has no entry.
    Skipped {
        /// Where.
        path: TreePath,
        /// Which rule.
        why: Why,
    },
    /// It should, but could not be read. If a directory's listing broke off, the directory and what was listed are
    /// given as found besides.
    Unreadable {
        /// Where.
        path: TreePath,
        /// The system's word.
        error: io::Error,
        /// What it means.
        kind: UnreadKind,
    },
}

/// The rule by which something is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// A socket means nothing without the process behind it.
    Socket,
    /// An exclude pattern.
    Excluded,
    /// It belongs to another file system, and only one was asked for.
    OtherFileSystem,
    /// The directory is one of its own ancestors, by a bind mount.
    Loop,
}

/// What an unreadable path means to an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnreadKind {
    /// No right to read it.
    Denied,
    /// It is no longer there.
    Vanished,
    /// Something else has taken its place; [`Found::look_again`] tells what.
    Replaced,
    /// The disk or the network failed, or anything else.
    Failed,
}

/// Why a found file could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unread {
    /// What it means.
    pub kind: UnreadKind,
    /// The system's word.
    #[source]
    pub error: io::Error,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self { kind: classify(&error), error }
    }
}

/// What a system error while reading a source means.
pub fn classify(error: &io::Error) -> UnreadKind {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => UnreadKind::Denied,
        Some(Errno::NOENT) => UnreadKind::Vanished,
        Some(Errno::NOTDIR | Errno::LOOP | Errno::STALE | Errno::NXIO) => UnreadKind::Replaced,
        Some(_) | None => UnreadKind::Failed,
    }
}

/// What kind of thing was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundNode {
    /// A directory.
    Directory,
    /// A regular file of this size in bytes.
    File {
        /// Logical size in bytes.
        size: u64,
    },
    /// A symbolic link.
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

/// An extended attribute, its value in full (at most 64 KiB).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundXattr {
    /// Raw name.
    pub name: Vec<u8>,
    /// Raw value.
    pub value: Vec<u8>,
}

/// One path of the source with everything that its entry needs but its content.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it stands in the snapshot.
    pub path: TreePath,
    /// What it is.
    pub node: FoundNode,
    /// Permission bits including setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Owner's name; empty if this system has none.
    pub user: Arc<[u8]>,
    /// Group's name; empty if this system has none.
    pub group: Arc<[u8]>,
    /// Modification time.
    pub mtime: FileTime,
    /// Inode change time.
    pub ctime: FileTime,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Bytes allocated for it: less than its size where there are holes.
    pub allocated: u64,
    /// Number of names of this inode.
    pub links: u64,
    /// Extended attributes that an entry keeps, sorted by name.
    pub xattrs: Vec<FoundXattr>,
    /// How many extended attributes are of kinds that are not kept.
    pub xattrs_dropped: u32,
    /// A change after the scan is bound to show in its ctime: see [`is_settled`].
    pub settled: bool,
    pub(super) place: Place,
}

/// How to get at the name again.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) directory: Arc<Directory>,
    pub(super) name: Vec<u8>,
    pub(super) follow: Follow,
    pub(super) owners: Arc<Owners>,
}

impl Place {
    pub(super) fn status(&self) -> io::Result<Status> {
        Status::of(&*self.directory.handle()?, &self.name, self.follow)
    }

    /// What stands here, with the status `status` that [`Self::status`] has just given.
    pub(super) fn describe(self, path: TreePath, status: Status, settled: bool) -> io::Result<Found> {
        let (mut status, mut settled) = (status, settled);
        for _ in 0..LOOKS_MAX {
            let (node, xattrs) = self.details(&status)?;
            // Files are compared when they are read, and directories change while they are listed. The rest is
            // complete here, so here is where a mixture of two moments must be noticed.
            let complete = matches!(node, FoundNode::Directory | FoundNode::File { .. });
            let after = if complete { status } else { self.status()? };
            if after.fingerprint() == status.fingerprint() {
                return Ok(self.found(path, Known { status, settled, node, xattrs }));
            }
            (status, settled) = (after, false);
        }
        Err(Errno::STALE.into())
    }

    fn details(&self, status: &Status) -> io::Result<(FoundNode, xattrs::Xattrs)> {
        let directory = self.directory.handle()?;
        let (major, minor) = status.rdev;
        let node = match status.kind {
            FileType::Directory => FoundNode::Directory,
            FileType::RegularFile => FoundNode::File { size: status.size },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&*directory, &*self.name, Vec::new())?;
                FoundNode::Symlink { target: target.into_bytes() }
            }
            FileType::Fifo => FoundNode::Fifo,
            FileType::CharacterDevice => FoundNode::CharDevice { major, minor },
            FileType::BlockDevice => FoundNode::BlockDevice { major, minor },
            FileType::Socket | FileType::Unknown => {
                return Err(io::Error::other("this kind of file cannot be kept"));
            }
        };
        // Reaches every kind of file, and names in directories however deep, without opening anything.
        let mut by_handle = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        by_handle.extend_from_slice(&self.name);
        Ok((node, xattrs::read(&by_handle, self.follow)?))
    }

    fn found(self, path: TreePath, known: Known) -> Found {
        let Known { status, settled, node, xattrs } = known;
        Found {
            path,
            node,
            mode: status.mode,
            uid: status.uid,
            gid: status.gid,
            user: self.owners.user(status.uid),
            group: self.owners.group(status.gid),
            mtime: status.mtime,
            ctime: status.ctime,
            inode: status.inode,
            device: status.device,
            allocated: status.allocated,
            links: status.links,
            xattrs: xattrs.kept,
            xattrs_dropped: xattrs.dropped,
            settled,
            place: self,
        }
    }
}

struct Known {
    status: Status,
    settled: bool,
    node: FoundNode,
    xattrs: xattrs::Xattrs,
}

/// Whether a name with this status is settled, in a directory of this status, by the directory's clock.
pub(super) fn settled(status: &Status, parent: &Status, clock: Clock) -> bool {
    // A single file that is mounted here from elsewhere is stamped by a clock that was not asked.
    status.shares_clock_with(parent) && is_settled(status.ctime, clock)
}

impl Found {
    /// Logical size in bytes; zero for everything that is not a file.
    pub fn size(&self) -> u64 {
        match self.node {
            FoundNode::File { size } => size,
            _ => 0,
        }
    }

    /// What must still be true when it is opened, and after it was read.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint { size: self.size(), mtime: self.mtime, ctime: self.ctime, inode: self.inode }
    }

    /// Opens the file for reading. [`UnreadKind::Replaced`] if the name now stands for something else. A file that
    /// is the same but has changed since the scan opens; its [`OpenFile::fingerprint`] tells.
    pub fn open(&self) -> Result<OpenFile, Unread> {
        OpenFile::open(self)
    }

    /// Looks at the name again: what stands there now, of whatever kind. For a file that was replaced or has
    /// changed since the scan. A socket is an error of kind [`UnreadKind::Replaced`].
    pub fn look_again(&self) -> Result<Found, Unread> {
        let handle = self.place.directory.handle()?;
        let parent = Status::of_open(&*handle)?;
        // The clock is read before the status: a change in between then counts as unsettled.
        let clock = Clocks::default().read(&*handle, parent.device);
        let status = self.place.status()?;
        if status.kind == FileType::Socket {
            return Err(Unread { kind: UnreadKind::Replaced, error: Errno::NXIO.into() });
        }
        let settled = settled(&status, &parent, clock);
        Ok(self.place.clone().describe(self.path.clone(), status, settled)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_are_told_by_what_they_mean() {
        for (errno, kind) in [
            (Errno::ACCESS, UnreadKind::Denied),
            (Errno::PERM, UnreadKind::Denied),
            (Errno::NOENT, UnreadKind::Vanished),
            (Errno::LOOP, UnreadKind::Replaced),
            (Errno::NOTDIR, UnreadKind::Replaced),
            (Errno::STALE, UnreadKind::Replaced),
            (Errno::IO, UnreadKind::Failed),
            (Errno::NFILE, UnreadKind::Failed),
        ] {
            assert_eq!(classify(&errno.into()), kind, "{errno:?}");
        }
        assert_eq!(classify(&io::Error::other("x")), UnreadKind::Failed);
    }
}
