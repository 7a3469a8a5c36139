//! One run's right to commit: begin, store, commit.
//!
//! Order on the replica, which makes a snapshot visible only when everything it needs is there:
//! `begin` in the log → packs → segments → need list and snapshot object → `commit` in the log.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::error::{Error, Kind, Result};
use crate::id::{
    NeedListId, ObjectId, PackId, SegmentId, SessionId, SnapshotId, SourceId, Timestamp, VaultId,
};
use crate::keys::KeyRing;
use crate::lock_pass::{Locking, prove};
use crate::log::duty::Hindrances;
use crate::log::rules::Rule;
use crate::log::{self, Body, CommitStatement, Op, Signer, State, Statement, Visible};
use crate::name::{Area, Name};
use crate::need::{NeedBase, NeedList};
use crate::needed::read_list;
use crate::objects::Objects;
use crate::pack::FinishedPack;
use crate::replica::Replica;
use crate::replicas::{Failures, Siblings};
use crate::segment::{FinishedSegment, SegmentBuilder};
use crate::snapshot::{Contents, Draft};
use crate::suite::random;

/// Packs looked for at the same time before a commit.
const LOOKS_MAX: usize = 16;

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

/// What is to be committed on one replica.
#[derive(Debug, Clone, Copy)]
pub struct Commitment<'a> {
    /// The snapshot.
    pub sealed: &'a Sealed,
    /// The segments that the commit names.
    pub segments: &'a [SegmentId],
    /// Packs that this session put on the replica, or found there: they are not looked for again. What was swept since is
    /// noticed all the same.
    pub there: &'a BTreeSet<PackId>,
    /// When, for the statement.
    pub now: Timestamp,
}

