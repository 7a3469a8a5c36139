//! The handle that the other crates work with: a replica, an opened role, and the index.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::collect::{self, Collector};
use crate::error::{Error, Kind, Result};
use crate::id::{
    KeyId, ObjectId, ReplicaId, SegmentId, SlotId, SnapshotId, SourceId, Timestamp, VaultId, WriterId,
};
use crate::index::Index;
use crate::keys::slot::{Lock, Unlock, open_slot};
use crate::keys::{KeyRing, Role};
use crate::log::client::Birth;
use crate::log::{self, Body, Config, Op, Signer, State, Statement, Visible};
use crate::name::Name;
use crate::needed::read_list;
use crate::object::{VAULT_FILE, key_path, log_path};
use crate::objects::read_hashed;
use crate::reader::Reader;
use crate::replica::Replica;
use crate::segment::Segment;
use crate::session::Session;
use crate::snapshot::{Contents, Snapshot, SnapshotOuter};
use crate::store::Store;
use crate::suite::{VerifyKey, random};
use crate::vault_file::VaultFile;

mod keys;
mod recover;

pub use keys::{KeyAdded, KeyFacts};

/// Segments are fetched this many at a time.
const FETCHES_MAX: usize = 8;

/// An opened vault.
pub struct Vault {
    replica: Replica,
    ring: Arc<KeyRing>,
    index: Arc<Index>,
    opened_slot: SlotId,
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
pub struct CreateOptions<'a> {
    /// The replica's name in the log.
    pub name: &'a str,
    /// The vault's first configuration.
    pub config: Config,
    /// The owner's ways in, each with its label; at least one.
    pub ways_in: Vec<(&'a str, Lock<'a>)>,
    /// The time to sign.
    pub now: Timestamp,
}

impl Vault {
    /// Makes a vault on an empty store: description, owner's key slots, the log's birth. Returns the new replica.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when there is a vault already.
    pub async fn create(store: Store, options: CreateOptions<'_>) -> Result<Replica> {
        store.prepare().await?;
        let ring = KeyRing::create(VaultId(random()));
        let file = VaultFile::new(ring.vault, ring.signing.verify_key());
        let mut replica = Replica::claim(store, file).await?;
        match Self::furnish(&mut replica, &ring, options).await {
            Ok(()) => Ok(replica),
            Err(error) => {
                unmake(&replica).await;
                Err(error)
            }
        }
    }

    async fn furnish(replica: &mut Replica, ring: &KeyRing, options: CreateOptions<'_>) -> Result<()> {
        let birth = Birth { replica: ReplicaId(random()), name: options.name, config: options.config };
        let signer = Signer { key: &ring.signing, time: options.now };
        let (store, state) = replica.log_parts();
        log::birth(store, state, signer, birth).await?;
        for (label, lock) in options.ways_in {
            keys::add_slot(replica, ring, keys::NewHolder { ring, label, lock }, options.now).await?;
        }
        Ok(())
    }

    /// Opens a replica's vault with a secret: finds the slot that it opens, then brings the index up to date.
    ///
    /// # Errors
    /// [`Kind::NoVault`], [`Kind::WrongKey`] when no slot opens, [`Kind::Damaged`] when the keys contradict the vault.
    pub async fn open(replica: Replica, unlock: &Unlock<'_>, cache: Option<&Path>) -> Result<Self> {
        let (ring, opened_slot, mut problems) = unlock_ring(&replica, unlock).await?;
        let mut index = match cache {
            Some(directory) => Index::open(&directory.join(ring.vault.to_hex()), ring.vault)?,
            None => Index::in_memory(ring.vault),
        };
        problems.extend(update_index(&replica, &ring, &mut index).await?);
        Ok(Self {
            replica,
            ring: Arc::new(ring),
            index: Arc::new(index),
            opened_slot,
            problems,
            cache: cache.map(Path::to_path_buf),
        })
    }

