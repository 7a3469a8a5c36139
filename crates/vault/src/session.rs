//! One run's right to commit: begin, store, commit.
//!
//! Order on the replica, which makes a snapshot visible only when everything it needs is there:
//! `begin` in the log → packs → segments → need list and snapshot object → `commit` in the log.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::id::{
    NeedListId, ObjectId, PackId, SegmentId, SessionId, SnapshotId, SourceId, Timestamp, VaultId,
};
use crate::keys::KeyRing;
use crate::log::{self, Body, CommitStatement, Op, Signer, Statement};
use crate::name::Name;
use crate::need::{NeedBase, NeedList};
use crate::objects::Objects;
use crate::pack::{FinishedPack, PackEnds};
use crate::replica::Replica;
use crate::resume::{PackMark, SharedShelf, Shelf};
use crate::segment::{FinishedSegment, SegmentBuilder};
use crate::snapshot::{Contents, Draft};
use crate::suite::random;

/// A session that has begun and may commit once.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id in the log.
    pub id: SessionId,
    /// The source it stores.
    pub source: SourceId,
    /// The snapshot it builds on, whose whole need list it relies on.
    pub parent: Option<SnapshotId>,
    /// One more than the parent's; 1 without a parent.
    pub sequence: u64,
}

impl Session {
    /// Appends `begin`. The parent is the newest visible snapshot of the source on this replica.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] when the ring's holder may not write here.
    pub async fn begin(
        replica: &mut Replica,
        ring: &KeyRing,
        source: SourceId,
        now: Timestamp,
    ) -> Result<Self> {
        let mut session = Self { id: SessionId(random()), source, parent: None, sequence: 1 };
        let signer = Signer { key: &ring.signing, time: now };
        let (store, state) = replica.log_parts();
        log::append(store, state, signer, |state| {
            let parent = state.latest(source);
            session.parent = parent.map(|(id, _)| id);
            session.sequence = parent.map_or(1, |(_, visible)| visible.sequence + 1);
            Ok(Some(Op::Begin { session: session.id, source, parent: session.parent }))
        })
        .await?;
        Ok(session)
    }

    /// The session `id` again, for a run that goes on with it under the same key; `None` if it is not open any more, or
    /// not of this key and this source, or its parent is gone. The caller knows that nobody else goes on with it.
    pub fn of_log(replica: &Replica, ring: &KeyRing, id: SessionId, source: SourceId) -> Option<Self> {
        let state = replica.state();
        let begun = state.session(id).filter(|begun| {
            begun.state == log::state::SessionState::Open
                && begun.author == ring.writer_id()
                && begun.source == source
        })?;
        let sequence = match begun.parent {
            Some(parent) => state.visible().get(&parent)?.sequence + 1,
            None => 1,
        };
        Some(Self { id, source, parent: begun.parent, sequence })
    }

    /// Stores the snapshot and its need list and appends `commit`. Every pack that `contents` needs and every segment
    /// must have been acknowledged by the replica's store.
    pub async fn commit(
        self,
        replica: &mut Replica,
        ring: &KeyRing,
        contents: Contents,
        segments: Vec<SegmentId>,
        now: Timestamp,
    ) -> Result<SnapshotId> {
        let needs: BTreeSet<PackId> = contents.need.iter().map(|(pack, _)| *pack).collect();
        let need_list = self.put_need_list(replica, &needs).await?;
        let draft = Draft { sequence: self.sequence, parent: self.parent, time: now, contents };
        let object = draft.seal(ring)?;
        let snapshot = ObjectId::of(&object);
        replica.objects().put(&Name::snapshot(snapshot), Bytes::from(object)).await?;
        let commit =
            CommitStatement { snapshot, source: self.source, sequence: self.sequence, need_list, segments };
        let statement =
            Statement { author: ring.writer_id(), time: now, serial: 0, body: Body::Commit(commit) };
        let statement = statement.sign(ring.vault, &ring.signing)?;
        let signer = Signer { key: &ring.signing, time: now };
        let (store, state) = replica.log_parts();
        log::append(store, state, signer, |_| {
            Ok(Some(Op::Commit { session: self.id, statement: statement.clone() }))
        })
        .await?;
        Ok(snapshot)
    }

