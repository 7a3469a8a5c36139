//! The handle that the other crates work with: a replica, an opened role, and the index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, SegmentId, SnapshotId, SourceId, Timestamp, VaultId, WriterId};
use crate::index::Index;
use crate::keys::slot::{SlotRequest, Unlock, open_slot, seal_slot};
use crate::keys::{KeyRing, Role};
use crate::log::{self, Config, KeyChange, Op, Statement, StatementKind, Visible};
use crate::object::{index_path, key_path, snapshot_path};
use crate::reader::Reader;
use crate::replica::Replica;
use crate::segment::Segment;
use crate::session::{Session, read_named};
use crate::snapshot::{Snapshot, SnapshotDraft, SnapshotOuter};
use crate::store::Store;
use crate::suite::{VerifyKey, random};
use crate::vault_file::VaultFile;

/// Segments are fetched this many at a time.
const FETCHES_MAX: usize = 8;

/// An opened vault.
pub struct Vault {
    replica: Replica,
    ring: Arc<KeyRing>,
    index: Arc<Index>,
    problems: Vec<Problem>,
    cache: Option<PathBuf>,
}

/// An object that could not be used, found while opening. Nothing else was affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the object in the store.
    pub object: String,
    /// What is wrong with it and what follows.
    pub what: String,
}

/// What a new vault is to be.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// The replica's name in the log.
    pub name: String,
    /// The vault's first configuration.
    pub config: Config,
    /// The owner's ways in; at least one.
    pub slots: Vec<SlotRequest>,
    /// The time to sign.
    pub now: Timestamp,
}

impl Vault {
    /// Makes a vault on an empty store: description, owner's key slots, the log's birth.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when there is a vault already.
    pub async fn create(store: Store, options: CreateOptions) -> Result<KeyRing> {
        store.prepare().await?;
        let ring = KeyRing::create(VaultId(random()));
        let file = VaultFile::new(ring.vault, ring.signing.verify_key());
        let mut replica = Replica::claim(store, file).await?;
        let mut changes = Vec::new();
        for request in &options.slots {
            changes.push(put_slot(&replica, &ring, &ring, request).await?);
        }
        let config = Statement::sign(ring.vault, &ring.signing, options.now, 1, StatementKind::Config(options.config));
        let birth = Op::Birth { replica: crate::id::ReplicaId(random()), name: options.name, config };
        append(&mut replica, &ring, options.now, birth).await?;
        for change in changes {
            sign_and_append(&mut replica, &ring, options.now, StatementKind::Key(change)).await?;
        }
        Ok(ring)
    }

    /// Opens a vault with a secret: finds the slot that it opens, then brings the index up to date.
    ///
    /// # Errors
    /// [`Kind::NoVault`], [`Kind::WrongKey`] when no slot opens, [`Kind::Damaged`] when the keys contradict the vault.
    pub async fn open(store: Store, unlock: &Unlock, cache: Option<&Path>) -> Result<Self> {
        let replica = Replica::open(store).await?;
        let (ring, mut problems) = unlock_ring(&replica, unlock).await?;
        let mut index = match cache {
            Some(directory) => Index::open(&directory.join(ring.vault.to_hex()), ring.vault)?,
            None => Index::in_memory(ring.vault),
        };
        problems.extend(update_index(&replica, &ring, &mut index).await?);
        Ok(Self {
            replica,
            ring: Arc::new(ring),
            index: Arc::new(index),
            problems,
            cache: cache.map(Path::to_path_buf),
        })
    }

    /// Reads new log entries and new segments.
    pub async fn refresh(&mut self) -> Result<()> {
        self.replica.catch_up().await?;
        let live: Vec<SegmentId> = self.replica.state().segments_live().collect();
        if self.index.missing(&live).is_empty() {
            return Ok(());
        }
        if Arc::get_mut(&mut self.index).is_none() {
            // Somebody still reads with the old index: they keep it, and this handle gets its own.
            self.index = Arc::new(match &self.cache {
                Some(directory) => Index::open(&directory.join(self.ring.vault.to_hex()), self.ring.vault)?,
                None => Index::in_memory(self.ring.vault),
            });
        }
        if let Some(index) = Arc::get_mut(&mut self.index) {
            self.problems = update_index(&self.replica, &self.ring, index).await?;
        }
        Ok(())
    }

    /// The replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The replica, to append to its log.
    pub fn replica_mut(&mut self) -> &mut Replica {
        &mut self.replica
    }

    /// The opened keys.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// Where chunks are.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// Objects that could not be used while opening.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// A reader of content and trees with this role's keys.
    pub fn reader(&self) -> Reader {
        Reader::new(self.replica.store().clone(), Arc::clone(&self.ring), Arc::clone(&self.index))
    }

    /// The certified verification key of `writer`, if it has one in the log.
    pub fn verify_key(&self, writer: &WriterId) -> Option<VerifyKey> {
        self.replica.state().verify_key(writer)
    }

