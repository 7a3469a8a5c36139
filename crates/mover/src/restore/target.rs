//! Writing into a directory tree by directory handles: no path is ever longer than one name, and no symbolic link
//! below the root is ever followed, whatever stands there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use shudao_vault::entry::{Node, Portable, TreePath};

use super::metadata::proc_path;

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

    /// The handle of the root.
    pub(crate) fn root(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.root)
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
