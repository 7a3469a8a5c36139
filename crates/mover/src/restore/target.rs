//! Writing into a directory tree by directory handles: no path is ever longer than one name, and no symbolic link
//! below the root is ever followed, whatever stands there.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use shudao_vault::entry::{FileTime, Node, Portable, TreePath};

/// A directory tree to write into.
pub(crate) struct Target {
    root: Arc<OwnedFd>,
    /// Open handles of the path that was used last, from the root down.
    open: Vec<(Vec<u8>, Arc<OwnedFd>)>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Target {
    /// Opens `root`, making it if it does not exist.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = Arc::new(fs::open(root, flags, Mode::empty())?);
        Ok(Self { root, open: Vec::new() })
    }

    /// A handle of the directory at `path`, which must exist.
    pub(crate) fn directory(&mut self, path: &TreePath) -> io::Result<Arc<OwnedFd>> {
        if path.is_root() {
            return Ok(Arc::clone(&self.root));
        }
        let names: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
        let shared = self.open.iter().zip(&names).take_while(|((open, _), name)| open == *name).count();
        self.open.truncate(shared);
        for name in &names[shared..] {
            let parent = self.open.last().map_or(&self.root, |(_, handle)| handle);
            let handle = fs::openat(parent.as_fd(), *name, DIRECTORY, Mode::empty())?;
            self.open.push((name.to_vec(), Arc::new(handle)));
        }
        let (_, handle) = self.open.last().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(handle))
    }

    /// Handle of the directory that holds `path`, and the name in it.
    pub(crate) fn place(&mut self, path: &TreePath) -> io::Result<Place> {
        if path.is_root() {
            return Ok(Place { directory: Arc::clone(&self.root), name: b".".to_vec() });
        }
        let parent = path.parent().unwrap_or_default();
        Ok(Place { directory: self.directory(&parent)?, name: path.name().to_vec() })
    }

    /// Forgets open handles, some of whose directories are about to be removed.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }

    /// Whether nothing stands in the root.
    pub(crate) fn is_empty(&self) -> io::Result<bool> {
        let entries = fs::Dir::read_from(&*self.root)?;
        for entry in entries {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until everything written is on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(fs::syncfs(&*self.root)?)
    }
}

/// A name in an open directory.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) directory: Arc<OwnedFd>,
    pub(crate) name: Vec<u8>,
}