    /// The writers whose own segments this ring may rely on unread.
    pub fn trusted_writers(&self) -> Vec<WriterId> {
        let mut trusted = vec![self.ring.writer_id()];
        trusted.extend(self.ring.predecessors.iter().copied());
        trusted
    }

    /// The clear part of a snapshot; needs no right to its names.
    pub async fn snapshot_outer(&self, id: &SnapshotId) -> Result<SnapshotOuter> {
        let bytes = read_named(self.replica.store(), &snapshot_path(id), id).await?;
        SnapshotOuter::decode(&bytes, self.ring.vault, &|writer| self.verify_key(writer))
    }

    /// A snapshot with its sealed part.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] when this role may not read its author's names.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        let bytes = read_named(self.replica.store(), &snapshot_path(id), id).await?;
        Snapshot::decode(&bytes, &self.ring, &|writer| self.verify_key(writer))
            .map_err(|error| error.context(format!("open snapshot {}", id.short())))
    }

    /// Visible snapshots in log order.
    pub fn visible(&self) -> Vec<(SnapshotId, Visible)> {
        let mut all: Vec<_> =
            self.replica.state().visible().iter().map(|(id, visible)| (*id, visible.clone())).collect();
        all.sort_by_key(|(_, visible)| visible.n);
        all
    }

    /// The visible snapshot whose id begins with `prefix` (hexadecimal).
    ///
    /// # Errors
    /// [`Kind::Input`] when none or several do.
    pub fn resolve(&self, prefix: &str) -> Result<SnapshotId> {
        let prefix = prefix.to_ascii_lowercase();
        let visible = self.replica.state().visible();
        let mut found = visible.keys().filter(|id| id.to_hex().starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(*id),
            (None, _) => Err(Error::new(Kind::Input, format!("no snapshot begins with {prefix:?}"))),
            (Some(_), Some(_)) => {
                Err(Error::new(Kind::Input, format!("several snapshots begin with {prefix:?}; give more digits")))
            }
        }
    }

    /// Appends `begin` for a run of `source`.
    pub async fn begin(&mut self, source: SourceId, now: Timestamp) -> Result<Session> {
        Session::begin(&mut self.replica, &self.ring, source, now).await
    }

    /// Stores the snapshot and appends `commit`; see [`Session::commit`].
    pub async fn commit(
        &mut self,
        session: Session,
        draft: SnapshotDraft,
        segments: Vec<SegmentId>,
        now: Timestamp,
    ) -> Result<SnapshotId> {
        session.commit(&mut self.replica, &self.ring, draft, segments, now).await
    }

    /// Drops snapshots for good; held ones are refused.
    pub async fn forget(&mut self, snapshots: &[SnapshotId], now: Timestamp) -> Result<()> {
        let state = self.replica.state();
        if let Some(held) = snapshots.iter().find(|id| state.held().contains_key(*id)) {
            let message = format!("snapshot {} is held; release it first", held.short());
            return Err(Error::new(Kind::Input, message));
        }
        for part in snapshots.chunks(log::LIST_MAX) {
            append(&mut self.replica, &self.ring, now, Op::Forget { snapshots: part.to_vec() }).await?;
        }
        Ok(())
    }

    /// Holds a snapshot against being forgotten, or releases it. Owner only.
    pub async fn hold(&mut self, snapshot: SnapshotId, hold: bool, now: Timestamp) -> Result<()> {
        let kind = if hold { StatementKind::Hold(snapshot) } else { StatementKind::Release(snapshot) };
        sign_and_append(&mut self.replica, &self.ring, now, kind).await
    }

    /// Declares packs read and found good, so that every writer may deduplicate against them. Owner only.
    pub async fn vouch(&mut self, packs: &[ObjectId], now: Timestamp) -> Result<()> {
        let fresh: Vec<_> = packs.iter().filter(|pack| !self.replica.state().vouched(pack)).copied().collect();
        for part in fresh.chunks(log::LIST_MAX) {
            sign_and_append(&mut self.replica, &self.ring, now, StatementKind::Vouch(part.to_vec())).await?;
        }
        Ok(())
    }

    /// Declares frames bad, so that the next backup stores their chunks again. Owner and keepers.
    pub async fn declare_bad(&mut self, frames: &[(crate::id::KeyId, u64)], now: Timestamp) -> Result<()> {
        let state = self.replica.state();
        let fresh: Vec<_> = frames.iter().filter(|(key, n)| !state.bad(key, *n)).copied().collect();
        for part in fresh.chunks(log::LIST_MAX) {
            sign_and_append(&mut self.replica, &self.ring, now, StatementKind::Bad(part.to_vec())).await?;
        }
        Ok(())
    }

    /// Adds a way in: for owners another slot of the same keys, for writers and keepers fresh, certified keys.
    /// Returns the new holder's id. Owner only.
    pub async fn add_key(&mut self, request: &SlotRequest, predecessors: &[WriterId], now: Timestamp) -> Result<WriterId> {
        self.must_own("add keys")?;
        let issued;
        let ring: &KeyRing = if request.role == Role::Owner {
            &self.ring
        } else {
            issued = self.ring.issue(request.role, predecessors)?;
            let change = put_certificate(&self.replica, &self.ring, &issued, request, now).await?;
            sign_and_append(&mut self.replica, &self.ring, now, StatementKind::Key(change)).await?;
            &issued
        };
        let change = put_slot(&self.replica, &self.ring, ring, request).await?;
        sign_and_append(&mut self.replica, &self.ring, now, StatementKind::Key(change)).await?;
        Ok(ring.writer_id())
    }

    /// Whether this ring is an owner's; [`Kind::Forbidden`] otherwise.
    pub fn must_own(&self, what: &str) -> Result<()> {
        if self.ring.role == Role::Owner {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, format!("only an owner's key can {what}")))
    }

    /// The newest visible snapshot of a source, by (sequence, time, id).
    pub fn latest(&self, source: &SourceId) -> Option<SnapshotId> {
        self.replica.state().latest(source).map(|(id, _)| id)
    }

    /// The sources that have visible snapshots.
    pub fn sources(&self) -> BTreeSet<SourceId> {
        self.replica.state().visible().values().map(|visible| visible.source).collect()
    }
}

