//! One replica's way through a run: begin, carry, copy what is lacking, commit. It never waits for another one's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shudao_vault::id::{PackId, SegmentId, Timestamp};
use shudao_vault::index::Index;
use shudao_vault::keys::KeyRing;
use shudao_vault::log::{Signer, State};
use shudao_vault::name::{Area, Name};
use shudao_vault::objects::Objects;
use shudao_vault::replica::Replica;
use shudao_vault::replicas::Siblings;
use shudao_vault::session::{Commitment, Sealed, Session};
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
    /// Of all replicas, in their order.
    pub(super) objects: &'a [Objects],
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
        shared.ingest.withdraw(place);
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
        error = attend(shared, place, replica) => return Err(error),
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
async fn attend(shared: &Shared<'_>, place: usize, replica: &mut Replica) -> Error {
    let mut answered = None;
    loop {
        let signer = Signer { key: &shared.ring.signing, time: (shared.clock)() };
        let relied = |state: &State| {
            // First it is forbidden, then it is asked what is relied on: nothing slips in between.
            shared.ingest.hear(place, state);
            let newest = state.condemned().values().max().copied();
            // What was condemned before the last answer was kept then, or is not relied on since.
            if newest <= answered { Vec::new() } else { relied_on(shared, state) }
        };
        match shared.session.attend(replica, signer, relied).await {
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::Forbidden | Kind::NotTheWriter) => {
                return error;
            }
            Ok(()) => answered = replica.state().next().checked_sub(1),
            // Whether the replica answers is for those to judge who bring it something.
            Err(_) => {}
        }
        tokio::time::sleep(ATTEND_EVERY).await;
    }
}

/// What the run relies on of what `state` condemns: packs, and the segments that tell where their chunks are.
fn relied_on(shared: &Shared<'_>, state: &State) -> Vec<Name> {
    let is_needed = |pack: &PackId| shared.ingest.refers_to(pack);
    let condemned = state.condemned().keys();
    let (segments, others): (Vec<Name>, Vec<Name>) = condemned.partition(|name| name.area == Area::Index);
    let mut names: Vec<Name> =
        others.into_iter().filter(|name| name.area == Area::Pack && is_needed(&name.id)).collect();
    if segments.is_empty() {
        return names;
    }
    let mut speaking = shared.fanout.segments();
    for spoken_of in shared.index.segment_packs() {
        // An index that cannot be read fails the run soon enough; until then too much is kept.
        let Ok((segment, pack)) = spoken_of else { return names.into_iter().chain(segments).collect() };
        if is_needed(&pack) {
            speaking.insert(segment);
        }
    }
    names.extend(segments.into_iter().filter(|name| speaking.contains(&name.id)));
    names
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
    let mut there = shared.fanout.acknowledged(place);
    there.extend(shared.ingest.found_on(place));
    if replica.state().visible().get(&closing.sealed.snapshot).is_none() {
        // What was swept meanwhile is put again, from wherever it still is.
        let lost = replica.state().hindrances(shared.session.id, &relied)?.lost;
        copy_all(lost, shared.siblings, replica.objects()).await?;
        there = bring_absent(shared, place, replica, (closing, there)).await?;
    }
    let now = (shared.clock)();
    let commitment = Commitment { sealed: &closing.sealed, segments: &segments, there: &there, now };
    shared.session.commit_on(replica, shared.ring, &commitment).await
}

/// Copies from siblings what a segment speaks of that is not on this replica. Returns what is there now of everything needed,
/// known by a look or an acknowledgement; what is on no sibling is left to the commit to refuse.
async fn bring_absent(
    shared: &Shared<'_>,
    place: usize,
    replica: &Replica,
    (closing, there): (&Closing, BTreeSet<PackId>),
) -> Result<BTreeSet<PackId>, Error> {
    let absent = shared.session.absent(replica, &closing.sealed, &there).await?;
    let mut there = closing.sealed.needs.clone();
    for name in absent {
        match copy(&name, &shared.siblings.except(place), replica.objects()).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), Kind::Missing | Kind::Damaged | Kind::Bug) => {
                there.remove(&name.id);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(there)
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
