//! A store in memory, for tests: as strict as the strictest real one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::{Error, Kind, Result};

use super::{Creation, Listed, missing, range_of};

/// The storage behind [`Store::memory`](super::Store::memory), seen from inside: what a test looks at and changes
/// behind the backs of the store's clients. Clones are the same storage.
#[derive(Clone, Default)]
pub struct Memory {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    objects: BTreeMap<String, Bytes>,
    /// How many more objects there is room for; none means any number.
    objects_left: Option<u64>,
    /// How many bytes all objects may have together; none means any number.
    bytes_max: Option<u64>,
}

impl Memory {
    /// Every object with its key, as it is now.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.held().objects.clone()
    }

    /// Makes the object at `path` these bytes, whatever was there: damage, or a hand that should not be there.
    pub fn set(&self, path: &str, bytes: impl Into<Bytes>) {
        self.held().objects.insert(path.to_owned(), bytes.into());
    }

    /// Takes the object at `path` away and returns it.
    pub fn remove(&self, path: &str) -> Option<Bytes> {
        self.held().objects.remove(path)
    }

    /// Puts all objects back to what [`Memory::objects`] once showed.
    pub fn put_back(&self, objects: BTreeMap<String, Bytes>) {
        self.held().objects = objects;
    }

    /// Lets the objects have this many bytes together; what is deleted gives room again.
    pub fn set_bytes_max(&self, bytes_max: Option<u64>) {
        self.held().bytes_max = bytes_max;
    }

    /// Makes room for this many more objects.
    pub(super) fn set_room(&self, objects: Option<u64>) {
        self.held().objects_left = objects;
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Every change is whole before anything can panic, so a panic elsewhere leaves it whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn read(&self, path: &str) -> Result<Bytes> {
        self.held().objects.get(path).cloned().ok_or_else(|| missing(path))
    }

    pub(super) fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Bytes> {
        let bytes = self.read(path)?;
        Ok(bytes.slice(range_of(path, bytes.len() as u64, offset, len)?))
    }

    pub(super) fn size(&self, path: &str) -> Option<u64> {
        self.held().objects.get(path).map(|bytes| bytes.len() as u64)
    }

    pub(super) fn create(&self, path: &str, bytes: &Bytes) -> Result<Creation> {
        let mut held = self.held();
        if !held.has_room(bytes.len() as u64) {
            return Err(Error::new(Kind::Full, format!("create {path}: no room")));
        }
        if let Some(left) = &mut held.objects_left {
            *left -= 1;
        }
        if held.objects.contains_key(path) {
            return Ok(Creation::Exists);
        }
        // A copy of its own: a store never shares memory with what is still being changed elsewhere.
        held.objects.insert(path.to_owned(), Bytes::copy_from_slice(bytes));
        Ok(Creation::New)
    }

    pub(super) fn replace(&self, path: &str, bytes: &Bytes) -> Result<()> {
        let mut held = self.held();
        if !held.has_room(bytes.len() as u64) {
            return Err(Error::new(Kind::Full, format!("replace {path}: no room")));
        }
        held.objects.insert(path.to_owned(), Bytes::copy_from_slice(bytes));
        Ok(())
    }

    pub(super) fn delete(&self, path: &str) {
        self.remove(path);
    }

    pub(super) fn list(&self, prefix: &str) -> Vec<Listed> {
        let held = self.held();
        let inside = held.objects.range(prefix.to_owned()..).take_while(|(path, _)| path.starts_with(prefix));
        let listed = |(path, bytes): (&String, &Bytes)| Listed {
            path: path.clone(),
            bytes: bytes.len() as u64,
            modified: None,
        };
        inside.map(listed).collect()
    }
}

impl Held {
    fn has_room(&self, bytes: u64) -> bool {
        let used = || self.objects.values().map(|object| object.len() as u64).sum::<u64>();
        self.objects_left != Some(0) && self.bytes_max.is_none_or(|most| used().saturating_add(bytes) <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deleted_gives_room_again() {
        let memory = Memory::default();
        memory.set_bytes_max(Some(10));
        let six = Bytes::from_static(b"sixsix");
        assert_eq!(memory.create("a", &six).unwrap(), Creation::New);
        assert_eq!(memory.create("b", &six).unwrap_err().kind(), Kind::Full);
        assert_eq!(memory.size("b"), None);
        memory.delete("a");
        assert_eq!(memory.create("b", &six).unwrap(), Creation::New);
    }

    #[test]
    fn a_test_sees_and_changes_every_object_behind_the_clients_back() {
        let memory = Memory::default();
        memory.create("a", &Bytes::from_static(b"1")).unwrap();
        let before = memory.objects();
        memory.set("a", "22");
        memory.set("b", "3");
        assert_eq!(memory.read("a").unwrap(), "22");
        assert_eq!(memory.remove("b").unwrap(), "3");
        memory.put_back(before);
        assert_eq!(memory.objects(), [("a".to_owned(), Bytes::from_static(b"1"))].into());
    }
}
