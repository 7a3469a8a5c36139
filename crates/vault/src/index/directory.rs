//! The directory of the local index, which several processes may share.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::{RUN_SUFFIX, TEMPORARY_PREFIX, cache_error};
use crate::error::Result;

/// The index's directory. Everyone holds a shared lock while using it; who gets it alone, when opening, tidies up.
#[derive(Debug)]
pub(super) struct CacheDirectory {
    path: PathBuf,
    lock: File,
    alone: bool,
}

impl CacheDirectory {
    /// Opens or makes the directory; alone in it, removes what writers left behind.
    pub(super) fn open(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|error| cache_error("make", path, error))?;
        let lock_path = path.join("lock");
        let mut options = File::options();
        let lock = options.create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|error| cache_error("lock", &lock_path, error))?;
        // A file system without locks only costs the tidying.
        let alone = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
        };
        let directory = Self { path: path.to_owned(), lock, alone };
        if alone {
            for leftover in directory.files(|name| name.starts_with(TEMPORARY_PREFIX))? {
                directory.remove(&leftover)?;
            }
        }
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The files that are runs by their name.
    pub(super) fn runs(&self) -> Result<Vec<PathBuf>> {
        self.files(|name| name.ends_with(RUN_SUFFIX))
    }

    /// Ends the time alone: from now on others may open the directory too, and nobody is alone in it.
    pub(super) fn share(&self) {
        // Where locks do not work nobody is ever alone, so nobody needs to be kept from tidying.
        let _ = self.lock.unlock();
        let _ = self.lock.lock_shared();
    }

    /// Removes a file that may be gone already.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(cache_error("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Removes a file that others would still want to use, so only where there are none.
    pub(super) fn remove_if_alone(&self, path: &Path) -> Result<()> {
        if self.alone { self.remove(path) } else { Ok(()) }
    }

    fn files(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        let failed = |error| cache_error("read", &self.path, error);
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_str().is_some_and(&wanted) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok(paths)
    }
}
