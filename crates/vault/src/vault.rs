//! The handle that the other crates work with: replicas, an opened role, and the index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::collect::{self, Collector};
use crate::error::{Error, Kind, Result};
use crate::id::{PackId, SegmentId, SlotId, SnapshotId, SourceId, Timestamp, WriterId};
use crate::index::Index;
use crate::keys::{KeyRing, Role};
use crate::log::{Config, Visible};
use crate::name::Name;
use crate::reader::Reader;
use crate::reliance::Reliance;
use crate::replica::Replica;
use crate::replicas::{Failures, Siblings};
use crate::session::{Commitment, Session, rank};
use crate::snapshot::{Contents, Snapshot, SnapshotOuter};
use crate::suite::VerifyKey;

mod create;
mod interrupted;
mod keys;
mod locks;
mod membership;
mod open;
mod recover;
mod rotation;
mod settings;
mod statements;

pub use create::{CreateOptions, Place};
pub use keys::{KeyAdded, KeyFacts};
use open::OpenedSlot;
pub use open::must_be_siblings;

/// Segments are fetched this many at a time.
const FETCHES_MAX: usize = 8;

/// An opened vault, on one or more of its replicas.
pub struct Vault {
    /// At least one, in the order in which they were named.
    replicas: Vec<Replica>,
    siblings: Siblings,
    ring: Arc<KeyRing>,
    index: Arc<Index>,
    opened: OpenedSlot,
    problems: Vec<Problem>,
    lagging: Vec<Lagging>,
    cache: Option<PathBuf>,
}

/// A replica that did not take what the others took. It is brought level by copying.
#[derive(Debug)]
pub struct Lagging {
    /// Its place among [`Vault::replicas`].
    pub place: usize,
    /// Why.
    pub error: Error,
}

/// An object that could not be used, found while opening. Nothing else was affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the object in the store.
    pub object: String,
    /// What is wrong with it and what follows.
    pub what: String,
}

impl Vault {
    /// Reads new log entries and new segments. A replica whose log cannot be read stays as it was, as long as another
    /// one's can.
    pub async fn refresh(&mut self) -> Result<()> {
        self.hear().await?;
        let live = open::segments_live(&self.replicas);
        if self.index.missing(&live).is_empty() {
            return Ok(());
        }
        self.update_index().await.map(drop)
    }

    /// Brings the index up to date and returns it.
    async fn update_index(&mut self) -> Result<&mut Index> {
        if Arc::get_mut(&mut self.index).is_none() {
            // Somebody still reads with the old index: they keep it, and this handle gets its own.
            self.index = Arc::new(open::open_index(&self.ring, self.cache.as_deref())?);
        }
        let shared = || Error::new(Kind::Bug, "update the index: somebody shares it");
        let index = Arc::get_mut(&mut self.index).ok_or_else(shared)?;
        self.problems = open::update_index(&self.replicas, &self.siblings, &self.ring, index).await?;
        Ok(index)
    }

    /// The replica that was named first: the only one where one was named.
    pub fn replica(&self) -> &Replica {
        &self.replicas[0]
    }

    /// The first replica, to append to its log.
    pub fn replica_mut(&mut self) -> &mut Replica {
        &mut self.replicas[0]
    }

    /// All replicas that were opened, in the order in which they were named.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// All replicas, to append to their logs, and the keys to sign with.
    pub fn replicas_mut(&mut self) -> (&mut [Replica], &Arc<KeyRing>) {
        (&mut self.replicas, &self.ring)
    }

    /// The objects of all replicas.
    pub fn siblings(&self) -> &Siblings {
        &self.siblings
    }

    /// Replicas that did not take a change since this was last asked; what was asked for stands on at least one other.
    pub fn take_lagging(&mut self) -> Vec<Lagging> {
        std::mem::take(&mut self.lagging)
    }

    /// The opened keys.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// The key slot that opened this handle.
    pub fn opened_slot(&self) -> SlotId {
        self.opened.slot
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
        let bad = self.replicas.iter().flat_map(|replica| replica.state().all_bad()).copied().collect();
        Reader::new(self.siblings.clone(), Arc::clone(&self.ring), Arc::clone(&self.index)).last(bad)
    }

    /// A reader that looks into the packs listed for this visible snapshot before it looks anywhere else. A list that
    /// cannot be read lists nothing.
    pub async fn reader_of(&self, snapshot: &SnapshotId) -> Result<Reader> {
        let reader = self.reader();
        let Some(visible) = self.find_visible(snapshot) else { return Ok(reader) };
        match self.siblings.need_list(self.ring.vault, visible.need_list).await {
            Ok(list) => Ok(reader.first(open::serving(&self.replicas, snapshot, &list.packs))),
            Err(error) if matches!(error.kind(), Kind::Missing | Kind::Damaged) => Ok(reader),
            Err(error) => Err(error),
        }
    }

