//! What all clients of one storage share beside its objects: requests that their senders gave up on and that are
//! still on their way, and the latest changes, from which a stale listing is made.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::Result;

use super::super::backend::{Backend, Trust};
use super::super::{Creation, Listed};
use super::Condition;

/// How many changes a stale listing may lag behind.
const CHANGES_MAX: usize = 64;

/// The shared side of a storage. Only views with faults put anything here.
#[derive(Default)]
pub(in crate::store) struct Site(Mutex<Underway>);

#[derive(Default)]
struct Underway {
    late: Vec<Late>,
    changes: VecDeque<Past>,
}

/// A change whose sender has given up on it.
struct Late {
    change: Change,
    /// How many requests reach the storage before it does.
    requests_left: u64,
}

/// An object's size before a change, none if it was not there.
struct Past {
    path: String,
    bytes: Option<u64>,
}

/// A request that changes the storage.
#[derive(Clone)]
pub(super) enum Change {
    Create { path: String, bytes: Bytes, trust: Trust, condition: Condition },
    Replace { path: String, bytes: Bytes },
    Delete { path: String },
}

impl Change {
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Create { path, .. } | Self::Replace { path, .. } | Self::Delete { path } => path,
        }
    }
}

impl Site {
    fn underway(&self) -> MutexGuard<'_, Underway> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves `change` on its way; it lands before the request after the next `requests_left` ones.
    pub(super) fn leave(&self, change: Change, requests_left: u64) {
        self.underway().late.push(Late { change, requests_left });
    }

    /// One more request reaches the storage, after the late ones that were before it.
    pub(super) async fn pass(&self, backend: &Backend) {
        let due: Vec<Late> = self.underway().late.extract_if(.., |late| late.requests_left == 0).collect();
        self.underway().late.iter_mut().for_each(|late| late.requests_left -= 1);
        self.land_all(backend, due).await;
    }

    /// Everything that is on its way lands.
    pub(super) async fn settle(&self, backend: &Backend) {
        let due = std::mem::take(&mut self.underway().late);
        self.land_all(backend, due).await;
    }

    async fn land_all(&self, backend: &Backend, due: Vec<Late>) {
        for late in due {
            // Nobody waits for the answer.
            let _ = self.land(backend, late.change).await;
        }
    }

    /// The change happens, under the condition that its sender's view has.
    pub(super) async fn land(&self, backend: &Backend, change: Change) -> Result<Creation> {
        let (path, bytes, trust, condition) = match change {
            Change::Delete { path } => {
                let before = backend.size(&path).await?;
                backend.delete(&path).await?;
                self.changed(path, before);
                return Ok(Creation::New);
            }
            Change::Replace { path, bytes } => {
                let before = backend.size(&path).await?;
                backend.replace(&path, bytes).await?;
                self.changed(path, before);
                return Ok(Creation::New);
            }
            Change::Create { path, bytes, trust, condition } => (path, bytes, trust, condition),
        };
        if condition == Condition::Kept {
            let creation = backend.create(&path, bytes, trust).await?;
            if creation == Creation::New {
                self.changed(path, None);
            }
            return Ok(creation);
        }
        let before = backend.size(&path).await?;
        if before.is_some() && (condition == Condition::Racy || trust != Trust::Atomic) {
            return Ok(Creation::Exists);
        }
        if condition == Condition::Racy || trust != Trust::Atomic {
            // Between the look and the write there is room for others.
            tokio::task::yield_now().await;
        }
        self.overwrite(backend, path, bytes, condition).await
    }

    /// Writes without looking, as a server does that ignores the condition; every sender is told that it won.
    async fn overwrite(
        &self,
        backend: &Backend,
        path: String,
        bytes: Bytes,
        condition: Condition,
    ) -> Result<Creation> {
        let before = backend.size(&path).await?;
        if before.is_some() && condition == Condition::FirstWins {
            return Ok(Creation::New);
        }
        if before.is_some() {
            backend.delete(&path).await?;
        }
        backend.create(&path, bytes, Trust::Atomic).await?;
        self.changed(path, before);
        Ok(Creation::New)
    }

    fn changed(&self, path: String, before: Option<u64>) {
        let mut underway = self.underway();
        if underway.changes.len() == CHANGES_MAX {
            underway.changes.pop_front();
        }
        underway.changes.push_back(Past { path, bytes: before });
    }

    /// The listing of `prefix` as it was before the last changes, `back` of at most [`CHANGES_MAX`] of them.
    pub(super) fn rewind(&self, prefix: &str, listed: Vec<Listed>, back: u64) -> Vec<Listed> {
        let mut sizes: BTreeMap<String, u64> =
            listed.into_iter().map(|object| (object.path, object.bytes)).collect();
        let underway = self.underway();
        let back = usize::try_from(back).unwrap_or(usize::MAX);
        for past in underway.changes.iter().rev().take(back).filter(|past| past.path.starts_with(prefix)) {
            match past.bytes {
                Some(bytes) => sizes.insert(past.path.clone(), bytes),
                None => sizes.remove(&past.path),
            };
        }
        sizes.into_iter().map(|(path, bytes)| Listed { path, bytes, modified: None }).collect()
    }
}