    async fn put_need_list(&self, replica: &Replica, needs: &BTreeSet<PackId>) -> Result<NeedListId> {
        let parent = self.parent.and_then(|parent| replica.state().visible().get(&parent));
        let base = match parent {
            // A parent whose list cannot be read is not built upon; the new list is then written in full.
            Some(parent) => {
                load_need_list(replica.objects(), replica.vault_id(), parent.need_list).await.ok()
            }
            None => None,
        };
        let base = parent.zip(base.as_ref());
        let base =
            base.map(|(parent, (packs, depth))| NeedBase { id: parent.need_list, depth: *depth, packs });
        let bytes = NeedList::plan_next(base, needs).encode(replica.vault_id());
        let id = ObjectId::of(&bytes);
        replica.objects().put(&Name::index(id), Bytes::from(bytes)).await?;
        Ok(id)
    }
}

/// The packs of a need list and its depth, read through the lists that it builds on.
pub async fn load_need_list(
    objects: &Objects,
    vault: VaultId,
    id: NeedListId,
) -> Result<(BTreeSet<PackId>, u8)> {
    let mut chain: Vec<(NeedListId, NeedList)> = Vec::new();
    let mut next = Some(id);
    while let Some(id) = next {
        let bytes = objects.read(&Name::index(id)).await?;
        let list =
            NeedList::decode(&bytes, vault).map_err(|error| error.context(format!("read need list {id}")))?;
        // Depths fall by one from list to list, so a chain that goes in circles ends here.
        if chain.last().is_some_and(|(_, above)| list.depth() >= above.depth()) {
            return Err(Error::damaged(format!("need list {id} is not what the list above builds on")));
        }
        next = list.base();
        chain.push((id, list));
    }
    let depth = chain.first().map_or(0, |(_, list)| list.depth());
    chain.reverse();
    Ok((NeedList::resolve(&chain)?, depth))
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
    ring: &'a KeyRing,
    waiting: SegmentBuilder<'a>,
    shelf: SharedShelf,
}

impl<'a> PackStore<'a> {
    /// A store for one session's packs.
    pub fn new(objects: &'a Objects, ring: &'a KeyRing) -> Self {
        Self { objects, ring, waiting: SegmentBuilder::new(ring), shelf: SharedShelf::default() }
    }

    /// The same store, which tells on `shelf` what is acknowledged, behind what the session has adopted already.
    #[must_use]
    pub fn onto(mut self, shelf: &SharedShelf) -> Self {
        self.shelf = Arc::clone(shelf);
        self
    }

    /// What puts packs, apart from the bookkeeping, so that several can be on their way.
    pub fn putter(&self) -> PackPutter<'a> {
        PackPutter(self.objects)
    }

    /// Takes note of a pack that [`PackPutter::put_pack`] has stored; writes a segment when enough have gathered.
    pub async fn acknowledged(&mut self, pack: FinishedPack) -> Result<()> {
        let digest = PackEnds::of(&pack, self.ring.vault)?.digest();
        let mark = PackMark { pack: pack.pack(), digest };
        let segment = self.waiting.add_pack(pack.contents)?;
        lock(&self.shelf).packs.push(mark);
        match segment {
            Some(segment) => self.put_segment(segment).await,
            None => Ok(()),
        }
    }

    async fn put_segment(&mut self, segment: FinishedSegment) -> Result<()> {
        let id = segment.id();
        self.objects.put(&Name::index(id), segment.bytes).await?;
        let packs = segment.segment.clear.packs.iter().map(|pack| pack.id).collect();
        lock(&self.shelf).segment(id, &packs);
        Ok(())
    }

    /// Writes what is left and returns all segments.
    pub async fn finish(mut self) -> Result<Vec<SegmentId>> {
        if let Some(segment) = self.waiting.end_segment()? {
            self.put_segment(segment).await?;
        }
        Ok(std::mem::take(&mut lock(&self.shelf).segments))
    }
}

fn lock(shelf: &SharedShelf) -> std::sync::MutexGuard<'_, Shelf> {
    // Every change of it is a single call, so a panic elsewhere leaves it whole.
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
