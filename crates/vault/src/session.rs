//! One run's right to commit: begin, store, commit.
//!
//! Order on the replica, which makes a snapshot visible only when everything it needs is there:
//! `begin` in the log → packs → segments → need list and snapshot object → `commit` in the log.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::Result;
use crate::id::{
    NeedListId, ObjectId, PackId, SegmentId, SessionId, SnapshotId, SourceId, Timestamp, VaultId,
};
use crate::keys::KeyRing;
use crate::log::{self, Body, CommitStatement, Op, Signer, State, Statement, Visible};
use crate::name::Name;
use crate::need::{NeedBase, NeedChain, NeedList};
use crate::objects::Objects;
use crate::pack::FinishedPack;
use crate::replica::Replica;
use crate::replicas::{Failures, Siblings};
use crate::segment::{FinishedSegment, SegmentBuilder};
use crate::snapshot::{Contents, Draft};
use crate::suite::random;

/// A session that may commit once on each replica on which it has begun.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id in every log.
    pub id: SessionId,
    /// The source it stores.
    pub source: SourceId,
    /// The snapshot it builds on, whose whole need list it relies on.
    pub parent: Option<SnapshotId>,
    /// The parent's need list.
    pub parent_list: Option<NeedListId>,
    /// One more than the parent's; 1 without a parent.
    pub sequence: u64,
}

/// A snapshot ready to be stored: the same bytes for every replica.
#[derive(Debug)]
pub struct Sealed {
    /// Its id.
    pub snapshot: SnapshotId,
    /// The packs that it relies on.
    pub needs: BTreeSet<PackId>,
    /// The parent's need list and all that it builds on, if this snapshot's list builds on it.
    pub base: Vec<NeedListId>,
    object: Bytes,
    need_list: NeedListId,
    list: Bytes,
}

impl Session {
    /// Appends `begin` on the first of `replicas` that takes it, and returns its place. The parent is the newest
    /// snapshot of the source that any of them shows.
    ///
    /// # Errors
    /// [`crate::Kind::Forbidden`] when the ring's holder may not write here.
    pub async fn begin(
        replicas: &mut [Replica],
        ring: &KeyRing,
        source: SourceId,
        now: Timestamp,
    ) -> Result<(Self, usize)> {
        let id = SessionId(random());
        let mut failures = Failures::default();
        for place in 0..replicas.len() {
            let elsewhere: Vec<(SnapshotId, Visible)> = replicas
                .iter()
                .filter_map(|replica| replica.state().latest(source))
                .map(|(id, visible)| (id, visible.clone()))
                .collect();
            let mut session = Self { id, source, parent: None, parent_list: None, sequence: 1 };
            let signer = Signer { key: &ring.signing, time: now };
            let (store, state) = replicas[place].log_parts();
            let begun = log::append(store, state, signer, |state| {
                let here = state.latest(source).map(|(id, visible)| (id, visible.clone()));
                let newest = elsewhere.iter().chain(&here).max_by_key(|(id, visible)| rank(*id, visible));
                session.parent = newest.map(|(id, _)| *id);
                session.parent_list = newest.map(|(_, visible)| visible.need_list);
                session.sequence = newest.map_or(1, |(_, visible)| visible.sequence + 1);
                Ok(Some(session.begin_op(state)))
            })
            .await;
            match begun {
                Ok(_) => return Ok((session, place)),
                Err(error) => failures.add(error),
            }
        }
        Err(failures.into_error(|| "begin a session".to_owned()))
    }

    /// Appends `begin` on one more replica. Doing it again is success. Where the parent is not visible the session begins
    /// without one: what it relies on there must be brought there before the commit.
    ///
    /// # Errors
    /// As [`Session::begin`].
    pub async fn begin_on(&self, replica: &mut Replica, ring: &KeyRing, now: Timestamp) -> Result<()> {
        let signer = Signer { key: &ring.signing, time: now };
        let (store, state) = replica.log_parts();
        let begun = log::append(store, state, signer, |state| {
            let is_begun = state.session(self.id).is_some_and(|session| session.author == ring.writer_id());
            Ok((!is_begun).then(|| self.begin_op(state)))
        });
        begun.await.map(drop)
    }

    fn begin_op(&self, state: &State) -> Op {
        let parent = self.parent.filter(|parent| state.visible().contains_key(parent));
        Op::Begin { session: self.id, source: self.source, parent }
    }

    /// Seals the snapshot, once for all replicas. Its need list builds on the parent's where that can be read from any of
    /// `siblings`, and stands in full otherwise.
    ///
    /// # Errors
    /// As [`Draft::seal`].
    pub async fn seal(
        &self,
        siblings: &Siblings,
        ring: &KeyRing,
        contents: Contents,
        now: Timestamp,
    ) -> Result<Sealed> {
        let needs: BTreeSet<PackId> = contents.need.iter().map(|(pack, _)| *pack).collect();
        let (list, base) = self.plan_list(siblings, ring.vault, &needs).await;
        let draft = Draft { sequence: self.sequence, parent: self.parent, time: now, contents };
        let object = Bytes::from(draft.seal(ring)?);
        Ok(Sealed {
            snapshot: ObjectId::of(&object),
            needs,
            base,
            object,
            need_list: ObjectId::of(&list),
            list: Bytes::from(list),
        })
    }

