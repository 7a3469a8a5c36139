//! What the kernel says of one name: `statx`, or `fstatat` where that is missing.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, StatxFlags};
use rustix::io::Errno;
use shudao_vault::entry::FileTime;

/// What must stay equal while a file is read, and until the next scan for it to be unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Logical size in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: FileTime,
    /// Inode change time.
    pub ctime: FileTime,
    /// Inode number.
    pub inode: u64,
}

/// Device and inode: the same file, as long as somebody holds it.
pub(super) type Identity = (u64, u64);

/// One name's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) kind: FileType,
    /// `0o7777` only.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Allocated bytes.
    pub(super) allocated: u64,
    pub(super) mtime: FileTime,
    pub(super) ctime: FileTime,
    pub(super) inode: u64,
    pub(super) device: u64,
    pub(super) links: u64,
    /// Major and minor number of a device node.
    pub(super) rdev: (u32, u32),
    /// Number of the mount that holds the name, where the kernel tells it (5.8 and later).
    pub(super) mount: Option<u64>,
}

/// Which file a name means when it is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// The link itself.
    Never,
    /// What it leads to: only for what was named on the command line.
    Links,
}

impl Status {
    /// The status of `name` in `directory`.
    pub(crate) fn of(directory: impl AsFd, name: &[u8], follow: Follow) -> io::Result<Self> {
        let flags = match follow {
            Follow::Never => AtFlags::SYMLINK_NOFOLLOW,
            Follow::Links => AtFlags::empty(),
        };
        Self::at(directory, name, flags)
    }

    /// The status of an open file or directory, by whatever kind of handle.
    pub(crate) fn of_open(file: impl AsFd) -> io::Result<Self> {
        Self::at(file, b"", AtFlags::EMPTY_PATH)
    }

    fn at(directory: impl AsFd, name: &[u8], flags: AtFlags) -> io::Result<Self> {
        // Without NO_AUTOMOUNT a mere look would mount what an automounter offers.
        let extended = flags | AtFlags::NO_AUTOMOUNT;
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        match rustix::fs::statx(directory.as_fd(), name, extended, wanted) {
            Ok(found) => Ok(Self::from_statx(&found)),
            // Old kernels lack the call, and some sandboxes forbid it.
            Err(Errno::NOSYS | Errno::PERM) => {
                Ok(Self::from_stat(&rustix::fs::statat(directory, name, flags)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn from_statx(found: &rustix::fs::Statx) -> Self {
        let time = |time: rustix::fs::StatxTimestamp| FileTime { seconds: time.tv_sec, nanos: time.tv_nsec };
        Self {
            kind: FileType::from_raw_mode(u32::from(found.stx_mode)),
            mode: u32::from(found.stx_mode) & 0o7777,
            uid: found.stx_uid,
            gid: found.stx_gid,
            size: found.stx_size,
            allocated: found.stx_blocks.saturating_mul(512),
            mtime: time(found.stx_mtime),
            ctime: time(found.stx_ctime),
            inode: found.stx_ino,
            device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
            links: u64::from(found.stx_nlink),
            rdev: (found.stx_rdev_major, found.stx_rdev_minor),
            mount: (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id),
        }
    }

    /// The C library's types differ between architectures, hence the casts.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, clippy::cast_sign_loss)]
    fn from_stat(found: &rustix::fs::Stat) -> Self {
        let time = |seconds: i64, nanos: u64| FileTime { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            kind: FileType::from_raw_mode(found.st_mode),
            mode: found.st_mode & 0o7777,
            uid: found.st_uid,
            gid: found.st_gid,
            size: found.st_size as u64,
            allocated: (found.st_blocks as u64).saturating_mul(512),
            mtime: time(found.st_mtime as i64, found.st_mtime_nsec as u64),
            ctime: time(found.st_ctime as i64, found.st_ctime_nsec as u64),
            inode: found.st_ino as u64,
            device: found.st_dev as u64,
            links: found.st_nlink as u64,
            rdev: (rustix::fs::major(found.st_rdev), rustix::fs::minor(found.st_rdev)),
            mount: None,
        }
    }

    pub(super) fn identity(&self) -> Identity {
        (self.device, self.inode)
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint { size: self.size, mtime: self.mtime, ctime: self.ctime, inode: self.inode }
    }

    /// Whether a name with this status, in a directory with status `parent`, belongs to another file system.
    ///
    /// Only directories are judged by their device: an overlay shows files with the device of the layer beneath.
    pub(crate) fn is_across(&self, parent: &Status) -> bool {
        let other_mount = self.mount.zip(parent.mount).is_some_and(|(own, parent)| own != parent);
        other_mount || (self.kind == FileType::Directory && self.device != parent.device)
    }

    /// Whether the clock of `parent`'s file system is also this name's.
    pub(super) fn shares_clock_with(&self, parent: &Status) -> bool {
        self.device == parent.device
            || self.mount.zip(parent.mount).is_some_and(|(own, parent)| own == parent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_asking_agree() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let by_statx = Status::of_open(file.as_file()).unwrap();
        let by_stat = Status::from_stat(&rustix::fs::fstat(file.as_file()).unwrap());
        assert_eq!(Status { mount: None, ..by_statx }, by_stat);
    }

    #[test]
    fn another_file_system_is_told_by_mount_and_for_directories_by_device() {
        let file = tempfile::tempfile().unwrap();
        let parent = Status {
            kind: FileType::Directory,
            device: 1,
            mount: Some(7),
            ..Status::of_open(&file).unwrap()
        };
        let plain = |status: Status| Status { kind: FileType::RegularFile, ..status };
        let elsewhere = Status { device: 2, mount: Some(8), ..parent };
        let subvolume = Status { device: 2, ..parent };
        let bind = Status { mount: Some(8), ..parent };
        let old_kernel = Status { device: 2, mount: None, ..parent };
        for (status, across) in [
            (parent, false),
            (elsewhere, true),
            (plain(elsewhere), true),
            (subvolume, true),
            (plain(subvolume), false),
            (bind, true),
            (plain(bind), true),
            (old_kernel, true),
            (plain(old_kernel), false),
        ] {
            assert_eq!(status.is_across(&parent), across, "{status:?}");
        }
    }
}