    /// The certified verification key of `writer`, if it has one in the log.
    pub fn verify_key(&self, writer: &WriterId) -> Option<VerifyKey> {
        self.replicas.iter().find_map(|replica| replica.state().verify_key(*writer))
    }

    /// The writers whose own segments this ring may rely on unread.
    pub fn trusted_writers(&self) -> Vec<WriterId> {
        let mut trusted = vec![self.ring.writer_id()];
        trusted.extend(self.ring.predecessors.iter().copied());
        trusted
    }

    /// What this ring's holder may deduplicate against.
    pub fn reliance(&self) -> Reliance {
        let states = self.replicas.iter().map(|replica| replica.state().clone()).collect();
        Reliance::new(states, self.trusted_writers())
    }

    /// The packs that serve a snapshot on each replica, which are there because it is visible: one set a replica, empty where it
    /// is not visible or its list cannot be read.
    pub async fn served(&self, snapshot: &SnapshotId) -> Vec<BTreeSet<PackId>> {
        let list = match self.find_visible(snapshot) {
            Some(visible) => self.siblings.need_list(self.ring.vault, visible.need_list).await.ok(),
            None => None,
        };
        let list = list.map(|list| list.packs).unwrap_or_default();
        let served = |replica: &Replica| match replica.state().visible().get(snapshot) {
            Some(_) => replica.state().serving_all(snapshot, &list),
            None => BTreeSet::new(),
        };
        self.replicas.iter().map(served).collect()
    }

    /// The owner's settings: the latest that any replica knows.
    pub fn config(&self) -> &Config {
        let states = self.replicas.iter().rev().map(Replica::state);
        states.max_by_key(|state| state.config_serial()).unwrap_or_else(|| self.replica().state()).config()
    }

    /// The segments that are live on any replica, each once.
    pub fn segments_live(&self) -> Vec<SegmentId> {
        open::segments_live(&self.replicas)
    }

    /// The clear part of a snapshot; needs no right to its names.
    pub async fn snapshot_outer(&self, id: &SnapshotId) -> Result<SnapshotOuter> {
        let bytes = self.siblings.read(&Name::snapshot(*id)).await?;
        SnapshotOuter::verify(&bytes, self.ring.vault, |writer| self.verify_key(&writer))
    }

