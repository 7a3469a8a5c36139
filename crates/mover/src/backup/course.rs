//! One replica's way through a run: begin, carry, copy what is lacking, commit. It never waits for another one's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shudao_vault::id::{SegmentId, Timestamp};
use shudao_vault::index::Index;
use shudao_vault::keys::KeyRing;
use shudao_vault::log::Signer;
use shudao_vault::name::{Area, Name};
use shudao_vault::replica::Replica;
use shudao_vault::replicas::Siblings;
use shudao_vault::session::{Sealed, Session};
use shudao_vault::sync::{Shortfall, copy, copy_all};
use shudao_vault::{Error, Kind};
use tokio::sync::watch;

use super::ReplicaOutcome;
use crate::fanout::{Fanout, stopped};
use crate::ingest::Ingest;

/// How often a run answers keepers on each replica.
const ATTEND_EVERY: Duration = Duration::from_secs(60);

/// What all replicas' ways have in common.
pub(super) struct Shared<'a> {
    pub(super) session: &'a Session,
    /// The place of the replica on which the session has begun already.
    pub(super) first: usize,
    pub(super) ring: &'a KeyRing,
    pub(super) siblings: &'a Siblings,
    /// Of all replicas, as they were when the session began.
    pub(super) index: &'a Index,
    /// The segments that were live on any of them.
    pub(super) segments: &'a [SegmentId],
    pub(super) fanout: &'a Fanout,
    pub(super) ingest: &'a Ingest,
    pub(super) closing: watch::Receiver<Option<Arc<Closing>>>,
    pub(super) clock: &'a (dyn Fn() -> Timestamp + Sync),
}

/// What is committed when everything was read.
pub(super) struct Closing {
    pub(super) sealed: Sealed,
    pub(super) segments: Vec<SegmentId>,
}

/// Goes the whole way of one replica.
pub(super) async fn run(shared: &Shared<'_>, place: usize, replica: &mut Replica) -> ReplicaOutcome {
    let gone = go(shared, place, replica).await;
    let mut outcome = ReplicaOutcome { place, ..ReplicaOutcome::default() };
    if let Err(error) = gone {
        shared.fanout.give_up(place);
        outcome.failure = Some(error);
    }
    outcome
}

/// Says by how much the replicas that did not commit are behind, once nothing more comes.
pub(super) fn measure(fanout: &Fanout, outcomes: &mut [ReplicaOutcome]) {
    for outcome in outcomes.iter_mut().filter(|outcome| !outcome.is_committed()) {
        let lacking = fanout.lacking(outcome.place);
        // The need list and the snapshot itself.
        outcome.objects_behind = lacking.len() as u64 + 2;
        outcome.bytes_behind = lacking.iter().map(|(_, bytes)| bytes).sum();
    }
}

async fn go(shared: &Shared<'_>, place: usize, replica: &mut Replica) -> Result<(), Error> {
    let Shared { session, fanout, .. } = shared;
    if place != shared.first {
        while let Err(error) = session.begin_on(replica, shared.ring, (shared.clock)()).await {
            fanout.stumble(place, error).await?;
        }
        fanout.recover(place);
    }
    let closing = tokio::select! {
        closing = carry(shared, place) => closing?,
        error = attend(shared, replica) => return Err(error),
    };
    while let Err(error) = close(shared, place, replica, &closing).await {
        fanout.stumble(place, error).await?;
    }
    fanout.recover(place);
    Ok(())
}

/// Carries everything to the replica, then waits for what is to be committed.
async fn carry(shared: &Shared<'_>, place: usize) -> Result<Arc<Closing>, Error> {
    shared.fanout.carry(place).await?;
    let mut closing = shared.closing.clone();
    let closing = match closing.wait_for(Option::is_some).await {
        Ok(closing) => closing.clone(),
        Err(_) => None,
    };
    closing.ok_or_else(stopped)
}

/// Answers keepers as long as the run lasts, so that it blocks no collection and loses nothing to one. Ends only with the
/// reason why the session cannot commit here any more.
async fn attend(shared: &Shared<'_>, replica: &mut Replica) -> Error {
    let relies_on = |name: &Name| name.area == Area::Pack && shared.ingest.refers_to(&name.id);
    loop {
        tokio::time::sleep(ATTEND_EVERY).await;
        let signer = Signer { key: &shared.ring.signing, time: (shared.clock)() };
        match shared.session.attend(replica, signer, relies_on).await {
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Forbidden) => return error,
            // Whether the replica answers is for those to judge who bring it something.
            Ok(()) | Err(_) => {}
        }
    }
}

/// Brings what the replica lacks, then commits there. Doing it again goes on where it was.
async fn close(
    shared: &Shared<'_>,
    place: usize,
    replica: &mut Replica,
    closing: &Closing,
) -> Result<(), Error> {
    let lacking: Vec<Name> = shared.fanout.lacking(place).into_iter().map(|(name, _)| name).collect();
    let shortfall = shortfall(shared, replica, closing)?;
    let others = shared.siblings.except(place);
    let to = replica.objects();
    let packs = lacking.iter().filter(|name| name.area == Area::Pack).copied();
    copy_all(packs.chain(shortfall.packs.iter().copied().map(Name::pack)), &others, to).await?;
    // Alone there is nobody to copy from, and nothing here needs these.
    for pack in shortfall.mentioned.iter().filter(|_| others.count() > 0) {
        match copy(&Name::pack(*pack), &others, to).await {
            Ok(_) => {}
            // Collected where the segment comes from; nothing of this snapshot is in it.
            Err(error) if matches!(error.kind(), Kind::Missing | Kind::Damaged) => {}
            Err(error) => return Err(error),
        }
    }
    let has_parent =
        shared.session.parent.is_none_or(|parent| replica.state().visible().contains_key(&parent));
    let lists = closing.sealed.base.iter().filter(|_| !has_parent).copied();
    let segments = lacking.iter().filter(|name| name.area == Area::Index).map(|name| name.id);
    let index = lists.chain(shortfall.segments.iter().copied()).chain(segments);
    copy_all(index.map(Name::index), &others, to).await?;
    let segments: Vec<SegmentId> = closing.segments.iter().chain(&shortfall.segments).copied().collect();
    replica.catch_up().await?;
    let relied = closing.sealed.relies_on(&segments);
    if replica.state().visible().get(&closing.sealed.snapshot).is_none() {
        // What was swept meanwhile is put again, from wherever it still is.
        let lost = replica.state().hindrances(shared.session.id, &relied)?.lost;
        copy_all(lost, shared.siblings, replica.objects()).await?;
    }
    let now = (shared.clock)();
    shared.session.commit_on(replica, shared.ring, &closing.sealed, &segments, now).await
}

/// What the snapshot relies on and this replica's log does not speak of. Nothing where it was level with all others.
fn shortfall(shared: &Shared<'_>, replica: &Replica, closing: &Closing) -> Result<Shortfall, Error> {
    // What is condemned may be swept before the commit, unless the commit names it.
    let live = replica.state().segments_staying();
    let known: BTreeSet<&SegmentId> = live.iter().collect();
    if shared.segments.iter().all(|segment| known.contains(segment)) {
        return Ok(Shortfall::default());
    }
    Shortfall::plan(&closing.sealed.needs, &live, shared.index)
}
