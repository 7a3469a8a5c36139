//! By how much a replica is behind others. Reads need lists and segments, no content, and needs no key.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::id::{PackId, SnapshotId, Timestamp};
use crate::name::Name;
use crate::needed::NeedReader;
use crate::replica::Replica;

/// What a replica lacks that others show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behind {
    /// Snapshots that it neither shows nor has forgotten.
    pub snapshots: u64,
    /// Objects that it would need for them.
    pub objects: u64,
    /// Their bytes, as far as a listing tells.
    pub bytes: u64,
}

/// By how much the replica at `place` is behind the others. Asks nothing where it shows all that they show.
///
/// # Errors
/// The stores'.
pub async fn behind(replicas: &[Replica], place: usize, now: Timestamp) -> Result<Behind> {
    let here = replicas[place].state();
    let is_missing = |id: &SnapshotId| !here.visible().contains_key(id) && !here.forgotten().contains(id);
    let mut missing: BTreeSet<SnapshotId> = BTreeSet::new();
    let mut needed: BTreeMap<Name, usize> = BTreeMap::new();
    for (other, replica) in replicas.iter().enumerate().filter(|(other, _)| *other != place) {
        let state = replica.state();
        let lacking: Vec<_> = state.visible().iter().filter(|(id, _)| is_missing(id)).collect();
        if lacking.is_empty() {
            continue;
        }
        let mut reader = NeedReader::default();
        reader.needed(replica, now).await?;
        let evidence = reader.evidence();
        let mut packs: BTreeSet<PackId> = BTreeSet::new();
        for (id, visible) in lacking {
            missing.insert(*id);
            needed.insert(Name::snapshot(*id), other);
            let Some(list) = evidence.lists.get(&visible.need_list) else { continue };
            needed.extend(list.chain.iter().map(|list| (Name::index(*list), other)));
            packs.extend(state.serving_all(id, &list.packs));
        }
        let segments = evidence.segments.iter().filter(|(_, of)| of.iter().any(|pack| packs.contains(pack)));
        needed.extend(segments.map(|(segment, _)| (Name::index(*segment), other)));
        needed.extend(packs.iter().map(|pack| (Name::pack(*pack), other)));
    }
    if missing.is_empty() {
        return Ok(Behind::default());
    }
    let known = NeedReader::default().needed(&replicas[place], now).await?;
    needed.retain(|name, _| !known.contains(name));
    let bytes = sizes(replicas, &needed).await;
    Ok(Behind { snapshots: missing.len() as u64, objects: needed.len() as u64, bytes })
}

/// The bytes of these names where they are; nothing of what no listing shows.
async fn sizes(replicas: &[Replica], needed: &BTreeMap<Name, usize>) -> u64 {
    let mut bytes = 0;
    let holders: BTreeSet<usize> = needed.values().copied().collect();
    for holder in holders {
        let replica = &replicas[holder];
        for area in ["packs/", "index/", "snapshots/"] {
            for object in replica.store().list(area).await.unwrap_or_default() {
                let name = Name::of_key(&object.path).map(|(name, _)| name);
                let is_wanted = |name: &Name| {
                    needed.get(name) == Some(&holder) && replica.objects().key(name) == object.path
                };
                if name.is_some_and(|name| is_wanted(&name)) {
                    bytes += object.bytes;
                }
            }
        }
    }
    bytes
}
