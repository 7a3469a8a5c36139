//! At the end of a pass over the source: can everything that the snapshot is to rely on still be had?
//!
//! A pass lasts hours, and what it took for known at its beginning may be gone: its only holder may have failed, or it was swept
//! where the session could not keep it. What lies under a key that was given up, or with a sibling, is copied while it is
//! there. What is nowhere is *lost*: whoever asks begins another pass, in which it counts as absent and is stored anew.

use shudao_vault::id::PackId;
use shudao_vault::name::Name;
use shudao_vault::replicas::Siblings;
use shudao_vault::sync::copy;
use std::time::Duration;
use tokio::time::Instant;

use super::course::Shared;

/// The pause between two questions to a replica that does not answer.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The packs of earlier sessions that something offered so far relies on and that no replica within reach has. A replica that is
/// the only holder of something and does not answer within the run's patience is withdrawn.
pub(super) async fn lost(shared: &Shared<'_>) -> Vec<PackId> {
    let replicas = 0..shared.objects.len();
    for place in replicas.clone() {
        if let Some(pack) = only_there(shared, place)
            && !answers(shared, place, pack).await
        {
            shared.ingest.withdraw(place);
        }
    }
    let missing = shared.ingest.relied_on().into_iter().filter(|(_, holders)| holders.is_empty());
    let missing: Vec<PackId> = missing.map(|(pack, _)| pack).collect();
    if missing.is_empty() {
        return missing;
    }
    let (within_reach, withdrawn): (Vec<usize>, Vec<usize>) =
        replicas.partition(|place| shared.ingest.is_reachable(*place));
    let Some(to) = within_reach.first().map(|place| &shared.objects[*place]) else { return missing };
    let mut from = within_reach.clone();
    for place in withdrawn {
        // One that is full or whose session was fenced may still be read.
        if shared.objects[place].size(&Name::pack(missing[0])).await.is_ok() {
            from.push(place);
        }
    }
    let from = Siblings::new(from.into_iter().map(|place| shared.objects[place].clone()));
    let mut lost = Vec::new();
    for pack in missing {
        // One by one: there are few, and each is held in memory whole.
        if copy(&Name::pack(pack), &from, to).await.is_err() {
            lost.push(pack);
        }
    }
    lost
}

/// Something that is relied on and only the replica at `place` has, if there are others without it.
fn only_there(shared: &Shared<'_>, place: usize) -> Option<PackId> {
    let relied_on = shared.ingest.relied_on();
    let others = (0..shared.objects.len()).filter(|other| *other != place);
    if others.filter(|other| shared.ingest.is_reachable(*other)).count() == 0 {
        return None;
    }
    relied_on.into_iter().find(|(_, holders)| *holders == [place]).map(|(pack, _)| pack)
}

/// Whether a replica answers a question about `pack`, sooner or later.
async fn answers(shared: &Shared<'_>, place: usize, pack: PackId) -> bool {
    let began = Instant::now();
    loop {
        let error = match shared.objects[place].size(&Name::pack(pack)).await {
            Ok(_) => return true,
            Err(error) => error,
        };
        if !error.is_retryable() || began.elapsed() >= shared.fanout.patience() {
            return false;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}