impl Place {
    /// What stands here, without following a link; `None` if nothing.
    pub(crate) fn stat(&self) -> io::Result<Option<fs::Stat>> {
        match fs::statat(&*self.directory, &*self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a directory that only we may use until its metadata is set; an existing one is opened up for us.
    pub(crate) fn make_directory(&self) -> io::Result<()> {
        match fs::mkdirat(&*self.directory, &*self.name, Mode::RWXU) {
            Err(rustix::io::Errno::EXIST) => {
                let handle = self.open(OFlags::PATH | OFlags::DIRECTORY)?;
                let mode = fs::fstat(&handle)?.st_mode & 0o7777;
                if mode & 0o700 == 0o700 {
                    return Ok(());
                }
                Ok(fs::chmod(proc_path(&handle), Mode::from_raw_mode(mode | 0o700))?)
            }
            other => Ok(other?),
        }
    }

    /// Makes the link, pipe or device that `portable` describes; nothing may stand here.
    pub(crate) fn make_special(&self, portable: &Portable) -> io::Result<()> {
        let (kind, device) = match &portable.node {
            Node::Symlink { target } => return Ok(fs::symlinkat(&**target, &*self.directory, &*self.name)?),
            Node::Fifo => (FileType::Fifo, 0),
            Node::CharDevice { major, minor } => (FileType::CharacterDevice, fs::makedev(*major, *minor)),
            Node::BlockDevice { major, minor } => (FileType::BlockDevice, fs::makedev(*major, *minor)),
            Node::Directory | Node::File { .. } => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(fs::mknodat(&*self.directory, &*self.name, kind, Mode::RUSR | Mode::WUSR, device)?)
    }

    /// Makes a second name for the file at `first`.
    pub(crate) fn link_to(&self, first: &Place) -> io::Result<()> {
        Ok(fs::linkat(&*first.directory, &*first.name, &*self.directory, &*self.name, AtFlags::empty())?)
    }

    /// A new file here, readable by us alone; nothing may stand here.
    pub(crate) fn create_file(&self) -> io::Result<OwnedFd> {
        self.open_mode(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR)
    }

    /// Opens what stands here without following a link and without waiting for a pipe's other end.
    pub(crate) fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        self.open_mode(flags, Mode::empty())
    }

    fn open_mode(&self, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let always = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(fs::openat(&*self.directory, &*self.name, flags | always, mode)?)
    }

    /// Gives this name to what stands at `other`, replacing a file that has it.
    pub(crate) fn take_over(&self, other: &Place) -> io::Result<()> {
        Ok(fs::renameat(&*other.directory, &*other.name, &*self.directory, &*self.name)?)
    }

    /// Removes a file, link, pipe or device.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        Ok(fs::unlinkat(&*self.directory, &*self.name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&self) -> io::Result<()> {
        Ok(fs::unlinkat(&*self.directory, &*self.name, AtFlags::REMOVEDIR)?)
    }

    /// A name of its own in the same directory, for what is renamed when it is whole.
    pub(crate) fn temporary(&self) -> Self {
        let id: [u8; 16] = shudao_vault::suite::random();
        let name = format!(".shudao-{}.part", shudao_vault::id::to_hex(&id)).into_bytes();
        Self { directory: Arc::clone(&self.directory), name }
    }
}

/// A piece of metadata that could not be set.
#[derive(Debug)]
pub(crate) struct NotSet {
    pub(crate) what: String,
    pub(crate) cause: io::Error,
}

/// The values of the extended attributes to set, resolved from the vault.
pub(crate) type XattrBytes = Vec<(Vec<u8>, Vec<u8>)>;

/// Sets owner, `user.*` attributes, mode, the other attributes and times, in this order: changing the owner clears setuid
/// bits and capabilities, a mode without write permission would refuse the `user.*` ones to whoever is not root, and
/// everything would change the times. Removes other portable attributes, such as an ACL inherited from the directory.
pub(crate) fn set_metadata(place: &Place, portable: &Portable, xattrs: &XattrBytes) -> Vec<NotSet> {
    let mut failed = Vec::new();
    let mut note = |what: &str, result: io::Result<()>| {
        if let Err(cause) = result {
            failed.push(NotSet { what: what.to_owned(), cause });
        }
    };
    let handle = match place.open(OFlags::PATH) {
        Ok(handle) => handle,
        Err(cause) => return vec![NotSet { what: "metadata".to_owned(), cause }],
    };
    let owner = set_owner(&handle, portable);
    let owner_is_set = owner.is_ok();
    note("owner", owner);
    if !matches!(portable.node, Node::Symlink { .. }) {
        let path = proc_path(&handle);
        let is_user = |name: &[u8]| name.starts_with(b"user.");
        note("extended attributes", remove_other_xattrs(&handle, &path, xattrs));
        for (name, value) in xattrs.iter().filter(|(name, _)| is_user(name)) {
            note(&xattr_title(name), set_xattr(&handle, &path, name, value));
        }
        let (mode, withheld) = mode_to_set(portable, owner_is_set);
        note("mode", fs::chmod(&path, Mode::from_raw_mode(mode)).map_err(io::Error::from));
        if withheld {
            note("setuid and setgid", Err(io::Error::other("not given to a file of another owner")));
        }
        for (name, value) in xattrs.iter().filter(|(name, _)| !is_user(name)) {
            note(&xattr_title(name), set_xattr(&handle, &path, name, value));
        }
    }
    let times =
        Timestamps { last_access: timespec(portable.mtime), last_modification: timespec(portable.mtime) };
    let result = fs::utimensat(&*place.directory, &*place.name, &times, AtFlags::SYMLINK_NOFOLLOW);
    note("times", result.map_err(io::Error::from));
    failed
}

/// The mode to set, and whether bits were withheld: a program must not run with the rights of whoever restored it
/// because its owner could not be set.
fn mode_to_set(portable: &Portable, owner_is_set: bool) -> (u32, bool) {
    let privileged = portable.mode & 0o6000;
    if owner_is_set || privileged == 0 || portable.node == Node::Directory {
        return (portable.mode, false);
    }
    (portable.mode & !0o6000, true)
}

fn xattr_title(name: &[u8]) -> String {
    format!("extended attribute {}", String::from_utf8_lossy(name))
}

/// Whether owner, mode, extended attributes and modification time are as they must be.
pub(crate) fn metadata_is(place: &Place, portable: &Portable, xattrs: &XattrBytes) -> bool {
    let Ok(Some(stat)) = place.stat() else { return false };
    let mtime = FileTime { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 };
    let is_link = matches!(portable.node, Node::Symlink { .. });
    let same = stat.st_uid == portable.uid
        && stat.st_gid == portable.gid
        && mtime == portable.mtime
        && (is_link || stat.st_mode & 0o7777 == portable.mode);
    same && (is_link || place.open(OFlags::PATH).is_ok_and(|handle| xattrs_are(&proc_path(&handle), xattrs)))
}

fn xattrs_are(path: &str, wanted: &XattrBytes) -> bool {
    let Ok(names) = portable_xattr_names(path) else { return false };
    names.len() == wanted.len()
        && wanted.iter().all(|(name, value)| {
            let mut found = vec![0; value.len() + 1];
            fs::getxattr(path, &**name, &mut found).is_ok_and(|length| found[..length] == **value)
        })
}

fn set_owner(handle: &OwnedFd, portable: &Portable) -> io::Result<()> {
    let stat = fs::fstat(handle)?;
    if stat.st_uid == portable.uid && stat.st_gid == portable.gid {
        return Ok(());
    }
    let (uid, gid) = (fs::Uid::from_raw(portable.uid), fs::Gid::from_raw(portable.gid));
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    let both = fs::chownat(handle, "", Some(uid), Some(gid), flags);
    if both == Err(rustix::io::Errno::PERM) && stat.st_uid != portable.uid {
        // Whoever may not give files away may still give them to a group of theirs; what failed is reported anyway.
        let _ = fs::chownat(handle, "", None, Some(gid), flags);
    }
    Ok(both?)
}

fn remove_other_xattrs(handle: &OwnedFd, path: &str, keep: &XattrBytes) -> io::Result<()> {
    for name in portable_xattr_names(path)? {
        if !keep.iter().any(|(kept, _)| *kept == name) {
            let removed = fs::removexattr(path, &*name);
            writably(handle, path, removed, || fs::removexattr(path, &*name))?;
        }
    }
    Ok(())
}

fn set_xattr(handle: &OwnedFd, path: &str, name: &[u8], value: &[u8]) -> io::Result<()> {
    let set = || fs::setxattr(path, name, value, XattrFlags::empty());
    writably(handle, path, set(), set)
}

/// Tries again with write permission where the lack of it was the reason to fail; the mode is set afterwards.
fn writably(
    handle: &OwnedFd,
    path: &str,
    result: rustix::io::Result<()>,
    again: impl FnOnce() -> rustix::io::Result<()>,
) -> io::Result<()> {
    if result != Err(rustix::io::Errno::ACCESS) {
        return Ok(result?);
    }
    let mode = fs::fstat(handle)?.st_mode & 0o777;
    fs::chmod(path, Mode::from_raw_mode(mode | 0o600))?;
    Ok(again()?)
}

fn portable_xattr_names(path: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![0; 1 << 10];
    let length = loop {
        match fs::listxattr(path, &mut names) {
            Ok(length) => break length,
            Err(rustix::io::Errno::OPNOTSUPP) => break 0,
            // The kernel's own limit is 64 KiB.
            Err(rustix::io::Errno::RANGE) if names.len() < 64 << 10 => names.resize(64 << 10, 0),
            Err(error) => return Err(error.into()),
        }
    };
    let names = names[..length].split(|byte| *byte == 0);
    Ok(names.filter(|name| is_portable_xattr(name)).map(<[u8]>::to_vec).collect())
}

fn is_portable_xattr(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == b"security.capability"
}

/// A path to an open handle, for calls that have no variant by handle.
fn proc_path(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

fn timespec(time: FileTime) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanos) }
}
