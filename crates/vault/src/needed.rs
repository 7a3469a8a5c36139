//! Reads what it takes to say what a replica's roots need. Dull: [`crate::log::duty`] decides.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use crate::error::{Kind, Result};
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
    let mut chain = NeedChain::to(vault, id);
    while let Some(id) = chain.next() {
        chain.take(&objects.read(&Name::index(id)).await?)?;
    }
    chain.resolve()
}
