//! What unreadable segments said, learned again from the packs themselves.
//!
//! Every pack carries a directory that says what its segment says. It is not signed, so nobody deduplicates against a
//! pack found this way; for reading, the plain digest decides.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use super::FETCHES_MAX;
use super::open::serving;
use crate::error::{Error, Kind, Result};
use crate::id::{NeedListId, ObjectId, PackId, SnapshotId, VaultId, WriterId};
use crate::index::Index;
use crate::keys::KeyRing;
use crate::objects::Objects;
use crate::pack::{PackContents, PackEnds};
use crate::replica::Replica;
use crate::replicas::{Failures, Siblings};
use crate::segment::Segment;

/// Stands for whoever signed a segment that nobody signed: never trusted.
const NOBODY: WriterId = WriterId([0; WriterId::LEN]);

/// Adds to the index every pack that a visible snapshot lists and no readable segment holds, as far as its directory
/// can be read. Returns how many such packs there were, and how many of them were added.
pub(super) async fn recover(
    replicas: &[Replica],
    siblings: &Siblings,
    ring: &KeyRing,
    index: &mut Index,
) -> Result<(usize, usize)> {
    let mut wanted = listed_packs(replicas, siblings, ring.vault).await?;
    for indexed in index.packs() {
        wanted.remove(&indexed?.pack.id);
    }
    let mut found = stream::iter(wanted.iter())
        .map(|id| async move { (*id, find_contents(siblings, ring, *id).await) })
        .buffered(FETCHES_MAX);
    let mut added = 0;
    while let Some((id, contents)) = found.next().await {
        match contents {
            Ok(contents) => {
                let segment = ObjectId::of(&[&b"shudao pack without segment"[..], &id.0].concat());
                index.add(&Segment::of_pack(segment, NOBODY, contents))?;
                added += 1;
            }
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error),
        }
    }
    drop(found);
    Ok((wanted.len(), added))
}

/// The packs that visible snapshots list; lists that cannot be read are passed over.
async fn listed_packs(replicas: &[Replica], siblings: &Siblings, vault: VaultId) -> Result<BTreeSet<PackId>> {
    let visible = replicas.iter().flat_map(|replica| replica.state().visible());
    let lists: BTreeSet<(NeedListId, SnapshotId)> =
        visible.map(|(snapshot, visible)| (visible.need_list, *snapshot)).collect();
    let mut packs = BTreeSet::new();
    for (list, snapshot) in lists {
        match siblings.need_list(vault, list).await {
            Ok(list) => packs.extend(serving(replicas, &snapshot, &list.packs)),
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(packs)
}

async fn find_contents(siblings: &Siblings, ring: &KeyRing, id: PackId) -> Result<PackContents> {
    let mut failures = Failures::default();
    for sibling in siblings.in_order() {
        let read = read_contents(sibling.objects(), ring, id).await;
        sibling.note(&read);
        match read {
            Ok(contents) => return Ok(contents),
            Err(error) => failures.add(error),
        }
    }
    Err(failures.into_error(|| format!("read pack {id}")))
}

/// Reads a pack's header and directory, and nothing else of it.
async fn read_contents(objects: &Objects, ring: &KeyRing, id: PackId) -> Result<PackContents> {
    PackEnds::fetch(objects, ring.vault, id).await?.contents(ring)
}

/// Whether an error speaks of one object, not of the store or of the role.
fn is_loss(error: &Error) -> bool {
    matches!(error.kind(), Kind::Missing | Kind::Damaged | Kind::Unsupported)
}
