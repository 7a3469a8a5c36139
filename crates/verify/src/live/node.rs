//! One path of the live tree: its metadata, attributes and content.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, StatxFlags};
use rustix::io::Errno;
use shudao_vault::entry::{FileTime, Node, Portable, TreePath, Xattr};
use shudao_vault::id::Digest;

use super::NotRead;
use super::xattrs::{XattrsOf, read_xattrs};

/// Bytes read at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// What reading a leaf gives.
pub(super) type ReadNode = Result<(Portable, Facts), NotRead>;

/// Device and inode number: what a file is, whatever its names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    pub(super) device: u64,
    pub(super) number: u64,
}

/// What `stat` says, in types that do not differ between processors.
///
/// Two equal values, one from before a file was read and one from after, mean that it did not change meanwhile.
/// Access time is left out, since reading changes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) inode: Inode,
    pub(super) kind: FileType,
    mode: u32,
    pub(super) links: u64,
    uid: u32,
    gid: u32,
    device_numbers: (u32, u32),
    size: u64,
    mtime: FileTime,
    ctime: FileTime,
}

impl Facts {
    /// From the system's answer.
    #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between processors")]
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            inode: Inode { device: stat.st_dev as u64, number: stat.st_ino as u64 },
            kind: FileType::from_raw_mode(stat.st_mode as u32),
            mode: stat.st_mode as u32 & 0o7777,
            links: stat.st_nlink as u64,
            uid: stat.st_uid,
            gid: stat.st_gid,
            device_numbers: (rustix::fs::major(stat.st_rdev as u64), rustix::fs::minor(stat.st_rdev as u64)),
            size: stat.st_size as u64,
            mtime: FileTime { seconds: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as u32 },
            ctime: FileTime { seconds: stat.st_ctime as i64, nanos: stat.st_ctime_nsec as u32 },
        }
    }

    /// Of an open file.
    pub(super) fn of_open(file: BorrowedFd<'_>) -> Result<Self, NotRead> {
        rustix::fs::fstat(file).map(|stat| Self::of(&stat)).map_err(refused("read the metadata"))
    }

    /// Of `name` in `directory`.
    pub(super) fn of_name(directory: BorrowedFd<'_>, name: &CStr, follow: Follow) -> Result<Self, NotRead> {
        rustix::fs::statat(directory, name, follow.at_flags() | AtFlags::NO_AUTOMOUNT)
            .map(|stat| Self::of(&stat))
            .map_err(refused("read the metadata"))
    }

    /// Whether other paths may name the same inode. Directories have several links, but one path.
    pub(super) fn is_linked(&self) -> bool {
        self.links > 1 && self.kind != FileType::Directory
    }

    /// Whether nothing happened to the file between `self` and `other`.
    fn is_same(&self, other: &Self) -> bool {
        self.inode == other.inode
            && (self.kind, self.mode, self.uid, self.gid) == (other.kind, other.mode, other.uid, other.gid)
            && (self.size, self.mtime, self.ctime) == (other.size, other.mtime, other.ctime)
    }

    /// The entry of a thing with these facts.
    pub(super) fn portable(&self, path: TreePath, node: Node, xattrs: Vec<Xattr>) -> Portable {
        Portable {
            path,
            node,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs,
            first_link: None,
        }
    }
}

/// Whether a symbolic link means itself or what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// Itself: the rule below the roots.
    Never,
    /// What it leads to: for roots, and for what leads to them.
    Links,
}

impl Follow {
    pub(super) fn at_flags(self) -> AtFlags {
        match self {
            Self::Never => AtFlags::SYMLINK_NOFOLLOW,
            Self::Links => AtFlags::empty(),
        }
    }

    pub(super) fn open_flags(self) -> OFlags {
        match self {
            Self::Never => OFlags::NOFOLLOW,
            Self::Links => OFlags::empty(),
        }
    }
}

