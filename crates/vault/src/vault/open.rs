//! Opening: the key slot that a secret opens, and the index of what the replicas' logs name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::{FETCHES_MAX, Problem, Vault, chain, recover};
use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, PackId, SegmentId, SlotId, SnapshotId, WriterId};
use crate::index::Index;
use crate::keys::KeyRing;
use crate::keys::slot::{Unlock, open_slot};
use crate::name::Name;
use crate::object::key_path;
use crate::objects::read_hashed;
use crate::replica::Replica;
use crate::replicas::{Failures, Siblings};
use crate::segment::Segment;
use crate::suite::VerifyKey;

impl Vault {
    /// Opens a replica's vault with a secret: finds the slot that it opens, then brings the index up to date.
    ///
    /// # Errors
    /// [`Kind::NoVault`], [`Kind::WrongKey`] when no slot opens, [`Kind::Damaged`] when the keys contradict the vault.
    pub async fn open(replica: Replica, unlock: &Unlock<'_>, cache: Option<&Path>) -> Result<Self> {
        Self::open_all(vec![replica], unlock, cache).await
    }

    /// Opens a vault on several of its replicas; the first one counts as the first everywhere.
    ///
    /// # Errors
    /// As [`Vault::open`]; [`Kind::Input`] when they are not replicas of one vault, when one is named twice, or when none
    /// is.
    pub async fn open_all(replicas: Vec<Replica>, unlock: &Unlock<'_>, cache: Option<&Path>) -> Result<Self> {
        must_be_siblings(&replicas)?;
        let (ring, opened, problems) = unlock_ring(&replicas, unlock).await?;
        let parts = Parts { ring: Arc::new(ring), opened, problems, cache };
        Self::assemble(replicas, parts).await
    }

    /// The same vault as one of its replicas has it alone: nothing is read from another.
    ///
    /// # Errors
    /// Those of reading its segments.
    pub async fn alone(&self, place: usize) -> Result<Self> {
        let cache = self.cache.as_deref();
        let ring = Arc::clone(&self.ring);
        let parts = Parts { ring, opened: self.opened, problems: Vec::new(), cache };
        Self::assemble(vec![self.replicas[place].clone()], parts).await
    }

    async fn assemble(replicas: Vec<Replica>, parts: Parts<'_>) -> Result<Self> {
        let Parts { ring, opened, mut problems, cache } = parts;
        let siblings = Siblings::new(replicas.iter().map(|replica| replica.objects().clone()));
        let mut index = open_index(&ring, cache)?;
        problems.extend(update_index(&replicas, &siblings, &ring, &mut index).await?);
        Ok(Self {
            replicas,
            siblings,
            ring,
            index: Arc::new(index),
            opened,
            problems,
            lagging: Vec::new(),
            cache: cache.map(Path::to_path_buf),
        })
    }
}

/// The slot that opened a handle, and the serial of the statement by which it counted then.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenedSlot {
    pub(super) slot: SlotId,
    pub(super) serial: u64,
}

struct Parts<'a> {
    ring: Arc<KeyRing>,
    opened: OpenedSlot,
    problems: Vec<Problem>,
    cache: Option<&'a Path>,
}

/// [`Kind::Input`] unless these are different replicas of one vault.
pub fn must_be_siblings(replicas: &[Replica]) -> Result<()> {
    let refused = |message: String| Err(Error::new(Kind::Input, message));
    let Some(first) = replicas.first() else {
        return refused("open a vault: no replica is named".to_owned());
    };
    for (place, replica) in replicas.iter().enumerate().skip(1) {
        let address = replica.store().address();
        if replica.file() != first.file() {
            let message =
                format!("the vault at {address} is another one than that at {}", first.store().address());
            return refused(message);
        }
        let same = |earlier: &&Replica| earlier.state().replica() == replica.state().replica();
        if let Some(earlier) = replicas[..place].iter().find(same) {
            let message = format!("{address} and {} are the same replica", earlier.store().address());
            return refused(message);
        }
    }
    Ok(())
}

pub(super) fn open_index(ring: &KeyRing, cache: Option<&Path>) -> Result<Index> {
    match cache {
        Some(directory) => Index::open(&directory.join(ring.vault.to_hex()), ring.vault),
        None => Ok(Index::in_memory(ring.vault)),
    }
}

