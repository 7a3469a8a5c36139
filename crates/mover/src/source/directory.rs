//! Handles of directories: kept open while there is room, opened again from the nearest open ancestor when not.
//!
//! A tree may be deeper than the process may hold files open, and found files wait in queues long after the walk
//! has left their directory. A directory is known by device and inode: if another one stands at its name when it is
//! opened again, that is an error, not a surprise.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::status::{Follow, Identity, Status};

/// A directory that can be opened again.
#[derive(Debug)]
pub(super) struct Directory {
    parent: Option<Arc<Directory>>,
    name: Vec<u8>,
    follow: Follow,
    identity: Identity,
    handle: Mutex<Option<Arc<OwnedFd>>>,
    pool: Arc<Pool>,
}

/// The directories whose handles are open, oldest first, and how many may be.
#[derive(Debug)]
pub(super) struct Pool {
    open: Mutex<VecDeque<Weak<Directory>>>,
    open_max: usize,
}

/// A directory just opened.
pub(super) struct Opened {
    pub(super) directory: Arc<Directory>,
    /// The first handle, good for listing if it was opened for that.
    pub(super) handle: Arc<OwnedFd>,
    pub(super) status: Status,
}

/// How a directory is opened for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Its names will be read.
    List,
    /// Only names known beforehand are looked up in it, which needs no right to read it.
    Pass,
}

/// Opens `name` in `directory` for reading without touching its access time where that is allowed.
pub(super) fn open_quietly(directory: impl AsFd, name: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    match rustix::fs::openat(directory.as_fd(), name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner and root may leave the access time alone.
        Err(Errno::PERM) => Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?),
        answer => Ok(answer?),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool that keeps at most `open_max` handles besides the roots'.
    pub(super) fn new(open_max: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), open_max: open_max.max(1) })
    }

    fn admit(&self, directory: &Arc<Directory>) {
        let mut evicted = Vec::new();
        {
            let mut open = lock(&self.open);
            open.push_back(Arc::downgrade(directory));
            if open.len() > self.open_max {
                open.retain(|directory| directory.strong_count() > 0);
            }
            while open.len() > self.open_max {
                evicted.extend(open.pop_front());
            }
        }
        // Outside the pool's lock, so that no thread ever holds both.
        for directory in evicted.iter().filter_map(Weak::upgrade) {
            lock(&directory.handle).take();
        }
    }
}

impl Directory {
    /// The directory at `path`, which stays open as long as it is known.
    pub(super) fn open_base(path: &Path, purpose: Purpose, pool: &Arc<Pool>) -> io::Result<Opened> {
        let name = path.as_os_str().as_bytes();
        let handle = open_directory(rustix::fs::CWD, name, Follow::Links, purpose)?;
        Self::opened(handle, |identity, handle| Self {
            parent: None,
            name: Vec::new(),
            follow: Follow::Never,
            identity,
            handle,
            pool: Arc::clone(pool),
        })
    }

    /// Opens the directory `name` in `self`; the status is that of what was opened. A symbolic link that is not to
    /// be followed, or anything else that is no directory, is the error `ENOTDIR` or `ELOOP`.
    pub(super) fn open_child(
        self: &Arc<Self>,
        name: &[u8],
        follow: Follow,
        purpose: Purpose,
    ) -> io::Result<Opened> {
        let handle = open_directory(&*self.handle()?, name, follow, purpose)?;
        let opened = Self::opened(handle, |identity, handle| Self {
            parent: Some(Arc::clone(self)),
            name: name.to_vec(),
            follow,
            identity,
            handle,
            pool: Arc::clone(&self.pool),
        })?;
        self.pool.admit(&opened.directory);
        Ok(opened)
    }

    fn opened(
        handle: OwnedFd,
        make: impl FnOnce(Identity, Mutex<Option<Arc<OwnedFd>>>) -> Self,
    ) -> io::Result<Opened> {
        let status = Status::of_open(&handle)?;
        let handle = Arc::new(handle);
        let directory = Arc::new(make(status.identity(), Mutex::new(Some(Arc::clone(&handle)))));
        Ok(Opened { directory, handle, status })
    }

    /// The handle, opened again if it was closed meanwhile. `ESTALE` if another directory has taken its place.
    pub(super) fn handle(self: &Arc<Self>) -> io::Result<Arc<OwnedFd>> {
        let mut closed = Vec::new();
        let mut current = self;
        let mut handle = loop {
            if let Some(handle) = lock(&current.handle).as_ref() {
                break Arc::clone(handle);
            }
            closed.push(current);
            current = current.parent.as_ref().ok_or(Errno::BADF)?;
        };
        for directory in closed.into_iter().rev() {
            // The names were read long ago: passing through is enough, and needs fewer rights.
            let opened = open_directory(&*handle, &directory.name, directory.follow, Purpose::Pass)?;
            if Status::of_open(&opened)?.identity() != directory.identity {
                return Err(Errno::STALE.into());
            }
            handle = Arc::new(opened);
            *lock(&directory.handle) = Some(Arc::clone(&handle));
            self.pool.admit(directory);
        }
        Ok(handle)
    }
}

impl Drop for Directory {
    /// Takes the chain of parents apart one by one: a tree may be deeper than the stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut directory) = parent.and_then(Arc::into_inner) {
            parent = directory.parent.take();
        }
    }
}

fn open_directory(
    directory: impl AsFd,
    name: &[u8],
    follow: Follow,
    purpose: Purpose,
) -> io::Result<OwnedFd> {
    let mut flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    if follow == Follow::Never {
        flags |= OFlags::NOFOLLOW;
    }
    match purpose {
        Purpose::List => open_quietly(directory, name, flags),
        Purpose::Pass => Ok(rustix::fs::openat(directory, name, flags | OFlags::PATH, Mode::empty())?),
    }
}
