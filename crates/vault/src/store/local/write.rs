//! How an object comes to stand in a directory: whole, durable, and over another one only to mend it.
//!
//! ```text
//! 1  the name is taken?  sync its directory, answer Exists
//! 2  tmp/<random>        created exclusively, locked, written, fsync
//! 3  directories         made where missing; each one synced into its parent once per store
//! 4  renameat2 NOREPLACE (or link and unlink)    taken meanwhile: sync its directory, answer Exists
//!    rename                                      when an object that is damaged is replaced by a whole copy
//! 5  the directory       fsync, answer New
//! ```
//!
//! A crash before 4 leaves a file in `tmp/` that nobody reads, and with it goes the lock (`flock`): the next run sees that
//! nobody writes it any more. No name is ever used again, so a file that is removed too early can only be missing at 4, and
//! never be another's. After 4 the object is whole, because 2 synced it, and whoever answers for it has synced its
//! directory.
//!
//! A file without a name (`O_TMPFILE`) would leave nothing at all, but btrfs syncs none that has no name yet: one that is
//! linked after its sync may be found empty after a crash.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, CWD, FlockOperation, OFlags, RenameFlags, flock};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::suite::random;

use super::super::{Creation, name};
use super::failure::{failed, unsynced};

/// What one store remembers between writes.
#[derive(Default)]
pub(super) struct Writing {
    /// What killed runs left in `tmp/` is removed before the first write.
    clearing: OnceLock<()>,
    /// Directories whose own entries are known to be synced, up to the root.
    durable: Mutex<HashSet<PathBuf>>,
    /// Free bytes of the pretended disk, when a test sets them.
    #[cfg(test)]
    pub(super) room: Mutex<Option<usize>>,
}

