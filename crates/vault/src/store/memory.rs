//! A store in memory, for tests: as strict as the strictest real one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::{Error, Kind, Result};

use super::{Creation, Listed, missing, range_of};

#[derive(Default)]
pub(super) struct Memory {
    objects: Mutex<BTreeMap<String, Bytes>>,
    /// How many more objects there is room for; none means any number.
    room: Mutex<Option<u64>>,
    #[cfg(test)]
    losses: Mutex<Vec<(String, Loss)>>,
}

/// What goes wrong with the next creation of a name, once.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It happens, but its answer is lost.
    Answer,
    /// It never arrives.
    Request,
}

impl Memory {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        // Every change of the map is a single call, so a panic elsewhere leaves it whole.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self, path: &str) -> Result<Bytes> {
        self.objects().get(path).cloned().ok_or_else(|| missing(path))
    }

    pub(super) fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Bytes> {
        let bytes = self.read(path)?;
        Ok(bytes.slice(range_of(path, bytes.len() as u64, offset, len)?))
    }

    pub(super) fn size(&self, path: &str) -> Option<u64> {
        self.objects().get(path).map(|bytes| bytes.len() as u64)
    }

    #[cfg(test)]
    pub(super) fn lose(&self, path: &str, loss: Loss) {
        self.losses.lock().unwrap().push((path.to_owned(), loss));
    }

    #[cfg(test)]
    fn loss_of(&self, path: &str) -> Option<Loss> {
        let mut losses = self.losses.lock().unwrap();
        let place = losses.iter().position(|(name, _)| name == path)?;
        Some(losses.remove(place).1)
    }

    #[cfg(test)]
    pub(super) fn create(&self, path: &str, bytes: Bytes) -> Result<Creation> {
        let no_answer = || crate::Error::new(crate::Kind::Unavailable, format!("create {path}: no answer"));
        match self.loss_of(path) {
            Some(Loss::Request) => Err(no_answer()),
            Some(Loss::Answer) => {
                self.insert(path, bytes);
                Err(no_answer())
            }
            None => self.insert_if_room(path, bytes),
        }
    }

    #[cfg(not(test))]
    pub(super) fn create(&self, path: &str, bytes: Bytes) -> Result<Creation> {
        self.insert_if_room(path, bytes)
    }

    /// Makes room for this many more objects.
    pub(super) fn set_room(&self, objects: Option<u64>) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = objects;
    }

    fn insert_if_room(&self, path: &str, bytes: Bytes) -> Result<Creation> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *room {
            Some(0) => return Err(Error::new(Kind::Full, format!("create {path}: no room"))),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(self.insert(path, bytes))
    }

    fn insert(&self, path: &str, bytes: Bytes) -> Creation {
        let mut objects = self.objects();
        if objects.contains_key(path) {
            return Creation::Exists;
        }
        // A copy of its own: a store never shares memory with what is still being changed elsewhere.
        objects.insert(path.to_owned(), Bytes::copy_from_slice(&bytes));
        Creation::New
    }

    pub(super) fn delete(&self, path: &str) {
        self.objects().remove(path);
    }

    pub(super) fn list(&self, prefix: &str) -> Vec<Listed> {
        let objects = self.objects();
        let inside = objects.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        inside.map(|(path, bytes)| Listed { path: path.clone(), bytes: bytes.len() as u64 }).collect()
    }
}
