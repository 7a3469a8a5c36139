//! A store in a directory.
//!
//! An object is written to `tmp/` in the root, synced, moved to its name without replacing anything, and the
//! directory is synced; see [`write`]. Files have mode 0600, directories 0700. Every call runs on a blocking thread
//! and is awaited no longer than its deadline.

mod failure;
mod write;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::id::Timestamp;

use super::options::{StoreOptions, Timeouts};
use super::{Creation, Listed, OBJECT_BYTES_MAX, missing, name, range_of, too_long};
use failure::failed;
use write::Writing;

/// The directory backend.
pub(super) struct Local {
    files: Arc<Files>,
    timeouts: Timeouts,
}

/// The blocking half.
struct Files {
    root: PathBuf,
    writing: Writing,
}

impl Local {
    /// A backend rooted at `path`; nothing is touched.
    pub(super) fn new(path: &Path, options: &StoreOptions) -> Result<Self> {
        // Absolute, so that a later change of the working directory moves nothing.
        let root = std::path::absolute(path)
            .map_err(|error| failed("open the directory", &path.display().to_string(), error))?;
        let files = Files { root, writing: Writing::default() };
        Ok(Self { files: Arc::new(files), timeouts: options.timeouts })
    }

    pub(super) async fn prepare(&self) -> Result<()> {
        self.run("prepare the directory", 0, |files| files.prepare()).await
    }

    pub(super) async fn read(&self, path: &str) -> Result<Bytes> {
        let owned = path.to_owned();
        self.run(path, OBJECT_BYTES_MAX, move |files| files.read(&owned)).await
    }

    pub(super) async fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Bytes> {
        let owned = path.to_owned();
        self.run(path, len, move |files| files.read_range(&owned, offset, len)).await
    }

    pub(super) async fn size(&self, path: &str) -> Result<Option<u64>> {
        let owned = path.to_owned();
        self.run(path, 0, move |files| files.size(&owned)).await
    }

    pub(super) async fn create(&self, path: &str, bytes: Bytes) -> Result<Creation> {
        let owned = path.to_owned();
        self.run(path, bytes.len() as u64, move |files| files.create(&owned, &bytes)).await
    }

