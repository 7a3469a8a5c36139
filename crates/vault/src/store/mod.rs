//! A stand-in for the object store: named bytes in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use crate::error::{Error, Kind, Result};

/// Whether a create made the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It did.
    New,
    /// There was one already.
    Exists,
}

/// Named objects, created once.
#[derive(Debug, Clone, Default)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Bytes>,
    lose_acknowledgement: BTreeSet<String>,
    lose_request: BTreeSet<String>,
    creates: u64,
}

impl Store {
    /// An empty store in memory.
    pub fn memory() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of the lock panics")
    }

    /// The object at `path`; [`Kind::Missing`] if there is none.
    pub async fn read(&self, path: &str) -> Result<Bytes> {
        let found = self.inner().objects.get(path).cloned();
        found.ok_or_else(|| Error::new(Kind::Missing, format!("read {path}: there is no such object")))
    }

    /// Creates the object at `path` unless there is one.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<Creation> {
        let mut inner = self.inner();
        inner.creates += 1;
        let failed = || Error::new(Kind::Unavailable, format!("create {path}: no answer"));
        if inner.lose_request.remove(path) {
            return Err(failed());
        }
        if inner.objects.contains_key(path) {
            return Ok(Creation::Exists);
        }
        inner.objects.insert(path.to_owned(), bytes);
        if inner.lose_acknowledgement.remove(path) { Err(failed()) } else { Ok(Creation::New) }
    }

    /// The next create of `path` happens, but its answer is lost.
    pub fn lose_acknowledgement(&self, path: &str) {
        self.inner().lose_acknowledgement.insert(path.to_owned());
    }

    /// The next create of `path` never arrives.
    pub fn lose_request(&self, path: &str) {
        self.inner().lose_request.insert(path.to_owned());
    }

    /// How many creates were asked for.
    pub fn creates(&self) -> u64 {
        self.inner().creates
    }
}
