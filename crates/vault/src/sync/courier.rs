//! Bringing one replica level with another, without any key of the vault.
//!
//! A courier carries what certified keys signed: it copies the objects, then publishes the original statements in the
//! order of the log that they come from. It never forgets, pins, condemns or sweeps, and what was forgotten at the
//! target stays so. Rules: `docs/format/log.md` section 4.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Kind, Result};
use crate::id::{ObjectId, PackId, SegmentId, SessionId, SnapshotId, SourceId, Timestamp};
use crate::log::duty::ReadList;
use crate::log::{
    self, Body, CommitStatement, KeyPresence, Op, ReplacesStatement, SessionState, SignedStatement, Signer,
};
use crate::name::Name;
use crate::needed::NeedReader;
use crate::object::key_path;
use crate::objects::read_hashed;
use crate::replica::Replica;
use crate::replicas::Siblings;
use crate::session::Session;
use crate::suite::{SigningKey, random};
use crate::sync::copy::{Copied, copy, copy_all};
use crate::sync::history::{Carried, history};
use crate::vault::chain;

/// How far bringing a replica level has come, for a display. Counters may be read at any time.
#[derive(Debug, Default)]
pub struct SyncProgress {
    /// Objects copied.
    pub objects: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
    /// Snapshots to be published.
    pub snapshots_expected: AtomicU64,
    /// Snapshots published.
    pub snapshots: AtomicU64,
    /// What is worked on.
    pub current: Mutex<String>,
    /// Set from outside to stop after what is being brought.
    pub stop: Arc<AtomicBool>,
}

/// What bringing a replica level came to.
#[derive(Debug, Default)]
pub struct Synced {
    /// Objects and bytes copied.
    pub copied: Copied,
    /// Snapshots published.
    pub snapshots: Vec<SnapshotId>,
    /// Other statements published: keys, settings, holds, vouches, bad frames, compactions.
    pub statements: u64,
    /// What could not be brought, and why; everything else was.
    pub failed: Vec<Failed>,
}

/// Something that could not be brought to a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Brings `to` level with `from`: everything that `from` shows and `to` neither shows nor has forgotten. Objects are read
/// from any of `sources`. Can be stopped at any time and done again: what was copied stays.
///
/// # Errors
/// What stops it as a whole, such as a store that does not answer. Single snapshots that cannot be brought are in the
/// result. Stopped by [`SyncProgress::stop`], what was brought until then is.
pub async fn sync(
    from: &Replica,
    to: &mut Replica,
    sources: &Siblings,
    clock: &(dyn Fn() -> Timestamp + Sync),
    progress: &SyncProgress,
) -> Result<Synced> {
    let carried = history(from).await?;
    let mut known = NeedReader::default();
    let known = known.needed(to, clock()).await?.names().copied().collect();
    let mut offered = NeedReader::default();
    offered.needed(from, clock()).await?;
    let segments = offered.evidence().segments.clone();
    let mut courier = Courier {
        from,
        to,
        sources,
        clock,
        progress,
        known,
        segments,
        open: None,
        synced: Synced::default(),
    };
    let expected = carried.iter().filter(|item| courier.is_missing_commit(item)).count() as u64;
    progress.snapshots_expected.fetch_add(expected, Ordering::Relaxed);
    // Whose statements count must be known before the statements; and what serves a snapshot, before the snapshot.
    let certifies =
        |item: &&Carried| matches!(item.said.body, Body::Key { presence: KeyPresence::Certificate(_), .. });
    let replaces = |item: &&Carried| matches!(item.said.body, Body::Replaces(_));
    let rest = |item: &&Carried| !certifies(item) && !replaces(item);
    let carried = || carried.iter();
    let items = carried().filter(certifies).chain(carried().filter(replaces)).chain(carried().filter(rest));
    for item in items {
        if progress.stop.load(Ordering::Relaxed) {
            break;
        }
        courier.bring(item).await?;
    }
    courier.leave().await?;
    Ok(courier.synced)
}

struct Courier<'a> {
    from: &'a Replica,
    to: &'a mut Replica,
    sources: &'a Siblings,
    clock: &'a (dyn Fn() -> Timestamp + Sync),
    progress: &'a SyncProgress,
    /// What is at the target for certain: its own snapshots need it, or it was copied.
    known: BTreeSet<Name>,
    /// The packs of each segment that is live where we come from.
    segments: BTreeMap<SegmentId, Vec<PackId>>,
    /// The session under way and its key; a commit ends it.
    open: Option<(Session, SigningKey)>,
    synced: Synced,
}

