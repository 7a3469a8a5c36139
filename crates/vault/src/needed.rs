//! Reads what it takes to say what a replica's roots need. Dull: [`crate::log::duty`] decides.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use crate::error::{Error, Kind, Result};
use crate::id::{NeedListId, PackId, SegmentId, Timestamp, VaultId};
use crate::log::State;
use crate::log::duty::{Evidence, Needed, ReadList};
use crate::name::Name;
use crate::need::NeedChain;
use crate::objects::Objects;
use crate::replica::Replica;
use crate::segment::SegmentClear;

/// Objects read at the same time.
const READS_MAX: usize = 8;

/// Need lists and segments read so far, so that a later state of the same replica costs only what is new.
#[derive(Debug, Default)]
pub struct NeedReader {
    evidence: Evidence,
}

impl NeedReader {
    /// What the roots of the replica's present state need.
    ///
    /// # Errors
    /// The store's. What is missing or damaged is no error: it is in [`Needed::unread`].
    pub async fn needed(&mut self, replica: &Replica, now: Timestamp) -> Result<Needed> {
        let state = replica.state();
        let wanted = state.wanted_lists(now);
        self.evidence.lists.retain(|id, _| wanted.contains(id));
        let unknown = wanted.iter().filter(|id| !self.evidence.lists.contains_key(*id)).copied();
        let reads =
            unknown.map(|id| async move { (id, read_list(replica.objects(), replica.vault_id(), id).await) });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(READS_MAX);
        while let Some((id, read)) = reads.next().await {
            if let Some(list) = unless_lost(read)? {
                self.evidence.lists.insert(id, list);
            }
        }
        drop(reads);
        self.read_segments(replica).await?;
        Ok(Needed::of(state, &self.evidence, now))
    }

    /// What was read.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    async fn read_segments(&mut self, replica: &Replica) -> Result<()> {
        let state = replica.state();
        let live: BTreeSet<SegmentId> = state.segments_live().iter().copied().collect();
        self.evidence.segments.retain(|id, _| live.contains(id));
        let unknown = live.iter().filter(|id| !self.evidence.segments.contains_key(*id)).copied();
        let reads = unknown.map(|id| async move { (id, read_segment(replica, state, id).await) });
        let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(READS_MAX);
        while let Some((id, read)) = reads.next().await {
            if let Some(packs) = unless_lost(read)? {
                self.evidence.segments.insert(id, packs);
            }
        }
        Ok(())
    }
}

async fn read_segment(replica: &Replica, state: &State, id: SegmentId) -> Result<Vec<PackId>> {
    let bytes = replica.objects().read(&Name::index(id)).await?;
    let clear = SegmentClear::decode(&bytes, replica.vault_id(), &|writer| state.verify_key(writer))?;
    Ok(clear.packs.iter().map(|pack| pack.id).collect())
}

/// None for what is missing, damaged or of the future: errors of one object, not of the store.
fn unless_lost<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if matches!(error.kind(), Kind::Missing | Kind::Damaged | Kind::Unsupported) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A need list, read through the lists that it builds on.
///
/// # Errors
/// [`Kind::Missing`] and [`Kind::Damaged`] if it or one below cannot be used; the store's.
pub async fn read_list(objects: &Objects, vault: VaultId, id: NeedListId) -> Result<ReadList> {
    read_list_naming(objects, vault, id).await.map_err(|lost| lost.error)
}

/// A need list that cannot be used.
#[derive(Debug)]
pub struct LostList {
    /// Which one: the list that was asked for, or one that it builds on.
    pub id: NeedListId,
    /// Why.
    pub error: Error,
}

/// As [`read_list`], for whoever is to mend what fails.
///
/// # Errors
/// As [`read_list`], with the list to blame.
pub async fn read_list_naming(
    objects: &Objects,
    vault: VaultId,
    id: NeedListId,
) -> std::result::Result<ReadList, LostList> {
    let mut chain = NeedChain::to(vault, id);
    let mut last = id;
    while let Some(id) = chain.next() {
        last = id;
        let read = objects.read(&Name::index(id)).await;
        read.and_then(|bytes| chain.take(&bytes)).map_err(|error| LostList { id, error })?;
    }
    chain.resolve().map_err(|error| LostList { id: last, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectId;
    use crate::need::{NeedBase, NeedList};
    use crate::store::Store;

    #[tokio::test]
    async fn a_lost_list_is_named_also_where_another_builds_on_it() {
        let vault = VaultId([1; 16]);
        let objects = Objects::new(Store::memory());
        let packs: BTreeSet<PackId> = (0..40_u8).map(|n| PackId::of(&[n])).collect();
        let below = NeedList::plan_next(None, &packs).encode(vault);
        let id = ObjectId::of(&below);
        let more = packs.iter().copied().chain([PackId::of(b"one more")]).collect();
        let list = NeedList::plan_next(Some(NeedBase { id, depth: 0, packs: &packs }), &more);
        assert_eq!(list.base(), Some(id));
        let bytes = list.encode(vault);
        let above = ObjectId::of(&bytes);
        let named = async || read_list_naming(&objects, vault, above).await.map_err(|lost| lost.id);
        assert_eq!(named().await.unwrap_err(), above);
        objects.put(&Name::index(above), bytes.into()).await.unwrap();
        assert_eq!(named().await.unwrap_err(), id);
        objects.put(&Name::index(id), below.into()).await.unwrap();
        assert_eq!(named().await.unwrap().packs, more);
    }
}