    pub(super) async fn replace(&self, path: &str, bytes: Bytes) -> Result<()> {
        let owned = path.to_owned();
        self.run(path, bytes.len() as u64, move |files| files.replace(&owned, &bytes)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let owned = path.to_owned();
        self.run(path, 0, move |files| files.delete(&owned)).await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let owned = prefix.to_owned();
        // A walk over a large store on a slow disk takes as long as a large object.
        self.run(prefix, OBJECT_BYTES_MAX, move |files| files.list(&owned)).await
    }

    async fn run<T, F>(&self, what: &str, bytes: u64, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Files) -> Result<T> + Send + 'static,
    {
        let files = Arc::clone(&self.files);
        let deadline = self.timeouts.deadline(bytes);
        let task = tokio::task::spawn_blocking(move || call(&files));
        match tokio::time::timeout(deadline, task).await {
            Ok(Ok(result)) => result,
            Ok(Err(stopped)) => {
                Err(Error::new(Kind::Bug, format!("{what}: the file operation panicked")).because(stopped))
            }
            Err(_) => Err(Error::new(
                Kind::Unavailable,
                format!("{what}: the file system gave no answer within {} s", deadline.as_secs()),
            )),
        }
    }
}

impl Files {
    fn prepare(&self) -> Result<()> {
        let shown = self.root.display().to_string();
        match std::fs::DirBuilder::new().mode(0o700).create(&self.root) {
            Ok(()) => {
                let parent = self.root.parent().unwrap_or(&self.root);
                write::sync_directory(parent).map_err(|error| failed("sync the parent of", &shown, error))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if !self.root.is_dir() {
                    return Err(Error::new(Kind::Input, format!("{shown} is not a directory")));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("make the directory {shown}: its parent directory does not exist");
                return Err(Error::new(Kind::Input, message).because(error));
            }
            Err(error) => return Err(failed("make the directory", &shown, error)),
        }
        Ok(())
    }

    fn open(&self, path: &str) -> Result<(File, u64)> {
        // Not following a link, and not waiting for a pipe's other end: an object is a regular file.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(self.root.join(path));
        let file = match opened {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Err(self.absent(path)),
            Err(error) => return Err(failed("read", path, error)),
        };
        let metadata = file.metadata().map_err(|error| failed("read", path, error))?;
        if !metadata.is_file() {
            return Err(Error::damaged(format!("read {path}: this is not a regular file")));
        }
        Ok((file, metadata.len()))
    }

    /// The object is not there; or there is no root that it could be in.
    fn absent(&self, path: &str) -> Error {
        if self.root.is_dir() { missing(path) } else { self.no_root() }
    }

    fn no_root(&self) -> Error {
        Error::new(Kind::NoVault, format!("there is no directory {}", self.root.display()))
    }

    fn read(&self, path: &str) -> Result<Bytes> {
        let (file, size) = self.open(path)?;
        if size > OBJECT_BYTES_MAX {
            return Err(too_long(path));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        file.take(OBJECT_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| failed("read", path, error))?;
        Ok(bytes.into())
    }

    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Bytes> {
        let (file, size) = self.open(path)?;
        let range = range_of(path, size, offset, len)?;
        let mut bytes = vec![0; range.len()];
        file.read_exact_at(&mut bytes, offset).map_err(|error| failed("read", path, error))?;
        Ok(bytes.into())
    }

    fn size(&self, path: &str) -> Result<Option<u64>> {
        match self.root.join(path).symlink_metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => Err(Error::damaged(format!("look at {path}: this is not a regular file"))),
            Err(error) if is_absent(&error) && self.root.is_dir() => Ok(None),
            Err(error) if is_absent(&error) => Err(self.no_root()),
            Err(error) => Err(failed("look at", path, error)),
        }
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<Creation> {
        self.writing.create(&self.root, path, bytes)
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.writing.replace(&self.root, path, bytes)
    }

    fn delete(&self, path: &str) -> Result<()> {
        let target = self.root.join(path);
        match std::fs::remove_file(&target) {
            Ok(()) => {}
            Err(error) if is_absent(&error) && self.root.is_dir() => return Ok(()),
            Err(error) if is_absent(&error) => return Err(self.no_root()),
            Err(error) => return Err(failed("delete", path, error)),
        }
        let directory = target.parent().unwrap_or(&self.root);
        write::sync_directory(directory).map_err(|error| failed("delete", path, error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        if !self.root.is_dir() {
            return Err(self.no_root());
        }
        let mut listed = Vec::new();
        let mut directories = vec![prefix.to_owned()];
        while let Some(directory) = directories.pop() {
            self.list_directory(&directory, &mut directories, &mut listed)
                .map_err(|error| failed("list", &directory, error))?;
        }
        Ok(listed)
    }

    fn list_directory(
        &self,
        directory: &str,
        directories: &mut Vec<String>,
        listed: &mut Vec<Listed>,
    ) -> std::io::Result<()> {
        let entries = match std::fs::read_dir(self.root.join(directory)) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(part) = entry.file_name().into_string() else { continue };
            let path = format!("{directory}{part}");
            let kind = entry.file_type()?;
            if !name::is_object_name(&path) {
                continue;
            } else if kind.is_dir() {
                directories.push(format!("{path}/"));
            } else if kind.is_file() {
                match entry.metadata() {
                    Ok(metadata) => {
                        let modified = metadata.modified().ok().and_then(time_of);
                        listed.push(Listed { path, bytes: metadata.len(), modified });
                    }
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// A file's time, if it is after 1970.
fn time_of(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests;
