//! One run of a source at a time on one host.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use shudao_vault::id::{SourceId, VaultId};

use super::BackupError;

/// Held while a backup of a source runs; released when dropped, or by the kernel when the process dies.
pub struct SourceLock(#[allow(dead_code, reason = "the open file is the lock")] File);

impl SourceLock {
    /// Takes the lock in the state directory.
    ///
    /// # Errors
    /// [`BackupError::Busy`] when another run holds it.
    pub fn take(state: &Path, vault: &VaultId, source: &SourceId) -> Result<Self, BackupError> {
        let directory = state.join("locks");
        std::fs::create_dir_all(&directory).map_err(BackupError::State)?;
        let path = directory.join(format!("{vault}-{source}"));
        let file = File::options().create(true).append(true).open(path).map_err(BackupError::State)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(BackupError::Busy),
            Err(error) => Err(BackupError::State(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_locked_for_others_until_it_is_dropped() {
        let state = tempfile::tempdir().unwrap();
        let (vault, source) = (VaultId([1; 16]), SourceId([2; 16]));
        let first = SourceLock::take(state.path(), &vault, &source).unwrap();
        assert!(matches!(SourceLock::take(state.path(), &vault, &source), Err(BackupError::Busy)));
        SourceLock::take(state.path(), &vault, &SourceId([3; 16])).unwrap();
        drop(first);
        SourceLock::take(state.path(), &vault, &source).unwrap();
    }
}
