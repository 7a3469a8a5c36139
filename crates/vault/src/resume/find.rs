//! Checkpoints in a store.

use bytes::Bytes;

use super::checkpoint::{Checkpoint, Place};
use crate::error::{Kind, Result};
use crate::id::SessionId;
use crate::keys::KeyRing;
use crate::object::session_path;
use crate::store::{Creation, Store};
use crate::suite::VerifyKey;
use crate::vault::{Problem, chain};

/// So many checkpoints are tried, from the last back. Each tells everything, so one that fails costs what was done since
/// the one before it.
const TRIES_MAX: u64 = 4;

/// What is there of a session's checkpoints.
#[derive(Debug, Default)]
pub struct Found {
    /// The number for the next one.
    pub next: u64,
    /// The last whole one.
    pub checkpoint: Option<Checkpoint>,
    /// Those that could not be used.
    pub problems: Vec<Problem>,
}

impl Found {
    /// The one of the two that tells more, with the problems of both; the next number is free in both.
    pub(crate) fn or_later(mut self, mut other: Self) -> Self {
        let mut problems = std::mem::take(&mut self.problems);
        problems.append(&mut other.problems);
        let next = self.next.max(other.next);
        let later = if other.checkpoint.is_some() && (other.next > self.next || self.checkpoint.is_none()) {
            other
        } else {
            self
        };
        Self { next, problems, ..later }
    }
}

/// Looks for the last whole checkpoint of `session`, which the holder of `author` began.
///
/// # Errors
/// The store's, when it cannot be asked now.
pub async fn find(store: &Store, session: SessionId, ring: &KeyRing, author: &VerifyKey) -> Result<Found> {
    let mut found = Found { next: count(store, session).await?, ..Found::default() };
    for k in (found.next.saturating_sub(TRIES_MAX)..found.next).rev() {
        let path = session_path(session, k);
        let opened = match store.read(&path).await {
            Ok(bytes) => Checkpoint::open(&bytes, Place { session, k }, ring, author),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => Err(error),
        };
        match opened {
            Ok(checkpoint) => {
                found.checkpoint = Some(checkpoint);
                break;
            }
            Err(error) => found.problems.push(Problem { object: path, what: chain(&error) }),
        }
    }
    Ok(found)
}

/// Puts a checkpoint at `place`, or at the next free one behind it if something is there; returns where.
///
/// # Errors
/// The store's; [`Kind::Bug`] if the checkpoint cannot be encoded.
pub async fn put(store: &Store, place: Place, ring: &KeyRing, checkpoint: &Checkpoint) -> Result<Place> {
    let mut place = place;
    for _ in 0..TRIES_MAX {
        let bytes = Bytes::from(checkpoint.seal(place, ring)?);
        let path = session_path(place.session, place.k);
        match store.create(&path, bytes).await? {
            Creation::New => return Ok(place),
            // A request of a dead run of this session has landed after all.
            Creation::Exists => place.k += 1,
        }
    }
    let what =
        format!("put {}: others put checkpoints of this session too", session_path(place.session, place.k));
    Err(crate::Error::new(Kind::Conflict, what))
}

/// How many there are. They are dense, so the first absent number is found by doubling and halving; where one was lost,
/// fewer are found, and a run goes on from an older one.
async fn count(store: &Store, session: SessionId) -> Result<u64> {
    let there = async |k: u64| Ok::<_, crate::Error>(store.size(&session_path(session, k)).await?.is_some());
    if !there(0).await? {
        return Ok(0);
    }
    // `low` is there, `high` is not.
    let (mut low, mut high) = (0, 1);
    while there(high).await? {
        low = high;
        high *= 2;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if there(middle).await? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(high)
}