/// The slots that count: of each the object that the latest statement names, on whichever replica that stands, and that
/// statement's serial.
pub(super) fn slots(replicas: &[Replica]) -> BTreeMap<SlotId, (u64, ObjectId)> {
    let mut latest: BTreeMap<SlotId, (u64, Option<ObjectId>)> = BTreeMap::new();
    for replica in replicas {
        for (slot, serial, object) in replica.state().slot_statements() {
            let known = latest.entry(slot).or_insert((serial, object));
            if known.0 < serial {
                *known = (serial, object);
            }
        }
    }
    latest.into_iter().filter_map(|(slot, (serial, object))| Some((slot, (serial, object?)))).collect()
}

/// The ring that `unlock` opens, and the slots that could not be read.
async fn unlock_ring(
    replicas: &[Replica],
    unlock: &Unlock<'_>,
) -> Result<(KeyRing, OpenedSlot, Vec<Problem>)> {
    let mut problems = Vec::new();
    for (slot, (serial, object)) in slots(replicas) {
        let path = key_path(&object);
        let opened = match read_key(replicas, &path, &object).await {
            Ok(bytes) => open_slot(&bytes, unlock, replicas[0].file()),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => Err(error),
        };
        match opened {
            Ok(Some(ring)) => return Ok((ring, OpenedSlot { slot, serial }, problems)),
            Ok(None) => {}
            Err(error) => problems.push(Problem { object: path, what: chain(&error) }),
        }
    }
    let mut error = Error::new(Kind::WrongKey, "the password or key opens no key slot of this vault");
    if let Some(first) = problems.first() {
        let damage = Error::damaged(format!("key slot {}: {}", first.object, first.what));
        error = Error::new(Kind::WrongKey, "no key slot opens; some could not be read").because(damage);
    }
    Err(error)
}

pub(super) async fn read_key(replicas: &[Replica], path: &str, object: &ObjectId) -> Result<bytes::Bytes> {
    let mut failures = Failures::default();
    for replica in replicas {
        match read_hashed(replica.store(), path, object).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => failures.add(error),
        }
    }
    Err(failures.into_error(|| format!("read {path}")))
}

/// The packs that serve these of a snapshot, on any of the replicas that show it.
pub(super) fn serving(
    replicas: &[Replica],
    snapshot: &SnapshotId,
    packs: &BTreeSet<PackId>,
) -> BTreeSet<PackId> {
    let shows = replicas.iter().filter(|replica| replica.state().visible().contains_key(snapshot));
    shows.flat_map(|replica| replica.state().serving_all(snapshot, packs)).collect()
}

/// The segments that are live on any replica, each once.
pub(super) fn segments_live(replicas: &[Replica]) -> Vec<SegmentId> {
    let mut known = BTreeSet::new();
    let all = replicas.iter().flat_map(|replica| replica.state().segments_live());
    all.filter(|id| known.insert(**id)).copied().collect()
}

/// Fetches the segments that the index lacks. Damaged or lying ones are reported and left out.
pub(super) async fn update_index(
    replicas: &[Replica],
    siblings: &Siblings,
    ring: &KeyRing,
    index: &mut Index,
) -> Result<Vec<Problem>> {
    let live = segments_live(replicas);
    index.retain(&live.iter().copied().collect());
    let verify_key = |writer: WriterId| -> Option<VerifyKey> {
        replicas.iter().find_map(|replica| replica.state().verify_key(writer))
    };
    let mut problems = Vec::new();
    let mut fetched = stream::iter(index.missing(&live))
        .map(|id| async move { (id, siblings.read(&Name::index(id)).await) })
        .buffered(FETCHES_MAX);
    while let Some((id, bytes)) = fetched.next().await {
        let segment = match bytes {
            Ok(bytes) => Segment::decode(&bytes, ring, &verify_key),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => Err(error),
        };
        match segment {
            Ok(segment) => index.add(&segment)?,
            Err(error) => {
                problems.push(Problem { object: Name::index(id).plain_key(), what: chain(&error) });
            }
        }
    }
    index.commit()?;
    if !problems.is_empty() {
        let (lacking, recovered) = recover::recover(replicas, siblings, ring, index).await?;
        let what = match lacking - recovered {
            0 => {
                "what it said was read from the packs themselves, and the index should be rebuilt".to_owned()
            }
            lost => format!("{lost} of {lacking} packs that no other segment holds cannot be read either"),
        };
        for problem in &mut problems {
            problem.what = format!("{}; {what}", problem.what);
        }
    }
    Ok(problems)
}
