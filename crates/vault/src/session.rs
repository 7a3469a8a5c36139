//! One run's right to commit: begin, store, commit.
//!
//! Order on the replica, which makes a snapshot visible only when everything it needs is there:
//! `begin` in the log → packs → segments → need list and snapshot object → `commit` in the log.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::id::{NeedListId, ObjectId, PackId, SegmentId, SessionId, SnapshotId, SourceId, Timestamp};
use crate::keys::KeyRing;
use crate::log::duty::Hindrances;
use crate::log::{self, Body, CommitStatement, Op, Signer, Statement};
use crate::name::Name;
use crate::need::{NeedBase, NeedList};
use crate::needed::read_list;
use crate::objects::Objects;
use crate::pack::FinishedPack;
use crate::replica::Replica;
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
        replica
            .append(signer, |state| {
                let parent = state.latest(source);
                session.parent = parent.map(|(id, _)| id);
                session.sequence = parent.map_or(1, |(_, visible)| visible.sequence + 1);
                Ok(Some(Op::Begin { session: session.id, source, parent: session.parent }))
            })
            .await?;
        Ok(session)
    }

    /// Answers what keepers condemned since the session last did: keeps what it relies on, or says that it has seen. From
    /// then on it blocks no sweep. To be called every minute or so of a long run.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the session was closed by another; the store's.
    pub async fn attend(
        &self,
        replica: &mut Replica,
        signer: Signer<'_>,
        relies_on: impl Fn(&Name) -> bool,
    ) -> Result<()> {
        loop {
            replica.catch_up().await?;
            let state = replica.state();
            state.hindrances(self.id, [])?;
            if !state.awaits_answer(self.id) {
                return Ok(());
            }
            let names: Vec<Name> = state.condemned().keys().filter(|name| relies_on(name)).copied().collect();
            let op = match log::parts(&names).next() {
                Some(part) => Op::Keep { session: self.id, names: part.to_vec() },
                None => Op::Seen { session: self.id },
            };
            replica.append_here(signer, op).await?;
        }
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
        let (need_list, list) = self.need_list(replica, &needs).await?;
        let draft = Draft { sequence: self.sequence, parent: self.parent, time: now, contents };
        let object = Bytes::from(draft.seal(ring)?);
        let snapshot = ObjectId::of(&object);
        let mut relied: BTreeSet<Name> = needs.into_iter().map(Name::pack).collect();
        relied.extend(segments.iter().map(|segment| Name::index(*segment)));
        relied.extend(list.base_chain.iter().map(|base| Name::index(*base)));
        let commit =
            CommitStatement { snapshot, source: self.source, sequence: self.sequence, need_list, segments };
        let statement =
            Statement { author: ring.writer_id(), time: now, serial: 0, body: Body::Commit(commit) };
        let statement = statement.sign(ring.vault, &ring.signing)?;
        let signer = Signer { key: &ring.signing, time: now };
        let op = Op::Commit { session: self.id, statement };
        let made = [(Name::index(need_list), list.bytes), (Name::snapshot(snapshot), object)];
        self.conclude(replica, signer, &relied, &made, &op).await?;
        Ok(snapshot)
    }

    /// Appends `op`, which ends the session, on a state on which everything that it relies on is there and not
    /// condemned. `made` are its last objects, which are put here.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the session was closed by another, or something that it relies on was swept and is gone.
    pub(crate) async fn conclude(
        &self,
        replica: &mut Replica,
        signer: Signer<'_>,
        relied: &BTreeSet<Name>,
        made: &[(Name, Bytes)],
        op: &Op,
    ) -> Result<()> {
        loop {
            for (name, bytes) in made {
                replica.objects().put(name, bytes.clone()).await?;
            }
            replica.catch_up().await?;
            let all = relied.iter().chain(made.iter().map(|(name, _)| name));
            let Hindrances { lost, condemned } = replica.state().hindrances(self.id, all)?;
            let mut kept = condemned;
            for name in lost {
                // What was put again stands at the key in force and counts once it is kept.
                if replica.objects().size(&name).await?.is_some() {
                    kept.push(name);
                } else if made.iter().all(|(own, _)| *own != name) {
                    let message = format!("commit: {name} was collected while this session was away");
                    return Err(Error::new(Kind::Conflict, message));
                }
            }
            let op = match log::parts(&kept).next() {
                Some(part) => Op::Keep { session: self.id, names: part.to_vec() },
                None => op.clone(),
            };
            let concludes = !matches!(op, Op::Keep { .. });
            if replica.append_here(signer, op).await?.is_some() && concludes {
                return Ok(());
            }
        }
    }

    async fn need_list(
        &self,
        replica: &Replica,
        needs: &BTreeSet<PackId>,
    ) -> Result<(NeedListId, PlannedList)> {
        let parent = self.parent.and_then(|parent| replica.state().visible().get(&parent));
        let base = match parent {
            // A parent whose list cannot be read is not built upon; the new list is then written in full.
            Some(parent) => read_list(replica.objects(), replica.vault_id(), parent.need_list).await.ok(),
            None => None,
        };
        let plan = match parent.zip(base.as_ref()) {
            Some((parent, base)) => {
                let depth = (base.chain.len() - 1) as u8;
                NeedList::plan_next(Some(NeedBase { id: parent.need_list, depth, packs: &base.packs }), needs)
            }
            None => NeedList::plan_next(None, needs),
        };
        let base_chain = match plan.base() {
            Some(_) => base.map(|base| base.chain).unwrap_or_default(),
            None => Vec::new(),
        };
        let bytes = Bytes::from(plan.encode(replica.vault_id()));
        Ok((ObjectId::of(&bytes), PlannedList { bytes, base_chain }))
    }
}

/// A need list to be put, and the lists that it builds on.
struct PlannedList {
    bytes: Bytes,
    base_chain: Vec<NeedListId>,
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
