//! Packs on the local disk for replicas that cannot take them yet.
//!
//! A directory of its own for each run, below one for all; those of runs that are dead are removed by the next. What lies
//! here can be had again from a replica that has it, so nothing is synced, and what cannot be read back is simply lacking.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock, statvfs};
use shudao_vault::id::{ObjectId, SessionId};

use crate::ingest::lock;

/// A spool is at most this large.
const SPOOL_BYTES_MAX: u64 = 16 << 30;
/// And at most this share of the free bytes of its disk.
const SHARE_OF_FREE: u64 = 5;
/// Held by the run that a directory belongs to.
const LOCK_NAME: &str = "lock";

/// How much may be put into a spool on a disk with so many free bytes.
pub(super) fn room(free_bytes: u64) -> u64 {
    SPOOL_BYTES_MAX.min(free_bytes / SHARE_OF_FREE)
}

/// One run's spool; removed with everything in it when it and all its files are dropped.
#[derive(Debug, Clone)]
pub(super) struct Spool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    room: Mutex<u64>,
    _lock: File,
}

/// One object in the spool; removed when dropped.
#[derive(Debug)]
pub(super) struct SpoolFile {
    spool: Arc<Shared>,
    id: ObjectId,
    bytes: u64,
}

impl Spool {
    /// A spool for `session` below `parent`.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub(super) fn open(parent: &Path, session: SessionId) -> io::Result<Self> {
        std::fs::create_dir_all(parent)?;
        remove_dead(parent);
        let directory = parent.join(session.to_hex());
        std::fs::create_dir(&directory)?;
        let held = File::create_new(directory.join(LOCK_NAME))?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)?;
        let disk = statvfs(&directory)?;
        let room = Mutex::new(room(disk.f_bavail.saturating_mul(disk.f_frsize)));
        Ok(Self(Arc::new(Shared { directory, room, _lock: held })))
    }

    /// Writes an object; `None` when there is no room for it or it cannot be written.
    pub(super) fn put(&self, id: ObjectId, bytes: &Bytes) -> Option<SpoolFile> {
        let size = bytes.len() as u64;
        {
            let mut room = lock(&self.0.room);
            *room = room.checked_sub(size)?;
        }
        // From here on dropping the file gives its room back and removes what was written of it.
        let file = SpoolFile { spool: Arc::clone(&self.0), id, bytes: size };
        let mut out = File::create_new(file.path()).ok()?;
        out.write_all(bytes).ok()?;
        Some(file)
    }
}

impl SpoolFile {
    /// The object; `None` when it is not there as it was written.
    pub(super) fn read(&self) -> Option<Bytes> {
        let bytes = std::fs::read(self.path()).ok()?;
        (ObjectId::of(&bytes) == self.id).then(|| Bytes::from(bytes))
    }

    fn path(&self) -> PathBuf {
        self.spool.directory.join(self.id.to_hex())
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // What cannot be removed now goes with the directory.
        let _ = std::fs::remove_file(self.path());
        *lock(&self.spool.room) += self.bytes;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Removes the directories that no run holds any more.
fn remove_dead(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for directory in entries.flatten().map(|entry| entry.path()) {
        let is_dead = match File::open(directory.join(LOCK_NAME)) {
            Ok(held) => flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok(),
            Err(_) => false,
        };
        if is_dead {
            let _ = std::fs::remove_dir_all(&directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(n: u8) -> SessionId {
        SessionId([n; 16])
    }

    #[test]
    fn room_is_the_lesser_of_a_bound_and_a_fifth_of_what_is_free() {
        assert_eq!(room(100), 20);
        assert_eq!(room(1 << 50), 16 << 30);
    }

    #[test]
    fn what_is_put_is_read_back_while_there_is_room_and_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::open(home.path(), session(1)).unwrap();
        *lock(&spool.0.room) = 25;
        let bytes = [Bytes::from(vec![1; 10]), Bytes::from(vec![2; 10]), Bytes::from(vec![3; 10])];
        let put = |bytes: &Bytes| spool.put(ObjectId::of(bytes), bytes);
        let first = put(&bytes[0]).unwrap();
        let second = put(&bytes[1]).unwrap();
        assert!(put(&bytes[2]).is_none());
        assert_eq!(first.read().unwrap(), bytes[0]);
        drop(first);
        let third = put(&bytes[2]).unwrap();
        assert_eq!(third.read().unwrap(), bytes[2]);
        std::fs::write(third.path(), b"something else").unwrap();
        assert_eq!(third.read(), None);
        drop((second, third, spool));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn spools_of_dead_runs_are_removed_and_those_of_living_ones_are_not() {
        let home = tempfile::tempdir().unwrap();
        let living = Spool::open(home.path(), session(1)).unwrap();
        let dead = home.path().join("dead");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(LOCK_NAME), b"").unwrap();
        let second = Spool::open(home.path(), session(2)).unwrap();
        assert!(!dead.exists());
        let bytes = Bytes::from_static(b"bytes");
        assert!(living.put(ObjectId::of(&bytes), &bytes).unwrap().read().is_some());
        drop(second);
    }
}