async fn append(replica: &mut Replica, ring: &KeyRing, now: Timestamp, op: Op) -> Result<()> {
    let (store, state) = replica.log_parts();
    log::append(store, state, &ring.signing, now, |_| Ok(Some(op.clone()))).await.map(drop)
}

/// Signs a statement with the next serial and appends it.
async fn sign_and_append(replica: &mut Replica, ring: &KeyRing, now: Timestamp, kind: StatementKind) -> Result<()> {
    let (store, state) = replica.log_parts();
    log::append(store, state, &ring.signing, now, |state| {
        let statement = Statement::sign(ring.vault, &ring.signing, now, state.next_serial(), kind.clone());
        Ok(Some(Op::Statement(statement)))
    })
    .await
    .map(drop)
}

async fn put_slot(replica: &Replica, owner: &KeyRing, ring: &KeyRing, request: &SlotRequest) -> Result<KeyChange> {
    let (slot, bytes) = seal_slot(owner, ring, replica.file(), request)?;
    let object = ObjectId::of(&bytes);
    replica.store().put(&key_path(&object), Bytes::from(bytes)).await?;
    Ok(KeyChange::slot(slot, object))
}

async fn put_certificate(
    replica: &Replica,
    owner: &KeyRing,
    issued: &KeyRing,
    request: &SlotRequest,
    now: Timestamp,
) -> Result<KeyChange> {
    let bytes = issued.certificate(&request.label, now).encode(owner.vault, &owner.signing);
    let object = ObjectId::of(&bytes);
    replica.store().put(&key_path(&object), Bytes::from(bytes.clone())).await?;
    Ok(KeyChange::certificate(issued.writer_id(), object, bytes))
}

/// The ring that `unlock` opens, and the slots that could not be read.
async fn unlock_ring(replica: &Replica, unlock: &Unlock) -> Result<(KeyRing, Vec<Problem>)> {
    let mut problems = Vec::new();
    for object in replica.state().slots() {
        let path = key_path(&object);
        let opened = match read_named(replica.store(), &path, &object).await {
            Ok(bytes) => open_slot(&bytes, unlock, replica.file()),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => Err(error),
        };
        match opened {
            Ok(Some(ring)) => return Ok((ring, problems)),
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

/// Fetches the segments that the index lacks. Damaged or lying ones are reported and left out.
async fn update_index(replica: &Replica, ring: &KeyRing, index: &mut Index) -> Result<Vec<Problem>> {
    let state = replica.state();
    let live: Vec<SegmentId> = state.segments_live().collect();
    index.retain(&live.iter().copied().collect());
    let missing = index.missing(&live);
    let mut problems = Vec::new();
    let mut fetched = stream::iter(missing)
        .map(|id| async move { (id, read_named(replica.store(), &index_path(&id), &id).await) })
        .buffered(FETCHES_MAX);
    while let Some((id, bytes)) = fetched.next().await {
        let segment = match bytes {
            Ok(bytes) => Segment::decode(&bytes, ring, &|writer| state.verify_key(writer)),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => Err(error),
        };
        match segment {
            Ok(segment) => index.add(&segment)?,
            Err(error) => problems.push(Problem {
                object: index_path(&id),
                what: format!("{}; chunks that only it names cannot be found", chain(&error)),
            }),
        }
    }
    index.commit()?;
    Ok(problems)
}

/// An error with its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