    async fn plan_list(
        &self,
        siblings: &Siblings,
        vault: VaultId,
        needs: &BTreeSet<PackId>,
    ) -> (Vec<u8>, Vec<NeedListId>) {
        let Some(id) = self.parent_list else {
            return (NeedList::plan_next(None, needs).encode(vault), Vec::new());
        };
        let chain = siblings.need_chain(vault, id).await;
        let chain = chain.and_then(|chain| {
            let ids: Vec<NeedListId> = chain.ids().collect();
            Ok((chain.resolve()?, ids))
        });
        // A parent whose list cannot be read is not built upon; the new list is then written in full.
        let ((packs, depth), ids) = match &chain {
            Ok(((packs, depth), ids)) => ((Some(packs), *depth), ids.clone()),
            Err(_) => ((None, 0), Vec::new()),
        };
        let base = packs.map(|packs| NeedBase { id, depth, packs });
        let list = NeedList::plan_next(base, needs);
        let ids = if list.base().is_some() { ids } else { Vec::new() };
        (list.encode(vault), ids)
    }

    /// Stores the snapshot and its need list on one replica and appends `commit` there. Every pack that the snapshot
    /// needs, every list that its own builds on and every segment must have been acknowledged by that replica's store.
    /// Doing it again is success.
    ///
    /// # Errors
    /// The store's; [`crate::Kind::Forbidden`] and [`crate::Kind::Conflict`] when the log does not take the commit.
    pub async fn commit_on(
        &self,
        replica: &mut Replica,
        ring: &KeyRing,
        sealed: &Sealed,
        segments: &[SegmentId],
        now: Timestamp,
    ) -> Result<()> {
        replica.objects().put(&Name::index(sealed.need_list), sealed.list.clone()).await?;
        replica.objects().put(&Name::snapshot(sealed.snapshot), sealed.object.clone()).await?;
        let commit = CommitStatement {
            snapshot: sealed.snapshot,
            source: self.source,
            sequence: self.sequence,
            need_list: sealed.need_list,
            segments: segments.to_vec(),
        };
        let statement =
            Statement { author: ring.writer_id(), time: now, serial: 0, body: Body::Commit(commit) };
        let statement = statement.sign(ring.vault, &ring.signing)?;
        let signer = Signer { key: &ring.signing, time: now };
        let (store, state) = replica.log_parts();
        let committed = log::append(store, state, signer, |state| {
            let is_done = state.visible().get(&sealed.snapshot).is_some_and(|done| done.session == self.id);
            Ok((!is_done).then(|| Op::Commit { session: self.id, statement: statement.clone() }))
        });
        committed.await.map(drop)
    }
}

/// What makes one snapshot of a source newer than another.
pub(crate) fn rank(id: SnapshotId, visible: &Visible) -> (u64, Timestamp, SnapshotId) {
    (visible.sequence, visible.time, id)
}

/// The packs of a need list and its depth, read through the lists that it builds on.
pub async fn load_need_list(
    objects: &Objects,
    vault: VaultId,
    id: NeedListId,
) -> Result<(BTreeSet<PackId>, u8)> {
    let mut chain = NeedChain::to(vault, id);
    while let Some(id) = chain.next() {
        chain.take(&objects.read(&Name::index(id)).await?)?;
    }
    chain.resolve()
}

/// Puts packs one by one.
#[derive(Clone, Copy)]
pub struct PackPutter<'a>(&'a Objects);

impl PackPutter<'_> {
    /// Puts one pack; returns when the store has acknowledged it.
    pub async fn put_pack(&self, pack: &FinishedPack) -> Result<()> {
        self.0.put(&Name::pack(pack.pack().id), pack.bytes.clone()).await
    }
}

/// Puts segments over packs that were acknowledged.
pub struct PackStore<'a> {
    objects: &'a Objects,
    waiting: SegmentBuilder<'a>,
    segments: Vec<SegmentId>,
}

impl<'a> PackStore<'a> {
    /// A store for one session's packs.
    pub fn new(objects: &'a Objects, ring: &'a KeyRing) -> Self {
        Self { objects, waiting: SegmentBuilder::new(ring), segments: Vec::new() }
    }

    /// What puts packs, apart from the bookkeeping, so that several can be on their way.
    pub fn putter(&self) -> PackPutter<'a> {
        PackPutter(self.objects)
    }

    /// Takes note of a pack that [`PackPutter::put_pack`] has stored; writes a segment when enough have gathered.
    pub async fn acknowledged(&mut self, pack: FinishedPack) -> Result<()> {
        match self.waiting.add_pack(pack.contents)? {
            Some(segment) => self.put_segment(segment).await,
            None => Ok(()),
        }
    }

    async fn put_segment(&mut self, segment: FinishedSegment) -> Result<()> {
        let id = segment.id();
        self.objects.put(&Name::index(id), segment.bytes).await?;
        self.segments.push(id);
        Ok(())
    }

    /// Writes what is left and returns all segments.
    pub async fn finish(mut self) -> Result<Vec<SegmentId>> {
        if let Some(segment) = self.waiting.end_segment()? {
            self.put_segment(segment).await?;
        }
        Ok(self.segments)
    }
}

#[cfg(test)]
mod tests;