/// A file in `tmp/`; removed when dropped, unless it became an object.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already after a rename; what cannot be removed is removed by a later run.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Writing {
    /// Creates `path` below `root`.
    pub(super) fn create(&self, root: &Path, path: &str, bytes: &[u8]) -> Result<Creation> {
        let target = root.join(path);
        let directory = target.parent().unwrap_or(root);
        if is_taken(&target, path)? {
            self.settle(root, directory, path)?;
            return Ok(Creation::Exists);
        }
        let temporary = self.write_temporary(root, path, bytes)?;
        self.make_directory(root, directory, path)?;
        let creation = match place(&temporary.path, &target) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Somebody removed an empty directory that this store remembered.
                self.durable().clear();
                self.make_directory(root, directory, path)?;
                place(&temporary.path, &target).map_err(|error| vanished(path, error))?
            }
            Err(error) => return Err(failed("create", path, error)),
            Ok(creation) => creation,
        };
        sync_directory(directory).map_err(|error| unsynced(path, error))?;
        Ok(creation)
    }

    /// Makes `path` these bytes, whatever file was there: the rename takes its place in one step.
    pub(super) fn replace(&self, root: &Path, path: &str, bytes: &[u8]) -> Result<()> {
        let target = root.join(path);
        let directory = target.parent().unwrap_or(root);
        is_taken(&target, path)?;
        let temporary = self.write_temporary(root, path, bytes)?;
        self.make_directory(root, directory, path)?;
        std::fs::rename(&temporary.path, &target).map_err(|error| failed("replace", path, error))?;
        sync_directory(directory).map_err(|error| unsynced(path, error))
    }

    /// Makes an object that another process may have placed a moment ago as durable as one of ours.
    fn settle(&self, root: &Path, directory: &Path, path: &str) -> Result<()> {
        self.make_directory(root, directory, path)?;
        sync_directory(directory).map_err(|error| unsynced(path, error))
    }

    fn write_temporary(&self, root: &Path, path: &str, bytes: &[u8]) -> Result<Temporary> {
        let mut temporary = self.open_temporary(root).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Error::new(Kind::NoVault, format!("there is no directory {}", root.display()))
            }
            _ => failed("create", path, error),
        })?;
        self.write_all(&mut temporary.file, bytes)
            .and_then(|()| temporary.file.sync_all())
            .map_err(|error| failed("create", path, error))?;
        Ok(temporary)
    }

    fn open_temporary(&self, root: &Path) -> io::Result<Temporary> {
        let directory = root.join(name::TEMPORARY);
        self.clearing.get_or_init(|| clear_temporary(&directory));
        let mut made = false;
        loop {
            let path = directory.join(format!("{:032x}", u128::from_le_bytes(random())));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(file) if is_ours(&file)? => return Ok(Temporary { path, file }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound && !made => {
                    make(&directory)?;
                    made = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn write_all(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(room) = *self.room.lock().unwrap()
            && bytes.len() > room
        {
            file.write_all(&bytes[..room])?;
            return Err(Errno::NOSPC.into());
        }
        #[cfg(not(test))]
        let _ = self;
        file.write_all(bytes)
    }

    /// Makes `directory` below `root` and syncs every step of the way to it, once for each directory: one that is
    /// there may have been made a moment ago by a process that has not synced it yet.
    fn make_directory(&self, root: &Path, directory: &Path, path: &str) -> Result<()> {
        if self.durable().contains(directory) {
            return Ok(());
        }
        let mut way: Vec<&Path> = directory.ancestors().take_while(|ancestor| *ancestor != root).collect();
        way.reverse();
        for step in way {
            make(step).map_err(|error| failed("make the directory of", path, error))?;
            let parent = step.parent().unwrap_or(root);
            sync_directory(parent).map_err(|error| unsynced(path, error))?;
        }
        self.durable().insert(directory.to_owned());
        Ok(())
    }

    fn durable(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        // Every change of the set is a single call, so a panic elsewhere leaves it whole.
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what killed runs left in `tmp/`: what nobody holds a lock on. Failure is harmless: nobody reads there.
fn clear_temporary(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new().write(true).custom_flags(flags.bits().cast_signed()).open(&path);
        if let Ok(file) = opened
            && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = std::fs::remove_file(&path);
        }
    }
}

/// Locks a file that was just made in `tmp/`; false if another run took it for a dead one's first, and removes it.
fn is_ours(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(false),
        // Where there are no locks, nobody removes anything.
        _ => Ok(file.metadata()?.nlink() > 0),
    }
}

fn make(directory: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn is_taken(target: &Path, path: &str) -> Result<bool> {
    match target.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::damaged(format!("create {path}: something else than a file stands there"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("create", path, error)),
    }
}

/// Gives the synced file its name, if the name is free.
fn place(temporary: &Path, target: &Path) -> io::Result<Creation> {
    match rustix::fs::renameat_with(CWD, temporary, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Creation::New),
        Err(Errno::EXIST) => Ok(Creation::Exists),
        // The file system (NFS, some FUSE) or the kernel has no such rename.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link(temporary, target),
        Err(error) => Err(error.into()),
    }
}

/// The same by a hard link. The caller removes the temporary name.
pub(super) fn link(temporary: &Path, target: &Path) -> io::Result<Creation> {
    match rustix::fs::linkat(CWD, temporary, CWD, target, AtFlags::empty()) {
        Ok(()) => Ok(Creation::New),
        // NFS may lose the answer and refuse its own repetition; the count of names tells.
        Err(Errno::EXIST) if temporary.symlink_metadata()?.nlink() == 2 => Ok(Creation::New),
        Err(Errno::EXIST) => Ok(Creation::Exists),
        Err(Errno::PERM | Errno::MLINK) => Err(Errno::OPNOTSUPP.into()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the entries of `directory` durable. File systems without such a call answer that it is invalid; they keep
/// what promise they have without it.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    match synced.as_ref().map_err(|error| error.raw_os_error().map(Errno::from_raw_os_error)) {
        Err(Some(Errno::INVAL | Errno::OPNOTSUPP)) => Ok(()),
        _ => synced,
    }
}

fn vanished(path: &str, error: io::Error) -> Error {
    let message = format!("create {path}: its file or its directory was removed while it was made");
    Error::new(Kind::Unavailable, message).because(error)
}