impl Session {
    /// Appends `begin` on the first of `replicas` that takes it, and returns its place. The parent is the newest
    /// snapshot of the source that any of them shows.
    ///
    /// # Errors
    /// [`crate::Kind::Forbidden`] when the ring's holder may not write here; [`crate::Kind::Unlocked`] when objects cannot be
    /// locked here and the settings want it.
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
            if let Err(error) = prove(&replicas[place], now).await {
                failures.add(error);
                continue;
            }
            let signer = Signer { key: &ring.signing, time: now };
            let begun = replicas[place]
                .append(signer, |state| {
                    let here = state.latest(source).map(|(id, visible)| (id, visible.clone()));
                    let newest = elsewhere.iter().chain(&here).max_by_key(|(id, visible)| rank(*id, visible));
                    session.parent = newest.map(|(id, _)| *id);
                    session.parent_list = newest.map(|(_, visible)| visible.need_list);
                    session.sequence = newest.map_or(1, |(_, visible)| visible.sequence.saturating_add(1));
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
        prove(replica, now).await?;
        let signer = Signer { key: &ring.signing, time: now };
        let begun = replica.append(signer, |state| {
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
        // A parent whose list cannot be read is not built upon; the new list is then written in full.
        let parent = siblings.need_list(vault, id).await.ok();
        let base = parent.as_ref().map(|parent| {
            let depth = u8::try_from(parent.chain.len().saturating_sub(1)).unwrap_or(u8::MAX);
            NeedBase { id, depth, packs: &parent.packs }
        });
        let list = NeedList::plan_next(base, needs);
        let chain = parent.filter(|_| list.base().is_some()).map(|parent| parent.chain);
        (list.encode(vault), chain.unwrap_or_default())
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
        commitment: &Commitment<'_>,
    ) -> Result<()> {
        let Commitment { sealed, segments, there, now } = *commitment;
        replica.catch_up().await?;
        let is_done =
            |state: &State| state.visible().get(&sealed.snapshot).is_some_and(|done| done.session == self.id);
        if is_done(replica.state()) {
            return Ok(());
        }
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
        let op = Op::Commit { session: self.id, statement };
        let relied = sealed.relies_on(segments);
        if let Some(name) = self.absent(replica, sealed, there).await?.first() {
            let message = format!("commit: {name} is not there, although a segment speaks of it");
            return Err(Error::new(Kind::Conflict, message));
        }
        self.append_relying(replica, signer, &relied, &sealed.made(), &op).await
    }

    /// The packs of this snapshot that are not at their keys in force on the replica. Not looked for are those that the
    /// parent's snapshot vouches for by being visible here, and `there`: what this session itself put or found here. A segment
    /// may speak of a pack that was never brought to this replica, because no snapshot that was brought needs it any more.
    ///
    /// # Errors
    /// The store's.
    pub async fn absent(
        &self,
        replica: &Replica,
        sealed: &Sealed,
        there: &BTreeSet<PackId>,
    ) -> Result<Vec<Name>> {
        let mut unknown = sealed.needs.difference(there).peekable();
        if unknown.peek().is_none() || !Rule::CommitsLook.holds() {
            return Ok(Vec::new());
        }
        let is_visible = |parent: &SnapshotId| replica.state().visible().contains_key(parent);
        let parent = self.parent.filter(is_visible).zip(self.parent_list);
        let known = match parent {
            Some((parent, list)) => {
                let list = read_list(replica.objects(), replica.vault_id(), list).await;
                list.map(|list| replica.state().serving_all(&parent, &list.packs)).unwrap_or_default()
            }
            None => BTreeSet::new(),
        };
        let names = unknown.filter(|pack| !known.contains(pack)).map(|pack| Name::pack(*pack));
        let looks = names.map(|name| async move { (name, replica.objects().size(&name).await) });
        let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffered(LOOKS_MAX);
        let mut absent = Vec::new();
        while let Some((name, size)) = looks.next().await {
            if size?.is_none() {
                absent.push(name);
            }
        }
        Ok(absent)
    }

    /// The session `id` again, for a run that goes on with it under the same key, and the place of a replica on which it has
    /// begun. `None` if any of `replicas` says that it is closed, or is of another key or source, or if its parent is gone.
    /// The caller knows that nobody else goes on with it.
    pub fn of_log(
        replicas: &[Replica],
        ring: &KeyRing,
        id: SessionId,
        source: SourceId,
    ) -> Option<(Self, usize)> {
        let (mut first, mut parent) = (None, None);
        for (place, replica) in replicas.iter().enumerate() {
            let Some(begun) = replica.state().session(id) else { continue };
            let is_open = begun.state == log::state::SessionState::Open;
            if !is_open || begun.author != ring.writer_id() || begun.source != source {
                return None;
            }
            first = first.or(Some(place));
            parent = parent.or(begun.parent);
        }
        let visible = match parent {
            Some(parent) => Some(replicas.iter().find_map(|replica| replica.state().visible().get(&parent))?),
            None => None,
        };
        let parent_list = visible.map(|visible| visible.need_list);
        let sequence = visible.map_or(1, |visible| visible.sequence.saturating_add(1));
        Some((Self { id, source, parent, parent_list, sequence }, first?))
    }

    /// Answers keepers: keeps what the session relies on of what is condemned, and says that it has seen the rest. From
    /// then on it blocks no sweep. To be called once the session has begun on a replica, because nobody waits for it with what was
    /// condemned before, and every minute or so of a long run.
    ///
    /// `relied` is shown the log's newest state and says what the session relies on that is condemned there. From then on the
    /// session must not come to rely on anything else that this state condemns or has given up.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the session was closed by another; the store's.
    pub async fn attend(
        &self,
        replica: &mut Replica,
        signer: Signer<'_>,
        relied: impl Fn(&State) -> Vec<Name>,
    ) -> Result<()> {
        loop {
            replica.catch_up().await?;
            let state = replica.state();
            state.hindrances(self.id, [])?;
            let mut names = relied(state);
            names.retain(|name| state.was_condemned_unkept(self.id, name));
            let op = match log::parts(&names).next() {
                Some(part) => Op::Keep { session: self.id, names: part.to_vec() },
                None if state.awaits_answer(self.id) => Op::Seen { session: self.id },
                None => return Ok(()),
            };
            replica.append_here(signer, op).await?;
        }
    }

    /// Keeps those of `names` that are condemned. What is then found at its key in force may be relied on: nobody can
    /// sweep it from under this session.
    ///
    /// # Errors
    /// [`Kind::Conflict`] if the session was closed by another; the store's.
    pub(crate) async fn keep_condemned(
        &self,
        replica: &mut Replica,
        signer: Signer<'_>,
        names: &BTreeSet<Name>,
    ) -> Result<()> {
        loop {
            replica.catch_up().await?;
            let state = replica.state();
            state.hindrances(self.id, [])?;
            let condemned: Vec<Name> =
                state.condemned().keys().filter(|name| names.contains(name)).copied().collect();
            let Some(part) = log::parts(&condemned).next() else { return Ok(()) };
            replica.append_here(signer, Op::Keep { session: self.id, names: part.to_vec() }).await?;
        }
    }

    /// Appends `op` of this session on a state on which everything that it relies on is there, by what the log says, and not
    /// condemned. `made` are its last objects, which are put here. Where the settings want locks, all of it is locked before.
    ///
    /// # Errors
    /// [`Kind::Unlocked`] if something cannot be locked; [`Kind::Conflict`] if the session was closed by another, or something
    /// that it relies on was swept and is gone.
    pub(crate) async fn append_relying(
        &self,
        replica: &mut Replica,
        signer: Signer<'_>,
        relied: &BTreeSet<Name>,
        made: &[(Name, Bytes)],
        op: &Op,
    ) -> Result<()> {
        let parent = self.parent.and_then(|parent| replica.state().visible().get(&parent));
        let mut locking = Locking::after(replica, parent, signer.time).await;
        loop {
            for (name, bytes) in made {
                replica.objects().put(name, bytes.clone()).await?;
            }
            replica.catch_up().await?;
            let all = || relied.iter().chain(made.iter().map(|(name, _)| name));
            let Hindrances { lost, condemned } = replica.state().hindrances(self.id, all())?;
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
            if !kept.is_empty() {
                // A keep answers everything. Whoever sweeps then must leave the segments that speak of what is relied on, and
                // which these are is not known here.
                let known: BTreeSet<Name> = kept.iter().copied().collect();
                let condemned = replica.state().condemned().keys();
                kept.extend(condemned.filter(|name| name.area == Area::Index && !known.contains(name)));
            }
            // Locking takes time, in which the log may have gone on.
            if kept.is_empty() && locking.lock(replica, all(), signer.time).await? {
                continue;
            }
            let op = match log::parts(&kept).next() {
                Some(part) => Op::Keep { session: self.id, names: part.to_vec() },
                None => op.clone(),
            };
            let is_said = !matches!(op, Op::Keep { .. });
            if replica.append_here(signer, op).await?.is_some() && is_said {
                return Ok(());
            }
        }
    }
}

impl Sealed {
    /// What a commit relies on that names these segments, besides the objects that it makes itself.
    pub fn relies_on(&self, segments: &[SegmentId]) -> BTreeSet<Name> {
        let index = segments.iter().chain(&self.base).map(|id| Name::index(*id));
        self.needs.iter().map(|pack| Name::pack(*pack)).chain(index).collect()
    }

    fn made(&self) -> [(Name, Bytes); 2] {
        [
            (Name::index(self.need_list), self.list.clone()),
            (Name::snapshot(self.snapshot), self.object.clone()),
        ]
    }
}

/// What makes one snapshot of a source newer than another.
pub(crate) fn rank(id: SnapshotId, visible: &Visible) -> (u64, Timestamp, SnapshotId) {
    (visible.sequence, visible.time, id)
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