    /// A snapshot with its sealed part.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] when this role may not read its author's names.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        let bytes = self.siblings.read(&Name::snapshot(*id)).await?;
        Snapshot::decode(&bytes, &self.ring, |writer| self.verify_key(&writer))
            .map_err(|error| error.context(format!("open snapshot {}", id.short())))
    }

    /// What some replica's log says of a snapshot that is visible there.
    pub fn find_visible(&self, snapshot: &SnapshotId) -> Option<&Visible> {
        self.replicas.iter().find_map(|replica| replica.state().visible().get(snapshot))
    }

    /// The snapshots that are visible on any replica: in log order where there is one log, by time where there are
    /// several.
    pub fn visible(&self) -> Vec<(SnapshotId, Visible)> {
        let logs = self.replicas.iter().map(|replica| replica.state().visible());
        let merged: BTreeMap<SnapshotId, &Visible> =
            logs.rev().flatten().map(|(id, visible)| (*id, visible)).collect();
        let mut all: Vec<_> = merged.into_iter().map(|(id, visible)| (id, visible.clone())).collect();
        match self.replicas.len() {
            1 => all.sort_by_key(|(_, visible)| visible.n),
            _ => all.sort_by_key(|(_, visible)| (visible.time, visible.n)),
        }
        all
    }

    /// Whether a snapshot is held on any replica.
    pub fn is_held(&self, snapshot: &SnapshotId) -> bool {
        self.replicas.iter().any(|replica| replica.state().is_held(snapshot))
    }

    /// The visible snapshot whose id begins with `prefix` (hexadecimal).
    ///
    /// # Errors
    /// [`Kind::Input`] when none or several do.
    pub fn resolve(&self, prefix: &str) -> Result<SnapshotId> {
        let prefix = prefix.to_ascii_lowercase();
        let visible = self.replicas.iter().flat_map(|replica| replica.state().visible().keys());
        let found: BTreeSet<SnapshotId> =
            visible.filter(|id| id.to_hex().starts_with(&prefix)).copied().collect();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(Error::new(Kind::Input, format!("no snapshot begins with {prefix:?}"))),
            (Some(_), Some(_)) => Err(Error::new(
                Kind::Input,
                format!("several snapshots begin with {prefix:?}; give more digits"),
            )),
        }
    }

    /// Begins a session of `source` on every replica that takes it, at least one; the others are lagging.
    ///
    /// # Errors
    /// As [`Session::begin`].
    pub async fn begin(&mut self, source: SourceId, now: Timestamp) -> Result<Session> {
        let (session, first) = Session::begin(&mut self.replicas, &self.ring, source, now).await?;
        for (place, replica) in self.replicas.iter_mut().enumerate().filter(|(place, _)| *place != first) {
            if let Err(error) = session.begin_on(replica, &self.ring, now).await {
                self.lagging.push(Lagging { place, error });
            }
        }
        Ok(session)
    }

    /// Stores the snapshot and commits it on every replica on which the session is open, at least one; see
    /// [`Session::commit_on`]. The others are lagging.
    ///
    /// # Errors
    /// As [`Session::commit_on`], when no replica took it.
    pub async fn commit(
        &mut self,
        session: Session,
        contents: Contents,
        segments: Vec<SegmentId>,
        now: Timestamp,
    ) -> Result<SnapshotId> {
        let sealed = session.seal(&self.siblings, &self.ring, contents, now).await?;
        let mut outcomes = Vec::new();
        for replica in &mut self.replicas {
            let there = BTreeSet::new();
            let commitment = Commitment { sealed: &sealed, segments: &segments, there: &there, now };
            outcomes.push(session.commit_on(replica, &self.ring, &commitment).await);
        }
        self.settle(outcomes)?;
        Ok(sealed.snapshot)
    }

    /// Succeeds if one of the outcomes, one for each replica, is a success; the others' replicas are lagging then.
    fn settle(&mut self, outcomes: Vec<Result<()>>) -> Result<()> {
        let is_done = outcomes.iter().any(Result::is_ok);
        let failed = outcomes.into_iter().enumerate();
        let failed = failed.filter_map(|(place, outcome)| Some(Lagging { place, error: outcome.err()? }));
        if is_done {
            self.lagging.extend(failed);
            return Ok(());
        }
        let mut failures = Failures::default();
        failed.for_each(|lagging| failures.add(lagging.error));
        Err(failures.into_error(|| "change the vault".to_owned()))
    }

    /// Puts a checkpoint on each replica whose last one is far behind its log, if this ring is an owner's: nobody else may.
    /// Returns how many. That one could not be put only costs time when the vault is opened next.
    pub async fn checkpoint_logs(&mut self) -> u64 {
        let mut put = 0;
        if self.ring.role == Role::Owner {
            for replica in &mut self.replicas {
                put += u64::from(replica.checkpoint(&self.ring.signing).await.unwrap_or(false));
            }
        }
        put
    }

    /// Whether this ring is an owner's; [`Kind::Forbidden`] otherwise.
    pub fn must_own(&self, what: &str) -> Result<()> {
        if self.ring.role == Role::Owner {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, format!("only an owner's key can {what}")))
    }

    /// What a collection would do now on the replica at `place` of [`Vault::replicas`]. Keepers and owners.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] for another role; the store's.
    pub async fn plan_collection(
        &mut self,
        place: usize,
        options: &collect::Options,
        watch: collect::Watch<'_>,
    ) -> Result<collect::Outcome> {
        self.refresh().await?;
        let index = Arc::clone(&self.index);
        self.collector(place, watch)?.plan(&index, options).await
    }

    /// Collects what nobody needs on the replica at `place` of [`Vault::replicas`]. What is compacted for it is compacted, with the
    /// same bytes, on all that were opened; who fails at that is named in [`collect::Outcome::problems`]. Keepers and owners.
    ///
    /// # Errors
    /// As [`Vault::plan_collection`]. What was done stays done, and the next collection goes on from there.
    pub async fn collect(
        &mut self,
        place: usize,
        options: &collect::Options,
        watch: collect::Watch<'_>,
    ) -> Result<collect::Outcome> {
        self.refresh().await?;
        let index = Arc::clone(&self.index);
        let outcome = self.collector(place, watch)?.run(&index, options).await;
        drop(index);
        let outcome = outcome?;
        self.refresh().await?;
        Ok(outcome)
    }

    fn collector<'a>(&'a mut self, place: usize, watch: collect::Watch<'a>) -> Result<Collector<'a>> {
        let (before, from) = self.replicas.split_at_mut(place);
        let nowhere = || Error::new(Kind::Bug, "collect: there is no such replica");
        let (replica, after) = from.split_first_mut().ok_or_else(nowhere)?;
        let collector = Collector::new(replica, Arc::clone(&self.ring), watch)?;
        Ok(collector.beside(before.iter_mut().chain(after)))
    }

    /// The newest snapshot of a source that any replica shows, by (sequence, time, id).
    pub fn latest(&self, source: &SourceId) -> Option<SnapshotId> {
        let latest = self.replicas.iter().filter_map(|replica| replica.state().latest(*source));
        latest.max_by_key(|(id, visible)| rank(*id, visible)).map(|(id, _)| id)
    }

    /// The sources that have visible snapshots.
    pub fn sources(&self) -> BTreeSet<SourceId> {
        let logs = self.replicas.iter().flat_map(|replica| replica.state().visible().values());
        logs.map(|visible| visible.source).collect()
    }
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
mod checkpoint_tests;
#[cfg(test)]
mod concurrent_tests;
