//! Owner, mode, extended attributes and times of what was restored.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use shudao_vault::entry::{FileTime, Node, Portable};

use super::target::Place;

/// A piece of metadata that could not be set.
#[derive(Debug)]
pub(crate) struct NotSet {
    pub(crate) what: String,
    pub(crate) cause: io::Error,
}

/// The values of the extended attributes to set, resolved from the vault.
pub(crate) type XattrBytes = Vec<(Vec<u8>, Vec<u8>)>;

/// Something held open, so that nobody can put another thing into its place meanwhile.
enum Held<'a> {
    /// Open for its data: every call has a variant by handle.
    Data(BorrowedFd<'a>),
    /// Open as a place only, as links, pipes, devices and what we may not read can be: calls go by a path below `/proc`.
    Place { handle: OwnedFd, path: String },
}

/// Sets metadata of what stands at `place`, as [`set_metadata_of_file`] does.
pub(crate) fn set_metadata(place: &Place, portable: &Portable, xattrs: &XattrBytes) -> Vec<NotSet> {
    match Held::at(place) {
        Ok(held) => held.set_metadata(portable, xattrs, |times| {
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            Ok(fs::utimensat(&*place.directory, &*place.name, times, flags)?)
        }),
        Err(cause) => vec![NotSet { what: "metadata".to_owned(), cause }],
    }
}

/// Sets owner, `user.*` attributes, mode, the other attributes and times, in this order: changing the owner clears setuid
/// bits and capabilities, a mode without write permission would refuse the `user.*` ones to whoever is not root, and
/// everything would change the times. Removes other portable attributes, such as an ACL inherited from the directory.
pub(crate) fn set_metadata_of_file(
    file: &std::fs::File,
    portable: &Portable,
    xattrs: &XattrBytes,
) -> Vec<NotSet> {
    Held::Data(file.as_fd()).set_metadata(portable, xattrs, |times| Ok(fs::futimens(file, times)?))
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
    same && (is_link || Held::at(place).is_ok_and(|held| held.xattrs_are(xattrs)))
}

impl Held<'_> {
    fn at(place: &Place) -> io::Result<Self> {
        let handle = place.open(OFlags::PATH)?;
        let path = proc_path(&handle);
        Ok(Self::Place { handle, path })
    }

    fn handle(&self) -> BorrowedFd<'_> {
        match self {
            Self::Data(handle) => *handle,
            Self::Place { handle, .. } => handle.as_fd(),
        }
    }

    fn set_metadata(
        &self,
        portable: &Portable,
        xattrs: &XattrBytes,
        set_times: impl FnOnce(&Timestamps) -> io::Result<()>,
    ) -> Vec<NotSet> {
        let mut failed = Vec::new();
        let mut note = |what: &str, result: io::Result<()>| {
            if let Err(cause) = result {
                failed.push(NotSet { what: what.to_owned(), cause });
            }
        };
        let owner = self.set_owner(portable);
        let owner_is_set = owner.is_ok();
        note("owner", owner);
        if !matches!(portable.node, Node::Symlink { .. }) {
            let is_user = |name: &[u8]| name.starts_with(b"user.");
            note("extended attributes", self.remove_other_xattrs(xattrs));
            for (name, value) in xattrs.iter().filter(|(name, _)| is_user(name)) {
                note(&xattr_title(name), self.set_xattr(name, value));
            }
            let (mode, withheld) = mode_to_set(portable, owner_is_set);
            note("mode", self.chmod(mode).map_err(io::Error::from));
            if withheld {
                let cause = io::Error::other("not given to a file of another owner");
                note("setuid and setgid", Err(cause));
            }
            for (name, value) in xattrs.iter().filter(|(name, _)| !is_user(name)) {
                note(&xattr_title(name), self.set_xattr(name, value));
            }
        }
        let time = timespec(portable.mtime);
        note("times", set_times(&Timestamps { last_access: time, last_modification: time }));
        failed
    }

    fn set_owner(&self, portable: &Portable) -> io::Result<()> {
        let stat = fs::fstat(self.handle())?;
        if stat.st_uid == portable.uid && stat.st_gid == portable.gid {
            return Ok(());
        }
        let (uid, gid) = (fs::Uid::from_raw(portable.uid), fs::Gid::from_raw(portable.gid));
        let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
        let both = fs::chownat(self.handle(), "", Some(uid), Some(gid), flags);
        if both == Err(rustix::io::Errno::PERM) && stat.st_uid != portable.uid {
            // Whoever may not give files away may still give them to a group of theirs; what failed is reported anyway.
            let _ = fs::chownat(self.handle(), "", None, Some(gid), flags);
        }
        Ok(both?)
    }

    fn chmod(&self, mode: u32) -> rustix::io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Data(handle) => fs::fchmod(handle, mode),
            Self::Place { path, .. } => fs::chmod(path, mode),
        }
    }

    fn xattrs_are(&self, wanted: &XattrBytes) -> bool {
        let Ok(names) = self.portable_xattr_names() else { return false };
        names.len() == wanted.len()
            && wanted.iter().all(|(name, value)| {
                let mut found = vec![0; value.len() + 1];
                let length = match self {
                    Self::Data(handle) => fs::fgetxattr(handle, &**name, &mut found),
                    Self::Place { path, .. } => fs::getxattr(path, &**name, &mut found),
                };
                length.is_ok_and(|length| found[..length] == **value)
            })
    }

    fn remove_other_xattrs(&self, keep: &XattrBytes) -> io::Result<()> {
        for name in self.portable_xattr_names()? {
            if !keep.iter().any(|(kept, _)| *kept == name) {
                self.writably(|| match self {
                    Self::Data(handle) => fs::fremovexattr(handle, &*name),
                    Self::Place { path, .. } => fs::removexattr(path, &*name),
                })?;
            }
        }
        Ok(())
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        let flags = XattrFlags::empty();
        self.writably(|| match self {
            Self::Data(handle) => fs::fsetxattr(handle, name, value, flags),
            Self::Place { path, .. } => fs::setxattr(path, name, value, flags),
        })
    }

    /// Tries again with write permission where the lack of it was the reason to fail; the mode is set afterwards.
    fn writably(&self, change: impl Fn() -> rustix::io::Result<()>) -> io::Result<()> {
        match change() {
            Err(rustix::io::Errno::ACCESS) => {
                let mode = fs::fstat(self.handle())?.st_mode & 0o777;
                self.chmod(mode | 0o600)?;
                Ok(change()?)
            }
            result => Ok(result?),
        }
    }

    fn portable_xattr_names(&self) -> io::Result<Vec<Vec<u8>>> {
        let list = |names: &mut [u8]| match self {
            Self::Data(handle) => fs::flistxattr(handle, names),
            Self::Place { path, .. } => fs::listxattr(path, names),
        };
        let mut names = vec![0; 1 << 10];
        let length = loop {
            match list(&mut names) {
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

fn is_portable_xattr(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == b"security.capability"
}

/// A path to an open handle, for calls that have no variant by handle.
pub(super) fn proc_path(handle: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

fn timespec(time: FileTime) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanos) }
}