    /// Reads new log entries and new segments.
    pub async fn refresh(&mut self) -> Result<()> {
        self.replica.catch_up().await?;
        if self.index.missing(self.replica.state().segments_live()).is_empty() {
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

    /// The key slot that opened this handle.
    pub fn opened_slot(&self) -> SlotId {
        self.opened_slot
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
        let bad = self.replica.state().all_bad().clone();
        Reader::new(self.replica.objects().clone(), Arc::clone(&self.ring), Arc::clone(&self.index)).last(bad)
    }

    /// A reader that looks into the packs listed for this visible snapshot before it looks anywhere else. A list that
    /// cannot be read lists nothing.
    pub async fn reader_of(&self, snapshot: &SnapshotId) -> Result<Reader> {
        let reader = self.reader();
        let Some(visible) = self.replica.state().visible().get(snapshot) else { return Ok(reader) };
        match read_list(self.replica.objects(), self.ring.vault, visible.need_list).await {
            Ok(list) => Ok(reader.first(self.replica.state().serving_all(snapshot, &list.packs))),
            Err(error) if matches!(error.kind(), Kind::Missing | Kind::Damaged) => Ok(reader),
            Err(error) => Err(error),
        }
    }

    /// The certified verification key of `writer`, if it has one in the log.
    pub fn verify_key(&self, writer: &WriterId) -> Option<VerifyKey> {
        self.replica.state().verify_key(*writer)
    }

    /// The writers whose own segments this ring may rely on unread.
    pub fn trusted_writers(&self) -> Vec<WriterId> {
        let mut trusted = vec![self.ring.writer_id()];
        trusted.extend(self.ring.predecessors.iter().copied());
        trusted
    }

    /// The clear part of a snapshot; needs no right to its names.
    pub async fn snapshot_outer(&self, id: &SnapshotId) -> Result<SnapshotOuter> {
        let bytes = self.replica.objects().read(&Name::snapshot(*id)).await?;
        SnapshotOuter::verify(&bytes, self.ring.vault, |writer| self.verify_key(&writer))
    }

    /// A snapshot with its sealed part.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] when this role may not read its author's names.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        let bytes = self.replica.objects().read(&Name::snapshot(*id)).await?;
        Snapshot::decode(&bytes, &self.ring, |writer| self.verify_key(&writer))
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
            (Some(_), Some(_)) => Err(Error::new(
                Kind::Input,
                format!("several snapshots begin with {prefix:?}; give more digits"),
            )),
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
        contents: Contents,
        segments: Vec<SegmentId>,
        now: Timestamp,
    ) -> Result<SnapshotId> {
        session.commit(&mut self.replica, &self.ring, contents, segments, now).await
    }

    /// Drops snapshots for good; held ones are refused.
    pub async fn forget(&mut self, snapshots: &[SnapshotId], now: Timestamp) -> Result<()> {
        if let Some(held) = snapshots.iter().find(|id| self.replica.state().is_held(id)) {
            let message = format!("snapshot {} is held; release it first", held.short());
            return Err(Error::new(Kind::Input, message));
        }
        for part in log::parts(snapshots) {
            let signer = Signer { key: &self.ring.signing, time: now };
            self.replica.append(signer, |_| Ok(Some(Op::Forget { snapshots: part.to_vec() }))).await?;
        }
        Ok(())
    }

    /// Holds a snapshot against being forgotten. Owner only.
    pub async fn hold(&mut self, snapshot: SnapshotId, now: Timestamp) -> Result<()> {
        publish(&mut self.replica, &self.ring, now, Body::Hold(snapshot)).await
    }

    /// Undoes [`Vault::hold`]. Owner only.
    pub async fn release(&mut self, snapshot: SnapshotId, now: Timestamp) -> Result<()> {
        publish(&mut self.replica, &self.ring, now, Body::Release(snapshot)).await
    }

    /// Declares packs read and found good, and segments whose every claim was found true, so that every writer may
    /// deduplicate against what these segments say of these packs. Owner only.
    pub async fn vouch(&mut self, objects: &[ObjectId], now: Timestamp) -> Result<()> {
        let state = self.replica.state();
        let fresh: Vec<_> = objects.iter().filter(|object| !state.vouched(object)).copied().collect();
        for part in log::parts(&fresh) {
            publish(&mut self.replica, &self.ring, now, Body::Vouch(part.to_vec())).await?;
        }
        Ok(())
    }

    /// Declares frames bad, so that the next backup stores their chunks again. Owner and keepers.
    pub async fn declare_bad(&mut self, frames: &[(KeyId, u64)], now: Timestamp) -> Result<()> {
        let state = self.replica.state();
        let fresh: Vec<_> = frames.iter().filter(|(key, n)| !state.bad(key, *n)).copied().collect();
        for part in log::parts(&fresh) {
            publish(&mut self.replica, &self.ring, now, Body::Bad(part.to_vec())).await?;
        }
        Ok(())
    }

    /// Whether this ring is an owner's; [`Kind::Forbidden`] otherwise.
    pub fn must_own(&self, what: &str) -> Result<()> {
        if self.ring.role == Role::Owner {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, format!("only an owner's key can {what}")))
    }

    /// What a collection would do now. Keepers and owners.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for another role; the store's.
    pub async fn plan_collection(
        &mut self,
        options: &collect::Options,
        watch: collect::Watch<'_>,
    ) -> Result<collect::Outcome> {
        self.refresh().await?;
        let collector = Collector::new(&mut self.replica, Arc::clone(&self.ring), watch)?;
        collector.plan(&self.index, options).await
    }