impl Courier<'_> {
    /// Whether this commits a snapshot that the source shows and the target lacks.
    fn is_missing_commit(&self, item: &Carried) -> bool {
        let Body::Commit(commit) = &item.said.body else { return false };
        self.from.state().visible().contains_key(&commit.snapshot) && self.to.state().is_news(&item.said)
    }

    /// Brings one statement and what it speaks of, if the target has not heard it. What concerns it alone is noted.
    async fn bring(&mut self, item: &Carried) -> Result<()> {
        let state = self.to.state();
        if !state.is_news(&item.said) || !self.from.state().is_in_force(&item.said) {
            return Ok(());
        }
        let what = match &item.said.body {
            Body::Commit(_) if !self.is_missing_commit(item) => return Ok(()),
            Body::Commit(commit) => format!("snapshot {}", commit.snapshot.short()),
            Body::Replaces(_) => "a compaction".to_owned(),
            Body::Key { .. } => "a key".to_owned(),
            Body::Config(_) => "the settings".to_owned(),
            Body::Hold(snapshot) | Body::Release(snapshot) => format!("the hold of {}", snapshot.short()),
            Body::Vouch(_) => "a vouch".to_owned(),
            Body::Bad(_) => "a report of bad frames".to_owned(),
        };
        if let Ok(mut current) = self.progress.current.lock() {
            current.clone_from(&what);
        }
        let brought = match &item.said.body {
            Body::Commit(commit) => self.bring_snapshot(commit, &item.signed).await,
            Body::Replaces(replaces) => self.bring_compaction(replaces, &item.signed).await,
            Body::Key { presence, .. } => self.bring_key(presence, &item.signed).await,
            Body::Hold(_) | Body::Release(_) | Body::Vouch(_) | Body::Bad(_) | Body::Config(_) => {
                self.publish(&item.signed).await
            }
        };
        match brought {
            Ok(()) => Ok(()),
            // Of one thing, not of a store: the others may well be brought.
            Err(error) if concerns_one(&error) => {
                self.synced.failed.push(Failed { what, why: chain(&error) });
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn bring_snapshot(&mut self, commit: &CommitStatement, signed: &SignedStatement) -> Result<()> {
        self.ensure_session().await?;
        let list = self.sources.need_list(self.from.vault_id(), commit.need_list).await?;
        let packs = self.to.state().serving_all(&commit.snapshot, &list.packs);
        self.must_be_spoken_of(&packs)?;
        let missing = self.index_over(&packs, &commit.segments);
        let relied = relied(commit, &list, &packs, &missing);
        self.copy(relied.iter().copied()).await?;
        if !missing.is_empty() {
            self.mention(&missing).await?;
            for part in log::parts(&missing) {
                let (session, _) = self.open.as_ref().ok_or_else(no_session)?;
                let op = Op::Index { session: session.id, segments: part.to_vec() };
                let names = part.iter().map(|segment| Name::index(*segment)).collect();
                self.append_relying(&names, &op).await?;
            }
        }
        let (session, _) = self.open.as_ref().ok_or_else(no_session)?;
        let op = Op::Commit { session: session.id, statement: signed.clone() };
        self.conclude(&relied, &op).await?;
        self.synced.snapshots.push(commit.snapshot);
        self.progress.snapshots.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What no segment speaks of cannot be read: where one cannot be read now, its snapshots are brought once it is mended.
    fn must_be_spoken_of(&self, packs: &BTreeSet<PackId>) -> Result<()> {
        let mut unspoken = packs.clone();
        for pack in self.segments.values().flatten() {
            unspoken.remove(pack);
        }
        match unspoken.first() {
            Some(pack) => Err(Error::damaged(format!("no segment that can be read speaks of pack {pack}"))),
            None => Ok(()),
        }
    }

    /// The segments that speak of these packs where we come from, and of which the target has not heard, or which it is about
    /// to collect: a sweep does not wait for who began after the condemn.
    fn index_over(&self, packs: &BTreeSet<PackId>, named: &[SegmentId]) -> Vec<SegmentId> {
        let is_missing = |id: &SegmentId| !named.contains(id) && !self.to.state().does_segment_stay(id);
        let speaks = |of: &[PackId]| of.iter().any(|pack| packs.contains(pack));
        let segments = self.segments.iter().filter(|(id, of)| is_missing(id) && speaks(of));
        segments.map(|(id, _)| *id).collect()
    }

    /// Copies further packs of which these segments speak. Nothing here relies on them; what was collected at the source
    /// cannot be had.
    async fn mention(&mut self, segments: &[SegmentId]) -> Result<()> {
        let packs = segments.iter().filter_map(|id| self.segments.get(id)).flatten();
        let names: Vec<Name> = packs.map(|pack| Name::pack(*pack)).collect();
        for name in names {
            match self.copy([name]).await {
                Err(error) if !concerns_one(&error) => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn bring_compaction(
        &mut self,
        replaces: &ReplacesStatement,
        signed: &SignedStatement,
    ) -> Result<()> {
        self.ensure_session().await?;
        let new = replaces.replacements.iter().flat_map(|replacement| &replacement.new);
        let segments = replaces.segments.iter().map(|segment| Name::index(*segment));
        let relied: BTreeSet<Name> = new.map(|pack| Name::pack(*pack)).chain(segments).collect();
        self.copy(relied.iter().copied()).await?;
        let (session, _) = self.open.as_ref().ok_or_else(no_session)?;
        let op = Op::Replace { session: session.id, statement: signed.clone() };
        self.conclude(&relied, &op).await?;
        self.synced.statements += 1;
        Ok(())
    }

    async fn bring_key(&mut self, presence: &KeyPresence, signed: &SignedStatement) -> Result<()> {
        let object = match presence {
            KeyPresence::Removed => None,
            KeyPresence::Slot(object) => Some(*object),
            KeyPresence::Certificate(bytes) => Some(ObjectId::of(bytes)),
        };
        if let Some(object) = object {
            let path = key_path(&object);
            if self.to.store().size(&path).await?.is_none() {
                match read_hashed(self.from.store(), &path, &object).await {
                    Ok(bytes) => self.to.store().put(&path, bytes).await?,
                    // A certificate stands in its statement whole; a slot without its object opens nothing.
                    Err(error) if matches!(presence, KeyPresence::Certificate(_)) && concerns_one(&error) => {
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.publish(signed).await
    }

    async fn publish(&mut self, signed: &SignedStatement) -> Result<()> {
        self.ensure_session().await?;
        let (_, key) = self.open.as_ref().ok_or_else(no_session)?;
        let signer = Signer { key, time: (self.clock)() };
        let op = Op::Publish { statement: signed.clone() };
        self.to.append(signer, |_| Ok(Some(op.clone()))).await?;
        self.synced.statements += 1;
        Ok(())
    }

    /// Copies what the target is not known to have.
    async fn copy(&mut self, names: impl IntoIterator<Item = Name>) -> Result<()> {
        let wanted: Vec<Name> = names.into_iter().filter(|name| !self.known.contains(name)).collect();
        let copied = copy_all(wanted.iter().copied(), self.sources, self.to.objects()).await?;
        self.note(copied);
        self.known.extend(wanted);
        Ok(())
    }

    fn note(&mut self, copied: Copied) {
        self.synced.copied.objects += copied.objects;
        self.synced.copied.bytes += copied.bytes;
        self.progress.objects.fetch_add(copied.objects, Ordering::Relaxed);
        self.progress.bytes.fetch_add(copied.bytes, Ordering::Relaxed);
    }

    /// Ends the session with `op`. What was swept meanwhile is put again first.
    async fn conclude(&mut self, relied: &BTreeSet<Name>, op: &Op) -> Result<()> {
        self.append_relying(relied, op).await?;
        self.open = None;
        Ok(())
    }

    /// Appends `op`. What it relies on and was swept is put again first, and kept: from then on the log says that it is there.
    async fn append_relying(&mut self, relied: &BTreeSet<Name>, op: &Op) -> Result<()> {
        let (session, key) = self.open.take().ok_or_else(no_session)?;
        let appended = async {
            self.to.catch_up().await?;
            for name in self.to.state().hindrances(session.id, relied)?.lost {
                let copied = copy(&name, self.sources, self.to.objects()).await?;
                self.note(copied);
            }
            let signer = Signer { key: &key, time: (self.clock)() };
            session.append_relying(self.to, signer, relied, &[], op).await
        }
        .await;
        self.open = Some((session, key));
        appended
    }

    /// Begins a session where none is open.
    async fn ensure_session(&mut self) -> Result<()> {
        if let Some((session, _)) = &self.open {
            let standing = self.to.state().session(session.id);
            if standing.is_some_and(|standing| standing.state == SessionState::Open) {
                return Ok(());
            }
        }
        let key = SigningKey::generate();
        let session = Session {
            id: SessionId(random()),
            source: SourceId::default(),
            parent: None,
            parent_list: None,
            sequence: 0,
        };
        let op = Op::Courier { session: session.id, key: key.verify_key() };
        let signer = Signer { key: &key, time: (self.clock)() };
        self.to.append(signer, |_| Ok(Some(op.clone()))).await?;
        self.open = Some((session, key));
        Ok(())
    }

    /// Closes a session that is still open, so that no collection waits for it.
    async fn leave(&mut self) -> Result<()> {
        let Some((session, key)) = self.open.take() else { return Ok(()) };
        let signer = Signer { key: &key, time: (self.clock)() };
        let op = Op::Fence { session: session.id };
        let left = self.to.append(signer, |state| {
            let is_open =
                state.session(session.id).is_some_and(|session| session.state == SessionState::Open);
            Ok(is_open.then(|| op.clone()))
        });
        left.await.map(drop)
    }
}

/// Everything that a snapshot relies on at the target.
fn relied(
    commit: &CommitStatement,
    list: &ReadList,
    packs: &BTreeSet<PackId>,
    segments: &[SegmentId],
) -> BTreeSet<Name> {
    let index = list.chain.iter().chain(&commit.segments).chain(segments);
    let names = packs.iter().map(|pack| Name::pack(*pack)).chain(index.map(|id| Name::index(*id)));
    names.chain([Name::snapshot(commit.snapshot)]).collect()
}

/// Whether an error speaks of one object or statement, not of a store as a whole.
fn concerns_one(error: &Error) -> bool {
    matches!(
        error.kind(),
        Kind::Missing | Kind::Damaged | Kind::Conflict | Kind::Forbidden | Kind::Unsupported
    )
}

fn no_session() -> Error {
    Error::new(Kind::Bug, "bring to a replica: no session is open")
}

#[cfg(test)]
mod tests;