/// The number of the mount that holds `name`, where the kernel tells it (5.8 and later).
pub(super) fn mount_of(directory: BorrowedFd<'_>, name: &CStr, follow: Follow) -> Option<u64> {
    let flags = follow.at_flags() | AtFlags::NO_AUTOMOUNT;
    let answer = rustix::fs::statx(directory, name, flags, StatxFlags::MNT_ID).ok()?;
    (answer.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(answer.stx_mnt_id)
}

/// What is known of a file's content before it is opened.
pub(super) enum Known {
    /// Nothing: read it.
    Nothing,
    /// Its digest, as long as it still has these facts.
    Digest(Facts, Digest),
}

/// A path that is read without entering it.
pub(super) struct Leaf {
    /// The open directory that holds it.
    pub(super) directory: Arc<OwnedFd>,
    /// Its name there.
    pub(super) name: CString,
    /// Its path in the tree.
    pub(super) path: TreePath,
    /// What `stat` said when it was met.
    pub(super) facts: Facts,
    /// Whether a symbolic link at its name is followed.
    pub(super) follow: Follow,
}

impl Leaf {
    /// The entry without its first link, and the facts that held before and after it was read.
    pub(super) fn read(&self, known: Known, stop: &AtomicBool) -> ReadNode {
        match self.facts.kind {
            FileType::RegularFile => self.read_file(known, stop),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&self.directory, &self.name, Vec::new())
                    .map_err(refused("read the symbolic link"))?;
                self.read_unopened(Node::Symlink { target: target.into_bytes() })
            }
            FileType::Fifo => self.read_unopened(Node::Fifo),
            FileType::Directory => self.read_unopened(Node::Directory),
            FileType::CharacterDevice => {
                let (major, minor) = self.facts.device_numbers;
                self.read_unopened(Node::CharDevice { major, minor })
            }
            FileType::BlockDevice => {
                let (major, minor) = self.facts.device_numbers;
                self.read_unopened(Node::BlockDevice { major, minor })
            }
            FileType::Socket | FileType::Unknown => Err(NotRead::UnknownKind),
        }
    }

    /// Pipes, devices and links are never opened: opening some devices does things.
    fn read_unopened(&self, node: Node) -> ReadNode {
        let xattrs = read_xattrs(&XattrsOf::Name(self.directory.as_fd(), &self.name, self.follow))?;
        let after = Facts::of_name(self.directory.as_fd(), &self.name, self.follow)?;
        if !after.is_same(&self.facts) {
            return Err(if after.inode == self.facts.inode { NotRead::Changed } else { NotRead::Replaced });
        }
        Ok((after.portable(self.path.clone(), node, xattrs), after))
    }

    fn read_file(&self, known: Known, stop: &AtomicBool) -> ReadNode {
        // Were it replaced by a pipe, a blocking open would wait for a writer forever.
        let flags =
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | self.follow.open_flags();
        let file =
            rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()).map_err(|errno| {
                if errno == Errno::LOOP { NotRead::Replaced } else { refused("open the file")(errno) }
            })?;
        let before = Facts::of_open(file.as_fd())?;
        if before.inode != self.facts.inode || before.kind != FileType::RegularFile {
            return Err(NotRead::Replaced);
        }
        let xattrs = read_xattrs(&XattrsOf::Open(file.as_fd()))?;
        let digest = match known {
            Known::Digest(facts, digest) if facts.is_same(&before) => digest,
            Known::Digest(..) | Known::Nothing => read_digest(file.as_fd(), before.size, stop)?,
        };
        let after = Facts::of_open(file.as_fd())?;
        if !after.is_same(&before) {
            return Err(NotRead::Changed);
        }
        let node = Node::File { size: after.size, digest };
        Ok((after.portable(self.path.clone(), node, xattrs), after))
    }
}

/// BLAKE3 of all bytes of `file`, which must be `size` of them.
pub(super) fn read_digest(file: BorrowedFd<'_>, size: u64, stop: &AtomicBool) -> Result<Digest, NotRead> {
    let buffer_bytes = usize::try_from(size).unwrap_or(BUFFER_BYTES).clamp(1, BUFFER_BYTES);
    let mut buffer = vec![0; buffer_bytes];
    let mut hasher = blake3::Hasher::new();
    loop {
        let read = match rustix::io::read(file, &mut buffer[..]) {
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(refused("read the file")(errno)),
        };
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        if hasher.count() > size || stop.load(Ordering::Relaxed) {
            return Err(NotRead::Changed);
        }
    }
    if hasher.count() != size {
        return Err(NotRead::Changed);
    }
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// What to say when the system refused `doing`.
pub(super) fn refused(doing: &'static str) -> impl Fn(Errno) -> NotRead {
    move |errno| match errno {
        Errno::NOENT => NotRead::Vanished,
        _ => NotRead::Refused { doing, errno: errno.raw_os_error() },
    }
}
