//! A file that must not have been there before, for secrets that are written once.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A new file, gone again unless it is kept.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    file: Option<File>,
}

impl NewFile {
    /// Takes the place; fails if anything is there.
    pub(crate) fn create(path: &Path, mode: u32) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        Ok(Self { path: path.to_owned(), file: Some(file) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` down to the disk.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes).and_then(|()| file.sync_all()),
            None => Ok(()),
        }
    }

    /// It stays.
    pub(crate) fn keep(mut self) {
        self.file = None;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What is written there is not relied on yet; left behind it does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_file_is_private_replaces_nothing_and_is_gone_unless_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let mut half = NewFile::create(&path, 0o600).unwrap();
        half.write(b"half").unwrap();
        drop(half);
        assert!(!path.exists());
        let mut whole = NewFile::create(&path, 0o600).unwrap();
        whole.write(b"whole").unwrap();
        whole.keep();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(NewFile::create(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
    }
}