    /// Collects what nobody needs. Keepers and owners.
    ///
    /// # Errors
    /// As [`Vault::plan_collection`]. What was done stays done, and the next collection goes on from there.
    pub async fn collect(
        &mut self,
        options: &collect::Options,
        watch: collect::Watch<'_>,
    ) -> Result<collect::Outcome> {
        self.refresh().await?;
        let collector = Collector::new(&mut self.replica, Arc::clone(&self.ring), watch)?;
        let outcome = collector.run(&self.index, options).await?;
        self.refresh().await?;
        Ok(outcome)
    }

    /// The newest visible snapshot of a source, by (sequence, time, id).
    pub fn latest(&self, source: &SourceId) -> Option<SnapshotId> {
        self.replica.state().latest(*source).map(|(id, _)| id)
    }

    /// The sources that have visible snapshots.
    pub fn sources(&self) -> BTreeSet<SourceId> {
        self.replica.state().visible().values().map(|visible| visible.source).collect()
    }
}

/// Removes what a failed creation left, as far as the store lets it, so that the next one can begin. Nobody can ever open
/// such a vault: its owner's key was never stored whole. The description goes last, so that what is left is never
/// taken for a vault.
async fn unmake(replica: &Replica) {
    let store = replica.store();
    for n in (0..replica.state().next()).rev() {
        drop(store.delete(&log_path(n)).await);
    }
    for object in store.list("keys/").await.unwrap_or_default() {
        drop(store.delete(&object.path).await);
    }
    drop(store.delete(VAULT_FILE).await);
}

/// Signs a statement with the next serial, where its kind has one, and appends it.
async fn publish(replica: &mut Replica, ring: &KeyRing, now: Timestamp, body: Body) -> Result<()> {
    let signer = Signer { key: &ring.signing, time: now };
    let has_serial = !matches!(body, Body::Commit(_) | Body::Vouch(_) | Body::Bad(_));
    let decide = |state: &State| {
        let serial = if has_serial { state.next_serial() } else { 0 };
        let statement = Statement { author: ring.writer_id(), time: now, serial, body: body.clone() };
        Ok(Some(Op::Publish { statement: statement.sign(ring.vault, &ring.signing)? }))
    };
    replica.append(signer, decide).await.map(drop)
}

/// The ring that `unlock` opens, and the slots that could not be read.
async fn unlock_ring(replica: &Replica, unlock: &Unlock<'_>) -> Result<(KeyRing, SlotId, Vec<Problem>)> {
    let mut problems = Vec::new();
    for (slot, object) in replica.state().slots() {
        let path = key_path(&object);
        let opened = match read_hashed(replica.store(), &path, &object).await {
            Ok(bytes) => open_slot(&bytes, unlock, replica.file()),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => Err(error),
        };
        match opened {
            Ok(Some(ring)) => return Ok((ring, slot, problems)),
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
    let live: BTreeSet<SegmentId> = state.segments_live().iter().copied().collect();
    index.retain(&live);
    let missing = index.missing(state.segments_live());
    let mut problems = Vec::new();
    let mut fetched = stream::iter(missing)
        .map(|id| async move { (id, replica.objects().read(&Name::index(id)).await) })
        .buffered(FETCHES_MAX);
    while let Some((id, bytes)) = fetched.next().await {
        let segment = match bytes {
            Ok(bytes) => Segment::decode(&bytes, ring, &|writer| state.verify_key(writer)),
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
        let (lacking, recovered) = recover::recover(replica, ring, index).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::KdfCost;

    fn options() -> CreateOptions<'static> {
        let cost = KdfCost::new(8, 1, 1).unwrap();
        let ways_in = vec![("owner", Lock::Passphrase("a password", cost))];
        CreateOptions { name: "first", config: Config::default(), ways_in, now: Timestamp(1) }
    }

    #[tokio::test]
    async fn a_vault_that_could_not_be_made_whole_leaves_room_for_the_next() {
        let store = Store::memory();
        for room in 0..4 {
            store.set_room(Some(room));
            let failed = Vault::create(store.clone(), options()).await;
            assert_eq!(failed.err().map(|error| error.kind()), Some(Kind::Full), "{room}");
            assert_eq!(store.list("").await.unwrap(), [], "{room}");
        }
        store.set_room(None);
        let replica = Vault::create(store.clone(), options()).await.unwrap();
        assert_eq!(replica.state().slots().count(), 1);
        let again = Vault::create(store, options()).await;
        assert_eq!(again.err().map(|error| error.kind()), Some(Kind::Conflict));
    }
}
